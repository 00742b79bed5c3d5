"""What the camera of an emulated machine looks at; runs there as a service, without packages.

The camera is vivid, the kernel's own for tests, which has an HDMI output and an HDMI input. They
are connected here, so that the input captures bit for bit what the output shows. This shows a
file of raw pixels (YUYV), and shows it anew whenever another file takes its place:

    python3 screen.py OUTPUT CAPTURE WIDTH HEIGHT FILE
"""

import fcntl
import mmap
import os
import select
import socket
import struct
import sys
import time
from pathlib import Path

OUTPUT = 2  # V4L2_BUF_TYPE_VIDEO_OUTPUT
MAPPED = 1  # V4L2_MEMORY_MMAP
PROGRESSIVE = 1  # V4L2_FIELD_NONE
NEXT_CONTROL = 0x80000000
TEXT_ON_THE_PICTURE = 0x00F0F001  # a control of vivid
NO_TEXT = 2
BUFFERS = 4


def code(direction: int, number: int, size: int) -> int:
    """The number of a request to a video device; 1 for the direction writes, 3 does both."""
    return direction << 30 | size << 16 | ord("V") << 8 | number


S_FMT = code(3, 5, 208)
REQBUFS = code(3, 8, 20)
QUERYBUF = code(3, 9, 88)
QBUF = code(3, 15, 88)
DQBUF = code(3, 17, 88)
STREAMON = code(1, 18, 4)
S_CTRL = code(3, 28, 8)
QUERYCTRL = code(3, 36, 68)
QUERYMENU = code(3, 37, 44)
S_DV_TIMINGS = code(3, 87, 132)
ENUM_DV_TIMINGS = code(3, 98, 148)


def timings(device: int, width: int, height: int) -> bytes:
    """The first progressive signal of that size."""
    index = 0
    while True:
        data = bytearray(148)
        struct.pack_into("=I", data, 0, index)
        fcntl.ioctl(device, ENUM_DV_TIMINGS, data)  # EINVAL after the last one: no such size
        if struct.unpack_from("=III", data, 20) == (width, height, 0):
            return bytes(data[16:])
        index += 1


def connection(capture: int) -> tuple[int, int]:
    """The control that connects output and input, and its value for that."""
    control = 0
    while True:
        data = bytearray(68)
        struct.pack_into("=I", data, 0, control | NEXT_CONTROL)
        fcntl.ioctl(capture, QUERYCTRL, data)  # EINVAL after the last one
        control, name = struct.unpack_from("=I", data)[0], text(data[8:40])
        if name == "Loop Video":
            return control, 1
        if name.endswith("Is Connected To"):  # since Linux 6.12
            return control, output_in_menu(capture, control, struct.unpack_from("=i", data, 44)[0])


def output_in_menu(capture: int, control: int, last: int) -> int:
    for index in range(last + 1):
        data = bytearray(44)
        struct.pack_into("=II", data, 0, control, index)
        try:
            fcntl.ioctl(capture, QUERYMENU, data)
        except OSError:  # a hole in the menu
            continue
        if "Output HDMI" in text(data[8:40]):
            return index
    raise OSError("there is no HDMI output to connect to")


def text(data: bytearray) -> str:
    return bytes(data).partition(b"\0")[0].decode()


class Screen:
    """The output, connected to the input; nobody may use either before (EBUSY)."""

    def __init__(self, output: str, capture: str, width: int, height: int) -> None:
        self.device = os.open(output, os.O_RDWR)
        watched = os.open(capture, os.O_RDWR)
        for device in (self.device, watched):
            fcntl.ioctl(device, S_DV_TIMINGS, bytearray(timings(device, width, height)))
        for control, value in (connection(watched), (TEXT_ON_THE_PICTURE, NO_TEXT)):
            fcntl.ioctl(watched, S_CTRL, bytearray(struct.pack("=Ii", control, value)))
        os.close(watched)
        wish = bytearray(208)
        struct.pack_into("=I4xII4sI", wish, 0, OUTPUT, width, height, b"YUYV", PROGRESSIVE)
        fcntl.ioctl(self.device, S_FMT, wish)
        given = struct.unpack_from("=II4s", wish, 8)
        assert given == (width, height, b"YUYV"), given
        self.maps, self.free, self.streams = self._maps(), list(range(BUFFERS)), False

    def _maps(self) -> list[mmap.mmap]:
        fcntl.ioctl(self.device, REQBUFS, bytearray(struct.pack("=III8x", BUFFERS, OUTPUT, MAPPED)))
        maps = []
        for index in range(BUFFERS):
            fcntl.ioctl(self.device, QUERYBUF, data := self._buffer(index))
            offset, _, length = struct.unpack_from("=III", data, 64)
            maps.append(mmap.mmap(self.device, length, offset=offset))
        return maps

    @staticmethod
    def _buffer(index: int = 0, used: int = 0) -> bytearray:
        data = bytearray(88)
        struct.pack_into("=IIIII", data, 0, index, OUTPUT, used, 0, PROGRESSIVE)
        struct.pack_into("=I", data, 60, MAPPED)
        return data

    def show(self, pixels: bytes) -> None:
        """Show a picture until the next one."""
        self._queue(pixels)
        if not self.streams:
            self._queue(pixels)  # it begins with two of them
            fcntl.ioctl(self.device, STREAMON, bytearray(struct.pack("=I", OUTPUT)))
            self.streams = True

    def _queue(self, pixels: bytes) -> None:
        if not self.free:  # one comes back for each newer one
            assert select.select([], [self.device], [], 10)[1], "the output takes no picture"
            fcntl.ioctl(self.device, DQBUF, data := self._buffer())
            self.free.append(struct.unpack_from("=I", data)[0])
        index = self.free.pop()
        self.maps[index][: len(pixels)] = pixels
        fcntl.ioctl(self.device, QBUF, self._buffer(index, len(pixels)))


def main() -> None:
    """Connect, show, tell systemd, and look for another picture five times a second."""
    output, capture, width, height, name = sys.argv[1:]
    screen, file, shown = Screen(output, capture, int(width), int(height)), Path(name), 0
    while True:
        changed = file.stat().st_mtime_ns
        if changed != shown:
            pixels = file.read_bytes()
            assert len(pixels) == int(width) * int(height) * 2, f"{len(pixels)} bytes"
            screen.show(pixels)
            if not shown and (address := os.environ.get("NOTIFY_SOCKET")):
                with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
                    systemd.sendto(b"READY=1", address)
            shown = changed
        time.sleep(0.2)


if __name__ == "__main__":
    main()
