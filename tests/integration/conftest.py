"""The command line as a user runs it: a process of its own, a cache of its own, small photos."""

import fcntl
import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import pytest
from PIL import Image

from edge.runtime.bundle import Bundle
from tests.integration.sshd import device, make_devices
from tests.warm import warm_python

__all__ = ["device", "make_devices"]  # fixtures of devices on loopback

COLORS: Final = {"cold": (40, 60, 200), "warm": (200, 60, 40)}
SMALL: Final = ("--weights", "none", "--size", "32")  # of every build that shares its stages
TIMEOUT: Final = 240  # seconds, of one command
# Every output of a test has this name.
NAME: Final = "bundle"


def noisy(seed: int, color: Sequence[int], size: int = 40, spread: int = 4) -> Image.Image:
    """A picture of that colour, with a noise that no other seed gives."""
    noise = np.random.default_rng(seed).integers(-spread, spread + 1, (size, size, 3))
    return Image.fromarray((np.array(color) + noise).clip(0, 255).astype(np.uint8))


def make_photos(
    root: Path, classes: dict[str, tuple[int, int, int]] = COLORS, count: int = 12
) -> Path:
    """A folder per class with so many pictures of its colour; the same bytes each time."""
    for index, (name, color) in enumerate(classes.items()):
        folder = root / name
        folder.mkdir(parents=True)
        for number in range(count):
            noisy(100 * index + number, color).save(folder / f"{number:02}.png")
    return root


@dataclass(frozen=True, slots=True)
class Edge:
    """The command ``edge`` with a cache, a temporary folder and a working folder of its own.

    Attributes:
        cache: What ``EDGE_CACHE`` names.
        work: Where commands run; their outputs go below.
        temporary: What ``TMPDIR`` names; not below ``work``.
        variables: More of the environment.
        timeout: Seconds that a command may take.
    """

    cache: Path
    work: Path
    temporary: Path
    variables: tuple[tuple[str, str], ...] = ()
    timeout: float = TIMEOUT

    def environment(self) -> dict[str, str]:
        """The environment of a command."""
        inherited = {name: value for name, value in os.environ.items() if name != "EDGE_DEBUG"}
        own = {"EDGE_CACHE": str(self.cache), "TMPDIR": str(self.temporary)}
        return inherited | own | dict(self.variables)

    def start(
        self, *arguments: object, python: str | Path = sys.executable
    ) -> subprocess.Popen[str]:
        """The command in a process group of its own, as a shell starts it; stderr is a pipe."""
        return subprocess.Popen(
            [python, "-m", "edge", *map(str, arguments)],
            cwd=self.work,
            env=self.environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            encoding="utf-8",
            start_new_session=True,
            preexec_fn=_heed_interrupts,
        )

    def run(self, *arguments: object) -> subprocess.CompletedProcess[str]:
        """Run a command to its end, in a copy of a process that has imported what it imports."""
        process = self.start(*arguments, python=warm_python())
        try:
            stdout, stderr = process.communicate(timeout=self.timeout)
        finally:
            end(process)
        return subprocess.CompletedProcess(process.args, process.returncode, stdout, stderr)

    def build(
        self, photos: Path, output: Path, *options: object
    ) -> subprocess.CompletedProcess[str]:
        """Run ``edge build`` with the options that the small bundle was built with, and more."""
        return self.run("build", photos, "--output", output, *SMALL, *options)


def _heed_interrupts() -> None:
    """Undo what a script does to a pytest in its background: it and its children ignore Ctrl-C."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def end(process: subprocess.Popen[str]) -> None:
    """Kill the process if it still runs; close its pipes."""
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    for stream in (process.stdout, process.stderr):
        if stream is not None:
            stream.close()


def read_until(process: subprocess.Popen[str], line: str) -> list[str]:
    """What the process says on stderr, up to and with that line.

    Raises:
        AssertionError: It ended without saying so, or took too long.
    """
    assert process.stderr is not None
    watchdog = threading.Timer(TIMEOUT, os.killpg, (process.pid, signal.SIGKILL))
    watchdog.start()
    lines = []
    try:
        for text in process.stderr:
            lines.append(text.rstrip("\n"))
            if lines[-1] == line:
                return lines
    finally:
        watchdog.cancel()
    raise AssertionError(f"no line {line!r}, but:\n" + "\n".join(lines))


def failed(
    result: subprocess.CompletedProcess[str], code: int, *said: str, hint: bool = True
) -> None:
    """The command ended with that exit code and says on stderr what was found and what to do."""
    assert result.returncode == code, f"{result.returncode}: {result.stderr[-2000:]}"
    assert "Traceback" not in result.stderr, result.stderr[-2000:]
    assert "unexpected" not in result.stderr, result.stderr[-2000:]
    assert "error: " in result.stderr, result.stderr[-2000:]
    assert not hint or "hint: " in result.stderr, result.stderr[-2000:]
    for text in said:
        assert text in result.stderr, f"{text!r} is not said: {result.stderr[-2000:]}"


def succeeded(result: subprocess.CompletedProcess[str]) -> None:
    """The command ended well and left no crash behind."""
    assert result.returncode == 0, f"{result.returncode}: {result.stderr[-2000:]}"
    assert "Traceback" not in result.stderr, result.stderr[-2000:]


def names(folder: Path) -> set[str]:
    """What lies in a folder, hidden or not."""
    return {entry.name for entry in folder.iterdir()}


def contents(folder: Path) -> dict[str, bytes]:
    """Every file below a folder by relative path."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def whole(output: Path) -> Bundle:
    """The bundle there, every file of it checked."""
    bundle = Bundle.open(output)
    bundle.verify()
    listed = {*bundle.manifest.files, "manifest.json"}
    assert contents(output).keys() == listed
    return bundle


def copied_cache(source: Path, target: Path, *, without: Iterable[str] = ()) -> Path:
    """A cache with the same stages less those of some kinds, such as ``model``.

    Entries are never changed once they are there, so files are linked, not copied; the features'
    database is.
    """
    kinds = tuple(without)
    (target / "stages").mkdir(parents=True)
    for entry in (source / "stages").iterdir():
        if entry.name.rpartition("-")[0] not in kinds:
            shutil.copytree(entry, target / "stages" / entry.name, copy_function=_link)
    if "features" not in kinds:
        for file in source.glob("features.sqlite*"):
            shutil.copy(file, target)
    return target


def made_once(factory: pytest.TempPathFactory, name: str, make: Callable[[Path], None]) -> Path:
    """A folder that one process of the run makes, and that the others then find."""
    root = factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        root = root.parent
    folder, done = root / f"once-{name}", root / f"once-{name}.done"
    with (root / f"once-{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not done.exists():
            folder.mkdir()
            make(folder)
            done.touch()
    return folder


def _link(source: str, target: str) -> None:
    try:
        os.link(source, target)
    except OSError:  # another file system
        shutil.copy(source, target)


@dataclass(frozen=True, slots=True)
class SmallBundle:
    """A bundle that every test may read, and none may change.

    Attributes:
        path: Of the bundle.
        photos: What it was built of.
        cache: The stages of its build; do not write there.
    """

    path: Path
    photos: Path
    cache: Path


@pytest.fixture(scope="session")
def small_bundle(tmp_path_factory: pytest.TempPathFactory) -> SmallBundle:
    """Two classes of twelve pictures, random weights, all six variants; built once a run."""

    def make(root: Path) -> None:
        (root / "tmp").mkdir()
        photos = make_photos(root / "photos")
        edge = Edge(cache=root / "cache", work=root, temporary=root / "tmp")
        succeeded(edge.build(photos, root / NAME))

    root = made_once(tmp_path_factory, "small", make)
    return SmallBundle(root / NAME, root / "photos", root / "cache")


@pytest.fixture(scope="module")
def warm_converters() -> Iterator[None]:
    """Converters that this process starts are copies of one that has imported TensorFlow."""
    before = sys.executable
    sys.executable = str(warm_python())
    yield
    sys.executable = before


@pytest.fixture
def make_edge(tmp_path: Path) -> Callable[..., Edge]:
    """``make_edge(cache=None, **variables)``: the command with an empty cache, or with that one."""

    def make(cache: Path | None = None, **variables: str) -> Edge:
        work, temporary = tmp_path / "work", tmp_path / "temporary"
        work.mkdir(exist_ok=True)
        temporary.mkdir(exist_ok=True)
        return Edge(cache or tmp_path / "cache", work, temporary, tuple(variables.items()))

    return make


@pytest.fixture
def edge(make_edge: Callable[..., Edge]) -> Edge:
    """The command with an empty cache."""
    return make_edge()


@pytest.fixture
def warm(make_edge: Callable[..., Edge], small_bundle: SmallBundle, tmp_path: Path) -> Edge:
    """The command with a copy of the cache that the small bundle's build left."""
    return make_edge(copied_cache(small_bundle.cache, tmp_path / "cache"))


@pytest.fixture
def bundle_copy(small_bundle: SmallBundle, tmp_path: Path) -> Path:
    """A copy of the small bundle that a test may damage."""
    return Path(shutil.copytree(small_bundle.path, tmp_path / "copy" / NAME))


@pytest.fixture
def mounted(tmp_path: Path) -> Iterator[Callable[..., Path]]:
    """``mounted(bytes)``: a file system in memory of that size; ``mounted(None)``: a read-only one.

    Skips where the test may not mount.
    """
    points: list[Path] = []

    def mount(size: int | None) -> Path:
        point = tmp_path / f"mount{len(points)}"
        point.mkdir()
        options = f"size={size},mode=755" if size else "ro,size=1m,mode=755"
        command = ["mount", "-t", "tmpfs", "-o", options, "edge-test", str(point)]
        try:
            done = subprocess.run(command, capture_output=True, text=True, check=False)
        except FileNotFoundError:
            pytest.skip("there is no mount command here")
        if done.returncode:
            pytest.skip(f"needs the right to mount (root): {done.stderr.strip()}")
        points.append(point)
        return point

    yield mount
    for point in points:
        subprocess.run(["umount", "--lazy", str(point)], check=True)


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of pictures and models that are not in the repository."""
    named = os.environ.get("EDGE_TEST_DATA")
    if not named:
        pytest.skip("EDGE_TEST_DATA names no folder with pictures")
    return Path(named)
