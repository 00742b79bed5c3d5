"""A session that was cut short: the next start makes pictures and ``taught.npz`` agree again."""

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest

from edge.cache import StageCache
from edge.errors import BundleError, OutputError
from edge.live import pictures as module
from edge.live.index import Index
from edge.live.pictures import Pictures
from edge.live.session import LiveSession, SessionKeeper, open_session
from edge.progress import Silent
from edge.runtime.bundle import Bundle
from edge.runtime.command_line import main
from edge.runtime.teach.taught import read_taught
from edge.runtime.teach.teacher import Teacher
from tests.unit.conftest import encoded, noise

SEEDS = {"cat": (0, 1), "dog": (2, 3)}


class Notes(Silent):
    """Progress that keeps its notes."""

    def __init__(self) -> None:
        self.texts: list[str] = []

    def note(self, text: str) -> None:
        self.texts.append(text)


class Live:
    """A session that is open, with what its page would do."""

    def __init__(self, session: LiveSession) -> None:
        bundle = Bundle.open(session.bundle)
        self.folder, self.pictures = session.folder, session.pictures
        self.taught = session.taught
        self.teacher = Teacher(bundle, bundle.manifest.variant())
        assert session.keeper is not None
        self.keeper = session.keeper

    def teach(self, label: str, *seeds: int, burst: str = "") -> None:
        for seed in seeds:
            content, vector = jpeg(seed), np.zeros(self.teacher.features, np.float32)
            vector[seed % len(vector)] = 1.0
            assert self.teacher.add(label, content, vector, burst).learnt
            self.keeper.taught(label, hashed(seed), content, burst)

    def follow(self) -> None:
        examples = self.teacher.taught.examples
        self.keeper.changed({item.image: item.label for item in examples})

    def killed(self) -> Path:
        """Return the folder as a kill at this moment would leave it."""
        return Path(shutil.copytree(self.folder, self.folder.with_name("killed")))


def jpeg(seed: int) -> bytes:
    return encoded(noise(seed), "JPEG")


def hashed(seed: int) -> str:
    return sha256(jpeg(seed)).hexdigest()


def kept(folder: Path) -> dict[str, list[int]]:
    """Which pictures lie in the folder of each class, by their seeds."""
    seeds = {hashed(seed): seed for seed in range(10)}
    found: dict[str, list[int]] = {}
    for path in sorted((folder / "pictures").rglob("*.jpg")):
        seed = seeds[sha256(path.read_bytes()).hexdigest()]
        found.setdefault(path.parent.name, []).append(seed)
    return {label: sorted(images) for label, images in found.items()}


@pytest.fixture
def live(tmp_path: Path, cache: StageCache) -> Iterator[Live]:
    """Two cats and two dogs are taught."""
    with open_session(tmp_path / "s", cache, Silent()) as session:
        opened = Live(session)
        for label, seeds in SEEDS.items():
            opened.teach(label, *seeds)
        yield opened


@contextmanager
def again(folder: Path, cache: StageCache, *words: str) -> Iterator[Live]:
    """Start again, and expect one note with these words, or none."""
    notes = Notes()
    with open_session(folder, cache, notes) as session:
        assert len(notes.texts) == bool(words), notes.texts
        for word in words:
            assert word in notes.texts[0]
        yield Live(session)


def assert_settled(folder: Path, cache: StageCache) -> None:
    """A further start has nothing to mend."""
    before = kept(folder)
    with again(folder, cache):
        assert kept(folder) == before
    assert not (folder / "removed").exists()


def test_forgotten_pictures_do_not_come_back(live: Live, cache: StageCache) -> None:
    place = live.folder / "pictures"
    (place / "cat" / "0009.jpg").write_bytes(jpeg(7))
    (place / "fox").mkdir()
    (place / "fox" / "0001.jpg").write_bytes(jpeg(0))  # a copy that a person made elsewhere
    live.teacher.forget("cat")
    folder = live.killed()
    with again(folder, cache, "2 pictures that are no longer taught were taken out of") as next_one:
        assert next_one.taught == 2
        assert kept(folder) == {"cat": [7], "dog": [2, 3], "fox": [0]}
    assert_settled(folder, cache)


def test_forgetting_that_began_is_ended_even_where_nothing_is_left(
    live: Live, cache: StageCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    for label in SEEDS:
        live.teacher.forget(label)
    done: list[Path] = []
    rename = module._rename

    def cut_short(source: Path, target: Path) -> None:
        if done:
            raise OSError("killed")
        done.append(source)
        rename(source, target)

    with monkeypatch.context() as patch, pytest.raises(OutputError, match="killed"):
        patch.setattr(module, "_rename", cut_short)
        live.follow()
    folder = live.killed()
    with again(folder, cache, "3 pictures that are no longer taught"):
        assert kept(folder) == {}
    assert_settled(folder, cache)


def test_pictures_that_are_taught_are_taken_out_of_what_was_removed(
    live: Live, cache: StageCache
) -> None:
    live.teacher.forget("cat")
    live.follow()
    live.teacher.undo()
    folder = live.killed()
    with again(folder, cache, "2 taught pictures were put back") as next_one:
        assert next_one.taught == 4
        assert kept(folder) == {"cat": [0, 1], "dog": [2, 3]}
    assert_settled(folder, cache)


def test_a_renaming_that_was_cut_short_is_ended(live: Live, cache: StageCache) -> None:
    live.teacher.rename("cat", "pet")
    folder = live.killed()
    with again(folder, cache, "2 pictures went to the folder of the class"):
        assert kept(folder) == {"dog": [2, 3], "pet": [0, 1]}
    assert_settled(folder, cache)


def test_a_taught_picture_without_a_file_is_counted(live: Live, cache: StageCache) -> None:
    vector = np.ones(live.teacher.features, np.float32)
    live.teacher.add("fox", jpeg(5), vector)
    folder = live.killed()
    with again(folder, cache, "1 taught picture has no file", "not part of an export"):
        assert kept(folder) == {"cat": [0, 1], "dog": [2, 3]}
    notes = Notes()
    with open_session(folder, cache, notes, keeps=False):
        assert notes.texts == []  # none is to have one


def test_what_a_person_moved_stays_there(live: Live, cache: StageCache) -> None:
    place = live.folder / "pictures"
    (place / "cat" / "0001.jpg").rename(place / "dog" / "0007.jpg")
    folder = live.killed()
    with again(folder, cache):
        assert kept(folder) == {"cat": [1], "dog": [0, 2, 3]}


def test_nothing_that_is_taught_is_deleted_at_the_end(
    tmp_path: Path, cache: StageCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_: SessionKeeper, __: dict[str, str]) -> None:
        raise OutputError("full", hint="full")

    with open_session(tmp_path / "s", cache, Silent()) as session:
        opened = Live(session)
        opened.teach("cat", 0, 1)
        opened.teacher.forget("cat")
        opened.follow()
        opened.teacher.undo()
        with monkeypatch.context() as patch, pytest.raises(OutputError):
            patch.setattr(SessionKeeper, "changed", full)
            opened.follow()
    assert kept(tmp_path / "s") == {"cat": [0, 1]}
    assert_settled(tmp_path / "s", cache)


def test_a_damaged_store_names_a_way_out_that_works(
    tmp_path: Path, live: Live, cache: StageCache
) -> None:
    folder = live.killed()
    with again(folder, cache):
        pass
    (folder / "pictures" / "dog" / "0009.jpg").write_bytes(jpeg(7))
    store = folder / "bundle" / "taught.npz"
    store.write_bytes(b"PK damaged")
    for _ in range(2):
        with pytest.raises(BundleError, match=r"taught\.npz") as caught:
            with open_session(folder, cache, Silent()):
                pass
        assert f"Delete {store} and start again: the 4 pictures" in caught.value.hint
    assert store.read_bytes() == b"PK damaged"
    assert kept(folder) == {"cat": [0, 1], "dog": [2, 3, 7]}

    store.unlink()
    with again(folder, cache, "4 pictures", "were taught anew") as next_one:
        assert next_one.taught == 4
        taught = read_taught(Bundle.open(folder / "bundle"))
        assert taught is not None and taught.labels == {"cat": 2, "dog": 2}
        assert len({(item.label, item.burst) for item in taught.examples}) == 2
        assert all(item.thumbnail and item.burst for item in taught.examples)
        assert kept(folder) == {"cat": [0, 1], "dog": [2, 3, 7]}
    assert_settled(folder, cache)
    assert main(["predict", str(folder / "bundle"), str(folder / "pictures/cat/0001.jpg")]) == 0


def presses(folder: Path) -> dict[str, set[str]]:
    """The presses of each class, as the index has them."""
    known = Pictures(folder / "pictures", folder / "removed").known
    return {label: set(paths.values()) for label, paths in known.items()}


def test_presses_survive_a_new_name_forgetting_undo_and_kills(
    tmp_path: Path, cache: StageCache
) -> None:
    with open_session(tmp_path / "s", cache, Silent()) as session:
        live = Live(session)
        live.teach("cat", 0, 1, burst="p1")
        live.teach("cat", 2, burst="p2")
        live.teach("dog", 3, burst="p1")
        live.teacher.rename("cat", "pet")
        live.follow()
        assert presses(live.folder) == {"pet": {"p1", "p2"}, "dog": {"p1"}}
        live.teacher.forget("pet")
        live.follow()
        assert presses(live.folder) == {"dog": {"p1"}}
        live.teacher.undo()
        folder = live.killed()
        live.follow()
        assert presses(live.folder) == {"pet": {"p1", "p2"}, "dog": {"p1"}}
    assert presses(tmp_path / "s") == {"pet": {"p1", "p2"}, "dog": {"p1"}}
    with again(folder, cache, "3 taught pictures were put back"):
        pass
    assert presses(folder) == {"pet": {"p1", "p2"}, "dog": {"p1"}}
    (folder / "pictures/dog/0001.jpg").rename(folder / "pictures/pet/0009.jpg")  # by hand
    with again(folder, cache):
        assert presses(folder) == {"pet": {"p1", "p2"}}


def test_what_was_lost_is_taught_anew_by_its_presses(tmp_path: Path, cache: StageCache) -> None:
    folder = tmp_path / "s"
    with open_session(folder, cache, Silent()) as session:
        live = Live(session)
        live.teach("cat", 0, burst="p1")
        live.teach("cat", 1, burst="p2")
        live.teach("dog", 2, 3)
    shutil.rmtree(folder / "bundle")
    with again(folder, cache, "4 pictures", "were taught anew"):
        pass
    taught = read_taught(Bundle.open(folder / "bundle"))
    assert taught is not None
    bursts = [taught.bursts[hashed(seed)] for seed in range(4)]
    assert bursts[:2] == ["p1", "p2"] and bursts[2] == bursts[3] not in ("", "p1", "p2")


def test_an_index_of_an_older_edge_gets_the_presses_of_what_is_taught(
    tmp_path: Path, cache: StageCache
) -> None:
    folder = tmp_path / "s"
    with open_session(folder, cache, Silent()) as session:
        Live(session).teach("cat", 0, 1, burst="p1")
        Live(session).teach("cat", 2)
    index = folder / "pictures.jsonl"
    rows = [json.loads(line) for line in index.read_text(encoding="utf-8").splitlines()]
    index.write_text("".join(json.dumps(row[:2]) + "\n" for row in rows), encoding="utf-8")
    assert presses(folder) == {"cat": {""}}
    with again(folder, cache):
        pass
    assert presses(folder) == {"cat": {"p1", ""}}


def test_a_damaged_store_without_pictures_says_what_is_lost(
    tmp_path: Path, cache: StageCache
) -> None:
    with open_session(tmp_path / "s", cache, Silent()) as session:
        store = session.bundle / "taught.npz"
    store.write_bytes(b"PK damaged")
    with pytest.raises(BundleError, match=r"taught\.npz") as caught:
        with open_session(tmp_path / "s", cache, Silent()):
            pass
    assert "knows nothing then" in caught.value.hint
    store.unlink()
    with again(tmp_path / "s", cache) as next_one:
        assert next_one.taught == 0


def test_a_bundle_that_was_deleted_is_taught_anew(live: Live, cache: StageCache) -> None:
    folder = live.killed()
    with again(folder, cache):
        pass
    shutil.rmtree(folder / "bundle")
    with again(folder, cache, "4 pictures", "were taught anew") as next_one:
        assert next_one.taught == 4
    assert_settled(folder, cache)


def test_a_kill_before_the_first_picture_leaves_is_as_if_nothing_was_forgotten(
    live: Live, cache: StageCache
) -> None:
    for label in SEEDS:
        live.teacher.forget(label)
    folder = live.killed()
    with again(folder, cache, "were taught anew") as next_one:
        assert next_one.taught == 4


def test_pictures_of_a_store_that_somebody_deleted_are_kept(live: Live, cache: StageCache) -> None:
    folder = live.killed()
    with again(folder, cache):
        pass
    (folder / "bundle" / "taught.npz").unlink()
    words = "4 pictures", "are kept and not taught", f"delete {folder / 'bundle'}"
    with again(folder, cache, *words) as next_one:
        assert next_one.taught == 0
        next_one.teach("fox", 5)
    with again(folder, cache):
        assert kept(folder) == {"cat": [0, 1], "dog": [2, 3], "fox": [5]}
    shutil.rmtree(folder / "bundle")
    with again(folder, cache, "5 pictures", "were taught anew"):
        assert kept(folder) == {"cat": [0, 1], "dog": [2, 3], "fox": [5]}


def test_what_is_forgotten_while_no_picture_is_kept_leaves_the_folder(
    live: Live, cache: StageCache
) -> None:
    folder = live.killed()
    with open_session(folder, cache, Silent(), keeps=False) as session:
        bundle = Bundle.open(session.bundle)
        Teacher(bundle, bundle.manifest.variant()).forget_all()
    assert kept(folder) == {}
    assert_settled(folder, cache)


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"\xff\xfe\n[]\n{}\n[1, 2]\n[null, null]\n",
        b'["' + b"0" * 64 + b'", 3]\n["../x", "cat/0001.jpg"]\n' + b"[" * 100_000 + b"\n",
    ],
)
def test_an_index_that_says_nothing_takes_nothing_away(
    text: bytes, live: Live, cache: StageCache
) -> None:
    live.teacher.forget("cat")
    folder = live.killed()
    (folder / "pictures.jsonl").write_bytes(text)
    with again(folder, cache):
        assert kept(folder) == {"cat": [0, 1], "dog": [2, 3]}
    with again(folder, cache) as next_one:  # what is taught is edge's own all the same
        next_one.teacher.forget("dog")
        next_one.follow()
        assert kept(folder) == {"cat": [0, 1]}


def test_a_torn_line_spoils_no_other_one(tmp_path: Path) -> None:
    pictures = Pictures(tmp_path / "pictures", tmp_path / "removed")
    pictures.add("cat", hashed(0), jpeg(0))
    with pictures.index.open("ab") as stream:
        stream.write(b'["01234')
    again = Pictures(tmp_path / "pictures", tmp_path / "removed")
    again.add("cat", hashed(1), jpeg(1))
    index = Index(pictures.index)
    assert index.wrote(hashed(0), "cat/0001.jpg") and index.wrote(hashed(1), "cat/0002.jpg")
    assert not index.wrote(hashed(1), "cat/0001.jpg")
