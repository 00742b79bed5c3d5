"""Jobs forked from a prepared process: real processes that answer, fail, hang and are killed."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from edge.prepared import SUPPORTED, Forked, PreparedProcess
from edge.workers import Message, Worker, WorkerLimits

pytestmark = pytest.mark.skipif(not SUPPORTED, reason="processes are forked on Linux only")

SERVER = """
import os, sys, time
from edge.prepared import serve
from edge.workers import answer
from edge.errors import ConversionError, UsageError

def job():
    def work(say):
        match sys.argv[1]:
            case "say":
                print("noise")
                say({"pid": os.getpid(), "parent": os.getppid(), "group": os.getpgrp(),
                     "word": sys.argv[2], "variable": os.environ.get("OF_THE_JOB")})
            case "refuse":
                raise UsageError("not so", hint="Otherwise.")
            case "crash":
                os.abort()
            case "hang":
                say({"pid": os.getpid()})
                time.sleep(60)
    answer(work, failure=ConversionError)

serve(job)
"""


@contextmanager
def prepared(program: str = SERVER) -> Iterator[PreparedProcess]:
    process = PreparedProcess([sys.executable, "-c", program], os.environ)
    try:
        yield process
    finally:
        process.close()


def forked(process: PreparedProcess, *arguments: str, **variables: str) -> Forked:
    found = process.start(arguments, {**os.environ, **variables})
    assert found is not None
    return found


def asked(job: Forked, until: Callable[[list[Message]], bool] | None = None) -> list[Message]:
    """What a job says; it is stopped once enough was said, or has ended."""
    heard: list[Message] = []
    worker = Worker(
        ["never run"],
        environment={},
        limits=WorkerLimits(seconds=30),
        heard=heard.append,
        forked=job,
    )
    try:
        if until is None:
            worker.wait(lambda: None)
            error = worker.error()
            if error is not None:
                raise error
        else:
            end = time.monotonic() + 30
            while not until(heard):
                assert time.monotonic() < end
                time.sleep(0.01)
    finally:
        worker.stop()
    return heard


def test_jobs_are_children_of_one_process_with_arguments_and_variables_of_their_own() -> None:
    with prepared() as process:
        jobs = [
            forked(process, "say", word, OF_THE_JOB=f"for {word}") for word in ("one", "two", "ü")
        ]
        said = [asked(job)[0] for job in jobs]
    assert [item["word"] for item in said] == ["one", "two", "ü"]
    assert [item["variable"] for item in said] == ["for one", "for two", "for ü"]
    assert {item["parent"] for item in said} == {process._process.pid}
    assert [item["pid"] for item in said] == [item["group"] for item in said]
    assert [job.returncode for job in jobs] == [0, 0, 0]


def test_how_a_job_fails_is_known() -> None:
    from edge.errors import MeasurementError, UsageError

    with prepared() as process:
        with pytest.raises(UsageError, match="not so"):
            asked(forked(process, "refuse"))
        with pytest.raises(MeasurementError, match="SIGABRT"):
            asked(forked(process, "crash"))
        assert asked(forked(process, "say", "still here"))[0]["word"] == "still here"


def test_a_job_that_hangs_is_killed_and_others_go_on() -> None:
    with prepared() as process:
        hanging, other = forked(process, "hang"), forked(process, "say", "on")
        (said,) = asked(hanging, until=bool)
        assert hanging.poll() == -signal.SIGKILL
        with pytest.raises(ProcessLookupError):
            os.kill(said["pid"], 0)
        assert asked(other)[0]["word"] == "on"


def test_a_job_ends_when_whoever_asked_is_killed(tmp_path: Path) -> None:
    asker = tmp_path / "asker.py"
    asker.write_text(
        "import os, sys\n"
        "from edge.prepared import PreparedProcess\n"
        f"process = PreparedProcess([sys.executable, '-c', {SERVER!r}], os.environ)\n"
        "job = process.start(['hang'], os.environ)\n"
        "print(job.pid, process._process.pid, flush=True)\n"
        "sys.stdin.read()\n"
    )
    root = str(Path(__file__).parents[2])
    with subprocess.Popen(
        [sys.executable, str(asker)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": root},
    ) as process:
        assert process.stdout is not None
        pids = [int(word) for word in process.stdout.readline().split()]
        process.kill()
    end = time.monotonic() + 30
    for pid in pids:
        while Path(f"/proc/{pid}/stat").exists() and " Z " not in Path(
            f"/proc/{pid}/stat"
        ).read_text(errors="replace"):
            assert time.monotonic() < end, f"{pid} lives on"
            time.sleep(0.02)


@pytest.mark.parametrize("program", ["raise SystemExit(1)", "import no_such_module"])
def test_one_that_cannot_be_prepared_starts_no_job(program: str) -> None:
    with prepared(program) as process:
        assert process.start(["say", "x"], os.environ) is None


def test_a_job_of_a_prepared_process_that_was_killed_is_over() -> None:
    with prepared() as process:
        job = forked(process, "hang")
        process._process.kill()
        assert job.wait(30) == -signal.SIGKILL
        os.kill(job.pid, signal.SIGKILL)  # nobody else reaps it: its own input still is open


def test_more_than_a_message_holds_is_not_sent() -> None:
    with prepared() as process:
        assert process.start(["say", "x" * (1 << 20)], os.environ) is None
        assert asked(forked(process, "say", "x"))[0]["word"] == "x"
