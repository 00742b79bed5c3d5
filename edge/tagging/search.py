"""Which pictures the words of a user mean, with groups of labels: sea = seashore, sandbar."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum
from importlib.resources import files
from pathlib import Path
from typing import Final, Self

from edge.errors import UsageError, cause_of
from edge.runtime import checked
from edge.tagging.tags import Tag, Tagged

BUILT_IN: Final = "groups.txt"  # groups of ImageNet labels, in a file beside this module


class Groups:
    """Named groups; a member is a label, or another group.

    Args:
        members: The members of each group, in the order of the file, by its name.
    """

    def __init__(self, members: Mapping[str, tuple[str, ...]]) -> None:
        self._members = dict(members)

    @classmethod
    def load(cls, path: Path | None = None) -> Self:
        """Load the built-in groups and those of a user, which replace groups of the same name.

        Raises:
            UsageError: The file cannot be read, or a line is not a group.
        """
        members = parse((files(__package__) / BUILT_IN).read_text(encoding="utf-8"), BUILT_IN)
        if path is None:
            return cls(members)
        try:
            text = checked.read_text(path)
        except (OSError, checked.Malformed) as error:
            raise UsageError(f"the groups {path} cannot be read: {cause_of(error)}") from error
        own = parse(text, str(path))
        rest = {name: labels for name, labels in members.items() if name not in own}
        return cls(own | rest)

    @property
    def names(self) -> tuple[str, ...]:
        """The names of all groups, first those of the user."""
        return tuple(self._members)

    def labels(self, name: str) -> frozenset[str]:
        """Return every label in a group and in the groups in it; none if there is no such group."""
        labels: set[str] = set()
        entered: set[str] = set()
        waiting = [name]
        while waiting:
            group = waiting.pop()
            entered.add(group)
            for member in self._members.get(group, ()):
                # "church" is a label and a group that has it as a member.
                labels.add(member)
                if member in self._members and member not in entered:
                    waiting.append(member)
        return frozenset(labels)

    def parent(self, label: str) -> str | None:
        """Return the first group that has the label itself as a member."""
        for name, members in self._members.items():
            if label in members and label != name:
                return name
        return None

    def unknown(self, labels: Iterable[str]) -> tuple[str, ...]:
        """Return the members that are neither a group nor among the labels."""
        known = {*labels, *self._members}
        every = (member for members in self._members.values() for member in members)
        return tuple(dict.fromkeys(member for member in every if member not in known))


def parse(text: str, source: str) -> dict[str, tuple[str, ...]]:
    """Parse lines ``name = member, member`` into groups by name; an indented line goes on.

    Raises:
        UsageError: A line is not a group, or a group is there twice.
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
            what = "is there twice" if name in groups else "is not a group"
            raise UsageError(
                f"{source}, line {number}: {line[:60]!r} {what}",
                hint="A line reads: sea = seashore, sandbar, breakwater",
            )
        groups[name] = members
    return groups


class Match(IntEnum):
    """How a label answers a word, best first."""

    WHOLE = 0  # the label itself, or one of the group of that name
    WORD = 1  # a word of the label: sea in "sea lion"
    PART = 2  # a part of a word: sea in "seat belt"


@dataclass(frozen=True, slots=True, kw_only=True)
class Hit:
    """A picture that answers a query.

    Attributes:
        picture: The picture with all its tags.
        tag: The tag that answers best.
        match: How that tag answers.
    """

    picture: Tagged
    tag: Tag
    match: Match


def find(pictures: Iterable[Tagged], query: str, groups: Groups) -> list[Hit]:
    """Find the pictures whose tags answer every word of a query; better matches and tags first.

    A query of several words is taken as one if a group or a label has that name.

    Raises:
        UsageError: The query has no letter or digit.
    """
    everything = list(pictures)
    labels = {tag.label for picture in everything for tag in picture.tags}
    terms = [
        {label: how for label in labels if (how := match(label, term, groups)) is not None}
        for term in _terms(query, labels, groups)
    ]
    hits = [item for picture in everything if (item := _answer(picture, terms)) is not None]
    return sorted(
        hits, key=lambda item: (item.match, -item.tag.score, item.picture.path.as_posix())
    )


def match(label: str, term: str, groups: Groups) -> Match | None:
    """Return how a label answers a term in lower case, or None; a final s does not count."""
    best: Match | None = None
    for form in dict.fromkeys((term, term.removesuffix("s") if len(term) > 3 else term)):
        answer = _match(label, form, groups)
        if answer is not None and (best is None or answer < best):
            best = answer
    return best


def _match(label: str, term: str, groups: Groups) -> Match | None:
    lower = label.casefold()
    if lower == term or label in groups.labels(term):
        return Match.WHOLE
    if re.search(rf"(?<!\w){re.escape(term)}(?!\w)", lower):
        return Match.WORD
    return Match.PART if term in lower else None


def _terms(query: str, labels: Iterable[str], groups: Groups) -> Sequence[str]:
    whole = " ".join(query.casefold().split())
    if not any(character.isalnum() for character in whole):
        raise UsageError(f"--find {query!r} has no word to look for", hint="Say --find sea")
    names = {*groups.names, *(label.casefold() for label in labels)}
    if whole in names or whole.removesuffix("s") in names:
        return [whole]
    return whole.split(" ")


def _answer(picture: Tagged, terms: Sequence[dict[str, Match]]) -> Hit | None:
    chosen: list[tuple[Match, float, Tag]] = []
    for term in terms:
        hits = [(term[tag.label], -tag.score, tag) for tag in picture.tags if tag.label in term]
        if not hits:
            return None
        chosen.append(min(hits, key=lambda hit: hit[:2]))
    how, _, tag = max(
        chosen, key=lambda hit: hit[:2]
    )  # a picture answers no better than its worst word
    return Hit(picture=picture, tag=tag, match=how)
