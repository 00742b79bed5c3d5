"""The backbones of Keras Applications, as data: one row each.

Input sizes and scaling are those of the Keras documentation and its ``preprocess_input``.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from edge.errors import UsageError


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
        size: Default height and width of the input, pixels.
        scaling: What it expects of its input.
        has_alpha: Whether Keras builds it in other widths.
    """

    keras_name: str
    size: int
    scaling: Scaling
    has_alpha: bool = False

    @property
    def name(self) -> str:
        """The name users type."""
        return self.keras_name.lower()


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
    Backbone("MobileNet", 224, Scaling.TF, has_alpha=True),
    Backbone("MobileNetV2", 224, Scaling.TF, has_alpha=True),
    Backbone("MobileNetV3Large", 224, Scaling.INSIDE, has_alpha=True),
    Backbone("MobileNetV3Small", 224, Scaling.INSIDE, has_alpha=True),
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


def backbone(name: str) -> Backbone:
    """The row of that name; upper case, dashes and underscores make no difference.

    Raises:
        UsageError: No such backbone.
    """
    found = BACKBONES.get(name.lower().replace("-", "").replace("_", ""))
    if found is None:
        raise UsageError(
            f"unknown backbone {name!r}", hint=f"Known: {', '.join(sorted(BACKBONES))}."
        )
    return found
