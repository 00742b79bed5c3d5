from pathlib import Path

import pytest

from edge.cache import StageCache, content_key, default_cache
from edge.errors import OutputError


def names(cache: StageCache) -> list[str]:
    return sorted(path.name for path in (cache.root / "stages").iterdir())


def test_a_stage_is_found_when_it_is_whole(tmp_path: Path) -> None:
    cache = StageCache(tmp_path / "cache")
    assert cache.find("model-1") is None
    assert not cache.root.exists()  # a look writes nothing
    with cache.store("model-1") as folder:
        (folder / "file").write_text("x")
        assert cache.find("model-1") is None
    found = cache.find("model-1")
    assert found == cache.entry("model-1")
    assert (cache.entry("model-1") / "file").read_text() == "x"
    assert StageCache(cache.root).find("model-1") == found
    assert names(cache) == ["model-1"]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_a_stage_that_failed_is_not_there(tmp_path: Path, error: type[BaseException]) -> None:
    cache = StageCache(tmp_path)
    with pytest.raises(error):
        with cache.store("key") as folder:
            (folder / "file").write_text("half")
            raise error
    assert cache.find("key") is None
    assert names(cache) == []


def test_the_run_that_finished_first_wins(tmp_path: Path) -> None:
    cache = StageCache(tmp_path)
    with cache.store("key") as late:
        (late / "file").write_text("late")
        with cache.store("key") as early:
            (early / "file").write_text("early")
    assert (cache.entry("key") / "file").read_text() == "early"
    assert names(cache) == ["key"]


def test_a_cache_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("a file")
    with pytest.raises(OutputError, match="cannot be written") as caught:
        with StageCache(tmp_path / "cache").store("key"):
            pass
    assert "EDGE_CACHE" in caught.value.hint


def test_keys_depend_on_every_part_and_on_no_order() -> None:
    key = content_key("kind", {"a": 1, "b": [1, 2]})
    assert key == content_key("kind", {"b": [1, 2], "a": 1})
    others = [
        content_key("other", {"a": 1, "b": [1, 2]}),
        content_key("kind", {"a": "1", "b": [1, 2]}),
        content_key("kind", {"a": 1, "b": [2, 1]}),
        content_key("kind", {"a": 1}),
        content_key("kind", {"a": 1, "b": [1, 2], "c": None}),
    ]
    assert len({key, *others}) == 6


def test_clear_leaves_what_is_not_its_own(tmp_path: Path) -> None:
    cache = StageCache(tmp_path)
    with cache.store("key") as folder:
        (folder / "file").write_bytes(b"12345")
    for name in ("features.sqlite", "features.sqlite-wal", "thesis.txt"):
        (tmp_path / name).write_bytes(b"123")
    assert cache.size_bytes() == 14
    cache.clear()
    assert [path.name for path in tmp_path.rglob("*")] == ["thesis.txt"]
    cache.clear()
    assert StageCache(tmp_path / "never").size_bytes() == 0


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({"EDGE_CACHE": "/here", "XDG_CACHE_HOME": "/there"}, "/here"),
        ({"XDG_CACHE_HOME": "/there"}, "/there/edge"),
        ({"XDG_CACHE_HOME": ""}, "/home/me/.cache/edge"),
        ({}, "/home/me/.cache/edge"),
    ],
)
def test_the_default_place(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], expected: str
) -> None:
    for name in ("EDGE_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    for name, value in (variables | {"HOME": "/home/me"}).items():
        monkeypatch.setenv(name, value)
    assert default_cache() == Path(expected)
