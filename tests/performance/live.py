"""``edge live`` under overload, under attack, and against a bare loop of capture and inference.

    python tests/performance/live.py [BUNDLE] [--seconds 60] [--rounds 3]

BUNDLE is any; without one, MobileNet is exported first (a minute or two). The camera is a folder
of pictures. All bars are of one run.

1. A camera of 30 frames a second, inferences of 0.1 s and of 1 s: the age of every answer is below
   two inferences and a frame time (0.1 s are added for a shared machine), every frame that is not
   answered is counted, and memory does not grow.
2. 50 pages, 200 connections that never finish their request, 1000 pictures from 20 programs: each
   gets an answer (429 with Retry-After counts), the camera goes on, memory does not grow.
3. At 10 frames a second with one page: at most 1.15 times the processor time of the bare loop.
4. The first answer: at most 0.1 s later than that of the bare loop.
"""

import argparse
import contextlib
import http.client
import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from support.data import exported
from support.script import Report, Script

from edge.errors import EdgeError
from edge.runtime.commands.bench import made_jpeg

SUPPORT: Final = Path(__file__).with_name("support")
FAST: Final = 30.0  # frames a second
USUAL: Final = 10.0
SHARED_MACHINE: Final = 0.1  # seconds
PAGES, SLOW, PROGRAMS = 50, 200, 20
MOST_CPU: Final = 1.15
MOST_START: Final = 0.1  # seconds
MOST_GROWTH: Final = 1.15  # of resident memory, after the first fifth of the time
TICK: Final = os.sysconf("SC_CLK_TCK")


def main() -> int:
    """Measure and print; see ``support.script`` for the exit codes."""
    script = Script(__doc__)
    script.parser.add_argument("bundle", type=Path, nargs="?")
    script.amount("--seconds", 60.0, 1.5, "of each overload")
    script.amount("--rounds", 3, 1, "of the comparison with a bare loop")
    script.amount("--pictures", 50, 2, "that each program sends")
    return script.run(_measure)


def _measure(options: argparse.Namespace, report: Report) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        bundle = options.bundle or exported(folder, "tflite-int8", report)
        pictures = folder / "camera"
        pictures.mkdir()
        for number in range(4):
            (pictures / f"{number}.jpg").write_bytes(made_jpeg())
        for seconds in (0.1, 1.0):
            _overload(bundle, pictures, seconds, options.seconds, report)
        _crowd(bundle, pictures, options.seconds, options.pictures, report)
        _against_bare(bundle, pictures, options.seconds / 6, options.rounds, report)


class Live:
    """A server in a process of its own."""

    def __init__(self, bundle: Path, camera: Path, rate: float, slow: float) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = int(probe.getsockname()[1])
        program = SUPPORT / "live_server.py"
        words = [str(bundle), str(camera), str(self.port), str(rate), str(slow)]
        self.began = time.time()
        self.process = subprocess.Popen([sys.executable, str(program), *words])
        self.first = self._first()

    def ask(self, path: str, method: str = "GET", body: bytes | None = None) -> tuple[int, bytes]:
        """Return status and body."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        with contextlib.closing(connection):
            connection.request(method, path, body=body)
            response = connection.getresponse()
            return response.status, response.read()

    def state(self) -> dict[str, Any]:
        """Return what the page is told."""
        value: dict[str, Any] = json.loads(self.ask("/v1/state")[1])
        return value

    def memory(self) -> float:
        """Return the resident memory, MB."""
        text = Path(f"/proc/{self.process.pid}/status").read_text(encoding="ascii")
        return float(text.split("VmRSS:")[1].split()[0]) / 1000

    def cpu(self) -> float:
        """Return the processor time so far, seconds."""
        text = Path(f"/proc/{self.process.pid}/stat").read_text(encoding="ascii")
        fields = text.rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / TICK

    def _first(self) -> float:
        """Return when the first answer came, in seconds of ``time.time()``."""
        end = time.monotonic() + 60
        while time.monotonic() < end:
            try:
                if self.ask("/frame.jpg?after=0")[0] == 200:
                    return time.time()
            except OSError:
                time.sleep(0.005)
        raise EdgeError("the server did not come up")


@contextlib.contextmanager
def _live(bundle: Path, camera: Path, rate: float, slow: float = 0.0) -> Iterator[Live]:
    live = Live(bundle, camera, rate, slow)
    try:
        yield live
    finally:
        live.process.terminate()
        live.process.wait(30)


def _overload(bundle: Path, camera: Path, slow: float, seconds: float, report: Report) -> None:
    with _live(bundle, camera, FAST, slow) as live, _page(live):
        time.sleep(seconds / 5)
        before = live.memory()
        time.sleep(seconds * 4 / 5)
        grown = live.memory() / before
        rates = live.state()["rates"]
    inference = slow + 0.1 * slow
    most = 1e3 * (2 * inference + 1 / FAST + SHARED_MACHINE)
    age, seen = rates["age_ms"], rates["frames"] + rates["dropped"]
    told = seen / (seconds * FAST)
    report.say(
        f"inference of {slow:g} s, camera of {FAST:g} a second, {seconds:g} s: "
        f"{rates['frames']} answered, {rates['dropped']} dropped ({100 * told:.0f} % of all "
        f"frames); age {age['median']:.0f} ms, 95 %: {age['p95']:.0f} ms, most {age['max']:.0f} ms"
    )
    work = f"with inferences of {slow:g} s"
    report.bar(f"oldest answer {work}", age["max"], at_most=most, unit="ms")
    report.bar(f"memory {work}", grown, at_most=MOST_GROWTH, unit="times")


def _crowd(bundle: Path, camera: Path, seconds: float, pictures: int, report: Report) -> None:
    picture = made_jpeg()
    with _live(bundle, camera, USUAL) as live, contextlib.ExitStack() as crowd:
        time.sleep(seconds / 10)
        alone = live.state()["rates"]
        for _ in range(SLOW):
            client = crowd.enter_context(socket.create_connection(("127.0.0.1", live.port)))
            client.sendall(b"GET /frame.jpg HTTP/1.1\r\nX-Slow: ")
        counts = [crowd.enter_context(_page(live)) for _ in range(PAGES)]
        _wave(live, picture, pictures)  # whatever is made once is made now
        before, seen, began = live.memory(), sum(count[0] for count in counts), time.monotonic()
        answers = _wave(live, picture, pictures)
        took = time.monotonic() - began
        shown = (sum(count[0] for count in counts) - seen) / PAGES / took
        crowded, grown = live.state()["rates"], live.memory() / before
    lost = PROGRAMS * pictures - sum(answers[status] for status in (200, 429))
    report.say(
        f"{PAGES} pages, {SLOW} slow connections, {PROGRAMS * pictures} pictures from {PROGRAMS} "
        f"programs in {took:.1f} s: answers {dict(answers)}; the camera's "
        f"frames a second {crowded['fps']:.1f} (alone {alone['fps']:.1f}), pages saw {shown:.1f} "
        f"a second; age 95 %: {crowded['age_ms']['p95']:.0f} ms (alone "
        f"{alone['age_ms']['p95']:.0f} ms); memory {before:.0f} MB"
    )
    report.bar("pictures without an answer of 200 or 429", lost, at_most=0)
    report.bar("memory after a second wave", grown, at_most=MOST_GROWTH, unit="times")


def _wave(live: Live, picture: bytes, pictures: int) -> "Counter[int]":
    """Let all programs send their pictures; returns the answers by status."""
    answers: Counter[int] = Counter()
    programs = [
        threading.Thread(target=_program, args=(live, picture, pictures, answers))
        for _ in range(PROGRAMS)
    ]
    for program in programs:
        program.start()
    for program in programs:
        program.join()
    return answers


def _program(live: Live, picture: bytes, pictures: int, answers: "Counter[int]") -> None:
    """Send pictures one after another; one that is put off counts, and is sent once."""
    for _ in range(pictures):
        with contextlib.suppress(OSError, http.client.HTTPException):
            answers[live.ask("/v1/predict", "POST", picture)[0]] += 1


@contextlib.contextmanager
def _page(live: Live) -> Iterator[list[int]]:
    """Look at the pictures as the page does; yields how many it saw."""
    ended, seen = threading.Event(), [0]

    def look() -> None:
        connection = http.client.HTTPConnection("127.0.0.1", live.port, timeout=60)
        number = 0
        while not ended.is_set():
            try:
                connection.request("GET", f"/frame.jpg?after={number}")
                response = connection.getresponse()
                response.read()
                number = json.loads(response.headers["X-Edge-Frame"])["number"]
                seen[0] += 1
            except (OSError, http.client.HTTPException, TypeError):
                connection.close()
                time.sleep(0.1)
        connection.close()

    thread = threading.Thread(target=look, daemon=True)
    thread.start()
    try:
        yield seen
    finally:
        ended.set()
        thread.join(5)


def _against_bare(bundle: Path, camera: Path, seconds: float, rounds: int, report: Report) -> None:
    """Compare processor time and start, in turn."""
    costs, starts = [], []
    for _ in range(rounds):
        bare_start, bare_cpu, bare_frames = _bare(bundle, camera, seconds)
        with _live(bundle, camera, USUAL) as live, _page(live):
            live_start = live.first - live.began
            used, frames = live.cpu(), live.state()["rates"]["frames"]
            time.sleep(seconds)
            used, frames = live.cpu() - used, live.state()["rates"]["frames"] - frames
        costs.append((used / frames) / (bare_cpu / bare_frames))
        starts.append(live_start - bare_start)
    report.bar(
        "processor time of a frame with one page / the bare loop's",
        statistics.median(costs),
        at_most=MOST_CPU,
        unit="times",
    )
    later = 1e3 * statistics.median(starts)
    report.bar("first answer after the bare loop's", later, at_most=1e3 * MOST_START, unit="ms")


def _bare(bundle: Path, camera: Path, seconds: float) -> tuple[float, float, int]:
    program = SUPPORT / "live_bare.py"
    words = [str(bundle), str(camera), str(USUAL), str(seconds)]
    began = time.time()
    done = subprocess.run(
        [sys.executable, str(program), *words], stdout=subprocess.PIPE, text=True, check=True
    )
    first, cpu, frames = done.stdout.split()
    return float(first) - began, float(cpu), int(frames)


if __name__ == "__main__":
    sys.exit(main())
