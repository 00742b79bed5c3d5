"""Which file runs by default, and what is said where the scores prove nothing."""

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
from edge.pipeline.report import FailedVariant, VariantReport
from edge.pipeline.scoring import (
    LONGEST_REASON,
    Failures,
    first_sentence,
    reference_score,
    variant_report,
)
from edge.pipeline.tasks.report import LEAST_ALIKE, TaskVariant
from edge.pipeline.tasks.verdict import default_reason as task_reason
from edge.pipeline.verdict import choose_default, default_reason, doubts
from edge.runtime.output import OutputKind, OutputSpec

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
    default = choose_default(both)
    assert default == "onnx-fp32"
    assert "5.8 %" in task_reason(both, [], default, "mAP", None)


def task_variant(name: str, *, agreement: float, drop: float | None) -> TaskVariant:
    made = SimpleNamespace(name=name, agreement=agreement, drop_points=drop)
    made.is_faithful, made.agreement_level = agreement >= LEAST_ALIKE, None
    return cast(TaskVariant, made)


def test_without_an_int8_file_the_reason_is_that_of_the_next_smaller_one() -> None:
    whole = task_variant("onnx-fp32", agreement=1.0, drop=None)
    mixed = task_variant("onnx-mixed", agreement=0.953, drop=None)
    default = choose_default([mixed, whole])
    assert default == "onnx-fp32"
    said = task_reason([mixed, whole], [], default, "mAP", None)
    assert "onnx-fp32 and not onnx-mixed" in said and "95.3 %" in said
    assert task_reason([mixed, whole], [], "onnx-mixed", "mAP", 5.0) == ""
    fp32 = scored("tflite-fp32", RIGHT)
    worse = scored("tflite-mixed", answers(*TRUTH[:-6], *[(c + 1) % 3 for c in TRUTH[-6:]]))
    assert "not tflite-mixed, which loses 10.0 points" in default_reason(
        [fp32, worse], [], "tflite-fp32"
    )


def test_a_reason_is_one_sentence_of_whole_words() -> None:
    assert first_sentence("it has 1.5 faults. See the list\nof them") == "it has 1.5 faults"
    long = "it refused " + "operator_name " * 60
    found = first_sentence(long)
    assert len(found) <= LONGEST_REASON + 4
    assert found.removesuffix(" ...").endswith("operator_name")


def test_why_the_default_is_not_the_int8_file() -> None:
    fp32 = scored("tflite-fp32", RIGHT)
    worse = scored("tflite-int8", answers(*TRUTH[:-6], *[(c + 1) % 3 for c in TRUTH[-6:]]))
    assert default_reason([fp32, worse], [], choose_default([fp32, worse])) != ""
    assert "10.0 points" in default_reason([fp32, worse], [], "tflite-fp32")
    nothing = [None] * IMAGES
    unlabelled = scored("tflite-int8", answers(*TRUTH[:-6], *TRUTH[:6][::-1]), RIGHT, nothing)
    text = default_reason([fp32, unlabelled], [], "tflite-fp32")
    assert f"{100 * (unlabelled.agreement or 0):.1f} %" in text
    assert "97 %" in text
    assert default_reason([fp32, scored("tflite-int8", RIGHT)], [], "tflite-int8") == ""
    assert default_reason([fp32], [], "tflite-fp32") == ""  # nobody wanted one
    lost = FailedVariant(name="tflite-int8", reason="no room", hint="")
    assert "could not be made" in default_reason([fp32], [lost], "tflite-fp32")
