"""The ImageNet classifiers of Keras Applications: name -> model file, labels and contract."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from converters.base import Precision
from converters.tflite import converted, traced
from edge.cache import StageCache, content_key
from edge.errors import UsageError, WeightsUnavailable
from edge.progress import Progress, Silent
from edge.runtime.bundle import is_bundle
from edge.runtime.classifier import Classifier
from edge.runtime.contract import Preprocessing, Resize
from edge.runtime.files import readable, write_bytes
from edge.runtime.session import open_session
from edge.training.backbones import Backbone, backbone, is_backbone, near_backbones
from edge.training.models import load_keras
from edge.training.options import IMAGENET
from edge.training.weights import load_classifier, weights_id
from edge.versions import versions
from edge.weights import imagenet_classes

KERAS_FILE: Final = "model.keras"
FILE: Final = "classifier.tflite"
CROP_FRACTION: Final = 0.875  # 224 of 256 pixels, as ImageNet is scored (Krizhevsky et al. 2012)


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageNetClassifier:
    """A classifier of the 1000 ImageNet classes as a float TFLite file.

    Attributes:
        name: The name of the network, as users type it.
        path: The TFLite file: RGB 0..255 -> (1, 1000) probabilities, float32.
        labels: One label per class; all are different.
        preprocessing: The contract of its input.
    """

    name: str
    path: Path
    labels: tuple[str, ...]
    preprocessing: Preprocessing

    def open(self, *, engine: str | None = None, threads: int = 1) -> Classifier:
        """Load the classifier.

        Raises:
            UsageError: The engine is unknown, or not for TFLite.
            EngineUnavailable: There is no interpreter installed.
        """
        session = open_session(self.path, engine=engine, threads=threads)
        return Classifier(session, self.labels, self.preprocessing)


def names_network(model: Path) -> bool:
    """Return whether the words of the user name a network; a bundle of that name goes first.

    Raises:
        UsageError: They name neither a network nor a path at which something lies.
    """
    if is_bundle(model):
        return False
    if is_backbone(str(model)):
        return True
    if model.is_file() and model.suffix.lower() in (".tflite", ".onnx"):
        raise UsageError(
            f"no bundle at {readable(model)}: it is a model file",
            hint="edge predict takes a bundle or the name of a network. edge inspect and edge "
            "benchmark take model files; edge build and edge export make bundles.",
        )
    if model.exists():
        return False  # Bundle.open says what is wrong with it
    if model.suffix.lower() in (".tflite", ".onnx", ".keras", ".h5") or len(model.parts) > 1:
        raise UsageError(
            f"{readable(model)}: no such file or folder",
            hint="Name a bundle, a .tflite or .onnx file, or a network, which edge zoo lists.",
        )
    raise UsageError(
        f"no bundle at {readable(model)}, and no network has that name",
        hint=f"{near_backbones(str(model))}Name a network, which edge zoo lists, or make a bundle "
        "with edge build PHOTOS --output BUNDLE.",
    )


def imagenet_classifier(
    name: str, cache: StageCache, progress: Progress | None = None
) -> ImageNetClassifier:
    """Return the classifier of that name; it is converted once, which loads TensorFlow, and kept.

    Args:
        name: The name of a network.
        cache: The cache that keeps the file.
        progress: It shows the conversion, if there is one.

    Raises:
        UsageError: There is no such network.
        WeightsUnavailable: Its weights are not here and cannot be downloaded.
        ConversionError: The network cannot be converted.
    """
    row = backbone(name)
    identity = weights_id(row, IMAGENET, 0)
    key = content_key("classifier-tflite", {"weights": identity, "versions": versions()})
    if cache.find(key) is None:
        with (progress or Silent()).stage(f"convert {row.name}"):
            source = _source(row, cache)
            content = converted(traced(load_keras(source)), Precision.FP32)
            with cache.store(key) as folder:
                write_bytes(folder / FILE, content)
    return ImageNetClassifier(
        name=row.name,
        path=cache.entry(key) / FILE,
        labels=distinct([label for _, label in imagenet_classes()]),
        preprocessing=Preprocessing(
            height=row.size,
            width=row.size,
            resize=Resize.CENTER_CROP,
            crop_fraction=CROP_FRACTION,
        ),
    )


def _source(row: Backbone, cache: StageCache) -> Path:
    try:
        return keras_classifier(row, IMAGENET, 0, cache)[1]
    except WeightsUnavailable as error:
        raise WeightsUnavailable(
            error.message,
            hint="Connect to the internet, or use mobilenet, whose weights are shipped, or a "
            "bundle made by edge export with --weights PATH.",
        ) from error


def keras_classifier(row: Backbone, weights: str, seed: int, cache: StageCache) -> tuple[str, Path]:
    """Return key and .keras file of a network with its 1000-class top; it is written once.

    The input of the network is RGB, 0..255.

    Args:
        row: The network.
        weights: ``imagenet``, ``none`` (random), or the path of a weights file.
        seed: The seed of random weights.
        cache: The cache that keeps the file.

    Raises:
        UsageError: There is no file of that name.
        WeightsUnavailable: There is no connection and no local copy, or the file does not fit.
    """
    identity = weights_id(row, weights, seed)
    key = content_key("classifier", {"weights": identity, "versions": versions()})
    if cache.find(key) is None:
        loaded = load_classifier(row, weights, seed)
        with cache.store(key) as folder:
            loaded.model.save(folder / KERAS_FILE)
    return key, cache.entry(key) / KERAS_FILE


def distinct(labels: Sequence[str]) -> tuple[str, ...]:
    """Tell equal labels apart: the later "crane" and the later "maillot" get their index."""
    seen: set[str] = set()
    result = []
    for index, label in enumerate(labels):
        result.append(f"{label} ({index})" if label in seen else label)
        seen.add(label)
    return tuple(result)
