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
    check_tensors,
)
from edge.modelfile.onnx import real_inputs
from edge.runtime import checked
from edge.runtime.contract import ColorOrder, TensorLayout, canonical_json

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
# In the words of https://onnx.ai/onnx/repo-docs/DimensionDenotation.html, which has one word for
# height and width.
_DIMENSIONS: Final = {
    TensorLayout.HWC: ("DATA_BATCH", "DATA_FEATURE", "DATA_FEATURE", "DATA_CHANNEL"),
    TensorLayout.CHW: ("DATA_BATCH", "DATA_CHANNEL", "DATA_FEATURE", "DATA_FEATURE"),
}


def embed(model: "onnx.ModelProto", description: ModelDescription) -> None:
    """Write the metadata of an image model into it, in place of any of the same keys.

    Args:
        model: One image tensor in, of the layout that the contract states; one tensor
            (batch, class) out, or with a decoder any number of any shape. It is changed in place:
            ``description.name`` becomes the name of the graph.
        description: What to write.

    Raises:
        ConversionError: The tensors are of no such model, there are not as many labels as classes,
            a label is not Unicode text, or mean and std are no scaling.
    """
    description.check_scaling()
    image = _check_model(model, description)
    _set_properties(model, _properties(description))
    _denote_image(image, _DIMENSIONS[description.preprocessing.layout])
    model.graph.name = description.name
    model.doc_string = description.description


def _properties(description: ModelDescription) -> dict[str, str]:
    labels, preprocessing = description.labels, description.preprocessing
    output, decoder = description.output, description.decoder
    one = len(description.means) == len(description.stds) == 1
    scaling = {"mean": repr(float(description.means[0])), "std": repr(float(description.stds[0]))}
    return {
        "labels": _encode_labels(labels),
        **({"names": repr(dict(enumerate(labels)))} if labels else {}),
        **(scaling if one else {}),
        "edge.preprocessing": canonical_json(preprocessing.to_json()),
        "edge.preprocessing_sha256": preprocessing.sha256,
        **({} if output.plain else {"edge.output": canonical_json(output.to_json())}),
        **({"edge.decoder": canonical_json(decoder.to_json())} if decoder else {}),
        "Image.BitmapPixelFormat": _PIXEL_FORMATS[preprocessing.color_order],
        **_IMAGE_PROPERTIES,
    }


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
        decoder = checked.parse_json(properties.get("edge.decoder", "null"))
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
        edge_decoder=decoder,
        channel_mean=() if mean is None else (mean,),
        channel_std=() if std is None else (std,),
    )


def _check_model(model: "onnx.ModelProto", description: ModelDescription) -> Any:
    """The image input (ValueInfoProto), once the tensors are those that are described.

    A model that gives an embedding, of any length, has 0 classes.
    """
    inputs, outputs = real_inputs(model.graph), model.graph.output
    check_tensors(len(inputs), len(outputs), description.decoder)
    rank = len(inputs[0].type.tensor_type.shape.dim)
    if rank != 4:
        raise ConversionError(f"the input has {rank} dimensions; a batch of images has 4")
    if description.decoder is not None:
        return inputs[0]
    classes = len(description.labels)
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


def _denote_image(image: Any, denotations: Sequence[str]) -> None:
    image.type.denotation = "IMAGE"
    for dimension, denotation in zip(image.type.tensor_type.shape.dim, denotations, strict=True):
        dimension.denotation = denotation
