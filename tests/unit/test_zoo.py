import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks.accelerators.base import Label, Unit
from benchmarks.result import BenchmarkRow, MeasuredModel, Stability, Status, Timing
from edge.cli.measure.zoo import seconds
from edge.errors import UsageError
from edge.progress import Silent
from edge.training.backbones import BACKBONES
from edge.zoo import run as zoo_run
from edge.zoo.prepare import IMAGES, NetworkFacts, pictures
from edge.zoo.published import published
from edge.zoo.report import differences, markdown, picture
from edge.zoo.results import Entry, ZooResults, read_zoo, write_zoo
from edge.zoo.run import TimeBudget, ZooOptions

MOBILENET = NetworkFacts(parameters=4253864, depth=55, size_bytes=4 * 4253864, input_size=224)
ENVIRONMENT = {
    "cpu": {"model": "Some CPU", "logical": 2},
    "versions": {"keras": "3.15", "edge": "1"},
    "virtual_machine": None,
    "board": None,
    "cpus": 2,
}


def row(variant: str, milliseconds: float) -> BenchmarkRow:
    return BenchmarkRow(
        model=MeasuredModel(
            name=variant,
            path=Path(f"{variant}.tflite"),
            sha256="0" * 64,
            size_bytes=10,
            format="tflite",
            bundle="MobileNet",
        ),
        accelerator="litert-cpu",
        unit=Unit.CPU,
        threads=2,
        batch=1,
        status=Status.MEASURED,
        label=Label.HARDWARE,
        stability=Stability.STABLE,
        timing=Timing(load=0.1, first=0.1, warm_up=(), samples=(milliseconds / 1e3,) * 12),
    )


def entry(network: str = "MobileNet", **changes: Any) -> Entry:
    found = Entry(
        network=network,
        facts=MOBILENET,
        mult_adds=568_740_352,
        weights="none (random)",
        random_because="no network",
        rows={"tflite-fp32": row("tflite-fp32", 20.0), "onnx-fp32": row("onnx-fp32", 25.0)},
    )
    return replace(found, **changes)


def results(*entries: Entry) -> ZooResults:
    return ZooResults(
        started="2026-01-01T00:00:00+00:00",
        environment=ENVIRONMENT,
        threads=2,
        batch=32,
        entries=entries,
    )


def test_the_published_table_has_33_networks_that_edge_knows() -> None:
    table = published()
    assert len(table) == 33
    assert {name.lower() for name in table} <= BACKBONES.keys()
    assert table["VGG16"].params == 138357544
    assert table["VGG16"].cpu_ms == 69.5
    assert table["EfficientNetV2L"].depth is None


def test_equal_figures_differ_in_nothing() -> None:
    assert differences(entry()) == ()


@pytest.mark.parametrize(
    ("change", "figure"),
    [
        ({"facts": replace(MOBILENET, parameters=4253865)}, "parameters"),
        ({"facts": replace(MOBILENET, depth=54)}, "depth"),
        ({"facts": replace(MOBILENET, size_bytes=18 << 20)}, "size"),
        ({"mult_adds": 600_000_000}, "mult-adds"),
    ],
)
def test_each_figure_that_differs_is_named(change: dict[str, Any], figure: str) -> None:
    assert [item.figure for item in differences(entry(**change))] == [figure]


def test_a_rounded_number_of_parameters_is_compared_rounded() -> None:
    facts = NetworkFacts(parameters=5330571, depth=132, size_bytes=4 * 5330571, input_size=224)
    found = differences(entry("EfficientNetB0", facts=facts, mult_adds=None))
    assert [item.figure for item in found] == ["size"]  # 29 MB published, 20.3 counted
    assert "do not give the published size" in found[0].reason


@pytest.mark.parametrize(("text", "value"), [("90s", 90), ("20m", 1200), ("1.5h", 5400)])
def test_a_budget_is_a_duration(text: str, value: float) -> None:
    assert seconds(text) == value


@pytest.mark.parametrize("text", ["", "20", "m", "-3m", "0s", "infh", "nanm", "20x"])
def test_anything_else_is_no_budget(text: str) -> None:
    with pytest.raises(UsageError, match="expected a time such as"):
        seconds(text)


def test_a_budget_is_shared_by_the_rows_that_remain() -> None:
    budget = TimeBudget(deadline=1000.0)
    assert budget.protocol(0.0, 100, 2, keras=True).max_seconds == 5.0
    assert budget.protocol(900.0, 100, 2, keras=True).max_seconds == 0.5
    assert budget.protocol(2000.0, 1, 2, keras=True).max_seconds == 0.5  # one run all the same
    assert TimeBudget(None).protocol(0.0, 100, 2, keras=True).max_seconds == 30.0


def test_results_come_back_as_they_were_written(tmp_path: Path) -> None:
    failed = Entry(
        network="VGG16",
        facts=None,
        mult_adds=None,
        weights="",
        random_because="",
        rows={},
        failures={"network": "needs more than 1 GiB"},
    )
    file = tmp_path / "zoo.json"
    write_zoo(file, results(entry(), failed))
    found = read_zoo(file)
    assert [item.network for item in found.entries] == ["MobileNet", "VGG16"]
    assert found.entries[1] == failed
    assert found.entries[0].facts == MOBILENET
    assert found.entries[0].rows["tflite-fp32"].timing == row("tflite-fp32", 20.0).timing


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ({"schema_version": 1}, "started is missing"),
        ({"schema_version": 1, "kind": "diff"}, 'kind is "diff", expected "zoo"'),
        ({"kind": "zoo"}, "schema_version is missing"),
    ],
)
def test_a_file_of_something_else_is_refused(tmp_path: Path, value: object, said: str) -> None:
    (tmp_path / "a.json").write_text(json.dumps(value))
    with pytest.raises(UsageError) as caught:
        read_zoo(tmp_path / "a.json")
    assert said in caught.value.message
    assert "edge zoo measure" in caught.value.hint


def test_the_markdown_holds_measured_beside_published_and_every_reason() -> None:
    wrong = replace(row("onnx-int8", 1.0), status=Status.FAILED, reason="it hung", timing=None)
    text = markdown(
        results(entry(rows={"tflite-fp32": row("tflite-fp32", 20.0), "onnx-int8": wrong}))
    )
    (line,) = [line for line in text.splitlines() if line.startswith("| MobileNet")]
    cells = [cell.strip() for cell in line.strip("|").split("|")]
    assert cells[:9] == ["MobileNet", "16.2", "4.3", "55", "569", "70.4", "89.5", "22.6", "3.4"]
    assert "20.0" in cells
    assert "failed" in cells
    assert "onnx-int8: failed: it hung" in text
    assert "Tesla A100" in text


def test_the_picture_shows_float_rows_only() -> None:
    text = picture(results(entry()), "svg")
    assert b"<svg" in text
    with pytest.raises(UsageError, match="nothing to plot"):
        picture(results(entry(rows={"tflite-int8": row("tflite-int8", 5.0)})), "png")


def test_generated_pictures_fill_the_size_and_the_range() -> None:
    found = pictures(331)
    assert found.shape == (IMAGES, 331, 331, 3)
    assert found.min() < 5
    assert found.max() > 250
    assert np.array_equal(found, pictures(331))


def options(*networks: str) -> ZooOptions:
    return ZooOptions(
        networks=networks,
        weights="none",
        cache=Path("cache"),
        threads=2,
        budget_seconds=None,
        memory_bytes=1 << 30,
    )


def test_a_run_goes_on_where_it_was_interrupted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    measured: list[str] = []

    def measure(network: str, *_: Any) -> Entry:
        if network == "VGG19" and "VGG19" not in measured:
            measured.append(network)
            raise KeyboardInterrupt
        measured.append(network)
        return entry(network)

    monkeypatch.setattr(zoo_run, "entry", measure)
    monkeypatch.setattr(zoo_run, "environment", lambda: ENVIRONMENT)
    file = tmp_path / "zoo.json"
    wanted = options("MobileNet", "VGG19", "VGG16")
    with pytest.raises(KeyboardInterrupt):
        zoo_run.run(wanted, file, Silent())
    assert [item.network for item in read_zoo(file).entries] == ["MobileNet"]
    found = zoo_run.run(wanted, file, Silent())
    assert measured == ["MobileNet", "VGG19", "VGG19", "VGG16"]
    assert [item.network for item in found.entries] == ["MobileNet", "VGG19", "VGG16"]
    assert zoo_run.run(wanted, file, Silent()).entries == read_zoo(file).entries
    assert len(measured) == 4


def test_a_run_of_another_machine_is_not_gone_on_with(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "zoo.json"
    write_zoo(file, results(entry()))
    other = ENVIRONMENT | {"cpu": {"model": "Other CPU"}}
    monkeypatch.setattr(zoo_run, "environment", lambda: other)
    with pytest.raises(UsageError, match="of a run with other cpu"):
        zoo_run.run(options("VGG16"), file, Silent())


def test_unknown_networks_are_refused() -> None:
    assert zoo_run.networks("mobilenet, VGG16,MobileNet") == ("MobileNet", "VGG16")
    with pytest.raises(UsageError, match="unknown backbone 'vgg99'"):
        zoo_run.networks("vgg99")
    with pytest.raises(UsageError, match="names none"):
        zoo_run.networks(" , ")
    assert len(zoo_run.networks(None)) == 33
