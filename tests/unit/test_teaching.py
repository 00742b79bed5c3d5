"""The teacher: pictures come and go, steps are taken back, and nobody's work is lost."""

import hashlib
import io
import os
import resource
import shutil
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from edge.errors import BundleError, InferenceError, OutputError, UsageError
from edge.runtime.bundle import Bundle
from edge.runtime.classifier import Classifier
from edge.runtime.output import TAUGHT_NAME, HeadKind
from edge.runtime.teach import teacher as teaching
from edge.runtime.teach.history import MOST_STEPS
from edge.runtime.teach.lesson import (
    KNOWN_PICTURE,
    NEAR,
    NEAR_PICTURE,
    TAUGHT_ELSEWHERE,
    thumbnail_of,
)
from edge.runtime.teach.taught import Taught, read_taught, write_taught
from edge.runtime.teach.teacher import LessonPicture, Teacher, near_duplicate
from tests.unit.head_bundle import bundle_to_begin_with, head_bundle

POINTS = 60


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return head_bundle(tmp_path_factory.mktemp("teaching") / "bundle", HeadKind.IMPRINTED)


@pytest.fixture
def bundle(made: Path, tmp_path: Path) -> Bundle:
    return Bundle.open(Path(shutil.copytree(made, tmp_path / "bundle")))


@pytest.fixture
def teacher(bundle: Bundle) -> Teacher:
    return Teacher(bundle, bundle.manifest.variant())


def vector(number: int) -> np.ndarray:
    """Points spread over a sphere (Fibonacci's): those of different numbers are no duplicates."""
    height = 1 - 2 * (number % POINTS + 0.5) / POINTS
    turn = 2.399963 * number
    radius = np.sqrt(1 - height**2)
    return np.array([radius * np.cos(turn), radius * np.sin(turn), height], np.float32)


def shown(number: int, size: tuple[int, int] = (64, 48)) -> bytes:
    """A JPEG file; every number gives another."""
    stream = io.BytesIO()
    noise = np.random.default_rng(number).integers(0, 256, (size[1], size[0], 3), np.uint8)
    Image.fromarray(noise).save(stream, "JPEG")
    return stream.getvalue()


def digest(number: int) -> str:
    return hashlib.sha256(shown(number)).hexdigest()


def learn(teacher: Teacher, label: str, *numbers: int, burst: str = "") -> None:
    for number in numbers:
        assert teacher.add(label, shown(number), vector(number), burst).learnt


def on_disk(teacher: Teacher) -> dict[str, int]:
    taught = read_taught(teacher.bundle)
    return {} if taught is None else taught.labels


def test_pictures_are_learnt_with_burst_and_thumbnail(teacher: Teacher) -> None:
    first = teacher.add("sea", shown(1), vector(1), "press 1")
    assert (first.label, first.image, first.learnt, first.why) == ("sea", digest(1), True, "")
    taught = read_taught(teacher.bundle)
    assert taught is not None
    assert taught.examples[0].burst == "press 1"
    assert teacher.thumbnail(digest(1)) == taught.examples[0].thumbnail
    assert Image.open(io.BytesIO(teacher.thumbnail(digest(1)))).size == (64, 48)
    again = teacher.add("sea", shown(1), vector(1))
    assert (again.learnt, again.why) == (False, KNOWN_PICTURE)
    near = teacher.add("sea", shown(2), vector(1) * 3)
    assert (near.learnt, near.why) == (False, NEAR_PICTURE)
    assert teacher.add("land", shown(2), vector(1)).learnt  # another class may have it
    assert on_disk(teacher) == {"sea": 1, "land": 1}
    with pytest.raises(UsageError, match="no small picture"):
        teacher.thumbnail("0" * 64)
    # It answers with it.
    assert Classifier.open(teacher.bundle).labels[-2:] == ("sea", "land")


def test_the_bound_of_near_duplicates(teacher: Teacher) -> None:
    learn(teacher, "sea", 1)
    unit = np.array([1, 0, 0], np.float32)
    taught = Taught(variant="v", model="m", examples=teacher.taught.examples, vectors=unit[None])
    for cosine, found in ((NEAR + 1e-3, digest(1)), (NEAR - 1e-3, None)):
        asked = np.array([cosine, np.sqrt(1 - cosine**2), 0], np.float32)
        assert near_duplicate(taught, "sea", 7 * asked) == found
        assert near_duplicate(taught, "land", asked) is None


def test_many_pictures_are_learnt_with_one_writing(
    teacher: Teacher, monkeypatch: pytest.MonkeyPatch
) -> None:
    writings = []

    def counted(bundle: Bundle, taught: Taught) -> None:
        writings.append(len(taught.examples))
        write_taught(bundle, taught)

    monkeypatch.setattr(teaching, "write_taught", counted)
    pictures = [LessonPicture.of(shown(number), vector(number)) for number in range(5)]
    twin = LessonPicture.of(shown(9), vector(4))
    found = teacher.add_all("sea", [*pictures, pictures[0], twin], "x", near=False)
    assert [item.why for item in found] == ["", "", "", "", "", KNOWN_PICTURE, NEAR_PICTURE]
    assert teacher.add_all("sea", [twin], "x", near=True)[0].learnt
    assert teacher.add_all("sea", [twin], "x", near=True)[0].why == KNOWN_PICTURE
    assert writings == [5, 6]


def test_what_cannot_be_learnt_is_refused(teacher: Teacher) -> None:
    learn(teacher, "sea", 1)
    before = (teacher.bundle.path / TAUGHT_NAME).read_bytes()
    refused: tuple[tuple[str, np.ndarray, str, type[Exception]], ...] = (
        ("Red", vector(2), "", UsageError),
        ("SEA", vector(2), "", UsageError),
        ("a\nb", vector(2), "", UsageError),
        ("land", vector(2), "x" * 65, UsageError),
        ("land", vector(2), "a\x00", UsageError),
        ("land", np.zeros(4, np.float32), "", InferenceError),
        ("land", np.full(3, np.nan, np.float32), "", InferenceError),
    )
    for label, wrong, burst, kind in refused:
        with pytest.raises(kind):
            teacher.add(label, shown(2), wrong, burst)
    for label, to in (("sea", "Red"), ("sea", " "), ("red", "x"), ("unknown", "x")):
        with pytest.raises(UsageError):
            teacher.rename(label, to)
    with pytest.raises(UsageError, match="none of these"):
        teacher.remove([digest(7)])
    with pytest.raises(UsageError, match="no class 'land'"):
        teacher.forget("land")
    assert (teacher.bundle.path / TAUGHT_NAME).read_bytes() == before
    assert teacher.undoable == "teaching a picture of sea"


def test_there_are_bounds(teacher: Teacher, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(teaching, "MOST_PICTURES", 3)
    monkeypatch.setattr(teaching, "MOST_CLASSES", 2)
    learn(teacher, "a", 1)
    learn(teacher, "b", 2)
    with pytest.raises(UsageError, match="3 classes; at most 2"):
        teacher.add("c", shown(3), vector(3))
    learn(teacher, "b", 3)
    with pytest.raises(UsageError, match="4 pictures; at most 3"):
        teacher.add("b", shown(4), vector(4))
    assert on_disk(teacher) == {"a": 1, "b": 2}
    assert teacher.rename("a", "c") == 1


def test_every_step_can_be_taken_back(teacher: Teacher) -> None:
    """Each state is whole again: labels, order, bursts, thumbnails and vectors."""

    def state() -> tuple[object, list[list[float]]]:
        return teacher.taught.examples, teacher.taught.vectors.tolist()

    states = [state()]
    steps = (
        lambda: learn(teacher, "sea", 1),
        lambda: learn(teacher, "land", 2),
        lambda: learn(teacher, "sea", 3),
        lambda: learn(teacher, "land", 6),
        lambda: teacher.rename("land", "sea"),
        lambda: learn(teacher, "shore", 4),
        lambda: teacher.rename("shore", "red"),
        lambda: teacher.remove([digest(1)]),
        lambda: teacher.forget("red"),
        lambda: teacher.rename("sea", "ocean"),
        lambda: teacher.forget_all(),
        lambda: learn(teacher, "sky", 5),
    )
    for step in steps:
        step()
        states.append(state())
    assert teacher.undoable == "teaching a picture of sky"
    for expected in reversed(states[:-1]):
        teacher.undo()
        assert state() == expected
        kept = read_taught(teacher.bundle)
        assert expected[0] == (() if kept is None else kept.examples)
        assert expected[1] == ([] if kept is None else kept.vectors.tolist())
    assert not (teacher.bundle.path / TAUGHT_NAME).exists()
    assert teacher.undoable == ""
    assert teacher.state() is None
    fresh = Teacher(teacher.bundle, teacher.variant)
    with pytest.raises(UsageError, match="nothing to take back"):
        fresh.undo()


def test_a_picture_shows_one_class(teacher: Teacher) -> None:
    learn(teacher, "sea", 1)
    again = teacher.add("land", shown(1), vector(1))
    assert (again.learnt, again.why) == (False, TAUGHT_ELSEWHERE.format("sea"))
    assert on_disk(teacher) == {"sea": 1}
    teacher.remove([digest(1)])
    learn(teacher, "land", 1)
    assert on_disk(teacher) == {"land": 1}


def test_files_that_were_added_together_are_one_step(teacher: Teacher) -> None:
    for number in (1, 2, 3):
        assert teacher.add("sea", shown(number), vector(number), f"file {number}", step="s").learnt
    assert len({item.burst for item in teacher.taught.examples}) == 3  # each is judged by itself
    assert teacher.undoable == "teaching 3 pictures of sea"
    teacher.undo()
    assert on_disk(teacher) == {}


def test_one_press_is_one_step(teacher: Teacher) -> None:
    learn(teacher, "sea", 1, 2, 3, burst="p1")
    learn(teacher, "sea", 4, 5, burst="p2")
    learn(teacher, "sea", 6, 7)  # nobody says that these belong together
    assert teacher.undo() == "teaching a picture of sea"
    assert teacher.undo() == "teaching a picture of sea"
    assert teacher.undo() == "teaching 2 pictures of sea"
    assert on_disk(teacher) == {"sea": 3}
    assert teacher.undo() == "teaching 3 pictures of sea"
    assert on_disk(teacher) == {}


def test_the_last_steps_are_kept(teacher: Teacher) -> None:
    learn(teacher, "sea", *range(MOST_STEPS + 5))
    for _ in range(MOST_STEPS):
        teacher.undo()
    assert on_disk(teacher) == {"sea": 5}
    with pytest.raises(UsageError, match="nothing to take back"):
        teacher.undo()


def test_two_teachers_lose_nothing(bundle: Bundle, teacher: Teacher) -> None:
    other = Teacher(bundle, bundle.manifest.variant())
    learn(teacher, "sea", 1)
    learn(other, "land", 2)
    assert teacher.undoable == ""
    with pytest.raises(UsageError, match="somebody else"):
        teacher.undo()
    assert on_disk(teacher) == {"sea": 1, "land": 1}
    learn(teacher, "sea", 3)
    assert on_disk(teacher) == {"sea": 2, "land": 1}
    assert other.taught.labels == {"sea": 2, "land": 1}
    assert teacher.undo() == "teaching a picture of sea"
    assert on_disk(other) == {"sea": 1, "land": 1}
    other.forget_all()
    assert teacher.taught.labels == {}
    assert teacher.state() is None
    with pytest.raises(UsageError, match="nothing was"):
        teacher.forget("sea")


def test_threads_lose_nothing(bundle: Bundle, teacher: Teacher) -> None:
    teachers = [teacher, teacher, Teacher(bundle, bundle.manifest.variant())]
    threads = [
        threading.Thread(target=learn, args=(one, f"class {at}", *range(10 * at, 10 * at + 8)))
        for at, one in enumerate(teachers)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert on_disk(teacher) == {"class 0": 8, "class 1": 8, "class 2": 8}


def test_what_it_is_worth_is_computed_when_it_changes(
    teacher: Teacher, monkeypatch: pytest.MonkeyPatch
) -> None:
    learn(teacher, "sea", 1, 2, burst="p1")  # beside the classes of the release
    first = teacher.assessment()
    assert teacher.assessment() is first
    assert (first.pictures, first.held_out) == (2, "picture")
    learn(teacher, "sea", 3, burst="p2")
    second = teacher.assessment()
    assert (second.pictures, second.held_out) == (3, "press")
    state = teacher.state()
    assert state is not None
    assert state["undo"] == "teaching a picture of sea"
    assert {"classes", "right", "pictures", "accuracy", "low", "high"} < state.keys()
    assert {"held_out", "note", "confusion", "remove"} < state.keys()
    assert state["classes"][0]["bursts"] == 2
    Teacher(teacher.bundle, teacher.variant).forget("sea")
    assert teacher.assessment().pictures == 0


@pytest.fixture
def full_disk() -> Iterator[None]:
    """No file may grow beyond nothing: a write fails as on a full disk."""
    import signal

    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, before)
    signal.signal(signal.SIGXFSZ, handler)


@pytest.fixture
def with_pictures(teacher: Teacher) -> Teacher:
    learn(teacher, "sea", 1, 2)
    learn(teacher, "land", 3)
    return teacher


def test_a_full_disk_leaves_what_was_taught(with_pictures: Teacher, full_disk: None) -> None:
    teacher = with_pictures
    before = (teacher.bundle.path / TAUGHT_NAME).read_bytes()
    for change in (
        lambda: teacher.add("sea", shown(4), vector(4)),
        lambda: teacher.rename("sea", "ocean"),
        lambda: teacher.remove([digest(1)]),
        lambda: teacher.forget("land"),
        lambda: teacher.undo(),
    ):
        with pytest.raises(OutputError, match=r"taught.npz cannot be written"):
            change()
        assert (teacher.bundle.path / TAUGHT_NAME).read_bytes() == before
        assert teacher.taught.labels == {"sea": 2, "land": 1}
    assert teacher.undoable == "teaching a picture of land"
    assert not list(teacher.bundle.path.glob(".*.tmp"))


def _cut(replaced: Callable[[Path, Path], Path], after: bool) -> Callable[[Path, Path], Path]:
    """What ends the process in place of the rename, or right after it."""

    def cut(path: Path, target: Path) -> Path:
        if after:
            replaced(path, target)
        os._exit(0)

    return cut


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")  # the child runs on in no thread
def test_a_power_cut_leaves_the_old_or_the_new(with_pictures: Teacher) -> None:
    """A child ends at the moment of the rename: before it, or after it."""
    teacher = with_pictures
    for after, expected in ((False, {"sea": 2, "land": 1}), (True, {"sea": 3, "land": 1})):
        child = os.fork()
        if child == 0:
            Path.replace = _cut(Path.replace, after)  # type: ignore[method-assign]
            teacher.add("sea", shown(4), vector(4))
            os._exit(1)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        assert on_disk(teacher) == expected
        assert teacher.taught.labels == expected
    learn(teacher, "sea", 5)  # takes away what was left
    assert not list(teacher.bundle.path.glob(".*.tmp"))


def test_another_model_is_refused_but_can_be_forgotten(bundle: Bundle, teacher: Teacher) -> None:
    learn(teacher, "sea", 1, 2)
    other = Teacher(bundle, bundle.manifest.variant("tflite-int8"))
    with pytest.raises(UsageError, match="do not fit tflite-int8"):
        other.add("sea", shown(3), vector(3))
    with pytest.raises(UsageError, match="do not fit tflite-int8"):
        other.assessment()
    assert other.rename("sea", "ocean") == 2
    assert other.forget("ocean") == {"ocean": 2}


def test_a_broken_file_is_said_and_can_be_forgotten(teacher: Teacher) -> None:
    learn(teacher, "sea", 1)
    path = teacher.bundle.path / TAUGHT_NAME
    path.write_bytes(path.read_bytes()[:-30])
    for ask in (lambda: teacher.taught, teacher.state, lambda: teacher.forget("sea")):
        with pytest.raises(BundleError, match="cannot be read"):
            ask()
    with pytest.raises(BundleError):
        teacher.add("sea", shown(2), vector(2))
    assert teacher.forget_all() == {}
    assert not path.exists()
    learn(teacher, "sea", 2)


def test_vectors_of_another_length_are_refused(teacher: Teacher) -> None:
    learn(teacher, "sea", 1)
    taught = teacher.taught
    wider = Taught(
        variant=taught.variant,
        model=taught.model,
        examples=taught.examples,
        vectors=np.ones((1, 4), np.float32),
    )
    write_taught(teacher.bundle, wider)
    with pytest.raises(BundleError, match="4 features"):
        teacher.assessment()


def test_thumbnails_are_small_whatever_the_picture_is() -> None:
    for size in ((640, 480), (480, 640), (4000, 30), (20, 10), (1, 1)):
        content = thumbnail_of(io.BytesIO(shown(1, size)))
        made = Image.open(io.BytesIO(content))
        assert made.format == "JPEG"
        assert max(made.size) <= 96
        assert len(content) <= 8000
    assert thumbnail_of(io.BytesIO(b"no picture")) == b""
    stream = io.BytesIO()
    Image.new("RGBA", (200, 100), (255, 0, 0, 128)).save(stream, "PNG")
    assert Image.open(io.BytesIO(thumbnail_of(stream))).size == (96, 48)


def test_a_bundle_without_classes_is_taught_from_nothing(tmp_path: Path) -> None:
    for kind in HeadKind:
        bundle = Bundle.open(bundle_to_begin_with(tmp_path / str(kind), kind))
        teacher = Teacher(bundle, bundle.manifest.variant())
        assert teacher.state() is None
        assert teacher.assessment().accuracy is None
        learn(teacher, "a", 0, 10, burst="1")
        learn(teacher, "a", 20, burst="2")
        learn(teacher, "b", 1, 2, burst="1")
        found = teacher.assessment()
        assert (found.pictures, found.judged) == (5, 5)
        assert [item.held_out for item in found.classes] == ["press", "picture"]
        teacher.forget_all()
        assert teacher.undo() == "forgetting all 5 pictures"
        assert on_disk(teacher) == {"a": 3, "b": 2}
