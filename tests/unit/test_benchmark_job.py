"""What ``edge benchmark`` keeps of an interrupted run, and what it never overwrites."""

import csv
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import numpy as np
import pytest

from benchmarks.accelerators.base import EngineSettings
from benchmarks.against import Against
from benchmarks.cell import Bench
from benchmarks.diff import diff
from benchmarks.outputs.files import write_results
from benchmarks.outputs.json_file import read_results
from benchmarks.plan import BenchmarkPlan, Cell
from benchmarks.result import BenchmarkRow, MeasuredModel, Status
from benchmarks.verdict import judge
from edge.cli.measure.job import BenchmarkJob, compare, measure
from edge.cli.measure.results import plot
from edge.cli.measure.zoo import show
from edge.errors import OutputError, UsageError
from edge.progress import Silent
from tests.unit.benchmark_results import results, row

DATA: Final = Path(__file__).parents[1] / "data"
MODELS: Final = tuple(DATA / f"channels_{kind}.tflite" for kind in ("fp32", "int8"))
ZOO: Final = Path(__file__).parents[2] / "docs" / "zoo.json"


def job(*outputs: Path, threads: tuple[int, ...] = (1, 2), **values: Any) -> BenchmarkJob:
    return BenchmarkJob(
        models=MODELS,
        variants=(),
        outputs=outputs,
        plan=BenchmarkPlan(threads=threads, **values),
        progress=Silent(),
        json=False,
    )


@pytest.fixture
def planted(monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[tuple[str, int]]]:
    """Rows without an engine; Ctrl-C comes instead of the row of that number."""

    def plant(interrupt: int | None = None, failed: int | None = None) -> list[tuple[str, int]]:
        asked: list[tuple[str, int]] = []

        def measured(cell: Cell, bench: Bench) -> BenchmarkRow:
            if len(asked) == interrupt:
                raise KeyboardInterrupt
            asked.append((cell.model.name, cell.threads))
            found = row(1.0 + len(asked), model=cell.model, threads=cell.threads)
            if len(asked) - 1 == failed:
                return replace(found, status=Status.FAILED, timing=None, stability=None)
            return found

        monkeypatch.setattr("benchmarks.run.measured", measured)
        return asked

    return plant


def test_rows_that_are_done_are_kept_and_the_same_command_goes_on(
    tmp_path: Path, planted: Callable[..., Any], capsys: pytest.CaptureFixture[str]
) -> None:
    outputs = tuple(tmp_path / f"r.{form}" for form in ("json", "csv", "md"))
    before = planted(interrupt=2, failed=1)
    with pytest.raises(KeyboardInterrupt):
        measure(job(*outputs))
    said = capsys.readouterr()
    assert "2 of 4 rows are done" in said.err
    assert before[0][0] in said.out
    partial = json.loads(outputs[0].read_text())
    assert (len(partial["rows"]), partial["missing_rows"]) == (2, 2)
    assert len(list(csv.DictReader(outputs[1].open()))) == 2
    assert "2 rows are missing" in outputs[2].read_text()

    after = planted()
    measure(job(*outputs))
    assert len(after) == 3  # the two that were missing, and the one that had failed
    assert before[0] not in after
    whole = json.loads(outputs[0].read_text())
    assert (len(whole["rows"]), whole["missing_rows"]) == (4, 0)
    kept = next(item for item in partial["rows"] if item["status"] == "measured")
    assert kept in whole["rows"]
    assert sorted(item["order"] for item in whole["rows"]) == [0, 1, 2, 3]
    assert "missing" not in outputs[2].read_text()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["r.csv", "r.json", "r.md"]


def test_without_json_a_run_goes_on_too(tmp_path: Path, planted: Callable[..., Any]) -> None:
    file = tmp_path / "r.csv"
    planted(interrupt=3)
    with pytest.raises(KeyboardInterrupt):
        measure(job(file))
    after = planted()
    measure(job(file))
    assert len(after) == 1
    assert len(list(csv.DictReader(file.open()))) == 4
    assert list(tmp_path.iterdir()) == [file]


def test_without_output_the_table_says_what_was_measured(
    planted: Callable[..., Any], capsys: pytest.CaptureFixture[str]
) -> None:
    asked = planted(interrupt=1)
    with pytest.raises(KeyboardInterrupt):
        measure(job())
    said = capsys.readouterr()
    assert asked[0][0] in said.out
    assert "--output" in said.err


@pytest.mark.parametrize(
    "other",
    [
        {"threads": (1,)},
        {"seed": 5},
        {"settings": EngineSettings(batch=2)},
        {"profile": True},
        {"cool_down": 0.5},
    ],
)
def test_an_interrupted_run_of_another_command_is_not_mixed_in(
    tmp_path: Path, planted: Callable[..., Any], other: dict[str, Any]
) -> None:
    file = tmp_path / "r.json"
    planted(interrupt=1)
    with pytest.raises(KeyboardInterrupt):
        measure(job(file))
    before = file.read_bytes()
    asked = planted()
    with pytest.raises(UsageError) as caught:
        measure(job(file, **other))
    assert "--overwrite" in caught.value.hint
    assert not asked
    assert file.read_bytes() == before
    measure(replace(job(file, **other), overwrite=True))
    assert read_results(file).missing == 0


def test_a_comparison_says_that_a_run_is_not_whole() -> None:
    found = diff(results(), replace(results(), missing=3))
    assert found.notes[0] == "new: the run was interrupted, 3 rows are missing"


@pytest.mark.parametrize("name", ["r.json", "r.csv", "r.md"])
def test_a_file_is_kept_unless_asked_and_that_is_said_before_measuring(
    tmp_path: Path, planted: Callable[..., Any], name: str
) -> None:
    file = tmp_path / name
    write_results(file, results())
    before = file.read_bytes()
    asked = planted()
    with pytest.raises(OutputError, match="exists"):
        measure(job(file))
    with pytest.raises(OutputError):
        measure(job(tmp_path / "missing" / name))
    assert not asked
    assert file.read_bytes() == before
    measure(replace(job(file), overwrite=True))
    assert file.read_bytes() != before


def test_pictures_and_tables_are_kept_unless_asked(tmp_path: Path) -> None:
    file, pictures = tmp_path / "r.json", tmp_path / "a" / "pictures"
    write_results(file, results())
    plot(file, pictures)
    with pytest.raises(OutputError, match="already"):
        plot(file, pictures)
    plot(file, pictures, overwrite=True)
    table = tmp_path / "zoo.md"
    table.write_text("mine")
    with pytest.raises(OutputError, match="exists"):
        show(ZOO, [table])
    assert table.read_text() == "mine"
    show(ZOO, [table], overwrite=True)
    assert table.read_text() != "mine"


def test_two_files_of_the_same_bytes_are_called_so(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pairs = ((1e-3, 1e-3),) * 8

    def planted(baseline: MeasuredModel, candidate: MeasuredModel, *_: object) -> Against:
        return Against(
            baseline=baseline,
            candidate=candidate,
            path="litert-cpu",
            threads=1,
            medians=pairs,
            judgement=judge(np.array(pairs)),
            environment={},
        )

    monkeypatch.setattr("edge.cli.measure.job.against", planted)
    one = replace(job(), models=MODELS[:1])
    for reference, is_same in ((MODELS[0], True), (MODELS[1], False)):
        compare(one, str(reference), 5.0)
        assert ("same bytes" in " ".join(capsys.readouterr().out.split())) == is_same
