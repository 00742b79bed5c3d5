"""The network that ``edge export`` is given: a Keras file or a name -> a classifier of pixels."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edge.cache import StageCache
from edge.dataset.labels import Labels, read_labels
from edge.embedding.imagenet import distinct, keras_classifier
from edge.errors import ModelLoadError, UsageError
from edge.evaluation.output import OPTION
from edge.pipeline.model_output import answering, two_labels
from edge.pipeline.options import ExportOptions
from edge.runtime.files import sha256_file
from edge.runtime.output import OutputActivation, OutputSpec
from edge.runtime.spec import Preprocessing
from edge.training.backbones import backbone, is_backbone
from edge.training.models import load_keras
from edge.training.output import columns_of
from edge.training.weights import weights_id
from edge.weights import imagenet_classes


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """The network to export, as a .keras file with RGB 0..255 in and probabilities out."""

    path: Path
    model_id: str
    description: str
    weights: str
    height: int
    width: int
    labels: tuple[str, ...]
    wnids: tuple[str, ...]
    output: OutputSpec
    notes: tuple[str, ...] = ()
    single_value: bool = False  # the network had one value before it got two columns


def open_source(options: ExportOptions) -> Source:
    """The network that the options name.

    Raises:
        UsageError: No such network or file, or labels that do not fit.
        ModelLoadError: The file is no image classifier of Keras.
        WeightsUnavailable: No pretrained weights.
    """
    if is_backbone(options.model):
        return _from_backbone(options)
    return _from_file(Path(options.model), options)


def _from_backbone(options: ExportOptions) -> Source:
    _refuse_output_options(options)
    row = backbone(options.model)
    key, path = keras_classifier(
        row, options.weights, options.output.seed, StageCache(options.output.cache)
    )
    classes = imagenet_classes()
    given = read_labels(options.labels, 1000) if options.labels else None
    return Source(
        path=path,
        model_id=key,
        description=row.keras_name,
        weights=weights_id(row, options.weights, options.output.seed),
        height=row.size,
        width=row.size,
        labels=given.names if given else distinct([label for _, label in classes]),
        wnids=tuple(wnid for wnid, _ in classes),
        notes=given.notes if given else (),
        output=OutputSpec(evidence=f"softmax probabilities: so {row.keras_name} is defined"),
    )


def _refuse_output_options(options: ExportOptions) -> None:
    """The networks of Keras Applications end in a softmax: nothing is to be said about it."""
    given = {
        OPTION: options.output_activation is not OutputActivation.AUTO,
        "--threshold": options.threshold is not None,
        "--positive-class": options.positive_class is not None,
        "--truth": options.truth is not None,
    }
    for name, is_given in given.items():
        if is_given:
            raise UsageError(
                f"{name} is for a Keras file; {options.model} answers with a softmax over the "
                "1000 classes of ImageNet",
                hint=f"Leave out {name}.",
            )


def _from_file(path: Path, options: ExportOptions) -> Source:
    model = load_keras(path)
    height, width, classes = _classifier_shape(path, model)
    if classes == 1:
        given = read_labels(options.labels) if options.labels else None
        labels = Labels(
            names=two_labels(options, given.names if given else None),
            notes=given.notes if given else (),
        )
    elif options.labels:
        labels = read_labels(options.labels, classes)
    else:
        labels = Labels(names=tuple(str(index) for index in range(classes)))
    imagenet = imagenet_classes() if classes == 1000 else ()
    contract = Preprocessing(height=height, width=width, resize=options.resize)
    output, written, model_id = answering(model, sha256_file(path), options, contract)
    return Source(
        path=written or path,
        model_id=model_id,
        description=path.name,
        weights=f"file {path.name}",
        height=height,
        width=width,
        labels=labels.names,
        wnids=labels.wnids or tuple(wnid for wnid, _ in imagenet),
        notes=labels.notes,
        output=output,
        single_value=classes == 1,
    )


def _classifier_shape(path: Path, model: Any) -> tuple[int, int, int]:
    """Height, width and classes of an image classifier.

    Raises:
        ModelLoadError: The model is something else.
    """
    shapes = [tuple(tensor.shape) for tensor in (*model.inputs, *model.outputs)]
    fits = (
        len(model.inputs) == len(model.outputs) == 1
        and len(shapes[0]) == 4
        and shapes[0][3] == 3
        and None not in shapes[0][1:3]
        and columns_of(model) is not None
    )
    if not fits:
        raise ModelLoadError(
            f"{path} is no image classifier: its inputs and outputs are {shapes}",
            hint="Expected one input (batch, height, width, 3), RGB 0..255, of a fixed size, "
            "and one output (batch, classes).",
        )
    columns = columns_of(model)
    assert columns is not None
    return int(shapes[0][1]), int(shapes[0][2]), columns
