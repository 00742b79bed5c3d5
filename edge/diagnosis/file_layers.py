"""Model files opened for diagnosis: chosen kernels, and the tensors between the operators."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from edge.diagnosis.layers import Tensor
from edge.errors import ModelLoadError, missing_package
from edge.modelfile import onnx as onnx_file
from edge.modelfile import tflite as tflite_file
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

    def __init__(self, module: Any, content: bytes | None, **options: Any) -> None:
        self._module = module
        self._content = content
        self._options = options
        self.made: Any = None

    def Interpreter(self, **arguments: Any) -> Any:  # noqa: N802  # the name that sessions call
        if self._content is not None:
            del arguments["model_path"]
            arguments["model_content"] = self._content
        self.made = self._module.Interpreter(**arguments, **self._options)
        return self.made


def open_tflite(
    path: Path, kernels: str, *, keep_tensors: bool = False, content: bytes | None = None
) -> tuple[LiteRTSession, Any]:
    """Open a session with the kernels of that name, and return its interpreter too.

    Args:
        path: A .tflite file.
        kernels: A key of ``RESOLVERS``.
        keep_tensors: Whether the tensors between the operators can be read after a run.
        content: A changed copy of the file, to run in its place.

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
        content,
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
        zero_point: The pixel that the file takes for zero; None where it takes real values.
    """

    def __init__(self, path: Path) -> None:
        """Open the file.

        Raises:
            PackageMissing: ai-edge-litert is not installed.
            ModelLoadError: The file does not load.
        """
        self._path = path
        self._session, self._interpreter = open_tflite(path, "built-in", keep_tensors=True)
        pixels = self._session.inputs[0].quantization
        self.zero_point = None if pixels is None else pixels.zero_points[0]
        details = {item["index"]: item for item in self._interpreter.get_tensor_details()}
        computed = {int(item["index"]) for item in self._interpreter.get_input_details()}
        specs: dict[str, tuple[int, TensorSpec]] = {}
        readers: dict[int, list[str]] = {}
        operators = self._interpreter._get_ops_details()
        for operator in operators:
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
        self._rounded = _rounded_copies(operators, details)
        self.tensors = tuple(
            _tensor(self._rounded.get(index, (index, spec))[1], readers.get(index, ()))
            for index, spec in specs.values()
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

    def cut(self, names: tuple[str, ...]) -> "CutTflite":
        """Return the file cut at these activations; see ``CutTflite``."""
        places = [self._specs[name] for name in names]
        return CutTflite(self._path, [self._rounded.get(place[0], place) for place in places])


def _rounded_copies(
    operators: Sequence[Mapping[str, Any]], details: Mapping[int, Mapping[str, Any]]
) -> dict[int, tuple[int, TensorSpec]]:
    """The integer copies of real tensors of a mixed file that nothing but their copying reads.

    What the copy rounds away is an error of the layer that made the tensor, as in a file of
    integers, and not of the one that reads the copy. Each has the name of the tensor.
    """
    readers: dict[int, list[Mapping[str, Any]]] = {}
    for operator in operators:
        for index in map(int, operator["inputs"]):
            readers.setdefault(index, []).append(operator)
    copies = {}
    for index, found in readers.items():
        real = index in details and np.dtype(details[index]["dtype"]) == np.float32
        if real and len(found) == 1 and found[0]["op_name"] == "QUANTIZE":
            copy = int(found[0]["outputs"][0])
            spec = replace(tensor_spec(dict(details[copy])), name=str(details[index]["name"]))
            copies[index] = (copy, spec)
    return copies


class CutTflite:
    """A TFLite file whose parts, from some activations to the next, run on what they are given."""

    def __init__(self, path: Path, places: Sequence[tuple[int, TensorSpec]]) -> None:
        """Cut the file.

        Args:
            path: A .tflite file.
            places: The index and the spec of each activation to cut at.

        Raises:
            ModelLoadError: The interpreter does not take the file that was cut.
        """
        content = tflite_file.cut(path.read_bytes(), [index for index, _ in places])
        self._session, _ = open_tflite(path, "built-in", content=content)
        self._specs = {spec.name: spec for _, spec in places}

    def run(
        self, pixels: NDArray[np.uint8], given: Mapping[str, NDArray[np.float32]]
    ) -> tuple[dict[str, NDArray[np.float32]], dict[str, NDArray[np.float32]]]:
        """Run every part.

        Args:
            pixels: The pixels of an image, (height, width, 3).
            given: The real values of each activation, with a batch axis of 1.

        Returns:
            What the activations given hold of that, rounded as the file does; and what each part
            makes of it.
        """
        stored = {name: quantize(given[name], spec) for name, spec in self._specs.items()}
        made = self._session.run(encode_pixels(pixels, self._session.inputs[0]), *stored.values())
        held = {name: dequantize(stored[name], spec) for name, spec in self._specs.items()}
        pairs = zip(self._specs.items(), made, strict=True)
        return held, {name: dequantize(values, spec) for (name, spec), values in pairs}


def quantize(values: NDArray[np.float32], spec: TensorSpec) -> NDArray[Any]:
    """Return what a tensor stores for real values: the way back from ``dequantize``."""
    if spec.quantization is None:
        return values.astype(spec.dtype, copy=False)
    scale, point = spec.quantization.scales[0], spec.quantization.zero_points[0]
    ends = np.iinfo(spec.dtype)
    stored: NDArray[Any] = np.clip(np.rint(values / scale) + point, ends.min, ends.max)
    return stored.astype(spec.dtype)


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

    Which these are, ``edge.modelfile.onnx.activation_steps`` says.

    Attributes:
        tensors: The tensors in the order of execution.
        zero_point: The pixel that the file takes for zero; None where it takes real values.
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
        self.zero_point = onnx_file.pixel_zero_point(self._model)
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

    def cut(self, names: tuple[str, ...]) -> "CutOnnx":
        """Return the file cut at these activations; see ``CutOnnx``."""
        content = onnx_file.cut(self._model, names)
        steps = {tensor.name: tensor.step for tensor in self.tensors}
        return CutOnnx(
            open_onnx(self._path, "reference", content=content), {n: steps[n] for n in names}
        )

    def _opened(self, names: tuple[str, ...]) -> OnnxSession:
        content = onnx_file.with_outputs(self._model, names)
        return open_onnx(self._path, "reference", content=content)


class CutOnnx:
    """An ONNX file whose parts, from some activations to the next, run on what they are given.

    Args:
        session: Runs the file that was cut.
        steps: The quantization step of each activation that it was cut at; None for a real one.
    """

    def __init__(self, session: OnnxSession, steps: Mapping[str, float | None]) -> None:
        self._session = session
        self._steps = steps

    def run(
        self, pixels: NDArray[np.uint8], given: Mapping[str, NDArray[np.float32]]
    ) -> tuple[dict[str, NDArray[np.float32]], dict[str, NDArray[np.float32]]]:
        """Run every part; see ``CutTflite``."""
        held = {
            name: given[name] if step is None else (np.rint(given[name] / step) * np.float32(step))
            for name, step in self._steps.items()
        }
        pixel_input = encode_pixels(pixels, self._session.inputs[0])
        made = self._session.run(pixel_input, *held.values())
        return held, dict(zip(self._steps, made, strict=True))
