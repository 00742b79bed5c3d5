"""The backbones of Keras Applications, as data: one row each.

Input sizes and scaling are those of the Keras documentation and its ``preprocess_input``.
"""

from dataclasses import dataclass
from difflib import get_close_matches
from enum import StrEnum
from pathlib import Path
from typing import Final

from edge.errors import UsageError
from edge.runtime.bundle import is_bundle


class Scaling(StrEnum):
    """What a network expects of RGB 0..255 (Keras ``imagenet_utils`` names, but "inside")."""

    TF = "tf"  # x / 127.5 - 1
    TORCH = "torch"  # x / 255, then (x - mean) / std per channel
    CAFFE = "caffe"  # BGR, less the mean per channel
    INSIDE = "inside"  # the network scales by itself


@dataclass(frozen=True, slots=True)
class Backbone:
    """One network.

    Attributes:
        keras_name: Its function in ``keras.applications``.
        size: The default height and width of the input, pixels.
        scaling: What it expects of its input.
        alphas: Widths whose ImageNet weights are published; empty where there is one width only.
    """

    keras_name: str
    size: int
    scaling: Scaling
    alphas: tuple[float, ...] = ()

    @property
    def name(self) -> str:
        """The name users type."""
        return self.keras_name.lower()

    @property
    def has_alpha(self) -> bool:
        """Whether Keras builds it in other widths."""
        return bool(self.alphas)


_ROWS: Final = (
    Backbone("ConvNeXtBase", 224, Scaling.INSIDE),
    Backbone("ConvNeXtLarge", 224, Scaling.INSIDE),
    Backbone("ConvNeXtSmall", 224, Scaling.INSIDE),
    Backbone("ConvNeXtTiny", 224, Scaling.INSIDE),
    Backbone("ConvNeXtXLarge", 224, Scaling.INSIDE),
    Backbone("DenseNet121", 224, Scaling.TORCH),
    Backbone("DenseNet169", 224, Scaling.TORCH),
    Backbone("DenseNet201", 224, Scaling.TORCH),
    Backbone("EfficientNetB0", 224, Scaling.INSIDE),
    Backbone("EfficientNetB1", 240, Scaling.INSIDE),
    Backbone("EfficientNetB2", 260, Scaling.INSIDE),
    Backbone("EfficientNetB3", 300, Scaling.INSIDE),
    Backbone("EfficientNetB4", 380, Scaling.INSIDE),
    Backbone("EfficientNetB5", 456, Scaling.INSIDE),
    Backbone("EfficientNetB6", 528, Scaling.INSIDE),
    Backbone("EfficientNetB7", 600, Scaling.INSIDE),
    Backbone("EfficientNetV2B0", 224, Scaling.INSIDE),
    Backbone("EfficientNetV2B1", 240, Scaling.INSIDE),
    Backbone("EfficientNetV2B2", 260, Scaling.INSIDE),
    Backbone("EfficientNetV2B3", 300, Scaling.INSIDE),
    Backbone("EfficientNetV2L", 480, Scaling.INSIDE),
    Backbone("EfficientNetV2M", 480, Scaling.INSIDE),
    Backbone("EfficientNetV2S", 384, Scaling.INSIDE),
    Backbone("InceptionResNetV2", 299, Scaling.TF),
    Backbone("InceptionV3", 299, Scaling.TF),
    Backbone("MobileNet", 224, Scaling.TF, (0.25, 0.5, 0.75, 1.0)),
    Backbone("MobileNetV2", 224, Scaling.TF, (0.35, 0.5, 0.75, 1.0, 1.3, 1.4)),
    Backbone("MobileNetV3Large", 224, Scaling.INSIDE, (0.75, 1.0)),
    Backbone("MobileNetV3Small", 224, Scaling.INSIDE, (0.75, 1.0)),
    Backbone("NASNetLarge", 331, Scaling.TF),
    Backbone("NASNetMobile", 224, Scaling.TF),
    Backbone("ResNet101", 224, Scaling.CAFFE),
    Backbone("ResNet101V2", 224, Scaling.TF),
    Backbone("ResNet152", 224, Scaling.CAFFE),
    Backbone("ResNet152V2", 224, Scaling.TF),
    Backbone("ResNet50", 224, Scaling.CAFFE),
    Backbone("ResNet50V2", 224, Scaling.TF),
    Backbone("VGG16", 224, Scaling.CAFFE),
    Backbone("VGG19", 224, Scaling.CAFFE),
    Backbone("Xception", 299, Scaling.TF),
)

BACKBONES: Final[dict[str, Backbone]] = {row.name: row for row in _ROWS}
NEAREST: Final = 3  # networks that an error names at most, of those with similar names


def backbone(name: str) -> Backbone:
    """Return the row of that name; upper case, dashes and underscores make no difference.

    Raises:
        UsageError: No such backbone; a path is answered as a path.
    """
    row = BACKBONES.get(_plain(name))
    if row is None:
        raise _not_a_network(name)
    return row


def is_backbone(name: str) -> bool:
    """Return whether a network has that name."""
    return _plain(name) in BACKBONES


def near_backbones(name: str) -> str:
    """Return a question after networks of similar names, for the start of a hint; or ""."""
    near = get_close_matches(_plain(name), BACKBONES, NEAREST)
    *others, last = near or [""]
    named = f"{', '.join(others)} or {last}" if others else last
    return f"Did you mean {named}? " if near else ""


def _plain(name: str) -> str:
    return name.lower().replace("-", "").replace("_", "")


def _not_a_network(name: str) -> UsageError:
    known = f"edge zoo lists the {len(BACKBONES)} networks."
    path = Path(name)
    suffix = path.suffix.lower()
    if is_bundle(path):
        return UsageError(
            f"{name} is a bundle, which edge made of a network already",
            hint="edge inspect shows what is in it; edge evaluate, benchmark and deploy take it.",
        )
    if path.is_dir():
        return UsageError(
            f"{name} is a folder; a network of Keras Applications or a Keras file is needed",
            hint=f"A Keras model is a file that ends in .keras or .h5. {known}",
        )
    if path.is_file() and suffix in (".tflite", ".onnx"):
        return UsageError(
            f"{name} is a finished {suffix} file; a network of Keras Applications or a Keras file "
            "is needed",
            hint="Name the .keras or .h5 file that it was made from; edge inspect and edge "
            f"benchmark take it as it is. {known}",
        )
    if path.is_file():
        return UsageError(
            f"{name} is not a Keras file by its name, which ends in {suffix or 'nothing'}",
            hint=f"A Keras model is a file that ends in .keras or .h5. {known}",
        )
    if suffix or len(path.parts) > 1:
        return UsageError(f"there is no file at {name}", hint=f"Check the path. {known}")
    return UsageError(f"unknown backbone {name!r}", hint=f"{near_backbones(name)}{known}")
