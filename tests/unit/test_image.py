import base64
import struct
import subprocess
import sys
import zlib
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from edge.errors import ImageError
from edge.runtime.contract import ColorOrder
from edge.runtime.image import (
    check_image,
    decode_image,
    has_pages,
    image_suffixes,
    upright,
    way_to_read,
)
from tests.unit.conftest import (
    BLUE,
    GREEN,
    RED,
    WHITE,
    corners,
    encoded,
    huge_png,
    noise,
    oriented,
    png_chunk,
    with_size,
)

# (format, tolerance): lossy formats are off by a few levels, the others exact.
FORMATS = [("JPEG", 6), ("WEBP", 12), ("PNG", 0), ("BMP", 0), ("GIF", 0), ("TIFF", 0)]
if ".avif" in image_suffixes():  # with Pillow 11.3 and later
    FORMATS.append(("AVIF", 12))


# ``corners`` as libheif writes it; nothing that edge needs does.
HEIC = base64.b64decode(
    "AAAAHGZ0eXBoZWljAAAAAG1pZjFoZWljbWlhZgAAAX1tZXRhAAAAAAAAACFoZGxyAAAAAAAAAABwaWN0AAAAAAAA"
    "AAAAAAAAAAAAACJpbG9jAAAAAERAAAEAAQAAAAABoQABAAAAAAAAAYcAAAAjaWluZgAAAAAAAQAAABVpbmZlAgAA"
    "AAABAABodmMxAAAAAA5waXRtAAAAAAABAAAA/WlwcnAAAADdaXBjbwAAAHZodmNDAQNwAAAAkAAAAAAAHvAA/P34"
    "+AAADwNgAAEAGEABDAH//wNwAAADAJAAAAMAAAMAHroCQGEAAQAqQgEBA3AAAAMAkAAAAwAAAwAeoCCBBZbq5Ka5"
    "uAhoMCAAAAMDIAAAAwAhYgABAAZEAcFzwIkAAAATY29scm5jbHgAAQANAAaAAAAAFGlzcGUAAAAAAAAAQAAAAEAA"
    "AAAoY2xhcAAAADAAAAABAAAAIAAAAAH////wAAAAAv///+AAAAACAAAAEHBpeGkAAAAAAwgICAAAABhpcG1hAAAA"
    "AAAAAAEAAQWBAgMFhAAAAY9tZGF0AAABgygBrwT4QTWM3/Iqr//w6/v/4cNrTNZ1oR09Rdm3cS+Res+t74varVxD"
    "4a97OQu4mT6/LX1SjeCbDDI1p9ZDqoKvfvXJQHcN76UfTyP2dZLND+Ofch+sC5//OhhnY3s1/smBcXM7/zfpeb/D"
    "Cx4V6j4y2AlUEFlQasvP5B/7Umf+ZP/f/866G+MQJj6hmOSwhfbrVog3dWE4QX7U60RO0r4uW3HlccyqRx/VGu1w"
    "3gb2QfexsFZCm/xOHX9z7us7kf6I6TR387S3jj1VHJ8tCrm1k6zUP1vuyptDWEK1P4BBA5P1vqnn3TQClXBTDz9n"
    "VG+7RLWqvrrIR4AADEMPTlRUTrV+dfBgsWzKgAAnjf/TYpxYvRPPB2l2JV15OoqJmVhV62A9LK7CJKcAAIngVyn4"
    "pKMIGSlqSwmIVAAHCPs298F51wXmd6B4q5KVtdVXZ+k3EEs+v4mC69c/RH4PmZy/L2Lf3fHsnusKGvB7Z53jVNmN"
    "i+bSVe9Dd93mUOa9s1HkIA=="
)


def decoded(content: bytes, **options: object) -> Image.Image:
    return decode_image(BytesIO(content), **options)  # type: ignore[arg-type]


def near(found: Any, expected: tuple[int, int, int], tolerance: int) -> bool:
    return bool(np.all(np.abs(np.subtract(found, expected)) <= tolerance))


@pytest.mark.parametrize(("format", "tolerance"), FORMATS)
def test_colours_and_their_places(format: str, tolerance: int) -> None:
    image = decoded(encoded(corners(), format))
    assert (image.mode, image.size) == ("RGB", (48, 32))
    for place, colour in {(5, 5): RED, (42, 5): GREEN, (5, 26): BLUE, (42, 26): WHITE}.items():
        assert near(image.getpixel(place), colour, tolerance), place


# Where Exif 2.32 puts the stored top-left (red) and top-right (green) corners of the picture.
def test_levels_stretch_deep_pixels_alike_in_every_image() -> None:
    values = np.array([[0, 1024, 4095, 5000]], np.uint16)
    content = encoded(Image.fromarray(values), "PNG")
    image = decode_image(BytesIO(content), color_order=ColorOrder.GREY, levels=(0, 4095))
    assert (image.mode, np.asarray(image).tolist()) == ("L", [[0, 64, 255, 255]])


def test_opacity_is_kept_where_it_is_a_channel() -> None:
    pixels = np.array([[[10, 20, 30, 40]]], np.uint8)
    content = encoded(Image.fromarray(pixels, "RGBA"), "PNG")
    image = decode_image(BytesIO(content), color_order=ColorOrder.RGBA)
    assert np.asarray(image).tolist() == pixels.tolist()
    opaque = decode_image(BytesIO(encoded(corners(), "PNG")), color_order=ColorOrder.RGBA)
    assert (np.asarray(opaque)[..., 3] == 255).all()


@pytest.mark.parametrize(
    ("orientation", "red", "green"),
    [
        (1, (0, 0), (1, 0)),
        (2, (1, 0), (0, 0)),
        (3, (1, 1), (0, 1)),
        (4, (0, 1), (1, 1)),
        (5, (0, 0), (0, 1)),
        (6, (1, 0), (1, 1)),
        (7, (1, 1), (1, 0)),
        (8, (0, 1), (0, 0)),
        (0, (0, 0), (1, 0)),  # outside the standard: as stored
        (99, (0, 0), (1, 0)),
    ],
)
@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_exif_orientation(
    format: str, orientation: int, red: tuple[int, int], green: tuple[int, int]
) -> None:
    image = decoded(oriented(corners(), orientation, format))
    assert image.size == ((32, 48) if orientation in (5, 6, 7, 8) else (48, 32))
    width, height = image.size
    for (right, down), colour in ((red, RED), (green, GREEN)):
        place = (width - 4 if right else 3, height - 4 if down else 3)
        assert near(image.getpixel(place), colour, 12)


def test_an_upright_image_is_not_turned_again() -> None:
    once = decoded(oriented(corners(), 6))
    assert upright(once).size == once.size == (32, 48)
    assert upright(Image.open(BytesIO(oriented(corners(), 6)))).size == (32, 48)


@pytest.mark.filterwarnings("ignore:Corrupt EXIF")  # pytest sets aside edge's own filter
def test_damaged_exif_does_not_cost_the_image() -> None:
    content = encoded(corners(), "JPEG", exif=b"Exif\0\0MM\0*\xff\xff\xff\xff garbage")
    assert decoded(content).size == (48, 32)


@pytest.mark.parametrize("mode", ["1", "L", "P"])
@pytest.mark.parametrize("format", ["PNG", "BMP", "GIF", "TIFF"])
def test_modes_without_alpha(mode: str, format: str) -> None:
    image = decoded(encoded(corners().convert(mode), format))
    assert near(image.getpixel((40, 28)), WHITE, 0)
    if mode == "P":
        assert near(image.getpixel((3, 3)), RED, 0)
    if mode == "L":
        assert near(image.getpixel((3, 3)), (76, 76, 76), 0)  # 0.299 * 255, ITU-R BT.601


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_alpha_is_laid_over_white(mode: str) -> None:
    image = Image.new("RGBA", (3, 1), (0, 0, 0, 255))
    image.putpixel((1, 0), (0, 0, 0, 0))
    image.putpixel((2, 0), (0, 0, 0, 128))
    content = encoded(image.convert(mode), "PNG")
    pixels = np.asarray(decoded(content))[0]
    assert pixels.tolist() == [[0] * 3, [255] * 3, [127] * 3]


@pytest.mark.parametrize("transparency", [1, bytes((255, 0))])
@pytest.mark.parametrize("format", ["PNG", "GIF"])
def test_transparent_palette_entry_is_white(format: str, transparency: int | bytes) -> None:
    if format == "GIF" and isinstance(transparency, bytes):
        pytest.skip("GIF has one transparent index only")
    image = Image.new("P", (2, 1))
    image.putpalette([255, 0, 0, 0, 0, 255])
    image.putpixel((1, 0), 1)
    content = encoded(image, format, transparency=transparency)
    assert np.asarray(decoded(content))[0].tolist() == [list(RED), list(WHITE)]


def test_transparent_colours_of_rgb_and_grey_png() -> None:
    content = encoded(corners(), "PNG", transparency=RED)
    assert decoded(content).getpixel((3, 3)) == WHITE
    content = encoded(corners(mode="L"), "PNG", transparency=76)
    assert decoded(content).getpixel((3, 3)) == WHITE


def test_sixteen_bit_colour_key() -> None:
    pixels = struct.pack(">B6H", 0, 0x8000, 0, 0, 0, 0xFFFF, 0)
    content = (
        b"\x89PNG\r\n\x1a\n"
        + png_chunk(b"IHDR", struct.pack(">IIBBBBB", 2, 1, 16, 2, 0, 0, 0))
        + png_chunk(b"tRNS", struct.pack(">3H", 0x8000, 0, 0))
        + png_chunk(b"IDAT", zlib.compress(pixels))
        + png_chunk(b"IEND", b"")
    )
    assert np.asarray(decoded(content))[0].tolist() == [list(WHITE), list(GREEN)]


@pytest.mark.parametrize(
    ("ink", "colour"),
    [((0, 255, 255, 0), RED), ((255, 0, 255, 0), GREEN), ((0, 0, 0, 0), WHITE)],
)
def test_cmyk_jpeg_is_not_inverted(ink: tuple[int, ...], colour: tuple[int, int, int]) -> None:
    content = encoded(Image.new("CMYK", (16, 16), ink), "JPEG", quality=95)
    assert b"Adobe" in content  # with this marker the stored values are inverted
    assert near(decoded(content).getpixel((8, 8)), colour, 3)


def test_sixteen_bit_grey_png_is_scaled_not_clipped() -> None:
    values = np.array([[0, 255, 32768, 65535]], np.uint16)
    pixels = np.asarray(decoded(encoded(Image.fromarray(values), "PNG")))[0, :, 0]
    assert np.abs(pixels.astype(int) - [0, 1, 128, 255]).max() <= 1  # half a level of rounding


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (np.array([[0, 32768, 65535]], np.int32), [0, 128, 255]),
        (np.array([[-100, 0, 100]], np.int32), [0, 128, 255]),
        (np.array([[0, 0.5, 1]], np.float32), [0, 128, 255]),
        (np.array([[0, 128, 200]], np.float32), [0, 128, 200]),
        (np.array([[0, 500, 1000]], np.float32), [0, 128, 255]),
        (np.array([[np.nan, 0.5, 1]], np.float32), [0, 128, 255]),
        (np.array([[700, 700, 700]], np.float32), [0, 0, 0]),
    ],
)
def test_deep_modes(values: np.ndarray, expected: list[int]) -> None:
    pixels = np.asarray(upright(Image.fromarray(values)))[0, :, 0]
    assert np.abs(pixels.astype(int) - expected).max() <= 1  # half a level of rounding


@pytest.mark.parametrize("format", ["GIF", "WEBP", "PNG"])
def test_first_frame_of_an_animation(format: str) -> None:
    frames = [Image.new("RGB", (20, 10), colour) for colour in (RED, GREEN, BLUE)]
    content = encoded(frames[0], format, save_all=True, append_images=frames[1:], duration=50)
    assert Image.open(BytesIO(content)).n_frames == 3  # type: ignore[attr-defined]
    assert near(decoded(content).getpixel((10, 5)), RED, 12)


@pytest.mark.parametrize(
    ("minimum", "size"),
    [
        (None, (1600, 1200)),
        ((448, 448), (800, 600)),
        ((601, 1), (1600, 1200)),
        ((600, 800), (800, 600)),
        ((300, 300), (400, 300)),
        ((1, 1), (200, 150)),
        ((0, 0), (200, 150)),
        ((9999, 9999), (1600, 1200)),
    ],
)
def test_reduced_jpeg_keeps_the_minimum(
    minimum: tuple[int, int] | None, size: tuple[int, int]
) -> None:
    content = encoded(corners(1200, 1600), "JPEG")
    image = decoded(content, minimum=minimum)
    assert image.size == size
    assert near(image.getpixel((5, 5)), RED, 6)


def test_minimum_is_of_the_upright_image() -> None:
    content = oriented(corners(400, 1600), 6)  # upright: 1600 high, 400 wide
    assert decoded(content, minimum=(800, 200)).size == (200, 800)
    assert decoded(content, minimum=(200, 800)).size == (400, 1600)


@pytest.mark.parametrize("compression", ["raw", "tiff_lzw", "tiff_adobe_deflate", "jpeg"])
def test_compressed_tiff(compression: str) -> None:
    stream = BytesIO(encoded(corners(), "TIFF", compression=compression))
    assert near(decode_image(stream).getpixel((42, 5)), GREEN, 6)
    assert not stream.closed


def test_tiff_of_inks_and_of_several_pages() -> None:
    content = encoded(Image.new("CMYK", (8, 8), (0, 255, 255, 0)), "TIFF")
    assert decoded(content).getpixel((3, 3)) == RED
    pages = [Image.new("RGB", (9, 9), GREEN), Image.new("RGB", (5, 5), BLUE)]
    content = encoded(corners(), "TIFF", save_all=True, append_images=pages)
    assert (has_pages(BytesIO(content)), decoded(content).size) == (True, (48, 32))
    for format in ("PNG", "TIFF"):
        assert not has_pages(BytesIO(encoded(corners(), format)))


@pytest.mark.parametrize("tags", [{256: 60_000, 257: 60_000}, {322: 65_520, 323: 65_520}])
def test_a_tiff_beyond_the_bound_is_refused_before_its_pixels(tags: dict[int, int]) -> None:
    """By its size, and by that of its tiles, which are decoded whole."""
    entries = {256: 16, 257: 16, 258: 8, 259: 5, 262: 1, 273: 8, 277: 1, 278: 16, 279: 8, 284: 1}
    if 322 in tags:
        entries = {256: 16, 257: 16, 258: 8, 259: 5, 262: 1, 277: 1, 284: 1, 324: 8, 325: 8}
    entries |= tags
    content = b"II*\0" + struct.pack("<IH", 8, len(entries))
    content += b"".join(
        struct.pack("<HHII", tag, 4, 1, value) for tag, value in sorted(entries.items())
    )
    content += bytes(64)
    for read in (decode_image, check_image):
        with pytest.raises(ImageError, match=r"at most 62,000,000 pixels are decoded|tiles of"):
            read(BytesIO(content))


def test_what_pillow_would_read_wrongly_is_refused() -> None:
    with pytest.raises(ImageError, match="colour space Lab"):
        decoded(encoded(Image.new("LAB", (8, 8)), "TIFF"))
    deep = Image.fromarray(np.full((8, 8), 700, np.uint16))
    content = encoded(deep, "TIFF", tiffinfo={262: 0})
    with pytest.raises(ImageError, match="white as its lowest value"):
        decoded(content)


def test_a_heic_photo_names_the_package_that_reads_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edge.runtime.image._has", lambda _: False)
    assert not {".heic", ".avif"} & image_suffixes()
    with pytest.raises(ImageError, match="this is a HEIC photo") as caught:
        decoded(HEIC)
    assert "pip install pi-heif" in caught.value.message
    with pytest.raises(ImageError, match="this is an AVIF image") as caught:
        decoded(b"\0\0\0\x1cftypmif1\0\0\0\0mif1avif")
    assert "Pillow 11.3" in caught.value.message
    ways = way_to_read([".heif", ".avif", ".jpg"])
    assert ("pip install pi-heif" in ways[0], "Pillow 11.3" in ways[1]) == (True, True)


def test_a_heic_photo_is_read_where_the_package_is_installed() -> None:
    pytest.importorskip("pi_heif")
    assert ".heic" in image_suffixes()
    image = decoded(HEIC)
    assert image.size == (48, 32)
    assert near(image.getpixel((5, 5)), RED, 12)
    assert near(image.getpixel((42, 26)), WHITE, 12)


def test_minimum_leaves_other_formats_alone() -> None:
    assert decoded(encoded(corners(), "PNG"), minimum=(4, 4)).size == (48, 32)


@pytest.mark.parametrize("read", ["decode_image", "check_image"])
def test_a_huge_png_is_refused_at_once(tmp_path: Path, read: str) -> None:
    """In a fresh process, whose peak memory is its own."""
    path = tmp_path / "huge.png"
    path.write_bytes(huge_png(20_000, 20_000))
    assert path.stat().st_size < 1_000_000
    code = f"""
import pathlib, sys
from edge.errors import ImageError
from edge.runtime.image import {read}
from edge.runtime.timing import peak_memory
before = peak_memory()
try:
    {read}(pathlib.Path(sys.argv[1]))
except ImageError as error:
    print(error.message, peak_memory() - before, sep="|")
"""
    done = subprocess.run(
        [sys.executable, "-c", code, str(path)], capture_output=True, text=True, timeout=60
    )
    message, grown = done.stdout.split("|")
    assert message == (
        f"{path}: the image has 20000 x 20000 pixels; at most 62,000,000 pixels are decoded"
    )
    assert int(grown) < 20e6  # bytes; the pixels are 400 MB
    assert done.stderr == ""


def test_the_bound_counts_after_the_reduction() -> None:
    photo = with_size(encoded(corners(), "JPEG"), 12240, 16320)  # a 200-megapixel phone photo
    check_image(BytesIO(photo), minimum=(448, 448))
    with pytest.raises(ImageError, match=r"16320 x 12240"):
        check_image(BytesIO(photo))


def test_reduction_does_not_count_where_libjpeg_holds_the_whole_image() -> None:
    whole = with_size(encoded(corners(), "JPEG", progressive=True), 60_000, 60_000)
    with pytest.raises(ImageError, match=r"60000 x 60000"):
        check_image(BytesIO(whole), minimum=(1, 1))
    scans = with_size(encoded(corners(), "JPEG"), 60_000, 60_000)
    at = scans.find(b"\xff\xda")
    one_component = b"\xff\xda\x00\x08\x01\x01\x00\x00\x3f\x00"
    with pytest.raises(ImageError, match=r"60000 x 60000"):
        check_image(BytesIO(scans[:at] + one_component + scans[at + 14 :]), minimum=(1, 1))


def test_the_bound_lets_a_108_megapixel_photo_pass() -> None:
    photo = BytesIO(with_size(encoded(corners(), "JPEG"), 9_000, 12_000))
    check_image(photo, minimum=(448, 448))
    with pytest.raises(ImageError, match="at most 62,000,000 pixels"):  # 432 MB as RGB
        check_image(photo)


@pytest.mark.parametrize("format", ["JPEG", "PNG", "GIF", "WEBP", "BMP", "TIFF"])
@pytest.mark.parametrize("kept", [0.1, 0.5, 0.9])
def test_truncated_file(tmp_path: Path, format: str, kept: float) -> None:
    content = encoded(noise(1, 64, 64), format)
    path = tmp_path / "cut.img"
    path.write_bytes(content[: int(len(content) * kept)])
    with pytest.raises(ImageError, match=r"cut\.img: the image is damaged or incomplete: \w+"):
        decode_image(path)


@pytest.mark.parametrize(
    ("content", "found"),
    [
        (b"", r"the file is empty \(0 bytes\)"),
        (b"hello world", r"starts with the bytes 68 65 6c 6c 6f 20 77 6f; JPEG"),
        (b"II*\0" + bytes(60), "damaged or incomplete"),
        (b"8BPS\0\x01", "a Photoshop file"),
        (b"\0\0\0\x18ftypcrx \0\0\0\0", "a Canon RAW photo"),
        (b"<!DOCTYPE html><html>404", "an HTML, SVG or XML text"),
        (b"RIFF\0\0\0\0WAVEfmt ", "starts with the bytes 52 49 46 46"),
        (b"\xff\xd8\xff", "damaged or incomplete"),
        (b"BM", "damaged or incomplete"),
    ],
)
def test_not_an_image(tmp_path: Path, content: bytes, found: str) -> None:
    path = tmp_path / "odd name.jpg"
    path.write_bytes(content)
    for read in (decode_image, check_image):
        with pytest.raises(ImageError, match=found) as caught:
            read(path)
        assert str(path) in caught.value.message


def test_unreadable_paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ImageError, match=r"none\.jpg: the file cannot be read: No such file"):
        decode_image(tmp_path / "none.jpg")
    with pytest.raises(ImageError, match="Is a directory"):
        decode_image(tmp_path)

    def deny(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", deny)
    with pytest.raises(ImageError, match="Permission denied"):
        decode_image(tmp_path / "locked.jpg")


@pytest.mark.parametrize("error", [MemoryError(), IndexError(), SyntaxError("odd")])
def test_whatever_pillow_raises(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    def fail(_: object) -> None:
        raise error

    monkeypatch.setattr("PIL.JpegImagePlugin.JpegImageFile.load", fail)
    with pytest.raises(ImageError, match=r"the image stream: ") as caught:
        decoded(encoded(corners(), "JPEG"))
    assert caught.value.__cause__ is error


def test_a_stream_is_read_from_its_start_and_left_open() -> None:
    stream = BytesIO(encoded(corners(), "PNG"))
    stream.read(7)
    assert decode_image(stream).getpixel((3, 3)) == RED
    assert not stream.closed


def test_nothing_is_written_to_stderr_and_pillow_is_as_it_was(tmp_path: Path) -> None:
    """In a fresh process: under pytest warnings do not reach stderr."""
    bad_exif = b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x0f\0\x02\0\0\xff\xff\0\0\xff\xff\0\0\0\0"
    (tmp_path / "exif.jpg").write_bytes(encoded(corners(), "JPEG", exif=bad_exif))
    # Pillow alone warns at 89.5 million pixels.
    (tmp_path / "large.jpg").write_bytes(with_size(encoded(corners(), "JPEG"), 9_500, 9_500))
    lzw = encoded(noise(1, 64, 64), "TIFF", compression="tiff_lzw")
    (tmp_path / "lzw.tif").write_bytes(lzw[:400] + bytes(9000) + lzw[9400:])
    samples = encoded(corners(), "TIFF").replace(
        struct.pack("<HHIHH", 277, 3, 1, 3, 0), struct.pack("<HHIHH", 277, 3, 1, 255, 0)
    )
    (tmp_path / "samples.tif").write_bytes(samples)
    code = """
import sys, pathlib
from PIL import Image
limit = Image.MAX_IMAGE_PIXELS
from edge.runtime.image import check_image, decode_image
decode_image(pathlib.Path(sys.argv[1]) / "exif.jpg")
check_image(pathlib.Path(sys.argv[1]) / "large.jpg", minimum=(1, 1))
assert Image.MAX_IMAGE_PIXELS == limit
from edge.errors import ImageError
for name in ("lzw.tif", "samples.tif"):  # of these libtiff and Pillow's logger would write
    try:
        decode_image(pathlib.Path(sys.argv[1]) / name)
    except ImageError:
        continue
    print(f"{name} was read")
"""
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, timeout=60
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
