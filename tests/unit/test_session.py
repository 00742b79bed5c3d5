import importlib
import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edge.errors import EngineUnavailable, InferenceError, ModelLoadError, UsageError
from edge.runtime.contract import ChannelOrder, InputEncoding, IntegerInput, TensorLayout
from edge.runtime.session import ENGINES, encode_pixels, open_session
from edge.runtime.spec import QuantizationParams, TensorSpec

ROOT = Path(__file__).parents[2]
FLOAT, INT8 = (ROOT / "tests/data" / f"channels_{name}.tflite" for name in ("fp32", "int8"))


def spec(dtype: str) -> TensorSpec:
    return TensorSpec(name="image", shape=(1, 2, 128, 3), dtype=dtype)


def every_pixel() -> np.ndarray[Any, np.dtype[np.uint8]]:
    return np.arange(256, dtype=np.uint8).repeat(3).reshape(2, 128, 3)


# ---- encoding


def test_a_float_input_takes_the_range_of_the_contract() -> None:
    tensor = encode_pixels(every_pixel(), spec("float32"), InputEncoding(value_range=(-1.0, 1.0)))
    np.testing.assert_allclose(tensor[0], every_pixel() / 127.5 - 1, atol=1e-6)
    assert tensor.dtype == np.float32


def test_each_channel_has_its_mean_and_deviation() -> None:
    mean, std = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
    encoding = InputEncoding(value_range=(0.0, 1.0), mean=mean, std=std)
    (tensor,) = encode_pixels(every_pixel(), spec("float32"), encoding)
    np.testing.assert_allclose(tensor, (every_pixel() / 255 - mean) / std, atol=1e-6)


def test_blue_comes_first_and_channels_lead() -> None:
    pixels = np.arange(24, dtype=np.uint8).reshape(2, 4, 3)
    encoding = InputEncoding(channel_order=ChannelOrder.BGR, layout=TensorLayout.CHW)
    (tensor,) = encode_pixels(pixels, spec("float32"), encoding)
    assert tensor.shape == (3, 2, 4)
    np.testing.assert_array_equal(tensor[0], pixels[:, :, 2])


def test_a_quantized_input_takes_the_scaled_value_by_its_own_scale() -> None:
    encoding = InputEncoding(value_range=(-1.0, 1.0), integer_input=IntegerInput.QUANTIZED)
    quantized = replace(
        spec("int8"), quantization=QuantizationParams(scales=(0.01,), zero_points=(5,))
    )
    (tensor,) = encode_pixels(every_pixel(), quantized, encoding)
    real = np.rint((every_pixel() / 127.5 - 1) / 0.01) + 5
    np.testing.assert_array_equal(tensor, np.clip(real, -128, 127))
    with pytest.raises(ModelLoadError, match="no scale"):
        encode_pixels(every_pixel(), spec("int8"), encoding)


def test_uint8_is_the_pixel_itself() -> None:
    pixels = every_pixel()
    tensor = encode_pixels(pixels, spec("uint8"))
    assert (tensor.shape, tensor.dtype) == ((1, 2, 128, 3), np.uint8)
    assert np.shares_memory(tensor, pixels)
    assert np.array_equal(tensor[0], pixels)


def test_int8_is_the_pixel_less_128() -> None:
    pixels = every_pixel()
    tensor = encode_pixels(pixels, spec("int8"))
    assert (tensor.shape, tensor.dtype) == ((1, 2, 128, 3), np.int8)
    assert np.array_equal(tensor[0].astype(int), pixels.astype(int) - 128)
    assert np.array_equal(pixels, every_pixel())  # untouched


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_float_is_0_to_255(dtype: str) -> None:
    tensor = encode_pixels(every_pixel(), spec(dtype))
    assert (tensor.shape, tensor.dtype.name) == ((1, 2, 128, 3), dtype)
    assert np.array_equal(tensor[0].astype(int), every_pixel())


def test_a_batch_stays_one() -> None:
    batch = np.stack([every_pixel()] * 3)
    for dtype in ("uint8", "int8", "float32"):
        assert encode_pixels(batch, spec(dtype)).shape == (3, 2, 128, 3)


@pytest.mark.parametrize("dtype", ["int32", "bool", "tensor(string)"])
def test_another_input_dtype_is_refused(dtype: str) -> None:
    with pytest.raises(ModelLoadError, match="the image input is "):
        encode_pixels(every_pixel(), spec(dtype))


# ---- opening


@pytest.mark.parametrize("path", [FLOAT, INT8])
def test_a_session_runs(path: Path) -> None:
    session = open_session(path)
    assert session.engine.startswith("ai-edge-litert ")
    (image,) = session.inputs
    pixels = np.zeros((*image.shape[1:3], 3), np.uint8)
    pixels[..., 1] = 200
    (answer,) = session.run(encode_pixels(pixels, image))
    assert answer.dtype.name == session.outputs[0].dtype
    assert answer.argmax() == 1


def test_a_wrong_shape_is_an_inference_error() -> None:
    session = open_session(FLOAT)
    with pytest.raises(InferenceError, match="ai-edge-litert"):
        session.run(np.zeros((1, 3, 3, 3), np.float32))


def test_no_such_file(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no model file at"):
        open_session(tmp_path / "model.tflite")
    with pytest.raises(UsageError, match="no model file at"):
        open_session(tmp_path)


@pytest.mark.parametrize("name", ["model.pb", "model", "model.tflite.zip"])
def test_wrong_suffix(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(FLOAT.read_bytes())
    with pytest.raises(UsageError, match="is no model file") as caught:
        open_session(tmp_path / name)
    assert ".tflite or .onnx" in caught.value.message


def test_unknown_engine() -> None:
    with pytest.raises(UsageError, match="unknown engine 'tensorrt'") as caught:
        open_session(FLOAT, engine="tensorrt")
    assert all(name in caught.value.message for name in ENGINES)


def test_an_engine_of_the_other_format() -> None:
    with pytest.raises(UsageError, match=r"onnxruntime runs \.onnx files"):
        open_session(FLOAT, engine="onnxruntime")


@pytest.mark.parametrize(
    ("suffix", "content"),
    [
        (".tflite", b"no model"),
        (".tflite", b""),
        (".tflite", FLOAT.read_bytes()[:300]),
        (".onnx", b"no model"),
        (".onnx", b""),
    ],
)
def test_a_broken_file_names_itself(tmp_path: Path, suffix: str, content: bytes) -> None:
    path = tmp_path / f"broken{suffix}"
    path.write_bytes(content)
    with pytest.raises(ModelLoadError, match="broken") as caught:
        open_session(path)
    assert not isinstance(caught.value, EngineUnavailable)


# ---- interpreters that are not there

OPEN = """
import json, sys
from pathlib import Path
for name in json.loads(sys.argv[2]):
    sys.modules[name] = None  # "import name" now raises ModuleNotFoundError
from edge.errors import EngineUnavailable
from edge.runtime.session import open_session
try:
    print(open_session(Path(sys.argv[1]), engine=(sys.argv[3:] or [None])[0]).engine)
except EngineUnavailable as error:
    print(error.exit_code, error.message, "|", error.hint)
"""


def opened_without(path: Path, blocked: list[str], *engine: str) -> str:
    result = subprocess.run(
        [sys.executable, "-c", OPEN, str(path), json.dumps(blocked), *engine],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert result.returncode == 0, result.stderr
    return result.stdout.strip()


def test_the_missing_packages_are_named() -> None:
    said = opened_without(FLOAT, ["ai_edge_litert", "tflite_runtime", "tensorflow"])
    assert said.startswith("3 no interpreter for channels_fp32.tflite")
    assert "Install ai-edge-litert or tflite-runtime or tensorflow with pip." in said


def test_one_engine_names_its_own_package() -> None:
    said = opened_without(FLOAT, ["ai_edge_litert"], "litert")
    assert said.endswith("Install ai-edge-litert with pip.")


def test_onnxruntime_missing(tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_bytes(b"")
    said = opened_without(tmp_path / "model.onnx", ["onnxruntime"])
    assert said.endswith("Install onnxruntime with pip.")


@pytest.mark.parametrize(
    "error", [ImportError("numpy.core.multiarray failed"), ModuleNotFoundError("x", name="x")]
)
def test_a_broken_package_is_told_from_a_missing_one(
    monkeypatch: pytest.MonkeyPatch, error: ImportError
) -> None:
    def failing(name: str) -> None:
        raise error

    monkeypatch.setattr(importlib, "import_module", failing)
    with pytest.raises(EngineUnavailable, match="ai-edge-litert is installed but broken"):
        open_session(FLOAT)
