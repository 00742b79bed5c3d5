"""Getting wheels with pip, from whatever index its configuration names, for another machine."""

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from edge.deploy.wheelhouse.lock import Target, Wheel
from edge.errors import EngineUnavailable
from edge.runtime.files import sha256_file, write_bytes

SECONDS: Final = 1800.0
HASH_DIFFERS: Final = "DO NOT MATCH THE HASHES"


def download(wheels: Sequence[Wheel], target: Target, folder: Path) -> None:
    """Get exactly these wheels.

    Args:
        wheels: Of one machine.
        target: Only its Python counts; a wheel's own tags name its platforms.
        folder: Is filled; must be there.

    Raises:
        EngineUnavailable: No pip, no index, no such wheel there, or one with other bytes.
    """
    lines = (f"{item.name}=={item.version} --hash=sha256:{item.sha256}\n" for item in wheels)
    requirements = folder / "requirements.txt"
    write_bytes(requirements, "".join(lines).encode())
    arguments = ["--no-deps", "--require-hashes", "--dest", str(folder)]
    arguments += selection(target.python, {name for item in wheels for name in item.platforms})
    _pip([*arguments, "--requirement", str(requirements)], wheels)
    requirements.unlink()
    for wheel in wheels:
        path = folder / wheel.file
        if not path.is_file() or sha256_file(path) != wheel.sha256:
            raise EngineUnavailable(
                f"pip left no {wheel.file} with the locked sha256",
                hint="Is another platform's wheel in its configuration?",
            )


def selection(python: str, platforms: set[str]) -> list[str]:
    """Options that choose wheels for CPython of that version and these platforms.

    pip takes the tags as they are: manylinux_2_28 does not mean the older ones as well.
    """
    tag = "cp" + python.replace(".", "")
    found = ["--only-binary=:all:", "--implementation", "cp", "--python-version", python]
    for abi in (tag, "abi3", "none"):
        found += ["--abi", abi]
    for platform in sorted(platforms):
        found += ["--platform", platform]
    return found


def _pip(arguments: Sequence[str], wheels: Sequence[Wheel]) -> None:
    command = [sys.executable, "-m", "pip", "download", "--disable-pip-version-check", "--no-input"]
    command += ["--quiet", "--retries", "2", "--timeout", "20", *arguments]
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, errors="replace", timeout=SECONDS, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise EngineUnavailable(f"pip did not end within {SECONDS:.0f} s") from error
    if done.returncode == 0:
        return
    names = ", ".join(f"{item.name} {item.version}" for item in wheels)
    if "No module named pip" in done.stderr:
        raise EngineUnavailable(
            "this Python has no pip, which gathers the wheels",
            hint="python3 -m ensurepip, or install pip into the environment of edge.",
        )
    if HASH_DIFFERS in done.stderr:
        raise EngineUnavailable(
            f"the package index serves other bytes than edge has locked ({names})",
            hint="Do not use them; check which index pip is configured for.",
        )
    errors = [line for line in done.stderr.splitlines() if line.startswith("ERROR: ")]
    said = (errors or done.stderr.strip().splitlines() or ["nothing"])[-1]
    raise EngineUnavailable(
        f"{names} for {wheels[0].machine}: neither cached nor to be had; pip says: "
        f"{said.removeprefix('ERROR: ')[:300]}",
        hint="Connect to a package index once (pip's configuration is used); it is kept then.",
    )
