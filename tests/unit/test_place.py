"""Where commands may write: refused before the work, and nothing is left behind."""

from pathlib import Path

import pytest

from edge.errors import OutputError, UsageError
from edge.runtime.place import check_folder, check_new_file


def test_a_new_file_is_taken_and_nothing_is_left(tmp_path: Path) -> None:
    check_new_file(tmp_path / "r.JSON", (".json", ".csv"), overwrite=False)
    assert not list(tmp_path.iterdir())


def test_a_file_that_lies_there_is_kept_unless_asked(tmp_path: Path) -> None:
    path = tmp_path / "r.json"
    path.write_text("old")
    with pytest.raises(OutputError, match="exists"):
        check_new_file(path, ".json", overwrite=False)
    check_new_file(path, ".json", overwrite=True)
    assert path.read_text() == "old"


@pytest.mark.parametrize(
    "path", ["missing/r.json", "x" * 254, "folder", "/dev/null", "/proc/r.json"]
)
def test_a_file_that_cannot_be_written_is_found_before(tmp_path: Path, path: str) -> None:
    (tmp_path / "folder").mkdir()
    with pytest.raises(OutputError):
        check_new_file(tmp_path / path, overwrite=True)


def test_another_suffix_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"\.json, \.csv"):
        check_new_file(tmp_path / "r.txt", (".json", ".csv"), overwrite=True)


def test_a_folder_is_judged_by_the_names_that_are_written(tmp_path: Path) -> None:
    check_folder(tmp_path / "new", overwrite=False)
    (tmp_path / "mine.txt").write_text("x")
    check_folder(tmp_path, ("a.png",), overwrite=False)
    with pytest.raises(OutputError, match="not empty"):
        check_folder(tmp_path, overwrite=False)
    (tmp_path / "a.png").write_text("x")
    with pytest.raises(OutputError, match=r"a\.png"):
        check_folder(tmp_path, ("a.png",), overwrite=False)
    check_folder(tmp_path, ("a.png",), overwrite=True)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.png", "mine.txt"]


@pytest.mark.parametrize("path", ["file", "missing/folder", "/proc/folder"])
def test_a_folder_that_cannot_be_written_is_found_before(tmp_path: Path, path: str) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(OutputError):
        check_folder(tmp_path / path, ("a.png",), overwrite=True)
