"""A folder that is played: rate, circle, lost frames, and files that are broken or change."""

import os
import shutil
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from edge.errors import CameraError
from edge.runtime import open_camera
from edge.runtime.cameras import played
from edge.runtime.cameras.camera import Camera, CameraFault, CameraRequest, Frame
from tests.unit.conftest import corners, encoded, noise, oriented, with_size

COLOURS = [(200, 0, 0), (0, 200, 0), (0, 0, 200), (200, 200, 0)]


class Clock:
    """Time that goes on only where one waits."""

    def __init__(self) -> None:
        self.now = 500.0

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        assert seconds >= 0
        self.now += seconds


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(played, "time", made)
    return made


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Four JPEGs of one colour each, the last one in a folder of its own."""
    (tmp_path / "pictures" / "z").mkdir(parents=True)
    for name, colour in zip(["1.jpg", "2.jpeg", "3.JPG", "z/0.jpg"], COLOURS, strict=True):
        Image.new("RGB", (64, 48), colour).save(tmp_path / "pictures" / name, "JPEG")
    return tmp_path / "pictures"


def colour(frame: Frame) -> int:
    """Which of the colours a frame has."""
    seen = np.asarray(frame.image()).reshape(-1, 3).mean(axis=0)
    return int(np.argmin([np.abs(seen - known).sum() for known in COLOURS]))


def play(path: Path, rate: float = 10.0) -> Camera:
    return open_camera(str(path), CameraRequest(rate=rate))


def test_pictures_come_at_the_rate_in_a_circle_unchanged(folder: Path, clock: Clock) -> None:
    with play(folder) as camera:
        frames = [camera.read(1.0) for _ in range(9)]
        said = camera.description
    assert [colour(frame) for frame in frames] == [0, 1, 2, 3, 0, 1, 2, 3, 0]
    assert [(frame.number, frame.lost) for frame in frames] == [(n, 0) for n in range(1, 10)]
    times = [round(frame.captured - 500, 6) for frame in frames]
    assert times == [round(n / 10, 6) for n in range(9)]
    assert clock.now == pytest.approx(500.8)
    assert frames[1].jpeg == (folder / "2.jpeg").read_bytes()
    assert (said.address, said.name) == (str(folder), "pictures")
    assert (said.width, said.height, said.rate, said.notes) == (64, 48, 10, ())
    with pytest.raises(CameraError, match="closed"):
        camera.read(1.0)


def test_a_slow_reader_gets_the_newest_and_the_count_of_the_rest(
    folder: Path, clock: Clock
) -> None:
    with play(folder) as camera:
        assert camera.read(1.0).number == 1
        clock.sleep(0.55)
        frame = camera.read(1.0)
        assert (frame.number, frame.lost, colour(frame)) == (6, 4, 1)
        assert frame.captured == pytest.approx(500.5)
        assert camera.read(1.0).number == 7
        assert clock.now == pytest.approx(500.6)
        clock.sleep(3600)
        frame = camera.read(1.0)
        assert (frame.number, frame.lost) == (36_007, 35_999)


def test_a_read_that_is_too_impatient_loses_nothing(folder: Path, clock: Clock) -> None:
    with play(folder, rate=0.5) as camera:
        camera.read(0.1)
        for _ in range(3):
            with pytest.raises(CameraError) as caught:
                camera.read(0.5)
            assert caught.value.fault == CameraFault.NO_PICTURE
        frame = camera.read(1.0)
        assert (frame.number, frame.lost, colour(frame)) == (2, 0, 1)


def test_iterating_goes_on_for_ever(folder: Path, clock: Clock) -> None:
    with play(folder) as camera:
        numbers = [frame.number for frame, _ in zip(camera, range(20), strict=False)]
    assert numbers[:20] == list(range(1, 21))


def test_the_real_clock_is_kept(folder: Path) -> None:
    import time

    with play(folder, rate=50) as camera:
        begun = time.monotonic()
        frames = [camera.read(5.0) for _ in range(10)]
        took = time.monotonic() - begun
    # By the clock and not by waits one after another: the mean is exact, however busy it is.
    assert took == pytest.approx((frames[-1].number - 1) / 50, abs=0.1)
    assert took >= 9 / 50
    assert all(begun <= frame.captured <= begun + took for frame in frames)


def test_what_is_no_upright_small_jpeg_is_encoded_once(
    tmp_path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    image = corners(32, 48)
    (tmp_path / "a.png").write_bytes(encoded(image, "PNG"))
    (tmp_path / "b.jpg").write_bytes(oriented(image.transpose(Image.Transpose.ROTATE_90), 6))
    (tmp_path / "c.jpg").write_bytes(encoded(image.resize((2400, 1600)), "JPEG"))
    (tmp_path / "d.jpg").write_bytes(encoded(image.convert("CMYK"), "JPEG"))
    (tmp_path / "e.jpg").write_bytes(oriented(image.transpose(Image.Transpose.ROTATE_180), 3))
    (tmp_path / "f.jpg").write_bytes(encoded(image.convert("L"), "JPEG"))
    with play(tmp_path) as camera:
        first = [camera.read(1.0) for _ in range(6)]
        monkeypatch.setattr(played, "made_jpeg", None)  # what it made is held
        again = [camera.read(1.0).jpeg for _ in range(6)]
        assert camera.description.notes == ()
    assert again == [frame.jpeg for frame in first]
    assert first[5].jpeg == (tmp_path / "f.jpg").read_bytes()
    for frame in first[:5]:
        with Image.open(BytesIO(frame.jpeg)) as shown:
            assert shown.format == "JPEG" and shown.getexif().get(0x0112, 1) == 1
            assert shown.size == ((1920, 1280) if frame is first[2] else (48, 32))
            pixels = np.asarray(shown.convert("RGB")).astype(int)
        height, width = pixels.shape[:2]
        assert np.abs(pixels[height // 4, width // 4] - [255, 0, 0]).max() < 12
        assert np.abs(pixels[-height // 4, width // 4] - [0, 0, 255]).max() < 12


def test_memory_of_what_is_encoded_is_bounded(
    tmp_path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(6):
        corners(32 + number, 48).save(tmp_path / f"{number}.png")
    source = played.Folder(tmp_path)
    one = len(source.ahead(1))
    monkeypatch.setattr(played, "_HELD_BYTES", 3 * one)
    for _ in range(20):
        source.ahead(1)
        assert sum(len(jpeg) for _, jpeg in source._made.values()) == source._made_bytes <= 3 * one


def test_broken_pictures_are_left_out_and_said_once(folder: Path, clock: Clock) -> None:
    whole = (folder / "1.jpg").read_bytes()
    cut = encoded(noise(1, 200, 200), "JPEG")
    (folder / "0.jpg").write_bytes(cut[: len(cut) // 2])  # its header is whole
    (folder / "2a.jpg").write_bytes(b"")
    (folder / "2b.png").write_bytes(b"no picture")
    (folder / "2c.jpg").write_bytes(with_size(whole, 60_000, 60_000))
    (folder / "2d.jpg").symlink_to("nowhere")
    (folder / "4.txt").write_text("no picture, and not asked for")
    with play(folder) as camera:
        frames = [camera.read(1.0) for _ in range(9)]
        notes = camera.description.notes
    assert [colour(frame) for frame in frames] == [0, 1, 2, 3, 0, 1, 2, 3, 0]
    assert [frame.number for frame in frames] == list(range(1, 10))
    assert [Path(note.split(": ")[1]).name for note in notes] == [
        *("0.jpg", "2a.jpg", "2b.png", "2c.jpg", "2d.jpg")
    ]


def test_notes_do_not_grow_without_end(folder: Path, clock: Clock) -> None:
    for number in range(50):
        (folder / f"y{number:02}.jpg").write_bytes(b"no picture")
    with play(folder) as camera:
        for _ in range(9):
            camera.read(1.0)
        notes = camera.description.notes
    assert len(notes) == 21
    assert notes[-1] == "left out: 30 more"


def test_files_may_change_and_go(folder: Path, clock: Clock) -> None:
    with play(folder) as camera:
        camera.read(1.0)
        (folder / "2.jpeg").unlink()
        Image.new("RGB", (64, 48), COLOURS[3]).save(folder / "3.JPG", "JPEG")
        assert colour(camera.read(1.0)) == 3  # at the place of 2.jpeg comes 3.JPG
        (folder / "z" / "0.jpg").write_bytes(b"now it is none")
        assert colour(camera.read(1.0)) == 0
        (folder / "3.JPG").replace(folder / "1.jpg")
        assert colour(camera.read(1.0)) == 3
        assert len(camera.description.notes) == 3
        shutil.rmtree(folder)
        with pytest.raises(CameraError) as caught:
            camera.read(1.0)
        assert caught.value.fault == CameraFault.GONE


def test_a_pipe_is_never_waited_for(folder: Path, clock: Clock) -> None:
    with play(folder) as camera:
        camera.read(1.0)
        (folder / "2.jpeg").unlink()
        os.mkfifo(folder / "2.jpeg")
        assert colour(camera.read(1.0)) == 2


@pytest.mark.parametrize(
    ("make", "fault"),
    [
        (lambda path: None, CameraFault.MISSING),
        (lambda path: path.mkdir(), CameraFault.UNSUPPORTED),
        (lambda path: (path.mkdir(), (path / "a.jpg").write_bytes(b"no")), CameraFault.UNSUPPORTED),
        (lambda path: (path.mkdir(), (path / "a.txt").write_bytes(b"no")), CameraFault.UNSUPPORTED),
        (lambda path: path.write_bytes(b"no folder"), CameraFault.UNSUPPORTED),
        (lambda path: os.mkfifo(path), CameraFault.UNSUPPORTED),
        (lambda path: path.symlink_to(path), CameraFault.UNSUPPORTED),
    ],
)
def test_what_cannot_be_played(tmp_path: Path, make: object, fault: CameraFault) -> None:
    assert callable(make)
    make(tmp_path / "there")
    with pytest.raises(CameraError) as caught:
        play(tmp_path / "there")
    assert caught.value.fault == fault
    assert str(tmp_path / "there") in caught.value.message
    assert caught.value.hint


def test_a_name_that_no_file_can_have() -> None:
    for name in ("nul\0", "a" * 5000):
        with pytest.raises(CameraError):
            play(Path(name))
