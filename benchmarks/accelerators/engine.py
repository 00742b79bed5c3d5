"""What all engines share: their import, what their native code logs, and the refusal of a part."""

import importlib
import importlib.metadata
import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.accelerators.base import Coverage
from edge.errors import EngineUnavailable, ModelLoadError
from edge.runtime.session import first_line


def imported(module: str, hint: str) -> Any:
    """Import the module of an engine, and return it.

    Args:
        module: What to import.
        hint: How to get it, in one sentence.

    Raises:
        EngineUnavailable: It is missing, or does not import.
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name and error.name.partition(".")[0] != module.partition(".")[0]:
            reason = f"{module} is broken: it lacks {error.name}"
            raise EngineUnavailable(reason, hint=hint) from error
        raise EngineUnavailable(f"{module} is not installed", hint=hint) from error
    except Exception as error:  # a wheel for another numpy, glibc or driver raises what it likes
        raise EngineUnavailable(f"{module} is broken: {first_line(error)}", hint=hint) from error


def version(*packages: str) -> str:
    """Return the name and version of the first of these packages that is installed.

    Several packages carry one module: ``onnxruntime`` comes from a dozen of them.
    """
    for package in packages:
        try:
            return f"{package} {importlib.metadata.version(package)}"
        except importlib.metadata.PackageNotFoundError:
            continue
    return packages[-1]


@dataclass(slots=True)
class Log:
    """What was logged within the block; complete when the block has ended."""

    text: str = ""


@contextmanager
def captured() -> Iterator[Log]:
    """Collect file descriptor 2 in the block, and pass it on when the block ends.

    A file takes it, not a pipe: native code that holds Python's lock would fill a pipe that
    nobody can read meanwhile.
    """
    log = Log()
    sys.stderr.flush()
    standard_error = os.dup(2)
    with tempfile.TemporaryFile() as file:
        os.dup2(file.fileno(), 2)
        try:
            yield log
        finally:
            sys.stderr.flush()
            os.dup2(standard_error, 2)
            os.close(standard_error)
            file.seek(0)
            written = file.read()
            log.text = written.decode("utf-8", "replace")
            os.write(2, written)


def partly_refused(model: Path, device: str, coverage: Coverage) -> ModelLoadError:
    """Return what to raise where full delegation is asked for and is not to be had.

    Args:
        model: The model file.
        device: The name of the accelerator.
        coverage: What it takes of the model.
    """
    left = ", ".join(f"{count} {name}" for name, count in coverage.left.items())
    return ModelLoadError(
        f"{device} takes {coverage.accelerated} of the {coverage.operators} operators of "
        f"{model.name}; the CPU keeps {left}",
        hint="Leave --require-full-delegation out to measure it as it is.",
    )
