"""Cameras that Linux shows as /dev/video*: USB cameras above all.

MJPG is preferred, whose pictures pass unchanged: a bus holds more of them, and nothing is encoded.
"""

import select
from contextlib import suppress
from fractions import Fraction
from typing import Final

from PIL import Image

from edge.errors import CameraError
from edge.runtime.cameras import v4l2_kernel as kernel
from edge.runtime.cameras.camera import (
    Camera,
    CameraDescription,
    CameraFault,
    CameraRequest,
    Frame,
    closed,
)
from edge.runtime.cameras.v4l2_kernel import FilledBuffer, KernelCalls
from edge.runtime.cameras.v4l2_node import SAID, VideoNode
from edge.runtime.cameras.yuv import FOURCCS, PixelLayout, jpeg_of
from edge.runtime.printable import one_line

_COMPRESSED: Final = ("MJPG", "JPEG")
_PREFERRED: Final = (*_COMPRESSED, *FOURCCS)
_BUFFERS: Final = 4  # one is read, one is filled, two bridge a moment without the processor
_LEAST_BUFFERS: Final = 2
_OLDEST: Final = 60.0  # seconds; a picture that is said to be older was not stamped


def open_device(address: str, request: CameraRequest) -> Camera:
    """Open a camera by its number or its path.

    Raises:
        CameraError: It cannot be opened, or gives no format that is read.
    """
    return V4l2Camera(
        f"/dev/video{int(address)}" if address.isdecimal() else address, request, KernelCalls()
    )


def devices(system: KernelCalls | None = None) -> list[CameraDescription]:
    """Return the cameras that are here, by the names that outlast a replug, where they have any.

    A device that this user may not open is none that can be named.
    """
    system = system or KernelCalls()
    lasting = system.lasting_names()
    found = []
    for path in system.nodes():
        with suppress(CameraError):
            node = VideoNode(path, system)
            try:
                node.open(patient=False)
                what = node.capability()
                offered = next((f for f in _PREFERRED if f in node.formats()), None)
            finally:
                node.close()
            if what.is_camera and offered is not None:
                address, name = lasting.get(path, path), one_line(what.card)
                found.append(CameraDescription(address=address, name=name, format=offered))
    return found


class V4l2Camera(Camera):
    """A camera that streams into buffers of the driver; see ``Camera``."""

    def __init__(self, path: str, request: CameraRequest, system: KernelCalls) -> None:
        """Open it, agree on a format, and begin to stream.

        Raises:
            CameraError: As ``open_device``.
        """
        self._system, self._node = system, VideoNode(path, system)
        self._maps: list[kernel.Mapped] = []
        self._number, self._sequence = 0, -1  # of the frame that was given last
        self._open = True
        try:
            self._node.open()
            self._description = self._agree(request)
            self._start()
        except BaseException:
            self.close()
            raise

    @property
    def description(self) -> CameraDescription:
        """What the driver agreed to give; the address is one that outlasts a replug, if any."""
        return self._description

    def read(self, timeout: float) -> Frame:
        """Return the newest frame; see ``Camera``. A damaged one counts as lost."""
        if not self._open:
            raise closed(self._node.path)
        deadline, passed, patient = self._system.now() + timeout, 0, True
        while True:
            filled, older = self._newest(deadline, timeout)
            passed += older
            pixels = self._maps[filled.slot][: filled.used]  # a copy: from QBUF on it is written
            self._node.give_back(filled.slot)
            # Where every buffer waited, the driver had none to fill since: all of them are old.
            old, patient = patient and older + 1 == len(self._maps), False
            jpeg = b"" if old or filled.damaged else self._jpeg(pixels)
            if jpeg:
                return self._frame(filled, jpeg, passed)
            passed += 1
            if self._system.now() >= deadline:
                raise self._silent(timeout)

    def close(self) -> None:
        """Stop streaming, and let the device go."""
        self._open = False
        if self._maps:
            with suppress(CameraError):
                self._node.ask(kernel.STREAMOFF, kernel.stream_type())
        for mapped in self._maps:
            mapped.close()
        self._maps.clear()
        self._node.close()

    def _agree(self, request: CameraRequest) -> CameraDescription:
        """Ask for a format, a size and a rate; return what the driver will give."""
        node, what = self._node, self._node.capability()
        shown = f"{node.path} ({one_line(what.card)})"
        if not what.captures:
            raise CameraError(
                f"{shown} gives no pictures",
                fault=CameraFault.UNSUPPORTED,
                hint="Many cameras have a second device for other data: take the one before it.",
            )
        fourcc = self._choice(shown)
        size = _best(node.sizes(fourcc), (request.width, request.height))
        given = kernel.given_format(node.ask(kernel.S_FMT, kernel.format_wish(fourcc, *size)))
        self._layout = None
        fits = given.fourcc == fourcc
        if fits and fourcc not in _COMPRESSED:
            self._layout = PixelLayout(
                fourcc=fourcc,
                width=given.width,
                height=given.height,
                stride=given.stride,
                full_range=given.full_range,
            )
            fits = self._layout.fits
            Image.preinit()  # of what saves a JPEG: the first picture would wait for it
        if not fits:
            raise CameraError(
                f"{shown} was asked for {fourcc} and gives {one_line(given.fourcc)} of "
                f"{given.width} x {given.height} pixels, {given.stride} bytes a row",
                fault=CameraFault.UNSUPPORTED,
            )
        return CameraDescription(
            address=self._system.lasting_names().get(node.path, node.path),
            name=one_line(what.card),
            format=fourcc,
            width=given.width,
            height=given.height,
            rate=self._agree_on_rate(request.rate),
        )

    def _choice(self, shown: str) -> str:
        """Return the best of the formats that the camera offers."""
        offered = self._node.formats()
        fourcc = next((known for known in _PREFERRED if known in offered), None)
        if fourcc is None:
            raise CameraError(
                f"{shown} offers {', '.join(map(one_line, offered)) or 'no format'}; "
                f"{', '.join(_PREFERRED)} are read",
                fault=CameraFault.UNSUPPORTED,
                hint="A camera on the ribbon cable of a Raspberry Pi has the address csi.",
            )
        return fourcc

    def _agree_on_rate(self, rate: float) -> float:
        """Ask for a rate; return what the driver says, 0 where it cannot be asked."""
        wish = Fraction(rate).limit_denominator(1000)
        frames, seconds = max(1, wish.numerator), wish.denominator
        with suppress(CameraError):  # many drivers have no rate to set; if it is gone, more follows
            return kernel.given_rate(
                self._node.ask(kernel.S_PARM, kernel.rate_wish(frames, seconds))
            )
        return 0.0

    def _start(self) -> None:
        count = kernel.given_buffers(self._node.ask(kernel.REQBUFS, kernel.buffers_wish(_BUFFERS)))
        if count < _LEAST_BUFFERS:
            raise CameraError(
                f"{self._node.path}: the driver gives {count} buffers; {_LEAST_BUFFERS} are needed",
                fault=CameraFault.UNSUPPORTED,
            )
        for index in range(count):
            answer = self._node.ask(kernel.QUERYBUF, kernel.buffer(index))
            self._maps.append(self._node.map(answer))
            self._node.give_back(index)
        self._node.ask(kernel.STREAMON, kernel.stream_type())

    def _newest(self, deadline: float, timeout: float) -> tuple[FilledBuffer, int]:
        """Take every picture that waits; return the newest, and how many older ones there were.

        Raises:
            CameraError: None came before the deadline, or the camera is gone.
        """
        newest, older = None, 0
        while True:
            left = 0.0 if newest else max(0.0, deadline - self._system.now())
            events = self._node.poll(left)
            if events & select.POLLIN:  # before POLLERR: pictures of a camera that is gone count
                taken = self._node.take()
                if taken is not None and newest is not None:
                    self._node.give_back(newest.slot)
                    older += 1
                newest = taken or newest
                if taken is not None and older + 1 < len(self._maps):
                    continue
            if events & ~select.POLLIN and newest is None:
                raise CameraError(
                    f"{self._node.path}: {SAID[CameraFault.GONE][0]} (poll: {events:#x})",
                    fault=CameraFault.GONE,
                    hint=SAID[CameraFault.GONE][1],
                )
            if newest is not None:
                return newest, older
            if self._system.now() >= deadline:
                raise self._silent(timeout)

    def _silent(self, timeout: float) -> CameraError:
        return CameraError(
            f"{self._node.path}: no whole picture came within {timeout:g} s",
            fault=CameraFault.NO_PICTURE,
            hint="It may be asleep: wait, or unplug it and plug it in again.",
        )

    def _jpeg(self, pixels: bytes) -> bytes:
        """Return the picture as a JPEG; empty where it was cut short on its way."""
        if self._layout is None:
            whole = pixels.startswith(b"\xff\xd8\xff") and b"\xff\xd9" in pixels
            return pixels if whole else b""
        return jpeg_of(pixels, self._layout) if len(pixels) >= self._layout.needed_bytes else b""

    def _frame(self, filled: FilledBuffer, jpeg: bytes, passed: int) -> Frame:
        """Count the frame; by the driver's count, where it has one that goes on."""
        step = (filled.sequence - self._sequence) % 2**32
        lost = passed if self._number == 0 else max(passed, step - 1 if step < 2**31 else 0)
        self._number += 1 + lost
        self._sequence = filled.sequence
        now = self._system.now()
        # Some drivers stamp the end of a picture that is still to come, some stamp nothing.
        plausible = filled.stamp is not None and now - _OLDEST < filled.stamp < now
        captured = filled.stamp if filled.stamp is not None and plausible else now
        return Frame(number=self._number, jpeg=jpeg, captured=captured, lost=lost)


def _best(sizes: list[tuple[int, int]], wished: tuple[int, int]) -> tuple[int, int]:
    """Return the smallest size that covers what is wished for, or else the largest one.

    Some drivers answer a size that they do not have with their smallest one.
    """
    if not sizes or wished in sizes:
        return wished
    covering = [size for size in sizes if size[0] >= wished[0] and size[1] >= wished[1]]
    area = {size: size[0] * size[1] for size in sizes}
    return min(covering, key=area.__getitem__) if covering else max(sizes, key=area.__getitem__)
