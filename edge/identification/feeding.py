"""How a model file is fed: the contract of its input, from what is stated, written or usual."""

import math
from typing import Any

import numpy as np

from edge.errors import UsageError
from edge.identification.evidence import ModelEvidence
from edge.identification.families import Reading
from edge.identification.model import Fact, StatedModel
from edge.runtime.contract import (
    PIXEL_RANGE,
    ChannelOrder,
    ColorOrder,
    InputEncoding,
    IntegerInput,
    Preprocessing,
    Resize,
)
from edge.runtime.tasks.table import Task
from edge.training.input_range import InputRange, parse_range
from edge.wording import counted

_BGR = ChannelOrder.BGR
_BEYOND = 0.1  # the share of the held range that pixels may lie outside, clipped; calibration cuts
_STEP = 1.01  # of a pixel; publishers round 1/127.5 to 1/128


def fed(
    found: ModelEvidence, chosen: Reading, stated: StatedModel
) -> tuple[Preprocessing, list[Fact]]:
    """Return the contract of the input, and the facts of it.

    Raises:
        UsageError: Nothing tells what the values are, or what is stated does not fit.
    """
    image = found.image
    order, order_fact = _channel_order(found, chosen, stated)
    values, range_fact = _values(found, chosen, stated, order)
    contract = Preprocessing(
        **{
            "height": image.height,
            "width": image.width,
            "color_order": image.color_order,
            "channel_order": order,
            "layout": image.layout,
            # Other tools decode at full size; a classifier of edge's own does not need to.
            "reducing_gap": 2.0 if chosen.task is Task.CLASSIFICATION else 0.0,
            **values,
            **_resized(chosen, stated),
        }
    )
    # Which colour comes first is a fact of its own: the tensor says how many there are.
    channels = counted(image.color_order.channels, "channel")
    size = f"{image.height} x {image.width}, {channels}, {image.layout}"
    facts = [
        Fact(
            what="input",
            value=f"{size}, {image.spec.dtype}",
            source=f"the tensor {image.spec.name}",
        ),
        range_fact,
        order_fact,
        Fact(
            what="resize",
            value=_resize_words(contract),
            source="as stated" if stated.resize else chosen.feeding.source,
            option="--resize",
            sure=stated.resize is not None,
        ),
    ]
    return contract, facts


def _resized(chosen: Reading, stated: StatedModel) -> dict[str, Any]:
    """Return the fields of the contract that bring an image to the size of the input.

    Raises:
        UsageError: Bars are stated where there are none.
    """
    usual, resize = chosen.feeding, stated.resize or chosen.feeding.resize
    given: dict[str, Any] = {
        "resize": resize,
        "interpolation": stated.interpolation or usual.interpolation,
    }
    if resize is Resize.LETTERBOX:
        given["pad_value"] = usual.pad_value if stated.pad_value is None else stated.pad_value
        given["pad_position"] = stated.pad_position or usual.pad_position
    elif stated.pad_value is not None or stated.pad_position is not None:
        raise UsageError(
            f"--pad-value and --pad-position are for --resize letterbox; it is {resize}",
            hint="Leave them out.",
        )
    if resize is Resize.CENTER_CROP and stated.crop_fraction is not None:
        given["crop_fraction"] = stated.crop_fraction
    return given


def unscaled(found: ModelEvidence) -> Preprocessing:
    """Return a contract of the input's size alone, for what asks no more of it."""
    image = found.image
    return Preprocessing(
        height=image.height,
        width=image.width,
        color_order=image.color_order,
        layout=image.layout,
    )


def _resize_words(contract: Preprocessing) -> str:
    words = f"{contract.resize}, {contract.interpolation}"
    if contract.resize is Resize.LETTERBOX:
        words += f", bars of {contract.pad_value}, image at the {contract.pad_position}"
    return words


def _channel_order(
    found: ModelEvidence, chosen: Reading, stated: StatedModel
) -> tuple[ChannelOrder, Fact]:
    if stated.channel_order is not None:
        order, source, sure = stated.channel_order, "as stated", True
    elif stated.input_range is not None and parse_range(stated.input_range).order is _BGR:
        order, source, sure = _BGR, f"--input-range {stated.input_range} has it so", True
    else:
        order, source, sure = chosen.feeding.channel_order, chosen.feeding.source, False
        if chosen.feeding.input_range is None:
            source = "nothing says otherwise"
    if order is ChannelOrder.BGR and found.image.color_order is not ColorOrder.RGB:
        raise UsageError(
            f"--channel-order bgr is for three channels; {found.path.name} takes "
            f"{found.image.color_order.channels}",
            hint="Leave it out.",
        )
    return order, Fact(
        what="channel order", value=str(order), source=source, option="--channel-order", sure=sure
    )


def _values(
    found: ModelEvidence, chosen: Reading, stated: StatedModel, order: ChannelOrder
) -> tuple[dict[str, Any], Fact]:
    """Return the fields of the contract that say what values the input takes, and the fact.

    Raises:
        UsageError: Nothing tells.
    """
    spec = found.image.spec
    integer = spec.dtype in ("uint8", "int8")
    wanted, source, sure = _wanted_range(found, chosen, stated, order)
    if wanted is None:
        if not integer:
            raise _unknown_range(found)
        fields: dict[str, Any] = {}
        source, sure = "an integer input takes the pixel itself by convention", False
        return fields, _range_fact("pixels, as they are", source, sure)
    fields = encoding_fields(wanted, order, found.image.color_order.channels)
    text = wanted.text
    if integer:
        _check_integers(found, wanted, InputEncoding(**fields))
        if _is_pixel(found, InputEncoding(**fields)):
            return {}, _range_fact(f"pixels, which stand for {text}", source, sure)
        fields["integer_input"] = IntegerInput.QUANTIZED
        text += ", quantized by the tensor's own scale"
    return fields, _range_fact(text, source, sure)


def _range_fact(value: str, source: str, sure: bool) -> Fact:
    return Fact(what="input range", value=value, source=source, option="--input-range", sure=sure)


def _wanted_range(
    found: ModelEvidence, chosen: Reading, stated: StatedModel, order: ChannelOrder
) -> tuple[InputRange | None, str, bool]:
    """Return the range of values, its source, and whether that is certain."""
    if stated.input_range is not None:
        return parse_range(stated.input_range, order), "as stated", True
    described = found.metadata
    if described is not None and described.channel_mean and described.channel_std:
        return _described_range(found, described.channel_mean, described.channel_std)
    if chosen.feeding.input_range is not None and found.image.spec.dtype.startswith("float"):
        return parse_range(chosen.feeding.input_range, order), chosen.feeding.source, False
    return None, "", False


def _described_range(
    found: ModelEvidence, mean: tuple[float, ...], std: tuple[float, ...]
) -> tuple[InputRange, str, bool]:
    """Return the range that the metadata state, its source, and that it is certain.

    Raises:
        UsageError: They state no scaling of this input.
    """
    shown = " and ".join(
        f"{name} {', '.join(f'{value:g}' for value in values)}"
        for name, values in (("mean", mean), ("std", std))
    )
    counts = {1, found.image.color_order.channels}
    sound = all(map(math.isfinite, (*mean, *std))) and min(std) > 0
    if not sound or not {len(mean), len(std)} <= counts:
        raise UsageError(
            f"the metadata of {found.path.name} state {shown}, which is no scaling of its input",
            hint="State the values with --input-range.",
        )
    return InputRange(mean=mean, std=std), f"its metadata state {shown}", True


def _check_integers(found: ModelEvidence, wanted: InputRange, encoding: InputEncoding) -> None:
    """Refuse a range that the integers of the input cannot hold.

    Raises:
        UsageError: The tensor has no scale and the range is none of pixels, or most of the range
            lies outside of what the tensor holds.
    """
    spec, name = found.image.spec, found.path.name
    if spec.quantization is None:
        if not wanted.scales:
            return
        raise UsageError(
            f"the input range is {wanted.text}, and the input of {name} is {spec.dtype} without a "
            "scale, which holds pixels",
            hint="Leave out --input-range, or state pixels.",
        )
    scale, point = spec.quantization.scales[0], spec.quantization.zero_points[0]
    ends = np.iinfo(spec.dtype)
    least, most = scale * (ends.min - point), scale * (ends.max - point)
    factors, terms = encoding.affine(found.image.color_order.channels)
    low = min(terms)
    high = max(255 * factor + term for factor, term in zip(factors, terms, strict=True))
    slack = _BEYOND * (most - least)
    if low < least - slack or high > most + slack:
        raise UsageError(
            f"the input range is {wanted.text}, and the {spec.dtype} input of {name} holds "
            f"{least:.3g} to {most:.3g} by its own scale",
            hint="State the range that the model was trained on with --input-range.",
        )


def _unknown_range(found: ModelEvidence) -> UsageError:
    return UsageError(
        f"nothing in {found.path.name} says which values its input takes",
        hint="State them with --input-range: 0,1 (PyTorch, YOLO), -1,1 (TensorFlow's MobileNet), "
        "pixels (0 to 255), torch (mean and deviation of ImageNet), or MEAN/STD.",
    )


def encoding_fields(wanted: InputRange, order: ChannelOrder, channels: int) -> dict[str, Any]:
    """Return the fields of the contract for a range.

    Raises:
        UsageError: Black becomes more than white, which no contract says.
    """
    if min(wanted.std) <= 0:
        raise UsageError(
            f"{wanted.text} makes black more than white; a model file is fed a range that rises",
            hint="Put the scaling into the model.",
        )
    if wanted.ends is not None:
        low, high = wanted.ends
        return {"value_range": (low, high)}
    mean, std = (
        tuple(float(value) for value in (values * channels if len(values) == 1 else values))
        for values in (wanted.mean, wanted.std)
    )
    if order is ChannelOrder.BGR:  # stated in the model's order; a contract has them in RGB order
        mean, std = mean[::-1], std[::-1]
    return {"value_range": PIXEL_RANGE, "mean": mean, "std": std}


def _is_pixel(found: ModelEvidence, encoding: InputEncoding) -> bool:
    """Whether the quantized value of each pixel is the pixel, or less 128, within one step."""
    spec = found.image.spec
    if spec.quantization is None or len(spec.quantization.scales) != 1:
        return True
    factors, terms = encoding.affine(found.image.color_order.channels)
    pixels = np.arange(256)
    real = np.outer(factors, pixels) + np.array(terms)[:, np.newaxis]
    quantized = real / spec.quantization.scales[0] + spec.quantization.zero_points[0]
    offset = 128 if spec.dtype == "int8" else 0
    return bool(np.abs(quantized - (pixels - offset)).max() <= _STEP)
