"""Model files opened for diagnosis: chosen kernels, and the tensors between the operators."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from edge.diagnosis.layers import Tensor
from edge.errors import ModelLoadError, missing_package
from edge.modelfile import onnx as onnx_file
from edge.runtime.backends.litert import LiteRTSession, tensor_spec
from edge.runtime.backends.onnx import OnnxSession
from edge.runtime.postprocess import dequantize
from edge.runtime.refusal import refusal
from edge.runtime.session import ENGINES, encode_pixels
from edge.runtime.spec import TensorSpec

# Kernels -> name in ai_edge_litert's OpResolverType.
RESOLVERS: Final = {
    "reference": "BUILTIN_REF",
    "built-in": "BUILTIN_WITHOUT_DEFAULT_DELEGATES",
    "xnnpack": "AUTO",  # what a user gets: the built-in kernels, and XNNPACK where it can
}


class _Interpreters:
    """Stands in for the interpreter's module, whose interpreters it makes with more options."""

    def __init__(self, module: Any, **options: Any) -> None:
        self._module = module
        self._options = options
        self.made: Any = None

    def Interpreter(self, **arguments: Any) -> Any:  # noqa: N802  # the name that sessions call
        self.made = self._module.Interpreter(**arguments, **self._options)
        return self.made


def open_tflite(
    path: Path, kernels: str, *, keep_tensors: bool = False
) -> tuple[LiteRTSession, Any]:
    """Open a session with the kernels of that name, and return its interpreter too.

    Args:
        path: A .tflite file.
        kernels: A key of ``RESOLVERS``.
        keep_tensors: Whether the tensors between the operators can be read after a run.

    Raises:
        PackageMissing: ai-edge-litert is not installed.
        ModelLoadError: The file does not load, or not with these kernels.
    """
    engine = ENGINES["litert"]
    try:
        from importlib.metadata import version

        from ai_edge_litert import interpreter
    except ImportError as error:
        raise (missing_package(error) or error) from None
    module = _Interpreters(
        interpreter,
        experimental_op_resolver_type=interpreter.OpResolverType[RESOLVERS[kernels]],
        experimental_preserve_all_tensors=keep_tensors,
    )
    label = f"{engine.package} {version(engine.package)}"
    try:
        session = LiteRTSession(module, path, threads=1, engine=label)
    except Exception as error:  # RuntimeError, ValueError: the interpreter's own
        raise refusal(path, f"{label} with {kernels} kernels", error) from error
    return session, module.made


class TfliteLayers:
    """The activations of a TFLite file, computed by the built-in kernels without delegates.

    Attributes:
        tensors: The tensors of the main graph that stand for real numbers, in the order of
            execution.
    """

    def __init__(self, path: Path) -> None:
        """Open the file.

        Raises:
            PackageMissing: ai-edge-litert is not installed.
            ModelLoadError: The file does not load.
        """
        self._session, self._interpreter = open_tflite(path, "built-in", keep_tensors=True)
        details = {item["index"]: item for item in self._interpreter.get_tensor_details()}
        computed = {int(item["index"]) for item in self._interpreter.get_input_details()}
        specs: dict[str, tuple[int, TensorSpec]] = {}
        readers: dict[int, list[str]] = {}
        for operator in self._interpreter._get_ops_details():
            # Loops and recurrent layers have operators with results that are left out: -1.
            outputs = [int(index) for index in operator["outputs"] if index >= 0]
            for index in map(int, operator["inputs"]):
                made = (details[output]["name"] for output in outputs)
                readers.setdefault(index, []).extend(made)
            if computed.isdisjoint(map(int, operator["inputs"])):
                continue  # made of constants alone, such as weights that are dequantized
            for index in outputs:
                computed.add(index)
                spec = tensor_spec(details[index])
                if spec.quantization is not None or spec.dtype.startswith("float"):
                    specs[spec.name] = (index, spec)
        self._specs = specs
        self.tensors = tuple(
            _tensor(spec, readers.get(index, ())) for index, spec in specs.values()
        )

    def run(
        self, pixels: NDArray[np.uint8], names: tuple[str, ...]
    ) -> dict[str, NDArray[np.float32]]:
        """Return the named activations of an image, real values with a batch axis of 1."""
        self._session.run(encode_pixels(pixels, self._session.inputs[0]))
        activations = {}
        for name in names:
            index, spec = self._specs[name]
            activations[name] = dequantize(self._interpreter.get_tensor(index), spec)
        return activations


def _tensor(spec: TensorSpec, readers: Sequence[str]) -> Tensor:
    step = spec.quantization.scales[0] if spec.quantization else None
    return Tensor(spec.name, spec.shape[1:], step, readers=tuple(readers))


# Kernels -> name in onnxruntime's GraphOptimizationLevel. Without optimization, a QDQ file runs
# as it is written: dequantize, compute in floats, quantize. With it, integer kernels take over.
LEVELS: Final = {"reference": "ORT_DISABLE_ALL", "optimized": "ORT_ENABLE_ALL"}


class _Sessions:
    """Stands in for the onnxruntime module, whose sessions it makes with another level."""

    def __init__(self, module: Any, level: str, content: bytes | None = None) -> None:
        self._module = module
        self._level = getattr(module.GraphOptimizationLevel, level)
        self._content = content

    def SessionOptions(self) -> Any:  # noqa: N802  # the name that sessions call
        options = self._module.SessionOptions()
        options.graph_optimization_level = self._level
        return options

    def InferenceSession(self, path: str, *arguments: Any, **more: Any) -> Any:  # noqa: N802
        return self._module.InferenceSession(self._content or path, *arguments, **more)


def open_onnx(path: Path, kernels: str, *, content: bytes | None = None) -> OnnxSession:
    """Open a session with the kernels of that name.

    Args:
        path: An .onnx file.
        kernels: A key of ``LEVELS``.
        content: A changed copy of the file, to run in its place.

    Raises:
        PackageMissing: onnxruntime is not installed.
        ModelLoadError: The file does not load.
    """
    engine = ENGINES["onnxruntime"]
    try:
        import onnxruntime
    except ImportError as error:
        raise (missing_package(error) or error) from None
    module = _Sessions(onnxruntime, LEVELS[kernels], content)
    label = f"{engine.package} {onnxruntime.__version__}"
    try:
        return OnnxSession(module, path, threads=1, engine=label)
    except ModelLoadError:
        raise
    except Exception as error:  # onnxruntime's exceptions share no public base
        raise refusal(path, f"{label} with {kernels} kernels", error) from error


class OnnxLayers:
    """The activations of an ONNX file that runs as it is written.

    In a QDQ file these are the outputs of DequantizeLinear, in a float file those of every node.

    Attributes:
        tensors: The tensors in the order of execution.
    """

    def __init__(self, path: Path, pixels: NDArray[np.uint8]) -> None:
        """Open the file, and run it once for the shapes of its tensors.

        Args:
            path: An .onnx file.
            pixels: The pixels of any image, (height, width, 3).

        Raises:
            PackageMissing: onnx or onnxruntime is not installed.
            ModelLoadError: The file does not load.
        """
        self._path = path
        try:
            self._model = onnx_file.loaded(path, external=True)
        except ImportError as error:
            raise (missing_package(error) or error) from None
        steps = onnx_file.activation_steps(self._model)
        self._shown = tuple(steps)
        self._session = self._opened(self._shown)
        self.tensors = tuple(
            Tensor(
                name,
                value.shape[1:],
                steps[name],
                channels_first=value.ndim == 4,
                readers=tuple(n.name for n in self._model.graph.node if name in n.input),
            )
            for name, value in self.run(pixels, self._shown).items()
        )

    def run(
        self, pixels: NDArray[np.uint8], names: tuple[str, ...]
    ) -> dict[str, NDArray[np.float32]]:
        """Return the named activations of an image, real values with a batch axis of 1."""
        if names != self._shown:
            self._session, self._shown = self._opened(names), names
        answers = self._session.run(encode_pixels(pixels, self._session.inputs[0]))
        return dict(zip(names, answers, strict=True))

    def _opened(self, names: tuple[str, ...]) -> OnnxSession:
        content = onnx_file.with_outputs(self._model, names)
        return open_onnx(self._path, "reference", content=content)
