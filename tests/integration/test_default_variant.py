"""The default variant of whole exports: never slower than floats, stated, refused, made again."""

import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from benchmarks.turns import Turns, in_turn
from edge.errors import DataError, NegativeVerdict
from edge.pipeline import scoring
from edge.pipeline.export import export
from edge.pipeline.options import ExportOptions, OutputOptions
from edge.pipeline.report import Report
from edge.pipeline.reproduce.reproduce import ReproduceOptions, reproduce
from edge.progress import Silent
from edge.runtime.bundle import Bundle

pytestmark = [pytest.mark.slow, pytest.mark.tensorflow]

VARIANTS = ("tflite-fp32", "tflite-int8")
INT8_SLOW: Mapping[str, float] = {"tflite-fp32": 1.0, "tflite-int8": 1.5}
INT8_FAST: Mapping[str, float] = {"tflite-fp32": 1.0, "tflite-int8": 0.5}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A network that knows red from blue, its pictures, and a cache of its files."""
    import keras

    root = tmp_path_factory.mktemp("default")
    random = np.random.default_rng(0)
    for number in range(40):
        tint = np.array(((190, 70, 70), (70, 70, 190))[number % 2])
        pixels = random.normal(tint, 20, (16, 16, 3)).clip(0, 255).astype(np.uint8)
        (root / "photos").mkdir(exist_ok=True)
        Image.fromarray(pixels).save(root / "photos" / f"{number:02}.png")
    image = keras.Input((16, 16, 3))
    tensor = keras.layers.Conv2D(3, 1, name="colours")(keras.layers.Rescaling(1 / 255)(image))
    dense = keras.layers.Dense(2, activation="softmax")
    model = keras.Model(image, dense(keras.layers.GlobalAveragePooling2D()(tensor)))
    model.get_layer("colours").set_weights([np.eye(3)[None, None], np.zeros(3)])
    dense.set_weights([np.array([[-9.0, 9], [0, 0], [9, -9]]), np.zeros(2)])
    model.save(root / "colours.keras")
    return root


def exported(place: Path, folder: Path, **changes: Any) -> Report:
    output = OutputOptions(
        output=folder / "bundle",
        overwrite=False,
        cache=place / "cache",
        variants=changes.pop("variants", VARIANTS),
        calibration_images=16,
        **changes,
    )
    options = ExportOptions(
        model=str(place / "colours.keras"), calibration_data=place / "photos", output=output
    )
    report = export(options, Silent())
    assert isinstance(report, Report)
    return report


def measured_as(monkeypatch: pytest.MonkeyPatch, seconds: Mapping[str, float]) -> None:
    """Measure as ever, and then replace the times of the blocks."""

    def turns(*arguments: Any, **options: Any) -> Turns:
        found = in_turn(*arguments, **options)
        medians = np.tile([seconds[name] for name in found.names], (len(found.medians), 1))
        return Turns(names=found.names, medians=medians, benchmarks=found.benchmarks)

    monkeypatch.setattr(scoring, "in_turn", turns)


def test_integers_that_do_not_pay_are_not_the_default_and_are_said(
    place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    measured_as(monkeypatch, INT8_SLOW)
    report = exported(place, tmp_path)
    assert report.default_variant == "tflite-fp32"
    assert Bundle.open(tmp_path / "bundle").manifest.default_variant == "tflite-fp32"
    assert "tflite-int8 takes 1.50 times (95 %: 1.50 to 1.50) as long" in report.default_reason
    slow = "tflite-int8 takes 1.50 times (95 %: 1.50 to 1.50) as long as tflite-fp32 here"
    assert slow in report.notes
    int8 = next(item for item in report.variants if item.name == "tflite-int8")
    assert [f"tflite-int8 {fault}" for fault in int8.faults] == [slow]
    assert int8.latency_ratio == 1.5
    page = (tmp_path / "bundle" / "report.html").read_text(encoding="utf-8")
    assert report.default_reason in page and slow in page


def test_strict_refuses_such_a_bundle_and_leaves_nothing(
    place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    measured_as(monkeypatch, INT8_SLOW)
    with pytest.raises(NegativeVerdict, match=r"--strict.*as long as tflite-fp32"):
        exported(place, tmp_path, strict=True)
    assert not (tmp_path / "bundle").exists()
    measured_as(monkeypatch, INT8_FAST)
    assert exported(place, tmp_path, strict=True).default_variant == "tflite-int8"


def test_strict_refuses_a_picture_that_cannot_be_decoded(place: Path, tmp_path: Path) -> None:
    photos = tmp_path / "photos"
    shutil.copytree(place / "photos", photos)
    (photos / "00.png").write_bytes(b"no picture")
    output = OutputOptions(
        output=tmp_path / "bundle", overwrite=False, cache=place / "cache", strict=True
    )
    options = ExportOptions(
        model=str(place / "colours.keras"), calibration_data=photos, output=output
    )
    with pytest.raises(DataError, match=r"1 of 40 image files cannot be used: .*00\.png"):
        export(options, Silent())
    assert not (tmp_path / "bundle").exists()


def test_a_stated_default_is_taken_and_a_choice_is_made_again_without_a_measurement(
    place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    measured_as(monkeypatch, INT8_FAST)
    (tmp_path / "stated").mkdir()
    stated = exported(place, tmp_path / "stated", default_variant="tflite-fp32")
    assert stated.default_variant == "tflite-fp32"
    assert "[--default]" in stated.default_reason
    assert exported(place, tmp_path, strict=True).default_variant == "tflite-int8"
    measured_as(monkeypatch, INT8_SLOW)  # as another machine, or a busy one
    again = reproduce(
        ReproduceOptions(
            bundle=tmp_path / "bundle",
            data=place / "photos",
            output=tmp_path / "again",
            cache=tmp_path / "other",
        ),
        Silent(),
    )
    assert again.equal
    assert Bundle.open(tmp_path / "again").manifest.default_variant == "tflite-int8"


@pytest.mark.parametrize(
    "network",
    [pytest.param("convnext_like", marks=pytest.mark.long), "mobilenetv3small_chars"],
)
def test_the_default_of_a_real_network_is_not_slower_than_floats(
    network: str, tmp_path: Path
) -> None:
    """Layer norm and hard-swish: int8 was 1.5 times as slow as floats, and the default."""
    root = os.environ.get("EDGE_TEST_DATA")
    model = Path(root or "", "models", "networks", f"{network}.keras")
    if root is None or not model.is_file():
        pytest.skip("EDGE_TEST_DATA does not name the folder of shared data")
    pictures = Path(root, "images", "characters")
    for number, path in enumerate(sorted(pictures.glob("cal/*/*"))[:160]):
        (tmp_path / "photos").mkdir(exist_ok=True)
        shutil.copyfile(path, tmp_path / "photos" / f"{number:03}{path.suffix}")
    output = OutputOptions(
        output=tmp_path / "bundle", overwrite=False, cache=tmp_path / "cache", calibration_images=60
    )
    report = export(
        ExportOptions(model=str(model), calibration_data=tmp_path / "photos", output=output),
        Silent(),
    )
    assert isinstance(report, Report)
    assert report.default_reason.startswith(report.default_variant)
    for item in report.variants:
        if item.name.endswith("-fp32"):
            assert item.latency_ratio_interval is not None
            assert item.latency_ratio_interval[1] > 0.97, report.default_reason
    for item in report.variants:
        if item.faults:
            assert any(note.startswith(item.name) for note in report.notes)
