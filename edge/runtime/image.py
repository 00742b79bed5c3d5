"""Image file -> upright 8-bit image, within bounds; whatever is wrong becomes ImageError."""

import importlib
import warnings
from contextlib import nullcontext
from io import BytesIO
from pathlib import Path
from typing import Any, BinaryIO, Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFile

from edge.errors import ImageError
from edge.runtime.files import readable
from edge.runtime.spec import ColorOrder

IMAGE_SUFFIXES: Final = frozenset(
    {".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".bmp", ".gif", ".webp"}
)
MAX_PIXELS: Final = 128_000_000  # a 108-megapixel phone photo passes; 384 MB as RGB

# Pillow warns about odd metadata ("Corrupt EXIF data", "Invalid APNG") and about sizes that the
# bound here already judges. warnings.catch_warnings() would swap process-wide state under the
# feet of other decoding threads, so the filters are set once, for Pillow's own modules alone.
warnings.filterwarnings("ignore", category=UserWarning, module=r"PIL\.")
warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning, module=r"PIL\.")

# The plugins are called directly: Image.open() would refuse above 2 * Image.MAX_IMAGE_PIXELS
# before draft() could reduce a JPEG, and that bound is a global that threads cannot change safely.
# Each is imported when the first file of its kind comes: a device mostly sees one kind.
_PLUGINS: Final = (
    (b"\xff\xd8\xff", "Jpeg"),
    (b"\x89PNG\r\n\x1a\n", "Png"),
    (b"GIF87a", "Gif"),
    (b"GIF89a", "Gif"),
    (b"RIFF", "WebP"),
    (b"BM", "Bmp"),
)

# Leading bytes of what is often found in photo folders, to say what a file is.
_FOREIGN: Final = (
    (4, b"ftyphei", "a HEIC photo"),
    (4, b"ftypmif1", "a HEIC photo"),
    (4, b"ftypavif", "an AVIF image"),
    (4, b"ftyp", "an MP4 or QuickTime video"),
    (0, b"II*\x00", "a TIFF image"),
    (0, b"MM\x00*", "a TIFF image"),
    (0, b"%PDF", "a PDF document"),
    (0, b"PK\x03\x04", "a ZIP archive"),
    (0, b"<", "an HTML, SVG or XML text"),
)

_ORIENTATION_TAG: Final = 0x0112  # Exif 2.32, table 4
_UPRIGHT: Final = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_SIDES_SWAPPED: Final = (5, 6, 7, 8)


def decode_image(
    source: Path | BinaryIO,
    *,
    minimum: tuple[int, int] | None = None,
    color_order: ColorOrder = ColorOrder.RGB,
    levels: tuple[int, int] | None = None,
) -> Image.Image:
    """Decode a JPEG, PNG, BMP, GIF or WebP file; of an animation, the first frame.

    Args:
        source: A path, or a binary stream, which is read from its start and left open.
        minimum: (height, width) in pixels of the upright image. A JPEG may be decoded at 1/2,
            1/4 or 1/8 of its size while both sides stay at least that; None: at full size.
        color_order: Of the result.
        levels: Black and white level of deep grey images; see ``Preprocessing``.

    Returns:
        An image of the mode that ``color_order`` names, EXIF orientation applied; transparency
        over white, unless it is a channel of its own.

    Raises:
        ImageError: The file cannot be read, is no such image, is damaged, or has more than
            MAX_PIXELS pixels (counted after the reduction, and before pixels are decoded).
    """
    name = _name(source)
    try:
        with source.open("rb") if isinstance(source, Path) else nullcontext(source) as stream:
            image = _open(stream, name, minimum)
            image.load()
            return upright(image, color_order, levels)
    except ImageError:
        raise
    except Exception as error:
        # Pillow's decoders raise nearly anything on hostile bytes; the cause stays chained.
        raise _refusal(name, error) from error


def check_image(source: Path | BinaryIO, *, minimum: tuple[int, int] | None = None) -> None:
    """Read an image's header only: is it of a known format and within the bound?

    Args:
        source: As for ``decode_image``.
        minimum: As for ``decode_image``.

    Raises:
        ImageError: As ``decode_image``, except for damage in the pixel data.
    """
    name = _name(source)
    try:
        with source.open("rb") if isinstance(source, Path) else nullcontext(source) as stream:
            _open(stream, name, minimum)
    except ImageError:
        raise
    except Exception as error:
        raise _refusal(name, error) from error


def upright(
    image: Image.Image,
    color_order: ColorOrder = ColorOrder.RGB,
    levels: tuple[int, int] | None = None,
) -> Image.Image:
    """Turn an image the way its EXIF orientation says, and convert it to 8 bits a channel.

    Args:
        image: Of any mode. 16-bit and 32-bit integers and floats are scaled to 8 bits.
        color_order: Of the result.
        levels: Black and white level of deep grey images; see ``Preprocessing``.

    Returns:
        The image itself if it is upright and of that mode already; otherwise a new one, without
        metadata, so that nobody turns it a second time.
    """
    turn = _UPRIGHT.get(_orientation(image))
    converted = _converted(image, color_order, levels)
    if turn is not None:
        converted = converted.transpose(turn)
    if converted is not image:
        converted.info = {}
    return converted


def _open(stream: BinaryIO, name: str, minimum: tuple[int, int] | None) -> ImageFile.ImageFile:
    """Parse the header, arrange the reduction, and judge the size; no pixel is decoded."""
    if not stream.seekable():
        stream = BytesIO(stream.read())
    stream.seek(0)
    head = stream.read(16)
    stream.seek(0)
    image = _plugin(head, name)(stream, name)
    stored = image.size
    streams = True
    if minimum is not None and image.format == "JPEG":
        streams = _decodes_in_strips(image, stream)
        height, width = minimum
        if _orientation(image) in _SIDES_SWAPPED:
            height, width = width, height
        image.draft(image.mode, (max(1, width), max(1, height)))
    width, height = image.size if streams else stored
    if width * height > MAX_PIXELS:
        raise _too_large(name, f"{width} x {height}")
    return image


def _plugin(head: bytes, name: str) -> type[ImageFile.ImageFile]:
    """The Pillow class for a file that starts with ``head`` (16 bytes, or fewer if it ends)."""
    if not head:
        raise ImageError(f"{name}: the file is empty (0 bytes)", hint="Replace or delete it.")
    for magic, kind in _PLUGINS:
        if head.startswith(magic) and (magic != b"RIFF" or head[8:12] == b"WEBP"):
            module = importlib.import_module(f"PIL.{kind}ImagePlugin")
            plugin: type[ImageFile.ImageFile] = getattr(module, f"{kind}ImageFile")
            return plugin
    found = next(
        (what for at, magic, what in _FOREIGN if head[at:].startswith(magic)),
        f"something that starts with the bytes {head[:8].hex(' ')}",
    )
    raise ImageError(
        f"{name}: this is {found}, not a JPEG, PNG, BMP, GIF or WebP image",
        hint="Convert it to JPEG or PNG, or take it out of the folder.",
    )


def _decodes_in_strips(image: ImageFile.ImageFile, stream: BinaryIO) -> bool:
    """Whether libjpeg needs a strip of memory at a time rather than the whole stored image.

    It keeps every coefficient of a progressive or multi-scan file, whatever the reduction; for
    these the stored size is what the bound must be held against. A single scan is known by its
    start-of-scan header (ITU-T T.81, B.2.3), which Pillow has just read, naming every component.
    """
    if image.info.get("progressive"):
        return False
    components = len(image.getbands())
    length = 6 + 2 * components
    end = stream.tell()
    stream.seek(max(0, end - length))
    return stream.read(3) == bytes((0, length, components))


def _orientation(image: Image.Image) -> int:
    """EXIF orientation, 1..8; 1 where there is none or the metadata cannot be read."""
    try:
        value = image.getexif().get(_ORIENTATION_TAG, 1)
    except Exception:
        # Damaged metadata of any kind (Pillow raises many types) says nothing about the pixels.
        return 1
    return value if isinstance(value, int) else 1


def _converted(
    image: Image.Image, color_order: ColorOrder, levels: tuple[int, int] | None
) -> Image.Image:
    """Convert any mode: transparency over white or kept, deep pixels scaled, not clipped."""
    mode = str(color_order)
    if image.mode.startswith("I") or image.mode == "F":
        return Image.fromarray(_eight_bits(np.asarray(image), levels)).convert(mode)
    if not image.has_transparency_data:
        return image if image.mode == mode else image.convert(mode)
    colour_key = image.info.get("transparency")
    if isinstance(colour_key, tuple) and max(colour_key) > 255:
        # A 16-bit colour key, but Pillow keeps the high bytes of 16-bit RGB only.
        image = image.copy()
        image.info["transparency"] = tuple(value >> 8 for value in colour_key)
    layered = image.convert("RGBA")
    if color_order is ColorOrder.RGBA:
        return layered
    flat = Image.new("RGB", layered.size, (255, 255, 255))
    flat.paste(layered, mask=layered.getchannel("A"))
    return flat.convert(mode) if mode != "RGB" else flat


def _eight_bits(values: NDArray[Any], levels: tuple[int, int] | None) -> NDArray[np.uint8]:
    """Scale deep grey values to 0..255.

    Args:
        values: (height, width). Integers mean 0..65535 and floats 0..1; floats of a range up to
            255 are taken as they are, and any other range is stretched from minimum to maximum.
        levels: The values that become 0 and 255 instead; what lies beyond them is clipped.

    Returns:
        uint8 (height, width).
    """
    if values.dtype.kind == "f":
        values = np.nan_to_num(values)
    if levels is not None:
        black, white = levels
        stretched = (values.astype(np.float64) - black) * (255 / (white - black))
        return np.clip(np.rint(stretched), 0, 255).astype(np.uint8)
    low, high = float(values.min()), float(values.max())
    whole = values.dtype.kind in "iu"
    if whole and low >= 0 and high <= 65535:
        return (values >> 8).astype(np.uint8)  # the high byte, as Pillow does with 16-bit RGB
    if not whole and low >= 0 and high <= 255:
        return np.rint(values * (255.0 if high <= 1 else 1.0)).astype(np.uint8)
    scale = 255.0 / (high - low) if high > low else 0.0
    return np.rint((values.astype(np.float64) - low) * scale).astype(np.uint8)


def _name(source: Path | BinaryIO) -> str:
    """How messages call the source."""
    if isinstance(source, Path):
        return readable(source)
    return str(getattr(source, "name", "the image stream"))


def _too_large(name: str, found: str) -> ImageError:
    """The error for an image over the bound; ``found`` is its size, width x height."""
    return ImageError(
        f"{name}: the image has {found} pixels; at most {MAX_PIXELS:,} pixels are decoded",
        hint="Scale it down.",
    )


def _refusal(name: str, error: Exception) -> ImageError:
    """What Pillow or the operating system raised, as the error that users see."""
    if isinstance(error, Image.DecompressionBombError):
        return _too_large(name, "far more than the allowed")
    if isinstance(error, MemoryError):
        return ImageError(f"{name}: there is not enough memory to decode it")
    if isinstance(error, OSError) and error.errno is not None:
        return ImageError(
            f"{name}: the file cannot be read: {error.strerror}",
            hint="Check that it is there and that you may read it.",
        )
    detail = str(error) or type(error).__name__
    return ImageError(
        f"{name}: the image is damaged or incomplete: {detail}",
        hint="Copy it again from where it came, or take it out of the folder.",
    )
