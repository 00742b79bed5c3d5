"""Hostile files of every kind: a sentence and an exit code, in bounded memory and time."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fuzz.harness import (
    BEGIN,
    END,
    HEAD,
    Ended,
    Kind,
    Server,
    Servers,
    Unconfined,
    tabled,
    taken,
    tried,
)
from tests.fuzz.kinds import KINDS
from tests.fuzz.mutation import mutated_picture

SEED = 0
ENOUGH = 10  # cases of a sample, if one of them was refused
SAMPLE = 25  # cases of a sample otherwise
ALL = 500
FRESH = 25  # every so many cases, Python is started anew


@pytest.fixture(scope="module")
def servers() -> Iterator[Servers]:
    """In a folder with a short path, since that of an ssh connection's socket must be short."""
    with (
        tempfile.TemporaryDirectory(prefix="edge-fuzz-") as folder,
        Servers(Path(folder)) as found,
    ):
        yield found


@pytest.mark.parametrize("name", KINDS)
def test_a_sample_is_refused_or_answered(name: str, servers: Servers) -> None:
    kind = KINDS[name]
    # The same code reads the eight formats of pictures.
    enough = ENOUGH // 2 if kind.mutate is mutated_picture else ENOUGH
    check(kind, servers.of(kind), SAMPLE, enough=enough)


@pytest.mark.long
@pytest.mark.parametrize("name", KINDS)
def test_every_case_is_refused_or_answered(name: str, servers: Servers) -> None:
    check(KINDS[name], servers.of(KINDS[name]), ALL, enough=ALL, fresh=FRESH)


def check(kind: Kind, server: Server, count: int, *, enough: int, fresh: int = 0) -> None:
    """Run cases, and fewer if one of the first was refused; name each fault with its command."""
    ended: list[Ended] = []
    try:
        assert 0 in taken(kind, server).values(), "no command takes a whole file"
        enough = max(enough, len(kind.planted()) + 1)
        for item in tried(kind, server, seed=SEED, numbers=range(count), fresh=fresh):
            ended.append(item)
            if len(ended) >= enough and any(item.code for item in ended):
                break
    except Unconfined as error:
        pytest.skip(f"{error}, which keeps hostile commands from deleting other files")
    faults = [
        f"{item.fault}: python -m tests.fuzz {kind.name!r} --seed {SEED} --case {item.number}"
        for item in ended
        if item.fault
    ]
    assert not faults, "\n".join(faults)
    # What runs on a device says no in its reply, and ends with 0.
    replies = kind.on_device or kind.name == "health question"
    assert replies or {item.code for item in ended} - {0}, "nothing was refused: nothing was tried"


def test_a_row_takes_the_place_of_the_earlier_one() -> None:
    text = f"before\n{BEGIN}\n{END}\nafter\n"
    for row in ("| a | 1 |", "| b | 2 |", "| a | 3 |"):
        text = tabled(text, row, "Made today.")
    assert text == "\n".join(
        ("before", BEGIN, "Made today.", "", *HEAD, "| a | 3 |", "| b | 2 |", END, "after", "")
    )
