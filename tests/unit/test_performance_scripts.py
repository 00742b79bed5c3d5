"""The scripts of ``make bench`` fit the code that they measure, and all of them run."""

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest

ROOT: Final = Path(__file__).parents[2]
SCRIPTS: Final = sorted((ROOT / "tests" / "performance").glob("*.py"))


def printed(program: str, folder: Path) -> str:
    """Run Python that imports the scripts, in a folder; return what it prints."""
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": f"{SCRIPTS[0].parent}:{ROOT}"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


def test_the_scripts_call_edge_as_it_is(tmp_path: Path) -> None:
    """A script that lags behind ends with a TypeError after minutes; types tell it at once."""
    done = subprocess.run(
        [sys.executable, "-m", "mypy", "--explicit-package-bases", "--cache-dir", tmp_path]
        + [str(path) for path in SCRIPTS],
        cwd=ROOT,
        env={**os.environ, "MYPYPATH": "tests/performance"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout


@pytest.mark.slow
def test_the_conversion_is_measured_on_a_tiny_network(tmp_path: Path) -> None:
    """What types do not tell: that the six files are written at all."""
    program = (
        "import conversion, keras\n"
        "layers = keras.layers\n"
        "model = keras.Sequential([keras.Input((16, 16, 3)), layers.Rescaling(1 / 255),\n"
        "    layers.Conv2D(4, 3), layers.GlobalAveragePooling2D(), layers.Dense(3, 'softmax')])\n"
        "conversion.measure(model, images=4, rounds=1)\n"
    )
    assert "times faster" in printed(program, tmp_path)


def test_the_cost_of_waiting_is_measured_on_a_few_pictures() -> None:
    done = subprocess.run(
        [sys.executable, SCRIPTS[0].with_name("idle.py"), "--pictures", "30", "--seconds", "0.5"],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert "at rest" in done.stdout, done.stderr[-2000:]
    assert "is answered after" in done.stdout


@pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")
def test_a_script_that_fails_does_not_keep_the_others_from_running(tmp_path: Path) -> None:
    log, python = tmp_path / "log", tmp_path / "bin" / "python"
    python.parent.mkdir()
    python.write_text(f'#!/bin/sh\necho "$1" >> {log}\ncase "$1" in *memory.py) exit 2;; esac\n')
    python.chmod(0o755)
    (tmp_path / ".installed").touch()
    done = subprocess.run(
        ["make", "bench", f"VENV={tmp_path}"], cwd=ROOT, capture_output=True, text=True
    )
    assert len(log.read_text().split()) == len(SCRIPTS)
    assert done.returncode != 0
    assert "memory.py (2)" in done.stdout


def test_the_cost_of_decoding_is_measured_without_published_models() -> None:
    done = subprocess.run(
        [sys.executable, SCRIPTS[0].with_name("decoders.py"), "--rounds", "2"],
        cwd=ROOT,
        env={name: value for name, value in os.environ.items() if name != "EDGE_TEST_DATA"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert "10,000 candidates" in done.stdout


def test_the_live_page_is_measured_on_a_tiny_network(tmp_path: Path) -> None:
    program = (
        "import sys; from pathlib import Path\n"
        "from tests.unit.golden_bundle import golden_bundle\n"
        "sys.argv = ['live.py', str(golden_bundle(Path('bundle'))), '--seconds', '1.5',\n"
        "    '--rounds', '1', '--pictures', '2']\n"
        "import live; live.main()\n"
    )
    found = printed(program, tmp_path)
    assert "dropped" in found
    assert "40 pictures from 20 programs" in found
    assert "0 without one" in found
    assert "times the bare loop's" in found
