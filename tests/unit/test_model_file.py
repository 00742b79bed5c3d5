"""The options that say what a model file is, and the table of what was taken of it."""

from dataclasses import fields
from pathlib import Path

import pytest

from edge.cli.identified import known, known_json, print_known
from edge.cli.model_file import ModelFileFlags
from edge.errors import UsageError
from edge.identification.model import Fact, IdentifiedModel, StatedModel
from edge.runtime.contract import Preprocessing, Resize
from edge.runtime.tasks.table import DecoderSpec, Task

MODEL = IdentifiedModel(
    path=Path("m.tflite"),
    format="tflite",
    sha256="0" * 64,
    task=Task.DETECTION,
    preprocessing=Preprocessing(height=96, width=96),
    labels=("cat", "dog"),
    decoder=DecoderSpec(name="tflite-detection"),
    facts=(
        Fact(what="task", value="detection", source="its last operator", option="--task"),
        Fact(
            what="channel order",
            value="rgb",
            source="nothing says otherwise",
            option="--channel-order",
            sure=False,
        ),
        Fact(what="labels", value="cat\x1b[2J", source="a file"),
    ),
    notes=("It is small.",),
)


def test_each_thing_that_can_be_stated_has_an_option() -> None:
    """A crop is stated by nothing yet: --resize center-crop keeps edge's own share."""
    stated = {item.name for item in fields(StatedModel)} - {"crop_fraction"}
    assert {item.name for item in fields(ModelFileFlags)} == stated


def test_nothing_said_is_nothing_stated() -> None:
    assert ModelFileFlags().stated() == StatedModel()


def test_what_is_said_is_stated() -> None:
    flags = ModelFileFlags(size="48x96", resize=Resize.LETTERBOX, pad_value=114)
    assert flags.stated() == StatedModel(size=(48, 96), resize=Resize.LETTERBOX, pad_value=114)


def test_a_size_is_checked() -> None:
    with pytest.raises(UsageError, match="is not a size"):
        ModelFileFlags(size="big").stated()


def test_the_table_names_evidence_options_and_doubt(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    print_known(MODEL)
    printed = capsys.readouterr().out
    lines = printed.splitlines()
    assert lines[0] == "task              detection: its last operator [--task]"
    assert lines[1].startswith("channel order ?   rgb: nothing says otherwise [--channel-order]")
    assert "? nothing in the file says so" in printed
    assert "note: It is small." in printed
    assert "\x1b" not in printed  # a label of the file moves no cursor
    assert max(map(len, lines)) <= 80


def test_a_file_that_leaves_something_open_fails_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = known(tmp_path / "missing.onnx", StatedModel())
    print_known(found)
    assert capsys.readouterr().out.startswith("not settled")
    assert known_json(found)["settled"] is False


def test_the_json_form_has_every_fact() -> None:
    value = known_json(MODEL)
    assert value["settled"] is True
    assert [fact["what"] for fact in value["facts"]] == ["task", "channel order", "labels"]
    assert (value["task"], value["decoder"]["name"]) == ("detection", "tflite-detection")
