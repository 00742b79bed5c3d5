"""A session's folder: begun once, gone on with, one user at a time, nobody else's."""

import shutil
from hashlib import sha256
from pathlib import Path

import pytest

from edge.cache import StageCache
from edge.errors import OutputError
from edge.live.session import open_session
from edge.progress import Silent
from edge.runtime.bundle import Bundle
from edge.runtime.command_line import main
from tests.unit.head_bundle import head_bundle, picture


def test_a_second_start_goes_on(tmp_path: Path, cache: StageCache) -> None:
    folder, red = tmp_path / "edge-live", picture(tmp_path, "red", 1)
    image = sha256(red.read_bytes()).hexdigest()
    with open_session(folder, cache, Silent()) as first:
        assert (first.resumed, first.taught) == (False, 0)
        assert Bundle.open(first.bundle).manifest.labels == ()
        assert main(["teach", str(first.bundle), "red", str(red)]) == 0
        assert first.keeper is not None
        first.keeper.taught("red", image, red.read_bytes(), "press 1")
    names = ["bundle", "pictures", "pictures.jsonl"]
    assert sorted(path.name for path in folder.iterdir()) == names

    with open_session(folder, cache, Silent()) as second:
        assert (second.resumed, second.taught) == (True, 1)
        assert second.pictures.by_label == {"red": [image]}
        assert second.keeper is not None
        second.keeper.changed({})  # what the first start had taught is forgotten as well
        assert second.pictures.by_label == {}
        assert [path.stem for path in (folder / "removed").iterdir()] == [image]
        second.keeper.changed({image: "blue"})
        assert second.pictures.by_label == {"blue": [image]}
        assert main(["forget", str(second.bundle), "--all"]) == 0
        second.keeper.changed({})
    assert [path.name for path in folder.rglob("*.png") if "bundle" not in path.parts] == []
    assert not (folder / "removed").exists()


def test_the_bundle_is_whole_and_copied_without_the_list_of_the_cache(
    tmp_path: Path, cache: StageCache
) -> None:
    with open_session(tmp_path / "s", cache, Silent()) as session:
        Bundle.open(session.bundle).verify()
        assert list(Bundle.open(session.bundle).unlisted()) == []
        assert [path.name for path in session.folder.iterdir()] == ["bundle"]


def test_a_cache_that_changes_meanwhile_gives_no_bundle(tmp_path: Path, cache: StageCache) -> None:
    (head,) = cache.root.rglob("head.npz")
    head.write_bytes(b"another")
    with pytest.raises(OutputError, match="changed while it was used"):
        with open_session(tmp_path / "s", cache, Silent()):
            pass
    assert list((tmp_path / "s").iterdir()) == []


def test_nothing_is_kept_unless_it_is_wanted(tmp_path: Path, cache: StageCache) -> None:
    with open_session(tmp_path / "s", cache, Silent(), keeps=False) as session:
        assert session.keeper is None


def test_two_do_not_share_a_session(tmp_path: Path, cache: StageCache) -> None:
    with open_session(tmp_path / "s", cache, Silent()):
        with pytest.raises(OutputError, match="another edge live"):
            with open_session(tmp_path / "s", cache, Silent()):
                pass
    with open_session(tmp_path / "s", cache, Silent()) as session:
        assert session.resumed


def test_what_a_killed_run_removed_is_gone(tmp_path: Path, cache: StageCache) -> None:
    removed = tmp_path / "s" / "removed"
    removed.mkdir(parents=True)
    (removed / f"{'0' * 64}.jpg").touch()
    with open_session(tmp_path / "s", cache, Silent()):
        assert not removed.exists()


def test_somebody_elses_folder_is_left_alone(
    tmp_path: Path, blank: Path, cache: StageCache
) -> None:
    trained = head_bundle(tmp_path / "trained", "imprinted")  # type: ignore[arg-type]
    full = tmp_path / "full"
    full.mkdir()
    (full / "letter.txt").touch()
    beside = tmp_path / "beside"
    beside.mkdir()
    shutil.copytree(trained, beside / "bundle")
    file = tmp_path / "file"
    file.touch()
    for place, why in (
        (full, "letter.txt"),
        (beside, "edge live did not make"),
        (trained, "is a bundle"),
        (file, "no folder"),
        (tmp_path / "missing" / "s", "does not exist"),
    ):
        before = sorted(tmp_path.rglob("*"))
        with pytest.raises(OutputError, match=why):
            with open_session(place, cache, Silent()):
                pass
        assert sorted(tmp_path.rglob("*")) == before


def test_a_note_beside_a_session_does_no_harm(tmp_path: Path, cache: StageCache) -> None:
    with open_session(tmp_path / "s", cache, Silent()):
        pass
    (tmp_path / "s" / "notes.txt").touch()
    with open_session(tmp_path / "s", cache, Silent()) as session:
        assert session.resumed
