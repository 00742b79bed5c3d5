"""What ``edge tag`` takes: light, since the command line loads it before it knows the command."""

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Final

NETWORK: Final = "mobilenet"
THRESHOLD: Final = 0.2  # the least probability of a tag
MAX_TAGS: Final = 3  # tags of one picture


class SidecarName(StrEnum):
    """The name of the sidecar of IMG_1.jpg."""

    APPENDED = "appended"  # IMG_1.jpg.xmp: darktable, digiKam, exiv2
    REPLACED = "replaced"  # IMG_1.xmp: Adobe's programs, for raw files


@dataclass(frozen=True, slots=True, kw_only=True)
class TagOptions:
    """How to tag; None takes what the index was made with, or the default if it is new.

    Attributes:
        bundle: The bundle that classifies; None for a network.
        variant: The variant of the bundle; None for its default one.
        backbone: The network of Keras Applications that classifies, with its ImageNet classes.
        threshold: The least probability of a tag, 0..1.
        max_tags: The maximum number of tags of a picture.
        dask: The address of a Dask scheduler that computes; None computes in this process.
    """

    bundle: Path | None = None
    variant: str | None = None
    backbone: str | None = None
    threshold: float | None = None
    max_tags: int | None = None
    dask: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class TagSettings:
    """How the pictures of an index were tagged, as the index keeps it.

    Attributes:
        bundle: The path of the bundle that classified; None if a network did.
        variant: The variant of the bundle.
        network: The network of Keras Applications that classified; None if a bundle did.
        threshold: The least probability of a tag, 0..1.
        max_tags: The maximum number of tags of a picture.
        classifier: The content key of whatever decides the scores.
    """

    bundle: str | None = None
    variant: str | None = None
    network: str | None = None
    threshold: float = THRESHOLD
    max_tags: int = MAX_TAGS
    classifier: str = ""
