"""The Python API that README shows: ``from edge.runtime import Classifier``."""

import io
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from edge.errors import ImageError, InferenceError, UsageError
from edge.pipeline.bundle import copy_runtime
from edge.runtime import Category, Classifier
from edge.runtime.bundle import Bundle
from tests.unit.golden_bundle import LABELS, golden_bundle

GREEN = np.full((40, 50, 3), (20, 180, 60), np.uint8)


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return golden_bundle(tmp_path_factory.mktemp("api") / "bundle")


@pytest.fixture(scope="module")
def classifier(bundle: Path) -> Classifier:
    return Classifier.open(str(bundle))


@pytest.fixture(scope="module")
def picture(bundle: Path) -> Path:
    path = bundle.parent / "green.png"
    Image.fromarray(GREEN).save(path)
    return path


def test_a_bundle_is_opened_by_text_path_or_object(bundle: Path, picture: Path) -> None:
    answers = [
        Classifier.open(source).classify(picture)
        for source in (str(bundle), bundle, Bundle.open(bundle))
    ]
    assert answers[0] == answers[1] == answers[2]
    assert isinstance(answers[0][0], Category)
    with pytest.raises(UsageError, match="no bundle"):
        Classifier.open(str(bundle / "models"))


def test_every_source_of_one_picture_gives_one_answer(
    classifier: Classifier, picture: Path
) -> None:
    content = picture.read_bytes()
    expected = classifier.classify(picture)
    assert expected[0].label == LABELS[1]
    sources: dict[str, Any] = {
        "str": str(picture),
        "bytes": content,
        "bytearray": bytearray(content),
        "stream": io.BytesIO(content),
        "image": Image.open(picture),
        "array": GREEN,
        "view": np.repeat(GREEN, 2, axis=1)[:, ::2],
    }
    for name, source in sources.items():
        assert classifier.classify(source) == expected, name
    assert len(classifier.classify(GREEN, k=1)) == 1


def test_the_channels_of_an_array_are_in_rgb_order(classifier: Classifier) -> None:
    for channel, label in enumerate(LABELS):
        array = np.full((16, 16, 3), 30, np.uint8)
        array[..., channel] = 220
        assert classifier.classify(array)[0].label == label


def test_grey_is_the_same_value_in_every_channel(classifier: Classifier) -> None:
    grey = np.arange(256, dtype=np.uint8).reshape(16, 16)
    assert classifier.classify(grey) == classifier.classify(np.stack([grey] * 3, axis=-1))


@pytest.mark.parametrize(
    "source",
    [
        GREEN / 255,
        GREEN.astype(np.int64),
        GREEN[None],
        GREEN[..., :1],
        np.zeros((8, 8, 4), np.uint8),
        np.zeros((3, 16, 16), np.uint8),
        np.zeros((0, 16, 3), np.uint8),
        Image.new("RGB", (0, 5)),
        None,
        [GREEN],
    ],
)
def test_what_is_no_image_is_refused(classifier: Classifier, source: Any) -> None:
    with pytest.raises(UsageError) as caught:
        classifier.classify(source)
    assert caught.value.message


@pytest.mark.parametrize("source", [b"", b"text", "/nowhere/photo.jpg", Path("/")])
def test_what_cannot_be_decoded_is_an_image_error(classifier: Classifier, source: Any) -> None:
    with pytest.raises(ImageError):
        classifier.classify(source)


def test_a_half_pillow_image_is_an_image_error(classifier: Classifier, picture: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    whole = io.BytesIO()
    Image.fromarray(noise).save(whole, "PNG")
    half = Image.open(io.BytesIO(whole.getvalue()[:5000]))
    with pytest.raises(ImageError):
        classifier.classify(half)


def test_no_class_asked_for(classifier: Classifier) -> None:
    wrong: tuple[Any, ...] = (0, -1, "x", 1.5, None)
    for k in wrong:
        with pytest.raises(UsageError, match=r"^k is .*at least 1"):
            classifier.classify(GREEN, k=k)
    assert len(classifier.classify(GREEN, k=np.int64(2))) == 2  # type: ignore[arg-type]


@pytest.mark.parametrize("threads", [0, -1, "2", None])
def test_no_number_of_threads(bundle: Path, threads: Any) -> None:
    with pytest.raises(UsageError, match=r"^threads is .*at least 1"):
        Classifier.open(bundle, threads=threads)


def test_the_copy_that_a_bundle_carries_has_the_same_api(
    bundle: Path, picture: Path, tmp_path: Path
) -> None:
    copy_runtime(tmp_path / "runtime")
    program = (
        "import sys, edge.runtime\n"
        "print('numpy' in sys.modules, 'PIL' in sys.modules)\n"
        "from edge.runtime import Classifier\n"
        "print(edge.runtime.__file__)\n"
        "print(Classifier.open(sys.argv[1]).classify(sys.argv[2])[0].index)\n"
    )
    result = subprocess.run(
        [sys.executable, "-c", program, str(bundle), str(picture)],
        cwd=tmp_path,
        env={"PYTHONPATH": str(tmp_path / "runtime")},
        capture_output=True,
        text=True,
        check=True,
    )
    light, place, index = result.stdout.splitlines()
    assert light == "False False"
    assert Path(place).is_relative_to(tmp_path)
    assert index == "1"


def test_an_answer_that_is_not_finite_names_model_and_picture(
    classifier: Classifier, picture: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*_: object, **__: object) -> None:
        raise InferenceError("the model's answer is not finite (NaN or infinity)")

    monkeypatch.setattr("edge.runtime.classifier.top_k", refused)
    with pytest.raises(InferenceError, match=r"^onnx-fp32 on some\.jpg: the model's answer is not"):
        classifier.answer(picture, name="some.jpg", k=1, variant="onnx-fp32")
