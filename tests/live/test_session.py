"""The first minute: an empty session is taught in the browser, judged, kept, exported and signed.

The real command, the real server, the network that edge ships, Debian's Chromium, handwritten
digits. The camera is a folder that shows one digit, so that frames which were never taught are to
be answered as that digit.
"""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import pytest

from edge.dataset.digits import export_digits

pytestmark = [pytest.mark.slow, pytest.mark.tensorflow]

SEEN: Final = "0"  # the digit before the camera
OTHERS: Final = ("1", "4")
TAUGHT: Final = 6  # pictures of each of the others
HELD_OUT: Final = 12


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("digits") / "digits"
    export_digits(folder)
    return folder


class Session:
    """``edge live`` as a process, in a folder of its own."""

    def __init__(self, work: Path, camera: Path) -> None:
        self.work = work
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = int(probe.getsockname()[1])
        self.url = f"http://127.0.0.1:{self.port}"
        words = ("live", "--camera", str(camera), "--rate", "8", "--no-open")
        listen = ("--listen", f"127.0.0.1:{self.port}", "--threads", "1")
        self.log = (work / "log").open("ab")
        self.process = subprocess.Popen(
            [sys.executable, "-m", "edge", *words, *listen],
            cwd=work,
            stderr=self.log,
            env=os.environ | {"EDGE_CACHE": str(work.parent / "cache")},
        )
        self.until(lambda: self.get("/v1/health")["ok"], 120)

    def get(self, path: str) -> Any:
        with urllib.request.urlopen(self.url + path, timeout=30) as response:
            return json.load(response)

    def predict(self, picture: Path) -> str:
        request = urllib.request.Request(self.url + "/v1/predict", data=picture.read_bytes())
        with urllib.request.urlopen(request, timeout=30) as response:
            label: str = json.load(response)["categories"][0]["label"]
            return label

    def until(self, condition: Callable[[], Any], seconds: float) -> None:
        end = time.monotonic() + seconds
        while True:
            try:
                if condition():
                    return
            except OSError:
                pass
            assert self.process.poll() is None, (self.work / "log").read_text()
            assert time.monotonic() < end, (taught(self), (self.work / "log").read_text())
            time.sleep(0.1)

    def end(self, number: int = signal.SIGTERM) -> int:
        self.process.send_signal(number)
        code = self.process.wait(30)
        self.log.close()
        return code


@contextmanager
def live(work: Path, camera: Path) -> Iterator[Session]:
    session = Session(work, camera)
    try:
        yield session
    finally:
        if session.process.poll() is None:
            session.end(signal.SIGKILL)


def taught(session: Session) -> dict[str, int]:
    return {row["label"]: row["taught"] for row in session.get("/v1/state")["classes"]}


def share(session: Session) -> str:
    state = session.get("/v1/state")["taught"]
    return f"{state['right']} of {state['judged']}"


def exported(session: Session) -> dict[str, Any]:
    state: dict[str, Any] = session.get("/v1/state")["export"]
    return state


def test_from_nothing_to_a_signed_bundle(browser: Any, digits: Path, tmp_path: Path) -> None:
    work, camera = tmp_path / "work", tmp_path / "camera"
    work.mkdir()
    camera.mkdir()
    for picture in sorted((digits / SEEN).iterdir())[:40]:
        shutil.copy(picture, camera)
    page = browser.new_page()
    page.set_default_timeout(90_000)
    complaints: list[str] = []
    page.on("pageerror", lambda error: complaints.append(str(error)))
    with live(work, camera) as session:
        page.goto(session.url, wait_until="domcontentloaded")
        # From the camera, in two presses of the button.
        page.get_by_label("Class", exact=True).fill("zero")
        button = page.get_by_role("button", name="Hold to take pictures")
        for _ in range(2):
            button.hover()
            page.mouse.down()
            time.sleep(2.0)
            page.mouse.up()
            time.sleep(0.3)
        session.until(lambda: taught(session).get("zero", 0) >= 5, 60)
        # From files.
        for digit in OTHERS:
            page.get_by_label("Class", exact=True).fill(f"digit {digit}")
            files = sorted((digits / digit).iterdir())[:TAUGHT]
            page.locator("input[type=file]").set_input_files([str(path) for path in files])
            session.until(lambda name=f"digit {digit}": taught(session).get(name, 0) >= 4, 90)
        # What the page says of it: a share with its interval. The last picture may come yet.
        session.until(lambda: share(session) in page.inner_text("body"), 90)
        state = session.get("/v1/state")["taught"]
        assert state["low"] < state["accuracy"] <= state["high"]
        # Frames of the camera, most of which were not taught.
        right, number = 0, 0
        for _ in range(HELD_OUT):
            with urllib.request.urlopen(f"{session.url}/frame.jpg?after={number}") as response:
                told = json.loads(response.headers["X-Edge-Frame"])
            number = told["number"]
            right += told["answer"]["categories"][0]["label"] == "zero"
        assert right >= 0.8 * HELD_OUT
        # Pictures that nobody taught.
        held = [path for digit in OTHERS for path in sorted((digits / digit).iterdir())[20:30]]
        answers = [session.predict(path) == f"digit {path.parent.name}" for path in held]
        assert sum(answers) >= 0.7 * len(held)
        # Everything is there after a kill.
        before = taught(session)
        session.end(signal.SIGKILL)
    with live(work, camera) as session:
        assert taught(session) == before
        # The page has found the next process by itself where the port is the same; here it is new.
        page.goto(session.url, wait_until="domcontentloaded")
        page.get_by_label("Name of the new bundle").fill("digits")
        page.get_by_role("button", name="Export").click()
        # Not "running" alone: it may not have begun yet.
        session.until(lambda: exported(session)["bundle"] or exported(session)["error"], 400)
        export = exported(session)
        assert export["error"] is None, export
        bundle = work / export["bundle"]
        assert session.end() == 0
    assert complaints == []
    page.close()
    variables = os.environ | {"XDG_CONFIG_HOME": str(tmp_path / "config"), "HOME": str(tmp_path)}
    for words in (("keys", "new"), ("sign", bundle), ("verify", bundle)):
        done = subprocess.run(
            [sys.executable, "-m", "edge", *map(str, words)],
            env=variables,
            cwd=work,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr
