"""A frozen TensorFlow graph as one layer of Keras, so that every converter can take it.

A SavedModel states no layers that Keras 3 could build again; its signature's graph, constants
included, stands in this layer's config.
"""

import base64
import functools
import re
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from edge.errors import ModelLoadError
from edge.keras_start import start_keras
from edge.runtime.files import readable

SAVED_MODEL: Final = "saved_model.pb"
SIGNATURES: Final = ("serving_default", "serve")
# Parts of the names of operators that run Python, read or write files, or send to other machines
# while the network computes: TensorFlow has some 200 of them, and adds more.
FORBIDDEN: Final = re.compile(
    "Py|File|Dataset|Iterator|Summary|Reader|Record|Sql|Lmdb|Debug|Print|Rpc|Remap|Vocab|Checkpoint"
    "|Save|Restore|Send|Recv|Collective|XlaHost|TPU|Tpu|ImmutableConst|Loader"
)
# With these every SavedModel loads and stores its variables, in functions of that name.
SAVERS: Final = frozenset({"SaveV2", "RestoreV2", "MergeV2Checkpoints", "ShardedFilename"})
SAVING: Final = ("__inference__traced_save", "__inference__traced_restore")
MOST_TIMES: Final = 20  # times its size that a graph may unpack to, unless it is small
SMALL_BYTES: Final = 256 << 20
HINT: Final = (
    "Expected a folder written by model.export() of Keras 3, or by tf.saved_model.save(), with one "
    "signature that takes (batch, height, width, channels) as float32 and gives (batch, classes)."
)


@functools.cache
def register() -> Any:
    """Return the class of the layer, which Keras knows from now on."""
    start_keras()
    import keras
    import tensorflow as tf

    @keras.saving.register_keras_serializable("edge")
    class FrozenGraph(keras.layers.Layer):  # type: ignore[misc]
        """Computes ``answer`` of ``image`` by a graph."""

        def __init__(
            self, graph: str, image: str, answer: str, classes: list[int], **options: Any
        ) -> None:
            super().__init__(**options)
            self._parts = {"graph": graph, "image": image, "answer": answer, "classes": classes}
            definition = tf.compat.v1.GraphDef()
            definition.ParseFromString(_unpacked(base64.b64decode(graph)))
            _check_graph(definition, "the layer FrozenGraph")

            def run(pixels: Any) -> Any:
                (output,) = tf.graph_util.import_graph_def(
                    definition, input_map={image: pixels}, return_elements=[answer], name=""
                )
                return output

            self._run = tf.function(run, autograph=False)

        def call(self, inputs: Any) -> Any:
            """Return (batch, classes) for (batch, height, width, channels)."""
            return self._run(tf.convert_to_tensor(inputs))

        def compute_output_shape(self, input_shape: Any) -> Any:
            """Return (batch, classes)."""
            return (input_shape[0], *self._parts["classes"])

        def get_config(self) -> dict[str, Any]:
            """Return the graph and its ends."""
            return {**super().get_config(), **self._parts}

    return FrozenGraph


def _unpacked(packed: bytes) -> bytes:
    """The graph, unless it was made to fill the memory.

    Raises:
        ModelLoadError: It is too large, or packed in another way.
    """
    most = max(SMALL_BYTES, MOST_TIMES * len(packed))
    try:
        content = zlib.decompressobj().decompress(packed, most + 1)
    except zlib.error as error:
        raise _unfit("the layer FrozenGraph", f"its graph cannot be unpacked: {error}") from error
    if len(content) > most:
        raise _unfit("the layer FrozenGraph", f"its graph unpacks to more than {most >> 20} MiB")
    return content


def read_saved_model(folder: Path, called: str = "") -> Any:
    """Read the Keras model of a SavedModel's signature.

    Args:
        folder: The folder of the SavedModel.
        called: What errors call it; empty for its path.

    Raises:
        ModelLoadError: It has no such signature, cannot be read, or would run more than a graph.
    """
    import tensorflow as tf
    from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

    called = called or f"the SavedModel {readable(folder)}"
    _check_operators(folder, called)
    try:
        loaded = tf.saved_model.load(str(folder))
        names = list(loaded.signatures)
        chosen = [name for name in SIGNATURES if name in names] or names
        if not chosen:
            raise _unfit(called, "it has no signature")
        frozen = convert_variables_to_constants_v2(
            loaded.signatures[chosen[0]], lower_control_flow=False, aggressive_inlining=True
        )
    except ModelLoadError:
        raise
    except Exception as error:  # TensorFlow raises types of its own, and ValueError, OSError
        reason = (str(error).strip() or repr(error)).splitlines()[0][:300]
        raise _unfit(called, reason) from error
    inputs = [item for item in frozen.inputs if item.dtype != tf.resource]
    outputs = list(frozen.outputs)
    if len(inputs) != 1 or len(outputs) != 1:
        raise _unfit(called, f"it has {len(inputs)} inputs and {len(outputs)} outputs")
    return _as_keras(called, frozen.graph.as_graph_def(), inputs[0], outputs[0])


def _as_keras(called: str, definition: Any, image: Any, answer: Any) -> Any:
    import keras

    taken, given = image.shape, answer.shape
    if taken.rank != 4 or given.rank != 2 or image.dtype.name != "float32":
        raise _unfit(
            called, f"it takes {image.dtype.name} of shape {taken} and gives shape {given}"
        )
    if taken[0] is not None:
        raise _unfit(called, f"its signature takes {taken[0]} picture at a time, not any number")
    content = zlib.compress(definition.SerializeToString(deterministic=True))
    layer = register()(
        base64.b64encode(content).decode("ascii"),
        image.name,
        answer.name,
        [int(given[1])],
        name="frozen_graph",
    )
    pixels = keras.Input(tuple(taken[1:]), name="image")
    return keras.Model(pixels, layer(pixels), name="saved_model")


def _check_operators(folder: Path, called: str) -> None:
    from tensorflow.core.protobuf import saved_model_pb2

    stored = saved_model_pb2.SavedModel()
    try:
        stored.ParseFromString((folder / SAVED_MODEL).read_bytes())
    except Exception as error:  # protobuf's DecodeError, and OSError
        raise _unfit(called, f"{SAVED_MODEL} is cut off or no SavedModel ({error})") from error
    for meta in stored.meta_graphs:
        _check_graph(meta.graph_def, called, allowed=SAVERS)


def _check_graph(graph: Any, called: str, allowed: frozenset[str] = frozenset()) -> None:
    """Refuse operators that do more than compute.

    Args:
        graph: A GraphDef.
        called: What errors call it.
        allowed: Operators that may stand in the main graph, and in the functions that save.

    Raises:
        ModelLoadError: It holds some.
    """

    def operators() -> Iterator[str]:
        for node in graph.node:
            if node.op not in allowed:
                yield node.op
        for function in graph.library.function:
            saves = function.signature.name.startswith(SAVING)
            for node in function.node_def:
                if not (saves and node.op in allowed):
                    yield node.op

    forbidden = sorted({name for name in operators() if FORBIDDEN.search(name)})
    if forbidden:
        shown = ", ".join(name[:60] for name in forbidden[:5])
        raise _unfit(called, f"it holds {shown}, which run code or touch files")


def _unfit(called: str, reason: str) -> ModelLoadError:
    return ModelLoadError(f"{called} cannot be used: {reason}", hint=HINT)
