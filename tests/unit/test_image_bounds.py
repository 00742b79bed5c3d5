"""What a picture may cost: each kind that asks for more is refused before it is decoded."""

import os
import struct
import subprocess
import sys
import time
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any, Final

import numpy as np
import pytest
from PIL import Image

from edge.dataset.scan import scan
from edge.errors import ImageError
from edge.runtime import image as decoder
from edge.runtime import image_bounds, preprocess
from edge.runtime.contract import ColorOrder, Preprocessing, Resize
from edge.runtime.image import check_image, decode_image, has_pages
from tests.performance.support import bombs
from tests.unit.conftest import corners, encoded, oriented, with_size

ROOT: Final = Path(__file__).parents[2]
HOSTILE: Final = bombs.hostile()
SLOW_TO_MAKE: Final = frozenset(
    {
        "PNG RGBA 128 MP",
        "PNG opacity and grey 120 MP",
        "JPEG 100 MP progressive",
        "WebP 64 MP",
        "WebP 40 MP",
    }
)
SPEC: Final = Preprocessing(height=224, width=224)


@pytest.mark.parametrize("kind", sorted(HOSTILE.keys() - SLOW_TO_MAKE))
def test_what_asks_for_too_much_is_refused_at_once(kind: str) -> None:
    content = HOSTILE[kind]()
    start = time.process_time()
    with pytest.raises(ImageError):
        preprocess.load(BytesIO(content), SPEC)
    assert time.process_time() - start < 2  # seconds; the bar


@pytest.mark.parametrize("name", ["png_bomb_rgba.png", "poison_scans.jpg"])
@pytest.mark.shared_data
def test_the_poison_of_a_stranger_is_refused(name: str) -> None:
    if not (root := os.environ.get("EDGE_TEST_DATA")):
        pytest.skip("EDGE_TEST_DATA does not name the folder of shared data")
    path = Path(root, "faults", "hostile", name)
    start = time.process_time()
    with pytest.raises(ImageError, match="at most"):
        preprocess.load(path, SPEC)
    assert time.process_time() - start < 1


def test_the_worst_case_is_within_the_bars() -> None:
    """Memory of fresh processes, and that none hangs: the script has all kinds, here are some."""
    bars = ("--seconds", "20")  # on a busy machine; 2 is the bar of a quiet one
    only = ("whose EXIF", "490 scans", "x 65535", "4,295")
    done = subprocess.run(
        [
            sys.executable,
            ROOT / "tests" / "performance" / "decode_bounds.py",
            *bars,
            "--only",
            *only,
        ],
        env={**os.environ, "PYTHONPATH": f"{ROOT / 'tests' / 'performance'}:{ROOT}"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr[-2000:]
    assert (done.stdout.count("  decoded"), done.stdout.count("  refused")) == (3, 2)


@pytest.mark.parametrize(
    ("height", "width", "options"),
    [
        (6144, 8192, {}),
        (6144, 8192, {"progressive": True}),
        (6144, 8192, {"progressive": True, "subsampling": 0}),
        (12_000, 9_000, {}),
        (16_320, 12_240, {}),
    ],
)
def test_photos_of_phones_pass(height: int, width: int, options: dict[str, Any]) -> None:
    photo = with_size(encoded(corners(), "JPEG", **options), height, width)
    check_image(BytesIO(photo), minimum=(448, 448))


@pytest.mark.parametrize("format", ["PNG", "BMP", "TIFF", "GIF"])
def test_fifty_megapixels_of_every_format_pass(format: str) -> None:
    check_image(
        BytesIO(encoded(Image.new("P" if format == "GIF" else "RGB", (8192, 6144)), format))
    )


def test_scans_are_counted_as_libjpeg_finds_them() -> None:
    """What hides scans from a search for their marker, or looks like more of them, does not."""
    plain = bombs.jpeg_scans(64, 3)
    assert decode_image(BytesIO(plain)).size == (64, 64)
    hidden = bombs.segment(0xFE, b"\xff\xd9 not the end \xff\xda\xff\xda")
    many = bombs.jpeg_scans(64, 600)
    at = many.index(b"\xff\xda", many.index(b"\xff\xda") + 2)
    with pytest.raises(ImageError, match="501 scans"):
        check_image(BytesIO(many[:at] + hidden + many[at:]))
    another = encoded(corners(), "JPEG", progressive=True) + many  # as in a photo with a second one
    assert decode_image(BytesIO(another)).size == (48, 32)


def test_a_pipe_without_end_is_read_so_far_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(image_bounds, "MAX_HELD_FILE_BYTES", 1 << 20)
    reads, writes = os.pipe()
    with subprocess.Popen(
        ["cat", "/dev/zero"], stdout=writes, stderr=subprocess.DEVNULL
    ) as endless:
        os.close(writes)
        with os.fdopen(reads, "rb") as stream, pytest.raises(ImageError, match="through the pipe"):
            decode_image(stream)
        endless.kill()


def test_standard_input_without_end_is_an_error_of_the_picture(tmp_path: Path) -> None:
    code = (
        "import edge.runtime.image_bounds as bounds; bounds.MAX_HELD_FILE_BYTES = 1 << 20\n"
        "from edge.runtime.pictures import NamedPicture\nNamedPicture(name='-').read()"
    )
    with Path("/dev/zero").open("rb") as endless:
        done = subprocess.run(
            [sys.executable, "-c", code], stdin=endless, capture_output=True, text=True, timeout=60
        )
    assert "ImageError: -: more came through the pipe; at most 1 MB are read" in done.stderr


def test_a_file_of_gigabytes_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "large.png"
    path.write_bytes(encoded(corners(), "PNG"))
    os.truncate(path, 4 << 30)  # sparse
    with pytest.raises(ImageError, match="the file has 4,295 MB; at most 537 MB are read"):
        decode_image(path)


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P", "I", "I;16", "F", "RGB"])
@pytest.mark.parametrize("order", list(ColorOrder))
def test_rows_at_a_time_give_the_same_pixels(
    mode: str, order: ColorOrder, monkeypatch: pytest.MonkeyPatch
) -> None:
    values = np.random.default_rng(0).integers(0, 256, (90, 70, 4), np.uint8)
    image = Image.fromarray(values)
    if mode in ("I", "I;16", "F"):
        deep = {"I": np.int32, "I;16": np.uint16, "F": np.float32}[mode]
        image = Image.fromarray(values[..., 0].astype(deep) * 250)
    elif mode == "P":
        image = image.convert("RGB").quantize(64)
    else:
        image = image.convert(mode)
    format = "TIFF" if mode in ("I", "F") else "PNG"
    keys: dict[str, Any] = {"P": {"transparency": 3}, "RGB": {"transparency": (1, 2, 3)}}
    options = keys.get(mode, {})
    content = encoded(image, format, **options)
    at_once = [
        decode_image(BytesIO(content), color_order=order, levels=v) for v in (None, (9, 4000))
    ]
    monkeypatch.setattr(decoder, "_BAND_PIXELS", 500)
    in_rows = [
        decode_image(BytesIO(content), color_order=order, levels=v) for v in (None, (9, 4000))
    ]
    for one, other in zip(at_once, in_rows, strict=True):
        assert (one.mode, one.tobytes()) == (other.mode, other.tobytes())


def test_a_strip_is_resized_without_an_image_as_high(monkeypatch: pytest.MonkeyPatch) -> None:
    values = np.random.default_rng(0).integers(0, 256, (17_000, 3, 3), np.uint8)
    spec = Preprocessing(height=200, width=300, resize=Resize.STRETCH)
    in_parts = preprocess.preprocess(Image.fromarray(values), spec)
    monkeypatch.setattr(preprocess, "_PASS_PIXELS", 1 << 40)
    at_once = preprocess.preprocess(Image.fromarray(values), spec)
    # Pillow takes the places of the parts as 32-bit floats: some values are off by one.
    assert np.abs(in_parts.astype(int) - at_once).max() <= 1
    assert (in_parts != at_once).mean() < 0.01


def test_a_deep_tiff_that_lies_is_turned_once() -> None:
    values = np.random.default_rng(0).integers(0, 65_536, (8, 12), np.uint16)
    content = encoded(Image.fromarray(values), "TIFF", tiffinfo={0x0112: 6})
    found = np.asarray(decode_image(BytesIO(content), color_order=ColorOrder.GREY))
    assert (found == np.rot90(values, -1) >> 8).all()


def test_pages_that_name_themselves_are_not_walked() -> None:
    content = bytearray(encoded(corners(), "TIFF"))
    (first,) = struct.unpack("<I", content[4:8])
    (entries,) = struct.unpack("<H", content[first : first + 2])
    following = first + 2 + 12 * entries
    content[following : following + 4] = struct.pack("<I", first)
    assert not has_pages(BytesIO(bytes(content)))


def test_a_turned_image_counts_twice() -> None:
    wide = with_size(oriented(corners(), 6), 7000, 8000)  # 56 million pixels, not an ordinary photo
    with pytest.raises(ImageError, match="takes 448 MB; at most 252 MB are taken"):
        check_image(BytesIO(wide))
    check_image(BytesIO(with_size(oriented(corners(), 6), 6144, 8192)))


def test_a_picture_that_is_decoded_small_is_called_by_its_stored_size() -> None:
    stored = with_size(encoded(corners(), "JPEG", progressive=True, subsampling=0), 7000, 8000)
    with pytest.raises(ImageError, match="to decode 8000 x 7000 pixels"):
        check_image(BytesIO(stored), minimum=(100, 100))


def test_a_scan_of_a_folder_leaves_a_poison_picture_out(
    make_folder: Callable[..., Path], tmp_path: Path
) -> None:
    folder = make_folder({"cat": 8, "dog": 8})
    (folder / "cat" / "poison.jpg").write_bytes(bombs.jpeg_scans(7070, 400))
    (left_out,) = scan(folder, seed=0).skipped
    assert left_out.path.name == "poison.jpg"
    assert "32,000,000 blocks" in left_out.reason
