"""Keras files of every age: the answers of those that made them, or a reason by name."""

import io
import json
import os
import zipfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from edge.cache import StageCache
from edge.errors import EdgeError, ModelLoadError, UsageError
from edge.training.keras_files import check_model_path, keras_file, read_keras
from edge.training.model_shape import image_input

pytestmark = pytest.mark.slow

h5py = pytest.importorskip("h5py")

LEGACY = Path(os.environ.get("EDGE_TEST_DATA", "absent")) / "models/legacy"
RANDOM = np.random.default_rng(7)
KERNEL = RANDOM.normal(size=(3, 3, 3, 1)).astype("f4")
STATISTICS = [RANDOM.uniform(0.5, 1.5, 3).astype("f4") for _ in range(4)]
DENSE = RANDOM.normal(size=(3, 4)).astype("f4")
LAST = RANDOM.normal(size=(4, 2)).astype("f4")


def layer(class_name: str, name: str, inbound: Any = None, **config: Any) -> dict[str, Any]:
    """One entry as Keras 2 wrote it."""
    own = {"name": name, "trainable": True, "dtype": "float32", **config}
    nodes = [] if inbound is None else [inbound]
    return {"class_name": class_name, "config": own, "name": name, "inbound_nodes": nodes}


def operator(name: str, function: str, node: list[Any]) -> dict[str, Any]:
    return layer("TFOpLambda", name, node, function=function)


def after(name: str, **keywords: Any) -> list[Any]:
    return [[name, 0, 0, keywords]]


def network_config(**extra: Any) -> dict[str, Any]:
    """What broke: groups of a depthwise layer, an axis in a list, operators, a nested network,
    layers of experimental.preprocessing, the hard sigmoid of Keras 2."""
    nested = {
        "class_name": "Sequential",
        "config": {
            "name": "head",
            "layers": [
                layer("GlobalAveragePooling2D", "pool", data_format="channels_last"),
                layer("Dense", "dense", units=4, activation="hard_sigmoid", use_bias=False),
            ],
        },
        "name": "head",
        # Older files count the call with which a nested network was made.
        "inbound_nodes": [[["swish", 0, 0, {}]]],
    }
    depthwise = {"kernel_size": [3, 3], "padding": "same", "groups": 1, "use_bias": False}
    norm = {"axis": [3], "epsilon": 0.001, "momentum": 0.9, "renorm": False, "fused": None}
    layers = [
        layer("InputLayer", "in", batch_input_shape=[None, 6, 6, 3], sparse=False, ragged=False),
        layer("RandomFlip", "flip", after("in"), mode="horizontal", seed=None),
        operator("div", "math.truediv", ["flip", 0, 0, {"y": 127.5, "name": None}]),
        layer("DepthwiseConv2D", "depthwise", after("div"), **depthwise, **extra),
        layer("BatchNormalization", "norm", after("depthwise"), **norm),
        operator("plus", "__operators__.add", ["norm", 0, 0, {"y": 3.0, "name": None}]),
        layer("ReLU", "relu", after("plus"), max_value=6.0, negative_slope=0.0, threshold=0.0),
        operator("swish", "math.multiply", ["norm", 0, 0, {"y": ["relu", 0, 0], "name": None}]),
        nested,
        layer("Dense", "last", [["head", 1, 0, {}]], units=2, activation="softmax", use_bias=False),
    ]
    config = {
        "name": "model",
        "layers": layers,
        "input_layers": [["in", 0, 0]],
        "output_layers": [["last", 0, 0]],
    }
    return {"class_name": "Functional", "config": config}


ARRAYS = {
    "depthwise": {"depthwise/depthwise_kernel:0": KERNEL},
    "norm": {
        f"norm/{name}:0": value
        for name, value in zip(
            ("gamma", "beta", "moving_mean", "moving_variance"), STATISTICS, strict=True
        )
    },
    "head": {"head/dense/kernel:0": DENSE},
    "last": {"last/kernel:0": LAST},
}


def write_h5(path: Path, config: Any, arrays: Any = ARRAYS) -> Path:
    with h5py.File(path, "w") as file:
        file.attrs["keras_version"] = "2.4.0"
        file.attrs["model_config"] = json.dumps(config)
        groups = file.create_group("model_weights")
        groups.attrs["layer_names"] = [name.encode() for name in arrays]
        for name, values in arrays.items():
            group = groups.create_group(name)
            group.attrs["weight_names"] = [item.encode() for item in values]
            for item, value in values.items():
                group[item] = value
    return path


def write_zip(path: Path, config: Any) -> Path:
    tree = {"depthwise_conv2d": [KERNEL], "batch_normalization": STATISTICS, "dense": [LAST]}
    content = io.BytesIO()
    with h5py.File(content, "w") as file:
        for name, values in tree.items():
            for index, value in enumerate(values):
                file[f"layers/{name}/vars/{index}"] = value
        file["layers/sequential/layers/dense/vars/0"] = DENSE
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("metadata.json", json.dumps({"keras_version": "2.15.0"}))
        archive.writestr("config.json", json.dumps(config))
        archive.writestr("model.weights.h5", content.getvalue())
    return path


def expected(images: Any) -> Any:
    """The same network in numpy."""
    x = images / 127.5
    padded = np.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
    convolved = sum(
        padded[:, row : row + 6, column : column + 6] * KERNEL[row, column, :, 0]
        for row in range(3)
        for column in range(3)
    )
    gamma, beta, mean, variance = STATISTICS
    x = (convolved - mean) / np.sqrt(variance + 0.001) * gamma + beta
    x = (x * np.clip(x + 3, 0, 6)).mean((1, 2))
    x = np.clip(0.2 * (x @ DENSE) + 0.5, 0, 1)  # the hard sigmoid of Keras 2
    powers = np.exp(x @ LAST)
    return powers / powers.sum(axis=1, keepdims=True)


@pytest.mark.parametrize("write", [write_h5, write_zip])
def test_a_network_of_keras_2_gives_its_own_answers(write: Any, tmp_path: Path) -> None:
    import keras

    path = write(tmp_path / f"old{'.keras' if write is write_zip else '.h5'}", network_config())
    stored = keras_file(path, StageCache(tmp_path / "cache"))
    assert "Keras 2" in stored.changes[0]
    model = keras.models.load_model(stored.path)  # as the converters do
    assert model.layers and all(not hasattr(item, "layers") for item in model.layers)  # flat
    images = np.random.default_rng(1).uniform(0, 255, (5, 6, 6, 3)).astype("f4")
    answers = model.predict(images, verbose=0)
    assert np.ptp(answers[:, 0]) > 0.1  # the images are told apart
    np.testing.assert_allclose(answers, expected(images), atol=1e-5)  # float32, two orders of sums
    assert keras_file(path, StageCache(tmp_path / "cache")) == stored


def test_a_keras_suffix_does_not_hide_hdf5(tmp_path: Path) -> None:
    """TensorFlow before 2.13 wrote HDF5 under the name of .keras."""
    path = write_h5(tmp_path / "old.keras", network_config())
    assert read_keras(path).model.output_shape == (None, 2)


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16", "float16", "float64"])
def test_other_precisions_are_computed_in_float32(policy: str, tmp_path: Path) -> None:
    import keras

    layers, inner = keras.layers, {"dtype": policy}
    image = keras.Input((8, 8, 3))
    x = layers.Conv2D(4, 3, **inner)(image)
    x = layers.BatchNormalization(**inner)(x)
    x = layers.GlobalAveragePooling2D(**inner)(x)
    model = keras.Model(image, layers.Dense(3, activation="softmax", dtype="float32")(x))
    model.save(tmp_path / "half.keras")
    read = read_keras(tmp_path / "half.keras")
    assert policy in read.changes[-1]
    assert {item.dtype_policy.name for item in read.model.layers} == {"float32"}
    images = np.random.default_rng(2).uniform(0, 1, (4, 8, 8, 3)).astype("f4")
    # Half precision keeps 8 to 11 bits of every sum.
    np.testing.assert_allclose(
        read.model.predict(images, verbose=0), model.predict(images, verbose=0), atol=2e-2
    )


def refused(path: Path, *said: str, kind: type[EdgeError] = ModelLoadError) -> None:
    with pytest.raises(kind) as caught:
        read_keras(path)
    text = f"{caught.value.message} {caught.value.hint}"
    for item in said:
        assert item in text, text


def test_what_cannot_be_read_is_named(tmp_path: Path) -> None:
    def config(class_name: str, **options: Any) -> dict[str, Any]:
        found = network_config()
        found["config"]["layers"][6] = layer(class_name, "relu", after("plus"), **options)
        return found

    code = {"class_name": "__lambda__", "config": {"code": "4wEAAAA="}}
    refused(write_h5(tmp_path / "a.h5", config("Lambda", function=code)), "'relu'", "Lambda")
    refused(write_h5(tmp_path / "b.h5", config("MySwish", beta=2)), "MySwish", "'relu'")
    removed = write_h5(tmp_path / "r.h5", config("LocallyConnected2D", filters=2, kernel_size=[3]))
    refused(removed, "LocallyConnected2D", "'relu'", "no longer", "tf_keras")
    unknown = config("TFOpLambda", function="linalg.qr")
    refused(write_h5(tmp_path / "c.h5", unknown), "linalg.qr", "'relu'", "saved_model")
    refused(write_h5(tmp_path / "d.h5", network_config(dilation=3)), "dilation")
    short = {name: values for name, values in ARRAYS.items() if name != "head"}
    refused(write_h5(tmp_path / "e.h5", network_config(), short), "'head'")
    whole = write_h5(tmp_path / "whole.h5", network_config()).read_bytes()
    (tmp_path / "cut.h5").write_bytes(whole[: len(whole) // 2])
    refused(tmp_path / "cut.h5", "cut")
    (tmp_path / "empty.keras").touch()
    refused(tmp_path / "empty.keras", "empty")
    (tmp_path / "text.h5").write_text("hello")
    refused(tmp_path / "text.h5", "neither")
    with h5py.File(tmp_path / "only.weights.h5", "w") as file:
        file["layers/dense/vars/0"] = LAST
    refused(tmp_path / "only.weights.h5", "weights", "--weights")


def test_arrays_of_another_file_are_not_read(tmp_path: Path) -> None:
    write_h5(tmp_path / "other.h5", network_config())
    path = write_h5(tmp_path / "old.h5", network_config())
    with h5py.File(path, "a") as file:
        group = file["model_weights/last"]
        del group["last/kernel:0"]
        group["last/kernel:0"] = h5py.ExternalLink("other.h5", "model_weights/last/last/kernel:0")
    refused(path, "not an array of this file")


def test_words_that_name_no_keras_file(tmp_path: Path) -> None:
    (tmp_path / "a.tflite").touch()
    for text, said in (
        (tmp_path / "a.tflite", ".tflite"),
        (tmp_path, "folder"),
        (tmp_path / "none.h5", "no file at"),
        (tmp_path / "none.tflite", "no file at"),
        ("mobilenet_v22", "Did you mean mobilenetv2"),
        ("resnet-5", "resnet5"),
    ):
        with pytest.raises(UsageError) as caught:
            check_model_path(str(text))
        assert said in f"{caught.value.message} {caught.value.hint}"


def test_a_saved_model_is_one_layer_that_gives_its_answers(tmp_path: Path) -> None:
    import keras
    import tensorflow as tf

    class Plain(tf.Module):
        def __init__(self) -> None:
            super().__init__()
            self.kernel = tf.Variable(LAST[:3])

        @tf.function(input_signature=[tf.TensorSpec((None, 6, 6, 3), tf.float32)])
        def serve(self, image: Any) -> Any:
            return {"scores": tf.nn.softmax(tf.reduce_mean(image, (1, 2)) @ self.kernel)}

    plain = Plain()
    signatures = {"serving_default": plain.serve}
    tf.saved_model.save(plain, str(tmp_path / "plain"), signatures=signatures)
    path = check_model_path(str(tmp_path / "plain"), folders=True)
    stored = keras_file(path, StageCache(tmp_path / "cache"))
    images = np.random.default_rng(1).uniform(0, 1, (4, 6, 6, 3)).astype("f4")
    expected = plain.serve(tf.constant(images))["scores"].numpy()
    model = keras.models.load_model(stored.path)
    # The same operators in the same order.
    np.testing.assert_allclose(model.predict(images, verbose=0), expected, atol=1e-6)

    image = keras.Input((6, 6, 3))
    pooled = keras.layers.GlobalAveragePooling2D()(image)
    own = keras.Model(image, keras.layers.Dense(2, activation="softmax")(pooled))
    own.export(tmp_path / "exported", verbose=False)
    np.testing.assert_allclose(
        read_keras(tmp_path / "exported").model.predict(images, verbose=0),
        own.predict(images, verbose=0),
        atol=1e-6,
    )
    with pytest.raises(UsageError, match="is a folder"):  # a base has to have layers
        check_model_path(str(tmp_path / "plain"))


CODE = """
import keras

@keras.saving.register_keras_serializable("mine")
class Gain(keras.layers.Layer):
    def build(self, shape):
        self.gain = self.add_weight(shape=(shape[-1],), name="gain")

    def call(self, x):
        return x * self.gain
"""


def own_layer_file(tmp_path: Path) -> tuple[Path, Any]:
    """A file with an own layer, and the model, which this process knows how to make."""
    import keras

    names: dict[str, Any] = {"__name__": "layers"}
    exec(CODE, names)
    image = keras.Input((6, 6, 3))
    scaled = names["Gain"](name="gain")(image)
    pooled = keras.layers.GlobalAveragePooling2D()(scaled)
    model = keras.Model(image, keras.layers.Dense(2, activation="softmax")(pooled))
    model.get_layer("gain").set_weights([np.array([3.0, -2.0, 5.0], "f4")])
    model.layers[-1].set_weights([LAST[:3], np.zeros(2, "f4")])
    path = tmp_path / "own.keras"
    model.save(path)
    del keras.saving.get_custom_objects()["mine>Gain"]
    return path, model


def test_an_own_layer_comes_by_its_code_and_is_a_graph_from_then_on(tmp_path: Path) -> None:
    path, model = own_layer_file(tmp_path)
    cache = StageCache(tmp_path / "cache")
    refused(path, "Gain", "--custom-objects", "model.export(FOLDER)")
    code = tmp_path / "layers.py"
    # Not registered either: a class of the name will do.
    code.write_text(CODE.replace('@keras.saving.register_keras_serializable("mine")', ""))
    stored = keras_file(path, cache, code)
    images = np.random.default_rng(2).uniform(0, 1, (4, 6, 6, 3)).astype("f4")
    images *= np.linspace(0, 1, 4, dtype="f4")[:, None, None, None]
    answers = read_keras(stored.path).model.predict(images, verbose=0)  # without the code
    np.testing.assert_allclose(answers, model.predict(images, verbose=0), atol=1e-6)
    assert np.ptp(answers[:, 0]) > 0.1
    for text, said in {"x = 1 / 0": "line 1", "class Other: pass": "Gain"}.items():
        code.write_text(text)
        with pytest.raises(ModelLoadError, match=said):
            keras_file(path, cache, code)
    with pytest.raises(UsageError, match="does not exist"):
        keras_file(path, cache, tmp_path / "absent.py")


def test_a_saved_model_that_runs_code_is_refused(tmp_path: Path) -> None:
    import tensorflow as tf

    class Code(tf.Module):
        @tf.function(input_signature=[tf.TensorSpec((None, 6, 6, 3), tf.float32)])
        def serve(self, image: Any) -> Any:
            return tf.numpy_function(lambda x: x[:, 0, 0], [image], tf.float32)

    code = Code()
    tf.saved_model.save(code, str(tmp_path / "code"), signatures={"serving_default": code.serve})
    refused(tmp_path / "code", "PyFunc", "model.export()")
    pb = tmp_path / "code/saved_model.pb"
    pb.write_bytes(pb.read_bytes()[:200])
    refused(tmp_path / "code", "cut off")


def test_an_archive_that_was_made_to_fill_the_memory_is_refused(tmp_path: Path) -> None:
    bomb = tmp_path / "bomb.keras"
    with zipfile.ZipFile(bomb, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        archive.writestr("config.json", "{}")
        with archive.open("model.weights.h5", "w") as stream:
            for _ in range(20):
                stream.write(bytes(16 << 20))
    refused(bomb, "unpacks to 0.3 GB")
    for metadata in ("[" * 100_000, "1", "nonsense"):
        broken = tmp_path / "broken.keras"
        with zipfile.ZipFile(broken, "w") as archive:
            archive.writestr("config.json", '{"class_name": "Functional", "config": {}}')
            archive.writestr("metadata.json", metadata)
        refused(broken, "does not load as a Keras model")


def test_a_frozen_graph_of_a_stranger_touches_no_file(tmp_path: Path) -> None:
    """The layer that edge writes for a SavedModel can be written by anybody."""
    import base64
    import zlib

    import keras
    import tensorflow as tf

    from edge import frozen_graph

    written = tmp_path / "written"
    graph = tf.Graph()
    with graph.as_default():
        image = tf.compat.v1.placeholder(tf.float32, (None, 6, 6, 3), name="image")
        with tf.control_dependencies([tf.io.write_file(str(written), "x")]):
            tf.nn.softmax(tf.reduce_mean(image, (1, 2)), name="answer")
    packed = base64.b64encode(zlib.compress(graph.as_graph_def().SerializeToString())).decode()
    layer = frozen_graph.register()
    with pytest.raises(ModelLoadError, match="WriteFile"):
        layer(packed, "image:0", "answer:0", [3])

    with pytest.MonkeyPatch.context() as patched:  # as if another program had written the file
        patched.setattr(frozen_graph, "_check_graph", lambda *_, **__: None)
        pixels = keras.Input((6, 6, 3))
        keras.Model(pixels, layer(packed, "image:0", "answer:0", [3])(pixels)).save(
            tmp_path / "stranger.keras"
        )
    written.unlink(missing_ok=True)
    refused(tmp_path / "stranger.keras", "WriteFile")
    assert not written.exists()


@pytest.mark.shared_data
@pytest.mark.skipif(not LEGACY.is_dir(), reason="needs EDGE_TEST_DATA")
@pytest.mark.parametrize(
    ("name", "size", "most", "first"),
    [
        ("vww_96.h5", 96, 1, [[0.9948978, 0.0051022], [0.9885648, 0.0114352]]),
        (
            "pretrainedResnet.h5",
            32,
            255,
            [
                [5e-07, 3.31e-05, 0.6883051, 0.0615008, 0, 1e-07, 0.2501494, 0, 1.09e-05, 0],
                [0, 1.71e-05, 0.029955, 0.0105429, 0, 0, 0.9546137, 0, 0.0048712, 0],
            ],
        ),
    ],
)
def test_mlperf_tiny_answers_as_with_keras_2(
    name: str, size: int, most: int, first: list[list[float]]
) -> None:
    """The numbers are those of tf_keras 2.21 for the same arrays."""
    images = np.random.default_rng(0).uniform(0, most, (20, size, size, 3)).astype("f4")
    answers = read_keras(LEGACY / name).model.predict(images, verbose=0)
    np.testing.assert_allclose(answers[: len(first)], first, atol=1e-5)


HOSTILE_LAYERS = {
    "a Lambda with its code": {
        "class_name": "Lambda",
        "config": {
            "name": "conv",
            "function": {"class_name": "__lambda__", "config": {"code": "4wAAAAA="}},
            "arguments": {},
        },
    },
    "a class of another module": {"module": "os", "class_name": "system"},
    "a module in the current folder": {"module": "owning", "class_name": "Layer"},
    "a registered name": {"module": "own", "class_name": "Mine", "registered_name": "own>Mine"},
    "a model elsewhere": {"class_name": "TFSMLayer", "config": {"filepath": "elsewhere"}},
}
HOSTILE_FUNCTIONS = {
    "a command": ("os", "system"),
    "an own function": ("builtins", "exec"),
    "a download": ("keras.utils", "get_file"),
    "the end of the safe mode": ("keras.config", "enable_unsafe_deserialization"),
}


@pytest.mark.parametrize("name", [*HOSTILE_LAYERS, *HOSTILE_FUNCTIONS])
def test_nothing_that_a_keras_file_names_is_run(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from keras.src.saving.serialization_lib import in_safe_mode

    from tests.fuzz.kinds.keras_files import keras_parts
    from tests.fuzz.kinds.materials import zipped

    (tmp_path / "owning.py").write_text("open('owned', 'w')\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    parts = {key: value for key, value in keras_parts().items() if key != "h5"}
    config = json.loads(parts["config.json"])
    conv = config["config"]["layers"][1]
    if name in HOSTILE_LAYERS:
        conv |= HOSTILE_LAYERS[name]
    else:
        module, function = HOSTILE_FUNCTIONS[name]
        conv["config"]["activation"] = {
            "module": module,
            "class_name": "function",
            "config": function,
            "registered_name": function,
        }
    file = tmp_path / "m.keras"
    file.write_bytes(zipped({**parts, "config.json": json.dumps(config).encode()}))
    with pytest.raises(ModelLoadError):
        read_keras(file)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["m.keras", "owning.py"]
    assert in_safe_mode() in (None, True)  # as before


@pytest.mark.parametrize("shape", [(None, 9000, 9000, 3), (None, 0, 8, 3), (None, None, 200000, 3)])
def test_an_input_larger_than_edge_makes_is_refused_in_words(shape: tuple[Any, ...]) -> None:
    model = SimpleNamespace(inputs=[SimpleNamespace(shape=shape)])
    with pytest.raises(ModelLoadError, match="allowed: 1 to 8192 a side"):
        image_input(model, "huge.keras", (8, 8))
