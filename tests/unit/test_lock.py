"""``edge.lock``: what it names is found again, and every difference is told."""

import json
import shutil
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edge.dataset.pictures import Picture
from edge.dataset.scan import scan
from edge.device.admission import shipped
from edge.errors import BundleError, UsageError
from edge.pipeline.options import BuildOptions, ExportOptions, OutputOptions
from edge.pipeline.reproduce.differences import (
    Reproduction,
    constants_difference,
    data_difference,
    folder_difference,
    likely_cause,
)
from edge.pipeline.reproduce.lock import (
    CONFIG,
    LOCK_NAME,
    UNUSED,
    WEIGHTS,
    BundleLock,
    JobInputs,
    NamedFile,
    build_inputs,
    export_inputs,
    flat,
    lock_of,
    options_json,
    outputs,
    processor,
    read_options,
)
from edge.pipeline.reproduce.reproduce import named_files
from edge.runtime.bundle import Bundle
from edge.runtime.contract import Preprocessing, Resize
from edge.runtime.files import sha256_file
from edge.runtime.output import HeadKind
from edge.runtime.spec import Manifest, Variant
from edge.training.options import BaseOptions, HeadOptions, Strategy, TrainingOptions, TuningOptions

INPUTS = JobInputs(
    options={"seed": 0}, data={"photos": {"train": {"a": {"a/0.png": "0" * 64}}}}, files={}
)


def build_options(photos: Path, tmp_path: Path, **changes: Any) -> BuildOptions:
    output = OutputOptions(
        output=tmp_path / "out", overwrite=True, cache=tmp_path / "cache", recipe=Path("r.json")
    )
    base = BaseOptions(backbone="mobilenetv2", alpha=0.35, size=96, resize=Resize.LETTERBOX)
    training = TrainingOptions(
        strategy=Strategy.FINE_TUNE,
        head=HeadOptions(hidden=(64, 32), metric=HeadKind.KNN, label_smoothing=0.1),
        tuning=TuningOptions(unfreeze="all", learning_rate=1e-5),
    )
    return BuildOptions(photos=photos, output=output, base=base, training=training, **changes)


def write_keras(path: Path, identity: int, units: int = 2, date: str = "today") -> None:
    """The parts of a .keras file, with what Keras puts into it anew each time."""
    path.parent.mkdir(exist_ok=True)
    layer = {"class_name": "Dense", "config": {"units": units}, "shared_object_id": identity}
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("metadata.json", json.dumps({"date_saved": date}))
        archive.writestr("config.json", json.dumps({"layers": [layer]}))
        archive.writestr("model.weights.h5", b"weights")


@pytest.fixture
def bundle(tmp_path: Path) -> Bundle:
    """A bundle with a lock, whose model files are a few bytes."""
    folder = tmp_path / "bundle"
    (folder / "models").mkdir(parents=True)
    (folder / "models" / "x.tflite").write_bytes(b"model")
    (folder / "labels.txt").write_text("a\nb\n")
    write_keras(folder / "source" / "model.keras", 1)
    value = lock_of(folder, command="build", name="x", inputs=INPUTS, weights_sha256="w")
    (folder / LOCK_NAME).write_text(json.dumps(value))
    return sealed(folder)


def sealed(folder: Path) -> Bundle:
    """The folder with a manifest that lists its files as they are."""
    paths = [path for path in folder.rglob("*") if path.is_file() and path.stem != "manifest"]
    variant = Variant(
        name="tflite-fp32",
        path="models/x.tflite",
        format="tflite",
        precision="fp32",
        size_bytes=5,
        input_dtype="float32",
        top1=None,
        agreement=None,
        latency_ms=1.0,
    )
    manifest = Manifest(
        name="x",
        labels=("a", "b"),
        preprocessing=Preprocessing(height=8, width=8),
        variants=(variant,),
        default_variant="tflite-fp32",
        files={path.relative_to(folder).as_posix(): sha256_file(path) for path in paths},
        provenance={},
    )
    (folder / "manifest.json").write_text(json.dumps(manifest.to_json()))
    return Bundle.open(folder)


def test_options_survive(tmp_path: Path) -> None:
    options = build_options(tmp_path, tmp_path, strict=True)
    kept = json.loads(json.dumps(options_json(options)))
    places = {"photos": tmp_path, "output": tmp_path / "out", "overwrite": True}
    places["cache"] = tmp_path / "cache"
    assert str(tmp_path) not in json.dumps(kept)  # another machine has other places
    assert read_options(BuildOptions, kept, places) == options


def test_every_default_of_both_commands_survives(tmp_path: Path) -> None:
    output = OutputOptions(output=tmp_path, overwrite=False, cache=tmp_path)
    places = {"output": tmp_path, "overwrite": False, "cache": tmp_path}
    build = BuildOptions(photos=tmp_path, output=output)
    kept = json.loads(json.dumps(options_json(build)))
    assert read_options(BuildOptions, kept, {**places, "photos": tmp_path}) == build
    export = ExportOptions(model="mobilenet", calibration_data=tmp_path, output=output)
    kept = json.loads(json.dumps(options_json(export)))
    places |= {"calibration_data": tmp_path, "evaluation_data": None}
    assert read_options(ExportOptions, kept, places) == export


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"strict": "yes"}, r'options: strict is "yes", expected true or false'),
        ({"base": {"alpha": True}}, r"options: base.alpha is true, expected a number"),
        (
            {"base": {"resize": "squeeze"}},
            'base.resize is "squeeze", expected one of',
        ),
        ({"base": 3}, "options: base is 3, expected an object"),
        ({"output": {"variants": "tflite-fp32"}}, "options: output.variants is .*expected a list"),
        ({"magic": 1}, "options: magic is unknown"),
    ],
)
def test_options_of_another_edge_are_refused(
    change: dict[str, Any], said: str, tmp_path: Path
) -> None:
    kept = options_json(build_options(tmp_path, tmp_path)) | change
    places = {"photos": tmp_path, "output": tmp_path, "overwrite": False, "cache": tmp_path}
    with pytest.raises(BundleError, match=said) as caught:
        read_options(BuildOptions, kept, places)
    assert caught.value.hint


def test_a_build_names_every_image(make_folder: Callable[..., Path], tmp_path: Path) -> None:
    photos = make_folder({"cat": 8, "dog": 8})
    (photos / "cat" / "broken.jpg").write_bytes(b"no picture")
    shutil.copy(photos / "dog" / "000.png", photos / "dog" / "copy.png")
    options = build_options(photos, tmp_path)
    inputs = build_inputs(options, scan(photos, seed=0))
    images = inputs.data["photos"]
    assert set(images) == {"train", "val", "test", UNUSED}
    assert "cat/broken.jpg" in images[UNUSED][""]
    found = flat(images)
    assert len(found) == 18
    assert all(found[path] == sha256_file(photos / path) for path in found)
    assert data_difference(images, photos).is_same
    assert data_difference(json.loads(json.dumps(images)), photos).is_same


def test_an_export_names_the_images_of_each_folder(
    make_folder: Callable[..., Path], tmp_path: Path
) -> None:
    first = make_folder({"cat": 3}, tmp_path / "first")
    second = make_folder({"test/cat": 2, "train/dog": 2}, tmp_path / "second")
    output = OutputOptions(output=tmp_path, overwrite=False, cache=tmp_path)
    options = ExportOptions(
        model="mobilenet", calibration_data=first, evaluation_data=second, output=output
    )
    used = [Picture(path, sha256_file(path), 0) for path in sorted(first.rglob("*.png"))[:2]]
    scored = [Picture(path, sha256_file(path)) for path in sorted((second / "test").rglob("*.png"))]
    data = export_inputs(options, used, scored, ["cat"]).data
    assert list(data["calibration_data"]) == ["calibration", UNUSED]
    assert list(data["calibration_data"]["calibration"]["cat"]) == ["cat/000.png", "cat/001.png"]
    assert list(data["evaluation_data"]["scored"][""]) == ["cat/000.png", "cat/001.png"]


def test_every_kind_of_difference_is_told() -> None:
    then = {"a/0": "0", "a/1": "1", "a/2": "2", "b/3": "3", "b/4": "4"}
    now = {"a/0": "0", "a/1": "x", "b/2": "2", "b/renamed": "4", "b/5": "5"}
    found = folder_difference(then, now)
    assert found.missing == ("b/3",)
    assert found.altered == ("a/1",)
    assert found.extra == ("b/5",)
    assert found.moved == (("a/2", "b/2"), ("b/4", "b/renamed"))
    assert found.other_class == (("a/2", "b/2"),)
    assert not found.is_same
    assert not found.is_foreign
    assert folder_difference(then, then).is_same
    assert folder_difference(then, {"a/0": "7", "z": "8"}).is_foreign


def test_the_same_keras_model_saved_twice_is_the_same(tmp_path: Path) -> None:
    write_keras(tmp_path / "source" / "model.keras", 1)
    first = outputs(tmp_path)
    write_keras(tmp_path / "source" / "model.keras", 2, date="tomorrow")
    assert outputs(tmp_path) == first
    write_keras(tmp_path / "source" / "model.keras", 2, units=3)
    assert outputs(tmp_path)[CONFIG] != first[CONFIG]
    assert outputs(tmp_path)[WEIGHTS] == first[WEIGHTS]


def test_a_lock_is_read_again(bundle: Bundle) -> None:
    lock = BundleLock.read(bundle)
    assert lock.inputs == INPUTS
    assert set(lock.outputs) == {"models/x.tflite", "labels.txt", CONFIG, WEIGHTS}
    assert lock.host == processor()


def test_neither_lock_nor_report_goes_to_a_device(bundle: Bundle) -> None:
    (bundle.path / "report.html").write_text("<img>")
    (bundle.path / "report.json").write_text("{}")
    sent = shipped(sealed(bundle.path).manifest, "tflite-fp32")
    assert set(sent) == {"labels.txt", "models/x.tflite", "manifest.json", "manifest.json.sig"}


def test_a_bundle_without_a_lock(bundle: Bundle) -> None:
    (bundle.path / LOCK_NAME).unlink()
    with pytest.raises(UsageError, match=r"has no edge\.lock"):
        BundleLock.read(sealed(bundle.path))


@pytest.mark.parametrize(
    "text",
    ["", '{"schema_version": 1', "[]", '{"schema_version": 1}', '{"schema_version": 99}', "\udcff"],
)
def test_a_truncated_or_foreign_lock(bundle: Bundle, text: str) -> None:
    (bundle.path / LOCK_NAME).write_bytes(text.encode(errors="surrogateescape"))
    with pytest.raises(BundleError, match="sha256 differs"):
        BundleLock.read(bundle)
    with pytest.raises(BundleError, match=r"edge\.lock"):
        BundleLock.read(sealed(bundle.path))


@pytest.mark.parametrize(
    "change",
    [
        {"inputs": {"options": {}, "data": {"photos": []}, "files": {}}},
        {"inputs": {"options": {}, "data": {"photos": {"train": {"a": ["x"]}}}, "files": {}}},
        {"inputs": {"data": {}}},
        {"inputs": {"options": [], "data": {}, "files": {}}},
        {"outputs": ["models/x.tflite"]},
        {"command": "rm"},
        {"more": 1},
    ],
)
def test_a_lock_with_other_fields(bundle: Bundle, change: dict[str, Any]) -> None:
    value = json.loads((bundle.path / LOCK_NAME).read_text()) | change
    (bundle.path / LOCK_NAME).write_text(json.dumps(value))
    with pytest.raises(BundleError, match=r"edge\.lock"):
        BundleLock.read(sealed(bundle.path))


def test_files_of_options_are_found_by_content(bundle: Bundle, tmp_path: Path) -> None:
    weights = tmp_path / "w" / "base.h5"
    weights.parent.mkdir()
    weights.write_bytes(b"weights")
    file = NamedFile(path=str(tmp_path / "gone" / "base.h5"), sha256=sha256_file(weights))
    inputs = JobInputs(
        options={"base": {"weights": file.path}}, data={}, files={"base.weights": file}
    )
    assert named_files(bundle, inputs, weights.parent) == {"base": {"weights": str(weights)}}
    with pytest.raises(UsageError, match=r"base\.weights") as caught:
        named_files(bundle, inputs, None)
    assert "--files" in caught.value.hint
    weights.write_bytes(b"other")
    with pytest.raises(UsageError, match="is missing or has changed"):
        named_files(bundle, inputs, weights.parent)


def test_a_name_is_no_file_whatever_lies_there(
    make_folder: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "v1.0").write_bytes(b"no input of the job")
    photos = make_folder({"cat": 8, "dog": 8})
    options = build_options(photos, tmp_path)
    options = replace(options, output=replace(options.output, name="v1.0"))
    assert build_inputs(options, scan(photos, seed=0)).files == {}


def test_a_name_that_an_older_edge_took_for_a_file_stays_a_name(bundle: Bundle) -> None:
    file = NamedFile(path="v1.0", sha256="0" * 64)
    inputs = JobInputs(options={"output": {"name": "v1.0"}}, data={}, files={"output.name": file})
    assert named_files(bundle, inputs, None) == {"output": {"name": "v1.0"}}


def test_a_folder_of_a_model_is_found_by_content(bundle: Bundle, tmp_path: Path) -> None:
    model = tmp_path / "here/model"
    (model / "variables").mkdir(parents=True)
    (model / "variables/data").write_bytes(b"weights")
    (tmp_path / "pictures").mkdir()
    (tmp_path / "pictures/0.png").write_bytes(b"not looked into")
    options = ExportOptions(
        model=str(model),
        calibration_data=tmp_path / "pictures",
        output=OutputOptions(output=tmp_path, overwrite=False, cache=tmp_path),
    )
    inputs = export_inputs(options, [], [], [])
    assert inputs.files["model"].path == str(model)
    moved = model.rename(tmp_path / "model")
    assert named_files(bundle, inputs, tmp_path)["model"] == str(moved)
    (moved / "variables/data").write_bytes(b"other")
    with pytest.raises(UsageError, match="is missing or has changed"):
        named_files(bundle, inputs, tmp_path)


def test_how_far_weights_differ() -> None:
    before = {"a": np.zeros((2, 2), np.float32), "b": np.array([1, -1], np.int8)}
    assert constants_difference(before, before).changed == 0
    after = {"a": np.full((2, 2), 0.25, np.float32), "b": np.array([1, -1], np.int8)}
    found = constants_difference(before, after)
    assert (found.changed, found.largest, found.unit, found.where) == (1, 0.25, "absolute", "a")
    after = {"a": before["a"], "b": np.array([127, -128], np.int8)}
    found = constants_difference(before, after)
    assert (found.largest, found.unit) == (127.0, "steps")
    assert not constants_difference(before, {"a": before["a"]}).same_structure
    bias = constants_difference({"b": np.array([1])}, {"b": np.array([9000])})
    assert (bias.changed, bias.largest) == (1, None)


def test_the_strongest_reason_is_named() -> None:
    result = Reproduction(bundle="b", equal=False, data={}, versions={}, processor={}, weights=None)
    assert "does not repeat itself" in likely_cause(result)
    other = {"cpu": ("Xeon", "Neoverse"), "vector_flags": (["avx"], ["asimd"])}
    result = Reproduction(bundle="b", equal=False, data={}, versions={}, processor=other)
    assert "Another machine (cpu, vector_flags)" in likely_cause(result)
    changed = {"keras": ("3.14", "3.15")}
    result = Reproduction(bundle="b", equal=False, data={}, versions=changed, processor=other)
    assert likely_cause(result) == "Other versions: keras 3.14 -> 3.15."
