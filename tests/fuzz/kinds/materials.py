"""Whole things to damage, and what the kinds of files share."""

import atexit
import gzip
import io
import json
import os
import shutil
import tempfile
import zipfile
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from shlex import quote
from typing import Any, Final

from tests.fuzz.harness import ROOT, Command
from tests.unit.conftest import encoded, noise

HOSTILE: Final = Path(os.environ.get("EDGE_TEST_DATA", "absent")) / "faults" / "hostile"
CALL: Final = "tests.fuzz.entries:call"
EVERYWHERE: Final = (
    "tests.fuzz.entries",
    "numpy",
    "h5py",
    *(f"PIL.{name}ImagePlugin" for name in ("Jpeg", "Png", "Gif", "WebP", "Bmp", "Tiff", "Ppm")),
)
# Every module of the product: none of them imports anything heavy, so these do it.
PRODUCT: Final = tuple(
    ".".join(path.relative_to(ROOT).with_suffix("").parts)
    for package in ("edge", "converters", "benchmarks", "devices")
    for path in sorted((ROOT / package).rglob("*.py"))
    if not path.name.startswith("__")
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
    *PRODUCT,
)
TRAINING: Final = (*EVERYWHERE, "tensorflow", "keras", *PRODUCT)
ON_DEVICE: Final = ("edge.device.session", "edge.device.trial", "tests.fuzz.entries")


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
def signed() -> Path:
    """A folder with a signed bundle and its key."""
    from edge.deploy.keys import new_key
    from edge.deploy.signing import sign

    folder = materials() / "signed"
    shutil.copytree(bundle(), folder / "bundle")
    new_key(folder / "key")
    sign(folder / "bundle", folder / "key", version=2000)
    return folder


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


def zipped(members: dict[str, bytes]) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return stream.getvalue()


def replies(*values: Any) -> bytes:
    return b"".join(json.dumps(value).encode() + b"\n" for value in values)


def place_file(name: str, *commands: Callable[[Path], Command]) -> Any:
    """Puts the file under that name; the commands are made of its path."""

    def place(folder: Path, content: bytes) -> Sequence[Command]:
        (folder / name).write_bytes(content)
        return [make(folder / name) for make in commands]

    return place


def content_of(source: Callable[[], Path], *names: str) -> Callable[[], Sequence[bytes]]:
    return lambda: [(source() / name).read_bytes() for name in names]


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
