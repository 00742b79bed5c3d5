"""One way to run any model file: open a session, feed tensors, read tensors."""

import functools
import importlib
import sys
from pathlib import Path
from typing import Any, Final, Protocol

import numpy as np
from numpy.typing import NDArray

from edge.errors import EngineUnavailable, ModelLoadError, UsageError
from edge.runtime.contract import PIXELS, ChannelOrder, InputEncoding, IntegerInput, TensorLayout
from edge.runtime.frozen import frozen_dataclass
from edge.runtime.spec import TensorSpec

MOST_BYTES: Final = 2 << 30  # flatbuffers and protobuf address no more


class Session(Protocol):
    """A loaded model, ready to run.

    Attributes:
        engine: Interpreter and version, such as ``ai-edge-litert 2.3.0``.
        inputs: In the order in which ``run`` takes them.
        outputs: In the order in which ``run`` returns them.
    """

    engine: str
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]

    def run(self, *tensors: NDArray[Any]) -> list[NDArray[Any]]:
        """Run once. Shapes and dtypes as ``inputs`` and ``outputs`` state.

        Raises:
            InferenceError: The interpreter failed.
        """
        ...


@frozen_dataclass(kw_only=True)
class Engine:
    """An interpreter that can be installed.

    Attributes:
        format: The format of the model files that it runs: ``tflite`` or ``onnx``.
        package: Name in the package index.
        module: What to import to get it.
        session: ``module:Class`` of ours that drives it.
    """

    format: str
    package: str
    module: str
    session: str


# The order is the order of preference. TensorFlow's own interpreter is last: it is slow to import.
ENGINES: Final[dict[str, Engine]] = {
    "litert": Engine(
        format="tflite",
        package="ai-edge-litert",
        module="ai_edge_litert.interpreter",
        session="edge.runtime.backends.litert:LiteRTSession",
    ),
    "tflite-runtime": Engine(
        format="tflite",
        package="tflite-runtime",
        module="tflite_runtime.interpreter",
        session="edge.runtime.backends.litert:LiteRTSession",
    ),
    "tensorflow": Engine(
        format="tflite",
        package="tensorflow",
        module="tensorflow.lite.python.interpreter",
        session="edge.runtime.backends.litert:LiteRTSession",
    ),
    "onnxruntime": Engine(
        format="onnx",
        package="onnxruntime",
        module="onnxruntime",
        session="edge.runtime.backends.onnx:OnnxSession",
    ),
}


def model_format(path: Path) -> str:
    """Return ``tflite`` or ``onnx``, by suffix.

    Raises:
        UsageError: Another suffix.
    """
    suffix = path.suffix.lower().removeprefix(".")
    if suffix not in {engine.format for engine in ENGINES.values()}:
        raise UsageError(f"{path} is no model file: expected a name ending in .tflite or .onnx")
    return suffix


def check_size(path: Path) -> None:
    """Refuse a file that no interpreter reads, before anything reads all of it.

    Raises:
        ModelLoadError: It is larger than the format allows.
    """
    size = path.stat().st_size
    if size > MOST_BYTES:
        raise ModelLoadError(
            f"{path} has {size / 2**30:.1f} GiB; a TFLite or ONNX file holds at most "
            f"{MOST_BYTES >> 30} GiB",
            hint="Weights of a larger ONNX model lie in other files, which the model names.",
        )


def open_session(
    path: Path, *, engine: str | None = None, threads: int = 1, held: Path | None = None
) -> Session:
    """Load a model with the named engine, or with the first one installed for its format.

    Args:
        path: A .tflite or .onnx file.
        engine: A key of ``ENGINES``.
        threads: CPU threads of one inference.
        held: A copy of the file that was checked, which is loaded in its place.

    Raises:
        UsageError: Unknown engine, or one for another format; no such file; no such number of
            threads.
        EngineUnavailable: The interpreter is not installed.
        ModelLoadError: The file does not load.
    """
    check_count("threads", threads)
    if not path.is_file():
        raise UsageError(f"no model file at {path}")
    format_ = model_format(path)
    check_size(path)
    check_engine(engine)
    candidates = [engine] if engine else [n for n, e in ENGINES.items() if e.format == format_]
    for name in candidates:
        found = ENGINES[name]
        if found.format != format_:
            raise UsageError(f"engine {name} runs .{found.format} files; {path.name} is not one")
        module = _import(found)
        if module is not None:
            return _open(found, module, path, threads, held)
    packages = " or ".join(ENGINES[name].package for name in candidates)
    raise EngineUnavailable(
        f"no interpreter for {path.name} is installed here", hint=f"Install {packages} with pip."
    )


def check_engine(engine: str | None) -> None:
    """Refuse an interpreter that is not known; None is any.

    Raises:
        UsageError: There is none of that name.
    """
    if engine is not None and engine not in ENGINES:
        raise UsageError(f"unknown engine {engine!r}; known: {', '.join(ENGINES)}")


def check_count(name: str, value: object) -> None:
    """Refuse what is no number of things.

    Raises:
        UsageError: It is no whole number, or less than 1.
    """
    if not isinstance(value, int | np.integer) or value < 1:
        raise UsageError(f"{name} is {value!r}; a whole number of at least 1 is allowed")


def _import(engine: Engine) -> Any | None:
    """Return the interpreter's module, or None where the package is not installed."""
    try:
        return importlib.import_module(engine.module)
    except ModuleNotFoundError as error:
        if error.name and engine.module.startswith(error.name):
            return None
        raise EngineUnavailable(f"{engine.package} is installed but broken: {error}") from error
    except ImportError as error:  # a wheel for another numpy or glibc, say
        raise EngineUnavailable(f"{engine.package} is installed but broken: {error}") from error


def _open(engine: Engine, module: Any, path: Path, threads: int, held: Path | None) -> Session:
    module_name, _, class_name = engine.session.partition(":")
    session_class = getattr(importlib.import_module(module_name), class_name)
    label = f"{engine.package} {_version(engine)}"
    try:
        session: Session = session_class(module, path, threads=threads, engine=label, held=held)
    except ModelLoadError:
        raise
    except Exception as error:  # each interpreter raises types of its own for a bad file
        from edge.runtime.refusal import refusal  # most files load

        raise refusal(path, label, error) from error
    return session


def _version(engine: Engine) -> str:
    """Return the version of the loaded interpreter; the index of packages is slow to import."""
    stated = getattr(sys.modules[engine.module.partition(".")[0]], "__version__", None)
    if isinstance(stated, str):
        return stated
    from importlib.metadata import version

    return version(engine.package)


def first_line(error: BaseException) -> str:
    """Return the first line of an error's text; interpreters append traces to theirs."""
    text = str(error).strip() or type(error).__name__
    return text.splitlines()[0][:300]


def encode_pixels(
    pixels: NDArray[np.uint8], spec: TensorSpec, encoding: InputEncoding = PIXELS
) -> NDArray[Any]:
    """Return the model's image tensor from pixels.

    Args:
        pixels: (batch, height, width, channels) or (height, width, channels), uint8.
        spec: The image input: uint8 (the pixel is the quantized value), int8 (the pixel less
            128), or float.
        encoding: What the values become, as the contract states.

    Returns:
        An array of the spec's dtype with a batch axis; a view where nothing has to change.

    Raises:
        ModelLoadError: The input has another dtype, or the contract wants quantized values and
            the tensor has no scale.
    """
    batch = pixels if pixels.ndim == 4 else pixels[np.newaxis]
    table = _table(encoding, spec.dtype, batch.shape[-1], _input_quantization(spec, encoding))
    if table is None:
        values = batch if spec.dtype == "uint8" else _real(batch, spec)
    elif len(table) == 1:
        values = table[0][batch]
    else:
        values = np.empty(batch.shape, table.dtype)
        for channel, column in enumerate(table):
            values[..., channel] = column[batch[..., channel]]
    if encoding.channel_order is ChannelOrder.BGR:
        values = values[..., ::-1]
    if encoding.layout is TensorLayout.CHW:
        values = values.transpose(0, 3, 1, 2)
    return values if values is batch else np.ascontiguousarray(values)


def _real(batch: NDArray[np.uint8], spec: TensorSpec) -> NDArray[Any]:
    if spec.dtype == "int8":
        return (batch ^ np.uint8(0x80)).view(np.int8)
    return batch.astype(spec.dtype)


def _input_quantization(spec: TensorSpec, encoding: InputEncoding) -> tuple[float, int] | None:
    """Return (scale, zero point) where the contract wants the scaled value quantized."""
    if spec.dtype not in _INTEGERS or encoding.integer_input is IntegerInput.PIXELS:
        return None
    if spec.quantization is None or len(spec.quantization.scales) != 1:
        raise ModelLoadError(
            f"the image input {spec.name!r} has no scale by which values could be quantized"
        )
    return spec.quantization.scales[0], spec.quantization.zero_points[0]


@functools.lru_cache(maxsize=4)
def _table(
    encoding: InputEncoding, dtype: str, channels: int, quantization: tuple[float, int] | None
) -> NDArray[Any] | None:
    """Return the value of each of the 256 pixel values, (channels or 1, 256).

    It is None where the pixel itself, or the pixel less 128, is the value.

    Raises:
        ModelLoadError: No image tensor has that dtype.
    """
    if dtype in _FLOATS:
        if encoding.is_pixels:
            return None
    elif dtype not in _INTEGERS:
        raise ModelLoadError(f"the image input is {dtype}; expected uint8, int8 or float")
    elif quantization is None:
        return None
    factors, terms = encoding.affine(channels)
    real = np.outer(factors, np.arange(256)) + np.array(terms)[:, np.newaxis]
    if (real == real[0]).all():
        real = real[:1]
    if quantization is not None:
        scale, zero_point = quantization
        bounds = np.iinfo(dtype)
        real = np.clip(np.rint(real / scale) + zero_point, bounds.min, bounds.max)
    table: NDArray[Any] = real.astype(dtype)
    return table


_FLOATS: Final = ("float32", "float16", "float64")
_INTEGERS: Final = ("uint8", "int8")
