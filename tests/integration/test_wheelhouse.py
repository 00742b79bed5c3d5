"""The wheels that a deploy ships, from the package index, doing their work with nothing beside."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any, Final

import numpy as np
import pytest
from PIL import Image

from edge.deploy.wheelhouse import Environment, Platform, environment
from edge.deploy.wheelhouse.lock import EXTRAS, FOLDER
from edge.deploy.wheelhouse.slim import needed
from edge.device.facts import LIBRARIES
from edge.errors import EngineUnavailable
from tests.integration.environments import NO_INDEX, environments_root

pytestmark = pytest.mark.slow

ROOT: Final = Path(__file__).parents[2]
LOCKS: Final = sorted(path.stem.rpartition("-")[::2] for path in FOLDER.glob("*.toml"))
# What every system with glibc has, and what edge.device.facts looks for.
SYSTEM: Final = {
    *LIBRARIES,
    "ld-linux-aarch64.so.1",
    "ld-linux-x86-64.so.2",
    "libc.so.6",
    "libdl.so.2",
    "libm.so.6",
    "libpthread.so.0",
    "librt.so.1",
}
# Loads all that a device loads, then says which files that was.
PROGRAM: Final = """
import importlib, io, json, sys
import numpy as np
import paho.mqtt.client
from pathlib import Path
from PIL import Image
from edge.runtime.image import decode_image
from edge.runtime.session import ENGINES, open_session

engine, model, folder = sys.argv[1:]
pictures = {}
for path in sorted(Path(folder).iterdir()):
    pictures[path.name] = list(decode_image(path).size)
found = {"pictures": pictures, "output": None}
if model:
    session = open_session(Path(model), engine=engine)
    pixels = np.arange(16 * 16 * 3, dtype=np.float32).reshape(1, 16, 16, 3) / 4
    found["output"] = session.run(pixels)[0].tolist()
    found["engine"] = session.engine
else:
    importlib.import_module(ENGINES[engine].module)
found["files"] = sorted({m.__file__ for m in sys.modules.values() if getattr(m, "__file__", None)})
print(json.dumps(found))
"""


def made(engine: str, python: str, machine: str) -> Environment:
    target = Platform(machine=machine, python=python, glibc=(2, 36))
    try:
        return environment(engine, target, extras=EXTRAS, cache=environments_root() / "wheelhouse")
    except EngineUnavailable as error:
        if any(sign in error.message.lower() for sign in NO_INDEX):
            pytest.skip(f"no package index: {error.message}")
        raise


def interpreter(version: str) -> str:
    """A Python of that version on this machine."""
    if version == f"{sys.version_info.major}.{sys.version_info.minor}":
        return sys.executable
    path = shutil.which(f"python{version}") or ""
    if not path or subprocess.run([path, "-c", ""], capture_output=True, check=False).returncode:
        pytest.skip(f"no Python {version} on this machine")
    return path


def pictures(folder: Path) -> Path:
    """One of each format that the runtime reads."""
    folder.mkdir()
    image = Image.fromarray(np.arange(48 * 32 * 3, dtype=np.uint32).reshape(32, 48, 3).astype("u1"))
    for suffix in ("jpg", "png", "bmp", "gif", "webp"):
        image.save(folder / f"picture.{suffix}")
    return folder


def run(engine: str, python: str, path: Path, folder: Path) -> dict[str, Any]:
    """Run on a copy of the runtime, with nothing else on the path."""
    runtime = folder / "runtime/edge"
    shutil.copytree(ROOT / "edge/runtime", runtime / "runtime")
    for name in ("__init__.py", "errors.py"):
        shutil.copy(ROOT / "edge" / name, runtime / name)
    model = "" if engine == "onnxruntime" else str(ROOT / "tests/data/channels_fp32.tflite")
    arguments = [engine, model, str(pictures(folder / "pictures"))]
    done = subprocess.run(
        [interpreter(python), "-P", "-s", "-S", "-B", "-c", PROGRAM, *arguments],
        env={"PYTHONPATH": os.pathsep.join([str(runtime.parent), str(path)])},
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    value: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return value


@pytest.mark.parametrize(("engine", "python"), LOCKS)
def test_an_environment_does_its_work_alone(engine: str, python: str, tmp_path: Path) -> None:
    here = made(engine, python, os.uname().machine)
    found = run(engine, python, here.path, tmp_path)
    assert found["pictures"] == {
        f"picture.{suffix}": [48, 32] for suffix in ("bmp", "gif", "jpg", "png", "webp")
    }
    if found["output"] is not None:
        package = {"litert": "ai-edge-litert"}.get(engine, engine)
        assert found["engine"] == f"{package} {here.packages[package]}"
        assert np.allclose(np.sum(found["output"]), 1, atol=1e-5)  # a softmax over channels
    # Whatever was loaded came from the environment, the runtime, or Python itself.
    loaded = [Path(name) for name in found["files"]]
    ours = [path.relative_to(here.path) for path in loaded if path.is_relative_to(here.path)]
    assert len(ours) > 50
    others = [path for path in loaded if not path.is_relative_to(here.path)]
    assert not [path for path in others if "site-packages" in path.parts]
    # The Python files that were needed here are also in what goes to the other machines.
    there = made(engine, python, "aarch64")
    assert {path.as_posix() for path in ours if path.suffix == ".py"} <= set(there.files)


@pytest.mark.parametrize("machine", ["aarch64", "x86_64"])
@pytest.mark.parametrize(("engine", "python"), LOCKS)
def test_every_library_that_is_asked_for_is_there(engine: str, python: str, machine: str) -> None:
    found = made(engine, python, machine)
    names = {Path(path).name for path in found.files}
    asked = 0
    for path in found.files:
        for name in needed((found.path / path).read_bytes()):
            asked += 1
            assert name in names | SYSTEM, f"{path} needs {name}"
    assert asked > 20


@pytest.mark.parametrize(("engine", "python"), LOCKS)
def test_an_environment_is_slim_and_keeps_its_licences(engine: str, python: str) -> None:
    found = made(engine, python, "aarch64")
    assert found.size_bytes < 95e6
    assert sum(wheel.size_bytes for wheel in found.wheels) < 50e6  # what is downloaded
    licences = {
        path.split("-")[0].lower().replace("_", "-")
        for path in found.files
        if "licen" in path.lower()
    }
    assert {"numpy", "pillow", "paho-mqtt"} <= licences
    assert not [path for path in found.files if "/tests/" in path and "licen" not in path.lower()]
