"""The benchmark's workers on a device: the harness is here, what is timed is there."""

import os
import shlex
import shutil
import tempfile
import threading
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final

from benchmarks.request import Reply, Request, copy_package, replies
from edge.deploy.deploy import send_environment, send_files
from edge.deploy.facts import gather
from edge.deploy.session import Conversation
from edge.deploy.ssh import Address, Remote
from edge.deploy.wheelhouse import Environment, Platform, environment
from edge.device.messages import (
    BeginRequest,
    EnvironmentRequest,
    PingRequest,
    SweepRequest,
    Upload,
)
from edge.errors import DeviceError, EdgeError
from edge.processes import Completed
from edge.progress import Progress, Silent
from edge.runtime.checked import MAX_ARRAY_BYTES, Malformed, parse_json
from edge.runtime.files import sha256_file, write_json
from edge.runtime.printable import one_line
from edge.runtime.session import ENGINES
from edge.runtime.typed import encoded
from edge.workers import Message, WorkerLimits, answers

_SCRATCH: Final = "$HOME/.local/share/edge/scratch"
_ENVIRONMENT: Final = (
    "import json; from benchmarks.environment import environment; "
    "print(json.dumps(dict(environment())))"
)
_PING_SECONDS: Final = 30.0
_LONGEST_ANSWER: Final = 8 << 20  # bytes: some hundred thousand times of inferences
_MOST_ANSWERS: Final = 16 << 20


class RemoteMachine:
    """A device as a ``benchmarks.plan.MeasuringMachine``.

    Args:
        remote: An open connection.
        session: Under the device's lock.
        environments: Installed there.
        folder: Scratch folder on this machine, a mirror of the one there.
    """

    def __init__(
        self,
        remote: Remote,
        session: Conversation,
        environments: Sequence[Environment],
        folder: Path,
    ) -> None:
        self._remote = remote
        self._session = session
        self._folder = folder
        copy_package(folder / "modules")
        paths = [f"{_SCRATCH}/modules"]
        paths += [f"$HOME/.local/share/edge/envs/{item.id}" for item in environments]
        # Ids are hexadecimal, so the text is a constant but for them.
        variables = f'PYTHONPATH="{":".join(paths)}" PYTHONNOUSERSITE=1'
        self._python = f'cd "{_SCRATCH}" && exec env {variables} python3 -P -s'

    def ask(self, request: Request, reply: type[Reply], *, timeout: float) -> list[Reply]:
        """See ``MeasuringMachine``.

        Raises:
            DeviceError: The device can no longer be asked.
            EdgeError: What the worker met.
        """
        value = encoded(request)
        for name, path in (
            ("model", request.model),
            ("pixels", request.pixels),
            ("image", request.image),
        ):
            value[name] = None if path is None else self._mirrored(path)
        value["outputs"] = None if request.outputs is None else "outputs.npz"
        write_json(self._folder / "request.json", value)
        self._send()
        answers = replies(reply, self._run(timeout))
        if request.outputs is not None:
            request.outputs.write_bytes(self._fetched())
        return answers

    def environment(self) -> Mapping[str, Any]:
        """See ``MeasuringMachine``."""
        self._send()
        done = self._remote.run(f"{self._python} -c {shlex.quote(_ENVIRONMENT)}", timeout=120)
        try:
            value = parse_json(done.stdout, "the answer")
        except Malformed:
            value = None
        if not isinstance(value, dict):
            raise DeviceError(f"the device says nothing of itself: {_last(done)}")
        return value

    def _mirrored(self, path: Path) -> str:
        """Copy a file into the mirror, and return its path there, which says what it holds."""
        place = self._folder / "files" / f"{sha256_file(path)[:20]}{path.suffix}"
        place.parent.mkdir(exist_ok=True)
        if not place.exists():
            shutil.copyfile(path, place)
        return place.relative_to(self._folder).as_posix()

    def _send(self) -> None:
        files = {
            path.relative_to(self._folder).as_posix(): (sha256_file(path), path.stat().st_size)
            for path in sorted(self._folder.rglob("*"))
            if path.is_file()
        }
        listed = BeginRequest(kind=Upload.SCRATCH, files=files)
        send_files(self._session, Silent(), "send", self._folder, listed)

    def _run(self, timeout: float) -> list[Message]:
        with _kept_alive(self._session):
            return answers(
                self._remote.command(f"{self._python} -m benchmarks.worker request.json"),
                folder=Path.cwd(),  # paths of the ssh configuration may be relative to it
                environment=dict(os.environ),
                limits=WorkerLimits(
                    seconds=timeout, message_bytes=_LONGEST_ANSWER, total_bytes=_MOST_ANSWERS
                ),
            )

    def _fetched(self) -> bytes:
        done = self._remote.run(
            f'cat "{_SCRATCH}/outputs.npz" && rm "{_SCRATCH}/outputs.npz"', most=MAX_ARRAY_BYTES
        )
        if done.code:
            raise DeviceError(f"the worker left no outputs: {_last(done)}")
        return done.stdout


def _last(done: Completed) -> str:
    """Return what a command said at its end."""
    return one_line(done.stderr.decode(errors="replace").strip()[-300:])


@contextmanager
def place_on(
    address: Address, formats: Collection[str], *, cache: Path, offline: bool, progress: Progress
) -> Iterator[RemoteMachine]:
    """Open a device to measure on, with an interpreter for each format; it is locked meanwhile.

    Args:
        address: The address of the device.
        formats: The formats of the model files, ``tflite`` or ``onnx``.
        cache: Keeps wheels.
        offline: Ask no package index.
        progress: Told of what is gathered and sent.

    Raises:
        EdgeError: The device cannot be reached, has no wheels, or is locked.
    """
    with Remote(address) as remote, tempfile.TemporaryDirectory(prefix="edge-remote-") as name:
        with progress.stage("look at the device"):
            target = Platform.of(gather(remote))
        engines = [_engine(format_) for format_ in sorted(formats)]
        with progress.stage("gather the wheels"):
            wheels = [
                environment(engine, target, cache=cache, offline=offline) for engine in engines
            ]
        with Conversation(remote) as session:
            session.lock("edge remote-benchmark")
            for item in wheels:
                if not session.ask(EnvironmentRequest(environment=item.id)).environment:
                    send_environment(session, item, progress)
            session.ask(SweepRequest())
            try:
                yield RemoteMachine(remote, session, wheels, Path(name))
            finally:
                with suppress(EdgeError):  # the connection has gone; the next one sweeps first
                    session.ask(SweepRequest())


def _engine(format_: str) -> str:
    """Return the interpreter that is shipped for a format."""
    return next(name for name, engine in ENGINES.items() if engine.format == format_)


@contextmanager
def _kept_alive(session: Conversation) -> Iterator[None]:
    """Keep the conversation, and with it the lock, while nothing is said."""
    ended = threading.Event()

    def ping() -> None:
        while not ended.wait(_PING_SECONDS):
            try:
                session.ask(PingRequest())
            except EdgeError:
                return

    thread = threading.Thread(target=ping, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
