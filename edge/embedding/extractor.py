"""The extractor: a base as a float TFLite file, which gives the features of an image.

It runs on edge's own runtime: the same kernels and the same preprocessing as on the device, and
half the time of Keras on a CPU.
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from converters.base import Precision
from converters.tflite import converted, traced
from edge.cache import StageCache, content_key
from edge.errors import BundleError
from edge.runtime.bundle import Bundle
from edge.runtime.files import sha256_file, write_bytes
from edge.runtime.session import open_session
from edge.runtime.spec import Preprocessing
from edge.training.base import Base
from edge.training.models import load_keras, without_head
from edge.training.options import Strategy
from edge.training.weights import RANDOM, quiet_keras
from edge.versions import versions

FILE: Final = "base.tflite"
SOURCE: Final = "source/model.keras"


@dataclass(frozen=True, slots=True, kw_only=True)
class Extractor:
    """A model file whose first output holds the features of an image.

    Attributes:
        path: TFLite file: RGB 0..255 -> (1, features), float32.
        preprocessing: The contract of its input.
        name: For people.
        seconds: That writing the file took in this run; 0 where an earlier one wrote it.
        weights: Where its numbers come from, as ``WeightedModel`` names it; empty where a bundle
            trained all of them.
    """

    path: Path
    preprocessing: Preprocessing
    name: str
    seconds: float
    weights: str = ""

    @property
    def features(self) -> int:
        """Length of a vector."""
        return open_session(self.path).outputs[0].shape[-1]

    @property
    def id(self) -> str:
        """sha256 (hex) of file and contract: vectors of two extractors do not compare."""
        return content_key(
            "features",
            {"model": sha256_file(self.path), "preprocessing": self.preprocessing.sha256},
        )


def base_extractor(base: Base, cache: StageCache) -> Extractor:
    """The extractor of a base; written once.

    Raises:
        WeightsUnavailable: No pretrained weights.
        ConversionError: The base cannot be converted.
    """
    parts = {
        "weights": base.id,
        "size": [base.preprocessing.height, base.preprocessing.width],
        "versions": versions(),
    }
    found = _written(base.name, base.preprocessing, parts, lambda: base.load().model, cache)
    return replace(found, weights=RANDOM) if base.is_random else found


def bundle_extractor(path: Path, cache: StageCache) -> Extractor:
    """The extractor of a bundle: its Keras model up to the features that its head sees.

    Raises:
        UsageError: No bundle there.
        BundleError: It does not hold its Keras model, or an altered one.
        ConversionError: The model cannot be converted.
    """
    bundle = Bundle.open(path)
    if SOURCE not in bundle.manifest.files:
        raise BundleError(f"{path} does not hold its Keras model ({SOURCE})")
    source = bundle.checked(SOURCE)
    parts = {"source": bundle.manifest.files[SOURCE], "versions": versions()}

    def load() -> Any:
        quiet_keras(0)
        return without_head(load_keras(source))

    found = _written(bundle.manifest.name, bundle.manifest.preprocessing, parts, load, cache)
    return replace(found, weights=_weights(bundle.manifest.provenance))


def _weights(provenance: Mapping[str, Any]) -> str:
    """Where the numbers come from; empty where the bundle tuned them itself."""
    options = provenance.get("options")
    strategy = options.get("strategy") if isinstance(options, Mapping) else None
    weights = provenance.get("weights")
    return weights if isinstance(weights, str) and strategy != Strategy.FINE_TUNE else ""


def _written(
    name: str,
    preprocessing: Preprocessing,
    parts: dict[str, Any],
    load: Callable[[], Any],
    cache: StageCache,
) -> Extractor:
    key, seconds = content_key("base", parts), 0.0
    if cache.find(key) is None:
        model = load()
        started = time.monotonic()
        content = converted(traced(model), Precision.FP32)
        seconds = time.monotonic() - started
        with cache.store(key) as folder:
            write_bytes(folder / FILE, content)
    path = cache.entry(key) / FILE
    return Extractor(path=path, preprocessing=preprocessing, name=name, seconds=seconds)
