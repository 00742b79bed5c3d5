"""ONNX ``metadata_props``: labels, image format and our preprocessing contract in the model.

Keys: ``labels`` (JSON list) and ``names`` (the Python literal that Ultralytics writes) for other
tools; ``Image.*`` as in https://onnx.ai/onnx/repo-docs/MetadataProps.html; ``edge.*`` for us.
"""

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from edge.errors import ConversionError, ModelLoadError
from edge.runtime import checked
from edge.runtime.output import PROBABILITIES, OutputSpec
from edge.runtime.spec import ColorOrder, Preprocessing, canonical_json

if TYPE_CHECKING:
    import onnx

# What each tensor of type denotation IMAGE holds: channels of 8 bits, sRGB, 0..255.
_PIXEL_FORMATS: Final = {
    ColorOrder.GREY: "Gray8",
    ColorOrder.RGB: "Rgb8",
    ColorOrder.RGBA: "Rgba8",
}
_IMAGE_PROPERTIES: Final = {
    "Image.ColorSpaceGamma": "SRGB",
    "Image.NominalPixelRange": "NominalRange_0_255",
}
# NHWC in the words of https://onnx.ai/onnx/repo-docs/DimensionDenotation.html, which has one
# word for height and width.
MAX_LABELS: Final = 8 << 20  # bytes of their list
_DIMENSIONS: Final = ("DATA_BATCH", "DATA_FEATURE", "DATA_FEATURE", "DATA_CHANNEL")


@dataclass(frozen=True, slots=True, kw_only=True)
class OnnxMetadata:
    """What an ONNX model says about itself.

    Attributes:
        name: Of the graph.
        description: The model's ``doc_string``.
        labels: Class names; the index is the class.
        mean: The model expects (pixel - mean) / std, pixel in 0..255; None if not stated.
        std: See ``mean``.
        edge_preprocessing: ``Preprocessing.to_json()``; None in a file of another writer.
        edge_preprocessing_sha256: As stated, hex; None in a file of another writer.
        edge_output: ``OutputSpec.to_json()``; None where the best of the values is the answer,
            and in a file of another writer.
    """

    name: str
    description: str
    labels: tuple[str, ...]
    mean: float | None
    std: float | None
    edge_preprocessing: dict[str, Any] | None
    edge_preprocessing_sha256: str | None
    edge_output: dict[str, Any] | None = None


def embed(
    model: "onnx.ModelProto",
    *,
    name: str,
    description: str,
    labels: Sequence[str],
    preprocessing: Preprocessing,
    mean: float,
    std: float,
    output: OutputSpec = PROBABILITIES,
) -> None:
    """Write the metadata of an image classifier into a model, in place of any of the same keys.

    Args:
        model: Changed in place: one image tensor (batch, height, width, channel) in, one tensor
            (batch, class) out.
        name: Becomes the name of the graph.
        description: Becomes the ``doc_string`` of the model.
        labels: Class names; the index is the class. Empty for a model that gives an embedding.
        preprocessing: The contract, kept with its hash.
        mean: The model expects (pixel - mean) / std, with pixel in 0..255.
        std: See ``mean``; above 0.
        output: What the model's values mean, kept where the best of them is not the answer.

    Raises:
        ConversionError: Not a classifier, not as many labels as classes, a label is
            not Unicode text, or mean and std are no scaling.
    """
    if not (math.isfinite(mean) and math.isfinite(std) and std > 0):
        raise ConversionError(f"normalization has mean {mean} and std {std}; std is above 0")
    image = _check_classifier(model, classes=len(labels))
    properties = {
        "labels": _encode_labels(labels),
        **({"names": repr(dict(enumerate(labels)))} if labels else {}),
        "mean": repr(float(mean)),
        "std": repr(float(std)),
        "edge.preprocessing": canonical_json(preprocessing.to_json()),
        "edge.preprocessing_sha256": preprocessing.sha256,
        **({} if output.plain else {"edge.output": canonical_json(output.to_json())}),
        "Image.BitmapPixelFormat": _PIXEL_FORMATS[preprocessing.color_order],
        **_IMAGE_PROPERTIES,
    }
    _set_properties(model, properties)
    _denote_image(image)
    model.graph.name = name
    model.doc_string = description


def read(model: "onnx.ModelProto") -> OnnxMetadata | None:
    """The metadata of a model.

    Returns:
        None where the model has no key ``labels``.

    Raises:
        ModelLoadError: A value is not what its key calls for.
    """
    properties = {item.key: item.value for item in model.metadata_props}
    if "labels" not in properties:
        return None
    try:
        text = properties["labels"]
        labels = checked.parse_json(text, "the list of labels", max_bytes=MAX_LABELS)
        contract = checked.parse_json(properties.get("edge.preprocessing", "null"))
        answers = checked.parse_json(properties.get("edge.output", "null"))
        mean, std = (
            float(properties[key]) if key in properties else None for key in ("mean", "std")
        )
    except ValueError as error:
        raise ModelLoadError(f"the ONNX metadata cannot be read: {error}") from error
    if not isinstance(labels, list) or not all(isinstance(label, str) for label in labels):
        raise ModelLoadError("the ONNX metadata key 'labels' is not a JSON list of text")
    return OnnxMetadata(
        name=model.graph.name,
        description=model.doc_string,
        labels=tuple(labels),
        mean=mean,
        std=std,
        edge_preprocessing=contract,
        edge_preprocessing_sha256=properties.get("edge.preprocessing_sha256"),
        edge_output=answers,
    )


def _check_classifier(model: "onnx.ModelProto", *, classes: int) -> Any:
    """The image input (ValueInfoProto), once the tensors are those of a classifier.

    0 classes: of a model that gives an embedding, of any length.
    """
    weights = {tensor.name for tensor in model.graph.initializer}
    inputs = [value for value in model.graph.input if value.name not in weights]
    outputs = model.graph.output
    if len(inputs) != 1 or len(outputs) != 1:
        raise ConversionError(
            f"the model has {len(inputs)} inputs and {len(outputs)} outputs; "
            "a classifier has one of each"
        )
    rank = len(inputs[0].type.tensor_type.shape.dim)
    if rank != len(_DIMENSIONS):
        raise ConversionError(f"the input has {rank} dimensions; NHWC has {len(_DIMENSIONS)}")
    shape = outputs[0].type.tensor_type.shape.dim
    found = shape[-1].dim_value if shape else 0  # 0 where the dimension has no fixed extent
    if classes and found != classes:
        raise ConversionError(f"{classes} labels for a model with {found or 'no fixed'} classes")
    return inputs[0]


def _encode_labels(labels: Sequence[str]) -> str:
    text = json.dumps(list(labels), ensure_ascii=False)
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise ConversionError(
            f"a label is not Unicode text: {error}", hint="Rename the folder of that class."
        ) from error
    return text


def _set_properties(model: "onnx.ModelProto", properties: dict[str, str]) -> None:
    """Replace keys without regard to case, as the standard compares them."""
    replaced = {key.lower() for key in properties}
    kept = [(item.key, item.value) for item in model.metadata_props]
    del model.metadata_props[:]
    for key, value in [pair for pair in kept if pair[0].lower() not in replaced]:
        model.metadata_props.add(key=key, value=value)
    for key, value in properties.items():
        model.metadata_props.add(key=key, value=value)


def _denote_image(image: Any) -> None:
    image.type.denotation = "IMAGE"
    for dimension, denotation in zip(image.type.tensor_type.shape.dim, _DIMENSIONS, strict=True):
        dimension.denotation = denotation
