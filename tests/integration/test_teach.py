"""``edge build --head``, and a device that is taught a class: digits, small pictures."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from edge.cache import StageCache
from edge.dataset.digits import export_digits
from edge.device.admission import shipped
from edge.errors import UsageError
from edge.evaluation.evaluate import evaluate
from edge.pipeline.build import build
from edge.pipeline.options import BuildOptions, OutputOptions
from edge.progress import Silent
from edge.runtime.bundle import Bundle
from edge.runtime.classifier import Classifier
from edge.runtime.output import TAUGHT_NAME, HeadKind
from edge.training.options import BaseOptions, HeadOptions, TrainingOptions
from tests.integration.conftest import Edge, failed, succeeded

pytestmark = pytest.mark.slow

SIZE = 64
VARIANTS = ("tflite-fp32", "tflite-int8")
TRAIN, TEST = 24, 12  # images per class
SHOWN = 8  # pictures that teach a class
TRAP = """
import sys
class Trap:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {"tensorflow", "keras", "sklearn", "scipy", "onnx"}:
            raise ImportError(f"{name} was imported")
sys.meta_path.insert(0, Trap())
"""


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """``photos``: zeros and ones; ``new``: twos."""
    root = tmp_path_factory.mktemp("digits")
    export_digits(root / "all")
    for name in ("0", "1"):
        files = sorted((root / "all" / name).iterdir())
        for split, part in (("train", files[:TRAIN]), ("test", files[TRAIN : TRAIN + TEST])):
            (root / "photos" / split / name).mkdir(parents=True)
            for file in part:
                shutil.copyfile(file, root / "photos" / split / name / file.name)
    (root / "all" / "2").rename(root / "new")
    shutil.rmtree(root / "all")
    return root


def options(digits: Path, output: Path, kind: HeadKind, **changes: object) -> BuildOptions:
    return BuildOptions(
        photos=digits / "photos",
        base=BaseOptions(size=SIZE),
        training=TrainingOptions(head=HeadOptions(metric=kind)),
        output=OutputOptions(
            output=output,
            overwrite=False,
            cache=digits / "cache",
            variants=VARIANTS,
            **changes,  # type: ignore[arg-type]
        ),
    )


@pytest.fixture(scope="module", params=list(HeadKind))
def bundle(request: pytest.FixtureRequest, digits: Path) -> Path:
    output = digits / str(request.param)
    report = build(options(digits, output, request.param), Silent())
    assert report is not None
    assert report.reference.top1 >= 0.9  # zeros and ones
    for variant in report.variants:
        assert variant.top1 is not None
        assert variant.top1 >= 0.9
        assert variant.agreement is not None
    return output


@pytest.fixture
def copied(bundle: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(bundle, tmp_path / "bundle"))


def on_device(bundle: Path, *words: object) -> str:
    """Standard output of the bundle's own runtime, where nothing else can be imported."""
    (bundle.parent / "trap").mkdir(exist_ok=True)
    (bundle.parent / "trap" / "sitecustomize.py").write_text(TRAP, encoding="utf-8")
    paths = f"{bundle.parent / 'trap'}{os.pathsep}{bundle / 'runtime'}"
    found = subprocess.run(
        [sys.executable, "-P", "-m", "edge.runtime", *map(str, words)],
        env={**os.environ, "PYTHONPATH": paths},
        capture_output=True,
        text=True,
    )
    assert found.returncode == 0, found.stderr
    return found.stdout


def test_a_bundle_answers_with_embeddings_and_its_head(bundle: Path, digits: Path) -> None:
    opened = Bundle.open(bundle)
    opened.verify()
    assert opened.manifest.head is not None
    assert opened.manifest.head.path in opened.manifest.files
    classifier = Classifier.open(opened)
    assert classifier.session.outputs[0].shape[-1] == 1024
    scored = evaluate(
        bundle,
        digits / "photos",
        variants=(),
        engine=None,
        cache=digits / "cache",
        progress=Silent(),
    )
    recorded = {item.name: item.top1 for item in opened.manifest.variants}
    assert {item.name: item.score.top1 for item in scored.variants} == recorded


def test_a_device_learns_a_digit_from_a_few_pictures(copied: Path, digits: Path) -> None:
    new = sorted((digits / "new").iterdir())
    taught = json.loads(on_device(copied, "teach", copied, "two", *new[:SHOWN], "--json"))
    assert taught["classes"] == 3
    assert taught["seconds_per_picture"] < 1.0
    asked = new[SHOWN : SHOWN + 20]
    answers = json.loads(on_device(copied, "predict", copied, *asked, "--json"))
    found = [answer["categories"][0]["label"] for answer in answers]
    assert found.count("two") >= 6  # none before
    known = [path for name in ("0", "1") for path in (digits / "photos/test" / name).iterdir()]
    answers = json.loads(on_device(copied, "predict", copied, *known, "--json"))
    right = [item["categories"][0]["label"] == Path(item["image"]).parent.name for item in answers]
    assert sum(right) >= 0.7 * len(known)
    assert "two (8) pictures" in on_device(copied, "info", copied)
    on_device(copied, "selftest", copied)
    on_device(copied, "forget", copied, "two")
    assert not (copied / TAUGHT_NAME).exists()


def test_a_taught_bundle_stays_signed_and_is_deployed_without_what_it_was_taught(
    copied: Path, digits: Path, edge: Edge, tmp_path: Path
) -> None:
    if shutil.which("ssh-keygen") is None:
        pytest.skip("no ssh-keygen")
    key = tmp_path / "key"
    succeeded(edge.run("keys", "new", "--output", key))
    succeeded(edge.run("sign", copied, "--key", key))
    on_device(copied, "teach", copied, "two", next(iter((digits / "new").iterdir())))
    verified = edge.run("verify", copied, "--key", f"{key}.pub")
    succeeded(verified)
    assert "taught.npz, which the bundle was taught, is no part of the release" in verified.stdout
    manifest = Bundle.open(copied).manifest
    files = shipped(manifest, manifest.default_variant)
    assert TAUGHT_NAME not in files
    assert manifest.head is not None
    assert manifest.head.path in files


def test_a_search_by_embeddings_is_refused(digits: Path, tmp_path: Path) -> None:
    wanted = options(digits, tmp_path / "bundle", HeadKind.KNN, max_drop_points=0.5)
    with pytest.raises(UsageError, match="--quantize auto"):
        build(wanted, Silent())
    assert not (tmp_path / "bundle").exists()


def test_the_command_refuses_what_would_have_no_effect(edge: Edge, digits: Path) -> None:
    words = ("--head", "imprinted", "--epochs", "3")
    result = edge.run("build", digits / "photos", "--output", "bundle", *words)
    failed(result, 2, "--epochs has no effect with --head imprinted")
    assert StageCache(edge.cache).find("none") is None
