"""The ONNX Runtime CPU path, what its neighbours share, and what is said where an engine lacks."""

import importlib.util
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks.accelerators import keras, onnxruntime, openvino, tiny_models
from benchmarks.accelerators.base import EngineSettings, Label
from benchmarks.accelerators.onnx_profile import Kernel, coverage, inferences, operator_times
from benchmarks.accelerators.onnx_runner import OnnxRunner
from benchmarks.accelerators.processors import cpu_device, cpu_name, nvidia_gpu
from benchmarks.input_shape import check_outputs, closed
from benchmarks.inputs import tensors
from edge.errors import EngineUnavailable, InferenceError, ModelLoadError, UsageError
from edge.runtime.session import open_session
from edge.runtime.spec import TensorSpec
from tests.accelerators.onnx_models import classifier, unique

CPU, GPU, NPU = "CPUExecutionProvider", "WebGpuExecutionProvider", "QNNExecutionProvider"


def spec(*shape: int) -> TensorSpec:
    return TensorSpec(name="x", shape=shape, dtype="float32")


def inputs(runner: OnnxRunner, batch: int) -> tuple[np.ndarray[Any, Any], ...]:
    return tensors(runner.inputs, batch, None)


# ---- the CPU's name


def proc(root: Path, board: str = "", cpu: str = "") -> Path:
    (root / "proc/device-tree").mkdir(parents=True)
    (root / "proc/device-tree/model").write_text(board)
    (root / "proc/cpuinfo").write_text(cpu)
    return root


def test_a_board_gives_its_name(tmp_path: Path) -> None:
    root = proc(tmp_path, "Raspberry Pi 5 Model B Rev 1.0\0", "model name\t: something else\n")
    assert cpu_name(root) == "Raspberry Pi 5 Model B Rev 1.0"


def test_without_a_board_the_cpu_does(tmp_path: Path) -> None:
    stated = "processor\t: 0\nmodel name\t: Some(R)  CPU @ 2.80GHz\nmodel name\t: other\n"
    device = cpu_device(proc(tmp_path, cpu=stated))
    assert (device.name, device.label) == ("Some(R) CPU @ 2.80GHz", Label.HARDWARE)


def test_a_cpu_always_has_a_name(tmp_path: Path) -> None:
    assert cpu_name(proc(tmp_path))


# ---- batch


def test_an_open_first_extent_takes_the_batch() -> None:
    assert closed((spec(-1, 8, 8, 3), spec(-1, 5)), 4) == (spec(4, 8, 8, 3), spec(4, 5))


def test_a_fixed_extent_is_only_changed_where_the_engine_can() -> None:
    assert closed((spec(1, 8, 8, 3),), 4, resizable=True) == (spec(4, 8, 8, 3),)
    with pytest.raises(ModelLoadError, match=r"fixed at a batch of 1; a batch of 4") as caught:
        closed((spec(1, 8, 8, 3),), 4)
    assert "--batch 1" in caught.value.hint


def test_images_fixed_at_another_batch_are_not_passed_off_as_one() -> None:
    with pytest.raises(ModelLoadError, match="fixed at a batch of 8"):
        closed((spec(8, 32, 32, 3),), 1)
    assert closed((spec(28, 28),), 1) == (spec(28, 28),)  # 28 moments, not 28 images


def test_a_state_beside_the_image_may_keep_its_extent() -> None:
    assert closed((spec(-1, 8, 8, 3), spec(2, 16)), 4) == (spec(4, 8, 8, 3), spec(2, 16))


def test_a_batch_folded_into_one_answer_is_refused() -> None:
    check_outputs("m", (spec(4, 10),), 4)
    check_outputs("m", (spec(-1, 10),), 4)
    with pytest.raises(ModelLoadError, match="does not answer for a batch of 4"):
        check_outputs("m", (spec(1, 10),), 4)


# ---- the tiny model


def test_the_tiny_model_is_what_it_says() -> None:
    import onnx
    from onnx import numpy_helper

    model = onnx.load_from_string(tiny_models.ONNX_MODEL)
    onnx.checker.check_model(model)
    weights = numpy_helper.to_array(model.graph.initializer[0])
    assert np.array_equal(weights.reshape(2, 2), [[1, 0.5], [0.25, 1]])


def test_a_wrong_answer_makes_a_processor_unavailable() -> None:
    right = np.broadcast_to(
        np.reshape(tiny_models.ONNX_ANSWER, (1, 2, 1, 1)), tiny_models.ONNX_SHAPE
    ).copy()
    tiny_models.check_tiny_onnx(right, "it")
    for wrong in (right + 0.1, right * np.nan):
        with pytest.raises(EngineUnavailable, match="it is here, but computes"):
            tiny_models.check_tiny_onnx(wrong, "it")


# ---- ONNX Runtime on the CPU


@pytest.mark.parametrize("batch", [1, 3])
def test_it_answers_as_the_plain_session(tmp_path: Path, batch: int) -> None:
    model = classifier(tmp_path / "model.onnx")
    runner = onnxruntime.open_cpu(model, EngineSettings(batch=batch))
    assert [item.shape for item in runner.inputs] == [(batch, 3, 32, 32)]
    given = inputs(runner, batch)
    (output,) = runner.run(*given)
    assert output.shape == (batch, 10)
    assert np.array_equal(output, open_session(model).run(*given)[0])
    assert np.ptp(output) > 0.01
    assert runner.engine.startswith("onnxruntime 1.")
    assert runner.device() == cpu_device()


def test_threads_reach_the_session(tmp_path: Path) -> None:
    runner = onnxruntime.open_cpu(classifier(tmp_path / "model.onnx"), EngineSettings(threads=2))
    options = runner._loaded.session.get_session_options()
    assert (options.intra_op_num_threads, options.inter_op_num_threads) == (2, 1)


def test_a_fixed_batch_is_kept(tmp_path: Path) -> None:
    model = classifier(tmp_path / "model.onnx", batch=2)
    (output,) = (runner := onnxruntime.open_cpu(model, EngineSettings(batch=2))).run(
        *inputs(runner, 2)
    )
    assert output.shape == (2, 10)
    with pytest.raises(ModelLoadError, match="fixed at a batch of 2; a batch of 1"):
        onnxruntime.open_cpu(model, EngineSettings())


def test_full_delegation_means_nothing_on_the_cpu(tmp_path: Path) -> None:
    model = unique(tmp_path / "model.onnx")
    runner = onnxruntime.open_cpu(model, EngineSettings(full_delegation=True))
    found = runner.coverage()
    assert found is not None and found.full and (found.operators, found.partitions) == (1, 1)


def test_the_profile_names_every_operator_and_leaves_no_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    runner = onnxruntime.open_cpu(classifier(tmp_path / "model.onnx"), EngineSettings())
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(scratch))
    times = runner.profile(inputs(runner, 1), 4)
    types = [item.type for item in times]
    assert {"Conv", "Gemm", "Softmax"} <= set(types)
    assert types.index("Conv") < types.index("Gemm") < types.index("Softmax")
    assert times and all(item.where == CPU and 0 <= item.seconds < 10 for item in times)
    assert sum(item.seconds for item in times) > 0
    assert not list(scratch.iterdir())


def test_a_file_that_is_no_model(tmp_path: Path) -> None:
    model = tmp_path / "model.onnx"
    model.write_bytes(b"no model")
    with pytest.raises(ModelLoadError, match="does not load in onnxruntime") as caught:
        onnxruntime.open_cpu(model, EngineSettings())
    assert not isinstance(caught.value, EngineUnavailable)
    with pytest.raises(UsageError, match="no model file"):
        onnxruntime.open_cpu(tmp_path / "other.onnx", EngineSettings())


def test_the_probe_of_the_cpu_computes() -> None:
    assert onnxruntime.probe_cpu(EngineSettings()) == cpu_device()


# ---- engines that are not here


@pytest.mark.parametrize("path", ["cuda", "tensorrt", "webgpu", "openvino"])
def test_a_build_without_the_provider_says_so(path: str, tmp_path: Path) -> None:
    import onnxruntime as engine

    if len(set(engine.get_available_providers()) - {CPU, "AzureExecutionProvider"}):
        pytest.skip("another build of ONNX Runtime than the CPU's is installed")
    model = classifier(tmp_path / "model.onnx")
    opened, probed = (getattr(onnxruntime, f"{what}_{path}") for what in ("open", "probe"))
    for call in (lambda: opened(model, EngineSettings()), lambda: probed(EngineSettings())):
        with pytest.raises(
            EngineUnavailable, match=r"has no .*ExecutionProvider; it has"
        ) as caught:
            call()
        assert "pip install onnxruntime-" in caught.value.hint


@pytest.mark.parametrize(
    ("module", "probe"),
    [
        ("onnxruntime_qnn", onnxruntime.probe_qnn),
        ("openvino", openvino.probe_cpu),
        ("openvino", openvino.probe_npu),
    ],
)
def test_a_missing_package_is_named(module: str, probe: Any) -> None:
    if importlib.util.find_spec(module):
        pytest.skip(f"{module} is installed")
    with pytest.raises(EngineUnavailable, match=f"{module} is not installed") as caught:
        probe(EngineSettings())
    assert "pip install" in caught.value.hint


def test_no_gpu_without_a_driver() -> None:
    try:
        nvidia_gpu()
    except EngineUnavailable as error:
        assert error.hint
        with pytest.raises(EngineUnavailable):  # and TensorFlow is not even imported to say so
            keras.probe_gpu(EngineSettings())
    else:
        with pytest.raises(EngineUnavailable, match="shows no GPU 4096"):
            nvidia_gpu(4096)


def test_vulkan_lists_names() -> None:
    """In a process of its own, see ``vulkan_devices``: other tests need TensorFlow in this one."""
    program = """
import json
from benchmarks.accelerators.processors import vulkan_devices
print(json.dumps(vulkan_devices()))
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    named = json.loads(done.stdout)
    if not named:
        pytest.skip("no Vulkan here; tests/accelerators brings a GPU in software")
    for name, is_cpu in named:
        assert name and isinstance(is_cpu, bool)


# ---- profile and coverage of accelerators, from what they are known to say


def kernel(name: str, type: str, provider: str, seconds: float = 1.0) -> Kernel:
    return Kernel(name=name, type=type, provider=provider, seconds=seconds)


def event(name: str, start: int, length: int, op: str = "", **fields: Any) -> dict[str, Any]:
    node = {"cat": "Node", "args": {"op_name": op, "provider": CPU}}
    session = {"cat": "Session", "args": {}}
    return (node if op else session) | {"name": name, "ts": start, "dur": length} | fields


def test_kernels_belong_to_the_inference_in_which_they_began(tmp_path: Path) -> None:
    path = tmp_path / "profile.json"
    events = [
        event("model_loading_uri", 0, 90),
        event("c_kernel_time", 230, 40, "Conv"),
        event("c_kernel_time", 110, 20, "Conv"),
        event("s_kernel_time", 140, 4, "Softmax"),
        event("s_kernel_time", 280, 8, "Softmax"),
        event("c_fence_before", 105, 1, "Conv"),
        event("model_run", 100, 50),
        event("model_run", 200, 100),
    ]
    path.write_text(json.dumps(events))
    runs = inferences(path)
    assert [[item.type for item in run] for run in runs] == [["Conv", "Softmax"]] * 2
    times = operator_times(runs)
    assert [(item.name, item.type) for item in times] == [("c", "Conv"), ("s", "Softmax")]
    assert [item.seconds for item in times] == pytest.approx([30e-6, 6e-6])


@pytest.mark.parametrize("content", ["", "[]", "{}", '[{"cat": "Node"}]', "[1]"])
def test_a_damaged_profile_is_an_error_of_ours(tmp_path: Path, content: str) -> None:
    path = tmp_path / "profile.json"
    path.write_text(content)
    with pytest.raises(InferenceError, match="profile cannot be read"):
        inferences(path)


def test_operators_that_the_assignments_lack_are_counted_where_they_ran() -> None:
    # As WebGPU 1.27 does: the convolution, whose layout is changed, is in no assignment.
    ran = [
        kernel("Transpose", "Transpose", GPU),
        kernel("c", "Conv", GPU),
        kernel("Memcpy", "MemcpyToHost", GPU),
        kernel("u", "Unique", CPU),
        kernel("Memcpy_1", "MemcpyFromHost", GPU),
        kernel("s", "Softmax", GPU),
    ]
    found = coverage([(GPU, 1), (CPU, 1), (GPU, 1)], ran, [GPU])
    assert found is not None
    assert (found.operators, found.accelerated, found.partitions) == (4, 3, 2)
    assert found.left == {"Unique": 1}
    assert not found.full
    assert any("1 ran on CPU" in reason for reason in found.reasons)
    assert any("2 copies between" in reason for reason in found.reasons)


def test_a_compiled_part_counts_as_what_it_consists_of() -> None:
    ran = [
        kernel(f"{NPU}_QNN_1_0", "QNN_1", NPU),
        kernel("d", "DequantizeLinear", CPU),
    ]
    found = coverage([(NPU, 155), (CPU, 1)], ran, [NPU])
    assert found is not None
    assert (found.operators, found.accelerated, found.partitions) == (156, 155, 1)
    whole = coverage([(NPU, 155)], ran[:1], [NPU])
    assert whole is not None and whole.full


def test_an_old_version_cannot_say_what_a_compiled_part_consists_of() -> None:
    assert coverage(None, [kernel(f"{NPU}_QNN_1_0", "QNN_1", NPU)], [NPU]) is None
    found = coverage(None, [kernel("c", "Conv", GPU), kernel("u", "Unique", CPU)], [GPU])
    assert found is not None and (found.operators, found.accelerated) == (2, 1)


def test_a_loop_counts_once() -> None:
    ran = [kernel("a", "Add", GPU)] * 5
    found = coverage([(GPU, 1)], ran, [GPU])
    assert found is not None and found.operators == 1


def test_what_a_helper_takes_is_on_the_processor() -> None:
    ran = [kernel(f"{NPU}_T_0", "T", NPU), kernel("c", "Cast", GPU)]
    found = coverage([(NPU, 9), (GPU, 1)], ran, [NPU, GPU])
    assert found is not None
    assert (found.operators, found.accelerated, found.left) == (10, 10, {})


@pytest.mark.parametrize(
    ("shape", "dtype"),
    [((0, 4), "float32"), ((1, 0, 4), "float32"), ((1, 4), "tensor(string)"), ((1, 4), "object")],
)
def test_an_input_without_numbers_is_refused(shape: tuple[int, ...], dtype: str) -> None:
    for batch in (1, 4):
        with pytest.raises(ModelLoadError, match=r"the (file|input)") as caught:
            closed((TensorSpec(name="x", shape=shape, dtype=dtype),), batch)
        assert "--batch" not in caught.value.hint


@pytest.mark.parametrize("has_nodes", [True, False])
def test_a_graph_that_computes_nothing_is_refused_in_words(has_nodes: bool, tmp_path: Path) -> None:
    onnx = pytest.importorskip("onnx")
    make, kind = onnx.helper, onnx.TensorProto.FLOAT
    value = make.make_tensor_value_info("x", kind, [1, 4])
    stored = make.make_tensor("w", kind, [1, 4], [1.0] * 4)
    graph = make.make_graph([], "g", [value], [value])
    if has_nodes:  # of constants alone, and without an input
        output = make.make_tensor_value_info("y", kind, [1, 4])
        graph = make.make_graph([make.make_node("Relu", ["w"], ["y"])], "g", [], [output], [stored])
    opset = [make.make_opsetid("", 17)]
    path = tmp_path / "model.onnx"
    onnx.save(make.make_model(graph, opset_imports=opset, ir_version=8), path)
    with pytest.raises(ModelLoadError, match="computes nothing"):
        onnxruntime.open_cpu(path, EngineSettings())
