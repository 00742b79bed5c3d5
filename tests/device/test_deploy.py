"""Deploys to an emulated Raspberry Pi: real systemd, real reboots, real power cuts."""

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

import pytest

from tests.device.conftest import Emulated
from tests.integration import device_bundles as bundles
from tests.integration.conftest import end, read_until


def test_second_release_rollback_and_undeploy(site: Emulated) -> None:
    done = site.deploy(site.bundle(bundles.changed("2"), "second"), "--json")
    assert done.returncode == 0, done.stderr
    second = json.loads(done.stdout)["release"]
    assert site.state()["release"] == second != site.good
    assert site.ask("rollback", "--watch", "3").returncode == 0
    assert site.state()["release"] == site.good
    logs = site.ask("logs").stdout
    assert second in logs and "rolled back" in logs
    assert site.ask("undeploy", "--delete-inbox").returncode == 0
    assert site.device.ssh("ls ~/.config/systemd/user/*.service").returncode != 0


def full_disk(site: Emulated) -> None:
    free = "$(($(stat -f -c %a . ) * $(stat -f -c %S .) - 40000000))"
    assert site.device.ssh(f"fallocate -l {free} filling && sync").returncode == 0


@pytest.mark.parametrize(
    ("damage", "options", "prepare", "code", "reason"),
    [
        (bundles.wrong_answers, (), None, 1, "self-test"),
        (bundles.crashes_at_start, (), None, 1, "does not start"),
        (bundles.crashes_later, ("--watch", "20"), None, 1, "stopped while it was watched"),
        (bundles.hangs_at_start, ("--start-timeout", "15"), None, 1, "its service"),
        (bundles.hangs_in_selftest, ("--selftest-timeout", "20"), None, 1, "did not end"),
        (bundles.changed("slow"), ("--max-latency", "0.001"), None, 1, "an inference takes"),
        (bundles.changed("big"), (), full_disk, None, "free"),
    ],
    ids=["wrong", "crash", "crash-later", "hang", "hang-selftest", "slow", "full-disk"],
)
def test_a_bad_release_leaves_the_one_before(
    site: Emulated,
    request: pytest.FixtureRequest,
    damage: Callable[[Path], None],
    options: tuple[str, ...],
    prepare: Callable[[Emulated], None] | None,
    code: int | None,
    reason: str,
) -> None:
    if prepare is not None:
        prepare(site)
    done = site.deploy(site.bundle(damage, request.node.callspec.id), *options)
    assert done.returncode == code or (code is None and done.returncode in (1, 4)), done.stderr
    assert reason in done.stderr, done.stderr
    state = site.healthy()
    assert state["release"] == state["last_good"] == site.good
    if prepare is None:
        assert reason in state["reason"]
        assert reason in site.ask("logs").stdout


CUTS: Final = {
    "while the bundle is sent": ("send the bundle, kB", 0.0),
    "before the self-test": ("self-test there", 0.0),
    "within the self-test": ("self-test there", 4.0),
    "at the switch": ("switch, health check, watch", 0.0),
    "while the service starts": ("switch, health check, watch", 3.0),
    "while it is watched": ("note: healthy; watching for 5 s", 2.0),
    "while it cleans up": ("clean up", 0.0),
}


@pytest.mark.parametrize("moment", CUTS)
def test_a_power_cut(site: Emulated, moment: str) -> None:
    """After boot the old or the new release serves; the next deploy cleans up and goes live."""
    line, delay = CUTS[moment]
    new = site.bundle(bundles.changed("2"), "second")
    process = site.edge.start(*site.command(new))
    try:
        read_until(process, line if line.startswith("note") else f"{line} ...")
        time.sleep(delay)
        site.device.power_cut()
    finally:
        end(process)
    site.device.boot()
    state = site.healthy()
    committed = moment == "while it cleans up"
    assert (state["release"] == site.good) is not committed
    assert state["release"] == state["last_good"]
    done = site.deploy(new, "--json")
    assert done.returncode == 0, done.stderr
    release = json.loads(done.stdout)["release"]
    assert site.state()["release"] == release != site.good
    left = site.device.ssh("ls ~/.local/share/edge/apps/channels/incoming ~/.local/share/edge/envs")
    assert "incoming-" not in left.stdout.decode()


def test_the_release_serves_again_after_an_orderly_reboot(site: Emulated) -> None:
    site.device.shut_down()
    site.device.boot(set_clock=False)
    assert site.healthy()["release"] == site.good


def test_a_clock_in_1970_is_said_and_stands_in_no_way(site: Emulated) -> None:
    site.device.set_clock(86_400)
    done = site.deploy(site.bundle(bundles.changed("2"), "second"), "--json")
    assert done.returncode == 0, done.stderr
    assert "clock" in done.stderr
    assert site.state()["release"] == json.loads(done.stdout)["release"] != site.good
