"""``edge fleet deploy`` to seven or twenty devices, each with its own sshd, home and services."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.integration import device_bundles as bundles
from tests.integration.conftest import Edge
from tests.integration.environments import environments_root
from tests.integration.sshd import LoopbackDevice

pytestmark = pytest.mark.slow

QUICK = ("--watch", "0.5", "--parallel", "3")


def results(stdout: str) -> dict[str, dict[str, Any]]:
    return {item["name"]: item for item in json.loads(stdout)["devices"]}


@pytest.mark.parametrize("count", [7, pytest.param(20, marks=pytest.mark.long)])
def test_a_fleet(
    make_devices: Callable[[int], list[LoopbackDevice]],
    make_edge: Callable[..., Edge],
    tmp_path: Path,
    count: int,
) -> None:
    devices = make_devices(count)
    names = [device.name for device in devices]
    off = count // 2
    key = tmp_path / "key"
    bundle = bundles.write_signed(tmp_path / "bundle", key)
    inventory = tmp_path / "fleet.toml"
    listed = ", ".join(f'"{name}"' for name in names)
    inventory.write_text(
        f'[defaults]\ndevice = "{_board()}"\n[groups.all]\nhosts = [{listed}]\n'
        '[groups.door]\nhosts = ["pi-05", "pi-06"]\n'
    )
    edge = make_edge(environments_root() / "wheels")
    where = (inventory, "--key", key, "--ssh-config", devices[0].ssh_config)

    devices[0].turn_off()
    canary = edge.run("fleet", "deploy", bundle, *where, *QUICK, "--json")
    assert canary.returncode == 1, canary.stderr
    found = results(canary.stdout)
    assert found["pi-01"]["result"] == "failed"
    assert "Connection refused" in found["pi-01"]["error"]
    assert {found[name]["result"] for name in names[1:]} == {"not tried"}
    devices[0].turn_on()

    door = edge.run("fleet", "deploy", bundle, *where, *QUICK, "--group", "door", "--json")
    assert door.returncode == 0, door.stderr
    assert set(results(door.stdout)) == {"pi-05", "pi-06"}

    devices[off].turn_off()
    partly = edge.run("fleet", "deploy", bundle, *where, *QUICK, "--max-failures", "1", "--json")
    assert partly.returncode == 1, partly.stderr
    found = results(partly.stdout)
    assert list(found) == names
    assert found[names[off]]["result"] == "failed"
    assert {name for name in names if found[name]["result"] == "unchanged"} == {"pi-05", "pi-06"}
    assert sum(item["result"] == "deployed" for item in found.values()) == count - 3
    devices[off].turn_on()

    rest = edge.run("deploy", bundle, "--inventory", *where, *QUICK)  # the old spelling
    assert rest.returncode == 0, rest.stderr
    assert rest.stdout.count("unchanged") == count - 1
    assert rest.stdout.count("deployed") == 1
    for device in devices:
        status = edge.run("status", device.name, "--ssh-config", device.ssh_config, "--json")
        assert json.loads(status.stdout)["apps"][0]["healthy"], device.name


def _board() -> str:
    import platform

    return "generic-aarch64" if platform.machine() == "aarch64" else "generic-x86-64"
