"""A model that crashes, hangs or fills the memory ends a command with an error, never its process.

The mutated files are ``channels_fp32.tflite`` with a few bytes changed; a seeded search found them.
"""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

import pytest
from PIL import Image

from edge.errors import UsageError
from edge.runtime import supervisor
from edge.runtime.spec import Variant
from tests.integration.processes import TAG, kill_tagged, wait_for
from tests.peak import with_peak
from tests.unit.golden_bundle import ROOT, golden_bundle, write_manifest

# Place -> byte. What each does to ai-edge-litert 2.x.
CRASHES: Final = {180: 16, 1032: 64, 1033: 66, 1034: 15, 1035: 0}  # SIGSEGV while it runs
GROWS: Final = {895: 106}  # gigabytes while tensors are allocated
HANGS: Final = """
import os, time
__version__ = "2.0"
class Interpreter:
    def __init__(self, **options):
        open(os.environ["OPENED"], "w").close()
        time.sleep(600)
"""
HELD: Final = 1 << 30  # bytes beyond the limit that may come between two looks at the memory

MakeBundle = Callable[[dict[int, int]], Path]


@pytest.fixture(scope="module")
def make_bundle(tmp_path_factory: pytest.TempPathFactory) -> MakeBundle:
    """A bundle with its golden test, whose model has other bytes, which its manifest states."""

    def make(changes: dict[int, int]) -> Path:
        folder = golden_bundle(tmp_path_factory.mktemp("mutated") / "bundle")
        model = folder / "models" / "tflite-fp32.tflite"
        content = bytearray(model.read_bytes())
        for place, byte in changes.items():
            content[place] = byte
        model.write_bytes(content)
        variant = Variant(
            name="tflite-fp32",
            path="models/tflite-fp32.tflite",
            format="tflite",
            precision="fp32",
            size_bytes=len(content),
            input_dtype="float32",
        )
        write_manifest(folder, (variant,))
        return folder

    return make


@pytest.fixture(scope="module")
def crashing(make_bundle: MakeBundle) -> Path:
    return make_bundle(CRASHES)


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("photos")
    for label, color in (("red 🍎", (200, 20, 20)), ("青", (20, 20, 200))):
        (folder / label).mkdir()
        Image.new("RGB", (16, 16), color).save(folder / label / "0.png")
    return folder


def ran(*arguments: object, **variables: str) -> subprocess.CompletedProcess[str]:
    words = [sys.executable, "-m", *map(str, arguments)]
    return subprocess.run(
        words,
        capture_output=True,
        text=True,
        cwd=ROOT,
        env={**os.environ, **variables},
        timeout=120,
        check=False,
    )


COMMANDS: Final = {
    "predict": ("edge", "predict", "{bundle}", "{photos}"),
    "evaluate": ("edge", "evaluate", "{bundle}", "{photos}", "--cache", "{cache}"),
    "compare": (
        *("edge", "compare", "{bundle}", "{photos}", "--baseline", "tflite-fp32"),
        *("--candidate", "{bundle}/models/tflite-fp32.tflite", "--cache", "{cache}"),
    ),
    "tag": ("edge", "tag", "{photos}", "--bundle", "{bundle}", "--cache", "{cache}"),
    "device predict": ("edge.runtime", "predict", "{bundle}", "{photos}"),
    "device selftest": ("edge.runtime", "selftest", "{bundle}"),
    "device bench": ("edge.runtime", "bench", "{bundle}"),
}


@pytest.mark.parametrize("command", COMMANDS)
def test_a_crash_of_the_interpreter_is_an_error(
    command: str, crashing: Path, photos: Path, tmp_path: Path
) -> None:
    places = {"bundle": crashing, "photos": photos, "cache": tmp_path}
    done = ran(*(word.format(**places) for word in COMMANDS[command]))

    assert done.returncode == 4, done.stderr
    assert "tflite-fp32.tflite" in done.stderr
    assert "SIG" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_model_that_fills_the_memory_is_stopped(make_bundle: MakeBundle, photos: Path) -> None:
    done, peak = with_peak(
        [sys.executable, "-m", "edge.runtime", "predict", str(make_bundle(GROWS)), str(photos)],
        capture_output=True,
        cwd=ROOT,
        env={**os.environ, "EDGE_MODEL_GIB": "0.5"},
        timeout=120,
    )

    assert done.returncode == 3, done.stderr
    assert "0.5 GiB" in done.stderr
    assert peak < (1 << 29) + HELD


@pytest.mark.parametrize("variable", ["EDGE_MODEL_GIB", "EDGE_MODEL_SECONDS"])
@pytest.mark.parametrize("value", ["x", "nan", "-1", "0", "inf"])
def test_a_variable_that_states_no_limit_is_refused(
    variable: str, value: str, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv(variable, value)
    with pytest.raises(UsageError, match=f"{variable} is '{value}'; a number above 0"):
        supervisor.supervise()


@pytest.mark.parametrize("program", ["edge", "edge.runtime"])
def test_such_a_variable_ends_the_command(program: str, photos: Path, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", program, "predict", str(tmp_path), str(photos)],
        capture_output=True,
        cwd=ROOT,
        env={**os.environ, "EDGE_MODEL_GIB": "nan"},
        text=True,
        timeout=120,
    )
    assert done.returncode == 2
    assert "EDGE_MODEL_GIB is 'nan'" in done.stderr


def test_a_crash_names_no_limit_of_a_sound_model(make_bundle: MakeBundle, photos: Path) -> None:
    done = ran("edge.runtime", "predict", make_bundle({}), photos)
    assert done.returncode == 0, done.stderr


@pytest.fixture
def hanging(
    make_bundle: MakeBundle, photos: Path, tmp_path: Path
) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Starts a prediction whose interpreter never comes back; it has been asked already."""
    engine = tmp_path / "modules" / "ai_edge_litert"
    engine.mkdir(parents=True)
    (engine / "__init__.py").write_text('__version__ = "2.0"', encoding="utf-8")
    (engine / "interpreter.py").write_text(HANGS, encoding="utf-8")
    opened = tmp_path / "opened"
    tag = str(tmp_path)
    bundle = make_bundle({})
    started: list[subprocess.Popen[str]] = []

    def start(**variables: str) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-m", "edge.runtime", "predict", str(bundle), str(photos)],
            cwd=ROOT,
            env={
                **os.environ,
                "PYTHONPATH": str(tmp_path / "modules"),
                "OPENED": str(opened),
                TAG: tag,
                **variables,
            },
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        started.append(process)
        wait_for(opened.exists, "the model is opened")
        return process

    yield start
    left = kill_tagged(tag)
    for process in started:
        process.communicate()
    assert not left, "a process outlived the command"


def test_a_model_that_hangs_is_stopped(hanging: Callable[..., subprocess.Popen[str]]) -> None:
    process = hanging(EDGE_MODEL_SECONDS="1")
    begun = time.monotonic()
    _, said = process.communicate(timeout=60)

    assert process.returncode == 3
    assert "within 1 s" in said
    assert time.monotonic() - begun < 20


@pytest.mark.parametrize(
    ("sent", "code"),
    [(signal.SIGINT, 130), (signal.SIGTERM, -signal.SIGTERM), (signal.SIGKILL, -signal.SIGKILL)],
)
def test_a_signal_ends_both_processes(
    hanging: Callable[..., subprocess.Popen[str]], sent: signal.Signals, code: int
) -> None:
    process = hanging()
    process.send_signal(sent)
    assert process.wait(timeout=60) == code
    time.sleep(0.2)  # the system kills the orphan; the fixture says whether it did
