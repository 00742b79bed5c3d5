"""ONNX files opened for diagnosis: chosen kernels, and the tensors between the nodes."""

from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from edge.diagnosis.layers import Tensor
from edge.errors import ModelLoadError, missing_package
from edge.runtime.backends.onnx import OnnxSession
from edge.runtime.refusal import refusal
from edge.runtime.session import ENGINES, encode_pixels
from edge.runtime.spec import PIXEL_RANGE

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
    """A session with the kernels of that name.

    Args:
        path: An .onnx file.
        kernels: Key of ``LEVELS``.
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
        tensors: In the order of execution.
    """

    def __init__(self, path: Path, pixels: NDArray[np.uint8]) -> None:
        """Open the file, and run it once for the shapes of its tensors.

        Args:
            path: An .onnx file.
            pixels: (height, width, 3), of any image.

        Raises:
            PackageMissing: onnx or onnxruntime is not installed.
            ModelLoadError: The file does not load.
        """
        try:
            import onnx
        except ImportError as error:
            raise (missing_package(error) or error) from None
        self._path = path
        self._model = onnx.load(path)
        steps = _activations(self._model)
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
        """The named activations of an image, real values with a batch axis of 1."""
        if names != self._shown:
            self._session, self._shown = self._opened(names), names
        answers = self._session.run(encode_pixels(pixels, self._session.inputs[0], PIXEL_RANGE))
        return dict(zip(names, answers, strict=True))

    def _opened(self, names: tuple[str, ...]) -> OnnxSession:
        import onnx

        copy = type(self._model).FromString(self._model.SerializeToString())
        del copy.graph.output[:]
        copy.graph.output.extend(
            onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None) for name in names
        )
        return open_onnx(self._path, "reference", content=copy.SerializeToString())


def _activations(model: Any) -> dict[str, float | None]:
    """Tensor -> quantization step (None for a real one), in the order of execution."""
    import onnx

    graph = model.graph
    constants = {item.name: item for item in graph.initializer}
    steps: dict[str, float | None] = {}
    for node in graph.node:
        if node.op_type == "DequantizeLinear" and node.input[0] not in constants:
            scale = onnx.numpy_helper.to_array(constants[node.input[1]])
            steps[node.output[0]] = float(scale.reshape(-1)[0])
    if not steps:
        described = onnx.shape_inference.infer_shapes(model).graph.value_info
        real = {
            item.name
            for item in described
            if item.type.tensor_type.elem_type == onnx.TensorProto.FLOAT
        }
        steps = {name: None for node in graph.node for name in node.output if name in real}
    output = graph.output[0].name
    return {name: step for name, step in steps.items() if name != output} | {
        output: steps.get(output)
    }
