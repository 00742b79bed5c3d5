"""Keras files to damage, made without TensorFlow."""

import io
import json
from collections.abc import Sequence
from functools import cache
from random import Random
from typing import Any

import numpy as np

from tests.fuzz.kinds.materials import zipped
from tests.fuzz.mutation import (
    mutated_bytes,
    mutated_json,
)


@cache
def keras_parts() -> dict[str, bytes]:
    """The members of a .keras file and an .h5 file of Keras 2, made without TensorFlow."""
    import h5py

    random = np.random.default_rng(0)
    kernel = random.normal(size=(3, 3, 3, 4)).astype("f4")
    bias, dense = np.zeros(4, "f4"), random.normal(size=(4, 3)).astype("f4")

    def layer(class_name: str, name: str, inbound: Any, build: Any = None, **config: Any) -> Any:
        value = {
            "module": "keras.layers",
            "class_name": class_name,
            "config": {"name": name, "trainable": True, "dtype": "float32", **config},
            "registered_name": None,
            "name": name,
            "inbound_nodes": [],
        }
        if inbound:
            history = {"dtype": "float32", "keras_history": [inbound, 0, 0]}
            history["shape"] = build
            tensor = {"class_name": "__keras_tensor__", "config": history}
            value["inbound_nodes"] = [{"args": [tensor], "kwargs": {}}]
            value["build_config"] = {"input_shape": build}
        return value

    layers = [
        layer("InputLayer", "image", "", batch_shape=[None, 8, 8, 3], sparse=False),
        layer("Conv2D", "conv", "image", [None, 8, 8, 3], filters=4, kernel_size=[3, 3]),
        layer("GlobalAveragePooling2D", "pool", "conv", [None, 6, 6, 4]),
        layer("Dense", "last", "pool", [None, 4], units=3, activation="softmax", use_bias=False),
    ]
    config = {
        "module": "keras.src.models.functional",
        "class_name": "Functional",
        "config": {
            "name": "model",
            "trainable": True,
            "layers": layers,
            "input_layers": [["image", 0, 0]],
            "output_layers": [["last", 0, 0]],
        },
        "registered_name": "Functional",
    }
    metadata = {"keras_version": "3.15.0", "date_saved": "2026-11-01@00:00:00"}
    stream = io.BytesIO()
    with h5py.File(stream, "w") as file:
        file["layers/conv2d/vars/0"], file["layers/conv2d/vars/1"] = kernel, bias
        file["layers/dense/vars/0"] = dense
        file.create_group("layers/input_layer/vars")
        file.create_group("layers/global_average_pooling2d/vars")
    old = io.BytesIO()
    with h5py.File(old, "w") as file:
        file.attrs["keras_version"], file.attrs["backend"] = b"2.9.0", b"tensorflow"
        file.attrs["model_config"] = json.dumps(_keras2_config()).encode()
        for name, arrays in {
            "conv": {"kernel:0": kernel, "bias:0": bias},
            "last": {"kernel:0": dense},
        }.items():
            group = file.create_group(f"model_weights/{name}")
            group.attrs["weight_names"] = [f"{name}/{key}".encode() for key in arrays]
            for key, value in arrays.items():
                group[f"{name}/{key}"] = value
        for name in ("image", "pool"):
            file.create_group(f"model_weights/{name}").attrs["weight_names"] = np.array([], "S1")
    return {
        "metadata.json": json.dumps(metadata).encode(),
        "config.json": json.dumps(config).encode(),
        "model.weights.h5": stream.getvalue(),
        "h5": old.getvalue(),
    }


def _keras2_config() -> Any:
    def layer(class_name: str, name: str, inbound: str, **config: Any) -> Any:
        own = {"name": name, "trainable": True, "dtype": "float32", **config}
        nodes = [[[inbound, 0, 0, {}]]] if inbound else []
        return {"class_name": class_name, "config": own, "name": name, "inbound_nodes": nodes}

    layers = [
        layer("InputLayer", "image", "", batch_input_shape=[None, 8, 8, 3]),
        layer("Conv2D", "conv", "image", filters=4, kernel_size=[3, 3]),
        layer("GlobalAveragePooling2D", "pool", "conv"),
        layer("Dense", "last", "pool", units=3, activation="softmax", use_bias=False),
    ]
    ends = {"input_layers": [["image", 0, 0]], "output_layers": [["last", 0, 0]]}
    return {"class_name": "Functional", "config": {"name": "model", "layers": layers, **ends}}


@cache
def keras_seeds() -> Sequence[bytes]:
    return [zipped({key: value for key, value in keras_parts().items() if key != "h5"})]


@cache
def h5_seeds() -> Sequence[bytes]:
    return [keras_parts()["h5"]]


def mutated_h5(random: Random, seeds: Sequence[bytes]) -> bytes:
    """Bytes, or another config in a file that is whole."""
    import h5py

    if random.random() < 0.5:
        return mutated_bytes(random, seeds)
    stream = io.BytesIO(seeds[0])
    with h5py.File(stream, "r+") as file:
        # A text of HDF5 ends at its first zero byte; h5py takes none within.
        config = mutated_json(random, [json.dumps(_keras2_config()).encode()]).replace(b"\0", b"")
        try:
            file.attrs["model_config"] = config
        except (OSError, RuntimeError):  # an attribute has at most 64 KiB
            file.attrs["model_config"] = config[:60_000]
    return stream.getvalue()
