"""Files that hold many pictures: .mjpeg and .y4m, whole, damaged, and cut while they are played."""

from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from edge.errors import CameraError
from edge.runtime.cameras import recordings
from edge.runtime.cameras.camera import CameraFault, CameraRequest
from edge.runtime.cameras.played import open_played
from edge.runtime.cameras.recordings import MjpegFile, Y4mFile
from tests.unit.conftest import encoded, oriented

SHADES = [40, 90, 140, 190, 240]


def grey(jpeg: bytes) -> int:
    """Which of the shades a picture has."""
    with Image.open(BytesIO(jpeg)) as image:
        seen = float(np.asarray(image.convert("L")).mean())
    return int(np.argmin([abs(seen - shade) for shade in SHADES]))


def jpegs() -> list[bytes]:
    return [encoded(Image.new("RGB", (64, 48), (shade,) * 3), "JPEG") for shade in SHADES]


def y4m(header: str = "W64 H48 F30:1 Ip C420jpeg", count: int = 5) -> bytes:
    """A file of grey pictures, in limited range, with parameters at some of its frames."""
    content = f"YUV4MPEG2 {header}\n".encode()
    for number, shade in enumerate(SHADES[:count]):
        luma = round(16 + shade * 219 / 255)
        content += b"FRAME Xsomething\n" if number == 1 else b"FRAME\n"
        content += bytes([luma]) * (64 * 48) + bytes([128]) * (2 * 32 * 24)
    return content


def test_an_mjpeg_file_is_played_in_a_circle_unchanged(tmp_path: Path) -> None:
    path = tmp_path / "a.mjpeg"
    path.write_bytes(bytes(9).join(jpegs()))
    source = MjpegFile(path)
    assert [source.ahead(1) for _ in range(12)] == [jpegs()[n % 5] for n in range(12)]
    assert [grey(source.ahead(3)) for _ in range(3)] == [4, 2, 0]
    assert grey(source.ahead(5_000_002)) == 2
    source.close()
    with open_played(str(path), CameraRequest(rate=100)) as camera:
        assert [grey(camera.read(1.0).jpeg)] == [0]
        said = camera.description
    assert (said.format, said.width, said.height, said.name) == ("MJPEG file", 64, 48, "a.mjpeg")


def test_the_first_round_can_be_skipped_over(tmp_path: Path) -> None:
    (tmp_path / "a.mjpg").write_bytes(b"".join(jpegs()))
    source = MjpegFile(tmp_path / "a.mjpg")
    assert grey(source.ahead(8)) == 2


def test_large_and_turned_pictures_of_an_mjpeg_file_are_encoded(tmp_path: Path) -> None:
    large = encoded(Image.new("RGB", (2400, 1200), (90,) * 3), "JPEG")
    turned = oriented(Image.new("RGB", (64, 48), (140,) * 3), 6)
    (tmp_path / "a.mjpg").write_bytes(large + turned)
    source = MjpegFile(tmp_path / "a.mjpg")
    sizes = [Image.open(BytesIO(source.ahead(1))).size for _ in range(2)]
    assert sizes == [(1920, 960), (48, 64)]


def test_damage_in_an_mjpeg_file_costs_a_picture(tmp_path: Path) -> None:
    whole = jpegs()
    no_size = whole[1].replace(b"\x00\x30\x00\x40", b"\x00\x00\x00\x00", 1)  # 0 x 0 pixels
    (tmp_path / "a.mjpg").write_bytes(whole[0] + no_size + whole[2] + whole[3][:300])
    source = MjpegFile(tmp_path / "a.mjpg")
    assert [grey(source.ahead(1)) for _ in range(6)] == [0, 2, 0, 2, 0, 2]
    assert len(source.left_out.notes()) == 1
    assert "picture 2" in source.left_out.notes()[0]


@pytest.mark.parametrize("kind", [MjpegFile, Y4mFile])
def test_a_file_may_be_cut_while_it_is_played(
    tmp_path: Path, kind: type[MjpegFile] | type[Y4mFile]
) -> None:
    path, content = tmp_path / "file", b"".join(jpegs()) if kind is MjpegFile else y4m()
    path.write_bytes(content)
    source = kind(path)
    assert [grey(source.ahead(1)) for _ in range(6)] == [0, 1, 2, 3, 4, 0]
    path.write_bytes(content[: len(content) // 2])
    assert [grey(source.ahead(1)) for _ in range(3)] == [1, 0, 1]
    assert len(source.left_out.notes()) == 3
    path.write_bytes(b"")
    with pytest.raises(CameraError, match="cut short") as caught:
        source.ahead(1)
    assert caught.value.fault == CameraFault.GONE
    path.write_bytes(content)
    assert grey(source.ahead(1)) in range(5)


@pytest.mark.parametrize(
    ("colour", "planes"),
    [
        ("C420jpeg", (32, 24)),
        ("C420mpeg2 XYSCSS=420MPEG2", (32, 24)),
        ("", (32, 24)),
        ("C422", (32, 48)),
        ("C444", (64, 48)),
        ("Cmono", (0, 0)),
    ],
)
@pytest.mark.parametrize("full", [False, True])
def test_colours_of_a_y4m_file(
    tmp_path: Path, colour: str, planes: tuple[int, int], full: bool
) -> None:
    # BT.601: pure red of full and of limited range.
    luma, blue, red = (76, 85, 255) if full else (81, 90, 240)
    count = planes[0] * planes[1]
    words = [
        "W64",
        "H48",
        "F25:1",
        *filter(None, [colour]),
        *(["XCOLORRANGE=FULL"] if full else []),
    ]
    content = f"YUV4MPEG2 {' '.join(words)}\nFRAME\n".encode() + bytes([luma]) * (64 * 48)
    (tmp_path / "a.y4m").write_bytes(content + bytes([blue]) * count + bytes([red]) * count)
    source = Y4mFile(tmp_path / "a.y4m")
    with Image.open(BytesIO(source.ahead(1))) as image:
        assert image.size == (64, 48)
        wanted = [76, 76, 76] if colour == "Cmono" else [255, 0, 0]
        assert np.abs(np.asarray(image.convert("RGB")).astype(int) - wanted).max() <= 4
    assert source.ahead(7) == source.ahead(1)


def test_a_y4m_file_is_played_in_a_circle(tmp_path: Path) -> None:
    path = tmp_path / "a.Y4M"
    path.write_bytes(y4m() + b"FRAME\n" + bytes(500))  # the last one is cut
    source = Y4mFile(path)
    assert [grey(source.ahead(1)) for _ in range(7)] == [0, 1, 2, 3, 4, 0, 1]
    assert len(source.left_out.notes()) == 1
    with open_played(str(path), CameraRequest()) as camera:
        assert (camera.description.format, camera.description.width) == ("Y4M file", 64)


def test_a_large_y4m_file_is_made_small(tmp_path: Path) -> None:
    content = b"YUV4MPEG2 W2000 H10 Cmono\nFRAME\n" + bytes(20_000)
    (tmp_path / "a.y4m").write_bytes(content)
    with Image.open(BytesIO(Y4mFile(tmp_path / "a.y4m").ahead(1))) as image:
        assert image.size == (1920, 10)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"no video\n",
        b"YUV4MPEG2 H48\nFRAME\n",
        b"YUV4MPEG2 W0 H48\nFRAME\n",
        b"YUV4MPEG2 W-4 H48\nFRAME\n",
        b"YUV4MPEG2 W99999 H99999\nFRAME\n",
        b"YUV4MPEG2 W64 H48 C420p10\nFRAME\n" + bytes(64 * 48 * 3),
        b"YUV4MPEG2 W64 H48" + b" " * 5000,
        b"YUV4MPEG2 W64 H48 C420\n",
        b"YUV4MPEG2 W64 H48 C420\nFRAME\n" + bytes(100),
        b"YUV4MPEG2 W64 H48 C420\nFRAMF\n" + bytes(64 * 48 * 2),
    ],
)
def test_what_is_no_video(tmp_path: Path, content: bytes) -> None:
    for name in ("a.y4m", "a.mjpeg"):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(CameraError) as caught:
            open_played(str(tmp_path / name), CameraRequest())
        assert caught.value.fault == CameraFault.UNSUPPORTED
        assert name in caught.value.message


def test_many_damaged_pictures_are_not_tried_without_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recordings, "_MOST_TRIED", 3)
    bad = jpegs()[1].replace(b"\x00\x30\x00\x40", b"\x00\x00\x00\x00", 1)
    (tmp_path / "a.mjpg").write_bytes(jpegs()[0] + bad * 10)
    source = MjpegFile(tmp_path / "a.mjpg")
    assert grey(source.ahead(1)) == 0
    with pytest.raises(CameraError):
        source.ahead(1)
    with pytest.raises(CameraError):
        source.ahead(4)
    assert grey(source.ahead(11)) == 0
