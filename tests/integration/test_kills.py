"""kill -9 at random moments of builds and exports: old or new, never half; the next run is right.

The moments are seeded and spread over the measured time of a build of which some stages are in the
cache. ``make test-all`` makes forty kills, ``make test`` three.
"""

import json
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import pytest

from tests.integration.conftest import (
    NAME,
    Edge,
    contents,
    copied_cache,
    end,
    make_photos,
    names,
    succeeded,
    whole,
)
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
KINDS: Final = ("base", "features", "trained", "calibration", "model", "predictions", "integers")
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
        cached: Of one that finds everything.
    """

    arguments: tuple[object, ...]
    cache: Path
    right: dict[str, bytes]
    scores: list[Any]
    notes: frozenset[str]
    seconds: float
    cached: float


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
        times = []
        for _ in range(2):
            begun = time.monotonic()
            done = edge.run(*words, "--output", output, "--overwrite")
            times.append(time.monotonic() - begun)
            succeeded(done)
        if name == "build":
            shutil.copy(output / "source" / "model.keras", model)
        made[name] = Command(words, edge.cache, *answers(output), said(done.stderr), *times)
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
    try:
        process.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        process.kill()
    finally:
        code = process.wait()
        gone = waited_for(lambda: not processes(edge.cache), 30)  # nothing goes on without it
        end(process)
    assert gone, "a process outlived the command that it worked for"
    return code == -9


def strike(edge: Edge, command: Command, random: np.random.Generator, *, fresh: bool) -> str:
    """One kill and the run after it; how the output was in between."""
    missing = set(random.choice(KINDS, int(random.integers(1, 4)), replace=False))
    if "features" in missing:
        missing.add("trained")
    edge.cache.parent.mkdir(exist_ok=True)
    copied_cache(command.cache, edge.cache, without=missing)
    share = len(missing) / len(KINDS)
    moment = random.uniform(0.2, command.cached + share * (command.seconds - command.cached))
    output = edge.work / NAME
    if not fresh:
        (output / "models").mkdir(parents=True)
        (output / "manifest.json").write_text("{}")
        (output / "models" / "old.tflite").write_bytes(b"old")
    before = contents(output) if output.exists() else None
    late = not killed(edge, command, output, moment)
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
    return f"{state}{' (it was done)' if late else ''}"


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
        print(f"kill {seed}: {key}", flush=True)
    return counts


@pytest.mark.slow
def test_some_kills(commands: dict[str, Command], alone: None, tmp_path: Path) -> None:
    assert sum(struck(tmp_path, commands, range(SAMPLE)).values()) == SAMPLE


@pytest.mark.slow
@pytest.mark.long
def test_many_kills(commands: dict[str, Command], alone: None, tmp_path: Path) -> None:
    counts = struck(tmp_path, commands, range(SAMPLE, SAMPLE + KILLS))
    print(dict(sorted(counts.items())))
    assert sum(counts.values()) == KILLS
