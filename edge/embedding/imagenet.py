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
from edge.runtime.files import readable, write_bytes
from edge.runtime.session import open_session
from edge.runtime.spec import Preprocessing, Resize
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
        name: Of the network, as users type it.
        path: TFLite file: RGB 0..255 -> (1, 1000) probabilities, float32.
        labels: One per class, all different.
        preprocessing: The contract of its input.
    """

    name: str
    path: Path
    labels: tuple[str, ...]
    preprocessing: Preprocessing

    def open(self, *, engine: str | None = None, threads: int = 1) -> Classifier:
        """The loaded classifier.

        Raises:
            UsageError: The engine is unknown, or not for TFLite.
            EngineUnavailable: No interpreter is installed.
        """
        session = open_session(self.path, engine=engine, threads=threads)
        return Classifier(session, self.labels, self.preprocessing)


def names_network(model: Path) -> bool:
    """Whether the user's words name a network; a bundle of that name goes first.

    Raises:
        UsageError: They name neither, and nothing lies there.
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
    raise UsageError(
        f"no bundle at {readable(model)}, and no network has that name",
        hint=f"{near_backbones(str(model))}Name a network, which edge zoo lists, or make a bundle "
        "with edge build PHOTOS --output BUNDLE.",
    )


def imagenet_classifier(
    name: str, cache: StageCache, progress: Progress | None = None
) -> ImageNetClassifier:
    """The classifier of that name; converted once, which loads TensorFlow, and then kept.

    Args:
        name: Of a network.
        cache: Where the file is kept.
        progress: Shows the conversion, where there is one.

    Raises:
        UsageError: No such network.
        WeightsUnavailable: Its weights are neither here nor to be downloaded.
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
    """Key and .keras file of a network with its 1000-class top, RGB 0..255 in; written once.

    Args:
        row: Which network.
        weights: ``imagenet``, ``none`` (random), or the path of a weights file.
        seed: Of random weights.
        cache: Where the file is kept.

    Raises:
        UsageError: No file of that name.
        WeightsUnavailable: No network and no local copy, or a file that does not fit.
    """
    identity = weights_id(row, weights, seed)
    key = content_key("classifier", {"weights": identity, "versions": versions()})
    if cache.find(key) is None:
        loaded = load_classifier(row, weights, seed)
        with cache.store(key) as folder:
            loaded.model.save(folder / KERAS_FILE)
    return key, cache.entry(key) / KERAS_FILE


def distinct(labels: Sequence[str]) -> tuple[str, ...]:
    """ImageNet calls two classes "crane" and two "maillot": the later one gets its index."""
    seen: set[str] = set()
    result = []
    for index, label in enumerate(labels):
        result.append(f"{label} ({index})" if label in seen else label)
        seen.add(label)
    return tuple(result)
