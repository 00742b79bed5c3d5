"""Which labels a user's words mean: a group, a label, a word of one, or a part of a word."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import IntEnum

from edge.errors import UsageError
from edge.tagging.groups import Groups
from edge.tagging.tags import Tag, Tagged


class Match(IntEnum):
    """How a label answers a word, best first."""

    WHOLE = 0  # the label itself, or one of the group of that name
    WORD = 1  # a word of the label: sea in "sea lion"
    PART = 2  # a part of a word: sea in "seat belt"


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """A picture that answers a query.

    Attributes:
        picture: With all its tags.
        tag: The one that answers best, and
        match: how.
    """

    picture: Tagged
    tag: Tag
    match: Match


def find(pictures: Iterable[Tagged], query: str, groups: Groups) -> list[Found]:
    """Pictures whose tags answer every word of the query; better matches and tags first.

    A query of several words is taken as one where a group or a label has that name.

    Raises:
        UsageError: The query has no letter or digit.
    """
    everything = list(pictures)
    labels = {tag.label for picture in everything for tag in picture.tags}
    terms = [
        {label: how for label in labels if (how := match(label, term, groups)) is not None}
        for term in _terms(query, labels, groups)
    ]
    found = [item for picture in everything if (item := _answer(picture, terms)) is not None]
    return sorted(
        found, key=lambda item: (item.match, -item.tag.score, item.picture.path.as_posix())
    )


def match(label: str, term: str, groups: Groups) -> Match | None:
    """How a label answers a term in lower case, or None; the plural's s makes no difference."""
    best: Match | None = None
    for form in dict.fromkeys((term, term.removesuffix("s") if len(term) > 3 else term)):
        found = _match(label, form, groups)
        if found is not None and (best is None or found < best):
            best = found
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


def _answer(picture: Tagged, terms: Sequence[dict[str, Match]]) -> Found | None:
    chosen: list[tuple[Match, float, Tag]] = []
    for term in terms:
        hits = [(term[tag.label], -tag.score, tag) for tag in picture.tags if tag.label in term]
        if not hits:
            return None
        chosen.append(min(hits, key=lambda hit: hit[:2]))
    how, _, tag = max(chosen, key=lambda hit: hit[:2])  # no better than its worst word
    return Found(picture=picture, tag=tag, match=how)
