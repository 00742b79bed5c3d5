"""Frozen dataclasses that are quick to define: every start of the runner defines some twenty."""

from collections.abc import Callable
from dataclasses import MISSING, FrozenInstanceError, dataclass, field, fields
from typing import Any, NoReturn, TypeVar, dataclass_transform

T = TypeVar("T")


@dataclass_transform(frozen_default=True, field_specifiers=(field,))
def frozen_dataclass(*, kw_only: bool = False) -> Callable[[type[T]], type[T]]:
    """Do as ``dataclass(frozen=True, slots=True, kw_only=...)``, in a sixth of the time.

    That compiles seven methods for each class, half a millisecond, with every start; here all
    classes share theirs. Making an object takes longer instead, some microseconds. It is for the
    modules that every prediction imports. ``fields``, ``replace`` and ``asdict`` take the objects.
    """

    def made(kind: type[T]) -> type[T]:
        light = dataclass(init=False, repr=False, eq=False, slots=True, kw_only=kw_only)(kind)
        for name, method in _methods(light, kw_only).items():
            method.__name__, method.__qualname__ = name, f"{light.__qualname__}.{name}"
            setattr(light, name, method)
        return light

    return made


def _methods(kind: Any, kw_only: bool) -> dict[str, Callable[..., Any]]:
    """Return the methods of a class whose fields are known."""
    items = fields(kind)
    names = tuple(item.name for item in items)
    shown = tuple(item.name for item in items if item.repr)
    compared = tuple(item.name for item in items if item.compare)
    hashed = tuple(
        item.name for item in items if (item.compare if item.hash is None else item.hash)
    )

    def values(self: Any, of: tuple[str, ...]) -> tuple[Any, ...]:
        return tuple([getattr(self, name) for name in of])

    def is_equal(self: Any, other: object) -> Any:
        if other.__class__ is not self.__class__:
            return NotImplemented
        return values(self, compared) == values(other, compared)

    def put_state(self: Any, state: tuple[Any, ...]) -> None:
        for name, value in zip(names, state, strict=True):
            object.__setattr__(self, name, value)

    def text(self: Any) -> str:
        parts = [f"{name}={getattr(self, name)!r}" for name in shown]
        return f"{self.__class__.__qualname__}({', '.join(parts)})"

    return {
        "__init__": _initializer(kind, names, kw_only),
        "__repr__": text,
        "__eq__": is_equal,
        "__hash__": lambda self: hash(values(self, hashed)),
        "__setattr__": _refuse,
        "__delattr__": _refuse,
        "__getstate__": lambda self: values(self, names),  # pickle would assign the fields
        "__setstate__": put_state,
    }


def _initializer(kind: Any, names: tuple[str, ...], kw_only: bool) -> Callable[..., None]:
    """Return ``__init__``; arguments that do not fit are a TypeError, as in any function."""
    items = fields(kind)
    defaults = {item.name: item.default for item in items if item.default is not MISSING}
    factories = {
        item.name: item.default_factory for item in items if item.default_factory is not MISSING
    }
    places = () if kw_only else names
    checks = hasattr(kind, "__post_init__")

    def __init__(self: Any, *given: Any, **named: Any) -> None:  # noqa: N807
        if len(given) > len(places):
            raise TypeError(f"{kind.__name__} takes {len(places)} arguments without a name")
        for name, value in zip(places, given, strict=False):
            if name in named:
                raise TypeError(f"{kind.__name__} was given {name} twice")
            named[name] = value
        for name in names:
            if name in named:
                value = named.pop(name)
            elif name in defaults:
                value = defaults[name]
            elif name in factories:
                value = factories[name]()
            else:
                raise TypeError(f"{kind.__name__} lacks the argument {name}")
            object.__setattr__(self, name, value)
        if named:
            raise TypeError(f"{kind.__name__} has no argument {next(iter(named))}")
        if checks:
            self.__post_init__()

    return __init__


def _refuse(self: Any, name: str, value: object = None) -> NoReturn:  # noqa: ARG001
    raise FrozenInstanceError(f"{name} of a {self.__class__.__name__} cannot be changed")
