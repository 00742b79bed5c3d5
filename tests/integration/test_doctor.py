"""``edge doctor`` on this machine and on a device with a real sshd."""

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from edge.cli.app import app
from edge.deploy.facts import gather
from edge.deploy.ssh import Address, Remote
from edge.errors import ConnectionFailed, UsageError
from tests.integration.sshd import LoopbackDevice


def doctor(*arguments: object) -> Any:
    return CliRunner().invoke(app, ["doctor", *map(str, arguments)])


def of(device: LoopbackDevice, *arguments: object) -> Any:
    return doctor(device.name, "--ssh-config", device.ssh_config, *arguments)


def levels(output: str) -> dict[str, str]:
    """The worst level by what was looked at."""
    order = ["ok", "warning", "error"]
    found: dict[str, str] = {}
    for item in json.loads(output)["findings"]:
        about = item["about"]
        found[about] = max(found.get(about, "ok"), item["level"], key=order.index)
    return found


def linger(device: LoopbackDevice) -> None:
    assert device.ssh("loginctl enable-linger").returncode == 0


def test_a_device_that_can_be_deployed_to(device: LoopbackDevice) -> None:
    linger(device)
    result = of(device, "--json")
    assert result.exit_code == 0, result.output
    found = json.loads(result.output)
    assert found["deployable"] is True and found["host"] == "pi"
    assert found["facts"]["disk"]["path"] == str(device.home)
    assert set(levels(result.output).values()) <= {"ok", "warning"}
    shown = of(device)
    assert shown.exit_code == 0
    assert shown.output.splitlines()[-1] == "pi: a deploy can go ahead"
    assert list(device.home.iterdir()) == []  # it changed nothing


def without_python(device: LoopbackDevice) -> None:
    device.remove_program("python3")


def hot(device: LoopbackDevice) -> None:
    device.add_program("vcgencmd", "echo throttled=0x50005")


def dangling(device: LoopbackDevice) -> None:
    app_folder = device.home / ".local/share/edge/apps/cats"
    app_folder.mkdir(parents=True)
    (app_folder / "current").symlink_to("releases/gone")


def loud(device: LoopbackDevice) -> None:
    """A shell whose start-up files talk."""
    session = device.folder / "session"
    session.write_text(session.read_text().replace("cd '", "echo Welcome to your Pi; cd '", 1))


@pytest.mark.parametrize(
    ("change", "about", "level", "hint"),
    [
        (without_python, "Python", "error", "sudo apt install python3"),
        (hot, "throttling", "warning", "power supply"),
        (dangling, "app cats", "warning", "The next edge deploy mends it."),
        (loud, "Python", "ok", ""),
    ],
)
def test_a_device_with_a_problem(
    device: LoopbackDevice,
    change: Callable[[LoopbackDevice], None],
    about: str,
    level: str,
    hint: str,
) -> None:
    linger(device)
    change(device)
    result = of(device, "--json")
    assert result.exit_code == (1 if level == "error" else 0), result.output
    assert levels(result.output)[about] == level
    (found,) = [item for item in json.loads(result.output)["findings"] if item["about"] == about]
    assert hint in found["hint"]
    lines = of(device).output.splitlines()
    assert any(line.startswith(f"{level:<7}  {about}") for line in lines)
    assert not hint or any(line.strip().startswith("-> ") and hint in line for line in lines)


def test_a_device_without_linger(device: LoopbackDevice) -> None:
    result = of(device, "--json")
    assert (result.exit_code, levels(result.output)["services"]) == (0, "warning")
    assert "edge deploy turns it on" in result.output


def test_a_device_without_systemd(device: LoopbackDevice) -> None:
    device.remove_program("systemctl")
    result = of(device)
    assert result.exit_code == 1
    assert result.output.splitlines()[-1] == "pi: a deploy would fail"


def test_another_board_than_it_is(device: LoopbackDevice) -> None:
    linger(device)
    result = of(device, "--device", "ethos-u55", "--json")
    assert (result.exit_code, levels(result.output)["architecture"]) == (1, "error")


def test_a_clock_that_is_wrong(device: LoopbackDevice) -> None:
    linger(device)
    python = (device.tools / "python3").resolve()
    # A python3 whose time.time() is that of 1970, as on a board without a battery.
    device.add_program(
        "python3",
        f"""[ "$3" = - ] || exec {python} "$@"
        (echo 'import time as _t; _t.time = lambda: 42.0'; sed '/^from __future__/d') |
          exec {python} -I -B -""",
    )
    result = of(device, "--json")
    assert levels(result.output)["clock"] == "warning"
    assert "1970" in of(device).output


def test_a_device_that_is_off(device: LoopbackDevice) -> None:
    device.turn_off()
    result = of(device)
    assert isinstance(result.exception, ConnectionFailed)
    assert result.exception.exit_code == 4


def test_an_unknown_board_is_said_before_the_device_is_asked(device: LoopbackDevice) -> None:
    device.turn_off()
    result = of(device, "--device", "raspberry-pi-6")
    assert isinstance(result.exception, UsageError)


@pytest.mark.parametrize("host", ["-oProxyCommand=x", "a b", "pi@", ""])
def test_no_address(host: str) -> None:
    assert isinstance(doctor("--", host).exception, UsageError)


def test_this_machine() -> None:
    result = doctor("--json")
    found = json.loads(result.output)
    assert found["host"] is None
    assert result.exit_code == (0 if found["deployable"] else 1)
    assert levels(result.output)["Python"] == "ok"


def test_an_answer_that_moves_the_cursor_is_shown_as_text(device: LoopbackDevice) -> None:
    linger(device)
    app_folder = device.home / ".local/share/edge/apps/cats"
    app_folder.mkdir(parents=True)
    (app_folder / "current").symlink_to("releases/\x1b[2Jgone")
    assert "\x1b" not in of(device).output


def test_the_facts_over_ssh(device: LoopbackDevice) -> None:
    address = Address.parse(device.name, ssh_config=device.ssh_config)
    with Remote(address) as remote:
        found = gather(remote)
    here = subprocess.run(["uname", "-m"], capture_output=True, text=True, check=True)
    assert found.machine is not None and found.machine.name == here.stdout.strip()
    assert found.user is not None and found.user.manager
    assert found.clock_skew_seconds == 0
    assert Path(found.disk.path if found.disk else "") == device.home
