"""Every error a user can meet, one class per cause, each with its exit code.

Standard library only: the on-device runtime ships this module too.

Exit codes: 0 success, 1 negative verdict, 2 usage (arguments, data, output place), 3 a model
does not load, 4 inference, training, conversion or measurement failed, 130 interrupted.
"""

from typing import ClassVar


class EdgeError(Exception):
    """An expected failure: what was found, and the way out.

    Args:
        message: What was found and what is allowed, one sentence.
        hint: What the user can do about it, one sentence; may be empty.
    """

    exit_code: ClassVar[int] = 4

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class NegativeVerdict(EdgeError):
    """A check ran to its end and the answer is no."""

    exit_code = 1


class UsageError(EdgeError):
    """Arguments that cannot be acted on."""

    exit_code = 2


class DataError(UsageError):
    """The image folder cannot be used: missing, empty, too small, undecodable."""


class ImageError(DataError):
    """One image file cannot be decoded, or is larger than the bound."""


class OutputError(UsageError):
    """The output place cannot be written: exists already, read-only, full."""


class ModelLoadError(EdgeError):
    """A model file cannot be loaded: truncated, not a model, unsupported operators."""

    exit_code = 3


class BundleError(ModelLoadError):
    """A bundle is incomplete, altered, or of an unknown schema."""


class EngineUnavailable(ModelLoadError):
    """No installed interpreter can run the model."""


class WeightsUnavailable(ModelLoadError):
    """Pretrained weights are neither here nor to be downloaded."""


class InferenceError(EdgeError):
    """The interpreter failed on a model that had loaded, or gave unusable numbers."""


class SignatureError(BundleError):
    """A bundle is not signed, or not by a key that is trusted."""


class ConnectionFailed(EdgeError):
    """A device cannot be reached, or its identity is not what it was."""


class DeviceError(EdgeError):
    """A device cannot do what was asked: no space, no Python, locked, broken state."""


class DeployFailed(NegativeVerdict):
    """A release did not prove itself; the one before serves."""


class MeasurementError(EdgeError):
    """A benchmark's process crashed, hung, or went beyond its memory."""


class TrainingError(EdgeError):
    """Training did not lead to a usable head."""


class ConversionError(EdgeError):
    """A converter did not write a usable model."""
