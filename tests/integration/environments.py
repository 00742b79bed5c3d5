"""Virtual environments of their own, for what must not share one with the host's packages."""

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import pytest

TIMEOUT: Final = 600  # seconds, of one installation

# What pip writes when no index answers, as against one that answers and lacks the package.
NO_INDEX: Final = (
    "connection error",
    "connectionerror",
    "connecttimeout",
    "connection broken",
    "failed to establish a new connection",
    "max retries exceeded",
    "name resolution",
    "proxyerror",
    "read timed out",
)


def environment(name: str, requirements: Sequence[str]) -> Path:
    """A virtual environment that holds exactly these packages and what they need.

    It is made once and found again by later runs, in the folder that ``EDGE_TEST_ENVIRONMENTS``
    names (``edge-test-environments`` in the user's cache if unset). A venv cannot be moved into
    place when complete, since absolute paths stand in it: a stamp written last says that it is.

    Args:
        name: For people; part of the folder's name.
        requirements: As pip takes them.

    Returns:
        The environment's python.

    Raises:
        pytest.skip.Exception: pip reaches no package index.
        RuntimeError: pip reaches one and fails nevertheless.
    """
    wanted = "\n".join([sys.version, *sorted(requirements)])
    root = environments_root()
    root.mkdir(parents=True, exist_ok=True)
    path = root / f"{name}-{hashlib.sha256(wanted.encode()).hexdigest()[:12]}"
    python, stamp = path / "bin" / "python", path / "complete"
    with _locked(path.with_name(f"{path.name}.lock")):
        # The stamp outlives the Python that the environment links to, so python is asked for too.
        if not (stamp.is_file() and python.exists()):
            shutil.rmtree(path, ignore_errors=True)
            _make(path, python, requirements)
            stamp.write_text(f"{wanted}\n", encoding="utf-8")
    return python


def environments_root() -> Path:
    """The folder that the environments lie in."""
    if named := os.environ.get("EDGE_TEST_ENVIRONMENTS"):
        return Path(named).resolve()
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(cache) / "edge-test-environments"


def bare_environ(**changes: str) -> dict[str, str]:
    """This process's environment variables, without those that lead Python to other packages."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")}
    return kept | {"PYTHONNOUSERSITE": "1"} | changes


def _make(path: Path, python: Path, requirements: Sequence[str]) -> None:
    _run([sys.executable, "-m", "venv", str(path)])
    # Which index is pip's own affair: its configuration and environment variables decide.
    _run([str(python), "-m", "pip", "install", "--quiet", "--retries", "1", *requirements])


def _run(command: list[str]) -> None:
    try:
        result = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=TIMEOUT,
            env=bare_environ(),
        )
    except subprocess.TimeoutExpired:
        pytest.skip(f"no package index answered within {TIMEOUT} s: {' '.join(command)}")
    if result.returncode == 0:
        return
    output = result.stdout + result.stderr
    if any(sign in output.lower() for sign in NO_INDEX):
        pytest.skip(f"pip reaches no package index, needed for: {' '.join(command)}")
    raise RuntimeError(f"{' '.join(command)} failed:\n{output[-4000:]}")


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Let one process at a time in; the lock goes when its holder does."""
    with path.open("w") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        yield
