"""What ``edge tag`` takes: light, since the command line loads it before it knows the command."""

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Final

NETWORK: Final = "mobilenet"
THRESHOLD: Final = 0.2
MAX_TAGS: Final = 3


class SidecarName(StrEnum):
    """How the sidecar of IMG_1.jpg is called."""

    APPENDED = "appended"  # IMG_1.jpg.xmp: darktable, digiKam, exiv2
    REPLACED = "replaced"  # IMG_1.xmp: Adobe's programs, for raw files


@dataclass(frozen=True, slots=True, kw_only=True)
class TagOptions:
    """How to tag; None takes what the index was made with, or else the default.

    Attributes:
        bundle: That classifies; None for a network.
        variant: Of the bundle; None for its default one.
        backbone: Network of Keras Applications with its ImageNet classes.
        threshold: Least probability of a tag, 0..1.
        max_tags: At most so many tags of a picture.
        dask: Address of a Dask scheduler that computes.
    """

    bundle: Path | None = None
    variant: str | None = None
    backbone: str | None = None
    threshold: float | None = None
    max_tags: int | None = None
    dask: str | None = None
