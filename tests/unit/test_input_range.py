"""What networks want to be fed: how it is written, what it computes, how a model takes it in."""

from typing import Any

import numpy as np
import pytest

from edge.comparison.model import _ends
from edge.errors import UsageError
from edge.runtime.contract import ChannelOrder
from edge.training.input_range import NAMED, named_range, parse_range, takes_pixels

PIXELS = np.array([[[0, 128, 255], [10, 20, 30]]], np.uint8)  # (1, 2, 3), RGB


@pytest.mark.parametrize(
    ("text", "order", "expected"),
    [
        ("pixels", None, PIXELS),
        ("0..255", None, PIXELS),
        ("0,1", None, PIXELS / 255),
        ("unit", None, PIXELS / 255),
        ("-1,1", None, PIXELS / 127.5 - 1),
        ("-1..1", None, PIXELS / 127.5 - 1),
        (" -1 , 1", None, PIXELS / 127.5 - 1),
        ("1,0", None, 1 - PIXELS / 255),
        ("255,0", None, 255 - PIXELS),
        ("tf", None, PIXELS / 127.5 - 1),
        ("TF", None, PIXELS / 127.5 - 1),
        ("127.5/127.5", None, PIXELS / 127.5 - 1),
        ("0.5/0.5", None, PIXELS / 127.5 - 1),  # of values 0..1, as PyTorch states them
        ("0.5,0.5,0.5/0.5,0.5,0.5", None, PIXELS / 127.5 - 1),
        ("0/255", None, PIXELS / 255),
        ("-0.5,0.5", ChannelOrder.BGR, PIXELS[..., ::-1] / 255 - 0.5),
        ("torch", None, (PIXELS / 255 - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]),
        (
            "0.485,0.456,0.406/0.229,0.224,0.225",
            None,
            (PIXELS / 255 - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225],
        ),
        ("caffe", None, PIXELS[..., ::-1] - [103.939, 116.779, 123.68]),
        ("caffe", ChannelOrder.BGR, PIXELS[..., ::-1] - [103.939, 116.779, 123.68]),
        ("caffe", ChannelOrder.RGB, PIXELS - [123.68, 116.779, 103.939]),
        # Numbers are in the order of the network's channels.
        ("1,2,3/4,5,8", ChannelOrder.BGR, (PIXELS[..., ::-1] - [1.0, 2, 3]) / [4, 5, 8]),
        ("0/10,20,30", None, PIXELS / [10, 20, 30]),
    ],
)
def test_a_range_is_what_it_says(text: str, order: ChannelOrder | None, expected: Any) -> None:
    found = parse_range(text, order)

    np.testing.assert_allclose(found.applied(PIXELS), expected, atol=2e-5)


@pytest.mark.parametrize(
    "text",
    ["", "imagenet", "1,1", "0,inf", "1,2,3", "1/0", "1/-2", "1,2/3,4,5", "0.5/1", "a/b"],
)
def test_other_words_are_refused(text: str) -> None:
    with pytest.raises(UsageError):
        parse_range(text)


def test_statistics_must_fit_the_channels() -> None:
    with pytest.raises(UsageError, match="3 channels; the network takes 1"):
        named_range("torch").check_channels(1)
    with pytest.raises(UsageError, match="BGR"):
        parse_range("0,1", ChannelOrder.BGR).check_channels(1)
    parse_range("-1,1").check_channels(4)


def _sequential(keras: Any) -> Any:
    return keras.Sequential(
        [
            keras.Input((6, 6, 3)),
            keras.layers.Conv2D(4, 3, padding="same", activation="relu"),
            keras.layers.GlobalAveragePooling2D(),
            keras.layers.Dense(2),
        ]
    )


def _nested(keras: Any) -> Any:
    image = keras.Input((6, 6, 3), name="picture")
    inner = keras.Input((6, 6, 3))
    padded = keras.layers.ZeroPadding2D(1)(inner)
    stem = keras.Model(inner, keras.layers.Conv2D(4, 3, use_bias=False, name="scale")(padded))
    return keras.Model(image, keras.layers.GlobalAveragePooling2D()(stem(image)))


def _without_convolution(keras: Any) -> Any:
    image = keras.Input((6, 6, 3))
    flat = keras.layers.Flatten()(image)
    both = keras.layers.Concatenate()([flat, keras.layers.Flatten()(image * 2.0)])
    return keras.Model(image, keras.layers.Dense(2)(both))


@pytest.mark.slow
@pytest.mark.parametrize("made", [_sequential, _nested, _without_convolution])
@pytest.mark.parametrize("name", sorted(NAMED))
def test_a_wrapped_model_answers_pixels_as_the_model_answers_what_it_wants(
    made: Any, name: str
) -> None:
    import keras

    keras.utils.set_random_seed(0)
    model, wanted = made(keras), named_range(name)
    pixels = np.random.default_rng(0).integers(0, 256, (2, 6, 6, 3)).astype(np.float32)

    wrapped = takes_pixels(model, wanted)

    expected = np.asarray(model(wanted.applied(pixels)))
    scale = np.abs(expected).max()
    np.testing.assert_allclose(np.asarray(wrapped(pixels)), expected, atol=1e-5 * scale)
    if made is _sequential:  # no operator turns the channels: the convolution's weights do
        assert "Flip" not in {type(item).__name__ for item in wrapped.layers}


def test_a_file_that_is_compared_as_it_is_takes_no_falling_range() -> None:
    assert _ends(parse_range("-1,1"), "--input-range -1,1") == (-1, 1)
    with pytest.raises(UsageError, match="a range that rises"):
        _ends(parse_range("1,0"), "--input-range 1,0")
