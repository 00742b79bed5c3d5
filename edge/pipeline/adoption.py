"""A finished TFLite file that goes into a bundle as it is: one variant, without a reference.

It cannot be converted again, so there are no other variants; top-1, golden answers, benchmark
and the runtime are those of every bundle.
"""

from pathlib import Path

from converters.base import Precision, Target
from edge.dataset.labels import read_labels
from edge.errors import ModelLoadError, UsageError
from edge.pipeline.conversion import Converted
from edge.pipeline.options import ExportOptions
from edge.pipeline.source import Source, given_file_options, numbered
from edge.runtime.files import sha256_file
from edge.runtime.output import OutputSpec
from edge.runtime.session import open_session
from edge.runtime.spec import ColorOrder
from edge.training.input_evidence import InputFinding
from edge.training.input_range import named_range

NOTE = (
    "the TFLite file is used as it is: it is the only variant, and no model is known that its "
    "answers could be held against; give the Keras or TensorFlow.js download for the other variants"
)


def adopted_source(options: ExportOptions) -> Source:
    """The file as a network that is exported.

    Raises:
        ModelLoadError: It is no classifier of one picture.
        UsageError: The labels do not fit, or an option would change the file.
    """
    path = Path(options.model)
    _refuse_changes(options, adopted_file(path).target.name)
    session = open_session(path)
    shapes = [item.shape for item in (*session.inputs, *session.outputs)]
    orders = {order.channels: order for order in ColorOrder}
    fits = len(shapes) == 2 and len(shapes[0]) == 4 and len(shapes[1]) == 2
    if not fits or shapes[0][3] not in orders or min(shapes[0][1:3]) < 1:
        raise ModelLoadError(
            f"the TFLite file is no image classifier: its inputs and outputs are {shapes}",
            hint="Expected one input (1, height, width, channels) and one output (1, classes).",
        )
    classes = shapes[1][1]
    labels = read_labels(options.labels, classes) if options.labels else numbered(classes)
    digest = sha256_file(path)
    return Source(
        path=path,
        model_id=digest,
        given_sha256=digest,
        description=path.name,
        weights=path.name,
        height=shapes[0][1],
        width=shapes[0][2],
        color_order=orders[shapes[0][3]],
        labels=labels.names,
        wnids=(),
        input=InputFinding(
            taken=named_range("tf"), told=False, evidence=("Teachable Machine's own rule",)
        ),
        output=OutputSpec(evidence="softmax probabilities: so Teachable Machine's files are made"),
        notes=(*labels.notes, NOTE),
    )


def _refuse_changes(options: ExportOptions, name: str) -> None:
    """A finished file takes and gives what it does, whatever an option says."""
    found = given_file_options(options)
    if options.output.recipe is not None:
        found.append("--recipe")
    if found:
        raise UsageError(
            f"{', '.join(found)} cannot change a finished TFLite file, which is used as it is",
            hint="Leave it out, or give the Keras or TensorFlow.js download instead.",
        )
    others = [variant for variant in options.output.required if variant != name]
    if others:
        raise UsageError(
            f"the TFLite file is {name}, and {', '.join(others)} cannot be made of it",
            hint="Leave out --variants and --quantize, or give the Keras or TensorFlow.js "
            "download instead.",
        )


def adopted_file(path: Path) -> Converted:
    """The file as a variant; what its input takes tells integers from floats."""
    integer = open_session(path).inputs[0].dtype in ("uint8", "int8")
    target = Target(format="tflite", precision=Precision.INT8 if integer else Precision.FP32)
    return Converted(target, path, 0.0, (), {})
