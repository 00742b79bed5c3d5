"""An fp32 file answers as its Keras model on some pictures, and then stands for it on all."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from converters.base import Precision
from converters.judge import CHECKED, MOST, FloatCheck, float_check
from converters.tflite import converted, traced
from edge.pipeline.export import export
from edge.pipeline.options import ExportOptions, OutputOptions
from edge.pipeline.report import KERAS_MODEL, Report
from edge.progress import Silent
from tests.integration import planted

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("warm_converters")]

FILES = ("tflite-fp32", "tflite-int8", "onnx-fp32")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Keras file, pictures, and the cache that all exports of this module share."""
    root = tmp_path_factory.mktemp("float-check")
    planted.network().save(root / "net.keras")
    planted.saved(root / "pictures", range(60))
    return root


def exported(place: Path, output: Path, *variants: str) -> Report:
    options = OutputOptions(
        output=output,
        overwrite=False,
        cache=place / "cache",
        variants=variants,
        calibration_images=20,
    )
    return export(
        ExportOptions(
            model=str(place / "net.keras"), calibration_data=place / "pictures", output=options
        ),
        Silent(),
    )


def keras_is_run(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Note the Keras models that are run on all pictures."""
    import edge.pipeline.measurements as measurements

    before, run = measurements.keras_scores, []

    def noted(model_id: str, *arguments: Any, **options: Any) -> Any:
        run.append(model_id)
        return before(model_id, *arguments, **options)

    monkeypatch.setattr(measurements, "keras_scores", noted)
    return run


def test_the_file_stands_for_the_model(
    place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = keras_is_run(monkeypatch)
    report = exported(place, tmp_path / "bundle", *FILES)
    assert run == []
    assert report.reference.of == KERAS_MODEL
    found = report.reference.stand_in
    assert found is not None
    assert (found.variant, found.images) == ("tflite-fp32", CHECKED)
    assert 0 < found.difference < MOST / 10
    assert report.to_json()["reference"]["stand_in"]["variant"] == "tflite-fp32"
    page = (tmp_path / "bundle" / "report.html").read_text(encoding="utf-8")
    assert f"the Keras model. {found.told()}" in page
    assert [item.agreement for item in report.variants if item.name.endswith("fp32")] == [1.0, 1.0]


def test_without_a_float_file_or_with_another_one_the_model_is_run(
    place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    through = exported(place, tmp_path / "through", *FILES)
    run = keras_is_run(monkeypatch)
    alone = exported(place, tmp_path / "alone", "tflite-int8")
    assert (len(run), alone.reference.stand_in) == (1, None)
    monkeypatch.setattr("converters.judge.MOST", 0.0)  # as if all differed
    otherwise = exported(place, tmp_path / "otherwise", *FILES)
    assert (len(run), otherwise.reference.stand_in) == (2, None)
    (int8,) = [item for item in through.variants if item.name == "tflite-int8"]
    for report in (alone, otherwise):
        (same,) = [item for item in report.variants if item.name == "tflite-int8"]
        assert same.agreement == int8.agreement


def test_only_an_onnx_file_stands_for_it_as_well(place: Path, tmp_path: Path) -> None:
    report = exported(place, tmp_path / "bundle", "onnx-fp32", "onnx-int8")
    assert report.reference.stand_in is not None
    assert report.reference.stand_in.variant == "onnx-fp32"


def test_another_model_s_file_is_told(tmp_path: Path) -> None:
    model = planted.network()
    file, pixels = tmp_path / "net.tflite", tmp_path / "pixels.npy"
    file.write_bytes(converted(traced(model), Precision.FP32))
    np.save(pixels, planted.pictures(range(20)))
    same = float_check(model, file, pixels)
    assert (same.images, same.holds, same.notes("tflite-fp32")) == (CHECKED, True, ())
    scale, offset, mean, variance = model.get_layer("pw_bn").get_weights()
    model.get_layer("pw_bn").set_weights([scale, offset + 0.01, mean, variance])
    other = float_check(model, file, pixels)
    assert MOST < other.difference < 0.5
    (note,) = other.notes("tflite-fp32")
    assert note.startswith("tflite-fp32 answers otherwise than the Keras model")
    model.get_layer("pw_bn").set_weights([scale, offset + np.nan, mean, variance])
    assert float_check(model, file, pixels) == FloatCheck(images=CHECKED, difference=1.0)


def test_a_model_that_looks_at_nothing_is_told(place: Path, tmp_path: Path) -> None:
    model = planted.network()
    kernel, bias = model.get_layer("answer").get_weights()
    model.get_layer("answer").set_weights([0 * kernel, np.arange(len(bias), dtype=np.float32)])
    model.save(tmp_path / "net.keras")
    options = OutputOptions(
        output=tmp_path / "bundle",
        overwrite=False,
        cache=tmp_path / "cache",
        variants=("tflite-fp32", "onnx-int8"),
        calibration_images=20,
    )
    asked = ExportOptions(
        model=str(tmp_path / "net.keras"), calibration_data=place / "pictures", output=options
    )
    report = export(asked, Silent())
    assert report.reference.constant
    (note,) = [text for text in report.notes if "gets the same scores" in text]
    assert "it answers without looking at the image" in note
