"""What runs on the device loads and needs nothing but what a device has."""

import ast
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
RUNTIME = ROOT / "edge" / "runtime"
SOURCES = sorted([*RUNTIME.rglob("*.py"), ROOT / "edge" / "errors.py", ROOT / "edge/__init__.py"])

# Interpreters are loaded when a model is opened, the rest never.
NEVER_LOADED = (
    "ai_edge_litert",
    "converters",
    "flatbuffers",
    "keras",
    "onnx",
    "onnxruntime",
    "rich",
    "sklearn",
    "tensorflow",
    "tf2onnx",
    "tflite_runtime",
    "typer",
)
ALLOWED = (*sys.stdlib_module_names, "numpy", "PIL", "edge.errors", "edge.runtime")
# Only where a user asks for it, with a way out where it is missing.
OPTIONAL = {"edge.runtime.live.mqtt": ("paho.mqtt",)}
ALLOWED_EXACTLY = ("edge", "edge.__version__")  # edge/__init__.py, which a bundle carries too


def module_name(source: Path) -> str:
    parts = source.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = [module_name(source) for source in SOURCES]


def imported(code: str, package: str) -> Iterator[str]:
    """Dotted names that a source imports, in functions too; ``from a import b`` gives ``a.b``."""
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package.split(".")[: len(package.split(".")) - node.level + 1]
            base = ".".join([*(above if node.level else []), *filter(None, [node.module])])
            yield from (f"{base}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith("import_module"):
            yield from (str(name.value) for name in node.args if isinstance(name, ast.Constant))


def foreign(code: str, package: str = "edge.runtime", optional: tuple[str, ...] = ()) -> list[str]:
    """The imported names that the device's code may not import."""
    return [
        name
        for name in imported(code, package)
        if name not in ALLOWED_EXACTLY
        and not any(
            name == allowed or name.startswith(f"{allowed}.") for allowed in (*ALLOWED, *optional)
        )
    ]


def test_the_modules_are_found() -> None:
    assert {"edge.runtime", "edge.runtime.classifier", "edge.runtime.backends.onnx"} <= {*MODULES}


@pytest.mark.parametrize("module", ["edge.runtime.classifier", " ".join(MODULES)])
def test_the_runtime_loads_no_host_package(module: str) -> None:
    program = (
        "import importlib, sys\n"
        f"for name in {module.split()!r}: importlib.import_module(name)\n"
        f"print(*[name for name in {NEVER_LOADED!r} if name in sys.modules])\n"
    )
    result = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, timeout=60
    )
    assert result.returncode == 0, result.stderr
    assert result.stdout.split() == []


@pytest.mark.parametrize("source", SOURCES, ids=MODULES)
def test_the_runtime_imports_only_what_a_device_has(source: Path) -> None:
    package = module_name(source if source.stem == "__init__" else source.parent / "__init__.py")
    optional = OPTIONAL.get(module_name(source), ())
    assert foreign(source.read_text(encoding="utf-8"), package, optional) == []


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("import tensorflow as tf", ["tensorflow"]),
        ("def f():\n    from onnx import helper", ["onnx.helper"]),
        ("from edge import cache", ["edge.cache"]),
        ("from edge.training.models import build", ["edge.training.models.build"]),
        ("from .. import progress", ["edge.progress"]),
        ("from ..cache import StageCache", ["edge.cache.StageCache"]),
        ("import importlib\nimportlib.import_module('keras')", ["keras"]),
        ("import edge.runtimes", ["edge.runtimes"]),
        ("from edge import __version__, errors", []),
        ("from . import spec\nfrom .spec import Manifest\nimport os.path, numpy.typing", []),
    ],
)
def test_a_foreign_import_is_seen(code: str, expected: list[str]) -> None:
    assert foreign(code) == expected


def test_the_import_contracts_name_every_part_of_the_project() -> None:
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    layers, device = tomllib.loads(text)["tool"]["importlinter"]["contracts"]
    parts = {
        f"edge.{path.stem}"
        for path in (ROOT / "edge").iterdir()
        if path.suffix in ("", ".py") and not path.stem.startswith("_")
    }
    named = [name.strip() for layer in layers["layers"] for name in layer.split("|")]
    assert sorted(named) == sorted(parts | {"converters", "benchmarks", "devices"})
    assert {*device["source_modules"], *device["forbidden_modules"]} == set(named)
