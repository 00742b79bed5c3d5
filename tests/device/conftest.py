"""Emulated machines for the tests of this folder; each test gets a fresh disk."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.device import image as images
from tests.device.machine import Machine, booted, running


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Everything here needs an emulated machine."""
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.device)


def _image(suite: str) -> images.Image:
    if images.missing():
        pytest.skip(images.missing())
    made = images.image(suite)
    booted(made)
    return made


@pytest.fixture(scope="session")
def bookworm() -> images.Image:
    """Debian 12 with Python 3.11, like Raspberry Pi OS Bookworm."""
    return _image("bookworm")


@pytest.fixture(scope="session")
def trixie() -> images.Image:
    """Debian 13 with Python 3.13 and pages of 16 KiB, like Raspberry Pi OS Trixie on a Pi 5."""
    return _image("trixie")


@pytest.fixture
def machine(bookworm: images.Image) -> Iterator[Machine]:
    """A bookworm machine that has just booted."""
    with running(bookworm) as made:
        yield made


@pytest.fixture
def trixie_machine(trixie: images.Image) -> Iterator[Machine]:
    """A trixie machine that has just booted."""
    with running(trixie) as made:
        yield made
