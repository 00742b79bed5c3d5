"""Names that tools pack into a zip archive behind a TFLite model."""

import io
import json
import zipfile
from pathlib import Path

import pytest

from edge.errors import ModelLoadError
from edge.identification.identify import identify
from edge.identification.model import IdentifiedModel, StatedModel
from tests.unit.test_tflite_metadata import load

NAMES = {0: "cat", 1: "dog", 2: "cow"}


def identified(folder: Path, name: str, content: str | bytes) -> IdentifiedModel:
    """Return what a classifier of three classes is, with that file behind it."""
    stream = io.BytesIO(load("channels_fp32"))
    with zipfile.ZipFile(stream, "a") as archive:
        archive.writestr(name, content)
    path = folder / "m.tflite"
    path.write_bytes(stream.getvalue())
    return identify(path, StatedModel(input_range="pixels"))


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("metadata.json", json.dumps({"task": "classify", "names": NAMES})),
        ("temp_meta.txt", repr({"task": "classify", "names": NAMES})),
        ("labels.txt", "cat\ndog\ncow\n"),
        ("labelmap.txt", "cat\r\ndog\r\ncow"),
    ],
)
def test_packed_names_are_labels(tmp_path: Path, name: str, content: str) -> None:
    assert identified(tmp_path, name, content).labels == ("cat", "dog", "cow")


@pytest.mark.parametrize("content", [b"\xff\xfe\xfd", b"{", b"[1, 2]", b"(" * 10_000])
def test_what_cannot_be_read_names_nothing(tmp_path: Path, content: bytes) -> None:
    assert identified(tmp_path, "metadata.json", content).labels == ("0", "1", "2")


def test_names_with_gaps_are_refused(tmp_path: Path) -> None:
    content = json.dumps({"task": "classify", "names": {"0": "cat", "5": "dog"}})
    with pytest.raises(ModelLoadError, match="class names in the metadata"):
        identified(tmp_path, "metadata.json", content)
