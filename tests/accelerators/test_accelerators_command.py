"""``edge accelerators`` as a user types it, over every path of the table."""

import json
import os
import subprocess
import sys
import time
from typing import Final

import pytest

from benchmarks.accelerators.processors import cpu_name
from benchmarks.accelerators.table import ACCELERATORS
from tests.integration.environments import environment

pytestmark = pytest.mark.accelerator

SECONDS: Final = 15  # on two cores that do nothing else; one hung path would take sixty


def edge(*arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "edge", "accelerators", *arguments],
        capture_output=True,
        text=True,
        timeout=200,
        env=os.environ | variables,
    )


def test_every_path_is_tried_in_little_time() -> None:
    edge("--quiet")  # reads the packages from the disk once
    begin = time.monotonic()
    done = edge("--json")
    taken = time.monotonic() - begin
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    assert document["schema_version"] == 1
    found = {entry["name"]: entry for entry in document["accelerators"]}
    assert list(found) == list(ACCELERATORS)
    for name in ("litert-cpu", "onnxruntime-cpu", "keras-cpu"):
        assert (found[name]["device"], found[name]["label"]) == (cpu_name(), "hardware")
    for entry in found.values():
        assert entry["available"] is (entry["device"] is not None) is not bool(entry["reason"])
        assert entry["available"] or entry["hint"], entry
    assert f"accelerators: {len(ACCELERATORS)} done" in done.stderr
    assert taken < SECONDS * (2 if (os.cpu_count() or 1) < 4 else 1)


def test_a_gpu_of_another_environment_is_found(gpu_variables: dict[str, str]) -> None:
    python = environment("onnxruntime-webgpu", ["onnxruntime-webgpu==1.27.0"])
    done = edge("--quiet", "--python", f"onnxruntime-webgpu={python}", **gpu_variables)
    assert done.returncode == 0, done.stderr
    (line,) = [line for line in done.stdout.splitlines() if line.startswith("onnxruntime-webgpu")]
    assert "GPU" in line and "here: SwiftShader" in line and "(software-gpu)" in line
    assert done.stderr == ""
