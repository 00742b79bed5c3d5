"""Builds and exports that are killed, run two at once, or find a cache that was changed.

kill -9 at random moments leaves the old output or the new, never half; the next run is right. The
moments are seeded and spread over the measured time of a build of which some stages are in the
cache. ``make test-all`` makes forty kills, ``make test`` three.
"""

import json
import os
import shutil
import sqlite3
import subprocess
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import pytest

from tests.integration.conftest import (
    NAME,
    TIMEOUT,
    Edge,
    contents,
    copied_cache,
    end,
    failed,
    make_photos,
    names,
    read_until,
    succeeded,
    whole,
)
from tests.integration.processes import has_ended
from tests.integration.test_interrupted import waited_for

OPTIONS: Final = (
    "--weights",
    "none",
    "--size",
    "96",
    "--alpha",
    "0.25",
    "--variants",
    "tflite-int8",
)
# What a build keeps, and about what share of its work each is.
KINDS: Final = {
    "base": 0.25,
    "features": 0.05,
    "trained": 0.3,
    "calibration": 0.0,
    "model": 0.3,
    "predictions": 0.1,
    "integers": 0.0,
}
START: Final = 0.3  # share of a run's time that no cache saves
KILLS: Final = 40
SAMPLE: Final = 3
# What a build says of a run that was killed before it is nothing.
STRANGE: Final = ("note: ", "error: ", "Traceback", "bug of edge", "interrupted")


@dataclass(frozen=True, slots=True)
class Command:
    """A command that makes a bundle, with its cache when it is done and what it made.

    Attributes:
        arguments: Less ``--output``.
        cache: The stages of a whole run; do not write there.
        right: What decides the answers of the bundle: its models, labels and golden answers.
        scores: Of the report.
        notes: What a run says besides its stages.
        seconds: Of a run that finds nothing in the cache.
    """

    arguments: tuple[object, ...]
    cache: Path
    right: dict[str, bytes]
    scores: list[Any]
    notes: frozenset[str]
    seconds: float


def answers(output: Path) -> tuple[dict[str, bytes], list[Any]]:
    """What of a whole bundle must not depend on kills."""
    whole(output)
    held = {
        name: content
        for name, content in contents(output).items()
        if name.startswith(("models/", "labels", "golden", "head"))
    }
    report = json.loads((output / "report.json").read_bytes())
    scores = [
        [variant[name] for name in ("name", "top1", "agreement", "size_bytes")]
        for variant in report["variants"]
    ]
    return held, [*scores, report["reference"]["top1"]]


def said(text: str) -> frozenset[str]:
    """The lines that a user would stop at."""
    return frozenset(line for line in text.splitlines() if line.startswith(STRANGE))


@pytest.fixture(scope="module")
def commands(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Command]:
    """The same photos built, and the model of that build exported."""
    root = tmp_path_factory.mktemp("kills")
    (root / "tmp").mkdir()
    photos = make_photos(root / "photos")
    model = root / "model.keras"
    arguments: dict[str, tuple[object, ...]] = {
        "build": ("build", photos, *OPTIONS),
        "export": (
            *("export", model, "--calibration-data", photos, "--variants", "tflite-int8"),
            *("--calibration-images", 12),
        ),
    }
    made = {}
    for name, words in arguments.items():
        edge = Edge(cache=root / f"{name}-cache", work=root, temporary=root / "tmp")
        output = root / name
        begun = time.monotonic()
        done = edge.run(*words, "--output", output)
        seconds = time.monotonic() - begun
        succeeded(done)
        if name == "build":
            shutil.copy(output / "source" / "model.keras", model)
        made[name] = Command(words, edge.cache, *answers(output), said(done.stderr), seconds)
    return made


@pytest.fixture
def alone(tmp_path: Path) -> Iterator[None]:
    """No process of the test outlives it."""
    yield
    for number in processes(tmp_path):
        os.kill(number, 9)


def processes(root: Path) -> list[int]:
    """Processes whose cache lies below that folder."""
    found = []
    mark = b"EDGE_CACHE=" + os.fsencode(root)
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            try:
                if mark in (entry / "environ").read_bytes():
                    found.append(int(entry.name))
            except OSError:
                continue
    return found


def killed(edge: Edge, command: Command, output: Path, seconds: float) -> bool:
    """Whether the run was killed that long after its start, and not done before."""
    process = edge.start(*command.arguments, "--output", output, "--overwrite")
    working: list[int] = []
    try:
        process.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        working = processes(edge.cache)
        process.kill()
    finally:
        code = process.wait()
        # Nothing goes on without it. A process that ends has no environment any more, but its
        # folders still belong to it.
        gone = waited_for(
            lambda: not processes(edge.cache) and all(has_ended(pid) for pid in working), 30
        )
        end(process)
    assert gone, "a process outlived the command that it worked for"
    return code == -9


def old_bundle(output: Path) -> dict[str, bytes]:
    """Something that may be replaced; its files."""
    (output / "models").mkdir(parents=True)
    (output / "manifest.json").write_text("{}")
    (output / "models" / "old.tflite").write_bytes(b"old")
    return contents(output)


def strike(edge: Edge, command: Command, random: np.random.Generator, *, fresh: bool) -> str:
    """One kill and the run after it; how the output was in between."""
    missing = set(random.choice(list(KINDS), int(random.integers(1, 4)), replace=False))
    if "features" in missing:
        missing.add("trained")
    share = START + (1 - START) * sum(KINDS[kind] for kind in missing)
    moment = random.uniform(0.2, share * command.seconds)
    output = edge.work / NAME
    while True:
        copied_cache(command.cache, edge.cache, without=missing)
        before = None if fresh else old_bundle(output)
        if killed(edge, command, output, moment):
            break
        moment *= 0.8  # it was done before
        shutil.rmtree(output)
        shutil.rmtree(edge.cache)
    now = contents(output) if output.exists() else None
    if now == before:
        state = "nothing" if fresh else "old"
    else:
        assert answers(output) == (command.right, command.scores)
        state = "new"
    done = edge.run(*command.arguments, "--output", output, "--overwrite")
    succeeded(done)
    assert said(done.stderr) <= command.notes
    assert answers(output) == (command.right, command.scores)
    assert names(edge.work) == {NAME}
    assert not list((edge.cache / "stages").glob(".*"))
    shutil.rmtree(output)
    shutil.rmtree(edge.cache)
    return state


def struck(root: Path, commands: dict[str, Command], seeds: range) -> dict[str, int]:
    """How often the output was found in which state."""
    counts: dict[str, int] = {}
    for folder in ("work", "temporary", "caches"):
        (root / folder).mkdir()
    for seed in seeds:
        name = "export" if seed % 3 == 2 else "build"
        edge = Edge(root / "caches" / str(seed), root / "work", root / "temporary")
        random = np.random.default_rng(seed)
        state = strike(edge, commands[name], random, fresh=bool(random.integers(2)))
        key = f"{name}: {state}"
        counts[key] = counts.get(key, 0) + 1
        print(f"kill {seed}: {key}", flush=True)  # with --capture=no: progress, and the figures
    return counts


@pytest.mark.long
def test_some_kills(commands: dict[str, Command], alone: None, tmp_path: Path) -> None:
    assert sum(struck(tmp_path, commands, range(SAMPLE)).values()) == SAMPLE


@pytest.mark.long
def test_many_kills(commands: dict[str, Command], alone: None, tmp_path: Path) -> None:
    counts = struck(tmp_path, commands, range(SAMPLE, SAMPLE + KILLS))
    print(dict(sorted(counts.items())))
    assert sum(counts.values()) == KILLS


# ---- a cache that was changed


def flipped(path: Path, random: np.random.Generator) -> None:
    """One bit of a file of a cache, which other caches may share by a hard link."""
    content = bytearray(path.read_bytes())
    content[int(random.integers(len(content)))] ^= 1 << int(random.integers(8))
    path.unlink()
    path.write_bytes(content)


@pytest.mark.slow
def test_a_byte_in_every_entry_is_noticed(
    commands: dict[str, Command], alone: None, make_edge: Any, tmp_path: Path
) -> None:
    """The build after it says so of each, and publishes the same as with an empty cache."""
    command = commands["build"]
    random = np.random.default_rng(0)
    edge = make_edge(copied_cache(command.cache, tmp_path / "cache"))
    entries = sorted((edge.cache / "stages").iterdir())
    assert {entry.name.rpartition("-")[0] for entry in entries} == KINDS.keys() - {"features"}
    for entry in entries:
        files = sorted(path for path in entry.rglob("*") if path.is_file())
        flipped(files[int(random.integers(len(files)))], random)
    with closing(sqlite3.connect(edge.cache / "features.sqlite")) as database, database:
        rows = database.execute("SELECT image, vector FROM features").fetchall()
        for image, vector in rows[::2]:
            changed = bytearray(vector)
            changed[int(random.integers(len(changed)))] ^= 4
            database.execute("UPDATE features SET vector = ? WHERE image = ?", (changed, image))
    done = edge.run(*command.arguments, "--output", NAME)
    succeeded(done)
    for entry in entries:
        assert f"note: {entry.name} in the cache is not used" in done.stderr
    assert f"note: {len(rows[::2])} features" in done.stderr
    assert answers(edge.work / NAME) == (command.right, command.scores)
    again = edge.run(*command.arguments, "--output", NAME, "--overwrite")
    succeeded(again)
    assert said(again.stderr) <= command.notes


# ---- two of everything at once


@pytest.mark.slow
def test_two_builds_to_one_place_and_a_cleared_cache(
    commands: dict[str, Command], alone: None, make_edge: Any, tmp_path: Path
) -> None:
    command = commands["build"]
    edge = make_edge(copied_cache(command.cache, tmp_path / "cache", without=["predictions"]))
    both = [edge.start(*command.arguments, "--output", NAME) for _ in range(2)]
    try:
        read_until(both[0], "data ...")
        cleared = edge.run("cache", "--clear")
        ends = [process.communicate(timeout=TIMEOUT)[1] for process in both]
    finally:
        for process in both:
            end(process)
    codes = [process.returncode for process in both]
    if cleared.returncode:  # else neither had looked into it yet
        failed(cleared, 2, "another run uses the cache")
    assert sorted(codes) == [0, 2], ends
    refused = ends[codes.index(2)]
    if "kept as" in refused:  # else the other was done before it began
        assert names(edge.work) == {NAME, f"{NAME}.kept-1"}
        assert answers(edge.work / f"{NAME}.kept-1") == (command.right, command.scores)
    assert "Traceback" not in refused
    assert answers(edge.work / NAME) == (command.right, command.scores)


@pytest.mark.slow
def test_a_file_that_appears_during_a_build_stays(
    commands: dict[str, Command], alone: None, make_edge: Any, tmp_path: Path
) -> None:
    command = commands["build"]
    edge = make_edge(copied_cache(command.cache, tmp_path / "cache"))
    (edge.work / NAME).mkdir()
    process = edge.start(*command.arguments, "--output", NAME)
    try:
        read_until(process, "data ...")
        (edge.work / NAME / "thesis.txt").write_text("mine")
        _, text = process.communicate(timeout=TIMEOUT)
    finally:
        end(process)
    assert process.returncode == 2, text
    assert f"{NAME}.kept-1" in text
    assert contents(edge.work / NAME) == {"thesis.txt": b"mine"}
    assert answers(edge.work / f"{NAME}.kept-1") == (command.right, command.scores)
