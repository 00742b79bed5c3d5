"""Tries the usual ways to feed a network, and judges between them.

A network that is fed another range than the one it was trained on still answers, only worse. Of two
ways to feed it, the right one answers more labelled pictures right.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from edge.errors import ModelLoadError
from edge.evaluation.confidence import mcnemar
from edge.runtime.contract import ChannelOrder
from edge.training.input_memory import BATCH_IMAGES, NormalizationMemory
from edge.training.input_range import (
    NAMED,
    InputRange,
    parse_range,
)

FIRST: Final = 32  # what is worse than the assumed range on these is tried on no more


MAX_P: Final = 0.01  # p-value of McNemar's exact test, divided by the number of ranges tried


LEAST_POINTS: Final = 5.0  # percentage points that a clearly better range answers more


MANY_POINTS: Final = 10.0  # with so many more, MAX_P is enough as it is: see `RangeTrial.beats`


OPEN_P: Final = 0.1  # below it, a range that answers LEAST_POINTS more is told of


# Divergences of the first features, in nats. Measured on eight networks, each fed as it was
# trained: 0.01 to 0.4 on pictures of its kind, up to 1.3 on any others (drawings, microscopy); a
# network of -1..1 that is fed 0..255 has thousands.
FAR: Final = 10.0


CLOSER: Final = 10.0  # times, that another range must be to be called the right one


SURE: Final = 0.9999  # probability that says that a softmax is saturated


MOST_SURE: Final = 0.9  # share of answers that a network fed too large values gives saturated


@dataclass(frozen=True, slots=True, kw_only=True)
class RangeTrial:
    """One way to feed the network, tried on pictures.

    Attributes:
        option: The range as the command line takes it.
        range: The same, read.
        images: The labelled pictures that it was tried on; 0 for none.
        right: How many of them were answered right.
        p: The p-value of McNemar's exact test against the range that is taken; None where not
            all pictures were tried.
        sure: How many answers of a softmax have a probability above ``SURE``.
        distance: The median over the channels of the first batch normalisation of the divergence
            between what the pictures give and what the network remembers, nats; None where it
            has none.
    """

    option: str
    range: InputRange
    images: int = 0
    right: int = 0
    p: float | None = None
    sure: int = 0
    distance: float | None = None

    def beats(self, taken: "RangeTrial", tried: int) -> bool:
        """Return whether it answers clearly more right than the range that is taken.

        A false alarm is a right range that another one seems to beat. Simulated with nine others
        that are as good as the right one, 36 to 128 pictures and 50 to 90 % right answers (3000
        draws each), one of them does in at most 2.3 % of the draws; with others that answer 5
        points less, in at most 0.6 %; wrong ranges mostly answer far less.

        Args:
            taken: The range that is taken, tried on the same pictures.
            tried: Number of ranges that it is one of.
        """
        points = self.points_over(taken)
        if self.p is None or points < LEAST_POINTS:
            return False
        return self.p < MAX_P / tried or (self.p < MAX_P and points >= MANY_POINTS)

    def points_over(self, taken: "RangeTrial") -> float:
        """Return the percentage points of pictures that it answers right beyond the other."""
        return (self.percent or 0.0) - (taken.percent or 0.0)

    @property
    def percent(self) -> float | None:
        """The percentage of the labelled pictures that is answered right; None without any."""
        return 100 * self.right / self.images if self.images else None

    def to_json(self) -> dict[str, Any]:
        """Return the trial as JSON values."""
        return {
            "option": self.option,
            "range": self.range.text,
            "labelled_images": self.images,
            "right": self.right if self.images else None,
            "p_value": self.p,
            "sure": self.sure if self.images else None,
            "distance": None if self.distance is None else round(self.distance, 4),
        }


def candidates(channels: int) -> list[tuple[str, InputRange]]:
    """Return the usual ways to feed a network of so many channels, as options and as ranges."""
    plain = [("--input-range pixels", "pixels"), ("--input-range 0,1", "unit")]
    plain += [("--input-range=-1,1", "tf"), ("--input-range=-0.5,0.5", "-0.5,0.5")]
    ranges = [(option, parse_range(text)) for option, text in plain]
    if channels == 1:  # drawn characters are often turned round
        ranges += [(f"--input-range {text}", parse_range(text)) for text in ("1,0", "255,0")]
    if channels == 3:
        ranges += [(f"--input-range {name}", NAMED[name]) for name in ("torch", "caffe")]
        ranges += [
            (f"{option} --channel-order bgr", parse_range(text, ChannelOrder.BGR))
            for option, text in plain[:3]
        ]
        ranges.append(
            ("--input-range caffe --channel-order rgb", parse_range("caffe", ChannelOrder.RGB))
        )
    return ranges


def range_trials(
    model: Any,
    pixels: NDArray[np.uint8],
    truth: Sequence[int | None],
    taken: InputRange,
    *,
    features: bool,
) -> list[RangeTrial]:
    """Try what is taken, then the usual ranges, as far as each has to be tried.

    Raises:
        ModelLoadError: The network answers no picture with finite numbers.
    """
    usual = candidates(pixels.shape[-1])
    option = next((text for text, item in usual if item == taken), f"as told ({taken.text})")
    ranges = [(option, taken), *((text, item) for text, item in usual if item != taken)]
    memory = NormalizationMemory.of(model) if len(pixels) else None
    distances = [
        None if memory is None else memory.distance(item.applied(pixels)) for _, item in ranges
    ]
    known = np.array([label is not None for label in truth], bool)
    labels = np.array([label for label in truth if label is not None])
    answers = _Answers(model, pixels[known], labels, features=features)
    held, sure = answers.of(taken, len(labels))
    worthwhile = _is_worthwhile(held, sure)
    trials = [_trial(option, taken, held, sure, None, distances[0])]
    for (text, item), distance in zip(ranges[1:], distances[1:], strict=True):
        near = _is_near(distance, distances[0])
        tried, certain = np.array([], bool), np.array([], bool)
        if worthwhile or near:
            tried, certain = answers.of(item, FIRST)
            if near or tried.sum() >= held[: len(tried)].sum():
                tried, certain = answers.of(item, len(labels))
        trials.append(_trial(text, item, tried, certain, held, distance))
    if answers.asked and not answers.finite:
        raise ModelLoadError(
            "the network answers every picture with NaN or infinite values, however it was fed: "
            "neither a range of its input nor the order of labels can mend that",
            hint="Its weights, or a layer such as a division by 0, make no numbers: call it on a "
            "picture where it was trained, and train it again or take an earlier checkpoint.",
        )
    return trials


def _trial(
    option: str,
    wanted: InputRange,
    right: NDArray[np.bool_],
    sure: NDArray[np.bool_],
    held: NDArray[np.bool_] | None,
    distance: float | None,
) -> RangeTrial:
    """Sum up one range; it is tested against ``held`` where all pictures were tried."""
    p_value = None
    if held is not None and len(right) == len(held) > 0:
        p_value = mcnemar(int((held & ~right).sum()), int((right & ~held).sum()))
    return RangeTrial(
        option=option,
        range=wanted,
        images=len(right),
        right=int(right.sum()),
        sure=int(sure.sum()),
        p=p_value,
        distance=distance,
    )


def _is_worthwhile(held: NDArray[np.bool_], sure: NDArray[np.bool_]) -> bool:
    """Return whether other ranges could tell more: enough is missed, or answers are saturated.

    Args:
        held: (pictures,) whether each is answered right with the range that is taken.
        sure: (pictures,) whether its answer is saturated.
    """
    images, missed = len(held), int((~held).sum())
    if images == 0:
        return False
    # Were every miss a hit, would that be worth a word?
    missing = 100 * missed / images >= LEAST_POINTS and mcnemar(0, missed) < OPEN_P
    return missing or bool(sure.mean() >= MOST_SURE)


def _is_near(distance: float | None, taken: float | None) -> bool:
    """Return whether statistics speak for a range, and against the one that is taken."""
    if distance is None or taken is None or taken < FAR:
        return False
    return distance * CLOSER <= taken


@dataclass(frozen=True, slots=True, kw_only=True)
class RangeVerdict:
    """What the trials say of the range that is taken, the first of them.

    Attributes:
        better: The trial that is clearly better, by pictures or else by statistics.
        by_pictures: Whether it is so by pictures.
        fits: False where the one that is taken is wrong, and each other is no better than
            guessing.
        perhaps: One that answers more right, which may be chance.
        guesses: Whether labelled pictures are answered no better than by guessing, however fed.
    """

    better: RangeTrial | None = None
    by_pictures: bool = False
    fits: bool = True
    perhaps: RangeTrial | None = None
    guesses: bool = False


def judge(trials: Sequence[RangeTrial], chance: float, *, features: bool = False) -> RangeVerdict:
    """Return what the trials say.

    Args:
        trials: The range that is taken, then the others.
        chance: Share of the labelled pictures that are of the most common class. What answers no
            more tells nothing: the labels are perhaps in another order.
        features: The answers are those of a nearest neighbour, who may be of another class
            however the network is fed.
    """
    taken, others = trials[0], trials[1:]
    skilled = [trial for trial in others if _is_above(trial.right, trial.images, chance)]
    clear = [trial for trial in skilled if trial.beats(taken, len(others))]
    if clear:
        best = max(clear, key=lambda trial: (trial.right, -(trial.distance or 0)))
        return RangeVerdict(better=best, by_pictures=True)
    telling = not features and _is_above(taken.images, taken.images, chance)
    skill = _is_above(taken.right, taken.images, chance)
    nearest = min(others, key=lambda item: np.inf if item.distance is None else item.distance)
    if _is_near(nearest.distance, taken.distance):
        # Pictures that were answered well enough, or better, as it is, speak louder.
        unsaid = not nearest.images or (nearest.percent or 0) < (taken.percent or 0)
        if telling and not skill and nearest not in skilled:
            return RangeVerdict(fits=False)
        if not (taken.images and unsaid and (skill or not telling)):
            return RangeVerdict(better=nearest)
    perhaps = [
        trial
        for trial in skilled
        if trial.p is not None and trial.p < OPEN_P and trial.points_over(taken) >= LEAST_POINTS
    ]
    return RangeVerdict(
        perhaps=max(perhaps, key=lambda trial: trial.right, default=None),
        guesses=telling and not skill and not skilled,
    )


def _is_above(right: int, images: int, chance: float) -> bool:
    """Return whether so many right answers are more than guessing gives."""
    from scipy.stats import binomtest

    if images == 0:
        return False
    return bool(binomtest(right, images, chance, alternative="greater").pvalue < MAX_P)


class _Answers:
    """Which labelled pictures a network answers right, fed in one way or another."""

    def __init__(
        self, model: Any, pixels: NDArray[np.uint8], labels: NDArray[Any], *, features: bool
    ) -> None:
        columns = int(np.prod([extent or 0 for extent in model.outputs[0].shape[1:]]))
        usable = features or (columns == 1 and set(labels.tolist()) <= {0, 1}) or columns > 1
        self._model, self._features = model, features
        self.asked = self.finite = False  # whether it answered any picture, and one with numbers
        self._pixels, self._labels = (pixels, labels) if usable else (pixels[:0], labels[:0])

    def of(self, wanted: InputRange, count: int) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
        """Ask the network about the first so many pictures.

        Returns:
            (pictures,) whether each is answered right, and whether with a probability above
            ``SURE``; only a softmax is ever so sure.
        """
        pixels, labels = self._pixels[:count], self._labels[:count]
        if len(labels) == 0:
            return np.zeros(0, bool), np.zeros(0, bool)
        outputs = np.asarray(
            self._model.predict(wanted.applied(pixels), batch_size=BATCH_IMAGES, verbose=0),
            np.float32,
        ).reshape(len(pixels), -1)
        self.asked = True
        self.finite |= bool(np.isfinite(outputs).all(axis=1).any())
        outputs = np.nan_to_num(outputs)
        unsure = np.zeros(len(labels), bool)
        if self._features:
            return np.asarray(labels[_nearest_others(outputs)] == labels), unsure
        if outputs.shape[1] == 1:
            values = outputs[:, 0]
            half = 0.5 if values.min() >= 0 and values.max() <= 1 else 0.0
            right = np.asarray((values > half).astype(int) == labels)
            # Which of the two classes the value is of, is another question.
            return right if 2 * right.sum() >= len(right) else ~right, unsure
        right = np.asarray(outputs.argmax(axis=1) == labels)
        if outputs.min() < 0 or not np.allclose(outputs.sum(axis=1), 1, atol=1e-3):
            return right, unsure
        return right, np.asarray(outputs.max(axis=1) > SURE)


def _nearest_others(vectors: NDArray[np.float32]) -> NDArray[np.int64]:
    """Return (vectors,) the position of the nearest other one, by cosine."""
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    unit = vectors / np.maximum(lengths, 1e-12)
    likeness = unit @ unit.T
    np.fill_diagonal(likeness, -np.inf)
    return np.asarray(likeness.argmax(axis=1))
