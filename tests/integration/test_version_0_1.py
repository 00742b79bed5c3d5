"""What version 0.1 wrote is read, and its commands give what they gave.

``version_0_1.zip`` holds what that version made of 36 and 24 drawn shapes: a signed bundle, by
``edge export tiny.keras --calibration-data pictures/train --evaluation-data pictures/test --labels
labels.txt --variants tflite-int8,onnx-fp32``; ``compare.json`` and ``results.json``, of ``edge
compare`` and ``edge benchmark`` on it; and the public key.
"""

import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import pytest

from tests.integration.conftest import Edge, succeeded

pytestmark = pytest.mark.slow

ARCHIVE: Final = Path(__file__).parents[1] / "data" / "version_0_1.zip"


@pytest.fixture
def old(make_edge: Callable[..., Edge], tmp_path: Path) -> Edge:
    """Commands in the folder where the files of version 0.1 lie."""
    edge = make_edge(tmp_path / "cache")
    with zipfile.ZipFile(ARCHIVE) as archive:
        archive.extractall(edge.work)
    return edge


def test_the_bundle_is_whole_and_signed(old: Edge) -> None:
    succeeded(old.run("verify", "bundle", "--key", "key.pub"))
    succeeded(old.run("inspect", "bundle"))


def test_it_answers(old: Edge) -> None:
    done = old.run("predict", "bundle", "pictures/test", "--json")
    succeeded(done)
    best = [row["categories"][0]["label"] in row["image"] for row in json.loads(done.stdout)]
    assert len(best) == 24
    assert sum(best) == 23


def test_it_is_made_again(old: Edge) -> None:
    words = ("reproduce", "bundle", "pictures/train", "--evaluation-data", "pictures/test")
    done = old.run(*words, "--json")
    document = json.loads(done.stdout)
    assert len(document["files"]) == 5, done.stderr
    other = {row["path"] for row in document["files"] if not row["equal"]}
    # On another processor, or with other versions, the trained numbers may be others.
    assert not other or document["versions"] or document["processor"], other
    assert done.returncode == bool(other), done.stderr


def test_it_is_compared_as_then(old: Edge) -> None:
    words = ("compare", "bundle", "pictures/test", "--candidate", "tflite-int8")
    done = old.run(*words, "--baseline", "onnx-fp32", "--json")
    assert done.returncode == 1, done.stderr
    now = json.loads(done.stdout)
    then = json.loads((old.work / "compare.json").read_text(encoding="utf-8"))
    known = {key: value for key, value in now.items() if key in then}
    assert shape(known) == shape(then)  # keys may be added, none may go or change
    assert {key: now[key] for key in now.keys() - then.keys()} == {
        "task": "classification",
        "changes": [],  # objects lost, gained or moved: of the other tasks
    }
    for key in ("verdict", "checks"):
        assert now.get(key) == then.get(key)


def test_its_results_are_compared_and_drawn(old: Edge) -> None:
    succeeded(old.run("benchmark", "diff", "results.json", "results.json"))
    succeeded(old.run("benchmark", "plot", "results.json", "--output", "drawn"))
    assert list((old.work / "drawn").glob("*.svg"))


def shape(value: Any) -> Any:
    """A document with its keys and types, without its values."""
    if isinstance(value, dict):
        return {key: shape(item) for key, item in value.items()}
    if isinstance(value, list):
        return [shape(item) for item in value[:1]]
    return type(value).__name__
