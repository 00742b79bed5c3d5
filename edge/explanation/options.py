"""What ``edge explain`` takes: resolved values."""

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Final

RANDOM_MASKS: Final = 600


class MaskMethod(StrEnum):
    """How masks are made."""

    OCCLUSION = "occlusion"
    RISE = "rise"


@dataclass(frozen=True, slots=True, kw_only=True)
class ExplainOptions:
    """What ``edge explain`` takes.

    Attributes:
        bundle: Folder of the bundle.
        images: Image files.
        variants: Files to explain; empty for a float one and the bundle's default one.
        label: Class to explain; None for the most probable class of the first file.
        layers: Of the Keras model; empty for the first, the middle and the last.
        method: How parts of an image are covered.
        masks: How many random masks.
        seed: Of the random masks.
        keras: Look at the Keras model as well, which loads TensorFlow.
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
