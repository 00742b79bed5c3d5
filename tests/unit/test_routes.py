"""An exit code and its sentence do not depend on the route: where the work is done.

Each route does the same thing in a real process: the command's own, a command that is split in
two, a converter, a benchmark's worker, and a device that a host talks with.
"""

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
import typer

from converters.base import ConversionRequest, targets
from edge.cache import StageCache
from edge.cli import terminal
from edge.cli.app import AFTER_INTERRUPT, COMMANDS, main
from edge.deploy.session import Conversation
from edge.deploy.ssh import Address, Remote
from edge.device.messages import StateRequest
from edge.errors import EdgeError
from edge.pipeline.conversion import convert_all
from edge.runtime.contract import Preprocessing
from edge.workers import WorkerLimits, answers

ROOT = Path(__file__).parents[2]
# What a job does on each route.
FAULTS = {
    "an error of edge": "from edge.errors import BundleAltered\n"
    "raise BundleAltered('the bundle is not what was built', hint='Build it again.')",
    "a missing package": "raise ModuleNotFoundError('no h5py', name='h5py')",
    "no memory": "raise MemoryError",
    "a full disk": "import errno, os\nraise OSError(errno.ENOSPC, 'No space left on device', '/x')",
    "killed": "import os, signal\nos.kill(os.getpid(), signal.SIGKILL)",
    "crashed": "import os, signal\nos.kill(os.getpid(), signal.SIGSEGV)",
    # A test runner in the background ignores Ctrl-C, and so would what it starts.
    "interrupted": "import os, signal, time\n"
    "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
    "os.kill(os.getpid(), signal.SIGINT)\ntime.sleep(9)",
    "a hostile reply": "import os\nos.write(stdout, b'{\"error\": [}\\x1b]0;title\\x07\\n')",
}


@dataclass(frozen=True)
class Said:
    """What a user sees."""

    code: int
    lines: str


def reported(job: Callable[[], Any], capsys: pytest.CaptureFixture[str], folder: Path) -> Said:
    """What the command line makes of a job."""
    from edge.cli.app import _ended

    with (folder / "log").open("w+b") as log:
        code = _ended(job, log)
    return Said(code, capsys.readouterr().err)


def program(text: str) -> list[str]:
    return [sys.executable, "-c", f"import sys; sys.path.insert(0, {str(ROOT)!r})\n{text}"]


def indented(fault: str) -> str:
    return "".join(f"    {line}\n" for line in fault.splitlines())


def run(text: str) -> Said:
    done = subprocess.run(program(text), capture_output=True, text=True, timeout=120)
    return Said(done.returncode, done.stderr)


def direct(fault: str, folder: Path, capsys: pytest.CaptureFixture[str]) -> Said:
    return run(
        "import io\nfrom edge.cli.app import _ended\n"
        f"def job():\n{indented(fault)}\nsys.exit(_ended(job, io.BytesIO()))"
    )


def split(fault: str, folder: Path, capsys: pytest.CaptureFixture[str]) -> Said:
    return run(
        "import io\nfrom edge.cli.app import _ended\n"
        "from edge.runtime.supervisor import supervise\n"
        f"def job():\n    supervise()\n{indented(fault)}\nsys.exit(_ended(job, io.BytesIO()))"
    )


def worker_program(fault: str, failure: str) -> str:
    return (
        f"import os\nfrom edge.errors import {failure}\nfrom edge.workers import answer\n"
        f"stdout = os.dup(1)\ndef work(say):\n{indented(fault)}\n"
        f"answer(work, failure={failure})\n"
    )


def worker(fault: str, folder: Path, capsys: pytest.CaptureFixture[str]) -> Said:
    def job() -> None:
        answers(
            program(worker_program(fault, "MeasurementError")),
            folder=folder,
            environment=os.environ,
            limits=WorkerLimits(seconds=60),
        )

    return reported(job, capsys, folder)


def converter(fault: str, folder: Path, capsys: pytest.CaptureFixture[str]) -> Said:
    script = folder / "python"
    text = worker_program(fault, "ConversionError")
    script.write_text(f"#!{sys.executable}\nimport sys; sys.path.insert(0, {str(ROOT)!r})\n{text}")
    script.chmod(0o755)
    request = ConversionRequest(
        keras_model=folder / "model.keras",
        format="tflite",
        precisions=(),
        output=folder,
        calibration=None,
        name="model",
        labels=(),
        preprocessing=Preprocessing(height=8, width=8),
    )

    def job() -> None:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("edge.pipeline.conversion.sys.executable", str(script))
            convert_all(
                request,
                targets(("tflite-fp32",)),
                model_id="model",
                calibration_id="calibration",
                held_out_id="held out",
                recipes={},
                cache=StageCache(folder / "cache"),
                step=lambda count: None,
            )

    return reported(job, capsys, folder)


class Device(Remote):
    """A device that is a process of this machine."""

    def __init__(self, text: str) -> None:
        self.address = Address.parse("pi")
        self._text = text

    def command(self, *remote: str, control: Any = ()) -> list[str]:
        return program(self._text)


def device(fault: str, folder: Path, capsys: pytest.CaptureFixture[str]) -> Said:
    text = (
        "import os\nfrom edge.device import jobs, session\nstdout = os.dup(1)\n"
        "size = sys.stdin.buffer.readline().split()[1]\n"  # of the package that a host sends first
        "sys.stdin.buffer.read(int(size))\n"
        f"def do(self, request):\n{indented(fault)}\njobs.Jobs.do = do\nsession.main()"
    )

    def job() -> None:
        with Conversation(Device(text)) as conversation:
            conversation.ask(StateRequest())

    return reported(job, capsys, folder)


ROUTES = {
    "direct": direct,
    "split in two": split,
    "converter": converter,
    "benchmark": worker,
    "device": device,
}
# Exit code, a sentence, and the routes: a process that is killed cannot say so itself, and one
# that sends nothing has no replies.
HERE = tuple(ROUTES)
CHILD = ("split in two", "converter", "benchmark")
EXPECTED = {
    "an error of edge": (3, "error: the bundle is not what was built\nhint: Build it again.", HERE),
    "a missing package": (3, "the package h5py is needed for this and is not installed", HERE[:4]),
    "no memory": (4, "error: out of memory\nhint: End other programs", HERE),
    "a full disk": (2, "error: No space left on device (/x)\nhint: Free some space", HERE[:4]),
    "killed": (4, "was ended by SIGKILL", CHILD),
    "crashed": (4, "was ended by SIGSEGV", CHILD),
    "interrupted": (130, "interrupted", HERE[:4]),
    "a hostile reply": (4, "says what is no answer", ("converter", "benchmark")),
}


@pytest.mark.parametrize(
    ("fault", "route"),
    [(fault, route) for fault, (_, _, routes) in EXPECTED.items() for route in routes],
)
def test_an_exit_code_and_its_sentence_do_not_depend_on_the_route(
    fault: str, route: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, sentence, _ = EXPECTED[fault]
    said = ROUTES[route](FAULTS[fault], tmp_path, capsys)
    assert said.code == code, said
    assert sentence in said.lines
    assert "\x1b" not in said.lines and "bug of edge" not in said.lines


def test_a_device_that_says_what_is_no_reply_is_not_believed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    said = device(FAULTS["a hostile reply"] + "\nos._exit(0)", tmp_path, capsys)
    assert said.code == 4, said
    assert "\x1b" not in said.lines


@pytest.mark.parametrize("kind", [EdgeError, KeyboardInterrupt])
def test_what_is_reported_has_one_place(kind: type[BaseException]) -> None:
    """Both the routes above and the commands end there."""
    error = kind("x")
    wanted = terminal.INTERRUPTED if kind is KeyboardInterrupt else EdgeError.exit_code
    assert terminal.report_error(error) == wanted
    assert signal.SIGINT + 128 == terminal.INTERRUPTED


@pytest.mark.parametrize("way", [KeyboardInterrupt(), typer.Exit(terminal.INTERRUPTED)])
@pytest.mark.parametrize(
    ("words", "place", "kept"),
    [
        (("build", "photos", "-o", "b"), "edge.pipeline.build.build", "finished stages are kept"),
        (("tag", "."), "edge.tagging.tag.check_folder", "what was computed is kept"),
        (("live", "--no-open"), "edge.runtime.live.service.check_start", ""),
        (("predict", "bundle", "x.jpg"), "edge.runtime.bundle.Bundle.open", ""),
        (("cache",), "edge.cache.StageCache.size_bytes", ""),
    ],
)
def test_after_ctrl_c_each_command_says_what_it_keeps_and_nothing_else(
    words: tuple[str, ...],
    place: str,
    kept: str,
    way: BaseException,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    # What main leaves for the end of its process would end this one with 130.
    monkeypatch.setattr("edge.cli.app.atexit.register", lambda *_: None)
    for name in ("photos", "bundle"):
        (tmp_path / name).mkdir()
    with patch(place, side_effect=way), pytest.raises(SystemExit) as ended:
        main(list(words))
    assert ended.value.code == terminal.INTERRUPTED
    hint = f"hint: Run the same command again; {kept}.\n" if kept else ""
    assert capfd.readouterr().err == f"interrupted\n{hint}"


def test_what_is_kept_is_said_of_commands_that_there_are() -> None:
    known = {name for row in COMMANDS.values() for name in row}
    assert known.issuperset(AFTER_INTERRUPT)
