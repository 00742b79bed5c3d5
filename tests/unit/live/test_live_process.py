"""The real ``python -m edge.runtime live``, as systemd starts it for a release."""

import json
import os
import signal
import socket
import stat
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import numpy as np
import pytest
from PIL import Image

from edge.runtime.bundle import Bundle
from edge.runtime.seal import PROVED
from tests.unit.golden_bundle import ROOT, golden_bundle, wrong_bundle

PATIENCE: Final = 30.0  # seconds; everything here takes a fraction of one


class Systemd:
    """Listens to what a service tells of itself."""

    def __init__(self, folder: Path) -> None:
        self.listener = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.listener.bind(str(folder / "notify"))
        self.listener.settimeout(PATIENCE)
        self.environ = {"NOTIFY_SOCKET": str(folder / "notify"), "WATCHDOG_USEC": "400000"}
        self.heard: list[str] = []

    def until(self, true: Callable[[str], bool]) -> str:
        """Hear until something is told; return that."""
        while True:
            self.heard.append(self.listener.recv(4096).decode())
            if true(self.heard[-1]):
                return self.heard[-1]


class LiveProcess:
    """A service with a socket for its health."""

    def __init__(
        self, bundle: Path, camera: Path, folder: Path, patience: float, **environ: str
    ) -> None:
        self.health = folder / "health"
        words = ["live", str(bundle), "--camera", str(camera), "--listen", "127.0.0.1:0"]
        words += ["--patience", str(patience), "--rate", "20", "--threads", "1", "--release", "r1"]
        self.process = subprocess.Popen(
            [sys.executable, "-m", "edge.runtime", *words, "--health", str(self.health)],
            cwd=ROOT,
            env={**os.environ, **environ},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def page(self) -> str:
        """The address that it prints."""
        assert self.process.stderr is not None
        for line in self.process.stderr:  # it ends with the process
            if line.startswith("live at http://127.0.0.1:"):
                return line.removeprefix("live at ").strip()
        raise AssertionError("no address was printed")

    def ask(self) -> dict[str, Any]:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
            client.settimeout(PATIENCE)
            client.connect(str(self.health))
            client.sendall(b'{"ask": "health"}\n')
            with client.makefile("rb") as stream:
                found: dict[str, Any] = json.loads(stream.readline())
        return found

    def ended(self, number: int) -> tuple[int, str]:
        """Exit code and messages, after a signal."""
        self.process.send_signal(number)
        _, err = self.process.communicate(timeout=PATIENCE)
        return self.process.returncode, err


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return golden_bundle(tmp_path_factory.mktemp("live") / "bundle")


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    folder = tmp_path / "pictures"
    folder.mkdir()
    for name, color in {"a": (250, 0, 0), "b": (0, 250, 0)}.items():
        Image.new("RGB", (32, 24), color).save(folder / f"{name}.jpg")
    return folder


@pytest.fixture
def systemd(tmp_path: Path) -> Iterator[Systemd]:
    made = Systemd(tmp_path)
    yield made
    made.listener.close()


@pytest.fixture
def start(bundle: Path, tmp_path: Path, systemd: Systemd) -> Iterator[Callable[..., LiveProcess]]:
    started: list[LiveProcess] = []

    def begin(
        camera: Path, of: Path = bundle, *, patience: float = 20.0, **environ: str
    ) -> LiveProcess:
        started.append(LiveProcess(of, camera, tmp_path, patience, **systemd.environ, **environ))
        return started[-1]

    yield begin
    for service in started:
        if service.process.poll() is None:
            service.process.kill()
        service.process.communicate()


def test_a_service_from_its_start_to_its_end(
    start: Callable[..., LiveProcess], systemd: Systemd, pictures: Path
) -> None:
    service = start(pictures)
    assert systemd.until(lambda text: text == "READY=1")
    assert "STATUS=self-test in a process of its own" in systemd.heard
    assert any(text.startswith("STATUS=") for text in systemd.heard)
    told = service.ask()
    assert 0 < told.pop("seconds") < 5 and 0 < told.pop("uptime") < PATIENCE
    assert told.pop("answered") > 0 and told.pop("failed") == 0
    assert told.pop("engine").startswith("ai-edge-litert ")
    assert told == {"release": "r1", "variant": "tflite-fp32", "ok": True, "reason": None}
    assert stat.S_IMODE(service.health.stat().st_mode) == 0o600
    with urllib.request.urlopen(f"{service.page()}v1/health", timeout=PATIENCE) as reply:
        assert json.load(reply)["release"] == "r1"
    signs = []
    while len(signs) < 5:
        systemd.until(lambda text: text == "WATCHDOG=1")
        signs.append(time.monotonic())
    assert 0.1 < np.median(np.diff(signs)) < 0.35  # half of 0.4 s
    service.process.send_signal(signal.SIGTERM)
    systemd.until(lambda text: text == "STOPPING=1")
    assert service.ended(signal.SIGTERM)[0] == 0
    assert not service.health.exists()


def test_a_camera_that_is_missing_is_told_with_its_reason(
    start: Callable[..., LiveProcess], systemd: Systemd, tmp_path: Path
) -> None:
    service = start(tmp_path / "no-camera")
    systemd.until(lambda text: "no-camera" in text)
    told = service.ask()
    assert not told["ok"] and told["reason"].startswith("camera: ")
    assert not told["reason"].endswith(".")
    assert "no-camera" in told["reason"] and told["answered"] == 0
    assert told["seconds"] is not None and told["release"] == "r1"
    systemd.until(lambda text: text == "WATCHDOG=1")  # it lives, and waits for its camera
    assert "READY=1" not in systemd.heard
    assert service.ended(signal.SIGTERM)[0] == 0


def test_a_camera_that_is_missing_keeps_the_page_away_for_a_time_only(
    start: Callable[..., LiveProcess], systemd: Systemd, tmp_path: Path
) -> None:
    service = start(tmp_path / "no-camera", patience=0.5)
    systemd.until(lambda text: text == "READY=1")
    told = service.ask()
    assert not told["ok"] and "no-camera" in told["reason"]
    with urllib.request.urlopen(service.page(), timeout=PATIENCE) as reply:
        assert reply.status == 200


def test_a_camera_that_comes_later_is_taken(
    start: Callable[..., LiveProcess], systemd: Systemd, pictures: Path
) -> None:
    later = pictures.with_name("later")
    service = start(later)
    systemd.until(lambda text: "later" in text)
    assert not service.ask()["ok"]
    pictures.rename(later)
    systemd.until(lambda text: text == "READY=1")
    assert service.ask()["ok"]


def test_a_bundle_that_proved_itself_is_not_tried_apart(
    start: Callable[..., LiveProcess], systemd: Systemd, pictures: Path, bundle: Path
) -> None:
    start(pictures, **{PROVED: Bundle.open(bundle).digest})
    systemd.until(lambda text: text == "READY=1")
    assert "STATUS=golden self-test" in systemd.heard
    assert "STATUS=self-test in a process of its own" not in systemd.heard


def test_a_bundle_that_answers_wrongly_is_never_ready(
    start: Callable[..., LiveProcess], systemd: Systemd, pictures: Path, tmp_path: Path
) -> None:
    wrong = wrong_bundle(tmp_path / "wrong")
    service = start(pictures, wrong)
    systemd.until(lambda text: text.startswith("STATUS=self-test failed"))
    _, err = service.process.communicate(timeout=PATIENCE)
    assert service.process.returncode == 1 and "self-test failed" in err
    assert "READY=1" not in systemd.heard and not service.health.exists()


def test_a_socket_that_cannot_be_made_ends_it(
    start: Callable[..., LiveProcess], pictures: Path, tmp_path: Path
) -> None:
    (tmp_path / "health").write_text("something else")
    service = start(pictures)
    _, err = service.process.communicate(timeout=PATIENCE)
    assert service.process.returncode == 2 and "is in the way" in err
