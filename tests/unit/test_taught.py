"""The store of what was taught: its two versions, its changes, and what it refuses to read."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edge.errors import BundleError
from edge.runtime.bundle import Bundle
from edge.runtime.classifier import Classifier
from edge.runtime.command_line import main
from edge.runtime.head import npz
from edge.runtime.output import TAUGHT_NAME, HeadKind
from edge.runtime.teach.taught import (
    MOST_THUMBNAIL_BYTES,
    Example,
    Taught,
    read_taught,
    write_taught,
)
from tests.unit.head_bundle import head_bundle, picture


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return head_bundle(tmp_path_factory.mktemp("store") / "bundle", HeadKind.IMPRINTED)


@pytest.fixture
def bundle(made: Path, tmp_path: Path) -> Bundle:
    return Bundle.open(Path(shutil.copytree(made, tmp_path / "bundle")))


def taught_of(*rows: tuple[str, str]) -> Taught:
    """Pictures (label, image), each with a vector, a burst and a thumbnail of its own."""
    return Taught(
        variant="tflite-fp32",
        model="ab" * 32,
        examples=tuple(
            Example(label=label, image=image, burst=f"press {image}", thumbnail=b"\xff" * number)
            for number, (label, image) in enumerate(rows)
        ),
        vectors=np.arange(3 * len(rows), dtype=np.float32).reshape(-1, 3),
    )


def same(one: Taught | None, other: Taught) -> bool:
    return (
        one is not None
        and one.examples == other.examples
        and np.array_equal(one.vectors, other.vectors)
        and (one.variant, one.model) == (other.variant, other.model)
    )


def test_bursts_and_thumbnails_come_back(bundle: Bundle) -> None:
    taught = taught_of(("синий", "1"), ("b", "2"), ("b", "3"))
    write_taught(bundle, taught)
    assert same(read_taught(bundle), taught)
    assert taught.examples[0].thumbnail == b""  # one may be empty
    write_taught(bundle, taught.without("b"))
    assert same(read_taught(bundle), taught.without("b"))
    write_taught(bundle, taught.removed(["1", "2", "3"]))
    assert not (bundle.path / TAUGHT_NAME).exists()


def first_version(bundle: Bundle, vectors: np.ndarray, examples: list[list[str]]) -> None:
    """The file as edge 0.1 wrote it."""
    variant = bundle.manifest.variant()
    record = {
        "schema_version": 1,
        "variant": variant.name,
        "model": bundle.manifest.files[variant.path],
        "examples": examples,
    }
    text = np.frombuffer(json.dumps(record).encode(), np.uint8)
    (bundle.path / TAUGHT_NAME).write_bytes(npz(record=text, vectors=vectors))


def test_what_an_earlier_edge_was_taught_stays_usable(
    bundle: Bundle, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shown = [picture(tmp_path, "blue", seed) for seed in range(4)]
    classifier = Classifier.open(bundle)
    from edge.runtime.preprocess import load

    vectors = [classifier.values(load(path, classifier.preprocessing)) for path in shown[:3]]
    images = [f"{number:064x}" for number in range(3)]
    first_version(bundle, np.stack(vectors), [["blue", image] for image in images])
    taught = read_taught(bundle)
    assert taught is not None
    assert [(item.burst, item.thumbnail) for item in taught.examples] == [("", b"")] * 3
    assert classifier.classify(shown[3])[0].label == "blue"
    assert main(["teach", str(bundle.path), "blue", str(shown[3])]) == 0
    assert "4 taught in all" in capsys.readouterr().out
    newer = read_taught(bundle)
    assert newer is not None
    assert newer.examples[:3] == taught.examples
    np.testing.assert_array_equal(newer.vectors[:3], taught.vectors)
    assert newer.examples[3].burst
    assert newer.examples[3].thumbnail[:2] == b"\xff\xd8"  # a JPEG file


def written(bundle: Bundle, **changes: Any) -> None:
    """A file of the second version with something changed."""
    taught = taught_of(("a", "1"), ("a", "2"), ("b", "3"))
    write_taught(bundle, taught)
    with np.load(bundle.path / TAUGHT_NAME) as held:
        arrays = dict(held)
    record = json.loads(arrays["record"].tobytes())
    record |= {name: value for name, value in changes.items() if name in record}
    arrays |= {name: value for name, value in changes.items() if name not in record}
    arrays["record"] = np.frombuffer(json.dumps(record).encode(), np.uint8)
    kept = {name: value for name, value in arrays.items() if value is not None}
    (bundle.path / TAUGHT_NAME).write_bytes(npz(**kept))


def row(length: Any) -> list[list[Any]]:
    return [["a", "1", "", 0], ["a", "2", "", 1], ["b", "3", "", length]]


@pytest.mark.parametrize(
    "changes",
    [
        {"schema_version": 3},
        {"schema_version": True},
        {"schema_version": "2"},
        {"thumbnails": None},
        {"thumbnails": np.zeros(2, np.uint8)},
        {"thumbnails": np.zeros(4, np.uint8)},
        {"thumbnails": np.zeros((3, 1), np.uint8)},
        {"thumbnails": np.zeros(3, np.int8)},
        {"examples": row(1)},
        {"examples": row(-1)},
        {"examples": row(2.0)},
        {"examples": row(True), "thumbnails": np.zeros(2, np.uint8)},
        {"examples": row("2")},
        {
            "examples": row(MOST_THUMBNAIL_BYTES + 1),
            "thumbnails": np.zeros(MOST_THUMBNAIL_BYTES + 2, np.uint8),
        },
        {"examples": [["a", "1", "", 0], ["a", "2", "", 1], ["b", "3"]]},
        {"examples": [["a", "1", "", 0], ["a", "2", "", 1], ["b", "3", 7, 2]]},
        {"examples": row(2)[:2], "thumbnails": np.zeros(1, np.uint8)},
        {"examples": {"a": 1}},
        {"vectors": np.zeros((3, 3))},
        {"vectors": np.full((3, 3), np.nan, np.float32)},
    ],
)
def test_a_file_that_was_tampered_with_is_refused(bundle: Bundle, changes: dict[str, Any]) -> None:
    written(bundle)
    assert read_taught(bundle) is not None
    written(bundle, **changes)
    with pytest.raises(BundleError, match="cannot be read"):
        read_taught(bundle)


def test_renaming_moves_and_merges() -> None:
    taught = taught_of(("a", "1"), ("b", "2"), ("a", "3"), ("b", "3"), ("c", "4"))
    moved = taught.renamed("a", "d")
    assert moved.labels == {"d": 2, "b": 2, "c": 1}
    np.testing.assert_array_equal(moved.vectors, taught.vectors)
    merged = taught.renamed("a", "b")
    assert [(item.label, item.image) for item in merged.examples] == [
        ("b", "1"),
        ("b", "2"),
        ("b", "3"),  # once, though both classes had it
        ("c", "4"),
    ]
    np.testing.assert_array_equal(merged.vectors, taught.vectors[[0, 1, 3, 4]])
    assert taught.renamed("a", "a") is taught
    assert taught.renamed("x", "y") is taught or same(taught.renamed("x", "y"), taught)


def test_removing_takes_the_vectors_along() -> None:
    taught = taught_of(("a", "1"), ("b", "2"), ("a", "3"), ("b", "3"))
    left = taught.removed(["3", "unknown"])
    assert [item.image for item in left.examples] == ["1", "2"]
    np.testing.assert_array_equal(left.vectors, taught.vectors[:2])
    assert taught.removed(["3"], "a").labels == {"a": 1, "b": 2}
    assert taught.removed(["unknown"]) is taught
    assert taught.removed(["1", "2", "3"]).vectors.shape == (0, 3)


def test_adding_keeps_what_belongs_together() -> None:
    taught, count = taught_of(("a", "1")).added(
        "b",
        ["2", "1", "2"],
        np.array([[7, 7, 7], [8, 8, 8], [9, 9, 9]], np.float32),
        burst="x",
        thumbnails=[b"two", b"one", b"again"],
    )
    assert count == 2  # the same picture of another class is another example
    assert [(item.image, item.thumbnail) for item in taught.examples[1:]] == [
        ("2", b"two"),
        ("1", b"one"),
    ]
    np.testing.assert_array_equal(taught.vectors[1:, 0], [7, 8])
