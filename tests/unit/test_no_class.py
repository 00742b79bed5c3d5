"""A bundle to begin with: it knows no class, and is taught its first ones."""

import json
import shutil
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edge.errors import BundleError, InferenceError
from edge.runtime.bundle import LABELS_NAME, Bundle
from edge.runtime.classifier import Classifier
from edge.runtime.command_line import main
from edge.runtime.files import sha256_file, write_json
from edge.runtime.golden import GoldenTest
from edge.runtime.head import Head, head_bytes, load_head
from edge.runtime.output import TAUGHT_NAME, HeadKind
from edge.runtime.teach.labels import NO_CLASS
from tests.unit.head_bundle import bundle_to_begin_with, picture
from tests.unit.watch.service import Service


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> dict[HeadKind, Path]:
    folder = tmp_path_factory.mktemp("begin")
    return {kind: bundle_to_begin_with(folder / kind, kind) for kind in HeadKind}


@pytest.fixture(params=list(HeadKind))
def bundle(request: pytest.FixtureRequest, made: dict[HeadKind, Path], tmp_path: Path) -> Path:
    return Path(shutil.copytree(made[request.param], tmp_path / "bundle"))


def said(capsys: pytest.CaptureFixture[str], *words: object) -> str:
    """Standard output of a command that succeeds."""
    capsys.readouterr()
    assert main([str(word) for word in words]) == 0
    return capsys.readouterr().out


def told(capsys: pytest.CaptureFixture[str], *words: object) -> Any:
    return json.loads(said(capsys, *words, "--json"))


def test_it_is_taught_from_nothing_and_back(
    bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = picture(tmp_path, "red", 99)
    assert told(capsys, "predict", bundle, asked)[0]["categories"] == []
    assert NO_CLASS in said(capsys, "predict", bundle, asked)
    assert NO_CLASS in said(capsys, "info", bundle)
    assert "0 classes" in said(capsys, "info", bundle)
    table = said(capsys, "predict", bundle, asked, "--csv", "-", "--quiet").splitlines()
    assert len(table) == 2

    red = [picture(tmp_path, "red", seed) for seed in range(3)]
    first = told(capsys, "teach", bundle, "red", *red)
    assert (first["new"], first["taught"], first["classes"]) == (3, 3, 1)
    assert "only class" in first["assessment"]["note"]
    # A single class has all of the probability, whatever the picture shows.
    for color in ("red", "blue"):
        answer = told(capsys, "predict", bundle, picture(tmp_path, color, 98))[0]["categories"]
        assert [(item["label"], item["score"]) for item in answer] == [("red", 1.0)]
    assert NO_CLASS not in said(capsys, "info", bundle)

    blue = [picture(tmp_path, "blue", seed) for seed in range(3)]
    said(capsys, "teach", bundle, "blue", *blue[:2])
    line = said(capsys, "teach", bundle, "blue", blue[2])
    assert "6 of 6 taught pictures are answered rightly" in line
    for color in ("red", "blue"):
        answer = told(capsys, "predict", bundle, picture(tmp_path, color, 97))[0]["categories"]
        assert answer[0]["label"] == color
    worth = told(capsys, "teach", bundle, "blue", blue[2])["assessment"]
    assert [item["bursts"] for item in worth["classes"]] == [1, 2]  # a call is a series
    assert [item["held_out"] for item in worth["classes"]] == ["picture", "press"]

    assert told(capsys, "forget", bundle, "red") == {"forgotten": {"red": 3}}
    assert told(capsys, "forget", bundle, "--all") == {"forgotten": {"blue": 3}}
    assert not (bundle / TAUGHT_NAME).exists()
    assert told(capsys, "predict", bundle, asked)[0]["categories"] == []
    assert main(["forget", str(bundle), "red"]) == 2


def test_the_self_test_compares_embeddings_alone(
    bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    report = told(capsys, "selftest", bundle)
    assert report["passed"]
    assert report["classes"] == 0
    assert {item["expected_class"] for item in report["images"]} == {None}
    assert "embeddings alone" in said(capsys, "selftest", bundle)
    said(capsys, "teach", bundle, "red", picture(tmp_path, "red", 1))
    assert told(capsys, "selftest", bundle)["passed"]


def test_another_embedding_fails_the_self_test(bundle: Path) -> None:
    opened = Bundle.open(bundle)
    test = GoldenTest(opened, opened.manifest.variant(), Classifier.open(opened).session)
    assert not test.run().reason
    test._answers = test._answers + np.float32(1)
    found = test.run()
    assert "from the host's answer" in found.reason
    assert "class" not in found.reason


def test_programs_get_no_answer_and_no_error(bundle: Path, tmp_path: Path) -> None:
    classifier = Classifier.open(bundle)
    shown = picture(tmp_path, "red", 1)
    assert classifier.classify(shown) == []
    assert classifier.labels == ()
    answer = classifier.answer(shown, name="x", k=3, variant="v")
    assert answer == {"image": "x", "variant": "v", "categories": []}
    pixels = np.zeros((16, 16, 3), np.uint8)
    probabilities = classifier.probabilities(pixels)
    assert probabilities.shape == (0,)
    assert classifier.answered(probabilities) == ()
    with pytest.raises(InferenceError, match=NO_CLASS):
        classifier.strongest(probabilities)


def test_a_service_learns_its_first_class(made: dict[HeadKind, Path], tmp_path: Path) -> None:
    bundle = Path(shutil.copytree(made[HeadKind.IMPRINTED], tmp_path / "bundle"))
    inbox = tmp_path / "inbox"
    inbox.mkdir()
    service = Service(bundle, inbox)
    try:
        picture(inbox, "red", 90)
        assert service.line()["categories"] == []
        shown = str(picture(tmp_path, "red", 1))
        assert main(["teach", str(bundle), "red", shown]) == 0
        picture(inbox, "red", 91)
        assert service.line()["categories"][0]["label"] == "red"
        code, _, stderr = service.ended(signal.SIGTERM)
        assert code == 0
        assert NO_CLASS in stderr
    finally:
        if service.process.poll() is None:
            service.process.kill()
        service.process.communicate()


@pytest.mark.parametrize("kind", list(HeadKind))
def test_a_head_without_a_class(made: dict[HeadKind, Path], kind: HeadKind) -> None:
    opened = Bundle.open(made[kind])
    spec = opened.manifest.head
    assert spec is not None
    head = load_head(opened.content(spec.path), spec, ())
    assert (head.labels, head.features) == ((), 3)
    assert head.scores(np.ones((4, 3), np.float32)).shape == (4, 0)
    assert head.scores(np.ones((0, 3), np.float32)).shape == (0, 0)
    with pytest.raises(InferenceError, match="features"):
        head.scores(np.ones((4, 5), np.float32))
    one = head.with_examples("a", np.ones((2, 3), np.float32))
    np.testing.assert_array_equal(one.scores(np.eye(3, dtype=np.float32)), np.ones((3, 1)))
    np.testing.assert_array_equal(one.scores(np.zeros((1, 3), np.float32)), [[1.0]])


@pytest.mark.parametrize(
    ("vectors", "classes", "labels"),
    [
        (np.empty((0, 0), np.float32), np.empty(0, np.int64), ()),
        (np.empty((0, 3), np.float32), np.empty(0, np.int64), ("a",)),
        (np.ones((1, 3), np.float32), np.zeros(1, np.int64), ()),
        (np.empty((0, 3), np.float32), np.empty(0, np.int32), ()),
        (np.empty((3,), np.float32), np.empty(3, np.int64), ()),
    ],
)
def test_a_head_that_does_not_fit_its_labels_is_refused(
    made: dict[HeadKind, Path], vectors: np.ndarray, classes: np.ndarray, labels: tuple[str, ...]
) -> None:
    spec = Bundle.open(made[HeadKind.KNN]).manifest.head
    assert spec is not None
    wrong = head_bytes(Head(spec=spec, labels=labels, vectors=vectors, classes=classes))
    with pytest.raises(BundleError, match="no head"):
        load_head(wrong, spec, labels)


def test_its_list_of_labels_is_empty_too(bundle: Path) -> None:
    path = bundle / LABELS_NAME
    path.write_text("")
    value = json.loads((bundle / "manifest.json").read_text(encoding="utf-8"))
    value["files"][LABELS_NAME] = sha256_file(path)
    write_json(bundle / "manifest.json", value)
    Bundle.open(bundle).verify()
