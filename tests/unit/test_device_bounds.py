"""Devices, and other processes, that write for ever, or what nobody asked for."""

import json
import resource
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from edge.deploy import session as module
from edge.deploy.deploy import send_files
from edge.deploy.facts import gather
from edge.deploy.session import Session
from edge.deploy.ssh import Address, Remote
from edge.errors import ConnectionFailed, DeviceError, MeasurementError
from edge.processes import Flood, Silence, run
from edge.progress import Silent
from edge.workers import WorkerLimits, answers

FOREVER = "import os\nwhile True: os.write({}, b'x' * 65536{})"
FLOODS = {
    "a line without an end": FOREVER.format(1, ""),
    "lines without an end": FOREVER.format(1, " + b'\\n'"),
    "notes without an end": 'while True: print(\'{"note": "n"}\', flush=False)',
    "standard error without an end": FOREVER.format(2, ""),
    "objects without an end": "import os\nwhile True: os.write(1, b'{}\\n' * 9999)",
    "both": "import os\nwhile True: os.write(1, b'\\n' * 9); os.write(2, b'x' * 65536)",
}
MEMORY = 48 << 20


@pytest.fixture(autouse=True)
def growth() -> Iterator[None]:
    """None of this costs memory."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    yield
    assert (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024 < MEMORY


class Fake(Remote):
    """A device that runs this Python code, whatever it is asked."""

    def __init__(self, code: str) -> None:
        self.address = Address.parse("pi")
        self._code = code

    def command(self, *remote: str, control: Any = ()) -> list[str]:
        return [sys.executable, "-c", self._code]


def replies(*values: Any) -> Fake:
    """One that says these, a line each, and then waits."""
    lines = "".join(json.dumps(value) + "\n" for value in values)
    return Fake(f"import sys; print({lines!r}, end='', flush=True); sys.stdin.read()")


@pytest.mark.parametrize("kind", FLOODS)
def test_a_device_that_writes_for_ever(kind: str) -> None:
    begun = time.monotonic()
    with pytest.raises(DeviceError, match=r"pi (sends|writes)") as caught:
        with Session(Fake(FLOODS[kind])) as session:
            session.ask("state")
    assert caught.value.hint
    assert time.monotonic() - begun < 30
    with pytest.raises(DeviceError, match=r"pi (sends|writes)"):
        gather(Fake(FLOODS[kind]))


def test_a_device_that_says_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_SILENCE", 0.5)
    with pytest.raises(ConnectionFailed, match="silent for"):
        with Session(Fake("import time; time.sleep(60)")) as session:
            session.ask("state")
    with pytest.raises(ConnectionFailed, match="silent for"):  # nor reads what is sent
        with Session(Fake("import time; time.sleep(60)")) as session:
            session.ask("lock", owner="x" * 1_000_000)


def test_greetings_and_notes_are_no_harm() -> None:
    notes: list[str] = []
    fake = Fake(
        "import sys; print('welcome'); print('[1]'); print('{\"note\": \"a\\\\u001b[2J\\\\nb\"}')\n"
        'print(\'{"result": {"environment": true}}\', flush=True); sys.stdin.read()'
    )
    with Session(fake, notes.append) as session:
        assert session.ask("has environment") == {"environment": True}
    assert notes == [r"a\u001b[2J\nb"]


@pytest.mark.parametrize(
    ("request_", "result"),
    [
        ("state", {}),
        ("state", {"apps": {}}),
        ("state", {"apps": [{"app": 1}]}),
        ("has environment", {"environment": 1}),
        ("begin", {"missing": {"a": "b"}}),
        ("begin", {"missing": {"a": True}}),
        ("logs", {"events": [], "service": None}),
        ("logs", {"events": [{"at": 1e300, "event": "", "release": "", "reason": ""}]}),
        ("rollback", {"release": "1", "from": "2", "health": None}),
    ],
)
def test_a_reply_that_is_none(request_: str, result: Any) -> None:
    with Session(replies({"result": result})) as session:
        with pytest.raises(DeviceError, match=r"lacks|not what was asked"):
            session.ask(request_)


@pytest.mark.parametrize("error", ["text", None, 1, [], {"message": ["\x1b"]}, {"error": {}}])
def test_an_error_that_is_none(error: Any) -> None:
    with Session(replies({"error": error})) as session:
        with pytest.raises(DeviceError) as caught:
            session.ask("state")
    assert "\x1b" not in caught.value.message


def test_an_error_is_one_short_line() -> None:
    value = {"error": "DeployFailed", "message": "x\nerror: forged\x1b]0;t\x07" * 1000}
    with Session(replies({"error": value})) as session:
        with pytest.raises(Exception, match="forged") as caught:
            session.ask("state")
    assert type(caught.value).__name__ == "DeployFailed"
    assert str(caught.value).isprintable() and len(str(caught.value)) < 4000


@pytest.mark.parametrize("missing", [{"../../etc/passwd": 0}, {"a": -1}, {"a": 9}])
def test_a_device_gets_no_other_file(missing: Any, tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"12")
    listed = {"kind": "scratch", "files": {"a": ["0", 2]}}
    with Session(replies({"result": {"missing": missing}})) as session:
        with pytest.raises(DeviceError, match="asks for"):
            send_files(session, Silent(), "send", tmp_path, listed)


@pytest.mark.parametrize("kind", ["a line without an end", "standard error without an end"])
def test_a_worker_that_writes_for_ever(kind: str) -> None:
    with pytest.raises(MeasurementError, match=r"sends|writes"):
        answers(
            [sys.executable, "-c", FLOODS[kind]],
            folder=Path.cwd(),
            environment={},
            limits=WorkerLimits(seconds=60, message_bytes=1 << 20),
        )


def test_a_worker_says_what_is_no_answer() -> None:
    for said in ("no answer \\x1b[2J", "[" * 100_000, "[1]"):
        with pytest.raises(MeasurementError, match="what is no answer") as caught:
            answers(
                [sys.executable, "-c", f"print('{said}')"],
                folder=Path.cwd(),
                environment={},
                limits=WorkerLimits(seconds=60),
            )
        assert caught.value.message.isprintable() and len(caught.value.message) < 500


def test_run() -> None:
    copy = (
        "import sys; d = sys.stdin.buffer.read(); sys.stdout.buffer.write(d)\n"
        "print('e' * 100000, file=sys.stderr); sys.exit(7)"
    )
    content = bytes(range(256)) * 3000
    done = run([sys.executable, "-c", copy], stdin=content, timeout=30)
    assert (done.code, done.stdout, len(done.stderr)) == (7, content, 65536)
    assert run(["true"], stdin=content, timeout=30).code == 0  # reads nothing
    with pytest.raises(Silence):
        run(["sleep", "30"], timeout=0.5)
    with pytest.raises(Silence):  # closes its output and goes on
        run(["sh", "-c", "exec >&- 2>&-; sleep 30"], timeout=0.5)
    with pytest.raises(Flood):
        run([sys.executable, "-c", copy], stdin=content, timeout=30, most=1000)
    with pytest.raises(OSError):
        run(["/no/such"], timeout=1)
