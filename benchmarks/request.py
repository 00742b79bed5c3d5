"""What a benchmark's worker is asked for, and how it is asked, in this environment or another.

Standard library and ``edge.runtime`` only: the worker, which may run in another environment, reads
the request with this module.
"""

import os
import shutil
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Final, TypeVar

import benchmarks
import edge
from benchmarks.accelerators.base import Coverage, Device, EngineSettings, OperatorTime
from benchmarks.accelerators.table import Accelerator
from benchmarks.protocol import Protocol
from benchmarks.timing import Times
from edge.errors import MeasurementError
from edge.runtime.contract import Preprocessing
from edge.runtime.files import write_json
from edge.runtime.spec import TensorSpec
from edge.runtime.tasks.table import DecoderSpec
from edge.runtime.typed import Mistyped, encoded, typed
from edge.workers import Message, WorkerLimits, answers

Reply = TypeVar("Reply")


class WorkerTask(StrEnum):
    """What a worker does, and with which messages it replies."""

    PROBE = "probe"  # say whether the path works here: a Device
    OUTPUTS = "outputs"  # run once and leave the outputs in a file: a LoadedModel
    TIME = "time"  # the protocol, then the outputs and the coverage: a TimedModel
    MEMORY = "memory"  # run a few times and say how much memory that took: a PeakMemory
    END_TO_END = "end-to-end"  # from an image file to an answer, step by step: StepTimes
    PROFILE = "profile"  # times per operator: OperatorTimes
    SUSTAINED = "sustained"  # run for minutes and say how the time develops: SustainedPoints
    ESTIMATE = "estimate"  # ask a compiler: an Estimate


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What one worker is asked for.

    Attributes:
        task: What it does.
        opener: ``module:callable`` of the path's opener, or of its estimate.
        probe: ``module:callable`` of the path's probe; loads the engine before memory counts.
        model: The model file; None for ``WorkerTask.PROBE``.
        settings: How the model is opened.
        protocol: When the measurement ends.
        pixels: An .npy file of images, see ``inputs.tensors``; None to generate inputs.
        outputs: The .npz file to leave the first inference's outputs in; None for nowhere.
        seconds: The length of a sustained run, in seconds.
        image: The file that an end-to-end run starts from.
        preprocessing: How the image becomes pixels there, and these the tensor.
        decoder: What reads the outputs in an end-to-end run; None for a classifier.
    """

    task: WorkerTask
    opener: str
    probe: str
    model: Path | None = None
    settings: EngineSettings = field(default_factory=EngineSettings)
    protocol: Protocol = field(default_factory=Protocol)
    pixels: Path | None = None
    outputs: Path | None = None
    seconds: float = 0.0
    image: Path | None = None
    preprocessing: Preprocessing | None = None
    decoder: DecoderSpec | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadedModel:
    """The reply to ``WorkerTask.OUTPUTS``: a model that an engine has loaded and run.

    Attributes:
        engine: The interpreter and its version.
        device: The processor that ran it.
        coverage: Where the operators ran; None where the engine cannot tell.
        inputs: What an inference got, with every extent.
        outputs: What it gave.
        signature: The signature of a TFLite file that was run; empty where the file names none.
        signatures: All of them.
    """

    engine: str
    device: Device
    coverage: Coverage | None
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    signature: str = ""
    signatures: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class TimedModel:
    """The reply to ``WorkerTask.TIME``.

    Attributes:
        model: The model.
        load: The time from the file to a session that is ready, in seconds.
        times: The times of the inferences.
    """

    model: LoadedModel
    load: float
    times: Times


@dataclass(frozen=True, slots=True, kw_only=True)
class PeakMemory:
    """The reply to ``WorkerTask.MEMORY``: bytes that a model took; None where nothing tells."""

    size_bytes: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class StepTimes:
    """The reply to ``WorkerTask.END_TO_END``: the median seconds of each step; see ``EndToEnd``."""

    decode: float
    encode: float
    invoke: float
    post: float


@dataclass(frozen=True, slots=True, kw_only=True)
class SustainedPoint:
    """A reply to ``WorkerTask.SUSTAINED``; see ``Moment``, which is what results hold of it."""

    elapsed: float
    median: float
    runs: int
    temperature_c: float | None
    frequency_hz: float | None
    throttled: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class OperatorTimes:
    """The reply to ``WorkerTask.PROFILE``: one time for each operator."""

    operators: tuple[OperatorTime, ...]


PACKAGE: Final = (
    "__init__.py",
    "accelerators",
    "environment.py",
    "input_shape.py",
    "inputs.py",
    "protocol.py",
    "request.py",
    "timing.py",
    "worker.py",
)  # of benchmarks: what a worker in another environment is given
EDGE: Final = (
    "__init__.py",
    "errors.py",
    "modelfile/__init__.py",
    "modelfile/delegation.py",
    "prepared.py",
    "processes.py",
    "runtime",
    "threads.py",
    "workers.py",
)


def ask(
    request: Request,
    reply: type[Reply],
    *,
    python: Path | None = None,
    timeout: float,
    memory_bytes: int | None = None,
) -> list[Reply]:
    """Run one worker to its end.

    Args:
        request: What it has to do.
        reply: The class of its messages, as ``WorkerTask`` states it.
        python: The interpreter of another environment; that of this one by default.
        timeout: The time after which it is killed, in seconds.
        memory_bytes: The resident memory at which it is killed; None for no limit.

    Returns:
        Its messages in order, at least one.

    Raises:
        EngineUnavailable, ModelLoadError, InferenceError: What the worker met.
        MeasurementError: It crashed, took more than allowed, or sent what is no such message.
        UsageError: There is no such python.
    """
    with tempfile.TemporaryDirectory(prefix="edge-benchmark-") as name:
        folder = Path(name)
        write_json(folder / "request.json", encoded(request))
        environment, root = _environment(folder, python)
        # Not resolved: a virtual environment's python is a link that must be called as such.
        program = str(python.absolute() if python else sys.executable)
        messages = answers(
            [program, "-m", "benchmarks.worker", str(folder / "request.json")],
            folder=root,
            environment=environment,
            limits=WorkerLimits(seconds=timeout, memory_bytes=memory_bytes),
        )
        return replies(reply, messages)


def replies(reply: type[Reply], messages: Sequence[Message]) -> list[Reply]:
    """Return the messages of a worker, each as an object of this class.

    Raises:
        MeasurementError: One of them is none.
    """
    try:
        return [typed(reply, message, "a message", exact=True) for message in messages]
    except Mistyped as error:
        raise MeasurementError(f"the process says what is no answer: {error}") from error


def probe(
    accelerator: Accelerator, settings: EngineSettings, python: Path | None, timeout: float
) -> Device:
    """Try to use a path, and return the processor at its end.

    Raises:
        EngineUnavailable: It is not here; the hint says how to get it.
        MeasurementError: The attempt crashed or hung.
    """
    request = Request(
        task=WorkerTask.PROBE, opener=accelerator.open, probe=accelerator.probe, settings=settings
    )
    return ask(request, Device, python=python, timeout=timeout)[-1]


def _environment(folder: Path, python: Path | None) -> tuple[dict[str, str], Path]:
    """Return the environment variables of the worker, and the folder of its modules.

    Another environment is given copies: the folder that edge lies in may hold other packages.
    """
    quiet = {"TF_CPP_MIN_LOG_LEVEL": os.environ.get("TF_CPP_MIN_LOG_LEVEL", "2")}
    if python is None:
        return {**os.environ, **quiet}, Path(edge.__file__).parents[1]
    root = copy_package(folder / "modules")
    kept = {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")}
    return kept | quiet | {"PYTHONPATH": str(root), "PYTHONNOUSERSITE": "1"}, root


def copy_package(root: Path) -> Path:
    """Copy what a worker imports of the project into a folder, which it returns."""
    sources = {
        "benchmarks": (Path(benchmarks.__file__).parent, PACKAGE),
        "edge": (Path(edge.__file__).parent, EDGE),
    }
    ignore = shutil.ignore_patterns("__pycache__")
    for package, (source, names) in sources.items():
        for item in names:
            target = root / package / item
            target.parent.mkdir(parents=True, exist_ok=True)
            if (source / item).is_dir():
                shutil.copytree(source / item, target, ignore=ignore)
            else:
                shutil.copyfile(source / item, target)
    return root
