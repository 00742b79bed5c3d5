"""What the input of a foreign model takes: what is stated, written in the file, or usual."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edge.errors import UsageError
from edge.evaluation.output import Ending, GraphEnd
from edge.identification.evidence import ImageInput, ModelEvidence
from edge.identification.families import CLASSIFIED, YOLOX, Reading
from edge.identification.feeding import fed
from edge.identification.model import StatedModel
from edge.modelfile.metadata import ModelMetadata
from edge.runtime.contract import ChannelOrder, ColorOrder, IntegerInput, TensorLayout
from edge.runtime.spec import QuantizationParams, TensorSpec
from edge.runtime.tasks.table import Task

CLASSIFIER = Reading(task=Task.CLASSIFICATION, why="a test", classes=2, feeding=CLASSIFIED)
SIGNED = QuantizationParams(scales=(1 / 128,), zero_points=(128,))  # -1 to 1 of uint8
ODD = QuantizationParams(scales=(2.6 / 127.5,), zero_points=(120,))  # calibrated to -2.4 to 2.7


def evidence(
    dtype: str = "float32",
    quantization: QuantizationParams | None = None,
    mean: tuple[float, ...] = (),
    std: tuple[float, ...] = (),
) -> ModelEvidence:
    described = ModelMetadata(
        name="",
        description="",
        labels=(),
        mean=None,
        std=None,
        edge_preprocessing=None,
        channel_mean=mean,
        channel_std=std,
    )
    spec = TensorSpec(name="image", shape=(1, 8, 8, 3), dtype=dtype, quantization=quantization)
    return ModelEvidence(
        path=Path("m.tflite"),
        format="tflite",
        sha256="0" * 64,
        image=ImageInput(
            spec=spec,
            layout=TensorLayout.HWC,
            height=8,
            width=8,
            color_order=ColorOrder.RGB,
        ),
        outputs=(),
        trial=(),
        detection_order=(),
        end=GraphEnd(Ending.SOFTMAX, "a softmax"),
        metadata=described if mean or std else None,
        exporter=None,
        producer="",
        quantized=dtype != "float32",
    )


def contract(found: ModelEvidence, chosen: Reading = CLASSIFIER, **stated: Any) -> Any:
    return fed(found, chosen, StatedModel(**stated))[0]


def test_metadata_may_state_each_channel() -> None:
    made = contract(evidence(mean=(123.0, 116.0, 103.0), std=(58.0, 57.0, 56.0)))
    assert (made.mean, made.std) == ((123.0, 116.0, 103.0), (58.0, 57.0, 56.0))


def test_one_mean_and_a_deviation_per_channel() -> None:
    made = contract(evidence(mean=(127.5,), std=(58.0, 57.0, 56.0)))
    assert (made.mean, made.std) == ((127.5,) * 3, (58.0, 57.0, 56.0))


@pytest.mark.parametrize(
    ("mean", "std"),
    [
        ((0.0, 0.0), (1.0, 1.0)),
        ((0.0,), (0.0,)),
        ((float("nan"),), (1.0,)),
        ((0.0,), (float("inf"),)),
    ],
)
def test_metadata_that_state_no_scaling_are_refused(
    mean: tuple[float, ...], std: tuple[float, ...]
) -> None:
    with pytest.raises(UsageError, match="no scaling"):
        contract(evidence(mean=mean, std=std))


def test_what_is_stated_wins_over_metadata() -> None:
    found = evidence(mean=(127.5,), std=(127.5,))
    assert contract(found, input_range="0,1").value_range == (0, 1)


def test_integers_that_stand_for_the_range_are_pixels() -> None:
    made = contract(evidence("uint8", SIGNED), input_range="-1,1")
    assert made.integer_input is IntegerInput.PIXELS
    assert made.encoding.is_pixels


def test_integers_of_another_scale_are_quantized() -> None:
    made = contract(evidence("uint8", ODD), input_range="torch")
    assert made.integer_input is IntegerInput.QUANTIZED
    assert np.allclose(made.mean, (123.675, 116.28, 103.53))


def test_a_range_that_the_integers_cannot_hold_is_refused() -> None:
    with pytest.raises(UsageError, match=r"0 to 255, and the uint8 input .* holds -1 to 0.99"):
        contract(evidence("uint8", SIGNED), input_range="pixels")


def test_a_range_without_a_scale_is_refused() -> None:
    with pytest.raises(UsageError, match="without a scale, which holds pixels"):
        contract(evidence("uint8"), input_range="-1,1")
    assert contract(evidence("uint8"), input_range="pixels").encoding.is_pixels


def test_a_family_says_what_nobody_else_does() -> None:
    chosen = Reading(task=Task.DETECTION, decoder="yolox", why="a test", feeding=YOLOX)
    made = contract(evidence(), chosen)
    assert made.channel_order is ChannelOrder.BGR
    assert made.pad_value == 114
    assert contract(evidence(), chosen, channel_order=ChannelOrder.RGB).channel_order == "rgb"


@pytest.mark.parametrize("order", [None, ChannelOrder.BGR])
def test_caffe_takes_blue_first(order: ChannelOrder | None) -> None:
    """A contract has the means in RGB order, whichever colour the model takes first."""
    made = contract(evidence(), input_range="caffe", channel_order=order)
    assert made.channel_order is ChannelOrder.BGR
    assert np.allclose(made.mean, (123.68, 116.779, 103.939))


def test_the_numbers_of_a_name_belong_to_colours() -> None:
    chosen = Reading(task=Task.DETECTION, decoder="yolox", why="a test", feeding=YOLOX)
    made = contract(evidence(), chosen, input_range="torch")
    assert made.channel_order is ChannelOrder.BGR
    assert np.allclose(made.mean, (123.675, 116.28, 103.53))


def test_numbers_stand_in_the_order_of_the_model() -> None:
    made = contract(evidence(), input_range="1,2,3/4,5,6", channel_order=ChannelOrder.BGR)
    assert (made.mean, made.std) == ((3.0, 2.0, 1.0), (6.0, 5.0, 4.0))


def test_a_float_input_of_no_family_is_refused_with_the_option() -> None:
    with pytest.raises(UsageError) as caught:
        contract(evidence())
    assert "--input-range" in caught.value.hint
