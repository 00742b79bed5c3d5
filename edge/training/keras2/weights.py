"""The weights of a file, by its own names, into the layers that were built from it."""

import json
import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from edge.errors import ModelLoadError
from edge.runtime import checked
from edge.training.keras2.layers import Config
from edge.training.keras2.network import NETWORKS, StoredPart, network

MOST_BYTES: Final = 2 << 30  # of one array
MAX_CONFIG: Final = 256 << 20  # bytes of the text that describes a network
MAX_DEPTH: Final = 200  # of that text; a network within another one adds about five levels


@dataclass(frozen=True, slots=True)
class StoredArray:
    """A stored array.

    Attributes:
        name: The name in the file, such as ``Conv1/kernel:0``.
        value: The values, of any dtype.
    """

    name: str
    value: NDArray[Any]

    @property
    def variable(self) -> str:
        """Name of the variable without that of its layer."""
        return self.name.rpartition("/")[2].partition(":")[0]

    @property
    def owners(self) -> tuple[str, ...]:
        """Names of the layers around the variable, the outermost first."""
        return tuple(self.name.split("/")[:-1])


def load_groups(root: StoredPart, file: Any) -> None:
    """Take the weights from an open HDF5 file, which has one group a layer.

    Args:
        root: The network's parts.
        file: ``h5py.File`` that ``model.save`` of Keras 2 wrote.

    Raises:
        ModelLoadError: Arrays are missing or do not fit.
    """
    groups = file["model_weights"]
    for part in root.parts:
        if any(True for _ in part.layers()):
            group = groups.get(part.name)
            if group is None:
                raise ModelLoadError(f"the file holds no weights of the layer {part.name!r}")
            names = [_text(name) for name in _attribute(group, "weight_names")]
            load_named(part, [StoredArray(name, _array(group, name)) for name in names])


def _array(group: Any, name: str) -> NDArray[Any]:
    """Return one array of an HDF5 file, which may not lie in another file nor fill the memory."""
    import h5py

    link = group.get(name, getlink=True)
    item = group.get(name) if isinstance(link, h5py.HardLink) else None
    if not isinstance(item, h5py.Dataset) or item.external or item.is_virtual:
        raise ModelLoadError(f"{name} is not an array of this file")
    if item.nbytes > MOST_BYTES:
        raise ModelLoadError(
            f"{name} has {item.nbytes / 1e9:.1f} GB, which is more than edge reads"
        )
    return np.asarray(item)


def _attribute(group: Any, name: str) -> list[Any]:
    """Return a list that HDF5 may have cut into several, since an attribute has at most 64 KiB."""
    if name in group.attrs:
        return list(group.attrs[name])
    parts: list[Any] = []
    while f"{name}{len(parts)}" in group.attrs:
        parts.append(group.attrs[f"{name}{len(parts)}"])
    return [item for part in parts for item in part]


def _text(value: Any) -> str:
    return value.decode("utf-8") if isinstance(value, bytes) else str(value)


def load_named(part: StoredPart, arrays: Sequence[StoredArray]) -> None:
    """Share a list of arrays out among the layers of a part, by names; else by their order.

    Raises:
        ModelLoadError: They do not fit.
    """
    leaves = list(_leaves(part, ()))
    if len(leaves) == 1:
        _fill(leaves[0].layer, leaves[0].name, arrays)
        return
    by_leaf = [_of_leaf(leaf, arrays) for leaf in leaves]
    used = [id(item) for items in by_leaf for item in items]
    complete = len(used) == len(set(used)) == len(arrays)
    shares = by_leaf if complete else _in_order(part.name, leaves, arrays)
    for leaf, items in zip(leaves, shares, strict=True):
        _fill(leaf.layer, leaf.name, items)


@dataclass(frozen=True, slots=True)
class _Leaf:
    """A layer with weights; ``owners`` are the networks around it, the outermost first."""

    layer: Any
    name: str
    owners: tuple[str, ...]


def _leaves(part: StoredPart, owners: tuple[str, ...]) -> Iterator[_Leaf]:
    if part.weighted_layer is not None:
        yield _Leaf(part.weighted_layer, part.name, owners)
    for inner in part.parts:
        yield from _leaves(inner, (*owners, part.name))


def _of_leaf(leaf: _Leaf, arrays: Sequence[StoredArray]) -> list[StoredArray]:
    """Return the arrays that name the layer, and its network as well where there are several."""
    wanted = len(leaf.layer.weights)
    parts = tuple(leaf.name.split("/"))
    owned = [item for item in arrays if _contains(item.owners, parts)]
    for owner in reversed(leaf.owners):
        if len(owned) <= wanted:
            break
        closer = [item for item in owned if owner in item.owners]
        owned = closer or owned
    return owned if len(owned) == wanted else []


def _contains(owners: tuple[str, ...], name: tuple[str, ...]) -> bool:
    return any(
        owners[start : start + len(name)] == name for start in range(len(owners) - len(name) + 1)
    )


def _in_order(
    name: str, leaves: Sequence[_Leaf], arrays: Sequence[StoredArray]
) -> list[list[StoredArray]]:
    """Sort arrays as Keras 2 lists them: what learns, layer by layer, then what does not.

    Raises:
        ModelLoadError: Numbers or shapes do not fit.
    """
    slots = [
        (index, variable)
        for learning in (True, False)
        for index, leaf in enumerate(leaves)
        for variable in leaf.layer.weights
        if bool(variable.trainable) == learning
    ]
    fits = len(slots) == len(arrays) and all(
        tuple(variable.shape) == item.value.shape
        for (_, variable), item in zip(slots, arrays, strict=True)
    )
    if not fits:
        raise ModelLoadError(
            f"the weights of {name!r} in the file do not fit its layers: {len(arrays)} arrays for "
            f"{len(slots)} variables, or of other shapes"
        )
    shares: list[list[StoredArray]] = [[] for _ in leaves]
    for (index, _), item in zip(slots, arrays, strict=True):
        shares[index].append(item)
    return shares


def _fill(layer: Any, name: str, arrays: Sequence[StoredArray]) -> None:
    """Set a layer's variables; by their own names where those are all different."""
    variables = list(layer.weights)
    own = [variable.name for variable in variables]
    stored = {item.variable: item for item in arrays}
    if len(set(own)) == len(own) and set(own) == set(stored) and len(stored) == len(arrays):
        arrays = [stored[item] for item in own]
    shapes = [item.value.shape for item in arrays]
    wanted = [tuple(variable.shape) for variable in variables]
    if shapes != wanted:
        raise ModelLoadError(
            f"the weights of the layer {name!r} have the shapes {shapes}, and the layer takes "
            f"{wanted}"
        )
    for variable, item in zip(variables, arrays, strict=True):
        _check_finite(name, item.value)
        variable.assign(item.value.astype(np.dtype(variable.dtype)))
    _settle(layer)


def _settle(layer: Any) -> None:
    """Let ``Normalization`` compute with what it was given; it keeps a copy."""
    if hasattr(layer, "finalize_state"):
        layer.finalize_state()


def _check_finite(name: str, value: NDArray[Any]) -> None:
    if value.dtype.kind == "f" and not np.isfinite(value).all():
        raise ModelLoadError(f"the weights of the layer {name!r} are not all finite numbers")


def load_tree(root: StoredPart, file: Any) -> None:
    """Take the weights from the ``model.weights.h5`` of a zipped Keras 2 file.

    Args:
        root: The network's parts.
        file: ``h5py.File``; its groups are numbered by class, in the order of the layers.

    Raises:
        ModelLoadError: Arrays are missing or do not fit.
    """
    _load_container(root, file, file)


def _load_container(part: StoredPart, group: Any, file: Any) -> None:
    container = next((group[name] for name in _CONTAINERS if name in group), None)
    counts: dict[str, int] = {}
    for inner in part.parts:
        kind = _snake(inner.class_name)
        number = counts.get(kind, 0)
        counts[kind] = number + 1
        if not any(True for _ in inner.layers()):
            continue
        key = f"{kind}_{number}" if number else kind
        if container is None or key not in container:
            raise ModelLoadError(f"the file holds no weights of the layer {inner.name!r}")
        if inner.class_name in NETWORKS:
            _load_container(inner, container[key], file)
        else:
            _load_layer(inner.weighted_layer, container[key], inner.name)


_CONTAINERS: Final = ("layers", "_layer_checkpoint_dependencies")


def _load_layer(layer: Any, group: Any, name: str) -> None:
    """Fill a layer and those inside it, which stand under the names of its attributes."""
    try:
        for key in group:
            if key == "vars":
                if len(group[key]):
                    layer.load_own_variables(group[key])
                    _settle(layer)
            elif hasattr(layer, key):
                _load_layer(getattr(layer, key), group[key], name)
    except (ValueError, KeyError, TypeError) as error:
        raise ModelLoadError(
            f"the weights of the layer {name!r} do not fit: {str(error)[:200]}"
        ) from error


def _snake(name: str) -> str:
    """Do as ``keras.src.utils.naming.to_snake_case`` of Keras 2."""
    plain = re.sub(r"\W+", "", name)
    plain = re.sub("(.)([A-Z][a-z]+)", r"\1_\2", plain)
    return re.sub("([a-z])([A-Z])", r"\1_\2", plain).lower()


def stored_config(text: Any) -> Config:
    """Return a ``model_config`` of JSON.

    Raises:
        ModelLoadError: It is none.
    """
    try:
        value = checked.parse_json(
            _text(text), "the text", max_bytes=MAX_CONFIG, max_depth=MAX_DEPTH, finite=False
        )
    except checked.Malformed as error:
        raise ModelLoadError(f"its model_config is not JSON: {error}") from error
    if not isinstance(value, dict) or "class_name" not in value or "config" not in value:
        raise ModelLoadError("its model_config does not describe a network")
    return value


MODEL_FILE: Final = "model.json"
_DTYPES: Final = ("float32", "float16", "int32", "uint8", "uint16", "bool")


def load_tfjs(read: Callable[[str], bytes]) -> Any:
    """Return the Keras model.

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


def _group(group: Mapping[str, Any], read: Callable[[str], bytes]) -> list[StoredArray]:
    """Return the arrays of one list of files, which follow one another in their joined bytes."""
    content = b"".join(read(str(path)) for path in group["paths"])
    stored_arrays, start = [], 0
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
        stored_arrays.append(StoredArray(str(entry["name"]), values))
    return stored_arrays
