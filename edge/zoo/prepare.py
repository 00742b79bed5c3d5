"""One network made ready: built, counted, and converted; kept in the cache by content."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from converters.base import ConversionRequest, targets
from edge import schema
from edge.cache import StageCache, content_key
from edge.errors import EdgeError, OutputError, WeightsUnavailable
from edge.pipeline.conversion import convert_all
from edge.progress import Step
from edge.runtime.contract import Preprocessing
from edge.runtime.files import write_json
from edge.training.backbones import Backbone, backbone
from edge.training.options import IMAGENET, NONE
from edge.training.weights import WeightedModel, load_classifier
from edge.versions import versions

SEED: Final = 0
IMAGES: Final = 4  # generated pictures; they set statistics of random networks, and int8 ranges
LARGE: Final = 400  # pixels on a side; Keras holds all activations of a pass: 17 GB for 4 of 600
GRAIN: Final = 8  # pixels on a side of one patch of colour


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkFacts:
    """What was counted in a Keras model.

    Attributes:
        parameters: The number of elements of all weights, with the statistics of batch
            normalization.
        depth: The number of layers that have weights.
        size_bytes: The size of the parameters as float32.
        input_size: The height and width of the input, pixels.
    """

    parameters: schema.Count
    depth: schema.Count
    size_bytes: schema.Count
    input_size: schema.Count


def counted(model: Any, input_size: int) -> NetworkFacts:
    """Count what the published table states of a Keras model.

    Args:
        model: The model as ``keras.applications`` builds it; a scaling in front has no weights.
        input_size: The height and width of the input, pixels.
    """
    parameters = int(model.count_params())
    return NetworkFacts(
        parameters=parameters,
        depth=sum(1 for layer in model.layers if layer.weights),
        size_bytes=4 * parameters,
        input_size=input_size,
    )


def pictures(size: int) -> NDArray[np.uint8]:
    """Generate pictures of coloured patches, (IMAGES, size, size, 3), RGB.

    Patches and not noise: what a convolution sees of noise averages out.
    """
    patches = -(-size // GRAIN)
    random = np.random.default_rng(SEED)
    coarse = random.integers(0, 256, (IMAGES, patches, patches, 3), np.uint8)
    return coarse.repeat(GRAIN, axis=1).repeat(GRAIN, axis=2)[:, :size, :size]


def random_network(row: Backbone) -> WeightedModel:
    """Build the network with 1000 classes and random weights that behave like trained ones."""
    network = load_classifier(row, NONE, SEED)
    images = pictures(row.size)
    settle(network.model, images[:1] if row.size > LARGE else images)
    return network


def settle(model: Any, images: NDArray[np.uint8]) -> None:
    """Give a random network's batch normalization the statistics of some images, in place.

    Without them activations of a deep random network vanish or explode: it would compute with
    denormal numbers, which takes longer, and an integer file would hold nothing but zeros.
    """
    import keras

    layers = [layer for layer in model.layers if isinstance(layer, keras.layers.BatchNormalization)]
    momenta = [layer.momentum for layer in layers]
    for layer in layers:
        layer.momentum = 0.0  # the moving statistics become those of this batch
    model(images.astype(np.float32), training=True)
    for layer, momentum in zip(layers, momenta, strict=True):
        layer.momentum = momentum


FORMATS: Final = [("tflite-fp32", "tflite-int8"), ("onnx-fp32", "onnx-int8")]
VARIANTS: Final = tuple(name for format_ in FORMATS for name in format_)
SMALL: Final = 30_000_000  # parameters; more, and two converters side by side want 20 GB
MODEL: Final = "model.keras"
PICTURES: Final = "pictures.npy"
RECORD: Final = "network.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """The files of a network.

    Attributes:
        facts: What was counted in the Keras model.
        weights: Where the weights come from.
        random_because: Why the weights are random; empty for published weights.
        keras: The .keras file, RGB 0..255 in.
        pictures: .npy file of the pictures that int8 was calibrated on.
        files: The converted files, by variant.
        failures: Why a variant could not be converted, by variant.
    """

    facts: NetworkFacts
    weights: str
    random_because: str
    keras: Path
    pictures: Path
    files: Mapping[str, Path]
    failures: Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Record:
    """What the cache keeps beside a Keras file."""

    facts: NetworkFacts
    weights: str


def prepare(name: str, weights: str, cache: StageCache, step: Step) -> Prepared:
    """Build and convert what the cache does not hold.

    Args:
        name: The name of a network.
        weights: ``imagenet``, which falls back to random ones, or ``none``.
        cache: The cache where the files are kept.
        step: Told of each finished file.

    Raises:
        UsageError: There is no such network.
        OutputError: The cache cannot be written.
    """
    row = backbone(name)
    entry, reason = _network(row, weights, cache)
    step(1)
    record = schema.read(_Record, entry / RECORD, "the record", error=OutputError)
    files, failures = _converted(row, entry, record.facts, cache, step, corrected=not reason)
    return Prepared(
        facts=record.facts,
        weights=record.weights,
        random_because=reason,
        keras=entry / MODEL,
        pictures=entry / PICTURES,
        files=files,
        failures=failures,
    )


def _network(row: Backbone, weights: str, cache: StageCache) -> tuple[Path, str]:
    """The entry of the Keras model, and why its weights are random; empty if they are not."""
    if weights == IMAGENET:
        try:
            return _entry(row, IMAGENET, lambda: load_classifier(row, IMAGENET, SEED), cache), ""
        except WeightsUnavailable as error:
            reason = error.message
    else:
        reason = "asked for with --weights none"
    return _entry(row, NONE, lambda: random_network(row), cache), reason


def _entry(
    row: Backbone, weights: str, load: Callable[[], WeightedModel], cache: StageCache
) -> Path:
    key = content_key("zoo", {"network": row.name, "weights": weights, "versions": versions()})
    if cache.find(key) is None:
        loaded = load()
        with cache.store(key) as folder:
            loaded.model.save(folder / MODEL)
            np.save(folder / PICTURES, pictures(row.size))
            record = _Record(facts=counted(loaded.model, row.size), weights=loaded.source)
            write_json(folder / RECORD, schema.to_json(record))
    return cache.entry(key)


def _converted(
    row: Backbone,
    entry: Path,
    facts: NetworkFacts,
    cache: StageCache,
    step: Step,
    *,
    corrected: bool,
) -> tuple[dict[str, Path], dict[str, str]]:
    """Files and failures by variant."""
    request = ConversionRequest(
        keras_model=entry / MODEL,
        format="",
        precisions=(),
        output=cache.root,
        calibration=entry / PICTURES,
        name=row.name,
        labels=tuple(str(index) for index in range(1000)),
        preprocessing=Preprocessing(height=row.size, width=row.size),
        corrected=corrected,
    )
    together = [VARIANTS] if facts.parameters < SMALL else FORMATS
    files: dict[str, Path] = {}
    failures: dict[str, str] = {}
    for variants in together:
        try:
            files |= _files(request, variants, entry.name, cache, step)
        except EdgeError:  # which of them it was shows when each is written alone
            for variant in variants:
                try:
                    files |= _files(request, (variant,), entry.name, cache, step)
                except EdgeError as error:
                    failures[variant] = error.message
    return files, failures


def _files(
    request: ConversionRequest,
    variants: tuple[str, ...],
    model_id: str,
    cache: StageCache,
    step: Step,
) -> dict[str, Path]:
    converted = convert_all(
        request,
        targets(variants),
        model_id=model_id,
        calibration_id=f"{model_id}:generated",
        held_out_id="",
        recipes={},
        cache=cache,
        step=step,
    )
    return {item.target.name: item.path for item in converted}
