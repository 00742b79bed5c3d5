"""What the options of ``edge tag`` can be."""

from enum import StrEnum


class SidecarName(StrEnum):
    """How the sidecar of IMG_1.jpg is called."""

    APPENDED = "appended"  # IMG_1.jpg.xmp: darktable, digiKam, exiv2
    REPLACED = "replaced"  # IMG_1.xmp: Adobe's programs, for raw files
