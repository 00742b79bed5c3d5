"""Outputs of a benchmark: read back, and what they must never show."""

import csv
import io
import json
from pathlib import Path
from typing import Any

import pytest

from benchmarks.accelerators.base import Label
from benchmarks.environment import environment
from benchmarks.outputs.files import COLUMNS, csv_text, markdown, write_results
from benchmarks.outputs.json_file import json_text, read_results, results_json
from benchmarks.result import EndToEnd, Stability, Status
from edge.cli.measure.view import print_rows
from edge.errors import OutputError, UsageError
from tests.unit.benchmark_results import (
    ENVIRONMENT,
    every_kind,
    measured_model,
    results,
    row,
    timing,
    untimed,
)

DOCUMENT = Path(__file__).parents[2] / "docs" / "benchmark-results.md"


def written(tmp_path: Path, value: Any) -> Path:
    path = tmp_path / "r.json"
    path.write_text(json.dumps(value))
    return path


def test_json_comes_back_as_it_was(tmp_path: Path) -> None:
    before = results()
    write_results(tmp_path / "r.json", before)
    after = read_results(tmp_path / "r.json")
    assert results_json(after) == results_json(before)
    assert after.environment == before.environment
    for old, new in zip(before.rows, after.rows, strict=True):
        assert (new.coverage, new.parity, new.profile) == (old.coverage, old.parity, old.profile)
        assert (new.model, new.status, new.label) == (old.model, old.status, old.label)
        assert new.sustained == old.sustained
        assert new.facts == old.facts
        if old.timing is not None and new.timing is not None:
            assert new.timing.samples == pytest.approx(old.timing.samples, rel=1e-12)


def test_json_has_the_statistics_beside_the_samples() -> None:
    (value,) = results_json(results(row(timing=timing(10.0, count=100))))["rows"]
    times = value["timing"]
    assert times["runs"] == len(times["samples_ms"]) == 100
    assert times["median_ms"] == pytest.approx(10, rel=0.02)
    assert times["images_per_second"] == pytest.approx(1e3 / times["median_ms"])
    assert times["p99_ms"] > times["p95_ms"] > times["p90_ms"] > times["median_ms"]
    (short,) = results_json(results(row(timing=timing(10.0, count=99))))["rows"]
    assert short["timing"]["p99_ms"] is None


def test_json_keeps_samples_on_one_line_and_strings_as_they_are() -> None:
    before = results(row(reason="[\n  1,\n  2]"), untimed(Status.FAILED, reason="[ 1,  2 ]"))
    text = json_text(before)
    assert json.loads(text) == results_json(before)
    (line,) = (line for line in text.splitlines() if '"samples_ms"' in line)
    assert line.count(",") >= 119


def test_json_says_nothing_of_where_files_lay() -> None:
    secret = measured_model(path=Path("/home/someone/m.tflite"))
    text = json_text(results(row(model=secret)))
    assert "someone" not in text


def fields(value: Any) -> set[str]:
    """Names of all fields of a JSON value."""
    if isinstance(value, list):
        return set().union(*map(fields, value))
    if isinstance(value, dict):
        return set(value).union(*map(fields, value.values()))
    return set()


def test_every_field_is_documented() -> None:
    """But names of models' operators, sensors, packages and facts, which are data."""
    value = results_json(results(environment=dict(environment())))
    for item in value["rows"]:
        item["facts"] = item["model"]["preprocessing"] = None
        item["coverage"] = item["coverage"] and item["coverage"] | {"left": None}
    value["environment"]["versions"] = value["environment"]["temperatures_c"] = None
    value["protocol"] = None
    text = DOCUMENT.read_text(encoding="utf-8")
    assert len(fields(value)) > 90
    assert {name for name in fields(value) if f"`{name}`" not in text} == set()


def test_json_leaves_out_facts_that_are_no_numbers() -> None:
    """Vela gives nan for a float model."""
    (value,) = results_json(results(row(facts={"a": float("nan"), "b": 1.0})))["rows"]
    assert value["facts"] == {"b": 1.0}


FAULTS: dict[str, tuple[Any, str]] = {
    "another schema": (
        lambda v: v.update(schema_version=2),
        "schema_version is 2; this edge reads 1",
    ),
    "no rows": (lambda v: v.pop("rows"), "rows is missing"),
    "rows are no list": (lambda v: v.update(rows={}), "rows is {}, expected a list"),
    "a row is a number": (lambda v: v["rows"].insert(0, 5), "rows[0] is 5, expected an object"),
    "a status": (lambda v: v["rows"][1].update(status="fine"), "rows[1].status is"),
    "a negative time": (
        lambda v: v["rows"][0]["timing"]["samples_ms"].insert(2, -1.0),
        "rows[0].timing.samples_ms[2] is -1.0",
    ),
    "no samples": (lambda v: v["rows"][0]["timing"].update(samples_ms=[]), "samples_ms is []"),
    "not measured": (lambda v: v["rows"][0].update(timing=None), "rows[0]: timing is null"),
    "text": (lambda v: v["rows"][0].update(threads="1"), 'threads is "1"'),
    "a boolean": (lambda v: v["rows"][0].update(batch=True), "batch is true"),
    "top-1": (lambda v: v["rows"][0]["model"].update(top1=70.0), "rows[0].model.top1 is 70.0"),
    "huge": (lambda v: v["rows"][0]["timing"].update(load_ms=1e305), "timing.load_ms is 1e+305"),
    "digits": (lambda v: v["rows"][0]["timing"].update(load_ms=10**400), "401 digits"),
    "a contract": (
        lambda v: v["rows"][0]["model"].update(preprocessing={"height": 9}),
        "rows[0].model.preprocessing: it is no preprocessing contract",
    ),
    "left": (lambda v: v["rows"][1]["coverage"]["left"].update(ADD=1.5), "coverage.left.ADD"),
    "parity": (lambda v: v["rows"][1].update(parity={}), "rows[1].parity.ok is missing"),
}


@pytest.mark.parametrize("name", FAULTS)
def test_a_bad_file_is_refused_with_the_place(name: str, tmp_path: Path) -> None:
    spoil, message = FAULTS[name]
    value = json.loads(json_text(results()))
    spoil(value)
    with pytest.raises(UsageError) as error:
        read_results(written(tmp_path, value))
    assert message in error.value.message


@pytest.mark.parametrize(
    "content", [b"", b"\xff\xfe", b"[1]", b'{"schema_version": NaN}', b"[" * 99_999, b"null"]
)
def test_no_results_file_at_all(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "r.json"
    path.write_bytes(content)
    with pytest.raises(UsageError, match=r"r\.json"):
        read_results(path)


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="No such file"):
        read_results(tmp_path / "r.json")


def test_csv() -> None:
    lines = list(csv.DictReader(io.StringIO(csv_text(results()))))
    assert list(lines[0]) == list(COLUMNS)
    assert [line["status"] for line in lines] == [item.status.value for item in every_kind()]
    assert float(lines[0]["median_ms"]) == pytest.approx(5, rel=0.02)
    assert lines[0]["parity_ok"] == ""
    assert lines[1]["parity_ok"] == "true"
    assert (lines[3]["median_ms"], lines[3]["estimate_ms"]) == ("", "16.1")
    assert lines[5]["status"] == "wrong results"
    assert lines[5]["median_ms"] == lines[5]["load_ms"] == ""


def test_csv_computes_nothing() -> None:
    (line,) = csv.DictReader(io.StringIO(csv_text(results(row(model=measured_model("=1+1"))))))
    assert line["model"] == "'=1+1"


def cells(text: str) -> list[dict[str, str]]:
    lines = [line for line in text.splitlines() if line.startswith("| ")]
    titles, _, *rest = ([part.strip() for part in line.strip("|").split(" | ")] for line in lines)
    return [dict(zip(titles, line, strict=True)) for line in rest]


def test_markdown() -> None:
    text = markdown(results())
    found = cells(text)
    assert len(found) == len(every_kind())
    assert found[1]["result"] == "software-gpu, noisy"
    assert "⚠️ 40/67 partial" in found[1]["operators"]
    assert (found[3]["median ms"], found[3]["estimate ms (not measured)"]) == ("-", "16.1")
    assert all(line["estimate ms (not measured)"] == "-" for line in found[:3])
    assert "Raspberry Pi 4 Model B" in text
    assert "openvino finds no NPU. Use a machine with an Intel NPU." in text
    assert "the process was aborted (SIGABRT)." in text
    assert "1 SOFTMAX, 26 RESHAPE" in text


@pytest.mark.parametrize("status", [Status.WRONG, Status.FAILED, Status.REFUSED])
def test_markdown_shows_no_time_of_a_row_that_failed(status: Status) -> None:
    text = markdown(results(row(7.77, status=status, reason="it is wrong")))
    (found,) = cells(text)
    assert found["median ms"] == "-"
    assert "7.7" not in text
    assert "load" not in found
    assert "it is wrong." in text


def test_markdown_is_safe_with_any_name() -> None:
    text = markdown(results(row(model=measured_model("a|b`<b>@octocat"))))
    assert "<b>" not in text
    assert "@octocat" not in text
    assert len(cells(text)) == 1


def test_markdown_leaves_out_columns_that_say_nothing() -> None:
    (found,) = cells(markdown(results(row())))
    assert "estimate ms (not measured)" not in found
    assert "memory MB" not in found
    assert "result" in found


def test_the_table_for_people(capsys: pytest.CaptureFixture[str]) -> None:
    print_rows(results())
    text = capsys.readouterr().out
    table, estimates = text.split("Estimates of a compiler")
    assert max(len(line) for line in text.splitlines() if "─" in line) <= 110
    assert "ethos-u" not in table
    assert "16.1" in estimates
    assert "software-gpu, noisy" in table
    assert "40/67 partial" in table
    assert "7.7" not in text
    assert "openvino-npu: not available: openvino finds no NPU." in text
    assert "tflite-runtime-cpu: failed: the process was aborted (SIGABRT)." in text


def test_a_busy_machine_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    for load, told in ((0.5, False), (3.5, True)):
        found = results(environment=ENVIRONMENT | {"load_average": [load, 0, 0]})
        print_rows(found)
        assert ("load 3.5 on 4 CPUs" in capsys.readouterr().out) is told
        assert ("load 3.5 on 4 CPUs" in markdown(found)) is told


def test_rows_of_a_busy_machine_are_not_to_be_compared(
    capsys: pytest.CaptureFixture[str],
) -> None:
    said = "do not compare rows"
    print_rows(results(environment=ENVIRONMENT | {"load_average": [3.5, 0, 0]}))
    assert said in " ".join(capsys.readouterr().out.split())
    print_rows(results(environment=ENVIRONMENT | {"load_average": [0.5, 0, 0]}))
    assert said not in " ".join(capsys.readouterr().out.split())


@pytest.mark.parametrize(
    ("stability", "word"),
    [
        (Stability.STABLE, ""),
        (Stability.NOISY, "Noisy: "),
        (Stability.DRIFTING, "Drifting: "),
        (Stability.TOO_FEW, "Too few: "),
    ],
)
def test_the_words_that_occur_are_explained_and_no_others(
    stability: Stability, word: str, capsys: pytest.CaptureFixture[str]
) -> None:
    print_rows(results(row(stability=stability)))
    text = capsys.readouterr().out
    known = ("Partial: ", "Noisy: ", "Drifting: ", "Too few: ")
    assert [item for item in known if item in text] == [word] * bool(word)
    assert "MB: " in text


@pytest.mark.parametrize(("invoke", "told"), [(2.67, False), (5.2, False), (5.6, True), (1, True)])
def test_two_times_of_one_inference_that_contradict_each_other_are_told(
    invoke: float, told: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    steps = EndToEnd(decode=0.004, encode=0.0001, invoke=invoke / 1e3, post=0.0002)
    print_rows(results(row(2.67, end_to_end=steps)))
    assert ("invoke took" in capsys.readouterr().out) is told


def test_details(capsys: pytest.CaptureFixture[str]) -> None:
    print_rows(results())
    text = capsys.readouterr().out
    steps = next(line for line in text.splitlines() if "litert-cpu" in line and "9.30" in line)
    assert steps.split()[-5:] == ["4.00", "0.100", "5.00", "0.200", "9.30"]
    profile = next(line for line in text.splitlines() if "conv1" in line)
    assert profile.split() == ["Conv", "1.20", "100.0", "%", "QNN", "conv1"]
    sustained = next(line for line in text.splitlines() if "1.23" in line)
    assert sustained.split()[-6:] == ["61.0", "75.0", "75.0", "1.23", "-2", "°C"]


def test_the_table_tells_settings_apart(capsys: pytest.CaptureFixture[str]) -> None:
    print_rows(results(row(threads=1), row(3.0, threads=4), row(9.0, batch=8)))
    text = capsys.readouterr().out
    assert "1 and 4 threads, batch 1 and 8" in text
    for name in ("litert-cpu t1 b1", "litert-cpu t4 b1", "litert-cpu t1 b8"):
        assert name in text


def test_labels_are_always_shown(capsys: pytest.CaptureFixture[str]) -> None:
    for label in (Label.HARDWARE, Label.SOFTWARE_GPU, Label.SIMULATOR):
        found = results(row(label=label))
        print_rows(found)
        assert label.value in capsys.readouterr().out
        assert label.value in markdown(found)
        assert label.value in csv_text(found)


def test_places_that_cannot_be_written(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"\.json, \.csv, \.md"):
        write_results(tmp_path / "r.txt", results())
    with pytest.raises(OutputError, match="does not exist"):
        write_results(tmp_path / "no" / "r.json", results())
    (tmp_path / "d.csv").mkdir()
    with pytest.raises(OutputError, match="is a folder"):
        write_results(tmp_path / "d.csv", results())
    for suffix in (".json", ".csv", ".md"):
        write_results(tmp_path / f"r{suffix}", results())
        assert (tmp_path / f"r{suffix}").stat().st_size > 500
