"""What Linux' interface for cameras looks like from Python: numbers, structures, system calls.

The structures of ``linux/videodev2.h`` are those of a 64-bit kernel, where x86-64 and aarch64 do
not differ. They are bytes that the kernel fills; the functions here know where each field lies.
"""

import fcntl
import mmap
import os
import select
import struct
import time
from contextlib import suppress
from pathlib import Path
from typing import Final, NamedTuple, Protocol

IS_64_BIT: Final = struct.calcsize("P") == 8

# Sizes of the structures, in bytes.
CAPABILITY_BYTES: Final = 104
FORMAT_DESCRIPTION_BYTES: Final = 64
FORMAT_BYTES: Final = 208
REQUEST_BUFFERS_BYTES: Final = 20
BUFFER_BYTES: Final = 88
STREAM_PARAMETERS_BYTES: Final = 204
FRAME_SIZE_BYTES: Final = 44


def request_code(direction: int, number: int, size: int) -> int:
    """Return the number of a request, as ``_IOC`` of asm-generic/ioctl.h composes it.

    Args:
        direction: 1: the program writes, 2: it reads, 3: both.
        number: The request within video devices.
        size: Bytes of its structure.
    """
    return direction << 30 | size << 16 | ord("V") << 8 | number


QUERYCAP: Final = request_code(2, 0, CAPABILITY_BYTES)
ENUM_FMT: Final = request_code(3, 2, FORMAT_DESCRIPTION_BYTES)
S_FMT: Final = request_code(3, 5, FORMAT_BYTES)
REQBUFS: Final = request_code(3, 8, REQUEST_BUFFERS_BYTES)
QUERYBUF: Final = request_code(3, 9, BUFFER_BYTES)
QBUF: Final = request_code(3, 15, BUFFER_BYTES)
DQBUF: Final = request_code(3, 17, BUFFER_BYTES)
STREAMON: Final = request_code(1, 18, 4)
STREAMOFF: Final = request_code(1, 19, 4)
S_PARM: Final = request_code(3, 22, STREAM_PARAMETERS_BYTES)
ENUM_FRAMESIZES: Final = request_code(3, 74, FRAME_SIZE_BYTES)

NAMES: Final = {
    QUERYCAP: "QUERYCAP",
    ENUM_FMT: "ENUM_FMT",
    S_FMT: "S_FMT",
    REQBUFS: "REQBUFS",
    QUERYBUF: "QUERYBUF",
    QBUF: "QBUF",
    DQBUF: "DQBUF",
    STREAMON: "STREAMON",
    STREAMOFF: "STREAMOFF",
    S_PARM: "S_PARM",
    ENUM_FRAMESIZES: "ENUM_FRAMESIZES",
}

_CAPTURE: Final = 1  # V4L2_BUF_TYPE_VIDEO_CAPTURE
_MMAP: Final = 1  # V4L2_MEMORY_MMAP
_PROGRESSIVE: Final = 1  # V4L2_FIELD_NONE
_HAS_DEVICE_CAPS: Final = 0x8000_0000
_CAP_CAPTURE, _CAP_STREAMING, _CAP_IO_MC = 0x1, 0x0400_0000, 0x2000_0000
_DISCRETE: Final = 1  # V4L2_FRMSIZE_TYPE_DISCRETE
_COLORSPACE_JPEG, _FULL_RANGE, _DEFAULT_RANGE = 7, 1, 0
_FLAG_ERROR: Final = 0x40
_CLOCK_MASK, _CLOCK_MONOTONIC = 0xE000, 0x2000
# Bridges to image processors that look like cameras and take pictures from memory (Raspberry Pi).
_NO_CAMERAS: Final = ("bcm2835-isp", "bcm2835-codec", "pispbe", "rpivid", "rpi-hevc-dec")


class Mapped(Protocol):
    """Memory of the driver that the program sees."""

    def __getitem__(self, part: slice) -> bytes: ...

    def close(self) -> None:
        """Let it go."""


class KernelCalls:
    """Every system call that a camera takes; tests put a scripted device in its place."""

    names_folder = Path("/dev/v4l/by-id")

    def open(self, path: str) -> int:
        """Open a device without waiting, and return its descriptor."""
        return os.open(path, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)

    def control(self, descriptor: int, code: int, data: bytearray) -> None:
        """Send a request; the kernel answers in the same bytes."""
        fcntl.ioctl(descriptor, code, data)

    def map(self, descriptor: int, length: int, offset: int) -> Mapped:
        """Show a buffer of the driver; unclosed, it keeps the device busy even after ``close``."""
        return mmap.mmap(
            descriptor, length, mmap.MAP_SHARED, mmap.PROT_READ | mmap.PROT_WRITE, offset=offset
        )

    def poll(self, descriptor: int, seconds: float) -> int:
        """Wait for a picture; return the events of poll(2), 0 for none in time."""
        poll = select.poll()
        poll.register(descriptor, select.POLLIN)
        events = poll.poll(seconds * 1000)
        return events[0][1] if events else 0

    def close(self, descriptor: int) -> None:
        """Close a device."""
        os.close(descriptor)

    def now(self) -> float:
        """Return the seconds of the monotonic clock, which drivers stamp pictures with."""
        return time.monotonic()

    def sleep(self, seconds: float) -> None:
        """Wait."""
        time.sleep(seconds)

    def nodes(self) -> list[str]:
        """Return the paths of all video devices, by their number."""
        names = [path.name[5:] for path in Path("/dev").glob("video*")]
        return [f"/dev/video{n}" for n in sorted(int(name) for name in names if name.isdecimal())]

    def lasting_names(self) -> dict[str, str]:
        """Return paths that stay the same when a camera is plugged in again, by its path now."""
        found = {}
        for link in sorted(self.names_folder.glob("*"), reverse=True):
            with suppress(OSError, RuntimeError):  # unplugged between two looks; a loop
                found[str(link.resolve(strict=True))] = str(link)
        return found


class Capability(NamedTuple):
    """What a device is."""

    driver: str
    card: str
    captures: bool  # pictures, by memory that the program maps
    is_camera: bool  # not a step of a chain that other programs set up


def capability(data: bytes) -> Capability:
    """Read the answer to QUERYCAP."""
    whole, of_node = struct.unpack_from("=II", data, 84)
    caps = of_node if whole & _HAS_DEVICE_CAPS else whole  # of this node, not of its neighbours
    captures = caps & _CAP_CAPTURE != 0 and caps & _CAP_STREAMING != 0
    driver = _text(data[0:16])
    is_camera = captures and not caps & _CAP_IO_MC and driver not in _NO_CAMERAS
    return Capability(driver, _text(data[16:48]), captures, is_camera)


def format_question(index: int) -> bytearray:
    """Return ENUM_FMT's structure: which is the format of this number?"""
    data = bytearray(FORMAT_DESCRIPTION_BYTES)
    struct.pack_into("=II", data, 0, index, _CAPTURE)
    return data


def format_answer(data: bytes) -> str:
    """Read the four characters of a format."""
    return data[44:48].decode("latin-1")


def size_question(index: int, fourcc: str) -> bytearray:
    """Return ENUM_FRAMESIZES' structure: which is the size of this number?"""
    data = bytearray(FRAME_SIZE_BYTES)
    struct.pack_into("=I4s", data, 0, index, fourcc.encode("latin-1"))
    return data


def size_answer(data: bytes) -> tuple[int, int] | None:
    """Read (width, height); None where the camera gives any size between two."""
    kind, width, height = struct.unpack_from("=III", data, 8)
    return (width, height) if kind == _DISCRETE else None


class GivenFormat(NamedTuple):
    """What the driver will give, in place of what it was asked for."""

    width: int
    height: int
    fourcc: str
    stride: int
    full_range: bool


def format_wish(fourcc: str, width: int, height: int) -> bytearray:
    """Return S_FMT's structure."""
    data = bytearray(FORMAT_BYTES)
    code = fourcc.encode("latin-1")
    struct.pack_into("=I4xII4sI", data, 0, _CAPTURE, width, height, code, _PROGRESSIVE)
    return data


def given_format(data: bytes) -> GivenFormat:
    """Read the answer to S_FMT."""
    width, height, fourcc, _, stride, _, colorspace = struct.unpack_from("=II4sIIII", data, 8)
    (quantization,) = struct.unpack_from("=I", data, 48)
    # linux/v4l2-common: the default of YCbCr is limited range, but in the colours of a JPEG.
    full = quantization == _FULL_RANGE or (
        quantization == _DEFAULT_RANGE and colorspace == _COLORSPACE_JPEG
    )
    return GivenFormat(width, height, fourcc.decode("latin-1"), stride, full)


def rate_wish(frames: int, seconds: int) -> bytearray:
    """Return S_PARM's structure: so many frames in so many seconds."""
    data = bytearray(STREAM_PARAMETERS_BYTES)
    struct.pack_into("=IIIII", data, 0, _CAPTURE, 0, 0, seconds, frames)
    return data


def given_rate(data: bytes) -> float:
    """Read frames a second from the answer to S_PARM; 0 where there are none."""
    seconds, frames = struct.unpack_from("=II", data, 12)
    return frames / seconds if seconds else 0.0


def buffers_wish(count: int) -> bytearray:
    """Return REQBUFS' structure."""
    return bytearray(struct.pack("=III8x", count, _CAPTURE, _MMAP))


def given_buffers(data: bytes) -> int:
    """Read how many buffers there are."""
    return int.from_bytes(data[0:4], "little")


def buffer(index: int = 0) -> bytearray:
    """Return the structure of a buffer, for QUERYBUF, QBUF and DQBUF."""
    data = bytearray(BUFFER_BYTES)
    struct.pack_into("=II", data, 0, index, _CAPTURE)
    struct.pack_into("=I", data, 60, _MMAP)
    return data


def buffer_place(data: bytes) -> tuple[int, int]:
    """Read (length, offset) of a buffer from the answer to QUERYBUF, for a map of it."""
    offset, _, length = struct.unpack_from("=III", data, 64)
    return length, offset


class FilledBuffer(NamedTuple):
    """A picture in a buffer.

    Attributes:
        slot: Number of the buffer.
        used: Bytes of the picture.
        damaged: The driver says that the picture is.
        stamp: Seconds of the monotonic clock; None where the driver uses another one.
        sequence: The driver's count of pictures; some drivers do not count.
    """

    slot: int
    used: int
    damaged: bool
    stamp: float | None
    sequence: int


def filled_buffer(data: bytes) -> FilledBuffer:
    """Read the answer to DQBUF."""
    slot, _, used, flags = struct.unpack_from("=IIII", data, 0)
    seconds, microseconds = struct.unpack_from("=qq", data, 24)
    (sequence,) = struct.unpack_from("=I", data, 56)
    monotonic = flags & _CLOCK_MASK == _CLOCK_MONOTONIC
    stamp = seconds + microseconds / 1e6 if monotonic else None
    return FilledBuffer(slot, used, bool(flags & _FLAG_ERROR), stamp, sequence)


def stream_type() -> bytearray:
    """Return what STREAMON and STREAMOFF take."""
    return bytearray(struct.pack("=I", _CAPTURE))


def _text(data: bytes) -> str:
    return data.partition(b"\0")[0].decode(errors="replace")
