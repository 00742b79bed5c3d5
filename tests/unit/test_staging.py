"""The swap of a finished bundle takes only what was seen before the work began."""

import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from edge import staging
from edge.errors import OutputError
from edge.pipeline import output as places
from edge.pipeline.output import check_output, staged
from edge.runtime import files
from edge.runtime.files import rename_new, write_bytes
from edge.runtime.place import check_folder, check_new_file
from edge.staging import left_behind, workplace
from tests.kills import at_every_step

BUNDLE = {"manifest.json": b"{}", "models/a": b"old"}


def fill(folder: Path, contents: dict[str, bytes]) -> Path:
    for name, content in contents.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    return folder


def held(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


@pytest.fixture(params=["renameat2", "without"])
def renames(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Linux's renames, and a file system that knows none of them."""

    def unknown(source: Path, target: Path, flags: int) -> None:
        raise OSError(22, "Invalid argument")

    if request.param == "without":
        monkeypatch.setattr(files, "_renameat2", unknown)
    return str(request.param)


def nothing(target: Path) -> None:
    """No place."""


def empty(target: Path) -> None:
    target.mkdir()


def bundle(target: Path) -> None:
    fill(target, BUNDLE)


BEFORE = [nothing, empty, bundle]


@pytest.mark.parametrize("before", BEFORE)
def test_the_new_folder_takes_the_place(
    tmp_path: Path, renames: str, before: Callable[[Path], None]
) -> None:
    target = tmp_path / "b"
    before(target)
    check_output(target, overwrite=True)
    with staged(target) as folder:
        fill(folder, {"manifest.json": b"[]"})
    assert held(tmp_path) == {"b/manifest.json": b"[]"}
    assert names(tmp_path) == {"b"}


def a_file_inside(target: Path) -> None:
    fill(target, {"thesis/notes.txt": b"mine"})


def a_changed_file(target: Path) -> None:
    fill(target, {"models/a": b"oLd"})


def another_folder(target: Path) -> None:
    if target.exists():
        target.rename(target.with_name("elsewhere"))
    fill(target, BUNDLE)


@pytest.mark.parametrize("before", BEFORE)
@pytest.mark.parametrize("change", [a_file_inside, a_changed_file, another_folder])
@pytest.mark.parametrize("late", [False, True])
def test_what_was_not_seen_stays_and_the_result_too(
    tmp_path: Path,
    renames: str,
    monkeypatch: pytest.MonkeyPatch,
    before: Callable[[Path], None],
    change: Callable[[Path], None],
    late: bool,
) -> None:
    target = tmp_path / "b"
    before(target)
    check_output(target, overwrite=True)
    expected: dict[str, bytes] = {}

    def strike() -> None:
        time.sleep(0.01)  # a time of change that differs
        change(target)
        expected.update(held(tmp_path / "b"))

    if late:  # in the moment between the last look and the rename
        looked = places._SeenFolder.of

        def look(folder: Path) -> object:
            found = looked(folder)
            if folder == target and not expected:
                strike()
            return found

        monkeypatch.setattr(places._SeenFolder, "of", look)
    with pytest.raises(OutputError, match="kept as"):
        with staged(target) as folder:
            fill(folder, {"manifest.json": b"[]"})
            if not late:
                strike()
    assert held(target) == expected
    kept = [path for path in tmp_path.iterdir() if ".kept-" in path.name]
    assert [held(path) for path in kept] == [{"manifest.json": b"[]"}]
    assert {path.name for path in tmp_path.iterdir()} <= {"b", "b.kept-1", "elsewhere"}


def test_a_file_that_comes_between_is_kept(tmp_path: Path, renames: str) -> None:
    target = tmp_path / "b"
    check_output(target, overwrite=False)
    with pytest.raises(OutputError, match=r"b\.kept-1"):
        with staged(target) as folder:
            fill(folder, {"manifest.json": b"[]"})
            target.write_bytes(b"mine")
    assert held(tmp_path) == {"b": b"mine", "b.kept-1/manifest.json": b"[]"}


def test_a_failed_block_leaves_all_as_it_was(tmp_path: Path) -> None:
    target = fill(tmp_path / "b", BUNDLE)
    check_output(target, overwrite=True)
    with pytest.raises(KeyboardInterrupt):
        with staged(target) as folder:
            fill(folder, {"manifest.json": b"[]"})
            raise KeyboardInterrupt
    assert held(tmp_path) == {f"b/{name}": content for name, content in BUNDLE.items()}
    assert names(tmp_path) == {"b"}


KILLED = """
import os, signal, sys
from pathlib import Path
from edge.pipeline import output
from edge import staging
target = Path(sys.argv[1])
output.check_output(target, overwrite=True)
def die(*_): os.kill(os.getpid(), signal.SIGKILL)
if sys.argv[2] == "inside":
    pass
elif sys.argv[2] == "before":
    output._swap_in = die
elif sys.argv[2] == "exchanged":
    output._remove_seen = die
elif sys.argv[2] == "struck":
    def struck(path, target):
        (path.new / "mine.txt").write_text("mine")
        die()
    output._exchange_back = struck
    real = output._SeenFolder.holds
    output._SeenFolder.holds = lambda self, other: False
elif sys.argv[2] == "between":
    output.exchange = lambda *_: False
    output.rename_new = die
with output.staged(target) as folder:
    (folder / "manifest.json").write_text("[]")
    if sys.argv[2] == "inside": die()
"""


@pytest.mark.parametrize("moment", ["inside", "before", "exchanged", "struck", "between"])
def test_a_kill_is_put_right_by_the_next_run(tmp_path: Path, moment: str) -> None:
    target = fill(tmp_path / "b", BUNDLE)
    process = subprocess.run([sys.executable, "-c", KILLED, str(target), moment], check=False)
    assert process.returncode == -9
    check_output(target, overwrite=True)
    done = moment in ("exchanged", "struck")
    assert held(target) == ({"manifest.json": b"[]"} if done else BUNDLE)
    kept = {"b", "b.kept-1"} if moment == "struck" else {"b"}
    assert names(tmp_path) == kept
    if moment == "struck":
        assert held(tmp_path / "b.kept-1") == BUNDLE | {"mine.txt": b"mine"}


@pytest.mark.parametrize("before", BEFORE)
def test_a_kill_at_every_step_of_a_swap(
    tmp_path: Path, renames: str, before: Callable[[Path], None]
) -> None:
    target = tmp_path / "b"
    new = {"manifest.json": b"[]", "models/c": b"new"}

    def work() -> None:
        check_output(target, overwrite=True)
        with staged(target) as folder:
            fill(folder, new)

    def start_again() -> dict[str, bytes]:
        if target.exists():
            shutil.rmtree(target)
        before(target)
        return held(target)

    old = start_again()
    for _ in at_every_step(work):
        if renames == "renameat2":
            assert held(target) in (old, new)
        check_output(target, overwrite=True)  # what the next run begins with
        assert held(target) in (old, new)
        assert names(tmp_path) <= {"b"}
        work()
        assert held(target) == new
        assert names(tmp_path) == {"b"}
        old = start_again()


def test_a_strangers_folder_of_such_a_name_stays(tmp_path: Path) -> None:
    for name in (".b.999999999-0123abcd.tmp", ".b.999999999-0123abcd.old"):
        fill(tmp_path / name, {"new/thesis.txt": b"mine"})
    running = fill(tmp_path / ".b.999999999-01234567.tmp", {"new/x": b"x", staging.MARK: b"no"})
    check_output(tmp_path / "b", overwrite=False)
    with left_behind(tmp_path) as found:
        assert found == []
    assert len(held(tmp_path)) == 4
    assert running.is_dir()


def test_a_workplace_is_known_by_its_lock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "_runs", lambda pid: False)  # its number came again, say
    with workplace(tmp_path / "b") as place:
        with left_behind(tmp_path) as found:
            assert found == []
        assert place.new.is_dir()
    assert not names(tmp_path)


@pytest.mark.parametrize("overwrite", [False, True])
@pytest.mark.parametrize("late", [False, True])
def test_a_single_file_takes_only_what_was_seen(
    tmp_path: Path, renames: str, monkeypatch: pytest.MonkeyPatch, overwrite: bool, late: bool
) -> None:
    path = tmp_path / "table.csv"
    if overwrite:
        path.write_bytes(b"old")
    check_new_file(path, overwrite=overwrite)

    def strike() -> None:
        path.unlink(missing_ok=True)
        path.write_bytes(b"mine")

    if late and renames == "renameat2":
        looked = files.Stamp.of
        struck: list[bool] = []

        def look(place: Path) -> files.Stamp | None:
            found = looked(place)
            if place == path and not struck:
                struck.append(True)
                strike()
            return found

        monkeypatch.setattr(files.Stamp, "of", look)
    else:
        strike()
    with pytest.raises(OutputError, match=r"table\.kept-1\.csv"):
        write_bytes(path, b"new")
    assert held(tmp_path) == {"table.csv": b"mine", "table.kept-1.csv": b"new"}


def test_a_file_is_written_again_by_its_own_process(tmp_path: Path, renames: str) -> None:
    path = tmp_path / "journal.json"
    check_new_file(path, overwrite=False)
    for content in (b"1", b"2", b"3"):
        write_bytes(path, content)
    assert held(tmp_path) == {"journal.json": b"3"}
    path.unlink()
    path.write_bytes(b"mine")
    files.remove_own(path)
    assert held(tmp_path) == {"journal.json": b"mine"}


def test_a_file_in_a_folder_of_files_is_not_lost(tmp_path: Path, renames: str) -> None:
    check_folder(tmp_path / "pages", overwrite=False)
    fill(tmp_path / "pages", {"index.html": b"mine"})
    with pytest.raises(OutputError, match="kept as"):
        write_bytes(tmp_path / "pages" / "index.html", b"new")
    write_bytes(tmp_path / "pages" / "other.html", b"new")
    assert held(tmp_path / "pages") == {
        "index.html": b"mine",
        "index.kept-1.html": b"new",
        "other.html": b"new",
    }


def test_nothing_is_renamed_over_another(tmp_path: Path, renames: str) -> None:
    for source in (fill(tmp_path / "folder", {"x": b"x"}), fill(tmp_path, {"file": b"f"}) / "file"):
        for taken in (fill(tmp_path / "full", {"y": b"y"}), fill(tmp_path, {"g": b"g"}) / "g"):
            with pytest.raises(FileExistsError):
                rename_new(source, taken)
    rename_new(tmp_path / "folder", tmp_path / "moved")
    rename_new(tmp_path / "file", tmp_path / "renamed")
    assert held(tmp_path) == {"full/y": b"y", "g": b"g", "moved/x": b"x", "renamed": b"f"}
