"""A V4L2 device that a script plays: what it offers, when which picture comes, what fails.

It reads the structures by ctypes, whose layout is the C compiler's of this machine: the product's
own reading of them is not used to test itself.
"""

import ctypes as c
import errno
import select
from collections import deque
from dataclasses import dataclass, field
from typing import Final

from edge.runtime.cameras import v4l2_kernel as kernel
from edge.runtime.cameras.v4l2_kernel import KernelCalls

CAPTURE, STREAMING, META, IO_MC = 0x1, 0x0400_0000, 0x0080_0000, 0x2000_0000
DEVICE_CAPS: Final = 0x8000_0000
GONE: Final = select.POLLERR | select.POLLHUP


class Capability(c.Structure):
    _fields_ = [
        ("driver", c.c_char * 16),
        ("card", c.c_char * 32),
        ("bus_info", c.c_char * 32),
        ("version", c.c_uint32),
        ("capabilities", c.c_uint32),
        ("device_caps", c.c_uint32),
        ("reserved", c.c_uint32 * 3),
    ]


class FormatDescription(c.Structure):
    _fields_ = [
        ("index", c.c_uint32),
        ("type", c.c_uint32),
        ("flags", c.c_uint32),
        ("description", c.c_char * 32),
        ("pixelformat", c.c_char * 4),
        ("mbus_code", c.c_uint32),
        ("reserved", c.c_uint32 * 3),
    ]


class PixelFormat(c.Structure):
    _fields_ = [
        ("width", c.c_uint32),
        ("height", c.c_uint32),
        ("pixelformat", c.c_char * 4),
        *((name, c.c_uint32) for name in ("field", "bytesperline", "sizeimage", "colorspace")),
        *((name, c.c_uint32) for name in ("priv", "flags", "ycbcr_enc", "quantization")),
        ("xfer_func", c.c_uint32),
    ]


class _FormatUnion(c.Union):
    # The union holds a structure with a pointer (v4l2_window), which aligns it to 8.
    _fields_ = [("pix", PixelFormat), ("raw", c.c_uint8 * 200), ("pointer", c.c_void_p)]


class Format(c.Structure):
    _fields_ = [("type", c.c_uint32), ("fmt", _FormatUnion)]


class RequestBuffers(c.Structure):
    _fields_ = [
        *((name, c.c_uint32) for name in ("count", "type", "memory", "capabilities")),
        ("flags", c.c_uint8),
        ("reserved", c.c_uint8 * 3),
    ]


class TimeValue(c.Structure):
    _fields_ = [("tv_sec", c.c_long), ("tv_usec", c.c_long)]


class _Memory(c.Union):
    _fields_ = [("offset", c.c_uint32), ("userptr", c.c_ulong), ("planes", c.c_void_p)]


class Buffer(c.Structure):
    _fields_ = [
        *((name, c.c_uint32) for name in ("index", "type", "bytesused", "flags", "field")),
        ("timestamp", TimeValue),
        ("timecode", c.c_uint32 * 4),
        ("sequence", c.c_uint32),
        ("memory", c.c_uint32),
        ("m", _Memory),
        *((name, c.c_uint32) for name in ("length", "reserved2", "request_fd")),
    ]


class StreamParameters(c.Structure):
    _fields_ = [
        *((name, c.c_uint32) for name in ("type", "capability", "capturemode")),
        *((name, c.c_uint32) for name in ("numerator", "denominator")),
        ("rest", c.c_uint8 * 184),
    ]


class FrameSize(c.Structure):
    _fields_ = [
        ("index", c.c_uint32),
        ("pixel_format", c.c_char * 4),
        *((name, c.c_uint32) for name in ("type", "width", "height")),
        ("rest", c.c_uint32 * 6),
    ]


@dataclass
class Event:
    """What happens at a time: a picture that is complete, or events of poll(2) from then on."""

    at: float
    picture: bytes = b""
    damaged: bool = False
    poll: int = 0


@dataclass
class Device:
    driver: str = "uvcvideo"
    card: str = "Test camera"
    caps: int = CAPTURE | STREAMING
    formats: dict[str, list[tuple[int, int]]] = field(default_factory=lambda: {"MJPG": []})
    forced: tuple[int, int] | None = None  # S_FMT answers this size
    padding: int = 0  # bytes at the end of a row
    quantization: int = 0
    least_seconds: float = 0.0  # S_PARM gives no more than one frame in so many seconds
    buffers: int = 4
    stamps: int = 0x2000  # flags of a buffer: its clock
    counts: bool = True  # pictures have a sequence number
    events: list[Event] = field(default_factory=list)
    errors: dict[int, list[int]] = field(default_factory=dict)  # request -> errno of each time


class Map:
    def __init__(self) -> None:
        self.content, self.open = bytearray(), True

    def __getitem__(self, part: slice) -> bytes:
        assert self.open
        return bytes(self.content[part])

    def close(self) -> None:
        self.open = False


class ScriptedSystem(KernelCalls):
    """The system calls, on devices by their paths; its clock goes on only where one waits."""

    def __init__(self, devices: dict[str, Device], names: dict[str, str] | None = None) -> None:
        self.devices, self._names = devices, names or {}
        self.clock, self.refusals = 1000.0, deque[int]()  # errno of each time that one is opened
        self.opened: list[str] = []
        self.maps: list[Map] = []
        self.device = Device()
        self.free: deque[int] = deque()
        self.filled: deque[Buffer] = deque()
        self.flags, self.sequence, self.streams, self.closed = 0, 0, False, 0
        self.asked: dict[int, object] = {}
        self.begun = self.clock

    def open(self, path: str) -> int:
        if self.refusals:
            number = self.refusals.popleft()
            raise OSError(number, "refused", path)
        if path not in self.devices:
            raise FileNotFoundError(errno.ENOENT, "no", path)
        self.device = self.devices[path]
        self.opened.append(path)
        return 7

    def close(self, descriptor: int) -> None:
        assert descriptor == 7
        self.closed += 1

    def now(self) -> float:
        return self.clock

    def sleep(self, seconds: float) -> None:
        self.clock += seconds

    def nodes(self) -> list[str]:
        return sorted(self.devices)

    def lasting_names(self) -> dict[str, str]:
        return self._names

    def map(self, descriptor: int, length: int, offset: int) -> Map:
        assert length and offset == 4096 * len(self.maps)
        self.maps.append(Map())
        return self.maps[-1]

    def poll(self, descriptor: int, seconds: float) -> int:
        end = self.clock + seconds
        while True:
            self._happen()
            if self.filled or self.flags:
                return (select.POLLIN if self.filled else 0) | self.flags
            following = min((event.at for event in self.device.events), default=1e9)
            if self.begun + following > end:
                self.clock = end
                return 0
            self.clock = self.begun + following

    def _happen(self) -> None:
        """Let happen what is due."""
        events = self.device.events
        while events and self.begun + events[0].at <= self.clock:
            event = events.pop(0)
            self.flags |= event.poll
            if event.poll:
                continue
            self.sequence += 1
            if self.free:
                self._fill(event)

    def _fill(self, event: Event) -> None:
        slot = self.free.popleft()
        self.maps[slot].content[:] = event.picture
        filled = Buffer(index=slot, bytesused=len(event.picture), type=1)
        filled.flags = self.device.stamps | (0x40 if event.damaged else 0)
        filled.sequence = self.sequence - 1 if self.device.counts else 0
        stamp = self.begun + event.at
        filled.timestamp = TimeValue(int(stamp), round(stamp % 1 * 1e6))
        self.filled.append(filled)

    def control(self, descriptor: int, code: int, data: bytearray) -> None:
        failures = self.device.errors.get(code)
        if failures and (number := failures.pop(0)):
            raise OSError(number, "failed")
        answer = getattr(self, f"_{kernel.NAMES[code].lower()}")
        answer(data)

    def _querycap(self, data: bytearray) -> None:
        what = Capability.from_buffer(data)
        what.driver, what.card = self.device.driver.encode(), self.device.card.encode()
        # The whole device can more than this node: it has one for metadata as well.
        what.capabilities = DEVICE_CAPS | CAPTURE | META | STREAMING
        what.device_caps = self.device.caps

    def _enum_fmt(self, data: bytearray) -> None:
        what = FormatDescription.from_buffer(data)
        assert what.type == 1
        if what.index >= len(self.device.formats):
            raise OSError(errno.EINVAL, "no more")
        what.pixelformat = list(self.device.formats)[what.index].encode()

    def _enum_framesizes(self, data: bytearray) -> None:
        what = FrameSize.from_buffer(data)
        sizes = self.device.formats[what.pixel_format.decode()]
        if what.index >= len(sizes):
            raise OSError(errno.EINVAL, "no more")
        what.type = 1
        what.width, what.height = sizes[what.index]

    def _s_fmt(self, data: bytearray) -> None:
        what = Format.from_buffer(data)
        assert what.type == 1
        pix = what.fmt.pix
        self.asked[kernel.S_FMT] = (pix.pixelformat.decode(), pix.width, pix.height)
        if self.device.forced:
            pix.width, pix.height = self.device.forced
        each = {"YUYV": 2, "RGB3": 3, "BGR3": 3}.get(pix.pixelformat.decode(), 1)
        pix.bytesperline = pix.width * each + self.device.padding
        pix.quantization = self.device.quantization

    def _s_parm(self, data: bytearray) -> None:
        what = StreamParameters.from_buffer(data)
        self.asked[kernel.S_PARM] = (what.numerator, what.denominator)
        if what.numerator / what.denominator < self.device.least_seconds:
            what.numerator, what.denominator = round(self.device.least_seconds * 1000), 1000

    def _reqbufs(self, data: bytearray) -> None:
        what = RequestBuffers.from_buffer(data)
        assert (what.type, what.memory) == (1, 1)
        what.count = min(what.count, self.device.buffers)

    def _querybuf(self, data: bytearray) -> None:
        what = Buffer.from_buffer(data)
        assert (what.type, what.memory) == (1, 1)
        what.length, what.m.offset = 1 << 20, 4096 * what.index

    def _qbuf(self, data: bytearray) -> None:
        what = Buffer.from_buffer(data)
        assert (what.type, what.memory) == (1, 1)
        assert what.index not in self.free
        self.free.append(what.index)

    def _dqbuf(self, data: bytearray) -> None:
        if not self.filled:
            raise OSError(errno.ENODEV if self.flags else errno.EAGAIN, "none")
        assert len(data) == c.sizeof(Buffer)
        data[:] = bytes(self.filled.popleft())

    def _streamon(self, data: bytearray) -> None:
        assert data == (1).to_bytes(4, "little")
        self.streams, self.begun = True, self.clock

    def _streamoff(self, data: bytearray) -> None:
        self.streams = False
