"""The result of ``edge explain``: maps of each image by file, and how alike they are."""

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

KERAS: Final = "keras"  # the source of a map that is not of a file


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerMaps:
    """The output of one layer for one image.

    Attributes:
        layer: The name of the layer.
        channels: The number of its channels.
        maps: (height, width, shown channels), float32; the first ``MOST_CHANNELS`` channels.
    """

    layer: str
    channels: int
    maps: NDArray[np.float32]


@dataclass(frozen=True, slots=True, kw_only=True)
class HeatMap:
    """What one model looks at in one image.

    Attributes:
        source: The name of the variant, or ``KERAS``.
        method: ``grad-cam``, ``occlusion`` or ``rise``.
        values: (height, width) of the tensor that the model takes, float32; what speaks for the
            class is positive. The unit is log-odds for masks; Grad-CAM has none.
        score: The probability of the class, 0..1.
        answer: The label of the most probable class.
        invokes: The number of inferences that the map took.
        seconds: The measured time that the map took.
        correlation: Pearson's r with the map of the first file, -1..1; None for the first file,
            and if one of the two maps is flat.
        repeatability: With random masks, the correlation to be expected with the map of as many
            other masks; otherwise None.
        flat: Whether nothing that was covered changed the score.
    """

    source: str
    method: str
    values: NDArray[np.float32]
    score: float
    answer: str
    invokes: int
    seconds: float
    correlation: float | None = None
    repeatability: float | None = None
    flat: bool = False

    def to_json(self) -> dict[str, Any]:
        """Return everything but the values, which stand in the .npz file."""
        return {
            "source": self.source,
            "method": self.method,
            "score": self.score,
            "answer": self.answer,
            "invokes": self.invokes,
            "seconds": round(self.seconds, 3),
            "correlation": self.correlation,
            "repeatability": self.repeatability,
            "flat": self.flat,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageExplanation:
    """The explanation of one image.

    Attributes:
        image: The path, as text.
        label: The class that is explained.
        pixels: (height, width, 3), uint8 RGB: what every model saw.
        maps: The Grad-CAM, if there is one, and then a map of each file.
        layers: The outputs of the chosen layers of the Keras model.
    """

    image: str
    label: str
    pixels: NDArray[np.uint8]
    maps: tuple[HeatMap, ...]
    layers: tuple[LayerMaps, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class MapSettings:
    """How the maps of a run were made; ``explanation.json`` has the same names.

    Attributes:
        method: How parts of an image were covered.
        masks: The number of masks.
        seed: The seed of random masks.
        cover: What shows where a mask covers.
        gradcam_layer: The layer whose feature map Grad-CAM explains; None without Grad-CAM.
        gradcam_places: (height, width) of that feature map; None without Grad-CAM.
    """

    method: str
    masks: int
    seed: int
    cover: str
    gradcam_layer: str | None
    gradcam_places: tuple[int, int] | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """The explanations of all images of a run.

    Attributes:
        name: The name of the bundle.
        images: The explanation of each image.
        filters: The name and (height, width, 3, filters) of the first convolution, if there is one.
        without_keras: The reason why nothing of the Keras model is shown; otherwise empty.
        without_gradcam: The reason why there is no Grad-CAM; otherwise empty.
        problems: The reason why an image could not be read, by its path.
        settings: How the maps were made.
    """

    name: str
    images: tuple[ImageExplanation, ...]
    filters: tuple[str, NDArray[np.float32]] | None
    without_keras: str
    without_gradcam: str
    problems: dict[str, str]
    settings: MapSettings


def correlation(one: NDArray[np.float32], other: NDArray[np.float32]) -> float | None:
    """Return Pearson's r of two maps; None if one of them is flat."""
    first, second = one.ravel().astype(np.float64), other.ravel().astype(np.float64)
    first, second = first - first.mean(), second - second.mean()
    scale = float(np.sqrt((first @ first) * (second @ second)))
    return None if scale == 0 else float(np.clip((first @ second) / scale, -1, 1))
