"""What a taught bundle is worth: every picture is judged by what was taught without it.

Pictures of one press of the button are nearly the same picture. Where a class was taught in at
least two series, a picture is judged without its whole series ("press"); where it was not, without
itself alone ("picture"), which flatters, and is said to. The answers are exactly those of a head
that never saw what is left out; nothing is trained or approximated for it.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from edge.runtime.head import Head, normalised, votes
from edge.runtime.intervals import CONFIDENCE, normal_quantile, wilson
from edge.runtime.output import HeadKind
from edge.runtime.teach.assessment import (
    PICTURE,
    PRESS,
    Assessment,
    ClassAssessment,
    Doubt,
    TakenFor,
    held_out,
    note_of,
)
from edge.runtime.teach.taught import Taught

MOST_DOUBTS: Final = 12  # pictures that one looks at in a sitting
ALIKE: Final = 1e-5  # cosines of 32 bits that differ by less are equal but for rounding
ROUNDING: Final = 1e-9  # length of a sum of unit vectors of 64 bits that should be zero, at most
ROWS_AT_ONCE: Final = 128  # pictures whose similarities to all examples are in memory


@dataclass(frozen=True, slots=True)
class _Groups:
    """What is left out for each picture.

    Attributes:
        group: (pictures,) number of the group that each belongs to, and that is left out with it.
        target: (pictures,) class index of each.
        judged: (pictures,) bool: whether something of its class is left, and another class too.
        press: Whether the groups of each taught class, by its label, are series.
        bursts: How many series each has.
    """

    group: NDArray[np.int64]
    target: NDArray[np.int64]
    judged: NDArray[np.bool_]
    press: dict[str, bool]
    bursts: dict[str, int]


def assessment(head: Head, taught: Taught) -> Assessment:
    """Return what a taught bundle is worth.

    Args:
        head: The release's head, without what was taught; its classes compete.
        taught: What was taught on top.
    """
    labels = tuple(dict.fromkeys((*head.labels, *taught.labels)))
    groups = _grouped(head, taught, labels)
    queries = normalised(taught.vectors)
    answers = np.full(len(queries), -1, np.int64)
    if groups.judged.any():
        scores = _imprinted if head.spec.kind is HeadKind.IMPRINTED else _voted
        answers[groups.judged] = scores(head, queries, groups, len(labels)).argmax(axis=1)
    classes = tuple(_class(label, labels.index(label), groups, answers) for label in taught.labels)
    wrong = groups.judged & (answers != groups.target)
    pairs = Counter(zip(groups.target[wrong].tolist(), answers[wrong].tolist(), strict=True))
    judged = int(groups.judged.sum())
    right = judged - int(wrong.sum())
    accuracy, low, high = _share(right, groups.group[groups.judged])
    return Assessment(
        classes=classes,
        pictures=len(queries),
        judged=judged,
        right=right,
        accuracy=accuracy,
        low=low,
        high=high,
        held_out=held_out(classes),
        note=note_of(classes, len(labels)),
        confusion=tuple(
            TakenFor(label=labels[label], answered=labels[answer], count=count)
            for (label, answer), count in pairs.most_common()
        ),
        remove=_doubts(taught, labels, queries, groups, answers),
    )


def _grouped(head: Head, taught: Taught, labels: Sequence[str]) -> _Groups:
    """Say what is left out for each picture."""
    counts, bursts = taught.labels, {label: set[str]() for label in taught.labels}
    for item in taught.examples:
        bursts[item.label].add(item.burst)
    press = {label: len(found) > 1 for label, found in bursts.items()}
    keys = [
        (item.label, item.burst if press[item.label] else number)
        for number, item in enumerate(taught.examples)
    ]
    numbers = {key: number for number, key in enumerate(dict.fromkeys(keys))}
    sizes = Counter(keys)
    return _Groups(
        group=np.array([numbers[key] for key in keys], np.int64),
        target=np.array([labels.index(item.label) for item in taught.examples], np.int64),
        # The only class is the answer to everything, which says nothing of what was taught.
        judged=np.array(
            [
                len(labels) > 1 and (key[0] in head.labels or counts[key[0]] > sizes[key])
                for key in keys
            ],
            bool,
        ),
        press=press,
        bursts={label: len(found) for label, found in bursts.items()},
    )


def _imprinted(
    head: Head, queries: NDArray[np.float32], groups: _Groups, count: int
) -> NDArray[np.float32]:
    """Return the cosines (judged pictures, classes) with the classes' means, own group left out.

    The sums are of 64 bits, so that what is left of one after a subtraction is exact.
    """
    exact = queries.astype(np.float64)
    sums = _sums(head.vectors.astype(np.float64), head.classes, count)
    sums += _sums(exact, groups.target, count)
    without = _sums(exact, groups.group, int(groups.group.max()) + 1)
    asked, target = queries[groups.judged], groups.target[groups.judged]
    cosines: NDArray[np.float32] = asked @ _directions(sums).T
    own = _directions(sums[target] - without[groups.group[groups.judged]])
    cosines[np.arange(len(asked)), target] = (asked * own).sum(axis=1)
    return cosines


def _sums(rows: NDArray[np.float64], numbers: NDArray[np.int64], count: int) -> NDArray[np.float64]:
    """Return the sums (count, features) of the rows with each number."""
    sums = np.zeros((count, rows.shape[1]))
    if len(rows):
        order = np.argsort(numbers, kind="stable")
        found, starts = np.unique(numbers[order], return_index=True)
        sums[found] = np.add.reduceat(rows[order], starts, axis=0)
    return sums


def _directions(sums: NDArray[np.float64]) -> NDArray[np.float32]:
    """Return the sums at length 1, float32; what a subtraction should have made zero stays so."""
    norms = np.linalg.norm(sums, axis=1, keepdims=True)
    directions: NDArray[np.float32] = np.divide(
        sums, norms, out=np.zeros_like(sums), where=norms > ROUNDING
    ).astype(np.float32)
    return directions


def _voted(
    head: Head, queries: NDArray[np.float32], groups: _Groups, count: int
) -> NDArray[np.float32]:
    """Return the votes (judged pictures, classes) of all examples but those of the own group."""
    examples = np.concatenate([head.vectors, queries])
    classes = np.concatenate([head.classes, groups.target])
    built = len(head.vectors)
    parts = []
    for part in _parts(np.flatnonzero(groups.judged)):
        similarities = queries[part] @ examples.T
        similarities[:, built:][groups.group[part][:, None] == groups.group] = -np.inf
        k = head.spec.k or 1
        parts.append(votes(similarities, classes, count, k=k, scale=head.spec.scale))
    return np.concatenate(parts)


def _parts(rows: NDArray[np.intp]) -> list[NDArray[np.intp]]:
    return [rows[start : start + ROWS_AT_ONCE] for start in range(0, len(rows), ROWS_AT_ONCE)]


def _share(
    right: int, judged: NDArray[np.int64]
) -> tuple[float | None, float | None, float | None]:
    """Return the share of right answers and the ends of its interval; None without pictures.

    Args:
        right: Pictures with the right answer.
        judged: (pictures,) what was left out with each one that was judged. A series counts as one
            observation, since its pictures are right or wrong together.
    """
    if not len(judged):
        return None, None, None
    share, seen = right / len(judged), len(np.unique(judged))
    interval = wilson(share * seen, seen, normal_quantile(CONFIDENCE))
    return share, interval.low, interval.high


def _class(label: str, number: int, groups: _Groups, answers: NDArray[np.int64]) -> ClassAssessment:
    mine = groups.target == number
    judged = int((mine & groups.judged).sum())
    right = int((mine & groups.judged & (answers == number)).sum())
    accuracy, low, high = _share(right, groups.group[mine & groups.judged])
    return ClassAssessment(
        label=label,
        pictures=int(mine.sum()),
        judged=judged,
        right=right,
        accuracy=accuracy,
        low=low,
        high=high,
        bursts=groups.bursts[label],
        held_out="" if not judged else PRESS if groups.press[label] else PICTURE,
    )


@dataclass(frozen=True, slots=True)
class _Nearest:
    """How a picture lies to the others.

    Attributes:
        number: Its row.
        own: Cosine with the nearest picture of its class that is not left out with it; -infinity
            where there is none.
        rival: Row of the nearest picture of another class that has the right answer.
        other: Cosine with that one; -infinity where there is none.
        wrong: Whether the answer is another class.
    """

    number: int
    own: float
    rival: int
    other: float
    wrong: bool

    @property
    def nearer(self) -> bool:
        """Whether the nearest picture of another class is nearer than that of the own one."""
        return self.own > -np.inf and self.other > self.own + ALIKE

    @property
    def order(self) -> tuple[int, float]:
        """The most doubtful is the least: both reasons, a wrong answer alone, the other alone."""
        return -2 * int(self.wrong) - int(self.nearer), max(self.own, -1.0) - self.other


def _doubts(
    taught: Taught,
    labels: Sequence[str],
    queries: NDArray[np.float32],
    groups: _Groups,
    answers: NDArray[np.int64],
) -> tuple[Doubt, ...]:
    """Return the pictures to look at, the most doubtful first."""
    found = [item for item in _nearest(queries, groups, answers) if item.wrong or item.nearer]
    found.sort(key=lambda item: item.order)
    doubts = []
    for item in found[:MOST_DOUBTS]:
        mine, rival = taught.examples[item.number], taught.examples[item.rival]
        answer = labels[answers[item.number]] if item.wrong else ""
        why = []
        if item.wrong:
            without = "its series" if groups.press[mine.label] else "itself"
            why.append(f"without {without} it is taken for {answer}")
        if item.nearer and rival.image == mine.image:
            why.append(f"the same picture was taught as {rival.label} too")
        elif item.nearer:
            why.append(
                f"it looks more like a picture of {rival.label} (similarity {item.other:.2f}) than "
                f"like another one of {mine.label} ({item.own:.2f})"
            )
        text = " and ".join(why)
        advice = f"remove it if it shows no {mine.label}, else teach more pictures like it"
        doubts.append(
            Doubt(
                image=mine.image,
                label=mine.label,
                answered=answer,
                why=f"{text[0].upper()}{text[1:]}: {advice}.",
            )
        )
    return tuple(doubts)


def _nearest(
    queries: NDArray[np.float32], groups: _Groups, answers: NDArray[np.int64]
) -> Iterator[_Nearest]:
    """Yield how each picture lies to the others, by cosine.

    A picture whose own answer is wrong is no rival: one mistake would accuse its neighbours.
    """
    mistaken = groups.judged & (answers != groups.target)
    for part in _parts(np.arange(len(queries))):
        similarities = queries[part] @ queries.T
        same = groups.target[part][:, None] == groups.target
        mates = same & (groups.group[part][:, None] != groups.group)
        own = np.where(mates, similarities, -np.inf).max(axis=1)
        others = np.where(same | mistaken, -np.inf, similarities)
        rivals = others.argmax(axis=1)
        for at, number in enumerate(part.tolist()):
            rival = int(rivals[at])
            yield _Nearest(
                number, float(own[at]), rival, float(others[at, rival]), bool(mistaken[number])
            )
