"""Who is to blame, from the measurements alone; the only place where a kernel can be at fault."""

from itertools import combinations

import numpy as np
import pytest

from edge.cli.check.diagnosis_view import print_diagnosis
from edge.diagnosis.blame import (
    AnswerMatrix,
    Basis,
    conclusion,
    findings,
    judged,
    mismatches,
)
from edge.diagnosis.result import Culprit, Diagnosis, LayerError, MatrixRow, RowDifference
from edge.diagnosis.rows import compared, failure, pairs
from edge.runtime.spec import Variant

FLOAT = Variant(
    name="tflite-fp32", path="f", format="tflite", precision="fp32", size_bytes=1, input_dtype="x"
)
INT8 = Variant(
    name="tflite-int8", path="i", format="tflite", precision="int8", size_bytes=1, input_dtype="x"
)
ROWS = {
    "keras": None,
    "tflite-fp32": "tflite-fp32",
    "tflite-int8 reference": "tflite-int8",
    "tflite-int8 built-in": "tflite-int8",
    "tflite-int8 xnnpack": "tflite-int8",
}
IMAGES = 20


def _probabilities(noise: float = 0.0, seed: int = 1) -> np.ndarray:
    logits = np.random.default_rng(0).normal(0, 4, (IMAGES, 5))
    logits = logits + noise * np.random.default_rng(seed).normal(0, 4, logits.shape)
    shares = np.exp(logits - logits.max(axis=1, keepdims=True))
    return (shares / shares.sum(axis=1, keepdims=True)).astype(np.float32)


def _layer(name: str = "conv", **values) -> LayerError:
    given = {"accumulated": 0.02, "alone": 0.01, "explained": 0.01} | values
    return LayerError(layer=name, kind="Conv2D", tensor=name, step=0.1, sqnr_db=None, **given)


def _found(changes=None, layers=(), without=()):
    tables = {name: _probabilities(0.0 if not row else 0.005) for name, row in ROWS.items()}
    tables["tflite-fp32"] = _probabilities()
    tables |= changes or {}
    tables = {name: table for name, table in tables.items() if name not in without}
    reference = "keras" if "keras" in tables else "tflite-fp32"
    rows = [
        MatrixRow(
            name=name,
            variant=variant,
            kernels="",
            problem="" if name in tables else "not here",
            failure=failure(tables[name], tables[reference]) if name in tables else "",
        )
        for name, variant in ROWS.items()
    ]
    files = [judged("tflite-int8", "int8", layers)] if layers else []
    measured = pairs(tables, dict.fromkeys(tables))
    return findings([FLOAT, INT8], AnswerMatrix(rows, measured, files, reference))


def _culprits(found):
    return [(item.culprit, item.variant) for item in found]


def test_nobody_is_blamed_for_rounding() -> None:
    assert _found() == ()
    assert conclusion((), source=Basis.KERAS).startswith("Healthy")
    assert "without what the files were made of" in conclusion((), source=Basis.MISSING)
    of_a_file = conclusion((), source=Basis.GIVEN_FILE)
    assert of_a_file.startswith("Healthy") and "Keras" not in of_a_file


def test_a_float_file_beyond_float_tolerance_is_the_converters() -> None:
    found = _found({"tflite-fp32": _probabilities(0.05)})
    assert _culprits(found) == [(Culprit.CONVERTER, "tflite-fp32")]
    assert "tflite-fp32 differs from keras" in found[0].evidence


def test_an_int8_file_that_is_wrong_with_every_kernel_is_the_quantizers() -> None:
    wrong = {name: _probabilities(2.0) for name, row in ROWS.items() if row == "tflite-int8"}
    assert _culprits(_found(wrong)) == [(Culprit.QUANTIZER, "tflite-int8")]


@pytest.mark.parametrize("name", ["tflite-int8 reference", "tflite-int8 xnnpack"])
def test_one_set_of_kernels_that_differs_from_the_others_is_to_blame(name: str) -> None:
    found = _found({name: _probabilities(2.0)})
    assert _culprits(found) == [(Culprit.KERNEL, "tflite-int8")]
    assert name in found[0].evidence


def test_a_kernel_that_gives_nan_is_named() -> None:
    table = _probabilities()
    table[3, 2] = np.nan
    found = _found({"tflite-int8 xnnpack": table})
    assert _culprits(found) == [(Culprit.KERNEL, "tflite-int8")]
    assert found[0].evidence == "tflite-int8 xnnpack answers NaN, other kernels do not"


def test_wrong_numbers_and_wrong_kernels_are_two_faults() -> None:
    wrong = {name: _probabilities(2.0) for name, row in ROWS.items() if row == "tflite-int8"}
    wrong["tflite-int8 xnnpack"] = _probabilities(2.0, seed=9)
    assert _culprits(_found(wrong)) == [
        (Culprit.QUANTIZER, "tflite-int8"),
        (Culprit.KERNEL, "tflite-int8"),
    ]


def test_a_divergent_layer_accuses_the_quantizer_though_the_answers_are_near() -> None:
    layers = [_layer("a"), _layer("b", alone=0.4, accumulated=0.5), _layer("c"), _layer("d")]
    found = _found(layers=layers)
    assert _culprits(found) == [(Culprit.QUANTIZER, "tflite-int8")]
    assert found[0].layer == "b"
    assert conclusion(found, source=Basis.KERAS) == (
        "The quantizer is to blame: tflite-int8 is wrong from layer b on."
    )


def test_without_keras_the_float_file_is_the_reference() -> None:
    assert _found(without=["keras"]) == ()
    wrong = {name: _probabilities(2.0) for name, row in ROWS.items() if row == "tflite-int8"}
    found = _found(wrong, without=["keras"])
    assert _culprits(found) == [(Culprit.QUANTIZER, "tflite-int8")]


def test_a_flip_or_two_prove_nothing() -> None:
    table = _probabilities()
    table[:2] = np.roll(table[:2], 1, axis=1)
    rows = [name for name, row in ROWS.items() if row == "tflite-int8"]
    assert _found(dict.fromkeys(rows, table)) == ()
    table[:7] = np.roll(_probabilities()[:7], 1, axis=1)
    assert _found(dict.fromkeys(rows, table))[0].culprit is Culprit.QUANTIZER


@pytest.mark.parametrize(
    ("table", "said"),
    [
        (np.zeros((4, 2), np.float32), "all zero"),
        (np.full((4, 2), 0.5, np.float32), "constant"),
        (np.array([[0, 1], [np.nan, 0], [0, 0], [1, 0]], np.float32), "NaN"),
        (np.array([[np.inf, 1], [0, 0], [0, 0], [1, 0]], np.float32), "NaN"),
    ],
)
def test_useless_answers(table: np.ndarray, said: str) -> None:
    reference = np.array([[0.1, 0.9], [0.6, 0.4], [0.2, 0.8], [0.9, 0.1]], np.float32)
    assert failure(table, reference) == said
    assert failure(reference, reference) == ""


def test_answers_that_the_reference_gives_too_are_no_failure() -> None:
    reference = np.array([[0.999, 0.001], [0.998, 0.002]], np.float32)
    assert failure(np.array([[1, 0], [1, 0]], np.float32), reference) == ""


def test_a_pair_is_measured_in_steps_where_both_have_the_same() -> None:
    tables = {
        "a": np.array([[0.5, 0.5], [0.25, 0.75]], np.float32),
        "b": np.array([[0.75, 0.25], [0.25, 0.75]], np.float32),
    }
    pair = compared("a", "b", tables, {"a": 1 / 256, "b": 1 / 256})
    assert (pair.flips, pair.agreement) == (0, 1.0)
    assert (pair.max_difference, pair.mean_difference, pair.variation) == (0.25, 0.125, 0.125)
    assert pair.max_steps == 64
    assert compared("a", "b", tables, {"a": None, "b": 1 / 256}).max_steps is None


@pytest.mark.parametrize(("terminal", "side_by_side"), [("80", False), ("140", True)])
def test_a_matrix_without_room_becomes_pairs_that_name_both_quantities(
    terminal: str,
    side_by_side: bool,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("COLUMNS", terminal)
    names = [f"tflite-int8 kernels of kind {number}" for number in range(9)]
    pairs = tuple(
        RowDifference(
            first=first,
            second=second,
            images=16,
            flips=1,
            agreement=0.9375,
            max_difference=0.039,
            mean_difference=0.01,
            variation=0.01,
        )
        for first, second in combinations(names, 2)
    )
    rows = tuple(MatrixRow(name=name, variant=name, kernels="default") for name in names)
    print_diagnosis(
        Diagnosis(
            name="shapes",
            images=16,
            skipped={},
            reference=names[0],
            rows=rows,
            pairs=pairs,
            files=(),
            findings=(),
            conclusion="Healthy.",
        ),
        all_layers=False,
    )
    shown = capsys.readouterr().out
    assert ("the diagonal" in shown) is side_by_side
    assert max(map(len, shown.splitlines())) <= int(terminal)
    if not side_by_side:
        assert shown.count("93.8 %") == shown.count("0.039") == len(pairs)


def test_an_error_that_all_layers_share_accuses_none_of_them() -> None:
    layers = [_layer(str(number), alone=0.1, accumulated=0.2) for number in range(9)]
    assert judged("v", "int8", layers).first_divergent is None


def test_a_small_error_is_no_divergence_however_unexplained() -> None:
    layers = [_layer("a"), _layer("b", alone=0.04, explained=1e-6), _layer("c")]
    assert judged("v", "int8", layers).first_divergent is None


def test_an_own_error_that_the_file_does_not_show_is_not_its_own() -> None:
    layers = [_layer("a"), _layer("b", alone=0.9, accumulated=0.05), _layer("c")]
    assert judged("v", "int8", layers).first_divergent is None


def test_a_dead_layer_is_the_first_wrong_one() -> None:
    layers = [
        _layer("a"),
        _layer("b", alone=None, explained=None, failure="all zero"),
        _layer("c", alone=0.9, accumulated=1.0),
    ]
    found = judged("v", "int8", layers)
    assert (found.first_divergent, found.worst) == ("b", "c")


def test_a_layer_that_a_right_float_file_has_wrong_is_left_out() -> None:
    wrong = mismatches([_layer("a", accumulated=1e-6, alone=1e-6), _layer("b", accumulated=1.2)])
    assert wrong == {"b"}
    found = judged("v", "int8", [_layer("a"), _layer("b", alone=5.0)], mismatched=wrong)
    assert [item.layer for item in found.layers] == ["a"]
    assert found.mismatched == ("b",)
