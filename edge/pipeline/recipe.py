"""``recipe.json``: which blocks the mixed files keep in floats; written by a search, replayed."""

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from converters.base import CONVERTERS
from edge.errors import UsageError
from edge.pipeline.conversion import Converted
from edge.runtime import checked

RECIPE_NAME: Final = "recipe.json"
RECIPE_SCHEMA_VERSION: Final = 1
FIELDS: Final = frozenset({"schema_version", "model", "model_id", "max_drop_points", "keep_float"})

Recipes = Mapping[str, tuple[str, ...]]  # by format


def recipe_of(
    converted: Sequence[Converted], *, model: str, model_id: str, max_drop_points: float | None
) -> dict[str, Any] | None:
    """What was kept in the mixed files, as JSON values; None if there are none.

    Args:
        converted: The files.
        model: Name of the model, for people.
        model_id: Content hash of the model.
        max_drop_points: The budget, if there was one.
    """
    kept = {item.target.format: item.record["kept"] for item in converted if "kept" in item.record}
    if not kept:
        return None
    return {
        "schema_version": RECIPE_SCHEMA_VERSION,
        "model": model,
        "model_id": model_id,
        "max_drop_points": max_drop_points,
        "keep_float": kept,
    }


def read_recipe(path: Path, formats: Collection[str]) -> Recipes:
    """The blocks to keep in floats, by format.

    Args:
        path: Of the file.
        formats: Whose mixed files are to be written.

    Raises:
        UsageError: The file is no recipe, of another schema, or lacks one of the formats.
    """
    try:
        value = checked.read_json(path)
    except (OSError, ValueError) as error:
        raise UsageError(f"{path} is no recipe: {error}", hint=HINT) from error
    if not isinstance(value, dict) or value.get("schema_version") != RECIPE_SCHEMA_VERSION:
        raise UsageError(f"{path} is no recipe of schema {RECIPE_SCHEMA_VERSION}", hint=HINT)
    unknown = sorted(set(value) - FIELDS)
    if unknown:
        raise UsageError(
            f"{path} has a field that is not known: {unknown[0]!r}",
            hint=f"Known: {', '.join(sorted(FIELDS))}.",
        )
    kept = value.get("keep_float")
    if not isinstance(kept, dict) or not all(_is_names(names) for names in kept.values()):
        raise UsageError(f"{path}: keep_float maps a format to a list of block names", hint=HINT)
    if set(kept) - set(CONVERTERS):
        raise UsageError(
            f"{path}: unknown format {sorted(set(kept) - set(CONVERTERS))[0]!r}",
            hint=f"Known: {', '.join(CONVERTERS)}.",
        )
    missing = sorted(set(formats) - set(kept))
    if missing:
        raise UsageError(
            f"{path} does not say what {missing[0]} files keep in floats",
            hint=f"Leave out {missing[0]}-mixed with --variants, or search with --quantize auto.",
        )
    return {format_: tuple(names) for format_, names in kept.items()}


HINT: Final = "edge export ... --quantize auto --max-drop 0.5 writes one into the bundle."


def _is_names(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(name, str) for name in value)
