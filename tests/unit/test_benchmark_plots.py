"""Pictures of results: what is drawn, what is not, and that they do not change by themselves."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from benchmarks.accelerators.base import Label, Unit
from benchmarks.outputs.files import write_results
from benchmarks.plots.draw import draw
from benchmarks.plots.latency import latency, sustained
from benchmarks.plots.pareto import front, pareto
from benchmarks.result import BenchmarkRow, Moment, Status
from edge.cli.measure.results import PlotFormat, plot
from edge.errors import OutputError, UsageError
from tests.unit.benchmark_results import measured_model, results, row, timing, untimed


def steady(milliseconds: float, **values: Any) -> BenchmarkRow:
    """A row whose samples are all alike."""
    return row(timing=replace(timing(1.0), samples=(milliseconds / 1e3,) * 20), **values)


def texts(panel: Any) -> list[str]:
    return [text.get_text() for text in panel.texts]


def names(panel: Any) -> list[str]:
    return [label.get_text() for label in panel.get_yticklabels()]


def test_bars_reach_to_the_medians() -> None:
    found = results(steady(5.0), steady(8.0, accelerator="openvino-cpu"))
    (panel,) = latency(found).axes
    assert [bar.get_width() for bar in panel.patches] == pytest.approx([5, 8])
    assert names(panel) == ["tflite-int8", "litert-cpu", "openvino-cpu"]
    assert texts(panel) == ["5.00", "8.00"]


def test_whiskers_reach_from_p5_to_p95() -> None:
    samples = tuple(value / 1e3 for value in np.linspace(10, 20, 101))
    (panel,) = latency(results(row(timing=replace(timing(1.0), samples=samples)))).axes
    (line,) = panel.lines
    assert list(line.get_xdata()) == pytest.approx([10.5, 19.5])


def test_estimates_have_a_panel_of_their_own() -> None:
    measured, estimated = latency(results()).axes
    assert "ethos-u" not in names(measured)
    assert names(estimated) == ["tflite-int8, ethos-u"]
    (bar,) = estimated.patches
    assert (bar.get_width(), bar.get_fill()) == (pytest.approx(16.1), False)
    assert "nothing was measured" in estimated.get_title(loc="left")


def test_what_is_no_hardware_is_hatched_and_said() -> None:
    panel = latency(results()).axes[0]
    assert [bool(bar.get_hatch()) for bar in panel.patches] == [False, True, True]
    assert "software-gpu" in texts(panel)[1]
    assert "40/67 partial" in texts(panel)[1]


def test_rows_without_a_time_have_no_bar() -> None:
    panel = latency(results()).axes[0]
    assert len(panel.patches) == 3
    assert not {"tflite-delegate", "openvino-npu", "tflite-runtime-cpu"} & set(names(panel))


def test_rows_of_a_model_stand_together() -> None:
    a, b = measured_model("a"), measured_model("b")
    rows = [row(model=a), row(model=b), row(model=a, accelerator="openvino-cpu")]
    (panel,) = latency(results(*rows)).axes
    assert names(panel) == ["a", "litert-cpu", "openvino-cpu", "b", "litert-cpu"]


@pytest.mark.parametrize(("slowest", "scale"), [(10.0, "linear"), (1000.0, "log")])
def test_the_scale_follows_the_spread(slowest: float, scale: str) -> None:
    found = results(steady(1.0), steady(slowest, accelerator="openvino-cpu"))
    (panel,) = latency(found).axes
    assert panel.get_xscale() == scale
    assert ("logarithmic" in panel.get_xlabel()) is (scale == "log")
    assert panel.get_xlim()[1] > slowest


def test_the_title_says_machine_threads_and_bundle() -> None:
    title = latency(results()).get_suptitle()
    for part in ("Raspberry Pi 4 Model B", "Cortex-A72", "1 thread", "flowers"):
        assert part in title


def test_the_front() -> None:
    """By hand: (ms, top-1) of which three are not beaten."""
    points = [(10, 0.7), (12, 0.7), (8, 0.6), (9, 0.55), (20, 0.9), (21, 0.8), (8, 0.5)]
    rows = [steady(ms, model=measured_model(f"{ms}-{top1}", top1)) for ms, top1 in points]
    assert [item.model.name for item in front(rows)] == ["8-0.6", "10-0.7", "20-0.9"]


def test_the_line_runs_through_the_front_alone() -> None:
    """Points as accurate as one of the front, and slower, lie beside it; no share is over 100 %."""
    points = [(1, 0.7), (2, 0.98), (3, 0.98), (4, 1.0), (5, 1.0), (6, 1.0)]
    rows = [steady(ms, model=measured_model(f"{ms}", top1)) for ms, top1 in points]
    (panel,) = pareto(results(*rows)).axes
    (line,) = (item for item in panel.lines if item.get_label() == "Pareto front")
    assert line.get_drawstyle() == "default"  # straight, no steps
    best, values = (1, 2, 4), line.get_xydata()
    assert sorted(set(values[:, 0].round(6))) == pytest.approx(best)
    for ms, top1 in points:
        at = float(np.interp(ms, values[:, 0], values[:, 1]))
        assert (ms > 4 or at > 100 * top1 + 0.1) is (ms not in best)
    assert panel.get_ylim()[1] <= 100
    twins = [steady(2.0, model=measured_model(name, 0.9)) for name in "ab"]
    assert [item.model.name for item in front(twins)] == ["a", "b"]


def test_the_front_is_of_hardware_only() -> None:
    fake = steady(1.0, label=Label.SOFTWARE_GPU, unit=Unit.GPU, accelerator="litert-gpu")
    (panel,) = pareto(results(steady(5.0), fake)).axes
    lines = {line.get_label(): line for line in panel.lines}
    assert list(lines["Pareto front"].get_xdata()) == pytest.approx([5, 5])
    assert lines["litert-gpu (software-gpu)"].get_markerfacecolor() == "none"


def test_accuracy_is_over_the_time_of_one_image() -> None:
    (panel,) = pareto(results(steady(32.0, batch=8))).axes
    line = panel.lines[0]
    assert (line.get_xdata()[0], line.get_ydata()[0]) == pytest.approx((4, 70))


def test_no_name_hides_another_or_a_point() -> None:
    random = np.random.default_rng(3)
    rows = [
        steady(float(ms), model=measured_model(f"model-{i}", float(top1)))
        for i, (ms, top1) in enumerate(random.uniform((5, 0.6), (20, 0.8), (20, 2)))
    ]
    figure = pareto(results(*rows))
    (panel,) = figure.axes
    renderer = figure.canvas.get_renderer()
    boxes = [text.get_window_extent(renderer) for text in panel.texts]
    assert len(boxes) >= 12
    marked = [line.get_xydata() for line in panel.lines if line.get_linestyle() == "None"]
    assert sum(map(len, marked)) == 20
    points = panel.transData.transform(np.concatenate(marked))
    for position, box in enumerate(boxes):
        assert not box.count_overlaps(boxes[position + 1 :])
        assert not box.count_contains(points)


def moments(**values: Any) -> tuple[Moment, ...]:
    return tuple(
        Moment(elapsed=60.0 * minute, median=0.005 * minute, runs=100, **values)
        for minute in (1, 2, 3)
    )


def test_a_sustained_run() -> None:
    found = results(row(sustained=moments(temperature_c=70.0, frequency_hz=1.5e9, throttled=0x4)))
    times, heat, clock = sustained(found).axes
    assert list(times.lines[0].get_xdata()) == pytest.approx([1, 2, 3])
    assert list(times.lines[0].get_ydata()) == pytest.approx([5, 10, 15])
    assert list(heat.lines[0].get_ydata()) == [70] * 3
    assert list(clock.lines[0].get_ydata()) == [1.5] * 3
    assert times.lines[1].get_label() == "throttled"


def test_a_sustained_run_on_a_machine_that_tells_nothing() -> None:
    (times,) = sustained(results(row(sustained=moments()))).axes
    assert len(times.lines) == 1


def test_throttling_of_the_past_is_not_marked() -> None:
    found = sustained(results(row(sustained=moments(throttled=0x50000))))
    assert len(found.axes[0].lines) == 1


def test_pictures_are_the_same_every_time(tmp_path: Path) -> None:
    first, second = (draw(results(), tmp_path / name) for name in ("a", "b"))
    assert [path.name for path in first] == [
        f"{name}.{form}" for name in ("latency", "pareto", "sustained") for form in ("png", "svg")
    ]
    for before, after in zip(first, second, strict=True):
        content = before.read_bytes()
        assert content == after.read_bytes()
        assert b"dc:date" not in content
        if before.suffix == ".png":
            assert not set(Image.open(before).info) - {"dpi"}


def test_names_are_no_formulas(tmp_path: Path) -> None:
    odd = measured_model("a_$b$^{", bundle="$x")
    assert draw(results(row(model=odd)), tmp_path, ("svg",))


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_results(tmp_path / "r.json", results(row()))
    plot(tmp_path / "r.json", tmp_path / "new" / "folder", PlotFormat.PNG)
    shown = capsys.readouterr().out.split()
    assert [Path(line).name for line in shown] == ["latency.png", "pareto.png"]
    assert all(Image.open(line).width > 800 for line in shown)


def test_nothing_to_plot(tmp_path: Path) -> None:
    nothing = results(untimed(Status.FAILED, reason="it hung"))
    with pytest.raises(UsageError, match="nothing to plot"):
        draw(nothing, tmp_path)


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="cannot be made"):
        draw(results(), tmp_path / "file" / "folder")
