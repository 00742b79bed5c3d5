"""Bundles of tiny ONNX models that tell colours apart, and pictures that they mostly get right."""

import json
from pathlib import Path
from typing import Any, Final

import numpy as np
from PIL import Image

from edge.runtime.contract import Preprocessing
from edge.runtime.files import sha256_file
from edge.runtime.output import PROBABILITIES, OutputSpec
from edge.runtime.spec import Manifest, Variant
from edge.runtime.tasks.table import DecoderSpec

SIDE: Final = 16
COLORS: Final = {
    "red": (160, 95, 95),
    "green": (95, 160, 95),
    "blue": (95, 95, 160),
    "grey": (120, 120, 120),
}
LABELS: Final = tuple(COLORS)
SPREAD: Final = 16  # of an image's colour around that of its class: some 5 % lie nearer another
SHARPNESS: Final = 60.0


def nearest_color(side: int = SIDE) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """Weights (pixels * 3, classes) and bias (classes,) of the classifier by nearest colour."""
    centres = np.array(list(COLORS.values())) / 127.5 - 1
    weights = np.tile(SHARPNESS * centres.T / side**2, (side**2, 1))
    bias = -SHARPNESS * (centres**2).sum(axis=1) / 2
    return weights.astype(np.float32), bias.astype(np.float32)


def model(
    *,
    scale: float = 1 / 127.5,
    offset: float = -1.0,
    bgr: bool = False,
    weights: np.ndarray[Any, Any] | None = None,
    bias: np.ndarray[Any, Any] | None = None,
    note: str = "",
    side: int = SIDE,
    ending: str = "Softmax",
    maps: bool = False,
) -> bytes:
    """An ONNX file: softmax(((image * scale + offset) @ weights) + bias), image RGB 0..255.

    ``ending`` is the operator in place of the softmax, empty for logits; ``maps`` gives an output
    (batch, 1, 1, classes), in front of which stands a Reshape.
    """
    from onnx import TensorProto, helper, numpy_helper

    own_weights, own_bias = nearest_color(side)
    constants = {
        "scale": np.float32(scale),
        "offset": np.float32(offset),
        "order": np.array([2, 1, 0] if bgr else [0, 1, 2], np.int64),
        "flat": np.array([0, -1], np.int64),
        "weights": own_weights if weights is None else weights,
        "bias": own_bias if bias is None else bias,
    }
    nodes = [
        helper.make_node("Mul", ["image", "scale"], ["scaled"]),
        helper.make_node("Add", ["scaled", "offset"], ["centred"]),
        helper.make_node("Gather", ["centred", "order"], ["ordered"], axis=3),
        helper.make_node("Reshape", ["ordered", "flat"], ["row"]),
        helper.make_node("MatMul", ["row", "weights"], ["product"]),
        helper.make_node("Add", ["product", "bias"], ["logits"]),
        helper.make_node(
            ending or "Identity",
            ["logits"],
            ["answers"],
            **({"axis": -1} if ending == "Softmax" else {}),
        ),
    ]
    classes = constants["bias"].shape[0]
    shape: list[Any] = ["batch", side, side, 3]
    answer: list[Any] = ["batch", *([1, 1] if maps else []), classes]
    constants["answer"] = np.array([-1, *answer[1:]], np.int64)
    nodes.append(helper.make_node("Reshape", ["answers", "answer"], ["probability"]))
    graph = helper.make_graph(
        nodes,
        "colors",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("probability", TensorProto.FLOAT, answer)],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )
    opset = helper.make_opsetid("", 17)
    made = helper.make_model(graph, opset_imports=[opset], ir_version=8, doc_string=note)
    content: bytes = made.SerializeToString()
    return content


def write_bundle(
    folder: Path,
    models: dict[str, bytes],
    *,
    labels: tuple[str, ...] = LABELS,
    preprocessing: Preprocessing | None = None,
    report: dict[str, Any] | None = None,
    lock: dict[str, Any] | None = None,
    output: OutputSpec = PROBABILITIES,
    decoder: DecoderSpec | None = None,
) -> Path:
    """A bundle of ONNX files by variant name; the first one is its default."""
    (folder / "models").mkdir(parents=True)
    variants = []
    for name, content in models.items():
        path = folder / "models" / f"{name}.onnx"
        path.write_bytes(content)
        variants.append(
            Variant(
                name=name,
                path=f"models/{path.name}",
                format="onnx",
                precision=name.rpartition("-")[2],
                size_bytes=len(content),
                input_dtype="float32",
            )
        )
    if report is not None:
        (folder / "report.json").write_text(json.dumps(report), encoding="utf-8")
    if lock is not None:
        (folder / "edge.lock").write_text(json.dumps(lock), encoding="utf-8")
    manifest = Manifest(
        name="colors",
        labels=labels,
        preprocessing=preprocessing or Preprocessing(height=SIDE, width=SIDE),
        variants=tuple(variants),
        default_variant=variants[0].name,
        output=output,
        decoder=decoder,
        files={
            path.relative_to(folder).as_posix(): sha256_file(path)
            for path in sorted(folder.rglob("*"))
            if path.is_file()
        },
    )
    (folder / "manifest.json").write_text(json.dumps(manifest.to_json()), encoding="utf-8")
    return folder


def write_pictures(folder: Path, per_class: int, *, seed: int = 0) -> Path:
    """A folder per class with so many pictures, no two alike."""
    random = np.random.default_rng(seed)
    for name, color in COLORS.items():
        (folder / name).mkdir(parents=True)
        for number in range(per_class):
            centre = np.array(color) + random.normal(0, SPREAD, 3)
            pixels = centre + random.normal(0, 6, (SIDE, SIDE, 3))
            image = Image.fromarray(pixels.clip(0, 255).astype(np.uint8))
            image.save(folder / name / f"{number:03}.png", compress_level=1)
    return folder
