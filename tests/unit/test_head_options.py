import json

import numpy as np
import pytest

from edge.errors import UsageError
from edge.training.objective import class_weights, image_weights, scaled, targets
from edge.training.options import HeadOptions, TuningOptions, parse_hidden


@pytest.mark.parametrize(
    ("text", "units"),
    [
        ("none", ()),
        (" None ", ()),
        ("128", (128,)),
        ("256,128", (256, 128)),
        ("256, 128", (256, 128)),
        ("1", (1,)),
    ],
)
def test_parse_hidden(text: str, units: tuple[int, ...]) -> None:
    assert parse_hidden(text) == units


@pytest.mark.parametrize("text", ["", "0", "-5", "128,", "12.5", "big", "128;64", "none,128"])
def test_what_is_no_head(text: str) -> None:
    with pytest.raises(UsageError, match="is not a head") as caught:
        parse_hidden(text)
    assert "or units such as" in caught.value.hint


def test_class_weights_by_hand() -> None:
    labels = np.array([0] * 6 + [1] * 3 + [2] * 1)
    weights = class_weights(labels, 3)
    assert weights.dtype == np.float32
    assert weights.tolist() == pytest.approx([10 / (3 * 6), 10 / (3 * 3), 10 / (3 * 1)])
    assert weights[labels].mean() == pytest.approx(1)  # the loss keeps its size


def test_equal_classes_weigh_one() -> None:
    assert class_weights(np.array([0, 1, 1, 0]), 2).tolist() == [1, 1]


def test_a_class_without_an_image_has_a_finite_weight() -> None:
    assert np.isfinite(class_weights(np.array([0, 0, 2]), 3)).all()


def test_targets_of_a_sparse_loss_are_indices() -> None:
    labels = np.array([2, 0, 1])
    for loss in ("sparse_categorical_crossentropy", "SparseCategoricalCrossentropy"):
        assert targets(labels, 3, HeadOptions(loss=loss)) is labels


@pytest.mark.parametrize("loss", ["categorical_crossentropy", "kl_divergence", "mse"])
def test_targets_of_other_losses_are_one_hot(loss: str) -> None:
    rows = targets(np.array([2, 0]), 3, HeadOptions(loss=loss))
    assert rows.dtype == np.float32
    assert rows.tolist() == [[0, 0, 1], [1, 0, 0]]


def test_smoothed_targets_by_hand() -> None:
    """(1 - e) * one-hot + e / classes; a sparse loss cannot take them, so they are rows."""
    rows = targets(np.array([1]), 4, HeadOptions(label_smoothing=0.2))
    assert rows[0].tolist() == pytest.approx([0.05, 0.85, 0.05, 0.05])


def test_the_learning_rate_grows_with_the_batch() -> None:
    assert scaled(1e-3, 32) == 1e-3
    assert scaled(1e-3, 128) == pytest.approx(4e-3)


def test_tuning_is_ten_times_slower_unless_told() -> None:
    head = HeadOptions(learning_rate=2e-3)
    assert TuningOptions().rate(head) == pytest.approx(2e-4)
    assert TuningOptions(learning_rate=5e-5).rate(head) == 5e-5


def test_images_weigh_the_same_without_class_weights() -> None:
    labels = np.array([0, 0, 0, 1])
    assert image_weights(labels, 2, HeadOptions(class_weights=False)).tolist() == [1, 1, 1, 1]
    assert image_weights(labels, 2, HeadOptions()).tolist() == pytest.approx([2 / 3] * 3 + [2])


def test_every_option_is_in_the_json() -> None:
    value = json.loads(json.dumps(HeadOptions(hidden=(8, 4), seed=3).to_json()))
    assert value["hidden"] == [8, 4]
    assert value["seed"] == 3
    assert set(value) == set(HeadOptions.__dataclass_fields__)
