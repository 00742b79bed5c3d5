"""The scripts of ``make bench``: all run, say what they found, and end as they should."""

import argparse
import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any, Final

import pytest
from support.script import DATA, NotHere, Report, Script, data_with

from edge.errors import InferenceError, UsageError
from tests import figures

ROOT: Final = Path(__file__).parents[2]
SCRIPTS: Final = sorted((ROOT / "tests" / "performance").glob("*.py"))


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


def truly_missing(messages: str) -> str:
    """Return what a script misses here, which is checked; empty if it misses nothing."""
    found = re.search(r"not to be measured here: (.*)", messages)
    if found is None:
        return ""
    reason, folder = found[1], os.environ.get(DATA)
    if reason.startswith(f"{DATA} is not set"):
        assert not folder, reason
    elif reason.startswith(f"{DATA} has no "):
        assert folder
        assert not Path(folder, reason.removeprefix(f"{DATA} has no ")).exists(), reason
    elif reason.startswith("no C compiler"):
        assert not (shutil.which("gcc") or shutil.which("cc")), reason
    else:
        pytest.fail(f"no reason that is known: {reason}")
    return reason


@pytest.mark.slow
@pytest.mark.tensorflow
@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.stem)
def test_every_script_runs(script: Path, tmp_path: Path) -> None:
    """From its first line to its last, each in a process of its own, with the least of everything.

    What the figures are says nothing then; that there are some, and a bar for each, is asked for.
    """
    done = subprocess.run(
        [sys.executable, script, "--smoke", "--json"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT), "EDGE_CACHE": str(tmp_path / "cache")},
        capture_output=True,
        text=True,
    )
    if done.returncode == NotHere.exit_code and (reason := truly_missing(done.stderr)):
        pytest.skip(reason)
    assert done.returncode == 0, done.stderr[-3000:]
    document = json.loads(done.stdout)
    bars = document.pop("bars")
    assert bars
    for name, bar in bars.items():
        assert isinstance(bar["value"], int | float)
        assert bar["met"] is None
        assert f"bar: {name}: " in done.stderr


def ended(
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    measure: Any,
    *words: str,
) -> tuple[int, str, str]:
    """Exit code, stdout and stderr of a script that measures so."""
    monkeypatch.setattr(sys, "argv", ["script.py", *words])
    script = Script("A script.")
    script.amount("--rounds", 9, 2, "of all")
    code = script.run(measure)
    return code, *capsys.readouterr()


@pytest.mark.parametrize(
    ("value", "bar", "code", "said"),
    [
        (1.0, {"at_most": 1.0}, 0, "met"),
        (1.01, {"at_most": 1.0}, 1, "MISSED"),
        (0.99, {"at_least": 0.99}, 0, "met"),
        (0.98, {"at_least": 0.99}, 1, "MISSED"),
        (float("nan"), {"at_most": 1.0}, 1, "MISSED"),
        (float("nan"), {"at_least": 1.0}, 1, "MISSED"),
    ],
)
def test_a_bar_decides_the_exit_code(
    value: float,
    bar: dict[str, float],
    code: int,
    said: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def measure(options: argparse.Namespace, report: Report) -> None:
        report.bar("first", 0, at_most=1)
        report.bar("second", value, **bar)

    found, out, _ = ended(capsys, monkeypatch, measure)
    assert found == code
    assert out.splitlines()[1].endswith(f": {said}")
    assert ("MISSED: second" in out) == bool(code)


def test_a_smoke_run_takes_less_and_judges_nothing(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    rounds = []

    def measure(options: argparse.Namespace, report: Report) -> None:
        rounds.append(options.rounds)
        report.bar("time", 2, at_most=1)

    assert ended(capsys, monkeypatch, measure)[0] == 1
    code, out, _ = ended(capsys, monkeypatch, measure, "--smoke")
    assert (code, "not judged in a smoke run" in out) == (0, True)
    ended(capsys, monkeypatch, measure, "--smoke", "--rounds", "3")
    assert rounds == [9, 2, 3]


def test_figures_for_programs_are_alone_on_stdout(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def measure(options: argparse.Namespace, report: Report) -> None:
        report.say("a line")
        print("what another package says")
        report.figures["seconds"] = [1.5]
        report.bar("time", 2, at_most=1, unit="s")

    code, out, err = ended(capsys, monkeypatch, measure, "--json")
    bar = {"value": 2, "at_most": 1, "unit": "s", "met": False}
    assert json.loads(out) == {"seconds": [1.5], "bars": {"time": bar}}
    assert "a line" in err
    assert code == 1


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (NotHere("no tea"), 2),
        (UsageError("no"), 2),
        (InferenceError("broken"), InferenceError.exit_code),
        (KeyboardInterrupt(), 130),
    ],
)
def test_what_keeps_a_script_from_measuring_is_no_missed_bar(
    error: BaseException,
    code: int,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def measure(options: argparse.Namespace, report: Report) -> None:
        report.bar("time", 2, at_most=1)
        raise error

    assert ended(capsys, monkeypatch, measure)[0] == code != 1


def test_data_that_is_missing_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(DATA, raising=False)
    with pytest.raises(NotHere, match="is not set"):
        data_with()
    monkeypatch.setenv(DATA, str(tmp_path))
    (tmp_path / "images").mkdir()
    assert data_with("images") == tmp_path.resolve()
    with pytest.raises(NotHere, match="has no models"):
        data_with("images", "models")


@pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")
def test_a_script_that_fails_does_not_keep_the_others_from_running(tmp_path: Path) -> None:
    log, python = tmp_path / "log", tmp_path / "bin" / "python"
    python.parent.mkdir()
    python.write_text(f'#!/bin/sh\necho "$1" >> {log}\ncase "$1" in *idle.py) exit 2;; esac\n')
    python.chmod(0o755)
    (tmp_path / ".installed").touch()
    done = subprocess.run(
        ["make", "bench", f"VENV={tmp_path}"], cwd=ROOT, capture_output=True, text=True
    )
    assert len(log.read_text().split()) == len(SCRIPTS)
    assert done.returncode != 0
    assert "idle.py (2)" in done.stdout


def loaded(name: str) -> Any:
    """A script as a module."""
    path = next(path for path in SCRIPTS if path.stem == name)
    spec = importlib.util.spec_from_file_location(f"performance_{name}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def test_growth_says_where_it_bends() -> None:
    """What grows as the pictures do, or has a fixed cost, is straight."""
    growth = loaded("growth")
    seconds = {
        100: {"straight": 5.0, "fixed": 30.0, "bent": 3.0, "short": 0.001},
        1000: {"straight": 50.0, "fixed": 31.0, "bent": 30.0, "short": 0.5},
        10_000: {"straight": 620.0, "fixed": 40.0, "bent": 400.0, "short": 0.9},
    }
    builds = [
        growth.Built(pictures=count, classes=2, stages=stages, peak_bytes=1)
        for count, stages in seconds.items()
    ]
    assert list(growth.bends(builds, list(seconds))) == [
        "bent from 1,000 to 10,000: 30 to 40 ms",
    ]


def test_pictures_that_grow_are_all_different(tmp_path: Path) -> None:
    loaded("growth").make(tmp_path / "photos", 7, 3)
    paths = sorted((tmp_path / "photos").rglob("*.jpg"))
    assert [path.parent.name for path in paths] == ["000"] * 3 + ["001"] * 2 + ["002"] * 2
    assert len({path.read_bytes() for path in paths}) == 7


def test_comparisons_go_on_after_those_that_are_kept(tmp_path: Path) -> None:
    benchmark = loaded("benchmark")
    first = benchmark.Kept(tmp_path / "kept", ["model", 20])
    first.add(benchmark.SpeedVerdict.SAME)
    assert benchmark.Kept(tmp_path / "kept", ["model", 20]).verdicts == ["same"]
    with pytest.raises(UsageError, match="another model"):
        benchmark.Kept(tmp_path / "kept", ["model", 4])


def test_the_table_of_the_readme_is_what_was_measured() -> None:
    page = figures.PAGE.read_text("utf-8")
    assert figures.written(page, figures.read()) == page, "run: python -m tests.figures --write"


def test_a_row_of_the_table() -> None:
    kept = {
        "machine": {
            "cpu": "A CPU",
            "cpus": 4,
            "virtual": True,
            "kernel": "6.1",
            "versions": {"python": "3.12.1", "onnxruntime": "1.20"},
        },
        "scripts": {
            "startup": {
                "date": "2026-01-02",
                "load": 4.31,
                "seconds": {"import typer": [0.1, 0.05, 0.1], "edge --help": [0.1, 0.1, 0.12]},
                "bars": {"edge --help": {"value": 1.2, "at_most": 1.1, "met": False}},
            }
        },
    }
    found = figures.table(kept)
    assert (
        "| `edge --help` | 100 ms | `import typer`: 100 ms "
        "| 1.20 (1.00 to 2.00) bar 1.1: **missed** |\n"
    ) in found
    assert "| runner: memory | not measured |" in found
    machine = "A CPU, 4 CPUs of a virtual machine, Linux 6.1, Python 3.12.1, ONNX Runtime 1.20"
    load = "shared with other work (load average up to 4.3)"
    assert f"Measured 2026-01-02: {machine}, {load}.\n" in found


def test_figures_of_two_machines_are_not_put_together(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(figures, "KEPT", tmp_path / "figures.json")
    figures.KEPT.write_text(json.dumps({"machine": {"cpu": "another"}, "scripts": {"runner": {}}}))
    with pytest.raises(UsageError, match="runner ran on another machine"):
        figures.measure(["startup"])
    with pytest.raises(UsageError, match="the table needs no tea"):
        figures.measure(["tea"])
    with pytest.raises(UsageError, match="no marks"):
        figures.written("a page", figures.read())


def test_a_measurement_is_kept_with_its_machine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By a script that misses its bar, which is a figure like any other."""
    monkeypatch.setattr(figures, "KEPT", tmp_path / "figures.json")
    monkeypatch.setattr(figures, "SCRIPTS", tmp_path)
    (tmp_path / "startup.py").write_text("import sys; print('{\"seconds\": 3}'); sys.exit(1)")
    figures.measure(["startup"])
    assert figures.read()["scripts"]["startup"]["seconds"] == 3
    assert figures.read()["machine"] == figures.machine()
    (tmp_path / "startup.py").write_text("import sys; sys.exit(4)")
    with pytest.raises(figures.EdgeError, match="ended with 4"):
        figures.measure(["startup"])
