"""Dataclasses that travel between processes arrive as they were, or not at all."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any

import pytest

from benchmarks.accelerators.base import Coverage, Device, Estimate, Label
from benchmarks.request import LoadedModel, Request, TimedModel, WorkerTask
from benchmarks.timing import Times
from edge.runtime.contract import Preprocessing
from edge.runtime.spec import QuantizationParams, TensorSpec
from edge.runtime.typed import Mistyped, encoded, typed


class Colour(StrEnum):
    RED = "red"


@dataclass(frozen=True, slots=True, kw_only=True)
class Everything:
    """One field of each kind."""

    count: int = 1
    share: float = 0.5
    flag: bool = True
    text: str = "a"
    path: Path | None = Path("/a/b")
    colour: Colour = Colour.RED
    pair: tuple[int, str] = (1, "b")
    many: tuple[float, ...] = (0.5, 2.0)
    named: Mapping[str, tuple[int, ...]] = field(default_factory=lambda: {"a": (1, 2)})
    either: float | str = "word"
    whatever: Any = field(default_factory=lambda: {"a": [None]})


SPEC = TensorSpec(
    name="x",
    shape=(1, 2),
    dtype="int8",
    quantization=QuantizationParams(scales=(0.5,), zero_points=(3,)),
)
MODEL = LoadedModel(
    engine="e 1",
    device=Device(name="d", label=Label.HARDWARE),
    coverage=Coverage(operators=2, accelerated=1, partitions=1, left={"A": 1}, reasons=("why",)),
    inputs=(SPEC,),
    outputs=(),
)


@pytest.mark.parametrize(
    "value",
    [
        Everything(),
        Everything(path=None, either=2.5, many=()),
        Request(
            task=WorkerTask.TIME,
            opener="a:b",
            probe="a:c",
            model=Path("/m"),
            preprocessing=Preprocessing(height=8, width=4),
        ),
        TimedModel(model=MODEL, load=1.0, times=Times(first=2.0, warm_up=(), steady=(0.1, 0.2))),
        Estimate(engine="e", device="d", seconds=None, coverage=MODEL.coverage, facts={"a": 1.5}),  # type: ignore[arg-type]
    ],
    ids=lambda value: type(value).__name__,
)
def test_a_message_arrives_as_it_was(value: Any) -> None:
    sent = json.loads(json.dumps(encoded(value)))
    assert typed(type(value), sent, "the reply", exact=True) == value


@pytest.mark.parametrize(
    ("field_", "value"),
    [
        ("count", 1.5),
        ("count", True),
        ("count", "1"),
        ("share", None),
        ("flag", 1),
        ("text", ["a"]),
        ("path", 3),
        ("colour", "blue"),
        ("pair", [1]),
        ("pair", ["b", 1]),
        ("many", {"a": 1}),
        ("named", {"a": [1, "2"]}),
        ("either", []),
        ("unknown", 1),
    ],
)
def test_a_field_of_another_type_is_refused_by_its_name(field_: str, value: Any) -> None:
    message = encoded(Everything()) | {field_: value}
    with pytest.raises(Mistyped) as caught:
        typed(Everything, json.loads(json.dumps(message)), "the reply", exact=True)
    assert str(caught.value).startswith("the reply")


@pytest.mark.parametrize("value", [None, [], "x", {}, {"engine": "e"}])
def test_what_is_no_message_is_refused(value: Any) -> None:
    with pytest.raises(Mistyped):
        typed(LoadedModel, value, "the reply")
