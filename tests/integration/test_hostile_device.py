"""A device that answers every command by writing for ever, over a real ssh."""

import os
import subprocess
import sys
import time

import pytest

from tests.integration.sshd import LoopbackDevice

MEMORY_KB = 150_000


@pytest.mark.parametrize("flood", ["exec cat /dev/zero", "exec cat /dev/zero >&2", "exec yes '{}'"])
@pytest.mark.parametrize("command", ["status", "doctor", "logs"])
def test_it_ends_with_an_error(command: str, flood: str, device: LoopbackDevice) -> None:
    session = device.folder / "session"
    session.unlink()
    session.write_text(f"#!/bin/sh\n{flood}\n")
    session.chmod(0o755)
    words = [sys.executable, "-m", "edge", command, device.name]
    begun = time.monotonic()
    process = subprocess.Popen(
        [*words, "--ssh-config", str(device.ssh_config)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )
    assert process.stderr is not None
    said = process.stderr.read().decode()
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    process.stderr.close()
    assert process.returncode == 4, said
    assert said.startswith(f"error: {device.name} ") and "\nhint: " in said, said
    assert usage.ru_maxrss < MEMORY_KB
    assert time.monotonic() - begun < 60
