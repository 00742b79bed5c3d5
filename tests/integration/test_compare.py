"""``edge compare`` as a user and a pipeline run it: exit codes, streams, report files."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Final

import numpy as np
import pytest

from edge.runtime.files import sha256_file
from tests.color_bundles import model, nearest_color, write_bundle, write_pictures
from tests.integration.conftest import TIMEOUT, Edge, contents, end, failed, read_until, succeeded

SIDES: Final = ("--baseline", "onnx-fp32", "--candidate")
# What an environment for comparisons does without.
ABSENT: Final = ("tensorflow", "keras", "tf2onnx", "sklearn")
PROGRAM: Final = f"""
import sys
for name in {ABSENT!r}:
    sys.modules[name] = None  # "import name" now raises ModuleNotFoundError
from edge.cli.app import main
main()
"""


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle and pictures that no test changes."""
    root = tmp_path_factory.mktemp("compare")
    write_bundle(root / "bundle", {"onnx-fp32": model(), "onnx-copy": model(note="copy")})
    write_pictures(root / "pictures", 100)
    return root


def compare(
    edge: Edge, place: Path, candidate: object, *options: object
) -> subprocess.CompletedProcess[str]:
    return edge.run("compare", place / "bundle", place / "pictures", *SIDES, candidate, *options)


def test_pass(edge: Edge, place: Path) -> None:
    result = compare(edge, place, "onnx-copy")
    succeeded(result)
    assert result.stdout.rstrip().endswith("verdict: pass")
    for word in ("400 images, 400 labelled", "top1_drop", "-0.75 to 0.75", "0 lost, 0 gained"):
        assert word in result.stdout
    assert max(len(line) for line in result.stdout.splitlines()) < 120
    assert "error" not in result.stderr
    again = compare(edge, place, "onnx-copy")
    assert again.stdout == result.stdout


def test_fail(edge: Edge, place: Path, tmp_path: Path) -> None:
    bad = tmp_path / "bgr.onnx"
    bad.write_bytes(model(bgr=True))
    reports = {name: tmp_path / f"report.{name}" for name in ("junit", "markdown", "sarif")}
    options = [word for name, path in reports.items() for word in (f"--{name}", path)]
    result = compare(edge, place, bad, "--json", *options)
    failed(result, 1, "checks failed: ", "top1_drop", hint=False)
    value = json.loads(result.stdout)
    assert (value["verdict"], value["schema_version"]) == ("fail", 1)
    assert value["candidate"]["sha256"] == sha256_file(bad)
    assert value["paired"]["lost"] > 100
    for path in reports.values():
        assert "top1_drop" in path.read_text(encoding="utf-8")
    shown = compare(edge, place, bad)
    for check in value["checks"]:
        if check["verdict"] == "fail":
            assert check["metric"] in shown.stderr
            assert check["reason"] not in shown.stderr
    assert "more: --json" in shown.stdout
    assert "verdict: fail (top1_drop:" in shown.stdout


def test_too_few_images(edge: Edge, place: Path, tmp_path: Path) -> None:
    few = write_pictures(tmp_path / "few", 5, seed=1)
    arguments = ("compare", place / "bundle", few, *SIDES, "onnx-copy")
    junit = tmp_path / "junit.xml"
    result = edge.run(*arguments, "--junit", junit)
    failed(result, 1, "1 of 4 checks cannot be decided: top1_drop", "about 179 more")
    assert "179 more images, labelled or not" in " ".join(result.stdout.split())
    assert "verdict" not in result.stderr
    assert "<failure" in junit.read_text()
    value = json.loads(edge.run(*arguments, "--json").stdout)
    (check,) = (item for item in value["checks"] if item["metric"] == "top1_drop")
    assert check["images_needed"] == 199 - 20
    tolerated = edge.run(*arguments, "--inconclusive", "pass", "--junit", junit, "--overwrite")
    succeeded(tolerated)
    assert "verdict: inconclusive" in tolerated.stdout
    assert "<skipped" in junit.read_text()


def test_all_images_calibrated(edge: Edge, place: Path, tmp_path: Path) -> None:
    hashes = [sha256_file(path) for path in (place / "pictures").rglob("*.png")]
    report = {"calibration": {"images": len(hashes), "image_sha256": hashes}}
    other = write_bundle(tmp_path / "other", {"onnx-fp32": model()}, report=report)
    failed(compare(edge, place, other), 2, "no image to compare on", "400 calibrated a model")


def test_models_that_do_not_work(edge: Edge, place: Path, tmp_path: Path) -> None:
    short = tmp_path / "short.onnx"
    short.write_bytes(model()[:-2000])
    failed(compare(edge, place, short), 3, "short.onnx does not load")
    weights, bias = nearest_color()
    nan = tmp_path / "nan.onnx"
    nan.write_bytes(model(weights=weights, bias=bias * np.float32("nan")))
    failed(compare(edge, place, nan), 4, "nan.onnx answers", "with NaN", hint=False)
    constant = tmp_path / "constant.onnx"
    constant.write_bytes(model(weights=0 * weights, bias=bias))
    policy = tmp_path / "lenient.toml"
    policy.write_text('schema_version = 1\n[[rule]]\nmetric = "agreement"\nat_least = 0.0\n')
    result = compare(edge, place, constant, "--policy", policy)
    failed(result, 1, "checks failed: constant_outputs", hint=False)
    said = "the candidate gives every image the same scores"
    assert said in " ".join(result.stdout.split())
    as_json = compare(edge, place, constant, "--policy", policy, "--json")
    failed(as_json, 1, said, hint=False)


def test_an_edited_bundle(edge: Edge, place: Path, tmp_path: Path) -> None:
    edited = Path(shutil.copytree(place / "bundle", tmp_path / "edited"))
    with (edited / "models/onnx-copy.onnx").open("ab") as stream:
        stream.write(b"\0")
    failed(compare(edge, place, f"{edited}:onnx-copy"), 3, "sha256 differs")


def test_wrong_arguments(edge: Edge, place: Path, tmp_path: Path) -> None:
    policy = tmp_path / "gate.toml"
    policy.write_text('schema_version = 1\n[[rule]]\nmetric = "top1drop"\nat_most = 1\n')
    failed(compare(edge, place, "onnx-copy", "--policy", policy), 2, '"top1drop", which is unknown')
    both = compare(edge, place, "onnx-copy", "--policy", policy, "--margin", "2")
    failed(both, 2, "exclude one another")
    nowhere = compare(edge, place, "onnx-copy", "--junit", "no/such/report.xml")
    failed(nowhere, 2, "does not exist")
    failed(compare(edge, place, "onnx-int8"), 2, "neither a variant of the bundle nor a model")
    engine = compare(edge, place, "onnx-copy", "--engine", "litert")
    failed(engine, 2, "engine litert runs neither")
    assert contents(edge.work) == {}


def test_unlabelled_pictures(edge: Edge, place: Path, tmp_path: Path) -> None:
    shutil.copytree(place / "pictures/red", tmp_path / "loose/any")
    arguments = ("compare", place / "bundle", tmp_path / "loose", *SIDES, "onnx-copy")
    failed(edge.run(*arguments, "--json"), 1, "no image has a known class", "agreement")
    policy = tmp_path / "agree.toml"
    policy.write_text('schema_version = 1\n[[rule]]\nmetric = "agreement"\nat_least = 0.9\n')
    succeeded(edge.run(*arguments, "--policy", policy))


def test_latency(edge: Edge, place: Path, tmp_path: Path) -> None:
    """A limit on two equal models that any machine keeps, whatever else it does."""
    policy = tmp_path / "fast.toml"
    policy.write_text('schema_version = 1\n[[rule]]\nmetric = "latency_ratio"\nat_most = 1000\n')
    result = compare(edge, place, "onnx-copy", "--policy", policy, "--json")
    succeeded(result)
    value = json.loads(result.stdout)
    check = value["checks"][1]
    assert check["interval"]["low"] <= check["value"] <= check["interval"]["high"]
    assert value["candidate"]["latency_ms"] > 0


@pytest.mark.parametrize("cpus", [4, 8])
def test_recorded_latency(edge: Edge, tmp_path: Path, cpus: int) -> None:
    """Taken from the reports; not of two kinds of machine."""
    bundles = []
    for name, milliseconds, count in (("a", 10.0, 4), ("b", 4.0, cpus)):
        entry = {"name": "onnx-fp32", "latency_ms": milliseconds, "latency": {"threads": 1}}
        host = {"machine": "armv8", "system": "Linux", "cpus": count}
        report = {"variants": [entry], "host": host}
        bundles.append(
            write_bundle(tmp_path / name, {"onnx-fp32": model(note=name)}, report=report)
        )
    policy = tmp_path / "fast.toml"
    policy.write_text(
        'schema_version = 1\n[[rule]]\nmetric = "latency_ratio"\nat_most = 0.5\n'
        'source = "recorded"\n'
    )
    pictures = write_pictures(tmp_path / "pictures", 2)
    sides = ("--baseline", bundles[0], "--candidate", bundles[1], "--policy", policy, "--json")
    result = edge.run("compare", bundles[0], pictures, *sides)
    if cpus == 4:
        succeeded(result)
        assert json.loads(result.stdout)["checks"][1]["value"] == 0.4
    else:
        failed(result, 2, "unlike hosts (cpus: 4 and 8)")


def test_tensorflow_is_not_needed(edge: Edge, place: Path) -> None:
    arguments = ("compare", place / "bundle", place / "pictures", *SIDES, "onnx-copy")
    result = subprocess.run(
        [sys.executable, "-c", PROGRAM, *map(str, arguments)],
        cwd=edge.work,
        env=edge.environment() | {"PYTHONPATH": os.fspath(Path(__file__).parents[2])},
        capture_output=True,
        encoding="utf-8",
        timeout=TIMEOUT,
    )
    succeeded(result)


def test_ctrl_c(edge: Edge, place: Path) -> None:
    process = edge.start("compare", place / "bundle", place / "pictures", *SIDES, "onnx-copy")
    try:
        read_until(process, "images ...")
        time.sleep(0.05)
        os.killpg(process.pid, signal.SIGINT)
        _, said = process.communicate(timeout=TIMEOUT)
    finally:
        end(process)
    assert process.returncode == 130, said
    assert "interrupted" in said
    assert "Traceback" not in said
    succeeded(compare(edge, place, "onnx-copy"))
