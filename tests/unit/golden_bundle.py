"""A bundle of one tiny model with its golden self-test, made in a moment."""

import shutil
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
from PIL import Image

from edge.pipeline.bundle import write_golden
from edge.runtime.bundle import Bundle
from edge.runtime.contract import Preprocessing
from edge.runtime.files import sha256_file, write_json
from edge.runtime.preprocess import load
from edge.runtime.session import encode_pixels, open_session
from edge.runtime.spec import Manifest, Variant

ROOT: Final = Path(__file__).parents[2]
LABELS: Final = ("red 🍎", "grün", "青")
SPEC: Final = Preprocessing(height=16, width=16)
MUTED: Final = ((110, 100, 90), (90, 128, 96), (64, 80, 96), (120, 100, 100))


@dataclass(frozen=True)
class Target:
    """What the pipeline's target tells."""

    name: str
    precision: str


@dataclass(frozen=True)
class Written:
    """What the pipeline's converters hand over."""

    target: Target
    path: Path


@dataclass(frozen=True)
class Held:
    """A held-out picture."""

    path: Path


def golden_bundle(folder: Path, names: tuple[str, ...] = ("tflite-fp32",)) -> Path:
    """A bundle with classifiers by colour channel; the first one is its default.

    Args:
        folder: Of the bundle.
        names: ``tflite-fp32`` and ``tflite-int8`` answer in floats, ``onnx-int8`` in uint8.
    """
    (folder / "models").mkdir(parents=True)
    written, variants = [], []
    for name in names:
        format_, precision = name.split("-")
        path = folder / "models" / f"{name}.{format_}"
        if format_ == "onnx":
            path.write_bytes(integer_channels())
        else:
            shutil.copy(ROOT / "tests" / "data" / f"channels_{precision}.tflite", path)
        written.append(Written(Target(name, precision), path))
        variants.append(
            Variant(
                name=name,
                path=f"models/{path.name}",
                format=format_,
                precision=precision,
                size_bytes=path.stat().st_size,
                input_dtype="uint8" if precision == "int8" else "float32",
            )
        )
    held = held_out(folder.parent / f"{folder.name}-held-out")
    scores = reference([item.path for item in held])
    write_golden(folder, written, held, scores, SPEC)  # type: ignore[arg-type]
    write_manifest(folder, tuple(variants))
    return folder


def integer_channels() -> bytes:
    """uint8 pixels (1, 16, 16, 3) in, uint8 (1, 3) out: softmax(channel means / 32) * 256."""
    from onnx import TensorProto, helper

    make, real, byte = helper.make_node, TensorProto.FLOAT, TensorProto.UINT8
    nodes = [
        make("Cast", ["image"], ["pixels"], to=real),
        make("ReduceMean", ["pixels"], ["means"], axes=[1, 2], keepdims=0),
        make("Div", ["means", "divisor"], ["logits"]),
        make("Softmax", ["logits"], ["softmax"], axis=-1),
        make("QuantizeLinear", ["softmax", "step", "zero"], ["scores"]),
    ]
    graph = helper.make_graph(
        nodes,
        "channels",
        [helper.make_tensor_value_info("image", byte, [1, 16, 16, 3])],
        [helper.make_tensor_value_info("scores", byte, [1, 3])],
        [
            helper.make_tensor("divisor", real, [], [32.0]),
            helper.make_tensor("step", real, [], [1 / 256]),
            helper.make_tensor("zero", byte, [], [0]),
        ],
    )
    opsets = [helper.make_opsetid("", 17)]
    return bytes(helper.make_model(graph, opset_imports=opsets, ir_version=8).SerializeToString())


def held_out(folder: Path) -> list[Held]:
    """A few pictures of muted colours, so that no answer is sure."""
    folder.mkdir()
    found = []
    for number, color in enumerate(MUTED):
        path = folder / f"{number}.png"
        Image.new("RGB", (20, 18), color).save(path)
        found.append(Held(path))
    return found


def reference(paths: list[Path]) -> np.ndarray[Any, np.dtype[np.float32]]:
    """(images, classes) probabilities."""
    session = open_session(ROOT / "tests" / "data" / "channels_fp32.tflite")
    tensors = [encode_pixels(load(path, SPEC), session.inputs[0]) for path in paths]
    return np.stack([session.run(tensor)[0].reshape(-1) for tensor in tensors])


def write_manifest(folder: Path, variants: tuple[Variant, ...]) -> None:
    """List what lies in the folder."""
    files = {
        path.relative_to(folder).as_posix(): sha256_file(path)
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != "manifest.json"
    }
    manifest = Manifest(
        name="channels",
        labels=LABELS,
        preprocessing=SPEC,
        variants=variants,
        default_variant=variants[0].name,
        files=files,
    )
    write_json(folder / "manifest.json", manifest.to_json())


def relist(bundle: Path) -> None:
    """Make the manifest agree with the files, as whoever writes them would."""
    manifest = Bundle.open(bundle).manifest
    files = {name: sha256_file(bundle / name) for name in manifest.files}
    write_json(bundle / "manifest.json", replace(manifest, files=files).to_json())


def wrong_bundle(folder: Path) -> Path:
    """A golden bundle whose model does not answer as the files of its self-test say."""
    wrong = golden_bundle(folder)
    answers = np.load(wrong / "golden/tflite-fp32.npy")
    np.save(wrong / "golden/tflite-fp32.npy", answers[:, ..., ::-1].copy())
    relist(wrong)
    return wrong
