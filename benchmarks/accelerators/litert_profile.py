"""Times per operator of a TFLite model on the CPU, by LiteRT's own profiler.

Python's interpreter has no way to the profiler; the C functions of ``libLiteRt.so`` have (headers
``litert/c/*.h``, Apache-2.0). They load the model a second time, on the same XNNPACK.
"""

import ctypes
import importlib.metadata
import re
from collections.abc import Sequence
from ctypes import byref, c_char_p, c_int, c_int32, c_size_t, c_uint32, c_void_p
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from edge.errors import InferenceError

# The functions below changed their parameters between releases; a wrong call would crash.
RELEASES: Final = ("2.3.",)
CPU: Final = 1  # kLiteRtHwAcceleratorCpu
WRITE: Final = 1  # kLiteRtTensorBufferLockModeWrite
# A line of the summary's first table; times are milliseconds, to the microsecond.
LINE: Final = re.compile(
    r"^\s*(?P<type>\S.*?)\s+[\d.]+\s+[\d.]+\s+(?P<ms>[\d.]+)\s+[\d.]+%\s+[\d.]+%\s+[\d.-]+\s+\d+\s+"
    r"\[(?P<kind>Builtin|Delegate)\]:(?P<index>\d+)\s*$",
    re.M,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """An operator that ran.

    Attributes:
        type: TFLite's, or XNNPACK's own name of what it made of one.
        seconds: The mean time of the inferences.
        delegated: Whether XNNPACK ran it.
        index: The index of the graph's operator, or of XNNPACK's within its partition.
    """

    type: str
    seconds: float
    delegated: bool
    index: int


class _Layout(ctypes.Structure):
    _fields_ = [("rank", c_uint32), ("extents", c_int32 * 8), ("strides", c_uint32 * 8)]


class _TensorType(ctypes.Structure):
    _fields_ = [("element", c_int), ("layout", _Layout)]


def available() -> bool:
    """Return whether this release of ai-edge-litert is one whose C functions are known here."""
    return importlib.metadata.version("ai-edge-litert").startswith(RELEASES)


def steps(
    model: Path, tensors: Sequence[NDArray[Any]], *, threads: int, runs: int
) -> tuple[Step, ...]:
    """Run the model and read the profile, in the order of execution.

    Args:
        model: A .tflite file.
        tensors: The inputs in the order of the first signature, in the file's own shapes.
        threads: The number of CPU threads.
        runs: The number of inferences.

    Raises:
        InferenceError: LiteRT does not profile it.
    """
    profiled = _Profiled(model, threads)
    try:
        profiled.load()
        return read_summary(profiled.summary(tensors, runs))
    finally:
        profiled.close()


def read_summary(text: str) -> tuple[Step, ...]:
    """Return the steps of LiteRT's summary; its first table is in the order of execution."""
    table = text.partition("Run Order")[2].partition("Top by Computation Time")[0]
    return tuple(
        Step(
            type=line["type"].removeprefix("Delegate/"),
            seconds=float(line["ms"]) / 1e3,
            delegated=line["kind"] == "Delegate",
            index=int(line["index"]),
        )
        for line in LINE.finditer(table)
    )


@dataclass(slots=True)
class _Profiled:
    """LiteRT's objects of one compiled model.

    Attributes:
        model: A .tflite file.
        threads: The number of CPU threads.
        library: ``libLiteRt.so``.
        made: What is to be destroyed, in reverse: the function's name, and the handle.
        environment: The environment of LiteRT.
        file: The loaded file.
        compiled: The compiled model.
        keep: Memory that LiteRT points to.
    """

    model: Path
    threads: int
    library: Any = None
    made: list[tuple[str, c_void_p]] = field(default_factory=list)
    environment: c_void_p = field(default_factory=c_void_p)
    file: c_void_p = field(default_factory=c_void_p)
    compiled: c_void_p = field(default_factory=c_void_p)
    keep: list[Any] = field(default_factory=list)

    def load(self) -> None:
        """Compile the model for the CPU, with its profiler."""
        import ai_edge_litert

        folder = Path(str(ai_edge_litert.__file__)).parent
        self.library = ctypes.CDLL(str(folder / "libLiteRt.so"))
        self.call("LiteRtCreateEnvironment", c_int(0), None, byref(self.environment))
        self.made.append(("LiteRtDestroyEnvironment", self.environment))
        path = str(self.model).encode()
        self.call("LiteRtCreateModelFromFile", self.environment, path, byref(self.file))
        self.made.append(("LiteRtDestroyModel", self.file))
        options = c_void_p()
        self.call("LiteRtCreateOptions", byref(options))
        self.made.append(("LiteRtDestroyOptions", options))
        self.call("LiteRtSetOptionsHardwareAccelerators", options, c_int(CPU))
        self.option(options, b"runtime_options_string", b"enable_profiling = true\n")
        self.option(options, b"xnnpack", b"num_threads = %d\n" % self.threads)
        arguments = (self.environment, self.file, options, byref(self.compiled))
        self.call("LiteRtCreateCompiledModel", *arguments)
        self.made.append(("LiteRtDestroyCompiledModel", self.compiled))

    def close(self) -> None:
        """Destroy what was made."""
        for destroy, handle in reversed(self.made):
            getattr(self.library, destroy)(handle)

    def call(self, function: str, *arguments: Any) -> None:
        """Call a function that returns a ``LiteRtStatus``, 0 of which is success."""
        status = getattr(self.library, function)(*arguments)
        if status != 0:
            raise InferenceError(f"LiteRT does not profile {self.model.name}: {function}: {status}")

    def option(self, options: c_void_p, name: bytes, text: bytes) -> None:
        """Add a group of options, in TOML."""
        memory = ctypes.create_string_buffer(text)
        deleter = ctypes.CFUNCTYPE(None, c_void_p)(lambda _: None)  # Python owns the memory
        self.keep += [memory, deleter]
        made = c_void_p()
        self.call("LiteRtCreateOpaqueOptions", name, memory, deleter, byref(made))
        self.call("LiteRtAddOpaqueOptions", options, made)

    def buffers(self, signature: c_void_p, kind: str) -> Any:
        """Return an array with a tensor buffer for every ``Input`` or ``Output``."""
        count = c_size_t()
        self.call(f"LiteRtGetNumSignature{kind}s", signature, byref(count))
        result = (c_void_p * count.value)()
        for index in range(count.value):
            tensor, type_, wanted, made = c_void_p(), _TensorType(), c_void_p(), c_void_p()
            position = c_size_t(index)
            self.call(f"LiteRtGetSignature{kind}TensorByIndex", signature, position, byref(tensor))
            self.call("LiteRtGetRankedTensorType", tensor, byref(type_))
            arguments = (self.compiled, c_size_t(0), position, byref(wanted))
            self.call(f"LiteRtGetCompiledModel{kind}BufferRequirements", *arguments)
            self.call(
                "LiteRtCreateManagedTensorBufferFromRequirements",
                self.environment,
                byref(type_),
                wanted,
                byref(made),
            )
            self.made.append(("LiteRtDestroyTensorBuffer", made))
            result[index] = made.value
        return result

    def summary(self, tensors: Sequence[NDArray[Any]], runs: int) -> str:
        """Fill the inputs, run, and return the profiler's text."""
        signature, profiler, text = c_void_p(), c_void_p(), c_char_p()
        self.call("LiteRtGetModelSignature", self.file, c_size_t(0), byref(signature))
        inputs, outputs = (self.buffers(signature, kind) for kind in ("Input", "Output"))
        for buffer, tensor in zip(inputs, tensors, strict=True):
            self.write(c_void_p(buffer), np.ascontiguousarray(tensor))
        counts = c_size_t(len(inputs)), c_size_t(len(outputs))
        arguments = (self.compiled, c_size_t(0), counts[0], inputs, counts[1], outputs)
        self.call("LiteRtRunCompiledModel", *arguments)
        self.call("LiteRtCompiledModelGetProfiler", self.compiled, byref(profiler))
        self.call("LiteRtStartProfiler", profiler)
        for _ in range(runs):
            self.call("LiteRtRunCompiledModel", *arguments)
        self.call("LiteRtStopProfiler", profiler)
        self.call("LiteRtGetProfileSummary", profiler, self.compiled, byref(text))
        return (text.value or b"").decode("utf-8", "replace")

    def write(self, buffer: c_void_p, tensor: NDArray[Any]) -> None:
        """Copy a tensor into a buffer of its size."""
        size, address = c_size_t(), c_void_p()
        self.call("LiteRtGetTensorBufferPackedSize", buffer, byref(size))
        if size.value != tensor.nbytes:
            raise InferenceError(
                f"LiteRT does not profile {self.model.name} with inputs of another shape"
            )
        self.call("LiteRtLockTensorBuffer", buffer, byref(address), c_int(WRITE))
        ctypes.memmove(address, tensor.ctypes.data, tensor.nbytes)
        self.call("LiteRtUnlockTensorBuffer", buffer)
