import json
import math
from dataclasses import asdict, fields, replace
from typing import Any

import pytest

from edge.errors import BundleError, UsageError
from edge.runtime.contract import (
    ChannelOrder,
    ColorOrder,
    IntegerInput,
    Interpolation,
    PadPosition,
    Preprocessing,
    Resize,
    TensorLayout,
    canonical_json,
)
from edge.runtime.spec import Manifest, Variant

SPEC = Preprocessing(
    height=96,
    width=128,
    resize=Resize.LETTERBOX,
    crop_fraction=0.5,
    interpolation=Interpolation.BICUBIC,
    reducing_gap=3.0,
)
CHANGES: dict[str, Any] = {
    "height": 97,
    "width": 127,
    "resize": Resize.STRETCH,
    "crop_fraction": 0.75,
    "interpolation": Interpolation.NEAREST,
    "reducing_gap": 0.0,
    "color_order": ColorOrder.GREY,
    "value_range": (-1.0, 1.0),
    "levels": (0, 4095),
    "mean": (0.5, 0.4, 0.3),
    "std": (0.2, 0.2, 0.1),
    "channel_order": ChannelOrder.BGR,
    "layout": TensorLayout.CHW,
    "integer_input": IntegerInput.QUANTIZED,
    "pad_value": 114,
    "pad_position": PadPosition.TOP_LEFT,
}
EARLIER_SHA256 = "7dd920d985eee5749fe794a8ee351296b4c6ad38607f4afd12dec45c3f8dee8b"  # edge 0.2
MANIFEST = Manifest(
    name="pets 🐾",
    labels=("cat", "dog with space"),
    preprocessing=SPEC,
    variants=(
        Variant(
            name="tflite-int8",
            path="models/tflite-int8.tflite",
            format="tflite",
            precision="int8",
            size_bytes=7,
            input_dtype="uint8",
            top1=0.5,
            agreement=1.0,
            latency_ms=2.5,
        ),
        Variant(
            name="onnx-fp32",
            path="models/onnx-fp32.onnx",
            format="onnx",
            precision="fp32",
            size_bytes=8,
            input_dtype="float32",
        ),
    ),
    default_variant="onnx-fp32",
    files={"models/tflite-int8.tflite": "ab", "models/onnx-fp32.onnx": "cd"},
    provenance={"seed": 1},
)


def test_preprocessing_round_trip() -> None:
    assert Preprocessing.from_json(SPEC.to_json()) == SPEC
    default = Preprocessing(height=1, width=2)
    assert Preprocessing.from_json(default.to_json()) == default


@pytest.mark.parametrize(("name", "value"), CHANGES.items())
def test_every_field_survives_a_round_trip(name: str, value: Any) -> None:
    changed = replace(SPEC, **{name: value})
    assert Preprocessing.from_json(json.loads(json.dumps(changed.to_json()))) == changed


def test_contracts_of_earlier_bundles_keep_their_hash() -> None:
    assert Preprocessing(height=224, width=224).sha256.startswith("e86f68988b4a5a2d")


@pytest.mark.parametrize(
    "change",
    [
        {"height": 0},
        {"height": 96.0},
        {"height": True},
        {"width": 10**6},
        {"crop_fraction": 1e-9},
        {"crop_fraction": 1.5},
        {"crop_fraction": "0.5"},
        {"crop_fraction": math.nan},
        {"reducing_gap": 1e9},
        {"reducing_gap": -1},
        {"resize": "squeeze"},
        {"interpolation": 2},
        {"color_order": "BGR"},
        {"layout": "NHWC"},
        {"range": [255, 0]},
        {"range": [0, math.inf]},
        {"range": [0]},
        {"range": None},
        {"levels": [4095, 0]},
        {"levels": [0, 40.5]},
        {"levels": None},
        {"average": [0, 0, 0]},
        {"mean": [0, 0]},
        {"mean": 3},
        {"std": [1, 1, 0]},
        {"std": [1, 1, math.nan]},
        {"channel_order": "GBR"},
        {"channel_order": "bgr", "color_order": "L"},
        {"integer_input": True},
        {"pad_value": 256},
        {"pad_value": 1.5},
        {"pad_position": "left"},
    ],
)
def test_a_contract_outside_its_bounds_is_refused(change: dict[str, Any]) -> None:
    with pytest.raises(BundleError):
        Preprocessing.from_json(SPEC.to_json() | change)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"range": True}, "preprocessing.range is True; allowed: two finite numbers, rising"),
        (
            {"range": {"a": 1}},
            "preprocessing.range is {'a': 1}; allowed: two finite numbers, rising",
        ),
        ({"color_order": None}, "preprocessing.color_order is None; allowed: RGB, L, RGBA"),
        ({"resize": 0}, "preprocessing.resize is 0; allowed: stretch, center-crop, letterbox"),
        ({"height": 9000}, "preprocessing.height is 9000; allowed: 1 to 8192 pixels"),
        (
            {"width": "9" * 100_000},
            f"preprocessing.width is '{'9' * 56}...; allowed: 1 to 8192 pixels",
        ),
        ({"average": 1}, "preprocessing has the unknown field 'average'"),
    ],
)
def test_a_contract_is_refused_by_field_and_in_few_words(change: dict[str, Any], said: str) -> None:
    with pytest.raises(BundleError) as caught:
        Preprocessing.from_json(SPEC.to_json() | change)
    assert caught.value.message == said


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"preprocessing": [[1]]}, "preprocessing is [[1]], expected an object"),
        ({"provenance": ""}, "provenance is '', expected an object"),
        ({"files": []}, "files is [], expected an object"),
        ({"variants": [3]}, "a variant is 3, expected an object"),
        (
            {"schema_version": "1" * 100_000},
            f"schema_version is '{'1' * 56}...; this runtime reads 1, 2, 3",
        ),
        (
            {"variants": [{**asdict(MANIFEST.variants[0]), "top1": {}}]},
            "top1 of a variant is {}, expected a share from 0 to 1",
        ),
    ],
)
def test_a_manifest_is_refused_by_field_and_in_few_words(change: dict[str, Any], said: str) -> None:
    with pytest.raises(BundleError) as caught:
        Manifest.from_json(MANIFEST.to_json() | change)
    assert caught.value.message == said


@pytest.mark.parametrize(
    "change",
    [{"height": 9000}, {"width": 0}, {"value_range": (0.0, math.inf)}, {"levels": (40, 0)}],
)
def test_a_contract_of_an_option_or_a_file_is_refused_in_words(change: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match="allowed: "):
        replace(SPEC, **change)


@pytest.mark.parametrize("name", sorted(SPEC.to_json()))
def test_a_contract_without_a_field_is_refused(name: str) -> None:
    value = SPEC.to_json()
    del value[name]
    with pytest.raises(BundleError):
        Preprocessing.from_json(value)


@pytest.mark.parametrize(
    "change",
    [{"top1": 2}, {"agreement": "all"}, {"latency_ms": -1}, {"size_bytes": None}, {"path": 3}],
)
def test_a_variant_outside_its_bounds_is_refused(change: dict[str, Any]) -> None:
    with pytest.raises(BundleError):
        Variant.from_json(asdict(MANIFEST.variants[0]) | change)


def test_the_contract_states_what_every_model_shares() -> None:
    value = SPEC.to_json()
    assert (value["color_order"], value["layout"], value["range"]) == ("RGB", "HWC", [0, 255])


def test_an_earlier_contract_has_the_hash_that_it_had() -> None:
    """What a file of edge 0.2 states is computed again when it is read."""
    earlier = Preprocessing(height=224, width=160)
    assert set(earlier.to_json()) == {
        *("height", "width", "resize", "crop_fraction", "interpolation", "reducing_gap"),
        *("color_order", "layout", "range"),
    }
    assert earlier.sha256 == EARLIER_SHA256


@pytest.mark.parametrize("name", sorted(CHANGES))
def test_a_contract_reads_what_it_wrote(name: str) -> None:
    contract = replace(SPEC, **{name: CHANGES[name]})
    assert Preprocessing.from_json(json.loads(json.dumps(contract.to_json()))) == contract


def test_every_field_is_part_of_the_hash() -> None:
    assert set(CHANGES) == {field.name for field in fields(Preprocessing)}
    hashes = {replace(SPEC, **{name: value}).sha256 for name, value in CHANGES.items()}
    assert len(hashes | {SPEC.sha256}) == len(CHANGES) + 1
    assert replace(SPEC).sha256 == SPEC.sha256


@pytest.mark.parametrize(
    "change",
    [
        {"colour": "RGB"},
        {"height": None},
        {"height": "tall"},
        {"resize": "squash"},
        {"interpolation": "lanczos"},
        {"crop_fraction": "most"},
        {"color_order": "BGR"},
        {"layout": "NHWC"},
        {"range": "0..255"},
    ],
)
def test_preprocessing_refuses_what_it_does_not_know(change: dict[str, Any]) -> None:
    with pytest.raises(BundleError):
        Preprocessing.from_json(SPEC.to_json() | change)


@pytest.mark.parametrize("missing", sorted(SPEC.to_json()))
def test_preprocessing_needs_every_field(missing: str) -> None:
    value = SPEC.to_json()
    del value[missing]
    with pytest.raises(BundleError, match=missing if missing in CHANGES else None):
        Preprocessing.from_json(value)


def test_manifest_round_trip() -> None:
    assert Manifest.from_json(MANIFEST.to_json()) == MANIFEST


@pytest.mark.parametrize("missing", sorted(MANIFEST.to_json()))
def test_manifest_needs_every_field(missing: str) -> None:
    value = MANIFEST.to_json()
    del value[missing]
    with pytest.raises(BundleError, match=missing):
        Manifest.from_json(value)


@pytest.mark.parametrize(
    "change",
    [
        {"schema_version": 2},
        {"schema_version": "1"},
        {"labels": None},
        {"files": ["a"]},
        {"variants": [{"name": "x"}]},
        {"variants": [asdict(MANIFEST.variants[0]) | {"colour": "red"}]},
        {"preprocessing": SPEC.to_json() | {"height": 95}},
        {"preprocessing_sha256": "0" * 64},
    ],
)
def test_manifest_refuses_what_does_not_fit(change: dict[str, Any]) -> None:
    with pytest.raises(BundleError):
        Manifest.from_json(MANIFEST.to_json() | change)


@pytest.mark.parametrize("value", [None, [], "manifest", 3])
def test_a_manifest_is_an_object(value: object) -> None:
    with pytest.raises(BundleError, match="not a JSON object"):
        Manifest.from_json(value)


def test_another_schema_says_what_to_do() -> None:
    with pytest.raises(BundleError, match="schema_version is 9") as caught:
        Manifest.from_json(MANIFEST.to_json() | {"schema_version": 9})
    assert "Build the bundle again" in caught.value.hint


def test_variants_by_name() -> None:
    assert MANIFEST.variant() is MANIFEST.variants[1]
    assert MANIFEST.variant("tflite-int8") is MANIFEST.variants[0]
    with pytest.raises(UsageError, match="no variant 'coreml'") as caught:
        MANIFEST.variant("coreml")
    assert "tflite-int8, onnx-fp32" in caught.value.hint


def test_equal_values_give_equal_text() -> None:
    assert canonical_json({"b": [1, 2], "a": "ä"}) == '{"a":"ä","b":[1,2]}'
