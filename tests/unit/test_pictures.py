import hashlib
from pathlib import Path

import pytest
from PIL import Image

from edge.dataset.layout import find_class_folders
from edge.dataset.pictures import Picture, find_pictures, unreadable
from edge.errors import DataError
from edge.runtime.contract import Preprocessing

LABELS = ("cat", "dog", "1")
WNIDS = ("n00000001", "n00000002", "n00000003")


def make(root: Path, *names: str) -> Path:
    for number, name in enumerate(names):
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (8, 8), (number, 0, 0)).save(path)
    return root


def found(root: Path, wnids: tuple[str, ...] = ()) -> dict[str, int | None]:
    pictures = find_pictures(root, LABELS, wnids).pictures
    return {picture.path.relative_to(root).as_posix(): picture.label for picture in pictures}


def test_the_folder_is_the_class(tmp_path: Path) -> None:
    make(tmp_path, "dog/a.png", "cat/deep/er/b.jpg", "1/c.png", "bird/d.png", "e.png")
    assert found(tmp_path) == {
        "1/c.png": 2,
        "bird/d.png": None,
        "cat/deep/er/b.jpg": 0,
        "dog/a.png": 1,
        "e.png": None,
    }


def test_only_the_first_folder_counts(tmp_path: Path) -> None:
    make(tmp_path, "outdoor/cat/a.png", "dog/cat/b.png")
    assert found(tmp_path) == {"dog/cat/b.png": 1, "outdoor/cat/a.png": None}


def test_a_file_named_like_a_class_is_not_in_it(tmp_path: Path) -> None:
    make(tmp_path, "cat.png", "x/a.png")
    assert found(tmp_path) == {"cat.png": None, "x/a.png": None}


def test_a_test_folder_is_what_is_scored(tmp_path: Path) -> None:
    make(tmp_path, "train/cat/a.png", "val/cat/b.png", "test/cat/c.png", "test/dog/d.png")
    assert found(tmp_path) == {"test/cat/c.png": 0, "test/dog/d.png": 1}


@pytest.mark.parametrize("names", ["Training,Testing", "training_set,test_set", "train,TEST"])
def test_a_test_folder_of_another_name_is_what_is_scored(tmp_path: Path, names: str) -> None:
    train, test = names.split(",")
    make(tmp_path, f"{train}/cat/a.png", f"{train}/dog/b.png", f"{test}/cat/c.png")
    assert found(tmp_path) == {f"{test}/cat/c.png": 0}
    assert (
        find_class_folders(tmp_path, needs_train=False).class_of(tmp_path / train / "dog/b.png")
        == "dog"
    )


def test_without_a_test_folder_the_images_of_another_split_are_labelled(tmp_path: Path) -> None:
    make(tmp_path, "Train/cat/a.png", "Train/dog/b.png")
    assert found(tmp_path) == {"Train/cat/a.png": 0, "Train/dog/b.png": 1}
    make(tmp_path, "val/cat/a.png")
    assert found(tmp_path) == {"val/cat/a.png": 0}


def test_folders_like_no_class_are_named(tmp_path: Path) -> None:
    make(tmp_path, "Cats/a.png", "Cats/b.png", "dog/c.png", "emu/d.png", "e.png")
    (note,) = find_pictures(tmp_path, LABELS).notes
    assert note.startswith("3 of 5 images lie in folders that are called like no class")
    assert "Cats/ (2, perhaps 'cat'), emu/ (1)" in note


def test_folders_and_labels_are_compared_in_nfc(tmp_path: Path) -> None:
    make(tmp_path, "e\u0301t\u00e9/a.png")
    (picture,) = find_pictures(tmp_path, ("\u00e9te\u0301", "b")).pictures
    assert picture.label == 0


def test_wordnet_ids_in_names(tmp_path: Path) -> None:
    make(
        tmp_path,
        "0000_n00000001_tench.jpg",
        "n00000002/1.png",
        "n00000003_77.png",
        "n00000009_unknown.png",
        "n000000011.png",
        "xn00000001.png",
        "plain.png",
    )
    assert found(tmp_path, WNIDS) == {
        "0000_n00000001_tench.jpg": 0,
        "n00000002/1.png": 1,
        "n00000003_77.png": 2,
        "n000000011.png": None,
        "n00000009_unknown.png": None,
        "plain.png": None,
        "xn00000001.png": None,
    }


def test_wordnet_ids_say_nothing_of_other_models(tmp_path: Path) -> None:
    make(tmp_path, "n00000001.png")
    assert found(tmp_path) == {"n00000001.png": None}


def test_the_folder_goes_before_the_wordnet_id(tmp_path: Path) -> None:
    make(tmp_path, "dog/n00000001.png")
    assert found(tmp_path, WNIDS) == {"dog/n00000001.png": 1}


def test_hashes_are_of_the_bytes(tmp_path: Path) -> None:
    make(tmp_path, "cat/a.png")
    (picture,) = find_pictures(tmp_path, LABELS).pictures
    content = (tmp_path / "cat/a.png").read_bytes()
    assert picture == Picture(tmp_path / "cat/a.png", hashlib.sha256(content).hexdigest(), 0)


def test_no_images(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("x")
    for path in (tmp_path, tmp_path / "missing"):
        with pytest.raises(DataError):
            find_pictures(path, LABELS)


def test_unreadable_images_are_named(tmp_path: Path) -> None:
    make(tmp_path, "a.png", "b.png")
    (tmp_path / "text.jpg").write_text("hello")
    (tmp_path / "empty.png").write_bytes(b"")
    content = (tmp_path / "a.png").read_bytes()
    (tmp_path / "cut.png").write_bytes(content[: len(content) // 2])
    problems = unreadable(find_pictures(tmp_path, ()).pictures, Preprocessing(height=8, width=8))
    assert sorted(path.name for path in problems) == ["cut.png", "empty.png", "text.jpg"]
    assert all(path.name in problem for path, problem in problems.items())


def test_what_is_said_of_a_picture_is_no_unused_file(tmp_path: Path) -> None:
    make(tmp_path, "a.png", "b.jpg")
    for name in ("a.png.json", "A.JPG.JSON", "a.png.xmp", "b.xmp"):
        (tmp_path / name).touch()
    assert not find_pictures(tmp_path, LABELS, ()).files.others
    for name in ("settings.json", "clip.mov"):
        (tmp_path / name).touch()
    assert find_pictures(tmp_path, LABELS, ()).files.others == {".json": 1, ".mov": 1}
