"""Pictures that are played at a rate, in a circle, as if they came from a camera.

A folder is played here; ``recordings`` reads the files that hold many pictures.
"""

import stat
import time
from collections import OrderedDict
from io import BytesIO
from pathlib import Path
from typing import BinaryIO, Final, Protocol

from PIL import Image

from edge.errors import CameraError, ImageError
from edge.runtime.cameras.camera import (
    MAX_FRAME_BYTES,
    Camera,
    CameraDescription,
    CameraFault,
    CameraRequest,
    Frame,
    closed,
)
from edge.runtime.cameras.yuv import encoded
from edge.runtime.files import Stamp, open_regular, readable
from edge.runtime.image import decode_sized, stored_and_shown_size, unread
from edge.runtime.pictures import walk

LONGEST_SIDE: Final = 1920  # pixels; a page shows no more, and a model sees far fewer
_HELD_BYTES: Final = 64 << 20  # of pictures that were encoded here: 300 of the longest side
_MOST_NOTES: Final = 20
_ORIENTATION: Final = 0x0112  # Exif 2.32, table 4
_JPEG_START: Final = b"\xff\xd8\xff"
_SUFFIXES: Final = {".mjpeg": "MjpegFile", ".mjpg": "MjpegFile", ".y4m": "Y4mFile"}


class Source(Protocol):
    """Pictures in a circle.

    Attributes:
        format: What ``CameraDescription`` calls them.
        left_out: What cannot be read; it may come to be more while it is played.
    """

    format: str
    left_out: "LeftOut"

    def ahead(self, steps: int) -> bytes:
        """Go so many pictures on, at least 1, and return that picture as a JPEG.

        One that cannot be read is left out: the next one that can takes its place.

        Raises:
            CameraError: None can be read.
        """
        ...

    def close(self) -> None:
        """Let files go."""
        ...


class LeftOut:
    """What is said, once, of pictures that cannot be read: the first ones, and a count."""

    def __init__(self) -> None:
        self._said: list[str] = []
        self._more = 0

    def add(self, problem: str) -> None:
        """Note one more picture, whose name begins the sentence."""
        if len(self._said) < _MOST_NOTES:
            self._said.append(f"left out: {problem}")
        else:
            self._more += 1

    def notes(self) -> tuple[str, ...]:
        """Return the sentences for a description."""
        more = f"left out: {self._more} more"
        return (*self._said, more) if self._more else tuple(self._said)


def open_played(address: str, request: CameraRequest) -> Camera:
    """Open a folder of pictures, a ``.mjpeg`` or ``.mjpg`` file, or a ``.y4m`` file.

    The size that is asked for does not count: the pictures have the size that they have.

    Raises:
        CameraError: Nothing is there (``CameraFault.MISSING``), it may not be read, or holds no
            picture that can be.
    """
    path = Path(address)
    source: Source
    if holds_pictures(path):
        source = Folder(path)
    else:
        from edge.runtime.cameras import recordings

        try:
            source = getattr(recordings, _SUFFIXES[path.suffix.lower()])(path)
        except OSError as error:
            raise _not_read(path, error) from error
    return Player(path, source, request.rate)


def holds_pictures(path: Path) -> bool:
    """Return whether a folder is there; False for a file that can be played.

    Raises:
        CameraError: Nothing is there, it may not be looked at, or is no file that can be played.
    """
    try:
        if stat.S_ISDIR(path.stat().st_mode):
            return True
    except (OSError, ValueError) as error:
        raise _not_read(path, error) from error
    if path.suffix.lower() not in _SUFFIXES:
        raise CameraError(
            f"{readable(path)} is neither a folder nor a .mjpeg, .mjpg or .y4m file",
            fault=CameraFault.UNSUPPORTED,
            hint="Put pictures into a folder, and give the folder.",
        )
    return False


def _not_read(path: Path, error: OSError | ValueError) -> CameraError:
    """Return the error for a path that the operating system does not give."""
    shown, hint = readable(path), "Check that it is there and that you may read it."
    if isinstance(error, PermissionError):
        return CameraError(f"{shown} may not be read", fault=CameraFault.FORBIDDEN, hint=hint)
    if isinstance(error, FileNotFoundError | NotADirectoryError | ValueError):
        return CameraError(f"there is nothing at {shown}", fault=CameraFault.MISSING, hint=hint)
    why = error.strerror or str(error)
    return CameraError(f"{shown} cannot be read: {why}", fault=CameraFault.UNSUPPORTED, hint=hint)


def no_picture(path: Path, problem: str, fault: CameraFault, hint: str) -> CameraError:
    """Return the error for a place with no picture that can be read; ``problem`` is the last."""
    why = f": {problem}" if problem else ""
    message = f"{readable(path)} holds no picture that can be read{why}"
    return CameraError(message, fault=fault, hint=hint)


class Player(Camera):
    """Gives the pictures of a source at a rate, by the monotonic clock.

    The first frame comes with the first ``read``. A reader that is slow gets the newest frame, and
    ``lost`` counts those that nobody saw.
    """

    def __init__(self, path: Path, source: Source, rate: float) -> None:
        """Read the first picture, whose size is that of the description.

        Raises:
            CameraError: No picture can be read.
        """
        self._source, self._path, self._rate = source, path, rate
        self._given = 0  # the number of the frame that was given last
        self._begun: float | None = None  # when the first frame was complete
        self._open = True
        try:
            self._first = source.ahead(1)
            self._size = stored_and_shown_size(BytesIO(self._first))[1]
        except BaseException:
            source.close()
            raise

    @property
    def description(self) -> CameraDescription:
        """What is played; its notes name the pictures that were left out so far."""
        return CameraDescription(
            address=readable(self._path),
            name=readable(Path(self._path.name)) or readable(self._path),
            format=self._source.format,
            width=self._size[0],
            height=self._size[1],
            rate=self._rate,
            notes=self._source.left_out.notes(),
        )

    def read(self, timeout: float) -> Frame:
        """Return the newest frame that is due; see ``Camera``."""
        if not self._open:
            raise closed(readable(self._path))
        now = time.monotonic()
        if self._begun is None:
            self._begun = now
        due = 1 + int((now - self._begun) * self._rate)
        if due <= self._given:
            due = self._given + 1
            wait = max(0.0, self._due_at(due) - now)
            time.sleep(min(wait, max(0.0, timeout)))
            if wait > timeout:
                raise CameraError(
                    f"{readable(self._path)}: the next picture is due in {wait - timeout:.1f} s",
                    fault=CameraFault.NO_PICTURE,
                )
        steps, self._given = due - self._given, due
        jpeg = self._first or self._source.ahead(steps)
        self._first = b""
        return Frame(number=due, jpeg=jpeg, captured=self._due_at(due), lost=steps - 1)

    def _due_at(self, number: int) -> float:
        assert self._begun is not None
        return self._begun + (number - 1) / self._rate

    def close(self) -> None:
        """Let files go."""
        self._open = False
        self._source.close()


class Folder:
    """The pictures in a folder and below, sorted by their path; what comes later is not seen.

    A JPEG that is upright and small enough is given as it is. Everything else is encoded once, and
    held as long as all that is held takes at most 64 MiB.
    """

    format = "picture files"

    def __init__(self, path: Path) -> None:
        """List the pictures.

        Raises:
            CameraError: There is no picture, or the folder cannot be read.
        """
        self.left_out = LeftOut()
        self._path, self._at = path, -1
        listed = walk(path)
        self._left = list(listed.images)
        self._problem = next(iter(listed.problems.values()), "")  # the last one that was met
        self._fault = CameraFault.FORBIDDEN if listed.problems else CameraFault.UNSUPPORTED
        # JPEGs that were decoded, and are given as they are.
        self._unchanged: dict[Path, Stamp] = {}
        self._made: OrderedDict[Path, tuple[Stamp, bytes]] = OrderedDict()
        self._made_bytes = 0

    def ahead(self, steps: int) -> bytes:
        """See ``Source``; a picture that was left out once is not tried again."""
        self._at += steps
        while self._left:
            self._at %= len(self._left)
            path = self._left[self._at]
            try:
                jpeg = self._picture(path)
            except (ImageError, OSError) as error:
                refused = error if isinstance(error, ImageError) else unread(readable(path), error)
                self._problem = refused.message
                self.left_out.add(refused.message)
                self._forget(path)
                del self._left[self._at]  # the next picture is at this place now
            else:
                self._fault = CameraFault.GONE  # should all of them be gone one day
                return jpeg
        hint = "Give a folder of JPEG or PNG pictures."
        raise no_picture(self._path, self._problem, self._fault, hint)

    def close(self) -> None:
        """Let pictures go: no file stays open."""
        self._made.clear()

    def _picture(self, path: Path) -> bytes:
        """Return one picture as a JPEG.

        Raises:
            ImageError: It is no picture, or damaged.
            OSError: The file cannot be read.
        """
        stamp = _stamp(path)
        made = self._made.get(path)
        if made is not None and made[0] == stamp:
            self._made.move_to_end(path)
            return made[1]
        with open_regular(path) as stream:
            if stream.read(len(_JPEG_START)) == _JPEG_START and stamp.size <= MAX_FRAME_BYTES:
                stream.seek(0)
                content = stream.read(MAX_FRAME_BYTES)
                if (
                    self._unchanged.get(path) == stamp == _stamp(path)
                    and len(content) == stamp.size
                ):
                    return content
                jpeg = fitting_jpeg(content, readable(path))
            else:
                content, jpeg = b"", made_jpeg(stream)
        if jpeg is content:
            self._unchanged[path] = stamp
        else:
            self._hold(path, stamp, jpeg)
        return jpeg

    def _hold(self, path: Path, stamp: Stamp, jpeg: bytes) -> None:
        """Keep what was encoded, in place of what was used longest ago."""
        self._forget(path)
        if len(jpeg) > _HELD_BYTES:
            return
        self._made[path] = stamp, jpeg
        self._made_bytes += len(jpeg)
        while self._made_bytes > _HELD_BYTES:
            self._forget(next(iter(self._made)))

    def _forget(self, path: Path) -> None:
        self._unchanged.pop(path, None)
        made = self._made.pop(path, None)
        self._made_bytes -= len(made[1]) if made else 0


def _stamp(path: Path) -> Stamp:
    """Return the stamp of a file, or of what a link leads to.

    Raises:
        OSError: It is not there.
    """
    status = path.stat()
    kind = stat.S_IFMT(status.st_mode)
    return Stamp(status.st_dev, status.st_ino, kind, status.st_size, status.st_mtime_ns)


class NamedBytes(BytesIO):
    """Bytes that messages call by a name."""

    def __init__(self, content: bytes, name: str) -> None:
        super().__init__(content)
        self.name = name


def fitting_jpeg(content: bytes, name: str, *, whole: bool = True) -> bytes:
    """Return a JPEG as it is where it is upright and small enough, or else encoded anew.

    Args:
        content: A JPEG file.
        name: What messages call it.
        whole: Decode it, to know that it is not damaged; or else look at its header alone.

    Raises:
        ImageError: It is damaged, or larger than what is decoded.
    """
    stream = NamedBytes(content, name)
    stored, shown = stored_and_shown_size(stream)
    if stored != shown or max(shown) > LONGEST_SIDE or not _is_plain(content):
        return made_jpeg(stream)
    if whole:
        # At an eighth of its size: every byte is read, and most of the arithmetic is saved.
        decode_sized(stream, minimum=(1, 1))
    return content


def _is_plain(content: bytes) -> bool:
    """Return whether a JPEG, whose header has passed the bounds, is upright and no CMYK."""
    try:
        with Image.open(BytesIO(content), formats=["JPEG"]) as image:
            return image.mode in ("L", "RGB") and image.getexif().get(_ORIENTATION, 1) == 1
    except Exception:  # Pillow raises nearly anything on damaged metadata: encode it without them
        return False


def made_jpeg(stream: BinaryIO) -> bytes:
    """Return any image file as an upright JPEG whose longer side has at most ``LONGEST_SIDE``.

    Memory is that of one decoded image; ``edge.runtime.image_bounds`` bounds it.

    Args:
        stream: A file, by whose ``name`` messages call it.

    Raises:
        ImageError: It is no image, damaged, or larger than what is decoded.
    """
    (width, height), minimum = stored_and_shown_size(stream)[1], None
    if max(width, height) > LONGEST_SIDE:
        target = _bounded(width, height)
        minimum = target[1], target[0]
    return encoded(within_bounds(decode_sized(stream, minimum=minimum)[0]))


def within_bounds(image: Image.Image) -> Image.Image:
    """Return an image whose longer side has at most ``LONGEST_SIDE`` pixels."""
    if max(image.size) <= LONGEST_SIDE:
        return image
    return image.resize(_bounded(*image.size), Image.Resampling.BICUBIC, reducing_gap=2.0)


def _bounded(width: int, height: int) -> tuple[int, int]:
    share = LONGEST_SIDE / max(width, height)
    return max(1, round(width * share)), max(1, round(height * share))
