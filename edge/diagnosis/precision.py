"""What each precision is expected to cost, in one place."""

from dataclasses import dataclass
from typing import Final

from edge.errors import BundleError


@dataclass(frozen=True, slots=True, kw_only=True)
class Traits:
    """Of a precision.

    Attributes:
        variation: Mean total variation distance to the reference that is still healthy; the
            greatest measured: 0.003 (fp16), 0.05 (dynamic), 0.03 (int8).
        material: Relative own error of a layer from which it may be called wrong; healthy layers
            reach 5e-4 (fp32), 1e-3 (fp16), 0.04 (dynamic), 0.06 (int8: EfficientNet with random
            weights, whose Keras layers hold an activation that rounds in between).
        arithmetic: Relative own error that its arithmetic explains: float32 sums in another
            order; a float16 weight (11 bits); nothing more for integers, whose steps are known.
        rounds_kernels: Whether kernels are int8.
        rounds_inputs: Whether activations are rounded to 8 bits when it runs, in steps that the
            file does not state.
        is_integer: Whether activations are integers: several sets of kernels compute it.
    """

    variation: float
    material: float
    arithmetic: float = 1e-5
    rounds_kernels: bool = False
    rounds_inputs: bool = False
    is_integer: bool = False


_INT8: Final = Traits(variation=0.15, material=0.1, rounds_kernels=True, is_integer=True)
_TRAITS: Final = {
    "fp32": Traits(variation=0.0, material=5e-3),
    "fp16": Traits(variation=0.02, material=1e-2, arithmetic=2**-10),
    "dynamic": Traits(variation=0.15, material=0.1, rounds_kernels=True, rounds_inputs=True),
    "int8": _INT8,
    "mixed": _INT8,
    # One set of kernels only, the reference ones: half a second an image with MobileNet.
    "w8a16": Traits(variation=0.15, material=0.1, rounds_kernels=True),
}


def traits(precision: str) -> Traits:
    """Of a precision, as a manifest names it.

    Raises:
        BundleError: This version of edge does not know it.
    """
    if precision not in _TRAITS:
        raise BundleError(
            f"the bundle has a variant of unknown precision {precision!r}",
            hint=f"Known: {', '.join(_TRAITS)}. A newer edge may have written it.",
        )
    return _TRAITS[precision]
