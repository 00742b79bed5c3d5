"""Emulated machines for the tests of this folder; each test gets a fresh disk."""

import json
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import pytest

from tests.device import image as images
from tests.device.machine import Machine, booted, running
from tests.integration.conftest import Edge
from tests.integration.environments import environments_root
from tests.integration.site import Site

# The machine is some fifty times slower than a board; so are the limits.
LIMITS: Final = ("--max-latency", "5000", "--selftest-timeout", "300", "--watch", "5")
HEALTHY: Final = 240.0  # seconds after a cold start
COMMAND: Final = 900.0  # seconds of one command of edge; a deploy takes two to four minutes


@dataclass(frozen=True, slots=True)
class Emulated(Site):
    """A machine that can be switched off."""

    device: Machine

    def healthy(self) -> dict[str, Any]:
        """The state, when it has become healthy."""
        last = time.monotonic() + HEALTHY
        while not (state := self.state())["healthy"]:
            assert time.monotonic() < last, state
            time.sleep(2)
        return state


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


@pytest.fixture(scope="session")
def served(
    bookworm: images.Image, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Emulated, Path]]:
    """A first release was deployed from scratch; and the machine as it was then."""
    folder = tmp_path_factory.mktemp("host")
    for name in ("work", "temporary"):
        (folder / name).mkdir()
    work, temporary = folder / "work", folder / "temporary"
    edge = Edge(environments_root() / "wheels", work, temporary, timeout=COMMAND)
    with running(bookworm) as machine:
        site = Emulated(edge, folder, machine, LIMITS)
        done = site.deploy(site.bundle(), "--json")
        assert done.returncode == 0, done.stderr
        state = site.state()
        assert state["healthy"] and state["last_good"] == state["release"]
        assert state["bundle"]["device"] == "generic-aarch64"
        machine.ssh("sync")
        kept = folder / "kept"
        kept.mkdir()
        machine.keep(kept / "memory")
        shutil.copyfile(machine.disk, kept / "disk.qcow2")
    yield replace(site, good=json.loads(done.stdout)["release"]), kept


@pytest.fixture
def site(served: tuple[Emulated, Path], bookworm: images.Image) -> Iterator[Emulated]:
    """A fresh copy of the machine on which the first release serves."""
    first, kept = served
    with running(bookworm, kept) as machine:
        yield replace(first, device=machine)
