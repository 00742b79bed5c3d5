"""Address -> camera: one table of the kinds of addresses, and the search for cameras."""

import importlib
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final, cast

from edge.errors import CameraError
from edge.runtime.cameras.camera import (
    Camera,
    CameraDescription,
    CameraFault,
    CameraRequest,
    shown_address,
)

USB: Final = "usb"
CSI: Final = "csi"
NETWORK: Final = "network"
FILES: Final = "files"
Opener = Callable[[str, CameraRequest], Camera]
Lister = Callable[[], list[CameraDescription]]


@dataclass(frozen=True, slots=True, kw_only=True)
class AddressKind:
    """One kind of addresses, and who opens them.

    Attributes:
        name: What it is called: ``usb``, ``csi``, ``network`` or ``files``.
        pattern: A regular expression that a whole address matches; the first kind of the table
            that it matches is taken.
        forms: How such addresses look, for messages.
        module: The module below ``edge.runtime.cameras``, imported only when it is used.
        opener: The name of its function ``(address, request) -> Camera``.
        lister: The name of its function ``() -> descriptions`` of the cameras that are here; empty
            where they cannot be looked for.
    """

    name: str
    pattern: str
    forms: str
    module: str
    opener: str
    lister: str = ""

    def open(self, address: str, request: CameraRequest) -> Camera:
        """Open a camera of this kind."""
        return cast("Opener", self._function(self.opener))(address, request)

    def cameras(self) -> list[CameraDescription]:
        """Return the cameras of this kind that are here."""
        return cast("Lister", self._function(self.lister))() if self.lister else []

    def _function(self, name: str) -> object:
        return getattr(importlib.import_module(f"edge.runtime.cameras.{self.module}"), name)


KINDS: Final = (
    AddressKind(
        name=USB,
        pattern=r"[0-9]{1,4}|/dev/(?!shm/).*",
        forms="0, /dev/video0 or /dev/v4l/by-id/NAME (a USB camera)",
        module="v4l2",
        opener="open_device",
        lister="devices",
    ),
    AddressKind(
        name=CSI,
        pattern=r"csi(:[0-9]{1,2})?",
        forms="csi or csi:1 (a camera on the ribbon cable of a Raspberry Pi)",
        module="program",
        opener="open_csi",
        lister="csi_cameras",
    ),
    AddressKind(
        name=NETWORK,
        pattern=r"(?i:rtsps?)://.*",
        forms="rtsp://HOST/PATH (a network camera, through ffmpeg)",
        module="program",
        opener="open_rtsp",
    ),
    AddressKind(
        name=FILES,
        pattern=r"(?!.*://).+",
        forms="a folder of pictures, a .mjpeg or .mjpg file, or a .y4m file (played in a circle)",
        module="played",
        opener="open_played",
    ),
)


def open_camera(address: str | None = None, request: CameraRequest | None = None) -> Camera:
    """Open a camera, or pictures that are played as if they came from one.

    Args:
        address: ``0``, ``/dev/video0``, ``/dev/v4l/by-id/...``, ``csi``, ``csi:1``, ``rtsp://...``,
            a folder, a ``.mjpeg``, ``.mjpg`` or ``.y4m`` file; None: the first camera that is here.
        request: The size and the rate to ask for; None for 640 x 480 at 10 frames a second.

    Raises:
        CameraError: It cannot be opened; its ``fault`` says why.
    """
    if address is None:
        address = _first()
    return kind_of(address).open(address, request or CameraRequest())


def check_address(address: str) -> None:
    """Refuse what no camera will come back at: no address, or a file that is missing or unplayable.

    Raises:
        CameraError: It is one of these.
    """
    if kind_of(address).name != FILES:
        return
    from edge.runtime.cameras.played import holds_pictures

    try:
        holds_pictures(Path(address))
    except CameraError as error:
        if error.fault != CameraFault.MISSING:
            raise
        message = f"there is no file or folder {shown_address(address)}"
        raise CameraError(message, fault=error.fault, hint=_forms()) from error


def list_cameras() -> list[CameraDescription]:
    """Return the cameras that are here, USB cameras first; none of them is left open."""
    return [camera for kind in KINDS for camera in kind.cameras()]


def kind_of(address: str) -> AddressKind:
    """Return the kind of an address.

    Raises:
        CameraError: It is of none (``CameraFault.UNSUPPORTED``).
    """
    for kind in KINDS:
        if re.fullmatch(kind.pattern, address, re.DOTALL):
            return kind
    raise CameraError(
        f"{shown_address(address) or 'an empty text'} is no address of a camera",
        fault=CameraFault.UNSUPPORTED,
        hint=_forms(),
    )


def _first() -> str:
    """Return the address of the first camera that is here.

    Raises:
        CameraError: There is none (``CameraFault.MISSING``).
    """
    for kind in KINDS:
        for camera in kind.cameras():
            return camera.address
    raise CameraError(
        "no camera was found: no /dev/video device gives pictures, and rpicam-vid or libcamera-vid "
        "is not installed or names no camera",
        fault=CameraFault.MISSING,
        hint=f"Plug one in, or name it. {_forms()}",
    )


def _forms() -> str:
    return f"An address is {'; '.join(kind.forms for kind in KINDS)}."
