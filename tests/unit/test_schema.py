"""The one reader of the host's files: what it takes, what it refuses, and in which words."""

import json
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import pytest

from edge import schema
from edge.errors import BundleError, EdgeError, UsageError


class Color(StrEnum):
    RED = "red"
    BLUE = "blue"


@dataclass(frozen=True, slots=True, kw_only=True)
class Size:
    width: schema.PositiveInt
    height: schema.PositiveInt = 1

    def __post_init__(self) -> None:
        if self.height > self.width:
            raise ValueError("height is above width")


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    __pydantic_config__: ClassVar[Any] = schema.names(seconds="load_ms")
    seconds: Annotated[float, schema.As(float, lambda ms: ms / 1e3, lambda seconds: seconds * 1e3)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Document:
    name: schema.Text
    color: Color = Color.RED
    sizes: tuple[Size, ...] = ()
    pair: tuple[int, int] = (1, 2)
    by_name: Mapping[str, Size] = field(default_factory=dict)
    file: Path | None = None
    share: schema.Amount | None = None
    fact: float | str = 0.0
    load: Load | None = None
    kind: Literal["one", "two"] = "one"
    metric: Annotated[str, schema.one_of(["top1", "top5"])] = "top1"
    free: Any = None


FULL: dict[str, Any] = {
    "name": "x",
    "color": "blue",
    "sizes": [{"width": 3, "height": 2}],
    "pair": [3, 4],
    "by_name": {"a": {"width": 5, "height": 1}},
    "file": "/x/y",
    "share": 0.5,
    "fact": "some",
    "load": {"load_ms": 1500.0},
    "kind": "two",
    "metric": "top5",
    "free": {"any": [1, None, "x"]},
}


def test_what_is_read_is_typed_and_is_written_as_it_was() -> None:
    found = schema.from_json(Document, FULL, "f")
    assert found.color is Color.BLUE and found.file == Path("/x/y") and found.pair == (3, 4)
    assert found.sizes == (Size(width=3, height=2),) and found.by_name["a"].width == 5
    assert found.load is not None and found.load.seconds == 1.5
    assert schema.to_json(found) == FULL


def test_a_whole_number_is_a_number_and_fields_with_a_default_may_be_missing() -> None:
    found = schema.from_json(Document, {"name": "x", "share": 1}, "f")
    assert found.share == 1.0 and type(found.share) is float
    assert found.sizes == () and found.file is None


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"name": " "}, 'f: name is " ", expected a string that is not blank'),
        ({"name": 5}, "f: name is 5, expected a string"),
        ({"name": None}, "f: name is null, expected a string"),
        ({"color": "rad"}, 'f: color is "rad", expected one of "red", "blue"'),
        ({"kind": 5}, 'f: kind is 5, expected one of "one", "two"'),
        ({"metric": "top3"}, 'f: metric is "top3", expected one of "top1", "top5"'),
        ({"sizes": {}}, "f: sizes is {}, expected a list"),
        ({"sizes": [[]]}, "f: sizes[0] is [], expected an object"),
        ({"sizes": [{"width": 1}, {"width": True}]}, "f: sizes[1].width is true, expected a whole"),
        ({"sizes": [{"width": 1.0}]}, "f: sizes[0].width is 1.0, expected a whole number"),
        ({"sizes": [{"width": -1}]}, "f: sizes[0].width is -1, expected a whole number above 0"),
        ({"sizes": [{}]}, "f: sizes[0].width is missing"),
        ({"sizes": [{"width": 1, "height": 2}]}, "f: sizes[0]: height is above width"),
        ({"sizes": [{"widht": 1}]}, "f: sizes[0].widht is unknown"),
        ({"by_name": {"a b": {"width": "1"}}}, 'f: by_name."a b".width is "1", expected a whole'),
        ({"by_name": {"\x1b": 5}}, 'f: by_name."\\u001b" is 5, expected an object'),
        ({"pair": [1]}, "f: pair[1] is missing"),
        ({"share": "0.5"}, 'f: share is "0.5", expected a number'),
        ({"share": -1}, "f: share is -1, expected a number that is not negative"),
        ({"share": float("nan")}, "f: share is NaN, expected a finite number"),
        ({"free": [{"deep": float("inf")}]}, "f: free[0].deep is Infinity, expected a finite"),
        ({"fact": []}, "f: fact is [], expected a number or a string"),
        ({"load": {"load_ms": "1"}}, 'f: load.load_ms is "1", expected a number'),
        ({"load": {"seconds": 1.5}}, "f: load.seconds is unknown"),
        ({"other": 1}, "f: other is unknown"),
        ({"name": "x" * 500, "color": "x" * 500}, 'f: color is "' + "x" * 56 + "..., expected"),
    ],
)
def test_a_fault_is_said_with_its_place(change: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError) as caught:
        schema.from_json(Document, FULL | change, "f")
    assert caught.value.message.startswith(said)


@pytest.mark.parametrize("value", [None, [], "x", 5, True, [FULL]])
def test_a_document_of_another_kind_is_refused(value: Any) -> None:
    with pytest.raises(UsageError, match=r"the document is .*, expected an object"):
        schema.from_json(Document, value, "f", version=1)


def test_a_misspelled_name_comes_with_the_known_ones() -> None:
    with pytest.raises(UsageError) as caught:
        schema.from_json(Document, {"by_name": {"a": {"widht": 5}}, "name": "x"}, "f", hint="Look.")
    assert caught.value.message == "f: by_name.a.widht is unknown"
    assert caught.value.hint == 'Did you mean "width"? Known: width, height. Look.'
    with pytest.raises(UsageError) as caught:
        schema.from_json(Document, {"name": "x", "metric": "tpo1"}, "f")
    assert caught.value.hint == 'Did you mean "top1"?'


def test_fields_that_are_not_known_may_be_ignored_at_every_depth() -> None:
    value = {"name": "x", "later": 1, "sizes": [{"width": 1, "later": [2]}]}
    assert schema.from_json(Document, value, "f", extra="ignore").sizes[0].width == 1


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ({}, "schema_version is missing; this edge reads 2"),
        ({"schema_version": 1}, "schema_version is 1; this edge reads 2"),
        ({"schema_version": 2.0}, "schema_version is 2.0; this edge reads 2"),
    ],
)
def test_another_version_is_refused_before_its_fields(value: Any, said: str) -> None:
    with pytest.raises(EdgeError) as caught:
        schema.from_json(Document, value | {"odd": 1}, "f", version=2, error=BundleError)
    assert isinstance(caught.value, BundleError) and said in caught.value.message


def test_a_field_that_the_file_does_not_hold_is_given(tmp_path: Path) -> None:
    path = tmp_path / "x.toml"
    path.write_text('schema_version = 1\ncolor = "blue"\n')
    found = schema.read(Document, path, form="toml", version=1, given={"name": "x"})
    assert (found.name, found.color) == ("x", Color.BLUE)
    with pytest.raises(UsageError, match="color is unknown"):
        schema.read(Document, path, form="toml", version=1, given={"color": "red"})


@pytest.mark.parametrize("text", ["", "{", "[" * 10_000, '{"name": "x", "name": "y"}', "\xff"])
def test_what_is_no_json_is_refused_in_words(tmp_path: Path, text: str) -> None:
    path = tmp_path / "x.json"
    path.write_text(text, encoding="latin-1")
    with pytest.raises(UsageError) as caught:
        schema.read(Document, path, "the document", hint="Write one.")
    assert caught.value.message.startswith(f"{path} cannot be read: the document ")
    assert caught.value.hint == "Write one."


def test_a_file_is_bounded_and_has_to_be_there(tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    with pytest.raises(UsageError, match="No such file"):
        schema.read(Document, path)
    path.write_text(json.dumps(FULL))
    assert schema.to_json(schema.read(Document, path)) == FULL
    with pytest.raises(UsageError, match="at most 10 are read"):
        schema.read(Document, path, max_bytes=10)


def test_pydantic_is_not_loaded_before_it_is_used() -> None:
    program = "import sys, edge.schema, devices.profile; print('pydantic' in sys.modules)"
    result = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60
    )
    assert result.stdout.strip() == "False", result.stderr


@dataclass(frozen=True, slots=True, kw_only=True)
class Range:
    low: int
    high: int

    def __post_init__(self) -> None:
        if self.high < self.low:
            raise schema.Refused("high is below low", "Swap them.")


def test_a_rule_over_several_fields_has_a_hint_of_its_own() -> None:
    with pytest.raises(UsageError) as caught:
        schema.from_json(dict[str, Range], {"a": {"low": 2, "high": 1}}, "f", hint="Look.")
    assert (caught.value.message, caught.value.hint) == ("f: a: high is below low", "Swap them.")


def test_of_many_choices_the_hint_lists_all() -> None:
    names = [f"name-{number}" for number in range(20)]
    kind = dict[str, Annotated[str, schema.one_of(names)]]
    with pytest.raises(UsageError) as caught:
        schema.from_json(kind, {"a": "name-1x"}, "f")
    assert caught.value.message == 'f: a is "name-1x", which is unknown'
    assert all(name in caught.value.hint for name in names)


def test_a_text_that_was_read_already(tmp_path: Path) -> None:
    assert schema.parse(Range, b"low = 1\nhigh = 2", "f", form="toml") == Range(low=1, high=2)
    with pytest.raises(BundleError, match="f cannot be read: the answer is no JSON"):
        schema.parse(Range, b"low = 1", "f", "the answer", error=BundleError)
