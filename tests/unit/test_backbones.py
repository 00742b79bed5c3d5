"""The table of backbones against Keras Applications itself."""

import re
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edge.cli.measure.zoo import show
from edge.errors import UsageError, WeightsUnavailable
from edge.training.backbones import BACKBONES, Backbone, Scaling, backbone
from edge.training.base import Base
from edge.training.options import BaseOptions
from edge.training.weights import load_base

ROWS = list(BACKBONES.values())
NAMES = [row.keras_name for row in ROWS]


@pytest.mark.parametrize("name", ["mobilenetv2", "MobileNetV2", "mobilenet_v2", "MobileNet-v2"])
def test_names_as_people_write_them(name: str) -> None:
    assert backbone(name) is BACKBONES["mobilenetv2"]


@pytest.mark.parametrize("name", ["lenet", "resnet5", "nosuch.keras", "efficientnetb9"])
def test_an_unknown_name_gets_the_nearest_and_not_all(name: str) -> None:
    with pytest.raises(UsageError) as caught:
        backbone(name)
    named = [word for word in re.findall(r"[a-z0-9]+", caught.value.hint) if word in BACKBONES]
    assert len(named) == (0 if name == "nosuch.keras" else 3)
    assert "edge zoo" in caught.value.hint


def test_edge_zoo_lists_every_network(capsys: pytest.CaptureFixture[str]) -> None:
    show()
    assert set(NAMES) <= set(re.findall(r"\w+", capsys.readouterr().out))


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


@pytest.mark.slow
@pytest.mark.parametrize("row", [row for row in ROWS if row.alphas], ids=lambda row: row.name)
def test_widths_are_those_that_keras_downloads(
    row: Backbone, monkeypatch: pytest.MonkeyPatch
) -> None:
    import keras
    from keras.src.utils import file_utils

    class AskedError(Exception):
        pass

    def asked(*_: Any, **__: Any) -> None:
        raise AskedError

    monkeypatch.setattr(file_utils, "get_file", asked)
    function = getattr(keras.applications, row.keras_name)
    with pytest.raises(AskedError):
        function(weights="imagenet", alpha=min(row.alphas))
    for alpha in {0.25, 0.33, 0.35, 0.5, 1.3, 1.4, 2.0}.difference(row.alphas):
        with pytest.raises(ValueError, match="alpha"):
            function(weights="imagenet", alpha=alpha)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"alpha": 0.33}, r"for --alpha 0\.33; they exist for 0\.25, 0\.5, 0\.75, 1"),
        ({"alpha": 0.6, "backbone": "mobilenetv2"}, "0.35, 0.5, 0.75, 1, 1.3, 1.4"),
        ({"alpha": float("nan")}, "is not a width"),
        ({"alpha": float("inf"), "weights": "none"}, "is not a width"),
        ({"alpha": 0.5, "backbone": "resnet50"}, "one width only"),
    ],
)
def test_widths_that_cannot_be(options: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        Base(BaseOptions(**options))


def test_a_width_without_published_weights_takes_others() -> None:
    assert Base(BaseOptions(alpha=0.33, weights="none")).id == "mobilenet:alpha=0.33:random:0"


@pytest.mark.slow
def test_the_cause_is_the_download_or_the_size(monkeypatch: pytest.MonkeyPatch) -> None:
    from keras.src.utils import file_utils

    def unreachable(*_: Any, **__: Any) -> None:
        raise OSError("URL fetch failure: Name or service not known")

    monkeypatch.setattr(file_utils, "get_file", unreachable)
    with pytest.raises(WeightsUnavailable, match=r"--alpha 0\.5 are not shipped") as caught:
        load_base(BACKBONES["mobilenet"], 96, "imagenet", 0, 0.5)
    assert "--alpha 1" in caught.value.hint
    for weights in ("imagenet", "none"):
        with pytest.raises(UsageError, match="at least 75x75"):
            load_base(BACKBONES["inceptionv3"], 32, weights, 0)


def test_a_path_is_answered_as_a_path(tmp_path: Path) -> None:
    (tmp_path / "a.tflite").touch()
    (tmp_path / "a.txt").touch()
    for name, said in (
        (tmp_path, "is a folder"),
        (tmp_path / "a.tflite", "is a finished .tflite file"),
        (tmp_path / "a.txt", "is not a Keras file"),
        (tmp_path / "none.tflite", "no file at"),
        (tmp_path / "none", "no file at"),
    ):
        with pytest.raises(UsageError, match=said):
            backbone(str(name))
    with pytest.raises(UsageError) as caught:
        backbone("mobilnet-v2")
    assert caught.value.hint.startswith("Did you mean mobilenetv2, ")


def test_weights_that_nothing_has_trained_are_known_by_both_names() -> None:
    from edge.training.backbones import backbone
    from edge.training.weights import RANDOM, random_note, weights_id

    row = backbone("mobilenet")
    for source in (RANDOM, weights_id(row, "none", 3), weights_id(row, "none", 0, 0.25)):
        assert "random" in random_note(source, "answers")
    for source in ("", weights_id(row, "imagenet", 0), "file a:random:b.h5", "file none (random)"):
        assert random_note(source, "answers") == ""
