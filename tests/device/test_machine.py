"""The emulated machine is what other tests take it for."""

import time

from tests.device.machine import Machine


def said(machine: Machine, command: str) -> str:
    done = machine.ssh(command)
    assert done.returncode == 0, done.stderr
    return done.stdout.decode().strip()


def test_it_is_a_64_bit_arm_debian_with_systemd(machine: Machine) -> None:
    assert said(machine, "uname -m") == "aarch64"
    assert "bookworm" in said(machine, "cat /etc/os-release")
    assert said(machine, "python3 -c 'import sys; print(sys.version_info[:2])'") == "(3, 11)"
    assert said(machine, "systemctl is-system-running --wait") == "running"
    assert said(machine, "systemctl --user is-active default.target") == "active"
    assert said(machine, "loginctl show-user pi -p Linger") == "Linger=yes"
    assert abs(int(said(machine, "date +%s")) - time.time()) < 60


def test_trixie_has_the_pages_and_the_python_of_a_pi_5(trixie_machine: Machine) -> None:
    assert said(trixie_machine, "getconf PAGESIZE") == "16384"
    assert said(trixie_machine, "python3 -c 'import sys; print(sys.version_info[:2])'") == "(3, 13)"


def test_nothing_but_ssh_reaches_it(machine: Machine) -> None:
    program = (
        "import socket\n"
        "for host in ('10.0.2.2', '1.1.1.1'):\n"
        "    s = socket.socket(); s.settimeout(3)\n"
        "    try: s.connect((host, 80)); print('reached', host)\n"
        "    except OSError as error: print('no')\n"
    )
    done = machine.ssh("python3 -", stdin=program.encode())
    assert done.stdout.decode().split() == ["no", "no"]


def test_a_power_cut_keeps_what_was_synced_and_nothing_else(machine: Machine) -> None:
    said(machine, "echo kept > kept; sync; echo lost > lost")
    machine.power_cut()
    machine.boot()
    assert said(machine, "cat kept") == "kept"
    # Had it survived, the cut would be gentler than a real one and prove nothing.
    assert said(machine, "cat lost 2>/dev/null || true") == ""
    machine.shut_down()
    machine.boot(set_clock=False)
    assert said(machine, "cat kept") == "kept"
