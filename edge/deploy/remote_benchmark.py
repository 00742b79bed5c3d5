"""The benchmark's workers on a device: the harness is here, what is timed is there.

A deploy of the fastest variant measures with them before it decides.
"""

import os
import shlex
import shutil
import tempfile
import threading
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from benchmarks.accelerators.base import EngineSettings, Unit
from benchmarks.accelerators.table import accelerator
from benchmarks.inputs import generated_picture, pixels
from benchmarks.protocol import TIMEOUT_SECONDS, Protocol
from benchmarks.request import Reply, Request, TimedModel, WorkerTask, copy_package, replies
from benchmarks.timing import Benchmark
from benchmarks.turns import Turns, best, blocks_in_turn, why_best
from edge.cache import default_cache
from edge.deploy.deploy import send_environment, send_files
from edge.deploy.facts import gather
from edge.deploy.plan import (
    FASTEST,
    GATHERING,
    DeployOptions,
    DeployPlan,
    TimedVariant,
    as_accurate,
    engine_of,
    make_plan,
    with_variant,
)
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
from edge.errors import (
    DeviceError,
    EdgeError,
    EngineUnavailable,
    InferenceError,
    MeasurementError,
    ModelLoadError,
)
from edge.evaluation.confidence import CONFIDENCE
from edge.processes import Completed
from edge.progress import Progress, Silent
from edge.runtime.bundle import Bundle
from edge.runtime.checked import MAX_ARRAY_BYTES, Malformed, parse_json
from edge.runtime.files import sha256_file, write_json
from edge.runtime.printable import one_line
from edge.runtime.session import ENGINES
from edge.runtime.spec import Variant
from edge.runtime.typed import encoded
from edge.wording import joined
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
    with Remote(address) as remote:
        with progress.stage("look at the device"):
            target = Platform.of(gather(remote))
        engines = [_engine(format_) for format_ in sorted(formats)]
        with progress.stage("gather the wheels"):
            wheels = [
                environment(engine, target, cache=cache, offline=offline) for engine in engines
            ]
        with _machine(remote, wheels, "edge remote-benchmark", progress) as machine:
            yield machine


@contextmanager
def _machine(
    remote: Remote, wheels: Sequence[Environment], what: str, progress: Progress
) -> Iterator[RemoteMachine]:
    """Lock a device, install what is missing there, and leave nothing else behind."""
    with (
        tempfile.TemporaryDirectory(prefix="edge-remote-") as name,
        Conversation(remote) as session,
    ):
        session.lock(what)
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


BLOCK: Final = Protocol(runs=5, min_seconds=0.2, max_seconds=2.0, warm_up_seconds=0.1)
ROUNDS: Final = 5  # of two passes; each block is a process of its own there
MOST_SECONDS: Final = 60.0  # after which no further round begins


def planned(
    bundle: Bundle, remote: Remote, options: DeployOptions, progress: Progress, *, dry_run: bool
) -> DeployPlan:
    """Return the plan of a deploy; with ``FASTEST``, variants are timed on the device for it.

    Args:
        bundle: The bundle.
        remote: An open connection.
        options: What the user asked for.
        progress: Told of what is done.
        dry_run: Whether only to say that variants would be timed: that sends files there.

    Raises:
        EdgeError: As of ``make_plan``; or no variant runs there.
    """
    if options.variant != FASTEST:
        return make_plan(bundle, remote, options, progress)
    fit = as_accurate(bundle.manifest, options.engine)
    stated = None if options.engine is None else fit[0].name
    plan = make_plan(bundle, remote, replace(options, variant=stated), progress)
    if len(fit) == 1:
        reason = "the only file that is as accurate as the bundle's default: none was timed there"
        return with_variant(plan, fit[0].name, reason, (), progress)
    if dry_run:
        names = joined(item.name for item in fit)
        reason = f"unless another is faster there: a deploy would first time {names} there in turn"
        return replace(plan, variant_reason=reason)
    turns = _timed_there(plan, remote, fit, progress)
    sizes = {item.name: item.size_bytes for item in fit if item.name in turns.names}
    name = best(sizes, turns)
    judged = {item: turns.judged(item, name, CONFIDENCE) for item in turns.names}
    timed = tuple(
        TimedVariant(
            name=item,
            median_ms=turns.benchmarks[item].median * 1e3,
            ratio=judgement.ratio,
            interval=(judgement.interval.low, judgement.interval.high),
        )
        for item, judgement in judged.items()
    )
    return with_variant(plan, name, _chosen_there(name, turns, sizes), timed, progress)


def _chosen_there(name: str, turns: Turns, sizes: Mapping[str, int]) -> str:
    """Say why a variant is deployed, by the times of the device."""
    others = [
        f"{item} takes {turns.judged(item, name, CONFIDENCE).times} as long"
        for item in turns.names
        if item != name
    ]
    lead = why_best(name, sizes, turns, "there")
    return f"{lead}, timed in turn there{': ' + joined(others) if others else ''}"


def _timed_there(
    plan: DeployPlan, remote: Remote, fit: Sequence[Variant], progress: Progress
) -> Turns:
    """Time variants in turn on the device, each with the interpreter that would run it there.

    Raises:
        EdgeError: None runs there, or the device can no longer be asked.
    """
    engines = {
        item.name: plan.options.engine or engine_of(item.format, plan.profile) for item in fit
    }
    wheels = _wheels(plan, engines.values(), progress)
    variants = [item for item in fit if engines[item.name] in wheels]
    with (
        _machine(remote, list(wheels.values()), "edge deploy, timing variants", progress) as there,
        tempfile.TemporaryDirectory(prefix="edge-timed-") as name,
    ):
        contract = plan.bundle.manifest.preprocessing
        images = pixels((generated_picture(Path(name)),), contract, Path(name))
        requests = {
            item.name: _request(plan, item, engines[item.name], images) for item in variants
        }

        def measured(variant: str) -> Benchmark:
            timeout = TIMEOUT_SECONDS + 2 * BLOCK.max_seconds
            timed = there.ask(requests[variant], TimedModel, timeout=timeout)[-1]
            return Benchmark(
                engine=timed.model.engine,
                threads=plan.release.threads,
                load=timed.load,
                first=timed.times.first,
                samples=timed.times.steady,
            )

        with progress.stage("try the variants there", len(requests)) as step:
            names = _running(requests, measured, progress, step)
        with progress.stage("time the variants there", ROUNDS) as step:
            return blocks_in_turn(names, measured, ROUNDS, step=step, max_seconds=MOST_SECONDS)


def _wheels(plan: DeployPlan, engines: Iterable[str], progress: Progress) -> dict[str, Environment]:
    """Return the interpreters that can be had for the device; what cannot is noted."""
    wheels = {plan.release.engine: plan.environment}
    for engine in dict.fromkeys(engines):
        if engine in wheels:
            continue
        try:
            with progress.stage("gather the wheels"), GATHERING:
                wheels[engine] = environment(
                    engine,
                    Platform.of(plan.facts),
                    cache=plan.options.cache or default_cache(),
                    offline=plan.options.offline,
                )
        except (DeviceError, EngineUnavailable) as error:
            progress.note(f"files for {engine} are not timed there: {error.message}")
    return wheels


def _request(plan: DeployPlan, variant: Variant, engine: str, images: Path) -> Request:
    """Return what a worker there is asked for: one block of a variant."""
    path, threads = accelerator(f"{engine}-{Unit.CPU}"), plan.release.threads
    return Request(
        task=WorkerTask.TIME,
        opener=path.open,
        probe=path.probe,
        model=plan.bundle.path / variant.path,
        settings=EngineSettings(threads=threads),
        protocol=replace(BLOCK, threads=threads),
        pixels=images,
        preprocessing=plan.bundle.manifest.preprocessing,
    )


def _running(
    names: Iterable[str],
    measured: Callable[[str], Benchmark],
    progress: Progress,
    step: Callable[[int], None],
) -> list[str]:
    """Return the variants that run there; one that does not is noted, and is not deployed.

    Raises:
        EdgeError: None does; or the device can no longer be asked.
    """
    running, failed = [], []
    for name in names:
        try:
            measured(name)
        except (ModelLoadError, InferenceError, MeasurementError) as error:
            failed.append(error)
            progress.note(f"{name} does not run there: {error.message}")
        else:
            running.append(name)
        step(1)
    if not running:
        raise failed[0]
    return running
