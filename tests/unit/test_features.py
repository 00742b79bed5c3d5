import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from edge.cache import StageCache
from edge.dataset.pictures import Picture
from edge.embedding.features import COMMIT_EVERY, Features, FeatureStore, extract
from edge.errors import OutputError
from edge.evaluation import predictions
from edge.runtime.contract import Preprocessing
from edge.runtime.files import sha256_file
from edge.runtime.session import open_session

ROOT = Path(__file__).parents[2]
MODEL = ROOT / "tests/data/channels_fp32.tflite"
SPEC = Preprocessing(height=16, width=16)
VECTOR = np.array([0.1, -2.5, 3e-38], np.float32)


def picture(path: Path, *colour: int) -> Picture:
    Image.new("RGB", (16, 16), colour).save(path)
    return Picture(path, sha256_file(path))


@pytest.fixture
def pictures(tmp_path: Path) -> list[Picture]:
    return [picture(tmp_path / f"{n:03}.png", n, 255 - n, 40) for n in range(70)]


@pytest.fixture
def invokes(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """One entry for each run of the extractor."""
    counted: list[int] = []

    def counting(path: Path, **options: Any) -> Any:
        session = open_session(path, **options)
        run = session.run

        def counted_run(*tensors: Any) -> Any:
            counted.append(1)
            return run(*tensors)

        session.run = counted_run  # type: ignore[method-assign]
        return session

    monkeypatch.setattr(predictions, "open_session", counting)
    return counted


def run(images: list[Picture], root: Path, spec: Preprocessing = SPEC) -> tuple[Features, int]:
    """The features, and how many images the caller was told of."""
    told: list[int] = []
    found = extract(MODEL, images, spec, cache=StageCache(root), step=told.append)
    return found, sum(told)


# ---- the store


def test_the_store_survives_a_reopen(tmp_path: Path) -> None:
    path = tmp_path / "new" / "features.sqlite"
    with FeatureStore(path) as store:
        assert store.find("net", "image") is None
        store.add("net", [("image", VECTOR), ("other", VECTOR * 2)])
    with FeatureStore(path) as store:
        found = store.find("net", "image")
        assert found is not None
        assert found.dtype == np.float32
        assert np.array_equal(found, VECTOR)
        assert store.find("other net", "image") is None


def test_the_store_survives_a_killed_process(tmp_path: Path) -> None:
    path = tmp_path / "features.sqlite"
    program = (
        "import os, sys, numpy as np\n"
        "from pathlib import Path\n"
        "from edge.embedding.features import FeatureStore\n"
        "store = FeatureStore(Path(sys.argv[1]))\n"
        "store.add('net', [('image', np.arange(3, dtype=np.float32))])\n"
        "os.kill(os.getpid(), 9)\n"
    )
    command = [sys.executable, "-c", program, str(path)]
    assert subprocess.run(command, cwd=ROOT, timeout=60).returncode == -9
    with FeatureStore(path) as store:
        found = store.find("net", "image")
        assert found is not None
        assert found.tolist() == [0, 1, 2]


def test_a_batch_is_kept_whole_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "features.sqlite"
    with FeatureStore(path) as store:
        with pytest.raises(OutputError, match="cannot be written"):
            store.add("net", [("first", VECTOR), (["no text"], VECTOR)])  # type: ignore[list-item]
    with FeatureStore(path) as store:
        assert store.find("net", "first") is None


def test_two_stores_at_once(tmp_path: Path) -> None:
    path = tmp_path / "features.sqlite"
    with FeatureStore(path) as one, FeatureStore(path) as two:
        one.add("net", [("a", VECTOR)])
        two.add("net", [("b", VECTOR), ("a", VECTOR)])
        assert one.find("net", "b") is not None


@pytest.mark.parametrize("suffix", ["", "-wal"])
@pytest.mark.parametrize("kept", [0.0, 0.3, 0.9])
@pytest.mark.parametrize("flipped", [False, True])
def test_a_damaged_store_is_made_anew(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    suffix: str,
    kept: float,
    flipped: bool,
) -> None:
    path = tmp_path / "features.sqlite"
    rows = [(str(n), np.full(500, n, np.float32)) for n in range(20)]
    store = FeatureStore(path)
    store.add("net", rows)
    if suffix:  # as a kill leaves it
        copies = [(item, item.read_bytes()) for item in tmp_path.iterdir()]
        store.__exit__()
        for item, content in copies:
            item.write_bytes(content)
        (tmp_path / "features.sqlite-shm").unlink()
    else:
        store.__exit__()
    damaged = path.with_name(path.name + suffix)
    content = bytearray(damaged.read_bytes())
    if flipped:
        content[int(kept * (len(content) - 1))] ^= 0x10
    else:
        del content[int(kept * len(content)) :]
    damaged.write_bytes(content)
    with FeatureStore(path) as again:
        found = [again.find("net", name) for name, _ in rows]
        again.add("net", rows)
        after = [again.find("net", name) for name, _ in rows]
    for vector, (_, right) in zip(found, rows, strict=True):
        assert vector is None or np.array_equal(vector, right)
    assert all(np.array_equal(a, b) for a, (_, b) in zip(after, rows, strict=True))  # type: ignore[arg-type]


def test_a_vector_that_does_not_fit_is_computed_again(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "features.sqlite"
    with FeatureStore(path) as store:
        store.add("net", [(name, VECTOR) for name in "abcde"])
    wrong = [b"", VECTOR.tobytes(), "text", 3, None]  # the second is as an earlier edge kept it
    with closing(sqlite3.connect(path)) as database, database:
        for name, value in zip("abcde", wrong, strict=True):
            database.execute("UPDATE features SET vector = ? WHERE image = ?", (value, name))
    with FeatureStore(path) as store:
        assert [store.find("net", name) for name in "abcde"] == [None] * 5
    assert "5 features" in capsys.readouterr().err
    with closing(sqlite3.connect(path)) as database, database:
        database.execute("DELETE FROM features WHERE image = 'b'")
    with FeatureStore(path) as store:
        store.add("net", [("a", VECTOR)])
    with closing(sqlite3.connect(path)) as database, database:
        database.execute("UPDATE features SET image = 'b' WHERE image = 'a'")
    with FeatureStore(path) as store:  # a whole vector, of another picture
        assert store.find("net", "b") is None


def test_a_store_that_is_a_text_is_made_anew(tmp_path: Path) -> None:
    (tmp_path / "features.sqlite").write_bytes(b"this is no database, it is a text" * 50)
    with FeatureStore(tmp_path / "features.sqlite") as store:
        store.add("net", [("a", VECTOR)])
        assert store.find("net", "a") is not None


def test_a_store_that_is_a_folder(tmp_path: Path) -> None:
    (tmp_path / "features.sqlite").mkdir()
    with pytest.raises(OutputError, match="feature cache") as caught:
        FeatureStore(tmp_path / "features.sqlite")
    assert "EDGE_CACHE" in caught.value.hint


def test_a_store_below_a_file(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(OutputError, match="feature cache"):
        FeatureStore(tmp_path / "file" / "features.sqlite")


# ---- extraction


def test_a_second_pass_computes_nothing(
    pictures: list[Picture], tmp_path: Path, invokes: list[int]
) -> None:
    first, told = run(pictures, tmp_path / "cache")
    assert (len(invokes), told, first.reused) == (70, 70, 0)
    assert first.vectors.shape == (70, 3)
    assert first.vectors.dtype == np.float32
    invokes.clear()
    second, told = run(pictures, tmp_path / "cache")
    assert (len(invokes), told, second.reused) == (0, 70, 70)
    assert np.array_equal(first.vectors, second.vectors)


def test_only_what_is_new_is_computed(
    pictures: list[Picture], tmp_path: Path, invokes: list[int]
) -> None:
    run(pictures[:10], tmp_path / "cache")
    invokes.clear()
    mixed = [*pictures[5:10][::-1], *pictures[10:13]]
    found, _ = run(mixed, tmp_path / "cache")
    assert (len(invokes), found.reused) == (3, 5)
    alone, _ = run(mixed, tmp_path / "other")
    assert np.array_equal(found.vectors, alone.vectors)  # in the order that was asked for


def test_the_content_counts_and_not_the_name(
    pictures: list[Picture], tmp_path: Path, invokes: list[int]
) -> None:
    run(pictures[:1], tmp_path / "cache")
    copy = tmp_path / "renamed.png"
    copy.write_bytes(pictures[0].path.read_bytes())
    invokes.clear()
    run([Picture(copy, sha256_file(copy))], tmp_path / "cache")
    assert invokes == []


def test_another_contract_gives_other_features(
    pictures: list[Picture], tmp_path: Path, invokes: list[int]
) -> None:
    run(pictures[:2], tmp_path / "cache")
    invokes.clear()
    other = Preprocessing(height=16, width=16, crop_fraction=0.5)
    assert run(pictures[:2], tmp_path / "cache", other)[0].reused == 0
    assert len(invokes) == 2


def test_a_killed_pass_loses_at_most_one_batch(
    pictures: list[Picture], tmp_path: Path, invokes: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    told = []

    def step(count: int) -> None:
        told.append(count)
        if len(told) > COMMIT_EVERY + 2:  # the first call tells of what was known before
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        extract(MODEL, pictures, SPEC, cache=StageCache(tmp_path / "cache"), step=step)
    invokes.clear()
    assert run(pictures, tmp_path / "cache")[0].reused == COMMIT_EVERY
    assert len(invokes) == len(pictures) - COMMIT_EVERY


def test_unreadable_images_are_named_and_not_kept(
    pictures: list[Picture], tmp_path: Path, invokes: list[int]
) -> None:
    bad = tmp_path / "bad.png"
    bad.write_bytes(b"text")
    images = [pictures[0], Picture(bad, sha256_file(bad)), pictures[1]]
    for reused in (0, 2):
        found, told = run(images, tmp_path / "cache")
        assert list(found.problems) == [bad]
        assert "bad.png" in found.problems[bad]
        assert (found.vectors.shape, told, found.reused) == ((2, 3), 3, reused)
    assert np.array_equal(found.vectors, run(pictures[:2], tmp_path / "cache")[0].vectors)


def test_nothing_readable(tmp_path: Path) -> None:
    bad = tmp_path / "bad.png"
    bad.write_bytes(b"text")
    found, _ = run([Picture(bad, sha256_file(bad))], tmp_path / "cache")
    assert len(found.vectors) == 0


def test_a_full_disk_is_an_output_error(pictures: list[Picture], tmp_path: Path) -> None:
    path = tmp_path / "cache" / "features.sqlite"
    with FeatureStore(path) as store:
        store._database.execute("PRAGMA max_page_count = 3")  # of 4096 bytes
        with pytest.raises(OutputError, match="full") as caught:
            store.add("net", [(str(n), np.zeros(1024, np.float32)) for n in range(10)])
        assert "Free some space" in caught.value.hint
    assert run(pictures[:1], tmp_path / "cache")[0].reused == 0  # the file is not spoilt
