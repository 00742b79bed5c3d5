"""What a model file takes and answers with that no bundle describes: from the file, or told."""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from edge.comparison.subject import Subject
from edge.errors import BundleError, UsageError
from edge.evaluation.output import OPTION, output_of
from edge.inspection.ending import file_end
from edge.runtime.output import Activation, OutputActivation, OutputSpec
from edge.runtime.spec import Preprocessing
from edge.training.backbones import ChannelOrder
from edge.training.input_range import InputRange, parse_range

if TYPE_CHECKING:
    from converters.onnx_metadata import OnnxMetadata
    from converters.tflite_metadata import TFLiteMetadata


def adopted_output(
    side: Subject, values: NDArray[np.float32], asked: OutputActivation
) -> OutputSpec:
    """What the values of a file mean that is run with the labels of a bundle.

    What edge wrote into the file comes first, then its last operator, then the values. Thresholds
    are the bundle's.

    Args:
        side: A model file; ``side.output`` is that of the bundle.
        values: (images, values) float32, what it answers.
        asked: What the user says they are.

    Raises:
        UsageError: The values cannot be what the graph or the user says, or its answers are of
            another kind than the bundle's.
    """
    stated = _stated(side) if asked is OutputActivation.AUTO else None
    if stated is not None:
        return stated
    end, ours = file_end(side.path), side.output
    found = output_of(end, values.shape[1], values, asked)
    if found.multi_label is not ours.multi_label:
        if (
            ours.multi_label
            and found.activation is Activation.SOFTMAX
            and asked is OutputActivation.AUTO
        ):
            # Logits look alike, whatever they are to become: the bundle's labels decide.
            return adopted_output(side, values, OutputActivation.MULTI_LABEL_LOGITS)
        raise UsageError(
            f"{side.path} answers with {found.kind} values ({found.evidence}), the bundle with "
            f"{ours.kind} ones: they have no score in common",
            hint=f"If its values are something else, say what with {OPTION}.",
        )
    return replace(found, thresholds=ours.thresholds)


def _stated(side: Subject) -> OutputSpec | None:
    """What edge wrote into the file; None in a file of another writer."""
    described = _metadata(side.path)
    content = None if described is None else described.edge_output
    if content is None:
        return None
    try:
        return OutputSpec.from_json(content, labels=len(side.labels))
    except BundleError as error:
        raise UsageError(
            f"{side.path} states an output that does not fit the bundle: {error.message}",
            hint=f"Say what its values are with {OPTION}.",
        ) from error


def adopted_range(side: Subject, told: str | None) -> Subject:
    """The side with the values that its input takes, and what says so.

    A variant of a bundle, and an integer input, take the pixel itself. Of a model file with an
    input of real values, what the user says comes first, then the contract of edge or the
    normalization that its metadata state, then the range of the bundle.

    Args:
        side: As ``find_subject`` gave it.
        told: See ``CompareOptions.input_range``.

    Raises:
        UsageError: The range is none, or differs from channel to channel.
    """
    if side.variant is not None or not side.takes_reals:
        return side
    ends, source = side.preprocessing.value_range, "nothing in it says so: --input-range changes it"
    if told is not None:
        ends, source = _ends(parse_range(told), f"--input-range {told}"), "as asked for"
    else:
        described = _metadata(side.path)
        if described is not None and described.edge_preprocessing is not None:
            contract = Preprocessing.from_json(described.edge_preprocessing)
            ends, source = contract.value_range, "so edge wrote into it"
        elif described is not None and described.mean is not None and described.std:
            stated = InputRange(mean=(described.mean,), std=(described.std,))
            ends = _ends(stated, "its metadata")
            source = f"its metadata state mean {described.mean:g} and std {described.std:g}"
    low, high = ends
    return replace(
        side,
        preprocessing=replace(side.preprocessing, value_range=ends),
        fed=f"{side.name} is fed pixel values as {low:g} to {high:g}: {source}",
    )


def _ends(found: InputRange, name: str) -> tuple[float, float]:
    if found.ends is None or found.order is not ChannelOrder.RGB:
        raise UsageError(
            f"{name} treats the channels differently ({found.text}); a file that is compared as "
            "it is can take one range for all",
            hint="Give LOW,HIGH, or put the scaling into the model.",
        )
    low, high = found.ends
    if low > high:
        raise UsageError(
            f"{name} makes black more than white; a file that is compared as it is can only take "
            "a range that rises",
            hint="Put the scaling into the model: edge export takes such a range for a Keras file.",
        )
    return low, high


def _metadata(path: Path) -> "TFLiteMetadata | OnnxMetadata | None":
    """What a model file says of itself; None where it says nothing, or cannot be read here."""
    if path.suffix.lower() == ".tflite":
        from converters import tflite_metadata

        return tflite_metadata.read(path.read_bytes())
    from importlib.util import find_spec

    if find_spec("onnx") is None:
        return None
    import onnx

    from converters import onnx_metadata

    return onnx_metadata.read(onnx.load(str(path), load_external_data=False))
