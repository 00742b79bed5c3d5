"""One table over many networks: the default tools' int8 file beside edge's, in both formats.

Every file is made in a process of its own, for its time and its memory, by
``python -m support.quantization_survey NETWORK.keras FOLDER FORMAT METHOD``; ``float float`` writes
the float files of both formats.
"""

import json
import os
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from benchmarks.stats import median
from converters.soundness import decibels
from edge.modelfile.tflite import packed, unpacked
from support.processes import run
from support.quantization_networks import Network

METHODS: Final = ("plain", "edge")
FORMATS: Final = ("tflite", "onnx")
FLOAT: Final = "float"
SOFTMAX: Final = 25  # BuiltinOperator of the TFLite schema
COLUMNS: Final = (
    "network",
    "format",
    "method",
    "float",
    "top-1",
    "agreement",
    "SQNR",
    "to fp32",
    "kept",
    "make",
    "memory",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Surveyed:
    """One int8 file of one network.

    Attributes:
        network: The name of the network.
        format: ``tflite`` or ``onnx``.
        method: ``plain``, the default tool of the format, or ``edge``.
        float_top1: The share of right answers of the float file; None without truth.
        top1: The same of this file.
        agreement: The share of answers that are the float file's.
        decibels: The signal to noise ratio of the logits, each less its mean.
        ratio: Of the latency to that of the float file, in turn, one thread.
        kept: How many blocks stay in floats because int8 breaks the network.
        seconds: To make the file, from the float graph.
        peak_bytes: Most memory of the process that made it, TensorFlow included.
    """

    network: str
    format: str
    method: str
    float_top1: float | None
    top1: float | None
    agreement: float
    decibels: float
    ratio: float
    kept: int
    seconds: float
    peak_bytes: int

    def cells(self) -> tuple[str, ...]:
        """As ``COLUMNS``."""
        shares = [
            "-" if one is None else f"{100 * one:.1f} %" for one in (self.float_top1, self.top1)
        ]
        return (
            self.network,
            self.format,
            self.method,
            *shares,
            f"{100 * self.agreement:.1f} %",
            f"{self.decibels:.1f} dB",
            f"{self.ratio:.2f}",
            str(self.kept or "-"),
            f"{self.seconds:.0f} s",
            f"{self.peak_bytes / 1e6:.0f} MB",
        )

    def to_json(self) -> dict[str, Any]:
        """JSON values."""
        return asdict(self)


def surveyed(network: Network, rounds: int) -> Iterator[Surveyed]:
    """Make, score and time the files of a network.

    Args:
        network: Which.
        rounds: Of the latency.
    """
    with tempfile.TemporaryDirectory(prefix="edge-survey-") as name:
        folder = Path(name)
        np.save(folder / "calibration.npy", network.calibration)
        said, _ = _made(network.path, folder, FLOAT, FLOAT)
        for format_ in FORMATS:
            wanted = _answers(network, folder / f"{FLOAT}.{format_}", said["zero_point"])
            for method in METHODS:
                yield _compared(network, folder, format_, method, wanted, rounds)


def _compared(
    network: Network,
    folder: Path,
    format_: str,
    method: str,
    wanted: tuple[NDArray[np.float32], NDArray[np.float32]],
    rounds: int,
) -> Surveyed:
    """Make one file and hold it against the answers and the logits of the float one."""
    from support.quantization_scores import in_turn

    said, peak = _made(network.path, folder, format_, method)
    before, after = (folder / f"{name}.{format_}" for name in (FLOAT, method))
    given = _answers(network, after, said["zero_point"])
    times = in_turn(before, after, said["zero_point"], rounds, network.pixels.shape[1:])
    return Surveyed(
        network=network.name,
        format=format_,
        method=method,
        float_top1=_share(wanted[0], network.truth),
        top1=_share(given[0], network.truth),
        agreement=float(np.mean(given[0].argmax(axis=1) == wanted[0].argmax(axis=1))),
        decibels=decibels(
            [[row] for row in wanted[1]], [[row] for row in given[1]], differing=False
        ),
        ratio=median([own / other for other, own in times.tolist()]),
        kept=said["kept"],
        seconds=said["seconds"],
        peak_bytes=peak,
    )


def _answers(
    network: Network, path: Path, zero_point: int
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Probabilities and logits, (images, classes) each."""
    from support.quantization_scores import answers

    files = (path, _logits(path))
    probabilities, logits = (answers(file, network.pixels, zero_point) for file in files)
    return probabilities, logits


def _share(table: NDArray[np.float32], truth: NDArray[np.int64] | None) -> float | None:
    return None if truth is None else float(np.mean(table.argmax(axis=1) == truth))


def _made(network: Path, folder: Path, format_: str, method: str) -> tuple[dict[str, Any], int]:
    """Make a file in a process; what that says, and its peak of memory in bytes."""
    module = [sys.executable, "-m", "support.quantization_survey"]
    places = os.pathsep.join([str(Path(__file__).parents[1]), *filter(None, sys.path)])
    command = [*module, str(network), str(folder), format_, method]
    finished = run(command, {"PYTHONPATH": places})
    return json.loads(finished.output.splitlines()[-1]), finished.peak_bytes


def _logits(path: Path) -> Path:
    """The file with the input of its last Softmax for its output."""
    changed = path.with_name(f"logits-{path.name}")
    if path.suffix == ".tflite":
        model = unpacked(path.read_bytes())
        graph, codes = model.subgraphs[0], model.operatorCodes
        inputs = [
            int(operator.inputs[0])
            for operator in graph.operators
            if codes[operator.opcodeIndex].builtinCode == SOFTMAX
        ]
        graph.outputs, model.signatureDefs = inputs[-1:], None
        changed.write_bytes(packed(model))
        return changed
    import onnx

    proto = onnx.load(path)
    inputs = [node.input[0] for node in proto.graph.node if node.op_type == "Softmax"]
    del proto.graph.output[:]
    proto.graph.output.append(
        onnx.helper.make_tensor_value_info(inputs[-1], onnx.TensorProto.FLOAT, None)
    )
    onnx.save(proto, changed)
    return changed


def main(arguments: Sequence[str]) -> None:
    """Make one file, and print how long that took."""
    import keras

    from support.quantization_methods import METHODS as ALL
    from support.quantization_methods import edge_int8, source

    network, folder, format_, name = arguments
    given = source(keras.models.load_model(network, compile=False), Path(folder))
    started = time.monotonic()
    kept: tuple[str, ...] = ()
    if name == FLOAT:
        Path(folder, f"{FLOAT}.onnx").write_bytes(given.onnx.read_bytes())
        format_, content = "tflite", given.tflite
    elif name == "edge":
        content, kept = edge_int8(given, format_)
    else:
        (method,) = [item for item in ALL if (item.format, item.name) == (format_, name)]
        content = method.make(given)
    seconds = time.monotonic() - started
    Path(folder, f"{name}.{format_}").write_bytes(content)
    said = {"seconds": seconds, "kept": len(kept), "zero_point": given.calibration.zero_point}
    print(f"\n{json.dumps(said)}")


if __name__ == "__main__":
    main(sys.argv[1:])
