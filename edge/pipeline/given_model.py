"""What ``edge export`` is given -> a file that every later stage can load.

A finished TFLite file goes into a bundle as it is: it cannot be converted again, so that it is the
only variant, without a reference. Top-1, golden answers, benchmark and the runtime are those of
every bundle.
"""

from dataclasses import dataclass, replace
from pathlib import Path

from converters.base import Precision, Target
from edge.cache import StageCache
from edge.dataset.labels import numbered, read_labels
from edge.errors import ModelLoadError, UsageError
from edge.modelfile.contents import check_finite
from edge.pipeline.conversion import Converted
from edge.pipeline.options import ExportOptions
from edge.pipeline.source import ExportedNetwork, given_file_options
from edge.pipeline.teachable_machine import Download, is_download, open_download
from edge.runtime.contract import ColorOrder, Resize
from edge.runtime.files import sha256_file
from edge.runtime.output import OutputSpec
from edge.runtime.session import open_session
from edge.training.backbones import is_backbone
from edge.training.input_evidence import InputFinding
from edge.training.input_range import named_range
from edge.training.keras_files import check_model_path, keras_file
from edge.training.own_code import OPTION


@dataclass(frozen=True, slots=True)
class GivenModel:
    """The network to export.

    Attributes:
        options: The user's options, but ``model`` names what later stages load, and what the
            file's own rule says stands where the user said nothing.
        name: The name of the given file or folder; None for a network of Keras Applications.
        notes: What was changed and taken for granted.
        adopted: Whether ``model`` is a TFLite file that is used as it is.
    """

    options: ExportOptions
    name: str | None = None
    notes: tuple[str, ...] = ()
    adopted: bool = False

    def described(self, source: ExportedNetwork) -> ExportedNetwork:
        """Return the source, named after what was given."""
        if self.name is None:
            return source
        return replace(
            source,
            description=self.name,
            weights=f"file {self.name}",
            notes=(*self.notes, *source.notes),
        )


def given_model(options: ExportOptions) -> GivenModel:
    """Find out what was given, and make it readable.

    Raises:
        UsageError: Nothing of that name, or something of another kind.
        ModelLoadError: The file cannot be read.
    """
    path, cache = Path(options.model), StageCache(options.output.cache)
    code = options.custom_objects
    if code is not None and (is_backbone(options.model) or is_download(path) or path.is_dir()):
        raise UsageError(
            f"{OPTION} is for a .keras or .h5 file with layers of its own; {options.model} has "
            "none that need code",
            hint=f"Leave out {OPTION}.",
        )
    if is_backbone(options.model):
        return GivenModel(options)
    if is_download(path):
        return _downloaded(path, open_download(path, cache), options)
    file = keras_file(check_model_path(options.model, folders=True), cache, code)
    notes = tuple(f"{path.name}: {change}" for change in file.changes)
    return GivenModel(replace(options, model=str(file.path)), path.name, notes)


def _downloaded(path: Path, download: Download, options: ExportOptions) -> GivenModel:
    """Take over Teachable Machine's rule: the whole of the shorter side is seen, not 87.5 %."""
    crop = 1.0 if options.resize is Resize.CENTER_CROP else options.crop_fraction
    note = (
        f"{path.name} is {download.kind} of Teachable Machine: values of -1 to 1 and the square in "
        "the middle of a picture, from Teachable Machine's own rule"
    )
    taken = replace(
        options,
        model=str(download.path),
        labels=options.labels or download.labels,
        crop_fraction=crop,
    )
    name = path.parent.resolve().name if path.name == "model.json" else path.name
    return GivenModel(taken, name, (note,), download.is_tflite)


NOTE = (
    "the TFLite file is used as it is: it is the only variant, and no model is known that its "
    "answers could be held against; give the Keras or TensorFlow.js download for the other variants"
)


def adopted_source(options: ExportOptions) -> ExportedNetwork:
    """Return the file as a network that is exported.

    Raises:
        ModelLoadError: It is no classifier of one picture.
        UsageError: The labels do not fit, or an option would change the file.
    """
    path = Path(options.model)
    _refuse_changes(options, adopted_file(path).target.name)
    session = open_session(path)
    check_finite(path)
    shapes = [item.shape for item in (*session.inputs, *session.outputs)]
    orders = {order.channels: order for order in ColorOrder}
    fits = len(shapes) == 2 and len(shapes[0]) == 4 and len(shapes[1]) == 2
    if not fits or shapes[0][3] not in orders or min(shapes[0][1:3]) < 1:
        raise ModelLoadError(
            f"the TFLite file is not an image classifier: its inputs and outputs are {shapes}",
            hint="Expected one input (1, height, width, channels) and one output (1, classes).",
        )
    classes = shapes[1][1]
    labels = read_labels(options.labels, classes) if options.labels else numbered(classes)
    digest = sha256_file(path)
    return ExportedNetwork(
        path=path,
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
    """Refuse options that a finished file cannot follow: it takes and gives what it does."""
    given = given_file_options(options)
    if options.output.recipe is not None:
        given.append("--recipe")
    if given:
        raise UsageError(
            f"{', '.join(given)} cannot change a finished TFLite file, which is used as it is",
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
    """Return the file as a variant; what its input takes tells integers from floats."""
    integer = open_session(path).inputs[0].dtype in ("uint8", "int8")
    target = Target(format="tflite", precision=Precision.INT8 if integer else Precision.FP32)
    return Converted(target, path, 0.0, (), {})
