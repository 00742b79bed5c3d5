"""What every camera gives: frames, a description, and faults of few kinds."""

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from io import BytesIO
from typing import TYPE_CHECKING, Final, Protocol, Self

from edge.errors import CameraError, UsageError

if TYPE_CHECKING:
    from PIL import Image

# Seconds; a CSI camera takes two to start, a USB camera after a replug three.
PATIENCE: Final = 10.0
# What a command, or a release, may ask a camera for.
MOST_SIDE: Final = 8192  # pixels
LEAST_RATE: Final = 0.01  # frames a second: one in 100 seconds
MOST_RATE: Final = 240.0
JPEG_QUALITY: Final = 85  # of frames that are encoded here: 40 kB at 640 x 480, no block is seen
MAX_FRAME_BYTES: Final = 16 << 20  # of one JPEG: 4K at quality 100 takes 12 MB
_MAX_SIDE: Final = 16_384  # pixels; no sensor has more, and a JPEG could say four times that
_MAX_RATE: Final = 1000.0  # frames a second
# Schemes are short; without a bound, a long word takes the square of its length.
_URL: Final = re.compile(r"([A-Za-z][A-Za-z0-9+.-]{0,31})://(\S*)")
# What is meant for a URL counts as one, lest a slip of the pen show a password.
_MEANT: Final = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*):/{0,2}(.*@.*)", re.DOTALL)


class CameraFault(StrEnum):
    """Why a camera gives no frame, which decides what helps.

    ``MISSING``: nothing is there, or a program that is needed is not installed. ``GONE``: it was
    there and no longer is. ``BUSY``: another program has it. ``FORBIDDEN``: this user may not.
    ``NO_PICTURE``: it is silent. ``UNSUPPORTED``: it is no camera, or gives no format that is read.
    """

    BUSY = "busy"
    GONE = "gone"
    FORBIDDEN = "forbidden"
    NO_PICTURE = "no-picture"
    UNSUPPORTED = "unsupported"
    MISSING = "missing"


@dataclass(frozen=True, slots=True, kw_only=True)
class Frame:
    """One picture of a camera.

    Attributes:
        number: The camera's count, from 1; a gap is a frame that was lost.
        jpeg: A whole JPEG file: the same bytes are for the model and for a page.
        captured: When it was complete, in seconds of ``time.monotonic()``.
        lost: Frames that the camera or its reader let go since the frame before.
    """

    number: int
    jpeg: bytes
    captured: float
    lost: int = 0

    def image(self) -> "Image.Image":
        """Decode the frame to an image of mode RGB.

        Raises:
            ImageError: The JPEG is damaged.
        """
        from edge.runtime.image import decode_image

        return decode_image(BytesIO(self.jpeg))


@dataclass(frozen=True, slots=True)
class CameraRequest:
    """What a camera is asked for; it may give something else, which its description states.

    Attributes:
        width: Pixels of a row.
        height: Rows.
        rate: Frames a second.

    Raises:
        UsageError: A value is no size and no rate.
    """

    width: int = 640
    height: int = 480
    rate: float = 10.0

    def __post_init__(self) -> None:
        for name, side in (("width", self.width), ("height", self.height)):
            if not 1 <= side <= _MAX_SIDE:
                raise UsageError(
                    f"a camera cannot be asked for a {name} of {side} pixels",
                    hint=f"Ask for 1 to {_MAX_SIDE} pixels.",
                )
        if not (math.isfinite(self.rate) and 0 < self.rate <= _MAX_RATE):
            raise UsageError(
                f"a camera cannot be asked for {self.rate} frames a second",
                hint=f"Ask for more than 0 and at most {_MAX_RATE:g} frames a second.",
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class CameraDescription:
    """What a camera says about itself.

    Attributes:
        address: The address that opens it, without any password.
        name: What its maker or its driver calls it.
        format: What it gives before frames are made of it, such as ``MJPG`` or ``YUYV``.
        width: Pixels of a row; 0 for unknown.
        height: Rows; 0 for unknown.
        rate: Frames a second that it says it gives; 0 for unknown.
        notes: Sentences on what is not as one would expect, such as a picture that is left out.
    """

    address: str
    name: str
    format: str
    width: int = 0
    height: int = 0
    rate: float = 0.0
    notes: tuple[str, ...] = ()


class Camera(Protocol):
    """A camera that is open: ``with open_camera("0") as camera: frame = camera.read(2.0)``.

    One thread reads and closes it.
    """

    @property
    def description(self) -> CameraDescription:
        """What the camera says about itself now."""
        ...

    def read(self, timeout: float) -> Frame:
        """Return the newest frame that was not given yet; wait for one at most ``timeout`` seconds.

        Raises:
            CameraError: No frame came in time (``CameraFault.NO_PICTURE``; one may come later), or
                there will be none until the camera is opened anew.
        """
        ...

    def close(self) -> None:
        """Let the camera go; a second time does nothing."""
        ...

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *failure: object) -> None:
        self.close()

    def __iter__(self) -> Iterator[Frame]:
        """Yield frames for ever, each the newest; a fault is raised as ``read`` raises it."""
        while True:
            yield self.read(PATIENCE)


def closed(address: str) -> CameraError:
    """Return the error of a camera that is read after it was closed."""
    return CameraError(f"{address}: the camera was closed", fault=CameraFault.GONE)


def read_size(text: str) -> tuple[int, int] | None:
    """Return width and height of ``WIDTHxHEIGHT``; None for what no camera is asked for."""
    sides = re.fullmatch("([0-9]{1,5})[xX]([0-9]{1,5})", text)
    size = (int(sides[1]), int(sides[2])) if sides else (0, 0)
    return size if min(size) >= 1 and max(size) <= MOST_SIDE else None


def shown_address(address: str) -> str:
    """Return an address as messages show it: of a URL, neither user, password nor query."""
    meant = _MEANT.fullmatch(address)
    return shown_text(address) if meant is None else _shown_url(meant)


def shown_text(text: str) -> str:
    """Do as ``shown_address`` with every URL in a text, such as what a program says."""
    return _URL.sub(_shown_url, text)


def _shown_url(found: re.Match[str]) -> str:
    """Return a URL that a message can hold.

    A password may itself hold ``@``, ``/``, ``?`` or ``#``: what stands before the last ``@``
    goes. Some cameras want the password in the path (``/user=admin_password=...``): a path that
    is no plain name goes too.
    """
    scheme, rest = found[1], found[2].rpartition("@")[2]
    host, slash, path = rest.partition("/")
    path = re.split("[?#]", path)[0]
    if re.search("[=&;:]", path):
        path = "..."
    return f"{scheme}://{re.split('[?#]', host)[0]}{slash}{path}"
