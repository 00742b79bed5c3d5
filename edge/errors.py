"""Every error a user can meet, one class per cause, each with its exit code.

Standard library only: the on-device runtime ships this module too.

docs/exit-codes.md has the table of exit codes; a test compares it with these classes.
"""

import errno
import re
from collections.abc import Iterator, Mapping
from typing import ClassVar, Final


class EdgeError(Exception):
    """An expected failure: what is wrong, and the way out.

    Args:
        message: What is wrong and what is allowed, in one sentence.
        hint: What the user can do about it, in one sentence; may be empty.
    """

    exit_code: ClassVar[int] = 4

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    @property
    def told(self) -> str:
        """Return the message, with the kind of its cause where the cause has no text."""
        text = self.message.strip()
        if self.__cause__ is not None and text.endswith((":", ": None")):
            text = f"{text.removesuffix('None').rstrip()} {type(self.__cause__).__name__}"
        return text or type(self).__name__


class NegativeVerdict(EdgeError):
    """A check ran to its end and the answer is no."""

    exit_code = 1


class StrictRefusal(NegativeVerdict):
    """Files were made and measured, and one has a fault that ``--strict`` does not let pass.

    Attributes:
        report: What was measured; None where the error comes from another process.
    """

    def __init__(self, message: str, *, hint: str = "", report: object = None) -> None:
        super().__init__(message, hint=hint)
        self.report = report


class UsageError(EdgeError):
    """The arguments cannot be acted on."""

    exit_code = 2


class DataError(UsageError):
    """The image folder cannot be used: it is missing, empty, too small, or undecodable."""


class ImageError(DataError):
    """One image file cannot be decoded, or is larger than the bound."""


class OutputError(UsageError):
    """The output cannot be written: it exists already, or the disk is read-only or full."""


class ModelLoadError(EdgeError):
    """A model file cannot be loaded: it is truncated, no model, or has unsupported operators."""

    exit_code = 3


class BundleError(ModelLoadError):
    """A bundle is incomplete, altered, or has an unknown schema."""


class EngineUnavailable(ModelLoadError):
    """No installed interpreter can run the model."""


class PackageMissing(EngineUnavailable):
    """A package or program that the command needs is not installed, or does not start."""


class WeightsUnavailable(ModelLoadError):
    """Pretrained weights are neither here nor to be downloaded."""


class InferenceError(EdgeError):
    """The interpreter failed on a model that had loaded, or gave unusable numbers."""


class BundleAltered(BundleError):
    """A bundle is not what was built, or what was signed."""


class SignatureError(BundleError):
    """A bundle is not signed, or not by a key that is trusted."""


class ConnectionFailed(EdgeError):
    """A device cannot be reached, or its identity is not what it was."""


class DeviceError(EdgeError):
    """A device cannot do what was asked: no space, no Python, locked, broken state."""


class DeployFailed(NegativeVerdict):
    """A release did not prove itself; the one before serves."""


class NotDeployed(DeviceError):
    """A device answers that what was asked for is not deployed there."""


class ReleaseRefused(BundleError):
    """A device takes no such bundle: for another board, or older than what ran there."""


class CameraError(EdgeError):
    """A camera gives no picture.

    Args:
        message: As for every error.
        fault: Why, as one of the words of ``edge.runtime.cameras.camera.CameraFault``; empty where
            that is not known.
        hint: As for every error.
    """

    def __init__(self, message: str, *, fault: str = "", hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.fault = str(fault)


class Overloaded(EdgeError):
    """A live page has so many pictures to answer that one more would wait too long."""


class MeasurementError(EdgeError):
    """A benchmark's process crashed, hung, or went beyond its memory."""


class TrainingError(EdgeError):
    """Training did not lead to a usable head."""


class ConversionError(EdgeError):
    """A converter did not write a usable model."""


def error_classes(kind: type[EdgeError] = EdgeError) -> Iterator[type[EdgeError]]:
    """Yield the class and all classes below it."""
    yield kind
    for below in kind.__subclasses__():
        yield from error_classes(below)


def described(error: EdgeError) -> dict[str, str]:
    """Return an error as JSON values, for a process or a device to send to whoever asked it."""
    return {"error": type(error).__name__, "message": error.message, "hint": error.hint}


def rebuilt(value: Mapping[str, object], *, unknown: type[EdgeError]) -> EdgeError:
    """Return the error that ``described`` described; its class, and so its exit code, is kept.

    Args:
        value: The JSON values; another version of edge, or another program, may have made them.
        unknown: The class of an error whose name is not known.
    """
    kinds = {kind.__name__: kind for kind in error_classes()}
    kind = kinds.get(str(value.get("error")), unknown)
    return kind(str(value.get("message")), hint=str(value.get("hint") or ""))


def expected(error: BaseException, failure: type[EdgeError] = EdgeError) -> EdgeError | None:
    """The expected failure that any exception stands for; None for a bug.

    Every route to an exit code asks here: the command's own process, a worker, and the device.

    Args:
        error: What was raised.
        failure: The class of what has none of its own: memory that ran out.
    """
    if isinstance(error, EdgeError):
        return error
    if isinstance(error, ImportError):
        return missing_package(error)
    if isinstance(error, OSError):
        return refused_place(error)
    if isinstance(error, MemoryError):
        return failure(
            "out of memory", hint="End other programs, or use a machine with more memory."
        )
    return None


# Top-level module -> the package that brings it. Whatever else does not import is a bug.
PACKAGES: Final = {
    "PIL": "pillow",
    "ai_edge_litert": "ai-edge-litert",
    "distributed": "distributed",
    "faiss": "faiss-cpu",
    "flatbuffers": "flatbuffers",
    "google": "protobuf",
    "h5py": "h5py",
    "keras": "tensorflow",
    "matplotlib": "matplotlib",
    "numpy": "numpy",
    "onnx": "onnx",
    "onnxruntime": "onnxruntime",
    "openvino": "openvino",
    "pip": "pip",
    "pydantic": "pydantic",
    "rich": "rich",
    "scipy": "scipy",
    "sklearn": "scikit-learn",
    "tensorflow": "tensorflow",
    "tf2onnx": "tf2onnx",
    "tflite_runtime": "ai-edge-litert",
    "typer": "typer",
}


COMPANIONS: Final = {"tensorflow": " (edge build and edge export need onnx and tf2onnx as well)"}


def cause_of(error: BaseException) -> str:
    """Return why something failed: the system's words without their number and the path."""
    system = error.strerror if isinstance(error, OSError) else None
    return system or str(error).strip() or type(error).__name__


_ROOM: Final = "Free some space, or choose another {}."
_OTHER: Final = "Choose another {}, or check the path that was given."
_REFUSED: Final = {
    errno.ENOSPC: _ROOM,
    errno.EDQUOT: _ROOM,
    errno.EROFS: _ROOM,
    errno.EACCES: _OTHER,
    errno.EPERM: _OTHER,
    errno.ENAMETOOLONG: _OTHER,
    errno.EFBIG: "Raise the limit on the size of a file (ulimit -f), or choose another {}.",
    errno.EMFILE: "Raise the limit on open files of a process (ulimit -n).",
    errno.ENFILE: "Raise the limit on open files of the machine, or end other programs.",
}


_SHORT: Final = re.compile(r"\d+ requested and \d+ written")  # numpy states no number of its own


def refused_place(error: OSError, other: str = "place") -> "OutputError | None":
    """Return what the operating system has against a path; None if only a bug explains it.

    Args:
        error: The error of the operating system.
        other: What the user may choose another one of, such as an option.
    """
    number = error.errno
    if number is None and _SHORT.search(str(error)):
        error, number = (
            OSError(errno.ENOSPC, f"a file was not written whole: {error}"),
            errno.ENOSPC,
        )
    hint = _REFUSED.get(number or 0)
    if hint is None:
        return None
    place = f" ({error.filename})" if error.filename else ""
    return OutputError(f"{error.strerror}{place}", hint=hint.format(other))


def missing_package(error: ImportError) -> PackageMissing | None:
    """Return what to install, where an import failed for want of a package; None for a bug."""
    package = PACKAGES.get((error.name or "").partition(".")[0])
    if package is None:
        return None
    if not isinstance(error, ModuleNotFoundError):
        return PackageMissing(
            f"the package {package} is installed but does not import: {error}",
            hint=f"Install it again: pip install --force-reinstall {package}",
        )
    return PackageMissing(
        f"the package {package} is needed for this and is not installed ({error})",
        hint=f"Install it: pip install {package}" + COMPANIONS.get(package, ""),
    )
