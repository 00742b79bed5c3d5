"""The ONNX Runtime, OpenVINO and Keras paths where they really run, and the traps on the way.

The numbers of the traps are those of the issue: each was seen, and each test shows it first.
"""

import json
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np
import pytest
from numpy.typing import NDArray

from benchmarks.accelerators.processors import cpu_name
from benchmarks.inputs import generated
from benchmarks.parity import parity
from edge.runtime.session import open_session
from edge.runtime.spec import TensorSpec
from tests.accelerators.onnx_models import classifier, classifier_with_unique, heavy, unique
from tests.accelerators.onnx_models import quantized as quantized_operator
from tests.accelerators.path import ROOT, path
from tests.integration.environments import bare_environ, environment

pytestmark = pytest.mark.accelerator

WEBGPU: Final = ("onnxruntime-webgpu==1.27.0",)
QNN: Final = ("onnxruntime==1.31.1", "onnxruntime-qnn==2.7.0")
OPENVINO: Final = ("openvino==2026.4.1",)
NO_DRIVER: Final = {"VK_ICD_FILENAMES": "/nonexistent", "VK_DRIVER_FILES": "/nonexistent"}
TIMEOUT: Final = 300  # seconds, of one program
IMAGE: Final = (1, 3, 32, 32)


@pytest.fixture(scope="module")
def webgpu() -> Path:
    return environment("onnxruntime-webgpu", WEBGPU)


@pytest.fixture(scope="module")
def qnn() -> Path:
    return environment("onnxruntime-qnn", QNN)


@pytest.fixture(scope="module")
def openvino() -> Path:
    return environment("openvino", OPENVINO)


def program(python: Path, code: str, *arguments: object, **variables: str) -> Any:
    """What a program prints as its last line, as JSON."""
    done = subprocess.run(
        [python, "-c", code, *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=TIMEOUT,
        env=bare_environ(PYTHONPATH=str(ROOT), **variables),
    )
    assert done.returncode == 0, done.stderr[-4000:]
    return json.loads(done.stdout.splitlines()[-1])


def reference(model: Path, batch: int = 1) -> tuple[list[NDArray[Any]], tuple[TensorSpec, ...]]:
    """What ONNX Runtime's CPU, or LiteRT's, answers to the same input."""
    session = open_session(model)
    feeds = [generated(item, (batch, *item.shape[1:])) for item in session.inputs]
    return session.run(*feeds), session.outputs


def answers_as_the_cpu(answer: Mapping[str, Any], model: Path, batch: int = 1) -> bool:
    expected, specs = reference(model, batch)
    found = [np.array(output) for output in answer["outputs"]]
    return parity(expected, found, specs, "cpu").ok


# ---- trap 4: ONNX Runtime falls back to the CPU without a word

PLAIN_SESSION: Final = """
import json, sys
import numpy as np, onnxruntime
session = onnxruntime.InferenceSession(sys.argv[1], providers=[sys.argv[2]])
session.run(None, {"x": np.ones(json.loads(sys.argv[3]), np.float32)})
print()
print(json.dumps(session.get_providers()))
"""


def test_a_gpu_provider_without_a_driver_is_not_available(webgpu: Path, tmp_path: Path) -> None:
    model = classifier(tmp_path / "model.onnx")
    plain = (webgpu, PLAIN_SESSION, model, "WebGpuExecutionProvider", json.dumps(IMAGE))
    assert program(*plain, **NO_DRIVER) == ["CPUExecutionProvider"]  # the trap: it just ran

    for task in ("probe", "run"):
        found = path("onnxruntime:webgpu", model, task=task, python=webgpu, variables=NO_DRIVER)
        assert found["error"] == "EngineUnavailable"
        assert "onnxruntime-webgpu 1.27.0 is installed, but" in found["message"]
        assert "Failed to get a WebGPU adapter" in found["message"]
        assert "Vulkan driver" in found["hint"]


def test_a_model_that_a_gpu_takes_nothing_of_is_refused(
    webgpu: Path, gpu_variables: dict[str, str], tmp_path: Path
) -> None:
    model = unique(tmp_path / "model.onnx")
    plain = (webgpu, PLAIN_SESSION, model, "WebGpuExecutionProvider", json.dumps(IMAGE))
    assert "WebGpuExecutionProvider" in program(
        *plain, **gpu_variables
    )  # the trap: listed, and idle

    found = path("onnxruntime:webgpu", model, python=webgpu, variables=gpu_variables)
    assert found["error"] == "ModelLoadError"
    assert "takes no operator of model.onnx" in found["message"]


def test_partial_coverage_is_counted_or_refused(
    webgpu: Path, gpu_variables: dict[str, str], tmp_path: Path
) -> None:
    model = classifier_with_unique(tmp_path / "model.onnx")
    found = path("onnxruntime:webgpu", model, python=webgpu, variables=gpu_variables)
    covered = found["coverage"]
    assert covered["left"] == {"Unique": 1}
    assert covered["operators"] - covered["accelerated"] == 1
    assert answers_as_the_cpu(found, model)

    strict = path(
        "onnxruntime:webgpu", model, python=webgpu, variables=gpu_variables, full_delegation=True
    )
    assert strict["error"] == "ModelLoadError"
    assert "does not take every operator" in strict["message"]


@pytest.mark.parametrize("batch", [1, 3])
def test_a_software_gpu_is_labelled_and_right(
    webgpu: Path, gpu_variables: dict[str, str], tmp_path: Path, batch: int
) -> None:
    model = classifier(tmp_path / "model.onnx")
    settings: dict[str, Any] = {"batch": batch, "full_delegation": True}
    found = path("onnxruntime:webgpu", model, python=webgpu, variables=gpu_variables, **settings)
    assert found["device"]["label"] == "software-gpu"
    assert "SwiftShader" in found["device"]["name"]
    assert found["engine"] == "onnxruntime-webgpu 1.27.0"
    covered = found["coverage"]
    # The convolutions stand in no assignment, since their layout is changed: counted all the same.
    assert covered["operators"] == covered["accelerated"] >= 7
    assert (covered["partitions"], covered["left"]) == (1, {})
    assert answers_as_the_cpu(found, model, batch)
    assert found["profile"] == []  # ONNX Runtime only times the launch of a GPU's kernels


# ---- trap 5: with outputs on the GPU, WebGPU returns before it has computed

BOUND_OUTPUT: Final = """
import json, sys, time
import numpy as np, onnxruntime
session = onnxruntime.InferenceSession(sys.argv[1], providers=["WebGpuExecutionProvider"])
binding = session.io_binding()
binding.bind_cpu_input("x", np.ones((1, 3, 64, 64), np.float32))
binding.bind_output("y", "webgpu", 0)
seconds = []
for _ in range(3):
    begin = time.perf_counter()
    session.run_with_iobinding(binding)
    seconds.append(time.perf_counter() - begin)
    binding.copy_outputs_to_cpu()
del binding
print(json.dumps(seconds))
"""


def test_a_run_ends_when_the_outputs_are_here(
    webgpu: Path, gpu_variables: dict[str, str], tmp_path: Path
) -> None:
    model = heavy(tmp_path / "model.onnx")
    bound = min(program(webgpu, BOUND_OUTPUT, model, **gpu_variables)[1:])
    found = path("onnxruntime:webgpu", model, python=webgpu, variables=gpu_variables)
    ours = min(found["seconds"][1:])
    assert bound < ours / 10  # the trap: 0.3 ms against 150 ms
    assert answers_as_the_cpu(found, model)


# ---- trap 7: a quantized operator is computed wrongly


def test_a_wrong_operator_of_the_npu_fails_parity(qnn: Path, tmp_path: Path) -> None:
    # QNN 2.7 adds up the quantized values without taking their zero point away.
    axis = np.array(1, np.int64)
    wrong = quantized_operator(tmp_path / "sum.onnx", "CumSum", axis)
    right = quantized_operator(tmp_path / "tanh.onnx", "Tanh")
    for model, same in ((wrong, False), (right, True)):
        found = path("onnxruntime:qnn", model, python=qnn, full_delegation=True)
        assert found["coverage"]["accelerated"] == found["coverage"]["operators"] == 5
        assert answers_as_the_cpu(found, model) is same


def test_the_emulated_npu_says_that_it_is_one(qnn: Path, tmp_path: Path) -> None:
    model = classifier(tmp_path / "model.onnx")
    found = path("onnxruntime:qnn", model, python=qnn, batch=2)
    assert found["device"] == {
        "name": f"Qualcomm HTP emulator on {cpu_name()}",
        "label": "simulator",
    }
    assert found["engine"] == "onnxruntime 1.31.1 with onnxruntime-qnn 2.7.0"
    assert np.shape(found["outputs"][0]) == (2, 10)  # the open extent was fixed before compiling
    assert found["coverage"]["partitions"] == 1
    assert found["coverage"]["accelerated"] == found["coverage"]["operators"] > 5
    assert path("onnxruntime:qnn", task="probe", python=qnn)["device"] == found["device"]


# ---- trap 8: OpenVINO computes in bf16 where the CPU is fast at it

PRECISION: Final = """
import json, sys
from pathlib import Path
import numpy as np, openvino
from benchmarks.accelerators.base import EngineSettings
from benchmarks.accelerators.openvino import OpenVinoRunner
core = openvino.Core()
core.set_property("CPU", {"INFERENCE_PRECISION_HINT": "bf16"})  # the default of CPUs with AMX
model = Path(sys.argv[1])
image = np.random.default_rng(0).random((1, 3, 32, 32), np.float32)
plain = core.compile_model(core.read_model(model), "CPU", {})
runner = OpenVinoRunner(openvino, core, "CPU", model, EngineSettings())
print(json.dumps({
    "plain": plain([image[:]])[0].tolist() if not plain.inputs[0].partial_shape.is_dynamic
        else plain({0: image})[0].tolist(),
    "ours": runner.run(image)[0].tolist(),
    "hint": str(plain.get_property("INFERENCE_PRECISION_HINT")),
}))
"""


def test_openvino_computes_in_the_precision_of_the_file(openvino: Path, tmp_path: Path) -> None:
    model = classifier(tmp_path / "model.onnx")
    found = program(openvino, PRECISION, model)
    image = np.random.default_rng(0).random(IMAGE, np.float32)
    (expected,) = open_session(model).run(image)
    if "bfloat16" not in found["hint"]:
        pytest.skip("this CPU has no AVX-512, without which OpenVINO refuses bf16")
    assert np.abs(np.array(found["plain"]) - expected).max() > 1e-4  # the trap
    assert np.abs(np.array(found["ours"]) - expected).max() < 1e-6


# ---- OpenVINO


@pytest.mark.parametrize("batch", [1, 4])
@pytest.mark.parametrize("name", ["onnx", "channels_fp32", "channels_int8"])
def test_openvino_answers_as_the_interpreters_do(
    openvino: Path, tmp_path: Path, name: str, batch: int
) -> None:
    tflite = ROOT / f"tests/data/{name}.tflite"
    model = tflite if tflite.is_file() else classifier(tmp_path / "model.onnx")
    found = path("openvino:cpu", model, python=openvino, batch=batch)
    assert found["device"]["label"] == "hardware"
    assert found["engine"] == "openvino 2026.4.1"
    assert np.shape(found["outputs"][0])[0] == batch
    if batch == 1 or name == "onnx":  # LiteRT's plain session takes the batch of the file
        assert answers_as_the_cpu(found, model, batch)
    covered = found["coverage"]
    assert 0 < covered["accelerated"] == covered["operators"]
    assert found["profile"] and all(item["seconds"] >= 0 for item in found["profile"])
    assert any("CPU" in item["where"] for item in found["profile"])


@pytest.mark.parametrize("unit", ["gpu", "npu"])
def test_openvino_names_a_processor_that_is_not_here(openvino: Path, unit: str) -> None:
    found = path(f"openvino:{unit}", task="probe", python=openvino)
    if "device" in found:
        pytest.skip(f"this machine has one: {found['device']['name']}")
    assert found["error"] == "EngineUnavailable"
    assert f"finds no {unit.upper()} here; it finds CPU" in found["message"]
    assert "pip install openvino" in found["hint"]


NEW_ARRAYS: Final = """
import json, sys
from pathlib import Path
import numpy as np
from benchmarks.accelerators.base import EngineSettings
from benchmarks.accelerators.openvino import open_cpu
runner = open_cpu(Path(sys.argv[1]), EngineSettings())
image = np.random.default_rng(0).random((1, 3, 32, 32), np.float32)
first = runner.run(image)[0]
kept = first.copy()
other = runner.run(image[..., ::-1].copy() * 3)[0]
again = runner.run(image)[0]
image *= 3
print(json.dumps({
    "unchanged": bool((first == kept).all() and (first == again).all()),
    "differs": float(abs(first - other).max()),
    "in_place": float(abs(first - runner.run(image)[0]).max()),
}))
"""


def test_openvino_takes_new_arrays_and_keeps_old_answers(openvino: Path, tmp_path: Path) -> None:
    found = program(openvino, NEW_ARRAYS, classifier(tmp_path / "model.onnx"))
    assert found["unchanged"]
    assert found["differs"] > 1e-3
    assert found["in_place"] > 1e-3


def test_openvino_refuses_what_it_cannot_read(openvino: Path, tmp_path: Path) -> None:
    model = tmp_path / "model.onnx"
    model.write_bytes(classifier(tmp_path / "whole.onnx").read_bytes()[:-200])
    found = path("openvino:cpu", model, python=openvino)
    assert found["error"] == "ModelLoadError"
    assert "does not load in OpenVINO on the CPU" in found["message"]


# ---- Keras

SAVED: Final = """
import json, sys
import keras, numpy as np
layers = keras.layers
image, state = keras.Input((8, 8, 3), name="image"), keras.Input((4,), name="state")
merged = layers.Concatenate()([layers.Flatten()(layers.Conv2D(4, 3)(image)), state])
model = keras.Model([image, state], [layers.Dense(5)(merged), layers.Dropout(0.5)(merged)])
model.save(sys.argv[1])
random = [np.random.default_rng(0).random((3, *i.shape[1:]), np.float32) for i in model.inputs]
outputs = model.predict_on_batch(random)
print()
print(json.dumps([output.tolist() for output in outputs]))
"""


def test_keras_runs_in_inference_mode(tmp_path: Path) -> None:
    import sys

    model = tmp_path / "model.keras"
    expected = program(Path(sys.executable), SAVED, model, TF_CPP_MIN_LOG_LEVEL="3")
    found = path("keras:cpu", model, batch=3)
    assert found["device"] == {"name": cpu_name(), "label": "hardware"}
    for output, right in zip(found["outputs"], expected, strict=True):
        assert np.allclose(output, right, atol=1e-5)  # drops nothing out
    covered = found["coverage"]
    assert 0 < covered["accelerated"] == covered["operators"]
    assert any("Conv2D" in item["type"] for item in found["profile"])
    fixed = path("keras:gpu", model)
    if "error" in fixed:
        assert fixed["error"] == "EngineUnavailable"
        assert fixed["hint"]
