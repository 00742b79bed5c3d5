"""What ``edge explain`` finds: maps of each image by file, and how alike they are."""

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

KERAS: Final = "keras"  # the source of a map that is not of a file


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerMaps:
    """What one layer gives for one image.

    Attributes:
        layer: Its name.
        channels: How many it has.
        maps: (height, width, shown channels), float32; the first ``MOST_CHANNELS`` of them.
    """

    layer: str
    channels: int
    maps: NDArray[np.float32]


@dataclass(frozen=True, slots=True, kw_only=True)
class HeatMap:
    """What one model looked at in one image.

    Attributes:
        source: The variant, or ``keras``.
        method: ``grad-cam``, ``occlusion`` or ``rise``.
        values: (height, width) of the tensor that the model takes, float32; what speaks for the
            class is positive. In log-odds for masks, without unit for Grad-CAM.
        score: Probability of the class, 0..1.
        answer: Label of the most probable class.
        invokes: Inferences that it took.
        seconds: That it took, measured.
        correlation: Pearson's r with the map of the first file, -1..1; None for the first file,
            and where one of the two is flat.
        repeatability: With random masks, the correlation to be expected with the map of as many
            others; None where there is none.
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
        """Everything but the values, which stand in the .npz file."""
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
    """One image explained.

    Attributes:
        image: Path as text.
        label: The class that is explained.
        pixels: (height, width, 3), uint8 RGB: what every model saw.
        maps: Grad-CAM first, where there is one, then a map of each file.
        layers: What chosen layers of the Keras model gave.
    """

    image: str
    label: str
    pixels: NDArray[np.uint8]
    maps: tuple[HeatMap, ...]
    layers: tuple[LayerMaps, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """What a run found.

    Attributes:
        name: Of the bundle.
        images: Each image.
        filters: Name and (height, width, 3, filters) of the first convolution, if there is one.
        without_keras: Why there is nothing of the Keras model; empty otherwise.
        without_gradcam: Why there is no Grad-CAM; empty otherwise.
        problems: Why an image could not be read, by its path.
        settings: Method, masks and seed.
    """

    name: str
    images: tuple[ImageExplanation, ...]
    filters: tuple[str, NDArray[np.float32]] | None
    without_keras: str
    without_gradcam: str
    problems: dict[str, str]
    settings: dict[str, Any]


def correlation(one: NDArray[np.float32], other: NDArray[np.float32]) -> float | None:
    """Pearson's r of two maps; None where one of them is flat."""
    first, second = one.ravel().astype(np.float64), other.ravel().astype(np.float64)
    first, second = first - first.mean(), second - second.mean()
    scale = float(np.sqrt((first @ first) * (second @ second)))
    return None if scale == 0 else float(np.clip((first @ second) / scale, -1, 1))
