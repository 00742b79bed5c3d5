"""What systemd is told: sd_notify(3), by hand."""

import os
import signal
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from tests.unit.golden_bundle import wrong_bundle
from tests.unit.watch.service import PATIENCE, Service, picture


@pytest.fixture
def systemd(tmp_path: Path) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(str(tmp_path / "notify"))
        listener.settimeout(PATIENCE)
        yield listener


def test_ready_signs_of_life_and_the_end(
    start: Callable[..., Service], systemd: socket.socket
) -> None:
    service = start(NOTIFY_SOCKET=str(systemd.getsockname()), WATCHDOG_USEC="400000")
    heard: list[tuple[float, str]] = []

    def hear() -> str:
        heard.append((time.monotonic(), systemd.recv(4096).decode()))
        return heard[-1][1]

    while hear() != "READY=1":
        assert heard[-1][1].startswith("STATUS=")
    signs = []
    while len(signs) < 6:
        if hear() == "WATCHDOG=1":
            signs.append(heard[-1][0])
    gaps = np.diff(signs)
    assert 0.1 < np.median(gaps) < 0.35  # half of 0.4 s
    service.process.send_signal(signal.SIGTERM)
    while hear() != "STOPPING=1":
        pass
    assert service.ended()[0] == 0


def test_not_ready_when_the_self_test_fails(
    bundle: Path, inbox: Path, tmp_path: Path, systemd: socket.socket
) -> None:
    wrong = wrong_bundle(tmp_path / "wrong")
    picture(inbox, "red")
    service = Service(wrong, inbox, NOTIFY_SOCKET=str(systemd.getsockname()))
    code, answers, err = service.ended()
    assert (code, answers) == (1, [])
    assert "self-test failed" in err
    systemd.setblocking(False)
    heard = []
    with pytest.raises(BlockingIOError):
        while True:
            heard.append(systemd.recv(4096).decode())
    assert "READY=1" not in heard
    assert any(text.startswith("STATUS=self-test failed") for text in heard)


def test_an_abstract_socket(start: Callable[..., Service]) -> None:
    name = f"edge-test-{os.getpid()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(f"\0{name}")
        listener.settimeout(PATIENCE)
        start(NOTIFY_SOCKET=f"@{name}")
        while listener.recv(4096) != b"READY=1":
            pass
