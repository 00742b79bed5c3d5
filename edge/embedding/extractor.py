"""The extractor: a base as a float TFLite file, which gives the features of an image.

It runs on the runtime of edge: the same kernels and the same preprocessing as on the device, and
half the time of Keras on a CPU.
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Final

from converters.base import Precision
from converters.tflite import converted, traced
from edge import schema
from edge.cache import StageCache, content_key
from edge.embedding.table import Header
from edge.errors import BundleError, DataError
from edge.runtime.bundle import Bundle
from edge.runtime.classifier import check_classifier
from edge.runtime.contract import Preprocessing
from edge.runtime.files import sha256_file, write_bytes
from edge.runtime.session import open_session
from edge.training.base import Base
from edge.training.keras_files import KERAS_SUFFIXES
from edge.training.models import load_keras, without_head
from edge.training.options import IMAGENET, NONE, BaseOptions, Strategy
from edge.training.weights import RANDOM, quiet_keras
from edge.versions import versions

FILE: Final = "base.tflite"
SOURCE: Final = "source/model.keras"


@dataclass(frozen=True, slots=True, kw_only=True)
class Extractor:
    """A model file whose first output holds the features of an image.

    Attributes:
        path: The TFLite file: RGB 0..255 -> (1, features), float32.
        preprocessing: The contract of its input.
        name: Its name, for people.
        seconds: The time that writing the file took in this run, in seconds; 0 if an earlier run
            wrote it.
        weights: Where its weights come from, as ``WeightedModel`` names it; empty if a bundle
            trained all of them.
    """

    path: Path
    preprocessing: Preprocessing
    name: str
    seconds: float
    weights: str = ""

    @property
    def features(self) -> int:
        """The length of a vector."""
        return open_session(self.path).outputs[0].shape[-1]

    @property
    def id(self) -> str:
        """The content key of file and contract; vectors of two extractors do not compare."""
        return content_key(
            "features",
            {"model": sha256_file(self.path), "preprocessing": self.preprocessing.sha256},
        )


def base_extractor(base: Base, cache: StageCache) -> Extractor:
    """Return the extractor of a base; its file is written once.

    Raises:
        WeightsUnavailable: There are no pretrained weights.
        ConversionError: The base cannot be converted.
    """
    parts = {
        "weights": base.id,
        "size": [base.preprocessing.height, base.preprocessing.width],
        "versions": versions(),
    }
    extractor = _written(base.name, base.preprocessing, parts, lambda: base.load().model, cache)
    return replace(extractor, weights=RANDOM) if base.is_random else extractor


def bundle_extractor(path: Path, cache: StageCache) -> Extractor:
    """Return the extractor of a bundle: its Keras model up to the features that its head sees.

    Raises:
        UsageError: There is no bundle at the path.
        BundleError: The bundle does not hold its Keras model, or holds an altered one.
        ConversionError: The model cannot be converted.
    """
    bundle = Bundle.open(path)
    check_classifier(bundle)
    if SOURCE not in bundle.manifest.files:
        raise BundleError(f"{path} does not hold its Keras model ({SOURCE})")
    source = bundle.checked(SOURCE)
    parts = {"source": bundle.manifest.files[SOURCE], "versions": versions()}

    def load() -> Any:
        quiet_keras(0)
        return without_head(load_keras(source))

    extractor = _written(bundle.manifest.name, bundle.manifest.preprocessing, parts, load, cache)
    return replace(extractor, weights=_weights(bundle.manifest.provenance))


def _weights(provenance: Mapping[str, Any]) -> str:
    """Return where the weights come from; empty if the bundle tuned them itself."""
    options = provenance.get("options")
    strategy = options.get("strategy") if isinstance(options, Mapping) else None
    weights = provenance.get("weights")
    return weights if isinstance(weights, str) and strategy != Strategy.FINE_TUNE else ""


def _written(
    name: str,
    preprocessing: Preprocessing,
    parts: Mapping[str, object],
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


ExtractorSource = BaseOptions | Path
"""What an extractor is made from: a base, or the path of a bundle."""

_BACKBONE: Final = "backbone"
_BUNDLE: Final = "bundle"
_EMBED_AGAIN: Final = "Run edge embed again."


@dataclass(frozen=True, slots=True)
class _BundleSource:
    path: Path


def source_json(source: ExtractorSource) -> dict[str, Any]:
    """Return the source as JSON values, with absolute paths, which hold from everywhere."""
    if isinstance(source, Path):
        return {"kind": _BUNDLE, "path": str(source.absolute())}
    value = asdict(source)
    if Path(source.backbone).suffix.lower() in KERAS_SUFFIXES:
        value["backbone"] = str(Path(source.backbone).absolute())
    if source.weights not in (IMAGENET, NONE):
        value["weights"] = str(Path(source.weights).absolute())
    return {"kind": _BACKBONE, **value}


def source_from_json(value: Mapping[str, Any]) -> ExtractorSource:
    """Read what ``source_json`` wrote.

    Raises:
        DataError: A field is missing or unknown, or its value is not allowed.
    """
    kinds: dict[object, type[BaseOptions | _BundleSource]]
    kinds = {_BACKBONE: BaseOptions, _BUNDLE: _BundleSource}
    kind = value.get("kind")
    if kind not in kinds:
        raise DataError(f"the source of the embedding file is of kind {kind!r}", hint=_EMBED_AGAIN)
    source = schema.from_json(
        kinds[kind],
        {name: item for name, item in value.items() if name != "kind"},
        "the source of the embedding file",
        hint=_EMBED_AGAIN,
        error=DataError,
    )
    return source.path if isinstance(source, _BundleSource) else source


def open_extractor(source: ExtractorSource, cache: StageCache) -> Extractor:
    """Return the extractor of a source; see ``base_extractor`` and ``bundle_extractor``."""
    if isinstance(source, Path):
        return bundle_extractor(source, cache)
    return base_extractor(Base(source), cache)


def extractor_of(header: Header, cache: StageCache) -> Extractor:
    """Make the extractor of an embedding file again, and compare its id.

    Raises:
        DataError: The same source now gives another extractor.
    """
    source = source_from_json(header.source)
    extractor = open_extractor(source, cache)
    if not isinstance(source, Path):  # the levels of a base are those of the embedded pictures
        contract = replace(extractor.preprocessing, levels=header.preprocessing.levels)
        extractor = replace(extractor, preprocessing=contract)
    if extractor.id != header.extractor:
        raise DataError(
            f"the vectors are of another extractor: {header.name} gives "
            f"{_short(extractor.id)} here, the file was made by {_short(header.extractor)}",
            hint="The bundle or weights file has changed since, or the versions of the packages "
            "have: make the file again with edge embed.",
        )
    return extractor


def _short(id_: str) -> str:
    return id_.rpartition("-")[2][:12]
