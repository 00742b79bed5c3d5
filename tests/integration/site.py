"""A host with a key and signed bundles, and a device that it deploys to."""

import json
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from tests.integration import device_bundles as bundles
from tests.integration.conftest import Edge


class Device(Protocol):
    """Whatever sshd is reached by a name of a configuration."""

    @property
    def name(self) -> str: ...

    @property
    def ssh_config(self) -> Path: ...


@dataclass(frozen=True, slots=True)
class Site:
    """Commands of a host, and what they need.

    Attributes:
        edge: Commands with a cache of their own.
        folder: Of key and bundles.
        device: That is deployed to.
        limits: Options of every deploy.
        good: The release that serves there, once one does.
    """

    edge: Edge
    folder: Path
    device: Device
    limits: tuple[str, ...]
    good: str = ""

    @property
    def key(self) -> Path:
        return self.folder / "key"

    def bundle(self, damage: Callable[[Path], None] | None = None, name: str = "good") -> Path:
        """The good bundle, or one that was damaged and signed again; made once each."""
        place = self.folder / name
        if place.exists():
            return place
        if damage is None:
            return bundles.write_signed(place, self.key)
        return bundles.broken(place, self.bundle(), self.key, damage)

    def command(self, bundle: Path, *options: object) -> tuple[object, ...]:
        where = (self.device.name, "--ssh-config", self.device.ssh_config)
        return ("deploy", bundle, *where, "--key", self.key, *self.limits, *options)

    def deploy(self, bundle: Path, *options: object) -> subprocess.CompletedProcess[str]:
        return self.edge.run(*self.command(bundle, *options))

    def deployed(self, bundle: Path, *options: object) -> str:
        """Deploy, and be sure that it serves; its id."""
        done = self.deploy(bundle, "--json", *options)
        assert done.returncode == 0, done.stderr
        release: str = json.loads(done.stdout)["release"]
        return release

    def ask(self, verb: str, *options: object) -> subprocess.CompletedProcess[str]:
        where = (self.device.name, "--ssh-config", self.device.ssh_config)
        return self.edge.run(verb, *where, *options)

    def state(self) -> dict[str, Any]:
        """Of the application, as ``edge status --json`` has it."""
        done = self.ask("status", "--json")
        assert done.stdout, done.stderr
        found: dict[str, Any] = json.loads(done.stdout)["apps"][0]
        return found
