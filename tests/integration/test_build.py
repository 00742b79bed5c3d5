"""``edge build`` on a slice of the handwritten digits, and every command that reads its bundle."""

import json
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from converters.base import DEFAULT_TARGETS, TARGETS
from edge.cache import StageCache
from edge.dataset.digits import export_digits
from edge.dataset.pictures import Picture
from edge.embedding.features import extract
from edge.errors import UsageError, WeightsUnavailable
from edge.evaluation import predictions
from edge.pipeline.build import build
from edge.pipeline.options import BuildOptions, OutputOptions
from edge.progress import Silent
from edge.runtime.bundle import Bundle
from edge.runtime.files import sha256_file
from edge.runtime.spec import TensorSpec
from edge.training.backbones import backbone
from edge.training.objective import class_weights
from edge.training.options import BaseOptions, HeadOptions, TrainingOptions
from edge.weights import mobilenet_imagenet
from tests.warm import warm_python

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("warm_converters")]

ROOT = Path(__file__).parents[2]
SIZE = 64
CLASSES = ("0", "1", "2")
TRAIN, TEST = 30, 10  # images per class

# A meta path hook that makes Python fail where TensorFlow or a converter is asked for.
TRAP = """
import sys
class Trap:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {"tensorflow", "keras", "tf2onnx", "onnx"}:
            raise ImportError(f"{name} was imported")
sys.meta_path.insert(0, Trap())
"""


def run(*command: str, cwd: Path = ROOT, **variables: str) -> str:
    """Standard output of a command that must succeed."""
    result = subprocess.run(
        command,
        cwd=cwd,
        env=os.environ | variables,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert result.returncode == 0, result.stderr[-3000:]
    return result.stdout


def edge(*arguments: object, **variables: str) -> str:
    return run(str(warm_python()), "-m", "edge", *map(str, arguments), **variables)


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("digits")
    export_digits(root / "all")
    for name in CLASSES:
        files = sorted((root / "all" / name).iterdir())
        for split, part in (("train", files[:TRAIN]), ("test", files[TRAIN : TRAIN + TEST])):
            (root / "photos" / split / name).mkdir(parents=True)
            for file in part:
                shutil.copyfile(file, root / "photos" / split / name / file.name)
    shutil.rmtree(root / "all")
    return root / "photos"


@dataclass(frozen=True)
class Built:
    photos: Path
    bundle: Path
    cache: Path
    report: dict[str, Any]  # what --json printed

    @property
    def manifest(self) -> dict[str, Any]:
        value: dict[str, Any] = json.loads((self.bundle / "manifest.json").read_text())
        return value

    @property
    def images(self) -> list[Path]:
        return sorted((self.photos / "test").rglob("*.png"))

    def edge(self, *arguments: object, **variables: str) -> str:
        return edge(*arguments, EDGE_CACHE=str(self.cache), **variables)


def built_by_command(photos: Path, folder: Path, *options: object, **variables: str) -> Built:
    bundle, cache = folder / "bundle", folder / "cache"
    out = edge(
        *("build", photos, "--output", bundle, "--size", SIZE, "--json", *options),
        EDGE_CACHE=str(cache),
        **variables,
    )
    return Built(photos, bundle, cache, json.loads(out))


@pytest.fixture(scope="module")
def built(digits: Path, tmp_path_factory: pytest.TempPathFactory) -> Built:
    """The command, as a user types it; later commands run on copies of its cache or read it."""
    return built_by_command(digits, tmp_path_factory.mktemp("built"))


# ---- the bundle


def test_the_report_has_what_the_documentation_promises(built: Built) -> None:
    report = built.report
    assert json.loads((built.bundle / "report.json").read_text()) == report
    assert (report["schema_version"], report["command"], report["name"]) == (
        2,
        "build",
        built.photos.name,
    )
    assert report["training"]["seconds"] > 0
    assert 0.7 <= report["training"]["top1"] <= 1  # digits of 8 x 8 pixels, 30 of each
    assert report["training"]["top1"] == report["reference"]["top1"]
    assert not report["training"]["cached"]
    (phase,) = report["training"]["phases"]
    history = phase["history"]
    assert report["training"]["strategy"] == phase["name"].replace("head", "features")
    assert set(history) == {"loss", "accuracy", "val_loss", "val_accuracy"}
    assert len({len(values) for values in history.values()}) == 1
    assert 1 <= phase["epochs"] <= len(history["loss"])
    assert history["loss"][-1] < history["loss"][0]
    assert report["reference"]["images"] == report["reference"]["labelled"] == 3 * TEST
    assert report["data"]["counts"]["test"] == dict.fromkeys(CLASSES, TEST)
    assert report["calibration"]["images"] <= 100
    assert {"head", "features", "convert", "score", "latency"} <= set(report["stages"])
    assert {"tensorflow", "keras", "edge", "python"} <= set(report["versions"])
    assert report["host"]["machine"]


def test_every_variant_is_scored(built: Built) -> None:
    variants = built.report["variants"]
    assert [variant["name"] for variant in variants] == list(DEFAULT_TARGETS)
    reference = built.report["reference"]["top1"]
    for variant in variants:
        assert 0 <= variant["top1"] <= 1
        assert variant["drop_points"] == pytest.approx(100 * (reference - variant["top1"]))
        assert variant["latency_ms"] > 0
        assert variant["latency"]["kind"] == "measured"
        assert variant["latency"]["runs"] == len(variant["latency"]["samples_ms"]) > 0
        assert variant["path"] == f"models/{TARGETS[variant['name']].filename}"
        assert variant["size_bytes"] == (built.bundle / variant["path"]).stat().st_size
        exact = variant["name"].endswith(("fp32", "fp16"))
        assert variant["agreement"] >= (1.0 if exact else 0.85), variant["name"]
    sizes = {variant["name"]: variant["size_bytes"] for variant in variants}
    assert sizes["tflite-fp16"] < 0.6 * sizes["tflite-fp32"]
    assert max(sizes["tflite-dynamic"], sizes["tflite-int8"]) < 0.35 * sizes["tflite-fp32"]
    assert sizes["onnx-int8"] < 0.4 * sizes["onnx-fp32"]


def test_the_manifest_lists_every_file_with_its_hash(built: Built) -> None:
    bundle = Bundle.open(built.bundle)
    bundle.verify()
    found = {
        path.relative_to(built.bundle).as_posix(): sha256_file(path)
        for path in built.bundle.rglob("*")
        if path.is_file()
    }
    del found["manifest.json"]
    assert dict(bundle.manifest.files) == found
    assert bundle.manifest.labels == CLASSES
    assert (built.bundle / "labels.txt").read_text() == "0\n1\n2\n"
    provenance = built.manifest["provenance"]
    assert (provenance["backbone"], provenance["seed"]) == ("mobilenet", 0)
    assert provenance["data_sha256"] == built.report["data"]["sha256"]
    for variant, scored in zip(bundle.manifest.variants, built.report["variants"], strict=True):
        assert (variant.name, variant.top1) == (scored["name"], scored["top1"])
        assert variant.input_dtype == ("uint8" if "int8" in variant.name else "float32")


@pytest.mark.parametrize("variant", DEFAULT_TARGETS)
def test_the_bundle_passes_its_own_self_test(built: Built, variant: str) -> None:
    runtime = {**os.environ, "PYTHONPATH": str(built.bundle / "runtime")}
    command = [sys.executable, "-P", "-s", "-m", "edge.runtime", "selftest", str(built.bundle)]
    done = subprocess.run(
        [*command, "--variant", variant, "--json"], env=runtime, capture_output=True, timeout=60
    )
    assert done.returncode == 0, done.stderr.decode()
    report = json.loads(done.stdout)
    assert report["same_engine"]
    assert len(report["images"]) == 3
    assert {item["differing"] for item in report["images"]} == {0}


def test_nothing_is_left_beside_the_bundle(built: Built) -> None:
    assert sorted(path.name for path in built.bundle.parent.iterdir()) == ["bundle", "cache"]
    assert not list(built.cache.rglob("*.tmp"))


def test_the_keras_model_is_flat(built: Built) -> None:
    import keras

    model = keras_model(built.bundle)
    assert model.input.shape == (None, SIZE, SIZE, 3)
    assert not [layer for layer in model.layers if isinstance(layer, keras.Model)]


# ---- commands on the bundle


@pytest.mark.parametrize("variant", [None, *DEFAULT_TARGETS])
def test_predict(built: Built, variant: str | None) -> None:
    images = built.images[::10]
    extra = ["--variant", variant] if variant else []
    answers = json.loads(built.edge("predict", built.bundle, *images, "--json", *extra))
    assert [answer["image"] for answer in answers] == [str(image) for image in images]
    for answer in answers:
        assert answer["variant"] == (variant or built.report["default_variant"])
        categories = answer["categories"]
        assert {item["label"] for item in categories} == set(CLASSES)
        assert all(CLASSES[item["index"]] == item["label"] for item in categories)
        scores = [item["score"] for item in categories]
        assert scores == sorted(scores, reverse=True)
        assert sum(scores) == pytest.approx(1, abs=0.02)


def test_evaluate_gives_the_scores_of_the_report(built: Built, tmp_path: Path) -> None:
    for cache in (built.cache, tmp_path):  # remembered, and computed anew
        out = edge("evaluate", built.bundle, built.photos, "--json", EDGE_CACHE=str(cache))
        found = json.loads(out)
        assert (found["images"], found["labelled"], found["skipped"]) == (30, 30, {})
        scores = {item["name"]: item["top1"] for item in found["variants"]}
        assert scores == {item["name"]: item["top1"] for item in built.report["variants"]}


def test_evaluate_one_variant(built: Built) -> None:
    test = built.photos / "test"
    out = built.edge("evaluate", built.bundle, test, "--variant", "onnx-int8", "--json")
    (found,) = json.loads(out)["variants"]
    assert found["name"] == "onnx-int8"
    assert found["agreement"] is None  # there is no other file to agree with


def test_inspect(built: Built) -> None:
    found = json.loads(built.edge("inspect", built.bundle, "--json"))
    assert list(found) == list(DEFAULT_TARGETS)
    hashes = built.manifest["files"]
    for name, report in found.items():
        assert report["sha256"] == hashes[f"models/{TARGETS[name].filename}"]
        assert report["inputs"][0]["shape"][1:] == [SIZE, SIZE, 3]
        assert report["parameters"] > 3_000_000
        assert report["operators"]
    assert found["tflite-int8"]["inputs"][0]["quantization"]["scales"] == [1.0]
    macs = {report["mult_adds"] for report in found.values()}
    assert max(macs) - min(macs) <= 0.01 * max(macs)
    file = built.bundle / "models" / "onnx-int8.onnx"
    (report,) = json.loads(built.edge("inspect", file, "--json")).values()
    assert report["mult_adds"] == found["onnx-int8"]["mult_adds"]


def test_benchmark(built: Built) -> None:
    options = ("--runs", 3, "--min-secs", 0, "--threads", 1, "--json")
    found = json.loads(built.edge("benchmark", built.bundle, *options))["rows"]
    assert [row["model"]["name"] for row in found] == list(DEFAULT_TARGETS)
    assert {row["status"] for row in found} == {"measured"}


# ---- on the device


def on_device(built: Built, *arguments: object, cwd: Path) -> str:
    """Run Python with the bundle's own copy of the runtime, and no other."""
    runtime = built.bundle / "runtime"
    where = "import edge.runtime.session; print(edge.__file__)"
    variables = {"PYTHONPATH": str(runtime), "PYTHONDONTWRITEBYTECODE": "1"}
    assert run(sys.executable, "-c", where, cwd=cwd, **variables).startswith(str(runtime))
    return run(sys.executable, *map(str, arguments), cwd=cwd, **variables)


@pytest.mark.parametrize("variant", ["tflite-fp32", "tflite-int8", "onnx-int8"])
def test_the_bundles_own_runtime_says_the_same(built: Built, tmp_path: Path, variant: str) -> None:
    arguments = ["predict", built.bundle, *built.images[::5], "--variant", variant, "--json"]
    device = on_device(built, "-m", "edge.runtime", *arguments, cwd=tmp_path)
    assert device == built.edge(*arguments)
    Bundle.open(built.bundle).verify()


def test_training_and_device_see_the_same_tensor(
    built: Built, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From the file to the tensor, bit for bit: a large, turned, CMYK or grey picture too."""
    random = np.random.default_rng(0)
    exif = Image.Exif()
    exif[0x0112] = 6
    pixels = random.integers(0, 256, (90, 70, 3), np.uint8)
    large = Image.fromarray(pixels).resize((1400, 1000), Image.Resampling.BICUBIC)
    large.save(tmp_path / "a.jpg", exif=exif)
    large.convert("CMYK").resize((300, 200)).save(tmp_path / "b.jpg")
    large.convert("L").resize((31, 99)).save(tmp_path / "c.png")
    paths = [tmp_path / "a.jpg", tmp_path / "b.jpg", tmp_path / "c.png", built.images[0]]
    pictures = [Picture(path, sha256_file(path)) for path in paths]

    program = (
        "import sys, numpy as np\n"
        "from pathlib import Path\n"
        "from edge.runtime.bundle import Bundle\n"
        "from edge.runtime.preprocess import load\n"
        "from edge.runtime.session import encode_pixels, open_session\n"
        "bundle = Bundle.open(Path(sys.argv[1]))\n"
        "spec = open_session(bundle.model('tflite-fp32')[1]).inputs[0]\n"
        "contract = bundle.manifest.preprocessing\n"
        "tensors = [encode_pixels(load(Path(path), contract), spec, contract.encoding)\n"
        "           for path in sys.argv[3:]]\n"
        "np.save(sys.argv[2], np.concatenate(tensors))\n"
    )
    saved = tmp_path / "device.npy"
    on_device(built, "-c", program, built.bundle, saved, *paths, cwd=tmp_path)
    device = np.load(saved, allow_pickle=False)

    trained_on: list[np.ndarray[Any, Any]] = []

    class Recorder:
        engine = "recorder"
        inputs = (TensorSpec(name="image", shape=(1, SIZE, SIZE, 3), dtype="float32"),)
        outputs = (TensorSpec(name="out", shape=(1, 1), dtype="float32"),)

        def run(self, *tensors: Any) -> Any:
            trained_on.append(tensors[0].copy())
            return [np.zeros((1, 1), np.float32)]

    from edge.pipeline.build import _TrainingJob
    from edge.pipeline.job import TimedStages

    monkeypatch.setattr(predictions, "open_session", lambda path, engine=None: Recorder())
    monkeypatch.setattr(predictions.os, "cpu_count", lambda: 1)  # one worker keeps the order
    job = _TrainingJob(
        options(built.photos, tmp_path / "x", tmp_path / "cache"), TimedStages(Silent())
    )
    model = built.bundle / "models/tflite-fp32.tflite"
    cache = StageCache(tmp_path / "cache")
    extract(model, pictures, job.preprocessing, cache=cache, step=lambda count: None)

    assert device.dtype == trained_on[0].dtype == np.float32
    assert np.array_equal(np.concatenate(trained_on), device)
    assert device.max() > 200
    assert job.preprocessing == Bundle.open(built.bundle).manifest.preprocessing


# ---- again


def model_hashes(built: Built) -> dict[str, str]:
    return {
        path: digest
        for path, digest in built.manifest["files"].items()
        if path.startswith(("models/", "source/"))
    }


def test_a_second_build_comes_from_the_cache_without_tensorflow(
    built: Built, tmp_path: Path
) -> None:
    (tmp_path / "trap").mkdir()
    (tmp_path / "trap" / "sitecustomize.py").write_text(TRAP)
    shutil.copytree(built.cache, tmp_path / "cache")
    trap = str(tmp_path / "trap")
    sprung = subprocess.run(
        [sys.executable, "-c", "import tensorflow"], env=os.environ | {"PYTHONPATH": trap}
    )
    assert sprung.returncode == 1
    shutil.copytree(built.bundle, tmp_path / "bundle")
    again = built_by_command(built.photos, tmp_path, "--overwrite", PYTHONPATH=trap)
    assert model_hashes(again) == model_hashes(built)
    assert again.report["training"] == built.report["training"] | {"cached": True}
    same = ("name", "top1", "agreement", "size_bytes", "convert_seconds")
    for old, new in zip(built.report["variants"], again.report["variants"], strict=True):
        assert [old[key] for key in same] == [new[key] for key in same]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bundle", "cache", "trap"]


def trained_hash(cache: Path) -> str:
    (record,) = (cache / "stages").glob("trained-*/training.json")
    return str(json.loads(record.read_text())["model_sha256"])


@pytest.fixture(scope="module")
def built_again(built: Built, tmp_path_factory: pytest.TempPathFactory) -> Built:
    """In a fresh cache, on a copy of the photos with other dates and in another place."""
    folder = tmp_path_factory.mktemp("again")
    photos = folder / "elsewhere" / built.photos.name  # the folder's name is the model's
    shutil.copytree(built.photos, photos, copy_function=shutil.copyfile)
    return built_by_command(photos, folder, "--variants", ",".join(COMPARED))


COMPARED = ("tflite-fp32", "tflite-int8", "onnx-fp32", "onnx-int8")


def test_the_same_seed_gives_the_same_model(built: Built, built_again: Built) -> None:
    old, new = built.report, built_again.report
    assert new["data"]["sha256"] == old["data"]["sha256"]
    assert trained_hash(built_again.cache) == trained_hash(built.cache)
    assert new["training"]["phases"] == old["training"]["phases"]
    assert new["calibration"] == old["calibration"]


@pytest.mark.parametrize("name", COMPARED)
def test_the_same_seed_gives_the_same_bytes(built: Built, built_again: Built, name: str) -> None:
    file = f"models/{TARGETS[name].filename}"
    assert built_again.manifest["files"][file] == built.manifest["files"][file]


# ---- options, in this process


def options(photos: Path, output: Path, cache: Path, **head: Any) -> BuildOptions:
    return BuildOptions(
        photos=photos,
        base=BaseOptions(size=SIZE),
        training=TrainingOptions(head=HeadOptions(**head)),
        output=OutputOptions(
            output=output,
            overwrite=False,
            cache=cache,
            variants=("tflite-fp32",),
            seed=head.get("seed", 0),
        ),
    )


@pytest.fixture(scope="module")
def shared_cache(built: Built, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The base and the features of the first build: only heads are left to train."""
    return shutil.copytree(built.cache, tmp_path_factory.mktemp("shared") / "cache")


Make = Callable[..., tuple[Any, Path]]


@pytest.fixture
def make(digits: Path, shared_cache: Path, tmp_path: Path) -> Make:
    """Build one variant with options of the head; the report and the bundle."""

    def make(photos: Path = digits, **head: Any) -> tuple[Any, Path]:
        folder = tmp_path / str(len(list(tmp_path.iterdir())))
        folder.mkdir()
        asked = options(photos, folder / "bundle", shared_cache, **head)
        report = build(asked, Silent())
        Bundle.open(folder / "bundle").verify()
        return report, folder / "bundle"

    return make


def keras_model(bundle: Path) -> Any:
    import keras

    return keras.models.load_model(bundle / "source/model.keras", compile=False)


def keras_hash(bundle: Path) -> str:
    from edge.training.weights import weights_sha256

    return weights_sha256(keras_model(bundle))


def test_another_seed_gives_another_head(built: Built, make: Make) -> None:
    report, bundle = make(seed=1)
    assert keras_hash(bundle) != keras_hash(built.bundle)
    assert report.reference.top1 >= 0.7


def test_a_larger_head_and_another_optimizer(make: Make) -> None:
    import keras

    report, bundle = make(hidden=(128, 16), optimizer="sgd", learning_rate=0.05)
    assert report.reference.top1 >= 0.7
    assert report.variants[0].agreement == 1.0
    history = report.training.phases[0].history
    assert history["loss"][-1] < history["loss"][0]
    layers = keras_model(bundle).layers
    dense = [layer for layer in layers if isinstance(layer, keras.layers.Dense)]
    assert [layer.units for layer in dense] == [128, 16, 3]
    assert [layer.activation.__name__ for layer in dense] == ["relu", "relu", "softmax"]


def test_a_loss_with_one_hot_targets(built: Built, make: Make) -> None:
    """The same loss by another name: the same course of training."""
    report, _ = make(loss="categorical_crossentropy")
    sparse = built.report["training"]["phases"][0]["history"]["loss"]
    assert report.training.phases[0].history["loss"][:5] == pytest.approx(sparse[:5], rel=1e-4)
    assert report.reference.top1 == built.report["reference"]["top1"]


def test_class_weights_count_on_unbalanced_data(
    digits: Path, make: Make, tmp_path_factory: pytest.TempPathFactory
) -> None:
    photos = shutil.copytree(digits, tmp_path_factory.mktemp("unbalanced") / "photos")
    for name in CLASSES[1:]:
        for file in sorted((photos / "train" / name).iterdir())[6:]:
            file.unlink()
    weighed, one = make(photos, class_weights=True, epochs=10)
    plain, other = make(photos, class_weights=False, epochs=10)
    assert keras_hash(one) != keras_hash(other)
    losses = [found.training.phases[0].history["loss"][0] for found in (weighed, plain)]
    assert losses[0] != losses[1]
    # The classes of six pictures are given more room where each of their pictures counts for more.
    files = [file for name in CLASSES for file in sorted((photos / "test" / name).iterdir())]
    pixels = np.stack(
        [np.asarray(Image.open(file).convert("RGB").resize((SIZE, SIZE))) for file in files]
    )
    given = [
        float(keras_model(bundle)(pixels.astype(np.float32)).numpy()[:, 1:].sum())
        for bundle in (one, other)
    ]
    assert len(files) == TEST * len(CLASSES) and given[0] > given[1]


def test_class_weights_change_nothing_on_balanced_data() -> None:
    labels = np.repeat(np.arange(3), TRAIN)
    assert class_weights(labels, 3).tolist() == [1, 1, 1]


def test_unknown_optimizer_and_loss(make: Make) -> None:
    with pytest.raises(UsageError, match="no optimizer 'adamant'"):
        make(optimizer="adamant")
    with pytest.raises(UsageError, match="no loss 'grief'"):
        make(loss="grief")


# ---- weights


def fresh(name: str, **arguments: Any) -> Any:
    """A network of Keras Applications with random weights and statistics, unlike any other's."""
    import keras

    model = getattr(keras.applications, name)(weights=None, **arguments)
    random = np.random.default_rng(11)
    model.set_weights(
        [random.uniform(0.1, 1, array.shape).astype(np.float32) for array in model.get_weights()]
    )
    return model


def assert_holds(loaded: Any, source: Any) -> None:
    """The first arrays of ``source`` are all that the base has."""
    arrays, expected = loaded.get_weights(), source.get_weights()
    assert len(arrays) > 50
    for array, other in zip(arrays, expected, strict=False):
        assert np.array_equal(array, other)


@pytest.mark.parametrize("top", [False, True])
@pytest.mark.parametrize("name", ["MobileNet", "MobileNetV2"])
def test_a_weights_file_with_and_without_top(tmp_path: Path, name: str, top: bool) -> None:
    from edge.training.weights import load_base

    shape = {} if top else {"include_top": False, "input_shape": (SIZE, SIZE, 3)}
    source = fresh(name, **shape)
    path = tmp_path / "mine.weights.h5"
    source.save_weights(path)
    loaded = load_base(backbone(name), SIZE, str(path), 0)
    assert_holds(loaded.model, source)
    assert loaded.source == "file mine.weights.h5"


def test_the_shipped_file_by_its_path_is_imagenet() -> None:
    from edge.training.weights import load_base, weights_id

    row, path = backbone("mobilenet"), str(mobilenet_imagenet())
    named, given = (load_base(row, SIZE, source, 0) for source in ("imagenet", path))
    assert named.sha256 == given.sha256
    assert "shipped" in named.source
    assert weights_id(row, "imagenet", 0) == weights_id(row, path, 0)


def test_the_shipped_weights_are_whole() -> None:
    """Every array of the base comes from the file: none is left as Keras drew it."""
    from edge.training.weights import load_base

    one, other = (load_base(backbone("mobilenet"), SIZE, "imagenet", seed) for seed in (0, 1))
    assert one.sha256 == other.sha256
    drawn, redrawn = (load_base(backbone("mobilenet"), SIZE, "none", seed) for seed in (0, 1))
    assert drawn.sha256 != redrawn.sha256
    assert drawn.source == "none (random)"


def test_weights_of_another_network_are_refused(tmp_path: Path) -> None:
    from edge.training.weights import load_base

    fresh("MobileNetV2", include_top=False, input_shape=(SIZE, SIZE, 3)).save_weights(
        tmp_path / "v2.weights.h5"
    )
    (tmp_path / "text.weights.h5").write_text("no weights")
    for name in ("v2.weights.h5", "text.weights.h5"):
        with pytest.raises(WeightsUnavailable, match="does not hold weights of MobileNet"):
            load_base(backbone("mobilenet"), SIZE, str(tmp_path / name), 0)


def test_no_such_weights_file() -> None:
    from edge.training.weights import weights_id

    with pytest.raises(UsageError, match="no weights file at missing"):
        weights_id(backbone("mobilenetv2"), "missing.weights.h5", 0)


@dataclass
class Server:
    folder: Path
    url: str
    asked: list[str]


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    """What Keras takes for its download server; it serves a folder that is empty at first."""
    from keras.src.applications import mobilenet_v2
    from keras.src.backend import config

    folder, asked = tmp_path / "served", []
    folder.mkdir()

    class Handler(SimpleHTTPRequestHandler):
        def log_message(self, format: str, *arguments: Any) -> None:
            asked.append(self.path)

    http = ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=str(folder)))
    threading.Thread(target=http.serve_forever, daemon=True).start()
    url = f"http://127.0.0.1:{http.server_port}/"
    monkeypatch.setattr(mobilenet_v2, "BASE_WEIGHT_PATH", url)
    (tmp_path / "keras").mkdir()  # or Keras would turn to /tmp/.keras
    monkeypatch.setattr(config, "_KERAS_DIR", str(tmp_path / "keras"))
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    yield Server(folder, url, asked)
    http.shutdown()
    http.server_close()


V2_FILE = "mobilenet_v2_weights_tf_dim_ordering_tf_kernels_1.0_224{}.h5"


def serve(server: Server, source: Any, top: bool) -> None:
    """The file in the format that Keras publishes: HDF5 by layer, as Keras 2 wrote it."""
    import h5py
    from keras.src.legacy.saving import legacy_h5_format

    with h5py.File(server.folder / V2_FILE.format("" if top else "_no_top"), "w") as file:
        legacy_h5_format.save_weights_to_hdf5_group(file, source)


def test_keras_downloads_the_weights(
    server: Server, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from keras.src.applications import mobilenet_v2

    from edge.training.weights import load_base

    source = fresh("MobileNetV2", include_top=False, input_shape=(224, 224, 3))
    serve(server, source, top=False)
    capfd.readouterr()
    loaded = load_base(backbone("mobilenetv2"), SIZE, "imagenet", 0)
    assert_holds(loaded.model, source)
    assert len(server.asked) == 1
    assert loaded.source == "imagenet (Keras Applications)"
    assert capfd.readouterr().out == ""  # stdout belongs to our answers
    # The next time it lies on the disk: no network is needed.
    monkeypatch.setattr(mobilenet_v2, "BASE_WEIGHT_PATH", "http://127.0.0.1:1/")
    assert load_base(backbone("mobilenetv2"), SIZE, "imagenet", 5).sha256 == loaded.sha256


def test_keras_downloads_the_weights_with_their_top(server: Server) -> None:
    from edge.training.weights import load_classifier

    source = fresh("MobileNetV2")
    serve(server, source, top=True)
    loaded = load_classifier(backbone("mobilenetv2"), "imagenet", 0)
    assert_holds(loaded.model, source)
    assert len(loaded.model.get_weights()) == len(source.get_weights())


@pytest.mark.parametrize("failure", ["404", "refused", "broken file"])
def test_no_weights_to_be_had(
    server: Server, failure: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from keras.src.applications import mobilenet_v2

    from edge.training.weights import load_base, load_classifier

    if failure == "refused":
        monkeypatch.setattr(mobilenet_v2, "BASE_WEIGHT_PATH", "http://127.0.0.1:1/")
    if failure == "broken file":
        for suffix in ("", "_no_top"):
            (server.folder / V2_FILE.format(suffix)).write_text("<html>sign in</html>")
    row = backbone("mobilenetv2")
    with pytest.raises(WeightsUnavailable, match=r"MobileNetV2 are not .*not be down") as caught:
        load_base(row, SIZE, "imagenet", 0)
    for way_out in ("--weights PATH", "--weights none", "mobilenet"):
        assert way_out in caught.value.hint
    assert caught.value.exit_code == 3
    with pytest.raises(WeightsUnavailable):
        load_classifier(row, "imagenet", 0)
    assert len(server.asked) >= (0 if failure == "refused" else 2)
