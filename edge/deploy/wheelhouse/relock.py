"""Write the lock files anew, with the newest wheels that the package index has.

For the maintainers of edge, at a release: ``python3 -m edge.deploy.wheelhouse.relock``, then run
the tests, which import what every lock leaves on a device.
"""

import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from edge.deploy.wheelhouse.environment import selection
from edge.deploy.wheelhouse.lock import (
    EXTRAS,
    FOLDER,
    MACHINES,
    PACKAGES,
    SCHEMA_VERSION,
    Wheel,
)
from edge.runtime.files import sha256_file, write_bytes

PYTHONS: Final = {
    "litert": ("3.11", "3.12", "3.13"),
    "onnxruntime": ("3.11", "3.12", "3.13"),
    "tflite-runtime": ("3.11",),
}
NEWEST_GLIBC: Final = 36  # 2.36: Debian 12, the oldest system with a Python that edge runs on
# tflite-runtime was built against numpy 1 and crashes with numpy 2.
BOUNDS: Final = {("tflite-runtime", "numpy"): "numpy<2"}


def main() -> None:
    """Write every lock."""
    for engine, pythons in PYTHONS.items():
        for python in pythons:
            wheels = [wheel for machine in MACHINES for wheel in newest(engine, python, machine)]
            path = FOLDER / f"{engine}-{python}.toml"
            write_bytes(path, _toml(wheels).encode())
            print(f"{path.name}: {', '.join(f'{w.name} {w.version} {w.machine}' for w in wheels)}")


def newest(engine: str, python: str, machine: str) -> Iterator[Wheel]:
    """Return the newest wheel of each package that fits."""
    platforms = {f"manylinux_2_{minor}_{machine}" for minor in range(17, NEWEST_GLIBC + 1)}
    platforms.add(f"manylinux2014_{machine}")
    extra_of = {package: extra for extra, packages in EXTRAS.items() for package in packages}
    for package in (*PACKAGES[engine], *extra_of):
        with tempfile.TemporaryDirectory() as folder:
            wanted = BOUNDS.get((engine, package), package)
            command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps"]
            command += ["--dest", folder, *selection(python, platforms), wanted]
            subprocess.run(command, check=True)
            (path,) = Path(folder).iterdir()
            yield Wheel(
                name=package,
                version=path.name.split("-")[1],
                machine=machine,
                file=path.name,
                sha256=sha256_file(path),
                size_bytes=path.stat().st_size,
                extra=extra_of.get(package),
            )


def _toml(wheels: list[Wheel]) -> str:
    lines = [
        "# Written by python3 -m edge.deploy.wheelhouse.relock: what a deploy ships, to the byte.",
        f"schema_version = {SCHEMA_VERSION}",
    ]
    for wheel in wheels:
        lines += ["", "[[wheels]]"]
        lines += [f'{name} = "{getattr(wheel, name)}"' for name in ("name", "version", "machine")]
        lines += [f'file = "{wheel.file}"', f'sha256 = "{wheel.sha256}"']
        lines.append(f"size_bytes = {wheel.size_bytes}")
        lines += [] if wheel.extra is None else [f'extra = "{wheel.extra}"']
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
