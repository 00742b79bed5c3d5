"""Cameras that a program of the system reads: on a ribbon cable, and in the network.

``rpicam-vid`` (``libcamera-vid`` before Raspberry Pi OS of 2023) is asked rather than picamera2,
which brings a numpy of its own; ``ffmpeg`` is for RTSP.
"""

import re
import shutil
import subprocess
from typing import Final
from urllib.parse import unquote

from edge.errors import CameraError
from edge.runtime.cameras.camera import (
    JPEG_QUALITY,
    Camera,
    CameraDescription,
    CameraFault,
    CameraRequest,
    shown_address,
)
from edge.runtime.cameras.process import ProcessCamera, Program
from edge.runtime.printable import one_line

_CSI_PROGRAMS: Final = ("rpicam-vid", "libcamera-vid")
_CSI_PATIENCE: Final = 10.0  # seconds; a sensor takes one or two to begin
_RTSP_PATIENCE: Final = 20.0  # seconds; a picture from which decoding can begin may come each 10 s
_LIST_SECONDS: Final = 10.0
_CSI_HINT: Final = "See that its cable is in and that no other program uses it: rpicam-hello"
_RTSP_HINT: Final = "See that the address, the user and the password are right: ffplay URL"
# "0 : imx708 [4608x2592 10-bit RGGB] (/base/soc/i2c0mux/i2c@1/imx708@1a)"
_LISTED: Final = re.compile(r"^\s*([0-9]{1,2})\s*:\s*(\S+)", re.MULTILINE)
_FFMPEG_QUALITY: Final = "4"  # of 2, the best, to 31: about 85 of other programs


def open_csi(address: str, request: CameraRequest) -> Camera:
    """Open a camera on a ribbon cable of a Raspberry Pi: ``csi`` is the first one.

    Raises:
        CameraError: There is none, its program is not installed, or it is used by another one.
    """
    number = int(address.partition(":")[2] or 0)
    program = _csi_program()
    if program is None:
        raise CameraError(
            f"{address}: neither {' nor '.join(_CSI_PROGRAMS)} is installed",
            fault=CameraFault.MISSING,
            hint="Install it on a Raspberry Pi: sudo apt install rpicam-apps-lite",
        )
    description = CameraDescription(
        address=address,
        name=f"camera {number} of {_CSI_PROGRAMS[0][:6]}",
        format="MJPG",
        rate=request.rate,
    )
    command = csi_command(program, number, request)
    return ProcessCamera(
        Program(command=command, description=description, hint=_CSI_HINT), _CSI_PATIENCE
    )


def csi_command(program: str, number: int, request: CameraRequest) -> tuple[str, ...]:
    """Return the command that writes JPEGs until it is ended, each as soon as it is there."""
    width, height = (max(2, side - side % 2) for side in (request.width, request.height))
    return (
        *(program, "--timeout", "0", "--nopreview", "--codec", "mjpeg", "--output", "-"),
        *("--flush", "--camera", str(number), "--width", str(width), "--height", str(height)),
        *("--framerate", f"{request.rate:g}", "--quality", str(JPEG_QUALITY)),
    )


def csi_cameras() -> list[CameraDescription]:
    """Return the cameras on ribbon cables; none where their program is not installed."""
    program = _csi_program()
    if program is None:
        return []
    try:
        done = subprocess.run(
            [program, "--list-cameras"],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=_LIST_SECONDS,
            check=False,
            start_new_session=True,
        )
    except (OSError, subprocess.TimeoutExpired):
        return []
    return [
        CameraDescription(address=f"csi:{number}", name=one_line(name), format="MJPG")
        for number, name in _LISTED.findall(done.stdout.decode(errors="replace"))
    ]


def _csi_program() -> str | None:
    return next(filter(None, map(shutil.which, _CSI_PROGRAMS)), None)


def open_rtsp(address: str, request: CameraRequest) -> Camera:
    """Open a network camera; the user and the password of its URL are never shown.

    Other users of this machine see them in the list of processes: ffmpeg takes them in no other
    way.

    Raises:
        CameraError: ffmpeg is not installed, or gives no picture.
    """
    shown = shown_address(address)
    if not re.fullmatch(r"[!-~]+", address):
        raise CameraError(
            f"{one_line(shown)}: a URL has no spaces and no letters beyond ASCII",
            fault=CameraFault.UNSUPPORTED,
            hint="Write them as %20 and so on.",
        )
    program = shutil.which("ffmpeg")
    if program is None:
        raise CameraError(
            f"{shown}: ffmpeg is not installed, which reads network cameras",
            fault=CameraFault.MISSING,
            hint="Install it: sudo apt install ffmpeg",
        )
    description = CameraDescription(address=shown, name=shown, format="RTSP", rate=request.rate)
    run = Program(
        command=rtsp_command(program, address, request),
        description=description,
        secrets=secrets(address),
        hint=_RTSP_HINT,
    )
    return ProcessCamera(run, _RTSP_PATIENCE)


def rtsp_command(program: str, address: str, request: CameraRequest) -> tuple[str, ...]:
    """Return the command that decodes a stream and writes JPEGs at the rate, without waiting."""
    # Not larger than was asked for, and of the shape that the camera has.
    size = f"w='min({request.width},iw)':h='min({request.height},ih)'"
    filters = (
        f"fps={request.rate:g},scale={size}:force_original_aspect_ratio=decrease"
        ":force_divisible_by=2"
    )
    return (
        *(program, "-nostdin", "-hide_banner", "-loglevel", "error"),
        *("-rtsp_transport", "tcp", "-fflags", "nobuffer", "-flags", "low_delay"),
        *("-i", address, "-an", "-sn", "-dn", "-vf", filters),
        *("-c:v", "mjpeg", "-q:v", _FFMPEG_QUALITY, "-pix_fmt", "yuvj420p"),
        *("-f", "mjpeg", "-flush_packets", "1", "pipe:1"),
    )


def secrets(address: str) -> tuple[str, ...]:
    """Return what of a URL must not be shown, longest first: the URL, user, password, query."""
    rest = address.partition("://")[2]
    user, _, password = rest.rpartition("@")[0].partition(":")
    _, query_mark, query = rest.rpartition("@")[2].partition("?")
    found = {address, password, f"{user}:{password}" if password else "", query_mark and query}
    found |= {unquote(word) for word in found}
    return tuple(sorted(filter(None, found), key=len, reverse=True))
