"""Image file -> upright 8-bit image, within bounds; whatever is wrong becomes ImageError."""

import ctypes
import importlib
import importlib.util
import logging
import re
import sys
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from functools import cache
from io import BytesIO
from pathlib import Path
from typing import Any, BinaryIO, Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFile

from edge.errors import ImageError
from edge.runtime.contract import ColorOrder
from edge.runtime.files import readable
from edge.runtime.image_bounds import (
    MAX_BYTES,
    Metered,
    check_bytes,
    check_directories,
    check_file,
    check_image_bounds,
    too_large,
)

READABLE: Final = "JPEG, PNG, BMP, GIF, WebP, TIFF, AVIF and HEIC images"
_SUFFIXES: Final = frozenset(
    {".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".bmp", ".gif", ".webp", ".tif", ".tiff"}
)
_AVIF_SUFFIXES: Final = frozenset({".avif"})
_HEIC_SUFFIXES: Final = frozenset({".heic", ".heif", ".hif"})
_NO_WAY: Final = "Convert it to JPEG or PNG, or leave it out."
_STREAM: Final = "the image stream"  # what messages call a stream without a name
_AVIF_WAY: Final = "AVIF images are read with Pillow 11.3 or later."
_HEIC_WAY: Final = (
    "HEIC photos are read where pi-heif is installed (edge-pipeline's extra heic), on a device as "
    "well: pip install pi-heif"
)
# Pillow warns about odd metadata ("Corrupt EXIF data", "Invalid APNG") and about sizes that the
# bound here already judges. warnings.catch_warnings() would swap process-wide state under the
# feet of other decoding threads, so the filters are set once, for Pillow's own modules alone.
warnings.filterwarnings("ignore", category=UserWarning, module=r"PIL\.")
warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning, module=r"PIL\.")

# The plugin for TIFF logs what it raises anyway; without any handler Python prints that to stderr.
logging.getLogger("PIL").addHandler(logging.NullHandler())

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
    (b"II*\x00", "Tiff"),
    (b"MM\x00*", "Tiff"),
    (b"II+\x00", "Tiff"),
    (b"MM\x00+", "Tiff"),
)
_PHOTOMETRIC: Final = 262  # tag of TIFF 6.0
_WHITE_IS_ZERO: Final = 0
_DEEP_COLOUR: Final = re.compile(r"(RGB[AX]?;16)([BLN])")  # Pillow's raw modes
_HEIC_BRANDS: Final = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs")

# Leading bytes of what is often found in photo folders, to say what a file is.
_FOREIGN: Final = (
    (4, b"ftypcrx", "a Canon RAW photo"),
    (4, b"ftyp", "an MP4 or QuickTime video"),
    (4, b"JXL ", "a JPEG XL image"),
    (0, b"\xff\x0a", "a JPEG XL image"),
    (4, b"jP  ", "a JPEG 2000 image"),
    (0, b"8BPS", "a Photoshop file"),
    (0, b"IIU\x00", "a Panasonic RAW photo"),
    (0, b"IIRO", "an Olympus RAW photo"),
    (0, b"FUJIFILMCCD-RAW", "a Fujifilm RAW photo"),
    (0, b"%PDF", "a PDF document"),
    (0, b"PK\x03\x04", "a ZIP archive"),
    (0, b"<", "an HTML, SVG or XML text"),
)

_BAND_PIXELS: Final = 1 << 18  # rows of an image that are worked on at a time

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
    """Do as ``decode_sized``, and return the image alone."""
    return decode_sized(source, minimum=minimum, color_order=color_order, levels=levels)[0]


def decode_sized(
    source: Path | BinaryIO,
    *,
    minimum: tuple[int, int] | None = None,
    color_order: ColorOrder = ColorOrder.RGB,
    levels: tuple[int, int] | None = None,
) -> tuple[Image.Image, tuple[int, int]]:
    """Decode an image file; of an animation or of several pages, the first.

    AVIF needs Pillow 11.3 or later, HEIC the package pi-heif.

    Args:
        source: A path, or a binary stream, which is read from its start and left open.
        minimum: (height, width) in pixels of the upright image. A JPEG may be decoded at 1/2,
            1/4 or 1/8 of its size while both sides stay at least that; None: at full size.
        color_order: The order of the channels of the result.
        levels: Black and white level of deep images; see ``Preprocessing``.

    Returns:
        An image of the mode that ``color_order`` names, EXIF orientation applied; transparency
        over white, unless it is a channel of its own. Then the (width, height) in pixels that the
        upright image has in the file, before any reduction.

    Raises:
        ImageError: The file cannot be read, is no such image, is damaged, or has more than
            MAX_PIXELS pixels (counted after the reduction, and before pixels are decoded).
    """
    with _opened(source) as (stream, name):
        image, stored = _open(stream, name, minimum)
        if levels is not None and _deep_colour(image):
            loaded = _leveled(image, _low_bytes(image, stream, name), levels)
        else:
            image.load()
            loaded = image
        turn = _orientation(loaded)
        # Pillow scales colours and opacity in a second image.
        twice = turn in _UPRIGHT or color_order is ColorOrder.RGBA
        check_bytes(image, name, stream.held, twice)
        made = _turned(loaded, _converted(loaded, color_order, levels), turn)
        # Pillow turns a TIFF file while it loads it: its stored sides may have changed places.
        swapped = (made.width > made.height) != (stored[0] > stored[1])
        return made, stored[::-1] if swapped else stored


def check_image(source: Path | BinaryIO, *, minimum: tuple[int, int] | None = None) -> None:
    """Read an image's header only: is it of a known format and within the bound?

    Args:
        source: As for ``decode_image``.
        minimum: As for ``decode_image``.

    Raises:
        ImageError: As ``decode_image``, except for damage in the pixel data.
    """
    with _opened(source) as (stream, name):
        _open(stream, name, minimum)


def stored_and_shown_size(source: Path | BinaryIO) -> tuple[tuple[int, int], tuple[int, int]]:
    """Return (width, height) of an image as it is stored, and as it is shown, from its header.

    They differ where the EXIF orientation turns it by a quarter.

    Raises:
        ImageError: As ``check_image``.
    """
    with _opened(source) as (stream, name):
        image, stored = _open(stream, name, None)
        turned = _orientation(image) in _SIDES_SWAPPED
        if image.format == "TIFF":
            turned = getattr(image, "tag_v2", {}).get(_ORIENTATION_TAG, 1) in _SIDES_SWAPPED
        return stored, stored[::-1] if turned else stored


def deep_bands(source: Path | BinaryIO) -> Iterator[NDArray[Any]]:
    """Return the stored values of an image of more than 8 bits a channel.

    There are none of any other image.

    Yields:
        (rows, width), or (rows, width, 3 or 4) uint16 of a coloured one, as stored: not turned.
        Memory holds some rows of them at a time.

    Raises:
        ImageError: As ``decode_image``.
    """
    with _opened(source) as (stream, name):
        image, _ = _open(stream, name, None)
        if _deep_colour(image):
            low = _low_bytes(image, stream, name)
            for box in _bands(image):
                yield _deep_pixels(image, low, box)
        elif _deep(image):
            image.load()
            for box in _bands(image):
                yield np.asarray(image.crop(box))


def has_pages(source: Path | BinaryIO) -> bool:
    """Return whether a TIFF file has more pages than the first, which is read.

    Raises:
        ImageError: As ``check_image``.
    """
    with _opened(source) as (stream, name):
        if _open(stream, name, None)[0].format != "TIFF":
            return False
        first, following = check_directories(stream, name, stream.file_bytes)
        return following not in (0, first)


def image_suffixes() -> frozenset[str]:
    """Return the suffixes of image files that can be read here, in lower case, with their dots."""
    suffixes = _SUFFIXES
    if _has("PIL._avif"):
        suffixes |= _AVIF_SUFFIXES
    if _heif_package():
        suffixes |= _HEIC_SUFFIXES
    return suffixes


def way_to_read(suffixes: Iterable[str]) -> tuple[str, ...]:
    """Return sentences on how files of these suffixes could be read, which cannot be read here."""
    unread = frozenset(suffixes) - image_suffixes()
    ways = ((_HEIC_SUFFIXES, _HEIC_WAY), (_AVIF_SUFFIXES, _AVIF_WAY))
    return tuple(way for kinds, way in ways if kinds & unread)


def upright(
    image: Image.Image,
    color_order: ColorOrder = ColorOrder.RGB,
    levels: tuple[int, int] | None = None,
) -> Image.Image:
    """Turn an image the way its EXIF orientation says, and convert it to 8 bits a channel.

    Args:
        image: An image of any mode. 16-bit and 32-bit integers and floats are scaled to 8 bits.
        color_order: The order of the channels of the result.
        levels: Black and white level of deep images; see ``Preprocessing``. Of coloured ones
            ``decode_image`` alone knows the low bits.

    Returns:
        The image itself if it is upright and of that mode already; otherwise a new one, without
        metadata, so that nobody turns it a second time.
    """
    converted = _converted(image, color_order, levels)
    return _turned(image, converted, _orientation(image))


def _turned(image: Image.Image, converted: Image.Image, orientation: int) -> Image.Image:
    """Return what has been made of an image, turned; without metadata if it is a new one."""
    if orientation in _UPRIGHT:
        converted = converted.transpose(_UPRIGHT[orientation])
    if converted is not image:
        converted.info = {}
    return converted


def _open(
    stream: Metered, name: str, minimum: tuple[int, int] | None
) -> tuple[ImageFile.ImageFile, tuple[int, int]]:
    """Parse the header, arrange the reduction, and judge the cost; no pixel is decoded.

    The image comes with its (width, height) as stored, before the reduction.
    """
    stream.seek(0)
    stream.restart()
    head = stream.read(64)
    module, kind = _module(head, name)
    check_file(stream, kind, name)
    plugin: type[ImageFile.ImageFile] = getattr(importlib.import_module(module), f"{kind}ImageFile")
    # Without the file's name, by which Pillow would open it a second time and map it: a mapped
    # file that is cut short meanwhile ends the process.
    image = plugin(stream)
    stream.begin_pixels()
    if image.format == "TIFF":
        _check_tiff(image, name)
    stored = image.size
    in_strips, turn = True, 1
    if image.format == "JPEG":
        in_strips, turn = _decodes_in_strips(image, stream), _orientation(image)
        if minimum is not None:
            height, width = minimum if turn not in _SIDES_SWAPPED else minimum[::-1]
            image.draft(image.mode, (max(1, width), max(1, height)))
    elif image.format == "TIFF":
        turn = getattr(image, "tag_v2", {}).get(_ORIENTATION_TAG, 1)  # Pillow turns it itself
    check_image_bounds(
        image, stream, name, stored=stored, in_strips=in_strips, turned=turn in _UPRIGHT
    )
    return image, stored


def _module(head: bytes, name: str) -> tuple[str, str]:
    """Return the module of Pillow's plugin for a file, and the kind of image that it is for.

    Args:
        head: The first 64 bytes, or fewer if it ends.
        name: How messages call the file.
    """
    if not head:
        if name == _STREAM:
            raise ImageError(f"{name}: no byte came", hint="Send the bytes of one image file.")
        raise ImageError(
            f"{name}: the file is empty (0 bytes)",
            hint="Copy it again from where it came, or leave it out.",
        )
    for magic, kind in _PLUGINS:
        if head.startswith(magic) and (magic != b"RIFF" or head[8:12] == b"WEBP"):
            if kind == "Tiff":
                _quiet_libtiff()
            return f"PIL.{kind}ImagePlugin", kind
    # ISO/IEC 14496-12: the length of the box, "ftyp", the major brand, a version, other brands.
    brands = {head[at : at + 4] for at in (8, *range(16, min(64, len(head)), 4))}
    if head[4:8] == b"ftyp" and brands & {b"avif", b"avis"}:
        if not _has("PIL._avif"):
            raise ImageError(f"{name}: this is an AVIF image. {_AVIF_WAY}", hint=_NO_WAY)
        return "PIL.AvifImagePlugin", "Avif"
    if head[4:8] == b"ftyp" and (brands & set(_HEIC_BRANDS) or head[8:12] in (b"mif1", b"msf1")):
        package = _heif_package()
        if package is None:
            raise ImageError(f"{name}: this is a HEIC photo. {_HEIC_WAY}", hint=_NO_WAY)
        return f"{package}.as_plugin", "Heif"
    plugin = next(
        (what for at, magic, what in _FOREIGN if head[at:].startswith(magic)),
        f"something that starts with the bytes {head[:8].hex(' ')}",
    )
    raise ImageError(
        f"{name}: this is {plugin}; {READABLE} are read",
        hint=_NO_WAY,
    )


@cache
def _quiet_libtiff() -> None:
    """Keep libtiff from writing to stderr by itself; Pillow raises what goes wrong."""
    with suppress(OSError):
        mapped = Path("/proc/self/maps").read_text(encoding="utf-8", errors="replace")
        fields = [line.split(maxsplit=5) for line in mapped.splitlines()]
        for path in {line[5] for line in fields if len(line) > 5 and "libtiff" in line[5]}:
            library = ctypes.CDLL(path)  # which Pillow has loaded
            for name in ("TIFFSetErrorHandler", "TIFFSetWarningHandler"):
                setter = getattr(library, name)
                setter.argtypes, setter.restype = [ctypes.c_void_p], ctypes.c_void_p
                setter(None)


@cache
def _has(module: str) -> bool:
    """Return whether a module is there; it is not imported."""
    try:
        return importlib.util.find_spec(module) is not None
    except ImportError:  # the package that it would be in is missing
        return False


def _heif_package() -> str | None:
    """Return the package that reads HEIC, if one is installed; both have the same plugin."""
    return next((name for name in ("pi_heif", "pillow_heif") if _has(name)), None)


def _check_tiff(image: ImageFile.ImageFile, name: str) -> None:
    """Refuse what Pillow reads wrongly."""
    tags = getattr(image, "tag_v2", {})
    inverted = tags.get(_PHOTOMETRIC) == _WHITE_IS_ZERO
    if image.mode == "LAB" or (inverted and image.mode.startswith(("I", "F"))):
        what = "the colour space Lab" if image.mode == "LAB" else "white as its lowest value"
        raise ImageError(
            f"{name}: this TIFF image has {what}, which is not read",
            hint="Convert it to PNG or JPEG.",
        )


def _deep_colour(image: ImageFile.ImageFile) -> bool:
    """Return whether the file has 16 bits a channel, of which Pillow keeps the high 8."""
    return bool(image.tile) and all(_DEEP_COLOUR.fullmatch(_raw_mode(tile)) for tile in image.tile)


def _raw_mode(tile: Any) -> str:
    """Return how a decoder of Pillow is told to take the stored pixels."""
    arguments = tile[3]
    return str(arguments if isinstance(arguments, str) else (arguments or ("",))[0])


def _low_bytes(image: ImageFile.ImageFile, stream: Metered, name: str) -> Image.Image:
    """Return the image that has the low bytes of a coloured one.

    It is loaded, and ``image`` as well.

    Pillow reads the high byte of each value. The low one is the high one of the other byte order.
    """
    if 8 * image.width * image.height > MAX_BYTES:
        raise too_large(name, f"{image.width} x {image.height} 16-bit", MAX_BYTES // 8)
    low, _ = _open(stream, name, None)
    low.tile = [_other_byte(tile) for tile in low.tile]
    low.load()
    stream.seek(0)
    image.load()
    return low


def _deep_pixels(
    image: Image.Image, low: Image.Image, box: tuple[int, int, int, int]
) -> NDArray[np.uint16]:
    """Return all 16 bits of rows of a coloured image, (rows, width, 3 or 4)."""
    pixels = np.asarray(image.crop(box)).astype(np.uint16)
    pixels <<= 8
    pixels |= np.asarray(low.crop(box))
    return pixels


def _bands(image: Image.Image) -> Iterator[tuple[int, int, int, int]]:
    """Return the boxes of rows that cover an image: work on one at a time takes little memory."""
    rows = max(1, _BAND_PIXELS // image.width)
    for top in range(0, image.height, rows):
        yield 0, top, image.width, min(top + rows, image.height)


def _other_byte(tile: Any) -> Any:
    codec, extents, offset, arguments = tile
    match = _DEEP_COLOUR.fullmatch(_raw_mode(tile))
    assert match is not None  # ``_deep_colour`` has looked
    order = match[2] if match[2] != "N" else {"little": "L", "big": "B"}[sys.byteorder]
    swapped = match[1] + {"L": "B", "B": "L"}[order]
    changed = swapped if isinstance(arguments, str) else (swapped, *arguments[1:])
    return (
        type(tile)(codec, extents, offset, changed)
        if hasattr(tile, "_fields")
        else (codec, extents, offset, changed)
    )


def _leveled(image: Image.Image, low: Image.Image, levels: tuple[int, int]) -> Image.Image:
    """Return a coloured image whose 16 bits are stretched to 8, in its place.

    Opacity is not stretched.
    """
    for box in _bands(image):
        values = _deep_pixels(image, low, box)
        pixels = _eight_bits(values, levels)
        if values.shape[2] == 4:
            pixels[..., 3] = values[..., 3] >> 8
        image.paste(Image.fromarray(pixels), box)
    return image


def _decodes_in_strips(image: ImageFile.ImageFile, stream: Metered) -> bool:
    """Return whether libjpeg needs a strip of memory at a time rather than the whole stored image.

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
    """Return the EXIF orientation, 1..8; 1 where there is none or the metadata cannot be read."""
    try:
        if exif := _exif(image):
            check_directories(BytesIO(exif), _STREAM, len(exif))
        value = image.getexif().get(_ORIENTATION_TAG, 1)
    except Exception:
        # Damaged metadata of any kind (Pillow raises many types) says nothing about the pixels.
        return 1
    return value if isinstance(value, int) else 1


def _exif(image: Image.Image) -> bytes:
    """Return the EXIF data that Pillow would read, from its TIFF header on."""
    stored = image.info.get("exif")
    if stored is None and (profile := image.info.get("Raw profile type exif")):
        stored = bytes.fromhex("".join(profile.split("\n")[3:]))
    return stored.removeprefix(b"Exif\0\0") if isinstance(stored, bytes) else b""


def _deep(image: Image.Image) -> bool:
    """Return whether Pillow holds more than 8 bits a channel."""
    return image.mode.startswith("I") or image.mode == "F"


def _converted(
    image: Image.Image, color_order: ColorOrder, levels: tuple[int, int] | None
) -> Image.Image:
    """Convert any mode: transparency over white or kept, deep pixels scaled, not clipped.

    Some rows at a time: a large image is held in two forms, and not in four.
    """
    mode = str(color_order)
    deep = _deep(image)
    if not deep and not image.has_transparency_data:
        return image if image.mode == mode else image.convert(mode)
    span = _span(image) if deep and levels is None else (0.0, 0.0)

    def made(rows: Image.Image) -> Image.Image:
        if not deep:
            return _flattened(rows, color_order)
        return Image.fromarray(_eight_bits(np.asarray(rows), levels, span)).convert(mode)

    boxes = list(_bands(image))
    if len(boxes) == 1:
        return made(image)
    result = Image.new(mode, image.size)
    for box in boxes:
        result.paste(made(image.crop(box)), box)
    return result


def _flattened(image: Image.Image, color_order: ColorOrder) -> Image.Image:
    """Return an image with transparency, over white or with opacity as its fourth channel."""
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
    mode = str(color_order)
    return flat.convert(mode) if mode != "RGB" else flat


def _span(image: Image.Image) -> tuple[float, float]:
    """Return the lowest and the highest value of a deep image; what is no number counts as 0."""
    lows, highs = [], []
    for box in _bands(image):
        values = np.asarray(image.crop(box))
        if values.dtype.kind == "f":
            values = np.nan_to_num(values)
        lows.append(float(values.min()))
        highs.append(float(values.max()))
    return min(lows), max(highs)


def _eight_bits(
    values: NDArray[Any], levels: tuple[int, int] | None, span: tuple[float, float] = (0.0, 0.0)
) -> NDArray[np.uint8]:
    """Scale deep values to 0..255.

    Args:
        values: (height, width), or with channels. Integers mean 0..65535 and floats 0..1; floats
            of a range up to 255 are taken as they are, and any other range is stretched from
            minimum to maximum.
        levels: The values that become 0 and 255 instead; what lies beyond them is clipped.
        span: Minimum and maximum of the whole image, of which these values may be some rows;
            needed without ``levels``.

    Returns:
        uint8, of the same shape.
    """
    if values.dtype.kind == "f":
        values = np.nan_to_num(values)
    if levels is not None:
        black, white = levels
        stretched = (values.astype(np.float64) - black) * (255 / (white - black))
        return np.clip(np.rint(stretched), 0, 255).astype(np.uint8)
    low, high = span
    whole = values.dtype.kind in "iu"
    if whole and low >= 0 and high <= 65535:
        return (values >> 8).astype(np.uint8)  # the high byte, as Pillow does with 16-bit RGB
    if not whole and low >= 0 and high <= 255:
        return np.rint(values * (255.0 if high <= 1 else 1.0)).astype(np.uint8)
    scale = 255.0 / (high - low) if high > low else 0.0
    return np.rint((values.astype(np.float64) - low) * scale).astype(np.uint8)


@contextmanager
def _opened(source: Path | BinaryIO) -> Iterator[tuple[Metered, str]]:
    """Open the stream, with its name for messages; whatever is raised becomes ImageError."""
    name = _name(source)
    try:
        if isinstance(source, Path):
            with source.open("rb") as stream:
                yield Metered(stream, name), name
        else:
            yield Metered(source, name), name
    except ImageError:
        raise
    except Exception as error:
        # Pillow's decoders raise nearly anything on hostile bytes; the cause stays chained.
        raise _refusal(name, error) from error


def _name(source: Path | BinaryIO) -> str:
    """Return how messages call the source."""
    if isinstance(source, Path):
        return readable(source)
    return str(getattr(source, "name", _STREAM))


def unread(name: str, error: OSError) -> ImageError:
    """Return the error for a file that the operating system does not give."""
    return ImageError(
        f"{name}: the file cannot be read: {error.strerror}",
        hint="Check that it is there and that you may read it.",
    )


def _refusal(name: str, error: Exception) -> ImageError:
    """Return what Pillow or the operating system raised, as the error that users see."""
    if isinstance(error, Image.DecompressionBombError):
        return too_large(name, "far more than the allowed")
    if isinstance(error, MemoryError):
        return ImageError(f"{name}: there is not enough memory to decode it")
    if isinstance(error, OSError) and error.errno is not None:
        return unread(name, error)
    detail = str(error) or type(error).__name__
    return ImageError(
        f"{name}: the image is damaged or incomplete: {detail}",
        hint="Send it again."
        if name == _STREAM
        else "Copy it again from where it came, or leave it out.",
    )
