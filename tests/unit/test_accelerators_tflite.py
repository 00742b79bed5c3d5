"""The TFLite paths as far as this environment has them, and what is read of engines' logs."""

import os
from pathlib import Path

import numpy as np
import pytest

from benchmarks.accelerators import ethos_u, litert_gpu, litert_npu, litert_profile
from benchmarks.accelerators.base import Coverage, EngineSettings, Label
from benchmarks.accelerators.engine import captured
from benchmarks.accelerators.litert_compiled import Graph
from benchmarks.accelerators.litert_cpu import delegated_coverage, open_litert, probe_litert
from benchmarks.accelerators.tiny_models import TFLITE_SHAPE, write_tiny_tflite
from benchmarks.inputs import tensors
from edge.errors import ModelLoadError, UsageError
from edge.modelfile.delegation import InterpreterNode, nodes

ROOT = Path(__file__).parents[2]
FLOAT, INT8 = (ROOT / "tests/data" / f"channels_{name}.tflite" for name in ("fp32", "int8"))


def node(type_: str, inputs: tuple[int, ...], output: int) -> InterpreterNode:
    return InterpreterNode(type=type_, inputs=frozenset(inputs), outputs=(output,))


# ---- the graph walk


def test_a_partition_is_what_lies_between_its_inputs_and_outputs() -> None:
    # 0 -A-> 1 -B-> 2 -C-> 3 -D-> 4, B and C delegated; 9 is a constant of C's.
    graph = [
        node("A", (0,), 1),
        node("B", (1,), 2),
        node("C", (2, 9), 3),
        node("D", (3,), 4),
        node("DELEGATE", (1, 9), 3),
    ]
    found = delegated_coverage(graph, ("because",))
    assert (found.operators, found.accelerated, found.partitions) == (4, 2, 1)
    assert (found.left, found.reasons) == ({"A": 1, "D": 1}, ("because",))


def test_branches_within_a_partition_and_two_partitions() -> None:
    graph = [
        node("A", (0,), 1),
        node("B", (1,), 2),
        node("C", (1,), 3),
        node("D", (2, 3), 4),
        node("X", (4,), 5),
        node("E", (5,), 6),
        node("DELEGATE", (0,), 4),
        node("DELEGATE", (5,), 6),
    ]
    found = delegated_coverage(graph)
    assert (found.accelerated, found.partitions, found.left) == (5, 2, {"X": 1})


def test_all_or_nothing() -> None:
    operators = [node("A", (0,), 1), node("A", (1,), 2)]
    assert delegated_coverage(operators, ("why",)).left == {"A": 2}
    full = delegated_coverage([*operators, node("DELEGATE", (0,), 2)], ("why",))
    assert full.full
    assert full.reasons == ()


def test_an_absent_tensor_is_left_out() -> None:
    (found,) = nodes([{"op_name": "A", "inputs": [0, -1], "outputs": [2]}])
    assert found == node("A", (0,), 2)


# ---- LiteRT on the CPU


@pytest.mark.parametrize(
    ("model", "left"), [(FLOAT, {}), (INT8, {"QUANTIZE": 1, "SOFTMAX": 1})], ids=["float", "int8"]
)
def test_the_cpu_runs_and_says_where(model: Path, left: dict[str, int]) -> None:
    runner = open_litert(model, EngineSettings())
    (image,) = tensors(runner.inputs, 1, None)
    (output,) = runner.run(image)
    scores = np.exp(image.reshape(-1, 3).mean(axis=0) / 32)
    # int8 rounds the mean, the logits and the scores.
    tolerance = 1e-6 if model is FLOAT else 2 / 256
    np.testing.assert_allclose(output[0], scores / scores.sum(), rtol=0, atol=tolerance)
    found = runner.coverage()
    assert found is not None
    assert found.left == left
    assert found.operators - found.accelerated == sum(left.values())
    assert runner.engine.startswith("ai-edge-litert ")
    assert runner.device() == probe_litert(EngineSettings())
    assert runner.device().label is Label.HARDWARE


def test_a_batch_answers_as_its_images_do() -> None:
    runner = open_litert(FLOAT, EngineSettings(batch=3))
    assert runner.inputs[0].shape == (3, 16, 16, 3)
    (batch,) = tensors(runner.inputs, 3, None)
    (answers,) = runner.run(batch)
    one = open_litert(FLOAT, EngineSettings())
    for image, answer in zip(batch, answers, strict=True):
        np.testing.assert_allclose(one.run(image[np.newaxis])[0][0], answer, rtol=1e-6)


def test_a_second_thread_changes_nothing() -> None:
    one, two = (open_litert(FLOAT, EngineSettings(threads=threads)) for threads in (1, 2))
    feeds = tensors(one.inputs, 1, None)
    np.testing.assert_allclose(one.run(*feeds)[0], two.run(*feeds)[0], rtol=1e-6)


def test_a_file_that_is_none_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no model file"):
        open_litert(tmp_path / "none.tflite", EngineSettings())
    broken = tmp_path / "broken.tflite"
    broken.write_bytes(FLOAT.read_bytes()[:200])
    with pytest.raises(ModelLoadError, match="does not load in ai-edge-litert"):
        open_litert(broken, EngineSettings())


def test_the_profile_has_every_operator() -> None:
    if not litert_profile.available():
        pytest.skip("no profiler known of this ai-edge-litert")
    runner = open_litert(INT8, EngineSettings())
    profile = runner.profile(tensors(runner.inputs, 1, None), 3)
    assert [step.type for step in profile if step.where == "built-in kernel"] == [
        "QUANTIZE",
        "SOFTMAX",
    ]
    assert sum(step.where == "XNNPACK" for step in profile) == 3
    assert all(0 <= step.seconds < 10 for step in profile)  # the profiler counts microseconds
    batch = open_litert(INT8, EngineSettings(batch=2))
    assert batch.profile(tensors(batch.inputs, 2, None), 3) == ()


def test_a_profile_is_read_in_order_of_execution() -> None:
    line = "%60s %10.3f %10.3f %10.3f %9.3f%% %9.3f%% %10.3f %10d   [%s]:%d\n"
    text = (
        "=== Run Order ===\n  [node type]  [start]  [first]  [avg ms]  [%]  [Name]\n"
        + line % ("QUANTIZE", 0, 0.006, 0.003, 22.7, 22.7, 0, 3, "Builtin", 0)
        + line % ("Delegate/Convolution (NHWC, QC8) IGEMM", 0, 1, 1.25, 77, 99, 0, 3, "Delegate", 7)
        + "\n=== Top by Computation Time ===\n"
        + line % ("QUANTIZE", 0, 0.006, 0.003, 22.7, 22.7, 0, 3, "Builtin", 0)
    )
    first, second = litert_profile.read_summary(text)
    assert (first.type, first.seconds, first.delegated) == ("QUANTIZE", 3e-6, False)
    assert (second.type, second.index) == ("Convolution (NHWC, QC8) IGEMM", 7)
    assert (second.seconds, second.delegated) == (0.00125, True)


def test_a_tiny_model_runs(tmp_path: Path) -> None:
    runner = open_litert(write_tiny_tflite(tmp_path, ("NEG", "ABS", "EXP")), EngineSettings())
    image = np.linspace(-1, 1, int(np.prod(TFLITE_SHAPE)), dtype=np.float32).reshape(TFLITE_SHAPE)
    np.testing.assert_allclose(runner.run(image)[0], np.exp(np.abs(image)), rtol=1e-5)


# ---- logs, line by line as the engines wrote them

SPLIT = """\
I0000 00:00:1.1 1 environment.cc:532] Selected adapter: SwiftShader Device (Subzero), \
arch=swiftshader, vendor=google, backend=Vulkan, adapterType=CPU / Software
ERROR: Following operations are not supported by GPU delegate:
ZEROS_LIKE: Operation is not supported.
1 operations will run on the GPU, and the remaining 2 operations will run on the CPU.
I0000 00:00:1.2 1 delegate_kernel.cc:984] Initializing WebGPU-based API from graph.
"""
GRAPH = Graph(engine="", inputs={}, outputs={}, operators=("ABS", "ZEROS_LIKE", "ABS"))


def test_what_a_gpu_leaves() -> None:
    found = litert_gpu.gpu_coverage(GRAPH, SPLIT, whole=False)
    assert (found.operators, found.accelerated, found.partitions) == (3, 1, 1)
    assert found.left == {"ZEROS_LIKE": 1, "others, cut off by these": 1}
    assert found.reasons == ("ZEROS_LIKE: Operation is not supported.",)


def test_without_evidence_nothing_ran_on_the_gpu() -> None:
    assert litert_gpu.gpu_coverage(GRAPH, "", whole=False).accelerated == 0
    assert litert_gpu.gpu_coverage(GRAPH, "", whole=True).full


@pytest.mark.parametrize(
    ("kind", "label"),
    [
        ("CPU / Software", Label.SOFTWARE_GPU),
        ("Discrete GPU", Label.HARDWARE),
        ("Integrated GPU", Label.HARDWARE),
        ("Unknown", Label.SOFTWARE_GPU),
    ],
)
def test_only_a_known_gpu_is_hardware(kind: str, label: Label) -> None:
    device = litert_gpu.adapter(SPLIT.replace("CPU / Software", kind))
    assert device is not None
    assert (device.name, device.label) == ("SwiftShader Device (Subzero)", label)
    assert litert_gpu.adapter("no such line") is None


def test_what_an_npu_took() -> None:
    line = (
        "INFO: [compiler_plugin.cc:742] Partitioned subgraph<0>, selected {} ops, "
        "from a total of 3 ops. resulted in 2 partitions.\n"
    )
    found = litert_npu.npu_coverage(line.format(2))
    assert found is not None
    assert (found.operators, found.accelerated, found.partitions) == (3, 2, 2)
    assert sum(found.left.values()) == 1
    whole = litert_npu.npu_coverage(line.format(3))
    assert whole is not None
    assert whole.full
    assert litert_npu.npu_coverage("INFO: Created TensorFlow Lite XNNPACK delegate") is None


def test_native_output_is_collected_and_passed_on(capfd: pytest.CaptureFixture[str]) -> None:
    with captured() as log:
        os.write(2, "é of native code\n".encode())
    os.write(2, b"after\n")
    assert log.text == "é of native code\n"
    assert capfd.readouterr().err == "é of native code\nafter\n"
    with pytest.raises(RuntimeError), captured() as log:
        os.write(2, b"before the error")
        raise RuntimeError
    assert log.text == capfd.readouterr().err == "before the error"


# ---- Vela


def test_every_family_has_its_system_and_memory() -> None:
    for accelerator, system, memory in (
        ("ethos-u55-256", "Ethos_U55_High_End_Embedded", "Shared_Sram"),
        ("ethos-u65-512", "Ethos_U65_Client_Server", "Dedicated_Sram_384KB"),
        ("Ethos-U85-1024", "Ethos_U85_SYS_DRAM_Mid", "Dedicated_Sram_384KB"),
    ):
        found = ethos_u.configuration(EngineSettings(options={"accelerator": accelerator}))
        assert (found.accelerator, found.system_config) == (accelerator.lower(), system)
        assert found.memory_mode == memory
    assert ethos_u.configuration(EngineSettings()).accelerator == "ethos-u55-128"
    chosen = ethos_u.configuration(EngineSettings(options={"memory-mode": "Sram_Only"}))
    assert chosen.memory_mode == "Sram_Only"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"accelerator": "ethos-n78"}, "unknown accelerator 'ethos-n78'"),
        ({"clock": "1"}, "unknown option 'clock' of ethos-u; known: accelerator"),
    ],
)
def test_other_options_are_refused(options: dict[str, str], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        ethos_u.configuration(EngineSettings(options=options))


SUMMARY = {
    "accelerator_configuration": "Ethos_U55_128",
    "system_config": "Ethos_U55_High_End_Embedded",
    "memory_mode": "Shared_Sram",
    "core_clock": "500000000.0",
    "inference_time": "0.016",
    "cycles_total": "8000000",
}


def test_a_time_only_where_the_npu_takes_all() -> None:
    whole = ethos_u.estimate("vela", SUMMARY, Coverage(operators=2, accelerated=2, partitions=1))
    assert whole.seconds == 0.016
    assert whole.device == "Ethos-U55-128 at 500 MHz, Shared_Sram, Ethos_U55_High_End_Embedded"
    assert whole.facts["cycles_total"] == 8e6
    left = Coverage(operators=2, accelerated=1, partitions=1, left={"ARG_MAX": 1})
    part = ethos_u.estimate("vela", SUMMARY, left)
    assert part.seconds is None
    assert part.facts["npu_part_seconds"] == 0.016
    assert part.notes[0] == "Vela leaves out the time of what stays on the CPU: 1 ARG_MAX."


@pytest.mark.parametrize("time", ["nan", "0.0", "inf"])
def test_a_time_that_is_none_is_none(time: str) -> None:
    coverage = Coverage(operators=2, accelerated=2, partitions=1)
    found = ethos_u.estimate("vela", SUMMARY | {"inference_time": time}, coverage)
    assert found.seconds is None
