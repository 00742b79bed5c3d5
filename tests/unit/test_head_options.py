import json

import numpy as np
import pytest

from edge.errors import TrainingError, UsageError
from edge.training.head import HeadOptions, class_weights, finished, parse_hidden, targets


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
    assert "none, or units" in caught.value.hint


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
        assert targets(labels, 3, loss) is labels


@pytest.mark.parametrize("loss", ["categorical_crossentropy", "kl_divergence", "mse"])
def test_targets_of_other_losses_are_one_hot(loss: str) -> None:
    rows = targets(np.array([2, 0]), 3, loss)
    assert rows.dtype == np.float32
    assert rows.tolist() == [[0, 0, 1], [1, 0, 0]]


def test_every_option_is_in_the_json() -> None:
    value = json.loads(json.dumps(HeadOptions(hidden=(8, 4), seed=3).to_json()))
    assert value["hidden"] == [8, 4]
    assert value["seed"] == 3
    assert set(value) == set(HeadOptions.__dataclass_fields__)


def test_history_as_plain_numbers() -> None:
    head = finished("head", {"loss": [np.float32(0.5), 0.25], "accuracy": [1, 1]})
    assert (head.model, head.epochs) == ("head", 2)
    json.dumps(head.history)


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_loss_that_is_no_number(bad: float) -> None:
    with pytest.raises(TrainingError, match="NaN or infinite") as caught:
        finished("head", {"loss": [0.5, bad]})
    assert "--learning-rate" in caught.value.hint
