"""``edge reproduce``: a bundle is made again byte by byte, and what differs is said."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner, Result

from edge.cli.app import app
from edge.errors import BundleError, DataError, EdgeError, UsageError
from edge.pipeline.build import build
from edge.pipeline.export import export
from edge.pipeline.options import BuildOptions, ExportOptions, OutputOptions
from edge.pipeline.reproduce.differences import Reproduction, compared, difference
from edge.pipeline.reproduce.lock import LOCK_NAME, SOURCE, BundleLock
from edge.progress import Silent
from edge.runtime.bundle import Bundle
from edge.runtime.files import sha256_file, write_json
from edge.training.options import BaseOptions
from tests.integration.conftest import make_photos

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("warm_converters")]
VARIANT = "models/tflite-fp32.tflite"


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_photos(tmp_path_factory.mktemp("reproduce") / "photos", count=8)


@pytest.fixture(scope="module")
def made(photos: Path) -> Path:
    """A bundle of two classes, random weights, one file."""
    import keras

    keras.utils.clear_session()  # as in a process of its own, where Keras counts layers from 0
    output = OutputOptions(
        output=photos.parent / "bundle",
        overwrite=False,
        cache=photos.parent / "cache",
        variants=("tflite-fp32",),
    )
    base = BaseOptions(weights="none", size=32, alpha=0.25)
    build(BuildOptions(photos=photos, output=output, base=base), Silent())
    return output.output


@pytest.fixture(scope="module")
def again(made: Path, photos: Path) -> Result:
    """What the command says of the same photos in a folder of another name."""
    moved = Path(shutil.copytree(photos, photos.parent / "elsewhere" / "pictures"))
    return reproduce(made, moved, "--output", photos.parent / "second", "--json")


def reproduce(*arguments: object) -> Result:
    words = ["reproduce", *map(str, arguments), "--quiet"]
    return CliRunner().invoke(app, words, catch_exceptions=True)


def refused(result: Result, kind: type[EdgeError], said: str) -> None:
    """The root command would say this, and end with its exit code."""
    assert isinstance(result.exception, kind), result.exception
    assert said in result.exception.message
    assert result.exception.hint


def test_a_build_is_made_again_byte_by_byte(again: Result, made: Path) -> None:
    assert again.exit_code == 0, again.output
    found = json.loads(again.stdout)
    assert found["equal"] is True
    assert found["cause"] == ""
    assert {item["path"] for item in found["files"]} == {
        "labels.txt",
        VARIANT,
        f"{SOURCE}/config.json",
        f"{SOURCE}/model.weights.h5",
    }
    second = made.parent / "second"
    Bundle.open(second).verify()
    assert (second / VARIANT).read_bytes() == (made / VARIANT).read_bytes()


def test_a_build_with_groups_is_made_again_where_their_file_is_gone(
    photos: Path, tmp_path: Path
) -> None:
    """The bundle keeps the file as it was read, and the report says how groups were divided."""
    import keras

    keras.utils.clear_session()  # as in a process of its own, where Keras counts layers from 0
    names = [path.relative_to(photos).as_posix() for path in sorted(photos.rglob("*.png"))]
    file = tmp_path / "series"
    text = "".join(f"{name},{name[:-5]}{number // 2}\n" for number, name in enumerate(names))
    file.write_text(f"file,group\n{text}", encoding="utf-8")
    words = ["build", photos, "-o", tmp_path / "bundle", "--cache", photos.parent / "cache"]
    words += ["--weights", "none", "--size", 32, "--alpha", 0.25, "--variants", "tflite-fp32"]
    words += ["--groups", file, "--quiet"]
    built = CliRunner().invoke(app, [str(word) for word in words], catch_exceptions=False)
    assert built.exit_code == 0, built.output
    file.write_text("file,group\n", encoding="utf-8")
    lock = BundleLock.read(Bundle.open(tmp_path / "bundle"))
    groups = {name: name[:-5] + str(number // 2) for number, name in enumerate(names)}
    where = [
        {groups[path] for files in lock.inputs.data["photos"][split].values() for path in files}
        for split in ("train", "val", "test")
    ]
    assert all(where) and sum(map(len, where)) == len(set(groups.values()))
    result = reproduce(tmp_path / "bundle", photos, "-o", tmp_path / "second")
    assert result.exit_code == 0, (result.output, result.exception)
    assert "equal: 4 of 4 files" in result.stdout
    for bundle in ("bundle", "second"):
        report = json.loads((tmp_path / bundle / "report.json").read_text())
        assert report["data"]["groups"]["groups"] == len(set(groups.values()))
        assert report["data"]["groups"]["parted"] == []
        assert "divided by" in (tmp_path / bundle / "report.html").read_text()


def test_nothing_of_the_first_run_is_used(again: Result, made: Path) -> None:
    """Otherwise files would be equal because they are the same."""
    report = json.loads((made.parent / "second" / "report.json").read_text())
    assert report["training"]["cached"] is False
    assert report["training"]["features_reused"] == 0


def test_the_weights_of_both_keras_models_are_read(again: Result, made: Path) -> None:
    found = difference(made / SOURCE, made.parent / "second" / SOURCE)
    assert found is not None
    assert found.tensors > 100
    assert (found.same_structure, found.changed, found.largest) == (True, 0, None)


def test_the_page_lies_in_the_bundle(made: Path) -> None:
    text = (made / "report.html").read_text()
    assert "Learning curves" in text and "Confusion" in text
    assert "http" not in text


def test_an_export_whose_model_file_is_gone(made: Path, photos: Path, tmp_path: Path) -> None:
    """The bundle holds the model itself, and its labels."""
    model, labels = tmp_path / "net.keras", tmp_path / "names.txt"
    shutil.copy(made / SOURCE, model)
    labels.write_text("cold\n warm \n\n", encoding="utf-8")
    output = OutputOptions(
        output=tmp_path / "exported",
        overwrite=False,
        cache=photos.parent / "cache",
        variants=("tflite-fp32",),
        calibration_images=4,
    )
    options = ExportOptions(model=str(model), calibration_data=photos, labels=labels, output=output)
    export(options, Silent())
    model.unlink()
    labels.unlink()
    result = reproduce(output.output, photos)
    assert result.exit_code == 0, (result.output, result.exception)
    assert "calibration_data: 16 images, as they were" in result.stdout
    assert "equal: 4 of 4 files" in result.stdout


def test_other_weights_are_measured(again: Result, made: Path, tmp_path: Path) -> None:
    """A weight of the first bundle's file is moved by a quarter: it must be found."""
    first = Path(shutil.copytree(made, tmp_path / "first"))
    content = bytearray((first / VARIANT).read_bytes())
    head = np.frombuffer(_largest_constant(first / VARIANT).tobytes(), np.float32).copy()
    at = content.find(head.tobytes())
    head[0] += 0.25
    content[at : at + head.nbytes] = head.tobytes()
    (first / VARIANT).write_bytes(content)
    sealed = _sealed(first)
    result = compared(
        _nothing(), sealed, BundleLock.read(sealed), Bundle.open(made.parent / "second")
    )
    assert result.equal is False
    (other,) = [item for item in result.files if not item.is_equal]
    assert other.path == VARIANT
    assert other.difference is not None
    assert other.difference.same_structure
    assert other.difference.changed == 1
    assert other.difference.largest == pytest.approx(0.25)
    assert "does not repeat itself" in result.cause


def test_other_photos_are_told_and_nothing_is_built(
    made: Path, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    changed = Path(shutil.copytree(photos, tmp_path / "changed"))
    (changed / "cold" / "00.png").unlink()
    (changed / "cold" / "01.png").rename(changed / "warm" / "99.png")
    shutil.copy(changed / "cold" / "02.png", changed / "cold" / "03.png")
    monkeypatch.setattr("edge.pipeline.reproduce.reproduce.build", None)
    result = reproduce(made, changed)
    assert result.exit_code == 1, result.exception
    assert "missing: cold/00.png" in result.stdout
    assert "in another folder: cold/01.png -> warm/99.png" in result.stdout
    assert "altered: cold/03.png" in result.stdout
    assert "nothing was built" in result.stdout
    found = json.loads(reproduce(made, changed, "--json").stdout)
    assert found["equal"] is None
    assert found["data"]["photos"]["missing"] == ["cold/00.png"]


@pytest.mark.parametrize("name", ["none", "empty", "bundle"])
def test_a_folder_that_holds_no_photos(made: Path, tmp_path: Path, name: str) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "bundle").symlink_to(made / "models")
    refused(reproduce(made, tmp_path / name), DataError, name)


def test_no_bundle_and_no_lock(made: Path, photos: Path, tmp_path: Path) -> None:
    refused(reproduce(photos, photos), UsageError, "no bundle")
    old = Path(shutil.copytree(made, tmp_path / "old"))
    (old / LOCK_NAME).unlink()
    _sealed(old)
    refused(reproduce(old, photos), UsageError, "an older edge made it")


def test_a_lock_that_was_cut_off(made: Path, photos: Path, tmp_path: Path) -> None:
    cut = Path(shutil.copytree(made, tmp_path / "cut"))
    (cut / LOCK_NAME).write_bytes((cut / LOCK_NAME).read_bytes()[:500])
    refused(reproduce(cut, photos), BundleError, "not the file that the manifest lists")


def test_the_second_bundle_in_place_of_the_first(made: Path, photos: Path) -> None:
    refused(reproduce(made, photos, "-o", made, "--overwrite"), UsageError, "it is compared")


def test_evaluation_data_of_a_build(made: Path, photos: Path) -> None:
    result = reproduce(made, photos, "--evaluation-data", photos)
    refused(result, UsageError, "without --evaluation-data")


def _sealed(folder: Path) -> Bundle:
    """The bundle with a manifest that lists its files as they are now, and its lock as well."""
    lock = folder / LOCK_NAME
    if lock.exists():
        value: dict[str, Any] = json.loads(lock.read_text())
        value["outputs"][VARIANT] = sha256_file(folder / VARIANT)
        write_json(lock, value)
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["files"] = {
        path: sha256_file(folder / path) for path in manifest["files"] if (folder / path).exists()
    }
    write_json(folder / "manifest.json", manifest)
    return Bundle.open(folder)


def _largest_constant(path: Path) -> np.ndarray[Any, Any]:
    from edge.modelfile.contents import constants

    floats = [item.read() for item in constants(path) if item.dtype == "float32"]
    return max(floats, key=lambda value: value.size)


def _nothing() -> Reproduction:
    return Reproduction(bundle="first", equal=None, data={}, versions={}, processor={})
