"""ONNX ``metadata_props``: labels, image format and our preprocessing contract in the model.

Keys: ``labels`` (JSON list) and ``names`` (the Python literal that Ultralytics writes) for other
tools; ``Image.*`` as in https://onnx.ai/onnx/repo-docs/MetadataProps.html; ``edge.*`` for us.
"""

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

from edge.errors import ConversionError, ModelLoadError
from edge.modelfile.metadata import (
    ModelDescription,
    ModelMetadata,
    check_one_input_and_output,
)
from edge.modelfile.onnx import real_inputs
from edge.runtime import checked
from edge.runtime.contract import ColorOrder, canonical_json

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
MAX_LABELS: Final = 8 << 20  # bytes of their list
# NHWC in the words of https://onnx.ai/onnx/repo-docs/DimensionDenotation.html, which has one
# word for height and width.
_DIMENSIONS: Final = ("DATA_BATCH", "DATA_FEATURE", "DATA_FEATURE", "DATA_CHANNEL")


def embed(model: "onnx.ModelProto", description: ModelDescription) -> None:
    """Write the metadata of an image classifier into a model, in place of any of the same keys.

    Args:
        model: One image tensor (batch, height, width, channel) in, one tensor (batch, class) out.
            It is changed in place: ``description.name`` becomes the name of the graph.
        description: What to write.

    Raises:
        ConversionError: The model is not a classifier, there are not as many labels as classes, a
            label is not Unicode text, or mean and std are no scaling.
    """
    description.check_scaling()
    labels, preprocessing = description.labels, description.preprocessing
    image = _check_classifier(model, classes=len(labels))
    output = description.output
    properties = {
        "labels": _encode_labels(labels),
        **({"names": repr(dict(enumerate(labels)))} if labels else {}),
        "mean": repr(float(description.mean)),
        "std": repr(float(description.std)),
        "edge.preprocessing": canonical_json(preprocessing.to_json()),
        "edge.preprocessing_sha256": preprocessing.sha256,
        **({} if output.plain else {"edge.output": canonical_json(output.to_json())}),
        "Image.BitmapPixelFormat": _PIXEL_FORMATS[preprocessing.color_order],
        **_IMAGE_PROPERTIES,
    }
    _set_properties(model, properties)
    _denote_image(image)
    model.graph.name = description.name
    model.doc_string = description.description


def read(model: "onnx.ModelProto") -> ModelMetadata | None:
    """Read the metadata of a model.

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
    return ModelMetadata(
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

    A model that gives an embedding, of any length, has 0 classes.
    """
    inputs, outputs = real_inputs(model.graph), model.graph.output
    check_one_input_and_output(len(inputs), len(outputs))
    rank = len(inputs[0].type.tensor_type.shape.dim)
    if rank != len(_DIMENSIONS):
        raise ConversionError(f"the input has {rank} dimensions; NHWC has {len(_DIMENSIONS)}")
    shape = outputs[0].type.tensor_type.shape.dim
    stated = shape[-1].dim_value if shape else 0  # 0 where the dimension has no fixed extent
    if classes and stated != classes:
        raise ConversionError(f"{classes} labels for a model with {stated or 'no fixed'} classes")
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
