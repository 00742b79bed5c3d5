"""A layers model of TensorFlow.js (``model.json`` and its weights) -> a network of Keras 3."""

import json
import math
from collections.abc import Callable, Mapping
from typing import Any, Final

import numpy as np

from edge.errors import ModelLoadError
from edge.runtime import checked
from edge.training.keras2.network import network
from edge.training.keras2.weights import MAX_CONFIG, MAX_DEPTH, Named, load_named, stored_config

MODEL_FILE: Final = "model.json"
_DTYPES: Final = ("float32", "float16", "int32", "uint8", "uint16", "bool")


def load_tfjs(read: Callable[[str], bytes]) -> Any:
    """The Keras model.

    Args:
        read: Gives the content of a file by its name, and a ModelLoadError where there is none.

    Raises:
        ModelLoadError: It is a graph model, or the weights do not fit.
    """
    try:
        stored = checked.parse_json(
            read(MODEL_FILE), max_bytes=MAX_CONFIG, max_depth=MAX_DEPTH, finite=False
        )
        topology = stored["modelTopology"]
        manifest = stored["weightsManifest"]
        if stored.get("format") == "graph-model" or "node" in topology:
            raise ModelLoadError(
                "model.json holds a graph model of TensorFlow.js, which states no layers",
                hint="Give the Keras file or the SavedModel that it was converted from.",
            )
        built = network(stored_config(json.dumps(topology.get("model_config", topology))))
        arrays = [item for group in manifest for item in _group(group, read)]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ModelLoadError(f"model.json cannot be read: {error!r}") from error
    load_named(built.root, arrays)
    return built.model


def _group(group: Mapping[str, Any], read: Callable[[str], bytes]) -> list[Named]:
    """The arrays of one list of files, which follow one another in their joined bytes."""
    content = b"".join(read(str(path)) for path in group["paths"])
    found, start = [], 0
    for entry in group["weights"]:
        stored = entry.get("quantization")
        dtype = str((stored or entry)["dtype"])
        if dtype not in _DTYPES:
            raise ModelLoadError(f"the weights {entry['name']} are of the type {dtype}")
        shape = tuple(int(extent) for extent in entry["shape"])
        size = math.prod(shape) * np.dtype(dtype).itemsize
        if min(shape, default=0) < 0 or start + size > len(content):
            raise ModelLoadError(
                f"the weights end before {entry['name']}: they are cut off",
                hint="Download the model again.",
            )
        values = np.frombuffer(content[start : start + size], dtype).reshape(shape)
        start += size
        if stored is not None and "scale" in stored:
            values = (values * stored["scale"] + stored["min"]).astype(np.float32)
        found.append(Named(str(entry["name"]), values))
    return found
