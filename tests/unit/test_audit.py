"""The calibration audit: whether more images would help, and what others clip."""

from collections.abc import Iterable
from dataclasses import asdict, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from converters.audit import SETTLED, TOLERANCE, audit, stable_after, unlike
from converters.base import TARGETS
from converters.observation import Observation, Spread
from edge.dataset.groups import Division
from edge.dataset.pictures import Picture
from edge.errors import DataError
from edge.pipeline.calibration import Pool, calibration_report, check_apart, warnings
from edge.pipeline.conversion import Converted
from edge.runtime.contract import Preprocessing

IMAGES, TENSORS = 100, 20
FEW = 6  # tensors, where each of many draws is judged
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


def spread(share: float, images: int = 4) -> Spread:
    return Spread(
        outside=round(1000 * share), values=1000, low=(1.0,) * images, high=(5.0,) * images
    )


class Model:
    """Observed already; clips what it is told to."""

    def __init__(self, shares: dict[str, float]) -> None:
        self.observation = ranges(*[10] * TENSORS)
        self.shares, self.seen = shares, 0

    def spread(self, images: Iterable[NDArray[np.float32]]) -> dict[str, Spread]:
        self.seen = len(list(images))
        return {name: spread(share) for name, share in self.shares.items()}


def test_the_audit_names_the_tensor_that_is_clipped_most() -> None:
    model = Model({"a": 0.0, "b": 0.25, "c": 0.05})
    found = audit(model, [np.zeros((1, 8, 8, 3), np.float32)] * 4)
    assert model.seen == 4
    assert asdict(found) == {
        "images": IMAGES,
        "tensors": TENSORS,
        "stable_after": 10,
        "held_out": 4,
        "clipped_share": pytest.approx(0.1),
        "worst_clipped": {"tensor": "b", "share": 0.25},
        "unlike": None,
    }


def test_without_held_out_images_clipping_is_not_known() -> None:
    found = audit(Model({}), [])
    assert (found.clipped_share, found.worst_clipped) == (None, None)
    assert (found.held_out, found.unlike) == (0, None)


# ---- whether the images look alike


def drawn(
    seed: int, images: int, *, shift: float = 0.0, scale: float = 1.0
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """(images, tensors) smallest and largest values with heavy tails; tensors hang together."""
    random = np.random.default_rng(seed)
    common = random.standard_t(3, (images, 1))
    high = 10 + scale * (common + random.standard_t(3, (images, FEW))) + shift
    return np.zeros_like(high), high


def judged(
    calibrated: tuple[NDArray[np.float64], NDArray[np.float64]],
    others: tuple[NDArray[np.float64], NDArray[np.float64]],
) -> dict[str, Any] | None:
    names = tuple(f"tensor {number}" for number in range(FEW))
    low, high = others
    return unlike(
        Observation(names, *calibrated, {}, {}),
        {
            name: Spread(outside=1, values=64, low=tuple(low[:, row]), high=tuple(high[:, row]))
            for row, name in enumerate(names)
        },
    )


@pytest.mark.parametrize(("calibrating", "others"), [(100, 32), (20, 32), (100, 4), (3, 3), (1, 1)])
def test_images_of_one_kind_are_not_called_unlike(calibrating: int, others: int) -> None:
    alarms = sum(
        judged(drawn(2 * seed, calibrating), drawn(2 * seed + 1, others)) is not None
        for seed in range(25)
    )
    assert alarms == 0  # 1 in 5000 is promised


def test_a_head_that_is_surer_of_its_training_images_raises_no_alarm() -> None:
    """The answers alone, of all tensors, differ: as in a build, which calibrates on those."""
    random = np.random.default_rng(0)
    high, other = random.uniform(10, 20, (100, 30)), random.uniform(10, 20, (32, 30))
    other[:, -1] -= 6
    names = tuple(f"tensor {number}" for number in range(30))
    spreads = {
        name: Spread(outside=0, values=64, low=(0.0,) * 32, high=tuple(other[:, row]))
        for row, name in enumerate(names)
    }
    low = np.zeros_like(high)
    assert unlike(Observation(names, low, high, {}, {}), spreads) is None


@pytest.mark.parametrize("shift", [20.0, -20.0])
@pytest.mark.parametrize(("calibrating", "others"), [(100, 32), (30, 12), (12, 30)])
def test_really_different_images_are(calibrating: int, others: int, shift: float) -> None:
    """Brighter ones, that clip, and darker ones, that waste the range."""
    for seed in range(10):
        found = judged(drawn(2 * seed, calibrating), drawn(2 * seed + 1, others, shift=shift))
        assert found is not None
        assert found.p_value < 2e-4
        assert found.tensor.startswith("tensor ")
        if shift > 0:
            assert found.images > found.expected


def test_a_shift_of_every_activation_is_seen_though_nothing_is_clipped() -> None:
    """As inverted photos are: no range is exceeded, and yet the images are others."""
    random = np.random.default_rng(0)
    high = random.uniform(10, 20, (100, FEW))
    other = random.uniform(13, 20, (32, FEW))
    found = judged((np.zeros_like(high), high), (np.zeros_like(other), other))
    assert found is not None
    assert found.images == 0


def test_one_image_that_leaves_the_range_is_chance() -> None:
    others = drawn(1, 32)
    others[1][0] = 1000
    assert judged(drawn(0, 100), others) is None


def test_all_images_slightly_beyond_a_constant_range_are_within_the_tolerance() -> None:
    low = np.zeros((100, FEW))
    high = np.full((100, FEW), 10.0) + np.linspace(0, 0.1, 100)[:, None]
    judged_high = np.full((32, FEW), 10.15)
    found = judged((low, high), (low[:32], judged_high))
    assert found is not None  # spread otherwise, beyond doubt
    assert found.images == 0  # and yet nothing to speak of is clipped


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
    "held_out": 32,
    "worst_clipped": {"tensor": "relu", "share": 0.002},
    "unlike": None,
}


def test_the_report_counts_the_images_of_each_class() -> None:
    chosen = pictures(0, 0, 0, 2, None)
    files = [
        converted("tflite-fp32"),
        converted("tflite-int8", calibration=OBSERVED),
        converted("onnx-int8", calibration=OBSERVED | {"tensors": 4}),
    ]
    report = calibration_report(chosen, (), SPEC, ("a", "b", "c"), files, asked=100, pool=Pool(5))
    assert report.images == 5
    assert list(report.image_sha256) == [picture.sha256 for picture in chosen]
    assert (report.labelled, report.classes, report.classes_of_model) == (4, 2, 3)
    assert (report.least_of_a_class, report.most_of_a_class) == (1, 3)
    assert report.scored_images_among_them == 0
    assert report.observed == {"tflite": OBSERVED, "onnx": OBSERVED | {"tensors": 4}}
    assert warnings(report) == []


def audited(labels: tuple[int | None, ...], pool: Pool, asked: int, **observed: Any) -> list[str]:
    """Warnings of a calibration on as many images as there are labels."""
    files = [converted("tflite-int8", calibration=OBSERVED | observed)]
    chosen = pictures(*labels)
    return warnings(calibration_report(chosen, (), SPEC, ("a", "b"), files, asked=asked, pool=pool))


@pytest.mark.parametrize(
    ("pool", "asked", "helps", "not_help"),
    [
        (Pool(4), 100, "more pictures", "--calibration-images"),  # all are used
        (Pool(8, kept=4), 200, "--evaluation-data FOLDER", "larger"),  # half is kept
        (Pool(9), 4, "larger --calibration-images, up to 9", "more pictures"),
        (Pool(9, kept=4), 4, "larger --calibration-images, up to 5", "more pictures"),
        (Pool(4), 4, "more pictures and a larger --calibration-images", "--evaluation-data"),
    ],
)
def test_advice_that_leads_somewhere(pool: Pool, asked: int, helps: str, not_help: str) -> None:
    (text,) = audited((0, 1, 0, 1), pool, asked, stable_after=None)
    _, _, advice = text.rpartition(": ")
    assert helps in advice
    assert not_help not in advice
    assert str(asked) in text


def test_a_request_that_was_cut_is_said() -> None:
    (text,) = audited((0, 1, 0, 1), Pool(8, kept=4), 200)
    assert "at most 200" in text
    assert "4 of 8" in text
    assert audited((0, 1, 0, 1), Pool(8, kept=4), 100) == []  # nobody asked for 100
    assert audited((0, 1, 0, 1), Pool(8, kept=4), 4) == []


def test_a_warning_about_pictures_of_groups_says_what_it_assumes() -> None:
    unlike = {"tensor": "relu", "images": 20, "expected": 0.6, "share": 0.03, "p_value": 1e-9}
    observed = OBSERVED | {"unlike": unlike | {"test": "ranges", "distance": 0.3}}
    files = [converted("tflite-int8", calibration=observed)]
    found = calibration_report(pictures(0, 1), (), SPEC, ("a", "b"), files, asked=100, pool=Pool(2))
    few = Division(
        groups=9,
        pictures=90,
        scored_groups=2,
        scored_pictures=32,
        unnamed=0,
        needed=3,
        parted=(),
    )
    (plain,), (text,) = warnings(found), warnings(found, few)
    assert text.startswith(plain) and "the 32 scored ones are of 2 groups" in text
    assert warnings(found, replace(few, scored_groups=32)) == [plain]


def test_what_a_user_is_warned_of() -> None:
    def said(labels: tuple[int | None, ...] = (0, 1), **observed: Any) -> list[str]:
        return audited(labels, Pool(len(labels)), 100, **observed)

    assert said() == []
    (text,) = said(stable_after=None)
    assert "the last of the 2 images still widened" in text
    assert said(worst_clipped={"tensor": "relu", "share": 1 / 64}) == []  # one value of few
    unlike = {"tensor": "relu", "images": 20, "expected": 0.6, "share": 0.031, "p_value": 1e-9}
    (text,) = said(unlike=unlike | {"test": "ranges", "distance": 0.3})
    assert "20 of 32 images" in text
    assert "tensor relu" in text
    (text,) = said(unlike=unlike | {"test": "activations", "distance": 0.3})
    assert "0.30" in text
    assert "20" not in text
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
