"""What was taken of a model file, from which evidence: the table for people, and its JSON form."""

from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from edge.errors import EdgeError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from edge.identification.model import Fact, IdentifiedModel, StatedModel

LEFT: Final = 18  # columns of the names
TAKEN: Final = "?"  # marks what nothing in the file states


def print_identified(model: "IdentifiedModel") -> None:
    """Print each thing that was taken, its evidence, and the option that changes it."""
    from edge.cli.output import print_folded
    from edge.runtime.printable import one_line

    print_facts(model.facts)
    for note in model.notes:
        print_folded(f"note: {one_line(note)}")


def print_facts(facts: "Sequence[Fact]") -> None:
    """Print each thing that was taken; see ``print_identified``."""
    from edge.cli.output import print_beside, print_folded
    from edge.runtime.printable import one_line

    for fact in facts:
        mark = "" if fact.sure else f" {TAKEN}"
        option = f" [{fact.option}]" if fact.option else ""
        text = f"{one_line(fact.value)}: {one_line(fact.source)}{option}"
        print_beside(f"{fact.what}{mark}", text, LEFT)
    if not all(fact.sure for fact in facts):
        print_folded(f"{TAKEN} nothing in the file says so; the option in brackets changes it")


def identified_json(model: "IdentifiedModel") -> dict[str, Any]:
    """Return what was taken as JSON values."""
    from dataclasses import asdict

    return {
        "settled": True,
        "task": str(model.task),
        "decoder": None if model.decoder is None else model.decoder.to_json(),
        "output": model.output.to_json() if model.decoder is None else None,
        "preprocessing": model.preprocessing.to_json(),
        "labels": list(model.labels),
        "quantized": model.quantized,
        "facts": [asdict(fact) for fact in model.facts],
        "notes": list(model.notes),
    }


def known(path: Path, stated: "StatedModel") -> "IdentifiedModel | EdgeError":
    """Return what a model file is, or the error that says what it leaves open."""
    from edge.identification.identify import identify

    try:
        return identify(path, stated)
    except EdgeError as error:
        return error


def print_known(found: "IdentifiedModel | EdgeError") -> None:
    """Print what ``known`` returned."""
    from edge.cli.output import print_beside

    if isinstance(found, EdgeError):
        print_beside("not settled", f"{found.message}. {found.hint or ''}".rstrip(), LEFT)
    else:
        print_identified(found)


def known_json(found: "IdentifiedModel | EdgeError") -> dict[str, Any]:
    """Return what ``known`` returned as JSON values."""
    if isinstance(found, EdgeError):
        return {"settled": False, "error": found.message, "hint": found.hint}
    return identified_json(found)
