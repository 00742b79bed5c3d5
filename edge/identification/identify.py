"""A model file and what its user says of it -> what it is, each thing with its evidence."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from math import prod
from pathlib import Path
from typing import Any

from edge.dataset.labels import numbered, read_labels
from edge.errors import BundleError, InferenceError, ModelLoadError, UsageError
from edge.evaluation.output import other_count, output_of
from edge.identification.evidence import ModelEvidence, packed_labels, read_evidence
from edge.identification.families import Reading, readings_of, stated_reading
from edge.identification.feeding import fed, unscaled
from edge.identification.model import Fact, IdentifiedModel, StatedModel, read_anchors
from edge.runtime.checked import parse_json
from edge.runtime.contract import Preprocessing
from edge.runtime.output import PROBABILITIES, OutputActivation, OutputSpec
from edge.runtime.printable import one_line
from edge.runtime.tasks.decoder import Tensors
from edge.runtime.tasks.table import DECODERS, DecoderSpec, Task
from edge.runtime.typed import encoded

_RESULT_OPTIONS = ("score_threshold", "iou_threshold", "max_results", "anchors")
_EXPORTER_TASKS = {
    "detect": Task.DETECTION,
    "segment": Task.SEGMENTATION,
    "classify": Task.CLASSIFICATION,
    "pose": Task.POSE,
}


def identify(path: Path, stated: StatedModel) -> IdentifiedModel:
    """Find out what a .tflite or .onnx file is: task, decoder, input and labels.

    Args:
        path: The file.
        stated: What its user says of it, which settles what the file leaves open.

    Raises:
        UsageError: Two readings fit, or what is stated does not fit the file.
        ModelLoadError: The file does not load, takes no image, or answers as no decoder knows.
    """
    found = read_evidence(path, stated)
    if found.metadata is not None and found.metadata.edge_preprocessing is not None:
        return _own_file(found, stated)
    chosen, facts = _chosen(found, stated)
    labels, label_fact = _labels(found, chosen, stated)
    if stated.decoder is not None:  # that it fits comes before what else it needs
        _decoder(found, chosen, stated, unscaled(found), labels)
    preprocessing, input_facts = fed(found, chosen, stated)
    decoder, output = None, PROBABILITIES
    if chosen.task is Task.CLASSIFICATION:
        _refuse_task_options(stated, chosen.task)
        output = output_of(found.end, prod(found.shapes[0]), None, stated.output_activation)
        output = _with_threshold(found, output, stated.threshold, len(labels))
        facts.append(_output_fact(output))
    else:
        _refuse_classifier_options(stated, chosen.task)
        decoder = _decoder(found, chosen, stated, preprocessing, labels)
        facts.append(_threshold_fact(decoder))
    return IdentifiedModel(
        path=path,
        format=found.format,
        sha256=found.sha256,
        task=chosen.task,
        preprocessing=preprocessing,
        labels=labels,
        decoder=decoder,
        settled=_settled(chosen, stated),
        output=output,
        quantized=found.quantized,
        facts=(*facts, *input_facts, label_fact),
    )


def _chosen(found: ModelEvidence, stated: StatedModel) -> tuple[Reading, list[Fact]]:
    """Return the one reading of the file that fits all that is known, and the facts of it.

    Raises:
        UsageError: Several fit, or none fits what is stated.
        ModelLoadError: No decoder knows such outputs.
    """
    readings = readings_of(found)
    if stated.decoder is not None:
        readings = _stated_decoder(found, stated, readings)
    if not readings:
        shapes = ", ".join(f"{list(spec.shape)} {spec.dtype}" for spec in found.outputs)
        raise ModelLoadError(
            f"no decoder knows the outputs of {found.path.name}: {shapes}",
            hint="Name one with --decoder where a layout is known by another name; edge export "
            "--help lists them.",
        )
    if stated.task is not None:
        readings = _of_task(found, stated.task, readings)
    if found.exporter is not None and stated.decoder is None:
        readings = _exported(found, found.exporter.task, readings)
    readings = _with_options(readings, stated)
    count = _label_count(found, stated)
    if len(readings) > 1 and count is not None:
        readings = [item for item in readings if item.classes in (None, count)] or readings
        vector = {item.task for item in readings} == {Task.CLASSIFICATION, Task.EMBEDDING}
        if vector and readings[0].classes == count:
            readings = readings[:1]
    if len(readings) > 1:
        raise _ambiguous(found, readings)
    if readings[0].decoder not in ("", *DECODERS):
        raise ModelLoadError(
            f"{found.path.name} needs the decoder {readings[0].decoder}, which this edge does not "
            f"have: {readings[0].why}",
            hint="Install a newer edge.",
        )
    return readings[0], _reading_facts(found, readings[0], stated)


def _reading_facts(found: ModelEvidence, chosen: Reading, stated: StatedModel) -> list[Fact]:
    usual = f"what the decoder {chosen.decoder} answers" if chosen.decoder else chosen.why
    source = "as stated" if stated.task is not None else usual
    if stated.task is None and found.exporter is not None:
        source = f"its metadata say {found.exporter.task!r}"
    facts = [Fact(what="task", value=str(chosen.task), source=source, option="--task")]
    if chosen.decoder:
        why = "as stated" if stated.decoder is not None else chosen.why
        facts.append(Fact(what="decoder", value=chosen.decoder, source=why, option="--decoder"))
        facts += _parameter_facts(chosen, stated)
    return facts


def _parameter_facts(chosen: Reading, stated: StatedModel) -> list[Fact]:
    """Return the facts of the parameters that change the answers."""
    told = stated_parameters(stated)
    spec = DecoderSpec(name=chosen.decoder, parameters={**chosen.parameters, **told})
    try:
        values = spec.read_parameters()
    except UsageError as error:
        raise _parameter_error(chosen.decoder, error) from error
    return [
        Fact(
            what=name.replace("_", " "),
            value=_written(getattr(values, name)),
            source="as stated" if name in told else chosen.shown[name],
            option=f"--decoder-option {name}=",
            sure=name in told or name not in chosen.assumed,
        )
        for name in (*chosen.shown, *(name for name in told if name not in chosen.shown))
    ]


def _settled(chosen: Reading, stated: StatedModel) -> frozenset[str]:
    found = {*chosen.parameters, *chosen.shown, *chosen.settles} - chosen.assumed
    return frozenset(found | set(stated_parameters(stated)))


def _parameter_error(decoder: str, error: UsageError) -> UsageError:
    """Return the error of a parameter that a user stated, with a way out."""
    names = ", ".join(sorted(_parameter_names(decoder)))
    hint = f"Correct or leave out that option. The decoder {decoder} has {names}."
    return UsageError(error.message, hint=error.hint or hint)


def _written(value: Any) -> str:
    """Return a parameter as ``--decoder-option`` takes it."""
    return value if isinstance(value, str) else json.dumps(value)


def _stated_decoder(
    found: ModelEvidence, stated: StatedModel, readings: Sequence[Reading]
) -> list[Reading]:
    """Return the readings of that decoder.

    Raises:
        UsageError: There is no such decoder, it answers another task than the stated one, or the
            file itself shows that its outputs are of another layout.
    """
    name = stated.decoder or ""
    if name not in DECODERS:
        raise UsageError(
            f"there is no decoder {name!r}", hint=f"The decoders are {', '.join(DECODERS)}."
        )
    task = DECODERS[name].task
    if stated.task not in (None, task):
        raise UsageError(
            f"--decoder {name} answers {task}, and --task says {stated.task}",
            hint="Leave one of them out.",
        )
    same = [reading for reading in readings if reading.decoder == name]
    if same:
        return same
    _check_evidence(found, name, readings)
    return [stated_reading(found, name)]


def _with_options(readings: Sequence[Reading], stated: StatedModel) -> list[Reading]:
    """Return the readings that ``--decoder-option`` leaves; all, where none agrees with it."""
    told = stated_parameters(stated)
    kept = []
    for item in readings:
        read = {}
        if item.decoder in DECODERS:
            spec = DecoderSpec(name=item.decoder, parameters=item.parameters)
            read = encoded(spec.read_parameters())
        known = set(told) & set(read) - set(item.shown)
        if all(read[name] == told[name] for name in known):
            kept.append(item)
    # Where no reading has it so, it is one that the file leaves open, or an error of its own.
    return kept or list(readings)


def _check_evidence(found: ModelEvidence, name: str, readings: Sequence[Reading]) -> None:
    """Refuse a decoder that the file speaks against; where the file leaves it open, it decides.

    Raises:
        UsageError: The exporter wrote another task into the file, or the outputs have the one
            layout of another decoder.
    """
    needed = f"{name} reads {DECODERS[name].meaning}"
    note = found.exporter
    if note is not None and _EXPORTER_TASKS.get(note.task) is not DECODERS[name].task:
        raise UsageError(
            f"--decoder {name} answers {DECODERS[name].task}, and the metadata of "
            f"{found.path.name} say that its task is {one_line(note.task)!r}",
            hint=f"Leave out --decoder. {needed}.",
        )
    if len({item.decoder for item in readings}) != 1 or not all(item.sure for item in readings):
        return
    shown = readings[0]
    reader = f"the decoder {shown.decoder}" if shown.decoder else "no decoder: it is a classifier"
    raise UsageError(
        f"--decoder {name} contradicts {found.path.name}, which is for {reader}: {shown.why}",
        hint=f"Leave out --decoder. {needed}.",
    )


def _of_task(found: ModelEvidence, task: Task, readings: Sequence[Reading]) -> list[Reading]:
    """Return the readings of a task.

    Raises:
        UsageError: The file shows that it is of another task.
    """
    kept = [item for item in readings if item.task is task]
    if kept:
        return kept
    other = readings[0]
    raise UsageError(
        f"--task says {task}, and {found.path.name} answers {other.task}: {other.why}",
        hint=f"Give --task {other.task}, or leave it out.",
    )


def _exported(found: ModelEvidence, task: str, readings: Sequence[Reading]) -> list[Reading]:
    """Return the readings of the task that the exporter wrote into the file.

    Raises:
        ModelLoadError: No decoder reads its outputs so, such as the boxes with keypoints of a
            YOLO for poses, whose shape is that of a detector of more classes.
    """
    kept = [item for item in readings if item.task is _EXPORTER_TASKS.get(task)]
    if kept:
        return kept
    shapes = ", ".join(str(list(shape)) for shape in found.shapes)
    raise ModelLoadError(
        f"the metadata of {found.path.name} say that its task is {one_line(task)!r}, and no "
        f"decoder reads outputs of {shapes} so",
        hint="Export a model for detect or classify.",
    )


def _label_count(found: ModelEvidence, stated: StatedModel) -> int | None:
    """Return how many labels are named anywhere; None for none."""
    if stated.labels is not None:
        return len(read_labels(stated.labels, doubles=True).names)
    named = _file_labels(found)
    return len(named[0]) if named else None


def _ambiguous(found: ModelEvidence, readings: Sequence[Reading]) -> UsageError:
    ways = []
    names = [item.decoder for item in readings]
    for item in readings:
        option = f"--decoder {item.decoder}" if item.decoder else f"--task {item.task}"
        if item.decoder and names.count(item.decoder) > 1:
            option = " ".join(_telling(item, [other for other in readings if other is not item]))
        labels = "" if item.classes is None else f", {item.classes} labels"
        ways.append(f"{option} ({item.why}{labels})")
    return UsageError(
        f"{found.path.name} can be read in {len(readings)} ways, and nothing in it tells which",
        hint=f"State one: {'; or '.join(ways)}. A file of labels (--labels) may settle it too.",
    )


def _telling(item: Reading, others: Sequence[Reading]) -> list[str]:
    """Return the options that tell a reading from the others of its decoder."""
    mine, *theirs = (
        DecoderSpec(name=each.decoder, parameters=each.parameters).read_parameters()
        for each in (item, *(other for other in others if other.decoder == item.decoder))
    )
    return [
        f"--decoder-option {name}={_written(getattr(mine, name))}"
        for name in sorted(_parameter_names(item.decoder))
        if any(getattr(other, name) != getattr(mine, name) for other in theirs)
    ]


def stated_parameters(stated: StatedModel) -> Mapping[str, object]:
    """Return what ``--decoder-option`` states, as JSON values by their names.

    Raises:
        UsageError: One is not NAME=VALUE, is there twice, or has an option of its own.
    """
    told: dict[str, object] = {}
    for text in stated.decoder_option:
        name, equals, value = text.partition("=")
        if not equals or not name or name in told:
            said = "is stated twice" if name in told else "is not NAME=VALUE"
            raise UsageError(
                f"--decoder-option {one_line(text)} {said}",
                hint="Such as --decoder-option coordinates=pixels; docs/tasks.md lists them.",
            )
        if name in _RESULT_OPTIONS:
            option = f"--{name.replace('_', '-')}"
            raise UsageError(
                f"--decoder-option {name} has an option of its own", hint=f"Use {option}."
            )
        try:
            told[name] = parse_json(value)
        except ValueError:
            told[name] = value
    return told


def _file_labels(found: ModelEvidence) -> tuple[tuple[str, ...], str] | None:
    """Return the labels that the file itself names, and where."""
    if found.exporter is not None and found.exporter.names:
        return found.exporter.names, "the names in its metadata"
    if found.metadata is not None and found.metadata.labels:
        return found.metadata.labels, "its metadata"
    return packed_labels(found.path) if found.format == "tflite" else None


def _labels(
    found: ModelEvidence, chosen: Reading, stated: StatedModel
) -> tuple[tuple[str, ...], Fact]:
    """Return the labels and where they come from.

    Raises:
        UsageError: The stated ones do not fit the outputs.
    """
    if stated.labels is not None:
        read = read_labels(stated.labels, chosen.classes, doubles=True)
        source = f"{len(read.names)} of {stated.labels.name}"
        return read.names, Fact(what="labels", value=_some(read.names), source=source)
    # The labels in a landmark model's file are those of another answer, such as left or right hand.
    named = None if chosen.task is Task.POSE else _file_labels(found)
    if named is not None and chosen.classes in (None, len(named[0])):
        names, source = named
        return names, Fact(what="labels", value=_some(names), source=source, option="--labels")
    if chosen.labels:
        source = "every model of this family has these"
        return chosen.labels, Fact(
            what="labels", value=_some(chosen.labels), source=source, option="--labels"
        )
    if named is not None:
        raise UsageError(
            f"{found.path.name} names {len(named[0])} labels ({named[1]}) and answers with "
            f"{chosen.classes} classes",
            hint=f"Name them with --labels FILE. {other_count(len(named[0]), chosen.classes or 0)}",
        )
    names = numbered(chosen.classes).names if chosen.classes else ()
    return names, Fact(
        what="labels",
        value=f"the numbers 0 to {len(names) - 1}" if names else "numbers",
        source="nothing names them",
        option="--labels",
        sure=False,
    )


def _some(names: Sequence[str]) -> str:
    shown = ", ".join(names[:3])
    return shown if len(names) <= 3 else f"{shown} ... ({len(names)})"


def _decoder(
    found: ModelEvidence,
    chosen: Reading,
    stated: StatedModel,
    preprocessing: Preprocessing,
    labels: tuple[str, ...],
) -> DecoderSpec:
    """Return the decoder with what is stated of it, once it takes the outputs of the trial.

    Raises:
        UsageError: It does not fit the outputs, or a stated parameter does not fit it.
    """
    parameters = {**chosen.parameters, **stated_parameters(stated)}
    known = _parameter_names(chosen.decoder)
    for name in _RESULT_OPTIONS:
        value = getattr(stated, name)
        if value is None:
            continue
        if name not in known:
            raise UsageError(
                f"--{name.replace('_', '-')} means nothing to the decoder {chosen.decoder}",
                hint="Leave it out.",
            )
        parameters[name] = read_anchors(value) if name == "anchors" else value
    spec = DecoderSpec(name=chosen.decoder, parameters=parameters, evidence=chosen.why)
    try:
        spec.open(Tensors(outputs=found.outputs, preprocessing=preprocessing, labels=labels))
    except UsageError as error:
        raise _parameter_error(chosen.decoder, error) from error
    except InferenceError as error:
        raise UsageError(error.message, hint=error.hint) from error
    return spec


def _parameter_names(decoder: str) -> frozenset[str]:
    from dataclasses import fields

    return frozenset(item.name for item in fields(DecoderSpec(name=decoder).read_parameters()))


def _threshold_fact(spec: DecoderSpec) -> Fact:
    read = spec.read_parameters()
    shown = [
        f"{name.replace('_', ' ')} {getattr(read, name):g}"
        for name in ("score_threshold", "iou_threshold", "max_results")
        if hasattr(read, name)
    ]
    given = [name for name in spec.parameters if name.endswith("threshold")]
    return Fact(
        what="results",
        value=", ".join(shown) or "as the model gives them",
        source="as stated" if given else f"the defaults of {spec.name}",
        option="--score-threshold" if shown else "",
    )


def _output_fact(output: OutputSpec) -> Fact:
    return Fact(
        what="output", value=str(output.kind), source=output.evidence, option="--output-activation"
    )


def _refuse_task_options(stated: StatedModel, task: Task) -> None:
    given = [
        f"--{name.replace('_', '-')}"
        for name in _RESULT_OPTIONS
        if getattr(stated, name) is not None
    ]
    given += ["--decoder-option"] if stated.decoder_option else []
    if given:
        raise UsageError(f"{given[0]} means nothing to {task}", hint=f"Leave out {given[0]}.")


def _refuse_classifier_options(stated: StatedModel, task: Task) -> None:
    given = ["--threshold"] if stated.threshold is not None else []
    if stated.output_activation is not OutputActivation.AUTO:
        given.append("--output-activation")
    if given:
        hint = " Name the least score with --score-threshold." if given[0] == "--threshold" else ""
        raise UsageError(
            f"{given[0]} is for classifiers, and this model answers {task}",
            hint=f"Leave out {given[0]}.{hint}",
        )


def _with_threshold(
    found: ModelEvidence, output: OutputSpec, threshold: float | None, labels: int
) -> OutputSpec:
    """Return what a classifier's values mean, with the threshold that is stated.

    Raises:
        UsageError: It has more than two classes that exclude one another.
    """
    if threshold is None:
        return output
    if not output.multi_label and labels != 2:
        raise UsageError(
            f"--threshold is for two classes, or for labels that do not exclude one another; "
            f"{found.path.name} has {labels} classes",
            hint="Leave out --threshold: the class of the highest probability is the answer.",
        )
    count = labels if output.multi_label else 1
    return replace(output, thresholds=(threshold,) * count)


def _own_file(found: ModelEvidence, stated: StatedModel) -> IdentifiedModel:
    """Return what a file that edge wrote says of itself.

    Raises:
        UsageError: Something else is stated.
        ModelLoadError: What it says cannot be read.
    """
    metadata = found.metadata
    assert metadata is not None  # the caller has seen its contract
    if stated != StatedModel():
        raise UsageError(
            f"{found.path.name} was written by edge, and says itself what it takes and gives",
            hint="Leave out the options that describe a model file.",
        )
    try:
        preprocessing = Preprocessing.from_json(metadata.edge_preprocessing or {})
        decoder = metadata.edge_decoder and DecoderSpec.from_json(metadata.edge_decoder)
        output = PROBABILITIES
        if metadata.edge_output:
            output = OutputSpec.from_json(metadata.edge_output, labels=len(metadata.labels))
    except BundleError as error:
        raise ModelLoadError(f"{found.path.name}: {error.message}", hint=error.hint) from error
    task = decoder.task if decoder else Task.CLASSIFICATION
    written = "edge wrote it into the file"
    facts = [
        Fact(what="task", value=str(task), source=written),
        Fact(what="contract", value=preprocessing.sha256[:12], source=written),
        Fact(what="labels", value=_some(metadata.labels), source=written),
    ]
    if decoder:
        facts.insert(1, Fact(what="decoder", value=decoder.name, source=written))
    return IdentifiedModel(
        path=found.path,
        format=found.format,
        sha256=found.sha256,
        task=task,
        preprocessing=preprocessing,
        labels=metadata.labels,
        decoder=decoder or None,
        output=output,
        quantized=found.quantized,
        facts=tuple(facts),
    )
