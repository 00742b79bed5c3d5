"""A real network answers on aarch64 as it does on x86-64, within the tolerances of its bundle."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from edge.deploy.wheelhouse import Platform, environment
from edge.runtime.bundle import Bundle
from tests.device.machine import Machine, running

VARIANTS = {
    "tflite-fp32": "litert",
    "tflite-int8": "litert",
    "onnx-fp32": "onnxruntime",
    "onnx-int8": "onnxruntime",
}
TARGETS = {
    "bookworm": Platform(machine="aarch64", python="3.11", glibc=(2, 36)),
    "trixie": Platform(machine="aarch64", python="3.13", glibc=(2, 41)),
}
PICTURES = 24
XNNPACK = "Created TensorFlow Lite XNNPACK delegate"

pytestmark = [pytest.mark.shared_data, pytest.mark.slow]


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The ImageNet MobileNet with its shipped weights; its answers are not flat.

    ``EDGE_TEST_BUNDLE`` may name one that was built before, which saves a minute.
    """
    named = os.environ.get("EDGE_TEST_BUNDLE")
    if named:
        return Path(named)
    data = os.environ.get("EDGE_TEST_DATA")
    if not data:
        pytest.skip("EDGE_TEST_DATA names no folder with pictures and weights")
    folder = tmp_path_factory.mktemp("network")
    files = sorted(Path(data, "images", "imagenet-sample").glob("*.jpg"))
    (folder / "pictures").mkdir()
    for file in files[:: len(files) // PICTURES][:PICTURES]:
        (folder / "pictures" / file.name).symlink_to(file)
    (weights,) = Path(data, "weights").glob("mobilenet_1_0_224_*.h5")
    command = [sys.executable, "-m", "edge", "export", "mobilenet", "--weights", weights]
    command += ["--calibration-data", folder / "pictures", "--calibration-images", "12"]
    command += ["--variants", ",".join(VARIANTS), "--output", folder / "bundle", "--quiet"]
    subprocess.run(command, check=True, timeout=600)
    return folder / "bundle"


@pytest.fixture(scope="module", params=TARGETS)
def prepared(request: pytest.FixtureRequest, bundle: Path) -> Iterator[Machine]:
    """A machine with the bundle and the environments of both engines in its home."""
    from edge.cache import default_cache

    image = request.getfixturevalue(request.param)
    with running(image) as machine:
        machine.send(bundle, "bundle")
        for engine in sorted(set(VARIANTS.values())):
            wheels = environment(engine, TARGETS[request.param], cache=default_cache())
            machine.send(wheels.path, engine)
        yield machine


@pytest.mark.parametrize("variant", VARIANTS)
def test_answers_are_those_of_x86_64(
    prepared: Machine, bundle: Path, variant: str, record_property: Callable[[str, object], None]
) -> None:
    engine = VARIANTS[variant]
    command = "EDGE_DEBUG=1 "  # shows what the interpreter says of its kernels
    command += f"PYTHONPATH=bundle/runtime:{engine} python3 -P -s -m edge.runtime selftest bundle"
    command += f" --engine {engine} --variant {variant} --threads 2 --json"
    done = prepared.ssh(command, timeout=600)
    assert done.returncode == 0, done.stderr.decode(errors="replace")
    report = json.loads(done.stdout)
    for name, value in figures(report).items():
        record_property(name, value)
    print(prepared.image.suite, variant, json.dumps(figures(report)))
    assert (report["machine"], report["same_engine"], report["flat"]) == ("aarch64", True, False)
    assert report["passed"], report["reasons"]
    integers = "steps" in report["unit"]
    assert integers == (variant == "tflite-int8")
    if engine == "litert":  # else other kernels ran, whose answers say nothing of a real board
        assert XNNPACK in done.stderr.decode(errors="replace")
    for item in report["images"]:
        assert item["worst"] <= (1 if integers else 1e-4 if variant.endswith("fp32") else 0.1)
        assert item["found_class"] == item["expected_class"]


def test_the_golden_answers_differ_between_pictures(bundle: Path) -> None:
    """Otherwise the test above would pass for a network that computes nothing."""
    opened = Bundle.open(bundle)
    golden = json.loads(opened.checked("golden/golden.json").read_text())
    assert len(golden["images"]) == 3
    assert not any(expected["flat"] for expected in golden["variants"].values())


def figures(report: dict[str, Any]) -> dict[str, Any]:
    """What the documentation states."""
    images = report["images"]
    return {
        "engine": report["engine"],
        "python": report["python"],
        "worst": max(item["worst"] for item in images),
        "differing": sum(item["differing"] for item in images),
        "elements": sum(item["elements"] for item in images),
        "top1_equal": all(item["found_class"] == item["expected_class"] for item in images),
        "latency_seconds": report["latency_seconds"],
        "peak_memory_bytes": report["peak_memory_bytes"],
    }
