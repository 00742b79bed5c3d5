"""The health socket: who asks is answered, who dawdles blocks nobody."""

import json
import signal
import socket
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.unit.watch.service import PATIENCE, Service, picture, until


def connect(address: Path) -> socket.socket:
    client = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    client.settimeout(PATIENCE)
    client.connect(str(address))
    return client


def ask(address: Path, question: bytes = b'{"ask": "health"}\n') -> dict[str, Any]:
    with connect(address) as client, client.makefile("rb") as stream:
        client.sendall(question)
        found: dict[str, Any] = json.loads(stream.readline())
    return found


def test_health(start: Callable[..., Service], inbox: Path, address: Path) -> None:
    service = start("--release", "r1", "--health", str(address))
    picture(inbox, "red")
    service.line()
    (inbox / "broken.png").write_bytes(b"")
    service.line()
    found = ask(address)
    assert 0 < found.pop("seconds") < 5
    assert 0 < found.pop("uptime") < PATIENCE
    assert found.pop("engine").startswith("ai-edge-litert ")
    assert found == {
        "release": "r1",
        "variant": "tflite-fp32",
        "ok": True,
        "answered": 1,
        "failed": 1,
        "reason": None,
    }
    assert stat.S_IMODE(address.stat().st_mode) == 0o600
    assert "error" in ask(address, b"how are you?\n")
    for question in (
        b'["health"]',
        b"[" * 4000,
        b'{"ask":' * 580,
        b'{"ask": NaN}',
        b"\xff\x00",
        b"",
    ):
        assert "error" in ask(address, question + b"\n")
    assert ask(address)["ok"]
    assert service.ended(signal.SIGTERM)[0] == 0
    assert not address.exists()


def test_a_folder_that_cannot_be_read_is_no_health(
    start: Callable[..., Service], inbox: Path, address: Path
) -> None:
    start("--health", str(address))
    until(lambda: _answers(address))
    inbox.rename(inbox.with_name("away"))
    until(lambda: not ask(address)["ok"])
    assert "folder" in ask(address)["reason"]


def test_clients_that_dawdle_block_nobody(
    start: Callable[..., Service], inbox: Path, address: Path
) -> None:
    service = start("--health", str(address))
    until(lambda: _answers(address))
    silent = [connect(address) for _ in range(12)]
    half = connect(address)
    half.sendall(b'{"ask": ')
    gone = connect(address)
    gone.sendall(b'{"ask": "health"}\n')
    gone.close()
    flood = connect(address)
    flood.sendall(b"x" * 5000)
    assert ask(address)["ok"]
    picture(inbox, "red")
    service.line()
    assert silent[0].recv(1) == b""  # too many wait: the first one has to go
    for client in (*silent, half, flood):
        client.close()
    assert service.ended(signal.SIGTERM)[0] == 0


def test_a_socket_that_a_killed_service_left_is_replaced(
    start: Callable[..., Service], address: Path
) -> None:
    first = start("--health", str(address))
    until(lambda: _answers(address))
    assert first.ended(signal.SIGKILL)[0] == -signal.SIGKILL
    assert address.exists()
    start("--health", str(address), "--release", "second")
    until(lambda: _answers(address))
    assert ask(address)["release"] == "second"


def _answers(address: Path) -> bool:
    try:
        ask(address)
    except OSError:
        return False
    return True


def test_a_socket_in_use_is_left_alone(
    start: Callable[..., Service], bundle: Path, tmp_path: Path, address: Path
) -> None:
    start("--health", str(address), "--release", "first")
    until(lambda: _answers(address))
    other = tmp_path / "other"
    other.mkdir()
    code, _, err = Service(bundle, other, "--health", str(address)).ended()
    assert code == 2
    assert "another process answers at" in err
    assert ask(address)["release"] == "first"


@pytest.mark.parametrize("name", ["taken", "x" * 120, "no-folder/socket"])
def test_a_socket_that_cannot_be_made(
    start: Callable[..., Service], tmp_path: Path, name: str
) -> None:
    (tmp_path / "taken").write_text("a file of somebody's")
    code, _, err = start("--health", str(tmp_path / name)).ended()
    assert code == 2
    assert "Traceback" not in err
    assert (tmp_path / "taken").read_text() == "a file of somebody's"
