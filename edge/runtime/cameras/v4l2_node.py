"""An open video device: its requests, and what their errors mean."""

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from edge.errors import CameraError
from edge.runtime.cameras import v4l2_kernel as kernel
from edge.runtime.cameras.camera import CameraFault
from edge.runtime.cameras.v4l2_kernel import FilledBuffer, KernelCalls

_MOST_ANSWERS: Final = 256  # of a list that a driver gives; real ones have up to 83
_ACCESS_SECONDS: Final = 1.0  # a node appears as root's; udev gives it to the group a moment later
_ACCESS_STEP: Final = 0.1

# What an error of a system call means; each was provoked on vivid or uvcvideo.
FAULTS: Final = {
    errno.EBUSY: CameraFault.BUSY,  # at S_FMT or REQBUFS, not at open
    errno.ENOSPC: CameraFault.BUSY,  # at STREAMON: other cameras fill the USB bus
    errno.ENODEV: CameraFault.GONE,
    errno.ENXIO: CameraFault.GONE,
    errno.EIO: CameraFault.GONE,
    errno.EPIPE: CameraFault.GONE,
    errno.ENOENT: CameraFault.MISSING,
    errno.ENOTDIR: CameraFault.MISSING,
    errno.EACCES: CameraFault.FORBIDDEN,
    errno.EPERM: CameraFault.FORBIDDEN,
    errno.ENOTTY: CameraFault.UNSUPPORTED,
    errno.EINVAL: CameraFault.UNSUPPORTED,
}
SAID: Final = {
    CameraFault.BUSY: ("another program uses the camera", "End it; fuser -v {path} names it."),
    CameraFault.GONE: ("the camera was unplugged, or has failed", "Plug it in again."),
    CameraFault.MISSING: (
        "there is no such camera",
        "ls -l /dev/v4l/by-id names those that are here.",
    ),
    CameraFault.FORBIDDEN: (
        "this user may not use the camera",
        'Run: sudo usermod -aG video "$USER", and log in anew; a service of the user sees the '
        'group after: sudo systemctl restart "user@$(id -u)".',
    ),
    CameraFault.UNSUPPORTED: (
        "this is no camera",
        "ls -l /dev/v4l/by-id names those that are here.",
    ),
}
# Errors that say something else than their fault does.
_SAID_OF_ERRNO: Final = {
    errno.ENOSPC: (
        "the USB bus has no room for the camera's pictures",
        "Ask for a smaller size or a lower rate, or plug it into another bus.",
    ),
    errno.EINVAL: (
        "the driver refuses what every camera has to do",
        "Update the system, or take another camera.",
    ),
}


class VideoNode:
    """An open device: requests whose errors are camera errors."""

    def __init__(self, path: str, system: KernelCalls) -> None:
        self.path, self._system, self._descriptor = path, system, -1

    def open(self, *, patient: bool = True) -> None:
        """Open the device.

        Args:
            patient: Try again for a second where it may not be opened: it was just plugged in.
        """
        if not kernel.IS_64_BIT:
            raise CameraError(
                f"{self.path}: cameras are read in a 64-bit Python only",
                fault=CameraFault.UNSUPPORTED,
                hint="Install the 64-bit version of the operating system.",
            )
        end = self._system.now() + (_ACCESS_SECONDS if patient else 0)
        with self.explained("open"):
            while True:
                try:
                    self._descriptor = self._system.open(self.path)
                    return
                except PermissionError:
                    if self._system.now() >= end:
                        raise
                self._system.sleep(_ACCESS_STEP)

    @contextmanager
    def explained(self, what: str) -> Iterator[None]:
        """Turn an error of a system call, which messages name, into a camera error."""
        try:
            yield
        except OSError as error:
            fault = FAULTS.get(error.errno or 0, CameraFault.UNSUPPORTED)
            said, hint = _SAID_OF_ERRNO.get(error.errno or 0, SAID[fault])
            why = os.strerror(error.errno) if error.errno else str(error)
            raise CameraError(
                f"{self.path}: {said} ({what}: {why})",
                fault=fault,
                hint=hint.format(path=self.path),
            ) from error

    def ask(self, code: int, data: bytearray) -> bytes:
        """Send a request, and return the answer."""
        with self.explained(kernel.NAMES[code]):
            self._system.control(self._descriptor, code, data)
        return bytes(data)

    def try_ask(self, code: int, data: bytearray) -> bytes | None:
        """Send a request; None where the driver does not know it or has nothing to answer."""
        with self.explained(kernel.NAMES[code]):
            try:
                self._system.control(self._descriptor, code, data)
            except OSError as error:
                if error.errno in (errno.EINVAL, errno.ENOTTY):
                    return None
                raise
        return bytes(data)

    def capability(self) -> kernel.Capability:
        """Return what the device is."""
        return kernel.capability(self.ask(kernel.QUERYCAP, bytearray(kernel.CAPABILITY_BYTES)))

    def formats(self) -> list[str]:
        """Return the four characters of every format that it offers."""
        found = []
        for index in range(_MOST_ANSWERS):
            answer = self.try_ask(kernel.ENUM_FMT, kernel.format_question(index))
            if answer is None:
                break
            found.append(kernel.format_answer(answer))
        return found

    def sizes(self, fourcc: str) -> list[tuple[int, int]]:
        """Return every (width, height) of a format; none where it gives any size."""
        found = []
        for index in range(_MOST_ANSWERS):
            answer = self.try_ask(kernel.ENUM_FRAMESIZES, kernel.size_question(index, fourcc))
            size = kernel.size_answer(answer) if answer else None
            if size is None:
                break
            found.append(size)
        return found

    def map(self, data: bytes) -> kernel.Mapped:
        """Show the buffer that QUERYBUF answered."""
        with self.explained("mmap"):
            return self._system.map(self._descriptor, *kernel.buffer_place(data))

    def poll(self, seconds: float) -> int:
        """Wait for a picture."""
        return self._system.poll(self._descriptor, seconds)

    def take(self) -> FilledBuffer | None:
        """Take one picture from the driver; None where there was none after all."""
        data = kernel.buffer()
        with self.explained("DQBUF"):
            try:
                self._system.control(self._descriptor, kernel.DQBUF, data)
            except BlockingIOError:
                return None
        return kernel.filled_buffer(bytes(data))

    def give_back(self, index: int) -> None:
        """Give a buffer to the driver, to be filled."""
        self.ask(kernel.QBUF, kernel.buffer(index))

    def close(self) -> None:
        """Close the device."""
        if self._descriptor >= 0:
            self._system.close(self._descriptor)
            self._descriptor = -1
