"""What is compared: a variant, a model file or another bundle, with the contract to feed it by."""

import difflib
from collections import Counter
from dataclasses import dataclass, field
from math import prod
from pathlib import Path
from typing import Any, Final

from edge.errors import UsageError
from edge.evaluation.images import MAX_REPORT, Origins, origins_of
from edge.evaluation.output import other_count
from edge.runtime import checked
from edge.runtime.bundle import Bundle, is_bundle
from edge.runtime.files import sha256_file
from edge.runtime.head import Head, read_head
from edge.runtime.output import PROBABILITIES, OutputSpec
from edge.runtime.session import ENGINES, open_session
from edge.runtime.spec import Preprocessing

REPORT: Final = "report.json"
FORMS: Final = (
    "It is a variant of the bundle, a .tflite or .onnx file, another bundle, or BUNDLE:VARIANT."
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """One side of a comparison.

    Attributes:
        name: As the user named it, less folders.
        path: Of the model file.
        sha256: Of the model file, hex.
        labels: Class names in the order of its outputs.
        preprocessing: Its contract.
        engine: Interpreter and version that runs it here.
        interpreter: Key of ``ENGINES`` that the user chose for its format; None for the first.
        variant: Its name in its bundle; None for a model file.
        family: Files that are the same network in float32: the fp32 variants of its bundle if it
            is one of them; else the file alone.
        head: Of its bundle, where the files answer with embeddings.
        output: What it answers with; of a model file that of the bundle, until its own is found
            (``edge.comparison.adopted``).
        takes_reals: Whether its input is of floats, and not the pixel itself.
        fed: Of a model file, what its input is fed and what says so; empty otherwise.
        report: ``report.json`` of its bundle; None if the bundle has none.
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
    output: OutputSpec = PROBABILITIES
    takes_reals: bool = False
    fed: str = ""
    report: dict[str, Any] | None = field(repr=False)
    origins: Origins = field(repr=False)


def find_subject(text: str, bundle: Bundle, *, engine: str | None) -> Subject:
    """The side that the user means.

    Args:
        text: A variant of ``bundle``, a model file, a bundle, or bundle:variant.
        bundle: Whose contract and labels a model file is run with.
        engine: Interpreter for the format that it runs; the other format keeps its own.

    Raises:
        UsageError: No such thing, or a model that does not fit the labels or the images.
        BundleError: A bundle was altered.
        ModelLoadError: The model does not load.
    """
    variants = [item.name for item in bundle.manifest.variants]
    path = Path(text)
    place, _, variant = text.rpartition(":")
    if text in variants:
        return _variant(text, bundle, text, engine)
    if path.suffix.lower() in (".tflite", ".onnx") and not is_bundle(path):
        if not path.is_file():
            raise UsageError(f"no model file at {path}", hint=FORMS)
        return _subject(path.name, path, bundle, None, engine)
    if is_bundle(path):
        return _variant(f"{path.resolve().name}", Bundle.open(path), None, engine)
    if place and is_bundle(Path(place)):
        name = f"{Path(place).resolve().name}:{variant}"
        return _variant(name, Bundle.open(Path(place)), variant, engine)
    near = difflib.get_close_matches(text, variants, 1)
    meant = f"did you mean {near[0]!r}? " if near else ""
    raise UsageError(
        f"{text!r} is neither a variant of the bundle nor a model; {meant}its variants are "
        f"{', '.join(variants)}",
        hint=FORMS,
    )


def _variant(name: str, bundle: Bundle, variant: str | None, engine: str | None) -> Subject:
    found, path = bundle.model(variant)
    shown = name if variant else f"{name}:{found.name}"
    return _subject(shown, path, bundle, found.name, engine)


def _subject(
    name: str, path: Path, bundle: Bundle, variant: str | None, engine: str | None
) -> Subject:
    other = engine in ENGINES and ENGINES[engine].format != path.suffix.lower().removeprefix(".")
    interpreter = None if other else engine
    session = open_session(path, engine=interpreter)
    subject = Subject(
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
        output=bundle.manifest.output,
        takes_reals=bool(session.inputs) and session.inputs[0].dtype.startswith("float"),
        report=_report(bundle),
        origins=origins_of(bundle),
    )
    if len(session.inputs) != 1 or not session.outputs:
        raise UsageError(f"{path} has {len(session.inputs)} inputs; a classifier here has one")
    _check_input(subject, session.inputs[0].shape)
    values = _values(session.outputs[0].shape)
    if subject.head is None:
        check_classes(subject, values)
    elif values not in (-1, subject.head.features):
        raise UsageError(
            f"{path} answers with {values} values; the bundle's head takes "
            f"{subject.head.features} features",
            hint="Name the bundle that the model was made for, as BUNDLE or as the side itself.",
        )
    return subject


def _values(shape: tuple[int, ...]) -> int:
    """How many values an output has for one image; -1 where its shape leaves that open."""
    extents = shape[1:]
    return -1 if any(extent < 0 for extent in extents) else prod(extents)


def _family(path: Path, bundle: Bundle, variant: str | None) -> tuple[Path, ...]:
    floats = [item for item in bundle.manifest.variants if item.precision == "fp32"]
    if variant not in [item.name for item in floats]:
        return (path,)
    return tuple(bundle.checked(item.path) for item in floats)


def _check_input(subject: Subject, shape: tuple[int, ...]) -> None:
    """Refuse a model for images of another shape than its contract gives; -1 takes any."""
    contract = subject.preprocessing
    wanted = contract.shape
    fits = len(shape) == 4 and all(
        found in (-1, expected) for found, expected in zip(shape[1:], wanted, strict=True)
    )
    if not fits:
        raise UsageError(
            f"{subject.path} takes {list(shape)}; the bundle's contract gives [1, "
            f"{', '.join(map(str, wanted))}] (height, width, {contract.color_order})",
            hint="Compare it within a bundle that states its own contract.",
        )


def check_classes(subject: Subject, classes: int) -> None:
    """Refuse a model whose outputs are not the labels; -1 is not known yet.

    A single value tells two classes apart: it is the probability of the second one.

    Raises:
        UsageError: They are more or fewer.
    """
    labels = len(subject.labels)
    single = classes == 1 and labels == 2 and not subject.output.multi_label
    if classes in (-1, labels) or single:
        return
    if classes == 1:
        values = "a single value, which tells two classes apart"
    else:
        values = f"{classes} values"
    raise UsageError(
        f"{subject.path} answers with {values}; the bundle has {labels} labels",
        hint=f"{other_count(labels, classes)} Or name the bundle that the model was made for, as "
        "BUNDLE or as the side itself.",
    )


def _report(bundle: Bundle) -> dict[str, Any] | None:
    if REPORT not in bundle.manifest.files:
        return None
    try:
        value = checked.read_json(bundle.checked(REPORT), max_bytes=MAX_REPORT)
    except (OSError, ValueError):
        return None
    return value if isinstance(value, dict) else None


def column_order(baseline: Subject, candidate: Subject) -> list[int] | None:
    """Which output of the candidate belongs to each label of the baseline; None if in order.

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
    places: dict[str, list[int]] = {}
    for index, label in enumerate(candidate.labels):
        places.setdefault(label, []).append(index)
    return [places[label].pop(0) for label in baseline.labels]
