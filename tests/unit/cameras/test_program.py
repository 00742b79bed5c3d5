"""Cameras that a program reads, with programs of the tests in place of rpicam-vid and ffmpeg."""

import contextlib
import json
import os
import shlex
import sys
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from edge.errors import CameraError
from edge.runtime.cameras import process, program
from edge.runtime.cameras.camera import CameraFault, CameraRequest
from edge.runtime.cameras.process import ProcessCamera
from edge.runtime.cameras.program import csi_cameras, open_csi, open_rtsp
from tests.unit.conftest import encoded

FAKE = Path(__file__).with_name("fake_camera_program.py")
Install = Callable[..., None]


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Install:
    """``install("rpicam-vid", fault="die")`` puts the program on a PATH that has no other."""
    (tmp_path / "bin").mkdir()
    (tmp_path / "pictures").mkdir()
    for number in range(4):
        image = Image.new("RGB", (64, 48), (50 * number, 0, 0))
        (tmp_path / "pictures" / f"{number}.jpg").write_bytes(encoded(image, "JPEG"))
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    monkeypatch.setenv("FAKE_PICTURES", str(tmp_path / "pictures"))
    monkeypatch.setenv("FAKE_SAID", str(tmp_path / "said.json"))

    def put(name: str, fault: str = "", rate: float = 50) -> None:
        path = tmp_path / "bin" / name
        command = shlex.join([sys.executable, "-I", "-S", str(FAKE)])
        path.write_text(f'#!/bin/sh\nexec {command} "$@"\n')
        path.chmod(0o755)
        monkeypatch.setenv("FAKE_FAULT", fault)
        monkeypatch.setenv("FAKE_RATE", str(rate))

    return put


@pytest.fixture
def said(tmp_path: Path) -> Callable[[], list[str]]:
    """The number of the program's process, and its arguments."""
    return lambda: json.loads((tmp_path / "said.json").read_text())


def fault_of(camera: Callable[[], object]) -> CameraError:
    with pytest.raises(CameraError) as caught:
        camera()
    return caught.value


def runs(number: object) -> bool:
    return Path(f"/proc/{number}").exists()


def members(group: int) -> list[str]:
    """The processes of a group that run; a zombie that nobody waits for does not."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            state, _, of_group = path.read_text().rpartition(") ")[2].split()[:3]
            found += [path.parent.name] if int(of_group) == group and state != "Z" else []
    return found


def test_pictures_come_whole_and_counted(install: Install, said: Callable[[], list[str]]) -> None:
    install("rpicam-vid")
    with open_csi("csi", CameraRequest(641, 480, 15)) as camera:
        frames = [camera.read(5.0) for _ in range(6)]
        description = camera.description
        assert runs(said()[0])
    assert not runs(said()[0])
    for before, frame in pairwise(frames):
        assert frame.number - before.number == frame.lost + 1
        assert frame.captured > before.captured
        red = np.asarray(frame.image())[9, 9, 0]
        assert red == pytest.approx(50 * ((frame.number - 1) % 4), abs=3)
    assert (description.address, description.format) == ("csi", "MJPG")
    assert (description.width, description.height, description.rate) == (64, 48, 15)
    assert said()[1:] == shlex.split(
        "--timeout 0 --nopreview --codec mjpeg --output - --flush --camera 0 --width 640 "
        "--height 480 --framerate 15 --quality 85"
    )
    assert fault_of(lambda: camera.read(1.0)).fault == CameraFault.GONE
    camera.close()


def test_the_older_program_and_the_second_camera(
    install: Install, said: Callable[[], list[str]]
) -> None:
    install("libcamera-vid")
    with open_csi("csi:1", CameraRequest()):
        arguments = said()
    assert arguments[arguments.index("--camera") + 1] == "1"


def test_a_slow_reader_gets_the_newest(install: Install) -> None:
    install("rpicam-vid", rate=200)
    with open_csi("csi", CameraRequest()) as camera:
        first = camera.read(5.0)
        time.sleep(0.3)
        frame = camera.read(5.0)
        assert time.monotonic() - frame.captured < 0.2
        assert frame.lost == frame.number - first.number - 1
        assert frame.lost > 10


@pytest.mark.parametrize(
    ("fault", "expected", "words"),
    [
        ("absent", CameraFault.MISSING, "no cameras available"),
        ("busy", CameraFault.BUSY, "failed to acquire camera"),
        ("silent", CameraFault.NO_PICTURE, "no picture came within 0.5 s"),
        ("noise", CameraFault.NO_PICTURE, "said nothing"),
    ],
)
def test_a_camera_that_cannot_be_opened(
    install: Install,
    said: Callable[[], list[str]],
    monkeypatch: pytest.MonkeyPatch,
    fault: str,
    expected: CameraFault,
    words: str,
) -> None:
    if expected == CameraFault.NO_PICTURE:
        monkeypatch.setattr(program, "_CSI_PATIENCE", 0.5)
    install("rpicam-vid", fault)
    error = fault_of(lambda: open_csi("csi", CameraRequest()))
    assert error.fault == expected
    assert words in error.message and "csi" in error.message
    assert not runs(said()[0])


@pytest.mark.parametrize(
    ("fault", "expected", "words"),
    [
        ("hang", CameraFault.NO_PICTURE, "no picture came within 0.4 s"),
        ("die", CameraFault.GONE, "code 255; it said: ERROR: *** device timeout \\u001b[31m ***"),
        ("cut", CameraFault.GONE, "code 0; it said nothing"),
    ],
)
def test_a_camera_that_fails_while_it_is_read(
    install: Install, said: Callable[[], list[str]], fault: str, expected: CameraFault, words: str
) -> None:
    install("rpicam-vid", fault)
    with open_csi("csi", CameraRequest()) as camera:
        frames = []
        error = None
        while error is None:
            try:
                frames.append(camera.read(0.4))
            except CameraError as raised:
                error = raised
        assert frames[-1].number == 5  # the last whole one is given before the fault is told
        assert error.fault == expected
        assert words in error.message
        assert fault_of(lambda: camera.read(0.1)).fault == expected
    assert not runs(said()[0])


def test_no_program_is_installed(install: Install) -> None:
    error = fault_of(lambda: open_csi("csi", CameraRequest()))
    assert error.fault == CameraFault.MISSING and "rpicam-apps-lite" in error.hint
    assert csi_cameras() == []
    error = fault_of(lambda: open_rtsp("rtsp://host/a", CameraRequest()))
    assert error.fault == CameraFault.MISSING and "ffmpeg" in error.hint


def test_a_program_that_does_not_start(install: Install, tmp_path: Path) -> None:
    (tmp_path / "bin" / "rpicam-vid").write_bytes(b"\0no program")
    (tmp_path / "bin" / "rpicam-vid").chmod(0o755)
    error = fault_of(lambda: open_csi("csi", CameraRequest()))
    assert error.fault == CameraFault.MISSING and "does not start" in error.message


@pytest.mark.parametrize("fault", ["stubborn", "parent"])
def test_a_program_that_ignores_the_interrupt_is_killed_with_what_it_started(
    install: Install, said: Callable[[], list[str]], monkeypatch: pytest.MonkeyPatch, fault: str
) -> None:
    monkeypatch.setattr(process, "_INTERRUPT_SECONDS", 0.2)
    install("rpicam-vid", fault)
    camera = open_csi("csi", CameraRequest())
    group = int(said()[0])
    assert len(members(group)) == 2
    begun = time.monotonic()
    camera.close()
    assert time.monotonic() - begun < 2
    while members(group):  # killed, and not yet gone where the machine is busy
        assert time.monotonic() - begun < 5
        time.sleep(0.01)


def test_what_it_says_neither_stops_it_nor_fills_the_disk(
    install: Install, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(process, "_LOG_BYTES", 5000)
    install("rpicam-vid", "chatty", rate=500)
    with open_csi("csi", CameraRequest()) as camera:
        assert isinstance(camera, ProcessCamera)
        sizes = []
        while camera.read(5.0).number < 300:  # 300 kB of messages; a pipe holds 64
            sizes.append(os.fstat(camera._log.fileno()).st_size)
    assert max(sizes) < 100_000


def test_cameras_are_listed(install: Install, monkeypatch: pytest.MonkeyPatch) -> None:
    install("rpicam-vid")
    assert [(found.address, found.name) for found in csi_cameras()] == [
        ("csi:0", "imx708"),
        ("csi:1", "ov5647"),
    ]
    monkeypatch.setattr(program, "_LIST_SECONDS", 0.3)
    install("rpicam-vid", "silent")
    assert csi_cameras() == []


@pytest.mark.parametrize(
    "address",
    [
        "rtsp://bob:s3cret@host:554/live",
        "rtsp://bob:s3cr%40t@host:554/live",
        "rtsp://bob:s3@cret/x?y#z@host:554/live",
        "rtsp://host:554/live?user=bob&password=s3cret",
        "rtsp://host:554/user=bob_password=s3cret_channel=1",
        "RTSPS://bob:s3cret@host:554/live",
    ],
)
def test_a_password_is_never_shown(
    install: Install, said: Callable[[], list[str]], address: str
) -> None:
    install("ffmpeg", "password")
    error = fault_of(lambda: open_rtsp(address, CameraRequest(320, 240, 5)))
    assert error.fault == CameraFault.FORBIDDEN
    assert address in said()
    told = f"{error.message} {error.hint} {error!r} {error.__cause__!r}"
    assert "host:554" in told
    assert not any(word in told for word in ("s3", "cret", "bob"))
    install("ffmpeg")
    with open_rtsp(address, CameraRequest(320, 240, 5)) as camera:
        assert camera.read(5.0).image().size == (64, 48)
        shown = repr(camera.description)
    assert "host:554" in shown
    assert not any(word in shown for word in ("s3", "cret", "bob"))


def test_ffmpeg_is_asked_for_jpegs_at_the_rate(
    install: Install, said: Callable[[], list[str]]
) -> None:
    install("ffmpeg")
    with open_rtsp("rtsp://host/a", CameraRequest(320, 240, 7.5)):
        arguments = said()
    pairs = dict(pairwise(arguments))
    assert pairs["-i"] == "rtsp://host/a"
    assert (pairs["-c:v"], pairs["-f"], arguments[-1]) == ("mjpeg", "mjpeg", "pipe:1")
    assert "fps=7.5" in pairs["-vf"] and "320" in pairs["-vf"]


@pytest.mark.parametrize("address", ["rtsp://host/a b", "rtsp://host/\n-f", "rtsp://höst/"])
def test_a_url_that_is_none(install: Install, address: str) -> None:
    install("ffmpeg")
    assert fault_of(lambda: open_rtsp(address, CameraRequest())).fault == CameraFault.UNSUPPORTED
