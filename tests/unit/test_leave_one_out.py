"""What a taught bundle is worth: against heads that never saw what is left out."""

from collections.abc import Sequence

import numpy as np
import pytest

from edge.runtime.head import Head, class_sums, normalised
from edge.runtime.intervals import normal_quantile, wilson
from edge.runtime.output import HeadKind, HeadSpec
from edge.runtime.teach.leave_one_out import MOST_DOUBTS, assessment
from edge.runtime.teach.taught import Example, Taught

FEATURES = 12


def head_of(kind: HeadKind, labels: Sequence[str] = (), each: int = 4) -> Head:
    """A release's head with random pictures of each class; of an imprinted one, their sums."""
    generator = np.random.default_rng(5)
    vectors = normalised(generator.normal(size=(each * len(labels), FEATURES)).astype(np.float32))
    classes = np.repeat(np.arange(len(labels)), each)
    if kind is HeadKind.IMPRINTED:
        vectors = class_sums(vectors, classes, len(labels))
        classes = np.arange(len(labels))
    k = 3 if kind is HeadKind.KNN else None
    spec = HeadSpec(kind=kind, path="head.npz", scale=9.0, k=k)
    return Head(spec=spec, labels=tuple(labels), vectors=vectors, classes=classes)


def taught_of(rows: Sequence[tuple[str, str]], spread: float = 1.0, seed: int = 3) -> Taught:
    """A picture for each (label, burst): a centre for each class, and noise."""
    generator = np.random.default_rng(seed)
    centres = {label: generator.normal(size=FEATURES) for label, _ in sorted(set(rows))}
    vectors = [5 * (centres[label] + spread * generator.normal(size=FEATURES)) for label, _ in rows]
    return Taught(
        variant="v",
        model="m",
        examples=tuple(
            Example(label=label, image=f"{number:064x}", burst=burst)
            for number, (label, burst) in enumerate(rows)
        ),
        vectors=np.array(vectors, np.float32).reshape(-1, FEATURES),
    )


def slowly(head: Head, taught: Taught) -> list[str | None]:
    """The answer to each picture of the head of everything but what is left out with it."""
    answers: list[str | None] = []
    for number, asked in enumerate(taught.examples):
        several = len({item.burst for item in taught.examples if item.label == asked.label}) > 1
        kept = [
            at
            for at, item in enumerate(taught.examples)
            if item.label != asked.label or (item.burst != asked.burst if several else at != number)
        ]
        rest = Taught(
            variant="v",
            model="m",
            examples=tuple(taught.examples[at] for at in kept),
            vectors=taught.vectors[kept],
        ).applied(head)
        if asked.label not in rest.labels:
            answers.append(None)
            continue
        scores = rest.scores(taught.vectors[number][None])[0]
        answers.append(rest.labels[int(scores.argmax())])
    return answers


CASES = {
    "one series each": [(name, "") for name in "aaaabbbbbccc"],
    "series": [(name, str(number % 3)) for number, name in enumerate("aaaaaabbbbbbbbccccccccc")],
    "some with series": [("a", "1"), ("a", "2"), ("a", "2"), *[("b", "x")] * 6, ("c", "")],
    "a class of the release": [("red", "1"), ("red", "1"), ("a", "1"), ("a", "2"), ("blue", "1")],
}


@pytest.mark.parametrize("kind", list(HeadKind))
@pytest.mark.parametrize("built", [(), ("red", "blue")])
@pytest.mark.parametrize("case", list(CASES))
@pytest.mark.parametrize("spread", [0.3, 1.5])
def test_every_answer_is_that_of_a_head_that_never_saw_it(
    kind: HeadKind, built: Sequence[str], case: str, spread: float
) -> None:
    for seed in range(4):
        head, taught = head_of(kind, built), taught_of(CASES[case], spread, seed)
        expected = slowly(head, taught)
        found = assessment(head, taught)
        labels = [item.label for item in taught.examples]
        assert found.judged == sum(answer is not None for answer in expected)
        assert found.right == sum(map(str.__eq__, labels, map(str, expected)))
        pairs = {(item.label, item.answered): item.count for item in found.confusion}
        wrong = [
            (label, answer)
            for label, answer in zip(labels, expected, strict=True)
            if answer not in (None, label)
        ]
        assert pairs == {pair: wrong.count(pair) for pair in wrong}  # type: ignore[comparison-overlap]
        for item in found.classes:
            right = sum(
                label == answer == item.label
                for label, answer in zip(labels, expected, strict=True)
            )
            assert (item.pictures, item.right) == (labels.count(item.label), right)


@pytest.mark.parametrize("kind", list(HeadKind))
def test_pictures_of_one_press_do_not_vouch_for_one_another(kind: HeadKind) -> None:
    """Each press is a point of its own at random: only its own pictures say what it is."""
    generator = np.random.default_rng(1)
    rows = [(name, f"{name}{press}") for name in "ab" for press in range(6) for _ in range(5)]
    points = {burst: generator.normal(size=FEATURES) for _, burst in dict.fromkeys(rows)}
    taught = taught_of(rows)
    near = [points[burst] + 0.01 * generator.normal(size=FEATURES) for _, burst in rows]
    taught = Taught(
        variant="v",
        model="m",
        examples=taught.examples,
        vectors=np.array(near, np.float32),
    )
    honest = assessment(head_of(kind), taught)
    assert honest.held_out == "press"
    assert honest.accuracy is not None
    assert honest.accuracy < 0.75
    assert not honest.note
    alone = Taught(
        variant="v",
        model="m",
        examples=tuple(Example(label=item.label, image=item.image) for item in taught.examples),
        vectors=taught.vectors,
    )
    flattering = assessment(head_of(HeadKind.KNN), alone)
    assert flattering.held_out == "picture"
    assert flattering.accuracy == 1.0
    assert "a second series" in flattering.note
    assert [item.bursts for item in honest.classes] == [6, 6]


def test_intervals_are_those_of_wilson() -> None:
    taught = taught_of(CASES["series"], 1.5)
    found = assessment(head_of(HeadKind.IMPRINTED), taught)
    z = normal_quantile(0.95)
    series = sum(item.bursts for item in found.classes)
    for item, seen in ((found, series), *((item, item.bursts) for item in found.classes)):
        assert item.accuracy == item.right / item.judged
        assert seen < item.judged  # pictures of one series are no observations of their own
        interval = wilson(item.accuracy * seen, seen, z)
        assert (item.low, item.high) == (interval.low, interval.high)
    single = taught_of(CASES["one series each"], 1.5)
    found = assessment(head_of(HeadKind.IMPRINTED), single)
    interval = wilson(found.right, found.judged, z)
    assert (found.low, found.high) == pytest.approx((interval.low, interval.high))
    for item in found.classes:
        assert item.low is not None
        assert item.high is not None
        assert item.accuracy is not None
        assert item.low <= item.accuracy <= item.high


def test_a_single_picture_is_not_judged_unless_the_release_has_its_class() -> None:
    rows = [("a", "1"), ("a", "2"), ("b", "1")]
    found = assessment(head_of(HeadKind.KNN), taught_of(rows))
    assert (found.judged, found.pictures) == (2, 3)
    assert found.classes[1].accuracy is None
    assert "a single picture: b" in found.note
    assert assessment(head_of(HeadKind.KNN, ("b",)), taught_of(rows)).judged == 3


def test_nothing_and_one_class() -> None:
    head = head_of(HeadKind.IMPRINTED)
    nothing = assessment(head, taught_of([]))
    assert (nothing.judged, nothing.accuracy, nothing.held_out) == (0, None, "")
    assert nothing.words == ""
    only = assessment(head, taught_of([("a", "1"), ("a", "2")]))
    assert (only.judged, only.accuracy) == (0, None)  # every picture gets its only answer
    assert "only class" in only.words
    single = assessment(head, taught_of([("a", "1"), ("b", "1")]))
    assert single.accuracy is None
    assert "single picture: a, b" in single.words


@pytest.mark.parametrize("kind", list(HeadKind))
def test_a_picture_of_another_class_is_to_be_removed_first(kind: HeadKind) -> None:
    taught = taught_of([(name, "") for name in "aaaaaabbbbbb"], 0.2)
    examples = list(taught.examples)
    examples[8] = Example(label="a", image=examples[8].image)  # a mistake of the user
    mistaken = Taught(variant="v", model="m", examples=tuple(examples), vectors=taught.vectors)
    found = assessment(head_of(kind), mistaken)
    assert [item.image for item in found.remove] == [examples[8].image]
    assert (found.remove[0].label, found.remove[0].answered) == ("a", "b")
    assert "taken for b and it looks more like a picture of b" in found.remove[0].why
    assert not assessment(head_of(kind), taught).remove


def test_a_picture_that_two_classes_have_is_to_be_removed() -> None:
    taught = taught_of([(name, "") for name in "aaaabbbb"], 0.2)
    twice = Example(label="b", image=taught.examples[0].image)
    both = Taught(
        variant="v",
        model="m",
        examples=(*taught.examples, twice),
        vectors=np.concatenate([taught.vectors, taught.vectors[:1]]),
    )
    found = assessment(head_of(HeadKind.IMPRINTED), both)
    assert [item.image for item in found.remove] == [twice.image]  # not as what it is
    assert "the same picture was taught as" in found.remove[0].why


def test_there_is_a_bound_of_pictures_to_look_at() -> None:
    taught = taught_of([(name, "") for name in "ab" * 40], 9.0)
    found = assessment(head_of(HeadKind.KNN), taught)
    assert len(found.remove) == MOST_DOUBTS
    assert all(item.why.endswith(".") for item in found.remove)


@pytest.mark.parametrize("kind", list(HeadKind))
def test_a_picture_without_features_is_judged_too(kind: HeadKind) -> None:
    taught = taught_of([(name, "") for name in "aabb"])
    taught.vectors[:2] = 0
    found = assessment(head_of(kind), taught)
    assert found.judged == 4
    assert all(item.image for item in found.remove)
