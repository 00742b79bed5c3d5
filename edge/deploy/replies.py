"""What a reply has to hold, since a device may say anything; more than that may be there."""

from collections.abc import Mapping
from typing import Any, Final

from edge.errors import DeviceError

Shape = Any  # a type, types, [shape], or a mapping of names to shapes; "*" is every name

_NUMBER: Final = (int, float)
_TEXT: Final = (str, type(None))
_MOMENT: Final = "moment"  # Unix seconds
_YEARS: Final = 253402300799  # seconds until the year 10000, which no date goes beyond
_HEALTH: Final = {"seconds": _NUMBER, "answered": int, "failed": int}
_APP: Final = {
    "app": str,
    "release": _TEXT,
    "healthy": bool,
    "last_good": _TEXT,
    "on_trial": bool,
    "reason": _TEXT,
    "failed_release": _TEXT,
    "problem": _TEXT,
}
# Fields that not every reply has; where they are, they are this.
_OPTIONAL: Final = {
    "bundle": {"variant": str, "engine": str, "threads": int},
    "health": _HEALTH,
    "damage": str,
}
_REPLIES: Final[Mapping[str, Shape]] = {
    "provision": {"done": [str]},
    "state": {"apps": [_APP]},
    "has environment": {"environment": bool},
    "begin": {"missing": {"*": int}},
    "selftest": {
        "images": [{"worst": _NUMBER}],
        "unit": str,
        "latency_seconds": _NUMBER,
        "peak_memory_bytes": _NUMBER,
    },
    "rollback": {"release": str, "from": _TEXT, "health": {}},
    "logs": {
        "events": [{"at": _MOMENT, "event": str, "release": _TEXT, "reason": _TEXT}],
        "service": str,
    },
    "undeploy": {"environments": [str]},
}


def checked_reply(request: str, reply: dict[str, Any]) -> dict[str, Any]:
    """The same reply.

    Raises:
        DeviceError: It lacks a field, or one is of another type.
    """
    _check(_REPLIES.get(request, {}), reply, f"the reply to {request!r}")
    return reply


def _check(shape: Shape, value: Any, where: str) -> None:
    if isinstance(shape, list):
        if not isinstance(value, list):
            raise _wrong(where, value)
        for number, item in enumerate(value):
            _check(shape[0], item, f"{where}[{number}]")
    elif isinstance(shape, Mapping):
        if not isinstance(value, dict):
            raise _wrong(where, value)
        for name, below in shape.items():
            for key in value if name == "*" else (name,):
                if key not in value:
                    raise DeviceError(f"{where} lacks {key}", hint=_HINT)
                _check(below, value[key], f"{where}.{key[:60]}")
        for name, below in _OPTIONAL.items() if shape is _APP else ():
            if value.get(name) is not None:
                _check(below, value[name], f"{where}.{name}")
    elif shape is _MOMENT:
        if isinstance(value, bool) or not isinstance(value, _NUMBER) or not 0 <= value < _YEARS:
            raise _wrong(where, value)
    elif not isinstance(value, shape) or (isinstance(value, bool) and shape is not bool):
        raise _wrong(where, value)


_HINT: Final = "Is another version of edge there? Deploy again."


def _wrong(where: str, value: object) -> DeviceError:
    said = repr(value)[:200]
    return DeviceError(f"{where} says {said}, which is not what was asked", hint=_HINT)
