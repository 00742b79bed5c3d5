"""The table of backbones against Keras Applications itself."""

import sys
from typing import Any

import numpy as np
import pytest

from edge.errors import UsageError
from edge.training.backbones import BACKBONES, Backbone, Scaling, backbone

ROWS = list(BACKBONES.values())
NAMES = [row.keras_name for row in ROWS]


@pytest.mark.parametrize("name", ["mobilenetv2", "MobileNetV2", "mobilenet_v2", "MobileNet-v2"])
def test_names_as_people_write_them(name: str) -> None:
    assert backbone(name) is BACKBONES["mobilenetv2"]


def test_an_unknown_name_gets_the_list() -> None:
    with pytest.raises(UsageError, match="unknown backbone 'lenet'") as caught:
        backbone("lenet")
    assert "mobilenetv3small" in caught.value.hint


def test_no_name_twice() -> None:
    assert len({row.name for row in ROWS}) == len(ROWS) == len(BACKBONES)


@pytest.mark.slow
def test_every_network_of_keras_has_a_row() -> None:
    import keras

    functions = {
        name
        for name, value in vars(keras.applications).items()
        if callable(value) and not name.startswith("_")
    }
    assert functions == set(NAMES)


@pytest.mark.slow
@pytest.mark.parametrize("row", ROWS, ids=NAMES)
def test_sizes_are_those_of_keras(row: Backbone, monkeypatch: pytest.MonkeyPatch) -> None:
    """Almost every network asks one function for its input's shape, before it builds anything."""
    import keras
    from keras.src.applications import imagenet_utils

    class AskedError(Exception):
        pass

    def asked(input_shape: Any, default_size: int, *rest: Any, **options: Any) -> None:
        raise AskedError(input_shape, default_size)

    monkeypatch.setattr(imagenet_utils, "obtain_input_shape", asked)
    function = getattr(keras.applications, row.keras_name)
    try:
        found = function(weights=None).input.shape[1:3]
    except AskedError as asked_for:
        shape, size = asked_for.args
        found = tuple(shape[:2]) if shape else (size, size)
    if row.keras_name.startswith("MobileNetV3"):  # takes any size; its documentation says 224
        assert found == (None, None)
        found = (224, 224)
    assert found == (row.size, row.size)


@pytest.mark.slow
@pytest.mark.parametrize("row", ROWS, ids=NAMES)
def test_scaling_is_that_of_keras(row: Backbone) -> None:
    import keras

    from edge.training.models import scaled_input

    module = sys.modules[getattr(keras.applications, row.keras_name).__module__]
    noise = np.random.default_rng(0).integers(0, 256, (1, 8, 8, 3)).astype(np.float32)
    expected = module.preprocess_input(noise.copy(), data_format="channels_last")
    if row.scaling is Scaling.INSIDE:
        assert np.array_equal(expected, noise)
        return
    image, scaled = scaled_input(8, row.scaling)
    found = keras.Model(image, scaled)(noise).numpy()
    assert np.abs(found - expected).max() < 1e-4 * np.abs(expected).max()
