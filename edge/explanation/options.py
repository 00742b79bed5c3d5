"""What ``edge explain`` takes: light, since the command line loads it before all commands."""

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Final

RANDOM_MASKS: Final = 600  # masks, unless the user says otherwise


class MaskMethod(StrEnum):
    """How masks are made."""

    OCCLUSION = "occlusion"
    RISE = "rise"


@dataclass(frozen=True, slots=True, kw_only=True)
class ExplainOptions:
    """The options of ``edge explain``, as resolved values.

    Attributes:
        bundle: The folder of the bundle.
        images: The image files.
        variants: The files to explain; if empty, a float file and the default file of the bundle.
        label: The class to explain; None for the most probable class of the first file.
        layers: Layers of the Keras model; if empty, the first, the middle and the last.
        method: How parts of an image are covered.
        masks: The number of random masks.
        seed: The seed of the random masks.
        keras: Whether to look at the Keras model as well, which loads TensorFlow.
    """

    bundle: Path
    images: tuple[Path, ...]
    variants: tuple[str, ...] = ()
    label: str | None = None
    layers: tuple[str, ...] = ()
    method: MaskMethod = MaskMethod.RISE
    masks: int = RANDOM_MASKS
    seed: int = 0
    keras: bool = True
