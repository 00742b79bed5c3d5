"""A small bundle in the place of the one that TensorFlow would write."""

import shutil
from pathlib import Path
from typing import Any

import pytest

from edge.cache import StageCache
from edge.live import session
from edge.live.blank import COMMAND
from edge.runtime.bundle import Bundle
from edge.runtime.files import write_json
from edge.runtime.output import HeadKind
from tests.unit.head_bundle import bundle_to_begin_with


@pytest.fixture(scope="package")
def blank(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle without classes, which names ``edge live`` as its origin."""
    folder = bundle_to_begin_with(tmp_path_factory.mktemp("blank") / "bundle", HeadKind.IMPRINTED)
    value = Bundle.open(folder).manifest.to_json()
    write_json(folder / "manifest.json", value | {"provenance": {"command": COMMAND}})
    return folder


@pytest.fixture
def cache(tmp_path: Path, blank: Path, monkeypatch: pytest.MonkeyPatch) -> StageCache:
    """A cache whose blank bundle is the small one."""
    stages, key = StageCache(tmp_path / "cache"), f"blank-{'0' * 40}"
    with stages.store(key) as entry:
        shutil.copytree(blank, entry, dirs_exist_ok=True)

    def small(cache: StageCache, _name: str, _progress: Any) -> Path:
        return cache.entry(key)

    monkeypatch.setattr(session, "blank_bundle", small)
    return stages
