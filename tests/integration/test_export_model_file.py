"""``edge export`` of .tflite and .onnx files of others: what they become, and what is refused."""

import os
from pathlib import Path

import pytest

from edge.errors import UsageError
from edge.identification.model import StatedModel
from edge.pipeline.export import export
from edge.pipeline.options import ExportOptions, OutputOptions
from edge.pipeline.report import FLOAT_FILE, Report
from edge.progress import Silent
from edge.runtime.bundle import Bundle

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("warm_converters")]


def data() -> Path:
    named = os.environ.get("EDGE_TEST_DATA")
    if not named:
        pytest.skip("EDGE_TEST_DATA does not name the folder of shared data")
    return Path(named)


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
