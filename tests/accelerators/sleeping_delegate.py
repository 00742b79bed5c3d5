"""Builds the external delegate of ``sleeping_delegate.c``; its options stand there."""

import shutil
import subprocess
from pathlib import Path
from typing import Final

import pytest

SOURCE: Final = Path(__file__).with_suffix(".c")
TIMEOUT: Final = 120  # seconds


def build_delegate(folder: Path) -> Path:
    """Compile the delegate into ``folder`` and return the library; built once per folder.

    Raises:
        pytest.skip.Exception: No C compiler here.
    """
    library = folder / "libsleeping_delegate.so"
    if library.is_file():
        return library
    compiler = shutil.which("gcc") or shutil.which("cc")
    if compiler is None:
        pytest.skip("no C compiler here to build the test delegate with")
    subprocess.run(
        [compiler, "-O1", "-Wall", "-Wextra", "-shared", "-fPIC", "-o", library, SOURCE],
        check=True,
        timeout=TIMEOUT,
    )
    return library
