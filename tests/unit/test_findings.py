"""What is said about a device, case by case: files of ``tests/data/facts``."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from devices.profile import profile, profiles
from edge.deploy.facts import Facts, Installed, without_python
from edge.deploy.findings import Finding, Severity, findings, guess_profile, refusals, throttle
from edge.deploy.wheelhouse import Platform, locked
from edge.deploy.wheelhouse.environment import environment_id

DATA = Path(__file__).parents[1] / "data" / "facts"
CASES = sorted(DATA.glob("*.json"))


def case(name: str) -> tuple[dict[str, Any], Facts]:
    value = json.loads((DATA / f"{name}.json").read_text(encoding="utf-8"))
    return value, Facts.from_json(value["facts"])


def by_about(found: tuple[Finding, ...]) -> dict[str, Finding]:
    """The worst finding about each thing."""
    order = [Severity.OK, Severity.WARNING, Severity.ERROR]
    return {item.about: item for item in sorted(found, key=lambda item: order.index(item.level))}


@pytest.mark.parametrize("path", CASES, ids=lambda path: path.stem)
def test_a_device_is_judged(path: Path) -> None:
    value, facts = case(path.stem)
    found = (*findings(facts, profile(value["board"])), *refusals(facts))
    seen = by_about(found)
    assert {name for name, item in seen.items() if item.level is not Severity.OK} == set(
        value["expect"]
    )
    for about, (level, text, hint) in value["expect"].items():
        said = [item for item in found if item.about == about and item.level == level]
        assert any(text in item.found and hint in item.hint for item in said), seen[about]


@pytest.mark.parametrize("path", CASES, ids=lambda path: path.stem)
def test_the_board_is_guessed(path: Path) -> None:
    value, facts = case(path.stem)
    assert guess_profile(facts).id == value["board"]


@pytest.mark.parametrize("path", CASES, ids=lambda path: path.stem)
def test_every_problem_has_a_way_out_on_one_line(path: Path) -> None:
    value, facts = case(path.stem)
    for item in (*findings(facts, profile(value["board"])), *refusals(facts)):
        assert bool(item.hint) == (item.level is not Severity.OK), item
        assert "\n" not in item.found + item.hint
        assert item.found.strip()


@pytest.mark.parametrize("board", profiles(), ids=lambda board: board.id)
def test_every_board_can_be_judged(board: Any) -> None:
    _, facts = case("pi5-good")
    fails = any(item.level is Severity.ERROR for item in findings(facts, board))
    assert fails == (board.machine != "aarch64")


def test_a_device_without_python_is_judged() -> None:
    facts = without_python("aarch64\n6.6.51\nRaspberry Pi 5 Model B Rev 1.0\0")
    found = by_about(findings(facts, guess_profile(facts)))
    assert found["Python"].level is Severity.ERROR
    assert found["Python"].hint == "sudo apt install python3"
    assert guess_profile(facts).id == "raspberry-pi-5"


def test_another_board_than_was_named() -> None:
    _, facts = case("pi5-good")
    found = by_about(findings(facts, profile("raspberry-pi-4")))
    assert found["board"].level is Severity.WARNING
    assert "Raspberry Pi 5 Model B Rev 1.0" in found["board"].found
    wrong = by_about(findings(facts, profile("generic-x86-64")))
    assert wrong["architecture"].level is Severity.ERROR


def test_a_board_whose_accelerator_is_not_plugged_in() -> None:
    _, facts = case("pi5-good")
    found = by_about(findings(facts, profile("raspberry-pi-5-hailo")))
    assert found["accelerator"].level is Severity.WARNING
    assert "hailo-all" in found["accelerator"].hint
    _, plugged = case("pi5-hailo")
    assert (
        by_about(findings(plugged, profile("raspberry-pi-5")))["accelerator"].level is Severity.OK
    )


def test_an_unknown_machine_is_guessed_by_its_architecture() -> None:
    _, facts = case("pi5-good")
    assert facts.machine is not None
    for name, board in (
        ("x86_64", "generic-x86-64"),
        ("aarch64", "generic-aarch64"),
        ("riscv64", "generic-aarch64"),  # the findings say that it does not fit
    ):
        machine = replace(facts.machine, name=name, model="Some Board")
        found = replace(facts, machine=machine)
        assert guess_profile(found).id == board
        levels = {item.level for item in findings(found, guess_profile(found))}
        assert (Severity.ERROR in levels) == (name == "riscv64")


@pytest.mark.parametrize(
    ("bits", "said"),
    [
        (0x0, "never since boot"),
        (0x1, "now: under-voltage (0x1)"),
        (0x2, "now: frequency capped (0x2)"),
        (0x8, "now: soft temperature limit (0x8)"),
        (0x10000, "since boot: under-voltage (0x10000)"),
        (0x80000, "since boot: soft temperature limit (0x80000)"),
        (0x50005, "now: under-voltage, throttled; since boot: under-voltage, throttled (0x50005)"),
    ],
)
def test_throttle_bits(bits: int, said: str) -> None:
    assert throttle(bits).found == said
    assert throttle(bits).level == ("warning" if bits else "ok")


def test_an_environment_that_is_there_needs_no_room() -> None:
    _, facts = case("full-disk")
    board = profile("raspberry-pi-5")
    there = environment_id(locked(board.engine, Platform.of(facts)))
    assert facts.installed is not None
    installed: Installed = replace(facts.installed, environments=(there,))
    found = by_about(findings(replace(facts, installed=installed), board))
    assert found["disk"].level is Severity.WARNING  # little, but enough


@pytest.mark.parametrize(
    ("skew", "said"),
    [
        (30.0, "within 60 s"),
        (-30.0, "within 60 s"),
        (90.0, "90 s ahead of"),
        (-600.0, "10 minutes behind"),
        (3 * 86400.0, "3 days ahead of"),
    ],
)
def test_clock_skew(skew: float, said: str) -> None:
    _, facts = case("pi5-good")
    found = by_about(findings(replace(facts, clock_skew_seconds=skew), profile("raspberry-pi-5")))
    assert said in found["clock"].found
    assert found["clock"].level == ("ok" if abs(skew) < 60 else "warning")
