"""Ctrl-C and kill -9 at any moment: no half bundle, and what was finished is not done again."""

import json
import os
import shutil
import signal
import sqlite3
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from functools import partial
from pathlib import Path
from typing import Final

import pytest

from tests.integration.conftest import (
    NAME,
    SMALL,
    TIMEOUT,
    Edge,
    SmallBundle,
    contents,
    copied_cache,
    end,
    names,
    read_until,
    whole,
)

BOTH: Final = ("tflite-int8", "onnx-fp32")  # one process of each converter
ONE: Final = ("tflite-int8",)  # where conversion is not what is interrupted

# Stage -> the kind of cache entry that it leaves; in order. ``reference`` and ``score`` leave
# entries of one kind, so they are taken away together.
STAGES: Final = {
    "data": None,
    "network": "base",
    "features": "features",
    "head": "trained",
    "calibration images": "calibration",
    "convert": "model",
    "reference": "predictions",
    "score": "predictions",
    "latency": None,
    "bundle": None,
}
# Seconds after which a stage is in the middle of its work, more or less.
MIDDLE: Final = {"network": 4.0, "head": 3.0, "convert": 4.0, "reference": 1.0, "latency": 0.2}

KILLED_IN_MAKE_TEST: Final = {"convert"}  # each is a build and a half


def converters(folder: Path) -> list[int]:
    """The converter processes whose request lies in that folder."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                arguments = (entry / "cmdline").read_bytes().split(b"\0")
            except OSError:  # it has ended meanwhile
                continue
            place = os.fsencode(folder)
            if b"converters" in arguments and any(place in argument for argument in arguments):
                found.append(int(entry.name))
    return found


def waited_for(condition: Callable[[], object], seconds: float = 60) -> bool:
    """Whether it came true within that time; what goes while it is looked for is not there yet."""
    last = time.monotonic() + seconds
    while time.monotonic() < last:
        with suppress(FileNotFoundError):
            if condition():
                return True
        time.sleep(0.02)
    return False


@pytest.fixture
def conversion_ends(tmp_path: Path) -> Iterator[None]:
    """No converter of the test outlives it, also where the test fails."""
    yield
    for number in converters(tmp_path):
        os.kill(number, signal.SIGKILL)


def entries(cache: Path) -> dict[str, tuple[int, int]]:
    """The finished stages, each with what changes if it is made anew."""
    found = {}
    for path in (cache / "stages").glob("[!.]*"):
        status = path.stat()
        found[path.name] = status.st_ino, status.st_mtime_ns
    return found


def kinds(cache: Path) -> set[str]:
    """The kinds of the finished stages."""
    return {name.rpartition("-")[0] for name in entries(cache)}


def kept_features(cache: Path) -> int:
    """How many images have their features kept."""
    with closing(sqlite3.connect(cache / "features.sqlite")) as database:
        return int(database.execute("SELECT COUNT(*) FROM features").fetchone()[0])


def start(
    edge: Edge, photos: Path, output: Path, variants: tuple[str, ...]
) -> subprocess.Popen[str]:
    """``edge build``, to be waited for."""
    options = (*SMALL, "--variants", ",".join(variants), "--overwrite")
    return edge.start("build", photos, "--output", output, *options)


def killed(build: Callable[[], subprocess.Popen[str]], stage: str, delay: float) -> None:
    """Build, and kill -9 that long after the stage has begun."""
    process = build()
    try:
        read_until(process, f"{stage} ...")
        time.sleep(delay)
        process.kill()
        process.wait()
    finally:
        end(process)


def completed(build: Callable[[], subprocess.Popen[str]]) -> str:
    """Build to the end; what it says."""
    process = build()
    try:
        _, said = process.communicate(timeout=TIMEOUT)
    finally:
        end(process)
    assert process.returncode == 0, said
    assert "Traceback" not in said
    return said


def built_of(output: Path) -> set[str]:
    """The variants of the whole bundle there."""
    return {variant.name for variant in whole(output).manifest.variants}


@pytest.mark.slow
@pytest.mark.parametrize(
    "stage",
    [
        stage if stage in KILLED_IN_MAKE_TEST else pytest.param(stage, marks=pytest.mark.long)
        for stage in STAGES
    ],
)
def test_kill_9(
    make_edge: Callable[..., Edge],
    small_bundle: SmallBundle,
    tmp_path: Path,
    conversion_ends: None,
    stage: str,
) -> None:
    """Killed in a stage whose work is to be done, after the stage before it did its own.

    Every other stage is in the cache, so that each part of this test does the work of two stages.
    """
    order = list(STAGES)
    before = order[max(0, order.index(stage) - 1)]
    missing = {kind for kind in (STAGES[stage], STAGES[before]) if kind}
    cache = copied_cache(small_bundle.cache, tmp_path / "cache", without=missing)
    edge = make_edge(cache)
    fresh, old = edge.work / "fresh" / NAME, edge.work / "old" / NAME
    fresh.parent.mkdir()
    shutil.copytree(small_bundle.path, old)
    was = contents(old)
    new = BOTH if stage == "convert" else ONE
    build_fresh = partial(start, edge, small_bundle.photos, fresh, new)
    build_old = partial(start, edge, small_bundle.photos, old, new)

    killed(build_fresh, stage, 0)  # at the start of the stage
    assert not fresh.exists()
    if STAGES[before] == "features":
        assert kept_features(cache) == 20
    elif STAGES[before] and STAGES[before] != STAGES[stage]:
        assert STAGES[before] in kinds(cache)
    finished = entries(cache)

    killed(build_old, stage, MIDDLE.get(stage, 0.02))
    if stage != "bundle" or built_of(old) != set(new):  # that one may be done by then
        assert contents(old) == was
    whole(old)
    assert finished.items() <= entries(cache).items()
    finished = entries(cache)

    # The same commands afterwards.
    assert "features: 20 done" in completed(build_fresh)
    assert built_of(fresh) == set(new)
    assert finished.items() <= entries(cache).items()
    finished = entries(cache)
    completed(build_old)
    assert built_of(old) == set(new)
    assert entries(cache) == finished
    assert names(fresh.parent) == names(old.parent) == {NAME}
    if stage == "head":
        report = json.loads((fresh / "report.json").read_text(encoding="utf-8"))
        assert report["training"]["features_reused"] == 20
    assert waited_for(lambda: not converters(edge.cache))
    # The killed runs have left nothing in the cache either.
    assert not list((cache / "stages").glob(".*"))


@pytest.mark.slow
def test_kill_9_between_two_conversions(
    make_edge: Callable[..., Edge],
    small_bundle: SmallBundle,
    tmp_path: Path,
    conversion_ends: None,
) -> None:
    """What one converter has finished stays; no converter process does."""
    cache = copied_cache(small_bundle.cache, tmp_path / "cache", without=["model"])
    edge = make_edge(cache)
    output = edge.work / NAME
    build = partial(start, edge, small_bundle.photos, output, BOTH)
    process = build()
    try:
        read_until(process, "convert ...")
        assert waited_for(lambda: converters(edge.cache))
        assert waited_for(lambda: "model" in kinds(cache), TIMEOUT)
        process.kill()
        process.wait()
        assert waited_for(lambda: not converters(edge.cache), 10)
    finally:
        end(process)
    assert names(edge.work) == set()
    finished = entries(cache)
    completed(build)
    assert built_of(output) == set(BOTH)
    assert finished.items() <= entries(cache).items()


@pytest.mark.slow
@pytest.mark.parametrize(
    "stage",
    [
        "data",
        pytest.param("network", marks=pytest.mark.long),
        pytest.param("features", marks=pytest.mark.long),
        "head",
        "convert",
        pytest.param("latency", marks=pytest.mark.long),
    ],
)
def test_ctrl_c(
    make_edge: Callable[..., Edge],
    small_bundle: SmallBundle,
    tmp_path: Path,
    conversion_ends: None,
    stage: str,
) -> None:
    """SIGINT to the whole process group, as a terminal sends it."""
    without = [kind for kind in (STAGES[stage],) if kind]
    cache = copied_cache(small_bundle.cache, tmp_path / "cache", without=without)
    edge = make_edge(cache)
    output = edge.work / NAME
    finished = entries(cache)
    new = BOTH if stage == "convert" else ONE
    build = partial(start, edge, small_bundle.photos, output, new)
    process = build()
    try:
        read_until(process, f"{stage} ...")
        if stage == "convert":
            assert waited_for(lambda: len(converters(edge.cache)) == 2)
        elif stage in ("network", "head"):
            time.sleep(1)  # TensorFlow is being imported
        pressed = time.monotonic()
        os.killpg(process.pid, signal.SIGINT)
        _, said = process.communicate(timeout=TIMEOUT)
        seconds = time.monotonic() - pressed
    finally:
        end(process)
    assert process.returncode == 130, f"{process.returncode}: {said}"
    assert "interrupted" in said
    assert "Run the same command again" in said
    assert "Traceback" not in said
    assert "Exception" not in said
    assert seconds < 10
    assert names(edge.work) == set()
    assert converters(edge.cache) == []
    assert not list(edge.temporary.glob("edge-*"))
    assert not list((cache / "stages").glob(".*"))
    assert finished.items() <= entries(cache).items()
    completed(build)
    assert built_of(output) == set(new)
    assert names(edge.work) == {NAME}


def test_ctrl_c_in_predict(make_edge: Callable[..., Edge], small_bundle: SmallBundle) -> None:
    """A command without stages stops as well, and says so."""
    edge = make_edge()
    fifo = edge.work / "waits.png"
    os.mkfifo(fifo)
    process = edge.start("predict", small_bundle.path, fifo)
    writer = -1

    def reading() -> bool:
        """Whether the process reads the picture, of which nothing will come."""
        nonlocal writer
        try:
            writer = os.open(fifo, os.O_WRONLY | os.O_NONBLOCK)
        except OSError:
            return False
        return True

    try:
        assert waited_for(lambda: reading() or process.poll() is not None)
        if writer < 0:
            pytest.skip("edge predict reads no FIFO, so it cannot be made to wait")
        time.sleep(0.2)
        os.killpg(process.pid, signal.SIGINT)
        _, said = process.communicate(timeout=TIMEOUT)
    finally:
        if writer >= 0:
            os.close(writer)
        end(process)
    assert process.returncode == 130, f"{process.returncode}: {said}"
    assert "interrupted" in said
    assert "Traceback" not in said
