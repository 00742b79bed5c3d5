"""Logits, one value and several labels in files: ``compare``, ``evaluate``, ``predict``."""

import csv
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edge.comparison.compare import CompareOptions, compare
from edge.comparison.policy import default_policy
from edge.comparison.result import Comparison, Verdict
from edge.errors import DataError, InferenceError, UsageError
from edge.evaluation.evaluate import evaluate
from edge.evaluation.multilabel import (
    UNKNOWN,
    LabelTruth,
    map_intervals,
    mean_average_precision,
    multi_label_score,
    read_truth,
)
from edge.evaluation.multilabel import _fast_map as fast_map
from edge.progress import Silent
from edge.runtime.classifier import Classifier
from edge.runtime.command_line import main
from edge.runtime.output import OutputActivation, OutputKind, OutputSpec
from tests.color_bundles import LABELS, model, nearest_color, write_bundle, write_pictures

SEVERAL = OutputSpec(kind=OutputKind.MULTI_LABEL, thresholds=(0.5,) * 4)
WEIGHTS, BIAS = nearest_color()
# In front of sigmoids the logits are held against the middle of the two best classes.
OWN = BIAS + np.float32(0.2)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("outputs")
    write_bundle(root / "single", {"onnx-fp32": model()})
    sigmoids = {
        "onnx-fp32": model(ending="Sigmoid", bias=OWN),
        "onnx-bgr": model(ending="Sigmoid", bias=OWN, bgr=True),
    }
    write_bundle(root / "several", sigmoids, output=SEVERAL)
    pair = {"onnx-fp32": model(weights=WEIGHTS[:, :2], bias=BIAS[:2])}
    write_bundle(root / "pair", pair, labels=LABELS[:2])
    write_pictures(root / "pictures", 60)
    return root


@pytest.fixture
def run(place: Path, tmp_path: Path) -> Callable[..., Comparison]:
    def start(bundle: str, candidate: bytes | str, **changes: Any) -> Comparison:
        if isinstance(candidate, bytes):
            (tmp_path / "candidate.onnx").write_bytes(candidate)
            candidate = str(tmp_path / "candidate.onnx")
        values: dict[str, Any] = {
            "bundle": place / bundle,
            "directory": place / "pictures",
            "baseline": "onnx-fp32",
            "candidate": candidate,
            "policy": default_policy(),
            "confidence": 0.95,
            "engine": None,
            "cache": place / "cache",
        }
        return compare(CompareOptions(**(values | changes)), Silent())

    return start


def difference(weights: Any) -> Any:
    """One column: how far the second class lies above the first."""
    return weights[..., 1:2] - weights[..., :1]


@pytest.mark.parametrize("maps", [False, True])
@pytest.mark.parametrize("ending", ["", "LogSoftmax", "Softmax"])
def test_a_file_of_logits_is_scored_as_probabilities(run: Any, ending: str, maps: bool) -> None:
    result = run("single", model(ending=ending, maps=maps))
    assert (result.verdict, result.flips) == (Verdict.PASS, ())
    assert result.candidate.ece == pytest.approx(result.baseline.ece, abs=1e-4)
    assert 0 <= result.candidate.ece <= 1
    assert result.candidate.top1 == result.baseline.top1


@pytest.mark.parametrize("ending", ["", "Sigmoid"])
@pytest.mark.parametrize("maps", [False, True])
def test_a_file_of_one_value_tells_two_classes(run: Any, ending: str, maps: bool) -> None:
    one = {"weights": difference(WEIGHTS), "bias": difference(BIAS)}
    result = run("pair", model(ending=ending, maps=maps, **one))
    assert (result.labelled, result.agreement) == (120, 1.0)
    assert result.candidate.top1 == result.baseline.top1 > 0.9
    constant = run("pair", model(ending=ending, weights=0 * one["weights"], bias=one["bias"]))
    assert constant.candidate.top1 == 0.5  # an argmax of one column is always right
    assert constant.verdict is Verdict.FAIL


def test_what_the_user_says_of_a_file_settles_it(run: Any) -> None:
    sigmoids = model(ending="Sigmoid")
    with pytest.raises(UsageError, match="no score in common") as raised:
        run("single", sigmoids)
    assert "--output-activation" in raised.value.hint
    result = run("single", sigmoids, output_activation=OutputActivation.SOFTMAX)
    assert result.flips == ()
    with pytest.raises(UsageError, match="cannot be probabilities"):
        run("single", model(ending=""), output_activation=OutputActivation.SOFTMAX)


@pytest.mark.parametrize(
    ("columns", "hint"), [([0, 0, 1, 2, 3], "background"), ([0], "single value"), ([0, 1], "each")]
)
def test_another_number_of_values_than_labels(run: Any, columns: list[int], hint: str) -> None:
    with pytest.raises(UsageError, match="4 labels") as raised:
        run("single", model(weights=WEIGHTS[:, columns], bias=BIAS[columns]))
    assert hint in raised.value.hint


def test_a_softmax_of_one_value_is_refused(run: Any) -> None:
    with pytest.raises(UsageError, match="always 1"):
        run("pair", model(weights=difference(WEIGHTS), bias=difference(BIAS)))


def test_several_labels_are_compared_by_map(run: Any, place: Path) -> None:
    same = run("several", model(ending="Sigmoid", bias=OWN, note="copy"))
    assert (same.verdict, same.agreement, same.paired) == (Verdict.PASS, 1.0, None)
    assert [check.metric for check in same.checks][1] == "map_drop"
    assert same.candidate.top1 is None and same.candidate.ece is None and not same.confusion
    found = same.candidate.multi_label
    assert found is not None and found.mean_average_precision is not None
    assert found.mean_average_precision > 0.7 > found.chance == 0.25  # grey lies amid all
    logits = run("several", model(ending="", bias=OWN))
    by_logits = logits.candidate.multi_label
    assert by_logits is not None and by_logits.macro_f1 == found.macro_f1
    assert by_logits.mean_average_precision == pytest.approx(found.mean_average_precision)
    bad = run("several", "onnx-bgr")
    (drop,) = [check for check in bad.checks if check.metric == "map_drop"]
    assert (bad.verdict, drop.verdict) == (Verdict.FAIL, Verdict.FAIL)
    assert drop.interval is not None and 1 < drop.interval.low < drop.value < drop.interval.high
    assert {item.label for item in bad.classes} == set(LABELS)
    with pytest.raises(UsageError, match="no score in common"):
        run("several", model())


def truth_file(path: Path, pictures: Path, labels: dict[str, str]) -> Path:
    rows = [
        f"{picture.relative_to(pictures).as_posix()},{labels[picture.parent.name]}"
        for picture in sorted(pictures.rglob("*.png"))
    ]
    path.write_text("\n".join(["file,labels", *rows]) + "\n", encoding="utf-8")
    return path


def test_evaluate_scores_labels_by_the_truth(place: Path, tmp_path: Path) -> None:
    """Red and green swapped in the truth: their scores fall, those of the others do not."""
    swapped = {"red": "green", "green": "red", "blue": "blue", "grey": ""}
    truth = truth_file(tmp_path / "truth.csv", place / "pictures", swapped)

    def scored(**more: Any) -> Any:
        return evaluate(
            place / "several",
            place / "pictures",
            variants=("onnx-fp32",),
            engine=None,
            cache=place / "cache",
            progress=Silent(),
            **more,
        )

    by_folder = {item.label: item for item in scored().variants[0].multi_label.labels}
    result = scored(truth_file=truth).variants[0]
    assert result.score.top1 is None and result.classes == ()
    by_truth = {item.label: item for item in result.multi_label.labels}
    assert by_truth["blue"] == by_folder["blue"]
    assert by_folder["red"].average_precision > 0.9 > 0.3 > by_truth["red"].average_precision
    assert (by_truth["grey"].positives, by_truth["grey"].average_precision) == (0, None)
    with pytest.raises(UsageError, match="one class"):
        evaluate(
            place / "single",
            place / "pictures",
            variants=(),
            truth_file=truth,
            engine=None,
            cache=place / "cache",
            progress=Silent(),
        )


def test_predict_gives_every_label_that_holds(place: Path) -> None:
    classifier = Classifier.open(place / "several")
    answer = classifier.answer(place / "pictures/red/000.png", name="x", k=2, variant="onnx-fp32")
    scores = {item["label"]: item["score"] for item in answer["categories"]}
    assert answer["labels"] == [label for label, score in scores.items() if score >= 0.5]
    assert len(scores) >= 2


def test_predict_says_the_threshold_that_chose_the_answer(
    place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    unsure = {"onnx-fp32": model(weights=WEIGHTS[:, :2] / 30, bias=BIAS[:2] / 30)}
    low = OutputSpec(thresholds=(0.05,), evidence="why")
    write_bundle(tmp_path / "half", unsure, labels=LABELS[:2])
    write_bundle(tmp_path / "low", unsure, labels=LABELS[:2], output=low)
    picture = str(place / "pictures/red/000.png")
    for bundle, answer in (("half", "red"), ("low", "green")):
        assert main(["predict", str(tmp_path / bundle), picture, "--json"]) == 0
        (found,) = json.loads(capsys.readouterr().out)
        assert found["categories"][0]["label"] == answer
        assert sum(item["score"] for item in found["categories"]) == pytest.approx(1)
        assert found.get("threshold") == (0.05 if answer == "green" else None)
    assert main(["predict", str(tmp_path / "low"), picture]) == 0
    assert "threshold 5.0 %" in capsys.readouterr().out
    assert main(["info", str(tmp_path / "low")]) == 0
    assert "single-label; why" in capsys.readouterr().out


def test_predict_writes_several_labels_to_a_table(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pictures = [str(place / f"pictures/{name}/000.png") for name in ("red", "blue")]
    assert main(["predict", str(place / "several"), *pictures, "--csv", "-", "--top-k", "1"]) == 0
    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    for row, name in zip(rows, ("red", "blue"), strict=True):
        assert name in row["labels"].split("|")
        assert row["label_1"] == row["labels"].split("|")[0]


def test_a_bundle_of_logits_from_before_is_no_answer(place: Path, tmp_path: Path) -> None:
    write_bundle(tmp_path / "old", {"onnx-fp32": model(ending="")})
    picture = place / "pictures/red/000.png"
    with pytest.raises(InferenceError, match="0 to 1"):
        Classifier.open(tmp_path / "old").classify(picture)
    with pytest.raises(InferenceError, match="0 to 1"):
        evaluate(
            tmp_path / "old",
            place / "pictures",
            variants=(),
            engine=None,
            cache=place / "cache",
            progress=Silent(),
        )


# ---- scores


def random_truth(images: int = 80, labels: int = 5, seed: int = 0) -> tuple[Any, LabelTruth]:
    random = np.random.default_rng(seed)
    table = (random.random((images, labels)) < 0.3).astype(np.int8)
    scores = np.clip(0.5 * table + random.random((images, labels)) * 0.7, 0, 1).round(2)
    return scores.astype(np.float32), LabelTruth(labels=tuple("abcde"[:labels]), table=table)


def test_the_scores_are_those_of_scikit_learn() -> None:
    from sklearn import metrics

    scores, truth = random_truth()
    spec = OutputSpec(kind=OutputKind.MULTI_LABEL, thresholds=(0.5, 0.4, 0.6, 0.5, 0.5))
    found = multi_label_score(scores, truth, spec)
    assert found is not None
    said = scores >= np.array(spec.thresholds, np.float32)
    assert found.mean_average_precision == pytest.approx(
        metrics.average_precision_score(truth.table, scores, average="macro")
    )
    assert found.macro_f1 == pytest.approx(metrics.f1_score(truth.table, said, average="macro"))
    assert found.micro_f1 == pytest.approx(metrics.f1_score(truth.table, said, average="micro"))
    assert found.subset_accuracy == pytest.approx(metrics.accuracy_score(truth.table, said))
    assert found.hamming_loss == pytest.approx(metrics.hamming_loss(truth.table, said))
    assert len(found.labels) == truth.table.shape[1]
    for column, item in enumerate(found.labels):
        wanted = metrics.precision_recall_fscore_support(
            truth.table[:, column], said[:, column], average="binary"
        )[:3]
        assert (item.precision, item.recall, item.f1) == pytest.approx(wanted)


def test_what_is_not_known_counts_nowhere() -> None:
    scores, truth = random_truth()
    table = truth.table.copy()
    table[:20] = UNKNOWN
    table[20:25, 0] = UNKNOWN
    spec = OutputSpec(kind=OutputKind.MULTI_LABEL, thresholds=(0.5,) * 5)
    found = multi_label_score(scores, LabelTruth(labels=truth.labels, table=table), spec)
    rest = multi_label_score(scores[25:], LabelTruth(labels=truth.labels, table=table[25:]), spec)
    assert found is not None and rest is not None
    assert found.images == 60
    assert [item.images for item in found.labels] == [55, 60, 60, 60, 60]
    assert found.labels[0] == rest.labels[0]
    nothing = LabelTruth(labels=truth.labels, table=np.full_like(table, UNKNOWN))
    assert multi_label_score(scores, nothing, spec) is None


@pytest.mark.parametrize("seed", range(5))
def test_the_bootstrap_computes_the_same_map(seed: int) -> None:
    scores, truth = random_truth(seed=seed)
    assert fast_map(scores, truth.table) == pytest.approx(mean_average_precision(scores, truth))


def test_the_bootstrap_is_paired() -> None:
    scores, truth = random_truth()
    before, after, difference = map_intervals([scores, scores], truth, 0.95)
    assert before == after
    assert before is not None and difference is not None
    assert before.low < mean_average_precision(scores, truth) < before.high
    assert (difference.low, difference.high) == (0, 0)


# ---- truth


@pytest.mark.parametrize(
    "text",
    [
        "file,labels\na.png,x|y\nsub/b.png,\nc.png,z\n",
        "\ufefffile;labels\r\na.png;x|y\r\nsub\\b.png;\r\nc.png;z\r\n",
        'image,tags\na.png,"x, y"\nsub/b.png,""\nc.png,z\n',
        "image,tags\na.png,x y\nsub/b.png,\nc.png,z\n",
        "a.png,x|y\nsub/b.png,\nc.png,z\n",
        "file,z,y,x\na.png,0,1,1\nsub/b.png,0,0,0\nc.png,1,0,0\n",
        "file\tage\tx\ty\tz\na.png\t40\t1.0\tTrue\t\nsub/b.png\t1\t0\t0\t0\nc.png\t2\t0\t0\t1\n",
    ],
)
def test_the_forms_that_truth_is_handed_on_in(tmp_path: Path, text: str) -> None:
    (tmp_path / "truth.csv").write_text(text, encoding="utf-8", newline="")
    assert read_truth(tmp_path / "truth.csv", ("x", "y", "z")) == {
        "a.png": (1, 1, 0),
        "sub/b.png": (0, 0, 0),
        "c.png": (0, 0, 1),
    }


def test_a_cell_that_says_it_is_not_known(tmp_path: Path) -> None:
    (tmp_path / "truth.csv").write_text("file,x,y\na.png,-1,1\n", encoding="utf-8")
    assert read_truth(tmp_path / "truth.csv", ("x", "y")) == {"a.png": (UNKNOWN, 1)}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "empty"),
        ("file,labels\na.png,x|w\n", "line 2.*'w'"),
        ("file,x,w\na.png,1,0\n", "no column for the label 'y'"),
        ("file,x,y\na.png,1,maybe\n", "line 2.*'maybe'"),
        ("file,x,y\na.png,1\n", "line 2"),
        ("file,labels\na.png,x\na.png,y\n", "line 3.*again"),
        ("file,labels\na.png,\xff\xfe\x00\n", "which the model has not"),
    ],
)
def test_a_truth_that_is_wrong_is_refused_with_its_line(
    tmp_path: Path, text: str, said: str
) -> None:
    (tmp_path / "truth.csv").write_text(text, encoding="utf-8")
    with pytest.raises(UsageError, match=said):
        read_truth(tmp_path / "truth.csv", ("x", "y"))


def test_a_truth_of_other_pictures_is_refused(place: Path, tmp_path: Path) -> None:
    (tmp_path / "truth.csv").write_text("file,labels\nother.png,red\n", encoding="utf-8")
    with pytest.raises(DataError, match="names none"):
        evaluate(
            place / "several",
            place / "pictures",
            variants=(),
            truth_file=tmp_path / "truth.csv",
            engine=None,
            cache=place / "cache",
            progress=Silent(),
        )
