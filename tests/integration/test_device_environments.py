"""The runtime alone, as a bundle carries it, in environments that hold only what a device has.

Each environment has numpy, pillow and one interpreter; of the project it sees a folder with
``edge/__init__.py``, ``edge/errors.py`` and ``edge/runtime/``. Every model here computes
``softmax(mean over the pixels / 32)``, one class per colour channel, so that the right scores are
known without any interpreter.
"""

import json
import shutil
import subprocess
import sys
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Final

import numpy as np
import pytest
from PIL import Image

from edge.pipeline.bundle import write_golden
from edge.runtime.contract import Preprocessing
from edge.runtime.files import sha256_file
from edge.runtime.session import ENGINES
from edge.runtime.spec import Manifest, Variant
from tests.integration.environments import bare_environ, environment
from tests.unit.golden_bundle import Target, Written, held_out, reference

pytestmark = pytest.mark.slow

ROOT: Final = Path(__file__).parents[2]
LABELS: Final = ("red 🍎", "grün", "青")
COLOURS: Final = {  # name: RGB; the last one is no easy case: its best score is 0.67
    "red": (255, 0, 0),
    "green": (0, 255, 0),
    "blue": (0, 0, 255),
    "muted": (32, 64, 96),
}
VARIANTS: Final = {  # name: dtype of its input
    "tflite-fp32": "float32",
    "tflite-int8": "uint8",
    "onnx-fp32": "float32",
    "onnx-int8": "uint8",
}
HOST_PACKAGES: Final = {"tensorflow", "keras", "onnx", "tf2onnx", "typer", "rich", "sklearn"}

# float32 arithmetic on means that are whole numbers: a few units in the last place of 1.
FLOAT_TOLERANCE: Final = 1e-6
# Scores are stored in steps of 1/256, rounded: half a step, and another half for the rounding of
# the logits and of the exponential table.
INTEGER_TOLERANCE: Final = 1 / 256

# Runs the device's entry point, which ends the process, and says last what had been loaded.
PROGRAM: Final = """
import atexit, json, os, runpy, sys

def tell():
    with open(os.environ["LOADED"], "w") as stream:
        json.dump({"modules": sorted(sys.modules), "edge": sys.modules["edge"].__path__[0]}, stream)

atexit.register(tell)
runpy.run_module("edge.runtime", run_name="__main__", alter_sys=True)
"""


@dataclass(frozen=True, slots=True)
class Device:
    """An environment: its name, what pip installs there, and which engine that is."""

    name: str
    requirements: tuple[str, ...]
    engine: str
    format: str


DEVICES: Final = (
    Device("litert", ("numpy>=2", "pillow", "ai-edge-litert"), "litert", "tflite"),
    Device(
        "tflite-runtime",
        ("numpy<2", "pillow", "tflite-runtime==2.14.0"),
        "tflite-runtime",
        "tflite",
    ),
    Device("onnxruntime", ("numpy", "pillow", "onnxruntime"), "onnxruntime", "onnx"),
)
CASES: Final = [
    pytest.param(device, name, id=f"{device.name}-{name}")
    for device in DEVICES
    for name in VARIANTS
    if name.startswith(device.format)
]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one run of the runtime gave."""

    code: int
    answers: list[dict[str, Any]]
    modules: set[str]
    stderr: str


class Workplace:
    """The runtime's folder, a bundle and the pictures, ready for any environment."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.runtime = copy_runtime(folder / "runtime")
        self.bundle = write_bundle(folder / "bundle")
        self.pictures = {name: folder / f"{name}.png" for name in COLOURS}
        for name, path in self.pictures.items():
            Image.new("RGB", (40, 24), COLOURS[name]).save(path)
        self.empty = folder / "empty"
        self.empty.mkdir()
        self.predict = cache(self._predict)

    def _predict(self, device: Device, *arguments: str) -> Outcome:
        """``python -m edge.runtime predict BUNDLE ... --json`` there; equal calls run once."""
        loaded = self.folder / "loaded.json"
        loaded.unlink(missing_ok=True)
        result = subprocess.run(
            [
                *(str(python(device)), "-c", PROGRAM),
                *("predict", str(self.bundle), *arguments, "--json"),
            ],
            cwd=self.empty,  # Python looks for modules here too
            env=bare_environ(PYTHONPATH=str(self.runtime), LOADED=str(loaded)),
            capture_output=True,
            encoding="utf-8",
            timeout=120,
        )
        assert loaded.is_file(), result.stderr
        seen = json.loads(loaded.read_text())
        assert Path(seen["edge"]) == self.runtime / "edge"
        answers = json.loads(result.stdout) if result.stdout else []
        return Outcome(result.returncode, answers, set(seen["modules"]), result.stderr)

    def run(self, device: Device, *arguments: str) -> subprocess.CompletedProcess[str]:
        """``python -m edge.runtime ...`` there, as a device does it."""
        return subprocess.run(
            [str(python(device)), "-P", "-s", "-m", "edge.runtime", *arguments],
            cwd=self.empty,
            env=bare_environ(PYTHONPATH=str(self.runtime)),
            capture_output=True,
            encoding="utf-8",
            timeout=120,
        )

    def scores(self, device: Device, variant: str) -> np.ndarray[Any, np.dtype[np.float64]]:
        """(pictures, classes) scores in the order of COLOURS and LABELS."""
        pictures = [str(path) for path in self.pictures.values()]
        outcome = self.predict(device, *pictures, "--variant", variant, "--top-k", "3")
        assert outcome.code == 0, outcome.stderr
        assert [answer["image"] for answer in outcome.answers] == pictures
        assert {answer["variant"] for answer in outcome.answers} == {variant}
        scores = np.full((len(pictures), len(LABELS)), np.nan)
        for row, answer in zip(scores, outcome.answers, strict=True):
            for category in answer["categories"]:
                assert category["label"] == LABELS[category["index"]]
                row[category["index"]] = category["score"]
        return scores


def python(device: Device) -> Path:
    """The device's interpreter of Python."""
    if device.engine == "tflite-runtime" and sys.version_info >= (3, 12):
        pytest.skip("tflite-runtime 2.14.0 has wheels up to Python 3.11 only")
    return environment(f"runtime-{device.name}", device.requirements)


def copy_runtime(folder: Path) -> Path:
    """What a bundle carries of the project, and nothing else."""
    edge = folder / "edge"
    edge.mkdir(parents=True)
    for name in ("__init__.py", "errors.py"):
        shutil.copy(ROOT / "edge" / name, edge / name)
    ignored = shutil.ignore_patterns("__pycache__")
    shutil.copytree(ROOT / "edge" / "runtime", edge / "runtime", ignore=ignored)
    return folder


def write_bundle(folder: Path) -> Path:
    """A bundle of the four models."""
    models = folder / "models"
    models.mkdir(parents=True)
    for precision in ("fp32", "int8"):
        source = ROOT / "tests" / "data" / f"channels_{precision}.tflite"
        shutil.copy(source, models / f"tflite-{precision}.tflite")
        (models / f"onnx-{precision}.onnx").write_bytes(onnx_channels(precision == "int8"))
    variants = []
    for name, dtype in VARIANTS.items():
        format_, precision = name.split("-")
        path = f"models/{name}.{format_}"
        variants.append(
            Variant(
                name=name,
                path=path,
                format=format_,
                precision=precision,
                size_bytes=(folder / path).stat().st_size,
                input_dtype=dtype,
            )
        )
    spec = Preprocessing(height=16, width=16)
    written = [
        Written(Target(variant.name, variant.precision), folder / variant.path)
        for variant in variants
    ]
    held = held_out(folder.parent / "held-out")
    scores = reference([item.path for item in held])
    write_golden(folder, written, held, scores, spec)  # type: ignore[arg-type]
    manifest = Manifest(
        name="channels",
        labels=LABELS,
        preprocessing=spec,
        variants=tuple(variants),
        default_variant="tflite-fp32",
        files={
            path.relative_to(folder).as_posix(): sha256_file(path)
            for path in sorted(folder.rglob("*"))
            if path.is_file()
        },
    )
    (folder / "manifest.json").write_text(json.dumps(manifest.to_json()), encoding="utf-8")
    return folder


def onnx_channels(quantized: bool) -> bytes:
    """The ONNX twin of the TFLite fixtures; quantized: uint8 pixels in, scores in steps of 1/256.

    The input is (1, 16, 16, 3), RGB 0..255; the output float32 (1, 3).
    """
    from onnx import TensorProto, checker, helper

    make, real, byte = helper.make_node, TensorProto.FLOAT, TensorProto.UINT8
    nodes = [
        make("ReduceMean", ["pixels"], ["means"], axes=[1, 2], keepdims=0),
        make("Div", ["means", "divisor"], ["logits"]),
        make("Softmax", ["logits"], ["softmax" if quantized else "scores"], axis=-1),
    ]
    constants = [helper.make_tensor("divisor", real, [], [32.0])]
    if quantized:
        nodes.insert(0, make("DequantizeLinear", ["image", "one", "zero"], ["pixels"]))
        nodes.append(make("QuantizeLinear", ["softmax", "step", "zero"], ["stored"]))
        nodes.append(make("DequantizeLinear", ["stored", "step", "zero"], ["scores"]))
        constants.append(helper.make_tensor("one", real, [], [1.0]))
        constants.append(helper.make_tensor("step", real, [], [1 / 256]))
        constants.append(helper.make_tensor("zero", byte, [], [0]))
    name = "image" if quantized else "pixels"
    graph = helper.make_graph(
        nodes,
        "channels",
        [helper.make_tensor_value_info(name, byte if quantized else real, [1, 16, 16, 3])],
        [helper.make_tensor_value_info("scores", real, [1, 3])],
        constants,
    )
    opsets = [helper.make_opsetid("", 17)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=8)
    checker.check_model(model, full_check=True)
    return bytes(model.SerializeToString())


def right_scores() -> np.ndarray[Any, np.dtype[np.float64]]:
    """(pictures, classes): softmax(colour / 32), in float64."""
    exponentials = np.exp(np.array(list(COLOURS.values()), np.float64) / 32)
    return np.asarray(exponentials / exponentials.sum(axis=1, keepdims=True))


def tolerance(variant: str) -> float:
    return INTEGER_TOLERANCE if variant.endswith("int8") else FLOAT_TOLERANCE


@pytest.fixture(scope="module")
def workplace(tmp_path_factory: pytest.TempPathFactory) -> Workplace:
    return Workplace(tmp_path_factory.mktemp("device"))


@pytest.mark.parametrize(("device", "variant"), CASES)
def test_every_variant_names_the_colour(workplace: Workplace, device: Device, variant: str) -> None:
    scores = workplace.scores(device, variant)
    assert scores.argmax(axis=1).tolist() == [0, 1, 2, 2]
    np.testing.assert_allclose(scores, right_scores(), rtol=0, atol=tolerance(variant))


@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_engines_agree(workplace: Workplace, precision: str) -> None:
    name = f"tflite-{precision}"
    first, *others = [
        workplace.scores(device, f"{device.format}-{precision}") for device in DEVICES
    ]
    for other in others:
        np.testing.assert_allclose(other, first, rtol=0, atol=tolerance(name))


@pytest.mark.parametrize(("device", "variant"), CASES)
def test_the_golden_self_test_passes(workplace: Workplace, device: Device, variant: str) -> None:
    done = workplace.run(device, "selftest", str(workplace.bundle), "--variant", variant, "--json")
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert (report["passed"], len(report["images"]), report["flat"]) == (True, 3, False)
    assert report["engine"].startswith(f"{ENGINES[device.engine].package} ")
    assert report["same_engine"] == (device.engine != "tflite-runtime")  # the host has LiteRT


@pytest.mark.parametrize("device", DEVICES, ids=lambda device: device.name)
def test_watch_and_bench_run_there(workplace: Workplace, device: Device, tmp_path: Path) -> None:
    shutil.copy(workplace.pictures["green"], tmp_path / "green.png")
    variant = ("--variant", f"{device.format}-int8")
    bundle = str(workplace.bundle)
    done = workplace.run(device, "watch", str(tmp_path), "--bundle", bundle, "--once", *variant)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == json.loads((tmp_path / "green.png.json").read_text())
    assert json.loads(done.stdout)["categories"][0]["label"] == LABELS[1]
    done = workplace.run(device, "bench", bundle, "--runs", "5", "--json", *variant)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["steps"]["invoke"]["p50"] > 0


@pytest.mark.parametrize(("device", "variant"), CASES)
def test_no_host_package_is_loaded(workplace: Workplace, device: Device, variant: str) -> None:
    pictures = [str(path) for path in workplace.pictures.values()]
    outcome = workplace.predict(device, *pictures, "--variant", variant, "--top-k", "3")
    assert {name.partition(".")[0] for name in outcome.modules} & HOST_PACKAGES == set()
    ours = {name for name in outcome.modules if name.split(".")[0] in ("edge", "converters")}
    assert {name for name in ours if not name.startswith("edge.runtime")} == {"edge", "edge.errors"}


@pytest.mark.parametrize("device", DEVICES, ids=lambda device: device.name)
def test_a_broken_picture_does_not_stop_the_others(workplace: Workplace, device: Device) -> None:
    red, blue = (str(workplace.pictures[name]) for name in ("red", "blue"))
    truncated, missing = workplace.folder / "truncated.png", workplace.folder / "missing.png"
    truncated.write_bytes(workplace.pictures["green"].read_bytes()[:60])
    pictures = [red, str(truncated), str(missing), blue]
    outcome = workplace.predict(device, *pictures, "--variant", f"{device.format}-fp32")
    assert outcome.code == 2
    assert "Traceback" not in outcome.stderr
    assert [answer["image"] for answer in outcome.answers] == pictures
    for answer in outcome.answers[1:3]:
        assert isinstance(answer["error"], str)
        assert Path(answer["image"]).name in answer["error"]
        assert "categories" not in answer
    for answer, index in ((outcome.answers[0], 0), (outcome.answers[3], 2)):
        assert answer["categories"][0]["index"] == index
        assert "error" not in answer


@pytest.mark.parametrize("device", DEVICES, ids=lambda device: device.name)
def test_the_engine_can_be_named(workplace: Workplace, device: Device) -> None:
    arguments = (str(workplace.pictures["red"]), "--variant", f"{device.format}-fp32")
    named = workplace.predict(device, *arguments, "--engine", device.engine, "--threads", "2")
    assert named.code == 0, named.stderr
    assert named.answers[0]["categories"][0]["label"] == LABELS[0]


def test_an_engine_that_is_not_installed_is_named(workplace: Workplace) -> None:
    arguments = (str(workplace.pictures["red"]), "--variant", "onnx-fp32")
    outcome = workplace.predict(DEVICES[0], *arguments)
    assert outcome.code == 3
    assert "onnxruntime" in outcome.stderr
    assert "Traceback" not in outcome.stderr
