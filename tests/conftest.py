"""What all tests share, and which of them start TensorFlow.

A test has the mark ``tensorflow`` if its module imports TensorFlow, Keras or tf2onnx anywhere, or
imports another module of the tests that does, or if it asks for a fixture that starts them. Who
starts them otherwise, such as by a command, says so by the mark itself. ``make test-fast`` runs the
tests without the mark, in processes that find ``without_tensorflow`` in place of the packages: a
test that imports one of them there all the same fails, in whichever process it does.
"""

import ast
import os
import signal
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Final

import pytest

ROOT: Final = Path(__file__).parents[1]
HEAVY: Final = {"tensorflow", "keras", "tf2onnx"}
STARTERS: Final = {"small_bundle", "warm_converters"}  # fixtures that start them
REFUSED: Final = "EDGE_TEST_REFUSED"  # names the file where refused imports are written down


def pytest_configure() -> None:
    """Make processes as a user's are, whatever started the tests.

    Compiled modules are kept: commands start in half the time, and a bundle that runs shows what it
    leaves behind. What goes into a pipe is buffered, unless edge itself sees to it that it comes.
    Ctrl-C is heeded, which a shell makes processes in its background ignore: tests press it.
    """
    for name in ("PYTHONDONTWRITEBYTECODE", "PYTHONUNBUFFERED"):
        os.environ.pop(name, None)
    sys.dont_write_bytecode = False
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@cache
def imported(path: Path) -> frozenset[str]:
    """Return the names of all modules that a file imports, at whatever depth of its code."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module)
            found.update(f"{node.module}.{alias.name}" for alias in node.names)
    return frozenset(found)


@cache
def starts_tensorflow(path: Path) -> bool:
    """Return whether a file of the tests, or one that it imports, imports TensorFlow."""
    seen, ahead = {path}, [path]
    while ahead:
        names = imported(ahead.pop())
        if any(name.partition(".")[0] in HEAVY for name in names):
            return True
        for name in names:
            other = ROOT.joinpath(*name.split(".")).with_suffix(".py")
            if name.startswith("tests.") and other not in seen and other.is_file():
                seen.add(other)
                ahead.append(other)
    return False


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the tests that start TensorFlow."""
    for item in items:
        if starts_tensorflow(item.path) or STARTERS & set(getattr(item, "fixturenames", ())):
            item.add_marker(pytest.mark.tensorflow)


@pytest.fixture(autouse=True, scope="session")
def wide_terminal() -> Iterator[None]:
    """Tests read whole rows and sentences; those of tables and help make the terminal narrow."""
    before = os.environ.get("COLUMNS")
    os.environ["COLUMNS"] = "200"
    yield
    if before is None:
        del os.environ["COLUMNS"]
    else:
        os.environ["COLUMNS"] = before


@pytest.fixture(autouse=True, scope="session")
def refused_imports(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path | None]:
    """The file where refused imports are written down; None where nothing is refused."""
    if "without_tensorflow" not in os.environ.get("PYTHONPATH", ""):
        yield None
        return
    file = tmp_path_factory.mktemp("refused") / "imports"
    file.touch()
    os.environ[REFUSED] = str(file)
    yield file
    del os.environ[REFUSED]


@pytest.fixture(autouse=True)
def without_tensorflow(refused_imports: Path | None) -> Iterator[None]:
    """Fail a test of ``make test-fast`` that imported TensorFlow, even if the error was caught."""
    yield
    if refused_imports is not None and (lines := refused_imports.read_text(encoding="utf-8")):
        refused_imports.write_text("", encoding="utf-8")
        pytest.fail(f"not marked with tensorflow, but imports it: {lines}")
