"""Where commands may write: refused before the work, and nothing is left behind."""

from pathlib import Path

import pytest
from typer.testing import CliRunner

from edge.cli.app import app
from edge.errors import OutputError, UsageError
from edge.pipeline.output import check_output
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


@pytest.mark.parametrize("path", ["missing/r.json", "folder", "/dev/null", "/proc/r.json"])
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


@pytest.mark.parametrize(
    ("words", "option", "suffix"),
    [
        (["explain", "no-bundle", "no.jpg"], "--output", ""),
        (["map", "no.npz"], "--output", ".html"),
        (["map", "no.npz", "--output", "{new}.html"], "--png", ".png"),
        (["embed", "{photos}"], "--output", ".npz"),
        pytest.param(["tag", "{photos}"], "--csv", ".csv", marks=pytest.mark.tensorflow),
        (["diagnose", "no-bundle", "{photos}"], "--plot", ".svg"),
        (["fewshot", "{photos}"], "--plot", ".png"),
        (["predict", "no-bundle", "no.jpg"], "--csv", ".csv"),
        *(
            (["compare", "b", "{photos}", "--baseline", "x", "--candidate", "y"], report, ".xml")
            for report in ("--junit", "--markdown", "--sarif")
        ),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else value,
)
def test_commands_refuse_an_output_before_they_look_at_anything_else(
    tmp_path: Path, words: list[str], option: str, suffix: str
) -> None:
    """The inputs are missing or empty: whoever looked at them first would say that."""
    photos = tmp_path / "photos"
    photos.mkdir()
    taken = tmp_path / f"taken{suffix}"
    taken.write_text("old")
    folder = tmp_path / f"folder{suffix}"
    (folder / "inside").mkdir(parents=True)
    fill = {"photos": photos, "new": tmp_path / "new"}
    asked = [word.format(**fill) for word in words]
    for place in (taken, folder, tmp_path / "missing" / f"a{suffix}", Path(f"/proc/a{suffix}")):
        result = CliRunner().invoke(app, [*asked, option, str(place)])
        assert isinstance(result.exception, OutputError), (place, result.exception)
        assert option in result.exception.message
        assert result.exception.hint
    assert taken.read_text() == "old"
    allowed = CliRunner().invoke(app, [*asked, option, str(taken), "--overwrite"])
    if suffix:  # the next complaint is about the inputs
        assert not isinstance(allowed.exception, OutputError)
    assert {item.name for item in tmp_path.iterdir()} == {"photos", taken.name, folder.name}


def test_two_reports_of_one_name_are_refused(tmp_path: Path) -> None:
    words = ["compare", "b", "p", "--baseline", "x", "--candidate", "y"]
    report = str(tmp_path / "report")
    result = CliRunner().invoke(app, [*words, "--junit", report, "--sarif", report])
    assert isinstance(result.exception, UsageError)
    assert "--junit" in result.exception.message
    assert "--sarif" in result.exception.message


@pytest.mark.parametrize("below", ["x", "y/x"])
def test_a_file_in_place_of_a_folder_is_no_missing_folder(tmp_path: Path, below: str) -> None:
    (tmp_path / "file").touch()
    place = tmp_path / "file" / below
    for check in (
        lambda: check_new_file(place, overwrite=False),
        lambda: check_folder(place, overwrite=False),
        lambda: check_folder(place, overwrite=False, parents=True),
        lambda: check_output(place, overwrite=False),
    ):
        with pytest.raises(OutputError, match=r"/file is no folder$"):
            check()
    with pytest.raises(OutputError, match="does not exist") as caught:
        check_output(tmp_path / "a b" / "x", overwrite=False)
    assert caught.value.hint == f"mkdir -p '{tmp_path}/a b'"


def test_a_folder_in_which_nothing_can_be_made_is_refused_before_the_work() -> None:
    """Permissions do not tell: root has them all, and /proc takes no file."""
    with pytest.raises(OutputError, match="/proc/x cannot be written"):
        check_output(Path("/proc/x"), overwrite=False)
