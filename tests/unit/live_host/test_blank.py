"""The bundle that is taught from nothing: whole, honest about itself, made once."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from edge.cache import StageCache
from edge.embedding.extractor import Extractor
from edge.live import blank as module
from edge.live.blank import blank_bundle, copy_bundle, drawn
from edge.runtime.bundle import Bundle
from edge.runtime.command_line import main
from edge.runtime.files import sha256_file, write_json
from edge.runtime.head import read_head
from edge.training.base import Base
from edge.training.options import BaseOptions
from tests.unit.golden_bundle import ROOT, SPEC
from tests.unit.head_bundle import picture

AGAIN = """
import sys
from pathlib import Path
from edge.cache import StageCache
from edge.live.blank import blank_bundle
blank_bundle(StageCache(Path(sys.argv[1])), "first")
print([name for name in ("tensorflow", "keras") if name in sys.modules])
"""


@pytest.fixture
def extractions(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """A tiny network in the place of MobileNet; the names of the bases that were asked for."""
    asked: list[str] = []

    def small(base: Base, _: StageCache) -> Extractor:
        asked.append(base.name)
        path = ROOT / "tests" / "data" / "channels_fp32.tflite"
        return Extractor(path=path, preprocessing=SPEC, name=base.name, seconds=0.0)

    monkeypatch.setattr(module, "base_extractor", small)
    return asked


def test_it_knows_no_class_and_proves_itself(tmp_path: Path, extractions: list[str]) -> None:
    bundle = Bundle.open(blank_bundle(StageCache(tmp_path / "cache"), "first"))
    bundle.verify()
    manifest = bundle.manifest
    assert (manifest.name, manifest.labels, manifest.provenance["command"]) == ("first", (), "live")
    assert manifest.variants[0].top1 is None and "no score" in manifest.provenance["description"]
    head = read_head(bundle)
    assert head is not None and head.vectors.shape == (0, 3)
    assert main(["selftest", str(bundle.path)]) == 0
    assert extractions == ["mobilenet"]


def test_a_network_that_answers_otherwise_fails_its_self_test(
    tmp_path: Path, extractions: list[str]
) -> None:
    copy_bundle(blank_bundle(StageCache(tmp_path / "cache"), "first"), tmp_path / "copy")
    bundle = Bundle.open(tmp_path / "copy")
    answers = bundle.path / "golden" / "tflite-fp32.npy"
    np.save(answers, np.load(answers) + np.float32(0.5))
    manifest = bundle.manifest.to_json()
    manifest["files"]["golden/tflite-fp32.npy"] = sha256_file(answers)
    write_json(bundle.path / "manifest.json", manifest)
    assert main(["selftest", str(bundle.path)]) == 1


def test_it_is_made_once_for_each_name_and_runtime(
    tmp_path: Path, extractions: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = StageCache(tmp_path / "cache")
    first = blank_bundle(cache, "first")
    assert blank_bundle(cache, "first") == first and len(extractions) == 1
    assert blank_bundle(cache, "second") != first
    monkeypatch.setattr(module, "_runtime_sha256", lambda: "another")
    assert blank_bundle(cache, "first") != first


def test_it_runs_and_learns_with_the_runtime_that_it_carries(
    tmp_path: Path, extractions: list[str]
) -> None:
    copy_bundle(blank_bundle(StageCache(tmp_path / "cache"), "first"), tmp_path / "copy")
    red = picture(tmp_path, "red", 1)
    done = subprocess.run(
        [sys.executable, "-P", "-m", "edge.runtime", "teach", "copy", "red", str(red)],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(tmp_path / "copy" / "runtime")},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    assert "1 pictures learnt" in done.stdout
    assert Bundle.open(tmp_path / "copy").unlisted() == []


def test_the_pictures_of_the_self_test_are_three_and_the_same_every_time() -> None:
    contract = Base(BaseOptions()).preprocessing
    pictures = drawn(contract)
    assert [picture.shape for picture in pictures] == [(224, 224, 3)] * 3
    assert all(picture.dtype == np.uint8 and np.ptp(picture) > 200 for picture in pictures)
    for first, again in zip(pictures, drawn(contract), strict=True):
        assert (first == again).all()
    assert (pictures[0] != pictures[1]).any() and (pictures[1] != pictures[2]).any()


@pytest.mark.tensorflow
@pytest.mark.slow
def test_the_real_one_needs_tensorflow_the_first_time_alone(tmp_path: Path) -> None:
    bundle = Bundle.open(blank_bundle(StageCache(tmp_path), "first"))
    assert bundle.manifest.preprocessing.shape == (224, 224, 3)
    head = read_head(bundle)
    assert head is not None and head.features == 1024
    assert main(["selftest", str(bundle.path)]) == 0
    again = subprocess.run(
        [sys.executable, "-c", AGAIN, str(tmp_path)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert again.stdout == "[]\n", again.stderr
