"""What a model's values mean: found out, stated, applied the same on host and device."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edge.dataset.pictures import Picture
from edge.errors import BundleError, InferenceError, ModelLoadError, UsageError
from edge.evaluation.output import Ending, GraphEnd, like_fitted_to_0_and_1, output_of
from edge.pipeline.model_output import (
    check_alone,
    check_numbers,
    probability_by_labels,
    two_labels,
    with_threshold,
)
from edge.pipeline.options import ExportOptions, OutputOptions
from edge.runtime.head import activated, class_probabilities
from edge.runtime.output import (
    PROBABILITIES,
    Activation,
    OutputActivation,
    OutputKind,
    OutputSpec,
)
from edge.runtime.postprocess import answers, best_class, top_k

SINGLE, MULTI = OutputKind.SINGLE_LABEL, OutputKind.MULTI_LABEL
NONE, SOFTMAX, SIGMOID = Activation.NONE, Activation.SOFTMAX, Activation.SIGMOID


def table(*rows: tuple[float, ...]) -> np.ndarray[Any, np.dtype[np.float32]]:
    return np.array(rows, np.float32)


LOGITS = table((2.0, -1.0, 0.5), (-3.0, 4.0, 0.0))
SHARES = table((0.7, 0.2, 0.1), (0.1, 0.1, 0.8))
LABELS = table((0.9, 0.8, 0.1), (0.0, 0.1, 0.2))


@pytest.mark.parametrize(
    ("ending", "columns", "values", "kind", "activation"),
    [
        (Ending.SOFTMAX, 3, None, SINGLE, NONE),
        (Ending.SIGMOID, 1, None, SINGLE, NONE),
        (Ending.SIGMOID, 3, None, MULTI, NONE),
        (Ending.LINEAR, 3, LOGITS, SINGLE, SOFTMAX),
        (Ending.LINEAR, 1, LOGITS[:, :1], SINGLE, SIGMOID),
        (Ending.LINEAR, 3, SHARES, SINGLE, NONE),  # normalised inside the weights
        (Ending.OTHER, 3, SHARES, SINGLE, NONE),  # a softmax spelled out
        (Ending.OTHER, 3, np.log(SHARES), SINGLE, SOFTMAX),  # log-softmax: softmax undoes it
        (Ending.OTHER, 3, LOGITS, SINGLE, SOFTMAX),
        (Ending.OTHER, 3, LABELS, MULTI, NONE),  # hard sigmoids
        (Ending.OTHER, 1, LABELS[:, :1], SINGLE, NONE),
        (Ending.OTHER, 3, 100 * SHARES, SINGLE, Activation.SHARES),  # per cents
        (Ending.TANH, 1, np.tanh(LOGITS[:, :1]), SINGLE, Activation.HALF_TANH),
        (Ending.TANH, 3, np.tanh(LOGITS), SINGLE, SOFTMAX),
    ],
)
def test_what_the_values_are_is_found_out(
    ending: Ending, columns: int, values: Any, kind: OutputKind, activation: Activation
) -> None:
    found = output_of(GraphEnd(ending, "the last operator"), columns, values, OutputActivation.AUTO)
    assert (found.kind, found.activation) == (kind, activation)
    assert "the last operator" in found.evidence
    assert len(found.thresholds) == (columns if kind is MULTI else 0)


@pytest.mark.parametrize(
    ("asked", "columns", "kind", "activation"),
    [
        (OutputActivation.LOGITS, 3, SINGLE, SOFTMAX),
        (OutputActivation.LOGITS, 1, SINGLE, SIGMOID),
        (OutputActivation.MULTI_LABEL_LOGITS, 3, MULTI, SIGMOID),
        (OutputActivation.SIGMOID, 3, MULTI, NONE),
        (OutputActivation.SIGMOID, 1, SINGLE, NONE),
        (OutputActivation.SOFTMAX, 3, SINGLE, Activation.SHARES),  # divided by their sum
    ],
)
def test_what_the_user_says_settles_it(
    asked: OutputActivation, columns: int, kind: OutputKind, activation: Activation
) -> None:
    end = GraphEnd(Ending.OTHER, "the last operator")
    found = output_of(end, columns, LABELS[:, :columns], asked)
    assert (found.kind, found.activation) == (kind, activation)
    assert "--output-activation" in found.evidence


@pytest.mark.parametrize(
    ("ending", "columns", "values", "asked"),
    [
        (Ending.SOFTMAX, 1, None, OutputActivation.AUTO),  # always 1
        (Ending.SOFTMAX, 3, LOGITS * 0 + 1, OutputActivation.AUTO),  # along another axis
        (Ending.OTHER, 3, LOGITS * 0 + 1, OutputActivation.AUTO),
        (Ending.SOFTMAX, 3, LABELS, OutputActivation.AUTO),
        (Ending.OTHER, 3, LOGITS * 0 + 1, OutputActivation.SOFTMAX),
        (Ending.OTHER, 3, SHARES, OutputActivation.LOGITS),  # a softmax over a softmax
        (Ending.OTHER, 1, LABELS[:, :1], OutputActivation.SOFTMAX),
        (Ending.LINEAR, 3, LOGITS, OutputActivation.SOFTMAX),
        (Ending.LINEAR, 3, LOGITS, OutputActivation.SIGMOID),
        (Ending.LINEAR, 1, LOGITS[:, :1], OutputActivation.MULTI_LABEL_LOGITS),
    ],
)
def test_what_values_cannot_be_is_refused(
    ending: Ending, columns: int, values: Any, asked: OutputActivation
) -> None:
    with pytest.raises(UsageError) as raised:
        output_of(GraphEnd(ending, "the last operator"), columns, values, asked)
    assert raised.value.hint


@pytest.mark.parametrize(
    ("outputs", "activation"),
    [
        (LOGITS[:, :1], SIGMOID),
        *[(LOGITS * by, activation) for by in (1, 100, -100) for activation in (SOFTMAX, SIGMOID)],
    ],
)
def test_the_runtime_makes_probabilities(outputs: Any, activation: Activation) -> None:
    kind = MULTI if activation is SIGMOID and outputs.shape[1] > 1 else SINGLE
    found = class_probabilities(outputs, None, OutputSpec(kind=kind, activation=activation))
    assert found.dtype == np.float32
    assert ((found >= 0) & (found <= 1)).all()
    assert found.shape[1] == max(2, outputs.shape[1])
    if kind is SINGLE:
        assert found.sum(axis=1) == pytest.approx(np.ones(len(found)))
    if activation is SIGMOID and outputs.shape[1] == 1:
        wanted = 1 / (1 + np.exp(-outputs.astype(np.float64)))
        assert found[:, 1:] == pytest.approx(wanted, abs=1e-6)


def test_one_value_is_two_classes_of_which_it_is_the_second() -> None:
    assert activated(table((0.25,), (0.75,)), PROBABILITIES).tolist() == [
        [0.75, 0.25],
        [0.25, 0.75],
    ]


@pytest.mark.parametrize("values", [LOGITS, LOGITS[:, :1] + 5])
def test_values_that_are_no_probabilities_are_never_an_answer(values: Any) -> None:
    """A bundle of before whose model ended in logits said ``circle 189.3 %``."""
    with pytest.raises(InferenceError, match="0 to 1"):
        class_probabilities(values, None)


@pytest.mark.parametrize("values", [SHARES * 0 + 1, LABELS[:1], SHARES / 2])
def test_classes_that_sum_to_something_else_are_never_an_answer(values: Any) -> None:
    """A softmax along another axis said 100 % of each of three classes."""
    with pytest.raises(InferenceError, match="sum to"):
        class_probabilities(values, None)
    several = OutputSpec(kind=MULTI, thresholds=(0.5,) * 3)
    assert class_probabilities(values, None, several) is values


@pytest.mark.parametrize("classes", [2, 3, 1000])
def test_rounding_of_many_probabilities_passes(classes: int) -> None:
    logits = np.random.default_rng(classes).normal(0, 3, (50, classes)).astype(np.float32)
    shares = class_probabilities(logits, None, OutputSpec(activation=SOFTMAX))
    for rounded in (np.round(shares * 256) / 256, shares.astype(np.float16).astype(np.float32)):
        assert class_probabilities(rounded, None) is rounded
        end = GraphEnd(Ending.SOFTMAX, "the last operator")
        assert output_of(end, classes, rounded, OutputActivation.AUTO).plain


@pytest.mark.parametrize(
    ("values", "activation", "wanted"),
    [
        (100 * SHARES, Activation.SHARES, SHARES),
        (table((0.9, 0.6, 0.0)), Activation.SHARES, table((0.6, 0.4, 0.0))),
        (table((0.0, 0.0)), Activation.SHARES, table((0.5, 0.5))),
        (table((-0.5,), (0.5,)), Activation.HALF_TANH, table((0.75, 0.25), (0.25, 0.75))),
        (table((-0.2,), (1.2,)), Activation.CLIP, table((1, 0), (0, 1))),
    ],
)
def test_other_values_become_probabilities(
    values: Any, activation: Activation, wanted: Any
) -> None:
    found = class_probabilities(values, None, OutputSpec(activation=activation))
    assert found == pytest.approx(wanted, abs=1e-5)
    assert found.dtype == np.float32


def test_an_answer_that_depends_on_the_other_pictures_is_refused() -> None:
    along_batch = SHARES / SHARES.sum(axis=0)
    with pytest.raises(UsageError, match="depends on the pictures beside it"):
        check_alone(np.ones(3, np.float32), along_batch, 0)
    check_alone(SHARES[1] + 1e-4, SHARES, 1)
    check_alone(LOGITS[1] * 1000, LOGITS * 1000, 1)


LOW, HIGH = np.linspace(-0.04, 0.35, 12), np.linspace(0.6, 0.9, 12)
FITTED = np.concatenate([LOW, HIGH])[:, None].astype(np.float32)
OF_SECOND = np.arange(24) >= 12


@pytest.mark.parametrize("swapped", [False, True])
def test_labelled_pictures_tell_a_probability_from_a_logit(swapped: bool) -> None:
    """A linear value fitted to 0 and 1 reaches -0.04 to 0.9: a sigmoid of it tells nothing."""
    linear = GraphEnd(Ending.LINEAR, "the last operator")
    assert like_fitted_to_0_and_1(linear, FITTED)
    asked, why = probability_by_labels(FITTED[:, 0], OF_SECOND ^ swapped)
    assert asked is OutputActivation.SIGMOID
    assert "24 labelled pictures" in why
    found = output_of(linear, 1, FITTED, asked, why)
    assert "--output-activation" not in found.evidence and why in found.evidence
    assert found.activation is Activation.CLIP
    shares = class_probabilities(FITTED, None, found)
    assert shares[:, 1] == pytest.approx(FITTED[:, 0].clip(0, 1))


@pytest.mark.parametrize("second", [OF_SECOND[:0], np.zeros(24, bool), np.arange(24) % 2 == 1])
def test_a_doubt_that_pictures_do_not_settle_stops(second: Any) -> None:
    with pytest.raises(UsageError) as raised:
        probability_by_labels(FITTED[: len(second), 0], second)
    assert "sigmoid" in raised.value.hint and "logits" in raised.value.hint


@pytest.mark.parametrize("spread", [0.05, 1, 10])
def test_logits_lie_on_both_sides_of_0(spread: float) -> None:
    values = np.random.default_rng(0).normal(0, spread, (16, 1)).astype(np.float32)
    assert not like_fitted_to_0_and_1(GraphEnd(Ending.LINEAR, "the last operator"), values)


@pytest.mark.parametrize("asked", [OutputActivation.LOGITS, OutputActivation.MULTI_LABEL_LOGITS])
def test_probabilities_that_are_called_logits_are_said(asked: OutputActivation) -> None:
    found = output_of(GraphEnd(Ending.SIGMOID, "the last operator"), 3, LABELS, asked)
    assert "0 to 0.9 on 2 pictures may be probabilities already" in found.evidence


def test_rounding_of_integers_passes() -> None:
    values = table((1.0039, -0.0039))
    assert class_probabilities(values, None) is values


def test_the_second_class_is_the_answer_from_the_threshold_on() -> None:
    scores = table((0.75, 0.25), (0.6875, 0.3125), (0.5, 0.5))
    spec = OutputSpec(thresholds=(0.3125,))
    assert best_class(scores, spec).tolist() == [0, 1, 1]
    assert best_class(scores).tolist() == [0, 0, 0]
    found = top_k(scores[1], ["no", "yes"], 2, spec)
    assert [(item.label, item.score) for item in found] == [("yes", 0.3125), ("no", 0.6875)]
    assert [item.label for item in top_k(scores[1], ["no", "yes"], 1, spec)] == ["yes"]


def test_every_label_that_holds_is_an_answer() -> None:
    spec = OutputSpec(kind=MULTI, thresholds=(0.5, 0.75, 0.05))
    found = top_k(LABELS[0], ["a", "b", "c"], 1, spec)
    assert [item.label for item in found] == ["a", "b", "c"]
    assert [item.label for item in top_k(table((0.1, 0.2, 0.0))[0], ["a", "b", "c"], 2, spec)] == [
        "b",
        "a",
    ]
    same = answers(table((0.9, 0.8, 0.0), (0.6, 0.76, 0.01), (0.4, 0.9, 0.0)), spec)
    assert same[0] == same[1] != same[2]


@pytest.mark.parametrize("labels", [2, 3, 65])
def test_sets_of_any_number_of_labels_are_told_apart(labels: int) -> None:
    spec = OutputSpec(kind=MULTI, thresholds=(0.5,) * labels)
    codes = answers(np.vstack([np.eye(labels), np.zeros((1, labels))]).astype(np.float32), spec)
    assert len(set(codes.tolist())) == labels + 1


SPECS = [
    (OutputSpec(), 4),
    (OutputSpec(thresholds=(0.3,), evidence="why"), 2),
    (OutputSpec(kind=MULTI, activation=SIGMOID, thresholds=(0.5, 0.25, 0.75)), 3),
]


@pytest.mark.parametrize(("spec", "labels"), SPECS)
def test_the_manifest_field_is_read_as_it_was_written(spec: OutputSpec, labels: int) -> None:
    assert OutputSpec.from_json(spec.to_json(), labels=labels) == spec


@pytest.mark.parametrize(
    "change",
    [
        {"kind": "several"},
        {"activation": "relu"},
        {"thresholds": [0.5]},
        {"thresholds": [0.5, 0.5, 1.0]},
        {"thresholds": [0.5, 0.5, "0.5"]},
        {"thresholds": [0.5, 0.5, True]},
        {"thresholds": [0.5, 0.5, float("nan")]},
        {"thresholds": None},
        {"evidence": 1},
        {"more": 1},
    ],
)
def test_a_manifest_field_that_does_not_fit_is_refused(change: dict[str, Any]) -> None:
    spec = OutputSpec(kind=MULTI, thresholds=(0.5, 0.25, 0.75))
    with pytest.raises(BundleError):
        OutputSpec.from_json(spec.to_json() | change, labels=3)


def pictures(*labels: int) -> list[Picture]:
    return [Picture(Path(f"{n}.png"), str(n), label) for n, label in enumerate(labels)]


def two(*values: float) -> Any:
    second = np.array(values, np.float32)
    return np.stack([1 - second, second], axis=1)


BIASED = [0.02, 0.05, 0.04, 0.1, 0.08, 0.03, 0.3, 0.35, 0.4, 0.32, 0.45, 0.41]
CLASSES = pictures(*[0] * 6, *[1] * 6)


def test_labelled_pictures_choose_the_threshold() -> None:
    found = with_threshold(
        PROBABILITIES, ("no", "yes"), two(*BIASED), CLASSES, told=False, fixed=False
    )
    assert 0.1 < found.threshold < 0.3
    assert best_class(two(*BIASED), found).tolist() == [0] * 6 + [1] * 6
    assert f"{found.threshold:g}" in found.evidence
    assert "12 of 12" in found.evidence


def test_a_threshold_that_is_better_by_chance_is_not_taken() -> None:
    values = [0.1, 0.2, 0.3, 0.1, 0.2, 0.3, 0.4, 0.9, 0.8, 0.7, 0.9, 0.8]  # one more is right
    found = with_threshold(
        PROBABILITIES, ("no", "yes"), two(*values), CLASSES, told=False, fixed=False
    )
    assert found.thresholds == ()
    assert "11 of 12" in found.evidence


def test_swapped_classes_are_found_and_said() -> None:
    swapped = two(*[1 - value for value in BIASED])
    with pytest.raises(UsageError, match="100 % of all pairs") as raised:
        with_threshold(PROBABILITIES, ("no", "yes"), swapped, CLASSES, told=False, fixed=False)
    assert "--positive-class" in raised.value.hint
    kept = with_threshold(PROBABILITIES, ("no", "yes"), swapped, CLASSES, told=True, fixed=True)
    assert kept.thresholds == ()


def test_an_untrained_network_that_leans_the_other_way_is_not_swapped() -> None:
    """Wrong in 71 % of all pairs of 2 x 24 pictures, p = 0.006: a trained network is surer."""
    random = np.random.default_rng(2)
    scores = two(*random.normal(0.52, 0.02, 24), *random.normal(0.505, 0.02, 24))
    classes = pictures(*[0] * 24, *[1] * 24)
    found = with_threshold(PROBABILITIES, ("no", "yes"), scores, classes, told=False, fixed=False)
    assert found.kind is SINGLE


def test_without_pictures_of_both_classes_the_threshold_is_one_half() -> None:
    found = with_threshold(
        PROBABILITIES, ("no", "yes"), two(0.2, 0.1), pictures(1, 1), told=False, fixed=False
    )
    assert found.threshold == 0.5


@pytest.mark.parametrize(
    ("named", "positive", "labels"),
    [
        (None, None, ("cat", "dog")),  # the class folders, by the alphabet as Keras has them
        (None, "cat", ("dog", "cat")),
        (("ill", "well"), None, ("ill", "well")),
        (("ill", "well"), "ill", ("well", "ill")),
        (("ill",), None, ("not ill", "ill")),
    ],
)
def test_the_second_class_is_that_of_the_value(
    tmp_path: Path, named: Any, positive: str | None, labels: tuple[str, str]
) -> None:
    assert two_labels(options(tmp_path, "dog", "cat", positive=positive), named) == labels


def test_other_folders_than_two_name_no_classes(tmp_path: Path) -> None:
    assert two_labels(options(tmp_path, "a", "b", "c"), None) == ("0", "1")


@pytest.mark.parametrize(("named", "positive"), [(("a", "b", "c"), None), (("a", "b"), "c")])
def test_what_names_no_two_classes_is_refused(
    tmp_path: Path, named: tuple[str, ...], positive: str | None
) -> None:
    with pytest.raises(UsageError) as raised:
        two_labels(options(tmp_path, "a", positive=positive), named)
    assert raised.value.hint


def options(root: Path, *folders: str, positive: str | None = None) -> ExportOptions:
    for folder in folders:
        (root / "photos" / folder).mkdir(parents=True)
        (root / "photos" / folder / "1.png").write_bytes(b"")
    output = OutputOptions(output=root / "bundle", overwrite=False, cache=root / "cache")
    return ExportOptions(
        model="m.keras",
        calibration_data=root / "photos",
        output=output,
        positive_class=positive,
    )


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_answers_that_are_no_numbers_are_refused_before_any_activation_is_asked_for(
    value: float,
) -> None:
    check_numbers(None)
    check_numbers(np.zeros((3, 2), np.float32))
    with pytest.raises(ModelLoadError, match="1 of 3 pictures with NaN or infinite") as caught:
        check_numbers(np.array([[0, 1], [value, 0], [1, 0]], np.float32))
    assert "--output-activation" not in caught.value.hint
