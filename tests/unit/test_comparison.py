"""``compare`` on real tiny models: who is compared, on which images, with which result."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks import turns
from benchmarks.timing import Benchmark
from edge.comparison import latency
from edge.comparison.compare import CompareOptions, compare
from edge.comparison.model import column_order, find_model
from edge.comparison.policy import default_policy
from edge.comparison.result import Comparison, Interval, Verdict
from edge.errors import DataError, UsageError
from edge.evaluation import predictions
from edge.evaluation.confidence import mcnemar
from edge.progress import Silent
from edge.runtime.bundle import Bundle
from edge.runtime.contract import Preprocessing
from edge.runtime.files import sha256_file
from tests.color_bundles import LABELS, model, nearest_color, write_bundle, write_pictures

Compare = Callable[..., Comparison]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle, pictures and the cache of scores; no test changes the first two."""
    root = tmp_path_factory.mktemp("compare")
    write_bundle(root / "bundle", {"onnx-fp32": model(), "onnx-copy": model(note="copy")})
    write_pictures(root / "pictures", 100)
    return root


@pytest.fixture
def run(place: Path) -> Compare:
    def start(candidate: object, *, baseline: object = "onnx-fp32", **changes: Any) -> Comparison:
        values: dict[str, Any] = {
            "bundle": place / "bundle",
            "directory": place / "pictures",
            "baseline": str(baseline),
            "candidate": str(candidate),
            "policy": default_policy(1.0),
            "confidence": 0.95,
            "engine": None,
            "cache": place / "cache",
        }
        return compare(CompareOptions(**(values | changes)), Silent())

    return start


@pytest.fixture
def file(tmp_path: Path) -> Callable[..., Path]:
    """``file(**changes)``: a model file with that fault."""

    def write(**changes: Any) -> Path:
        path = tmp_path / "candidate.onnx"
        path.write_bytes(model(**changes))
        return path

    return write


def failing(result: Comparison) -> set[str]:
    return {check.metric for check in result.checks if check.verdict is Verdict.FAIL}


# ---- no false alarm


def test_a_model_with_itself(run: Compare) -> None:
    result = run("onnx-fp32")
    assert (result.verdict, result.identical, result.flips) == (Verdict.PASS, True, ())
    assert (result.images, result.labelled, result.agreement) == (400, 400, 1.0)
    assert result.paired is not None
    assert (result.paired.drop_interval.low, result.paired.drop_interval.high) == (0, 0)
    assert result.baseline.top1 is not None
    assert 0.85 < result.baseline.top1 < 0.99  # the pictures are no trivial ones


def test_a_copy_with_other_bytes(run: Compare) -> None:
    result = run("onnx-copy")
    assert (result.verdict, result.identical) == (Verdict.PASS, False)
    assert any("to the last bit" in note for note in result.notes)


# ---- faults


def test_wrong_scaling(run: Compare, file: Callable[..., Path]) -> None:
    result = run(file(scale=1 / 255, offset=0.0))
    assert {"top1_drop", "same_weights_shift"} <= failing(result)


def test_scaling_by_128_for_127_5(run: Compare, file: Callable[..., Path]) -> None:
    """No accuracy shows it; the same weights with other answers do."""
    result = run(file(scale=1 / 128, offset=-127.5 / 128))
    assert failing(result) == {"same_weights_shift"}
    assert result.agreement > 0.99


def test_bgr(run: Compare, file: Callable[..., Path]) -> None:
    result = run(file(bgr=True))
    assert {"top1_drop", "worst_class_recall_drop"} <= failing(result)
    assert result.paired is not None
    lost, gained = result.paired.lost, result.paired.gained
    assert lost > 10 * gained and result.paired.mcnemar_p == mcnemar(lost, gained) < 1e-6


def test_a_file_of_another_range_is_fed_what_it_states_or_what_is_said(
    run: Compare, file: Callable[..., Path]
) -> None:
    import onnx

    path = file(scale=1.0, offset=0.0)  # takes -1..1, and does not say so
    assumed = run(path)
    assert assumed.verdict is Verdict.FAIL
    assert any("0 to 255" in note and "--input-range" in note for note in assumed.notes)
    told = run(path, input_range="-1,1")
    assert (told.verdict, told.agreement) == (Verdict.PASS, 1.0)
    with pytest.raises(UsageError, match="channels differently"):
        run(path, input_range="torch")
    with pytest.raises(UsageError, match="both sides"):
        run("onnx-copy", input_range="-1,1")

    stating = onnx.load(str(path))
    properties = {"labels": json.dumps(LABELS), "mean": "127.5", "std": "127.5"}
    onnx.helper.set_model_props(stating, properties)
    onnx.save(stating, str(path))
    assert run(path).agreement == 1.0


def test_swapped_labels(run: Compare, file: Callable[..., Path]) -> None:
    weights, bias = nearest_color()
    order = [1, 0, 2, 3]
    result = run(file(weights=weights[:, order], bias=bias[order]))
    assert {"top1_drop", "worst_class_recall_drop"} <= failing(result)
    assert {item.label for item in result.classes[:2]} == {"red", "green"}
    assert any(
        (cell.truth, cell.answer) == ("red", "green") and cell.images > 80
        for cell in result.confusion
    )


def test_a_broken_class(run: Compare, file: Callable[..., Path]) -> None:
    weights, bias = nearest_color()
    result = run(file(weights=weights, bias=bias - np.float32([0, 0, 0, 100])))
    assert "worst_class_recall_drop" in failing(result)
    assert result.classes[0].label == "grey"
    assert result.classes[0].candidate == 0
    interval = result.classes[0].candidate_interval
    assert interval.low == 0 < interval.high < 0.05  # none of a hundred
    assert sum(flip.truth == "grey" for flip in result.flips) > 80


@pytest.mark.parametrize("side", ["baseline", "candidate"])
def test_constant_output(run: Compare, file: Callable[..., Path], side: str) -> None:
    weights, bias = nearest_color()
    constant = file(weights=0 * weights, bias=bias)
    result = run(constant) if side == "candidate" else run("onnx-fp32", baseline=constant)
    assert "constant_outputs" in failing(result)
    assert f"the {side} gives every image the same scores" in result.checks[0].reason


def test_a_single_image_is_no_constant_output(run: Compare, place: Path, tmp_path: Path) -> None:
    (tmp_path / "one/red").mkdir(parents=True)
    shutil.copy(place / "pictures/red/000.png", tmp_path / "one/red")
    result = run("onnx-copy", directory=tmp_path / "one")
    assert "constant_outputs" not in failing(result)
    assert result.verdict is Verdict.INCONCLUSIVE


# ---- who is compared


def test_every_way_to_name_a_side(run: Compare, place: Path, tmp_path: Path) -> None:
    other = write_bundle(tmp_path / "other", {"onnx-fp32": model(), "onnx-bgr": model(bgr=True)})
    for text in (other, f"{other}:onnx-fp32", place / "bundle/models/onnx-fp32.onnx"):
        assert run(text).identical
    assert run(f"{other}:onnx-bgr").verdict is Verdict.FAIL
    assert run(other).candidate.name == "other:onnx-fp32"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("onnx-fp23", "did you mean 'onnx-fp32'"),
        ("none.onnx", "no model file at none.onnx"),
        ("bundle:onnx-fp32", "neither a variant"),
        ("", "neither a variant"),
    ],
)
def test_no_such_side(run: Compare, text: str, said: str) -> None:
    with pytest.raises(UsageError) as caught:
        run(text)
    assert said in caught.value.message
    assert "BUNDLE:VARIANT" in caught.value.hint


def test_no_such_variant_of_another_bundle(run: Compare, place: Path) -> None:
    with pytest.raises(UsageError, match="no variant 'onnx-int4'"):
        run(f"{place / 'bundle'}:onnx-int4")


def test_another_number_of_classes(run: Compare, file: Callable[..., Path]) -> None:
    weights, bias = nearest_color()
    with pytest.raises(UsageError, match="answers with 3 values; the bundle has 4 labels"):
        run(file(weights=weights[:, :3], bias=bias[:3]))


def test_another_image_size(run: Compare, file: Callable[..., Path]) -> None:
    with pytest.raises(UsageError, match=r"takes \[-1, 20, 20, 3\]"):
        run(file(side=20))


def test_different_labels(run: Compare, tmp_path: Path) -> None:
    other = write_bundle(
        tmp_path / "other", {"onnx-fp32": model()}, labels=("red", "green", "blue", "pink")
    )
    with pytest.raises(UsageError) as caught:
        run(other)
    assert "only onnx-fp32 has grey; only other:onnx-fp32 has pink" in caught.value.message


def test_labels_in_another_order_are_matched_by_name(run: Compare, tmp_path: Path) -> None:
    weights, bias = nearest_color()
    order = [3, 1, 0, 2]
    turned = model(weights=weights[:, order], bias=bias[order])
    labels = tuple(LABELS[index] for index in order)
    other = write_bundle(tmp_path / "other", {"onnx-fp32": turned}, labels=labels)
    result = run(other)
    assert (result.agreement, result.verdict) == (1.0, Verdict.PASS)
    assert any("different orders" in note for note in result.notes)


def test_labels_that_stand_twice_keep_their_order(place: Path, tmp_path: Path) -> None:
    """As ``crane``, bird and machine, among those of ImageNet."""
    bundles = []
    for name, labels in {"a": ("x", "y", "x", "z"), "b": ("x", "x", "z", "y")}.items():
        path = write_bundle(tmp_path / name, {"onnx-fp32": model()}, labels=labels)
        bundles.append(find_model("onnx-fp32", Bundle.open(path), engine=None))
    assert column_order(bundles[0], bundles[1]) == [0, 3, 1, 2]


def test_each_side_is_fed_by_its_own_contract(run: Compare, tmp_path: Path) -> None:
    contract = Preprocessing(height=16, width=16, resize="letterbox")  # type: ignore[arg-type]
    other = write_bundle(tmp_path / "other", {"onnx-fp32": model()}, preprocessing=contract)
    result = run(other)
    assert result.agreement == 1.0  # the pictures are square
    assert any("resize stretch and letterbox" in note for note in result.notes)


def test_an_engine_of_the_other_format_is_refused_only_if_unknown(run: Compare) -> None:
    assert run("onnx-copy", engine="onnxruntime").verdict is Verdict.PASS
    with pytest.raises(UsageError, match="unknown engine 'tensorrt'"):
        run("onnx-copy", engine="tensorrt")


# ---- on which images


def calibrated_on(place: Path, folder: Path, names: list[str]) -> Path:
    hashes = [sha256_file(place / "pictures" / name) for name in names]
    report = {"calibration": {"images": len(hashes), "image_sha256": hashes}}
    return write_bundle(folder, {"onnx-fp32": model()}, report=report)


def test_calibration_images_are_left_out(run: Compare, place: Path, tmp_path: Path) -> None:
    names = ["red/003.png", "blue/077.png"]
    result = run(calibrated_on(place, tmp_path / "other", names))
    assert result.left_out == tuple(str(place / "pictures" / name) for name in sorted(names))
    assert result.images == 398


def test_nothing_is_left(run: Compare, place: Path, tmp_path: Path) -> None:
    names = [f"red/{number:03}.png" for number in range(3)]
    for name in names:
        (tmp_path / "few" / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(place / "pictures" / name, tmp_path / "few" / name)
    other = calibrated_on(place, tmp_path / "other", names)
    with pytest.raises(DataError, match="no image to compare on; 3 calibrated a model"):
        run(other, directory=tmp_path / "few")


def test_what_is_not_recorded_is_said(run: Compare, tmp_path: Path) -> None:
    notes = " ".join(run("onnx-copy").notes)
    assert "not recorded which images trained or calibrated onnx-fp32 and onnx-copy" in notes
    known = write_bundle(tmp_path / "other", {"onnx-fp32": model()}, lock=lock({}))
    assert "not recorded" not in " ".join(run(known, baseline=known).notes)


def lock(splits: dict[str, list[str]]) -> dict[str, Any]:
    """What of ``edge.lock`` tells images: split -> sha256 of each."""
    found = {
        split: {"": {f"{number}.png": digest for number, digest in enumerate(hashes)}}
        for split, hashes in splits.items()
    }
    return {"command": "build", "inputs": {"data": {"photos": found}}}


def test_images_that_trained_a_side_are_left_out_while_there_are_others(
    run: Compare, place: Path, tmp_path: Path
) -> None:
    hashes = [sha256_file(path) for path in sorted((place / "pictures").rglob("*.png"))]
    splits = {"train": hashes[:100], "val": hashes[100:120], "test": hashes[120:]}
    other = write_bundle(tmp_path / "other", {"onnx-fp32": model()}, lock=lock(splits))
    result = run(other)
    assert (result.images, len(result.left_out)) == (280, 120)
    all_of_them = lock({"train": hashes})
    every = write_bundle(tmp_path / "every", {"onnx-fp32": model()}, lock=all_of_them)
    result = run(every)
    assert (result.images, result.left_out) == (400, ())
    assert any("trained a model" in note for note in result.notes)


def test_copies_of_an_image_count_once(run: Compare, place: Path, tmp_path: Path) -> None:
    pictures = Path(shutil.copytree(place / "pictures", tmp_path / "pictures"))
    for number in range(50):
        shutil.copy(pictures / "red/000.png", pictures / f"red/copy{number}.png")
    (pictures / "red/broken.png").write_bytes(b"no picture")
    result = run("onnx-copy", directory=pictures)
    assert result.images == 400
    assert "50 images are copies of others and do not count" in result.notes
    assert list(result.skipped) == [str(pictures / "red/broken.png")]


def test_pictures_without_a_class(run: Compare, place: Path, tmp_path: Path) -> None:
    shutil.copytree(place / "pictures/red", tmp_path / "mixed/unknown")
    result = run("onnx-copy", directory=tmp_path / "mixed")
    assert (result.labelled, result.paired, result.classes) == (0, None, ())
    assert (result.baseline.top1, result.baseline.ece) == (None, None)
    assert failing(result) == {"top1_drop"}


def test_the_second_run_runs_no_model(
    run: Compare, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the cache holds is used, unless it was altered: then a model runs again."""
    first = run("onnx-copy")
    entries = sorted((place / "cache/stages").glob("predictions-*/scores.npy"))
    with monkeypatch.context() as patch:
        patch.setattr(predictions, "run_images", None)  # running a model would fail
        assert run("onnx-copy") == first
    assert sorted((place / "cache/stages").glob("predictions-*/scores.npy")) == entries
    for path in entries:
        np.save(path, np.roll(np.load(path), 1, axis=1))
    assert run("onnx-copy") == first


def test_latencies_are_as_apart_as_neighbouring_blocks(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Other work that falls into many blocks of one side moves neither the ratio nor its ends."""
    bundle = Bundle.open(place / "bundle")
    sides = [find_model(name, bundle, engine=None) for name in ("onnx-fp32", "onnx-copy")]
    pairs = [(1.0, 1.0)] * 8 + [(9.0, 9.0)] * 8 + [(9.0, 1.0)] * 4  # both medians: 9 and 1
    turned = [pair if number % 2 == 0 else pair[::-1] for number, pair in enumerate(pairs)]
    seconds = iter([moment for pair in turned for moment in pair])  # in the order ABBA

    def block(*_: object, **__: object) -> Benchmark:
        return Benchmark(engine="", threads=1, load=0, first=0, samples=(next(seconds),))

    monkeypatch.setattr(turns, "measure", block)
    timing = latency.measured(*sides, 0.95, Silent())
    assert timing.candidate_ms / timing.baseline_ms == 1.0
    assert timing.ratio == Interval(1.0, 1.0)
