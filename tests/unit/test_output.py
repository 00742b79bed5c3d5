"""The place of a bundle holds exactly the old one or the new one, whatever happens."""

import errno
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from edge.errors import OutputError
from edge.pipeline import output as module
from edge.pipeline.output import check_output, staged


def bundle(path: Path, text: str) -> Path:
    """A folder that passes for a bundle; the text tells it from others."""
    (path / "models").mkdir(parents=True)
    (path / "manifest.json").write_text(text, encoding="utf-8")
    (path / "models" / "model").write_text(text, encoding="utf-8")
    return path


def held(path: Path) -> str:
    """The text of the whole bundle there."""
    texts = {file.read_text(encoding="utf-8") for file in path.rglob("*") if file.is_file()}
    assert len(texts) == 1, f"two bundles mixed: {texts}"
    assert (path / "models" / "model").is_file()
    return texts.pop()


def names(folder: Path) -> set[str]:
    return {entry.name for entry in folder.iterdir()}


@pytest.fixture
def dead() -> int:
    """The number of a process that has ended."""
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


@pytest.fixture
def alive() -> Iterator[int]:
    """The number of another process that runs."""
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        yield process.pid
        process.kill()


@pytest.fixture(params=["exchange", "two renames"])
def swap(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Both ways to put a bundle in the place of another."""
    if request.param == "two renames":
        monkeypatch.setattr(module, "_exchange", lambda first, second: False)
    return str(request.param)


def write(path: Path, text: str) -> None:
    with staged(path) as folder:
        (folder / "models").mkdir()
        (folder / "models" / "model").write_text(text, encoding="utf-8")
        (folder / "manifest.json").write_text(text, encoding="utf-8")


# ---- staged ------------------------------------------------------------------------------------


def test_a_first_bundle(tmp_path: Path, swap: str) -> None:
    write(tmp_path / "out", "new")
    assert held(tmp_path / "out") == "new"
    assert names(tmp_path) == {"out"}


def test_a_bundle_in_an_empty_folder(tmp_path: Path, swap: str) -> None:
    (tmp_path / "out").mkdir()
    write(tmp_path / "out", "new")
    assert held(tmp_path / "out") == "new"
    assert names(tmp_path) == {"out"}


def test_a_bundle_in_the_place_of_another(tmp_path: Path, swap: str) -> None:
    bundle(tmp_path / "out", "old")
    write(tmp_path / "out", "new")
    assert held(tmp_path / "out") == "new"
    assert names(tmp_path) == {"out"}


def test_a_relative_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, swap: str) -> None:
    monkeypatch.chdir(tmp_path)
    bundle(Path("out"), "old")
    write(Path("out"), "new")
    assert held(tmp_path / "out") == "new"
    assert names(tmp_path) == {"out"}


@pytest.mark.parametrize("error", [KeyboardInterrupt(), ValueError("a bug")])
def test_the_old_bundle_stays_when_writing_fails(
    tmp_path: Path, swap: str, error: BaseException
) -> None:
    bundle(tmp_path / "out", "old")
    with pytest.raises(type(error)):
        with staged(tmp_path / "out") as folder:
            (folder / "manifest.json").write_text("new", encoding="utf-8")
            raise error
    assert held(tmp_path / "out") == "old"
    assert names(tmp_path) == {"out"}


@pytest.mark.parametrize(
    ("number", "said"), [(errno.ENOSPC, "no space"), (errno.EROFS, "Read-only")]
)
def test_a_full_disk_is_an_output_error(tmp_path: Path, number: int, said: str) -> None:
    bundle(tmp_path / "out", "old")
    with pytest.raises(OutputError) as caught:
        with staged(tmp_path / "out") as folder:
            (folder / "manifest.json").write_text("new", encoding="utf-8")
            raise OSError(number, os.strerror(number))
    assert said in caught.value.message
    assert str(tmp_path / "out") in caught.value.message
    assert caught.value.hint
    assert held(tmp_path / "out") == "old"
    assert names(tmp_path) == {"out"}


@pytest.mark.parametrize("failing", [1, 2])
def test_the_old_bundle_stays_when_a_rename_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failing: int
) -> None:
    """Without exchange, either of the two renames may fail: the old bundle keeps its place."""
    bundle(tmp_path / "out", "old")
    monkeypatch.setattr(module, "_exchange", lambda first, second: False)
    rename, calls = Path.rename, []

    def fails_once(self: Path, target: Path) -> Path:
        calls.append(self)
        if len(calls) == failing:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", fails_once)
    with pytest.raises(OutputError):
        write(tmp_path / "out", "new")
    assert held(tmp_path / "out") == "old"
    assert names(tmp_path) == {"out"}


def test_an_exchange_that_the_file_system_refuses(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """renameat2 that answers -1 is as good as none."""

    class Library:
        def __init__(self, *arguments: object, **options: object) -> None: ...

        @staticmethod
        def renameat2(*arguments: object) -> int:
            return -1

    monkeypatch.setattr(module.ctypes, "CDLL", Library)
    bundle(tmp_path / "out", "old")
    write(tmp_path / "out", "new")
    assert held(tmp_path / "out") == "new"
    assert names(tmp_path) == {"out"}


@pytest.mark.skipif(sys.platform != "linux", reason="renameat2 is Linux's")
def test_the_exchange_is_one_step(tmp_path: Path) -> None:
    first, second = bundle(tmp_path / "first", "1"), bundle(tmp_path / "second", "2")
    if not module._exchange(first, second):
        pytest.skip("this file system has no exchange")
    assert (held(first), held(second)) == ("2", "1")


# A process that swaps bundles until it is killed; it says when it has begun.
SWAPPER = """
import sys
from pathlib import Path
from edge.pipeline import output
if sys.argv[2] == "two renames":
    output._exchange = lambda first, second: False
for number in range(1_000_000):
    with output.staged(Path(sys.argv[1])) as folder:
        (folder / "models").mkdir()
        for name in ("manifest.json", "models/model"):
            (folder / name).write_text(f"new {number}")
    print(number, flush=True)
"""


@pytest.mark.parametrize("delay", [0.0, 0.003, 0.007, 0.011])
def test_a_killed_swap(tmp_path: Path, swap: str, delay: float) -> None:
    """Old or new after kill -9 wherever it hits, once the next run has looked."""
    bundle(tmp_path / "out", "old")
    with subprocess.Popen(
        [sys.executable, "-c", SWAPPER, str(tmp_path / "out"), swap], stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        time.sleep(delay)
        process.kill()
    if swap == "exchange":
        assert held(tmp_path / "out").startswith("new")
    check_output(tmp_path / "out", overwrite=True)
    assert held(tmp_path / "out").startswith("new")
    assert names(tmp_path) == {"out"}


# ---- check_output ------------------------------------------------------------------------------


def test_a_kill_between_the_two_renames(tmp_path: Path, dead: int) -> None:
    bundle(tmp_path / f".out.{dead}-0123abcd.old", "old")
    bundle(tmp_path / f".out.{dead}-4567cdef.tmp", "new")
    with pytest.raises(OutputError, match="holds a bundle already"):
        check_output(tmp_path / "out", overwrite=False)
    assert held(tmp_path / "out") == "old"
    assert names(tmp_path) == {"out"}


def test_a_kill_after_the_two_renames(tmp_path: Path, dead: int) -> None:
    bundle(tmp_path / f".out.{dead}-0123abcd.old", "old")
    bundle(tmp_path / "out", "new")
    check_output(tmp_path / "out", overwrite=True)
    assert held(tmp_path / "out") == "new"
    assert names(tmp_path) == {"out"}


def test_a_kill_while_a_first_bundle_was_written(tmp_path: Path, dead: int) -> None:
    (tmp_path / f".out.{dead}-4567cdef.tmp" / "models").mkdir(parents=True)
    check_output(tmp_path / "out", overwrite=False)
    assert names(tmp_path) == set()


def test_what_a_running_process_writes_is_left_alone(tmp_path: Path, alive: int) -> None:
    left = {f".out.{alive}-0123abcd.old", f".out.{alive}-4567cdef.tmp"}
    for name in left:
        bundle(tmp_path / name, name)
    check_output(tmp_path / "out", overwrite=False)
    assert names(tmp_path) == left


@pytest.mark.parametrize(
    "name",
    [
        ".out.x.tmp",
        ".out.tmp",
        ".out.backup.old",
        ".out.{dead}.tmp",
        ".out.{dead}-photos.old",
        ".out.{dead}-notes.tmp",
        ".out.{dead}-0123abcd.zip",
        ".out.\u00b2-0123abcd.tmp",
        ".out.99999999999999999999-0123abcd.tmp",
        ".other.{dead}-0123abcd.tmp",
        ".out.more.{dead}-0123abcd.tmp",
    ],
)
@pytest.mark.parametrize("kind", ["folder", "file"])
def test_what_is_not_ours_is_left_alone(tmp_path: Path, dead: int, name: str, kind: str) -> None:
    """Only names as ``staged`` makes them: process number, eight hexadecimal digits, suffix."""
    foreign = tmp_path / name.format(dead=dead)
    if kind == "folder":
        foreign.mkdir()
        (foreign / "letter.txt").write_text("mine", encoding="utf-8")
    else:
        foreign.write_text("mine", encoding="utf-8")
    check_output(tmp_path / "out", overwrite=False)
    assert names(tmp_path) == {foreign.name}


def test_a_file_that_is_named_like_an_old_bundle(tmp_path: Path, dead: int) -> None:
    foreign = tmp_path / f".out.{dead}-0123abcd.old"
    foreign.write_text("mine", encoding="utf-8")
    check_output(tmp_path / "out", overwrite=False)
    assert names(tmp_path) == {foreign.name}


@pytest.mark.parametrize("overwrite", [False, True])
def test_places_that_are_refused(tmp_path: Path, overwrite: bool) -> None:
    (tmp_path / "file").write_text("mine", encoding="utf-8")
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "letter.txt").write_text("mine", encoding="utf-8")
    (tmp_path / "link").symlink_to(tmp_path / "missing")
    for name in ("file", "folder", "link", "missing/out"):
        with pytest.raises(OutputError) as caught:
            check_output(tmp_path / name, overwrite=overwrite)
        assert caught.value.hint
    assert names(tmp_path) == {"file", "folder", "link"}


def test_a_bundle_is_replaced_only_on_demand(tmp_path: Path) -> None:
    bundle(tmp_path / "out", "old")
    with pytest.raises(OutputError) as caught:
        check_output(tmp_path / "out", overwrite=False)
    assert "--overwrite" in caught.value.hint
    check_output(tmp_path / "out", overwrite=True)
    assert held(tmp_path / "out") == "old"
