import shutil
import threading
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image

from edge.cache import StageCache
from edge.errors import InferenceError, ModelLoadError
from edge.evaluation import predictions
from edge.evaluation.predictions import raw_outputs, run_images
from edge.runtime.contract import Preprocessing
from edge.runtime.spec import TensorSpec

MODEL = Path(__file__).parents[1] / "data" / "channels_fp32.tflite"
SPEC = Preprocessing(height=16, width=16)


@pytest.fixture
def grey_images(tmp_path: Path) -> list[Path]:
    """Sixty plain pictures; the brightness is the position."""
    paths = [tmp_path / f"{position:02}.png" for position in range(60)]
    for position, path in enumerate(paths):
        Image.new("L", (16, 16), position).save(path)
    return paths


class Brightness:
    """A session whose answer is the brightness of its image.

    Args:
        watch: Called with +1 for each image that was run.
    """

    engine = "stub"
    inputs = (TensorSpec(name="image", shape=(1, 16, 16, 3), dtype="uint8"),)
    outputs = (TensorSpec(name="out", shape=(1, 1), dtype="float32"),)

    def __init__(self, watch: Any = lambda: None) -> None:
        self.watch = watch
        self.threads: set[int] = set()

    def run(self, *tensors: Any) -> list[Any]:
        self.threads.add(threading.get_ident())
        value = int(tensors[0][0, 0, 0, 0])
        time.sleep(0.001 * (value % 3))  # the later ones are often done first
        self.watch()
        return [np.array([[value]], np.float32)]


def use(monkeypatch: pytest.MonkeyPatch, make: Any) -> None:
    monkeypatch.setattr(predictions, "open_session", lambda path, engine=None: make())


@pytest.mark.parametrize("workers", [None, 1, 2, 7])
def test_answers_come_in_order(
    monkeypatch: pytest.MonkeyPatch, grey_images: list[Path], workers: int | None
) -> None:
    use(monkeypatch, Brightness)
    answers = list(run_images(MODEL, grey_images, SPEC, workers=workers))
    assert [answer.position for answer in answers] == list(range(60))
    values = [None if answer.values is None else answer.values.tolist() for answer in answers]
    assert values == [[float(position)] for position in range(60)]


def test_no_more_than_a_window_is_waiting(
    monkeypatch: pytest.MonkeyPatch, grey_images: list[Path]
) -> None:
    lock, count, most = threading.Lock(), SimpleNamespace(run=0, taken=0), 0

    def ran() -> None:
        with lock:
            count.run += 1

    use(monkeypatch, lambda: Brightness(ran))
    for _ in run_images(MODEL, grey_images, SPEC, workers=2):
        time.sleep(0.01)  # a consumer that is slower than the workers
        with lock:
            most = max(most, count.run - count.taken)
            count.taken += 1
    assert count.run == 60
    assert 2 < most <= 4 * 2


def test_each_thread_has_a_session_of_its_own(
    monkeypatch: pytest.MonkeyPatch, grey_images: list[Path]
) -> None:
    made: list[Brightness] = []

    def make() -> Brightness:
        made.append(Brightness())
        return made[-1]

    use(monkeypatch, make)
    list(run_images(MODEL, grey_images, SPEC, workers=3))
    assert len(made) <= 3  # what was opened to see whether the model loads is one of them
    assert all(len(session.threads) <= 1 for session in made)


def test_an_unreadable_image_is_reported_in_its_place(
    grey_images: list[Path], tmp_path: Path
) -> None:
    bad = tmp_path / "bad.png"
    bad.write_text("no picture")
    answers = list(run_images(MODEL, [*grey_images[:3], bad, grey_images[3]], SPEC))
    assert [answer.values is None for answer in answers] == [False, False, False, True, False]
    assert "bad.png" in answers[3].problem
    assert answers[0].problem == ""


def test_quantized_answers_are_real_values(tmp_path: Path) -> None:
    path = tmp_path / "green.png"
    Image.new("RGB", (16, 16), (0, 200, 0)).save(path)
    (answer,) = run_images(MODEL.with_name("channels_int8.tflite"), [path], SPEC)
    assert answer.values is not None
    assert answer.values.dtype == np.float32
    assert answer.values.sum() == pytest.approx(1, abs=0.02)
    assert answer.values.argmax() == 1


def test_no_images_no_answers() -> None:
    assert list(run_images(MODEL, [], SPEC)) == []


def test_a_broken_model_is_an_error_of_the_call(tmp_path: Path, grey_images: list[Path]) -> None:
    (tmp_path / "model.tflite").write_bytes(b"nothing")
    with pytest.raises(ModelLoadError):
        next(run_images(tmp_path / "model.tflite", grey_images, SPEC))


def test_a_failing_model_ends_the_pass(
    monkeypatch: pytest.MonkeyPatch, grey_images: list[Path]
) -> None:
    class Failing(Brightness):
        def run(self, *tensors: Any) -> list[Any]:
            if tensors[0][0, 0, 0, 0] == 5:
                raise InferenceError("failed")
            return super().run(*tensors)

    use(monkeypatch, Failing)
    taken = []
    with pytest.raises(InferenceError):
        for answer in run_images(MODEL, grey_images, SPEC, workers=2):
            taken.append(answer.position)
    assert taken == [0, 1, 2, 3, 4]


def test_a_consumer_that_leaves_stops_the_workers(
    monkeypatch: pytest.MonkeyPatch, grey_images: list[Path]
) -> None:
    ran: list[int] = []
    use(monkeypatch, lambda: Brightness(lambda: ran.append(1)))
    answers = run_images(MODEL, grey_images, SPEC, workers=2)
    next(answers)
    answers.close()  # type: ignore[attr-defined]
    assert len(ran) <= 8


def test_a_model_that_changes_while_it_is_scored_has_no_scores(
    tmp_path: Path, grey_images: list[Path]
) -> None:
    model = Path(shutil.copy(MODEL, tmp_path / "model.tflite"))
    cache = StageCache(tmp_path / "cache")
    pictures = [SimpleNamespace(path=path, sha256=path.stem) for path in grey_images]
    other = MODEL.with_name("channels_int8.tflite").read_bytes()
    with pytest.raises(InferenceError, match="changed while it was scored"):
        raw_outputs(model, pictures, SPEC, cache=cache, step=lambda _: swap(model, other))
    model.write_bytes(MODEL.read_bytes())
    scores = raw_outputs(model, pictures, SPEC, cache=cache)
    assert len(scores) == len(pictures)


def swap(model: Path, content: bytes) -> None:
    model.with_suffix(".new").write_bytes(content)
    model.with_suffix(".new").replace(model)
