"""How often a comparison of detectors by annotations is wrong, by simulation; see ``simulate``.

    EDGE_TEST_DATA=DATA python tests/performance/task_gate.py [--comparisons 200] [--pictures 100]

A real detector (YOLOX nano) answers pictures of cats and dogs. Its own answers, each kept with the
probability that it states and with its box moved a little, are the annotations. Both sides are
these answers with independent noise of zero mean in the logits and corners; of the candidate's
objects a share may be lost.

Without a loss the sides are equally good, so that every verdict "fail" is a false one. There are at
most 2.5 % of them for each check, which is what an interval of 95 % leaves on one side.
"""

import argparse
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import numpy as np
from support.script import Report, Script, data_with

from edge.comparison.judge import judge
from edge.comparison.policy import task_policy
from edge.comparison.result import Check
from edge.comparison.task_metrics import TaskEvidence
from edge.comparison.task_scores import scored_sides
from edge.dataset.pictures import Picture
from edge.dataset.truth import PictureTruth, TrueBox
from edge.evaluation.task_agreement import agreements
from edge.evaluation.tasks.detection import DetectionMetric
from edge.runtime.tasks.results import Detection, Detections

LOGIT_NOISE: Final = 0.7  # standard deviation; int8 files of YOLOX nano are far quieter
BOX_NOISE: Final = 0.04  # of a box's width and height
LABELS: Final = ("cat", "dog")
CLASSES: Final = {15: 0, 16: 1}  # of COCO's 80
MODEL: Final = "models/tasks/yolox_nano.onnx"
DOGS_VS_CATS: Final = "images/dogs-vs-cats"
MOST_ALARMS: Final = 2.5  # % of the comparisons


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """A picture's answer and what is taken as its annotation."""

    objects: tuple[Detection, ...]
    boxes: tuple[TrueBox, ...]


def scene(objects: Sequence[Detection], random: np.random.Generator) -> Scene:
    """Draw the annotation of a picture from a detector's answer."""
    boxes = [
        TrueBox(
            index=moved.index,
            left=moved.left,
            top=moved.top,
            right=moved.right,
            bottom=moved.bottom,
        )
        for item in objects
        if random.random() < item.score
        for moved in [_moved(item, random)]
    ]
    return Scene(objects=tuple(objects), boxes=tuple(boxes))


def _moved(item: Detection, random: np.random.Generator) -> Detection:
    width, height = item.right - item.left, item.bottom - item.top
    left, top, right, bottom = random.normal(0, BOX_NOISE, 4)
    return replace(
        item,
        left=item.left + left * width,
        right=item.right + right * width,
        top=item.top + top * height,
        bottom=item.bottom + bottom * height,
    )


def _noisy(objects: Sequence[Detection], random: np.random.Generator, lost: float) -> Detections:
    found = []
    for item in objects:
        if random.random() < lost:
            continue
        logit = np.log(item.score / (1 - item.score)) + random.normal(0, LOGIT_NOISE)
        found.append(replace(_moved(item, random), score=float(1 / (1 + np.exp(-logit)))))
    return Detections(items=tuple(sorted(found, key=lambda item: -item.score)))


def compared(scenes: Sequence[Scene], pictures: int, seed: int, lost: float) -> tuple[Check, ...]:
    """Draw pictures and noise, and judge by the built-in policy for annotated pictures."""
    random = np.random.default_rng(seed)
    drawn = [scenes[number] for number in random.integers(0, len(scenes), pictures)]
    truth = [
        PictureTruth(
            picture=Picture(path=Path(str(number)), sha256=str(number)),
            width=1,
            height=1,
            boxes=item.boxes,
        )
        for number, item in enumerate(drawn)
    ]
    metric = DetectionMetric(LABELS, 0.3)
    first = [_noisy(item.objects, random, 0.0) for item in drawn]
    second = [_noisy(item.objects, random, lost) for item in drawn]
    records = (metric.records(truth, first), metric.records(truth, second))
    evidence = TaskEvidence(
        sizes=(1, 1),
        identical=False,
        confidence=0.95,
        agreements=agreements(first, second),
        scored=scored_sides(metric, records, pictures),
    )
    return judge(task_policy(annotated=True), evidence)


def simulate(
    scenes: Sequence[Scene], *, pictures: int, comparisons: int, lost: float = 0.0, seed: int = 0
) -> dict[str, Counter[str]]:
    """Return how often each check of the built-in policy has each verdict.

    Args:
        scenes: What pictures are drawn from.
        pictures: How many are drawn for a comparison.
        comparisons: How many comparisons.
        lost: The share of its objects that the candidate loses.
        seed: The seed of the first; each has the next one.
    """
    counts: dict[str, Counter[str]] = {}
    for number in range(comparisons):
        for check in compared(scenes, pictures, seed + number, lost):
            counts.setdefault(check.metric, Counter())[str(check.verdict)] += 1
    return counts


def real_scenes(model: Path, folder: Path, most: int) -> list[Scene]:
    """Let a detector of COCO's classes answer so many pictures of cats and dogs."""
    from edge.evaluation.tasks.answers import scoring
    from edge.identification.identify import identify
    from edge.identification.model import StatedModel
    from edge.runtime.preprocess import load_placed
    from edge.runtime.session import open_session
    from edge.runtime.tasks.model import TaskModel

    known = identify(model, StatedModel())
    assert known.decoder is not None
    decoder = scoring(known.decoder)
    running = TaskModel(open_session(model), known.labels, known.preprocessing, decoder)
    random = np.random.default_rng(99)
    found = []
    paths = sorted(folder.rglob("*.jpg"))
    for path in paths[:: -(-len(paths) // most)]:
        answer = running.predict_pixels(load_placed(path, known.preprocessing))
        assert isinstance(answer, Detections)
        kept = [
            replace(item, index=CLASSES[item.index])
            for item in answer.items
            if item.index in CLASSES and item.score > 0.01
        ]
        found.append(scene(kept, random))
    return found


def main() -> int:
    """Measure and print; see ``support.script`` for the exit codes."""
    script = Script(__doc__)
    script.amount("--comparisons", 200, 2, "that are simulated")
    script.amount("--pictures", 100, 10, "of each comparison")
    script.amount("--answered", 600, 20, "pictures that the detector answers, at most")
    script.amount("--lost", 0.0, 0.0, "share of its objects that the candidate loses")
    return script.run(_measure)


def _measure(options: argparse.Namespace, report: Report) -> None:
    data = data_with(MODEL, DOGS_VS_CATS)
    found = simulate(
        real_scenes(data / MODEL, data / DOGS_VS_CATS, options.answered),
        pictures=options.pictures,
        comparisons=options.comparisons,
        lost=options.lost,
    )
    for metric, counts in found.items():
        report.say(f"{metric} {dict(counts)}")
        if not options.lost:
            share = 100 * counts["fail"] / options.comparisons
            report.bar(f"false alarms of {metric}", share, at_most=MOST_ALARMS, unit="%")
    report.figures.update({metric: dict(counts) for metric, counts in found.items()})


if __name__ == "__main__":
    sys.exit(main())
