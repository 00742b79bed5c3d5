from dataclasses import asdict, fields, replace
from typing import Any

import pytest

from edge.errors import BundleError, UsageError
from edge.runtime.spec import (
    Interpolation,
    Manifest,
    Preprocessing,
    Resize,
    Variant,
    canonical_json,
)

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
}
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


def test_the_contract_states_what_every_model_shares() -> None:
    value = SPEC.to_json()
    assert (value["color_order"], value["layout"], value["range"]) == ("RGB", "HWC", [0, 255])


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
        {"layout": "CHW"},
        {"range": [-1, 1]},
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
    with pytest.raises(BundleError, match="schema_version 9") as caught:
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
