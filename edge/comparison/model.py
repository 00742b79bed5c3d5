"""What is compared: a variant, a model file or another bundle, with the contract to feed it by."""

import difflib
from collections import Counter
from dataclasses import dataclass, field, replace
from math import prod
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from edge import schema
from edge.errors import BundleError, UsageError
from edge.evaluation.images import MAX_REPORT, Origins, origins_of
from edge.evaluation.output import OPTION, other_count, output_of
from edge.modelfile.contents import embedded_metadata, file_end
from edge.modelfile.corruption import naming
from edge.runtime.bundle import Bundle, is_bundle
from edge.runtime.contract import ChannelOrder, Preprocessing, TensorLayout
from edge.runtime.files import sha256_file
from edge.runtime.head import Head, read_head
from edge.runtime.output import PROBABILITIES, Activation, OutputActivation, OutputSpec
from edge.runtime.session import ENGINES, open_session
from edge.runtime.tasks.table import DecoderSpec
from edge.training.input_range import InputRange, parse_range

REPORT: Final = "report.json"
FORMS: Final = (
    "It is a variant of the bundle, a .tflite or .onnx file, another bundle, or BUNDLE:VARIANT."
)


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordedLatency:
    """The latency of a variant that the report of its bundle states, and what decides it.

    Attributes:
        milliseconds: The median of one inference.
        machine: The architecture of the host.
        system: The operating system of the host.
        cpus: The number of the host's CPUs.
        threads: CPU threads of the inference.
    """

    milliseconds: float
    machine: str
    system: str
    cpus: int
    threads: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ComparedModel:
    """One side of a comparison.

    Attributes:
        name: The name that the user gave, without folders.
        path: The path of the model file.
        sha256: The sha256 of the model file, in hex.
        labels: The class names in the order of the outputs.
        preprocessing: The contract that it is fed by.
        engine: The interpreter that runs it here, and its version.
        interpreter: The key of ``ENGINES`` that the user chose for its format; None for the first.
        variant: Its name in its bundle; None for a model file.
        family: Files that are the same network in float32: the fp32 variants of its bundle if it
            is one of them; else the file alone.
        head: The head of its bundle, where the files answer with embeddings.
        decoder: What reads its outputs; None for a classifier.
        output: What a classifier answers with. A model file has the output of the bundle until
            ``adopted_output`` has looked at its own.
        takes_reals: Whether its input takes floats, and not the pixel itself.
        fed: What the input of a model file is fed and what says so; empty for a variant.
        recorded: The latency that the report of its bundle states; None if it states none.
        origins: What its bundle records of the images that made it.
    """

    name: str
    path: Path
    sha256: str
    labels: tuple[str, ...]
    preprocessing: Preprocessing
    engine: str
    interpreter: str | None
    variant: str | None
    family: tuple[Path, ...]
    head: Head | None = field(default=None, repr=False)
    decoder: DecoderSpec | None = None
    output: OutputSpec = PROBABILITIES
    takes_reals: bool = False
    fed: str = ""
    recorded: RecordedLatency | None = None
    origins: Origins = field(repr=False)


def find_model(text: str, bundle: Bundle, *, engine: str | None) -> ComparedModel:
    """Find the model that the user means.

    Args:
        text: A variant of ``bundle``, a model file, a bundle, or bundle:variant.
        bundle: The bundle whose contract and labels a model file is run with.
        engine: The interpreter for the format that it runs; the other format keeps its own.

    Raises:
        UsageError: There is no such model, or it does not fit the labels or the images.
        BundleError: A bundle was altered.
        ModelLoadError: The model does not load.
    """
    variants = [item.name for item in bundle.manifest.variants]
    path = Path(text)
    folder, _, variant = text.rpartition(":")
    if text in variants:
        return _variant(text, bundle, text, engine)
    if path.suffix.lower() in (".tflite", ".onnx") and not is_bundle(path):
        if not path.is_file():
            raise UsageError(f"no model file at {path}", hint=FORMS)
        return _compared(path.name, path, bundle, None, engine)
    if is_bundle(path):
        return _variant(f"{path.resolve().name}", Bundle.open(path), None, engine)
    if folder and is_bundle(Path(folder)):
        name = f"{Path(folder).resolve().name}:{variant}"
        return _variant(name, Bundle.open(Path(folder)), variant, engine)
    near = difflib.get_close_matches(text, variants, 1)
    meant = f"did you mean {near[0]!r}? " if near else ""
    raise UsageError(
        f"{text!r} is neither a variant of the bundle nor a model; {meant}its variants are "
        f"{', '.join(variants)}",
        hint=FORMS,
    )


def _variant(name: str, bundle: Bundle, variant: str | None, engine: str | None) -> ComparedModel:
    entry, path = bundle.model(variant)
    shown = name if variant else f"{name}:{entry.name}"
    return _compared(shown, path, bundle, entry.name, engine)


def _compared(
    name: str, path: Path, bundle: Bundle, variant: str | None, engine: str | None
) -> ComparedModel:
    other = engine in ENGINES and ENGINES[engine].format != path.suffix.lower().removeprefix(".")
    interpreter = None if other else engine
    session = open_session(path, engine=interpreter)
    model = ComparedModel(
        name=name,
        path=path,
        sha256=sha256_file(path),
        labels=bundle.manifest.labels,
        preprocessing=bundle.manifest.preprocessing,
        engine=session.engine,
        interpreter=interpreter,
        variant=variant,
        family=_family(path, bundle, variant),
        head=read_head(bundle),
        decoder=bundle.manifest.decoder,
        output=bundle.manifest.output,
        takes_reals=bool(session.inputs) and session.inputs[0].dtype.startswith("float"),
        recorded=_recorded(bundle, variant),
        origins=origins_of(bundle),
    )
    if len(session.inputs) != 1 or not session.outputs:
        raise UsageError(f"{path} has {len(session.inputs)} inputs; a model here has one")
    if model.decoder is not None:
        if variant is not None:  # what a file is fed, ``identified_side`` settles
            check_input(model)
        return model
    check_input(model)
    values = _values(session.outputs[0].shape)
    if model.head is None:
        check_classes(model, values)
    elif values not in (-1, model.head.features):
        raise UsageError(
            f"{path} answers with {values} values; the bundle's head takes "
            f"{model.head.features} features",
            hint="Name the bundle that the model was made for, as BUNDLE or as the side itself.",
        )
    return model


def _values(shape: tuple[int, ...]) -> int:
    """Return how many values an output has for one image; -1 where its shape leaves that open."""
    extents = shape[1:]
    return -1 if any(extent < 0 for extent in extents) else prod(extents)


def _family(path: Path, bundle: Bundle, variant: str | None) -> tuple[Path, ...]:
    floats = [item for item in bundle.manifest.variants if item.precision == "fp32"]
    if variant not in [item.name for item in floats]:
        return (path,)
    return tuple(bundle.checked(item.path) for item in floats)


def check_input(model: ComparedModel) -> None:
    """Refuse a model for images of another shape than its contract gives; -1 takes any.

    Raises:
        UsageError: It takes another shape.
    """
    shape = open_session(model.path, engine=model.interpreter).inputs[0].shape
    contract = model.preprocessing
    height, width, channels = contract.shape
    wanted: tuple[int, ...] = (height, width, channels)
    axes = "height, width, "
    if contract.layout is TensorLayout.CHW:
        wanted, axes = (channels, height, width), "channels first, "
    fits = len(shape) == 4 and all(
        extent in (-1, expected) for extent, expected in zip(shape[1:], wanted, strict=True)
    )
    if not fits:
        raise UsageError(
            f"{model.path} takes {list(shape)}; the bundle's contract gives [1, "
            f"{', '.join(map(str, wanted))}] ({axes}{contract.color_order})",
            hint="Compare it within a bundle that states its own contract.",
        )


def check_classes(model: ComparedModel, classes: int) -> None:
    """Refuse a model whose outputs are not the labels; -1 is not known yet.

    A single value tells two classes apart: it is the probability of the second one.

    Raises:
        UsageError: They are more or fewer.
    """
    labels = len(model.labels)
    single = classes == 1 and labels == 2 and not model.output.multi_label
    if classes in (-1, labels) or single:
        return
    if classes == 1:
        values = "a single value, which tells two classes apart"
    else:
        values = f"{classes} values"
    raise UsageError(
        f"{model.path} answers with {values}; the bundle has {labels} labels",
        hint=f"{other_count(labels, classes)} Or name the bundle that the model was made for, as "
        "BUNDLE or as the side itself.",
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Latency:
    threads: int


@dataclass(frozen=True, slots=True, kw_only=True)
class _ReportedVariant:
    name: str
    latency_ms: float | None = None
    latency: _Latency | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class _ReportedHost:
    machine: str
    system: str
    cpus: int


@dataclass(frozen=True, slots=True, kw_only=True)
class _Report:
    """What a comparison needs of ``report.json``; reports of other versions may not have it."""

    host: _ReportedHost
    variants: tuple[_ReportedVariant, ...]


def _recorded(bundle: Bundle, variant: str | None) -> RecordedLatency | None:
    if variant is None or REPORT not in bundle.manifest.files:
        return None
    path = bundle.checked(REPORT)
    try:
        report = schema.read(_Report, path, extra="ignore", max_bytes=MAX_REPORT)
    except UsageError:
        return None
    entries = [item for item in report.variants if item.name == variant]
    if len(entries) != 1 or entries[0].latency_ms is None or entries[0].latency is None:
        return None
    return RecordedLatency(
        milliseconds=entries[0].latency_ms,
        machine=report.host.machine,
        system=report.host.system,
        cpus=report.host.cpus,
        threads=entries[0].latency.threads,
    )


def column_order(baseline: ComparedModel, candidate: ComparedModel) -> list[int] | None:
    """Return the candidate's output for each label of the baseline; None if they are in order.

    Raises:
        UsageError: The labels are not the same set.
    """
    if baseline.labels == candidate.labels:
        return None
    ours, theirs = Counter(baseline.labels), Counter(candidate.labels)
    if ours != theirs:
        differing = [
            f"only {side.name} has {', '.join(sorted(rest)[:5])}"
            + (f" and {len(rest) - 5} more" if len(rest) > 5 else "")
            for side, rest in ((baseline, ours - theirs), (candidate, theirs - ours))
            if rest
        ]
        raise UsageError(
            f"the two sides have different labels: {'; '.join(differing)}",
            hint="Only models of the same classes can be compared.",
        )
    columns: dict[str, list[int]] = {}
    for index, label in enumerate(candidate.labels):
        columns.setdefault(label, []).append(index)
    return [columns[label].pop(0) for label in baseline.labels]


def adopted_output(
    side: ComparedModel, values: NDArray[np.float32], asked: OutputActivation
) -> OutputSpec:
    """Return what the values of a file mean that is run with the labels of a bundle.

    What edge wrote into the file counts first, then its last operator, then the values. The
    thresholds are the bundle's.

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
    output = output_of(end, values.shape[1], values, asked)
    if output.multi_label is not ours.multi_label:
        if (
            ours.multi_label
            and output.activation is Activation.SOFTMAX
            and asked is OutputActivation.AUTO
        ):
            # Logits look alike, whatever they are to become: the bundle's labels decide.
            return adopted_output(side, values, OutputActivation.MULTI_LABEL_LOGITS)
        raise UsageError(
            f"{side.path} answers with {output.kind} values ({output.evidence}), the bundle with "
            f"{ours.kind} ones: they have no score in common",
            hint=f"If its values are something else, say what with {OPTION}.",
        )
    return replace(output, thresholds=ours.thresholds)


def _stated(side: ComparedModel) -> OutputSpec | None:
    """What edge wrote into the file; None in a file of another writer."""
    described = embedded_metadata(side.path)
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


def adopted_range(side: ComparedModel, told: str | None) -> ComparedModel:
    """Return the side with the values that its input takes, and with what says so.

    A variant of a bundle, and an integer input, take the pixel itself. For a model file with an
    input of real values, what the user says counts first, then the contract of edge or the
    normalization that its metadata state, then the range of the bundle.

    Args:
        side: As ``find_model`` gave it.
        told: What the user says, see ``CompareOptions.input_range``.

    Raises:
        UsageError: The range is none, or differs from channel to channel.
    """
    if side.variant is not None or not side.takes_reals or side.decoder is not None:
        return side
    ends, source = side.preprocessing.value_range, "nothing in it says so: --input-range changes it"
    if told is not None:
        ends, source = _ends(parse_range(told), f"--input-range {told}"), "as asked for"
    else:
        described = embedded_metadata(side.path)
        if described is not None and described.edge_preprocessing is not None:
            with naming(side.path):
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


def _ends(stated: InputRange, name: str) -> tuple[float, float]:
    if stated.ends is None or stated.order is not ChannelOrder.RGB:
        raise UsageError(
            f"{name} treats the channels differently ({stated.text}); a file that is compared as "
            "it is can take one range for all",
            hint="Give LOW,HIGH, or put the scaling into the model.",
        )
    low, high = stated.ends
    if low > high:
        raise UsageError(
            f"{name} makes black more than white; a file that is compared as it is can only take "
            "a range that rises",
            hint="Put the scaling into the model: edge export takes such a range for a Keras file.",
        )
    return low, high
