"""What a diagnosis says: plain data, from which tables, JSON and pictures are made."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from enum import StrEnum
from math import log10, sqrt
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
            absolute differences: the probability that changed its class, 0..1. Where one row's
            output has steps, the other's values are rounded to them first: a thousand classes
            that share a probability of 0.1 are all 0 in steps of 1/256.
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
        alone: The layer's own error: the file's layer and the Keras layer are both given the float
            model's values, rounded as the file rounds them.
        explained: The own error that rounding of the layer's weights and output explains.
        divergent: Whether the own error is far above what rounding explains.
        failure: ``NaN``, ``all zero`` or ``constant``; empty if it is sound.
        channels: How many channels the tensor has; 0 for a real one.
        narrow: How many of them span fewer than 8 of its steps, constant ones not counted.
        coarse: Whether the step is more than twice what the values need.
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
    channels: int = 0
    narrow: int = 0
    coarse: bool = False

    @property
    def excess(self) -> float | None:
        """How many times the own error exceeds what rounding explains."""
        if self.alone is None or not self.explained:
            return None
        return self.alone / self.explained


@dataclass(frozen=True, slots=True, kw_only=True)
class BlockError:
    """One block of one integer file; errors are relative Euclidean norms.

    Attributes:
        block: The name of the layer whose weights begin the block.
        layers: The names of the block's layers that have a tensor in the file.
        alone: The error of the answers if this block is as in the file and all others are in
            floats: of logits less their mean, or of what the model gives where those cannot be
            had. None if it is not known.
        accumulated: The error of the block's last layer in the file, with everything before it.
        narrowest: The layer with the largest share of channels that span fewer than 8 steps.
        narrow: How many channels of that layer do.
        channels: How many channels it has.
    """

    block: str
    layers: tuple[str, ...]
    alone: float | None
    accumulated: float | None
    narrowest: str
    narrow: int
    channels: int

    @property
    def sqnr_db(self) -> float | None:
        """The error alone as a signal to quantization noise ratio, decibels."""
        return -20 * log10(self.alone) if self.alone else None


@dataclass(frozen=True, slots=True, kw_only=True)
class FileLayers:
    """The layers of one file that have a tensor in it.

    Attributes:
        variant: The name of the variant.
        precision: The precision, as the manifest states it.
        layers: The errors of the layers in the order of execution.
        first_divergent: The name of the first layer that diverges or fails; None if none does.
        start: The name of the layer where the trouble begins, if there is any: of those that
            diverge or fail, or else of all, the one that costs the answers most. None if no layer
            stands out.
        worst: The name of the layer with the greatest own error.
        blocks: The blocks in the order of execution; empty if they were not measured.
        block_images: How many images they were measured on.
        unmatched: The layers of the Keras model that the file fused into others, or dropped.
        mismatched: The layers whose tensor is not their output; they are left out.
    """

    variant: str
    precision: str
    layers: tuple[LayerError, ...]
    first_divergent: str | None
    worst: str | None
    start: str | None = None
    blocks: tuple[BlockError, ...] = ()
    block_images: int = 0
    unmatched: tuple[str, ...] = ()
    mismatched: tuple[str, ...] = ()

    @property
    def together(self) -> float | None:
        """The error of the answers by all blocks, if theirs have nothing to do with one another."""
        known = [block.alone**2 for block in self.blocks if block.alone is not None]
        return sqrt(sum(known)) if known else None

    def block_of(self, layer: str | None) -> BlockError | None:
        """Return the block that a layer is in, if it was measured."""
        return next((block for block in self.blocks if layer in block.layers), None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Partitions:
    """How a TFLite file falls into parts between XNNPACK and the built-in kernels.

    Attributes:
        variant: The name of the variant.
        operators: How many operators the file has.
        delegated: How many of them XNNPACK computes.
        partitions: Into how many parts these fall.
        left: How many operators of which type the built-in kernels compute.
        splitting: How many of these stand between two parts.
        shares: The share of the time of an inference that the operators of each type in ``left``
            take, measured by LiteRT's profiler; None where it cannot measure this file.
    """

    variant: str
    operators: int
    delegated: int
    partitions: int
    left: Mapping[str, int]
    splitting: Mapping[str, int]
    shares: Mapping[str, float] | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """A file that was made and run on the images of the diagnosis, to see whether it would help.

    Attributes:
        instead_of: The name of the variant that is to blame.
        option: The options with which ``edge export`` writes it; RECIPE stands for a file that
            says which blocks stay in floats. Empty where it is written anyway.
        description: What the file is, for people.
        kept: The blocks of a mixed file that stay in floats, by the names of a recipe.
        agreement: The share of the images with the reference's answer, 0..1.
        before: The same of the file to blame.
        error: The relative error of what its answers say.
        error_before: The same of the file to blame.
        time_ratio: Its time over that of the file to blame, measured in turn on this host.
        float_ratio: Its time over that of the float file; None where there is none.
        holds: Whether nobody would be blamed for its answers, and half of the error is gone.
    """

    instead_of: str
    option: str
    description: str
    kept: tuple[str, ...]
    agreement: float
    before: float
    error: float
    error_before: float
    time_ratio: float
    float_ratio: float | None
    holds: bool


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
        partitions: How XNNPACK divides each TFLite file.
        attempts: What was tried against the first fault of a quantizer; the last is suggested if
            it holds.
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
    partitions: tuple[Partitions, ...] = ()
    attempts: tuple[Attempt, ...] = ()
    schema_version: int = DIAGNOSIS_SCHEMA_VERSION

    @property
    def suggestion(self) -> Attempt | None:
        """What was tried and helps; None if nothing was, or nothing does."""
        return next((item for item in reversed(self.attempts) if item.holds), None)

    @property
    def healthy(self) -> bool:
        """Whether nobody is to blame."""
        return not self.findings

    def to_json(self) -> dict[str, Any]:
        """Return the diagnosis as JSON values; ``schema_version`` first."""
        suggestion = None if self.suggestion is None else asdict(self.suggestion)
        value = asdict(self) | {"healthy": self.healthy, "suggestion": suggestion}
        for file, measured in zip(value["files"], self.files, strict=True):
            file["together"] = measured.together
            for layer, error in zip(file["layers"], measured.layers, strict=True):
                layer["excess"] = error.excess
            for block, cost in zip(file["blocks"], measured.blocks, strict=True):
                block["sqnr_db"] = cost.sqnr_db
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
