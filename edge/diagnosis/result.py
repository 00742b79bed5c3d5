"""What a diagnosis says: plain data, from which tables, JSON and pictures are made."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any, Final

from edge.errors import BundleError

DIAGNOSIS_SCHEMA_VERSION: Final = 1


class Culprit(StrEnum):
    """Which tool went wrong."""

    CONVERTER = "converter"  # the float file is not the Keras model
    QUANTIZER = "quantizer"  # the file's numbers are wrong, whoever computes with them
    KERNEL = "kernel"  # two implementations of one file's operators disagree


@dataclass(frozen=True, slots=True, kw_only=True)
class MatrixRow:
    """One way to get answers: a file and the kernels that run it.

    Attributes:
        name: The name of the row, such as ``tflite-int8 reference``.
        variant: The name of the variant; None for the Keras model.
        kernels: ``keras``, ``default``, ``reference``, ``built-in``, ``xnnpack``, ``optimized``.
        engine: The interpreter and its version; empty if it is not available.
        note: What is known about who computes, such as how many operators XNNPACK took.
        problem: Why the row is not available; empty if it is.
        failure: ``NaN``, ``all zero`` or ``constant`` outputs; empty if it is sound.
    """

    name: str
    variant: str | None
    kernels: str
    engine: str = ""
    note: str = ""
    problem: str = ""
    failure: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class RowDifference:
    """How the answers of two rows differ; a figure is None where one of them answers NaN.

    Attributes:
        first: The name of a row.
        second: The name of a row.
        images: How many images were compared.
        flips: How many images have another best class.
        agreement: The share of images with the same best class, 0..1.
        max_difference: The greatest absolute difference of a probability.
        mean_difference: The mean absolute difference of the probabilities.
        variation: The mean over images of the total variation distance, half the sum of the
            absolute differences: the probability that changed its class, 0..1.
        max_steps: ``max_difference`` in quantization steps, where both outputs are integers of
            one scale.
    """

    first: str
    second: str
    images: int
    flips: int
    agreement: float
    max_difference: float | None
    mean_difference: float | None
    variation: float | None
    max_steps: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerError:
    """One layer of one file, over all images; errors are relative Euclidean norms.

    Attributes:
        layer: The name of the layer in the Keras model.
        kind: The Keras class of the layer.
        tensor: The name of the tensor in the file.
        step: The quantization step of the tensor; None for a real one.
        accumulated: ||float - file|| / ||float||, with everything that went wrong before.
        sqnr_db: The same as signal to quantization noise ratio, decibels.
        alone: The layer's own error: the Keras layer is given what the file's layer was given.
        explained: The own error that rounding of the layer's weights and output explains.
        divergent: Whether the own error is far above what rounding explains.
        failure: ``NaN``, ``all zero`` or ``constant``; empty if it is sound.
    """

    layer: str
    kind: str
    tensor: str
    step: float | None
    accumulated: float | None
    sqnr_db: float | None
    alone: float | None
    explained: float | None
    divergent: bool = False
    failure: str = ""

    @property
    def excess(self) -> float | None:
        """How many times the own error exceeds what rounding explains."""
        if self.alone is None or not self.explained:
            return None
        return self.alone / self.explained


@dataclass(frozen=True, slots=True, kw_only=True)
class FileLayers:
    """The layers of one file that have a tensor in it.

    Attributes:
        variant: The name of the variant.
        precision: The precision, as the manifest states it.
        layers: The errors of the layers in the order of execution.
        first_divergent: The name of the first layer that diverges or fails; None if none does.
        worst: The name of the layer with the greatest own error.
        unmatched: The layers of the Keras model that the file fused into others, or dropped.
        mismatched: The layers whose tensor is not their output; they are left out.
    """

    variant: str
    precision: str
    layers: tuple[LayerError, ...]
    first_divergent: str | None
    worst: str | None
    unmatched: tuple[str, ...] = ()
    mismatched: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """A fault: who is to blame, for what, where, and the evidence in one sentence."""

    culprit: Culprit
    variant: str
    layer: str | None
    evidence: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Diagnosis:
    """The result of ``edge diagnose``.

    Attributes:
        name: The name of the bundle.
        images: How many images ran.
        skipped: Why each other chosen image could not be read, by its path.
        reference: The name of the row that the float files are held against.
        rows: The rows of the matrix.
        pairs: How every two available rows differ.
        files: The layers of each file; empty without TensorFlow.
        findings: The faults; empty if all is well.
        conclusion: The diagnosis in one sentence.
        notes: What a reader should know, one sentence each.
    """

    name: str
    images: int
    skipped: Mapping[str, str]
    reference: str
    rows: tuple[MatrixRow, ...]
    pairs: tuple[RowDifference, ...]
    files: tuple[FileLayers, ...]
    findings: tuple[Fault, ...]
    conclusion: str
    notes: tuple[str, ...] = ()
    schema_version: int = DIAGNOSIS_SCHEMA_VERSION

    @property
    def healthy(self) -> bool:
        """Whether nobody is to blame."""
        return not self.findings

    def to_json(self) -> dict[str, Any]:
        """Return the diagnosis as JSON values; ``schema_version`` first."""
        value = asdict(self) | {"healthy": self.healthy}
        for file, measured in zip(value["files"], self.files, strict=True):
            for layer, error in zip(file["layers"], measured.layers, strict=True):
                layer["excess"] = error.excess
        return {"schema_version": value.pop("schema_version")} | value


@dataclass(frozen=True, slots=True, kw_only=True)
class Traits:
    """What a precision is expected to cost.

    Attributes:
        variation: The mean total variation distance to the reference that is still healthy; the
            greatest measured: 0.003 (fp16), 0.05 (dynamic), 0.03 (int8).
        material: The relative own error of a layer from which it may be called wrong; healthy
            layers reach 5e-4 (fp32), 1e-3 (fp16), 0.04 (dynamic), 0.06 (int8: EfficientNet with
            random weights, whose Keras layers hold an activation that rounds in between).
        arithmetic: The relative own error that its arithmetic explains: float32 sums in another
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
    """Return what a precision is expected to cost, by its name in a manifest.

    Raises:
        BundleError: This version of edge does not know it.
    """
    if precision not in _TRAITS:
        raise BundleError(
            f"the bundle has a variant of unknown precision {precision!r}",
            hint=f"Known: {', '.join(_TRAITS)}. A newer edge may have written it.",
        )
    return _TRAITS[precision]
