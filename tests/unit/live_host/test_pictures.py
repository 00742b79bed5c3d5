"""The folder of pictures: every picture whole, under its class, until it is forgotten."""

import errno
import os
import threading
from hashlib import sha256
from pathlib import Path

import pytest

from edge.dataset.layout import find_layout
from edge.errors import OutputError, UsageError
from edge.live.pictures import LABEL_NAME, Pictures, folder_name
from tests.unit.conftest import encoded, noise

ODD = ("a/b", "..", ".hidden", "%cat", "長" * 100, "/etc")


def jpeg(seed: int) -> bytes:
    return encoded(noise(seed), "JPEG")


def hashed(content: bytes) -> str:
    return sha256(content).hexdigest()


def opened(folder: Path) -> Pictures:
    return Pictures(folder / "pictures", folder / "removed")


def files(folder: Path) -> dict[str, bytes]:
    """What lies below a folder, by its path."""
    paths = [path for path in folder.rglob("*") if path.is_file()]
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in paths}


@pytest.fixture
def taught(tmp_path: Path) -> tuple[Pictures, dict[str, str]]:
    """Two cats and a dog, and their classes by their hashes."""
    pictures, examples = opened(tmp_path), {}
    for seed, label in enumerate(("cat", "cat", "dog")):
        pictures.add(label, hashed(jpeg(seed)), jpeg(seed))
        examples[hashed(jpeg(seed))] = label
    return pictures, examples


def test_pictures_lie_in_the_folder_of_their_class(
    taught: tuple[Pictures, dict[str, str]], tmp_path: Path
) -> None:
    wanted = {"cat/0001.jpg": jpeg(0), "cat/0002.jpg": jpeg(1), "dog/0001.jpg": jpeg(2)}
    assert files(tmp_path / "pictures") == wanted
    again = opened(tmp_path)
    assert (
        again.by_label
        == taught[0].by_label
        == {
            "cat": sorted([hashed(jpeg(0)), hashed(jpeg(1))]),
            "dog": [hashed(jpeg(2))],
        }
    )
    again.add("cat", hashed(jpeg(3)), jpeg(3))
    assert files(tmp_path / "pictures") == wanted | {"cat/0003.jpg": jpeg(3)}


def test_a_known_picture_is_not_kept_twice(
    taught: tuple[Pictures, dict[str, str]], tmp_path: Path
) -> None:
    taught[0].add("cat", hashed(jpeg(0)), jpeg(0))
    assert len(files(tmp_path / "pictures")) == 3
    taught[0].add("dog", hashed(jpeg(0)), jpeg(0))
    assert files(tmp_path / "pictures")["dog/0002.jpg"] == jpeg(0)
    assert len(files(tmp_path / "pictures")) == 3


def test_a_dropped_file_keeps_its_form(tmp_path: Path) -> None:
    pictures = opened(tmp_path)
    for seed, form in enumerate(("PNG", "WEBP", "BMP", "GIF")):
        content = encoded(noise(seed), form)
        pictures.add("cat", hashed(content), content)
    names = {f"cat/{n:04}.{form}" for n, form in enumerate(("png", "webp", "bmp", "gif"), 1)}
    assert files(tmp_path / "pictures").keys() == names
    assert len(opened(tmp_path).by_label["cat"]) == 4


def test_no_part_of_a_picture_is_left_where_the_disk_is_full(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pictures = opened(tmp_path)

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch, pytest.raises(OutputError, match="No space"):
        patch.setattr(os, "fsync", full)
        pictures.add("cat", hashed(jpeg(0)), jpeg(0))
    assert files(tmp_path) == {} and pictures.by_label == {}
    pictures.add("cat", hashed(jpeg(0)), jpeg(0))
    assert files(tmp_path / "pictures") == {"cat/0001.jpg": jpeg(0)}


def test_what_a_killed_write_left_is_removed(tmp_path: Path) -> None:
    place = tmp_path / "pictures" / "cat"
    place.mkdir(parents=True)
    (place / ".0001.jpg.999999999-0123abcd.tmp").write_bytes(jpeg(0)[:50])
    (place / "0002.jpg").write_bytes(jpeg(1))
    assert opened(tmp_path).by_label == {"cat": [hashed(jpeg(1))]}
    assert [path.name for path in place.iterdir()] == ["0002.jpg"]


def test_what_a_killed_write_left_whole_is_put_in_its_place(tmp_path: Path) -> None:
    """The index had named it, and all of it was written: only the last step was missing."""
    content = jpeg(3)
    opened(tmp_path).add("cat", hashed(content), content, "a press")
    place = tmp_path / "pictures" / "cat"
    (place / "0001.jpg").rename(place / ".0001.jpg.999999999-0123abcd.tmp")
    assert opened(tmp_path).by_label == {"cat": [hashed(content)]}
    assert [path.name for path in place.iterdir()] == ["0001.jpg"]


def test_forgotten_pictures_come_back_by_undo_and_not_later(
    taught: tuple[Pictures, dict[str, str]], tmp_path: Path
) -> None:
    pictures, examples = taught
    left = {image: label for image, label in examples.items() if label == "dog"}
    pictures.change(examples, left)
    assert files(tmp_path / "pictures") == {"dog/0001.jpg": jpeg(2)}
    assert not (tmp_path / "pictures" / "cat").exists()  # edge build refuses an empty class
    pictures.change(left, examples)
    back = files(tmp_path / "pictures")
    assert sorted(back.values()) == sorted(map(jpeg, range(3)))
    assert pictures.by_label == opened(tmp_path).by_label
    assert [len(images) for images in pictures.by_label.values()] == [2, 1]

    pictures.change(examples, left)
    pictures.empty_removed()
    pictures.change(left, examples)
    assert files(tmp_path / "pictures") == {"dog/0001.jpg": jpeg(2)}
    assert not (tmp_path / "removed").exists()


def test_a_class_is_renamed_and_joined_with_another(
    taught: tuple[Pictures, dict[str, str]], tmp_path: Path
) -> None:
    pictures, examples = taught
    renamed = {image: "pet" if label == "cat" else label for image, label in examples.items()}
    pictures.change(examples, renamed)
    assert {Path(name).parent.name for name in files(tmp_path / "pictures")} == {"pet", "dog"}
    pictures.change(renamed, dict.fromkeys(examples, "dog"))
    assert files(tmp_path / "pictures").keys() == {f"dog/000{n}.jpg" for n in (1, 2, 3)}


def test_what_a_person_put_there_is_left_alone(
    taught: tuple[Pictures, dict[str, str]], tmp_path: Path
) -> None:
    mine = {"cat/IMG_17.jpg": jpeg(7), "cat/notes.txt": b"mine", "fox/0001.jpg": jpeg(8)}
    for name, content in mine.items():
        path = tmp_path / "pictures" / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(content)
    pictures = opened(tmp_path)
    pictures.change(taught[1], {})
    assert files(tmp_path / "pictures") == mine


@pytest.mark.parametrize("label", ODD)
def test_a_label_that_no_folder_can_have_is_kept_all_the_same(label: str, tmp_path: Path) -> None:
    opened(tmp_path).add(label, hashed(jpeg(0)), jpeg(0))
    (place,) = (tmp_path / "pictures").iterdir()
    assert place.name == folder_name(label) != label
    assert sorted(path.name for path in tmp_path.iterdir()) == ["pictures", "pictures.jsonl"]
    again = opened(tmp_path)
    assert again.by_label == {label: [hashed(jpeg(0))]}
    again.change({hashed(jpeg(0)): label}, {hashed(jpeg(0)): "cat"})
    assert files(tmp_path / "pictures") == {"cat/0001.jpg": jpeg(0)}
    assert not place.exists()


@pytest.mark.parametrize("label", ["cat", "a b", "grün", "长颈鹿", "e.g.", "a\\b", "-rf", "100 %"])
def test_edge_build_reads_the_label_from_the_folder(label: str, tmp_path: Path) -> None:
    pictures = opened(tmp_path)
    for seed, name in enumerate((label, "other")):
        pictures.add(name, hashed(jpeg(seed)), jpeg(seed))
    assert set(find_layout(tmp_path / "pictures").splits["train"]) == {label, "other"}


@pytest.mark.parametrize("text", [None, b"another", b"\xff", b"x" * 5000])
def test_a_folder_whose_label_is_not_its_own_is_nobodys(text: bytes | None, tmp_path: Path) -> None:
    place = tmp_path / "pictures" / folder_name("a/b")
    place.mkdir(parents=True)
    (place / "0001.jpg").write_bytes(jpeg(0))
    if text is not None:
        (place / LABEL_NAME).write_bytes(text)
    assert opened(tmp_path).by_label == {}


@pytest.mark.parametrize("image", ["", "0" * 63, "../" * 20, "*" * 64, "G" * 64])
def test_what_is_no_hash_names_no_file(image: str, tmp_path: Path) -> None:
    pictures = opened(tmp_path)
    with pytest.raises(UsageError, match="no sha256"):
        pictures.add("cat", image, jpeg(0))
    (tmp_path / "removed").mkdir()
    (tmp_path / "removed" / f"{'0' * 64}.jpg").write_bytes(jpeg(0))
    pictures.change({}, {image: "cat"})
    assert not (tmp_path / "pictures").exists()


def test_links_are_not_followed(tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "0001.jpg").write_bytes(jpeg(0))
    (tmp_path / "pictures" / "dog").mkdir(parents=True)
    (tmp_path / "pictures" / "cat").symlink_to(elsewhere)
    (tmp_path / "pictures" / "dog" / "0001.jpg").symlink_to(elsewhere / "0001.jpg")
    assert opened(tmp_path).by_label == {}


def test_many_threads_teach_at_once(tmp_path: Path) -> None:
    pictures = opened(tmp_path)
    contents = [jpeg(seed) for seed in range(24)]

    def teach(part: list[bytes]) -> None:
        for content in part:
            pictures.add("cat", hashed(content), content)

    threads = [threading.Thread(target=teach, args=(contents[n::4],)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(files(tmp_path / "pictures").values()) == sorted(contents)
