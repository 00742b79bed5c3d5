"""The options of a job as JSON values, and back: what ``edge.lock`` keeps of the command."""

from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from enum import Enum
from pathlib import Path
from typing import Any, Final, TypeVar, get_type_hints

from edge import schema
from edge.errors import BundleError

# Folders of this machine, and how they are treated: they decide no number, and another machine has
# others.
PLACES: Final = frozenset(
    {"photos", "calibration_data", "evaluation_data", "output", "overwrite", "cache"}
)
OTHER_EDGE: Final = "Install the version of edge that the manifest names under provenance.versions."
OptionsT = TypeVar("OptionsT")


def options_json(options: Any) -> dict[str, Any]:
    """Return every field of a dataclass of options but the places.

    Args:
        options: A dataclass; its fields are dataclasses, tuples, enums, paths and JSON values.
    """
    values = {}
    for item in fields(options):
        value = getattr(options, item.name)
        if item.name not in PLACES or is_dataclass(value):
            values[item.name] = _encoded(value)
    return values


def _encoded(value: Any) -> Any:
    if is_dataclass(value):
        return options_json(value)
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, list | tuple):
        return [_encoded(item) for item in value]
    return value


def read_options(
    kind: type[OptionsT], values: Mapping[str, Any], places: Mapping[str, Any]
) -> OptionsT:
    """Read what ``options_json`` made.

    Args:
        kind: The dataclass of options.
        values: The options in the lock.
        places: The values of the fields that are not kept, by name, for every dataclass that has
            them.

    Raises:
        BundleError: The options have other fields or types than the dataclass.
    """
    whole = _with_places(kind, values, places)
    return schema.from_json(kind, whole, "edge.lock: options", hint=OTHER_EDGE, error=BundleError)


def _with_places(kind: Any, values: Any, places: Mapping[str, Any]) -> Any:
    """The options with the places of this machine, in all dataclasses inside."""
    if not isinstance(values, Mapping):
        return values  # which the schema refuses
    whole, kinds = dict(values), get_type_hints(kind)
    for item in fields(kind):
        if is_dataclass(kinds[item.name]):
            whole[item.name] = _with_places(kinds[item.name], whole.get(item.name), places)
        elif item.name in PLACES and item.name in places:
            whole[item.name] = _encoded(places[item.name])
    return whole
