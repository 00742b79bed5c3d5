"""Documents of which one value is another one: each reader takes it, or refuses it in words."""

import copy
import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from devices.profile import FOLDER, read_profile
from edge.comparison.policy import load_policy
from edge.dataset.labels import read_labels
from edge.deploy.fleet import read_inventory
from edge.device.release import Release
from edge.device.state import State
from edge.embedding.table import read_embeddings
from edge.errors import EdgeError
from edge.evaluation.images import origins_of
from edge.modelfile import onnx_metadata
from edge.pipeline.reproduce.lock import BundleLock
from edge.pipeline.variants import read_recipe
from edge.runtime import checked
from edge.runtime.contract import Preprocessing
from edge.runtime.golden import Expected, Golden
from edge.runtime.output import Activation, HeadKind, HeadSpec, OutputSpec
from edge.runtime.spec import Manifest, SignedRelease, Variant

Read = Callable[[Path], Any]

OTHERS = [None, True, -1, 0, 1e308, -0.5, (1 << 63) - 1, 5.5, "", "x", "\x1b[31m\n", "../.."]
OTHERS += [[], {}, [[]], [None], {"a": None}, ["x", "x"], {"0": "x"}, "a" * 5000]

CONTRACT = Preprocessing(height=8, width=8, levels=(0, 4095))
VARIANT = Variant(
    name="v", path="m", format="onnx", precision="fp32", size_bytes=1, input_dtype="uint8", top1=0.5
)
MANIFEST = Manifest(
    name="n",
    labels=("a", "b"),
    preprocessing=CONTRACT,
    variants=(VARIANT,),
    default_variant="v",
    files={"m": "00"},
    provenance={"seed": 1},
    release=SignedRelease(version=5, devices=("pi",)),
    output=OutputSpec(activation=Activation.SOFTMAX, thresholds=(0.4,)),
)
HEAD = HeadSpec(kind=HeadKind.KNN, path="h.npz", scale=2.0, k=3)
EXPECTED = Expected(
    path="p", engine="e", unit="absolute", tolerance=1, other_engine_tolerance=2, flat=False
)
RELEASE = {
    "id": "0123456789abcdef",
    "name": "n",
    "version": 3,
    "manifest_sha256": "a" * 64,
    "variant": "v",
    "engine": "litert",
    "environment": "0123456789abcdef",
    "threads": 2,
    "device": "pi",
    "max_latency_ms": 1.0,
    "max_memory_mb": None,
    "start_seconds": 3,
    "watchdog_seconds": 4,
}
LOCK = {
    "schema_version": 1,
    "command": "build",
    "name": "n",
    "inputs": {
        "options": {"seed": 1},
        "data": {"photos": {"train": {"cat": {"a.jpg": "00"}}}},
        "files": {"weights": {"path": "w.h5", "sha256": "00"}},
    },
    "weights_sha256": "00",
    "versions": {"edge": "1"},
    "host": {"machine": "x"},
    "outputs": {"m": "00"},
}
STATE: dict[str, Any] = {
    "last_good": "a",
    "before": "b",
    "version": 3,
    "trial": {"release": "a", "since": 1.0, "boot_id": "x", "starts": 1},
    "failure": {"release": "b", "reason": "r", "at": 1.0},
}
HEADER = {
    "format": "edge-embeddings",
    "schema_version": 1,
    "extractor": "e",
    "name": "n",
    "source": {"kind": "backbone"},
    "preprocessing": CONTRACT.to_json(),
    "root": "/photos",
}


def toml(value: Any) -> str:
    """A table of tables, lists and plain values as TOML; whatever else stands there is JSON."""
    if not isinstance(value, dict):
        return json.dumps(value)
    lines = [f"{json.dumps(str(name))} = {_inline(item)}" for name, item in value.items()]
    return "\n".join(lines)


def _inline(value: Any) -> str:
    if isinstance(value, dict):
        inside = (f"{json.dumps(str(name))} = {_inline(item)}" for name, item in value.items())
        return "{" + ", ".join(inside) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(_inline, value)) + "]"
    if value is None:
        return '""'
    return json.dumps(value)


def bundle(path: Path) -> Any:
    """A bundle whose files are all one file, and whole."""
    files = dict.fromkeys(("edge.lock", "report.json"), "00")
    return SimpleNamespace(
        path=path.parent, manifest=SimpleNamespace(files=files), checked=lambda name: path
    )


def app(path: Path) -> Any:
    nothing = path.with_name("nothing")
    return SimpleNamespace(
        state=path,
        highest=nothing,
        releases=nothing,
        log=nothing,
        path=path.parent,
        serving=lambda: None,
    )


def parsed(read: Callable[[Any], Any]) -> Read:
    return lambda path: read(checked.read_json(path))


def header_of_embeddings(path: Path) -> Any:
    texts = np.array(["a"])
    np.savez(
        path.with_suffix(".npz"),
        header=np.array(path.read_text()),
        vectors=np.ones((1, 2), np.float32),
        paths=texts,
        sha256=texts,
        classes=texts,
    )
    return read_embeddings(path.with_suffix(".npz"))


def onnx_properties(path: Path) -> Any:
    values = json.loads(path.read_text())
    items = values.items() if isinstance(values, dict) else ()
    properties = [SimpleNamespace(key=key, value=json.dumps(item)) for key, item in items]
    graph = SimpleNamespace(name="n")
    model = SimpleNamespace(metadata_props=properties, graph=graph, doc_string="")
    found = onnx_metadata.read(model)  # type: ignore[arg-type]  # as a ModelProto has them
    return found and Preprocessing.from_json(found.edge_preprocessing)


DOCUMENTS: dict[str, tuple[Any, Read]] = {
    "manifest": (MANIFEST.to_json(), parsed(Manifest.from_json)),
    "head": (HEAD.to_json(), parsed(HeadSpec.from_json)),
    "golden": (
        Golden(images=("a",), variants={"v": EXPECTED}).to_json(),
        parsed(Golden.from_json),
    ),
    "release": (RELEASE, parsed(Release.from_json)),
    "state": (STATE, lambda path: State.read(app(path))),
    "lock": (LOCK, lambda path: BundleLock.read(bundle(path))),
    "origins": (LOCK, lambda path: origins_of(bundle(path))),
    "recipe": (
        {"schema_version": 1, "model": "m", "model_id": "i", "keep_float": {"onnx": ["a"]}},
        lambda path: read_recipe(path, ["onnx"]),
    ),
    "labels": ({"0": "a", "1": "b"}, lambda path: read_labels(path)),
    "embeddings": (HEADER, header_of_embeddings),
    "onnx": (
        {"labels": ["a"], "edge.preprocessing": CONTRACT.to_json(), "mean": 1.0, "std": 2.0},
        onnx_properties,
    ),
}
TABLES: dict[str, tuple[Any, Read]] = {
    "policy": (
        {
            "schema_version": 1,
            "name": "n",
            "rule": [
                {"metric": "top1_drop", "at_most": 1.0, "at_most_unchanged": 2.0, "missing": "skip"}
            ],
        },
        load_policy,
    ),
    "inventory": (
        {
            "defaults": {"user": "u", "port": 22},
            "groups": {"g": {"hosts": ["a", "b"], "watch": 3}},
            "hosts": {"a": {"address": "x", "max_memory": 5}},
        },
        read_inventory,
    ),
    "profile": (checked.read_toml(FOLDER / "raspberry-pi-5.toml"), read_profile),
}


def places(value: Any, place: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    yield place
    items = value.items() if isinstance(value, dict) else ()
    items = enumerate(value[:2]) if isinstance(value, list) else items
    for name, item in items:
        yield from places(item, (*place, name))


def altered(value: Any) -> Iterator[Any]:
    """The document with one value in place of another one, taken away, or added."""
    for place in places(value):
        if not place:
            yield from OTHERS
            continue
        for other in [*OTHERS, KeyError, NameError]:
            found = copy.deepcopy(value)
            inner = found
            for name in place[:-1]:
                inner = inner[name]
            if other is KeyError:
                del inner[place[-1]]
            elif other is not NameError:
                inner[place[-1]] = other
            elif isinstance(inner, dict):
                inner["unknown"] = 1
            yield found


@pytest.mark.parametrize("name", [*DOCUMENTS, *TABLES])
def test_any_document_is_taken_or_refused(name: str, tmp_path: Path) -> None:
    value, read = (DOCUMENTS | TABLES)[name]
    write = toml if name in TABLES else json.dumps
    file = tmp_path / "document"
    file.write_text(write(value))
    read(file)  # as it should be
    refused = 0
    for other in altered(value):
        file.write_text(write(other))
        try:
            read(file)
        except EdgeError as error:
            assert error.message
            refused += 1
    assert refused > 20 or name == "state"  # which falls back instead


def test_a_state_of_other_types_is_not_believed(tmp_path: Path) -> None:
    file = tmp_path / "state.json"
    for change in (
        {"last_good": 5},
        {"before": "x" * 70_000},
        {"last_good": "a/../../b"},
        {"trial": {**STATE["trial"], "starts": "1"}},
        {"failure": {**STATE["failure"], "reason": None}},
    ):
        file.write_text(json.dumps(STATE | change))
        found = State.read(app(file))
        assert (found.last_good, found.trial, found.version) == (None, None, None)
    file.write_text(json.dumps(STATE))
    assert State.read(app(file)).to_json() == STATE


DEEP = "[" * 100_000
BOMBS = [DEEP, '{"a":' * 100_000, "1" * 5000, "[1e999]", '{"a": NaN}', '"\\ud800"', "\0", "\xff"]


# The texts of the others lie within another file; a label may be any text.
OF_THEIR_OWN = [
    name for name in (*DOCUMENTS, *TABLES) if name not in ("onnx", "embeddings", "labels")
]


@pytest.mark.parametrize("name", OF_THEIR_OWN)
def test_no_text_is_too_deep_or_too_large_for_a_reader(name: str, tmp_path: Path) -> None:
    _, read = (DOCUMENTS | TABLES)[name]
    file = tmp_path / "document"
    for text in BOMBS:
        file.write_text(f"a = {text}" if name in TABLES else text, encoding="latin-1")
        if name == "state":
            assert read(file).last_good is None
            continue
        with pytest.raises((EdgeError, checked.Malformed)):
            read(file)
    file.unlink()
    os.mkfifo(file)
    if name == "state":
        assert read(file).last_good is None
        return
    with pytest.raises((EdgeError, checked.Malformed)):
        read(file)
