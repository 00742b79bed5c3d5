"""What the error that remains in edge's ONNX int8 file is made of."""

from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray

from edge.progress import Progress
from edge.runtime.files import write_bytes
from support.quantization_scores import answers, divergence

PICTURES: Final = 200  # scored once per activation
SHOWN: Final = 5
RESHAPING: Final = ("Reshape", "Flatten", "Squeeze")


@dataclass(frozen=True, slots=True, kw_only=True)
class Remaining:
    """The make-up of the error.

    Attributes:
        pictures: How many it was measured on.
        mean_share: Share of the logits' squared error that is a mean over the pictures: what a
            bias correction could still take out.
        whole: KL divergence of the file, nats.
        weights_alone: With no activation rounded (ranges still clip).
        without: With one activation not rounded, by its name, least divergence first.
    """

    pictures: int
    mean_share: float
    whole: float
    weights_alone: float
    without: dict[str, float]

    def lines(self) -> list[str]:
        """For people."""
        found = [
            f"edge, ONNX, {self.pictures} pictures: KL {self.whole:.4f}",
            f"mean shift: {100 * self.mean_share:.0f} % of the logits' squared error; "
            "the rest differs from picture to picture",
            f"rounded weights alone: KL {self.weights_alone:.4f}, "
            f"{100 * self.weights_alone / self.whole:.0f} % of the whole",
        ]
        for name, value in list(self.without.items())[:SHOWN]:
            change = 100 * (1 - value / self.whole)
            found.append(f"activation {name} not rounded: KL {value:.4f}, {change:.0f} % less")
        return found


def remaining(
    model: Path,
    float_model: Path,
    pixels: NDArray[np.uint8],
    reference: NDArray[np.float32],
    zero_point: int,
    progress: Progress,
) -> Remaining:
    """Take the file apart.

    Args:
        model: edge's int8 ONNX file.
        float_model: The float graph that it was made from; its input is pixel less zero point.
        pixels: (images, height, width, 3).
        reference: Probabilities of the float model, (images, classes).
        zero_point: Of the pixels.
        progress: Told of the activations.
    """
    chosen = np.linspace(0, len(pixels) - 1, min(PICTURES, len(pixels))).round().astype(int)
    pixels, reference = pixels[chosen], reference[chosen]
    proto = onnx.load(model)
    scratch = model.with_name("explained.onnx")

    def score(keep: Collection[str]) -> float:
        write_bytes(scratch, not_rounded(proto, keep).SerializeToString())
        return float(divergence(reference, answers(scratch, pixels, zero_point)).mean())

    names = activations(proto)
    without = {}
    with progress.stage("explain", len(names)) as step:
        for name, together in names.items():
            without[_short(name)] = score(together)
            step(1)
    return Remaining(
        pictures=len(pixels),
        mean_share=_mean_share(proto, onnx.load(float_model), pixels, zero_point),
        whole=score(()),
        weights_alone=score([name for together in names.values() for name in together]),
        without=dict(sorted(without.items(), key=lambda item: item[1])),
    )


def activations(proto: Any) -> dict[str, tuple[str, ...]]:
    """The float tensors that are quantized on the way, in the order of execution.

    Returns:
        By the first one's name; a tensor that is only reshaped and quantized again belongs to it,
        since either rounding hides the other.
    """
    constants = {item.name for item in proto.graph.initializer}
    written = {name: node for node in proto.graph.node for name in node.output}
    found: dict[str, tuple[str, ...]] = {}
    for node in proto.graph.node:
        if node.op_type != "QuantizeLinear" or node.input[0] in constants:
            continue
        name = origin = node.input[0]
        while written[origin].op_type in RESHAPING:
            dequantize = written[written[origin].input[0]]
            origin = written[dequantize.input[0]].input[0]
        found[origin] = (*found.get(origin, ()), name)
    return found


def not_rounded(proto: Any, keep: Collection[str]) -> Any:
    """The file with the activations ``keep`` clipped to their range as before, but not rounded."""
    changed = type(proto).FromString(proto.SerializeToString())
    graph = changed.graph
    constants = {item.name: onnx.numpy_helper.to_array(item) for item in graph.initializer}
    written = {node.output[0]: node for node in graph.node if node.op_type == "QuantizeLinear"}
    nodes = []
    for node in graph.node:
        source = written.get(node.input[0]) if node.op_type == "DequantizeLinear" else None
        if source is None or source.input[0] not in keep:
            nodes.append(node)
            continue
        scale, zero = (float(constants[name]) for name in source.input[1:3])
        ends = {"low": (0 - zero) * scale, "high": (255 - zero) * scale}
        names = []
        for end, value in ends.items():
            names.append(f"{node.output[0]}:{end}")
            item = onnx.numpy_helper.from_array(np.asarray(value, np.float32), names[-1])
            graph.initializer.append(item)
        clip = onnx.helper.make_node("Clip", [source.input[0], *names], [node.output[0]])
        nodes.append(clip)
    used = {name for node in nodes for name in node.input}
    nodes = [n for n in nodes if n.op_type != "QuantizeLinear" or n.output[0] in used]
    del graph.node[:]
    graph.node.extend(nodes)
    return changed


def _mean_share(proto: Any, float_proto: Any, pixels: NDArray[np.uint8], zero_point: int) -> float:
    """Squared mean over the pictures as a share of the logits' mean squared error.

    A shift of all classes alike changes no probability, so each picture's mean is taken out first.
    """
    given, wanted = _logits(proto), _logits(float_proto)
    errors = []
    for image in pixels:
        batch = image[np.newaxis]
        error = given(batch) - wanted(batch.astype(np.float32) - np.float32(zero_point))
        errors.append(error - error.mean())
    table = np.stack(errors).astype(np.float64)
    return float(np.square(table.mean(axis=0)).mean() / np.square(table).mean())


def _logits(proto: Any) -> Callable[[NDArray[Any]], NDArray[np.float32]]:
    """Runs a graph up to what its last Softmax reads, (classes,)."""
    changed = type(proto).FromString(proto.SerializeToString())
    name = [node for node in changed.graph.node if node.op_type == "Softmax"][-1].input[0]
    if name not in {item.name for item in changed.graph.output}:
        changed.graph.output.append(onnx.helper.make_empty_tensor_value_info(name))
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # errors
    session = onnxruntime.InferenceSession(
        changed.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    feed = session.get_inputs()[0].name

    def run(batch: NDArray[Any]) -> NDArray[np.float32]:
        values: NDArray[np.float32] = session.run([name], {feed: batch})[0]
        return values.reshape(-1)

    return run


def _short(tensor: str) -> str:
    """The Keras layer in a tensor's name: ``mobilenet/conv1_relu/Relu6:0`` -> ``conv1_relu``."""
    parts = tensor.split(";", maxsplit=1)[0].split("/")
    return parts[-2] if len(parts) > 1 else tensor
