"""A bundle of one tiny model whose answers are embeddings, with a head of two classes."""

from pathlib import Path
from typing import Final

import numpy as np
from PIL import Image

from edge.runtime.bundle import Bundle
from edge.runtime.files import sha256_file, write_bytes, write_json
from edge.runtime.head import Head, head_bytes
from edge.runtime.output import HeadKind, HeadSpec
from edge.runtime.preprocess import load
from edge.runtime.session import encode_pixels, open_session
from edge.training.head import fit_head
from tests.unit.golden_bundle import ROOT, SPEC, golden_bundle

LABELS: Final = ("red", "grün")
COLORS: Final = {"red": (150, 100, 90), "grün": (90, 150, 100), "blue": (90, 100, 150)}
VARIANTS: Final = ("tflite-fp32", "tflite-int8")


def picture(folder: Path, color: str, seed: int) -> Path:
    """A picture of about that colour; every seed gives another."""
    noise = np.random.default_rng(seed).integers(-9, 10, (20, 20, 3))
    path = folder / f"{color}-{seed}.png"
    Image.fromarray((np.array(COLORS[color]) + noise).astype(np.uint8)).save(path)
    return path


def head_bundle(folder: Path, kind: HeadKind) -> Path:
    """A bundle whose model answers with three shares of colour, taken as an embedding."""
    golden_bundle(folder, VARIANTS)
    pictures = folder.parent / f"{folder.name}-pictures"
    pictures.mkdir()
    session = open_session(ROOT / "tests" / "data" / "channels_fp32.tflite")
    features = []
    for label in LABELS:
        for seed in range(4):
            pixels = load(picture(pictures, label, seed), SPEC)
            features.append(session.run(encode_pixels(pixels, session.inputs[0]))[0].reshape(-1))
    head = fit_head(kind, np.stack(features), np.repeat(np.arange(2), 4), LABELS)
    path = folder / head.spec.path
    path.parent.mkdir()
    write_bytes(path, head_bytes(head))
    value = Bundle.open(folder).manifest.to_json()
    value |= {"labels": list(LABELS), "head": head.spec.to_json()}
    value["files"][head.spec.path] = sha256_file(path)
    write_json(folder / "manifest.json", value)
    return folder


def bundle_to_begin_with(folder: Path, kind: HeadKind) -> Path:
    """The same model with a head that has no class yet."""
    head_bundle(folder, kind)
    value = Bundle.open(folder).manifest.to_json()
    path = folder / value["head"]["path"]
    spec = HeadSpec.from_json(value["head"])
    rows = np.empty((0, 3), np.float32)
    head = Head(spec=spec, labels=(), vectors=rows, classes=np.empty(0, np.int64))
    write_bytes(path, head_bytes(head))
    value["labels"] = []
    value["files"][spec.path] = sha256_file(path)
    write_json(folder / "manifest.json", value)
    return folder
