"""The golden self-test: what it chooses, what it finds, what it lets pass."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edge.errors import BundleError
from edge.pipeline.bundle import choose_golden, is_flat, tolerances
from edge.runtime import session
from edge.runtime.bundle import Bundle
from edge.runtime.classifier import Classifier
from edge.runtime.command_line import main
from edge.runtime.files import write_json
from edge.runtime.golden import GOLDEN_NAME, GoldenTest
from tests.unit.golden_bundle import golden_bundle, relist


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    return golden_bundle(tmp_path / "bundle", ("onnx-int8", "tflite-fp32"))


def edit(bundle: Path, **changes: Any) -> None:
    """Change golden.json, and what it says of onnx-int8."""
    path = bundle / GOLDEN_NAME
    value = json.loads(path.read_text())
    for name, item in changes.items():
        target = value if name in value else value["variants"]["onnx-int8"]
        target[name] = item
    path.write_text(json.dumps(value))
    relist(bundle)


def opened(bundle: Path, variant: str = "onnx-int8") -> GoldenTest:
    found = Bundle.open(bundle)
    session = Classifier.open(found, variant=variant).session
    return GoldenTest(found, found.manifest.variant(variant), session)


def shift(bundle: Path, variant: str, amount: float) -> None:
    """Change one element of the expected answers, as a device would that computes otherwise."""
    path = bundle / f"golden/{variant}.npy"
    answers = np.load(path)
    answers.reshape(-1)[0] += np.array(amount).astype(answers.dtype)
    np.save(path, answers)
    relist(bundle)


# ---- writing


def test_a_bundle_carries_pictures_and_answers(bundle: Path) -> None:
    value = json.loads((bundle / GOLDEN_NAME).read_text())
    assert value["images"] == ["golden/0.png", "golden/1.png", "golden/2.png"]
    assert {"golden/onnx-int8.npy", *value["images"], GOLDEN_NAME} <= set(
        Bundle.open(bundle).manifest.files
    )
    int8, fp32 = (value["variants"][name] for name in ("onnx-int8", "tflite-fp32"))
    assert (int8["unit"], int8["tolerance"]) == ("quantization steps", 2)
    assert (fp32["unit"], fp32["tolerance"]) == ("absolute", 1e-4)
    assert fp32["engine"].startswith("ai-edge-litert ")
    assert not int8["flat"]
    answers = np.load(bundle / "golden/onnx-int8.npy")
    assert (answers.dtype, len(answers)) == (np.uint8, 3)


def test_different_classes_of_middling_certainty_are_chosen() -> None:
    scores = np.array(
        [
            [1.0, 0.0, 0.0],  # says nothing: the softmax is full
            [0.34, 0.33, 0.33],  # may turn by rounding alone
            [0.7, 0.2, 0.1],  # a margin of 0.5
            [0.72, 0.2, 0.08],  # the same class again
            [0.1, 0.8, 0.1],
            [0.0, 0.0, 1.0],
        ],
        np.float32,
    )
    assert choose_golden(scores) == (2, 4, 5)
    assert choose_golden(scores[:4]) == (2, 3, 0)  # one class: the best of it
    assert choose_golden(scores[:1]) == (0,)


@pytest.mark.parametrize(
    ("answers", "flat"),
    [
        (np.array([[0.1, 0.9], [0.8, 0.2]]), False),
        (np.array([[0.1, 0.9], [0.1, 0.9]]), True),  # whatever the picture
        (np.array([[0.5, 0.5], [0.5, 0.5]]), True),
        (np.array([[0.1, 0.9]]), False),
        (np.array([[7, 9], [9, 7]], np.uint8), True),  # within rounding
        (np.array([[7, 90], [90, 7]], np.uint8), False),
    ],
)
def test_flat_answers_are_told(answers: Any, flat: bool) -> None:
    assert is_flat(answers, 1.0 if answers.dtype == np.uint8 else 1e-4) is flat


def test_sixteen_bits_have_finer_steps() -> None:
    eight, sixteen = (tolerances(np.zeros((1, 2), kind), "w8a16") for kind in ("u1", "i2"))
    assert sixteen == tuple(256 * value for value in eight)


# ---- comparing


@pytest.mark.parametrize("variant", ["onnx-int8", "tflite-fp32"])
def test_the_host_agrees_with_itself(bundle: Path, variant: str) -> None:
    test = opened(bundle, variant)
    for number in range(3):
        found = test.run(number)
        assert (found.worst, found.differing, found.reason) == (0, 0, "")
        assert found.expected_class == found.found_class
        assert found.elements == 3


@pytest.mark.parametrize(
    ("variant", "amount", "passes"),
    [
        ("onnx-int8", 2, True),
        ("onnx-int8", 3, False),
        ("tflite-fp32", 5e-5, True),
        ("tflite-fp32", 2e-4, False),
    ],
)
def test_the_tolerance_is_the_line(bundle: Path, variant: str, amount: float, passes: bool) -> None:
    shift(bundle, variant, amount)
    found = opened(bundle, variant).run(0)
    assert (found.reason == "") is passes
    assert found.differing == 1
    assert found.worst == pytest.approx(amount, rel=1e-2)


def test_another_interpreter_has_its_own_tolerance(bundle: Path) -> None:
    shift(bundle, "onnx-int8", 20)
    assert opened(bundle).run(0).reason
    edit(bundle, engine="another 1.0")
    test = opened(bundle)
    assert not test.same_engine
    assert test.run(0).reason == ""
    shift(bundle, "onnx-int8", 20)
    assert "40 steps" in opened(bundle).run(0).reason


def test_another_class_is_named(bundle: Path) -> None:
    path = bundle / "golden/onnx-int8.npy"
    answers = np.load(path)
    np.save(path, answers[:, ..., ::-1].copy())
    relist(bundle)
    edit(bundle, tolerance=300.0)
    reasons = [opened(bundle).run(number).reason for number in range(3)]
    assert not any(reasons)  # within a tolerance that lets anything pass
    edit(bundle, tolerance=10.0)
    assert any("in place of" in opened(bundle).run(number).reason for number in range(3))


# ---- files that do not fit


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"schema_version": 9}, "schema_version 9"),
        ({"images": 3}, "lacks or misspells"),
        ({"images": []}, "no golden self-test of onnx-int8"),
        ({"variants": {}}, "no golden self-test of onnx-int8"),
        ({"surprise": 1}, "lacks or misspells"),
        ({"path": "golden/0.png"}, "cannot be read"),
        ({"path": "golden/tflite-fp32.npy"}, "the golden file holds float32"),
        ({"path": "../bundle/golden/0.png"}, "outside the bundle"),
        ({"images": ["golden/0.png"]}, "3, .* values for 1 images"),
    ],
)
def test_golden_files_that_do_not_fit(bundle: Path, changes: Any, message: str) -> None:
    edit(bundle, **changes)
    with pytest.raises(BundleError, match=message):
        opened(bundle).run(0)


def test_an_array_of_objects_is_not_unpickled(bundle: Path) -> None:
    path = bundle / "golden/onnx-int8.npy"
    np.save(path, np.array([[print]] * 3, object), allow_pickle=True)
    relist(bundle)
    with pytest.raises(BundleError, match="cannot be read"):
        opened(bundle)


@pytest.mark.parametrize("name", [GOLDEN_NAME, "golden/onnx-int8.npy", "golden/2.png"])
def test_an_altered_golden_file_is_refused(bundle: Path, name: str) -> None:
    content = bytearray((bundle / name).read_bytes())
    content[-1] ^= 1
    (bundle / name).write_bytes(content)
    with pytest.raises(BundleError, match="sha256 differs"):
        opened(bundle)


# ---- the command


def selftest(bundle: Path, *arguments: str) -> int:
    return main(["selftest", str(bundle), "--threads", "1", *arguments])


def test_the_command_passes(bundle: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert selftest(bundle, "--json", "--max-latency", "1000", "--max-memory", "4000") == 0
    report = json.loads(capsys.readouterr().out)
    assert report["passed"]
    assert report["reasons"] == []
    assert (report["variant"], report["unit"], report["same_engine"]) == (
        "onnx-int8",
        "quantization steps",
        True,
    )
    assert len(report["images"]) == 3
    assert 0 < report["latency_seconds"] < 1
    assert 1e7 < report["peak_memory_bytes"] < 4e9
    assert report["max_latency_seconds"] == 1.0


def test_only_what_the_variant_needs_must_be_there(bundle: Path) -> None:
    (bundle / "models/tflite-fp32.tflite").unlink()
    (bundle / "golden/tflite-fp32.npy").unlink()
    assert selftest(bundle) == 0
    assert selftest(bundle, "--variant", "tflite-fp32") == 3


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (("--max-latency", "0.000001"), "an inference takes"),
        (("--max-memory", "1"), "MB of memory"),
    ],
)
def test_a_bound_that_is_not_held(
    bundle: Path, arguments: tuple[str, ...], reason: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert selftest(bundle, "--json", *arguments) == 1
    said = capsys.readouterr()
    (found,) = json.loads(said.out)["reasons"]
    assert reason in found
    assert reason in said.err


def test_other_answers_are_a_negative_verdict(
    bundle: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shift(bundle, "onnx-int8", 9)
    assert selftest(bundle) == 1
    said = capsys.readouterr()
    assert "FAIL  golden/0.png" in said.out
    assert "9 steps from the host's answer, at most 2 pass" in said.err
    assert "XNNPACK" in said.err


def test_a_bundle_without_golden_files(bundle: Path, capsys: pytest.CaptureFixture[str]) -> None:
    manifest = Bundle.open(bundle).manifest
    files = {k: v for k, v in manifest.files.items() if not k.startswith("golden/")}
    write_json(bundle / "manifest.json", replace(manifest, files=files).to_json())
    assert selftest(bundle) == 3
    assert "build or export it again" in capsys.readouterr().err


@pytest.mark.parametrize("text", ["0", "-1", "nan", "inf", "fast"])
def test_a_bound_that_is_no_quantity(bundle: Path, text: str) -> None:
    with pytest.raises(SystemExit) as caught:
        selftest(bundle, "--max-latency", text)
    assert caught.value.code == 2


@pytest.mark.parametrize("variant", ["onnx-int8", "tflite-fp32"])
@pytest.mark.parametrize("in_place", [True, False])
def test_what_was_hashed_is_what_is_loaded(
    bundle: Path, monkeypatch: pytest.MonkeyPatch, variant: str, in_place: bool
) -> None:
    """The file is changed after its hash was taken and before the interpreter opens it."""
    path = Bundle.open(bundle).model(variant)[1]
    sound = opened(bundle, variant).run().found_class
    real = session._open

    def swapping(*arguments: Any) -> Any:
        if in_place:
            path.write_bytes(b"something else")
        else:
            other = path.with_name("other")
            other.write_bytes(b"something else")
            other.replace(path)
        return real(*arguments)

    monkeypatch.setattr(session, "_open", swapping)
    found = Bundle.open(bundle)
    classifier = Classifier.open(found, variant=variant)
    assert path.read_bytes() == b"something else"
    test = GoldenTest(found, found.manifest.variant(variant), classifier.session)
    assert test.run().found_class == sound and not test.run().reason
    with pytest.raises(BundleError, match="sha256 differs"):
        Classifier.open(found, variant=variant)


def test_a_held_copy_cannot_be_changed_by_anybody(bundle: Path) -> None:
    found = Bundle.open(bundle)
    with found.held(GOLDEN_NAME) as place:
        assert place.read_bytes() == found.content(GOLDEN_NAME)
        with pytest.raises(OSError):
            place.write_bytes(b"something else")
        assert place.read_bytes() == found.content(GOLDEN_NAME)
    (bundle / GOLDEN_NAME).write_bytes(b"something else")
    with pytest.raises(BundleError, match="sha256 differs"):
        found.content(GOLDEN_NAME)


def test_the_manifest_is_read_once(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is checked and what is used are the same bytes."""
    from edge.runtime import bundle as module

    reads: list[Path] = []
    real = module.manifest_bytes
    monkeypatch.setattr(module, "manifest_bytes", lambda path: reads.append(path) or real(path))
    Bundle.open(bundle)
    assert reads == [bundle]
