"""Keras model -> written files: what they take, what they hold, and that they agree."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from converters.base import CONVERTERS, TARGETS, ConversionRequest, Precision, targets
from edge.cache import StageCache
from edge.errors import ConversionError
from edge.modelfile import onnx_metadata, tflite_metadata
from edge.runtime.classifier import Classifier
from edge.runtime.contract import Preprocessing
from edge.runtime.session import open_session
from edge.runtime.typed import encoded
from tests.interrupts import pressed_at_every_start

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
SIZE = 32
LABELS = ("red", "green", "blue", "grau 🐘")
SPEC = Preprocessing(height=SIZE, width=SIZE)
FLOAT_TOLERANCE = 1e-5  # of a probability: the same arithmetic in another order
W8A16_TOLERANCE = 0.02  # weights of 8 bits, activations of 16
FP16_TOLERANCE = 5e-3  # weights have 11 significant bits
DYNAMIC_TOLERANCE = 0.05  # weights and activations of 8 bits
INT8_TOLERANCE = 0.1
INT8_AGREEMENT = 0.98
BORDER_TOLERANCE = 0.03  # of a probability: what the padded borders may make of it

# What needs no recipe; test_quantization.py has the mixed files.
NAMES = [name for name, target in TARGETS.items() if target.precision is not Precision.MIXED]

Images = NDArray[np.uint8]
Front = Callable[[Any], Any]


def pictures(count: int, seed: int) -> tuple[Images, NDArray[np.int64]]:
    """Noisy pictures, each with a tint; the class is the tint: red, green, blue, none."""
    random = np.random.default_rng(seed)
    labels = np.arange(count) % len(LABELS)
    images = random.normal(110, 45, (count, SIZE, SIZE, 3))
    images += random.normal(0, 25, (count, 1, 1, 1))  # bright ones and dark ones
    for image, label in zip(images, labels, strict=True):
        if label < 3:
            image[..., label] += random.uniform(25, 60)
    return images.clip(0, 255).astype(np.uint8), labels


def tf_scaling(image: Any) -> Any:
    import keras

    return keras.layers.Rescaling(1 / 127.5, offset=-1.0)(image)


def network(front: Front, *, padding: str = "same", zero_padding: bool = False) -> Any:
    """A small network of the layers that MobileNets are made of."""
    import keras

    layers = keras.layers
    keras.utils.set_random_seed(7)
    image = keras.Input((SIZE, SIZE, 3))
    x = front(image)
    if zero_padding:
        x = layers.ZeroPadding2D(((0, 1), (0, 1)))(x)
    x = layers.Conv2D(8, 3, strides=2, padding=padding, use_bias=False, name="first")(x)
    x = layers.ReLU(6.0)(layers.BatchNormalization(momentum=0.5)(x))
    x = layers.DepthwiseConv2D(3, padding="same", use_bias=False)(x)
    x = layers.ReLU(6.0)(layers.BatchNormalization(momentum=0.5)(x))
    x = layers.Conv2D(16, 1, use_bias=False)(x)
    x = layers.ReLU(6.0)(layers.BatchNormalization(momentum=0.5)(x))
    x = layers.GlobalAveragePooling2D()(x)
    return keras.Model(image, layers.Dense(len(LABELS), activation="softmax")(x))


def trained(model: Any) -> Any:
    """The model, trained on tinted pictures until its answers say something."""
    images, labels = pictures(256, seed=1)
    model.compile("adam", "sparse_categorical_crossentropy")
    model.optimizer.learning_rate = 0.02
    for _ in range(20):
        model.fit(images.astype(np.float32), labels, batch_size=32, epochs=2, verbose=0)
        answers = keras_answers(model, images)
        right = (answers.argmax(axis=1) == labels).mean()
        if right > 0.95 and answers.max(axis=0).min() > 0.6:  # every class is meant at times
            return model
    raise AssertionError("the network did not learn")


def keras_answers(model: Any, images: Images) -> NDArray[np.float32]:
    answers: NDArray[np.float32] = model(images.astype(np.float32), training=False).numpy()
    return answers


def file_answers(path: Path, images: Images) -> NDArray[np.float32]:
    """Probabilities through edge's own runtime."""
    classifier = Classifier(open_session(path), LABELS, SPEC)
    return np.stack([classifier.probabilities(image) for image in images])


def request(folder: Path, keras_model: Path, format_: str, *precisions: str) -> ConversionRequest:
    calibration = folder / "calibration.npy"
    np.save(calibration, pictures(32, seed=2)[0])
    (folder / format_).mkdir(exist_ok=True)
    return ConversionRequest(
        keras_model=keras_model,
        format=format_,
        precisions=tuple(Precision(item) for item in precisions),
        output=folder / format_,
        calibration=calibration,
        name="tints",
        labels=LABELS,
        preprocessing=SPEC,
    )


def no_step() -> None:
    """Nobody is shown what a search has tried."""


def convert(folder: Path, model: Any, *names: str) -> dict[str, Path]:
    """Files by variant name, written in this process."""
    from importlib import import_module

    files: dict[str, Path] = {}
    for format_ in CONVERTERS:
        wanted = [target.precision for target in targets(names) if target.format == format_]
        if wanted:
            module, _, function = CONVERTERS[format_].partition(":")
            asked = request(folder, Path("unused.keras"), format_, *wanted)
            for result in getattr(import_module(module), function)(asked, model, no_step):
                assert result.seconds > 0
                files[result.variant] = result.path
    assert set(files) == {target.name for target in targets(names)}
    return files


@dataclass(frozen=True)
class Written:
    model: Any
    files: dict[str, Path]
    images: Images
    labels: NDArray[np.int64]
    expected: NDArray[np.float32]

    def answers(self, name: str) -> NDArray[np.float32]:
        return file_answers(self.files[name], self.images)


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Written:
    """The trained network in every variant of ``NAMES``, and pictures that it has not seen."""
    model = trained_with("tf")
    files = convert(tmp_path_factory.mktemp("written"), model, *NAMES)
    images, labels = pictures(200, seed=3)
    return Written(model, files, images, labels, keras_answers(model, images))


# ---- what every file takes and says


def test_every_target_was_written(written: Written) -> None:
    """Each under the name that bundles know, in the format of that name, and unlike the others."""
    assert {path.name for path in written.files.values()} == {
        f"{name}.{name.partition('-')[0]}" for name in NAMES
    }
    contents = {name: written.files[name].read_bytes() for name in NAMES}
    assert {name for name in NAMES if contents[name][4:8] == b"TFL3"} == {
        name for name in NAMES if name.startswith("tflite-")
    }
    assert len(set(contents.values())) == len(NAMES) > 5


@pytest.mark.parametrize("name", NAMES)
def test_the_input_is_nhwc(written: Written, name: str) -> None:
    session = open_session(written.files[name])
    (image,) = session.inputs
    batch = -1 if name.startswith("onnx") else 1
    assert image.shape == (batch, SIZE, SIZE, 3)
    assert image.dtype == ("uint8" if name.endswith(("int8", "w8a16")) else "float32")
    assert session.outputs[0].shape[-1] == len(LABELS)


@pytest.mark.parametrize("name", NAMES)
def test_red_is_the_first_channel_and_255_the_most(written: Written, name: str) -> None:
    tints = np.full((3, SIZE, SIZE, 3), 100, np.uint8)
    for channel in range(3):
        tints[channel, ..., channel] = 170
    assert file_answers(written.files[name], tints).argmax(axis=1).tolist() == [0, 1, 2]


@pytest.mark.parametrize("name", NAMES)
def test_metadata_is_embedded(written: Written, name: str) -> None:
    import onnx

    path = written.files[name]
    if name.startswith("tflite"):
        found: Any = tflite_metadata.read(path.read_bytes())
    else:
        found = onnx_metadata.read(onnx.load(path))
    assert found.labels == LABELS
    assert (found.mean, found.std) == (0.0, 1.0)
    assert "tints" in found.name
    assert Preprocessing.from_json(found.edge_preprocessing) == SPEC


# ---- what they answer


@pytest.mark.parametrize(
    ("name", "tolerance"),
    [
        ("tflite-fp32", FLOAT_TOLERANCE),
        ("onnx-fp32", FLOAT_TOLERANCE),
        ("tflite-fp16", FP16_TOLERANCE),
        ("tflite-dynamic", DYNAMIC_TOLERANCE),
        ("tflite-int8", INT8_TOLERANCE),
        ("tflite-w8a16", W8A16_TOLERANCE),
        ("onnx-int8", INT8_TOLERANCE),
    ],
)
def test_the_answers_are_those_of_keras(written: Written, name: str, tolerance: float) -> None:
    answers = written.answers(name)
    assert np.abs(answers - written.expected).max() <= tolerance
    agreement = (answers.argmax(axis=1) == written.expected.argmax(axis=1)).mean()
    assert agreement >= (INT8_AGREEMENT if tolerance > FP16_TOLERANCE else 1.0)


def test_a_float_onnx_takes_a_batch(written: Written) -> None:
    session = open_session(written.files["onnx-fp32"])
    (answers,) = session.run(written.images[:5].astype(np.float32))
    assert np.abs(answers - written.expected[:5]).max() <= FLOAT_TOLERANCE


# ---- TFLite int8


def tflite_nodes(path: Path) -> Any:
    """The operators in the order in which they run."""
    from edge.modelfile.tflite import TfliteFile

    return TfliteFile(path.read_bytes()).graph().nodes


def operators_before_convolution(path: Path) -> list[str]:
    names = [node.operator for node in tflite_nodes(path)]
    return names[: names.index("CONV_2D")]


def test_tflite_int8_the_pixel_is_the_quantized_value(written: Written) -> None:
    (image,) = open_session(written.files["tflite-int8"]).inputs
    assert image.quantization is not None
    assert image.quantization.scales == (1.0,)
    assert image.quantization.zero_points == (128,)


def test_tflite_int8_scales_nothing_before_the_convolution(written: Written) -> None:
    assert "MUL" in operators_before_convolution(written.files["tflite-fp32"])  # it can be seen
    before = operators_before_convolution(written.files["tflite-int8"])
    assert before in ([], ["QUANTIZE"])  # uint8 to int8: the converter's own


def test_tflite_int8_has_no_float_inside(written: Written) -> None:
    from edge.inspection.model import inspect_model

    nodes = tflite_nodes(written.files["tflite-int8"])
    values = [value for node in nodes for value in (*node.inputs, *node.outputs) if value]
    assert {value.dtype for value in values} <= {"uint8", "int8", "int32"}
    assert "DEQUANTIZE" not in {node.operator for node in nodes}
    report = inspect_model(written.files["tflite-int8"])
    operators = dict(report.operators)
    conversions = operators.get("QUANTIZE", 0)
    assert report.quantized_operators == sum(operators.values()) - conversions
    assert report.outputs[0].dtype == "uint8"


@pytest.mark.parametrize("operator", ["CONV_2D", "DEPTHWISE_CONV_2D"])
def test_tflite_int8_weights_are_per_channel(written: Written, operator: str) -> None:
    from edge.modelfile.tflite import load_schema

    schema = load_schema()
    model = schema.Model.GetRootAs(written.files["tflite-int8"].read_bytes(), 0)
    graph = model.Subgraphs(0)
    codes = {getattr(schema.BuiltinOperator, operator)}
    seen = 0
    for index in range(graph.OperatorsLength()):
        node = graph.Operators(index)
        if model.OperatorCodes(node.OpcodeIndex()).BuiltinCode() not in codes:
            continue
        weights = graph.Tensors(node.Inputs(1))
        shape, quantization = weights.ShapeAsNumpy(), weights.Quantization()
        axis = 0 if operator == "CONV_2D" else 3
        assert weights.Type() == schema.TensorType.INT8
        assert quantization.QuantizedDimension() == axis
        assert quantization.ScaleLength() == shape[axis] > 1
        assert not quantization.ZeroPointAsNumpy().any()
        assert len(set(quantization.ScaleAsNumpy().tolist())) > 1
        seen += 1
    assert seen == {"CONV_2D": 2, "DEPTHWISE_CONV_2D": 1}[operator]


# ---- ONNX


def onnx_path_of_the_image(graph: Any) -> list[str]:
    """Operators from the input up to the first convolution."""
    tensor, operators = graph.input[0].name, []
    while True:
        consumers = [node for node in graph.node if tensor in node.input]
        assert len(consumers) == 1, (tensor, [node.op_type for node in consumers])
        if consumers[0].op_type == "Conv":
            return operators
        operators.append(consumers[0].op_type)
        tensor = consumers[0].output[0]


def test_onnx_int8_the_pixel_is_the_quantized_value(written: Written) -> None:
    import onnx

    proto = onnx.load(written.files["onnx-int8"])
    graph = proto.graph
    assert graph.input[0].type.tensor_type.elem_type == onnx.TensorProto.UINT8
    operators = onnx_path_of_the_image(graph)
    assert set(operators) <= {"Transpose", "DequantizeLinear"}
    assert operators.count("DequantizeLinear") == 1
    constants = {item.name: onnx.numpy_helper.to_array(item) for item in graph.initializer}
    first = next(
        node
        for node in graph.node
        if node.op_type == "DequantizeLinear" and node.input[0] not in constants
    )
    assert float(constants[first.input[1]]) == 1.0
    assert int(constants[first.input[2]]) == 128
    onnx.checker.check_model(proto, full_check=True)


def test_onnx_int8_scores_are_not_rounded(written: Written) -> None:
    """Rounded to 8 bits, several classes of an image would share the best score."""
    import onnx

    graph = onnx.load(written.files["onnx-int8"]).graph
    writers = {name: node for node in graph.node for name in node.output}
    (softmax,) = (node for node in graph.node if node.op_type == "Softmax")
    last = writers[softmax.input[0]]
    assert last.op_type == "Gemm"
    assert [writers[name].op_type for name in last.input[:2]] == ["DequantizeLinear"] * 2
    read = {name for node in graph.node for name in node.input}
    assert read.issuperset(item.name for item in graph.initializer)  # ONNX Runtime warns of others


def test_onnx_int8_weights_are_per_channel(written: Written) -> None:
    import onnx

    graph = onnx.load(written.files["onnx-int8"]).graph
    constants = {item.name: onnx.numpy_helper.to_array(item) for item in graph.initializer}
    producers = {node.output[0]: node for node in graph.node}
    convolutions = [node for node in graph.node if node.op_type == "Conv"]
    assert len(convolutions) == 3
    for node in convolutions:
        source = producers[node.input[1]]
        assert source.op_type == "DequantizeLinear"
        weights, scales = constants[source.input[0]], constants[source.input[1]]
        assert weights.dtype == np.int8
        assert scales.shape == (weights.shape[0],)
        assert next(item.i for item in source.attribute if item.name == "axis") == 0


def test_a_pass_of_tf2onnx_that_fails_is_left_out(
    keras_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import keras
    from tf2onnx import optimizer

    from converters.onnx import NO_COPIES, exported

    class Failing:
        def __init__(self) -> None:
            raise ValueError("a fault of the pass")

    model = keras.models.load_model(keras_file, compile=False)
    usual = exported(model)
    passes = optimizer._get_optimizers()
    monkeypatch.setitem(passes, "remove_redundant_upsample", Failing)
    assert [node.op_type for node in exported(model).graph.node] == [
        node.op_type for node in usual.graph.node
    ]
    assert NO_COPIES not in os.environ


@pytest.mark.parametrize("name", ["onnx-fp32", "onnx-int8"])
def test_onnx_versions_that_old_runtimes_read(written: Written, name: str) -> None:
    import onnx

    proto = onnx.load(written.files[name])
    standard = [item.version for item in proto.opset_import if item.domain in ("", "ai.onnx")]
    assert standard == [17]
    assert proto.ir_version <= 8
    used = {node.domain for node in proto.graph.node}
    assert used <= {"", "ai.onnx"}  # no operator of one runtime alone


# ---- folding the scaling


def torch_scaling(image: Any) -> Any:
    import keras

    from edge.training.input_range import TORCH_MEAN, TORCH_STD

    scale = [1 / (255 * std) for std in TORCH_STD]
    offset = [-mean / std for mean, std in zip(TORCH_MEAN, TORCH_STD, strict=True)]
    return keras.layers.Rescaling(scale, offset=offset)(image)


def caffe_scaling(image: Any) -> Any:
    import keras

    from edge.training.input_range import CAFFE_MEAN_BGR

    flipped = keras.ops.flip(image, axis=-1)
    offset = [-mean for mean in CAFFE_MEAN_BGR]
    return keras.layers.Rescaling([1.0] * 3, offset=offset)(flipped)


def normalization(image: Any) -> Any:
    import keras

    layer = keras.layers.Normalization(
        mean=[120.0, 110.0, 100.0], variance=[3600.0, 2500.0, 4900.0]
    )
    return layer(image)


def two_steps(image: Any) -> Any:
    """As EfficientNet does it: to 0..1, then less the mean."""
    import keras

    scaled = keras.layers.Rescaling(1 / 255)(image)
    return keras.layers.Normalization(mean=[0.485, 0.456, 0.406], variance=[0.05, 0.05, 0.05])(
        scaled
    )


def nothing(image: Any) -> Any:
    return image


# Front, zero point (the pixel nearest to a scaled zero, over the channels), and what that pixel
# becomes per channel in the order of the convolution: by so much are zero-padded borders off.
FRONTS: dict[str, tuple[Front, int, tuple[float, float, float]]] = {
    "tf": (tf_scaling, 128, (1 / 255,) * 3),
    "torch": (
        torch_scaling,
        114,
        tuple(
            (114 / 255 - mean) / std
            for mean, std in zip((0.485, 0.456, 0.406), (0.229, 0.224, 0.225), strict=True)
        ),  # type: ignore[arg-type]
    ),
    "caffe": (caffe_scaling, 115, (115 - 103.939, 115 - 116.779, 115 - 123.68)),
    "normalization": (normalization, 110, (-10 / 60, 0.0, 10 / 70)),
    "two steps": (
        two_steps,
        114,
        tuple((114 / 255 - mean) / 0.05**0.5 for mean in (0.485, 0.456, 0.406)),
    ),  # type: ignore[arg-type]
    "nothing": (nothing, 0, (0.0, 0.0, 0.0)),
}


def first_convolution(model: Any) -> Any:
    """The model up to its first convolution."""
    import keras

    layer = next(item for item in model.layers if type(item) is keras.layers.Conv2D)
    return keras.Model(model.input, layer.output)


@pytest.mark.parametrize("zero_padding", [False, True])
@pytest.mark.parametrize("padding", ["same", "valid"])
@pytest.mark.parametrize("name", FRONTS)
def test_folding_keeps_the_first_convolution(name: str, padding: str, zero_padding: bool) -> None:
    from converters.pixel_input import pixel_model

    front, zero_point, rest = FRONTS[name]
    model = network(front, padding=padding, zero_padding=zero_padding)
    found = pixel_model(model)
    assert (found.folded, found.zero_point) == (True, zero_point)
    pixels = pictures(8, seed=4)[0].astype(np.float32)
    before = first_convolution(model)(pixels).numpy()
    after = first_convolution(found.model)(pixels - zero_point).numpy()
    assert before.shape == after.shape
    error, largest = np.abs(after - before), np.abs(before).max()
    # Inside: the same sum in another order. With strides 2 padding reaches the last row and
    # column; the first ones only where both kinds together make it two pixels wide.
    padded = (padding == "same") + zero_padding
    inside = error[:, padded // 2 :, padded // 2 :]
    inside = inside[:, :-1, :-1] if padded else inside
    assert inside.max() <= 2e-6 * max(largest, 255)
    # Borders: a zero of padding now stands for the pixel ``zero_point``.
    kernel = np.abs(model.get_layer("first").kernel.numpy())
    bound = np.einsum("hwcf,c->f", kernel, np.abs(rest)).max()
    assert error.max() <= bound + 2e-6 * max(largest, 255)


@cache
def trained_with(name: str) -> Any:
    return trained(network(FRONTS[name][0]))


@pytest.mark.parametrize("name", FRONTS)
def test_folding_keeps_the_answers(name: str) -> None:
    from converters.pixel_input import pixel_model

    model = trained_with(name)
    weights = [array.copy() for array in model.get_weights()]
    found = pixel_model(model)
    images = pictures(64, seed=5)[0]
    after = found.model(images.astype(np.float32) - found.zero_point, training=False).numpy()
    assert np.abs(after - keras_answers(model, images)).max() <= BORDER_TOLERANCE
    same = zip(weights, model.get_weights(), strict=True)
    assert weights and all(
        np.array_equal(one, other) for one, other in same
    )  # the model is untouched


def test_a_convolution_with_a_bias_keeps_it() -> None:
    import keras

    from converters.pixel_input import pixel_model

    image = keras.Input((8, 8, 3))
    layer = keras.layers.Conv2D(4, 3, bias_initializer="random_normal", activation="relu")
    model = keras.Model(image, layer(tf_scaling(image)))
    found = pixel_model(model)
    pixels = np.random.default_rng(0).integers(0, 256, (2, 8, 8, 3)).astype(np.float32)
    after = found.model(pixels - found.zero_point).numpy()
    assert found.folded
    assert np.abs(after - model(pixels).numpy()).max() < 1e-4


def tail(x: Any) -> Any:
    import keras

    layers = keras.layers
    x = layers.Conv2D(8, 3, strides=2, padding="same", activation="relu")(x)
    return layers.Dense(len(LABELS), activation="softmax")(layers.GlobalAveragePooling2D()(x))


def two_consumers() -> Any:
    import keras

    image = keras.Input((SIZE, SIZE, 3))
    scaled = tf_scaling(image)
    one = keras.layers.Conv2D(4, 3, padding="same")(scaled)
    other = keras.layers.Conv2D(4, 1)(scaled)
    return keras.Model(image, tail(keras.layers.Concatenate()([one, other])))


def convolution_and_pooling() -> Any:
    """The convolution comes first, the consumer that cannot take the scaling in second."""
    import keras

    image = keras.Input((SIZE, SIZE, 3))
    scaled = tf_scaling(image)
    one = keras.layers.Conv2D(4, 3, padding="same")(scaled)
    return keras.Model(
        image, tail(keras.layers.Concatenate()([one, keras.layers.AveragePooling2D(1)(scaled)]))
    )


def pooling_first() -> Any:
    import keras

    image = keras.Input((SIZE, SIZE, 3))
    return keras.Model(image, tail(keras.layers.MaxPooling2D()(tf_scaling(image))))


def depthwise_first() -> Any:
    import keras

    image = keras.Input((SIZE, SIZE, 3))
    return keras.Model(image, tail(keras.layers.DepthwiseConv2D(3)(tf_scaling(image))))


def activation_first() -> Any:
    import keras

    image = keras.Input((SIZE, SIZE, 3))
    return keras.Model(image, tail(keras.layers.Activation("sigmoid")(tf_scaling(image))))


def scaling_after_padding() -> Any:
    """Zeros put in before the scaling are not zeros behind it."""
    import keras

    image = keras.Input((SIZE, SIZE, 3))
    return keras.Model(image, tail(tf_scaling(keras.layers.ZeroPadding2D(1)(image))))


@pytest.mark.parametrize(
    "make",
    [
        two_consumers,
        convolution_and_pooling,
        pooling_first,
        depthwise_first,
        activation_first,
        scaling_after_padding,
    ],
)
def test_what_cannot_be_folded_still_takes_pixels(make: Callable[[], Any], tmp_path: Path) -> None:
    import keras

    from converters.pixel_input import pixel_model

    keras.utils.set_random_seed(3)
    model = trained(make())
    found = pixel_model(model)
    assert (found.folded, found.zero_point) == (False, 0)
    assert found.model is model
    files = convert(tmp_path, model, "tflite-int8", "onnx-int8")
    images = pictures(64, seed=6)[0]
    expected = keras_answers(model, images)
    for name, path in files.items():
        assert open_session(path).inputs[0].dtype == "uint8"
        answers = file_answers(path, images)
        assert np.abs(answers - expected).max() <= 0.15, name
        assert (answers.argmax(axis=1) == expected.argmax(axis=1)).mean() >= 0.95, name


def test_the_note_says_what_could_not_be_folded(tmp_path: Path) -> None:
    from converters.onnx import convert as to_onnx

    asked = request(tmp_path, Path("unused"), "onnx", "int8")
    (result,) = to_onnx(asked, pooling_first(), no_step)
    assert "could not be folded" in result.notes[0]
    (result,) = to_onnx(asked, network(tf_scaling), no_step)
    assert result.notes == ()


@pytest.mark.parametrize("name", ["torch", "caffe", "two steps", "nothing"])
def test_the_other_scalings_as_int8_files(name: str, tmp_path: Path) -> None:
    zero_point, model = FRONTS[name][1], trained_with(name)
    files = convert(tmp_path, model, "tflite-int8", "onnx-int8")
    (image,) = open_session(files["tflite-int8"]).inputs
    assert image.quantization is not None
    assert image.quantization.scales == (1.0,)
    assert image.quantization.zero_points == (zero_point,)
    images = pictures(100, seed=6)[0]
    expected = keras_answers(model, images).argmax(axis=1)
    for variant, path in files.items():
        answers = file_answers(path, images).argmax(axis=1)
        assert (answers == expected).mean() >= 0.95, variant


# ---- errors


def test_int8_needs_calibration_images(tmp_path: Path) -> None:
    from converters.tflite import convert as to_tflite

    asked = replace(request(tmp_path, Path("unused"), "tflite", "int8"), calibration=None)
    with pytest.raises(ConversionError, match="needs calibration images"):
        list(to_tflite(asked, network(tf_scaling), no_step))


def test_onnx_has_no_such_precision(tmp_path: Path) -> None:
    from converters.onnx import convert as to_onnx

    with pytest.raises(ConversionError, match="fp16"):
        asked = request(tmp_path, Path("unused"), "onnx", "fp16")
        list(to_onnx(asked, network(tf_scaling), no_step))
    assert not list((tmp_path / "onnx").iterdir())


# ---- processes of their own


@pytest.fixture(scope="module")
def keras_file(written: Written, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("keras") / "model.keras"
    written.model.save(path)
    return path


def started(asked: ConversionRequest, folder: Path) -> subprocess.Popen[str]:
    file = folder / "request.json"
    file.write_text(json.dumps(encoded(asked)))
    return subprocess.Popen(
        [sys.executable, "-m", "converters", str(file)],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_a_process_answers_in_json_lines(keras_file: Path, tmp_path: Path) -> None:
    process = started(request(tmp_path, keras_file, "tflite", "fp32", "fp16"), tmp_path)
    assert process.stdout is not None
    answers = [json.loads(line) for line in process.stdout]  # nothing else on stdout
    assert process.wait(60) == 0
    process.communicate()
    assert [answer["variant"] for answer in answers] == ["tflite-fp32", "tflite-fp16"]
    assert all(Path(answer["path"]).is_file() for answer in answers)


def test_an_expected_failure_has_its_code_and_message(keras_file: Path, tmp_path: Path) -> None:
    process = started(request(tmp_path, keras_file, "onnx", "fp16"), tmp_path)
    assert process.stdin is not None
    assert process.stdout is not None
    (answer,) = [json.loads(line) for line in process.stdout]
    assert process.wait(60) == ConversionError.exit_code
    process.communicate()
    assert answer["error"] == "ConversionError"
    assert "fp16" in answer["message"]


def test_a_process_without_its_model_fails(tmp_path: Path) -> None:
    process = started(request(tmp_path, tmp_path / "missing.keras", "tflite", "fp32"), tmp_path)
    assert process.stdout is not None
    assert process.stderr is not None
    answers, errors = process.stdout.read(), process.stderr.read()
    assert process.wait(60) != 0
    process.communicate()
    assert "missing.keras" in answers + errors
    assert not list((tmp_path / "tflite").iterdir())


def test_the_process_ends_with_its_parent(keras_file: Path, tmp_path: Path) -> None:
    """stdin is the leash: it closes when the parent dies, however it dies."""
    asked = request(tmp_path, keras_file, "tflite", "fp32", "fp16", "dynamic", "int8")
    process = started(asked, tmp_path)
    time.sleep(1)  # in the middle of loading TensorFlow
    begin = time.monotonic()
    assert process.stdin is not None
    process.stdin.close()
    assert process.wait(30) == 130
    assert time.monotonic() - begin < 10
    for stream in (process.stdout, process.stderr):
        assert stream is not None
        stream.close()


def converted_by_processes(keras_model: Path, folder: Path, *names: str) -> Any:
    from edge.pipeline.conversion import convert_all

    told: list[int] = []
    result = convert_all(
        replace(request(folder, keras_model, "tflite"), output=folder),
        targets(names),
        model_id="model",
        calibration_id="calibration",
        held_out_id="held out",
        recipes={},
        cache=StageCache(folder / "cache"),
        step=told.append,
    )
    return result, sum(told)


def test_processes_write_what_this_process_writes(
    written: Written, keras_file: Path, tmp_path: Path
) -> None:
    names = ("tflite-fp32", "tflite-int8", "onnx-fp32")
    result, told = converted_by_processes(keras_file, tmp_path, *names)
    assert ([item.target.name for item in result], told) == (list(names), 3)
    for item in result[:2]:
        assert item.path.read_bytes() == written.files[item.target.name].read_bytes()
    again, told = converted_by_processes(tmp_path / "gone.keras", tmp_path, *names)
    assert (again, told) == (result, 3)  # from the cache: no process, no model


def test_a_failed_process_is_a_conversion_error(tmp_path: Path) -> None:
    with pytest.raises(ConversionError, match=r"missing\.keras"):
        converted_by_processes(tmp_path / "missing.keras", tmp_path, "tflite-fp32", "onnx-fp32")
    stages = tmp_path / "cache" / "stages"
    assert not stages.exists() or not list(stages.iterdir())


def test_a_killed_process_is_a_conversion_error(
    keras_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake = tmp_path / "python"
    fake.write_text("#!/bin/sh\necho out of memory >&2\nkill -9 $$\n")
    fake.chmod(0o755)
    monkeypatch.setattr("edge.pipeline.conversion.sys.executable", str(fake))
    with pytest.raises(ConversionError, match=r"converter was ended by SIGKILL: out of memory"):
        converted_by_processes(keras_file, tmp_path, "tflite-fp32")


def test_ctrl_c_while_the_processes_start_ends_both(tmp_path: Path) -> None:
    with pressed_at_every_start() as started, pytest.raises(KeyboardInterrupt):
        converted_by_processes(tmp_path / "any.keras", tmp_path, "tflite-fp32", "onnx-fp32")
    assert [process.returncode for process in started] == [-signal.SIGKILL] * 2
