"""The stored graph of a network -> one flat functional model of Keras 3.

A network nested in another is written out in place, because one that stands as a layer hides its
graph from the converters.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from edge.errors import ModelLoadError
from edge.training.keras2.layers import Config, LayerCall, class_of, layer_call

NETWORKS: Final = ("Functional", "Model", "Sequential")
CONSTANT: Final = "_CONSTANT_VALUE"
SHAPES: Final = ("batch_input_shape", "batch_shape")


@dataclass(frozen=True, slots=True)
class StoredPart:
    """A layer or a network of the file, in the file's order.

    Attributes:
        name: The name in the file.
        class_name: The name of the class in the file.
        config: The options in the file.
        layer_call: How a layer is called; None for a network.
        parts: The layers and networks in a network.
        nodes: How the file says that a network calls each of its parts.
    """

    name: str
    class_name: str
    config: Config
    layer_call: LayerCall | None = None
    parts: tuple["StoredPart", ...] = ()
    nodes: tuple[Any, ...] = ()

    @property
    def weighted_layer(self) -> Any:
        """The layer of this part, if it has weights; else None."""
        layer = None if self.layer_call is None else self.layer_call.layer
        return layer if layer is not None and layer.weights else None

    def layers(self) -> Iterator[Any]:
        """Yield the layers with weights, in the file's order."""
        if self.weighted_layer is not None:
            yield self.weighted_layer
        for part in self.parts:
            yield from part.layers()


@dataclass(frozen=True, slots=True)
class RebuiltModel:
    """A network with its initial weights.

    Attributes:
        model: The functional model, float32.
        root: Its parts as the file has them, to find the weights by.
    """

    model: Any
    root: StoredPart


def network(stored: Config) -> RebuiltModel:
    """Build what a file's ``model_config`` describes.

    Raises:
        ModelLoadError: A layer that cannot be built, or a graph that cannot be followed.
    """
    import keras

    try:
        root = _Namer().part(stored, "")
        inputs = [
            keras.Input(shape[1:], name=name, dtype="float32") for name, shape in _inputs(root)
        ]
        outputs = _run(root, inputs)
    except (KeyError, IndexError, TypeError, AttributeError) as error:
        raise ModelLoadError(f"the stored network cannot be followed: {error!r}") from error
    _rename_doubles(outputs)
    one = outputs[0] if len(outputs) == 1 else outputs
    model = keras.Model(inputs[0] if len(inputs) == 1 else inputs, one, name=_tidy(root.name))
    return RebuiltModel(model, root)


def _rename_doubles(outputs: Sequence[Any]) -> None:
    """Operators get names of Keras's own choice, which the file's layers may have as well."""
    operations: list[Any] = []
    waiting, seen = list(outputs), set()
    while waiting:
        operation = waiting.pop()._keras_history.operation  # what functional models are made of
        if id(operation) not in seen:
            seen.add(id(operation))
            operations.append(operation)
            for node in operation._inbound_nodes:
                waiting.extend(node.input_tensors)
    # Names of layers with weights stand in the names of their variables.
    operations.sort(key=lambda operation: not getattr(operation, "weights", ()))
    taken: set[str] = set()
    for operation in operations:
        name, number = operation.name, 1
        while operation.name in taken:
            operation.name, number = f"{name}_{number}", number + 1
        taken.add(operation.name)


@dataclass(slots=True)
class _Namer:
    """Makes the parts; no two layers of a flat model have one name."""

    taken: set[str] = field(default_factory=set)

    def part(self, stored: Config, outer: str) -> StoredPart:
        class_name, config = class_of(stored), stored["config"]
        if class_name in NETWORKS:
            # TensorFlow.js writes the layers of a Sequential model without a name around them.
            entries = config if isinstance(config, list) else config["layers"]
            own = {} if isinstance(config, list) else config
            name = str(own.get("name") or stored.get("name") or class_name.lower())
            return StoredPart(
                name,
                class_name,
                own,
                parts=tuple(self.part(entry, name) for entry in entries),
                nodes=tuple(entry.get("inbound_nodes", ()) for entry in entries),
            )
        name = str(config.get("name") or stored.get("name"))
        if class_name == "InputLayer":
            return StoredPart(name, class_name, config)
        return StoredPart(name, class_name, config, layer_call(stored, self._free(name, outer)))

    def _free(self, name: str, outer: str) -> str:
        wanted = _tidy(name)
        if wanted in self.taken:
            wanted = _tidy(f"{outer}_{name}")
        free, number = wanted, 1
        while free in self.taken:
            free, number = f"{wanted}_{number}", number + 1
        self.taken.add(free)
        return free


def _tidy(name: str) -> str:
    """Replace slashes, which Keras 3 takes for the border between a layer and its variable."""
    return name.replace("/", "_")


def _inputs(root: StoredPart) -> list[tuple[str, tuple[int | None, ...]]]:
    """Return the names and shapes, batch first, of the network's inputs.

    Raises:
        ModelLoadError: The file does not state them.
    """
    by_name = {part.name: part for part in root.parts}
    if root.class_name == "Sequential":
        first: StoredPart | None = root
        while first is not None:
            shape = _shape(first)
            if shape is not None:
                return [("image" if first is root else _tidy(first.name), shape)]
            first = first.parts[0] if first.parts else None
    else:
        inputs = [by_name[name] for name, *_ in _references(root.config["input_layers"])]
        shapes = [_shape(part) for part in inputs]
        if shapes and None not in shapes:
            pairs = zip(inputs, shapes, strict=True)
            return [(_tidy(part.name), shape) for part, shape in pairs if shape is not None]
    raise ModelLoadError(
        f"the network {root.name!r} does not state the shape of its input",
        hint="Give its first layer an input_shape, or call it once on pictures, and save it again.",
    )


def _shape(part: StoredPart) -> tuple[int | None, ...] | None:
    for key in (*SHAPES, "build_input_shape"):
        if part.config.get(key) is not None:
            shape = part.config[key]
            return tuple(shape["items"] if isinstance(shape, Mapping) else shape)
    return None


def _references(value: Any) -> list[Any]:
    """Return the names of tensors (layer, call, output); a single one may lack its list."""
    if value and isinstance(value[0], str):
        return [value]
    if isinstance(value, Mapping):
        return list(value.values())
    return list(value)


def _run(part: StoredPart, inputs: Sequence[Any], **keywords: Any) -> list[Any]:
    """Return outputs of a layer or a network on tensors."""
    if part.layer_call is not None:
        return _listed(part.layer_call.call(*inputs, **keywords))
    if part.class_name == "InputLayer":
        return list(inputs)
    if part.class_name == "Sequential":
        tensors = list(inputs)
        for item in part.parts:
            tensors = _run(item, tensors)
        return tensors
    return _Wiring(part).run(inputs)


class _Wiring:
    """One pass through a functional network."""

    def __init__(self, part: StoredPart) -> None:
        self._part = part
        self._names = {item.name for item in part.parts}
        self._outputs: dict[str, list[list[Any]]] = {name: [] for name in self._names}
        self._first = {item.name: _first_call(part, item.name) for item in part.parts}

    def run(self, inputs: Sequence[Any]) -> list[Any]:
        """Call layer after layer, each when what it takes is there."""
        config = self._part.config
        named = [reference[0] for reference in _references(config["input_layers"])]
        for name, tensor in zip(named, inputs, strict=True):
            self._outputs[name].append([tensor])
        waiting = [
            (item, node)
            for item, nodes in zip(self._part.parts, self._part.nodes, strict=True)
            if item.name not in named
            for node in nodes
        ]
        while waiting:
            left = [pair for pair in waiting if not self._called(*pair)]
            if len(left) == len(waiting):
                raise ModelLoadError(
                    f"the stored network has no way to its layer {left[0][0].name!r}"
                )
            waiting = left
        return [self._tensor(reference) for reference in _references(config["output_layers"])]

    def _called(self, item: StoredPart, node: Any) -> bool:
        """Return whether the layer could be called; the calls of one layer keep their order."""
        arguments, keywords = _call_of(node)
        if not all(self._is_there(reference) for reference in self._found((arguments, keywords))):
            return False
        tensors = self._filled(arguments)
        if item.layer_call is None:
            outputs = _run(item, tensors)
        else:
            merged = tensors if len(tensors) == 1 else [tensors]
            outputs = _run(item, merged, **self._filled(keywords))
        self._outputs[item.name].append(outputs)
        return True

    def _is_reference(self, value: Any) -> bool:
        return (
            isinstance(value, list | tuple)
            and len(value) >= 3
            and isinstance(value[0], str)
            and value[0] in self._names
            and all(isinstance(number, int) for number in value[1:3])
        )

    def _found(self, value: Any) -> Iterator[Any]:
        if self._is_reference(value):
            yield value
        elif isinstance(value, Mapping):
            for item in value.values():
                yield from self._found(item)
        elif isinstance(value, list | tuple):
            for item in value:
                yield from self._found(item)

    def _is_there(self, reference: Any) -> bool:
        return self._call_number(reference) < len(self._outputs[reference[0]])

    def _call_number(self, reference: Any) -> int:
        return int(reference[1]) - self._first[reference[0]]

    def _tensor(self, reference: Any) -> Any:
        return self._outputs[reference[0]][self._call_number(reference)][reference[2]]

    def _filled(self, value: Any) -> Any:
        """Return the value with tensors in the place of references, and constants as they are."""
        if self._is_reference(value):
            return self._tensor(value)
        if isinstance(value, list | tuple) and len(value) >= 3 and value[0] == CONSTANT:
            return value[2]
        if isinstance(value, Mapping) and "class_name" not in value:
            return {key: self._filled(item) for key, item in value.items()}
        if isinstance(value, list | tuple):
            return [self._filled(item) for item in value]
        return value


def _first_call(part: StoredPart, name: str) -> int:
    """Return the number of the first call of a layer.

    Older files count the call with which a nested network was made, and so begin at 1.
    """
    item = next(item for item in part.parts if item.name == name)
    if item.class_name not in NETWORKS:
        return 0
    used = [
        reference[1]
        for reference in _all_references((part.nodes, part.config["output_layers"]))
        if reference[0] == name
    ]
    return min(used, default=0)


def _all_references(value: Any) -> Iterator[Any]:
    if isinstance(value, Mapping):
        for item in value.values():
            yield from _all_references(item)
    elif isinstance(value, list | tuple):
        if len(value) >= 3 and isinstance(value[0], str) and isinstance(value[1], int):
            yield value
        for item in value:
            yield from _all_references(item)


def _call_of(node: Any) -> tuple[list[Any], dict[str, Any]]:
    """Return what a layer was called with: tensors, and named arguments.

    A node is ``[name, call, output, keywords]``, or a list of such, whose keywords are the same.
    """
    entries = [node] if node and isinstance(node[0], str) else list(node)
    keywords: dict[str, Any] = {}
    for entry in entries:
        if len(entry) > 3 and isinstance(entry[3], Mapping):
            keywords |= entry[3]
    keywords.pop("training", None)
    keywords.pop("mask", None)
    return [entry[:3] for entry in entries], keywords


def _listed(value: Any) -> list[Any]:
    return list(value) if isinstance(value, list | tuple) else [value]
