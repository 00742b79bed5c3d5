"""The page of a device's live application, through ssh: ``ssh -N -L``, and what may go wrong.

The application listens to its own machine alone, and whoever may log in there may see its page.
"""

import http.client
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Final

from edge.deploy.ssh import CONNECT_SECONDS, Address, failure
from edge.device.release import LIVE_PORT
from edge.errors import DeviceError, EdgeError, PackageMissing, UsageError
from edge.processes import Tail
from edge.runtime import checked
from edge.runtime.child import die_with

PORT: Final = LIVE_PORT  # where a live application listens unless it is told otherwise
_LOOPBACK: Final = "127.0.0.1"
_READY_SECONDS: Final = CONNECT_SECONDS + 10.0  # to log in, and to be let through
_ANSWER_SECONDS: Final = 10.0
_POLL_SECONDS: Final = 0.1
_MOST_HEALTH: Final = 1 << 16  # bytes
_HEALTH: Final = "/v1/health"
_REFUSALS: Final = (401, 403)  # an application that wants a token is one all the same
_OPEN: Final = {"ok", "camera", "uptime_s"}  # what the health of one says
_GUARDED: Final = {"error", "hint"}  # and what it says to whoever has no token


class _Nobody(Exception):
    """The tunnel is there, and nobody answers at its other end."""


class _Other(Exception):
    """What answers there is no live application."""


@dataclass(frozen=True, slots=True)
class _Ssh:
    """The process of ssh, to a device, and the last that it says."""

    address: Address
    process: "subprocess.Popen[bytes]"
    stderr: Tail


@dataclass(frozen=True, slots=True)
class Tunnel:
    """An open tunnel.

    Attributes:
        port: The port of this machine that leads to the application.
        guarded: Whether the application wants a token.
        ssh: What keeps it open.
    """

    port: int
    guarded: bool
    ssh: _Ssh

    @property
    def url(self) -> str:
        """The address of the page."""
        return f"http://{_LOOPBACK}:{self.port}/"

    def wait(self) -> None:
        """Wait for the end of the connection, which Ctrl-C brings about as well.

        Raises:
            ConnectionFailed: It ended by itself.
        """
        self.ssh.process.wait()
        raise failure(self.ssh.address, self.ssh.stderr.text())


def deployed_port(address: Address, app: str | None = None) -> int:
    """Return the port of the page that ``edge deploy --live`` put on a device.

    It is the usual one where none was deployed, or where the device cannot tell: a page may have
    been started there by hand.

    Args:
        address: The device.
        app: The application; None for the only one there with a page.

    Raises:
        ConnectionFailed: No connection, not let in, or an unknown or changed host key.
        NotDeployed: There is no application of that name.
        UsageError: It has no page, or several have one.
    """
    from edge.deploy.deploy import states

    try:
        reply = states(address, app)
    except DeviceError:
        if app is not None:
            raise
        return PORT
    pages = {
        state.app: state.bundle.live.port
        for state in reply.apps
        if state.bundle is not None and state.bundle.live is not None
    }
    if len(pages) > 1:
        ports = ", ".join(f"{port} ({app})" for app, port in pages.items())
        raise UsageError(
            f"{address.host} has several pages, at the ports {ports}",
            hint="Name one with --app.",
        )
    if app is not None and not pages:
        raise UsageError(
            f"{app} on {address.host} has no page",
            hint="Deploy it with --live, or name the port of a page with --live-port.",
        )
    return next(iter(pages.values()), PORT)


@contextmanager
def tunnel(address: Address, remote_port: int = PORT) -> Iterator[Tunnel]:
    """Lead a port of this machine to one of a device, where a live application answers.

    Args:
        address: The device.
        remote_port: Where the application listens there; see ``deployed_port``.

    Raises:
        PackageMissing: There is no ssh on this machine.
        ConnectionFailed: No connection, not let in, or an unknown or changed host key.
        DeviceError: Nothing answers there, or something else than ``edge live``.
    """
    if shutil.which("ssh") is None:
        raise PackageMissing("there is no ssh on this machine", hint="Install the OpenSSH client.")
    port, parent = free_port(remote_port), os.getpid()
    process = subprocess.Popen(
        command(address, port, remote_port),
        bufsize=0,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        preexec_fn=lambda: die_with(parent),  # no tunnel outlives a command that is killed
    )
    try:
        assert process.stderr is not None
        ssh = _Ssh(address, process, Tail(process.stderr.fileno(), process))
        guarded = _wait_for_answer(ssh, port, remote_port)
        yield Tunnel(port, guarded, ssh)
    finally:
        _end(process)


def command(address: Address, port: int, remote_port: int) -> list[str]:
    """Return the words of ssh."""
    words = ["ssh", *address.options(), "-N", "-o", "ExitOnForwardFailure=yes"]
    # Not through a connection that somebody shares: the tunnel would outlive this process there.
    words += ["-o", "ControlPath=none"]
    words += ["-L", f"{_LOOPBACK}:{port}:{_LOOPBACK}:{remote_port}"]
    return [*words, "--", address.host]


def free_port(wanted: int) -> int:
    """Return a port that nobody listens to on this machine: the wanted one, or else any."""
    for port in (wanted, 0):
        with socket.socket() as trial, suppress(OSError):
            trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            trial.bind((_LOOPBACK, port))
            return int(trial.getsockname()[1])
    raise EdgeError(
        f"no port of {_LOOPBACK} is free", hint="End other programs that listen on this machine."
    )


def _wait_for_answer(ssh: _Ssh, port: int, remote_port: int) -> bool:
    """Wait until the application answers through the tunnel; return whether it wants a token.

    Raises:
        ConnectionFailed: ssh ended, or got nowhere in time.
        DeviceError: Nothing answers there, or something else.
    """
    host, until = ssh.address.host, time.monotonic() + _READY_SECONDS
    while time.monotonic() < until:
        if ssh.process.poll() is not None:
            raise failure(ssh.address, ssh.stderr.text())
        try:
            return _guarded(port)
        except ConnectionRefusedError:  # ssh has not logged in yet
            time.sleep(_POLL_SECONDS)
        except _Nobody as error:
            raise DeviceError(
                f"nothing answers at port {remote_port} of {host}",
                hint="Start it there: edge deploy BUNDLE HOST --live, or python3 -m edge.runtime "
                "live BUNDLE; or name its port with --live-port.",
            ) from error
        except _Other as error:
            raise DeviceError(
                f"something else than edge live answers at port {remote_port} of {host}",
                hint="Name the port of edge live with --live-port.",
            ) from error
    raise failure(ssh.address, f"{host} let nobody in within {_READY_SECONDS:.0f} s")


def _guarded(port: int) -> bool:
    """Ask a live application for its health; return whether it wants a token for that.

    Raises:
        ConnectionRefusedError: There is no tunnel yet.
        _Nobody: The device closed the connection at once, or does not answer.
        _Other: What answers is no live application.
    """
    connection = http.client.HTTPConnection(_LOOPBACK, port, timeout=_ANSWER_SECONDS)
    try:
        connection.request("GET", _HEALTH)
        reply = connection.getresponse()
        told = checked.parse_json(reply.read(_MOST_HEALTH), "its health", max_bytes=_MOST_HEALTH)
    except ConnectionRefusedError:
        raise
    except OSError as error:  # http.client.RemoteDisconnected is one
        raise _Nobody from error
    except (http.client.HTTPException, ValueError) as error:
        raise _Other from error
    finally:
        connection.close()
    guarded = reply.status in _REFUSALS
    if not isinstance(told, dict) or not (_GUARDED if guarded else _OPEN) <= told.keys():
        raise _Other
    return guarded


def _end(process: "subprocess.Popen[bytes]") -> None:
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(5)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
    if process.stderr is not None:
        process.stderr.close()
