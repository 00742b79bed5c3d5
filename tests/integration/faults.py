"""Faults planted into the model files of a bundle, and the manifest made to fit."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import flatbuffers
import numpy as np

from edge.runtime.files import sha256_file


def reseal(bundle: Path, variant: str) -> None:
    """Let the manifest state the hash of the variant's changed file."""
    path = bundle / "manifest.json"
    manifest = json.loads(path.read_text())
    relative = next(item["path"] for item in manifest["variants"] if item["name"] == variant)
    manifest["files"][relative] = sha256_file(bundle / relative)
    path.write_text(json.dumps(manifest))


def edit_tflite(bundle: Path, variant: str, edit: Callable[[Any, Any], None]) -> None:
    """Change a TFLite file through ``edit(model, subgraph)`` of the flatbuffers object API."""
    from ai_edge_litert import schema_py_generated as schema

    path = bundle / "models" / f"{variant}.tflite"
    model = schema.ModelT.InitFromPackedBuf(path.read_bytes())
    edit(model, model.subgraphs[0])
    builder = flatbuffers.Builder(path.stat().st_size + 65536)
    builder.Finish(model.Pack(builder), b"TFL3")
    path.write_bytes(bytes(builder.Output()))
    reseal(bundle, variant)


def edit_onnx(bundle: Path, variant: str, edit: Callable[[Any], None]) -> None:
    """Change an ONNX file through ``edit(graph)``."""
    import onnx

    path = bundle / "models" / f"{variant}.onnx"
    model = onnx.load(path)
    edit(model.graph)
    path.write_bytes(model.SerializeToString())
    reseal(bundle, variant)


def operator_giving(subgraph: Any, text: str) -> Any:
    """The TFLite operator of which an output's name starts with a path that holds ``text``."""
    for operator in subgraph.operators:
        name = subgraph.tensors[operator.outputs[0]].name.decode().split(";")[0]
        if text in name:
            return operator
    raise AssertionError(f"no operator gives {text}")


def scale_buffer(model: Any, tensor: Any, dtype: Any, factor: float) -> None:
    """Multiply the constants of a TFLite tensor, as far as the type holds them."""
    buffer = model.buffers[tensor.buffer]
    values = np.frombuffer(bytes(buffer.data), dtype)
    scaled = values.astype(np.float64) * factor
    if np.issubdtype(dtype, np.integer):
        scaled = scaled.clip(np.iinfo(dtype).min, np.iinfo(dtype).max).round()
    buffer.data = np.frombuffer(scaled.astype(dtype).tobytes(), np.uint8)


def scale_initializer(graph: Any, name: str, factor: float) -> None:
    """Multiply an ONNX constant."""
    import onnx

    item = next(item for item in graph.initializer if item.name == name)
    values = onnx.numpy_helper.to_array(item)
    item.CopyFrom(onnx.numpy_helper.from_array((values * factor).astype(values.dtype), name))
