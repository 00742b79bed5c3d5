"""The tunnel to a device's page: found, refused with a way out, and ended with the command."""

import http.server
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Final

import pytest

from edge.deploy import deploy
from edge.deploy.ssh import Address
from edge.device.messages import AppState
from edge.errors import ConnectionFailed, DeviceError, PackageMissing, UsageError
from edge.live import tunnel as module
from edge.live.tunnel import PORT, command, deployed_port, free_port, tunnel

FAKE: Final = Path(__file__).with_name("fake_ssh.py")
HEALTH: Final = {"ok": True, "camera": {"ok": True}, "uptime_s": 1.0}
GUARDED: Final = {"error": "a token is needed", "hint": "Open the address that was printed."}


class Device:
    """An application that answers everything alike."""

    def __init__(self, status: int, content: bytes) -> None:
        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.send_response(status)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, *_: object) -> None:
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.port = self.server.server_port
        threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True).start()


@pytest.fixture
def device(request: pytest.FixtureRequest) -> Iterator[Device]:
    status, told = getattr(request, "param", (200, HEALTH))
    content = told if isinstance(told, bytes) else json.dumps(told).encode()
    made = Device(status, content)
    yield made
    made.server.shutdown()
    made.server.server_close()


@pytest.fixture
def ssh(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The fake, first on the PATH; the file of what it says."""
    (tmp_path / "bin").mkdir()
    program = tmp_path / "bin" / "ssh"
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" "{FAKE}" "$@"\n')
    program.chmod(0o755)
    says = tmp_path / "said.json"
    monkeypatch.setenv("PATH", f"{program.parent}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("FAKE_SSH", "works")
    monkeypatch.setenv("FAKE_SSH_SAYS", str(says))
    yield says
    if says.exists():
        with suppress(ProcessLookupError):
            os.kill(said(says)["pid"], signal.SIGKILL)


def said(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def gone(pid: int) -> bool:
    """Whether a process ends soon."""
    for _ in range(500):
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return True
        if Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z":
            return True
        time.sleep(0.01)
    return False


def closed_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


def test_the_words_are_those_of_every_other_connection() -> None:
    address = Address.parse("pi@pi", port=2222)
    words = command(address, 8080, 9090)
    assert words[: len(address.options()) + 1] == ["ssh", *address.options()]
    assert words[words.index("-L") + 1] == "127.0.0.1:8080:127.0.0.1:9090"
    assert "-N" in words and "ExitOnForwardFailure=yes" in words
    assert words[-2:] == ["--", "pi@pi"]


def test_a_page_is_reached_until_the_end(ssh: Path, device: Device) -> None:
    with tunnel(Address.parse("pi@pi"), device.port) as opened:
        assert opened.port != device.port  # which is taken here, as it is the same machine
        assert not opened.guarded
        with urllib.request.urlopen(f"{opened.url}v1/health", timeout=10) as reply:
            assert json.load(reply) == HEALTH
        pid = said(ssh)["pid"]
    assert gone(pid)


@pytest.mark.parametrize(
    ("device", "guarded"),
    [((503, HEALTH | {"ok": False}), False), ((401, GUARDED), True)],
    indirect=["device"],
)
def test_an_application_that_is_not_well_or_wants_a_token_is_one(
    guarded: bool, ssh: Path, device: Device
) -> None:
    with tunnel(Address.parse("pi"), device.port) as opened:
        assert opened.guarded is guarded


@pytest.mark.parametrize(
    "device",
    [(200, b"<html>"), (200, []), (200, {"ok": True}), (401, {"detail": "no"}), (404, GUARDED)],
    indirect=True,
)
def test_something_else_that_answers_is_told(ssh: Path, device: Device) -> None:
    with pytest.raises(DeviceError, match="something else") as refused:
        with tunnel(Address.parse("pi"), device.port):
            pass
    assert "--live-port" in refused.value.hint
    assert gone(said(ssh)["pid"])


def test_what_speaks_no_http_is_told(ssh: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:

        def answer() -> None:
            connection, _ = server.accept()
            connection.sendall(b"SSH-2.0-OpenSSH_9.6\r\n" * 100)
            connection.shutdown(socket.SHUT_WR)
            connection.recv(1000)

        threading.Thread(target=answer, daemon=True).start()
        with pytest.raises(DeviceError, match="something else"):
            with tunnel(Address.parse("pi"), server.getsockname()[1]):
                pass


def test_nobody_at_the_port_is_told(ssh: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    port, near = closed_port(), closed_port()
    monkeypatch.setattr(module, "free_port", lambda _: near)  # both are ports of this machine
    with pytest.raises(DeviceError, match=f"nothing answers at port {port} of pi") as refused:
        with tunnel(Address.parse("pi"), port):
            pass
    assert "edge.runtime live" in refused.value.hint
    assert gone(said(ssh)["pid"])


def test_not_let_in(ssh: Path, device: Device, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FAKE_SSH", "refused")
    with pytest.raises(ConnectionFailed, match="Permission denied") as refused:
        with tunnel(Address.parse("pi"), device.port):
            pass
    assert "ssh-copy-id" in refused.value.hint


def test_a_login_that_never_ends_is_told(
    ssh: Path, device: Device, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FAKE_SSH", "hangs")
    monkeypatch.setattr(module, "_READY_SECONDS", 1.0)
    with pytest.raises(ConnectionFailed, match="let nobody in"):
        with tunnel(Address.parse("pi"), device.port):
            pass
    assert gone(said(ssh)["pid"])


def test_a_connection_that_ends_by_itself_is_told(
    ssh: Path, device: Device, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FAKE_SSH", "dies")
    with pytest.raises(ConnectionFailed, match="Broken pipe"):
        with tunnel(Address.parse("pi"), device.port) as opened:
            opened.wait()


def stated(name: str, port: int | None) -> AppState:
    """What a device says of an application; None for one that watches a folder."""
    live = None if port is None else SimpleNamespace(port=port)
    return SimpleNamespace(app=name, bundle=SimpleNamespace(live=live))  # type: ignore[return-value]


def replies(monkeypatch: pytest.MonkeyPatch, *apps: AppState) -> None:
    monkeypatch.setattr(deploy, "states", lambda *_: SimpleNamespace(apps=apps))


def test_the_port_is_that_of_the_page_that_was_deployed(monkeypatch: pytest.MonkeyPatch) -> None:
    pi = Address.parse("pi")
    replies(monkeypatch)
    assert deployed_port(pi) == PORT
    replies(monkeypatch, stated("door", None))
    assert deployed_port(pi) == PORT
    replies(monkeypatch, stated("door", None), stated("gate", 9090))
    assert deployed_port(pi) == 9090
    replies(monkeypatch, stated("door", 9091), stated("gate", 9090))
    with pytest.raises(UsageError, match=r"9091 \(door\), 9090 \(gate\)"):
        deployed_port(pi)
    replies(monkeypatch, stated("door", None))
    with pytest.raises(UsageError, match="door on pi has no page"):
        deployed_port(pi, "door")


def test_a_device_that_cannot_tell_may_have_a_page(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(_: Address, __: str | None) -> None:
        raise DeviceError("pi has no python3")

    monkeypatch.setattr(deploy, "states", fails)
    assert deployed_port(Address.parse("pi")) == PORT
    with pytest.raises(DeviceError):
        deployed_port(Address.parse("pi"), "door")


def test_without_ssh(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(PackageMissing, match="no ssh"):
        with tunnel(Address.parse("pi")):
            pass


def test_the_port_of_the_device_is_taken_here_too_where_it_is_free() -> None:
    port = closed_port()
    assert free_port(port) == port
    with socket.create_server(("127.0.0.1", port)):
        assert free_port(port) not in (port, 0)


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel's signal at a parent's death")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_no_tunnel_outlives_the_command(ssh: Path, device: Device, number: int) -> None:
    words = ["live", "pi@pi", "--live-port", str(device.port), "--no-open"]
    process = subprocess.Popen(
        [sys.executable, "-m", "edge", *words], stderr=subprocess.PIPE, text=True
    )
    assert process.stderr is not None
    line = process.stderr.readline()
    assert line.startswith("live at http://127.0.0.1:"), line + process.stderr.read()
    pid = said(ssh)["pid"]
    process.send_signal(number)
    process.stderr.read()
    code = process.wait(timeout=20)
    assert code == (130 if number == signal.SIGINT else -number)
    assert gone(pid)


def test_the_real_ssh_takes_the_options() -> None:
    """It parses them, and says that there is no such host."""
    if shutil.which("ssh") is None:
        pytest.skip("there is no ssh on this machine")
    with pytest.raises(ConnectionFailed, match="resolve"):
        with tunnel(Address.parse("no-such-host.invalid")):
            pass
