"""``edge export`` of .tflite and .onnx files of others: what they become, and what is refused.

What a file is is stated here: how it is found out is tested where that is done.
"""

import json
import os
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
import pytest
from PIL import Image

from converters.base import DEFAULT_TARGETS
from edge.errors import DataError, EdgeError, UsageError
from edge.identification.model import Fact, IdentifiedModel, StatedModel
from edge.pipeline import export_file
from edge.pipeline.export import export
from edge.pipeline.options import ExportOptions, OutputOptions
from edge.pipeline.report import FLOAT_FILE, Report
from edge.pipeline.reproduce.reproduce import ReproduceOptions, reproduce
from edge.pipeline.tasks.report import TaskReport
from edge.progress import Silent
from edge.runtime.bundle import Bundle
from edge.runtime.contract import Preprocessing, TensorLayout
from edge.runtime.files import sha256_file
from edge.runtime.tasks.model import open_predictor
from edge.runtime.tasks.results import Detections
from edge.runtime.tasks.table import DecoderSpec, Task

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("warm_converters")]

SIDE: Final = 32  # pixels of the detector's input
CELL: Final = 8  # pixels of a cell, of which there are 4 x 4
LIT: Final = (5, 10)  # the cells that are bright in a picture are drawn from these
CONTRACT: Final = Preprocessing(
    height=SIDE, width=SIDE, value_range=(0.0, 1.0), layout=TensorLayout.CHW
)


def bright_cells(path: Path) -> Path:
    """A float ONNX detector: a cell of the picture is an object as sure as it is bright."""
    from onnx import TensorProto, helper, numpy_helper, save

    count = SIDE // CELL
    kernel = np.full((1, 3, CELL, CELL), 1 / (3 * CELL * CELL), np.float32)
    rows, columns = np.mgrid[:count, :count].reshape(2, -1) / count
    boxes = np.stack((rows, columns, rows + 1 / count, columns + 1 / count), 1)[None]
    constants = {
        "kernel": kernel,
        "shape": np.array([1, count * count], np.int64),
        "all_boxes": boxes.astype(np.float32),
        "all_classes": np.zeros((1, count * count), np.float32),
        "all": np.array([count * count], np.float32),
    }
    nodes = [
        helper.make_node("Identity", ["all_boxes"], ["boxes"]),
        helper.make_node("Identity", ["all_classes"], ["classes"]),
        helper.make_node("Conv", ["image", "kernel"], ["means"], strides=[CELL, CELL]),
        helper.make_node("Reshape", ["means", "shape"], ["scores"]),
        helper.make_node("Identity", ["all"], ["count"]),
    ]
    shapes = {
        "boxes": [1, count * count, 4],
        "classes": [1, count * count],
        "scores": [1, count * count],
        "count": [1],
    }
    graph = helper.make_graph(
        nodes,
        "bright",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, [1, 3, SIDE, SIDE])],
        [
            helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)
            for name, shape in shapes.items()
        ],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    model.ir_version = 8
    save(model, str(path))
    return path


def cells(number: int) -> list[int]:
    """The bright cells of a picture."""
    random = np.random.default_rng(number)
    return sorted(random.choice(16, random.integers(1, 4), replace=False).tolist())


def make_pictures(root: Path, count: int, first: int = 0) -> Path:
    root.mkdir(parents=True)
    for number in range(first, first + count):
        pixels = np.random.default_rng(1000 + number).integers(0, 40, (SIDE, SIDE, 3))
        for cell in cells(number):
            top, left = (CELL * part for part in divmod(cell, SIDE // CELL))
            pixels[top : top + CELL, left : left + CELL] += 200
        Image.fromarray(pixels.astype(np.uint8)).save(root / f"{number:03}.png")
    return root


@dataclass(frozen=True)
class Exporter:
    """Exports a file that is what ``known`` says.

    Attributes:
        known: What the file is.
        cache: The stage cache.
        pictures: Images to calibrate and score on.
        told: What was said on the way.
    """

    known: IdentifiedModel
    cache: Path
    pictures: Path
    told: list[str] = field(default_factory=list)

    def __call__(self, output: Path, **changes: Any) -> Report | TaskReport:
        making = {
            name: changes.pop(name)
            for name in ("variants", "required", "max_drop_points", "recipe", "overwrite")
            if name in changes
        }
        made = OutputOptions(
            **({"output": output, "overwrite": False, "cache": self.cache} | making)
        )
        asked: dict[str, Any] = {"calibration_data": self.pictures} | changes
        options = ExportOptions(model=str(self.known.path), output=made, **asked)
        return export(options, Telling(self.told))


class Telling(Silent):
    """Keeps notes."""

    def __init__(self, told: list[str]) -> None:
        super().__init__()
        self._told = told

    def note(self, text: str) -> None:
        self._told.append(text)


@pytest.fixture(scope="module")
def detector(tmp_path_factory: pytest.TempPathFactory) -> IdentifiedModel:
    path = bright_cells(tmp_path_factory.mktemp("detector") / "Bright.onnx")
    return IdentifiedModel(
        path=path,
        format="onnx",
        sha256=sha256_file(path),
        task=Task.DETECTION,
        preprocessing=CONTRACT,
        labels=("bright",),
        decoder=DecoderSpec(name="tflite-detection", evidence="this test says so"),
        facts=(Fact(what="task", value="detection", source="this test", option="--task"),),
    )


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_pictures(tmp_path_factory.mktemp("data") / "pictures", 40)


Of = Callable[[IdentifiedModel], Exporter]


@pytest.fixture
def of(cache: Path, pictures: Path, monkeypatch: pytest.MonkeyPatch) -> Of:
    """Make an exporter of a file."""

    def of(known: IdentifiedModel) -> Exporter:
        def identified(path: Path, stated: StatedModel) -> IdentifiedModel:
            assert sha256_file(path) == known.sha256
            return replace(known, path=path)

        monkeypatch.setattr(export_file, "identify", identified)
        return Exporter(known, cache, pictures)

    return of


def test_a_float_detector_becomes_int8_in_its_own_format(
    of: Of, detector: IdentifiedModel, tmp_path: Path
) -> None:
    exporter = of(detector)
    report = exporter(tmp_path / "bundle")
    assert isinstance(report, TaskReport)
    assert [item.name for item in report.variants] == ["onnx-fp32", "onnx-int8"]
    assert report.reference.of == FLOAT_FILE
    assert report.variants[0].agreement == pytest.approx(1.0)
    assert report.variants[1].quantized_share == pytest.approx(1.0)
    bundle = Bundle.open(tmp_path / "bundle")
    bundle.verify()
    manifest = bundle.manifest
    assert (manifest.task, manifest.decoder) == (Task.DETECTION, detector.decoder)
    assert sha256_file(bundle.path / "source/model.onnx") == detector.sha256
    for variant in ("onnx-fp32", "onnx-int8"):
        answer = open_predictor(bundle, variant=variant).predict(exporter.pictures / "003.png")
        assert isinstance(answer, Detections)
        found = sorted(4 * int(item.top // CELL) + int(item.left // CELL) for item in answer.items)
        assert found == cells(3)
    saved = json.loads((bundle.path / "report.json").read_text())
    assert (saved["task"], saved["decoder"]["name"]) == ("detection", "tflite-detection")
    page = (bundle.path / "report.html").read_text(encoding="utf-8")
    assert "The given file" in page
    assert page.count("data:image/jpeg") == 2 * 6  # six pictures, by each of two files


def annotate(root: Path) -> Path:
    """Write what is bright in each picture into a VOC file beside it."""
    for path in root.glob("*.png"):
        objects = ""
        for cell in cells(int(path.stem)):
            top, left = (CELL * part for part in divmod(cell, SIDE // CELL))
            objects += (
                f"<object><name>bright</name><bndbox><xmin>{left}</xmin><ymin>{top}</ymin>"
                f"<xmax>{left + CELL}</xmax><ymax>{top + CELL}</ymax></bndbox></object>"
            )
        path.with_suffix(".xml").write_text(
            f"<annotation><filename>{path.name}</filename><size><width>{SIDE}</width>"
            f"<height>{SIDE}</height><depth>3</depth></size>{objects}</annotation>"
        )
    return root


def test_annotations_score_every_file(of: Of, detector: IdentifiedModel, tmp_path: Path) -> None:
    annotated = annotate(make_pictures(tmp_path / "annotated", 40))
    report = of(detector)(tmp_path / "bundle", calibration_data=annotated)
    assert isinstance(report, TaskReport)
    assert (report.reference.annotated, report.reference.metric) == (20, "mAP")
    assert report.reference.score is not None
    assert report.reference.score == pytest.approx(1.0)
    first = report.variants[0]
    assert (first.score, first.drop_points) == (report.reference.score, 0.0)
    assert [item.label for item in first.classes] == ["bright"]
    manifest = Bundle.open(tmp_path / "bundle").manifest
    assert manifest.variant("onnx-fp32").score == report.reference.score
    assert "bars" in (tmp_path / "bundle/report.html").read_text(encoding="utf-8")


def test_an_integer_file_is_used_as_it_is(
    of: Of, detector: IdentifiedModel, tmp_path: Path
) -> None:
    exporter = of(replace(detector, quantized=True))
    report = exporter(tmp_path / "bundle", calibration_data=None, evaluation_data=exporter.pictures)
    assert [item.name for item in report.variants] == ["onnx-int8"]
    assert report.reference.images == 40
    assert report.variants[0].agreement is None
    bundle = Bundle.open(tmp_path / "bundle")
    assert bundle.manifest.files["models/onnx-int8.onnx"] == detector.sha256
    assert not (bundle.path / "source").exists()


def test_pictures_that_would_not_calibrate_are_refused_or_said(
    of: Of, detector: IdentifiedModel, tmp_path: Path
) -> None:
    exporter = of(replace(detector, quantized=True))
    error = refusal(exporter, tmp_path, evaluation_data=exporter.pictures)
    assert "--calibration-data has no effect" in error.message
    report = exporter(tmp_path / "bundle")
    assert report.reference.images == 40
    assert any("no picture calibrates" in note for note in exporter.told)


def test_a_bundle_is_made_again(of: Of, detector: IdentifiedModel, tmp_path: Path) -> None:
    """Nobody needs the given file: the bundle holds it."""
    mine = tmp_path / "Mine.onnx"
    mine.write_bytes(detector.path.read_bytes())
    exporter = of(replace(detector, path=mine))
    exporter(tmp_path / "bundle")
    mine.unlink()
    options = ReproduceOptions(
        bundle=tmp_path / "bundle", data=exporter.pictures, cache=tmp_path / "other"
    )
    again = reproduce(options, Silent())
    assert again.equal is True
    assert {item.path for item in again.files} >= {"models/onnx-int8.onnx", "labels.txt"}


def test_an_adopted_bundle_is_made_again_from_the_scored_images_alone(
    of: Of, detector: IdentifiedModel, tmp_path: Path
) -> None:
    exporter = of(replace(detector, quantized=True))
    bundle = tmp_path / "bundle"
    exporter(bundle, calibration_data=None, evaluation_data=exporter.pictures)
    options = ReproduceOptions(bundle=bundle, data=exporter.pictures, cache=tmp_path / "other")
    assert reproduce(options, Silent()).equal is True


def refusal(exporter: Exporter, tmp_path: Path, **changes: Any) -> EdgeError:
    with pytest.raises(EdgeError) as caught:
        exporter(tmp_path / "out", **changes)
    assert not (tmp_path / "out").exists()
    return caught.value


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"required": ("tflite-int8",), "variants": ("tflite-int8",)}, "between TFLite and ONNX"),
        ({"required": ("tflite-w8a16",)}, "tflite-w8a16 cannot be made"),
        ({"weights": "none"}, "--weights"),
        ({"positive_class": "cat"}, "--positive-class"),
        ({"model_output": "last"}, "--model-output"),
        ({"custom_objects": Path("own.py")}, "--custom-objects"),
        ({"truth": Path("truth.csv")}, "--truth"),
        ({"calibration_data": None}, "--calibration-data is missing"),
    ],
)
def test_what_makes_no_sense_for_the_file_is_refused_by_name(
    of: Of, detector: IdentifiedModel, tmp_path: Path, changes: dict[str, Any], says: str
) -> None:
    error = refusal(of(detector), tmp_path, **changes)
    assert isinstance(error, UsageError)
    assert says in error.message
    assert error.hint


def test_a_search_of_both_formats_makes_that_of_the_file(
    of: Of, detector: IdentifiedModel, tmp_path: Path
) -> None:
    """--quantize auto asks for mixed files of both formats."""
    output = OutputOptions(
        output=tmp_path / "out",
        overwrite=False,
        cache=tmp_path,
        variants=("tflite-mixed", "onnx-mixed", "onnx-int8"),
        required=("tflite-mixed", "onnx-mixed"),
        max_drop_points=1.0,
    )
    own = export_file.own_variants(output, detector, None)
    assert (own.variants, own.required) == (("onnx-mixed", "onnx-int8"), ("onnx-mixed",))


def test_a_searched_bundle_is_made_again_and_its_recipe_keeps_its_budget(
    of: Of, detector: IdentifiedModel, tmp_path: Path
) -> None:
    """What --quantize auto, and then --recipe alone, hand over: mixed files of both formats."""
    exporter = of(detector)
    mixed = ("tflite-mixed", "onnx-mixed")
    both = {"variants": (*DEFAULT_TARGETS, *mixed), "required": mixed}
    first = exporter(tmp_path / "bundle", **both, max_drop_points=60.0)
    options = ReproduceOptions(
        bundle=tmp_path / "bundle", data=exporter.pictures, cache=tmp_path / "other"
    )
    again = reproduce(options, Silent())
    assert again.equal is True
    assert "recipe.json" in {item.path for item in again.files}
    recipe = tmp_path / "bundle/recipe.json"
    second = exporter(tmp_path / "second", **both, recipe=recipe)
    assert second.default_variant == first.default_variant
    assert any("may lose 60 points" in note for note in exporter.told)
    assert json.loads((tmp_path / "second/recipe.json").read_text())["max_drop_points"] == 60.0
    exporter.told.clear()
    exporter(tmp_path / "third", **both, recipe=recipe, max_drop_points=70.0)
    assert not any("may lose" in note for note in exporter.told)  # the user says it


def test_a_file_with_weights_that_are_no_numbers_is_refused_at_once(
    of: Of, detector: IdentifiedModel, tmp_path: Path
) -> None:
    import onnx
    from onnx import numpy_helper

    model = onnx.load(detector.path)
    tensor = next(item for item in model.graph.initializer if item.data_type == 1)
    values = numpy_helper.to_array(tensor).copy()
    values.flat[0] = np.nan
    tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))
    onnx.save(model, tmp_path / "nan.onnx")
    path = tmp_path / "nan.onnx"
    exporter = of(replace(detector, path=path, sha256=sha256_file(path)))
    error = refusal(exporter, tmp_path)
    assert f"values of {tensor.name!r} are NaN" in error.message
    assert "--" not in error.hint


def test_a_recipe_of_another_format_is_refused_at_once(
    of: Of, detector: IdentifiedModel, tmp_path: Path
) -> None:
    recipe = tmp_path / "recipe.json"
    recipe.write_text('{"schema_version": 1, "keep_float": {"tflite": []}}')
    mixed = ("tflite-mixed", "onnx-mixed")
    error = refusal(of(detector), tmp_path, variants=mixed, required=mixed, recipe=recipe)
    assert "does not say what onnx files keep in floats" in error.message


def test_classes_without_names_are_said_where_annotations_would_name_them(
    of: Of, detector: IdentifiedModel, tmp_path: Path
) -> None:
    named = of(detector)
    named(tmp_path / "named")
    assert not any("nothing names the classes" in note for note in named.told)
    unnamed = of(replace(detector, labels=("0",)))
    unnamed(tmp_path / "unnamed")
    assert any("nothing names the classes" in note for note in unnamed.told)
    annotated = annotate(make_pictures(tmp_path / "annotated", 10))
    error = refusal(unnamed, tmp_path, calibration_data=annotated)
    assert "none of the annotated classes" in error.message
    assert "--labels FILE" in error.hint


@pytest.mark.parametrize("asked", ["onnx-fp32", "onnx-mixed", "tflite-int8"])
def test_an_integer_file_is_nothing_else(
    of: Of, detector: IdentifiedModel, tmp_path: Path, asked: str
) -> None:
    error = refusal(of(replace(detector, quantized=True)), tmp_path, required=(asked,))
    assert f"{asked} cannot be made" in error.message
    assert "onnx-int8" in error.hint


def test_an_integer_file_needs_pictures_to_score_on(
    of: Of, detector: IdentifiedModel, tmp_path: Path
) -> None:
    error = refusal(of(replace(detector, quantized=True)), tmp_path, calibration_data=None)
    assert "--evaluation-data is missing" in error.message


def test_annotations_are_for_no_classifier(
    of: Of, detector: IdentifiedModel, tmp_path: Path
) -> None:
    known = replace(detector, task=Task.CLASSIFICATION, decoder=None)
    error = refusal(of(known), tmp_path, annotations="voc")
    assert "--annotations" in error.message


def test_annotations_of_other_classes_are_refused(
    of: Of, detector: IdentifiedModel, tmp_path: Path
) -> None:
    annotated = annotate(make_pictures(tmp_path / "annotated", 6))
    error = refusal(of(replace(detector, labels=("dark",))), tmp_path, calibration_data=annotated)
    assert isinstance(error, DataError | UsageError)


def test_one_picture_leaves_none_to_score(
    of: Of, detector: IdentifiedModel, tmp_path: Path
) -> None:
    error = refusal(of(detector), tmp_path, calibration_data=make_pictures(tmp_path / "one", 1))
    assert isinstance(error, DataError)


def test_pictures_that_calibrate_are_not_scored(
    of: Of, detector: IdentifiedModel, tmp_path: Path
) -> None:
    exporter = of(detector)
    error = refusal(exporter, tmp_path, evaluation_data=exporter.pictures)
    assert isinstance(error, DataError)
    assert "would calibrate" in error.message


def test_masks_neither_calibrate_nor_count(
    of: Of, detector: IdentifiedModel, tmp_path: Path
) -> None:
    photos = make_pictures(tmp_path / "photos", 10)
    (photos / "masks").mkdir()
    for path in sorted(photos.glob("*.png")):  # of 16 bits, which would be read as dark pictures
        deep = np.full((SIDE, SIDE), 1000 + int(path.stem), np.uint16)
        Image.fromarray(deep).save(photos / "masks" / path.name)
    exporter = of(detector)
    report = exporter(tmp_path / "bundle", calibration_data=photos)
    assert report.data.counts == {"calibration": 5, "scored": 5}
    assert any("10 files in masks are masks" in note for note in exporter.told)
    assert Bundle.open(tmp_path / "bundle").manifest.preprocessing.levels is None
    lock = json.loads((tmp_path / "bundle/edge.lock").read_text())
    splits = lock["inputs"]["data"]["calibration_data"]
    assert {name: len(files[""]) for name, files in splits.items()} == {
        "calibration": 5,
        "scored": 5,
        "masks": 10,
    }
    options = ReproduceOptions(bundle=tmp_path / "bundle", data=photos, cache=tmp_path / "other")
    assert reproduce(options, Silent()).equal is True
    Image.new("L", (SIDE, SIDE)).save(photos / "masks/000.png")  # other scores may follow
    (found,) = reproduce(options, Silent()).data.values()
    assert found.altered == ("masks/000.png",)


def test_a_second_export_replaces_only_when_told(
    of: Of, detector: IdentifiedModel, tmp_path: Path
) -> None:
    exporter = of(detector)
    exporter(tmp_path / "bundle")
    with pytest.raises(EdgeError, match="holds a bundle already"):
        exporter(tmp_path / "bundle")
    first = Bundle.open(tmp_path / "bundle").manifest.files["models/onnx-int8.onnx"]
    exporter(tmp_path / "bundle", overwrite=True)
    assert Bundle.open(tmp_path / "bundle").manifest.files["models/onnx-int8.onnx"] == first


def test_pictures_that_show_nothing_are_said_loudly(
    of: Of, detector: IdentifiedModel, tmp_path: Path
) -> None:
    dark = tmp_path / "dark"
    dark.mkdir()
    for number in range(12):
        pixels = np.random.default_rng(number).integers(0, 30, (SIDE, SIDE, 3))
        Image.fromarray(pixels.astype(np.uint8)).save(dark / f"{number}.png")
    exporter = of(detector)
    report = exporter(tmp_path / "bundle", calibration_data=dark)
    assert any("nothing is found in any of the 6 images" in note for note in report.notes)
    assert any("nothing is found" in note for note in exporter.told)


# ---- files of others, as they are published


def data() -> Path:
    named = os.environ.get("EDGE_TEST_DATA")
    if not named:
        pytest.skip("EDGE_TEST_DATA does not name the folder of shared data")
    return Path(named)


def test_a_published_ssd_is_adopted(of: Of, tmp_path: Path) -> None:
    root = data()
    path = root / "models/tasks/coco_ssd_mobilenet_v1_1.0_quant_2018_06_29.tflite"
    names = (root / "models/tasks/coco_labels.txt").read_text(encoding="utf-8").split("\n")
    known = IdentifiedModel(
        path=path,
        format="tflite",
        sha256=sha256_file(path),
        task=Task.DETECTION,
        preprocessing=Preprocessing(height=300, width=300, value_range=(-1.0, 1.0)),
        labels=tuple(names),
        decoder=DecoderSpec(name="tflite-detection"),
        quantized=True,
    )
    (tmp_path / "pictures").mkdir()
    for name in ("cats_and_dogs.jpg", "burger.jpg"):
        (tmp_path / "pictures" / name).write_bytes((root / "images/tasks" / name).read_bytes())
    report = of(known)(
        tmp_path / "bundle", calibration_data=None, evaluation_data=tmp_path / "pictures"
    )
    assert [item.name for item in report.variants] == ["tflite-int8"]
    answer = open_predictor(tmp_path / "bundle").predict(tmp_path / "pictures/cats_and_dogs.jpg")
    assert isinstance(answer, Detections)
    assert {item.label for item in answer.items[:4]} == {"cat", "dog"}


def mobilenet(root: Path, tmp_path: Path, **output: object) -> ExportOptions:
    """The float MobileNet v1 0.25 with a background class, as TFLite Support publishes it."""
    lines = (root / "models/imagenet_labels.txt").read_text(encoding="utf-8").splitlines()
    seen: dict[str, int] = {}
    labels = []
    for line in lines:  # a crane is a bird and a machine
        seen[line] = seen.get(line, 0) + 1
        labels.append(line if seen[line] == 1 else f"{line} ({seen[line]})")
    (tmp_path / "labels.txt").write_text("".join(f"{name}\n" for name in labels))
    made = {"output": tmp_path / "bundle", "overwrite": False, "cache": tmp_path / "cache"} | output
    return ExportOptions(
        model=str(root / "models/tasks/mobilenet_v1_0.25_224_1_default_1.tflite"),
        calibration_data=root / "images/imagenet-sample",
        stated=StatedModel(labels=tmp_path / "labels.txt", input_range="tf"),
        output=OutputOptions(**made),  # type: ignore[arg-type]
    )


def test_a_published_float_classifier_is_quantized(tmp_path: Path) -> None:
    """MobileNet v1 0.25 names half of ImageNet's samples rightly, and so does its int8 file."""
    report = export(mobilenet(data(), tmp_path), Silent())
    assert isinstance(report, Report)
    assert [item.name for item in report.variants] == ["tflite-fp32", "tflite-int8"]
    assert report.reference.of == FLOAT_FILE
    assert report.reference.top1 == pytest.approx(0.51, abs=0.02)
    assert report.variants[0].agreement == 1.0
    int8 = report.variants[1]
    assert int8.agreement is not None
    assert int8.agreement > 0.75  # 0.84 measured; a wrong range leaves less than 0.1
    assert int8.drop_points is not None
    assert int8.drop_points < 3
    assert {fact.what for fact in report.facts} >= {"task", "labels"}
    bundle = Bundle.open(tmp_path / "bundle")
    bundle.verify()
    assert (bundle.path / "source/model.tflite").is_file()


def test_nothing_is_converted_between_formats(tmp_path: Path) -> None:
    options = mobilenet(data(), tmp_path, variants=("onnx-int8",), required=("onnx-int8",))
    with pytest.raises(UsageError, match="between TFLite and ONNX") as caught:
        export(options, Silent())
    assert "tflite-int8" in caught.value.hint
