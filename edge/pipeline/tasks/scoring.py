"""Runs every file of a model that is no classifier, and holds it against what it was made of."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from converters.base import TARGETS, Target
from converters.task_judge import agreement, shares
from edge.cache import StageCache
from edge.errors import EdgeError, InferenceError, ModelLoadError
from edge.pipeline.conversion import Converted
from edge.pipeline.job import ModelToBundle
from edge.pipeline.report import Bounds
from edge.pipeline.scoring import file_facts
from edge.pipeline.tasks.report import TaskVariant
from edge.progress import Progress, Step
from edge.runtime.preprocess import load
from edge.runtime.session import open_session
from edge.runtime.tasks.model import TaskModel
from edge.runtime.tasks.results import Answer, Embedding, Segmentation

DRAWS = 1000  # of a bootstrap; the ends of the interval are then the 25th from either end


@dataclass(frozen=True, slots=True, kw_only=True)
class Answered:
    """What the files say of the held-out images.

    Attributes:
        reference: An answer of the float file, or of the adopted one, for each image.
        files: The files that run, each with its answers.
    """

    reference: tuple[Answer, ...]
    files: tuple[tuple[Converted, tuple[Answer, ...]], ...]


def answers_of(subject: ModelToBundle, path: Path, step: Step) -> tuple[Answer, ...]:
    """Return the answers of one file to the held-out images, in pixels of each.

    Raises:
        ModelLoadError: The file does not load.
        InferenceError: It fails on an image, or its outputs are not of the decoder's layout.
        ImageError: An image that could be read before no longer can.
    """
    assert subject.decoder is not None  # of a classifier, there are tables of scores
    model = TaskModel(open_session(path), subject.labels, subject.preprocessing, subject.decoder)
    answers = []
    for picture in subject.pictures:
        try:
            answers.append(model.predict(picture.path))
        except InferenceError as error:
            raise InferenceError(
                f"{path.name} on {picture.path.name}: {error.message}", hint=error.hint
            ) from error
        step(1)
    return tuple(answers)


def answer_all(
    subject: ModelToBundle,
    made: Sequence[Converted],
    reference: tuple[Answer, ...],
    *,
    progress: Progress,
    failed: Callable[[Target, EdgeError], None],
) -> Answered:
    """Run every file over every held-out image.

    Args:
        subject: The model and its images.
        made: The files.
        reference: The answers of the float file, or of the adopted one.
        progress: Told of the stage.
        failed: Told of each file that does not load, does not run or answers with NaN.
    """
    files = []
    with progress.stage("score", len(made) * len(subject.pictures)) as step:
        for item in made:
            if item is subject.adopted:
                step(len(reference))
                files.append((item, reference))
                continue
            try:
                files.append((item, answers_of(subject, item.path, step)))
            except (InferenceError, ModelLoadError) as error:
                failed(item.target, error)
    return Answered(reference=reference, files=tuple(files))


def score_all(
    subject: ModelToBundle, answered: Answered, seed: int, cache: StageCache, progress: Progress
) -> tuple[TaskVariant, ...]:
    """Return the report of each file, which is timed alone on the machine.

    Args:
        subject: The model and its images.
        answered: What the files say.
        seed: The seed of the bootstrap.
        cache: Where facts of the files are kept.
        progress: Told of the stage.
    """
    sample = load(subject.pictures[0].path, subject.preprocessing)
    variants = []
    with progress.stage("latency", len(answered.files)) as step:
        for item, answers in answered.files:
            facts = file_facts(item, sample, subject.preprocessing, cache)
            wanted = None if subject.adopted is not None else answered.reference
            variants.append(_variant(item, answers, wanted, seed, facts))
            step(1)
    return tuple(variants)


def _variant(
    item: Converted,
    answers: tuple[Answer, ...],
    wanted: tuple[Answer, ...] | None,
    seed: int,
    facts: Mapping[str, Any],
) -> TaskVariant:
    return TaskVariant(
        name=item.target.name,
        path=f"models/{TARGETS[item.target.name].filename}",
        agreement=None if wanted is None else agreement(wanted, answers),
        agreement_interval=None if wanted is None else _interval(wanted, answers, seed),
        found=sum(map(results, answers)),
        **facts,
    )


def _interval(wanted: Sequence[Answer], given: Sequence[Answer], seed: int) -> Bounds | None:
    """Return the 2.5 % and the 97.5 % quantile of the agreement, from a bootstrap over images.

    None for segments: their agreement is a mean over classes, not over images.
    """
    if isinstance(wanted[0], Segmentation):
        return None
    table = np.array([shares(*pair) for pair in zip(wanted, given, strict=True)])
    random = np.random.default_rng(seed)
    drawn = []
    for _ in range(DRAWS):
        alike, total = table[random.integers(0, len(table), len(table))].sum(axis=0)
        drawn.append(alike / total if total else 1.0)
    low, high = np.quantile(drawn, (0.025, 0.975))
    return round(float(low), 6), round(float(high), 6)


def results(answer: Answer) -> int:
    """Return how many results an answer has: objects, bodies, classes of pixels, or a vector."""
    if isinstance(answer, Embedding):
        return 1
    if isinstance(answer, Segmentation):
        return len(np.unique(answer.mask))
    return len(answer.items)
