"""Labels that do not exclude one another: which hold in a picture, and how well a model tells.

The truth is a CSV file with a header, in one of the two usual forms of data sets::

    file,labels                      file,circle,red,square
    a.png,circle|red                 a.png,1,1,0
    b.png,                           b.png,0,0,0

The scores are the usual ones: average precision of each label and its mean (mAP), precision,
recall and F1 at the thresholds, the share of pictures whose set of labels is right as a whole,
and the share of single labels that are wrong (Hamming loss).
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Final

import numpy as np
from numpy.typing import NDArray

from edge.dataset.layout import normal
from edge.dataset.pictures import Picture, pictures_root
from edge.dataset.tables import check_cells, file_name, name_below, read_table
from edge.errors import DataError, UsageError
from edge.evaluation.confidence import Interval
from edge.runtime.output import OutputSpec
from edge.runtime.postprocess import holding

UNKNOWN: Final = -1  # it is not known whether a label holds in a picture
MAX_TRUTH: Final = 256 << 20  # bytes
RESAMPLES: Final = 1000
FEW: Final = 10  # pictures in which a label holds; fewer tell hardly anything
SEED: Final = 0  # the seed of the bootstrap: the same pictures give the same interval
_YES: Final = frozenset({"1", "1.0", "true", "yes"})
SUFFIXES: Final = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".gif", ".webp", ".tif", ".tiff"})
_NO: Final = frozenset({"0", "0.0", "false", "no", ""})
FORMS: Final = (
    "Its first line names the columns: file,labels with labels as circle|red, or file and one "
    "column of 0 and 1 per label."
)


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelTruth:
    """Which labels hold in some pictures, as far as that is known.

    Attributes:
        labels: The names, in the order of the model.
        table: (pictures, labels) int8: 1 where the label holds, 0 where not, or ``UNKNOWN``.
    """

    labels: tuple[str, ...]
    table: NDArray[np.int8]

    @property
    def known(self) -> list[bool]:
        """Whether anything is known of each picture."""
        known: list[bool] = (self.table != UNKNOWN).any(axis=1).tolist()
        return known

    def of(self, rows: Sequence[int]) -> "LabelTruth":
        """Return what is known of some of the pictures."""
        return LabelTruth(labels=self.labels, table=self.table[rows])


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelScore:
    """The scores of one label, on the pictures where it is known.

    Attributes:
        label: The name of the label.
        images: The number of pictures where it is known.
        positives: The number of pictures where it holds.
        threshold: The probability from which on the model says that it holds.
        average_precision: The area under precision over recall, 0..1; None if it never holds.
        precision: The share of pictures where it holds, among those where the model says so, 0..1.
        recall: The share of pictures where the model says so, among those where it holds, 0..1.
        f1: The harmonic mean of the two, 0..1; None if it never holds and the model never says so.
    """

    label: str
    images: int
    positives: int
    threshold: float
    average_precision: float | None
    precision: float | None
    recall: float | None
    f1: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class MultiLabelScore:
    """The scores of all labels of a model together.

    Attributes:
        images: The number of pictures with a known label.
        mean_average_precision: The mean over the labels that hold somewhere, 0..1 (mAP).
        chance: The mAP of guessing, which is the mean of how often these labels hold, 0..1.
        macro_f1: The mean F1 of the labels, 0..1.
        micro_f1: The F1 of all labels of all pictures together, 0..1.
        subset_accuracy: The share of pictures whose whole set of labels is right, 0..1.
        hamming_loss: The share of single labels that are wrong, 0..1.
        labels: The scores of each label.
    """

    images: int
    mean_average_precision: float | None
    chance: float | None
    macro_f1: float | None
    micro_f1: float | None
    subset_accuracy: float | None
    hamming_loss: float | None
    labels: tuple[LabelScore, ...]


def multi_label_score(
    scores: NDArray[np.float32], truth: LabelTruth, output: OutputSpec
) -> MultiLabelScore | None:
    """Score (pictures, labels) probabilities; return None if nothing is known of any picture.

    Args:
        scores: (pictures, labels), float32.
        truth: What is known of the same pictures.
        output: What the scores mean, with the thresholds.
    """
    known = truth.table != UNKNOWN
    rows = known.any(axis=1)
    if not rows.any():
        return None
    said, holds = holding(scores, output), truth.table == 1
    by_label = tuple(
        _label_score(
            label,
            scores[known[:, column], column],
            said[known[:, column], column],
            holds[known[:, column], column],
            output.thresholds[column],
        )
        for column, label in enumerate(truth.labels)
    )
    whole = known.all(axis=1)
    right = int((said & holds & known).sum())
    wrong = int(((said != holds) & known).sum())
    return MultiLabelScore(
        images=int(rows.sum()),
        mean_average_precision=_mean([item.average_precision for item in by_label]),
        chance=_mean([_share(item.positives, item.images) for item in by_label if item.positives]),
        macro_f1=_mean([item.f1 for item in by_label]),
        micro_f1=_share(2 * right, 2 * right + wrong),
        subset_accuracy=(
            float((said[whole] == holds[whole]).all(axis=1).mean()) if whole.any() else None
        ),
        hamming_loss=_share(wrong, int(known.sum())),
        labels=by_label,
    )


def _label_score(
    label: str,
    scores: NDArray[np.float32],
    said: NDArray[np.bool_],
    holds: NDArray[np.bool_],
    threshold: float,
) -> LabelScore:
    right = int((said & holds).sum())
    return LabelScore(
        label=label,
        images=len(holds),
        positives=int(holds.sum()),
        threshold=threshold,
        average_precision=_average_precision(holds, scores),
        precision=_share(right, int(said.sum())),
        recall=_share(right, int(holds.sum())),
        f1=_share(2 * right, int(said.sum()) + int(holds.sum())),
    )


def _average_precision(holds: NDArray[np.bool_], scores: NDArray[np.float32]) -> float | None:
    if not holds.any():
        return None
    from sklearn.metrics import average_precision_score

    return float(average_precision_score(holds, scores))


def mean_average_precision(scores: NDArray[np.float32], truth: LabelTruth) -> float | None:
    """Return the mAP of (pictures, labels) scores, 0..1; None if no label holds anywhere."""
    known = truth.table != UNKNOWN
    return _mean(
        [
            _average_precision(
                truth.table[known[:, column], column] == 1, scores[known[:, column], column]
            )
            for column in range(len(truth.labels))
        ]
    )


def map_intervals(
    tables: Sequence[NDArray[np.float32]], truth: LabelTruth, confidence: float
) -> tuple[Interval | None, ...]:
    """Bootstrap intervals of the mAP of each table, and then of the first less the second.

    The pictures are drawn again with replacement, the same ones for all tables (paired), and the
    percentiles are taken (Efron 1979). Labels that hold in no drawn picture do not count in a draw.
    """
    rows = np.flatnonzero((truth.table != UNKNOWN).any(axis=1))
    random = np.random.default_rng(SEED)
    drawn = []
    for _ in range(RESAMPLES):
        picked = rows[random.integers(0, len(rows), len(rows))]
        values = [_fast_map(table[picked], truth.table[picked]) for table in tables]
        if not any(value is None for value in values):
            drawn.append(values)
    if not drawn:
        return (None,) * (len(tables) + (len(tables) > 1))
    series = np.array(drawn, float).T
    intervals = [_percentiles(values, confidence) for values in series]
    if len(tables) > 1:
        intervals.append(_percentiles(series[0] - series[1], confidence))
    return tuple(intervals)


def _fast_map(scores: NDArray[np.float32], truth: NDArray[np.int8]) -> float | None:
    """Do as ``mean_average_precision``, without the checks, which take a minute in a bootstrap."""
    averages = []
    for column in range(truth.shape[1]):
        known = truth[:, column] != UNKNOWN
        holds, values = truth[known, column] == 1, scores[known, column]
        if not holds.any():
            continue
        order = np.argsort(-values, kind="stable")
        hits = np.cumsum(holds[order])
        ends = np.append(np.flatnonzero(np.diff(values[order])), len(values) - 1)  # of equal scores
        steps = np.diff(hits[ends], prepend=0)
        averages.append(float((steps * hits[ends] / (ends + 1)).sum() / hits[-1]))
    return _mean(averages)


def _percentiles(values: NDArray[np.float64], confidence: float) -> Interval:
    low, high = np.quantile(values, [(1 - confidence) / 2, (1 + confidence) / 2])
    return Interval(float(low), float(high))


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None


def _share(part: int, of: int) -> float | None:
    return part / of if of else None


def few_positives(positives: Mapping[str, int], images: int) -> list[str]:
    """Return a note on labels that hold in too few pictures for their scores to tell much.

    Args:
        positives: The number of pictures in which each label holds.
        images: The number of pictures that are known.
    """
    few = [label for label, count in positives.items() if count < FEW]
    if not few:
        return []
    fewest = min(few, key=positives.__getitem__)
    return [
        f"{len(few)} of {len(positives)} labels hold in fewer than {FEW} of the {images} pictures "
        f"({fewest}: {positives[fewest]}), so that their average precision, recall and F1 are "
        "hardly known"
    ]


def label_truth(
    output: OutputSpec,
    labels: tuple[str, ...],
    pictures: Sequence[Picture],
    path: Path | None,
    directory: Path,
) -> LabelTruth | None:
    """Return the truth if labels do not exclude one another; None for other models.

    Raises:
        UsageError: A truth is given to a model of classes that exclude one another; see
            ``truth_of``.
        DataError: See ``truth_of``.
    """
    if output.multi_label:
        return truth_of(pictures, labels, path, directory)
    if path is not None:
        raise UsageError(
            "--truth is for labels that do not exclude one another; this model answers with one "
            "class",
            hint="Leave out --truth, and put each picture into the folder of its class.",
        )
    return None


def truth_of(
    pictures: Sequence[Picture], labels: tuple[str, ...], path: Path | None, directory: Path
) -> LabelTruth:
    """Return which labels hold in each picture.

    Args:
        pictures: The pictures, in the order of the rows.
        labels: The labels of the model.
        path: The CSV file; None if the folder that a picture lies in names its only label.
        directory: The folder that was searched for pictures; names in the file may start there.

    Raises:
        UsageError: The file cannot be read, or a line of it is wrong.
        DataError: It names none of the pictures.
    """
    table = np.full((len(pictures), len(labels)), UNKNOWN, np.int8)
    if path is None:
        for row, picture in enumerate(pictures):
            if picture.label is not None:
                table[row] = np.arange(len(labels)) == picture.label
        return LabelTruth(labels=labels, table=table)
    stated = read_truth(path, labels)
    roots = (directory, pictures_root(directory), path.parent)
    by_name: dict[str, list[tuple[int, ...]]] = {}
    for name, values in stated.items():
        by_name.setdefault(PurePosixPath(name).name, []).append(values)
    for position, picture in enumerate(pictures):
        names = [name_below(picture.path, root) for root in roots]
        rows = [stated[name] for name in names if name in stated]
        rows = rows or by_name.get(normal(picture.path.name), [])
        if len(rows) > 1 and len(set(rows)) > 1:
            raise UsageError(
                f"{path} names several pictures {picture.path.name!r} with different labels",
                hint="Write the path of each picture below the folder.",
            )
        if rows:
            table[position] = rows[0]
    if (table == UNKNOWN).all():
        raise DataError(
            f"{path} names none of the {len(pictures)} pictures in {directory}",
            hint="The first column holds each picture's name, or its path below the folder.",
        )
    return LabelTruth(labels=labels, table=table)


def read_truth(path: Path, labels: Sequence[str]) -> Mapping[str, tuple[int, ...]]:
    """Read 1, 0 or ``UNKNOWN`` for each label, by the path or the name of each picture.

    Raises:
        UsageError: The file cannot be read, or a line of it is wrong.
    """
    lines = read_table(path, "the truth", max_bytes=MAX_TRUTH, hint=FORMS).rows
    header = lines[0][1]
    wanted = [normal(label) for label in labels]
    by_column = set(wanted) <= set(header[1:])
    if not by_column and len(header) != 2:
        missing = [label for label in wanted if label not in header]
        raise UsageError(f"{path} has no column for the label {missing[0]!r}", hint=FORMS)
    if by_column or PurePosixPath(header[0]).suffix.lower() not in SUFFIXES:
        lines = lines[1:]
    stated: dict[str, tuple[int, ...]] = {}
    for number, row in lines:
        where = f"line {number} of {path}"
        check_cells(row, header, where)
        values = _by_column(row, header, wanted, where) if by_column else _named(row, wanted, where)
        name = file_name(row[0])
        if stated.setdefault(name, values) != values:
            raise UsageError(f"{where} names {row[0]!r} again, with other labels")
    return stated


def _by_column(
    row: Sequence[str], header: Sequence[str], labels: Sequence[str], where: str
) -> tuple[int, ...]:
    values = []
    for label in labels:
        cell = row[header.index(label, 1)].lower()
        if cell in ("-1", "-1.0", "?"):  # data sets of chest X-rays write so for "uncertain"
            values.append(UNKNOWN)
        elif cell in _YES or cell in _NO:
            values.append(int(cell in _YES))
        else:
            raise UsageError(
                f"{where} says {cell!r} of {label!r}", hint="Write 1, 0, or -1 for not known."
            )
    return tuple(values)


def _named(row: Sequence[str], labels: Sequence[str], where: str) -> tuple[int, ...]:
    cell = row[1]
    parts = [cell] if cell in labels else [part.strip() for part in re.split(r"[|;,]", cell)]
    if len(parts) == 1 and parts[0] not in labels:
        parts = parts[0].split()
    for part in parts:
        if part and part not in labels:
            raise UsageError(
                f"{where} has the label {part!r}, which the model has not",
                hint=f"Its labels are {', '.join(labels[:8])}{' ...' if len(labels) > 8 else ''}.",
            )
    return tuple(int(label in parts) for label in labels)
