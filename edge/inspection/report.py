"""The answer of an inspection: what one model file holds."""

import re
from dataclasses import asdict, dataclass, field
from typing import Any, Final

from edge.modelfile.graph import CONVERSIONS
from edge.runtime.spec import TensorSpec

MOST_MULT_ADDS: Final = 0.9  # share of the mult-adds that an integer file computes on integers
MOST_OPERATORS: Final = 0.5  # such a share of the operators, many of which only move numbers
CALLED_INTEGER: Final = re.compile(
    r"(?<![a-z0-9])(u?int8|i8|w8a16|full_?integer|quant(ized)?)(?![a-z0-9])"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelReport:
    """Facts that stand in a model file; nothing here was measured.

    Attributes:
        format: ``tflite`` or ``onnx``.
        path: The path of the file as it was given.
        size_bytes: The size of the file.
        sha256: The hash of the file, hex.
        inputs: The inputs in the order of the graph; -1 marks an open extent.
        outputs: The outputs in the order of the graph.
        operators: (name, count), most frequent first, ties by name; bodies of conditions and
            loops included.
        parameters: How many elements the trained constants have, each stored constant counted once:
            weights and biases of convolutions, fully connected layers, matrix products and
            recurrent layers, statistics and factors of normalizations, slopes of PReLU, embedding
            tables, and real-valued constants of more than one element that are added to, subtracted
            from, multiplied with or divided by an activation (an unfolded batch normalization;
            per-channel input scaling looks the same and is counted too). Shapes, axes, paddings,
            scalars and quantization scales do not count. A converter folds batch normalization into
            convolutions, so this is at most the count of the source model.
        mult_adds: The multiply-adds of convolutions, fully connected layers, matrix products and
            LSTM/GRU layers for one batch element, as papers count them; biases, activations,
            pooling and element-wise operators are left out. The body of a loop or condition
            counts as if it ran once. None where an input leaves an extent open, other than the
            batch, that nobody has named.
        counted_shapes: The shape of each input that ``mult_adds`` is of, an open batch as 1; empty
            where there is no count.
        quantized_operators: How many operators there are whose activations are all quantized
            integers; QUANTIZE and DEQUANTIZE, which only convert, are not among them.
        quantized_mult_adds: The part of ``mult_adds`` that such operators compute.
        metadata: What the file says about itself: producer, versions, signatures, notes.
        notes: What the figures leave out, one sentence each.
        obstacles: What will keep interpreters from running the file, each with the way out.
    """

    format: str
    path: str
    size_bytes: int
    sha256: str
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    operators: tuple[tuple[str, int], ...]
    parameters: int
    mult_adds: int | None
    quantized_operators: int
    quantized_mult_adds: int | None = None
    counted_shapes: tuple[tuple[int, ...], ...] = ()
    metadata: dict[str, str | list[str]] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    obstacles: tuple[str, ...] = ()

    @property
    def quantized_share(self) -> float | None:
        """The part of the mult-adds that is computed on integers, 0..1; None without a count."""
        if not self.mult_adds or self.quantized_mult_adds is None:
            return None
        return self.quantized_mult_adds / self.mult_adds

    @property
    def computing_operators(self) -> int:
        """How many operators do more than convert between integers and real numbers."""
        return sum(count for name, count in self.operators if name not in CONVERSIONS)

    def float_note(self, name: str) -> str:
        """Return one sentence where a file is called an integer one and is not; else nothing.

        Args:
            name: The name of the variant or the file.
        """
        share, operators = self.quantized_share, self.computing_operators
        of_operators = self.quantized_operators / operators if operators else 1.0
        enough = of_operators >= MOST_OPERATORS and (share is None or share >= MOST_MULT_ADDS)
        if enough or not CALLED_INTEGER.search(name.lower()):
            return ""
        counted = f"{self.quantized_operators} of its {operators} operators"
        if share is not None and share < MOST_MULT_ADDS:
            counted = f"{100 * share:.1f} % of the mult-adds and {counted}"
        elif share is not None:
            counted += f" (with {100 * share:.1f} % of the mult-adds)"
        return (
            f"{name} is called an integer file, but only {counted} are computed on integers; the "
            "others are not"
        )

    def to_json(self) -> dict[str, Any]:
        """Return the report as JSON values; ``operators`` becomes an object in the same order."""
        value = asdict(self)
        for name in ("inputs", "outputs"):
            value[name] = [_spec_json(spec) for spec in getattr(self, name)]
        return value | {
            "operators": dict(self.operators),
            "counted_shapes": [list(shape) for shape in self.counted_shapes],
            "notes": list(self.notes),
            "obstacles": list(self.obstacles),
            "quantized_share": self.quantized_share,
        }


def _spec_json(spec: TensorSpec) -> dict[str, Any]:
    value = asdict(spec) | {"shape": list(spec.shape)}
    if spec.quantization is not None:
        value["quantization"] = {
            "scales": list(spec.quantization.scales),
            "zero_points": list(spec.quantization.zero_points),
            "quantized_dimension": spec.quantization.quantized_dimension,
        }
    return value
