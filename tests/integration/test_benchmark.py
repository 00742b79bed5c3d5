"""``edge benchmark`` as a user runs it: real engines, and engines that crash, hang and err."""

import csv
import json
import shutil
import signal
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import pytest

from benchmarks.plan import BenchmarkPlan
from benchmarks.result import Status
from edge.cli.measure.job import BenchmarkJob, compare
from edge.errors import NegativeVerdict
from edge.progress import Silent
from edge.runtime.files import sha256_file
from tests.accelerators.onnx_models import classifier, heavy
from tests.accelerators.sleeping_delegate import build_delegate
from tests.integration.conftest import Edge, SmallBundle, failed, read_until, succeeded
from tests.integration.environments import environment

pytestmark = pytest.mark.slow

MODEL: Final = Path(__file__).parents[1] / "data/channels_fp32.tflite"
INT8: Final = Path(__file__).parents[1] / "data/channels_int8.tflite"
SHORT: Final = ("--runs", 5, "--min-secs", 0, "--warm-up-secs", 0.01, "--threads", 1)
SOFTMAX: Final = "claim=25"


@pytest.fixture(scope="module")
def delegate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_delegate(tmp_path_factory.mktemp("delegate"))


def rows(result: Any) -> list[dict[str, Any]]:
    succeeded(result)
    found: list[dict[str, Any]] = json.loads(result.stdout)["rows"]
    return found


def on_delegate(edge: Edge, delegate: Path, *options: str, more: tuple[object, ...] = ()) -> Any:
    given = [part for option in options for part in ("--delegate-option", option)]
    where = ("--accelerator", "litert-cpu,tflite-delegate", "--delegate", delegate)
    return edge.run("benchmark", MODEL, *where, *given, *SHORT, *more, "--json")


def test_every_variant_of_a_bundle(edge: Edge, small_bundle: SmallBundle, tmp_path: Path) -> None:
    outputs = [tmp_path / f"results.{form}" for form in ("json", "csv", "md")]
    written = [part for path in outputs for part in ("-o", path)]
    found = rows(edge.run("benchmark", small_bundle.path, *SHORT, *written, "--json"))
    assert [row["model"]["name"] for row in found] == [
        "tflite-fp32",
        "tflite-fp16",
        "tflite-dynamic",
        "tflite-int8",
        "onnx-fp32",
        "onnx-int8",
    ]
    for row in found:
        timing = row["timing"]
        assert row["status"] == "measured"
        assert row["label"] == "hardware"
        assert timing["runs"] == len(timing["samples_ms"]) >= 5
        assert 0 < min(timing["samples_ms"]) <= timing["median_ms"] <= timing["p95_ms"]
        assert timing["load_ms"] > 0
        assert row["peak_memory_bytes"] > 0
        assert row["end_to_end"]["decode_ms"] > 0
        assert 0 < row["coverage"]["accelerated"] <= row["coverage"]["operators"]
    assert sorted(row["order"] for row in found) == list(range(6))
    assert [row["order"] for row in found] != list(range(6))  # of seed 0
    document = json.loads(outputs[0].read_text(encoding="utf-8"))
    assert document["rows"] == found
    assert document["environment"]["cpu"]["model"]
    with outputs[1].open(encoding="utf-8", newline="") as stream:
        assert len(list(csv.DictReader(stream))) == 6
    assert outputs[2].read_text(encoding="utf-8").count("litert-cpu") >= 4


def test_threads_and_batch_make_rows(edge: Edge) -> None:
    short = ("--runs", 3, "--min-secs", 0, "--warm-up-secs", 0)
    found = rows(edge.run("benchmark", INT8, "--threads", "1,2", "--batch", 4, *short, "--json"))
    assert [(row["threads"], row["batch"]) for row in found] == [(1, 4), (2, 4)]
    throughput = found[0]["timing"]["images_per_second"]
    assert throughput == pytest.approx(4e3 / found[0]["timing"]["median_ms"], rel=1e-3)


def test_one_bad_model_does_not_take_the_others_along(edge: Edge, tmp_path: Path) -> None:
    bad = tmp_path / "bad.tflite"
    bad.write_bytes(MODEL.read_bytes()[:500])
    found = rows(edge.run("benchmark", bad, MODEL, *SHORT, "--json"))
    assert [row["status"] for row in found] == ["refused", "measured"]
    assert "does not load" in found[0]["reason"]
    failed(edge.run("benchmark", bad, *SHORT), 3, "does not load")


def test_a_model_that_answers_nan_has_no_time(edge: Edge, tmp_path: Path) -> None:
    import onnx
    from onnx import helper

    image, answer = (
        helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [1, 3, 8, 8])
        for name in ("image", "answer")
    )
    nodes = [
        helper.make_node("Sub", ["image", "image"], ["zero"]),
        helper.make_node("Div", ["zero", "zero"], ["answer"]),
    ]
    model = helper.make_model(
        helper.make_graph(nodes, "nan", [image], [answer]),
        opset_imports=[helper.make_opsetid("", 17)],
        ir_version=8,
    )
    path = tmp_path / "nan.onnx"
    onnx.save(model, path)
    done = edge.run("benchmark", path, "--runs", "3", "--min-secs", "0.01", "--json")
    assert done.returncode == 4
    assert "192 elements of its answer are not finite" in done.stderr
    assert json.loads(done.stdout)["rows"][0]["status"] == Status.WRONG
    done = edge.run("benchmark", path, "--against", path)
    assert done.returncode == 4
    assert "its time means nothing" in done.stderr


def test_what_is_not_here_is_a_row_that_says_so(edge: Edge) -> None:
    found = rows(edge.run("benchmark", MODEL, "-a", "litert-cpu,tflite-delegate", *SHORT, "--json"))
    assert [row["status"] for row in found] == ["measured", "not available"]
    assert "--delegate" in found[1]["hint"]
    assert found[1]["timing"] is None


def test_partial_coverage_is_shown_and_can_be_refused(edge: Edge, delegate: Path) -> None:
    cpu, own = rows(on_delegate(edge, delegate, SOFTMAX))
    assert cpu["parity"] is None
    assert own["status"] == "measured"
    assert own["parity"]["ok"]
    assert own["coverage"]["left"] == {"MEAN": 1, "MUL": 1}
    strict = ("--require-full-delegation",)
    failed(on_delegate(edge, delegate, SOFTMAX, more=strict), 1, "does not run wholly")
    assert rows(on_delegate(edge, delegate, "claim=all", more=strict))[1]["coverage"]["left"] == {}


@pytest.mark.parametrize(
    ("fault", "status", "reason"),
    [
        ("crash", Status.FAILED, "ended by SIGABRT"),
        ("invoke", Status.FAILED, "failed"),
        ("create", Status.UNAVAILABLE, ""),
        ("wrong", Status.WRONG, ""),
        ("hang", Status.FAILED, "was killed"),
    ],
)
def test_a_delegate_that_misbehaves_leaves_the_cpu_row(
    edge: Edge, delegate: Path, fault: str, status: Status, reason: str
) -> None:
    more = ("--timeout-secs", 5, "--max-secs", 1)
    cpu, own = rows(on_delegate(edge, delegate, SOFTMAX, f"fault={fault}", more=more))
    assert cpu["status"] == "measured"
    assert own["status"] == status.value
    assert own["timing"] is None
    assert reason in own["reason"]
    assert own["reason"]


def test_another_environment_is_reached_by_its_python(edge: Edge) -> None:
    if sys.version_info >= (3, 12):
        pytest.skip("tflite-runtime 2.14.0 has wheels up to Python 3.11 only")
    python = environment("tflite-runtime", ("numpy<2", "pillow", "tflite-runtime==2.14.0"))
    path = "tflite-runtime-cpu"
    found = rows(
        edge.run(
            "benchmark", INT8, "-a", f"litert-cpu,{path}", "--python", f"{path}={python}",
            *SHORT, "--json",
        )
    )  # fmt: skip
    assert [row["status"] for row in found] == ["measured", "measured"]
    assert found[1]["engine"].startswith("tflite-runtime 2.14")
    assert found[1]["parity"]["ok"]


def against_job(model: Path) -> BenchmarkJob:
    return BenchmarkJob(
        models=(model,), variants=(), outputs=(), plan=BenchmarkPlan(), progress=Silent(), json=True
    )


def test_the_argument_is_judged_and_the_reference_is_what_follows_against(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setattr("benchmarks.against.ROUNDS", 4)  # the fewest that its confidence takes
    slow = heavy(tmp_path / "slow.onnx", channels=32)  # some forty times the work
    fast = classifier(tmp_path / "fast.onnx")
    with pytest.raises(NegativeVerdict, match=r"slow\.onnx is slower by more than 5 %"):
        compare(against_job(slow), str(fast), max_regression=5)
    verdict = json.loads(capsys.readouterr().out)
    assert verdict["verdict"] == "slower"
    assert 1 < verdict["interval"][0] <= verdict["ratio"] <= verdict["interval"][1]
    assert len(verdict["medians_ms"]) == 8
    assert all(old < new for old, new in verdict["medians_ms"])
    assert verdict["baseline"]["sha256"] == sha256_file(fast)
    assert verdict["candidate"]["sha256"] == sha256_file(slow)


def test_a_faster_argument_passes(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("benchmarks.against.ROUNDS", 4)
    planted = {MODEL: 0.003, INT8: 0.001}
    monkeypatch.setattr("benchmarks.against._asked", lambda cell, _: (planted[cell.model.path], ()))
    compare(against_job(INT8), str(MODEL), max_regression=0)
    verdict = json.loads(capsys.readouterr().out)
    assert (verdict["verdict"], round(verdict["ratio"], 3)) == ("faster", 0.333)
    with pytest.raises(NegativeVerdict, match=r"3\.000 times as long as channels_int8"):
        compare(replace(against_job(MODEL), json=False), str(INT8), max_regression=199)
    shown = capsys.readouterr().out
    assert "channels_fp32.tflite is slower" in shown
    assert "channels_int8.tflite  (reference)" in shown
    assert "quotient" not in shown


def test_an_inconclusive_comparison_passes_and_explains_its_figures(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Half of the pairs are measured while the machine is ten times slower."""
    monkeypatch.setattr("benchmarks.against.ROUNDS", 6)
    seconds = iter([0.001, 0.002, 0.0005, 0.001, 0.010, 0.030, 0.011, 0.010] * 3)
    monkeypatch.setattr("benchmarks.against._asked", lambda cell, _: (next(seconds), ()))
    compare(replace(against_job(MODEL), json=False), str(INT8), max_regression=0)
    shown = " ".join(capsys.readouterr().out.split())
    # A: 1, 1, 10, 10 ms. B: 2, 0.5, 30, 11 ms. Ratios: 2, 0.5, 3, 1.1.
    assert "The comparison is inconclusive: channels_fp32.tflite takes 1.550 times" in shown
    assert "12 pairs" in shown
    assert "with the quotient 1.182" in shown


def test_a_sustained_run_is_a_curve(edge: Edge, tmp_path: Path) -> None:
    file = tmp_path / "r.json"
    found = rows(edge.run("benchmark", MODEL, "--sustained", 0.05, *SHORT, "--json", "-o", file))
    curve = found[0]["sustained"]
    assert len(curve) >= 3
    assert [p["elapsed_seconds"] for p in curve] == sorted(p["elapsed_seconds"] for p in curve)
    succeeded(edge.run("benchmark", "plot", file, "-o", tmp_path / "pictures"))
    pictures = {path.name for path in (tmp_path / "pictures").iterdir()}
    assert {"latency.png", "latency.svg", "sustained.png", "sustained.svg"} <= pictures


def test_results_of_one_host_can_be_compared(edge: Edge, tmp_path: Path) -> None:
    file = tmp_path / "r.json"
    rows(edge.run("benchmark", MODEL, *SHORT, "--runs", 30, "--json", "-o", file))
    result = edge.run("benchmark", "diff", file, file, "--json")
    succeeded(result)
    (change,) = json.loads(result.stdout)["rows"]
    assert change["ratio"] == 1
    document = json.loads(file.read_text(encoding="utf-8"))
    document["environment"]["cpu"]["model"] = "another CPU"
    other = tmp_path / "other.json"
    other.write_text(json.dumps(document), encoding="utf-8")
    failed(edge.run("benchmark", "diff", file, other), 2, "another CPU")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "no model is named"),
        (("nosuch.tflite",), "no bundle and no model file"),
        ((MODEL, "--threads", "0"), "expected whole numbers"),
        ((MODEL, "--accelerator", "coral"), "unknown accelerator 'coral'"),
        ((MODEL, "--accelerator", "onnxruntime-cpu"), "none of onnxruntime-cpu takes"),
        ((MODEL, "--variant", "tflite-int8"), "no bundle is named"),
        ((MODEL, "--max-regression", "5"), "Add --against"),
        ((MODEL, "--models", "MobileNet"), "edge zoo measure"),
        ((MODEL, "--against", MODEL, "--runs", "9"), "--runs has no effect with --against"),
        ((MODEL, "--against", "nosuch"), "no model nosuch"),
        ((MODEL, "--output", "results.txt"), "expected a name ending in"),
        ((MODEL, "--min-secs", "5", "--max-secs", "1"), "nor the least above the most"),
        (("--zoo", "--budget", "soon"), "expected a time such as"),
        (("--zoo", "--models", "vgg99"), "unknown backbone"),
        ((MODEL, "--zoo"), "the zoo builds its own"),
        (("--zoo", "--input-shape", "1x3"), "--input-shape has no effect"),
        ((MODEL, "--max-secs", "inf"), "no finite number"),
        ((MODEL, "--input-shape", "1x16x16x4"), "contradicts the input"),
        ((MODEL, "--input-shape", "axb"), "whole numbers"),
    ],
)
def test_wrong_input_is_an_error_with_the_way_out(
    edge: Edge, arguments: tuple[object, ...], message: str
) -> None:
    failed(edge.run("benchmark", *arguments), 2, message)


def test_an_interrupt_leaves_no_process_and_no_file(edge: Edge, tmp_path: Path) -> None:
    file = tmp_path / "r.json"
    process = edge.start("benchmark", MODEL, "--min-secs", 60, "--max-secs", 90, "-o", file)
    read_until(process, "benchmark ...")
    time.sleep(1.5)
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=20) == 130
    assert not file.exists()
    assert not list(edge.temporary.iterdir())


def test_an_interrupt_keeps_the_rows_that_are_done(edge: Edge, tmp_path: Path) -> None:
    file = tmp_path / "r.json"
    command = ("benchmark", MODEL, INT8, *SHORT, "--cool-down-secs", 60, "-o", file)
    process = edge.start(*command)
    until = time.monotonic() + 60
    while not file.exists() and time.monotonic() < until:
        time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=20) == 130
    (done,) = json.loads(file.read_text())["rows"]
    found = rows(edge.run(*command, "--json"))  # of one row, before which nothing rests
    assert len(found) == 2
    assert done in found
    failed(edge.run(*command), 2, "exists")


def test_the_zoo_measures_a_network_and_goes_on(edge: Edge, tmp_path: Path) -> None:
    file = tmp_path / "zoo.json"
    options = ("--models", "MobileNet", "--budget", "20s", "-o", file)
    result = edge.run("zoo", "measure", *options, "--json")
    succeeded(result)
    (network,) = json.loads(result.stdout)["networks"]
    assert network["facts"]["parameters"] == 4253864
    assert network["facts"]["depth"] == 55
    assert network["mult_adds"] == pytest.approx(569e6, rel=0.002)
    assert network["random_because"] == ""
    assert set(network["rows"]) == {
        "keras",
        "tflite-fp32",
        "tflite-int8",
        "onnx-fp32",
        "onnx-int8",
    }
    for row in network["rows"].values():
        assert row["status"] == "measured", row["reason"]
    assert network["rows"]["keras"]["batch"] == 32
    old_spelling = edge.run("benchmark", "--zoo", *options, "-o", tmp_path / "zoo.md")
    succeeded(old_spelling)
    assert "edge zoo measure" in old_spelling.stderr
    assert json.loads(file.read_text())["networks"] == [network]  # nothing is measured again
    assert "| MobileNet * |" in (tmp_path / "zoo.md").read_text(encoding="utf-8")
    succeeded(edge.run("zoo", file, "-o", tmp_path / "zoo.svg"))
    shutil.copy(file, tmp_path / "whole.json")


def test_a_network_that_needs_too_much_memory_is_a_row(edge: Edge, tmp_path: Path) -> None:
    options = ("--models", "MobileNet", "--weights", "none", "--memory-gib", "0.5")
    result = edge.run("zoo", "measure", *options, "-o", tmp_path / "zoo.json", "--json")
    succeeded(result)
    (network,) = json.loads(result.stdout)["networks"]
    assert "took more than 0.5 GiB" in network["failures"]["network"]
