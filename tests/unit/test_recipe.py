"""``recipe.json``: what is written is read again, and what is no recipe is refused."""

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from converters.base import TARGETS
from edge.cli.app import main
from edge.errors import UsageError
from edge.modelfile.contents import tensor_names
from edge.pipeline.conversion import Converted
from edge.pipeline.job import ModelToBundle
from edge.pipeline.options import OutputOptions
from edge.pipeline.variants import (
    fitting_recipe,
    made_for,
    read_recipe,
    recipe_of,
    with_budget,
)
from edge.runtime.files import write_json

BOTH = ("tflite", "onnx")
KEPT = {"tflite-mixed": ["net/first", "net/last"], "onnx-mixed": []}
GOOD: dict[str, Any] = {
    "schema_version": 1,
    "model": "photos",
    "model_id": "0123",
    "max_drop_points": 0.5,
    "keep_float": {"tflite": ["net/first"], "onnx": []},
}


def converted(name: str, **record: Any) -> Converted:
    return Converted(TARGETS[name], Path("unused"), 1.0, (), record)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "recipe.json"


def test_what_is_written_is_read_again(file: Path) -> None:
    files = [converted("tflite-int8", calibration={})]
    files += [converted(name, kept=kept, search={}) for name, kept in KEPT.items()]
    recipe = recipe_of(files, model="photos", model_id="0123", max_drop_points=0.5)
    assert recipe is not None
    write_json(file, recipe)
    assert read_recipe(file, BOTH) == {"tflite": ("net/first", "net/last"), "onnx": ()}
    assert set(recipe) == set(GOOD)


def test_without_mixed_files_there_is_no_recipe() -> None:
    files = [converted("tflite-int8", calibration={}), converted("onnx-fp32")]
    assert recipe_of(files, model="photos", model_id="0123", max_drop_points=None) is None


def test_one_format_is_enough(file: Path) -> None:
    write_json(file, GOOD | {"keep_float": {"onnx": ["a", "b"]}})
    assert read_recipe(file, ["onnx"]) == {"onnx": ("a", "b")}
    with pytest.raises(UsageError, match="does not say what tflite files keep") as caught:
        read_recipe(file, BOTH)
    assert "Leave out tflite-mixed with --variants" in caught.value.hint


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"schema_version": 2}, "schema_version is 2; this edge reads 1"),
        ({"schema_version": None}, "schema_version is null; this edge reads 1"),
        ({"keep_floats": {}}, "keep_floats is unknown"),
        ({"keep_float": None}, "keep_float is null, expected an object"),
        ({"keep_float": ["net/first"]}, "expected an object"),
        ({"keep_float": {"tflite": "net/first"}}, "expected a list"),
        ({"keep_float": {"tflite": [1]}}, "keep_float.tflite[0] is 1, expected a string"),
        ({"keep_float": {"tflite": {"net/first": 1}}}, "expected a list"),
        ({"keep_float": {"coreml": ["net/first"]}}, "coreml"),
    ],
)
def test_a_wrong_field_is_named(file: Path, change: dict[str, Any], said: str) -> None:
    write_json(file, GOOD)
    assert read_recipe(file, BOTH) == {"tflite": ("net/first",), "onnx": ()}
    write_json(file, GOOD | change)
    with pytest.raises(UsageError, match=r"recipe\.json") as caught:
        read_recipe(file, BOTH)
    assert said in caught.value.message
    assert caught.value.hint
    assert caught.value.exit_code == 2


@pytest.mark.parametrize(
    "content",
    [b"", b"not JSON", b"\xff\xfe\x00", b"[]", b"null", b'"recipe"', b"[" * 100_000],
    ids=["empty", "text", "binary", "list", "null", "string", "deep"],
)
def test_a_file_that_is_no_recipe(file: Path, content: bytes) -> None:
    file.write_bytes(content)
    with pytest.raises(UsageError, match=r"recipe\.json") as caught:
        read_recipe(file, BOTH)
    assert "--quantize auto" in caught.value.hint


def test_a_block_that_is_named_twice_is_refused(file: Path) -> None:
    write_json(file, GOOD | {"keep_float": {"onnx": ["a", "b", "a"]}})
    with pytest.raises(UsageError, match="names the onnx block 'a' more than once"):
        read_recipe(file, ["onnx"])


def test_it_is_said_for_which_model_a_recipe_was_made(file: Path) -> None:
    assert made_for(None) == ""
    write_json(file, GOOD | {"model_id": "0123456789abcdef"})
    assert made_for(file) == f"{file} was made for photos (id 0123456789ab)"
    write_json(file, GOOD | {"model_id": ""})
    assert made_for(file) == f"{file} was made for photos"
    write_json(file, {"schema_version": 1, "keep_float": {}})
    assert made_for(file) == ""


def subject_of(model_id: str, *layers: str) -> ModelToBundle:
    """A network of Keras with those layers, as far as a recipe asks for it."""
    named = [SimpleNamespace(name=name) for name in layers]
    model = SimpleNamespace(_flatten_layers=lambda **_: named)
    subject = SimpleNamespace(
        name="mine", model_id=model_id, adopted=None, float_file=None, load_model=lambda: model
    )
    return cast(ModelToBundle, subject)


@pytest.mark.parametrize(
    ("block", "fits"),
    [
        ("net_1/first_1", True),  # TensorFlow counts its scopes
        ("elsewhere/first/Relu;elsewhere/bn", True),
        ("first#2", True),
        ("net/firsts", False),
        ("net/last", False),
    ],
)
def test_a_recipe_of_which_no_block_is_of_the_network(
    file: Path, tmp_path: Path, block: str, fits: bool
) -> None:
    write_json(file, GOOD | {"keep_float": {"onnx": [block]}})
    options = OutputOptions(
        output=tmp_path, overwrite=False, cache=tmp_path, recipe=file, variants=("onnx-mixed",)
    )
    assert fitting_recipe(subject_of("0123", "first"), options) == ""  # its own
    if fits:
        told = fitting_recipe(subject_of("4567", "first"), options)
        assert "was made for photos (id 0123), and this is mine (id 4567)" in told
        return
    with pytest.raises(UsageError, match=r"another network: photos \(id 0123\)") as caught:
        fitting_recipe(subject_of("4567", "first"), options)
    assert repr(block) in caught.value.message
    nothing = replace(options, recipe=None)
    assert fitting_recipe(subject_of("4567", "first"), nothing) == ""


def test_a_recipe_of_another_file(file: Path, tmp_path: Path) -> None:
    """Blocks of somebody else's file have the names of its tensors."""
    given = Path(__file__).parents[1] / "data" / "channels_fp32.tflite"
    fields = {"name": "mine", "model_id": "4567", "adopted": None, "float_file": given}
    subject = cast(ModelToBundle, SimpleNamespace(**fields))
    options = OutputOptions(
        output=tmp_path, overwrite=False, cache=tmp_path, recipe=file, variants=("tflite-mixed",)
    )
    own = sorted(tensor_names(given))[0]
    write_json(file, GOOD | {"keep_float": {"tflite": [own]}})
    assert "was made for photos" in fitting_recipe(subject, options)
    write_json(file, GOOD | {"keep_float": {"tflite": ["net/elsewhere"]}})
    with pytest.raises(UsageError, match="another network"):
        fitting_recipe(subject, options)


def test_no_such_file(tmp_path: Path) -> None:
    for path in (tmp_path / "missing.json", tmp_path):
        with pytest.raises(UsageError, match="cannot be read"):
            read_recipe(path, BOTH)


def test_json_itself_must_not_lack_the_blocks(file: Path) -> None:
    file.write_text(json.dumps({name: GOOD[name] for name in GOOD if name != "keep_float"}))
    with pytest.raises(UsageError, match="keep_float"):
        read_recipe(file, BOTH)


def test_a_build_refuses_a_bad_recipe_before_it_trains(
    file: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    file.touch()
    (tmp_path / "photos").mkdir()  # without a picture, which is found later
    words = ("build", str(tmp_path / "photos"), "-o", str(tmp_path / "bundle"), "--recipe")
    with pytest.raises(SystemExit) as caught:
        main([*words, str(file), "--cache", str(tmp_path / "cache")])
    assert caught.value.code == 2
    assert "the recipe is no JSON" in capfd.readouterr().err


def test_the_budget_of_a_recipe_holds_unless_another_is_stated(file: Path, tmp_path: Path) -> None:
    options = OutputOptions(output=tmp_path, overwrite=False, cache=tmp_path)
    assert with_budget(options) == (options, "")
    write_json(file, GOOD)
    replayed = replace(options, recipe=file)
    taken, note = with_budget(replayed)
    assert taken.max_drop_points == 0.5
    assert "0.5 points" in note and "--max-drop" in note
    stated = replace(replayed, max_drop_points=3.0)
    assert with_budget(stated) == (stated, "")
    write_json(file, {**GOOD, "max_drop_points": None})
    assert with_budget(replayed) == (replayed, "")
    write_json(file, {**GOOD, "max_drop_points": -1})
    with pytest.raises(UsageError, match="allows a loss of -1 points"):
        with_budget(replayed)
