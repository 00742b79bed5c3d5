"""Heads without gradient steps, and what a device teaches them."""

import json
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from edge.errors import BundleError, InferenceError, UsageError
from edge.runtime.bundle import Bundle
from edge.runtime.classifier import Classifier
from edge.runtime.command_line import main
from edge.runtime.files import sha256_file
from edge.runtime.golden import GoldenTest
from edge.runtime.head import Head, class_probabilities, head_bytes, load_head, normalised
from edge.runtime.output import TAUGHT_NAME, HeadKind, HeadSpec
from edge.runtime.spec import Manifest
from edge.runtime.teach.labels import checked_label
from edge.runtime.teach.taught import read_taught
from edge.training.head import choose_k, fit_head, fit_scale, least
from edge.training.options import HeadOptions, Strategy, check_metric, parse_hidden, parse_metric
from tests.unit.golden_bundle import ROOT
from tests.unit.head_bundle import LABELS, head_bundle, picture
from tests.unit.watch.service import Service


@pytest.fixture(scope="module")
def bundles(tmp_path_factory: pytest.TempPathFactory) -> dict[HeadKind, Path]:
    folder = tmp_path_factory.mktemp("heads")
    return {kind: head_bundle(folder / kind, kind) for kind in HeadKind}


@pytest.fixture(params=list(HeadKind))
def bundle(request: pytest.FixtureRequest, bundles: dict[HeadKind, Path], tmp_path: Path) -> Path:
    return Path(shutil.copytree(bundles[request.param], tmp_path / "bundle"))


def clouds(classes: int = 3, each: int = 20, features: int = 8, spread: float = 0.5) -> Head:
    """Features around a random centre for each class, as an imprinted head of them."""
    vectors, labels = examples(classes, each, features, spread)
    return fit_head(HeadKind.IMPRINTED, vectors, labels, tuple(map(str, range(classes))))


def examples(
    classes: int, each: int, features: int, spread: float
) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(7)
    labels = np.repeat(np.arange(classes), each)
    centres = generator.normal(size=(classes, features))
    noise = generator.normal(size=(classes * each, features))
    return (centres[labels] + spread * noise).astype(np.float32), labels


def test_imprinted_weights_are_the_normalised_means_of_the_normalised_embeddings() -> None:
    vectors, labels = examples(3, 5, 8, 0.5)
    head = fit_head(HeadKind.IMPRINTED, vectors, labels, ("a", "b", "c"))
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    means = np.stack([unit[labels == index].mean(axis=0) for index in range(3)])
    weights = means / np.linalg.norm(means, axis=1, keepdims=True)
    logits = head.spec.scale * (unit @ weights.T)
    expected = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(head.scores(vectors), expected, rtol=1e-4, atol=1e-6)


def test_nearest_neighbours_vote_by_their_similarity() -> None:
    shown = np.array([[1, 0], [0.8, 0.6], [0, 1]], np.float32)
    spec = HeadSpec(kind=HeadKind.KNN, path="head.npz", scale=2.0, k=2)
    head = Head(spec=spec, labels=("a", "b"), vectors=shown, classes=np.array([0, 1, 1]))
    near, far = np.exp(2.0 * 1.0), np.exp(2.0 * 0.8)
    expected = [[near / (near + far), far / (near + far)], [0.0, 1.0]]
    found = head.scores(np.array([[3, 0], [0, 5]], np.float32))
    np.testing.assert_allclose(found, expected, rtol=1e-5)


@pytest.mark.parametrize("kind", HeadKind)
def test_a_length_does_not_matter_and_probabilities_sum_to_one(kind: HeadKind) -> None:
    vectors, labels = examples(4, 6, 8, 1.0)
    head = fit_head(kind, vectors, labels, ("a", "b", "c", "d"))
    found = head.scores(vectors)
    np.testing.assert_allclose(found, head.scores(9 * vectors), rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(found.sum(axis=1), 1.0, rtol=1e-5)


def test_more_queries_than_fit_at_once_get_the_same_answers() -> None:
    vectors, labels = examples(3, 200, 8, 1.0)
    head = fit_head(HeadKind.KNN, vectors, labels, ("a", "b", "c"))
    one_by_one = np.concatenate([head.scores(row[None]) for row in vectors[250:260]])
    # The order of sums differs between a matrix and a vector product.
    np.testing.assert_allclose(head.scores(vectors)[250:260], one_by_one, atol=1e-5)


def test_the_scale_is_the_one_with_the_least_loss_leave_one_out() -> None:
    vectors, labels = examples(3, 20, 8, 1.2)
    unit = normalised(vectors)
    sums = np.stack([unit[labels == index].sum(axis=0) for index in range(3)])
    fitted = fit_scale(unit, labels, sums)

    def loss(scale: float) -> float:
        """By hand: every image against the head of all others."""
        total = 0.0
        for row, label in enumerate(labels):
            rest = np.delete(np.arange(len(labels)), row)
            means = np.stack([unit[rest][labels[rest] == index].mean(axis=0) for index in range(3)])
            logits = scale * (normalised(means) @ unit[row])
            total -= logits[label] - np.log(np.exp(logits).sum())
        return total

    assert loss(fitted) < loss(fitted * 1.3)
    assert loss(fitted) < loss(fitted / 1.3)


def test_one_image_a_class_is_enough() -> None:
    for kind in HeadKind:
        head = fit_head(kind, np.eye(3, dtype=np.float32), np.arange(3), ("a", "b", "c"))
        assert head.scores(np.eye(3, dtype=np.float32)).argmax(axis=1).tolist() == [0, 1, 2]


def test_k_grows_with_the_noise() -> None:
    clean, labels = examples(2, 60, 4, 0.1)
    generator = np.random.default_rng(1)
    mixed = labels.copy()
    wrong = generator.choice(120, 30, replace=False)
    mixed[wrong] = 1 - mixed[wrong]
    assert choose_k(normalised(clean), labels, 2) == 1
    assert choose_k(normalised(clean), mixed, 2) > 3


def test_least_finds_the_bottom_of_a_convex_function() -> None:
    assert least(lambda x: (x - 137.0) ** 2, 1.0, 500.0) == pytest.approx(137.0, abs=0.5)


def test_embeddings_that_do_not_fit_are_refused() -> None:
    head = clouds()
    with pytest.raises(InferenceError, match="takes 8"):
        head.scores(np.zeros((1, 9), np.float32))
    with pytest.raises(InferenceError, match="not finite"):
        head.scores(np.full((1, 8), np.nan, np.float32))
    zeros = head.scores(np.zeros((1, 8), np.float32))
    np.testing.assert_allclose(zeros, 1 / 3, rtol=1e-5)  # no direction: no class is nearer


def test_without_a_head_outputs_are_probabilities() -> None:
    table = np.array([[0.2, 0.8]], np.float32)
    assert class_probabilities(table, None) is table


def test_a_file_that_is_no_head_is_refused(tmp_path: Path) -> None:
    head = clouds()
    path = tmp_path / "head.npz"
    path.write_bytes(head_bytes(head))
    assert load_head(path, head.spec, head.labels).scores(np.ones((1, 8), np.float32)).shape == (
        1,
        3,
    )
    with pytest.raises(BundleError, match="4 classes"):
        load_head(path, head.spec, (*head.labels, "more"))
    path.write_bytes(head_bytes(head)[:-40])
    with pytest.raises(BundleError, match="cannot be read"):
        load_head(path, head.spec, head.labels)


@pytest.mark.parametrize(
    "change", [{"kind": "svm"}, {"scale": 0}, {"k": 3}, {"k": None, "kind": "knn"}, {"more": 1}]
)
def test_a_manifest_with_an_unusable_head_is_refused(bundles: dict, change: dict) -> None:
    value = Bundle.open(bundles[HeadKind.IMPRINTED]).manifest.to_json()
    assert Manifest.from_json(value).head is not None
    value["head"] = value["head"] | change
    with pytest.raises(BundleError, match="head"):
        Manifest.from_json(value)


@pytest.mark.parametrize(("text", "kind"), [("knn", "knn"), (" Imprinted", "imprinted")])
def test_words_for_heads(text: str, kind: str) -> None:
    assert parse_metric(text) == kind
    assert parse_hidden(text) == ()
    assert parse_metric("128") is None


def test_options_that_would_do_nothing_are_refused() -> None:
    check_metric(Strategy.FEATURES, HeadOptions(metric=HeadKind.KNN, seed=4))
    with pytest.raises(UsageError, match="--strategy fine-tune"):
        check_metric(Strategy.FINE_TUNE, HeadOptions(metric=HeadKind.KNN))
    with pytest.raises(UsageError, match="--learning-rate"):
        check_metric(Strategy.FEATURES, HeadOptions(metric=HeadKind.KNN, learning_rate=0.1))


def test_a_class_is_taught_used_and_forgotten(
    bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = {path: sha256_file(path) for path in bundle.rglob("*") if path.is_file()}
    asked = picture(tmp_path, "blue", 99)
    assert predicted(bundle, asked, capsys)[0] in LABELS
    shown = [picture(tmp_path, "blue", seed) for seed in range(3)]
    assert main(["teach", str(bundle), "синий 海", *map(str, shown), "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert (result["new"], result["taught"], result["classes"]) == (3, 3, 3)
    assert result["seconds_per_picture"] < 1.0
    assert predicted(bundle, asked, capsys)[0] == "синий 海"
    assert predicted(bundle, picture(tmp_path, "red", 98), capsys)[0] == "red"
    assert main(["info", str(bundle)]) == 0  # every listed hash is as it was
    assert "taught with tflite-fp32: синий 海 (3) pictures" in capsys.readouterr().out
    assert all(sha256_file(path) == digest for path, digest in before.items())
    assert main(["selftest", str(bundle), "--json"]) == 0
    capsys.readouterr()
    assert main(["forget", str(bundle), "синий 海"]) == 0
    assert predicted(bundle, asked, capsys)[0] in LABELS
    assert {path for path in bundle.rglob("*") if path.is_file()} == before.keys()


def predicted(bundle: Path, image: Path, capsys: pytest.CaptureFixture[str]) -> list[str]:
    """Labels, best first."""
    capsys.readouterr()
    assert main(["predict", str(bundle), str(image), "--json"]) == 0
    return [item["label"] for item in json.loads(capsys.readouterr().out)[0]["categories"]]


def test_pictures_of_a_known_class_move_its_border(bundle: Path, tmp_path: Path) -> None:
    classifier = Classifier.open(Bundle.open(bundle))
    asked = picture(tmp_path, "blue", 99)
    first = classifier.classify(asked, k=2)
    other = LABELS[1 - LABELS.index(first[0].label)]
    shown = [str(picture(tmp_path, "blue", seed)) for seed in range(9)]
    assert main(["teach", str(bundle), other, *shown]) == 0
    # The same object, as in a running service.
    assert classifier.classify(asked, k=1)[0].label == other
    assert classifier.labels == LABELS
    assert main(["forget", str(bundle), "--all"]) == 0
    assert classifier.classify(asked, k=2) == first


def test_the_same_picture_counts_once(bundle: Path, tmp_path: Path) -> None:
    shown = str(picture(tmp_path, "blue", 1))
    assert main(["teach", str(bundle), "blue", shown, shown]) == 0
    assert main(["teach", str(bundle), "blue", shown]) == 0
    taught = read_taught(Bundle.open(bundle))
    assert taught is not None
    assert taught.labels == {"blue": 1}


def failed(code: int, said: str, capsys: pytest.CaptureFixture[str], *words: object) -> None:
    capsys.readouterr()
    assert main([str(word) for word in words]) == code
    stderr = capsys.readouterr().err
    assert said in stderr
    assert "error: " in stderr


def test_what_cannot_be_taught_is_refused(
    bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shown = picture(tmp_path, "blue", 1)
    broken = tmp_path / "broken.png"
    broken.write_bytes(shown.read_bytes()[:60])
    failed(2, "nothing was learnt", capsys, "teach", bundle, "blue", shown, broken)
    failed(2, "differs in capitals alone", capsys, "teach", bundle, "Red", shown)
    failed(2, "cannot be shown", capsys, "teach", bundle, "a\nb", shown)
    failed(2, r"'é\u001b[31m' has", capsys, "teach", bundle, "é\x1b[31m", shown)
    failed(2, "at most 100", capsys, "teach", bundle, "x" * 101, shown)
    failed(2, "is empty", capsys, "teach", bundle, "  ", shown)
    failed(2, "nothing was", capsys, "forget", bundle, "blue")
    failed(2, "was taught nothing", capsys, "forget", bundle, "--all")
    failed(2, "name a label, or --all", capsys, "forget", bundle)
    assert not (bundle / TAUGHT_NAME).exists()
    assert main(["teach", str(bundle), "blue", str(shown)]) == 0
    failed(2, "was built with", capsys, "forget", bundle, "red")
    failed(2, "Taught are: blue", capsys, "forget", bundle, "green")
    failed(2, "differs in capitals alone", capsys, "teach", bundle, "BLUE", shown)


def test_another_variant_is_refused_with_the_way_out(
    bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shown = picture(tmp_path, "blue", 1)
    int8 = ("--variant", "tflite-int8")
    assert main(["teach", str(bundle), "blue", str(shown), *int8]) == 0
    failed(2, "--variant tflite-int8", capsys, "predict", bundle, shown)
    failed(2, "forget BUNDLE --all", capsys, "teach", bundle, "blue", shown)
    assert main(["predict", str(bundle), str(shown), *int8]) == 0


def test_a_broken_taught_file_is_said_and_can_be_forgotten(
    bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shown = picture(tmp_path, "blue", 1)
    assert main(["teach", str(bundle), "blue", str(shown)]) == 0
    path = bundle / TAUGHT_NAME
    for content in (path.read_bytes()[:-30], b"", b"PK\3\4nothing", path.read_bytes()[50:]):
        path.write_bytes(content)
        failed(3, "forget BUNDLE --all", capsys, "predict", bundle, shown)
        failed(3, "forget BUNDLE --all", capsys, "teach", bundle, "blue", shown)
    assert main(["forget", str(bundle), "--all"]) == 0
    assert main(["predict", str(bundle), str(shown)]) == 0


def test_a_full_disk_leaves_what_was_taught(bundle: Path, tmp_path: Path) -> None:
    shown = [str(picture(tmp_path, "blue", seed)) for seed in range(2)]
    assert main(["teach", str(bundle), "blue", shown[0]]) == 0
    before = (bundle / TAUGHT_NAME).read_bytes()
    # No file may grow beyond nothing: a write fails as on a full disk.
    program = (
        "import resource, sys; from edge.runtime.command_line import main\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0)); sys.exit(main(sys.argv[1:]))"
    )
    found = subprocess.run(
        [sys.executable, "-c", program, "teach", str(bundle), "blue", shown[1]],
        cwd=ROOT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert found.returncode == 2
    assert "taught.npz cannot be written" in found.stderr
    assert (bundle / TAUGHT_NAME).read_bytes() == before
    assert not list(bundle.glob(".*.tmp"))


def test_a_running_service_learns_and_forgets(bundle: Path, tmp_path: Path) -> None:
    inbox = tmp_path / "inbox"
    inbox.mkdir()
    service = Service(bundle, inbox)
    try:
        picture(inbox, "blue", 90)
        assert service.line()["categories"][0]["label"] in LABELS
        shown = [str(picture(tmp_path, "blue", seed)) for seed in range(3)]
        assert main(["teach", str(bundle), "blue", *shown]) == 0
        picture(inbox, "blue", 91)
        assert service.line()["categories"][0]["label"] == "blue"
        assert main(["forget", str(bundle), "blue"]) == 0
        picture(inbox, "blue", 92)
        assert service.line()["categories"][0]["label"] in LABELS
        assert service.ended(signal.SIGTERM)[0] == 0
    finally:
        if service.process.poll() is None:
            service.process.kill()
        service.process.communicate()


def test_a_trained_head_cannot_be_taught(
    tmp_path: Path, bundles: dict, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = Path(shutil.copytree(bundles[HeadKind.KNN], tmp_path / "trained"))
    value = json.loads((folder / "manifest.json").read_text())
    del value["head"]
    (folder / "manifest.json").write_text(json.dumps(value))
    shown = picture(tmp_path, "blue", 1)
    failed(2, "--head imprinted", capsys, "teach", folder, "blue", shown)


def test_two_teachers_at_once_lose_nothing(bundle: Path, tmp_path: Path) -> None:
    processes = [
        subprocess.Popen(
            [
                *(sys.executable, "-m", "edge.runtime", "teach", str(bundle), f"class {number}"),
                str(picture(tmp_path, "blue", number)),
            ],
            cwd=ROOT,
            stdout=subprocess.DEVNULL,
        )
        for number in range(3)
    ]
    assert [process.wait(60) for process in processes] == [0, 0, 0]
    taught = read_taught(Bundle.open(bundle))
    assert taught is not None
    assert set(taught.labels) == {"class 0", "class 1", "class 2"}


@pytest.mark.parametrize("count", [3, pytest.param(40, marks=pytest.mark.long)])
def test_teachers_that_are_killed_at_random_moments(
    bundles: dict[HeadKind, Path], tmp_path: Path, count: int
) -> None:
    """What was taught before is there, with the new picture or without it, and whole."""
    bundle = shutil.copytree(bundles[HeadKind.IMPRINTED], tmp_path / "bundle")
    draw = random.Random(count)
    shown = [str(picture(tmp_path, "blue", seed)) for seed in range(count + 1)]
    command = [sys.executable, "-m", "edge.runtime", "teach", str(bundle), "blue"]
    began = time.monotonic()
    subprocess.run([*command, shown[0]], cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
    whole = time.monotonic() - began
    known = 1
    for image in shown[1:]:
        process = subprocess.Popen(
            [*command, image], cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        time.sleep(draw.uniform(0, whole))
        process.kill()
        process.wait()
        time.sleep(0.05)  # the kernel ends its child, which does the work
        taught = read_taught(Bundle.open(bundle))
        assert taught is not None
        assert len(taught.examples) in (known, known + 1)
        known = len(taught.examples)
    subprocess.run([*command, shown[0]], cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
    assert not list(bundle.glob(".*.tmp"))


def test_what_a_killed_teacher_left_is_taken_away(bundle: Path, tmp_path: Path) -> None:
    ended = subprocess.Popen(["true"])
    ended.wait()
    left = bundle / f".{TAUGHT_NAME}.{ended.pid}-0123abcd.tmp"
    left.write_bytes(b"half")
    assert main(["teach", str(bundle), "blue", str(picture(tmp_path, "blue", 1))]) == 0
    assert not left.exists()


def test_labels() -> None:
    assert checked_label("e\u0301te\u0301") == "été"
    assert checked_label("👩‍🔬 lab") == "👩‍🔬 lab"
    for bad in ("", " a", "a\u202eb", "a\x00", "\ud800", "\ue000"):
        with pytest.raises(UsageError):
            checked_label(bad)


def test_the_golden_test_judges_classes_by_the_head(bundle: Path) -> None:
    opened = Bundle.open(bundle)
    classifier = Classifier.open(opened)
    test = GoldenTest(opened, opened.manifest.variant(), classifier.session)
    found = test.run()
    assert not found.reason
    assert found.expected_class in range(len(LABELS))
