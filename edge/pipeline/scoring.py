"""Scores and times every written file on the held-out images."""

import json
import re
from collections.abc import Callable, Collection, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

import edge
from benchmarks.timing import Benchmark
from benchmarks.turns import BLOCK, TimedFile, Turns, in_turn
from converters.base import TARGETS, Precision, Target
from edge import schema
from edge.cache import StageCache, content_key, sealed_bytes
from edge.dataset.pictures import Picture
from edge.errors import ConversionError, EdgeError, InferenceError, ModelLoadError
from edge.evaluation.chance import agreement, exchanged, is_constant, is_flat, tied
from edge.evaluation.confidence import CONFIDENCE, drop_interval
from edge.evaluation.kept_pixels import Decode
from edge.evaluation.multilabel import (
    LabelTruth,
    map_intervals,
    mean_average_precision,
    multi_label_score,
)
from edge.evaluation.predictions import predictions
from edge.evaluation.score import Score, score, share_interval
from edge.inspection.model import inspect_model
from edge.pipeline.conversion import Converted
from edge.pipeline.job import ModelToBundle
from edge.pipeline.report import (
    KERAS_MODEL,
    Bounds,
    FailedVariant,
    Reference,
    StandIn,
    VariantReport,
)
from edge.progress import Progress
from edge.runtime.files import sha256_file, write_json
from edge.runtime.output import PROBABILITIES, OutputSpec
from edge.runtime.postprocess import answers
from edge.runtime.preprocess import load
from edge.runtime.session import encode_pixels
from edge.wording import counted

BYTES: Final = frozenset({Precision.INT8, Precision.MIXED})  # their answers may have 8 bits
WHOLE: Final = frozenset({Precision.INT8, Precision.W8A16})  # quantized from end to end


INTEGERS: Final = "integers.json"
ROUNDS: Final = 10  # two pairs each; a slow network gets fewer
MOST_SECONDS: Final = 4.0  # after which no further round begins


LONGEST_REASON: Final = 240  # characters
MOST_TIED: Final = 0.01  # of the images, whose best classes share a score before that is said


def reference_score(
    scores: NDArray[np.float32],
    pictures: Sequence[Picture],
    output: OutputSpec = PROBABILITIES,
    truth: LabelTruth | None = None,
    *,
    of: str = KERAS_MODEL,
    stand_in: StandIn | None = None,
) -> Reference:
    """Score the model that the files are held against, and compare it with guessing.

    Args:
        scores: (images, classes) of the Keras model, or of an adopted file.
        pictures: The images.
        output: What the scores mean.
        truth: Which labels hold, where they do not exclude one another.
        of: Whose scores these are.
        stand_in: The file that was run in the place of the Keras model.
    """
    classes = known_classes(pictures, output)
    scored = score(scores, classes, output=output)
    rows = [row for row, label in enumerate(classes) if label is not None]
    labels = np.array([classes[row] for row in rows], np.int64)
    right = agreement(answers(scores[rows], output), labels) if rows else None
    several = multi_label_score(scores, truth, output) if truth else None
    interval = None
    if several is not None:
        assert truth is not None  # it was scored by it
        interval = map_intervals([scores], truth, CONFIDENCE)[0]
    return Reference(
        images=scored.images,
        labelled=scored.labelled if several is None else several.images,
        top1=scored.top1,
        top5=scored.top5,
        multi_label=several,
        map_interval=None if interval is None else (interval.low, interval.high),
        top1_interval=None if right is None else (right.interval.low, right.interval.high),
        chance=None if right is None else right.chance,
        level=None if right is None else right.level,
        exchanged=exchanged(labels, answers(scores[rows], output)) if rows else (),
        flat=is_flat(scores, output),
        constant=is_constant(scores, None, output),
        of=of,
        stand_in=stand_in,
    )


def first_sentence(text: str) -> str:
    """Return the first sentence of a message in one line, cut at ``LONGEST_REASON`` characters.

    Converters append traces and lists of operators to theirs; only whole words are kept.
    """
    whole = " ".join(text.split())
    sentence = re.split(r"(?<=[\w)\]'\"])[.!](?=\s+[A-Z])", whole, maxsplit=1)[0].rstrip(".")
    if len(sentence) <= LONGEST_REASON:
        return sentence
    return sentence[: LONGEST_REASON + 1].rsplit(" ", 1)[0].rstrip(",;:") + " ..."


class Failures:
    """Keeps the files that cannot be written or run, and ends the job for one that must be.

    Args:
        required: The names of the variants that must be written.
        note: Told of each of the others.
    """

    def __init__(self, required: Collection[str], note: Callable[[str], None]) -> None:
        self._required = required
        self._note = note
        self._errors: list[EdgeError] = []
        self.noted: list[FailedVariant] = []

    def __call__(self, target: Target, error: EdgeError) -> None:
        """Note one.

        Raises:
            ConversionError: It is required.
        """
        reason = first_sentence(error.message)
        if target.name in self._required:
            raise ConversionError(
                f"{target.name} cannot be made: {reason}",
                hint=error.hint or "Leave it out of --variants, and the others are written.",
            ) from error
        self._errors.append(error)
        self.noted.append(FailedVariant(name=target.name, reason=reason, hint=error.hint))
        self._note(f"{target.name} cannot be made, and the bundle is made without it")

    def check(self, written: Sequence[object]) -> None:
        """Refuse a bundle without any file.

        Raises:
            ConversionError: Not one is left.
        """
        if not written:
            reasons = dict.fromkeys(item.reason for item in self.noted)
            raise ConversionError(
                f"none of the variants can be made: {'; '.join(reasons)}", hint=self.noted[0].hint
            ) from self._errors[0]


def known_classes(pictures: Sequence[Picture], output: OutputSpec) -> list[int | None]:
    """Return the class of each image; None where labels do not exclude one another."""
    return [None if output.multi_label else picture.label for picture in pictures]


def score_variants(
    subject: ModelToBundle,
    converted: Sequence[Converted],
    reference: NDArray[np.float32] | None,
    *,
    cache: StageCache,
    progress: Progress,
    failed: Callable[[Target, EdgeError], None],
    decode: Decode = load,
) -> tuple[tuple[VariantReport, ...], Turns]:
    """Run every file over every held-out image, then time all of them in turn.

    Args:
        subject: The model and its images.
        converted: The files.
        reference: (images, classes) scores of the Keras model; None for an adopted file, which
            was made from none that is known.
        cache: Where answers are kept.
        progress: Told of two stages.
        failed: Told of each file that does not load, does not run or answers with NaN; such a
            file has no report.
        decode: Gives the pixels of an image; see ``kept_pixels``.
    """
    tables = _answer_tables(subject, converted, cache, progress, failed, decode)
    turns = timed_in_turn(subject, [item for item, _ in tables], progress)
    truth = known_classes(subject.pictures, subject.output)
    reports = tuple(
        variant_report(
            item.target.name,
            table,
            truth,
            reference,
            subject.output,
            subject.truth,
            **file_facts(item, turns.benchmarks[item.target.name], cache),
        )
        for item, table in tables
    )
    return reports, turns


def timed_in_turn(
    subject: ModelToBundle, converted: Sequence[Converted], progress: Progress
) -> Turns:
    """Time the files of a bundle in turn on a held-out image, with one thread.

    Raises:
        InferenceError: A model fails.
    """
    preprocessing = subject.preprocessing
    sample = load(subject.pictures[0].path, preprocessing)
    files = {
        item.target.name: TimedFile(
            path=item.path,
            make_input=lambda spec: encode_pixels(sample, spec, preprocessing.encoding),
        )
        for item in converted
    }
    with progress.stage("latency", ROUNDS) as step:
        return in_turn(files, BLOCK, ROUNDS, step=step, max_seconds=MOST_SECONDS)


def file_facts(item: Converted, latency: Benchmark, cache: StageCache) -> dict[str, Any]:
    """Return what a variant's report says of a file whatever it answers: size, time, integers.

    Args:
        item: The file.
        latency: Its times.
        cache: Where the count of its operators is kept.
    """
    integers = _integer_share(item, cache)
    note = integers.note if item.target.precision in WHOLE else ""
    return {
        "latency_ms": latency.median * 1e3,
        "latency": latency.to_json(),
        "size_bytes": item.path.stat().st_size,
        "convert_seconds": item.seconds,
        "notes": (*item.notes, note) if note else item.notes,
        **asdict(integers.counted),
    }


def _answer_tables(
    subject: ModelToBundle,
    converted: Sequence[Converted],
    cache: StageCache,
    progress: Progress,
    failed: Callable[[Target, EdgeError], None],
    decode: Decode,
) -> list[tuple[Converted, NDArray[np.float32]]]:
    """Return the files that run, with their (images, classes) scores."""
    tables = []
    with progress.stage("score", len(converted) * len(subject.pictures)) as step:
        for item in converted:
            try:
                table = predictions(
                    item.path,
                    subject.pictures,
                    subject.preprocessing,
                    cache=cache,
                    head=subject.head,
                    output=subject.output,
                    step=step,
                    decode=decode,
                )
            except (InferenceError, ModelLoadError) as error:
                failed(item.target, error)
            else:
                tables.append((item, table))
    return tables


@dataclass(frozen=True, slots=True, kw_only=True)
class IntegerCounts:
    """How much of a file is computed on integers; see ``VariantReport``."""

    quantized_share: float | None
    quantized_operators: int | None
    operators: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class IntegerShare:
    """``integers.json``: the counts, and a sentence where they are too low, or nothing."""

    counted: IntegerCounts
    note: str


def _integer_share(item: Converted, cache: StageCache) -> IntegerShare:
    """Return what of a file is computed on integers.

    It is kept: a build that comes from the cache need not import what reads ONNX files.
    """
    parts = {"file": sha256_file(item.path), "edge": edge.__version__}
    key = content_key("integers", parts)
    if cache.find(key) is None:
        inside = inspect_model(item.path)
        counted = IntegerCounts(
            quantized_share=inside.quantized_share,
            quantized_operators=inside.quantized_operators,
            operators=inside.computing_operators,
        )
        share = IntegerShare(counted=counted, note=inside.float_note(item.target.name))
        with cache.store(key) as folder:
            write_json(folder / INTEGERS, asdict(share))
    value = json.loads(sealed_bytes(cache.entry(key) / INTEGERS))
    return schema.from_json(IntegerShare, value, INTEGERS, error=ConversionError)


def variant_report(
    name: str,
    table: NDArray[np.float32],
    truth: Sequence[int | None],
    reference: NDArray[np.float32] | None,
    output: OutputSpec = PROBABILITIES,
    several: LabelTruth | None = None,
    **facts: Any,
) -> VariantReport:
    """Return the report of one file out of its answers.

    Args:
        name: The name of the variant.
        table: (images, classes) scores of the file.
        truth: The class index of each image, or None.
        reference: (images, classes) scores of the Keras model; None where there is none.
        output: What the scores mean.
        several: Which labels hold, where they do not exclude one another.
        facts: Fields that need no answers: size, latency, seconds, notes.
    """
    scored = score(table, truth, reference, output)
    alike = None
    if reference is not None:
        alike = agreement(answers(table, output), answers(reference, output))
        if note := _tie_note(name, table, reference, output):
            facts["notes"] = (*facts.get("notes", ()), note)
    if reference is None:
        drop, interval = None, None
    elif several is None:
        drop, interval = _drop(table, reference, truth, output)
    else:
        drop, interval = _map_drop(table, reference, several)
    return VariantReport(
        name=name,
        path=f"models/{TARGETS[name].filename}",
        top1=scored.top1,
        top1_interval=_bounds(scored),
        top5=scored.top5,
        drop_points=drop,
        drop_interval=interval,
        agreement=scored.agreement,
        agreement_interval=None if alike is None else (alike.interval.low, alike.interval.high),
        chance_agreement=None if alike is None else alike.chance,
        agreement_level=None if alike is None else alike.level,
        constant=is_constant(table, reference, output),
        multi_label=multi_label_score(table, several, output) if several else None,
        **facts,
    )


def _tie_note(
    name: str, table: NDArray[np.float32], reference: NDArray[np.float32], output: OutputSpec
) -> str:
    """Say that answers are chosen among equal scores, where that is so of more than a few."""
    if output.multi_label or TARGETS[name].precision not in BYTES:
        return ""
    count = tied(table, reference)
    if count <= max(1, MOST_TIED * len(table)) or is_constant(table, reference, output):
        return ""
    return (
        f"{name}: for {count} of {counted(len(table), 'image')} several classes share the best "
        "score, and the first of them is the answer: its 8-bit answers are too coarse to tell them "
        "apart"
    )


def _map_drop(
    table: NDArray[np.float32], reference: NDArray[np.float32], truth: LabelTruth
) -> tuple[float | None, Bounds | None]:
    """Return the percentage points of mAP lost against the reference, and their interval."""
    before, after = (mean_average_precision(scores, truth) for scores in (reference, table))
    if before is None or after is None:
        return None, None
    interval = map_intervals([reference, table], truth, CONFIDENCE)[2]
    bounds = (
        None if interval is None else (round(100 * interval.low, 6), round(100 * interval.high, 6))
    )
    return round(100 * (before - after), 6), bounds


def _bounds(scored: Score) -> Bounds | None:
    if scored.top1 is None:
        return None
    interval = share_interval(round(scored.top1 * scored.labelled), scored.labelled)
    assert interval is not None  # there is a labelled image
    return interval.low, interval.high


def _drop(
    table: NDArray[np.float32],
    reference: NDArray[np.float32],
    truth: Sequence[int | None],
    output: OutputSpec,
) -> tuple[float | None, Bounds | None]:
    """Return the percentage points of top-1 lost against the reference, and their interval.

    They are rounded, so that a difference of binary fractions is not a loss.
    """
    labels = np.array([-1 if label is None else label for label in truth])
    known = labels >= 0
    if not known.any():
        return None, None
    before, after = (
        answers(scores[known], output) == labels[known] for scores in (reference, table)
    )
    lost, gained = int((before & ~after).sum()), int((after & ~before).sum())
    images = int(known.sum())
    interval = drop_interval(images, lost, gained, CONFIDENCE)
    return (
        round(100 * (lost - gained) / images, 6),
        (round(100 * interval.low, 6), round(100 * interval.high, 6)),
    )
