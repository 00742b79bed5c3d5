"""The boards of ``devices/``: every file is whole, and a broken one is an error with its place."""

import json
import tomllib
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from devices import profile as module
from devices.profile import MICROCONTROLLER, Profile, profile, profiles
from edge.cli.app import app
from edge.deploy.wheelhouse import Platform, locked
from edge.errors import DeviceError, UsageError
from edge.runtime.session import ENGINES

BOARDS = {path.stem for path in module.FOLDER.glob("*.toml")}
# Fields that state something about the world, which somebody must be able to look up.
FACTS = {"cpu", "cores", "memory_bytes", "systems", "accelerators", "match", "estimate_only"}
TOO_OLD = {"3.7", "3.10"}  # of systems that are listed to say so


def test_the_boards_are_there() -> None:
    """Those that README promises, each from the file of its name."""
    named = {"raspberry-pi-4", "raspberry-pi-5", "raspberry-pi-zero-2-w", "jetson-orin-nano"}
    named |= {"coral-dev-board", "generic-x86-64", "generic-aarch64", "ethos-u55"}
    assert named < BOARDS == {board.id for board in profiles()}
    for board in profiles():
        stated = tomllib.loads((module.FOLDER / f"{board.id}.toml").read_text(encoding="utf-8"))
        assert (board.name, board.machine) == (stated["name"], stated["machine"])


@pytest.mark.parametrize("board", profiles(), ids=lambda board: board.id)
def test_a_board_is_whole(board: Profile) -> None:
    computer = board.machine != MICROCONTROLLER
    assert computer == (board.budget is not None) == (board.estimate_only is None)
    assert computer == (0 < board.threads <= board.cores)
    assert ENGINES[board.engine].format == board.variant.partition("-")[0]
    assert board.verified.startswith(("Never on this hardware", "Emulated", "The wheels", "Vela"))
    for source in board.sources:
        assert source.url.startswith("https://")
        assert set(source.facts) <= FACTS


@pytest.mark.parametrize("board", profiles(), ids=lambda board: board.id)
def test_every_fact_of_a_board_has_a_source(board: Profile) -> None:
    stated = {name for source in board.sources for name in source.facts}
    if board.id.startswith("generic"):
        assert "systems" in stated
    elif board.estimate_only:
        assert stated >= {"accelerators", "estimate_only"}
    else:
        assert stated >= {"cpu", "cores", "memory_bytes", "systems"}
        assert not board.accelerators or "accelerators" in stated


@pytest.mark.parametrize("board", profiles(), ids=lambda board: board.id)
def test_every_board_has_wheels_for_its_systems(board: Profile) -> None:
    for system in board.systems:
        target = Platform.parse(board.machine, system.python, system.glibc)
        if system.python in TOO_OLD:
            assert "too old" in system.note
            with pytest.raises(DeviceError):
                locked(board.engine, target)
        else:
            assert locked(board.engine, target)


@pytest.mark.parametrize("board", profiles(), ids=lambda board: board.id)
def test_a_budget_is_generous_and_explained(board: Profile) -> None:
    if board.budget:
        assert 0.5 <= board.budget.latency_seconds <= 60
        # 96 MiB were measured for the largest of the engines
        assert 150e6 <= board.budget.memory_bytes < board.memory_bytes * 2
        assert len(board.budget.latency_reason) > 30 and len(board.budget.memory_reason) > 30


def test_boards_that_look_alike_differ_in_what_is_plugged_in() -> None:
    for board in profiles():
        for other in profiles():
            if board.id < other.id and set(board.match) & set(other.match):
                parts = [{part.name for part in item.accelerators} for item in (board, other)]
                assert parts[0] != parts[1], (board.id, other.id)


GOOD = (module.FOLDER / "raspberry-pi-coral-usb.toml").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (("name =", "nmae ="), "my-board.toml: nmae is unknown"),
        (
            ('engine = "litert"', 'engine = "tensorrt"'),
            'my-board.toml: engine is "tensorrt", '
            'expected one of "litert", "tflite-runtime", "onnxruntime"',
        ),
        (
            ('machine = "aarch64"', 'machine = "armv7l"'),
            'machine is "armv7l", expected one of "aarch64"',
        ),
        (("cores = 4", "cores = 0"), "cores is 0, expected a whole number above 0"),
        (("cores = 4", "cores = true"), "cores is true, expected a whole number"),
        (("cores = 4", "cores = 1979-05-27"), "cores is 1979-05-27, expected no date or time"),
        (("cores = 4", ""), "cores is missing; a board of aarch64 needs it"),
        (("cores = 4", "cores = 4\nspeed = 5"), "my-board.toml: speed is unknown"),
        (
            ("cores = 4", 'cores = 4\nestimate_only = "x"'),
            "estimate_only is not allowed; a board of aarch64 has none",
        ),
        (("threads = 4", 'threads = "4"'), 'threads is "4", expected a whole number'),
        (("latency_ms = 2000", "latency_ms = nan"), "budget.latency_ms is NaN"),
        (("latency_ms = 2000\n", ""), "budget.latency_ms is missing"),
        (("memory_mb = 400", "memory_mb = 400\ndisk_mb = 3"), "budget.disk_mb is unknown"),
        (
            ('kind = "tpu"', 'kind = "fpga"'),
            'accelerators[0].kind is "fpga", expected one of "gpu", "npu", "tpu"',
        ),
        (
            ('facts = ["cpu", "cores"]', "facts = []"),
            "sources[0].facts is [], expected at least one entry",
        ),
        (("schema_version = 1", "schema_version = 2"), "schema_version is 2; this edge reads 1"),
        (("[[systems]]", "[[sytsems]]"), "sytsems is unknown"),
        (('glibc = "2.36"', ""), "systems[0].glibc is missing"),
        (
            ('verified = "', 'verified = " " #'),
            'verified is " ", expected a string that is not blank',
        ),
        (('match = ["', 'match = [5, "'), "match[0] is 5, expected a string"),
        (("schema_version = 1", "schema_version = "), "cannot be read"),
        (("schema_version = 1", 'schema_version = 1\nid = "x"'), "my-board.toml: id is unknown"),
    ],
)
def test_a_broken_file_is_an_error_with_its_place(
    tmp_path: Path, change: tuple[str, str], said: str
) -> None:
    assert change[0] in GOOD
    path = tmp_path / "my-board.toml"
    path.write_text(GOOD.replace(*change), encoding="utf-8")
    with pytest.raises(UsageError) as caught:
        profile(str(path))
    assert said in caught.value.message


def test_an_unknown_field_says_which_are_known(tmp_path: Path) -> None:
    path = tmp_path / "my-board.toml"
    path.write_text(GOOD.replace("latency_ms", "latncy_ms"), encoding="utf-8")
    with pytest.raises(UsageError) as caught:
        profile(str(path))
    assert str(caught.value.message).endswith("budget.latncy_ms is unknown")
    assert str(caught.value.hint).startswith(
        'Did you mean "latency_ms"? Known: latency_ms, latency_reason, memory_mb, memory_reason.'
    )


def test_a_board_of_ones_own_is_a_file(tmp_path: Path) -> None:
    path = tmp_path / "my-board.toml"
    path.write_text(GOOD, encoding="utf-8")
    found = profile(str(path))
    assert found.id == "my-board"
    assert found.budget is not None and found.budget.latency_seconds == 2.0
    assert found.accelerators[0].options == {"device": "usb"}


def test_a_new_file_is_a_new_board(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "new.toml").write_text(GOOD, encoding="utf-8")
    monkeypatch.setattr(module, "FOLDER", tmp_path)
    assert [board.id for board in profiles()] == ["new"]
    assert profile("new").name.startswith("Raspberry Pi")


@pytest.mark.parametrize("name", ["raspberry-pi-6", "", "../devices/raspberry-pi-5", "none.toml"])
def test_an_unknown_board(name: str) -> None:
    with pytest.raises(UsageError):
        profile(name)


def command(*arguments: str) -> Any:
    return CliRunner().invoke(app, ["devices", *arguments])


def test_the_command_lists_the_boards() -> None:
    result = command()
    assert result.exit_code == 0
    assert {line.split()[0] for line in result.output.splitlines()} == BOARDS
    listed = json.loads(command("--json").output)["devices"]
    assert [item["id"] for item in listed] == sorted(BOARDS)


@pytest.mark.parametrize("board", sorted(BOARDS))
def test_the_command_shows_a_board(board: str) -> None:
    shown = command(board)
    assert shown.exit_code == 0
    value = json.loads(command(board, "--json").output)
    stated = tomllib.loads((module.FOLDER / f"{board}.toml").read_text(encoding="utf-8"))
    assert value["name"] == stated["name"] and value["id"] == board
    said = " ".join(shown.output.split())  # sentences are folded
    for text in (stated["name"], stated["verified"], *(item["url"] for item in stated["sources"])):
        assert " ".join(text.split()) in said
