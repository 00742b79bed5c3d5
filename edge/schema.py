"""Every file format of the host: read into dataclasses, checked field by field, and written.

A format is described by a frozen dataclass, and by nothing else: the names of its fields are the
names in the file, a field with a default may be missing, ``X | None`` may be null, ``Mapping[str,
X]`` is an object of any names, ``tuple[X, ...]`` a list, and an enum or ``Literal`` one of its
values. ``read`` first bounds the bytes (``edge.runtime.checked``) and then checks the types,
strictly: "4" is no number, and neither is true. Every message has the same form, which is

    FILE: PLACE is VALUE, expected WHAT        such as
    fleet.toml: hosts.door.port is "22", expected a whole number

Use:

    @dataclass(frozen=True, slots=True, kw_only=True)
    class Wheel:
        name: schema.Text                      # a string that is not blank
        size_bytes: schema.PositiveInt
        hashes: tuple[str, ...] = ()

    @dataclass(frozen=True, slots=True, kw_only=True)
    class Lock:
        wheels: Mapping[str, Wheel]

    lock = schema.read(Lock, path, "the lock", version=1, hint="edge lock writes one.")
    text = json.dumps({"schema_version": 1, **schema.to_json(lock)}, indent=2)

- ``form="toml"`` reads TOML. ``parse`` takes a text that was read already, and
  ``from_json`` a value that was parsed already, such as an answer of a device.
- ``error`` is the class of the error, such as BundleError (exit code 3); UsageError by default.
- ``given`` holds fields that the file does not, such as an ID that is the file's name.
- Choices that stand in a table are ``Annotated[str, schema.one_of(TABLE)]``.
- A rule about one value is ``Annotated[int, schema.Expect("an even number", is_even)]``. A rule
  about several fields belongs in ``__post_init__`` of the dataclass, which raises ValueError, or
  ``Refused`` with a hint, with a sentence that names the field; the place is put before it.
- Where a value has another form in the file (a unit, a short form), it is
  ``Annotated[Budget, schema.As(BudgetFile, read, write)]``: ``read`` makes the value of the form,
  ``write`` makes the form of the value (none for a format that is only read).
- An object whose members are kept as they are, and of which some are known, is
  ``Annotated[Mapping[str, Any], schema.Known(Form)]``.
- Where only the names differ, the dataclass says
  ``__pydantic_config__: ClassVar[Any] = schema.names(load="load_ms")``.

This module imports pydantic when it is used, never before: ``edge --help`` does without it. What
runs on the device does not use it (``edge.runtime`` and ``edge.device`` have ``checked`` only).
"""

import datetime
import difflib
import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal, TypedDict, TypeVar, Unpack

from edge.errors import EdgeError, UsageError
from edge.runtime import checked
from edge.runtime.cameras.camera import shown_text

if TYPE_CHECKING:
    from pydantic import TypeAdapter
    from pydantic_core import ErrorDetails

T = TypeVar("T")
Place = tuple[str | int, ...]

LARGEST: Final = 1e300  # of a number, so that it stays finite in another unit
SHOWN: Final = 60  # characters of a value or of a name that a message shows
MOST_LISTED: Final = 8  # choices that a message lists; more are listed in the hint
VERSION: Final = "schema_version"


class Refused(ValueError):
    """A value that breaks a rule over several fields; its text is a sentence without the place.

    Args:
        message: What is wrong.
        hint: What the user can do about it; empty for the hint of the whole file.
    """

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint


@dataclass(frozen=True, slots=True)
class Expect:
    """A rule that one value has to keep, beyond its type.

    Attributes:
        words: What is allowed, for "expected ...", such as ``a number above 0``.
        holds: Whether a value keeps the rule.
        choices: All values that are allowed, where they can be listed.
    """

    words: str
    holds: Callable[[Any], bool]
    choices: tuple[str, ...] = ()

    def __get_pydantic_core_schema__(self, source: Any, handler: Any) -> Any:
        from pydantic_core import PydanticCustomError, core_schema

        def check(value: Any) -> Any:
            if not self.holds(value):
                context = {"words": self.words, "choices": self.choices}
                raise PydanticCustomError("expect", "{words}", context)
            return value

        return core_schema.no_info_after_validator_function(check, handler(source))


@dataclass(frozen=True, slots=True)
class As:
    """Another form that a value has in the file.

    Attributes:
        form: The type in the file.
        read: Makes the value out of the form; a ValueError becomes an error with its place.
        write: Makes the form out of the value; None for a format that is only read.
    """

    form: Any
    read: Callable[[Any], Any]
    write: Callable[[Any], Any] | None = None

    def __get_pydantic_core_schema__(self, source: Any, handler: Any) -> Any:
        from pydantic_core import core_schema

        inner = handler.generate_schema(self.form)
        written = self.write and core_schema.plain_serializer_function_ser_schema(
            self.write, return_schema=inner
        )
        return core_schema.no_info_after_validator_function(self.read, inner, serialization=written)


@dataclass(frozen=True, slots=True)
class Known:
    """A rule of an object whose members are kept as they are: those that are known fit a form.

    Attributes:
        form: A dataclass with the members that are known, each of which may be missing.
    """

    form: Any

    def __get_pydantic_core_schema__(self, source: Any, handler: Any) -> Any:
        from pydantic_core import core_schema

        def check(value: Any) -> Any:
            try:
                from_json(self.form, dict(value), "", extra="ignore")
            except UsageError as error:
                raise _Inside(error.message.removeprefix(": ")) from error
            return value

        return core_schema.no_info_after_validator_function(check, handler(source))


class _Inside(ValueError):
    """A fault of a member; its text begins with the place of that."""


Text = Annotated[str, Expect("a string that is not blank", lambda value: bool(value.strip()))]
PositiveInt = Annotated[int, Expect("a whole number above 0", lambda value: value > 0)]
PositiveFloat = Annotated[float, Expect("a number above 0", lambda value: value > 0)]
Count = Annotated[int, Expect("a whole number that is not negative", lambda value: value >= 0)]
Amount = Annotated[float, Expect("a number that is not negative", lambda value: value >= 0)]
Share = Annotated[float, Expect("a share from 0 to 1", lambda value: 0 <= value <= 1)]
NOT_EMPTY: Final = Expect("at least one entry", bool)


def one_of(choices: Iterable[str]) -> Expect:
    """The rule that a string is one of those; for choices that ``Literal`` cannot state."""
    known = tuple(choices)
    return Expect(_listed(known), known.__contains__, known)


def names(**stored: str) -> dict[str, Any]:
    """The configuration of a dataclass some of whose fields have other names in the file."""
    return {"alias_generator": lambda name: stored.get(name, name), "validate_by_alias": True}


class ReadOptions(TypedDict, total=False):
    """What else ``read``, ``parse`` and ``from_json`` can be told.

    Attributes:
        version: The ``schema_version`` that the document has to state; it states none if None.
        given: Fields of the type that do not stand in the document, by name.
        extra: Whether a field that the type does not have is refused ("forbid", as by default) or
            ignored.
        hint: What the user can do about any fault of the document.
        error: The class of the errors; UsageError by default.
    """

    version: int | None
    given: Mapping[str, Any]
    extra: Literal["forbid", "ignore"]
    hint: str
    error: type[EdgeError]


def read(
    kind: type[T],
    path: Path,
    what: str = "the file",
    *,
    form: Literal["json", "toml"] = "json",
    max_bytes: int = checked.MAX_BYTES,
    **options: Unpack[ReadOptions],
) -> T:
    """Read a JSON or TOML file, and check all of it.

    Args:
        kind: The dataclass, or another type, that describes the file.
        path: The file.
        what: A noun with its article for messages about the bytes, such as "the policy".
        form: Its language, whatever its name ends in.
        max_bytes: The size of the largest file that is read.
        options: See ``ReadOptions``.

    Raises:
        EdgeError: The file cannot be read, or a value is missing, unknown, or not allowed.
    """
    try:
        content = checked.read_bytes(path, what, max_bytes=max_bytes)
    except (OSError, checked.Malformed) as fault:
        raise _unreadable(path, fault, options) from fault
    return parse(kind, content, str(path), what, form=form, max_bytes=max_bytes, **options)


def parse(
    kind: type[T],
    content: bytes | str,
    where: str,
    what: str = "the text",
    *,
    form: Literal["json", "toml"] = "json",
    max_bytes: int = checked.MAX_BYTES,
    **options: Unpack[ReadOptions],
) -> T:
    """Read a JSON or TOML text, and check all of it.

    Args:
        kind: The dataclass, or another type, that describes the text.
        content: The text.
        where: What the text comes from, for messages, such as the path of the file.
        what: As for ``read``.
        form: As for ``read``.
        max_bytes: As for ``read``.
        options: See ``ReadOptions``.

    Raises:
        EdgeError: The text is malformed, or a value is missing, unknown, or not allowed.
    """
    parser = checked.parse_toml if form == "toml" else checked.parse_json
    try:
        value = parser(content, what, max_bytes=max_bytes, finite=False)
    except checked.Malformed as fault:
        raise _unreadable(where, fault, options) from fault
    return from_json(kind, value, where, **options)


def from_json(kind: type[T], value: Any, where: str, **options: Unpack[ReadOptions]) -> T:
    """Check a value that ``checked`` parsed.

    Args:
        kind: The dataclass, or another type, that describes the value.
        value: The parsed JSON or TOML.
        where: What the value comes from, for messages, such as the path of the file.
        options: See ``ReadOptions``.

    Raises:
        EdgeError: A value is missing, unknown, or not allowed.
    """
    from pydantic import ValidationError

    hint, error = options.get("hint", ""), options.get("error", UsageError)
    value, fault = _prepared(value, options)
    if fault is not None:
        raise error(f"{where}: {fault}", hint=hint)
    try:
        # JSON is what pydantic reads strictly and still makes dataclasses, tuples, enums and
        # paths of; of Python values, it makes these in its lax mode only.
        checked_value: T = _adapter(kind).validate_json(
            json.dumps(value), strict=True, extra=options.get("extra", "forbid")
        )
    except ValidationError as faults:
        message, own_hint = _described(kind, value, faults.errors(include_url=False), hint)
        raise error(f"{where}: {message}", hint=own_hint) from faults
    return checked_value


def to_json(value: Any) -> Any:
    """The JSON values of a dataclass, in the form in which ``read`` takes them."""
    return _adapter(type(value)).dump_python(value, mode="json", by_alias=True, warnings="error")


def _adapter(kind: Any) -> "TypeAdapter[Any]":
    """The checker of a type, which takes milliseconds to make and is kept."""
    from pydantic import TypeAdapter

    if kind not in _ADAPTERS:
        _ADAPTERS[kind] = TypeAdapter(kind)
    return _ADAPTERS[kind]


_ADAPTERS: "Final[dict[Any, TypeAdapter[Any]]]" = {}


def _unreadable(
    where: object, fault: OSError | checked.Malformed, options: ReadOptions
) -> EdgeError:
    reason = fault.strerror if isinstance(fault, OSError) and fault.strerror else fault
    error = options.get("error", UsageError)
    return error(f"{where} cannot be read: {reason}", hint=options.get("hint", ""))


def _prepared(value: Any, options: ReadOptions) -> tuple[Any, str | None]:
    """The document without its version and with what is given, and what is wrong about it."""
    fault = _unsound(value)
    if fault is not None or not isinstance(value, dict):
        return value, fault  # the type refuses what is no object
    version, given = options.get("version"), options.get("given", {})
    value = dict(value)
    if version is not None:
        if VERSION not in value:
            return value, f"{VERSION} is missing; this edge reads {version}"
        stated = value.pop(VERSION)
        if type(stated) is not int or stated != version:
            return value, f"{VERSION} is {_shown(stated)}; this edge reads {version}"
    twice = next((name for name in given if name in value), None)
    if twice is not None:
        return value, f"{shown_place((twice,))} is unknown"
    return {**value, **given}, None


def _unsound(value: Any, place: Place = ()) -> str | None:
    """What is wrong with the first number that is not finite, or the first date of TOML."""
    if isinstance(value, dict):
        items: Any = value.items()
    elif isinstance(value, list):
        items = enumerate(value)
    elif isinstance(value, float) and not -LARGEST <= value <= LARGEST:
        return f"{shown_place(place)} is {_shown(value)}, expected a finite number"
    elif isinstance(value, datetime.date | datetime.time):
        return f"{shown_place(place)} is {value}, expected no date or time"
    else:
        return None
    for name, item in items:
        if not isinstance(item, str | int | None):
            fault = _unsound(item, (*place, name))
            if fault:
                return fault
    return None


# Wording

_EXPECTED: Final = {
    "string_type": "a string",
    "int_type": "a whole number",
    "float_type": "a number",
    "bool_type": "true or false",
    "none_required": "null",
    "path_type": "a path",
    **dict.fromkeys(("tuple_type", "list_type", "frozen_set_type", "set_type"), "a list"),
    **dict.fromkeys(("dataclass_type", "dict_type", "mapping_type", "model_type"), "an object"),
}
_UNKNOWN: Final = ("unexpected_keyword_argument", "extra_forbidden")


def _described(
    kind: Any, document: Any, faults: "Sequence[ErrorDetails]", hint: str
) -> tuple[str, str]:
    """The first fault in words, and what the user can do about it."""
    first = faults[0]
    place = _place(document, first)
    if first["type"] == "missing":  # maybe since it is misspelled
        unknown = [fault for fault in faults if fault["type"] in _UNKNOWN]
        first = next((it for it in unknown if it["loc"][:-1] == first["loc"][:-1]), first)
        place = _place(document, first)
    shown = shown_place(place)
    if first["type"] == "missing":
        return f"{shown} is missing", hint
    if first["type"] in _UNKNOWN:
        return f"{shown} is unknown", _guess(place[-1], _known(kind, place), hint, listed=True)
    if first["type"] == "value_error":
        reason = first["ctx"]["error"]
        if isinstance(reason, _Inside):
            return f"{shown}.{reason}", hint
        own = reason.hint if isinstance(reason, Refused) else ""
        return f"{shown}: {reason}" if place else str(reason), own or hint
    # Each member of a union that the value might have been has a fault of its own.
    alike = [fault for fault in faults if _place(document, fault) == place]
    choices = [choice for fault in alike for choice in _choices(fault)]
    many = len(choices) > MOST_LISTED
    expected = " or ".join(dict.fromkeys(map(_expected, alike)))
    message = f"{shown} is {_shown(first['input'])}, "
    message += "which is unknown" if many else f"expected {expected}"
    return message, _guess(first["input"], choices, hint, listed=many)


def _expected(fault: "ErrorDetails") -> str:
    choices = _choices(fault)
    if choices:
        return _listed(choices)
    return _EXPECTED.get(fault["type"]) or fault["msg"].removeprefix("Input should be ")


def _choices(fault: "ErrorDetails") -> Sequence[str]:
    """The values that are allowed, where they can be listed."""
    context = fault.get("ctx", {})
    if fault["type"] in ("enum", "literal_error"):
        return re.findall(r"'([^']*)'", context["expected"])
    return tuple(context.get("choices", ()))


def _listed(choices: Sequence[str]) -> str:
    """``"a"``, or ``one of "a", "b"``."""
    listed = ", ".join(f'"{choice}"' for choice in choices)
    return listed if len(choices) == 1 else f"one of {listed}"


def _guess(given: object, known: Sequence[str], hint: str, *, listed: bool = False) -> str:
    """What was probably meant, the known names if they are to be listed, and the hint."""
    near = difflib.get_close_matches(given, known, 1) if isinstance(given, str) else None
    parts = [f'Did you mean "{near[0]}"?' if near else ""]
    parts += [f"Known: {', '.join(known)}." if listed and known else "", hint]
    return " ".join(part for part in parts if part)


def _place(document: Any, fault: "ErrorDetails") -> Place:
    """Where a fault is in the document; pydantic also names the members of a union."""
    found: list[str | int] = []
    here = document
    *_, last = fault["loc"] or (None,)
    for step in fault["loc"]:
        in_list = isinstance(here, list) and isinstance(step, int) and step < len(here)
        if in_list or (isinstance(here, dict) and step in here):
            here = here[step]
        elif step is not last or fault["type"] != "missing":
            continue
        found.append(step)
    return tuple(found)


def shown_place(place: Place) -> str:
    """A place in a document, such as ``rows[3].timing``."""
    text = ""
    for step in place:
        if isinstance(step, int):
            text += f"[{step}]"
        else:
            plain = step.replace("-", "_").isidentifier() and step.isascii()
            name = step if plain and len(step) <= SHOWN else _shown(step)
            text += f".{name}" if text else name
    return text or "the document"


def _shown(value: Any) -> str:
    text = shown_text(json.dumps(value, default=str))  # a URL may hold a password
    return text if len(text) <= SHOWN else f"{text[: SHOWN - 3]}..."


def _known(kind: Any, place: Place) -> list[str]:
    """The names that are known where an unknown one stands."""
    document = _adapter(kind).json_schema()
    here: list[Mapping[str, Any]] = [document]
    for step in place[:-1]:
        here = [inner for item in here for inner in _inside(document, item, step)]
    return [name for item in here for name in _resolved(document, item).get("properties", {})]


def _resolved(document: Mapping[str, Any], item: Mapping[str, Any]) -> Mapping[str, Any]:
    """A part of a JSON schema, or the one that it refers to."""
    while "$ref" in item:
        item = document["$defs"][str(item["$ref"]).rpartition("/")[2]]
    return item


def _inside(
    document: Mapping[str, Any], item: Mapping[str, Any], step: str | int
) -> list[Mapping[str, Any]]:
    """The parts of a JSON schema that describe what stands at a name or a position."""
    item = _resolved(document, item)
    inner = item.get("items") if isinstance(step, int) else None
    if isinstance(step, str):
        inner = item.get("properties", {}).get(step, item.get("additionalProperties"))
    if not isinstance(inner, dict):
        return []
    inner = _resolved(document, inner)
    members: list[Mapping[str, Any]] = inner.get("anyOf", [inner])
    return members
