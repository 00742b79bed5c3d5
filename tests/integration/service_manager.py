"""A small service manager for user units, so that many devices can live on one machine.

Run as ``systemctl``, ``loginctl`` or ``journalctl`` it asks the manager of its device, which runs
as ``service_manager.py daemon`` until it is killed. What it does, it does as systemd 252 does it
(systemd.service(5), sd_notify(3)): readiness, watchdog, restarts and their limit, groups of
processes. What it does not know, it refuses. Real systemd is tested in tests/device.
"""

import asyncio
import json
import os
import signal
import socket
import sys
from pathlib import Path
from typing import Any

if __name__ == "__main__":  # run by its path, without the project's folder on sys.path
    sys.path.insert(0, str(Path(__file__).parent))

from supervised_unit import NotLoaded, Unit, UnitFile

RUNTIME = Path(os.environ.get("XDG_RUNTIME_DIR", "/nowhere"))
UNITS = Path.home() / ".config" / "systemd" / "user"
SOCKET = RUNTIME / "manager.sock"
JOURNAL = RUNTIME / "journal"
LINGER = RUNTIME.parent / "linger"  # outlives a reboot; the runtime folder does not
PROPERTIES = ("ActiveState", "SubState", "MainPID", "NRestarts", "Result", "LoadState")


class Manager:
    """The units of one device."""

    def __init__(self) -> None:
        self.units: dict[str, Unit] = {}

    async def serve(self) -> None:
        """Start what is enabled, then answer until killed."""
        server = await asyncio.start_unix_server(self._answer, SOCKET)
        if LINGER.exists():
            for link in sorted((UNITS / "default.target.wants").glob("*.service")):
                self.unit(link.name).begin(by_hand=True)
        async with server:
            await server.serve_forever()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        arguments = json.loads(await reader.readline())
        try:
            code, output = await self.command(arguments)
        except NotLoaded as error:
            code, output = 5, f"Unit {error} not found."
        writer.write(json.dumps([code, output]).encode() + b"\n")
        await writer.drain()
        writer.close()

    def unit(self, name: str) -> Unit:
        """A unit whose file exists, with what ``daemon-reload`` read last."""
        if name not in self.units:
            self.units[name] = Unit(UnitFile.read(UNITS / name), JOURNAL / name)
        return self.units[name]

    async def command(self, arguments: list[str]) -> tuple[int, str]:
        """Exit code and output of ``systemctl --user ARGUMENTS``."""
        options = {word for word in arguments if word in ("--no-block", "--now", "--quiet")}
        words, properties, rest = [], [], iter(arguments)
        for word in rest:
            if word in ("-p", "--property"):
                properties += next(rest).split(",")
            elif word not in options and word not in ("--user", "--no-pager"):
                words.append(word)
        verb, names = words[0], words[1:]
        if verb == "daemon-reload":
            return self._reload()
        if verb == "show" and not names:
            return 0, "Version=252 (of these tests)"
        if verb == "show":
            return 0, "\n".join(self._shown(name, properties) for name in names)
        if verb in ("enable", "disable"):
            return await self._enable(verb, names, now="--now" in options)
        if verb in ("is-active", "is-enabled"):
            return self._is(verb, names)
        if verb not in ("start", "stop", "restart", "reset-failed"):
            return 1, f"Unknown command verb {' '.join(words)}."
        codes = [await self._act(verb, self.unit(name), options) for name in names]
        failed = [name for name, code in zip(names, codes, strict=True) if code]
        return int(bool(failed)), "".join(f"Job for {name} failed.\n" for name in failed)

    async def _act(self, verb: str, unit: Unit, options: set[str]) -> int:
        if verb == "reset-failed":
            unit.reset_failed()
            return 0
        if verb == "stop":
            await unit.stop()
            return 0
        if verb == "restart":
            await unit.stop()
        started = unit.begin(by_hand=True)
        return 0 if "--no-block" in options or await started else 1

    async def _enable(self, verb: str, names: list[str], *, now: bool) -> tuple[int, str]:
        for name in names:
            link = UNITS / "default.target.wants" / name
            if verb == "disable":
                link.unlink(missing_ok=True)
            else:
                UnitFile.read(UNITS / name)
                link.parent.mkdir(exist_ok=True)
                link.unlink(missing_ok=True)
                link.symlink_to(UNITS / name)
            if now:
                act = "start" if verb == "enable" else "stop"
                await self._act(act, self.unit(name), set())
        return 0, ""

    def _is(self, verb: str, names: list[str]) -> tuple[int, str]:
        if verb == "is-enabled":
            on = [(UNITS / "default.target.wants" / name).is_symlink() for name in names]
            return int(not all(on)), "\n".join("enabled" if item else "disabled" for item in on)
        states = [self._state(name)["ActiveState"] for name in names]
        return (0 if set(states) == {"active"} else 3), "\n".join(states)

    def _reload(self) -> tuple[int, str]:
        for name, unit in list(self.units.items()):
            try:
                unit.file = UnitFile.read(UNITS / name)
            except NotLoaded:
                if unit.active == "inactive":
                    del self.units[name]
        return 0, ""

    def _state(self, name: str) -> dict[str, str]:
        try:
            return self.unit(name).properties()
        except NotLoaded:
            empty = ("inactive", "dead", "0", "0", "success", "not-found")
            return dict(zip(PROPERTIES, empty, strict=True))

    def _shown(self, name: str, properties: list[str]) -> str:
        state = self._state(name)
        return "\n".join(f"{key}={state[key]}" for key in properties or state if key in state)


def ask(arguments: list[str]) -> int:
    """What ``systemctl`` does: one question to the manager of this device."""
    if "--user" not in arguments:
        print("System has not been booted with systemd as init system.", file=sys.stderr)
        return 1
    try:
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(str(SOCKET))
            client.sendall(json.dumps(arguments).encode() + b"\n")
            code, output = json.loads(client.makefile("rb").readline())
    except (OSError, ValueError):
        print("Failed to connect to bus: No such file or directory", file=sys.stderr)
        return 1
    if output:
        told = sys.stderr if code in (1, 5) else sys.stdout
        print(output.rstrip("\n"), file=told)
    return int(code)


def linger(arguments: list[str]) -> int:
    """What ``loginctl`` does about services of users who are not logged in."""
    verb = next((word for word in arguments if not word.startswith("-")), "")
    if verb == "enable-linger":
        LINGER.touch()
    elif verb == "disable-linger":
        LINGER.unlink(missing_ok=True)
    elif verb == "show-user":
        value = "yes" if LINGER.exists() else "no"
        print(value if "--value" in arguments else f"Linger={value}")
    else:
        print(f"Unknown command verb {verb}.", file=sys.stderr)
        return 1
    return 0


def journal(arguments: list[str]) -> int:
    """What ``journalctl --user-unit UNIT -n LINES -o cat`` does."""
    rest = iter(arguments)
    options: dict[str, Any] = {word: next(rest) for word in rest if word not in ("--no-pager",)}
    unit = options.get("--user-unit") or options.get("-u")
    lines = int(options.get("-n") or options.get("--lines") or 1000)
    file = JOURNAL / str(unit)
    text = file.read_text(errors="replace") if file.is_file() else ""
    print("\n".join(text.splitlines()[-lines:]) or "-- No entries --")
    return 0


def main(program: str, arguments: list[str]) -> int:
    """Be one of the programs."""
    if program == "daemon":
        JOURNAL.mkdir(exist_ok=True)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        asyncio.run(Manager().serve())
    return {"systemctl": ask, "loginctl": linger, "journalctl": journal}[program](arguments)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2:]))
