"""Imports an engine, or says that it is missing or broken."""

import importlib
import importlib.metadata
from typing import Any

from edge.errors import EngineUnavailable
from edge.runtime.session import first_line


def imported(module: str, hint: str) -> Any:
    """The module.

    Args:
        module: What to import.
        hint: How to get it, one sentence.

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
    """Name and version of the first of these packages that is installed.

    Several packages carry one module: ``onnxruntime`` comes from a dozen of them.
    """
    for package in packages:
        try:
            return f"{package} {importlib.metadata.version(package)}"
        except importlib.metadata.PackageNotFoundError:
            continue
    return packages[-1]
