"""A release proves itself: self-test in the slot that does not serve, then service, then watch."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any, Final

from edge.device import service
from edge.device.layout import App
from edge.device.messages import AppState, Health, SelftestReply
from edge.device.release import Release
from edge.device.slots import begin_trial, commit, give_up, refuse
from edge.device.state import DAMAGED, State, record
from edge.errors import DeployFailed, DeviceError, EdgeError, cause_of
from edge.runtime import checked
from edge.runtime.child import ended, goes_first, tree_memory
from edge.runtime.typed import Mistyped, typed

HEALTH_SECONDS: Final = 30
_LOOK_SECONDS: Final = 1.0
_POLL_SECONDS: Final = 0.1
_OVER_BYTES: Final = 256_000_000  # beyond the bound, so that a moderate excess is still measured
_MEMORY_MB: Final = 1024.0  # for a release without a bound
_MAX_REPORT: Final = 8 << 20  # bytes
_MAX_ANSWER: Final = 65_536  # bytes of the answer for the health
_TRIES: Final = 3  # unanswered questions in a row; a busy device may miss one

Note = Callable[[str], None]


def selftest(app: App, release: Release, timeout: float) -> SelftestReply:
    """Run the golden self-test of an installed release, which need not serve.

    Args:
        app: Whose release.
        release: Installed.
        timeout: Seconds; a release that hangs is stopped then.

    Raises:
        DeployFailed: It did not pass, with its reasons.
    """
    command = [sys.executable, "-P", "-s", "-m", "edge.runtime", "selftest"]
    command += [str(release.folder(app)), *release.model_options(), "--json"]
    for option, bound in (
        ("--max-latency", release.max_latency_ms),
        ("--max-memory", release.max_memory_mb),
    ):
        if bound is not None:
            command += [option, f"{bound:g}"]
    most = int(1e6 * (release.max_memory_mb or _MEMORY_MB)) + _OVER_BYTES
    try:
        code, stdout, stderr = _run(command, app, release, timeout, most)
    except DeviceError as error:
        raise _failed(app, release, error.message) from None
    report = _report(stdout)
    if code == 0 and report.get("passed"):
        release.prove(app)
        record(app, "self-test passed", release.id)
        return SelftestReply(report=report)
    if code < 0:
        raise _failed(app, release, f"self-test: the interpreter {ended(code)}")
    reasons = report.get("reasons") or [_last_line(stderr, code)]
    raise _failed(app, release, "self-test: " + "; ".join(map(str, reasons)))


def _run(
    command: Sequence[str], app: App, release: Release, timeout: float, most: int
) -> tuple[int, bytes, bytes]:
    """Run a command of the release to its end: exit code, stdout, stderr.

    Args:
        command: Program and arguments.
        app: Whose release.
        release: Its environment is used.
        timeout: Seconds, after which it is killed.
        most: Resident bytes of it and its children, at which it is killed.

    Raises:
        DeviceError: It was killed; the message says why.
    """
    process = subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, **release.environ(app)},
        cwd=app.path,
        start_new_session=True,
    )
    goes_first(process.pid)
    end = time.monotonic() + timeout
    try:
        while True:
            try:
                stdout, stderr = process.communicate(timeout=_POLL_SECONDS)
            except subprocess.TimeoutExpired:
                pass
            else:
                return process.returncode, stdout, stderr
            if time.monotonic() > end:
                raise DeviceError(f"the self-test did not end within {timeout:.0f} s")
            held = tree_memory(process.pid)
            if held > most:
                raise DeviceError(
                    f"self-test: the interpreter took more than {held / 1e6:.0f} MB of memory and "
                    f"was killed; {most / 1e6:.0f} MB are allowed"
                )
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def activate(
    app: App, release: Release, watch_seconds: float, note: Note, *, anew: bool = True
) -> Health:
    """Switch, restart, ask for health, watch, commit; back to the last good release otherwise.

    Args:
        app: Whose release.
        release: Installed.
        watch_seconds: For which it has to stay healthy.
        note: Tells the host what goes on.
        anew: See ``commit``.

    Raises:
        DeployFailed: It did not prove itself; the message says why, and what serves now.
    """
    try:
        service.install(
            app,
            python=sys.executable,
            start_seconds=release.start_seconds,
            watchdog_seconds=release.watchdog_seconds,
        )
        begin_trial(app, release.id)
        note("switched; starting the service")
        service.restart(app)
        health = _until_ready(app, release)
        note(f"healthy; watching for {watch_seconds:g} s")
        _watch(app, release, watch_seconds)
        commit(app, release.id, release.version, anew=anew)
    except (DeviceError, OSError) as error:
        reason = error.message if isinstance(error, DeviceError) else cause_of(error)
        raise DeployFailed(fall_back(app, release, reason)) from error
    return health


def fall_back(app: App, release: Release, reason: str) -> str:
    """Let the last good release serve again; what happened, for people."""
    # A service that runs said its last error before it was this release's.
    last_words = "" if service.status(app).active == "active" else _last_words(app)
    text = f"release {release.id} was given up: {reason}{last_words}. "
    try:
        back = give_up(app, release.id, reason + last_words)
    except OSError as error:
        return text + (
            f"The switch back cannot be written ({error.strerror}): {app.serving()} serves until "
            "there is room for another deploy, or the machine restarts, which goes back."
        )
    if back is None:
        service.stop(app)
        return text + "No release was ever good here, so none serves."
    service.restart(app)
    try:
        _until_ready(app, Release.read(app, back))
    except EdgeError as error:
        return text + f"Release {back} was started again, but: {error.message}."
    return text + f"Release {back} serves again."


def _until_ready(app: App, release: Release) -> Health:
    """Return the first answer of the service, which must come from that release."""
    last = time.monotonic() + release.start_seconds + 10
    while True:
        status = service.status(app)
        if status.active == "failed" or status.restarts >= 2:
            raise DeviceError(f"its service does not start ({status.result})")
        if status.active == "active":
            return _healthy(app, release)
        if time.monotonic() > last:
            raise DeviceError(f"its service was not ready within {release.start_seconds} s")
        time.sleep(_LOOK_SECONDS / 2)


def _healthy(app: App, release: Release) -> Health:
    """Ask the service for its health, and check the answer."""
    answer = ask(app, HEALTH_SECONDS)
    if answer.release != release.id:
        raise DeviceError(f"release {answer.release} answers in its place")
    if not answer.ok:
        raise DeviceError(f"it says that it is not well: {answer.reason}")
    return answer


def _watch(app: App, release: Release, seconds: float) -> None:
    """Check that the same process goes on, and that it answers well."""
    first = service.status(app)
    end = time.monotonic() + seconds
    unanswered = 0
    while time.monotonic() < end:
        time.sleep(min(_LOOK_SECONDS, max(0.0, end - time.monotonic())))
        now = service.status(app)
        if now.active != "active" or now.pid != first.pid or now.restarts != first.restarts:
            raise DeviceError(f"its service stopped while it was watched ({now.result})")
        try:
            _healthy(app, release)
            unanswered = 0
        except DeviceError:
            unanswered += 1
            if unanswered >= _TRIES:
                raise


def _last_words(app: App) -> str:
    """Return what its service wrote last, where it wrote an error."""
    lines = [line for line in service.said(app, 30).splitlines() if line.strip()]
    errors = [line for line in lines if "error" in line.lower()]
    return f' (it said: "{errors[-1].strip()[:200]}")' if errors else ""


def _failed(app: App, release: Release, reason: str) -> DeployFailed:
    """Refuse a release that never served, and return the error; what serves goes on."""
    refuse(app, release.id, reason)
    serving = app.serving()
    goes_on = f"Release {serving} goes on serving." if serving else "Nothing serves, as before."
    return DeployFailed(f"release {release.id} was refused: {reason}. {goes_on}")


def _report(stdout: bytes) -> dict[str, Any]:
    try:
        value = checked.parse_json(stdout, max_bytes=_MAX_REPORT)
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}


def _last_line(stderr: bytes, code: int) -> str:
    lines = stderr.decode(errors="replace").strip().splitlines()
    lines = [line for line in lines if line.startswith("error: ")] or lines  # a hint may follow
    return f"it ended with {code}" + (f": {lines[-1][:300]}" if lines else "")


def app_state(app: App) -> AppState:
    """Find out what serves of an application, whether it is well, and what failed last."""
    state = State.read(app)
    serving = app.serving()
    known = AppState(
        app=app.name,
        release=serving,
        healthy=False,
        last_good=state.last_good,
        on_trial=state.trial is not None and state.trial.release == serving,
        reason=state.failure.reason if state.failure else None,
        failed_release=state.failure.release if state.failure else None,
        damage=DAMAGED if state.version is None else None,
        problem="no release serves",
    )
    if serving is None:
        return known
    try:
        release = Release.read(app, serving)
        known = replace(known, bundle=release)
        status = service.status(app)
        known = replace(known, service=status.active, restarts=status.restarts)
        if status.active != "active":
            return replace(known, problem=f"its service is {status.active} ({status.result})")
        return replace(known, health=_healthy(app, release), healthy=True, problem=None)
    except EdgeError as error:
        return replace(known, problem=error.message)


def ask(app: App, timeout: float) -> Health:
    """Ask the running service for its health; it answers a golden picture for that.

    Args:
        app: Whose service.
        timeout: Seconds.

    Raises:
        DeviceError: No service answers, or not within the time, or with something else.
    """
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
            client.settimeout(timeout)
            client.connect(str(app.socket))
            client.sendall(b'{"ask": "health"}\n')
            with client.makefile("rb") as stream:
                line = stream.readline(_MAX_ANSWER)
        answer = checked.parse_json(line, "the answer", max_bytes=_MAX_ANSWER)
    except TimeoutError:
        raise DeviceError(f"the service gave no answer within {timeout:.0f} s") from None
    except (OSError, ValueError) as error:
        raise DeviceError(f"the service does not answer: {cause_of(error)}") from error
    try:
        return typed(Health, answer, "the answer")
    except Mistyped as error:
        raise DeviceError(f"the service's answer is not understood: {error}") from error
