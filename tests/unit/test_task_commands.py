"""Commands with a detector: answers drawn and listed, and how long its steps take."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from edge.errors import OutputError, UsageError
from edge.runtime.commands.bench import bench, made_jpeg
from edge.runtime.commands.predict import Form, answered
from edge.runtime.contract import Preprocessing
from edge.runtime.spec import TensorSpec
from edge.runtime.tasks.model import TaskModel
from edge.runtime.tasks.table import DecoderSpec
from edge.runtime.teach.teacher import check_learns

SIDE = 32


class OneBox:
    """A session that finds one cat in the left half of every picture."""

    engine = "fake 1"
    inputs = (TensorSpec(name="in", shape=(1, SIDE, SIDE, 3), dtype="uint8"),)
    outputs = (TensorSpec(name="out", shape=(1, 1, 6), dtype="float32"),)

    def run(self, *tensors: NDArray[Any]) -> list[NDArray[Any]]:
        assert tensors[0].shape == self.inputs[0].shape
        return [np.array([[[0, 0, SIDE / 2, SIDE, 0.75, 1]]], np.float32)]


@pytest.fixture
def model() -> TaskModel:
    contract = Preprocessing(height=SIDE, width=SIDE, resize="stretch")
    return TaskModel(OneBox(), ("dog", "cat"), contract, DecoderSpec(name="yolo-end-to-end"))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "photos"
    (made / "below").mkdir(parents=True)
    for name in ("a.png", "below/a.png"):
        Image.new("RGB", (80, 60), "white").save(made / name)
    return made


def predict(model: TaskModel, place: Path, **form: Any) -> int:
    return answered(lambda: model, [str(place)], "only", Form(quiet=True, **form))


def test_one_picture_is_drawn_to_a_file(model: TaskModel, folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.png"
    assert predict(model, folder / "a.png", draw=out) == 0
    with Image.open(out) as drawn:
        assert drawn.size == (80, 60)
        assert drawn.getpixel((0, 50)) == (0, 0, 0)  # the left edge of the box
        assert drawn.getpixel((60, 30)) == (255, 255, 255)  # beside the box
    with pytest.raises(OutputError, match="exists"):
        predict(model, folder / "a.png", draw=out)
    assert predict(model, folder / "a.png", draw=out, overwrite=True) == 0


def test_a_folder_is_drawn_to_a_folder(model: TaskModel, folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert predict(model, folder, draw=out) == 0
    assert sorted(item.name for item in out.iterdir()) == ["a-1.jpg", "a.jpg"]
    with pytest.raises(OutputError, match="already"):
        predict(model, folder, draw=out)


def test_a_drawing_is_a_jpeg_or_a_png(model: TaskModel, folder: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="--draw"):
        predict(model, folder / "a.png", draw=tmp_path / "out.txt")


def test_a_table_has_a_row_for_each_object(
    model: TaskModel, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert predict(model, folder / "a.png", csv=Path("-")) == 0
    assert capsys.readouterr().out.splitlines() == [
        "image,label,score,left,top,right,bottom,error",
        f"{folder / 'a.png'},cat,0.75,0,0,40,60,",
    ]


def test_a_line_says_what_stands_where(
    model: TaskModel, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert predict(model, folder / "a.png") == 0
    assert capsys.readouterr().out.endswith("a.png: cat 75.0 % at 0,0 to 40,60\n")


def test_a_number_of_classes_is_refused(model: TaskModel, folder: Path) -> None:
    with pytest.raises(UsageError, match="--top-k is for classifiers, and this model answers det"):
        predict(model, folder / "a.png", top_k=1)


def test_the_decoder_is_timed_as_a_step_of_its_own(model: TaskModel) -> None:
    steps = bench(model, made_jpeg(), runs=2)["steps"]
    assert list(steps) == ["decode", "preprocess", "invoke", "decoder", "end to end"]
    assert steps["decoder"]["p50"] < steps["end to end"]["p50"]


def test_what_needs_classes_refuses_a_detector() -> None:
    manifest = SimpleNamespace(decoder=DecoderSpec(name="yolox"), task="detection")
    with pytest.raises(UsageError, match="a model of detection cannot learn classes"):
        check_learns(SimpleNamespace(path="bundle", manifest=manifest))
