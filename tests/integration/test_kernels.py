"""Operators that fast integer kernels lack: in floats, the whole network is one partition."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from converters import tflite_graph
from converters.quantizable import Calibration, Quantizable
from edge.modelfile.delegation import delegation, nodes_of
from edge.runtime.session import Session, open_session

pytestmark = pytest.mark.slow

SIDE = 16
OUTSIDE = {"QUANTIZE": 2, "SOFTMAX": 1}  # the two ends of a file, which no delegate takes

Maker = Callable[[Any], Any]


def network(middle: Maker) -> Any:
    """A network of two convolutions with ``middle`` between them."""
    import keras

    keras.utils.set_random_seed(0)
    image = keras.Input((SIDE, SIDE, 3))
    scaled = keras.layers.Rescaling(1 / 64, offset=-2.0)(image)
    tensor = middle(keras.layers.Conv2D(16, 3, padding="same")(scaled))
    tensor = keras.layers.Conv2D(16, 1)(tensor)
    pooled = keras.layers.GlobalAveragePooling2D()(tensor)
    return keras.Model(image, keras.layers.Dense(5, activation="softmax", name="answer")(pooled))


def quantizable(model: Any, folder: Path, suffix: str = "tflite") -> Quantizable:
    from converters import onnx, tflite
    from converters.pixel_input import pixel_model

    np.save(folder / "pixels.npy", pictures(range(16)))
    pixels = pixel_model(model)
    calibration = Calibration(folder / "pixels.npy", pixels.zero_point)
    made = {"onnx": onnx.taken_apart, "tflite": tflite.taken_apart}
    return made[suffix](pixels.model, calibration)


def pictures(seeds: range) -> Any:
    found = []
    for seed in seeds:
        random = np.random.default_rng(seed)
        low, high = np.sort(random.integers(0, 256, 2))
        found.append(random.integers(low, high + 1, (SIDE, SIDE, 3)))
    return np.array(found, np.uint8)


def divided(content: bytes) -> tuple[int, dict[str, int]]:
    """How many partitions there are, and what lies in none."""
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_content=content, num_threads=1)
    interpreter.allocate_tensors()
    found = delegation(nodes_of(interpreter))
    return found.partitions, dict(found.left)


def answers(content: bytes, folder: Path, suffix: str) -> Any:
    path = folder / f"model.{suffix}"
    path.write_bytes(content)
    session: Session = open_session(path)
    assert session.inputs[0].dtype == "uint8"
    return np.stack([session.run(picture[np.newaxis])[0][0] for picture in pictures(range(50, 90))])


def hard_swish(tensor: Any) -> Any:
    import keras

    return keras.layers.Activation("hard_silu")(tensor)


def normalized(tensor: Any) -> Any:
    """What a ConvNeXt block begins with."""
    import keras

    layers = keras.layers
    tensor = layers.LayerNormalization()(layers.DepthwiseConv2D(7, padding="same")(tensor))
    return layers.Activation("gelu")(layers.Conv2D(24, 1)(tensor))


def mish(tensor: Any) -> Any:
    """Exponential, logarithm and tangent in a row: 8 bits of the exponential say too little."""
    import keras

    return keras.layers.Activation("mish")(tensor)


def leaking(tensor: Any) -> Any:
    """A slope per channel, some of them negative."""
    import keras

    slopes = keras.initializers.RandomUniform(-0.5, 0.5, seed=0)
    return keras.layers.PReLU(slopes, shared_axes=[1, 2])(tensor)


def in_tensorflow(name: str) -> Maker:
    def apply(tensor: Any) -> Any:
        import keras

        ops = keras.ops
        function = {
            "abs": ops.abs,
            "division": lambda x: x / (1 + ops.exp(-x * x)),
            "relu": lambda x: ops.relu(x) * ops.sigmoid(x),
            "relu6": lambda x: ops.relu6(x) * ops.sigmoid(x),
            "root": lambda x: ops.sqrt(x * x + 0.5),
            "softmax": lambda x: ops.softmax(x, axis=-1),
        }[name]
        return function(tensor)

    return apply


@pytest.mark.parametrize(
    "middle",
    [
        hard_swish,
        normalized,
        mish,
        leaking,
        *(in_tensorflow(name) for name in ("abs", "division", "relu", "relu6", "root", "softmax")),
    ],
    ids=[
        *("hard-swish", "normalized", "mish", "prelu"),
        *("abs", "division", "relu", "relu6", "root", "softmax"),
    ],
)
def test_what_cuts_the_graph_in_int8_is_one_partition_in_floats(
    middle: Maker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = network(middle)
    content = quantizable(model, tmp_path).quantized()
    assert divided(content) == (1, OUTSIDE)
    wanted = np.asarray(model(pictures(range(50, 90)).astype(np.float32), training=False))
    found = answers(content, tmp_path, "tflite").astype(np.float32) / 256
    assert np.abs(found - wanted).mean() < 0.005  # a level is 0.004
    monkeypatch.setattr(tflite_graph, "SLOW", frozenset())
    monkeypatch.setattr(tflite_graph, "LIGHT", frozenset())
    partitions, left = divided(quantizable(model, tmp_path).quantized())
    assert partitions > 1, "the delegate takes this operator in int8 now: take it off the table"
    assert sum(left.values()) > sum(OUTSIDE.values())


def test_a_network_of_fast_kernels_has_nothing_in_floats(tmp_path: Path) -> None:
    import keras

    model = network(keras.layers.ReLU(6.0))
    for suffix in ("tflite", "onnx"):
        assert quantizable(model, tmp_path, suffix).members(()) == frozenset()


def test_a_layer_normalization_of_onnx_has_no_conversions_inside(tmp_path: Path) -> None:
    import onnx

    model = network(normalized)
    content = quantizable(model, tmp_path, "onnx").quantized()
    proto = onnx.load_from_string(content)
    kinds = [node.op_type for node in proto.graph.node]
    assert kinds.count("QuantizeLinear") < 12  # one for each tensor between layers
    wanted = np.asarray(model(pictures(range(50, 90)).astype(np.float32), training=False))
    assert np.abs(answers(content, tmp_path, "onnx") - wanted).mean() < 0.005
