"""Which file runs by default, and what is said where the scores prove nothing."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
from numpy.typing import NDArray

from converters.base import TARGETS
from edge.dataset.pictures import Picture
from edge.errors import ConversionError, InferenceError
from edge.evaluation.chance import Level
from edge.evaluation.multilabel import LabelTruth
from edge.pipeline import choice
from edge.pipeline.choice import accuracy_shortcoming
from edge.pipeline.report import FailedVariant, VariantReport
from edge.pipeline.scoring import (
    LONGEST_REASON,
    Failures,
    first_sentence,
    reference_score,
    variant_report,
)
from edge.pipeline.tasks.report import LEAST_ALIKE, TaskVariant
from edge.pipeline.tasks.verdict import accuracy_shortcoming as task_shortcoming
from edge.pipeline.verdict import doubts
from edge.runtime.output import OutputKind, OutputSpec
from tests.unit.measured_turns import as_fast

LABELS = ("a", "b", "c")
IMAGES = 60


def answers(*classes: int) -> NDArray[np.float32]:
    """(images, 3) scores with those best classes, and other scores in every row."""
    table = np.full((len(classes), 3), 0.1, np.float32)
    table[np.arange(len(classes)), list(classes)] = 0.5 + np.arange(len(classes)) / 1000
    return table


TRUTH = [index % 3 for index in range(IMAGES)]
RIGHT = answers(*TRUTH)
TURNED = answers(*[(index + 1) % 3 for index in range(IMAGES)])


def scored(
    name: str,
    table: NDArray[np.float32],
    reference: NDArray[np.float32] = RIGHT,
    truth: list[int] | list[None] = TRUTH,
) -> VariantReport:
    return variant_report(
        name, table, truth, reference, latency_ms=1.0, latency={}, size_bytes=1, convert_seconds=0
    )


def choose_default(variants: Sequence[Any], max_drop_points: float | None = None) -> str:
    """Choose among files of which none is faster or larger than another."""
    turns = as_fast(*(item.name for item in variants))
    return choice.choose_default(variants, turns, max_drop_points)


def default_reason(
    variants: Sequence[VariantReport], failed: Sequence[FailedVariant], default: str
) -> str:
    turns = as_fast(*(item.name for item in variants))
    lacks = lambda item: accuracy_shortcoming(item, None)  # noqa: E731
    return choice.default_reason(variants, failed, default, turns, lacks)


def pictures(truth: list[int] | list[None]) -> list[Picture]:
    return [Picture(Path(f"{n}.png"), f"{n:064x}", label) for n, label in enumerate(truth)]


def said(
    *variants: VariantReport,
    reference: NDArray[np.float32] = RIGHT,
    truth: list[int] | list[None] = TRUTH,
) -> list[str]:
    found = reference_score(reference, pictures(truth))
    return doubts(found, variants, choose_default(variants), pictures(truth), LABELS)


def test_figures_of_a_file_have_intervals() -> None:
    found = scored("tflite-int8", answers(*TRUTH[:-6], *[(c + 1) % 3 for c in TRUTH[-6:]]))
    assert (found.top1, found.agreement, found.drop_points) == (0.9, 0.9, 10)
    assert (
        found.top1_interval == found.agreement_interval == pytest.approx((0.799, 0.953), abs=1e-3)
    )
    assert found.drop_interval is not None
    low, high = found.drop_interval
    assert low < 10 < high
    assert found.chance_agreement == pytest.approx(1 / 3, abs=0.01)


def test_a_file_that_is_right_as_often_by_chance_is_not_the_default() -> None:
    """Both are right on a third of the images, and never on the same ones: a drop of 0."""
    random = np.random.default_rng(0)
    truth = random.integers(0, 3, IMAGES).tolist()
    keras = answers(*[c if n % 3 == 0 else (c + 1) % 3 for n, c in enumerate(truth)])
    turned = answers(*[c if n % 3 == 1 else (c + 2) % 3 for n, c in enumerate(truth)])
    fp32 = scored("tflite-fp32", keras, keras, truth)
    int8 = scored("tflite-int8", turned, keras, truth)
    assert (int8.drop_points, int8.agreement) == (0, 0)
    assert choose_default([fp32, int8]) == "tflite-fp32"
    assert choose_default([fp32, int8], 50.0) == "tflite-fp32"  # no budget makes up for it
    assert choose_default([int8]) == "tflite-int8"


@pytest.mark.parametrize("labelled", [True, False])
def test_turned_answers_are_named_with_their_figures(labelled: bool) -> None:
    truth = TRUTH if labelled else [None] * IMAGES
    fp32 = scored("tflite-fp32", RIGHT, RIGHT, truth)
    int8 = scored("tflite-int8", TURNED, RIGHT, truth)
    assert int8.agreement_level is Level.CHANCE
    assert choose_default([fp32, int8]) == "tflite-fp32"
    text = " ".join(said(fp32, int8, truth=truth))
    assert "tflite-int8 agrees with the Keras model on 0.0 %" in text
    assert "NONE OF THE FILES" not in text
    assert "NONE OF THE FILES" in " ".join(said(int8, truth=truth))


def test_constant_answers_are_never_the_default() -> None:
    fp32, few = scored("tflite-fp32", RIGHT), list(range(3))
    int8 = scored("tflite-int8", np.full((IMAGES, 3), 1 / 3, np.float32))
    assert int8.constant
    assert choose_default([fp32, int8], 100.0) == "tflite-fp32"
    assert any("same scores" in text for text in said(fp32, int8))
    # Three images are too few for a test, but not for this.
    tiny = scored("tflite-int8", answers(1, 1, 1)[[0, 0, 0]], answers(*few), few)
    assert not tiny.is_faithful


def test_many_changed_answers_are_not_the_default_though_no_accuracy_is_lost() -> None:
    """A weak model: half right. The file is right on as many, but answers 30 % otherwise."""
    keras = answers(*[c if n % 2 else (c + 1) % 3 for n, c in enumerate(TRUTH)])
    table = keras.copy()
    table[:20], table[20:40] = RIGHT[:20], TURNED[20:40]
    int8, fp32 = scored("tflite-int8", table, keras), scored("tflite-fp32", keras, keras)
    assert int8.drop_points is not None
    assert abs(int8.drop_points) <= 1 / 0.6
    assert int8.agreement_level is Level.LOW
    assert choose_default([fp32, replace(int8, drop_points=0.0)]) == "tflite-fp32"


def test_a_keras_model_that_guesses_is_said() -> None:
    found = reference_score(TURNED, pictures(TRUTH))
    assert (found.level, found.top1) == (Level.CHANCE, 0)
    assert found.chance == pytest.approx(1 / 3)
    text = " ".join(said(scored("tflite-int8", TURNED, TURNED), reference=TURNED))
    assert "right on 0 of the 60" in text
    assert "no better than guessing (33.3 %)" in text
    assert "another order" in text and "opposite sign" in text and "untrained" not in text
    guessed = answers(*[(c + n // 3) % 3 for n, c in enumerate(TRUTH)])
    text = " ".join(said(scored("tflite-int8", guessed, guessed), reference=guessed))
    assert "untrained" in text and "opposite sign" not in text
    one = answers(*[0] * IMAGES)
    assert reference_score(one, pictures(TRUTH)).level is Level.CHANCE
    assert reference_score(RIGHT, pictures(TRUTH)).level is Level.GOOD


def random_answers(truth: list[int], classes: int, share: float) -> NDArray[np.float32]:
    """(images, classes) scores that are right on a share of the images, and else any."""
    random = np.random.default_rng(5)
    table: NDArray[np.float32] = random.random((len(truth), classes)).astype(np.float32)
    right = random.random(len(truth)) < share
    table[right, np.array(truth)[right]] = 2
    return table


@pytest.mark.parametrize(("share", "warns"), [(0.0, True), (0.3, False), (0.9, False)])
def test_an_untrained_network_is_said_and_a_weak_one_is_not(share: float, warns: bool) -> None:
    truth = [n % 10 for n in range(400)]
    table = random_answers(truth, 10, share)
    found = reference_score(table, pictures(truth))
    file = scored("tflite-int8", table, table, truth)
    text = " ".join(doubts(found, [file], "tflite-int8", pictures(truth), [*"abcdefghij"]))
    assert ("no better than guessing" in text) == warns
    assert "exchanged" not in text


def test_labels_in_another_order_are_said_though_some_are_right() -> None:
    """Twelve classes in the order of their names as text: 0, 1, 10, 11, 2, 3 ..."""
    order = sorted(range(12), key=str)
    truth = [n % 12 for n in range(360)]
    table = random_answers([order.index(label) for label in truth], 12, 0.9)
    found = reference_score(table, pictures(truth))
    assert found.level is Level.LOW  # better than guessing: two of the twelve are in their places
    assert {item.label for item in found.exchanged} == set(range(2, 12))
    assert {item.answer for item in found.exchanged} == set(range(2, 12))
    file = scored("tflite-int8", table, table, truth)
    labels = [str(index) for index in range(12)]
    text = " ".join(doubts(found, [file], "tflite-int8", pictures(truth), labels))
    assert "the names of 10 classes seem to be exchanged" in text
    assert "of the 30 images labelled" in text
    assert "another order" in text


def test_two_mixed_up_folders_are_said_and_one_hard_class_is_not() -> None:
    truth = [n % 6 for n in range(240)]
    swapped = random_answers([{2: 3, 3: 2}.get(label, label) for label in truth], 6, 0.95)
    assert len(reference_score(swapped, pictures(truth)).exchanged) == 2
    hard = random_answers([{2: 3}.get(label, label) for label in truth], 6, 0.95)
    assert reference_score(hard, pictures(truth)).exchanged == ()
    few = random_answers([{2: 3, 3: 2}.get(label, label) for label in truth[:18]], 6, 1)
    assert reference_score(few, pictures(truth[:18])).exchanged == ()


def test_pictures_with_several_labels_are_not_called_unlabelled() -> None:
    table = np.eye(3, dtype=np.int8)[TRUTH[:36]]
    truth = LabelTruth(labels=LABELS, table=table)
    output = OutputSpec(kind=OutputKind.MULTI_LABEL, thresholds=(0.5,) * 3)
    found = reference_score(RIGHT[:36], pictures(TRUTH[:36]), output, truth)
    file = scored("tflite-int8", RIGHT[:36], RIGHT[:36], TRUTH[:36])
    text = " ".join(doubts(found, [file], "tflite-int8", pictures(TRUTH[:36]), LABELS))
    assert found.labelled == 36
    assert "without labels" not in text


def test_few_images_are_said_with_the_number_that_would_tell() -> None:
    few = [0, 1, 2, 0, 1, 2]
    text = " ".join(said(scored("tflite-int8", answers(*few), answers(*few), few), truth=few,
                         reference=answers(*few)))  # fmt: skip
    assert "35 would tell it to 5 points" in text
    assert "at least 381" in text
    assert "3 of 3 classes have fewer than 21" in text
    many: list[Any] = [index % 3 for index in range(600)]
    good = scored("tflite-int8", answers(*many), answers(*many), many)
    assert said(good, truth=many, reference=answers(*many)) == []


def test_images_of_one_answer_cannot_tell() -> None:
    same = answers(*[1] * IMAGES)
    none: list[None] = [None] * IMAGES
    text = " ".join(said(scored("tflite-int8", same, same, none), truth=none, reference=same))
    assert "cannot tell whether the files agree" in text


class Notes:
    """Progress that keeps its notes."""

    def __init__(self) -> None:
        self.notes: list[str] = []

    def note(self, text: str) -> None:
        self.notes.append(text)


def test_a_file_that_fails_is_a_row_unless_it_was_asked_for() -> None:
    progress = Notes()
    failures = Failures(("onnx-fp32",), progress.note)
    failures(TARGETS["onnx-int8"], ConversionError("no such operator", hint="use another"))
    failures(TARGETS["tflite-fp16"], InferenceError("it answers with NaN"))
    assert [(item.name, item.reason) for item in failures.noted] == [
        ("onnx-int8", "no such operator"),
        ("tflite-fp16", "it answers with NaN"),
    ]
    assert failures.noted[0].hint == "use another"
    assert len(progress.notes) == 2
    failures.check([scored("tflite-fp32", RIGHT)])
    with pytest.raises(ConversionError, match="no such operator; it answers with NaN"):
        failures.check([])
    with pytest.raises(ConversionError, match=r"onnx-fp32.*no room") as caught:
        failures(TARGETS["onnx-fp32"], ConversionError("no room"))
    assert caught.value.exit_code == 4
    assert caught.value.hint


@pytest.mark.parametrize("drop", [None, 0.4, 12.0])
def test_why_the_default_of_a_task_is_not_the_int8_file(drop: float | None) -> None:
    """Most of its answers are others, however few points of a low score that costs."""
    both = [
        task_variant("onnx-int8", agreement=0.058, drop=drop),
        task_variant("onnx-fp32", agreement=1.0, drop=None if drop is None else 0.0),
    ]
    assert choose_default(both) == "onnx-fp32"
    assert "5.8 %" in task_shortcoming(both[0], None, "mAP")
    assert task_shortcoming(both[1], None, "mAP") == ""


def task_variant(name: str, *, agreement: float, drop: float | None) -> TaskVariant:
    made = SimpleNamespace(name=name, agreement=agreement, drop_points=drop, size_bytes=1)
    made.is_faithful, made.agreement_level = agreement >= LEAST_ALIKE, None
    made.tells, made.drop_interval, made.agreement_interval = True, None, None
    return cast(TaskVariant, made)


def test_a_budget_decides_what_a_file_of_a_task_lacks() -> None:
    mixed = task_variant("onnx-mixed", agreement=0.953, drop=None)
    assert "95.3 %" in task_shortcoming(mixed, None, "mAP")
    assert task_shortcoming(mixed, 5.0, "mAP") == ""


def test_a_reason_is_one_sentence_of_whole_words() -> None:
    assert first_sentence("it has 1.5 faults. See the list\nof them") == "it has 1.5 faults"
    long = "it refused " + "operator_name " * 60
    found = first_sentence(long)
    assert len(found) <= LONGEST_REASON + 4
    assert found.removesuffix(" ...").endswith("operator_name")


def test_why_the_default_is_not_the_int8_file() -> None:
    fp32 = replace(scored("tflite-fp32", RIGHT), size_bytes=4)
    worse = scored("tflite-int8", answers(*TRUTH[:-6], *[(c + 1) % 3 for c in TRUTH[-6:]]))
    assert choose_default([fp32, worse]) == "tflite-fp32"
    lost = "loses 10.0 points of top-1 (95 % interval 3.3 to 20.1), where 1 may be lost"
    assert lost in default_reason([fp32, worse], [], "tflite-fp32")
    assert any("tflite-int8 loses 10.0 points" in text for text in said(fp32, worse))
    nothing = [None] * IMAGES
    unlabelled = scored("tflite-int8", answers(*TRUTH[:-6], *TRUTH[:6][::-1]), RIGHT, nothing)
    text = default_reason([fp32, unlabelled], [], "tflite-fp32")
    assert f"{100 * (unlabelled.agreement or 0):.1f} %" in text
    assert "97 %" in text
    assert default_reason([fp32], [], "tflite-fp32") == ""  # nobody wanted one
    lost = FailedVariant(name="tflite-int8", reason="no room", hint="")
    assert "could not be made" in default_reason([fp32], [lost], "tflite-fp32")


def test_answers_that_are_chosen_among_equal_scores_are_said() -> None:
    """A model of many classes that is unsure of all: steps of 1/256 tell few of them apart."""
    generator = np.random.default_rng(0)
    unsure = generator.uniform(0.015, 0.025, (IMAGES, 50)).astype(np.float32)
    rounded = np.round(unsure * 256) / 256
    found = scored("tflite-int8", rounded, unsure, [None] * IMAGES)
    (note,) = found.notes
    assert "for 60 of 60 images several classes share the best score" in note
    assert scored("onnx-int8", unsure, unsure, [None] * IMAGES).notes == ()
    assert scored("tflite-int8", np.round(RIGHT * 256) / 256).notes == ()
    assert scored("tflite-fp16", rounded, unsure, [None] * IMAGES).notes == ()
    same = np.tile(rounded[:1], (IMAGES, 1))  # that it gives all images the same weighs more
    assert scored("tflite-int8", same, unsure, [None] * IMAGES).notes == ()
    # What the float model cannot tell apart either is no fault of the file.
    assert scored("tflite-int8", rounded, rounded, [None] * IMAGES).notes == ()


def test_a_file_that_changes_many_answers_is_said_though_as_many_are_right() -> None:
    truth = TRUTH * 5
    model = answers(*[(label + (index % 2)) % 3 for index, label in enumerate(truth)])
    # Of 300 images the model has half right, and so has the file, but 40 times another half.
    other = [(label + (index % 2)) % 3 for index, label in enumerate(truth)]
    for index in range(40):
        other[index] = (truth[index] + (index + 1) % 2) % 3
    found = scored("tflite-int8", answers(*other), model, truth)
    assert found.drop_points == 0
    reference = reference_score(model, [Picture(Path("x"), "0", label) for label in truth])
    said = doubts(reference, [found], "tflite-int8", [], LABELS)
    assert any("tflite-int8 gives another class than the Keras model on 13.3 %" in x for x in said)
    worse = answers(*[2 if index < 40 else item for index, item in enumerate(other)])
    lost = scored("tflite-int8", worse, model, truth)
    assert lost.drop_points is not None and lost.drop_points > 1
    said = doubts(reference, [lost], "tflite-int8", [], LABELS)
    assert len([text for text in said if text.startswith("tflite-int8 ")]) == 1
    alike = scored("tflite-int8", model, model, truth)
    assert not any("another class" in x for x in doubts(reference, [alike], "x", [], LABELS))
