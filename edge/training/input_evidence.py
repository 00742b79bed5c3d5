"""What tells how a network wants to be fed: labelled pictures, and the network's own memory.

A network that is fed another range than the one it was trained on still answers, only worse, and
every file made of it agrees with it. Two things tell. Labelled pictures: of two ways to feed it,
the right one answers more of them right. And batch normalisation: a network keeps the mean and the
variance that its first features had over the training images (Ioffe and Szegedy 2015), and what
the pictures give in the same place is near them only where they are fed alike.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from edge.dataset.pictures import Hashed
from edge.errors import ImageError, UsageError
from edge.evaluation.paired import mcnemar
from edge.runtime.preprocess import load
from edge.runtime.spec import Preprocessing
from edge.training.backbones import BACKBONES, Backbone, ChannelOrder, Scaling
from edge.training.input_range import (
    NAMED,
    InputRange,
    functional,
    is_model,
    parse_range,
)

PICTURES: Final = 128  # at most so many are tried
FIRST: Final = 32  # what is worse than the assumed range on these is tried on no more
MOST_BYTES: Final = 50_000_000  # of pixels; in float32 they are four times as many
MAX_P: Final = 0.01  # of the exact McNemar test, divided by the number of ranges tried
LEAST_POINTS: Final = 5.0  # percentage points that a clearly better range answers more
MANY_POINTS: Final = 10.0  # of so many more, MAX_P is enough as it is: see `Trial.beats`
OPEN_P: Final = 0.1  # below it, a range that answers LEAST_POINTS more is told of
# Divergences of the first features, in nats. Measured on eight networks, each fed as it was
# trained: 0.01 to 0.4 on pictures of its kind, up to 1.3 on any others (drawings, microscopy); a
# network of -1..1 that is fed 0..255 has thousands.
FAR: Final = 10.0
CLOSER: Final = 10.0  # times, that another range must be to be called the right one
SURE: Final = 0.9999  # probability that says that a softmax is saturated
MOST_SURE: Final = 0.9  # share of answers that a network fed too large values gives saturated
_BATCH: Final = 32
_ARITHMETIC: Final = frozenset(
    {"Add", "Divide", "Lambda", "Multiply", "Normalization", "Rescaling", "Subtract", "TrueDivide"}
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """One way to feed the network, tried on pictures.

    Attributes:
        option: As the command line takes it.
        range: The same, read.
        images: Labelled pictures that it was tried on; 0 for none.
        right: Of them, those that were answered right.
        p: Of the exact McNemar test against the range that is taken; None where not all pictures
            were tried.
        sure: Of the answers of a softmax, those with a probability above ``SURE``.
        distance: Median over the channels of the first batch normalisation of the divergence
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

    def beats(self, taken: "Trial", tried: int) -> bool:
        """Whether it answers clearly more right than the range that is taken.

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

    def points_over(self, taken: "Trial") -> float:
        """Percentage points that it answers more right."""
        return (self.percent or 0.0) - (taken.percent or 0.0)

    @property
    def percent(self) -> float | None:
        """Of the labelled pictures, those answered right."""
        return 100 * self.right / self.images if self.images else None

    def to_json(self) -> dict[str, Any]:
        """The trial as JSON values."""
        return {
            "option": self.option,
            "range": self.range.text,
            "labelled_images": self.images,
            "right": self.right if self.images else None,
            "p_value": self.p,
            "sure": self.sure if self.images else None,
            "distance": None if self.distance is None else round(self.distance, 4),
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class InputFinding:
    """How a network is fed, and what speaks for it.

    Attributes:
        taken: What the network is taken to want.
        told: Whether the user said so.
        trials: What was tried, ``taken`` first; empty where there were no pictures.
        better: The trial that is clearly better than ``taken``.
        fits: Whether one of the trials, or nothing that is known, may be right; False where
            ``taken`` is wrong and so is every other.
        evidence: What was taken from what, one sentence each.
        doubts: What speaks against it or leaves it open, where that is too little to stop.
    """

    taken: InputRange
    told: bool
    trials: tuple[Trial, ...] = ()
    better: Trial | None = None
    fits: bool = True
    evidence: tuple[str, ...] = ()
    doubts: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """The finding as JSON values; ``docs/bundle.md`` explains them."""
        return {
            **self.provenance(),
            "better": None if self.better is None else self.better.to_json(),
            "trials": [trial.to_json() for trial in self.trials],
        }

    def provenance(self) -> dict[str, Any]:
        """The same without the trials: what the manifest keeps."""
        return {**self.taken.to_json(), "told": self.told, "evidence": list(self.evidence)}

    @property
    def table(self) -> str:
        """The trials as lines of text."""
        rows = [("input range", "right", "p", "distance")]
        for trial in self.trials:
            percent = "" if trial.percent is None else f"{trial.percent:.1f} % of {trial.images}"
            p_value = "" if trial.p is None else f"{trial.p:.2g}"
            distance = "" if trial.distance is None else f"{trial.distance:.3g}"
            rows.append((trial.option, percent, p_value, distance))
        widths = [max(len(row[column]) for row in rows) for column in range(4)]
        shown = [column for column in range(4) if any(row[column] for row in rows[1:])]
        return "\n".join(
            "  " + "  ".join(row[column].ljust(widths[column]) for column in shown).rstrip()
            for row in rows
        )


def find_input(
    model: Any,
    pictures: Sequence[Hashed],
    preprocessing: Preprocessing,
    told: InputRange | None,
    *,
    features: bool = False,
) -> InputFinding:
    """Try the usual ways to feed a network.

    Args:
        model: Keras model as it was given: one input (batch, height, width, channels).
        pictures: None of them is scored later; a ``label`` of theirs is used.
        preprocessing: The contract, whose size and channels are those of the model.
        told: What the user said; None for RGB 0..255.
        features: The model answers with features and not with classes; the class of a picture is
            then that of its nearest neighbour among the others.

    Raises:
        UsageError: What the user said does not fit the number of channels.
    """
    taken = told or InputRange()
    taken.check_channels(preprocessing.shape[2])
    front = _scaling_in_front(model)
    evidence = [_taken_sentence(taken, front, told=told is not None)]
    count = min(PICTURES, max(FIRST, MOST_BYTES // int(np.prod(preprocessing.shape))))
    pixels, truth = _read(pictures[:count], preprocessing)
    trials = _trials(model, pixels, truth, taken, features=features)
    known = [label for label in truth if label is not None]
    most = max(Counter(known).values(), default=0)
    verdict = judge(trials, most / max(len(known), 1), features=features)
    evidence.extend(_sentences(trials, verdict))
    finding = InputFinding(
        taken=taken,
        told=told is not None,
        trials=tuple(trials),
        better=verdict.better,
        fits=verdict.fits,
        evidence=tuple(evidence),
    )
    doubts = [] if finding.told else _open_questions(finding, verdict)
    if not finding.told and not front:
        doubts += _doubts(trials, _application(model))
    return replace(finding, doubts=tuple(doubts))


def application_input(row: Backbone) -> InputFinding:
    """How a network of Keras Applications is fed: by definition."""
    scaling = f"whose scaling ({row.scaling}) edge puts into the model"
    if row.scaling is Scaling.INSIDE:
        scaling = "which scales by itself"
    return InputFinding(
        taken=InputRange(),
        told=False,
        evidence=(f"it is {row.keras_name} of Keras Applications, {scaling}",),
    )


def check_input(finding: InputFinding, name: str) -> tuple[str, ...]:
    """Stop where the network clearly wants something else, unless the user said what it is fed.

    Args:
        finding: Of ``find_input``.
        name: Of the model file.

    Returns:
        What a user should do something about, one sentence each.

    Raises:
        UsageError: Another range is clearly better, and nobody said which one is meant.
    """
    better = finding.better
    if better is None and finding.fits:
        return finding.doubts
    if finding.told:
        return (
            f"{name} is fed {finding.taken.text}, as asked for, although {finding.evidence[-1]}",
        )
    wrong = f"{name} seems to want another input than {finding.taken.text}"
    if better is None:
        raise UsageError(
            f"{wrong}, and none of the usual ones fits: {finding.evidence[-1]}\n{finding.table}",
            hint="Say with --input-range what it was trained on, such as MEAN/STD, or 1,0 where "
            "black is 1 and white 0. If it is one of these after all, the labels are perhaps in "
            f"another order. {finding.trials[0].option} keeps it at {finding.taken.text}.",
        )
    raise UsageError(
        f"{wrong}: {finding.evidence[-1]}\n{finding.table}",
        hint=f"Add {better.option} to feed it that; {finding.trials[0].option} keeps it at "
        f"{finding.taken.text}.",
    )


def candidates(channels: int) -> list[tuple[str, InputRange]]:
    """The usual ways to feed a network of so many channels, as options and as ranges."""
    plain = [("--input-range pixels", "pixels"), ("--input-range 0,1", "unit")]
    plain += [("--input-range=-1,1", "tf"), ("--input-range=-0.5,0.5", "-0.5,0.5")]
    found = [(option, parse_range(text)) for option, text in plain]
    if channels == 1:  # drawn characters are often turned round
        found += [(f"--input-range {text}", parse_range(text)) for text in ("1,0", "255,0")]
    if channels == 3:
        found += [(f"--input-range {name}", NAMED[name]) for name in ("torch", "caffe")]
        found += [
            (f"{option} --channel-order bgr", parse_range(text, ChannelOrder.BGR))
            for option, text in plain[:3]
        ]
        found.append(
            ("--input-range caffe --channel-order rgb", parse_range("caffe", ChannelOrder.RGB))
        )
    return found


def _read(
    pictures: Sequence[Hashed], preprocessing: Preprocessing
) -> tuple[NDArray[np.uint8], list[int | None]]:
    """Pixels (pictures, height, width, channels) and classes of those that can be decoded."""
    pixels = [np.zeros((0, *preprocessing.shape), np.uint8)]
    truth = []
    for picture in pictures:
        try:
            pixels.append(load(picture.path, preprocessing)[np.newaxis])
        except ImageError:
            continue  # said where the pictures are read for good
        truth.append(getattr(picture, "label", None))
    return np.concatenate(pixels), truth


def _trials(
    model: Any,
    pixels: NDArray[np.uint8],
    truth: Sequence[int | None],
    taken: InputRange,
    *,
    features: bool,
) -> list[Trial]:
    """What is taken, then the usual ranges, as far as each has to be tried."""
    usual = candidates(pixels.shape[-1])
    option = next((text for text, item in usual if item == taken), f"as told ({taken.text})")
    ranges = [(option, taken), *((text, item) for text, item in usual if item != taken)]
    memory = _Memory.of(model)
    compared = memory is not None and len(pixels) > 0
    distances = [
        memory.distance(item.applied(pixels)) if memory and compared else None for _, item in ranges
    ]
    known = np.array([label is not None for label in truth])
    labels = np.array([label for label in truth if label is not None])
    right = _Answers(model, pixels[known], labels, features=features)
    held, sure = right.of(taken, len(labels))
    worthwhile = _is_worthwhile(held, sure)
    trials = []
    for (text, item), distance in zip(ranges, distances, strict=True):
        tried, certain, p_value = np.array([], bool), np.array([], bool), None
        if item is taken:
            tried, certain = held, sure
        elif worthwhile or _is_near(distance, distances[0]):
            tried, certain = right.of(item, FIRST)
            if tried.sum() >= held[: len(tried)].sum() or _is_near(distance, distances[0]):
                tried, certain = right.of(item, len(labels))
        if item is not taken and len(tried) == len(held) > 0:
            p_value = mcnemar(int((held & ~tried).sum()), int((tried & ~held).sum()))
        trials.append(
            Trial(
                option=text,
                range=item,
                images=len(tried),
                right=int(tried.sum()),
                sure=int(certain.sum()),
                p=p_value,
                distance=distance,
            )
        )
    return trials


def _is_worthwhile(held: NDArray[np.bool_], sure: NDArray[np.bool_]) -> bool:
    """Whether other ranges could say anything: enough is missed, or all answers are saturated.

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
    """Whether statistics speak for a range, and against the one that is taken."""
    if distance is None or taken is None or taken < FAR:
        return False
    return distance * CLOSER <= taken


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What the trials say of the range that is taken, the first of them.

    Attributes:
        better: The trial that is clearly better, by pictures or else by statistics.
        by_pictures: Whether it is so by pictures.
        fits: False where the one that is taken is wrong, and each other is no better than
            guessing.
        perhaps: One that answers more right, which may be chance.
        guesses: Labelled pictures are answered no better than by guessing, however it is fed.
    """

    better: Trial | None = None
    by_pictures: bool = False
    fits: bool = True
    perhaps: Trial | None = None
    guesses: bool = False


def judge(trials: Sequence[Trial], chance: float, *, features: bool = False) -> Verdict:
    """What the trials say.

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
        return Verdict(better=best, by_pictures=True)
    telling = not features and _is_above(taken.images, taken.images, chance)
    skill = _is_above(taken.right, taken.images, chance)
    nearest = min(others, key=lambda item: np.inf if item.distance is None else item.distance)
    if _is_near(nearest.distance, taken.distance):
        # Pictures that were answered well enough, or better, as it is, speak louder.
        unsaid = not nearest.images or (nearest.percent or 0) < (taken.percent or 0)
        if telling and not skill and nearest not in skilled:
            return Verdict(fits=False)
        if not (taken.images and unsaid and (skill or not telling)):
            return Verdict(better=nearest)
    perhaps = [
        trial
        for trial in skilled
        if trial.p is not None and trial.p < OPEN_P and trial.points_over(taken) >= LEAST_POINTS
    ]
    return Verdict(
        perhaps=max(perhaps, key=lambda trial: trial.right, default=None),
        guesses=telling and not skill and not skilled,
    )


def _is_above(right: int, images: int, chance: float) -> bool:
    """Whether so many right answers are more than guessing gives."""
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
        self._pixels, self._labels = (pixels, labels) if usable else (pixels[:0], labels[:0])

    def of(self, wanted: InputRange, count: int) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
        """Of the first so many pictures.

        Returns:
            (pictures,) whether each is answered right, and whether with a probability above
            ``SURE``; only a softmax is ever so sure.
        """
        pixels, labels = self._pixels[:count], self._labels[:count]
        if len(labels) == 0:
            return np.zeros(0, bool), np.zeros(0, bool)
        outputs = np.asarray(
            self._model.predict(wanted.applied(pixels), batch_size=_BATCH, verbose=0), np.float32
        ).reshape(len(pixels), -1)
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
    """(vectors,) the position of the nearest other one, by cosine."""
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    unit = vectors / np.maximum(lengths, 1e-12)
    likeness = unit @ unit.T
    np.fill_diagonal(likeness, -np.inf)
    return np.asarray(likeness.argmax(axis=1))


class _ReachedError(Exception):
    """The walk through a network has come to its first batch normalisation."""


@dataclass(frozen=True, slots=True)
class _Memory:
    """The mean and variance that a network's first batch normalisation remembers, (channels,)."""

    model: Any
    mean: NDArray[np.float64]
    variance: NDArray[np.float64]

    @classmethod
    def of(cls, model: Any) -> "_Memory | None":
        """None where the network has no batch normalisation behind a single way from its input."""
        shape = [1, *model.inputs[0].shape[1:]]
        found = _first_normalization(model, np.zeros(shape, np.float32))
        if found is None:
            return None
        layer, _ = found
        mean, variance = (
            np.asarray(value, np.float64) for value in (layer.moving_mean, layer.moving_variance)
        )
        untrained = not mean.any() and bool((variance == 1).all())
        return None if untrained or not variance.max() > 0 else cls(model, mean, variance)

    def distance(self, images: NDArray[np.float32]) -> float:
        """Median over the channels of the divergence of what the images give from the memory.

        KL(images || memory) of two normal distributions:
        (ln(v / s) + (s + (m' - m)^2) / v - 1) / 2.
        """
        count, total, squares = 0, np.zeros(len(self.mean)), np.zeros(len(self.mean))
        for start in range(0, len(images), _BATCH):
            found = _first_normalization(self.model, images[start : start + _BATCH])
            assert found is not None  # `of` found one
            values = np.asarray(found[1], np.float64).reshape(-1, len(self.mean))
            count += len(values)
            total += values.sum(axis=0)
            squares += np.square(values).sum(axis=0)
        mean = total / count
        variance = np.maximum(squares / count - np.square(mean), 0)
        alive = self.variance > 1e-6 * self.variance.max()
        ratio = np.maximum(variance / np.maximum(self.variance, 1e-30), 1e-12)
        shift = np.square(mean - self.mean) / np.maximum(self.variance, 1e-30)
        divergence = (ratio - 1 - np.log(ratio) + shift) / 2
        return float(np.median(divergence[alive]))


def _first_normalization(model: Any, images: NDArray[np.float32]) -> tuple[Any, Any] | None:
    """The first batch normalisation of a network, and what it is given of these images."""
    import keras

    def call(operation: Any, *args: Any, **kwargs: Any) -> Any:
        if type(operation).__name__ == "BatchNormalization":
            raise _ReachedError(operation, args[0])
        if is_model(operation):
            return functional(operation)._run_through_graph(args[0], call_fn=call)
        if getattr(operation, "_call_has_training_arg", False):
            kwargs["training"] = False
        return operation(*args, **kwargs)

    try:
        functional(model)._run_through_graph(keras.ops.convert_to_tensor(images), call_fn=call)
    except _ReachedError as reached:
        return reached.args[0], reached.args[1]
    return None


def _scaling_in_front(model: Any) -> list[str]:
    """Kinds of the operations that compute with the image before anything that has weights."""
    found: list[str] = []
    for operation in _operations(model):
        kind = type(operation).__name__
        if kind in _ARITHMETIC:
            found.append(kind)
        elif getattr(operation, "weights", ()):
            break
    return found


def _operations(model: Any) -> list[Any]:
    """Every operation of a network in order, those of models within it too."""
    found: list[Any] = []
    for operation in functional(model).operations:
        found.extend(_operations(operation) if is_model(operation) else [operation])
    return found


def _application(model: Any) -> str | None:
    """The network of Keras Applications that the model, or a part of it, is named after."""
    inner = [model, *(item for item in functional(model).operations if is_model(item))]
    for item in inner:
        name = item.name.lower().replace("-", "").replace("_", "")
        fits = [known for known in BACKBONES if name.startswith(known)]
        if fits:
            return max(fits, key=len)
    return None


def _taken_sentence(taken: InputRange, front: Sequence[str], *, told: bool) -> str:
    if told:
        return f"it is fed {taken.text}, as asked for"
    if front:
        return f"it is fed {taken.text}, which its first layers ({', '.join(front)}) scale"
    return f"it is fed {taken.text}, the usual thing, since nobody said otherwise"


def _sentences(trials: Sequence[Trial], verdict: Verdict) -> list[str]:
    """What the trials say; what speaks for another range, or against all, comes last."""
    taken, better = trials[0], verdict.better
    found = []
    if taken.percent is not None:
        found.append(f"so fed, it answers {taken.percent:.1f} % of {taken.images} pictures right")
    if taken.distance is not None:
        found.append(
            f"its first features are {taken.distance:.3g} nats from those of its training images"
        )
    if not verdict.fits:
        found.append(
            f"its first features are {taken.distance:.3g} nats from those of its training images, "
            "and with each of the usual ranges it answers no more pictures right than guessing"
        )
    if better is None:
        return found
    if verdict.by_pictures:
        found.append(_more_right(better, taken))
    else:
        found.append(
            f"with {better.option} ({better.range.text}) its first features are "
            f"{better.distance:.3g} nats from those of its training images, instead of "
            f"{taken.distance:.3g}"
        )
    return found


def _more_right(trial: Trial, taken: Trial) -> str:
    return (
        f"with {trial.option} ({trial.range.text}) it answers {trial.percent:.1f} % of "
        f"{trial.images} pictures right instead of {taken.percent:.1f} % (exact McNemar test: "
        f"p = {trial.p:.2g})"
    )


def _open_questions(finding: InputFinding, verdict: Verdict) -> list[str]:
    """What the trials leave open, with their figures."""
    taken, perhaps = finding.trials[0], verdict.perhaps
    if perhaps is not None:
        return [
            f"whether the network wants {taken.range.text} is open: {_more_right(perhaps, taken)}"
            "; that may be chance. More labelled pictures decide it, or the option does"
        ]
    if verdict.guesses:
        return [
            f"fed {taken.range.text}, the network answers no more of {taken.images} labelled "
            "pictures right than guessing, and so it does with each of the usual ranges: the "
            "labels are perhaps in another order, or it was trained on something else, which "
            "--input-range says"
        ]
    return []


def _doubts(trials: Sequence[Trial], application: str | None) -> list[str]:
    """What is open where nobody said how the network is fed and no layer in front scales."""
    taken = trials[0]
    scaling = None if application is None else BACKBONES[application].scaling.value
    if scaling in NAMED and (taken.distance is None or taken.distance > 1):
        return [
            f"the network is named after {application} of Keras Applications, whose weights want "
            f"--input-range {scaling}; it is fed {taken.range.text}, and no layer in front scales"
        ]
    if taken.distance is None and not taken.images:
        return [
            f"nothing tells whether the network wants {taken.range.text}: no layer in front "
            "scales, no picture has a label, and there is no batch normalization whose memory "
            "could be compared; say what it wants with --input-range"
        ]
    calmer = _calmer(trials)
    if calmer is not None:
        return [
            f"fed {taken.range.text}, the network gives {taken.sure} of {taken.images} answers a "
            f"probability above {SURE}, as networks do that were trained on smaller values; with "
            f"{calmer.option} ({calmer.range.text}) it is so sure of {calmer.sure}, and answers "
            f"{calmer.percent:.1f} % right instead of {taken.percent:.1f} %. If it was trained on "
            "that, its probabilities are wrong as it is fed"
        ]
    return []


def _calmer(trials: Sequence[Trial]) -> Trial | None:
    """The best range whose answers are not saturated, where those of the one taken are.

    Statistics that were compared say more than this, which a network that is sure for good
    reasons shows too.
    """
    taken = trials[0]
    if taken.distance is not None or not taken.images or taken.sure < MOST_SURE * taken.images:
        return None
    found = [
        trial
        for trial in trials[1:]
        if trial.images == taken.images
        and trial.right >= taken.right
        and 2 * trial.sure < trial.images
    ]
    return max(found, key=lambda trial: (trial.right, -trial.sure), default=None)
