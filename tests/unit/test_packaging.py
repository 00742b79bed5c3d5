"""What the wheel and the source distribution hold, and what they must not."""

import hashlib
import os
import re
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

from edge.weights import MOBILENET_FILE, MOBILENET_SHA256

ROOT = Path(__file__).parents[2]
WEIGHTS = f"edge/weights/{MOBILENET_FILE}"

# https://www.apache.org/licenses/LICENSE-2.0.txt, to the byte
APACHE_2_SHA256 = "cfc7749b96f63bd31c3c42b5c471bf756814053e847c10f3eb003417bc523d30"


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def build(kind: str, folder: Path) -> Path:
    """Build with hatchling itself: no other environment, no package index."""
    program = f"import hatchling.build as b; b.build_{kind}({os.fspath(folder)!r})"
    result = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, timeout=300
    )
    assert result.returncode == 0, result.stderr[-2000:]
    (built,) = folder.iterdir()
    return built


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build("wheel", tmp_path_factory.mktemp("wheel"))


@pytest.fixture(scope="module")
def names(wheel: Path) -> list[str]:
    with zipfile.ZipFile(wheel) as archive:
        return archive.namelist()


@pytest.fixture(scope="module")
def sdist_names(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    with tarfile.open(build("sdist", tmp_path_factory.mktemp("sdist"))) as archive:
        return [name.partition("/")[2] for name in archive.getnames()]


def test_the_wheel_installs_these_names_and_no_others(names: list[str]) -> None:
    top = {name.partition("/")[0] for name in names}
    assert {name for name in top if not name.endswith(".dist-info")} == {
        "edge",
        "converters",
        "benchmarks",
        "devices",
    }
    assert len(top) == 5


def test_the_wheel_holds_every_module_and_data_file(names: list[str]) -> None:
    kept = {
        path.relative_to(ROOT).as_posix()
        for package in ("edge", "converters", "benchmarks", "devices")
        for path in (ROOT / package).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert {name for name in names if ".dist-info/" not in name} == kept


def test_the_wheel_holds_the_licences(wheel: Path, names: list[str]) -> None:
    for ending in (
        ".dist-info/licenses/LICENSE",
        ".dist-info/licenses/NOTICE",
        ".dist-info/licenses/edge/weights/LICENSE",
        "edge/weights/LICENSE",
        "edge/weights/README.md",
    ):
        assert [name for name in names if name.endswith(ending)], ending
    with zipfile.ZipFile(wheel) as archive:
        (metadata,) = [name for name in names if name.endswith(".dist-info/METADATA")]
        text = archive.read(metadata).decode()
    assert "License-Expression: Apache-2.0\n" in text
    assert len(re.findall(r"^License-File: ", text, re.MULTILINE)) == 3


@pytest.mark.parametrize("path", ["LICENSE", "edge/weights/LICENSE"])
def test_the_licence_is_the_whole_apache_licence(path: str) -> None:
    assert sha256((ROOT / path).read_bytes()) == APACHE_2_SHA256


def test_the_weights_are_those_that_are_stated(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        assert sha256(archive.read(WEIGHTS)) == MOBILENET_SHA256


def test_the_readme_states_the_hashes() -> None:
    text = (ROOT / "edge/weights/README.md").read_text(encoding="utf-8")
    stated = dict(re.findall(r"^\| `([^`]+)` \| .* \| `([0-9a-f]{64})` \|$", text, re.MULTILINE))
    assert stated[MOBILENET_FILE] == MOBILENET_SHA256
    assert set(stated) == {MOBILENET_FILE, "imagenet_classes.csv"}
    for name, digest in stated.items():
        assert sha256((ROOT / "edge/weights" / name).read_bytes()) == digest


def test_the_notice_names_what_comes_from_others() -> None:
    text = (ROOT / "NOTICE").read_text(encoding="utf-8")
    schema = "edge/modelfile/tflite_metadata_schema.py"
    for name in (WEIGHTS, "edge/weights/imagenet_classes.csv", schema):
        assert f"File:      {name}\n" in text
        assert (ROOT / name).is_file()


def test_the_source_distribution_holds_the_project_alone(sdist_names: list[str]) -> None:
    assert {name.partition("/")[0] for name in sdist_names} <= {
        "edge",
        "converters",
        "benchmarks",
        "devices",
        "docs",
        "examples",
        "tests",
        ".gitignore",
        "CHANGELOG.md",
        "CONTRIBUTING.md",
        "LICENSE",
        "Makefile",
        "NOTICE",
        "PKG-INFO",
        "README.md",
        "SECURITY.md",
        "pyproject.toml",
    }
    assert {WEIGHTS, "LICENSE", "NOTICE", "tests/unit/test_packaging.py"} <= set(sdist_names)


def test_the_source_distribution_holds_no_picture(sdist_names: list[str]) -> None:
    pictures = (".jpg", ".jpeg", ".png", ".bmp", ".gif", ".webp")
    assert [name for name in sdist_names if name.lower().endswith(pictures)] == []
