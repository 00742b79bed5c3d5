"""LiteRT on GPU and NPU, tflite-runtime and Vela, each in an environment that holds it.

The numbers in names are those of the traps of ``shared/design/accelerators.md``.
"""

import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any, Final

import numpy as np
import pytest

from benchmarks.accelerators.tiny_models import write_tiny_tflite
from tests.accelerators.path import ROOT, path
from tests.integration.environments import bare_environ, environment

pytestmark = pytest.mark.accelerator

FLOAT, INT8 = (ROOT / "tests/data" / f"channels_{name}.tflite" for name in ("fp32", "int8"))
LITERT: Final = "ai-edge-litert==2.3.0"
# No GPU on the way to it: an empty list of drivers.
NO_GPU: Final = {"VK_ICD_FILENAMES": "/dev/null", "VK_DRIVER_FILES": "/dev/null"}


@pytest.fixture(scope="module")
def npu(no_download: None) -> Path:
    return environment(
        "litert-npu", ("numpy", LITERT, "ai-edge-litert-sdk-intel==2.3.0", "openvino==2026.3.1")
    )


@pytest.fixture(scope="module")
def no_download() -> Iterator[None]:
    """The SDK package else fetches a compiler for real NPUs while it is installed."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SKIP_SDK_DOWNLOAD", "1")
        yield


@pytest.fixture(scope="module")
def vela() -> Path:
    return environment("vela", ("numpy", "ethos-u-vela==5.2.0"))


@pytest.fixture(scope="module")
def integer_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """``channels_int8`` without its last operator, which dequantizes: no NPU takes that one."""
    import flatbuffers
    from ai_edge_litert import schema_py_generated as schema

    model = schema.ModelT.InitFromObj(schema.Model.GetRootAs(INT8.read_bytes()))
    (graph,) = model.subgraphs
    dropped = graph.operators.pop()
    graph.outputs = [int(index) for index in dropped.inputs]
    model.signatureDefs = None
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), b"TFL3")
    written = tmp_path_factory.mktemp("integer") / "integer.tflite"
    written.write_bytes(builder.Output())
    return written


@cache
def cpu(model: Path) -> dict[str, Any]:
    return path("litert_cpu:litert", model)


def same_as_on_cpu(found: dict[str, Any], model: Path, tolerance: float) -> bool:
    pairs = zip(found["outputs"], cpu(model)["outputs"], strict=True)
    return all(np.allclose(here, there, rtol=0, atol=tolerance) for here, there in pairs)


# ---- GPU


@pytest.mark.parametrize(("model", "operators"), [(FLOAT, 3), (INT8, 5)], ids=["float", "int8"])
def test_the_gpu_answers_as_the_cpu_does(
    gpu_variables: dict[str, str], model: Path, operators: int
) -> None:
    found = path("litert_gpu:gpu", model, variables=gpu_variables)
    assert found["device"] == {"name": "SwiftShader Device (Subzero)", "label": "software-gpu"}
    assert found["coverage"]["operators"] == found["coverage"]["accelerated"] == operators
    assert found["coverage"]["left"] == {}
    assert same_as_on_cpu(found, model, 1e-5 if model is FLOAT else 1 / 256)


def test_a_batch_on_the_gpu(gpu_variables: dict[str, str]) -> None:
    found = path("litert_gpu:gpu", FLOAT, variables=gpu_variables, batch=3)
    expected = path("litert_cpu:litert", FLOAT, batch=3)["outputs"]
    assert np.shape(found["outputs"][0]) == (3, 3)
    np.testing.assert_allclose(found["outputs"][0], expected[0], atol=1e-5)


def test_1_a_gpu_run_is_timed_until_its_outputs_are_read(
    gpu_variables: dict[str, str], tmp_path: Path
) -> None:
    # Deep enough that computing takes far longer than asking for it.
    model = write_tiny_tflite(tmp_path, ("EXP", "SIN", "COS") * 60)
    program = (
        "import sys, time\n"
        "from pathlib import Path\n"
        "from benchmarks.accelerators.base import EngineSettings\n"
        "from benchmarks.accelerators.litert_gpu import open_gpu\n"
        "from benchmarks.inputs import tensors\n"
        "runner = open_gpu(Path(sys.argv[1]), EngineSettings(batch=64))\n"
        "feeds = tensors(runner.inputs, 64, None)\n"
        "runner.run(*feeds); runner.run(*feeds)\n"
        "begin = time.perf_counter(); runner.run(*feeds)\n"
        "whole = time.perf_counter() - begin\n"
        "begin = time.perf_counter()\n"
        "runner._compiled.run_by_index(0, runner._input_buffers, runner._output_buffers)\n"
        "asked = time.perf_counter() - begin\n"
        "print('times:', whole, asked)\n"
    )
    found = _python(program, str(model), variables=gpu_variables)
    whole, asked = map(float, found.split("times:")[1].split()[:2])
    assert whole > 2 * asked


def test_a_partly_covered_model_says_so_or_is_refused(
    gpu_variables: dict[str, str], tmp_path: Path
) -> None:
    model = write_tiny_tflite(tmp_path, ("ABS", "ZEROS_LIKE", "ABS"))
    found = path("litert_gpu:gpu", model, variables=gpu_variables)
    coverage = found["coverage"]
    assert (coverage["operators"], coverage["accelerated"]) == (3, 1)
    assert coverage["left"]["ZEROS_LIKE"] == 1
    assert sum(coverage["left"].values()) == 2
    assert coverage["reasons"] == ["ZEROS_LIKE: Operation is not supported."]
    refused = path("litert_gpu:gpu", model, variables=gpu_variables, full_delegation=True)
    assert refused["error"] == "ModelLoadError"
    assert "takes 1 of the 3 operators" in refused["message"]


def test_without_a_gpu_nothing_runs() -> None:
    for task in ("run", "probe"):
        found = path("litert_gpu:gpu", FLOAT, task=task, variables=NO_GPU)
        assert found["error"] == "EngineUnavailable", found
        assert found["message"].startswith("LiteRT finds no GPU: ")
        assert "Vulkan" in found["hint"]


def test_the_software_gpu_is_probed(gpu_variables: dict[str, str]) -> None:
    found = path("litert_gpu:gpu", task="probe", variables=gpu_variables)
    assert found["device"]["label"] == "software-gpu"


# ---- NPU


@pytest.mark.parametrize(("model", "operators"), [(FLOAT, 3), (INT8, 5)], ids=["float", "int8"])
def test_the_npu_plugin_answers_as_the_cpu_does(npu: Path, model: Path, operators: int) -> None:
    found = path("litert_npu:npu", model, python=npu)
    assert found["device"]["label"] == "simulator"
    assert found["coverage"]["operators"] == found["coverage"]["accelerated"] == operators
    assert found["coverage"]["partitions"] == 1
    assert same_as_on_cpu(found, model, 1e-5 if model is FLOAT else 1 / 256)


def test_the_npu_says_what_it_leaves(npu: Path, tmp_path: Path) -> None:
    model = write_tiny_tflite(tmp_path, ("ABS", "ZEROS_LIKE", "ABS"))
    found = path("litert_npu:npu", model, python=npu)
    assert (found["coverage"]["operators"], found["coverage"]["accelerated"]) == (3, 2)
    refused = path("litert_npu:npu", model, python=npu, full_delegation=True)
    assert refused["error"] == "ModelLoadError"
    assert "takes 2 of the 3 operators" in refused["message"]


def test_2_a_cpu_run_is_not_taken_for_an_npu(no_download: None) -> None:
    """LiteRT, asked for NPU and CPU where there is no NPU, runs on the CPU and boasts."""
    without = environment("litert-alone", ("numpy", LITERT))
    program = (
        "import sys\n"
        "from ai_edge_litert.compiled_model import CompiledModel\n"
        "from ai_edge_litert.hardware_accelerator import HardwareAccelerator as H\n"
        "model = CompiledModel.from_file(sys.argv[1], hardware_accel=H.NPU | H.CPU)\n"
        "print('fully accelerated:', model.is_fully_accelerated())\n"
    )
    assert "fully accelerated: True" in _python(program, str(FLOAT), python=without)
    found = path("litert_npu:npu", FLOAT, python=without)
    assert (found["error"], found["message"]) == ("EngineUnavailable", "openvino is not installed")


def test_3_an_openvino_that_disables_the_plugin_is_told(no_download: None) -> None:
    newer = environment("litert-npu-newer", ("numpy", LITERT, "openvino==2026.4.1"))
    for task in ("run", "probe"):
        found = path("litert_npu:npu", FLOAT, task=task, python=newer)
        assert found["error"] == "EngineUnavailable"
        assert found["message"].startswith(
            "LiteRT disabled its plugin libLiteRtCompilerPlugin_IntelOpenvino.so: libopenvino.so."
        )
        assert found["hint"] == "pip install openvino==2026.3.1"


# ---- tflite-runtime


def test_tflite_runtime_answers_as_litert_does() -> None:
    python = environment("tflite-runtime", ("numpy<2", "tflite-runtime==2.14.0"))
    for model, accelerated in ((FLOAT, 3), (INT8, 0)):  # no int8 on XNNPACK in that release
        found = path("litert_cpu:tflite_runtime", model, python=python)
        assert found["engine"] == "tflite-runtime 2.14.0"
        assert found["coverage"]["accelerated"] == accelerated
        assert same_as_on_cpu(found, model, 1e-6 if model is FLOAT else 1 / 256)


# ---- Ethos-U


def test_an_estimate_of_a_whole_model(vela: Path, integer_model: Path) -> None:
    found = path("ethos_u:ethos_u", integer_model, task="estimate", python=vela)
    assert found["engine"] == "ethos-u-vela 5.2.0"
    assert found["device"].startswith("Ethos-U55-128 at 500 MHz, Shared_Sram")
    facts, coverage = found["facts"], found["coverage"]
    assert found["seconds"] == pytest.approx(facts["cycles_total"] / facts["core_clock_hz"])
    assert found["seconds"] > 0
    assert coverage["operators"] == coverage["accelerated"] == 4
    assert coverage["partitions"] == 1


def test_6_a_partly_covered_model_gets_no_time(vela: Path) -> None:
    found = path("ethos_u:ethos_u", INT8, task="estimate", python=vela)
    assert found["seconds"] is None
    assert found["coverage"]["left"] == {"DEQUANTIZE": 1}
    assert found["coverage"]["accelerated"] == 4
    assert found["notes"][0] == ("Vela leaves out the time of what stays on the CPU: 1 DEQUANTIZE.")
    refused = path("ethos_u:ethos_u", INT8, task="estimate", python=vela, full_delegation=True)
    assert refused["error"] == "ModelLoadError"


def test_options_choose_another_npu(vela: Path) -> None:
    options = {"accelerator": "ethos-u85-256"}
    found = path("ethos_u:ethos_u", INT8, task="estimate", python=vela, options=options)
    assert found["device"].startswith("Ethos-U85-256 at 1000 MHz, Dedicated_Sram_384KB")
    options["memory-mode"] = "Nowhere"
    found = path("ethos_u:ethos_u", INT8, task="estimate", python=vela, options=options)
    assert found["error"] == "UsageError"
    assert "Memory_Mode.Nowhere not found" in found["message"]


def test_6_a_float_model_gets_no_estimate(vela: Path) -> None:
    found = path("ethos_u:ethos_u", FLOAT, task="estimate", python=vela)
    assert found["error"] == "ModelLoadError"
    assert "int8" in found["hint"]


def _python(
    program: str,
    *arguments: str,
    python: Path | None = None,
    variables: dict[str, str] | None = None,
) -> str:
    """Standard output of a program in an environment, with the project on its path."""
    done = subprocess.run(
        [str(python or sys.executable), "-c", program, *arguments],
        capture_output=True,
        text=True,
        errors="replace",
        timeout=300,
        env=bare_environ(PYTHONPATH=str(ROOT), **(variables or {})),
    )
    assert done.returncode == 0, done.stderr[-4000:]
    return done.stdout
