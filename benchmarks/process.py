"""The host's side of a worker: what it is given, in this environment or in another one."""

import os
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Final

import benchmarks
import edge
from benchmarks.accelerators.base import Device, Label, Settings
from benchmarks.accelerators.table import Accelerator
from benchmarks.request import Request, Task
from edge.runtime.files import write_json
from edge.workers import Message, WorkerLimits, answers

PACKAGE: Final = (
    "__init__.py",
    "accelerators",
    "environment.py",
    "input_shape.py",
    "inputs.py",
    "request.py",
    "sensors.py",
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
