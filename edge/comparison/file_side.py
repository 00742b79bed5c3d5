"""A model file as a side of a comparison: by what is stated, by itself, or by the bundle."""

from dataclasses import fields, replace
from typing import Final

from edge.comparison.model import ComparedModel, check_input
from edge.errors import UsageError
from edge.identification.identify import identify
from edge.identification.model import Fact, IdentifiedModel, StatedModel
from edge.runtime.tasks.table import DecoderSpec

NOTHING: Final = StatedModel()
# A side that is a classifier has its own ways to find out about these; see ``adopted_output``.
OF_CLASSIFIERS: Final = ("input_range", "output_activation")
_FEEDING: Final = ("input range", "channel order", "resize")  # facts
_FEEDING_FIELDS: Final = frozenset(
    ("input_range", "channel_order", "resize", "interpolation", "pad_value", "pad_position", "size")
)
_RESULT_FIELDS: Final = frozenset(
    ("decoder", "decoder_option", "score_threshold", "iou_threshold", "max_results", "anchors")
)


def given(stated: StatedModel) -> list[str]:
    """Return what a user states, as names of fields."""
    names = [field.name for field in fields(StatedModel)]
    return [name for name in names if getattr(stated, name) != getattr(NOTHING, name)]


def option_of(field: str) -> str:
    """Return how the option of a field is written."""
    return f"--{field.replace('_', '-')}"


def refuse_for_classifiers(stated: StatedModel) -> None:
    """Refuse what a classifier's file is not asked for.

    Raises:
        UsageError: Something is stated.
    """
    for name in given(stated):
        if name not in OF_CLASSIFIERS:
            raise UsageError(
                f"{option_of(name)} has no effect: a classifier's file has the labels of the "
                "bundle, and is fed as its variants are but for --input-range",
                hint=f"Leave out {option_of(name)}, or make a bundle of the file: edge export.",
            )


def identified_side(side: ComparedModel, stated: StatedModel) -> ComparedModel:
    """Return a model file with the contract and decoder that are its own.

    What the user states counts first, then what the file says of itself, then the bundle: where
    nothing in the file says how it is fed, as its family usually is would be a guess.

    Args:
        side: As ``find_model`` gave it, with the contract, labels and decoder of the bundle.
        stated: What the user says of model files.

    Raises:
        UsageError: What is stated does not fit the file, or it is no model of this kind.
        ModelLoadError: No decoder knows its outputs.
    """
    if side.variant is not None or side.decoder is None:
        return side
    try:
        found = identify(side.path, stated)
    except UsageError:
        if stated != NOTHING:
            raise
        check_input(side)
        return replace(side, fed=f"{side.name} does not say what it is: {_AS_BUNDLE}")
    said, like = given(stated), _like_the_bundle(side, found)
    unsure = [fact.what for fact in found.facts if fact.what in _FEEDING and not fact.sure]
    fed_as_bundle = like and bool(unsure) and not set(said) & _FEEDING_FIELDS
    if fed_as_bundle:
        told = f"{side.name} does not say its {', '.join(unsure)}: {_AS_BUNDLE}"
    else:
        told = f"{side.name} is fed and read by what is known of it: {_told(found.facts)}"
    own_way = like and not set(said) & _RESULT_FIELDS
    decoder = _as_the_bundle(side, found) if own_way else found.decoder
    if decoder is not None and own_way and decoder != side.decoder:
        more = ", ".join(f"{name} {value}" for name, value in decoder.parameters.items())
        told += f"; its outputs are read as it shows itself: {more or 'by the defaults'}"
    own_labels = any(fact.what == "labels" and fact.sure for fact in found.facts)
    return replace(
        side,
        preprocessing=side.preprocessing if fed_as_bundle else found.preprocessing,
        decoder=decoder,
        labels=found.labels if own_labels else side.labels,
        fed=told,
    )


_AS_BUNDLE: Final = "it is fed and read as the bundle's own variants are"


def _like_the_bundle(side: ComparedModel, found: IdentifiedModel) -> bool:
    """Whether a file has the input and the decoder of the bundle's variants."""
    ours, theirs = side.preprocessing, found.preprocessing
    return (
        side.decoder is not None
        and found.decoder is not None
        and found.decoder.name == side.decoder.name
        and (ours.shape, ours.layout) == (theirs.shape, theirs.layout)
    )


def _as_the_bundle(side: ComparedModel, found: IdentifiedModel) -> DecoderSpec | None:
    """Return the bundle's decoder, with what the file itself settles, such as its unit of boxes."""
    if side.decoder is None or found.decoder is None:
        return side.decoder
    ours = {k: v for k, v in side.decoder.parameters.items() if k not in found.settled}
    theirs = {k: v for k, v in found.decoder.parameters.items() if k in found.settled}
    return replace(side.decoder, parameters={**ours, **theirs})


def _told(facts: tuple[Fact, ...]) -> str:
    shown = [fact for fact in facts if fact.what in ("decoder", *_FEEDING)]
    return ", ".join(f"{fact.what} {fact.value} ({fact.source})" for fact in shown)
