"""How much two files' answers agree, and how far their outputs are apart."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
from numpy.typing import NDArray

from converters.base import ConversionRequest, HeldOut
from converters.task_judge import TaskJudge, relative_error
from edge.errors import NegativeVerdict, UsageError
from edge.evaluation.task_agreement import agreement
from edge.pipeline.choice import check_budget, choose_default
from edge.runtime.contract import Preprocessing
from edge.runtime.tasks import table
from edge.runtime.tasks.results import (
    Detection,
    Detections,
    Embedding,
    Keypoint,
    Pose,
    Poses,
    Segmentation,
)
from edge.runtime.tasks.table import DecoderEntry, DecoderSpec, Task
from tests.unit.measured_turns import as_fast


def box(left: float, score: float, index: int = 0) -> Detection:
    return Detection(
        index=index, label="", score=score, left=left, top=0, right=left + 10, bottom=10
    )


def boxes(*items: Detection) -> Detections:
    return Detections(items=items)


@pytest.mark.parametrize(
    ("given", "share"),
    [
        (boxes(box(0, 0.9), box(50, 0.3)), 1.0),
        (boxes(box(0, 0.9)), 1.8 / 2.1),  # the lost one counts by its score
        (boxes(box(3, 0.9), box(50, 0.3)), 1.0),  # an overlap of 7 / 13
        (boxes(box(4, 0.9), box(50, 0.3)), 0.6 / 2.4),  # of 6 / 14
        (boxes(box(0, 0.9, index=1), box(50, 0.3)), 0.6 / 2.4),
        (boxes(box(0, 0.9), box(0, 0.9), box(50, 0.3)), 2.4 / 3.3),  # each is matched once
        (boxes(), 0.0),
    ],
)
def test_detections(given: Detections, share: float) -> None:
    wanted = boxes(box(0, 0.9), box(50, 0.3))
    assert agreement([wanted], [given]) == pytest.approx(share)
    assert agreement([given], [wanted]) == pytest.approx(share)


def test_pictures_without_anything_agree() -> None:
    assert agreement([boxes()], [boxes()]) == 1.0
    both = [boxes(), boxes(box(0, 0.5))]
    assert agreement(both, [boxes(box(0, 0.5)), boxes()]) == 0.0


def test_segments_are_the_mean_of_the_classes_of_all_pictures() -> None:
    def answer(*rows: list[int]) -> Segmentation:
        return Segmentation(mask=np.array(rows, np.uint8), labels=("a", "b", "c"))

    wanted = [answer([0, 0, 0, 1]), answer([0, 0, 1, 1])]
    given = [answer([0, 0, 0, 1]), answer([0, 0, 0, 1])]
    assert agreement(wanted, given) == pytest.approx((5 / 6 + 2 / 3) / 2)
    assert agreement(wanted, wanted) == 1.0


def test_poses_and_embeddings() -> None:
    def pose(*xs: float) -> Poses:
        points = tuple(Keypoint(label="", x=x, y=0.0) for x in xs)
        return Poses(items=(Pose(score=1.0, keypoints=points),))

    assert agreement([pose(0, 50, 100)], [pose(0, 54, 106)]) == pytest.approx(2 / 3)
    assert agreement([pose(0, 50)], [Poses(items=())]) == 0.0
    one, other = (Embedding(values=np.array(v, np.float32)) for v in ([1, 0], [1, 1]))
    assert agreement([one], [other]) == pytest.approx(0.5**0.5)


def test_channels_of_unlike_size_count_alike() -> None:
    wanted = np.stack([np.full((1, 50), 300.0), np.full((1, 50), 0.1)], axis=-1)
    given = wanted.copy()
    given[..., 1] = 0.0  # the scores are gone; by the power of both it would be one in a million
    assert relative_error(wanted, given) == pytest.approx(0.5)
    assert relative_error(np.swapaxes(wanted, 1, 2), np.swapaxes(given, 1, 2)) == pytest.approx(0.5)
    given[..., 1] = 50.0
    assert relative_error(wanted, given) == pytest.approx(0.5)  # wrong is wrong
    assert relative_error(wanted, wanted) == 0.0
    assert relative_error(wanted, wanted[:, :10]) == 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Parameters:
    """No parameters."""


class Brightest:
    """An object of the model's first value as its score."""

    PARAMETERS = Parameters

    def __init__(self, tensors: Any, parameters: Parameters) -> None:
        assert tensors.labels == ("cat",)

    def decode(self, outputs: Sequence[NDArray[Any]], placement: Any) -> Detections:
        assert (placement.width, placement.height, placement.left) == (4, 4, 0)
        return boxes(box(0, float(outputs[0].reshape(-1)[0])))


def mean_file(path: Path, factor: float) -> Path:
    import onnx
    from onnx import helper, numpy_helper

    weights = numpy_helper.from_array(np.float32([factor / 255]), "factor")
    nodes = [
        helper.make_node("ReduceMean", ["image"], ["mean"], axes=[1, 2, 3], keepdims=0),
        helper.make_node("Mul", ["mean", "factor"], ["score"]),
    ]
    image = helper.make_tensor_value_info("image", 1, [1, 4, 4, 3])
    graph = helper.make_graph(
        nodes, "mean", [image], [helper.make_tensor_value_info("score", 1, [1])], [weights]
    )
    opset = helper.make_opsetid("", 17)
    onnx.save(helper.make_model(graph, opset_imports=[opset], ir_version=8), path)
    return path


def request_for(decoder: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> ConversionRequest:
    """What is asked of files with a decoder of this module, over three grey images."""
    entry = DecoderEntry(task=Task.DETECTION, place=f"{__name__}:{decoder}", meaning="")
    monkeypatch.setattr(table, "DECODERS", {decoder: entry})
    np.save(folder / "pixels.npy", np.full((3, 4, 4, 3), 204, np.uint8))
    request = SimpleNamespace(
        float_file=mean_file(folder / "float.onnx", 1.0),
        decoder=DecoderSpec(name=decoder),
        labels=("cat",),
        preprocessing=Preprocessing(height=4, width=4),
        held_out=HeldOut(pixels=folder / "pixels.npy", reference=None, truth=(None,) * 3),
    )
    return cast(ConversionRequest, request)


def test_a_file_is_held_against_the_float_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    request = request_for("Brightest", tmp_path, monkeypatch)
    judge = TaskJudge(request)
    half = mean_file(tmp_path / "half.onnx", 0.5)
    loss = judge.loss(half)
    assert loss.agreement == pytest.approx(2 * 0.4 / 1.2)
    assert loss.drop_points == pytest.approx(100 - 200 * 0.4 / 1.2)
    assert judge.error(half, 2) == pytest.approx(0.25)
    assert judge.loss(request.float_file).drop_points == 0
    assert judge.error(request.float_file, 2) == 0


class Blind(Brightest):
    """Finds nothing."""

    def decode(self, outputs: Sequence[NDArray[Any]], placement: Any) -> Detections:
        return boxes()


def test_a_float_file_that_finds_nothing_proves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    request = request_for("Blind", tmp_path, monkeypatch)
    with pytest.raises(NegativeVerdict, match="finds nothing in any of the 3 images"):
        TaskJudge(request)


@dataclass(frozen=True)
class Held:
    """What the choice of the default looks at."""

    name: str
    agreement: float | None = None
    drop_points: float | None = 0.0
    agreement_level: None = None
    is_faithful: bool = True
    tells: bool = True
    size_bytes: int = 1


def test_where_nothing_is_found_the_float_file_is_the_default() -> None:
    files = [Held("onnx-int8"), Held("onnx-fp32")]
    turns = as_fast("onnx-int8", "onnx-fp32")
    assert choose_default(files, turns) == "onnx-fp32"
    with pytest.raises(NegativeVerdict, match="nothing is found in any image"):
        check_budget([Held("onnx-mixed")], 5.0)
    found = [Held("onnx-int8", agreement=1.0), Held("onnx-fp32", agreement=1.0)]
    assert choose_default(found, turns) == "onnx-int8"


def test_without_a_float_file_there_is_nothing_to_hold_against() -> None:
    request = SimpleNamespace(float_file=None, decoder=None, held_out=None)
    with pytest.raises(UsageError, match="needs a float file"):
        TaskJudge(request)
