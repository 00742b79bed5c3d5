"""A bundle, a folder, and services that are stopped when a test ends."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.unit.golden_bundle import golden_bundle
from tests.unit.watch.service import Service


@pytest.fixture(scope="session")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return golden_bundle(tmp_path_factory.mktemp("watch") / "bundle")


@pytest.fixture
def inbox(tmp_path: Path) -> Path:
    folder = tmp_path / "inbox"
    folder.mkdir()
    return folder


@pytest.fixture
def start(bundle: Path, inbox: Path) -> Iterator[Callable[..., Service]]:
    started: list[Service] = []

    def begin(*arguments: str, **environ: str) -> Service:
        started.append(Service(bundle, inbox, *arguments, **environ))
        return started[-1]

    yield begin
    for service in started:
        if service.process.poll() is None:
            service.process.kill()
        service.process.communicate()


@pytest.fixture
def address(tmp_path: Path) -> Path:
    return tmp_path / "health"
