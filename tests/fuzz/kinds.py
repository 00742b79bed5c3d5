"""The kinds of files that somebody else may have made, and the commands that read them."""

import atexit
import gzip
import io
import json
import os
import shutil
import tempfile
import zipfile
from collections.abc import Callable, Iterator, Sequence
from functools import cache, partial
from pathlib import Path
from random import Random
from shlex import quote
from typing import Any, Final

import numpy as np
from PIL import Image, features

from tests.fuzz.harness import ROOT, Command, Kind, edge, runtime
from tests.fuzz.mutation import (
    gzip_bomb,
    hostile_member,
    mutated_bytes,
    mutated_json,
    mutated_lines,
    mutated_picture,
    mutated_toml,
    mutated_zip,
)
from tests.unit.conftest import encoded, noise

HOSTILE: Final = Path(os.environ.get("EDGE_TEST_DATA", "absent")) / "faults" / "hostile"
CALL: Final = "tests.fuzz.entries:call"


@cache
def materials() -> Path:
    """Whole things to damage; made once a process, gone with it."""
    folder = Path(tempfile.mkdtemp(prefix="edge-fuzz-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


@cache
def bundle() -> Path:
    """A bundle with golden self-test and three files."""
    from tests.unit.golden_bundle import golden_bundle

    return golden_bundle(materials() / "bundle", ("tflite-fp32", "tflite-int8", "onnx-int8"))


@cache
def headed() -> Path:
    """A bundle with a k-NN head."""
    from edge.runtime.output import HeadKind
    from tests.unit.head_bundle import head_bundle

    return head_bundle(materials() / "headed", HeadKind.KNN)


@cache
def photo() -> bytes:
    """A small PNG."""
    return encoded(noise(1), "PNG")


def call(function: str, path: object, module: str = "tests.fuzz.entries") -> Command:
    """A reader of the host on its own."""
    return Command(entry=CALL, words=("call", f"{module}:{function}", str(path)))


def planted(*names: str) -> Callable[[], tuple[bytes, ...]]:
    """Files of the shared data that broke something once; none where those are not there."""

    def read() -> tuple[bytes, ...]:
        found = []
        for name in names:
            if (HOSTILE / name).is_file():
                content = (HOSTILE / name).read_bytes()
                found.append(gzip.decompress(content) if name.endswith(".gz") else content)
        return tuple(found)

    return read


def copied(source: Path, folder: Path) -> Path:
    """A copy of a bundle in the folder of a case."""
    place = folder / "bundle"
    shutil.copytree(source, place)
    return place


def listed_again(place: Path) -> None:
    """A manifest that fits the files: whoever makes a bundle can make that too."""
    from edge.runtime.files import sha256_file

    path = place / "manifest.json"
    value = json.loads(path.read_text(encoding="utf-8"))
    value["files"] = {
        item.relative_to(place).as_posix(): sha256_file(item)
        for item in sorted(place.rglob("*"))
        if item.is_file() and item.name not in ("manifest.json", "taught.npz")
    }
    path.write_text(json.dumps(value), encoding="utf-8")


def pictures_folder(folder: Path) -> Path:
    """Two classes of two pictures."""
    for label in ("red 🍎", "grün"):
        (folder / "photos" / label).mkdir(parents=True)
        for number in range(2):
            picture = noise(number + 10 * len(label))
            picture.save(folder / "photos" / label / f"{number}.png")
    return folder / "photos"


# Pictures


def picture_seeds(format_: str, **options: Any) -> Callable[[], Sequence[bytes]]:
    """Pictures of some sizes and modes in one format."""

    @cache
    def make() -> Sequence[bytes]:
        found = [encoded(noise(number, 24, 40), format_, **options) for number in range(2)]
        found.append(encoded(Image.new("L", (33, 17), 99), format_, **options))
        if format_ in ("PNG", "WEBP", "TIFF"):
            found.append(encoded(noise(3).convert("RGBA"), format_, **options))
        if format_ == "PNG":
            deep = np.arange(48 * 48, dtype=np.uint16).reshape(48, 48) * 20
            found.append(encoded(Image.fromarray(deep), format_))
            found.append(encoded(noise(4).quantize(16), format_))
        if format_ == "GIF":
            frames = [noise(number).quantize(16) for number in range(3)]
            found.append(encoded(frames[0], format_, save_all=True, append_images=frames[1:]))
        if format_ == "TIFF":
            for packed in ("tiff_lzw", "tiff_deflate", "jpeg", "packbits"):
                found.append(encoded(noise(5), format_, compression=packed))
        return found

    return make


def place_picture(folder: Path, content: bytes, *, suffix: str) -> Sequence[Command]:
    place = copied(bundle(), folder)
    path = folder / "photos" / "grün" / f"picture{suffix}"
    path.parent.mkdir(parents=True)
    path.write_bytes(content)
    inbox = folder / "inbox"
    inbox.mkdir()
    shutil.copy(path, inbox)
    (inbox / "whole.png").write_bytes(photo())
    cache = ("--cache", folder / "cache", "--quiet")
    return (
        runtime("predict", place, path, "--json"),
        runtime("predict", place, path),
        runtime("predict", place, path, "--variant", "tflite-int8"),
        runtime("watch", inbox, "--bundle", place, "--once"),
        edge("predict", place, path),
        edge("tag", path.parent, "--bundle", place, *cache),
        edge("evaluate", place, folder / "photos", "--variant", "tflite-int8", "--quiet"),
    )


def picture_kind(name: str, format_: str, *names: str, **options: Any) -> Kind:
    return Kind(
        name=name,
        seeds=picture_seeds(format_, **options),
        mutate=mutated_picture,
        place=partial(place_picture, suffix=f".{format_.lower()}"),
        imports=HOST,
        planted=planted(*names),
    )


# Models


def model_commands(folder: Path, place: Path, path: Path, variant: str) -> Sequence[Command]:
    listed_again(place)
    photos = pictures_folder(folder)
    picture = photos / "grün" / "0.png"
    sides = ("--baseline", "tflite-int8", "--candidate", variant)
    return (
        edge("inspect", path),
        edge("inspect", path, "--json"),
        edge("predict", place, picture, "--variant", variant),
        edge("evaluate", place, photos, "--variant", variant, "--quiet"),
        edge("compare", place, photos, *sides, "--quiet"),
    )


@cache
def tflite_seeds() -> Sequence[bytes]:
    return [
        (bundle() / "models" / f"tflite-{name}.tflite").read_bytes() for name in ("fp32", "int8")
    ]


def place_tflite(folder: Path, content: bytes) -> Sequence[Command]:
    place = copied(bundle(), folder)
    path = place / "models" / "tflite-fp32.tflite"
    path.write_bytes(content)
    return model_commands(folder, place, path, "tflite-fp32")


@cache
def onnx_seeds() -> Sequence[bytes]:
    from onnx import TensorProto, helper

    value = helper.make_tensor_value_info
    node = helper.make_node("F", ["x"], ["y"], domain="own")
    function = helper.make_function(
        "own", "F", ["a"], ["b"], [helper.make_node("Relu", ["a"], ["b"])],
        [helper.make_opsetid("", 17)],
    )  # fmt: skip
    graph = helper.make_graph(
        [node],
        "g",
        [value("x", TensorProto.FLOAT, [1, 16, 16, 3])],
        [value("y", TensorProto.FLOAT, ["N", 16, 16, 3])],
    )
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("own", 1)]
    model = helper.make_model(graph, functions=[function], opset_imports=opsets, ir_version=8)
    return [(bundle() / "models" / "onnx-int8.onnx").read_bytes(), model.SerializeToString()]


def place_onnx(folder: Path, content: bytes) -> Sequence[Command]:
    place = copied(bundle(), folder)
    path = place / "models" / "onnx-int8.onnx"
    path.write_bytes(content)
    return model_commands(folder, place, path, "onnx-int8")


def recursive_onnx() -> bytes:
    """A function that calls itself."""
    from onnx import helper, load_from_string

    model = load_from_string(onnx_seeds()[1])
    model.functions[0].node[0].CopyFrom(helper.make_node("F", ["a"], ["b"], domain="own"))
    model.functions[0].opset_import.append(helper.make_opsetid("own", 1))
    return bytes(model.SerializeToString())


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


def zipped(members: dict[str, bytes]) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return stream.getvalue()


def place_file(name: str, *commands: Callable[[Path], Command]) -> Any:
    """Puts the file under that name; the commands are made of its path."""

    def place(folder: Path, content: bytes) -> Sequence[Command]:
        (folder / name).write_bytes(content)
        return [make(folder / name) for make in commands]

    return place


@cache
def download_seeds() -> Sequence[bytes]:
    labels = b"0 cat\n1 dog\n2 bird\n"
    model = tflite_seeds()[0]
    return [
        zipped({"model_unquant.tflite": model, "labels.txt": labels}),
        zipped({"converted/keras_model.h5": keras_parts()["h5"], "converted/labels.txt": labels}),
    ]


# What a bundle holds


def place_in_bundle(source: Callable[[], Path], name: str, *, relist: bool = True) -> Any:
    def place(folder: Path, content: bytes) -> Sequence[Command]:
        target = copied(source(), folder)
        (target / name).write_bytes(content)
        if relist:
            listed_again(target)
        path = folder / "p.png"
        path.write_bytes(photo())
        photos = pictures_folder(folder)
        return (
            runtime("info", target),
            runtime("predict", target, path),
            runtime("selftest", target, "--json"),
            edge("verify", target),
            edge("inspect", target),
            runtime("bench", target, "--runs", "2"),
            runtime("teach", target, "blue", path),
            runtime("forget", target, "--all"),
            edge("predict", target, path),
            edge("evaluate", target, photos, "--variant", "tflite-int8", "--quiet"),
            runtime("watch", photos / "grün", "--bundle", target, "--once"),
        )

    return place


def content_of(source: Callable[[], Path], *names: str) -> Callable[[], Sequence[bytes]]:
    return lambda: [(source() / name).read_bytes() for name in names]


@cache
def taught_seeds() -> Sequence[bytes]:
    from edge.runtime.bundle import Bundle
    from edge.runtime.files import sha256_file
    from edge.runtime.taught import Example, Taught, write_taught

    place = materials() / "taught"
    shutil.copytree(headed(), place)
    opened = Bundle.open(place)
    variant = opened.manifest.variant()
    taught = Taught(
        variant=variant.name,
        model=sha256_file(place / variant.path),
        examples=(Example(label="blue", image="ab" * 32), Example(label="grün", image="cd" * 32)),
        vectors=np.ones((2, 3), np.float32),
    )
    write_taught(opened, taught)
    return [(place / "taught.npz").read_bytes()]


@cache
def headed_name() -> str:
    value = json.loads((headed() / "manifest.json").read_text(encoding="utf-8"))
    return str(value["head"]["path"])


def place_head(folder: Path, content: bytes) -> Sequence[Command]:
    found: Sequence[Command] = place_in_bundle(headed, headed_name())(folder, content)
    return found


def place_golden(folder: Path, content: bytes) -> Sequence[Command]:
    is_array = content[:6] == b"\x93NUMPY"
    name = "golden/tflite-fp32.npy" if is_array else "golden/golden.json"
    found = place_in_bundle(bundle, name)(folder, content)
    return [item for item in found if item.words[1] in ("selftest", "info", "watch", "verify")]


def mutated_golden(random: Random, seeds: Sequence[bytes]) -> bytes:
    from tests.fuzz.mutation import hostile_npy

    if random.random() < 0.5:
        return mutated_json(random, seeds[:1])
    return hostile_npy(random, seeds[1])


# Files of the host


@cache
def lock_seeds() -> Sequence[bytes]:
    from edge.pipeline.reproduce.lock import BundleLock, JobInputs, NamedFile

    images = {"calibration": {"red": {"red/0.png": "ab" * 32}}, "scored": {"": {"1.png": "c" * 64}}}
    made = [
        BundleLock(
            command=command,
            name="channels",
            inputs=JobInputs(
                options={"seed": 0, "output": {"variants": ["tflite-fp32"], "seed": 0}},
                data={option: images},
                files={"labels": NamedFile(path="labels.txt", sha256="ef" * 32)},
            ),
            weights_sha256="ab" * 32,
            versions={"numpy": "2.0.0"},
            host={"machine": "x86_64", "cpu": "a CPU", "vector_flags": ["avx2"]},
            outputs={"models/tflite-fp32.tflite": "ab" * 32},
        )
        for command, option in (("export", "calibration_data"), ("build", "photos"))
    ]
    return [json.dumps(item.to_json()).encode() for item in made]


def place_lock(folder: Path, content: bytes) -> Sequence[Command]:
    target = copied(bundle(), folder)
    (target / "edge.lock").write_bytes(content)
    listed_again(target)
    photos = pictures_folder(folder)
    return (
        edge("reproduce", target, photos, "--quiet", "--cache", folder / "cache"),
        edge("evaluate", target, photos, "--variant", "tflite-int8", "--quiet"),
    )


@cache
def policy_seeds() -> Sequence[bytes]:
    text = """schema_version = 1
name = "strict"

[[rule]]
metric = "top1_drop"
at_most = 1.0
at_most_unchanged = 1.5

[[rule]]
metric = "latency_ms"
at_most = 2000
missing = "skip"
source = "recorded"

[[rule]]
metric = "agreement"
at_least = 0.9
"""
    return [text.encode()]


def place_policy(folder: Path, content: bytes) -> Sequence[Command]:
    target = copied(bundle(), folder)
    path, photos = folder / "policy.toml", pictures_folder(folder)
    path.write_bytes(content)
    sides = ("--baseline", "tflite-fp32", "--candidate", "tflite-int8")
    return (
        call("load_policy", path, "edge.comparison.policy"),
        edge("compare", target, photos, *sides, "--policy", path, "--quiet"),
    )


@cache
def fleet_seeds() -> Sequence[bytes]:
    text = """[defaults]
user = "pi"
port = 2222
device = "raspberry-pi-5"
threads = 2
max_latency = 30.5
keep = 2

[groups.shop]
hosts = ["window", "door"]
variant = "tflite-int8"

[groups.yard]
hosts = ["gate"]

[hosts.door]
address = "192.0.2.7"
engine = "litert"
"""
    return [text.encode()]


def place_fleet(folder: Path, content: bytes) -> Sequence[Command]:
    """The ssh that is found first answers like a host that does not let anybody in."""
    (folder / "fleet.toml").write_bytes(content)
    words = (
        "--inventory",
        folder / "fleet.toml",
        "--key",
        signed() / "key",
        "--dry-run",
        "--quiet",
    )
    environment = fake_ssh(folder, b"", 255)
    made = (
        edge("deploy", signed() / "bundle", *words),
        edge("deploy", signed() / "bundle", *words, "--json"),
        edge("deploy", signed() / "bundle", *words, "--group", "shop"),
    )
    return [
        Command(entry=item.entry, words=item.words, environment=environment) for item in made
    ] + [call("read_inventory", folder / "fleet.toml", "edge.deploy.fleet")] * 7


def fake_ssh(folder: Path, reply: bytes, code: int = 0) -> dict[str, str]:
    """A program that says ``reply`` whatever it is asked, and the PATH on which it is ssh."""
    place = folder / "bin"
    place.mkdir()
    (folder / "reply").write_bytes(reply)
    for name in ("ssh", "ssh-keyscan"):
        (place / name).write_text(
            # It reads all the while: whoever sends must not wait for whoever answers.
            "#!/bin/sh\nexec 3<&0\ntimeout 20 cat <&3 > /dev/null 2>&1 &\n"
            f"cat {quote(f'{folder}/reply')}\nexit {code}\n"
        )
        (place / name).chmod(0o755)
    return {"PATH": f"{place}:{os.environ['PATH']}"}


@cache
def board_seeds() -> Sequence[bytes]:
    names = ("raspberry-pi-5", "raspberry-pi-5-hailo", "ethos-u55", "imx8mp")
    return [(ROOT / "devices" / f"{name}.toml").read_bytes() for name in names]


@cache
def result_seeds() -> Sequence[bytes]:
    from benchmarks.outputs.json_file import json_text
    from benchmarks.result import Results
    from tests.unit.benchmark_results import ENVIRONMENT, every_kind

    made = Results(
        started="2026-11-01T00:00:00+00:00",
        environment=ENVIRONMENT,
        protocol={"runs": 50, "min_seconds": 1.0},
        seed=0,
        rows=every_kind(),
    )
    return [json_text(made).encode()]


def place_results(folder: Path, content: bytes) -> Sequence[Command]:
    old, new = folder / "old.json", folder / "new.json"
    old.write_bytes(result_seeds()[0])
    new.write_bytes(content)
    return (
        edge("benchmark", "diff", old, new),
        edge("benchmark", "diff", new, old, "--json"),
        edge("benchmark", "diff", new, new),
    )


@cache
def embedding_seeds() -> Sequence[bytes]:
    from edge.embedding.table import Embeddings, Header, write_embeddings
    from edge.runtime.spec import Preprocessing

    table = Embeddings(
        header=Header(
            extractor="ab" * 32,
            name="channels",
            source={"kind": "bundle", "path": "/nowhere"},
            preprocessing=Preprocessing(height=16, width=16),
            root="/nowhere",
        ),
        vectors=np.random.default_rng(0).normal(size=(8, 4)).astype(np.float32),
        paths=tuple(f"cat/{number}.png" for number in range(8)),
        sha256=tuple(f"{number:064x}" for number in range(8)),
        classes=("cat", "dog") * 4,
    )
    write_embeddings(table, materials() / "embeddings.npz")
    return [(materials() / "embeddings.npz").read_bytes()]


def place_embeddings(folder: Path, content: bytes) -> Sequence[Command]:
    path, picture = folder / "embeddings.npz", folder / "p.png"
    path.write_bytes(content)
    picture.write_bytes(photo())
    return (
        call("read_embeddings", path, "edge.embedding.table"),
        call("read_embeddings", path, "edge.embedding.table"),
        edge("similar", picture, path, "--quiet"),
        edge("similar", picture, path, "--quiet"),
        edge("map", path, "-o", folder / "map.html", "--points", "8", "--quiet"),
    )


@cache
def word_seeds() -> Sequence[bytes]:
    random = np.random.default_rng(0)
    words = ("the", "usa", "dollar", "mexico", "peso", ". . .", "grün")
    lines = [
        " ".join([word, *(f"{value:.5f}" for value in random.normal(size=6))]) for word in words
    ]
    text = ("\n".join(lines) + "\n").encode()
    return [text, b"7 6\n" + text, gzip.compress(text, mtime=0)]


def mutated_words(random: Random, seeds: Sequence[bytes]) -> bytes:
    content = mutated_lines(random, seeds[:2])
    kind = random.random()
    if kind < 0.2:
        return gzip.compress(content, mtime=0)
    return mutated_bytes(random, seeds[2:]) if kind < 0.4 else content


def place_words(folder: Path, content: bytes) -> Sequence[Command]:
    path = folder / "words.txt"
    path.write_bytes(content)
    place = ("--cache", folder / "cache", "--quiet")
    return (
        edge("similar", "usa", path, *place),
        edge("similar", "usa", path, "--json", *place),
        edge("analogy", "usa", "dollar", "mexico", path, *place),
    )


@cache
def label_seeds() -> Sequence[bytes]:
    return [
        b"cat\ndog\nbird\n",
        b"0 cat\n1 dog\n2 bird\n",
        json.dumps(["cat", "dog", "bird"]).encode(),
        json.dumps({"0": "cat", "1": "dog", "2": "bird"}).encode(),
        "cat\r\ngrün\r\n青\r\n".encode("utf-16"),
    ]


def mutated_labels(random: Random, seeds: Sequence[bytes]) -> bytes:
    return (
        mutated_json(random, seeds[2:4]) if random.random() < 0.4 else mutated_lines(random, seeds)
    )


@cache
def several() -> Path:
    """A bundle whose labels do not exclude one another."""
    from edge.runtime.output import Activation, OutputKind, OutputSpec

    place = materials() / "several"
    shutil.copytree(bundle(), place)
    output = OutputSpec(
        kind=OutputKind.MULTI_LABEL, activation=Activation.NONE, thresholds=(0.5,) * 3, evidence=""
    )
    path = place / "manifest.json"
    value = json.loads(path.read_text(encoding="utf-8"))
    value |= {"schema_version": 2, "output": output.to_json()}
    path.write_text(json.dumps(value), encoding="utf-8")
    return place


def place_truth(folder: Path, content: bytes) -> Sequence[Command]:
    target, photos = copied(several(), folder), pictures_folder(folder)
    (folder / "truth.csv").write_bytes(content)
    words = ("--truth", folder / "truth.csv", "--variant", "tflite-int8", "--quiet")
    return (edge("evaluate", target, photos, *words),)


def place_groups(folder: Path, content: bytes) -> Sequence[Command]:
    target, photos = copied(bundle(), folder), pictures_folder(folder)
    path = folder / "groups.txt"
    path.write_bytes(content)
    words = ("--bundle", target, "--groups", path, "--find", "sea", "--cache", folder / "cache")
    return (edge("tag", photos, *words, "--quiet"),)


@cache
def sidecar_seeds() -> Sequence[bytes]:
    from edge.tagging.sidecars import EMPTY, with_tags

    tags = {"subject": ["grün", "a"], "hierarchicalSubject": ["x|grün"], "TagsList": ["x/grün"]}
    return [EMPTY, with_tags(EMPTY, tags)]


def mutated_sidecar(random: Random, seeds: Sequence[bytes]) -> bytes:
    if random.random() < 0.7:
        return mutated_bytes(random, seeds)
    entities = "".join(f'<!ENTITY a{n + 1} "&a{n};&a{n};&a{n};&a{n};">' for n in range(20))
    deep = random.choice((500, 100_000))
    head = b'<?xml version="1.0"?>'
    return random.choice(
        (
            head + f'<!DOCTYPE x [<!ENTITY a0 "xx">{entities}]><x>&a20;</x>'.encode(),
            head + b'<!DOCTYPE x [<!ENTITY a SYSTEM "file:///etc/passwd">]><x>&a;</x>',
            seeds[1].replace(b"<rdf:RDF", b"<a>" * deep + b"<rdf:RDF"),
            seeds[1].replace(b"</rdf:RDF", b"<a>" * deep + b"</a>" * deep + b"</rdf:RDF"),
            seeds[1].replace(b"rdf:Bag", b"rdf:Alt"),
        )
    )


def place_sidecar(folder: Path, content: bytes) -> Sequence[Command]:
    target = copied(bundle(), folder)
    (folder / "photos").mkdir()
    (folder / "photos" / "p.png").write_bytes(photo())
    (folder / "photos" / "p.png.xmp").write_bytes(content)
    words = ("--bundle", target, "--xmp", "--threshold", "0", "--cache", folder / "cache")
    return (edge("tag", folder / "photos", *words, "--quiet"),)


# Signatures and keys


@cache
def signed() -> Path:
    """A folder with a signed bundle and its key."""
    from edge.deploy.keys import new_key
    from edge.deploy.signing import sign

    folder = materials() / "signed"
    shutil.copytree(bundle(), folder / "bundle")
    new_key(folder / "key")
    sign(folder / "bundle", folder / "key", version=2000)
    return folder


def place_signature(folder: Path, content: bytes) -> Sequence[Command]:
    target = copied(signed() / "bundle", folder)
    (target / "manifest.json.sig").write_bytes(content)
    path = folder / "p.png"
    path.write_bytes(photo())
    return (
        edge("verify", target, "--key", signed() / "key.pub"),
        edge("verify", target, "--json"),
        edge("sign", target, "--key", signed() / "key"),
        runtime("info", target),
        edge("predict", target, path),
    )


def place_key(folder: Path, content: bytes) -> Sequence[Command]:
    target = copied(signed() / "bundle", folder)
    shutil.copy(signed() / "key", folder / "key")
    (folder / "key.pub").write_bytes(content)
    return (
        edge("keys", "show", "--key", folder / "key.pub"),
        edge("verify", target, "--key", folder / "key.pub"),
        edge("sign", target, "--key", folder / "key"),
    )


# Devices


def replies(*values: Any) -> bytes:
    return b"".join(json.dumps(value).encode() + b"\n" for value in values)


@cache
def state_reply() -> Any:
    app = {
        "app": "photos",
        "release": "r1",
        "healthy": True,
        "last_good": "r1",
        "on_trial": False,
        "reason": None,
        "failed_release": None,
        "bundle": json.loads(release_seeds()[0]),
        "service": "active",
        "restarts": 0,
        "health": {
            "ok": True,
            "reason": "",
            "release": "r1",
            "variant": "tflite-int8",
            "engine": "litert 2.1",
            "answered": 3,
            "failed": 0,
            "waiting": 0,
            "seconds": 0.01,
            "uptime_seconds": 12.5,
        },
        "problem": None,
    }
    return {"device": "raspberry-pi-5", "apps": [app]}


@cache
def reply_seeds() -> Sequence[bytes]:
    event = {"at": 1795351590.4, "event": "committed", "release": "r1", "reason": "asked for"}
    return [
        replies({"note": "looking"}, {"result": state_reply()}, {"result": {}}),
        replies({"result": state_reply()}, {"result": state_reply()}),
        replies({"result": {"events": [event], "service": "started\n"}}),
        replies(
            {"result": {}}, {"result": {"release": "r0", "replaced": "r1", "health": {"ok": True}}}
        ),
        replies({"error": {"error": "DeviceError", "message": "no space", "hint": "Free some."}}),
    ]


def mutated_reply(random: Random, seeds: Sequence[bytes]) -> bytes:
    lines = random.choice(seeds).splitlines()
    at = random.randrange(len(lines))
    lines[at] = mutated_json(random, [lines[at]])
    if random.random() < 0.1:
        lines[at] = b"x" * random.choice((1_000_000, 80_000_000))
    return b"\n".join(lines) + random.choice((b"\n", b""))


def place_reply(folder: Path, content: bytes) -> Sequence[Command]:
    environment = fake_ssh(folder, content, 0 if len(content) % 4 else 255)
    made = (
        edge("status", "device"),
        edge("status", "device", "--json"),
        edge("logs", "device"),
        edge("rollback", "device"),
        edge("undeploy", "device", "--app", "photos"),
    )
    return [Command(entry=item.entry, words=item.words, environment=environment) for item in made]


@cache
def fact_seeds() -> Sequence[bytes]:
    folder = ROOT / "tests" / "data" / "facts"
    values = [
        json.loads(path.read_text(encoding="utf-8")) for path in sorted(folder.glob("*.json"))
    ]
    return [json.dumps(value["facts"]).encode() for value in values if "facts" in value]


def place_facts(folder: Path, content: bytes) -> Sequence[Command]:
    environment = fake_ssh(folder, content, 0)
    made = (
        edge("doctor", "device"),
        edge("doctor", "device", "--json"),
        edge("deploy", signed() / "bundle", "device", "--key", signed() / "key", "--dry-run"),
    )
    return [Command(entry=item.entry, words=item.words, environment=environment) for item in made]


def device_home(folder: Path) -> tuple[Path, dict[str, str]]:
    """The home of a device with one application, two releases and a state."""
    root = folder / "home" / ".local" / "share" / "edge"
    app = root / "apps" / "photos"
    for number in (1, 2):
        place = app / "releases" / f"r{number}"
        shutil.copytree(signed() / "bundle", place / "bundle")
        (place / "release.json").write_bytes(
            release_seeds()[0].replace(b"r1", f"r{number}".encode())
        )
    (app / "current").symlink_to("releases/r1")
    (app / "state.json").write_bytes(state_seeds()[0])
    (root / "device").write_text("raspberry-pi-5\n")
    run = folder / "run"
    run.mkdir()
    return app, {"HOME": str(folder / "home"), "XDG_RUNTIME_DIR": str(run)}


@cache
def state_seeds() -> Sequence[bytes]:
    from edge.device.state import Failure, State, Trial

    whole = State(
        last_good="r1",
        before="r2",
        version=2000,
        trial=Trial(release="r1", since=1795351590.4, boot_id="ab-cd", starts=1),
        failure=Failure(release="r2", reason="did not start", at=1795351590.4),
    )
    return [json.dumps(item.to_json()).encode() for item in (whole, State(last_good="r1"))]


@cache
def release_seeds() -> Sequence[bytes]:
    from edge.device.release import Release

    found = Release(
        id="r1",
        name="channels",
        version=2000,
        manifest_sha256="ab" * 32,
        variant="tflite-int8",
        engine="litert",
        environment="e1",
        threads=1,
        device="raspberry-pi-5",
        max_latency_ms=20.0,
        max_memory_mb=None,
        start_seconds=120,
        watchdog_seconds=60,
    )
    return [json.dumps(found.to_json()).encode()]


@cache
def log_seeds() -> Sequence[bytes]:
    event = {"at": 1795351590.4, "event": "committed", "release": "r1", "reason": "asked for"}
    return [replies(event, event, event)]


def asked(folder: Path, requests: bytes, environment: dict[str, str]) -> Command:
    """The device's end of a conversation, with these requests."""
    (folder / "requests").write_bytes(requests)
    return Command(
        entry="edge.device.session:main",
        words=("session",),
        stdin=str(folder / "requests"),
        environment=environment,
    )


def place_on_device(name: str) -> Any:
    def place(folder: Path, content: bytes) -> Sequence[Command]:
        app, environment = device_home(folder)
        (app / name).write_bytes(content)
        lock = {"do": "lock", "owner": "me", "what": "test"}
        rollback = {"do": "rollback", "app": "photos", "timeout": 20, "watch": 0}
        asking = [
            replies({"do": "state"}, {"do": "state", "app": "photos"}),
            replies({"do": "logs", "app": "photos", "lines": 20}),
            replies(lock, {"do": "prune", "app": "photos", "keep": 1}),
            replies(lock, rollback),
        ]
        guard = Command(entry="tests.fuzz.entries:guard", words=("guard",), environment=environment)
        made = [asked(folder, requests, environment) for requests in asking]
        # One file holds the requests of whichever command is run, so each gets one of its own.
        found = []
        for number, (command, requests) in enumerate(zip(made, asking, strict=True)):
            path = folder / f"requests-{number}"
            path.write_bytes(requests)
            found.append(
                Command(
                    entry=command.entry,
                    words=command.words,
                    stdin=str(path),
                    environment=environment,
                )
            )
        return [*found, guard]

    return place


@cache
def request_seeds() -> Sequence[bytes]:
    lock = {"do": "lock", "owner": "me", "what": "deploy"}
    key = {
        "do": "provision",
        "key": 'edge namespaces="edge-manifest" ssh-ed25519 AAAA',
        "again": False,
    }
    files = {"manifest.json": ["ab" * 32, 5], "models/m.tflite": ["cd" * 32, 7]}
    begin = {"do": "begin", "kind": "release", "app": "photos", "id": "r3", "files": files}
    release = json.loads(release_seeds()[0])
    install = {
        "do": "install release",
        "app": "photos",
        "release": release,
        "allow_downgrade": False,
    }
    return [
        replies(lock, key | {"device": "raspberry-pi-5"}, {"do": "ping"}),
        replies(lock, begin, {"do": "put", "path": "manifest.json", "offset": 0}) + b"hello",
        replies(lock, begin, install),
        replies({"do": "has environment", "environment": "e1"}, {"do": "state"}),
        replies(lock, {"do": "prune", "app": "photos", "keep": 1}, {"do": "sweep"}),
    ]


def mutated_requests(random: Random, seeds: Sequence[bytes]) -> bytes:
    lines = random.choice(seeds).splitlines()
    at = random.randrange(len(lines))
    if lines[at].startswith(b"{"):
        lines[at] = mutated_json(random, [lines[at]])
    else:
        lines[at] = mutated_bytes(random, [lines[at]])
    return b"\n".join(lines) + random.choice((b"\n", b""))


def place_requests(folder: Path, content: bytes) -> Sequence[Command]:
    return (asked(folder, content, device_home(folder)[1]),)


def place_stdin(entry: str) -> Any:
    """Standard input of a function of ``entries`` is what is hostile."""

    def place(folder: Path, content: bytes) -> Sequence[Command]:
        (folder / "said").write_bytes(content)
        environment = {"XDG_RUNTIME_DIR": str(folder)}
        said = str(folder / "said")
        return (
            Command(
                entry=f"tests.fuzz.entries:{entry}",
                words=(entry,),
                stdin=said,
                environment=environment,
            ),
        )

    return place


EVERYWHERE: Final = (
    "tests.fuzz.entries",
    "numpy",
    "h5py",
    *(f"PIL.{name}ImagePlugin" for name in ("Jpeg", "Png", "Gif", "WebP", "Bmp", "Tiff", "Ppm")),
)
HOST: Final = (
    *EVERYWHERE,
    "ai_edge_litert.interpreter",
    "faiss",
    "onnx",
    "onnxruntime",
    "rich.console",
    "rich.table",
    "sklearn.manifold",
    "pydantic.type_adapter",
    "typer._adapters",
    "zoneinfo",
    *(f"edge.cli.{name}" for name in ("app", "output", "terminal", "check.view", "use.view")),
    *(f"edge.deploy.{name}" for name in ("deploy", "plan", "signing")),
    *(f"edge.embedding.{name}" for name in ("collection_map", "index", "words")),
    "benchmarks.diff",
    "benchmarks.outputs.json_file",
    "devices.profile",
    "edge.comparison.compare",
    "edge.dataset.labels",
    "edge.evaluation.evaluate",
    "edge.inspection.model",
    "edge.pipeline.variants",
    "edge.pipeline.reproduce.reproduce",
    "edge.runtime.command_line",
    "edge.runtime.backends.litert",
    "edge.runtime.backends.onnx",
    "edge.tagging.tag",
    "edge.tagging.sidecars",
    *(f"edge.runtime.{name}" for name in ("classifier", "golden", "taught")),
    *(
        f"edge.runtime.commands.{name}"
        for name in ("bench", "info", "predict", "selftest", "watch")
    ),
)
TRAINING: Final = (*EVERYWHERE, "edge.cli.app", "tensorflow", "keras", "edge.training.keras_files")
ON_DEVICE: Final = ("edge.device.session", "edge.device.trial", "tests.fuzz.entries")


def _kinds() -> Iterator[Kind]:
    yield from _pictures()
    yield from _models()
    yield from _bundles()
    yield from _host_files()
    yield from _devices()


def _pictures() -> Iterator[Kind]:
    yield picture_kind("JPEG", "JPEG", quality=90)
    yield picture_kind("progressive JPEG", "JPEG", "poison_scans.jpg", quality=90, progressive=True)
    yield picture_kind("PNG", "PNG", "png_bomb_rgba.png")
    for name in ("GIF", "WebP", "BMP", "TIFF"):
        yield picture_kind(name, name.upper())
    if features.check("avif"):
        yield picture_kind("AVIF", "AVIF")


def _models() -> Iterator[Kind]:
    yield Kind(
        name="TFLite",
        seeds=tflite_seeds,
        mutate=mutated_bytes,
        place=place_tflite,
        planted=planted("segv_129.tflite.gz"),
        imports=HOST,
    )
    yield Kind(
        name="ONNX",
        seeds=onnx_seeds,
        mutate=mutated_bytes,
        place=place_onnx,
        planted=lambda: (recursive_onnx(), *planted("onnx_recursive_function.onnx")()),
        imports=HOST,
    )
    made = partial(Kind, imports=TRAINING, grown_mb=1500, seconds=60)
    archive = mutated_zip(hostile_member)
    keras = place_file("m.keras", partial(call, "read_keras"))
    yield made(name="Keras 3", seeds=keras_seeds, mutate=archive, place=keras)
    h5 = place_file("m.h5", partial(call, "read_keras"))
    yield made(name="Keras 2", seeds=h5_seeds, mutate=mutated_h5, place=h5)
    place = place_file("m.zip", partial(call, "open_download"))
    yield made(name="Teachable Machine", seeds=download_seeds, mutate=archive, place=place)


def _bundles() -> Iterator[Kind]:
    made = partial(Kind, imports=HOST)
    archive = mutated_zip(hostile_member)
    yield made(
        name="manifest",
        seeds=content_of(bundle, "manifest.json"),
        mutate=mutated_json,
        place=place_in_bundle(bundle, "manifest.json", relist=False),
        planted=planted("manifest_edge-inspect7.json", "manifest_info28.json"),
    )
    names = ("golden/golden.json", "golden/tflite-fp32.npy")
    seeds = content_of(bundle, *names)
    yield made(name="golden", seeds=seeds, mutate=mutated_golden, place=place_golden)
    yield made(
        name="head",
        seeds=lambda: [(headed() / headed_name()).read_bytes()],
        mutate=archive,
        place=place_head,
        planted=planted("head.npz_128.npz", "head.npz_special_huge.npz"),
    )
    place = place_in_bundle(headed, "taught.npz", relist=False)
    yield made(name="taught", seeds=taught_seeds, mutate=archive, place=place)
    seeds = content_of(signed, "bundle/manifest.json.sig")
    yield made(name="signature", seeds=seeds, mutate=mutated_bytes, place=place_signature)
    seeds = content_of(signed, "key.pub")
    yield made(name="public key", seeds=seeds, mutate=mutated_bytes, place=place_key)
    yield made(name="edge.lock", seeds=lock_seeds, mutate=mutated_json, place=place_lock)


def _host_files() -> Iterator[Kind]:
    made = partial(Kind, imports=HOST)
    yield made(
        name="policy",
        seeds=policy_seeds,
        mutate=mutated_toml,
        place=place_policy,
        planted=planted("policy_TOML_special_deep.toml"),
    )
    yield made(name="truth", seeds=lambda: TRUTH, mutate=mutated_lines, place=place_truth)
    yield made(name="groups", seeds=lambda: GROUPS, mutate=mutated_lines, place=place_groups)
    yield made(name="XMP", seeds=sidecar_seeds, mutate=mutated_sidecar, place=place_sidecar)
    place = place_file("r.json", partial(call, "read_recipe"))
    yield made(name="recipe", seeds=lambda: RECIPES, mutate=mutated_json, place=place)
    place = place_file("labels.txt", partial(call, "read_labels"))
    yield made(name="labels", seeds=label_seeds, mutate=mutated_labels, place=place)
    place = place_file(
        "b.toml", partial(edge, "devices"), lambda path: edge("devices", path, "--json")
    )
    yield made(name="board", seeds=board_seeds, mutate=mutated_toml, place=place)
    yield made(
        name="results",
        seeds=result_seeds,
        mutate=mutated_json,
        place=place_results,
        planted=planted("results.json_diff_24.json"),
    )
    yield made(
        name="embeddings",
        seeds=embedding_seeds,
        mutate=mutated_zip(hostile_member),
        place=place_embeddings,
        planted=planted("npz_read_embeddings_special_bad_descr.npz"),
    )
    yield made(
        name="words",
        seeds=word_seeds,
        mutate=mutated_words,
        place=place_words,
        planted=lambda: (gzip_bomb(),),
    )
    yield made(name="fleet", seeds=fleet_seeds, mutate=mutated_toml, place=place_fleet)


def _devices() -> Iterator[Kind]:
    made = partial(Kind, imports=HOST)
    yield made(name="device's reply", seeds=reply_seeds, mutate=mutated_reply, place=place_reply)
    yield made(name="device's facts", seeds=fact_seeds, mutate=mutated_json, place=place_facts)
    place = place_stdin("question")
    yield made(name="health question", seeds=lambda: ASKED, mutate=mutated_json, place=place)
    made = partial(Kind, imports=ON_DEVICE, on_device=True)
    place = place_stdin("ask_service")
    yield made(name="health answer", seeds=lambda: HEALTH, mutate=mutated_json, place=place)
    place = place_on_device("state.json")
    yield made(name="state.json", seeds=state_seeds, mutate=mutated_json, place=place)
    place = place_on_device("releases/r1/release.json")
    yield made(name="release.json", seeds=release_seeds, mutate=mutated_json, place=place)
    place = place_on_device("log.jsonl")
    yield made(name="log.jsonl", seeds=log_seeds, mutate=mutated_reply, place=place)
    mutate = mutated_requests
    yield made(name="request", seeds=request_seeds, mutate=mutate, place=place_requests)


TRUTH: Final = (
    "file,labels\ngrün/0.png,red 🍎|grün\ngrün/1.png,青\n".encode(),
    "file,red 🍎,grün,青\ngrün/0.png,0,1,1\ngrün/1.png,1,0,0\n".encode(),
)
GROUPS: Final = ("sea = grün, 青\nfruit = red 🍎\n".encode(),)
RECIPE: Final = {
    "schema_version": 1,
    "model": "m",
    "model_id": "ab",
    "max_drop_points": 0.5,
    "keep_float": {"tflite": ["conv"], "onnx": []},
}
RECIPES: Final = (json.dumps(RECIPE).encode(),)
ASKED: Final = (b'{"ask": "health"}\n',)
HEALTH: Final = (b'{"ok": true, "release": "r1", "answered": 3, "reason": null}\n',)
KINDS: Final = {kind.name: kind for kind in _kinds()}
