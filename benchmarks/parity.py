"""Whether a path answers as the CPU does, before anybody looks at how long it took.

The bounds rest on what correct engines differ by (LiteRT with XNNPACK, LiteRT's reference
kernels, ONNX Runtime with and without its optimizations, OpenVINO; four inputs, seven networks):

- floats: 1.2e-5 of the output's range;
- integers inside: up to 20 steps of 256, or 0.15 of the range, with a root mean square of 0.15 of
  the output's own scatter. After a softmax a rounding of the logits shows as many steps in the
  classes that compete, so the largest difference alone tells little;
- label maps of a quantized network: 12 % of the pixels.

What a wrong kernel does to a MobileNet (one layer without its bias, or its scale off by a
quarter) is 38 steps or more, mostly with a root mean square over 0.5. One wrong channel of hundreds
cannot be told from rounding behind integers (2 to 9 steps); with floats it can.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from benchmarks.result import Parity
from edge.runtime.postprocess import dequantize
from edge.runtime.spec import TensorSpec

STEPS: Final = 32  # of 256
ROUNDING_STEPS: Final = 3  # within these the scatter says nothing: the output is all rounding
SCATTER: Final = 0.2
LABELS: Final = 0.2
STEPS_UNIT: Final = "quantization steps"
RANGE_UNIT: Final = "of the output's range"
LABELS_UNIT: Final = "of the elements unequal"


@dataclass(frozen=True, slots=True, kw_only=True)
class Tolerance:
    """What float outputs may differ by.

    Attributes:
        share: The largest difference of an element, as a share of the reference's range.
        scatter: The root mean square of the differences, as a share of the standard deviation of
            the reference's elements.
    """

    share: float
    scatter: float = SCATTER


FLOAT32: Final = Tolerance(share=1e-3)  # of kernels that sum in another order
FLOAT16: Final = Tolerance(share=2e-2)  # of a GPU or NPU that computes in float16: 2 ** -11 a step
INTEGER: Final = Tolerance(share=0.2)  # of a network with int8 weights and float outputs


@dataclass(frozen=True, slots=True, kw_only=True)
class _Difference:
    """The difference of one output; ``limit`` has the same unit as ``worst``."""

    worst: float
    limit: float
    unit: str
    fault: str = ""
    weak: str = ""

    @property
    def ok(self) -> bool:
        return not self.fault


def parity(
    reference: Sequence[NDArray[Any]],
    outputs: Sequence[NDArray[Any]],
    specs: Sequence[TensorSpec],
    name: str,
    *,
    own: Sequence[TensorSpec] | None = None,
    tolerance: Tolerance = FLOAT32,
) -> Parity:
    """Compare the outputs of a path with those of the reference on the same inputs.

    Args:
        reference: One array for each output.
        outputs: The same of the path in question; may be real values where the reference's are
            quantized.
        specs: What the reference's outputs are.
        name: The name of the reference path.
        own: What the path's own outputs are, for their quantization; None takes them as the
            reference's where the dtype is the same, and for real values elsewhere.
        tolerance: How far float outputs may differ: ``INTEGER`` for a network that computes with
            integers inside (dynamic range, QDQ), ``FLOAT16`` for processors that compute in half
            precision.
    """
    if len(reference) != len(outputs):
        detail = f"{len(outputs)} outputs, where {name} has {len(reference)}"
        return Parity(ok=False, reference=name, worst=0.0, unit=RANGE_UNIT, detail=detail)
    differences = [
        _compare(expected, given, spec, own[i] if own else spec, tolerance)
        for i, (expected, given, spec) in enumerate(zip(reference, outputs, specs, strict=True))
    ]
    if not differences:
        detail = f"{name} has no outputs"
        return Parity(ok=False, reference=name, worst=0.0, unit=RANGE_UNIT, detail=detail)
    position = max(
        range(len(differences)), key=lambda i: (not differences[i].ok, _excess(differences[i]))
    )
    worst = differences[position]
    return Parity(
        ok=worst.ok,
        reference=name,
        worst=worst.worst,
        unit=worst.unit,
        detail=_sentence(worst, specs[position].name, name),
    )


def _excess(difference: _Difference) -> float:
    return difference.worst / difference.limit


def _sentence(difference: _Difference, output: str, name: str) -> str:
    if difference.fault:
        return f"output {output!r}: {difference.fault}"
    worst, limit = f"{difference.worst:.3g}", f"{difference.limit:.3g}"
    told = f"{worst} {difference.unit} from {name}, up to {limit} are rounding"
    return f"output {output!r}: {told}{difference.weak}"


def _compare(
    expected: NDArray[Any],
    given: NDArray[Any],
    spec: TensorSpec,
    own: TensorSpec,
    tolerance: Tolerance,
) -> _Difference:
    unit, limit = _rule(expected, spec, tolerance)
    if expected.shape != given.shape:
        fault = f"its shape is {given.shape}, expected {expected.shape}"
        return _Difference(worst=0.0, limit=limit, unit=unit, fault=fault)
    same = own.quantization is None and given.dtype == expected.dtype
    real = dequantize(expected, spec).astype(np.float64)
    other = dequantize(given, spec if same else own).astype(np.float64)
    scale = _scale(real, spec)
    noise = ROUNDING_STEPS * float(np.max(scale)) if unit == STEPS_UNIT else 0.0
    fault = _degenerate(real, other, noise)
    if fault or not expected.size:
        return _Difference(worst=0.0, limit=limit, unit=unit, fault=fault)
    if unit == LABELS_UNIT:
        return _labels(real, other)
    worst = float(np.max(np.abs(real - other) / scale))
    apart = _scatter(real, other)
    most = tolerance.scatter if unit == RANGE_UNIT else SCATTER
    steps = unit == STEPS_UNIT
    if worst > limit:
        fault = f"it is up to {worst:.3g} {unit} away, rounding explains {limit:.3g}"
    elif apart > most and not (steps and worst <= ROUNDING_STEPS):
        fault = f"it is {apart:.2f} of the answer's own scatter away, rounding explains {most:g}"
    span = float(np.ptp(real) / np.min(scale))
    flat = span <= 2 * ROUNDING_STEPS if steps else not np.ptp(real)
    weak = "; the answer hardly varies, which proves little" if flat else ""
    return _Difference(worst=worst, limit=limit, unit=unit, fault=fault, weak=weak)


def _rule(expected: NDArray[Any], spec: TensorSpec, tolerance: Tolerance) -> tuple[str, float]:
    """Return the unit of the difference, and the largest that is let pass."""
    if expected.dtype.kind not in "iub":
        return RANGE_UNIT, tolerance.share
    if spec.quantization is None:
        return LABELS_UNIT, LABELS
    # 16 bits are for outputs that are to be better than 8: the step is 256 times finer.
    return (STEPS_UNIT, STEPS) if expected.dtype.itemsize == 1 else (RANGE_UNIT, FLOAT16.share)


def _scale(real: NDArray[np.float64], spec: TensorSpec) -> NDArray[np.float64]:
    """Return what one unit is in real values: a step, or the range; it broadcasts over ``real``."""
    quantization = spec.quantization
    if quantization is None or np.dtype(spec.dtype).itemsize != 1:
        if not real.size:
            return np.ones(())
        return np.array(float(np.ptp(real)) or float(np.max(np.abs(real))) or 1.0)
    scales = np.asarray(quantization.scales, np.float64)
    if scales.size == 1:
        return scales[0:1].reshape(())
    shape = [1] * real.ndim
    shape[quantization.quantized_dimension] = scales.size
    return scales.reshape(shape)


def _degenerate(real: NDArray[np.float64], other: NDArray[np.float64], noise: float) -> str:
    """Return why the answers cannot be compared, or cannot be right; empty if they can.

    An answer that varies by no more than ``noise`` may be constant elsewhere.
    """
    if not np.isfinite(other).all():
        return f"{np.count_nonzero(~np.isfinite(other)):,} of its elements are not finite"
    if not np.isfinite(real).all():
        return "the reference is not finite, so nothing can be checked"
    if real.size > 1 and np.ptp(real) > noise and not np.ptp(other):
        return f"all its elements are {other.flat[0]:g}, the right answer varies"
    return ""


def _labels(real: NDArray[np.float64], other: NDArray[np.float64]) -> _Difference:
    unequal = float(np.mean(real != other))
    fault = f"{100 * unequal:.1f} % of its elements are unequal" if unequal > LABELS else ""
    weak = "" if np.ptp(real) else "; the answer is one label, which proves little"
    return _Difference(worst=unequal, limit=LABELS, unit=LABELS_UNIT, fault=fault, weak=weak)


def _scatter(real: NDArray[np.float64], other: NDArray[np.float64]) -> float:
    """Return the root mean square difference as a share of the reference's standard deviation.

    It is 0 where the reference is constant.
    """
    deviation = float(np.std(real))
    return float(np.sqrt(np.mean((real - other) ** 2))) / deviation if deviation else 0.0
