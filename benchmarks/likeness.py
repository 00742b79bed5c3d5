"""Whether two records are of one machine and one model, so that their times can be compared."""

from collections.abc import Mapping
from typing import Any, Final

from benchmarks.outputs import describe
from benchmarks.result import Row
from edge.errors import UsageError

# What decides whether two machines are the same for a time. Versions of kernel, engines and
# Python may be what is being compared: they are told, not refused.
HOST: Final = (
    "machine",
    "board",
    "cpu.model",
    "cpu.logical",
    "cpu.physical",
    "cpu.affinity",
    "cpu.quota",
    "cpu.governors",
    "cpu.maximum_frequency_hz",
    "virtual_machine",
)
TOLD: Final = ("system", "python", "libc", "versions")


def check_hosts(old: Mapping[str, Any], new: Mapping[str, Any]) -> None:
    """Refuse records of unlike machines.

    Raises:
        UsageError: A field of ``HOST`` differs.
    """
    unlike = [
        f"{name}: {_field(old, name)!r} and {_field(new, name)!r}"
        for name in HOST
        if _field(old, name) != _field(new, name)
    ]
    if unlike:
        raise UsageError(
            f"the files are of unlike hosts ({'; '.join(unlike)})",
            hint="Measure both on one machine in the same state.",
        )


def check_row(name: str, old: Row, new: Row, *, other_models: bool) -> None:
    """Refuse rows of unlike models, unless that is asked for, or of unlike processors.

    Raises:
        UsageError: They are.
    """
    if old.subject.sha256 != new.subject.sha256 and not other_models:
        digests = f"{old.subject.sha256[:12]} and {new.subject.sha256[:12]}"
        raise UsageError(
            f"{name}: the files hold unlike models (sha256 {digests})",
            hint="Add --allow-other-models to compare two builds of a model.",
        )
    before, after = describe.input_shape(old), describe.input_shape(new)
    if before and after and before != after:
        raise UsageError(
            f"{name}: the files hold unlike input shapes, {before} and {after}",
            hint="Measure both with the same --input-shape.",
        )
    for part in ("device", "label"):
        before, after = getattr(old, part), getattr(new, part)
        if before and after and before != after:
            raise UsageError(
                f"{name}: measured on unlike processors ({part}: {before} and {after})",
                hint="Measure both on one machine in the same state.",
            )


def notes(old: Mapping[str, Any], new: Mapping[str, Any]) -> tuple[str, ...]:
    """What differs besides and may explain a change, one sentence each."""
    told = [
        f"{side}: {busy}"
        for side, record in (("old", old), ("new", new))
        if (busy := describe.busy(record))
    ]
    for name in TOLD:
        before, after = old.get(name), new.get(name)
        if isinstance(before, Mapping) and isinstance(after, Mapping):
            told += [
                f"{key}: {before.get(key)} and {after.get(key)}"
                for key in sorted(before.keys() | after.keys())
                if before.get(key) != after.get(key)
            ]
        elif before != after:
            told.append(f"{name}: {before} and {after}")
    return tuple(told)


def _field(record: Mapping[str, Any], name: str) -> Any:
    """A value by a dotted name; None where it is missing."""
    found: Any = record
    for part in name.split("."):
        found = found.get(part) if isinstance(found, Mapping) else None
    return found
