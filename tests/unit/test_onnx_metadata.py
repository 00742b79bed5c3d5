"""ONNX metadata: what is embedded is read back, and the model stays what it was."""

import ast
import json
from typing import Any

import numpy as np
import pytest

from edge.errors import ConversionError, ModelLoadError
from edge.modelfile import onnx_metadata
from edge.modelfile.metadata import ModelDescription, ModelMetadata
from edge.runtime.contract import Preprocessing

LABELS = ("red 🍎", "it's grün", "青")
PREPROCESSING = Preprocessing(height=16, width=16)


def make_model(classes: int | str = 3, rank: int = 4) -> Any:
    """Mean of each channel of a picture (batch, 16, 16, 3), then softmax."""
    from onnx import TensorProto, helper

    shape = ["batch", 16, 16, 3][:rank]
    graph = helper.make_graph(
        [
            helper.make_node("ReduceMean", ["image"], ["means"], axes=[1, 2], keepdims=0),
            helper.make_node("Softmax", ["means"], ["probability"]),
        ],
        "graph",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("probability", TensorProto.FLOAT, ["batch", classes])],
    )
    opset = helper.make_opsetid("", 17)
    return helper.make_model(graph, opset_imports=[opset], ir_version=8)


def embed(model: Any, **changes: Any) -> None:
    arguments: dict[str, Any] = {
        "name": "channels",
        "description": "Which channel is strongest.",
        "labels": LABELS,
        "preprocessing": PREPROCESSING,
        "mean": 0.0,
        "std": 1.0,
    }
    onnx_metadata.embed(model, ModelDescription(**(arguments | changes)))


def properties(model: Any) -> list[tuple[str, str]]:
    return [(item.key, item.value) for item in model.metadata_props]


def run(model: Any) -> bytes:
    import onnxruntime

    session = onnxruntime.InferenceSession(
        model.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    pixels = np.random.default_rng(7).integers(0, 256, (1, 16, 16, 3)).astype(np.float32)
    return session.run(None, {"image": pixels})[0].tobytes()  # type: ignore[no-any-return]


def test_round_trip_through_a_file() -> None:
    import onnx

    model = make_model()
    embed(model, mean=127.5, std=0.1)
    found = onnx_metadata.read(onnx.load_from_string(model.SerializeToString()))
    assert found == ModelMetadata(
        name="channels",
        description="Which channel is strongest.",
        labels=LABELS,
        mean=127.5,
        std=0.1,
        edge_preprocessing=PREPROCESSING.to_json(),
        edge_preprocessing_sha256=PREPROCESSING.sha256,
        channel_mean=(127.5,),
        channel_std=(0.1,),
    )


def test_outputs_are_bit_equal_and_the_model_valid() -> None:
    import onnx

    model = make_model()
    before = run(model)
    embed(model)
    onnx.checker.check_model(model, full_check=True)
    assert run(model) == before


def test_other_tools_read_it() -> None:
    import onnxruntime

    model = make_model()
    embed(model)
    meta = onnxruntime.InferenceSession(
        model.SerializeToString(), providers=["CPUExecutionProvider"]
    ).get_modelmeta()
    custom = meta.custom_metadata_map
    assert json.loads(custom["labels"]) == list(LABELS)
    assert ast.literal_eval(custom["names"]) == dict(enumerate(LABELS))
    assert custom["Image.BitmapPixelFormat"] == "Rgb8"
    assert custom["Image.ColorSpaceGamma"] == "SRGB"
    assert custom["Image.NominalPixelRange"] == "NominalRange_0_255"
    assert Preprocessing.from_json(json.loads(custom["edge.preprocessing"])) == PREPROCESSING
    assert (meta.graph_name, meta.description) == ("channels", "Which channel is strongest.")


def test_input_is_denoted_as_an_image() -> None:
    model = make_model()
    embed(model)
    kind = model.graph.input[0].type
    assert kind.denotation == "IMAGE"
    assert [dimension.denotation for dimension in kind.tensor_type.shape.dim] == [
        "DATA_BATCH",
        "DATA_FEATURE",
        "DATA_FEATURE",
        "DATA_CHANNEL",
    ]


def test_embedding_twice_replaces() -> None:
    model = make_model()
    model.metadata_props.add(key="producer", value="kept")
    model.metadata_props.add(key="image.bitmappixelformat", value="Bgr8")
    embed(model)
    once = properties(model)
    embed(model)
    assert properties(model) == once
    assert once[0] == ("producer", "kept")
    assert len({key.lower() for key, _ in once}) == len(once)
    embed(model, labels=("a", "b", "c"))
    found = onnx_metadata.read(model)
    assert found is not None
    assert found.labels == ("a", "b", "c")


@pytest.mark.parametrize("labels", [("a", "b"), ("a", "b", "c", "d")])
def test_label_count_must_fit(labels: tuple[str, ...]) -> None:
    with pytest.raises(ConversionError, match=f"{len(labels)} labels for a model with 3 classes"):
        embed(make_model(), labels=labels)


def test_a_model_that_gives_an_embedding_has_no_labels() -> None:
    model = make_model()
    embed(model, labels=())
    assert "names" not in dict(properties(model))
    found = onnx_metadata.read(model)
    assert found is not None
    assert found.labels == ()
    assert found.edge_preprocessing == PREPROCESSING.to_json()


def test_open_class_dimension_is_refused() -> None:
    with pytest.raises(ConversionError, match="no fixed classes"):
        embed(make_model(classes="n"))


def test_input_must_have_four_dimensions() -> None:
    with pytest.raises(ConversionError, match="3 dimensions"):
        embed(make_model(rank=3))


def test_label_must_be_unicode() -> None:
    model = make_model()
    with pytest.raises(ConversionError, match="not Unicode"):
        embed(model, labels=("a", "\udcff", "c"))
    assert properties(model) == []


@pytest.mark.parametrize(("mean", "std"), [(0.0, 0.0), (0.0, -1.0), (float("nan"), 1.0)])
def test_normalization_must_be_a_scaling(mean: float, std: float) -> None:
    with pytest.raises(ConversionError, match="normalization"):
        embed(make_model(), mean=mean, std=std)


def test_model_without_metadata() -> None:
    assert onnx_metadata.read(make_model()) is None


@pytest.mark.parametrize(("key", "value"), [("labels", "{"), ("labels", "3"), ("mean", "x")])
def test_unreadable_metadata(key: str, value: str) -> None:
    model = make_model()
    embed(model)
    next(item for item in model.metadata_props if item.key == key).value = value
    with pytest.raises(ModelLoadError):
        onnx_metadata.read(model)
