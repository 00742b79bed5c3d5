"""What --variants, --quantize, --max-drop and --recipe mean together."""

import pytest

from converters.base import DEFAULT_TARGETS, TARGETS
from edge.cli.make.options import (
    DEFAULT_MAX_DROP,
    Quantize,
    allowed_drop,
    variant_names,
    with_default,
)
from edge.errors import UsageError

SIX = (
    "tflite-fp32",
    "tflite-fp16",
    "tflite-dynamic",
    "tflite-int8",
    "onnx-fp32",
    "onnx-int8",
)
MIXED = ("tflite-mixed", "onnx-mixed")
INT8, W8A16, AUTO = Quantize.INT8, Quantize.W8A16, Quantize.AUTO


@pytest.mark.parametrize(
    ("quantize", "recipe", "added"),
    [
        (INT8, False, ()),
        (W8A16, False, ("tflite-w8a16",)),
        (AUTO, False, MIXED),
        (INT8, True, MIXED),
        (W8A16, True, ("tflite-w8a16", *MIXED)),
    ],
)
def test_what_is_written_without_variants(
    quantize: Quantize, recipe: bool, added: tuple[str, ...]
) -> None:
    assert DEFAULT_TARGETS == SIX
    assert set(TARGETS) == {*SIX, "tflite-w8a16", *MIXED}
    assert variant_names(None, quantize, recipe=recipe) == (*SIX, *added)


@pytest.mark.parametrize(
    ("text", "quantize", "recipe", "names"),
    [
        ("onnx-fp32,tflite-int8", INT8, False, ("tflite-int8", "onnx-fp32")),
        (" tflite-int8 , onnx-int8", INT8, False, ("tflite-int8", "onnx-int8")),
        ("tflite-w8a16", INT8, False, ("tflite-w8a16",)),  # needs no decision
        ("tflite-w8a16,onnx-int8", W8A16, False, ("onnx-int8", "tflite-w8a16")),
        ("onnx-mixed", AUTO, False, ("onnx-mixed",)),
        ("onnx-mixed,onnx-int8", INT8, True, ("onnx-int8", "onnx-mixed")),
        ("tflite-w8a16", W8A16, True, ("tflite-w8a16",)),
    ],
)
def test_named_variants_in_the_order_of_the_table(
    text: str, quantize: Quantize, recipe: bool, names: tuple[str, ...]
) -> None:
    assert variant_names(text, quantize, recipe=recipe) == names


@pytest.mark.parametrize(
    ("text", "quantize", "recipe", "said", "hint"),
    [
        (",", INT8, False, "names none", "tflite-int8"),
        ("tflite-int8,tflite-int8", INT8, False, "tflite-int8 twice", "once"),
        ("tflite-int8,", INT8, False, "an empty name", "comma"),
        ("tflite-int8, ,onnx-int8", INT8, False, "an empty name", "comma"),
        ("tflite-int4", INT8, False, "'tflite-int4'", "tflite-int8"),
        ("tflite-mixed", INT8, False, "tflite-mixed keeps", "--quantize auto"),
        ("onnx-mixed,onnx-fp32", W8A16, False, "onnx-mixed keeps", "--recipe FILE"),
        ("tflite-int8", AUTO, False, "--quantize auto", "tflite-mixed, onnx-mixed"),
        ("tflite-int8", W8A16, False, "--quantize w8a16", "tflite-w8a16"),
        ("tflite-int8", INT8, True, "--recipe", "tflite-mixed, onnx-mixed"),
    ],
)
def test_variants_that_contradict_the_rest(
    text: str, quantize: Quantize, recipe: bool, said: str, hint: str
) -> None:
    with pytest.raises(UsageError) as caught:
        variant_names(text, quantize, recipe=recipe)
    assert said in caught.value.message
    assert hint in caught.value.hint
    assert caught.value.exit_code == 2


@pytest.mark.parametrize(
    ("value", "quantize", "recipe", "budget"),
    [
        (None, INT8, False, None),
        (None, W8A16, False, None),
        (None, AUTO, False, DEFAULT_MAX_DROP),
        (0.0, AUTO, False, 0.0),
        (2.5, AUTO, False, 2.5),
        (None, INT8, True, None),  # a replay is checked only if it is asked for
        (0.0, INT8, True, 0.0),
    ],
)
def test_the_budget(
    value: float | None, quantize: Quantize, recipe: bool, budget: float | None
) -> None:
    assert allowed_drop(value, quantize, recipe=recipe) == budget


@pytest.mark.parametrize(
    ("value", "quantize", "recipe", "said", "hint"),
    [
        (0.5, INT8, False, "--max-drop", "--quantize auto"),
        (0.0, W8A16, False, "--max-drop", "--recipe FILE"),
        (None, AUTO, True, "only one of them", "Leave out one"),
        (0.5, AUTO, True, "only one of them", "Leave out one"),
    ],
)
def test_a_budget_or_a_recipe_that_cannot_be_meant(
    value: float | None, quantize: Quantize, recipe: bool, said: str, hint: str
) -> None:
    with pytest.raises(UsageError) as caught:
        allowed_drop(value, quantize, recipe=recipe)
    assert said in caught.value.message
    assert hint in caught.value.hint
    assert caught.value.exit_code == 2


def test_the_default_has_to_be_written() -> None:
    written = ("tflite-fp32", "tflite-int8", "onnx-int8")
    assert with_default((), None, written) == ()
    assert with_default((), "tflite-int8", written) == ("tflite-int8",)
    assert with_default(written, "tflite-int8", written) == written
    with pytest.raises(UsageError, match="--default onnx-fp32 is none of") as caught:
        with_default((), "onnx-fp32", written)
    assert "--variants" in caught.value.hint
