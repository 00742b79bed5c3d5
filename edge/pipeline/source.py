"""The network that ``edge export`` is given: a Keras file or a name -> a classifier of pixels."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from edge.cache import StageCache, content_key
from edge.dataset.labels import Labels, numbered, read_labels
from edge.dataset.pictures import Picture
from edge.embedding.imagenet import KERAS_FILE, distinct, keras_classifier
from edge.errors import UsageError
from edge.evaluation.output import OPTION
from edge.pipeline.model_output import answering, two_labels
from edge.pipeline.options import ExportOptions
from edge.progress import Progress
from edge.runtime.contract import ColorOrder, Preprocessing
from edge.runtime.files import sha256_file
from edge.runtime.output import PROBABILITIES, OutputActivation, OutputSpec
from edge.training.backbones import backbone, is_backbone
from edge.training.input_evidence import InputFinding, application_input, check_input, find_input
from edge.training.input_range import InputRange, takes_pixels, told_range
from edge.training.model_shape import COLOR_ORDERS, columns_of, image_classifier
from edge.training.models import check_finite, load_keras
from edge.training.weights import quiet_keras, weights_id
from edge.versions import versions
from edge.weights import imagenet_classes


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportedNetwork:
    """The network to export.

    Attributes:
        path: A .keras file; once it is ``settled``, pixel values 0..255 in and probabilities out.
        given_sha256: The content hash of the file that was given, or of what decides the numbers of
            a network of Keras Applications.
        description: What it is, for people.
        weights: Where they come from, for people.
        height: The height of the input, in pixels.
        width: The width of the input, in pixels.
        color_order: The color order of the input.
        labels: One per class.
        wnids: The WordNet ids of the classes; empty where they are not ImageNet's.
        model: The loaded file; None for a network of Keras Applications.
        input: How the network is fed, and how that is known.
        output: What it answers with, once it is ``settled``.
        notes: What a user should know.
        single_value: Whether it had one value before it got two columns.
        settled_sha256: The content hash once it is ``settled``; None as long as that is the given
            one.
    """

    path: Path
    given_sha256: str
    description: str
    weights: str
    height: int
    width: int
    color_order: ColorOrder
    labels: tuple[str, ...]
    wnids: tuple[str, ...]
    model: Any = None
    input: InputFinding
    output: OutputSpec = PROBABILITIES
    notes: tuple[str, ...] = ()
    single_value: bool = False
    settled_sha256: str | None = None

    @property
    def model_id(self) -> str:
        """The content hash of what decides its numbers."""
        return self.settled_sha256 or self.given_sha256


def open_source(options: ExportOptions) -> ExportedNetwork:
    """Return the network that the options name.

    Raises:
        UsageError: No such network or file, or labels that do not fit.
        ModelLoadError: The file is no image classifier of Keras.
        WeightsUnavailable: No pretrained weights.
    """
    if is_backbone(options.model):
        return _from_backbone(options)
    return _from_file(Path(options.model), options)


def _from_backbone(options: ExportOptions) -> ExportedNetwork:
    row = backbone(options.model)
    _refuse_file_options(options)
    key, path = keras_classifier(
        row, options.weights, options.output.seed, StageCache(options.output.cache)
    )
    classes = imagenet_classes()
    given = read_labels(options.labels, 1000) if options.labels else None
    return ExportedNetwork(
        path=path,
        given_sha256=key,
        description=row.keras_name,
        weights=weights_id(row, options.weights, options.output.seed),
        height=row.size,
        width=row.size,
        color_order=ColorOrder.RGB,
        labels=given.names if given else distinct([label for _, label in classes]),
        wnids=tuple(wnid for wnid, _ in classes),
        notes=given.notes if given else (),
        output=OutputSpec(evidence=f"softmax probabilities: so {row.keras_name} is defined"),
        input=application_input(row),
    )


def given_file_options(options: ExportOptions) -> list[str]:
    """Return the names of the options that were given and that only a Keras file leaves open."""
    given = {
        "--size": options.size is not None,
        "--input-range": options.input_range is not None,
        "--channel-order": options.channel_order is not None,
        "--model-output": options.model_output is not None,
        OPTION: options.output_activation is not OutputActivation.AUTO,
        "--threshold": options.threshold is not None,
        "--positive-class": options.positive_class is not None,
        "--truth": options.truth is not None,
    }
    return [name for name, is_given in given.items() if is_given]


def _refuse_file_options(options: ExportOptions) -> None:
    """Refuse options that say what a network of Keras Applications takes and gives."""
    for name in given_file_options(options):
        raise UsageError(
            f"{name} is for a Keras file; {options.model} is a network of Keras Applications, "
            "which takes RGB 0..255 here and answers with a softmax over the 1000 classes of "
            "ImageNet",
            hint=f"Leave out {name}.",
        )


def _from_file(path: Path, options: ExportOptions) -> ExportedNetwork:
    quiet_keras(options.output.seed)
    model = image_classifier(
        load_keras(path),
        path.name,
        size=options.size,
        output=options.model_output,
        labelled=options.labels is not None,
    )
    check_finite(model, path.name)
    _, height, width, channels = model.inputs[0].shape
    classes = columns_of(model) or 0
    told = told_range(options.input_range, options.channel_order)
    (told or InputRange()).check_channels(channels)
    labels = _file_labels(options, classes)
    imagenet = imagenet_classes() if classes == 1000 else ()
    digest = sha256_file(path)
    return ExportedNetwork(
        path=path,
        given_sha256=digest,
        description=path.name,
        weights=f"file {path.name}",
        height=height,
        width=width,
        color_order=COLOR_ORDERS[channels],
        labels=labels.names,
        wnids=labels.wnids or tuple(wnid for wnid, _ in imagenet),
        notes=labels.notes,
        single_value=classes == 1,
        model=model,
        input=InputFinding(taken=told or InputRange(), told=told is not None),
    )


def _file_labels(options: ExportOptions, classes: int) -> Labels:
    if classes == 1:
        given = read_labels(options.labels) if options.labels else None
        return Labels(
            names=two_labels(options, given.names if given else None),
            notes=given.notes if given else (),
        )
    if options.labels:
        return read_labels(options.labels, classes)
    return numbered(classes)


def settled(
    source: ExportedNetwork,
    options: ExportOptions,
    pictures: Sequence[Picture],
    preprocessing: Preprocessing,
    progress: Progress,
) -> ExportedNetwork:
    """Return the network as it is exported: pixel values 0..255 in, probabilities out.

    Args:
        source: The network as ``open_source`` gave it.
        options: The options of the export.
        pictures: Pictures to try the network on; none of them is scored later.
        preprocessing: The contract.
        progress: Told the evidence, and what speaks against it.

    Raises:
        UsageError: The network clearly wants other values than those that it is fed, or its
            answers are not what the options say.
    """
    if source.model is None:
        return source
    finding = find_input(
        source.model,
        pictures,
        preprocessing,
        told_range(options.input_range, options.channel_order),
    )
    progress.inform(f"{source.description}: {'; '.join(finding.evidence)}")
    doubts = check_input(finding, source.description)
    for doubt in doubts:
        progress.note(doubt)
    model, model_id = _fed_with_pixels(source, finding, options)
    output, written, model_id = answering(model, model_id, options, pictures, preprocessing)
    if written is None and model_id != source.model_id:
        written = _kept(model, model_id, StageCache(options.output.cache))
    return replace(
        source,
        input=finding,
        output=output,
        notes=doubts,  # those so far stand in the record of the data
        model=model,
        settled_sha256=model_id,
        path=written or source.path,
    )


def _fed_with_pixels(
    source: ExportedNetwork, finding: InputFinding, options: ExportOptions
) -> tuple[Any, str]:
    """Return the model that takes pixel values 0..255, and its content hash."""
    changes = {
        "size": None if options.size is None else [source.height, source.width],
        "output": options.model_output,
        "input": None if finding.taken.is_pixels else finding.taken.to_json(),
    }
    if not any(changes.values()):
        return source.model, source.model_id
    made_of = {"model": source.model_id, "changes": changes, "versions": versions()}
    return takes_pixels(source.model, finding.taken), content_key("source", made_of)


def _kept(model: Any, key: str, cache: StageCache) -> Path:
    if cache.find(key) is None:
        with cache.store(key) as folder:
            model.save(folder / KERAS_FILE)
    return cache.entry(key) / KERAS_FILE
