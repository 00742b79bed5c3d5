import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from itertools import chain
from pathlib import Path

import pytest

from edge.dataset.folder import check_outside, list_images, skipped_notes
from edge.dataset.scan import Dataset, LabeledImage, scan
from edge.errors import DataError, UsageError
from tests.unit.conftest import encoded, huge_png, noise, with_size

MakeFolder = Callable[..., Path]


def relative(dataset: Dataset, root: Path) -> dict[str, list[str]]:
    return {
        split: [image.path.relative_to(root).as_posix() for image in images]
        for split, images in dataset.splits.items()
    }


def refused(root: Path, message: str, **options: object) -> str:
    with pytest.raises(DataError, match=message) as caught:
        scan(root, seed=0, **options)  # type: ignore[arg-type]
    return caught.value.hint


# ---- layouts


def test_one_folder_per_class(make_folder: MakeFolder) -> None:
    root = make_folder({"dog": 20, "cat": 40})
    dataset = scan(root, seed=1)
    assert dataset.labels == ("cat", "dog")
    assert dataset.counts() == {
        "train": {"cat": 28, "dog": 14},
        "val": {"cat": 6, "dog": 3},
        "test": {"cat": 6, "dog": 3},
    }
    assert (dataset.skipped, dataset.notes) == ((), ())
    assert dataset.train
    assert all(image.path.parent.name == dataset.labels[image.label] for image in dataset.train)
    everything = sorted(chain.from_iterable(relative(dataset, root).values()))
    assert everything == [path.relative_to(root).as_posix() for path in list_images(root)]


@pytest.mark.parametrize("val", ["val", "valid", "validation"])
def test_the_users_own_splits_are_kept(make_folder: MakeFolder, val: str) -> None:
    root = make_folder({f"{split}/{c}": 4 for split in ("train", val, "test") for c in "ab"})
    found = relative(scan(root, seed=0), root)
    assert found["train"] == [f"train/{c}/00{n}.png" for c in "ab" for n in range(4)]
    assert found["val"] == [f"{val}/{c}/00{n}.png" for c in "ab" for n in range(4)]
    assert found["test"] == [f"test/{c}/00{n}.png" for c in "ab" for n in range(4)]


@pytest.mark.parametrize(
    ("given", "counts"),
    [(("train",), (14, 3, 3)), (("train", "test"), (17, 3, 20)), (("train", "val"), (17, 20, 3))],
)
def test_a_missing_split_is_carved_from_train(
    make_folder: MakeFolder, given: tuple[str, ...], counts: tuple[int, ...]
) -> None:
    dataset = scan(make_folder({f"{split}/{c}": 20 for split in given for c in "ab"}), seed=0)
    assert tuple(dataset.counts()[split]["a"] for split in ("train", "val", "test")) == counts


def shelves(names: str, classes: str = "ab", count: int = 3) -> dict[str, int]:
    return {f"{name}/{label}": count for name in names.split(",") for label in classes}


@pytest.mark.parametrize(
    ("names", "splits"),
    [
        ("Training,Testing", "train,test"),
        ("TRAIN,TEST", "train,test"),
        ("training_set,test_set", "train,test"),
        ("train,dev", "train,val"),
        ("train_data,test_data", "train,test"),
        ("images/train,images/test", "train,test"),
        ("Train Images,Val Images", "train,val"),
        ("train2017,val2017", "train,val"),
        ("trainset,testset,ValidSet", "train,test,val"),
        ("photos/dataset/train,photos/dataset/evaluation", "train,test"),
        ("training_set/training_set,test_set/test_set", "train,test"),
        ("seg_train/seg_train,seg_test/seg_test", "train,test"),
        ("train/images,validation/images", "train,val"),
        ("1-TRAIN,2-TEST", "train,test"),
    ],
)
def test_split_folders_of_other_names(make_folder: MakeFolder, names: str, splits: str) -> None:
    root = make_folder(shelves(names, count=4))
    dataset = scan(root, seed=0)
    assert dataset.labels == ("a", "b")
    for name, split in zip(names.split(","), splits.split(","), strict=True):
        if split != "train":  # of which the missing splits are made
            folders = {image.path.parent.parent for image in dataset.splits[split]}
            assert folders == {root / name}
    if names != "train,dev":
        first = names.split(",")[0].removesuffix("/train")
        assert any(first in note for note in dataset.notes), dataset.notes


@pytest.mark.parametrize(
    ("counts", "labels"),
    [
        ({"car": 3, "train": 3, "test": 3}, ("car", "test", "train")),
        ({"test": 3, "trial": 3}, ("test", "trial")),
        ({"train/steam": 3, "train/diesel": 3, "car/suv": 3, "car/van": 3}, ("car", "train")),
        ({"dog/imgs": 3, "cat/imgs": 3}, ("cat", "dog")),
    ],
)
def test_classes_may_have_such_names(
    make_folder: MakeFolder, counts: dict[str, int], labels: tuple[str, ...]
) -> None:
    assert scan(make_folder(counts), seed=0).labels == labels


@pytest.mark.parametrize(
    ("counts", "message"),
    [
        (shelves("Alpha,Beta"), "hold folders of the same names \\(a, b\\): they look like splits"),
        (shelves("part1,part2,part3", "abc"), "look like splits"),
        (shelves("train,holdout"), "look like splits"),
        (shelves("Alpha") | shelves("Beta", "AB"), "look like splits"),
        (shelves("Alpha") | {"Beta/b": 3}, "look like splits"),
        (shelves("Alpha,Beta") | {"Alpha": 2}, "look like splits"),
        (shelves("train") | {"train": 1, "unsorted": 9}, "splits or classes"),
        (shelves("cat,dog", ("train", "test")), "each hold test, train"),
        (shelves("train") | {"unsorted": 3}, "splits or classes"),
        ({"a": 3, "b": 3} | shelves("test"), "splits or classes"),
        (shelves("train,Training,test"), "both"),
        (dict.fromkeys(("train_a", "train_b", "test_a", "test_b"), 3), "a split and a class"),
        ({"train": 3, "test": 3}, "no folders and 3 images directly in it"),
    ],
)
def test_doubtful_splits_are_refused(
    make_folder: MakeFolder, counts: dict[str, int], message: str
) -> None:
    assert refused(make_folder(counts), message)


def test_names_are_compared_in_nfc(make_folder: MakeFolder) -> None:
    root = make_folder({"train/é": 3, "train/b": 3, "test/e\u0301": 3, "test/b": 3})
    assert scan(root, seed=0).counts()["test"] == {"b": 3, "é": 3}
    refused(make_folder({"é": 3, "e\u0301": 3}, root / "two"), "two forms of Unicode")


def test_files_that_are_not_used_are_counted(make_folder: MakeFolder) -> None:
    root = make_folder({"a": 3, "b": 3, "c": 3})
    for number in range(4):
        (root / f"a/{number}.DNG").write_bytes(b"II*\0")
    (root / "b/clip.mov").write_bytes(b"video")
    (root / "b/none").write_bytes(b"?")
    dataset = scan(root, seed=0)
    assert dataset.files.to_json() == {
        "images": 9,
        "not_used": {".dng": 4, ".mov": 1, "": 1},
        "outputs": [],
    }
    assert dataset.notes == ("6 of 15 files are not used: 4 .dng, 1 .mov, 1 suffixless.",)


def test_what_edge_wrote_is_not_entered(make_folder: MakeFolder) -> None:
    root = make_folder({"a": 3, "b": 3, "bundle/golden": 2, "a/why": 2, "site": 3})
    text = '{"schema_version": 1, "preprocessing": {}, "files": {}}'
    (root / "bundle/manifest.json").write_text(text)
    (root / "a/why/explanation.json").write_text("{}")
    (root / "site/manifest.json").write_text('{"name": "a page of somebody"}')
    dataset = scan(root, seed=0)
    assert dataset.labels == ("a", "b", "site")
    assert dataset.files.outputs == (root / "bundle", root / "a/why")
    assert sum("was written by edge" in note for note in dataset.notes) == 2
    assert not any("why" in path.as_posix() for path in list_images(root))
    refused(root / "bundle", "was written by edge")


def test_a_class_may_be_called_train(make_folder: MakeFolder) -> None:
    assert scan(make_folder({"car": 3, "train": 3}), seed=0).labels == ("car", "train")


def test_a_folder_beside_the_splits_is_noted(make_folder: MakeFolder) -> None:
    root = make_folder({"train/a": 3, "train/b": 3, "test/a": 3, "test/b": 3, "raw": 2})
    assert scan(root, seed=0).notes == ("the folder 'raw' beside train/ is not used",)


def test_a_class_missing_from_test_is_noted(make_folder: MakeFolder) -> None:
    root = make_folder({"train/a": 3, "train/b": 3, "test/a": 3})
    dataset = scan(root, seed=0)
    assert dataset.notes == ("class 'b' has no images in test/",)
    assert dataset.counts()["test"] == {"a": 3, "b": 0}


def test_odd_class_names(make_folder: MakeFolder) -> None:
    names = ["-rf", "a b", "ein Ärger", "🐱 family 👨‍👩‍👧", "a"]
    dataset = scan(make_folder(dict.fromkeys(names, 3)), seed=0)
    assert dataset.labels == tuple(sorted(names))
    assert dataset.counts() and all(
        sum(counts.values()) == 5 for counts in dataset.counts().values()
    )


def test_what_counts_as_an_image(make_folder: MakeFolder) -> None:
    root = make_folder({"a": 3, "b/deep/er": 3, ".git": 2, "b/.cache": 1, "b/__MACOSX": 1})
    (root / "a/._000.png").write_bytes(b"resource fork")
    (root / "a/.hidden.png").write_bytes(encoded(noise(7), "PNG"))
    (root / "a/UPPER.JPG").write_bytes(encoded(noise(8), "JPEG"))
    (root / "a/labels.txt").write_text("not an image")
    (root / "a/list.csv").write_text("not an image")
    dataset = scan(root, seed=0)
    assert dataset.labels == ("a", "b")
    assert sum(dataset.counts()[split]["a"] for split in dataset.splits) == 4
    assert sum(dataset.counts()[split]["b"] for split in dataset.splits) == 3
    assert dataset.skipped == ()


def test_images_beside_class_folders_are_noted(make_folder: MakeFolder) -> None:
    root = make_folder({"a": 3, "b": 3, ".": 2})
    assert scan(root, seed=0).notes == (f"2 images directly in {root}, without a class: not used",)


@pytest.mark.parametrize(
    "place",
    ["photos/bundle", "photos/a/x.png", "photos", "link/bundle", "other/../photos/b/c", "."],
)
def test_an_output_among_the_photos_is_refused(
    make_folder: MakeFolder, tmp_path: Path, place: str
) -> None:
    root = make_folder({"a": 3, "b": 3})
    (tmp_path / "other").mkdir()
    (tmp_path / "link").symlink_to(root)
    with pytest.raises(UsageError, match="photos"):
        check_outside(tmp_path / place, root)
    check_outside(tmp_path / "bundle", root)
    check_outside(tmp_path / "photos2/bundle", root)


def test_an_output_in_a_linked_class_is_refused(make_folder: MakeFolder, tmp_path: Path) -> None:
    root, store = make_folder({"a": 3}), make_folder({"b": 3}, tmp_path / "store")
    (root / "b").symlink_to(store / "b")
    with pytest.raises(UsageError, match="would be read as photos"):
        check_outside(store / "b/bundle", root)
    check_outside(store / "bundle", root)


# ---- the split


def test_every_class_is_in_every_split_even_when_tiny(make_folder: MakeFolder) -> None:
    dataset = scan(make_folder({"a": 3, "b": 4, "c": 100}), seed=5)
    for counts in dataset.counts().values():
        assert counts and all(count >= 1 for count in counts.values())
    assert dataset.counts()["test"]["c"] == dataset.counts()["val"]["c"] == 15


def test_greedy_fractions_leave_something_to_train(make_folder: MakeFolder) -> None:
    dataset = scan(make_folder({"a": 4, "b": 3}), seed=0, val_fraction=0.49, test_fraction=0.5)
    assert dataset.counts()["train"] == {"a": 1, "b": 1}
    assert dataset.counts()["val"] == {"a": 1, "b": 1}


def test_the_split_depends_on_the_seed_alone(make_folder: MakeFolder, tmp_path: Path) -> None:
    root = make_folder({"a": 30, "b": 30})
    first = scan(root, seed=3)
    assert scan(root, seed=3) == first
    assert scan(root, seed=4).test != first.test
    moved = tmp_path / "elsewhere" / "copy"
    # Written in the opposite order, so that a file system may list it differently.
    for path in reversed(list_images(root)):
        copy = moved / path.relative_to(root)
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, copy)
    again = scan(moved, seed=3)
    assert again.sha256 == first.sha256
    assert relative(again, moved) == relative(first, root)


def test_the_split_does_not_depend_on_listing_order_or_hash_seed(
    make_folder: MakeFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = make_folder({"a": 12, "b": 12})
    first = scan(root, seed=3).sha256
    code = "import sys, pathlib; from edge.dataset.scan import scan; "
    code += "print(scan(pathlib.Path(sys.argv[1]), seed=3).sha256)"
    for hash_seed in ("1", "2"):
        environment = {**os.environ, "PYTHONHASHSEED": hash_seed, "PYTHONPATH": os.curdir}
        done = subprocess.run(
            [sys.executable, "-c", code, str(root)],
            env=environment,
            cwd=Path(__file__).parents[2],
            capture_output=True,
            text=True,
            check=True,
        )
        assert done.stdout.strip() == first


def test_the_split_of_known_bytes() -> None:
    """Ranks are sha256("seed:hash"): a change of the rule would move everyone's test images."""
    from edge.dataset.scan import carve

    images = [LabeledImage(path=Path(f"{n}.png"), label=0, sha256=f"{n:064x}") for n in range(10)]
    splits, _ = carve(images, {"test": 0.2, "val": 0.2}, labels=["a"], seed=0)
    named = {split: [image.path.stem for image in found] for split, found in splits.items()}
    assert named == {
        "train": ["1", "3", "4", "5", "7", "9"],
        "val": ["0", "8"],
        "test": ["2", "6"],
    }


def test_a_new_picture_moves_few_others(make_folder: MakeFolder) -> None:
    root = make_folder({"a": 60, "b": 60})
    before = {image.sha256 for image in scan(root, seed=0).test}
    (root / "a/new.png").write_bytes(encoded(noise(99), "PNG"))
    after = {image.sha256 for image in scan(root, seed=0).test}
    assert len(before - after) <= 1


def test_sha256_sees_labels_splits_and_files(make_folder: MakeFolder) -> None:
    root = make_folder({"a": 5, "b": 5})
    first = scan(root, seed=0)
    (root / "b").rename(root / "c")
    assert scan(root, seed=0).sha256 != first.sha256
    (root / "c").rename(root / "b")
    assert scan(root, seed=0).sha256 == first.sha256
    (root / "a/000.png").write_bytes(encoded(noise(77), "PNG"))
    assert scan(root, seed=0).sha256 != first.sha256


def hashes(images: tuple[LabeledImage, ...]) -> set[str]:
    return {image.sha256 for image in images}


def assert_disjoint(dataset: Dataset) -> None:
    train, val, test = map(hashes, (dataset.train, dataset.val, dataset.test))
    assert not train & val
    assert not train & test
    assert not val & test


@pytest.mark.parametrize("seed", range(5))
def test_copies_stay_on_one_side(make_folder: MakeFolder, seed: int) -> None:
    root = make_folder({"a": 10, "b": 10})
    for path in list_images(root / "a"):
        for number in range(3):
            shutil.copyfile(path, path.with_name(f"{path.stem} copy {number}.png"))
    dataset = scan(root, seed=seed)
    assert_disjoint(dataset)
    assert sum(dataset.counts()[split]["a"] for split in dataset.splits) == 40
    assert dataset.counts()["test"]["a"] == 8  # two pictures, four copies each


def test_overlap_of_the_users_splits(make_folder: MakeFolder) -> None:
    root = make_folder({f"{split}/{c}": 5 for split in ("train", "val", "test") for c in "ab"})
    shutil.copyfile(root / "test/a/000.png", root / "train/a/copy 1.png")
    shutil.copyfile(root / "test/a/001.png", root / "train/a/copy 2.png")
    shutil.copyfile(root / "test/a/002.png", root / "val/a/copy.png")
    shutil.copyfile(root / "val/b/000.png", root / "train/b/copy.png")
    dataset = scan(root, seed=0)
    assert_disjoint(dataset)
    assert dataset.notes == (
        "1 duplicate of test images left out of validation",
        "2 duplicates of test images left out of training",
        "1 duplicate of validation images left out of training",
    )
    assert {split: sum(found.values()) for split, found in dataset.counts().items()} == {
        "train": 10,
        "val": 10,
        "test": 10,
    }


def test_one_picture_under_two_labels(make_folder: MakeFolder) -> None:
    root = make_folder({"cat": 5, "dog": 5})
    shutil.copyfile(root / "cat/001.png", root / "dog/mixed up.png")
    dataset = scan(root, seed=0)
    assert dataset.notes == (
        "the same picture under different labels, left out of training: "
        "cat/001.png, dog/mixed up.png",
    )
    names = list(chain.from_iterable(relative(dataset, root).values()))
    assert len(names) == 9
    assert "cat/001.png" not in names
    assert "dog/mixed up.png" not in names


def test_conflicting_test_images_stay(make_folder: MakeFolder) -> None:
    root = make_folder({"train/cat": 5, "train/dog": 5, "test/cat": 2, "test/dog": 2})
    shutil.copyfile(root / "test/cat/000.png", root / "train/dog/wrong.png")
    dataset = scan(root, seed=0)
    assert "test/cat/000.png, train/dog/wrong.png" in dataset.notes[0]
    assert dataset.counts()["test"] == {"cat": 2, "dog": 2}
    assert_disjoint(dataset)


def test_many_conflicts_are_counted(make_folder: MakeFolder) -> None:
    root = make_folder({"cat": 12, "dog": 5})
    for number in range(8):
        shutil.copyfile(root / f"cat/{number:03}.png", root / f"dog/again {number}.png")
    notes = scan(root, seed=0).notes
    assert len(notes) == 6
    assert notes[-1] == "and 3 more such pictures"


# ---- files that cannot be used


def spoil(root: Path) -> None:
    (root / "a/empty.jpg").write_bytes(b"")
    (root / "a/text.jpg").write_text("hello")
    (root / "b/huge.png").write_bytes(huge_png(16_000, 16_000))
    (root / "b/gone.png").symlink_to(root / "nowhere.png")


def test_unusable_files_are_skipped_with_reasons(make_folder: MakeFolder) -> None:
    root = make_folder({"a": 3, "b": 3})
    spoil(root)
    dataset = scan(root, seed=0)
    reasons = {item.path.name: item.reason for item in dataset.skipped}
    assert reasons["empty.jpg"] == "the file is empty (0 bytes)"
    assert reasons["text.jpg"].startswith("this is something that starts with the bytes 68 65")
    assert reasons["huge.png"].startswith("the image has 16000 x 16000 pixels; at most")
    assert reasons["gone.png"] == "the file cannot be read: No such file or directory"
    assert sum(sum(found.values()) for found in dataset.counts().values()) == 6


def test_a_200_megapixel_photo_is_not_skipped(make_folder: MakeFolder) -> None:
    root = make_folder({"a": 3, "b": 3})
    (root / "a/phone.jpg").write_bytes(with_size(encoded(noise(9), "JPEG"), 12240, 16320))
    assert scan(root, seed=0).skipped == ()


def test_many_skipped_files_of_one_kind_are_counted() -> None:
    reasons = {Path(f"{number}.jpg"): f"{number}.jpg: this is a HEIC photo" for number in range(9)}
    notes = skipped_notes(reasons | {Path("x.png"): "empty"})
    assert notes[0] == "skipped 0.jpg: this is a HEIC photo"
    assert notes[5:] == ["skipped 4 more: this is a HEIC photo", "skipped x.png: empty"]


def test_strict_refuses_and_names_five(make_folder: MakeFolder) -> None:
    root = make_folder({"a": 3, "b": 3})
    for number in range(7):
        (root / f"a/bad{number}.jpg").write_bytes(b"")
    with pytest.raises(DataError) as caught:
        scan(root, seed=0, strict=True)
    message = caught.value.message
    assert message.startswith("7 of 13 image files cannot be used: ")
    assert f"{root}/a/bad4.jpg: the file is empty (0 bytes); and 2 more" in message
    assert "bad5" not in message


def test_a_class_of_unusable_files(make_folder: MakeFolder) -> None:
    root = make_folder({"a": 3, "b": 0})
    (root / "b/x.png").write_bytes(b"")
    refused(root, r"class 'b' has no training image left \(1 file .*x\.png: the file is empty")


def test_without(make_folder: MakeFolder) -> None:
    root = make_folder({"a": 5, "b": 5})
    dataset = scan(root, seed=0)
    bad = dataset.train[0].path
    rest = dataset.without({bad: f"{bad}: the image is damaged", root / "other.png": "unknown"})
    assert bad not in {image.path for image in rest.train}
    assert len(rest.train) == len(dataset.train) - 1
    assert [(item.path, item.reason) for item in rest.skipped] == [(bad, "the image is damaged")]
    assert (rest.val, rest.test) == (dataset.val, dataset.test)
    assert rest.sha256 != dataset.sha256
    assert dataset.without({}) == dataset
    with pytest.raises(DataError, match=r"1 of 10 image files .*the image is damaged"):
        dataset.without({bad: "the image is damaged"}, strict=True)
    with pytest.raises(DataError, match=r"class 'a' has no training image left \(3 files"):
        dataset.without({image.path: "damaged" for image in dataset.train if not image.label})
    with pytest.raises(DataError, match="the test split has no image left"):
        dataset.without({image.path: "damaged" for image in dataset.test})


def test_progress_counts_every_file(make_folder: MakeFolder) -> None:
    calls: list[tuple[int, int]] = []
    root = make_folder({"a": 3, "b": 3})
    scan(root, seed=0, on_progress=lambda done, total: calls.append((done, total)))
    assert calls == [(number, 6) for number in range(1, 7)]


# ---- folders that cannot be used


@pytest.mark.parametrize("read", [lambda path: scan(path, seed=0), list_images])
def test_not_a_folder(tmp_path: Path, read: Callable[[Path], object]) -> None:
    with pytest.raises(DataError, match=r"none does not exist"):
        read(tmp_path / "none")
    (tmp_path / "photos.zip").write_bytes(b"PK")
    with pytest.raises(DataError, match=r"photos\.zip is a file, not a folder"):
        read(tmp_path / "photos.zip")
    with pytest.raises(DataError, match="cannot be read: File name too long"):
        read(tmp_path / ("x" * 300))


@pytest.mark.parametrize("read", [lambda path: scan(path, seed=0), list_images])
def test_unreadable_folder(
    make_folder: MakeFolder, monkeypatch: pytest.MonkeyPatch, read: Callable[[Path], object]
) -> None:
    """By a stand-in: for root, who runs many containers, no folder is unreadable."""
    root = make_folder({"a": 3, "b": 3})
    scandir = os.scandir

    def deny(path: Path) -> object:
        if Path(path).name == "b":
            raise PermissionError(13, "Permission denied")
        return scandir(path)

    monkeypatch.setattr(os, "scandir", deny)
    with pytest.raises(DataError, match=r"the folder .*/b cannot be read: Permission denied"):
        read(root)


def test_fewer_than_two_classes(make_folder: MakeFolder, tmp_path: Path) -> None:
    hint = refused(make_folder({"cat": 3}), "has the class folder 'cat' only; at least two classes")
    assert "folder of its own" in hint
    refused(make_folder({".": 4}, tmp_path / "loose"), "no folders and 4 images directly in it")
    (tmp_path / "empty").mkdir()
    refused(tmp_path / "empty", "empty has no folders; at least two classes are needed")
    refused(make_folder({"train/a": 3, "test/a": 3}, tmp_path / "one"), "one/train has the class")


def test_empty_class(make_folder: MakeFolder) -> None:
    root = make_folder({"cat": 3, "dog": 3, "emu": 0})
    assert "delete the folder" in refused(root, r"class 'emu' is empty: .*/emu holds no image$")
    for number in range(3):
        (root / f"emu/{number}.heic").write_bytes(b"photo")
    assert ".jpg" in refused(root, r"class 'emu' is empty: .* \(but 3 \.heic files\)")


@pytest.mark.parametrize(
    ("counts", "message"),
    [
        ({"a": 2, "b": 9, "c": 1}, "'a' has 2, 'c' has 1; every class needs at least 3 different"),
        ({"train/a": 1, "train/b": 9, "val/a": 1}, "'a' has 1; every class needs at least 2"),
    ],
)
def test_too_few_images(make_folder: MakeFolder, counts: dict[str, int], message: str) -> None:
    refused(make_folder(counts), f"too few images to split: {message}")


def test_copies_do_not_count_as_images(make_folder: MakeFolder) -> None:
    root = make_folder({"a": 2, "b": 3})
    shutil.copyfile(root / "a/000.png", root / "a/copy.png")
    refused(root, "'a' has 2; every class needs at least 3 different usable images")


@pytest.mark.parametrize(
    ("counts", "message"),
    [
        ({"train/a": 3, "train/b": 3, "test/c": 3}, "test/ has classes that train/ has not: c"),
        ({"val/a": 3, "test/a": 3}, "has test, val but no train/"),
        ({"train/a": 3, "val/a": 3, "valid/a": 3}, "has both val/ and valid/"),
        ({"train/a": 3, "train/b": 3, "test": 0}, "test has no folders; class folders are needed"),
        ({"a\nb": 3, "c": 3}, r"'a\\nb' has a control character"),
    ],
)
def test_confusing_layouts(make_folder: MakeFolder, counts: dict[str, int], message: str) -> None:
    refused(make_folder(counts), message)


@pytest.mark.parametrize("fractions", [(0.0, 0.2), (0.2, 0.0), (0.5, 0.5), (-0.1, 0.3)])
def test_impossible_fractions(make_folder: MakeFolder, fractions: tuple[float, float]) -> None:
    with pytest.raises(UsageError, match="add up to less than 1"):
        scan(
            make_folder({"a": 3, "b": 3}),
            seed=0,
            val_fraction=fractions[0],
            test_fraction=fractions[1],
        )


def test_symlink_loops_end(make_folder: MakeFolder) -> None:
    root = make_folder({"a": 3, "b/deep": 3})
    (root / "a/self").symlink_to(root / "a")
    (root / "b/deep/up").symlink_to(root / "b")
    (root / "b/loop.png").symlink_to(root / "b/loop.png")
    assert list_images(root).count(root / "a/000.png") == 1
    dataset = scan(root, seed=0)
    assert [item.path.name for item in dataset.skipped] == ["loop.png"]
    (root / "b/deep/everything").symlink_to(root)
    refused(root, r"class 'a' has no training image left \(the same picture under different labels")


def test_linked_folders_are_followed(make_folder: MakeFolder, tmp_path: Path) -> None:
    store = make_folder({"x": 4, "y": 4}, tmp_path / "store")
    root = tmp_path / "linked"
    root.mkdir()
    (root / "a").symlink_to(store / "x")
    (root / "b").symlink_to(store / "y")
    assert scan(root, seed=0).labels == ("a", "b")


# ---- folders without labels


def test_list_images(make_folder: MakeFolder, tmp_path: Path) -> None:
    root = make_folder({"b": 2, "a/deep": 1, ".": 1})
    names = [path.relative_to(root).as_posix() for path in list_images(root)]
    assert names == ["000.png", "a/deep/000.png", "b/000.png", "b/001.png"]
    (tmp_path / "none").mkdir()
    (tmp_path / "none/x.dng").write_bytes(b"II*\0")
    with pytest.raises(DataError, match=r"holds no image \(but 1 \.dng file\)"):
        list_images(tmp_path / "none")
