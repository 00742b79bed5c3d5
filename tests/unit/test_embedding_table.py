import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edge.embedding.extractor import source_from_json, source_json
from edge.embedding.table import Embeddings, Header, read_embeddings, write_embeddings
from edge.errors import DataError, OutputError
from edge.runtime.contract import Preprocessing, Resize
from edge.training.options import BaseOptions

PATHS = ("cat/a.png", "</script>.jpg", "bad\udcff.png")


def table(**changed: Any) -> Embeddings:
    header = Header(
        extractor="features-1",
        name="net",
        source=source_json(BaseOptions(alpha=0.5)),
        preprocessing=Preprocessing(height=32, width=48),
        root="/photos",
    )
    values: dict[str, Any] = {
        "header": header,
        "vectors": np.arange(12, dtype=np.float32).reshape(3, 4),
        "paths": PATHS,
        "sha256": ("a" * 64, "b" * 64, "c" * 64),
        "classes": ("cat", "", ""),
    }
    return Embeddings(**values | changed)


@pytest.fixture
def written(tmp_path: Path) -> Path:
    write_embeddings(table(), tmp_path / "t.npz")
    return tmp_path / "t.npz"


def rewritten(path: Path, **arrays: Any) -> None:
    """The file with other arrays; None leaves one out."""
    with np.load(path) as archive:
        held: dict[str, Any] = {name: archive[name] for name in archive.files}
    held |= arrays
    np.savez(path, **{name: array for name, array in held.items() if array is not None})


def header(path: Path, **changed: Any) -> Any:
    with np.load(path) as archive:
        value = json.loads(str(archive["header"]))
    return np.array(json.dumps(value | changed))


def test_what_is_written_is_read_again(written: Path) -> None:
    found = read_embeddings(written)
    assert found.header == table().header
    assert found.vectors.dtype == np.float32
    assert np.array_equal(found.vectors, table().vectors)
    assert (found.paths, found.classes) == (PATHS, ("cat", "", ""))
    assert found.sha256 == table().sha256
    assert found.file(0) == Path("/photos/cat/a.png")
    assert source_from_json(found.header.source) == BaseOptions(alpha=0.5)


def test_equal_tables_give_equal_bytes_and_no_pickle(written: Path, tmp_path: Path) -> None:
    write_embeddings(table(), tmp_path / "again.npz")
    assert written.read_bytes() == (tmp_path / "again.npz").read_bytes()
    with np.load(written, allow_pickle=False) as archive:
        assert archive.files and all(archive[name].dtype.kind in "Uf" for name in archive.files)


def test_other_readers_see_plain_arrays(written: Path) -> None:
    with zipfile.ZipFile(written) as archive:
        assert archive.testzip() is None
        assert {*archive.namelist()} == {
            f"{name}.npy" for name in ("header", "vectors", "paths", "sha256", "classes")
        }


@pytest.mark.parametrize("share", [0.0, 0.2, 0.6, 0.99])
def test_a_truncated_file_is_refused(written: Path, share: float) -> None:
    content = written.read_bytes()
    written.write_bytes(content[: int(share * len(content))])
    with pytest.raises(DataError, match=r"cannot be read as an embedding file|is not an embedding"):
        read_embeddings(written)


def test_a_flipped_bit_in_the_vectors_is_seen(written: Path) -> None:
    content = bytearray(written.read_bytes())
    place = content.find(table().vectors.tobytes())
    assert place > 0
    content[place] ^= 1
    written.write_bytes(bytes(content))
    with pytest.raises(DataError, match="CRC"):
        read_embeddings(written)


def test_a_foreign_npz_is_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "x.npz", weights=np.zeros(3))
    with pytest.raises(DataError, match="it holds weights, but no header"):
        read_embeddings(tmp_path / "x.npz")
    np.save(tmp_path / "x.npy", np.zeros(3))
    with pytest.raises(DataError, match="no whole archive"):
        read_embeddings(tmp_path / "x.npy")


def test_pickled_objects_are_not_loaded(written: Path) -> None:
    rewritten(written, paths=np.array([{"a": 1}, "b", "c"], dtype=object))
    with pytest.raises(DataError, match=r"only plain numbers and strings are read"):
        read_embeddings(written)


@pytest.mark.parametrize(
    ("arrays", "said"),
    [
        ({"vectors": np.zeros((3, 4))}, "vectors are float64"),
        ({"vectors": np.zeros((3, 0), np.float32)}, "of shape"),
        ({"vectors": np.zeros((2, 4), np.float32)}, "2 vectors and paths"),
        ({"vectors": np.full((3, 4), np.nan, np.float32)}, "not finite"),
        ({"sha256": np.zeros(3)}, "sha256"),
        ({"classes": None}, "no classes"),
        ({"header": np.array("no json")}, "no JSON"),
        ({"header": np.array("{}")}, "does not say that edge wrote it"),
    ],
)
def test_damaged_parts_are_refused(written: Path, arrays: dict[str, Any], said: str) -> None:
    rewritten(written, **arrays)
    with pytest.raises(DataError, match=said):
        read_embeddings(written)


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"schema_version": 9}, "schema_version is 9; this edge reads 1"),
        ({"preprocessing": {}}, "preprocessing cannot be read"),
        ({"source": "mobilenet"}, 'source is "mobilenet", expected an object'),
    ],
)
def test_other_headers_are_refused(written: Path, changed: dict[str, Any], said: str) -> None:
    rewritten(written, header=header(written, **changed))
    with pytest.raises(DataError, match=said):
        read_embeddings(written)


def test_a_missing_file_and_a_place_that_cannot_be_written(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no embedding file"):
        read_embeddings(tmp_path / "x.npz")
    with pytest.raises(OutputError, match="cannot be written"):
        write_embeddings(table(), tmp_path / "none" / "x.npz")


def test_paths_of_a_source_hold_from_everywhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    options = BaseOptions(backbone="own.keras", resize=Resize.STRETCH)
    assert source_json(options)["backbone"] == str(tmp_path / "own.keras")
    assert source_json(BaseOptions(weights="w.h5"))["weights"] == str(tmp_path / "w.h5")
    assert source_json(BaseOptions())["weights"] == "imagenet"
    assert source_from_json(source_json(Path("bundle"))) == tmp_path / "bundle"


@pytest.mark.parametrize(
    "value", [{}, {"kind": "pickle"}, {"kind": "bundle"}, {"kind": "backbone", "resize": "x"}]
)
def test_an_unknown_source_is_refused(value: dict[str, Any]) -> None:
    with pytest.raises(DataError, match="the source of the embedding file"):
        source_from_json(value)
