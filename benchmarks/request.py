"""What a benchmark's worker is asked for, and how it is asked, in this environment or another.

Standard library and ``edge.runtime`` only: the worker, which may run in another environment, reads
the request with this module.
"""

import os
import shutil
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any, Final, Self

import benchmarks
import edge
from benchmarks.accelerators.base import Device, Label, Settings
from benchmarks.accelerators.table import Accelerator
from benchmarks.timing import Protocol
from edge.runtime.files import write_json
from edge.runtime.spec import Preprocessing
from edge.workers import Message, WorkerLimits, answers

PATHS: Final = ("model", "pixels", "outputs", "image")


class Task(StrEnum):
    """What a worker does."""

    PROBE = "probe"  # say whether the path works here
    OUTPUTS = "outputs"  # run once and leave the outputs in a file
    TIME = "time"  # the protocol, then the outputs and the coverage
    MEMORY = "memory"  # run a few times and say how much memory that took
    END_TO_END = "end-to-end"  # from an image file to an answer, step by step
    PROFILE = "profile"  # times per operator
    SUSTAINED = "sustained"  # run for minutes and say how the time develops
    ESTIMATE = "estimate"  # ask a compiler


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One worker's work.

    Attributes:
        task: What to do.
        place: ``module:callable`` of the path's opener, or of its probe.
        probe: ``module:callable`` of the path's probe; loads the engine before memory counts.
        model: The file; None to probe.
        settings: How to open it.
        protocol: When to stop.
        pixels: .npy file of images, see ``inputs.tensors``; None to generate inputs.
        outputs: .npz file to leave the first inference's outputs in; None for nowhere.
        seconds: Length of a sustained run.
        image: File that an end-to-end run starts from.
        preprocessing: How it becomes pixels there.
    """

    task: Task
    place: str
    probe: str
    model: Path | None = None
    settings: Settings = field(default_factory=Settings)
    protocol: Protocol = field(default_factory=Protocol)
    pixels: Path | None = None
    outputs: Path | None = None
    seconds: float = 0.0
    image: Path | None = None
    preprocessing: Preprocessing | None = None

    def to_json(self) -> dict[str, Any]:
        """As JSON values; paths become absolute, a worker runs in another folder."""
        value = asdict(self)
        for name in PATHS:
            value[name] = str(value[name].absolute()) if value[name] else None
        delegate = self.settings.delegate
        value["settings"]["delegate"] = str(delegate) if delegate else None
        value["preprocessing"] = self.preprocessing.to_json() if self.preprocessing else None
        value["settings"]["options"] = dict(self.settings.options)
        value["settings"]["shapes"] = dict(self.settings.shapes)
        return value

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Self:
        """Read what ``to_json`` wrote."""
        paths = {name: Path(value[name]) if value[name] else None for name in PATHS}
        settings = dict(value["settings"])
        settings["delegate"] = Path(settings["delegate"]) if settings["delegate"] else None
        settings["shapes"] = {name: tuple(item) for name, item in settings["shapes"].items()}
        return cls(
            task=Task(value["task"]),
            place=value["place"],
            probe=value["probe"],
            settings=Settings(**settings),
            protocol=Protocol(**value["protocol"]),
            seconds=float(value["seconds"]),
            preprocessing=Preprocessing.from_json(value["preprocessing"])
            if value["preprocessing"]
            else None,
            **paths,
        )


PACKAGE: Final = (
    "__init__.py",
    "accelerators",
    "environment.py",
    "input_shape.py",
    "inputs.py",
    "request.py",
    "timing.py",
    "worker.py",
)  # of benchmarks: what a worker in another environment is given
EDGE: Final = ("__init__.py", "errors.py", "processes.py", "runtime", "threads.py", "workers.py")


def ask(
    request: Request,
    *,
    python: Path | None = None,
    timeout: float,
    memory_bytes: int | None = None,
) -> list[Message]:
    """Run one worker to its end.

    Args:
        request: What it shall do.
        python: Of another environment; this one by default.
        timeout: Seconds until it is killed.
        memory_bytes: Resident memory at which it is killed; None for no limit.

    Returns:
        Its answers in order; at least one.

    Raises:
        EngineUnavailable, ModelLoadError, InferenceError: What the worker met.
        MeasurementError: It crashed, hung, or went beyond its memory.
        UsageError: There is no such python.
    """
    with tempfile.TemporaryDirectory(prefix="edge-benchmark-") as name:
        folder = Path(name)
        write_json(folder / "request.json", request.to_json())
        environment, root = _environment(folder, python)
        # Not resolved: a virtual environment's python is a link that must be called as such.
        program = str(python.absolute() if python else sys.executable)
        return answers(
            [program, "-m", "benchmarks.worker", str(folder / "request.json")],
            folder=root,
            environment=environment,
            limits=WorkerLimits(seconds=timeout, memory_bytes=memory_bytes),
        )


def probe(
    accelerator: Accelerator, settings: Settings, python: Path | None, timeout: float
) -> Device:
    """The processor at the end of a path, after an attempt to use it.

    Raises:
        EngineUnavailable: It is not here; reason and hint.
        MeasurementError: The attempt crashed or hung.
    """
    request = Request(
        task=Task.PROBE, place=accelerator.open, probe=accelerator.probe, settings=settings
    )
    found = ask(request, python=python, timeout=timeout)[-1]["device"]
    return Device(name=found["name"], label=Label(found["label"]))


def _environment(folder: Path, python: Path | None) -> tuple[dict[str, str], Path]:
    """Environment variables of the worker, and the folder that its modules are found in.

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
