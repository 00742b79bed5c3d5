"""Which wheels an engine needs, exactly: the lock files of ``devices/locks``.

The interpreters import numpy and themselves, and edge.runtime Pillow; what else their wheels ask
for (protobuf, flatbuffers, tqdm...) serves tools that do not run on a device. So a lock is a closed
list, and nothing is resolved when a device is deployed to. Packages that only some releases need
stand there as an extra, which those ask for.
"""

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Final, Self

import devices
from edge import schema
from edge.deploy.facts import Facts
from edge.errors import DeviceError

FOLDER: Final = Path(devices.__file__).parent / "locks"
SCHEMA_VERSION: Final = 1
MACHINES: Final = ("aarch64", "x86_64")
PACKAGES: Final[Mapping[str, tuple[str, ...]]] = {
    "litert": ("ai-edge-litert", "numpy", "pillow"),
    "onnxruntime": ("onnxruntime", "numpy", "pillow"),
    "tflite-runtime": ("tflite-runtime", "numpy", "pillow"),
}
MQTT: Final = "mqtt"  # what sends answers to a broker
EXTRAS: Final[Mapping[str, tuple[str, ...]]] = {MQTT: ("paho-mqtt",)}
_GLIBC: Final = re.compile(r"manylinux_(\d+)_(\d+)_|manylinux(2014)_")


@dataclass(frozen=True, slots=True, kw_only=True)
class Platform:
    """What wheels have to fit.

    Attributes:
        machine: ``aarch64`` or ``x86_64``.
        python: Such as ``3.11``.
        glibc: Such as (2, 36).
    """

    machine: str
    python: str = "3.11"
    glibc: tuple[int, int] = (2, 36)

    @classmethod
    def of(cls, facts: Facts) -> Self:
        """Return what fits a device.

        Raises:
            DeviceError: It has no glibc, or did not say what it has.
        """
        if facts.machine is None or facts.python is None or facts.libraries is None:
            raise DeviceError(
                "the device did not say its architecture, Python and glibc",
                hint="edge doctor HOST shows what it said.",
            )
        return cls.parse(facts.machine.name, facts.python.version, facts.libraries.glibc)

    @classmethod
    def parse(cls, machine: str, python: str, glibc: str | None) -> Self:
        """Read what a device says of itself: versions with any number of parts.

        Raises:
            DeviceError: No glibc, such as with musl; or no version.
        """
        if glibc is None:
            raise DeviceError(
                "the device's C library is not glibc, which the wheels need",
                hint="Install a system with glibc, such as Debian or Raspberry Pi OS.",
            )
        try:
            major, minor, *_ = python.split(".")
            c_major, c_minor, *_ = glibc.split(".")
            return cls(
                machine=machine,
                python=f"{int(major)}.{int(minor)}",
                glibc=(int(c_major), int(c_minor)),
            )
        except ValueError:
            raise DeviceError(
                f"the device says Python {python!r}, glibc {glibc!r}; these are no versions"
            ) from None


@dataclass(frozen=True, slots=True, kw_only=True)
class Wheel:
    """One wheel of a lock.

    Attributes:
        name: The normalized name of the package.
        version: The version of the package.
        machine: The machine that its code is for.
        file: The name of the file, whose tags say what it fits.
        sha256: The sha256 (hex) of the file.
        size_bytes: The size of the file.
        extra: A key of ``EXTRAS``, where only releases that ask for it need the package.
    """

    name: schema.Text
    version: schema.Text
    machine: Annotated[str, schema.one_of(MACHINES)]
    file: schema.Text
    sha256: schema.Text
    size_bytes: schema.PositiveInt
    extra: Annotated[str, schema.one_of(EXTRAS)] | None = None

    @property
    def platforms(self) -> tuple[str, ...]:
        """Its platform tags (PEP 425, PEP 600)."""
        return tuple(self.file.removesuffix(".whl").rsplit("-", 1)[1].split("."))

    @property
    def glibc(self) -> tuple[int, int]:
        """The oldest glibc that it runs with, by its tags; (0, 0) of Python alone."""
        versions = [
            (2, 17) if match[3] else (int(match[1]), int(match[2]))
            for match in map(_GLIBC.match, self.platforms)
            if match
        ]
        return min(versions, default=(0, 0))


@dataclass(frozen=True, slots=True, kw_only=True)
class _LockFile:
    """What a lock file holds besides its version."""

    wheels: tuple[Wheel, ...] = ()


def locked(engine: str, target: Platform, extras: Collection[str] = ()) -> tuple[Wheel, ...]:
    """Return the wheels of an engine for a device.

    Args:
        engine: A key of ``PACKAGES``.
        target: The device.
        extras: Keys of ``EXTRAS`` whose packages are needed as well.

    Raises:
        DeviceError: There are none for its machine, Python or glibc.
    """
    path = FOLDER / f"{engine}-{target.python}.toml"
    pythons = [name for item, name in _locks() if item == engine]
    if target.python not in pythons:
        raise DeviceError(
            f"edge has no wheels of {engine} for Python {target.python}",
            hint=f"{engine} is there for Python {', '.join(pythons) or '(none)'}.",
        )
    wheels = tuple(
        wheel
        for wheel in read(path)
        if wheel.machine == target.machine and (wheel.extra is None or wheel.extra in extras)
    )
    if not wheels:
        raise DeviceError(
            f"edge has no wheels for {target.machine}",
            hint=f"It has them for {', '.join(MACHINES)}: install a 64-bit system.",
        )
    for wheel in wheels:
        if wheel.glibc > target.glibc:
            raise DeviceError(
                f"{wheel.name} {wheel.version} needs glibc {version(wheel.glibc)}; "
                f"the device has {version(target.glibc)}",
                hint="Install a newer system there, such as Debian 12.",
            )
    return wheels


def _locks() -> list[tuple[str, str]]:
    """Return the engine and Python of every lock file."""
    names = sorted(path.stem.rpartition("-") for path in FOLDER.glob("*.toml"))
    return [(engine, python) for engine, _, python in names]


def read(path: Path) -> tuple[Wheel, ...]:
    """Return every wheel of a lock file, of all machines.

    Raises:
        UsageError: The file cannot be read, or a field is missing, unknown or not allowed.
    """
    return schema.read(
        _LockFile, path, "the lock of wheels", form="toml", version=SCHEMA_VERSION
    ).wheels


def version(parts: tuple[int, int]) -> str:
    """Return a version as text, such as ``2.36``."""
    return ".".join(map(str, parts))
