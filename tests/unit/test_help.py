"""``--help``, ``-h``, ``help`` and what is said to a command line that cannot be understood."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from edge.cli.app import COMMANDS, app
from edge.cli.help import summary
from edge.cli.terminal import report_error, report_unexpected
from edge.errors import NegativeVerdict, UsageError
from edge.runtime.command_line import COMMANDS as DEVICE_COMMANDS
from edge.runtime.command_line import main

ROOT = Path(__file__).parents[2]


def tree(command: Any, *path: str) -> dict[tuple[str, ...], Any]:
    """Every command and group, by the words that lead to it."""
    found = {path: command}
    for name, sub in getattr(command, "commands", {}).items():
        found |= tree(sub, *path, name)
    return found


TREE = tree(typer.main.get_command(app))


def shown(*words: str, columns: int) -> str:
    result = CliRunner().invoke(app, [*words], env={"COLUMNS": str(columns)})
    assert result.exit_code == 0, result.output
    return result.output


def test_the_summary_of_a_command_is_the_first_paragraph_of_its_help() -> None:
    """It is written twice, since --help must not import all that it names."""
    stated = {name: text for row in COMMANDS.values() for name, (_, text) in row.items()}
    assert stated == {name: summary(TREE[(name,)]) for name in stated}


@pytest.mark.parametrize("columns", [80, 44])
@pytest.mark.parametrize("path", TREE, ids=" ".join)
def test_help_shows_whole_names_and_fits(path: tuple[str, ...], columns: int) -> None:
    text = shown(*path, "--help", columns=columns)
    words = text.replace(",", " ").split()
    for parameter in TREE[path].params:
        if parameter.param_type_name == "option" and not parameter.hidden:
            assert {*parameter.opts, *parameter.secondary_opts} <= {*words}
    for name, command in getattr(TREE[path], "commands", {}).items():
        assert command.hidden or name in words
    assert "…" not in text
    wide = [line for line in text.splitlines() if len(line) > columns]
    assert all(len(line.split()) == 1 or "<" in line for line in wide), wide  # choices are whole


@pytest.mark.parametrize("path", [path for path in TREE if "run" not in path], ids=" ".join)
def test_three_ways_to_the_same_help(path: tuple[str, ...]) -> None:
    text = shown(*path, "--help", columns=80)
    assert shown(*path, "-h", columns=80) == text
    assert shown("help", *path, columns=80) == text


def test_the_help_of_benchmark_names_its_other_commands() -> None:
    text = shown("benchmark", "--help", columns=80)
    assert {"diff", "plot"} <= {line.split()[0] for line in text.splitlines() if line.strip()}


def run(*words: str, **variables: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", *words],
        cwd=ROOT,
        env=os.environ | variables,
        capture_output=True,
        text=True,
        timeout=60,
    )


def test_no_command_shows_help_and_no_empty_error() -> None:
    for words in ((), ("dataset",), ("keys",)):
        result = run("edge", *words)
        assert (result.returncode, result.stdout) == (2, "")
        assert "Usage: edge" in result.stderr
        assert "error:" not in result.stderr


@pytest.mark.parametrize(
    ("words", "meant"),
    [
        (["predct"], "'predict'"),
        (["predict", "b", "i.jpg", "--topk", "1"], "--top-k"),
        (["dataset", "digit"], "'digits'"),
        (["benchmark", "dif"], "'diff'"),
        (["help", "bild"], "'build'"),
        (["build", "p", "-o", "b", "--quantize", "int9"], "'int8'"),
    ],
)
def test_a_typing_error_is_told_what_was_meant(words: list[str], meant: str) -> None:
    result = run("edge", *words)
    assert (result.returncode, result.stdout) == (2, "")
    assert meant in result.stderr
    assert "Value error" not in result.stderr


def test_a_value_of_another_type_is_named() -> None:
    result = run("edge", "predict", "b", "i.jpg", "--top-k", "many")
    assert result.returncode == 2
    assert "many" in result.stderr


@pytest.mark.parametrize("error", [RuntimeError(), ValueError(" "), KeyError("")])
def test_an_error_without_words_is_named(
    error: Exception, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with (tmp_path / "log").open("w+b") as log:
        assert report_unexpected(error, log) == 4
    first = capsys.readouterr().err.splitlines()[0]
    assert type(error).__name__ in first


def test_a_crash_log_that_cannot_be_written_is_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "missing"))
    with (tmp_path / "log").open("w+b") as log:
        assert report_unexpected(RuntimeError("a bug"), log) == 4
    said = capsys.readouterr().err.splitlines()
    assert said[0] == "error: unexpected RuntimeError: a bug"
    assert said[1].endswith("cannot be kept: No such file or directory.")


@pytest.mark.parametrize("cause", [EOFError(), OSError("a bug without errno"), None])
@pytest.mark.parametrize("message", ["", "the file cannot be read: ", "it is wrong: None"])
def test_an_expected_error_is_never_without_words(
    message: str, cause: Exception | None, capsys: pytest.CaptureFixture[str]
) -> None:
    error = UsageError(message)
    error.__cause__ = cause
    assert report_error(error) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert len(line) > len("error: ")
    if message and cause is not None:
        assert line.endswith(type(cause).__name__)


def test_a_shell_completes_commands_and_options() -> None:
    for words, wanted in (("edge expl", "explain"), ("edge predict --top", "--top-k")):
        count = str(len(words.split()) - 1)
        found = run(
            "edge", _EDGE_COMPLETE="complete_bash", COMP_WORDS=words, COMP_CWORD=count
        ).stdout.split()
        assert wanted in found


# ---- on the device


@pytest.mark.parametrize("words", [[], *([name] for name in DEVICE_COMMANDS)], ids=" ".join)
def test_three_ways_to_the_same_help_on_the_device(
    words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    said = []
    for way in ([*words, "--help"], [*words, "-h"], ["help", *words]):
        with pytest.raises(SystemExit) as caught:
            main(way)
        assert caught.value.code == 0
        said.append(capsys.readouterr().out)
    assert said[0]
    assert said[0] == said[1] == said[2]


@pytest.mark.parametrize(
    ("words", "meant"),
    [
        (["predct"], "predict"),
        (["predict", "b", "i.jpg", "--topk=1"], "--top-k"),
        (["predict", "b", "i.jpg", "--engine", "litrt"], "litert"),
        (["selftest", "b", "--max-latency", "soon"], "soon"),
        ([], "COMMAND"),
    ],
)
def test_a_typing_error_on_the_device(
    words: list[str], meant: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        main(words)
    assert caught.value.code == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert [line.split(":")[0] for line in err.splitlines()] == ["error", "hint"]
    assert meant in err


def test_an_error_is_folded_on_a_terminal_and_whole_in_a_log(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """What a search that finds nothing says is 150 columns wide."""
    monkeypatch.setenv("COLUMNS", "80")
    error = NegativeVerdict("no file holds the budget " * 8, hint="python3 -c '...'")
    report_error(error)
    assert len(capsys.readouterr().err.splitlines()) == 2
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    report_error(error)
    told = capsys.readouterr().err.splitlines()
    assert max(map(len, told)) <= 80
    assert told[0].startswith("error: no file") and told[1].startswith("    ")
