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
from edge.deploy.session import Conversation
from edge.deploy.ssh import Address, Remote
from edge.device.messages import (
    BeginRequest,
    DeviceRequest,
    EnvironmentRequest,
    LockRequest,
    LogsRequest,
    RollbackRequest,
    SelftestRequest,
    StateRequest,
    Upload,
)
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
STATE = StateRequest()
BEGIN = BeginRequest(kind=Upload.SCRATCH, files={})
LOGS = LogsRequest(app="photos", lines=1)
EVENT = {"at": 1.0, "event": "", "release": "", "reason": ""}
ROLLBACK = RollbackRequest(app="photos", watch=0, timeout=1)
SELFTEST = SelftestRequest(app="photos", release="r1", timeout=1)


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
        with Conversation(Fake(FLOODS[kind])) as session:
            session.ask(StateRequest())
    assert caught.value.hint
    assert time.monotonic() - begun < 30
    with pytest.raises(DeviceError, match=r"pi (sends|writes)"):
        gather(Fake(FLOODS[kind]))


def test_a_device_that_says_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_SILENCE", 0.5)
    with pytest.raises(ConnectionFailed, match="silent for"):
        with Conversation(Fake("import time; time.sleep(60)")) as session:
            session.ask(StateRequest())
    with pytest.raises(ConnectionFailed, match="silent for"):  # nor reads what is sent
        with Conversation(Fake("import time; time.sleep(60)")) as session:
            session.ask(LockRequest(owner="x" * 1_000_000, what="test"))


def test_greetings_and_notes_are_no_harm() -> None:
    notes: list[str] = []
    fake = Fake(
        "import sys; print('welcome'); print('[1]'); print('{\"note\": \"a\\\\u001b[2J\\\\nb\"}')\n"
        'print(\'{"result": {"environment": true}}\', flush=True); sys.stdin.read()'
    )
    with Conversation(fake, notes.append) as session:
        assert session.ask(EnvironmentRequest(environment="e")).environment
    assert notes == [r"a\u001b[2J\nb"]


@pytest.mark.parametrize(
    ("request_", "result"),
    [
        (STATE, {}),
        (STATE, {"apps": {}}),
        (STATE, {"apps": [{"app": 1}]}),
        (EnvironmentRequest(environment="e"), {"environment": 1}),
        (BEGIN, {"missing": {"a": "b"}}),
        (BEGIN, {"missing": {"a": True}}),
        (LOGS, {"events": [], "service": None}),
        (LOGS, {"events": [EVENT | {"at": 1e300}], "service": ""}),
        (ROLLBACK, {"release": "1", "replaced": "2", "health": None}),
        (SELFTEST, {"report": {"images": [{"worst": None}]}}),
    ],
)
def test_a_reply_that_is_none(request_: DeviceRequest[Any], result: Any) -> None:
    with Conversation(replies({"result": result})) as session:
        with pytest.raises(DeviceError, match=r"lacks|not what was asked"):
            session.ask(request_)


@pytest.mark.parametrize("error", ["text", None, 1, [], {"message": ["\x1b"]}, {"error": {}}])
def test_an_error_that_is_none(error: Any) -> None:
    with Conversation(replies({"error": error})) as session:
        with pytest.raises(DeviceError) as caught:
            session.ask(StateRequest())
    assert "\x1b" not in caught.value.message


def test_an_error_is_one_short_line() -> None:
    value = {"error": "DeployFailed", "message": "x\nerror: forged\x1b]0;t\x07" * 1000}
    with Conversation(replies({"error": value})) as session:
        with pytest.raises(Exception, match="forged") as caught:
            session.ask(StateRequest())
    assert type(caught.value).__name__ == "DeployFailed"
    assert str(caught.value).isprintable() and len(str(caught.value)) < 4000


@pytest.mark.parametrize("missing", [{"../../etc/passwd": 0}, {"a": -1}, {"a": 9}])
def test_a_device_gets_no_other_file(missing: Any, tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"12")
    listed = BeginRequest(kind=Upload.SCRATCH, files={"a": ("0", 2)})
    with Conversation(replies({"result": {"missing": missing}})) as session:
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
