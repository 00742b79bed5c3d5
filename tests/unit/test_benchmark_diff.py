"""``edge benchmark diff``: what it refuses, what it calls slower, and its exit codes."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks.diff import BETWEEN_PROCESSES, diff, ratio_interval
from benchmarks.outputs.files import write_results
from benchmarks.outputs.json_file import read_results
from benchmarks.result import BenchmarkRow, EndToEnd, Results, Status
from benchmarks.verdict import SpeedVerdict
from edge.cli.measure.results import diff as command
from edge.errors import NegativeVerdict, UsageError
from edge.zoo.results import read_zoo
from tests.unit.benchmark_results import ENVIRONMENT, measured_model, results, row, timing, untimed


def run(old_ms: float, new_ms: float, **options: Any) -> Any:
    """The only change between two runs of one row."""
    old = results(row(timing=timing(old_ms, seed=1)))
    new = results(row(timing=timing(new_ms, seed=2)))
    (change,) = diff(old, new, **options).changes
    return change


def test_a_rerun_is_the_same() -> None:
    change = run(10.0, 10.0)
    assert (change.verdict, change.regression) == (SpeedVerdict.SAME, False)


def test_slower() -> None:
    change = run(10.0, 12.0)
    assert (change.verdict, change.regression) == (SpeedVerdict.SLOWER, True)
    assert change.ratio == pytest.approx(1.2, rel=0.02)
    assert change.interval.low < change.ratio < change.interval.high


def test_slower_within_what_is_allowed() -> None:
    change = run(10.0, 12.0, max_regression=30)
    assert (change.verdict, change.regression) == (SpeedVerdict.SAME, False)
    assert not run(10.0, 10.7).regression  # 7 %, but surely only about 4 %


def test_faster() -> None:
    assert run(10.0, 8.0).verdict is SpeedVerdict.FASTER


def test_one_process_each_knows_nothing_of_the_next() -> None:
    """However quiet the samples, the interval is as wide as processes differ."""
    found = ratio_interval([0.01] * 500, [0.01] * 500)
    widening = 1 + BETWEEN_PROCESSES
    assert (found.low, found.high) == pytest.approx((1 / widening, widening))


def test_samples_that_hang_together_say_less() -> None:
    """A level that wanders slowly: independent draws would give a far too narrow interval."""
    random = np.random.default_rng(0)
    missed = 0
    for _ in range(40):
        sides = []
        for _ in range(2):
            steps = random.normal(0, 1, 200)
            for position in range(1, 200):
                steps[position] = 0.9 * steps[position - 1] + 0.436 * steps[position]
            sides.append(0.01 * np.exp(0.02 * steps))
        interval = ratio_interval(*sides)
        missed += not interval.low <= 1 <= interval.high
    assert missed <= 1


def test_an_unsteady_machine_decides_nothing_small() -> None:
    """Levels that jump by half: the medians differ by a third and mean nothing."""
    random = np.random.default_rng(0)

    def jumping(share: float) -> BenchmarkRow:
        slow = np.arange(90) < 90 * share
        samples = 0.01 * np.where(slow, 1.5, 1) * random.lognormal(0, 0.02, 90)
        return row(timing=replace(timing(10.0), samples=tuple(samples)))

    (change,) = diff(results(jumping(0.4)), results(jumping(0.6))).changes
    assert change.ratio > 1.3
    assert change.verdict is SpeedVerdict.INCONCLUSIVE
    assert "drifting" in change.note
    slow = row(timing=timing(40.0))
    (change,) = diff(results(jumping(0.4)), results(slow)).changes
    assert change.regression


@pytest.mark.parametrize(
    ("field", "value", "shown"),
    [
        ("machine", "x86_64", "machine: 'aarch64' and 'x86_64'"),
        ("board", "Raspberry Pi 5", "board"),
        ("cpu", {"model": "Cortex-A76", "logical": 4}, "cpu.model: 'Cortex-A72' and 'Cortex-A76'"),
        ("cpu", ENVIRONMENT["cpu"] | {"governors": ["performance"]}, "cpu.governors"),
        ("cpu", None, "cpu.logical: 4 and None"),
    ],
)
def test_unlike_hosts(field: str, value: Any, shown: str) -> None:
    with pytest.raises(UsageError, match="unlike hosts") as error:
        diff(results(), results(environment=ENVIRONMENT | {field: value}))
    assert shown in error.value.message


def test_another_kernel_or_engine_is_told() -> None:
    old = results(environment=ENVIRONMENT | {"versions": {"onnxruntime": "1.20", "numpy": "2"}})
    changed = {"system": "Linux-6.12", "versions": {"onnxruntime": "1.31", "numpy": "2"}}
    found = diff(old, results(environment=ENVIRONMENT | changed))
    assert found.notes == (
        "system: Linux-6.6.31-rpi and Linux-6.12",
        "onnxruntime: 1.20 and 1.31",
    )


def test_a_busy_machine_is_told() -> None:
    busy = ENVIRONMENT | {"load_average": [5.1, 2.0, 1.0]}
    found = diff(
        results(environment=ENVIRONMENT | {"load_average": [0.4] * 3}), results(environment=busy)
    )
    assert found.notes == ("new: other work ran when the measurement began: load 5.1 on 4 CPUs",)


def test_unlike_models() -> None:
    other = results(row(model=measured_model(sha256="cd" * 32)))
    with pytest.raises(UsageError, match="abababababab and cdcdcdcdcdcd"):
        diff(results(row()), other)
    assert diff(results(row()), other, other_models=True).changes


def test_unlike_processors() -> None:
    with pytest.raises(UsageError, match="device: Cortex-A72 and T4"):
        diff(results(row()), results(row(device="T4")))


def test_nothing_in_common() -> None:
    with pytest.raises(UsageError, match="no row in common"):
        diff(results(row(threads=1)), results(row(threads=2)))


def test_rows_that_cannot_be_told_apart() -> None:
    with pytest.raises(UsageError, match="two rows of flowers:tflite-int8"):
        diff(results(row(), row()), results(row()))


def test_rows_match_by_name_path_and_setting() -> None:
    old = results(row(10.0), row(20.0, threads=2), row(30.0, batch=8))
    new = results(row(30.0, batch=8), row(10.0), row(5.0, accelerator="openvino-cpu"))
    found = diff(old, new)
    assert [change.verdict for change in found.changes] == [SpeedVerdict.SAME] * 2
    assert found.only_old == ("flowers:tflite-int8, litert-cpu, t2 b1",)
    assert found.only_new == ("flowers:tflite-int8, openvino-cpu, t1 b1",)


def test_estimates_do_not_scatter() -> None:
    def estimated(seconds: float) -> Results:
        return results(untimed(Status.ESTIMATED, estimate=seconds))

    (change,) = diff(estimated(0.010), estimated(0.011)).changes
    assert (change.verdict, change.regression) == (SpeedVerdict.SLOWER, True)
    assert change.interval.low == change.interval.high == pytest.approx(1.1)


def command_on(tmp_path: Path, old: Results, new: Results, **options: Any) -> None:
    for name, value in (("old", old), ("new", new)):
        write_results(tmp_path / f"{name}.json", value)
    command(tmp_path / "old.json", tmp_path / "new.json", **options)


def test_the_command_passes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command_on(tmp_path, results(), results())
    text = capsys.readouterr().out
    assert "flowers:tflite-int8, litert-cpu, t1 b1" in text
    assert "tflite-delegate" not in text
    assert "same" in text


def test_the_command_finds_a_regression(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(NegativeVerdict, match=r"takes 1\.5\d times as long") as error:
        command_on(tmp_path, results(row(10.0)), results(row(15.5)), json=True)
    assert error.value.exit_code == 1
    value = json.loads(capsys.readouterr().out)
    (found,) = value["rows"]
    assert (found["verdict"], found["regression"]) == ("slower", True)
    assert found["interval"][0] < found["ratio"] < found["interval"][1]


def test_the_command_finds_a_row_that_no_longer_runs(tmp_path: Path) -> None:
    broken = untimed(Status.FAILED, reason="it hung")
    with pytest.raises(NegativeVerdict, match=r"no longer measured: .*failed: it hung"):
        command_on(tmp_path, results(row()), results(broken))


@pytest.mark.parametrize(
    ("place", "value", "said"),
    [
        ("environment.versions", True, "environment.versions is true, expected an object"),
        ("environment.python", 5, "environment.python is 5, expected a string"),
        ("environment.cpu.logical", -2, "environment.cpu.logical is -2, expected"),
        ("environment.memory", [], "environment.memory is [], expected an object"),
        ("protocol.min_seconds", -1, "protocol.min_seconds is -1, expected a number that is not"),
        ("protocol.pictures", "some", 'protocol.pictures is "some", expected'),
        ("rows.0.timing.p99_ms", "x", 'rows[0].timing.p99_ms is "x", expected a number'),
        ("rows.0.end_to_end.total_ms", {}, "rows[0].end_to_end.total_ms is {}, expected a number"),
        ("rows.0.model.preprocessing.width", "9" * 100_000, "preprocessing.width is '9999"),
    ],
)
def test_every_field_of_a_results_file_is_checked(
    place: str, value: Any, said: str, tmp_path: Path
) -> None:
    path = tmp_path / "results.json"
    steps = EndToEnd(decode=0.004, encode=0.0001, invoke=0.005, post=0.0002)
    write_results(path, results(row(end_to_end=steps)))
    document = json.loads(path.read_text(encoding="utf-8"))
    *names, last = place.split(".")
    inside = document
    for name in names:
        inside = inside[int(name)] if isinstance(inside, list) else inside.setdefault(name, {})
    inside[last] = value
    path.write_text(json.dumps(document), encoding="utf-8")
    with pytest.raises(UsageError) as caught:
        read_results(path)
    assert said in caught.value.message
    assert len(caught.value.message) < 400


def test_facts_that_are_not_known_are_kept(tmp_path: Path) -> None:
    path = tmp_path / "results.json"
    write_results(path, results(row()))
    document = json.loads(path.read_text(encoding="utf-8"))
    document["environment"]["moon"] = {"phase": 1}
    path.write_text(json.dumps(document), encoding="utf-8")
    assert read_results(path).environment == document["environment"]


def test_results_of_the_zoo_are_told_from_those_of_a_benchmark(tmp_path: Path) -> None:
    path = tmp_path / "results.json"
    write_results(path, results(row()))
    with pytest.raises(UsageError, match="is a results file of edge benchmark, not of edge zoo"):
        read_zoo(path)
    with pytest.raises(UsageError, match="is a results file of edge zoo measure, not of edge ben"):
        read_results(Path(__file__).parents[2] / "docs/zoo.json")


def test_the_command_refuses_what_is_no_results_file(tmp_path: Path) -> None:
    write_results(tmp_path / "old.json", results())
    (tmp_path / "new.json").write_text("{}")
    with pytest.raises(UsageError, match="schema_version"):
        command(tmp_path / "old.json", tmp_path / "new.json")
