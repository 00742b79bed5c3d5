"""The calibration audit: whether more images would help, and what others clip."""

from collections.abc import Iterable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from converters.audit import SETTLED, TOLERANCE, audit, stable_after
from converters.base import TARGETS
from converters.observation import Observation
from edge.dataset.pictures import Picture
from edge.errors import DataError
from edge.pipeline.audit import calibration_report, check_apart, warnings
from edge.pipeline.conversion import Converted
from edge.runtime.spec import Preprocessing

IMAGES, TENSORS = 100, 20
SPEC = Preprocessing(height=8, width=8)


def ranges(*settled: int, images: int = IMAGES) -> Observation:
    """Largest values that grow by one each image until that image, per tensor; smallest are 1."""
    steps = np.arange(1, images + 1)[:, np.newaxis]
    high = np.minimum(steps, np.array(settled)).astype(np.float64)
    # After a range has settled, smaller values come: they change nothing.
    high = np.where(steps > np.array(settled), 0.5 * high, high)
    names = tuple(f"tensor {index}" for index in range(len(settled)))
    return Observation(names=names, low=np.ones_like(high), high=high + 1, means={}, covariances={})


def test_ranges_that_settle() -> None:
    assert stable_after(ranges(*[10] * TENSORS)) == 10
    assert stable_after(ranges(*[10] * (TENSORS - 1), 30)) == 10  # one of twenty may go on
    assert stable_after(ranges(*[10] * (TENSORS - 2), 30, 30)) == 30
    assert stable_after(ranges(1)) == 1


def test_ranges_that_the_last_images_still_widen() -> None:
    assert stable_after(ranges(*[IMAGES] * TENSORS)) is None
    assert stable_after(ranges(*[10] * (TENSORS - 2), IMAGES, IMAGES)) is None
    assert stable_after(ranges(*[10] * (TENSORS - 1), IMAGES)) == 10


def test_a_range_may_still_grow_a_little() -> None:
    observation = ranges(*[10] * TENSORS)
    observation.high[-1] = 11 / (1 - 0.9 * TOLERANCE)
    assert stable_after(observation) == 10
    observation.high[-1] = 11 / (1 - 1.1 * TOLERANCE)
    assert stable_after(observation) is None


def test_smallest_values_count_as_well() -> None:
    observation = ranges(*[10] * TENSORS)
    observation.low[:, :2] = -np.arange(IMAGES)[:, np.newaxis]
    assert SETTLED > (TENSORS - 2) / TENSORS
    assert stable_after(observation) is None


def test_a_dead_tensor_is_stable() -> None:
    dead = np.zeros((IMAGES, 3))
    assert stable_after(Observation(("a", "b", "c"), dead, dead, {}, {})) == 1


@pytest.mark.parametrize("images", [1, 2, 5])
def test_of_few_images_the_last_must_not_count(images: int) -> None:
    assert stable_after(ranges(*[images] * TENSORS, images=images)) is None


class Model:
    """Observed already; clips what it is told to."""

    def __init__(self, shares: dict[str, float]) -> None:
        self.observation = ranges(*[10] * TENSORS)
        self.shares, self.seen = shares, 0

    def clipped(self, images: Iterable[NDArray[np.float32]]) -> dict[str, float]:
        self.seen = len(list(images))
        return self.shares


def test_the_audit_names_the_tensor_that_is_clipped_most() -> None:
    model = Model({"a": 0.0, "b": 0.25, "c": 0.05})
    found = audit(model, [np.zeros((1, 8, 8, 3), np.float32)] * 4)
    assert model.seen == 4
    assert found == {
        "images": IMAGES,
        "tensors": TENSORS,
        "stable_after": 10,
        "clipped_share": pytest.approx(0.1),
        "worst_clipped": {"tensor": "b", "share": 0.25},
    }


def test_without_held_out_images_clipping_is_not_known() -> None:
    found = audit(Model({}), [])
    assert (found["clipped_share"], found["worst_clipped"]) == (None, None)


# ---- what the report makes of it


def pictures(*labels: int | None, start: int = 0) -> list[Picture]:
    return [
        Picture(Path(f"{start + number}.png"), f"{start + number:064x}", label)
        for number, label in enumerate(labels)
    ]


def converted(name: str, **record: Any) -> Converted:
    return Converted(TARGETS[name], Path("unused"), 1.0, (), record)


OBSERVED = {
    "images": 5,
    "tensors": 3,
    "stable_after": 2,
    "clipped_share": 0.001,
    "worst_clipped": {"tensor": "relu", "share": 0.002},
}


def test_the_report_counts_the_images_of_each_class() -> None:
    chosen = pictures(0, 0, 0, 2, None)
    files = [
        converted("tflite-fp32"),
        converted("tflite-int8", calibration=OBSERVED),
        converted("onnx-int8", calibration=OBSERVED | {"tensors": 4}),
    ]
    report = calibration_report(chosen, (), SPEC, ("a", "b", "c"), files)
    assert report["images"] == 5
    assert report["image_sha256"] == [picture.sha256 for picture in chosen]
    assert (report["labelled"], report["classes"], report["classes_of_model"]) == (4, 2, 3)
    assert (report["least_of_a_class"], report["most_of_a_class"]) == (1, 3)
    assert report["scored_images_among_them"] == 0
    assert report["observed"] == {"tflite": OBSERVED, "onnx": OBSERVED | {"tensors": 4}}
    assert warnings(report) == []


def test_what_a_user_is_warned_of() -> None:
    def said(labels: tuple[int | None, ...] = (0, 1), **observed: Any) -> list[str]:
        files = [converted("tflite-int8", calibration=OBSERVED | observed)]
        return warnings(calibration_report(pictures(*labels), (), SPEC, ("a", "b"), files))

    assert said() == []
    (text,) = said(stable_after=None)
    assert "the last of the 5 images still widened" in text
    assert "--calibration-images" in text
    (text,) = said(worst_clipped={"tensor": "relu", "share": 0.031})
    assert "3.1 % of the values of relu lie outside" in text
    (text,) = said(labels=(0, 0, 0, 0, 1))
    assert "4 images of one class and 1 of another" in text
    assert said(labels=(0, 0, 0, 1)) == []
    assert said(labels=(None, None)) == []
    assert said(worst_clipped=None, clipped_share=None) == []


def test_images_to_score_on_must_not_calibrate() -> None:
    check_apart(pictures(0, 1), pictures(0, 1, start=2))
    check_apart([], pictures(0))
    elsewhere = SimpleNamespace(path=Path("copy of 1.png"), sha256=f"{1:064x}")
    with pytest.raises(DataError, match=r"1 of the 3 images .* such as copy of 1\.png") as caught:
        check_apart(pictures(0, 1), [*pictures(0, 0, start=2), elsewhere])
    assert caught.value.exit_code == 2
    assert "--evaluation-data" in caught.value.hint
