import errno
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from edge.cache import SEAL, StageCache, content_key, default_cache, sealed_bytes, sealed_sha256
from edge.cli.options import cache_root
from edge.errors import OutputError
from edge.runtime.files import sha256_file
from tests.kills import EVERY, at_every_step


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
    cache = StageCache(tmp_path / "cache")
    key = content_key("kind", {})
    with cache.store("key") as folder:
        (folder / "file").write_bytes(b"12345")
    cache.entry(key).mkdir()  # of an edge that knew no hashes
    elsewhere = tmp_path / "elsewhere"
    mine = [
        "cache/thesis.txt",
        "cache/features.sqlite.copy",
        "cache/stages/photos/a.png",
        "cache/stages/.b.999999999-0123abcd.tmp/new/a.png",
        "cache/tags/tags-of-mine.sqlite",
        f"elsewhere/{key}/a.png",
    ]
    for name in mine:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"mine")
    cache.entry(content_key("link", {})).symlink_to(elsewhere)
    for name in (
        "features.sqlite",
        "features.sqlite-wal",
        f"tags/{content_key('tags', {})}.sqlite",
    ):
        (cache.root / name).write_bytes(b"123")
    assert cache.size_bytes() > 14
    cache.clear()
    left = {path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*") if path.is_file()}
    assert left == set(mine)
    assert {path.name for path in (cache.root / "stages").iterdir()} == {
        "photos",
        ".b.999999999-0123abcd.tmp",
    }
    cache.clear()
    assert StageCache(tmp_path / "never").size_bytes() == 0


def test_clear_waits_for_no_run(tmp_path: Path) -> None:
    cache = StageCache(tmp_path)
    with cache.store("key") as folder:
        (folder / "file").write_bytes(b"12345")
    program = (
        "import sys\n"
        "from pathlib import Path\n"
        "from edge.cache import StageCache\n"
        "assert StageCache(Path(sys.argv[1])).find('key')\n"
        "print('found', flush=True)\n"
        "sys.stdin.read()\n"
    )
    command = [sys.executable, "-c", program, str(tmp_path)]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"found\n"
        with pytest.raises(OutputError, match="another run"):
            cache.clear()
        assert cache.find("key") is not None
        process.kill()
    cache.clear()
    assert cache.find("key") is None


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


def link(path: Path) -> None:
    elsewhere = path.parents[3] / "elsewhere"
    path.rename(elsewhere)
    path.symlink_to(elsewhere)


def fifo(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def folder_instead(path: Path) -> None:
    path.unlink()
    path.mkdir()


def beside_it(path: Path) -> None:
    path.with_name("more").write_bytes(b"more")


DAMAGES = [flip, truncate, Path.unlink, link, fifo, folder_instead, beside_it]


@pytest.mark.parametrize("file", ["a.npy", "below/b.json", SEAL])
@pytest.mark.parametrize("damage", DAMAGES)
def test_an_entry_that_was_changed_is_dropped_and_said(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    file: str,
    damage: Callable[[Path], None],
) -> None:
    cache = StageCache(tmp_path / "cache")
    for again in (False, True):
        with cache.store("key") as folder:
            (folder / "below").mkdir()
            (folder / "a.npy").write_bytes(bytes(1000))
            (folder / "below" / "b.json").write_text("[1, 2]")
        assert cache.find("key") is not None
        assert not capsys.readouterr().err
        if not again:
            damage(cache.entry("key") / file)
            assert cache.find("key") is None
            assert "key in the cache is not used" in capsys.readouterr().err
            assert names(cache) == []


@pytest.mark.parametrize("kind", ["old", "moved", "file", "link", "empty"])
def test_what_is_no_entry_of_that_key_is_dropped(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], kind: str
) -> None:
    cache = StageCache(tmp_path / "cache")
    with cache.store("other") as folder:
        (folder / "a").write_bytes(b"a")
    entry = cache.entry("key")
    if kind == "old":
        entry.mkdir()
        (entry / "a").write_bytes(b"a")
    elif kind == "moved":
        cache.entry("other").rename(entry)
    elif kind == "file":
        entry.write_bytes(b"a")
    elif kind == "link":
        entry.symlink_to(cache.entry("other"))
    else:
        entry.mkdir()
    assert cache.find("key") is None
    assert "not used" in capsys.readouterr().err
    with cache.store("key") as folder:
        (folder / "a").write_bytes(b"b")
    assert (cache.entry("key") / "a").read_bytes() == b"b"
    if kind != "moved":
        assert cache.find("other") is not None


def test_a_change_after_the_first_look_is_found(tmp_path: Path) -> None:
    cache = StageCache(tmp_path)
    with cache.store("key") as folder:
        (folder / "a").write_bytes(bytes(100))
    path = cache.entry("key") / "a"
    assert sealed_sha256(path) == sha256_file(path)
    before = path.stat()
    assert cache.find("key") is not None
    flip(path)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert cache.find("key") is None


def test_what_is_read_is_what_was_checked(tmp_path: Path) -> None:
    cache = StageCache(tmp_path)
    with cache.store("key") as folder:
        (folder / "a").write_bytes(bytes(100))
    found = cache.find("key")
    assert found is not None
    assert sealed_bytes(found / "a") == bytes(100)
    flip(found / "a")
    with pytest.raises(OutputError, match="changed while it was used"):
        sealed_bytes(found / "a")


def test_a_full_disk_is_said(tmp_path: Path) -> None:
    cache = StageCache(tmp_path)
    with pytest.raises(OutputError, match="cannot be written: No space left"):
        with cache.store("key"):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    assert names(cache) == []


def test_a_killed_run_leaves_what_the_next_one_removes(tmp_path: Path) -> None:
    program = (
        "import os, sys\n"
        "from pathlib import Path\n"
        "from edge.cache import StageCache\n"
        "with StageCache(Path(sys.argv[1])).store('key') as folder:\n"
        "    (folder / 'half').write_bytes(b'half')\n"
        "    os.kill(os.getpid(), 9)\n"
    )
    done = subprocess.run([sys.executable, "-c", program, str(tmp_path)], check=False)
    assert done.returncode == -9
    cache = StageCache(tmp_path)
    assert len(names(cache)) == 1
    assert cache.find("key") is None
    with cache.scratch("other"):
        assert len(names(cache)) == 1
    assert names(cache) == []


@pytest.mark.parametrize("every", EVERY)
def test_a_kill_at_every_step_of_a_write(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], every: int
) -> None:
    root = tmp_path / "cache"

    def write() -> None:
        cache = StageCache(root)
        if cache.find("key") is None:
            with cache.store("key") as folder:
                (folder / "below").mkdir()
                (folder / "below" / "a").write_bytes(b"a" * 1000)
                (folder / "b").write_bytes(b"b")

    for _ in at_every_step(write, every):
        write()
        StageCache(root)._sweep()  # what every process begins with
        entry = StageCache(root).find("key")
        assert entry is not None
        assert (entry / "below" / "a").read_bytes() == b"a" * 1000
        assert names(StageCache(root)) == ["key"]
        shutil.rmtree(root)
    assert not capsys.readouterr().err


@pytest.mark.parametrize("every", EVERY)
def test_a_kill_at_every_step_of_a_drop(tmp_path: Path, every: int) -> None:
    root = tmp_path / "cache"

    def write() -> None:
        cache = StageCache(root)
        if cache.find("key") is None:
            with cache.store("key") as folder:
                (folder / "a").write_bytes(b"a" * 1000)

    def damage() -> None:
        write()
        flip(root / "stages" / "key" / "a")

    damage()
    for _ in at_every_step(write, every):
        write()
        with StageCache(root).scratch("other"):
            pass
        assert (StageCache(root).entry("key") / "a").read_bytes() == b"a" * 1000
        assert names(StageCache(root)) == ["key"]
        damage()


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


def test_a_place_where_nothing_can_be_stored_is_told_before_the_work(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for place in (tmp_path / "file", tmp_path / "file" / "below", Path("/proc/cache")):
        with pytest.raises(OutputError, match="the cache ") as caught:
            StageCache(place).find("key")
        assert "EDGE_CACHE" in caught.value.hint
        with pytest.raises(OutputError, match="the cache "):
            cache_root(place)
    assert cache_root(tmp_path / "new" / "cache") == tmp_path / "new" / "cache"
    assert StageCache(tmp_path / "new" / "cache").find("key") is None
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_a_cache_that_holds_all_need_not_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with StageCache(tmp_path).store("key") as folder:
        (folder / "file").touch()

    def refuse(*_: object, **__: object) -> None:
        raise OutputError("read-only")

    monkeypatch.setattr("edge.cache.check_folder", refuse)
    cache = StageCache(cache_root(tmp_path))
    assert cache.find("key")
    with pytest.raises(OutputError, match="read-only"):
        cache.find("other")
