import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

import edge
from edge.cli.app import app

ROOT = Path(__file__).parents[2]
HEAVY = (
    "ai_edge_litert",
    "dask",
    "distributed",
    "faiss",
    "keras",
    "onnx",
    "onnxruntime",
    "pydantic",
    "sklearn",
    "tensorflow",
    "tf2onnx",
    "tflite_runtime",
)
MODULES = sorted(
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
    for package in ("edge", "converters", "benchmarks", "devices")
    for path in (ROOT / package).rglob("*.py")
    if path.stem != "__main__"
)


def commands(command: Any, *path: str) -> dict[tuple[str, ...], Any]:
    """Every command that can be run, by the words that lead to it."""
    if not hasattr(command, "commands"):
        return {path: command}
    found: dict[tuple[str, ...], Any] = {}
    for name, sub in command.commands.items():
        found |= commands(sub, *path, name)
    return found


COMMANDS = commands(typer.main.get_command(app))


def loaded(program: str, heavy: tuple[str, ...] = HEAVY) -> set[str]:
    """Heavy modules that a fresh Python has loaded after the program."""
    program += f"\nimport sys\nprint(*[name for name in {heavy!r} if name in sys.modules])"
    result = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, timeout=60
    )
    assert result.returncode == 0, result.stderr
    return set(result.stdout.splitlines()[-1].split())


def test_the_commands_are_found() -> None:
    names = {" ".join(path) for path in COMMANDS}
    assert names >= {"build", "export", "evaluate", "predict", "inspect", "dataset digits"}


@pytest.mark.parametrize("path", COMMANDS, ids=" ".join)
def test_every_command_has_help_with_an_example(path: tuple[str, ...]) -> None:
    result = CliRunner().invoke(app, [*path, "--help"], env={"COLUMNS": "120"})
    assert result.exit_code == 0
    typed = " ".join(path).removesuffix(" run")  # the command of a group that needs no name
    assert f"Example: edge {typed}" in result.output


@pytest.mark.parametrize("path", COMMANDS, ids=" ".join)
def test_every_parameter_is_explained(path: tuple[str, ...]) -> None:
    for parameter in COMMANDS[path].params:
        assert getattr(parameter, "help", None), parameter.name


@pytest.mark.parametrize("path", COMMANDS, ids=" ".join)
def test_the_example_names_options_that_exist(path: tuple[str, ...]) -> None:
    epilog = COMMANDS[path].epilog or ""
    known = {name for parameter in COMMANDS[path].params for name in parameter.opts}
    assert {word for word in epilog.split() if word.startswith("-")} <= known


def test_the_version() -> None:
    result = CliRunner().invoke(app, ["--version"])
    assert (result.exit_code, result.output) == (0, f"edge {edge.__version__}\n")


@pytest.mark.parametrize(
    "arguments", [["--help"], ["build", "--help"], ["export", "--help"], ["--version"]]
)
def test_help_loads_nothing_heavy(arguments: list[str]) -> None:
    program = (
        "import sys\n"
        "from edge.cli.app import main\n"
        f"sys.argv = ['edge', *{arguments!r}]\n"
        "try: main()\n"
        "except SystemExit as end: assert not end.code, end.code\n"
    )
    assert loaded(program) == set()


def test_help_of_a_command_imports_no_other_one() -> None:
    program = "import contextlib, io\nfrom edge.cli.app import app\n"
    program += "with contextlib.redirect_stdout(io.StringIO()):\n"
    program += "    app(['reproduce', '--help'], standalone_mode=False)"
    modules = ("edge.cli.make.build", "edge.cli.check.compare")
    assert loaded(program, modules) == set()


def test_no_module_loads_anything_heavy() -> None:
    assert "edge.pipeline.build" in MODULES
    program = f"import importlib\nfor name in {MODULES!r}: importlib.import_module(name)"
    assert loaded(program) == set()


def run(*arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "edge", *arguments],
        cwd=ROOT,
        env=os.environ | variables,
        capture_output=True,
        text=True,
        timeout=60,
    )


def test_help_imports_no_numpy() -> None:
    """It takes as long as all the rest of the start."""
    program = "import contextlib, io\nfrom edge.cli.app import app\n"
    program += "with contextlib.redirect_stdout(io.StringIO()):\n"
    program += "    app(['--help'], standalone_mode=False)"
    assert loaded(program, ("numpy", "PIL", "sqlite3")) == set()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["bulid"], "bulid"),
        (["build"], "photos"),
        (["build", "photos"], "--output"),
        (["build", "photos", "--output", "b", "--sizes", "64"], "--sizes"),
        (["build", "photos", "--output", "b", "--size", "7"], "--size"),
        (["build", "photos", "--output", "b", "--variants", "tflite-int4"], "tflite-int4"),
        (["diagnose", "b", "photos", "--no-try", "--recipe-output", "r.json"], "--recipe-output"),
        (["build", "photos", "--output", "b", "--variants", ","], "--variants"),
        (["build", "photos", "--output", "b", "--head", "wide"], "wide"),
        (["build", "photos", "--output", "b", "--backbone", "lenet"], "lenet"),
        (["build", "photos", "--output", "b", "--weights", "none.h5"], "none.h5"),
        (["build", "photos", "--output", "no/such/b"], "no/such"),
        (["export", "mine.keras", "--calibration-data", "p", "--output", "b"], "mine.keras"),
        (["export", "README.md", "--dry-run"], "README.md is not a Keras file"),
        (["export", "mobilenet", "--dry-run"], "mobilenet is a network of Keras"),
        (["predict", "b", "image.png"], "no bundle at b"),
        (["predict", "b.tflite", "image.png"], "b.tflite: no such file"),
        (["evaluate", "b", "p"], "no bundle at b"),
        (["inspect", "b.tflite"], "b.tflite"),
        (["benchmark", "b"], "no bundle and no model file at b"),
        (["build", "photos", "--output", "b", "--mixup", "0.2"], "--mixup"),
        (["build", "photos", "--output", "b", "--backbone", "mine.keras"], "mine.keras"),
        (["build", "photos", "--output", "b", "--backbone", "vgg16", "--alpha", "0.5"], "vgg16"),
        (["embed", "photos", "--output", "e.npz"], "photos"),
        (["similar", "photo.jpg", "e.npz"], "e.npz"),
        (["analogy", "a", "b", "c", "words.txt"], "words.txt"),
        (["map", "e.npz", "--output", "m.html"], "e.npz"),
        (["fewshot", "photos"], "photos"),
        (["tag", "photos"], "photos"),
        (["explain", "b", "i.jpg", "--output", "o"], "no bundle at b"),
        (["reproduce", "b", "photos"], "no bundle at b"),
        (["predict", "lenet", "i.jpg"], "lenet"),
    ],
)
def test_usage_errors(tmp_path: Path, arguments: list[str], said: str) -> None:
    """A line that names what is wrong, perhaps a hint, exit code 2, nothing on stdout."""
    result = run(*arguments, EDGE_CACHE=str(tmp_path))
    assert (result.returncode, result.stdout) == (2, "")
    lines = [line for line in result.stderr.splitlines() if not line.endswith(" ...")]  # stages
    assert lines[0].startswith("error: ")
    assert said in lines[0]
    assert [line[:6] for line in lines[1:]] in ([], ["hint: "])


@pytest.mark.parametrize(
    "words",
    [
        ["edge", "benchmark", "none"],
        ["edge", "none"],
        ["edge"],
        ["edge.runtime", "predict", "none", "picture.jpg"],
        ["edge.runtime", "predict", "none", ""],
        ["edge.runtime", "predict", "none", "picture.jpg", "--threads", "99999999"],
    ],
)
def test_a_full_standard_error_does_not_change_the_exit_code(words: list[str]) -> None:
    with Path("/dev/full").open("w") as full:
        result = subprocess.run([sys.executable, "-m", *words], cwd=ROOT, stderr=full, timeout=60)
    assert result.returncode == 2
