"""Hostile files of every kind: a sentence and an exit code, in bounded memory and time."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fuzz.harness import (
    BEGIN,
    END,
    HEAD,
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
SAMPLE = 25
SAMPLE_OF_PICTURES = 10  # of each of eight formats, which the same code reads
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
    count = SAMPLE_OF_PICTURES if kind.mutate is mutated_picture else SAMPLE
    check(kind, servers.of(kind), count, fresh=0)


@pytest.mark.long
@pytest.mark.parametrize("name", KINDS)
def test_every_case_is_refused_or_answered(name: str, servers: Servers) -> None:
    check(KINDS[name], servers.of(KINDS[name]), ALL, fresh=FRESH)


def check(kind: Kind, server: Server, count: int, fresh: int) -> None:
    """Run cases; what fails is named with the command that runs it again."""
    try:
        assert 0 in taken(kind, server).values(), "no command takes a whole file"
        ended = list(tried(kind, server, seed=SEED, numbers=range(count), fresh=fresh))
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
