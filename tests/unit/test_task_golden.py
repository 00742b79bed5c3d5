"""The golden self-test of models that are no classifiers, and the service that runs it."""

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from edge.deploy import signing
from edge.errors import BundleError
from edge.pipeline.task_golden import choose_telling
from edge.runtime.bundle import Bundle
from edge.runtime.commands import selftest
from edge.runtime.golden import SelfTest
from edge.runtime.tasks.golden import OTHER, SAME, difference, relative_error, sampled
from edge.runtime.tasks.model import TaskModel, open_golden_test
from edge.runtime.tasks.results import (
    Detection,
    Detections,
    Embedding,
    Keypoint,
    Pose,
    Poses,
    Segmentation,
)
from tests.color_bundles import SIDE
from tests.task_bundles import detector, detectors_with_golden, list_files


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    return detectors_with_golden(tmp_path / "bundle")


def ruin(folder: Path, content: bytes) -> None:
    """Put another model in the place of the default one, as a careless maker would."""
    (folder / "models/onnx-fp32.onnx").write_bytes(content)
    list_files(folder)


def runtime(folder: Path, *words: str | Path) -> subprocess.CompletedProcess[str]:
    """Run the bundle's own runtime, which knows nothing else of edge."""
    command = [sys.executable, "-m", "edge.runtime", *map(str, words)]
    return subprocess.run(
        command,
        cwd=folder,
        env={"PYTHONPATH": str(folder / "runtime"), "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        timeout=120,
    )


# ---- the test as a device runs it


def test_a_healthy_file_passes_on_every_picture(bundle: Path) -> None:
    done = runtime(bundle, "selftest", bundle, "--json")
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert report["passed"]
    assert [item["differing"] for item in report["images"]] == [0, 0, 0]
    assert sum(item["elements"] for item in report["images"]) >= 4  # two clear ones on both sides
    assert not report["flat"]
    shown = runtime(bundle, "selftest", bundle)
    assert "results differ" in shown.stdout


def test_pictures_without_a_clear_result_are_said(capsys: pytest.CaptureFixture[str]) -> None:
    """0 of 0 results differ proves nothing."""
    image = {"image": "golden/0.png", "worst": 0.0, "differing": 0, "found_class": None}
    images = [image | {"elements": count, "reason": ""} for count in (0, 2)]
    shown = {"variant": "onnx-fp32", "engine": "onnxruntime 1", "threads": 1, "machine": "m"}
    times = dict.fromkeys(("latency_seconds", "load_seconds", "peak_memory_bytes"), 1.0)
    rest = {"unit": "relative error", "tolerance": 0.1, "flat": False, "passed": True}
    selftest.print_report({"images": images, "reasons": [], **shown, **times, **rest})
    assert "in 1 of 2 pictures the host found nothing clear" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (detector(shift=6.0), "is not found"),
        (detector(score=0.0), "is not found"),
        (detector(score=0.3), "is not found"),
    ],
    ids=["moved", "blind", "unsure"],
)
def test_a_ruined_file_is_refused(bundle: Path, content: bytes, said: str) -> None:
    ruin(bundle, content)
    done = runtime(bundle, "selftest", bundle)
    assert done.returncode == 1
    assert said in done.stderr
    served = runtime(bundle, "watch", bundle.parent, "--bundle", bundle, "--once")
    assert served.returncode == 1
    assert "self-test failed" in served.stderr


def test_the_service_answers_with_objects(bundle: Path, tmp_path: Path) -> None:
    inbox = tmp_path / "inbox"
    inbox.mkdir()
    Image.new("RGB", (4 * SIDE, 2 * SIDE), (250,) * 3).save(inbox / "bright.png")
    done = runtime(bundle, "watch", inbox, "--bundle", bundle, "--once")
    assert done.returncode == 0, done.stderr
    (answer,) = inbox.glob("*.json")
    value = json.loads(answer.read_text())
    assert (value["task"], value["width"], value["height"]) == ("detection", 64, 32)
    assert value["detections"][0]["label"] == "bright"
    assert value["detections"][0]["right"] == pytest.approx(24)  # 6 of 16 columns of 64 pixels


def test_files_that_do_not_fit_are_refused(bundle: Path) -> None:
    manifest = Bundle.open(bundle).manifest
    variant = manifest.variant("onnx-fp32")
    model = TaskModel.open(bundle)
    test = open_golden_test(Bundle.open(bundle), variant, model)
    assert test.run(0).reason == ""
    with pytest.raises(BundleError, match="no golden self-test of onnx-none"):
        open_golden_test(Bundle.open(bundle), replace(variant, name="onnx-none"), model)
    path = bundle / "golden/golden.json"
    for broken in (
        {"schema_version": 9},
        {"images": 3},
        {"decoder": {"parameters": [3]}},
        {"variants": {"onnx-fp32": {}}},
    ):
        kept = path.read_text()
        path.write_text(json.dumps(json.loads(kept) | broken))
        list_files(bundle)
        with pytest.raises(BundleError, match=r"golden"):
            open_golden_test(Bundle.open(bundle), variant, model)
        path.write_text(kept)


def altered(folder: Path, **changes: float) -> None:
    """Put values into the golden answers of every variant, as who edits them by hand may."""
    for path in (folder / "golden").glob("*.npz"):
        with np.load(path) as kept:
            arrays = {name: kept[name] for name in kept.files}
        arrays = {name: values * 0 + changes["value"] for name, values in arrays.items()}
        np.savez_compressed(path, **(arrays if changes["value"] != -1 else {}))
    list_files(folder)


def opened_test(folder: Path) -> SelfTest:
    bundle = Bundle.open(folder)
    return open_golden_test(bundle, bundle.manifest.variant(None), TaskModel.open(bundle))


def test_golden_answers_that_are_no_numbers_are_refused(bundle: Path) -> None:
    altered(bundle, value=np.nan)
    with pytest.raises(BundleError, match="finite"):
        opened_test(bundle)
    assert runtime(bundle, "selftest", bundle).returncode == 3


def test_other_scores_of_rows_are_noticed(bundle: Path) -> None:
    """The rows are in the order of their scores: these are compared, whatever their order."""
    assert opened_test(bundle).run(0).worst == 0
    altered(bundle, value=0.0)
    found = opened_test(bundle).run(0)
    assert found.worst == pytest.approx(0.98, abs=0.01)  # of the brighter object
    assert "the scores of the rows are up to 0.98" in found.reason
    altered(bundle, value=-1)  # no arrays at all
    with pytest.raises(BundleError):
        opened_test(bundle).run(0)


@pytest.mark.parametrize(
    "parameters", [{"score_threshold": 0.9}, {"max_results": 1}, {"coordinates": "normalized"}]
)
def test_answers_of_other_parameters_are_refused(
    bundle: Path, parameters: dict[str, object]
) -> None:
    path = bundle / "manifest.json"
    manifest = json.loads(path.read_text())
    manifest["decoder"]["parameters"] = parameters
    path.write_text(json.dumps(manifest))
    with pytest.raises(BundleError, match=f"{next(iter(parameters))} is "):
        opened_test(bundle)
    assert runtime(bundle, "selftest", bundle).returncode == 3


@pytest.mark.parametrize(
    "decoder",
    [
        {"parameters": {"foo": 1}},
        {"parameters": {"score_threshold": "0.5"}},
        {"parameters": {"score_threshold": -1}},
        {"parameters": {"max_results": 1 << 60}},
        {"name": "yolov8", "parameters": {}},
    ],
)
def test_a_decoder_that_does_not_fit_is_a_fault_of_the_bundle(
    bundle: Path, decoder: dict[str, object]
) -> None:
    path = bundle / "manifest.json"
    manifest = json.loads(path.read_text())
    manifest["decoder"] |= decoder
    path.write_text(json.dumps(manifest))
    with pytest.raises(BundleError) as caught:
        TaskModel.open(bundle)
    assert "export the bundle again" in caught.value.hint
    done = runtime(bundle, "selftest", bundle)
    assert done.returncode == 3
    assert "--decoder" not in done.stderr
    if "name" not in decoder:
        assert runtime(bundle, "info", bundle).returncode == 3
        assert signing.verify(bundle, None).problems


# ---- what may differ


def found(score: float, left: float = 10.0, index: int = 0) -> Detection:
    return Detection(
        index=index, label=str(index), score=score, left=left, top=10, right=left + 40, bottom=50
    )


@pytest.mark.parametrize(
    ("host", "here", "passes"),
    [
        ([0.9], [found(0.85)], True),
        ([0.9], [found(0.7)], False),
        ([0.9], [found(0.9, left=13)], True),  # IoU 0.86
        ([0.9], [found(0.9, left=30)], False),
        ([0.9], [found(0.9, index=1)], False),
        ([0.9], [], False),
        ([], [found(0.9)], False),
        ([0.31], [], True),  # nearly at the threshold of 0.25: rounding may lose it
        ([0.31], [found(0.36)], True),
        ([], [], True),
    ],
)
def test_objects(host: list[float], here: list[Detection], passes: bool) -> None:
    wanted = Detections(items=tuple(found(score) for score in host))
    seen = difference(wanted, Detections(items=tuple(here)), SAME, 0.25)
    assert (seen.reason == "") is passes
    assert (seen.differing == 0) is passes


def test_other_kernels_may_differ_by_more() -> None:
    wanted, here = Detections(items=(found(0.9),)), Detections(items=(found(0.7, left=16),))
    assert difference(wanted, here, SAME, 0.25).reason
    assert not difference(wanted, here, OTHER, 0.25).reason


def test_masks_bodies_and_vectors() -> None:
    mask = np.zeros((10, 10), np.uint8)
    other = mask.copy()
    other[0, :3] = 1
    pair = Segmentation(mask=mask, labels=()), Segmentation(mask=other, labels=())
    assert "97.0 %" in difference(*pair, SAME, 0).reason
    assert not difference(*pair, OTHER, 0).reason

    def body(shift: float) -> Poses:
        points = ((0.0, 0.0), (100.0, 0.0), (100.0 + shift, 100.0))
        keypoints = tuple(Keypoint(label="p", x=x, y=y, score=0.9) for x, y in points)
        return Poses(items=(Pose(score=0.9, keypoints=keypoints),))

    assert not difference(body(0), body(12), SAME, 0.2).reason  # a mean of 4 of 100 pixels
    assert difference(body(0), body(18), SAME, 0.2).reason
    assert difference(body(0), Poses(items=()), SAME, 0.2).reason
    vectors = [Embedding(values=np.array(row, np.float32)) for row in ((1, 0), (1, 0.1), (0, 1))]
    assert not difference(vectors[0], vectors[1], SAME, 0).reason
    assert difference(vectors[0], vectors[2], SAME, 0).reason


def test_a_sample_stands_for_a_large_output() -> None:
    values = np.random.default_rng(0).normal(size=(1, 300, 85)).astype(np.float32)
    assert sampled(values).size <= 4096
    assert relative_error(sampled(values), sampled(values)) == 0
    noise = values + np.random.default_rng(1).normal(scale=0.3, size=values.shape)
    assert relative_error(sampled(values), sampled(noise)) == pytest.approx(0.3, rel=0.1)
    assert relative_error(sampled(values), sampled(values * np.nan)) == np.inf


def test_pictures_of_several_classes_are_telling() -> None:
    answers = [
        Detections(items=()),
        Detections(items=(found(0.9),)),
        Detections(items=(found(0.9), found(0.8, index=1))),
        Detections(items=(found(0.9, index=2),)),
        Detections(items=(found(0.4, index=3),)),  # not sure
    ]
    assert choose_telling(answers) == (2, 3, 1)


@pytest.mark.parametrize("kind", ["onnx-moved", "onnx-blind"])
def test_every_variant_has_answers_of_its_own(bundle: Path, kind: str) -> None:
    opened: Callable[..., TaskModel] = TaskModel.open
    test = open_golden_test(
        Bundle.open(bundle),
        Bundle.open(bundle).manifest.variant(kind),
        opened(bundle, variant=kind),
    )
    assert test.flat is (kind == "onnx-blind")
    assert test.run(0).reason == ""
