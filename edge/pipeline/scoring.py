"""Scores and times every written file on the held-out images."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from benchmarks.harness import measure
from benchmarks.timing import Protocol
from edge.cache import StageCache
from edge.dataset.pictures import Picture
from edge.errors import NegativeVerdict
from edge.evaluation.predictions import predictions
from edge.evaluation.score import score
from edge.pipeline.conversion import Converted
from edge.pipeline.report import VariantReport
from edge.progress import Progress
from edge.runtime.head import Head
from edge.runtime.preprocess import load
from edge.runtime.session import encode_pixels
from edge.runtime.spec import Preprocessing

LATENCY: Final = Protocol(runs=30, min_seconds=0.5, max_seconds=10.0)
MAX_DROP_POINTS: Final = 1.0  # of top-1 that the default variant may lose
MAX_CHANGED_POINTS: Final = 3.0  # of answers that it may change where no image has a label


def reference_score(scores: NDArray[np.float32], pictures: Sequence[Picture]) -> dict[str, Any]:
    """The Keras model's own score, for the report."""
    found = asdict(score(scores, [picture.label for picture in pictures]))
    del found["agreement"]
    return found


def score_variants(
    converted: Sequence[Converted],
    pictures: Sequence[Picture],
    reference: NDArray[np.float32],
    preprocessing: Preprocessing,
    *,
    head: Head | None,
    cache: StageCache,
    progress: Progress,
) -> tuple[VariantReport, ...]:
    """Every file over every held-out image, then its latency alone on the machine.

    Args:
        converted: The files.
        pictures: Held-out images; readable.
        reference: (images, classes) scores of the Keras model.
        preprocessing: The contract.
        head: Of files that answer with embeddings.
        cache: Where answers are kept.
        progress: Shown two stages.
    """
    truth = [picture.label for picture in pictures]
    base = score(reference, truth).top1
    tables = []
    with progress.stage("score", len(converted) * len(pictures)) as step:
        for item in converted:
            table = predictions(
                item.path, pictures, preprocessing, cache=cache, head=head, step=step
            )
            tables.append(table)
    sample = load(pictures[0].path, preprocessing)
    reports = []
    with progress.stage("latency", len(converted)) as step:
        for item, table in zip(converted, tables, strict=True):
            latency = measure(
                item.path,
                lambda spec: encode_pixels(sample, spec, preprocessing.value_range),
                LATENCY,
            )
            found = score(table, truth, reference)
            drop = _points(base, found.top1)
            reports.append(
                VariantReport(
                    name=item.target.name,
                    path=f"models/{item.target.filename}",
                    size_bytes=item.path.stat().st_size,
                    top1=found.top1,
                    top5=found.top5,
                    drop_points=drop,
                    agreement=found.agreement,
                    latency_ms=latency.median * 1e3,
                    latency=latency.to_json(),
                    convert_seconds=item.seconds,
                    notes=item.notes,
                )
            )
            step(1)
    return tuple(reports)


def _points(base: float | None, top1: float | None) -> float | None:
    """Percentage points lost; rounded, so that a difference of binary fractions is not a loss."""
    return None if base is None or top1 is None else round(100 * (base - top1), 6)


def check_budget(variants: Sequence[VariantReport], max_drop_points: float | None) -> None:
    """Refuse to deliver a mixed file that loses more than was asked for.

    Raises:
        NegativeVerdict: On all held-out images, not only those of the search, it does.
    """
    if max_drop_points is None:
        return
    for variant in variants:
        if variant.name.endswith("-mixed") and not _holds(variant, max_drop_points):
            raise NegativeVerdict(
                f"{variant.name} loses {_lost(variant):.2f} points, more than --max-drop "
                f"{max_drop_points:g} allows",
                hint="Search anew with --quantize auto, allow more, or use fp16.",
            )


def choose_default(variants: Sequence[VariantReport], max_drop_points: float | None = None) -> str:
    """The variant that runs unless another is named: the smallest TFLite that lost next to nothing.

    The first variant, which is the most precise one written, if all lost more.
    """
    by_name = {variant.name: variant for variant in variants}
    for name in ("tflite-int8", "tflite-mixed", "tflite-fp16", "tflite-fp32"):
        if name in by_name and _holds(by_name[name], max_drop_points):
            return name
    return variants[0].name


def _holds(variant: VariantReport, max_drop_points: float | None) -> bool:
    """Whether it loses no more than the budget, or than is next to nothing without one."""
    usual = MAX_DROP_POINTS if variant.drop_points is not None else MAX_CHANGED_POINTS
    return _lost(variant) <= (usual if max_drop_points is None else max_drop_points)


def _lost(variant: VariantReport) -> float:
    """Percentage points of top-1; without labels, of images that are answered otherwise."""
    if variant.drop_points is not None:
        return variant.drop_points
    assert variant.agreement is not None  # there is always the Keras model to agree with
    return round(100 * (1 - variant.agreement), 6)
