"""Groups of labels under a user's own words: sea = seashore, sandbar, breakwater."""

from collections.abc import Iterable, Mapping
from importlib.resources import files
from pathlib import Path
from typing import Final, Self

from edge.errors import UsageError
from edge.runtime import checked

BUILT_IN: Final = "groups.txt"  # of ImageNet labels, beside this module


class Groups:
    """Named groups; a member is a label, or another group.

    Args:
        members: By name, each in the order of the file.
    """

    def __init__(self, members: Mapping[str, tuple[str, ...]]) -> None:
        self._members = dict(members)

    @classmethod
    def load(cls, path: Path | None = None) -> Self:
        """The built-in groups, and a user's, which replace those of the same name.

        Raises:
            UsageError: The file cannot be read, or a line is no group.
        """
        members = parse((files(__package__) / BUILT_IN).read_text(encoding="utf-8"), BUILT_IN)
        if path is None:
            return cls(members)
        try:
            text = checked.read_text(path)
        except (OSError, checked.Malformed) as error:
            raise UsageError(f"the groups {path} cannot be read: {error}") from error
        own = parse(text, str(path))
        rest = {name: labels for name, labels in members.items() if name not in own}
        return cls(own | rest)

    @property
    def names(self) -> tuple[str, ...]:
        """Every group, a user's first."""
        return tuple(self._members)

    def labels(self, name: str) -> frozenset[str]:
        """Every label in the group of that name and in the groups in it; empty if unknown."""
        found: set[str] = set()
        entered: set[str] = set()
        waiting = [name]
        while waiting:
            group = waiting.pop()
            entered.add(group)
            for member in self._members.get(group, ()):
                # "church" is a label and a group that has it as a member.
                found.add(member)
                if member in self._members and member not in entered:
                    waiting.append(member)
        return frozenset(found)

    def parent(self, label: str) -> str | None:
        """The first group that has the label itself as a member."""
        for name, members in self._members.items():
            if label in members and label != name:
                return name
        return None

    def unknown(self, labels: Iterable[str]) -> tuple[str, ...]:
        """Members that are neither a group nor among the labels."""
        known = {*labels, *self._members}
        every = (member for members in self._members.values() for member in members)
        return tuple(dict.fromkeys(member for member in every if member not in known))


def parse(text: str, source: str) -> dict[str, tuple[str, ...]]:
    """Groups by name out of lines ``name = member, member``; an indented line goes on.

    Raises:
        UsageError: A line is no group, or a group is there twice.
    """
    lines: list[tuple[int, str]] = []
    for number, line in enumerate(text.splitlines(), start=1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        if line[0].isspace() and lines:
            lines[-1] = (lines[-1][0], f"{lines[-1][1].rstrip()} {line.strip()}")
        else:
            lines.append((number, line.strip()))
    groups: dict[str, tuple[str, ...]] = {}
    for number, line in lines:
        name, equals, rest = line.partition("=")
        name = " ".join(name.split()).casefold()
        members = tuple(" ".join(part.split()) for part in rest.split(",") if part.strip())
        if not equals or not name or not members or name in groups:
            what = "is there twice" if name in groups else "is no group"
            raise UsageError(
                f"{source}, line {number}: {line[:60]!r} {what}",
                hint="A line reads: sea = seashore, sandbar, breakwater",
            )
        groups[name] = members
    return groups
