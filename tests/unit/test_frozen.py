"""``frozen_dataclass`` makes what ``dataclass(frozen=True, slots=True)`` makes."""

import copy
import pickle
from collections.abc import Callable
from dataclasses import FrozenInstanceError, asdict, dataclass, field, fields, replace
from typing import Any

import pytest

from edge.runtime.frozen import frozen_dataclass


@frozen_dataclass(kw_only=True)
class Light:
    """Made by the function under test."""

    name: str
    size: float = 1.0
    names: list[str] = field(default_factory=list, hash=False)

    def __post_init__(self) -> None:
        """Refuse a size."""
        if self.size < 0:
            raise ValueError("size")


@dataclass(frozen=True, slots=True, kw_only=True)
class Usual:
    """Made by the standard library."""

    name: str
    size: float = 1.0
    names: list[str] = field(default_factory=list, hash=False)

    def __post_init__(self) -> None:
        """Refuse a size."""
        if self.size < 0:
            raise ValueError("size")


@frozen_dataclass()
class Placed:
    """Takes arguments by their place."""

    left: int
    top: int = 5


KINDS: Any = pytest.mark.parametrize("kind", [Light, Usual])


@KINDS
def test_fields_values_and_text(kind: Any) -> None:
    value = kind(name="a", size=2.0)
    assert [item.name for item in fields(value)] == ["name", "size", "names"]
    assert asdict(value) == {"name": "a", "size": 2.0, "names": []}
    assert repr(value) == f"{kind.__name__}(name='a', size=2.0, names=[])"
    assert kind(name="a").names is not kind(name="a").names
    assert kind.__match_args__ == ()
    assert kind.__init__.__qualname__ == f"{kind.__name__}.__init__"


@KINDS
def test_equality_and_hash(kind: Any) -> None:
    value = kind(name="a")
    assert value == kind(name="a")
    assert value != kind(name="a", names=["b"])
    assert value != Usual(name="a") or kind is Usual
    assert hash(value) == hash(kind(name="a", names=["b"]))  # the field has no part in it
    assert hash(value) != hash(kind(name="b"))


@KINDS
def test_nothing_can_be_changed(kind: Any) -> None:
    value = kind(name="a")
    with pytest.raises(FrozenInstanceError):
        value.name = "b"
    with pytest.raises(FrozenInstanceError):
        del value.name
    with pytest.raises((FrozenInstanceError, TypeError)):  # the usual one has a bug in 3.11
        value.other = 1
    assert not hasattr(value, "__dict__")
    assert replace(value, name="b") == kind(name="b")


@KINDS
@pytest.mark.parametrize(
    "copied",
    [copy.copy, copy.deepcopy, lambda it: pickle.loads(pickle.dumps(it))],  # noqa: S301
)
def test_copies(kind: Any, copied: Callable[[Any], Any]) -> None:
    value = kind(name="a", names=["b"])
    assert copied(value) == value


@KINDS
@pytest.mark.parametrize("given", [{}, {"name": "a", "other": 1}])
def test_arguments_that_do_not_fit(kind: Any, given: dict[str, Any]) -> None:
    with pytest.raises(TypeError):
        kind(**given)
    with pytest.raises(TypeError):
        kind("a")
    with pytest.raises(ValueError, match="size"):
        kind(name="a", size=-1)


def test_arguments_by_place() -> None:
    assert Placed(1) == Placed(1, 5) == Placed(left=1, top=5)
    assert Placed.__match_args__ == ("left", "top")  # type: ignore[attr-defined]
    for given, named in (((1, 2, 3), {}), ((1,), {"left": 1}), ((), {"top": 1})):
        with pytest.raises(TypeError):
            Placed(*given, **named)  # type: ignore[call-arg,arg-type,misc]
