"""The refusal that every accelerator shares: an operator stays on the CPU, and none may."""

from pathlib import Path

from benchmarks.accelerators.base import Coverage
from edge.errors import ModelLoadError


def partly_refused(model: Path, device: str, coverage: Coverage) -> ModelLoadError:
    """What to raise where full delegation is asked for and is not to be had.

    Args:
        model: The file.
        device: Name of the accelerator.
        coverage: What it takes.
    """
    left = ", ".join(f"{count} {name}" for name, count in coverage.left.items())
    return ModelLoadError(
        f"{device} takes {coverage.accelerated} of the {coverage.operators} operators of "
        f"{model.name}; the CPU keeps {left}",
        hint="Leave --require-full-delegation out to measure it as it is.",
    )
