"""From the matrix and the layers to the culprit.

A float file is the converter's work, an int8 file's numbers are the quantizer's, and where two
sets of kernels give different answers of one file, one of them computes wrongly. So a quantizer
is only blamed if the file is wrong by whichever kernels, and a kernel if the file's own rows
differ. Budgets are far above what healthy bundles need (ImageNet MobileNet over 32 to 500
pictures, dogs-vs-cats, digits); the measured values stand beside them.

A layer of a file diverges, so that the fault is said to start there, if its own error is all of
these at once:

- far above what rounding its weights and its output explains (``EXCESS``);
- far above the same ratio of the file's other layers, so that something the explanation leaves
  out everywhere (an operation that rounds in between) accuses no single layer (``OUTLIER``);
- large enough to matter (``Traits.material``), and part of the accumulated error (``VISIBLE``): if
  the file's layer is near the Keras layer in spite of it, the file gave the layer another input
  than was read, and the own error is not the file's;
- not harmless: where it just matters (``JUST``), its block has to cost the answers something
  (``HARMLESS``), if that was measured.

Apart from that, an integer file is wrong if its blocks, each as in the file and alone, together
cost more than ``MOST_TOGETHER`` of what the answers say: rounding explains every layer then, and
the network does not bear it. Healthy files lose 0.03 to 0.1, EfficientNet-B0 0.3 to 0.5.

Where the trouble starts is told by the same figures: it is the layer of the block that costs the
answers most, among the layers that diverge if there are any.

Healthy layers exceed what rounding explains 1.3 times (MobileNet), 2.4 times (a trained network
with residuals, squeeze-and-excitation and separable convolutions), and 6 times where their error
is below 1 % (pooling).
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from itertools import combinations
from math import inf
from statistics import median
from typing import Final

from converters.quantizable import Block
from edge.diagnosis.probe import LEVELS, NARROW
from edge.diagnosis.result import (
    BlockError,
    Culprit,
    Fault,
    FileLayers,
    LayerError,
    MatrixRow,
    RowDifference,
    traits,
)
from edge.runtime.spec import Variant

FLOAT_TOLERANCE: Final = 1e-3  # largest difference of a probability; measured 4e-6 at most
# The largest total variation between two sets of kernels; measured 0.012.
KERNEL_VARIATION: Final = 0.05
# The share of the images that may get another answer; 0.042 measured over 400 pictures (dynamic).
MAX_FLIPS: Final = 0.05
SIGNIFICANCE: Final = 0.001  # chance to blame a file that flips MAX_FLIPS of all images


class AnswerMatrix:
    """What was measured, by name.

    Args:
        rows: The rows of the matrix, failures included.
        pairs: How every two available rows differ.
        files: The layers of each file.
        reference: The name of the row that files are held against.
    """

    def __init__(
        self,
        rows: Sequence[MatrixRow],
        pairs: Sequence[RowDifference],
        files: Sequence[FileLayers],
        reference: str,
    ) -> None:
        self.reference = reference
        self.files: Mapping[str, FileLayers] = {file.variant: file for file in files}
        self._rows = [row for row in rows if not row.problem]
        self._pairs = {frozenset((pair.first, pair.second)): pair for pair in pairs}

    def rows_of(self, variant: str) -> list[MatrixRow]:
        """Return the available rows of a variant."""
        return [row for row in self._rows if row.variant == variant]

    def pair(self, first: str, second: str) -> RowDifference:
        """Return how two rows differ, named in any order."""
        return self._pairs[frozenset((first, second))]


def findings(variants: Sequence[Variant], answers: AnswerMatrix) -> tuple[Fault, ...]:
    """Return every fault, in the order of the variants; none if all is well."""
    faults: list[Fault] = []
    for variant in variants:
        rows = answers.rows_of(variant.name)
        kernel = _kernel(variant, rows, answers)
        wrong = [complaint for row in rows if (complaint := _complaint(variant, row, answers))]
        layers = answers.files.get(variant.name)
        if rows and len(wrong) == len(rows):
            faults.append(_file(variant, layers, wrong[0]))
        elif layers is not None and layers.start is not None and not (kernel and _fine(layers)):
            faults.append(_file(variant, layers, ""))
        faults += kernel
    return tuple(faults)


def _fine(layers: FileLayers) -> bool:
    """Whether the layer where the trouble starts may be the work of a kernel.

    It is not where the step alone is too coarse: then kernels that differ by a step differ much.
    """
    return not any(error.coarse for error in layers.layers if error.layer == layers.start)


def _complaint(variant: Variant, row: MatrixRow, answers: AnswerMatrix) -> str:
    """What is wrong with a row's answers; empty if nothing."""
    if row.failure:
        return f"{row.name} answers {row.failure}"
    if row.name == answers.reference:
        return ""
    pair = answers.pair(answers.reference, row.name)
    if variant.precision == "fp32":
        difference = pair.max_difference or 0.0
        if difference <= FLOAT_TOLERANCE:
            return ""
        return f"{row.name} differs from {answers.reference} by {difference:.2g}"
    return too_far(pair, traits(variant.precision).variation)


def too_far(pair: RowDifference, budget: float) -> str:
    """Why two rows are further apart than a budget of total variation or of flips; or empty."""
    if pair.variation is not None and pair.variation > budget:
        return (
            f"{pair.first} and {pair.second} differ by {100 * pair.variation:.0f} % of the "
            f"probability on average (budget {100 * budget:.0f} %)"
        )
    if _chance(pair.flips, pair.images) < SIGNIFICANCE:
        return f"{pair.first} and {pair.second} disagree on {pair.flips} of {pair.images} images"
    return ""


def _chance(flips: int, images: int) -> float:
    """Probability of so many flips or more, if ``MAX_FLIPS`` of all images flip (binomial)."""
    from scipy.stats import binom

    return float(binom.sf(flips - 1, images, MAX_FLIPS))


def _kernel(variant: Variant, rows: Sequence[MatrixRow], answers: AnswerMatrix) -> list[Fault]:
    """Faults of kernels: rows of one file that disagree."""
    broken = [row for row in rows if row.failure]
    if broken and len(broken) < len(rows):
        return [
            Fault(
                culprit=Culprit.KERNEL,
                variant=variant.name,
                layer=None,
                evidence=f"{row.name} answers {row.failure}, other kernels do not",
            )
            for row in broken
        ]
    reasons = [
        too_far(answers.pair(first.name, second.name), KERNEL_VARIATION)
        for first, second in combinations(rows, 2)
        if not broken
    ]
    said = next(filter(None, reasons), "")
    if not said:
        return []
    return [
        Fault(culprit=Culprit.KERNEL, variant=variant.name, layer=None, evidence=said),
    ]


def _file(variant: Variant, layers: FileLayers | None, complaint: str) -> Fault:
    """A fault of the file itself, with the layer where it starts, if one is known."""
    start = layers.start if layers else None
    sentences = [complaint] if complaint else []
    if layers and start:
        error = next(error for error in layers.layers if error.layer == start)
        if error.divergent or error.failure:
            sentences.append(_described(error))
        sentences += _costs(layers, error)
    elif layers and layers.worst:
        sentences.append(
            f"no single layer stands out, the greatest own error is that of {layers.worst}"
        )
    return Fault(
        culprit=Culprit.CONVERTER if variant.precision == "fp32" else Culprit.QUANTIZER,
        variant=variant.name,
        layer=start,
        evidence="; ".join(sentences),
    )


def _described(error: LayerError) -> str:
    if error.failure:
        return f"layer {error.layer} gives {error.failure}, the Keras model's does not"
    assert error.alone is not None and error.explained is not None  # it diverges
    return (
        f"layer {error.layer} has an own error of {100 * error.alone:.2g} %, "
        f"of which rounding explains {100 * error.explained:.2g} %"
    )


def _costs(layers: FileLayers, error: LayerError) -> list[str]:
    """What the layer's block costs the answers, and whether its channels share a scale badly."""
    block = layers.block_of(error.layer)
    said = []
    if block is not None and block.alone is not None and layers.together is not None:
        # One place, and not a second one: a block is called by its layer with weights.
        own = "" if error.layer == block.block else f", to which {error.layer} belongs,"
        said.append(
            f"block {block.block}{own} alone makes an error of {100 * block.alone:.2g} % of the "
            f"answers, all {len(layers.blocks)} blocks together {100 * layers.together:.2g} %"
        )
    if error.narrow and error.narrow >= SOME_NARROW * error.channels:
        said.append(
            f"{error.narrow} of {error.channels} channels of {error.layer} span fewer than "
            f"{NARROW} of its {LEVELS} steps"
        )
    return said


class Basis(StrEnum):
    """What the files of a bundle were held against."""

    KERAS = "keras"
    GIVEN_FILE = "given file"  # a float file of somebody else, which the bundle was made of
    MISSING = "missing"  # what the files were made of is not here, or cannot run


HEALTHY: Final = {
    Basis.KERAS: "Healthy: the float files answer as their source does, quantization costs what "
    "rounding explains, and the kernels agree.",
    Basis.GIVEN_FILE: "Healthy: the integer files answer nearly as the float file does that they "
    "were made of, and the kernels agree.",
    Basis.MISSING: "Nothing is wrong as far as can be told without what the files were made of.",
}


def conclusion(faults: Sequence[Fault], *, source: Basis) -> str:
    """Return the diagnosis in one sentence.

    Args:
        faults: Every fault.
        source: What the files were held against.
    """
    if not faults:
        return HEALTHY[source]
    first = faults[0]
    others = "" if len(faults) == 1 else f" ({len(faults) - 1} more below)"
    start = f" from layer {first.layer} on" if first.layer else ""
    return f"The {first.culprit} is to blame: {first.variant} is wrong{start}{others}."


EXCESS: Final = 4.0
OUTLIER: Final = 4.0
VISIBLE: Final = 1 / 3  # least accumulated error, as a share of the own error
# A float file whose answers are the Keras model's cannot have a layer this wrong: what was taken
# for the layer's output is another tensor.
MISMATCHED: Final = 1e-2


SOME_NARROW: Final = 0.1  # of the channels; the stem of EfficientNet-B0 has 0.3
# A layer that diverges has to cost this share of the costliest block, in a file that loses too much
# by rounding alone. It has outliers of its own, such as pooling that clips.
COSTLY: Final = 0.5
MOST_TOGETHER: Final = 0.25  # of what the answers say: 12 dB
# A layer whose own error just matters is not to blame where its block costs the answers less: a
# gate of EfficientNet-B0 has 0.11 and costs 0.016. A ruined range that costs 0.01 has 0.22.
HARMLESS: Final = 0.03
JUST: Final = 2.0  # times ``Traits.material``


@dataclass(frozen=True, slots=True, kw_only=True)
class Blocks:
    """What the blocks of a file do to the answers alone.

    Attributes:
        blocks: The blocks in the order of execution; members are names of layers.
        alone: The relative error of the answers that each makes; None if it is not known.
        within: The same of each layer of the block whose error is the largest.
        images: How many images they were measured on.
    """

    blocks: tuple[Block, ...] = ()
    alone: tuple[float | None, ...] = ()
    within: Mapping[str, float | None] = field(default_factory=dict)
    images: int = 0


def judged(
    variant: str,
    precision: str,
    errors: Sequence[LayerError],
    *,
    unmatched: Sequence[str] = (),
    mismatched: Collection[str] = (),
    blocks: Blocks | None = None,
) -> FileLayers:
    """Return a file's layers, with those marked that diverge.

    Args:
        variant: The name of the variant.
        precision: The precision, as the manifest states it.
        errors: The errors of the layers in the order of execution.
        unmatched: The names of layers without a tensor.
        mismatched: The names of layers to leave out.
        blocks: What its blocks do alone, if that was measured.
    """
    kept = [error for error in errors if error.layer not in mismatched]
    usual = median([error.excess for error in kept if error.excess is not None] or [0.0])
    material = traits(precision).material
    layers = tuple(replace(error, divergent=_diverges(error, usual, material)) for error in kept)
    own = [error for error in layers if error.alone is not None]
    file = FileLayers(
        variant=variant,
        precision=precision,
        layers=layers,
        first_divergent=next((e.layer for e in layers if e.divergent or e.failure), None),
        worst=max(own, key=lambda error: error.alone or 0.0).layer if own else None,
        blocks=_shown(blocks or Blocks(), {error.layer: error for error in layers}),
        block_images=blocks.images if blocks else 0,
        unmatched=tuple(unmatched),
        mismatched=tuple(error.layer for error in errors if error.layer in mismatched),
    )
    return replace(file, start=_start(file, blocks.within if blocks else {}))


def _shown(found: Blocks, layers: Mapping[str, LayerError]) -> tuple[BlockError, ...]:
    shown = []
    for block, alone in zip(found.blocks, found.alone, strict=True):
        members = [layers[name] for name in block.members]
        narrowest = max(members, key=lambda error: error.narrow / max(error.channels, 1))
        shown.append(
            BlockError(
                block=block.name,
                layers=block.members,
                alone=alone,
                accumulated=members[-1].accumulated,
                narrowest=narrowest.layer,
                narrow=narrowest.narrow,
                channels=narrowest.channels,
            )
        )
    return tuple(shown)


def _start(file: FileLayers, within: Mapping[str, float | None]) -> str | None:
    """The layer where the trouble of a file begins; None if there is none, or none stands out."""
    costs = {
        name: inf if block.alone is None else block.alone  # not finite, or no answer to hold it to
        for block in file.blocks
        for name in block.layers
    }
    faulty = [
        error.layer
        for error in file.layers
        if error.failure or (error.divergent and not _is_harmless(error, costs, file.precision))
    ]
    rounded_away = file.together is not None and file.together > MOST_TOGETHER
    if rounded_away:
        most = max(costs.values())
        faulty = [name for name in faulty if costs.get(name, 0.0) >= COSTLY * most]
    if faulty:  # the first, where several are of one block or cost the same
        return max(faulty, key=lambda name: costs.get(name, 0.0))
    if not rounded_away:
        return None
    return max(within, key=lambda name: within[name] or 0.0, default=None)


def _is_harmless(error: LayerError, costs: Mapping[str, float], precision: str) -> bool:
    just = error.alone is not None and error.alone < JUST * traits(precision).material
    return just and costs.get(error.layer, inf) < HARMLESS


def mismatches(errors: Sequence[LayerError]) -> frozenset[str]:
    """Return the layers that seem wrong in a float file that answers as the Keras model does."""
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
