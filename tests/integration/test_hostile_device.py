"""A device that answers every command by writing for ever, over a real ssh."""

import subprocess
import sys
import time

import pytest

from tests.integration.sshd import LoopbackDevice
from tests.peak import with_peak

MEMORY = 150_000_000  # bytes


@pytest.mark.parametrize("flood", ["exec cat /dev/zero", "exec cat /dev/zero >&2", "exec yes '{}'"])
@pytest.mark.parametrize("command", ["status", "doctor", "logs"])
def test_it_ends_with_an_error(command: str, flood: str, device: LoopbackDevice) -> None:
    session = device.folder / "session"
    session.unlink()
    session.write_text(f"#!/bin/sh\n{flood}\n")
    session.chmod(0o755)
    words = [sys.executable, "-m", "edge", command, device.name]
    begun = time.monotonic()
    done, peak = with_peak(
        [*words, "--ssh-config", str(device.ssh_config)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        timeout=120,
    )
    said = done.stderr
    assert done.returncode == 4, said
    assert said.startswith(f"error: {device.name} ") and "\nhint: " in said, said
    assert peak < MEMORY
    assert time.monotonic() - begun < 60
