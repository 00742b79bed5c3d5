"""What a model file answers with that no bundle describes: from the file, then from its values."""

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge.comparison.subject import Subject
from edge.errors import BundleError, UsageError
from edge.evaluation.output import OPTION, output_of
from edge.inspection.ending import file_end
from edge.runtime.output import OutputActivation, OutputSpec


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
        if ours.multi_label and found.activation != "none" and asked is OutputActivation.AUTO:
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
    content: dict[str, Any] | None = None
    if side.path.suffix.lower() == ".tflite":
        from converters import tflite_metadata

        described = tflite_metadata.read(side.path.read_bytes())
        content = None if described is None else described.edge_output
    else:
        from importlib.util import find_spec

        if find_spec("onnx") is None:
            return None
        import onnx

        from converters import onnx_metadata

        named = onnx_metadata.read(onnx.load(str(side.path), load_external_data=False))
        content = None if named is None else named.edge_output
    if content is None:
        return None
    try:
        return OutputSpec.from_json(content, labels=len(side.labels))
    except BundleError as error:
        raise UsageError(
            f"{side.path} states an output that does not fit the bundle: {error.message}",
            hint=f"Say what its values are with {OPTION}.",
        ) from error
