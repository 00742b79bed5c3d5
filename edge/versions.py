"""Versions of what makes the numbers: part of every cache key and of the manifest."""

import importlib.metadata
import platform
from typing import Final

import edge

PACKAGES: Final = (
    "tensorflow",
    "keras",
    "tf2onnx",
    "onnx",
    "onnxruntime",
    "ai-edge-litert",
    "numpy",
    "pillow",
)


def versions() -> dict[str, str]:
    """Return the installed versions by package name; a missing package is left out."""
    found = {"edge": edge.__version__, "python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found
