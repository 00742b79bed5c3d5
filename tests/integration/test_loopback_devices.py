"""The devices that other tests use do what a device does: services, faults, an end."""

import os
import re
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.integration.processes import TAG, wait_for
from tests.integration.sshd import LoopbackDevice

# A service that does as its first argument says, and tells systemd.
SERVICE = """
import os, socket, sys, time
def tell(text):
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as s:
        s.connect(os.environ["NOTIFY_SOCKET"]); s.send(text)
mode = open(sys.argv[1]).read().strip()
print("started", mode, os.environ.get("EXTRA"), flush=True)
if mode == "crash": sys.exit(3)
if mode == "mute": time.sleep(60)
if mode == "child" and not os.fork():
    tell(b"READY=1"); sys.exit()
if mode == "child": time.sleep(60)
tell(b"READY=1")
if mode == "hang": time.sleep(60)
if mode == "kill": os.abort()
while True:
    tell(b"WATCHDOG=1"); time.sleep(0.1)
"""
NEVER_READY = ("mute", "child")
UNIT = """
[Unit]
Description=test
StartLimitIntervalSec=600
StartLimitBurst=2
[Service]
Type=notify
NotifyAccess=main
ExecStart="python3" {home}/service.py {home}/mode
Environment="EXTRA=two words"
Restart=always
RestartSec=100ms
TimeoutStartSec={start}
TimeoutStopSec=2
WatchdogSec=2
[Install]
WantedBy=default.target
"""


@pytest.fixture
def service(device: LoopbackDevice) -> Callable[[str], LoopbackDevice]:
    """``service("hang")``: the device with that service installed, not started."""

    def install(mode: str) -> LoopbackDevice:
        units = device.home / ".config" / "systemd" / "user"
        units.mkdir(parents=True, exist_ok=True)
        (device.home / "service.py").write_text(SERVICE)
        (device.home / "mode").write_text(mode)
        # Long where a start succeeds: this machine may be busy.
        start = "1500ms" if mode in NEVER_READY else "30"
        (units / "test.service").write_text(UNIT.format(home=device.home, start=start))
        assert device.ssh("systemctl --user daemon-reload").returncode == 0
        return device

    return install


def shown(device: LoopbackDevice, *properties: str) -> list[str]:
    """Asked for without a connection, which takes longer than the answer."""
    command = [device.tools / "systemctl", "--user", "show", "-p", ",".join(properties)]
    environment = {"XDG_RUNTIME_DIR": str(device.folder / "run"), "HOME": str(device.home)}
    done = subprocess.run(
        [*command, "test.service"], capture_output=True, text=True, env=environment, timeout=30
    )
    text = done.stdout
    found = dict(line.split("=", 1) for line in text.splitlines())
    return [found[name] for name in properties]


def until_failed(device: LoopbackDevice) -> list[str]:
    end = time.monotonic() + 60
    while shown(device, "ActiveState") != ["failed"]:
        assert time.monotonic() < end
    return shown(device, "Result", "NRestarts")


def test_a_session_has_what_a_device_has(device: LoopbackDevice) -> None:
    result = device.ssh(
        "pwd; echo $XDG_RUNTIME_DIR; python3 -c 'import sys; print(sys.prefix)'; env"
    )
    assert result.returncode == 0, result.stderr
    home, runtime, *_ = result.stdout.splitlines()
    assert (home, runtime) == (str(device.home), str(device.folder / "run"))
    assert "VIRTUAL_ENV" not in result.stdout and "PYTHONPATH" not in result.stdout
    assert "No module named 'numpy'" in device.ssh("python3 -c 'import numpy'").stderr
    assert device.ssh("exit 7").returncode == 7
    assert device.ssh("cat", input="a\nb").stdout == "a\nb"


def test_a_service_that_serves(service: Callable[[str], LoopbackDevice]) -> None:
    device = service("serve")
    assert device.ssh("systemctl --user start test.service").returncode == 0
    assert shown(device, "ActiveState", "NRestarts", "Result") == ["active", "0", "success"]
    (pid,) = shown(device, "MainPID")
    assert b"service.py" in Path("/proc", pid, "cmdline").read_bytes()
    assert device.ssh("systemctl --user is-active test.service").stdout == "active\n"
    time.sleep(2.5)  # longer than its watchdog
    assert shown(device, "MainPID") == [pid]
    assert "started serve two words" in device.ssh("journalctl --user-unit test.service").stdout
    os.kill(int(pid), 9)
    wait_for(lambda: shown(device, "ActiveState", "NRestarts") == ["active", "1"], "restarted")
    assert device.ssh("systemctl --user stop test.service").returncode == 0
    assert shown(device, "ActiveState", "MainPID") == ["inactive", "0"]


@pytest.mark.parametrize(
    ("mode", "result"),
    [
        ("crash", "exit-code"),
        ("mute", "timeout"),
        ("hang", "watchdog"),
        ("kill", "signal"),
        ("child", "timeout"),  # READY of a child is not heeded
    ],
)
def test_a_service_that_fails_is_restarted_and_then_given_up(
    service: Callable[[str], LoopbackDevice], mode: str, result: str
) -> None:
    device = service(mode)
    started = device.ssh("systemctl --user restart test.service")
    assert started.returncode == (0 if mode in ("hang", "kill") else 1)
    assert until_failed(device) == [result, "2"]
    log = device.ssh("journalctl --user-unit test.service -n 50 --no-pager -o cat").stdout
    assert mode in NEVER_READY or log.count(f"started {mode}") == 2
    assert device.ssh("systemctl --user start test.service").returncode == 1, "the limit holds"
    (device.home / "mode").write_text("serve")
    unit = device.home / ".config" / "systemd" / "user" / "test.service"
    unit.write_text(unit.read_text().replace("1500ms", "30"))
    device.ssh("systemctl --user daemon-reload")
    device.ssh("systemctl --user reset-failed test.service")
    assert device.ssh("systemctl --user restart --no-block test.service").returncode == 0
    wait_for(lambda: shown(device, "ActiveState") == ["active"], "it serves again")


def test_a_reboot_starts_what_is_enabled_for_a_user_who_lingers(
    service: Callable[[str], LoopbackDevice],
) -> None:
    device = service("serve")
    assert device.ssh("systemctl --user enable test.service").returncode == 0
    assert device.ssh("systemctl --user is-active test.service").stdout == "inactive\n"
    device.reboot()
    assert shown(device, "ActiveState") == ["inactive"]
    assert device.ssh("loginctl show-user -p Linger").stdout == "Linger=no\n"
    device.ssh("loginctl enable-linger")
    device.reboot()
    wait_for(lambda: shown(device, "ActiveState") == ["active"], "started at boot")
    device.ssh("systemctl --user disable test.service")
    device.reboot()
    assert shown(device, "ActiveState") == ["inactive"]


@pytest.mark.parametrize(
    "command",
    ["freeze test.service", "start other.service", "enable other.service", "--system status"],
)
def test_what_the_manager_does_not_know_it_refuses(device: LoopbackDevice, command: str) -> None:
    result = device.ssh(f"systemctl --user {command}")
    assert result.returncode != 0
    assert result.stderr


def test_a_unit_with_an_unknown_option_is_refused(
    service: Callable[[str], LoopbackDevice],
) -> None:
    device = service("serve")
    unit = device.home / ".config" / "systemd" / "user" / "test.service"
    unit.write_text(unit.read_text().replace("Restart=", "RestartMode="))
    assert device.ssh("systemctl --user start test.service").returncode == 5


def test_faults_of_the_connection(device: LoopbackDevice) -> None:
    content = "x" * 8_000_000  # more than ssh sends before the command reads
    device.cut_after(5_000_000)
    assert device.ssh("cat > part", input=content).returncode == 255
    assert 0 < (device.home / "part").stat().st_size < 5_000_000
    assert device.ssh("cat > whole", input=content).returncode == 0
    assert (device.home / "whole").stat().st_size == len(content)
    device.forget_host_key()
    assert "No ED25519 host key is known" in device.ssh("true").stderr
    device.turn_off()
    assert "Connection refused" in device.ssh("true").stderr


def test_a_wrong_key_and_a_changed_host_key(device: LoopbackDevice) -> None:
    device.use_wrong_key()
    assert "Permission denied (publickey)" in device.ssh("true").stderr
    device.change_host_key()
    assert re.search("HOST IDENTIFICATION HAS CHANGED", device.ssh("true").stderr)


def test_a_program_that_is_not_there(device: LoopbackDevice) -> None:
    device.add_program("vcgencmd", "echo throttled=0x50005")
    device.remove_program("python3")
    result = device.ssh("vcgencmd get_throttled; ls -d /; python3")
    assert (result.stdout, result.returncode) == ("throttled=0x50005\n/\n", 127)


def test_many_devices_are_apart(make_devices: Callable[[int], list[LoopbackDevice]]) -> None:
    devices = make_devices(3)
    for device in devices:
        assert device.ssh(f"echo {device.name} > who; systemctl --user is-active x").returncode == 3
    assert [(device.home / "who").read_text() for device in devices] == [
        "pi-01\n",
        "pi-02\n",
        "pi-03\n",
    ]
    devices[0].turn_off()
    first, second = (devices[2].ssh("true"), devices[0].ssh("true"))
    assert (first.returncode, second.returncode) == (0, 255)


def test_nothing_is_left_of_a_device(service: Callable[[str], LoopbackDevice]) -> None:
    device = service("serve")
    device.ssh(
        "systemctl --user start test.service; setsid sleep 100 > /dev/null 2>&1 < /dev/null &"
    )
    device.turn_off()
    wanted = f"{TAG}={device.folder}".encode()
    for process in Path("/proc").glob("[0-9]*"):
        try:
            assert wanted not in (process / "environ").read_bytes()
        except OSError:
            continue
