"""Which layers of a file err more than rounding explains.

A layer diverges if its own error is all of these at once:

- far above what rounding its weights and its output explains (``EXCESS``);
- far above the same ratio of the file's other layers, so that something the explanation leaves
  out everywhere (an operation that rounds in between) accuses no single layer (``OUTLIER``);
- large enough to matter (``Traits.material``), and part of the accumulated error (``VISIBLE``): if
  the file's layer is near the Keras layer in spite of it, the file gave the layer another input
  than was read, and the own error is not the file's.

Healthy layers exceed what rounding explains 1.3 times (MobileNet), 2.4 times (a trained network
with residuals, squeeze-and-excitation and separable convolutions), and 6 times where their error
is below 1 % (pooling).
"""

from collections.abc import Collection, Sequence
from dataclasses import replace
from statistics import median
from typing import Final

from edge.diagnosis.precision import traits
from edge.diagnosis.result import FileLayers, LayerError

EXCESS: Final = 4.0
OUTLIER: Final = 4.0
VISIBLE: Final = 1 / 3  # least accumulated error, in own errors
# A float file whose answers are the Keras model's cannot have a layer this wrong: what was taken
# for the layer's output is another tensor.
MISMATCHED: Final = 1e-2


def judged(
    variant: str,
    precision: str,
    errors: Sequence[LayerError],
    *,
    unmatched: Sequence[str] = (),
    mismatched: Collection[str] = (),
) -> FileLayers:
    """A file's layers, those that diverge marked.

    Args:
        variant: Of the bundle.
        precision: As in the manifest.
        errors: In the order of execution.
        unmatched: Layers without a tensor.
        mismatched: Layers to leave out.
    """
    kept = [error for error in errors if error.layer not in mismatched]
    usual = median([error.excess for error in kept if error.excess is not None] or [0.0])
    material = traits(precision).material
    layers = tuple(replace(error, divergent=_diverges(error, usual, material)) for error in kept)
    own = [error for error in layers if error.alone is not None]
    return FileLayers(
        variant=variant,
        precision=precision,
        layers=layers,
        first_divergent=next((e.layer for e in layers if e.divergent or e.failure), None),
        worst=max(own, key=lambda error: error.alone or 0.0).layer if own else None,
        unmatched=tuple(unmatched),
        mismatched=tuple(error.layer for error in errors if error.layer in mismatched),
    )


def mismatches(errors: Sequence[LayerError]) -> frozenset[str]:
    """Layers that seem wrong in a float file that answers as the Keras model does."""
    return frozenset(
        error.layer
        for error in errors
        if max(error.accumulated or 0.0, error.alone or 0.0) > MISMATCHED
    )


def _diverges(error: LayerError, usual: float, material: float) -> bool:
    if error.alone is None or error.excess is None:
        return False
    visible = error.accumulated is None or error.accumulated > VISIBLE * error.alone
    outlying = error.excess > max(EXCESS, OUTLIER * usual)
    return error.alone > material and outlying and visible
