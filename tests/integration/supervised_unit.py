"""One user unit and the process that it keeps running; standard library only."""

import asyncio
import os
import secrets
import shlex
import signal
import socket
import struct
import time
from collections import deque
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

KNOWN = {
    "Unit": {"Description", "After", "Wants", "StartLimitIntervalSec", "StartLimitBurst"},
    "Service": {
        "Type", "NotifyAccess", "ExecStart", "Environment", "Restart", "RestartSec",
        "TimeoutStartSec", "TimeoutStopSec", "WatchdogSec", "NoNewPrivileges",
        "WorkingDirectory", "Nice", "MemoryMax", "OOMPolicy",
    },
    "Install": {"WantedBy"},
}  # fmt: skip
UNITS_OF_TIME = {"ms": 0.001, "s": 1, "sec": 1, "min": 60, "m": 60, "h": 3600, "": 1}


class NotLoaded(Exception):
    """There is no such unit, or its file cannot be understood."""


def seconds(text: str) -> float:
    """A time span such as ``2``, ``90s`` or ``500ms`` (systemd.time(7))."""
    number = text.rstrip("abcdefghijklmnopqrstuvwxyz ")
    return float(number) * UNITS_OF_TIME[text[len(number) :].strip()]


@dataclass(frozen=True, slots=True, kw_only=True)
class UnitFile:
    """What a unit file says."""

    name: str
    command: tuple[str, ...]
    environment: tuple[tuple[str, str], ...]
    directory: str
    notify: bool
    restart: str
    restart_sec: float
    start_timeout: float
    stop_timeout: float
    watchdog: float
    limit_interval: float
    limit_burst: int

    @classmethod
    def read(cls, path: Path) -> Self:
        """Parse; an option that is not known here is an error, so that no test passes by it."""
        try:
            lines = path.read_text().splitlines()
        except OSError as error:
            raise NotLoaded(path.name) from error
        found: dict[str, list[str]] = {}
        section = ""
        for line in (line.strip() for line in lines):
            if line.startswith("["):
                section = line.strip("[]")
            elif line and line[0] not in "#;":
                key, _, value = line.partition("=")
                if key not in KNOWN.get(section, ()):
                    raise NotLoaded(f"{path.name}: unknown [{section}] {key}")
                found.setdefault(key, []).append(value)
        one = {key: values[-1] for key, values in found.items()}
        plain = [item.replace("%%", "%") for item in shlex.split(one["ExecStart"])]
        pairs = shlex.split(" ".join(found.get("Environment", [])))
        return cls(
            name=path.name,
            command=tuple(plain),
            environment=tuple(_pair(item.replace("%%", "%")) for item in pairs),
            directory=one.get("WorkingDirectory", str(Path.home())),
            notify=one.get("Type") == "notify",
            restart=one.get("Restart", "no"),
            restart_sec=seconds(one.get("RestartSec", "100ms")),
            start_timeout=seconds(one.get("TimeoutStartSec", "90")),
            stop_timeout=seconds(one.get("TimeoutStopSec", "90")),
            watchdog=seconds(one.get("WatchdogSec", "0")),
            limit_interval=seconds(one.get("StartLimitIntervalSec", "10")),
            limit_burst=int(one.get("StartLimitBurst", "5")),
        )


def _pair(text: str) -> tuple[str, str]:
    name, _, value = text.partition("=")
    return name, value


@dataclass(slots=True)
class Unit:
    """A unit and its process.

    Attributes:
        file: What is started next.
        log: Where its output goes.
    """

    file: UnitFile
    log: Path
    active: str = "inactive"
    sub: str = "dead"
    result: str = "success"
    restarts: int = 0
    process: asyncio.subprocess.Process | None = None
    task: asyncio.Task[None] | None = None
    starts: deque[float] = field(default_factory=deque)
    ready: bool = False
    told: float = 0.0  # when the watchdog was last told, seconds of the monotonic clock
    extended: float = 0.0  # until when the process asked for a longer start, same clock
    notified: socket.socket | None = None

    def properties(self) -> dict[str, str]:
        """As ``systemctl show`` names them."""
        pid = self.process.pid if self.process and self.process.returncode is None else 0
        return {
            "ActiveState": self.active,
            "SubState": self.sub,
            "MainPID": str(pid),
            "NRestarts": str(self.restarts),
            "Result": self.result,
            "LoadState": "loaded",
        }

    def reset_failed(self) -> None:
        """Forget the failure, and the starts that the limit counts."""
        self.starts.clear()
        self.restarts = 0
        if self.active == "failed":
            self._set("inactive", "dead", "success")

    def begin(self, *, by_hand: bool) -> asyncio.Future[bool]:
        """Start, if it does not run; the future says whether the first start was ready."""
        first: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        if self.task is not None and not self.task.done():
            first.set_result(self.active == "active")
            return first
        if by_hand:
            self.restarts = 0
        self.task = asyncio.create_task(self._keep_running(first))
        return first

    async def stop(self) -> None:
        """End the process and its group, and do not start it again."""
        if self.task is not None and not self.task.done():
            self.task.cancel()
            with suppress(asyncio.CancelledError):
                await self.task
        await self._end(signal.SIGTERM)
        self._set("inactive", "dead", "success" if self.active != "failed" else self.result)

    async def _keep_running(self, first: asyncio.Future[bool]) -> None:
        try:
            while self._may_start():
                result = await self._once(first)
                if not first.done():
                    first.set_result(False)
                again = self.file.restart == "always" or (
                    self.file.restart == "on-failure" and result != "success"
                )
                if not again:
                    ended = "inactive" if result == "success" else "failed"
                    return self._set(ended, "dead" if ended == "inactive" else ended, result)
                self._set("activating", "auto-restart", result)
                await asyncio.sleep(self.file.restart_sec)
                self.restarts += 1
            # Only where nothing failed before is the limit itself the result, as in systemd.
            limit = "start-limit-hit" if self.result == "success" else self.result
            self._set("failed", "failed", limit)
        finally:
            if not first.done():
                first.set_result(False)
        return None

    def _may_start(self) -> bool:
        now = time.monotonic()
        while self.starts and now - self.starts[0] > self.file.limit_interval:
            self.starts.popleft()
        if len(self.starts) >= self.file.limit_burst:
            return False
        self.starts.append(now)
        return True

    async def _once(self, first: asyncio.Future[bool]) -> str:
        """From one start to its end; why it ended."""
        self._set("activating", "start", "success")
        self.ready = False
        self.told = time.monotonic()
        self.extended = 0.0
        try:
            self.process = await self._spawn()
        except OSError:
            return "exit-code"  # 203/EXEC
        exited = asyncio.create_task(self.process.wait())
        broken = await self._watch(exited, first)
        if broken:
            await self._end(signal.SIGABRT if broken == "watchdog" else signal.SIGTERM)
        code = await exited
        self._signal_group(signal.SIGKILL)
        if broken:
            return broken
        return "success" if code == 0 else "signal" if code < 0 else "exit-code"

    async def _watch(self, exited: asyncio.Task[int], first: asyncio.Future[bool]) -> str:
        """Wait until it exits (empty), or why it has to be ended."""
        began = time.monotonic()
        while True:
            ended = exited.done()
            # What it said before it ended counts, as in systemd.
            self._receive()
            if self.active == "activating" and (self.ready or not self.file.notify):
                self._set("active", "running", "success")
                self.told = time.monotonic()
                if not first.done():
                    first.set_result(True)
            if ended:
                break
            now = time.monotonic()
            if self.active == "activating":
                if now > max(began + self.file.start_timeout, self.extended):
                    return "timeout"
            elif 0 < self.file.watchdog < now - self.told:
                return "watchdog"
            await asyncio.wait([exited], timeout=0.02)
        return "" if self.active == "active" or not self.file.notify else self._never_ready(exited)

    def _never_ready(self, exited: asyncio.Task[int]) -> str:
        """A notify service that ends before it was ready did not keep the protocol."""
        return "protocol" if exited.result() == 0 else ""

    async def _spawn(self) -> asyncio.subprocess.Process:
        variables = {**os.environ, **dict(self.file.environment)}
        variables["NOTIFY_SOCKET"] = self._notify_socket()
        if self.file.watchdog:
            variables["WATCHDOG_USEC"] = str(int(self.file.watchdog * 1e6))
        with self.log.open("ab") as log:
            return await asyncio.create_subprocess_exec(
                *("setpriv", "--pdeathsig", "KILL", *self.file.command),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=variables,
                cwd=self.file.directory,
                start_new_session=True,
            )

    def _notify_socket(self) -> str:
        """Where the process says that it is ready; it stays while the unit does."""
        if self.notified is None:
            self.notified = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
            self.notified.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
            self.notified.bind(str(self.log.parent.parent / f"notify-{secrets.token_hex(4)}"))
        return str(self.notified.getsockname())

    def _receive(self) -> None:
        """Take messages of the main process; of others none (NotifyAccess=main)."""
        while self.notified is not None:
            try:
                data, ancillary, *_ = self.notified.recvmsg(4096, socket.CMSG_SPACE(12))
            except BlockingIOError:
                return
            sender = next((struct.unpack("3i", value)[0] for *_, value in ancillary), 0)
            if self.process is not None and sender == self.process.pid:
                for line in data.decode(errors="replace").splitlines():
                    self._heed(*line.partition("=")[::2])

    def _heed(self, name: str, value: str) -> None:
        if (name, value) == ("READY", "1"):
            self.ready = True
        elif (name, value) == ("WATCHDOG", "1"):
            self.told = time.monotonic()
        elif name == "EXTEND_TIMEOUT_USEC":
            self.extended = time.monotonic() + int(value) / 1e6

    async def _end(self, first: signal.Signals) -> None:
        """Ask the group to end, then make it."""
        process = self.process
        if process is None or process.returncode is not None:
            return
        self._signal_group(first)
        with suppress(TimeoutError):
            await asyncio.wait_for(process.wait(), self.file.stop_timeout)
        self._signal_group(signal.SIGKILL)
        await process.wait()

    def _signal_group(self, number: signal.Signals) -> None:
        with suppress(ProcessLookupError, PermissionError):
            if self.process is not None:
                os.killpg(self.process.pid, number)

    def _set(self, active: str, sub: str, result: str) -> None:
        self.active, self.sub, self.result = active, sub, result
