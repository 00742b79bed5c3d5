"""A folder of unpacked wheels that a device puts on its PYTHONPATH.

The wheels come from pip, from whatever index its configuration names.
"""

import hashlib
import subprocess
import sys
import zipfile
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Final

from edge.cache import StageCache, content_key
from edge.deploy.wheelhouse import slim
from edge.deploy.wheelhouse.lock import Platform, Wheel, locked
from edge.device.receive import MAX_LISTING
from edge.errors import EngineUnavailable
from edge.runtime import checked
from edge.runtime.contract import canonical_json
from edge.runtime.files import sha256_file, write_bytes, write_json

FILES: Final = "files"
INDEX: Final = "index.json"
# In a wheel, NAME.data/purelib and NAME.data/platlib belong into site-packages, the other folders
# of it elsewhere: scripts, headers (PyPA's binary distribution format).
_SITE: Final = ("purelib", "platlib")


@dataclass(frozen=True, slots=True, kw_only=True)
class Environment:
    """What runs a bundle on a device, besides the bundle and Python.

    Attributes:
        id: Hash of the wheels and of what was left out of them, hex.
        path: Folder of the files on this machine.
        files: sha256 (hex) and size (bytes) by path relative to the folder.
        packages: Version by name.
        wheels: That it was unpacked from.
    """

    id: str
    path: Path
    files: Mapping[str, tuple[str, int]]
    packages: Mapping[str, str]
    wheels: tuple[Wheel, ...]

    @property
    def size_bytes(self) -> int:
        """The size of all files."""
        return sum(size for _, size in self.files.values())


def environment_id(wheels: Sequence[Wheel]) -> str:
    """Return the id that the environment of these wheels has or will have."""
    rules = {name: list(patterns) for name, patterns in slim.PACKAGE.items()}
    parts = {
        "wheels": sorted(wheel.sha256 for wheel in wheels),
        "rules": rules | {"*": list(slim.EVERY)},
    }
    return hashlib.sha256(canonical_json(parts).encode()).hexdigest()[:32]


def environment(
    engine: str,
    target: Platform,
    *,
    extras: Collection[str] = (),
    cache: Path,
    offline: bool = False,
    step: Callable[[int], None] | None = None,
) -> Environment:
    """Return the unpacked wheels of an engine for a device: from the cache, or gathered with pip.

    Args:
        engine: ``litert``, ``tflite-runtime`` or ``onnxruntime``.
        target: The device.
        extras: What else the release needs; see ``locked``.
        cache: Folder that keeps wheels and environments; see ``edge.cache.default_cache``.
        offline: Do not ask a package index.
        step: Is told of each wheel that is unpacked; there are as many as ``locked`` returns.

    Raises:
        DeviceError: There are no wheels for such a device.
        EngineUnavailable: The wheels are not cached, and cannot be had.
        OutputError: The cache cannot be written.
    """
    wheels = locked(engine, target, extras)
    stages = StageCache(cache)
    name = environment_id(wheels)
    key = content_key("environment", {"id": name})
    kept = _open(stages.find(key), name, wheels)
    if kept is None:
        archives = _archives(wheels, target, stages, offline=offline)
        if stages.find(key) is not None:
            stages.drop(key, "its list of files cannot be used")
        with stages.store(key) as folder:
            files: dict[str, tuple[str, int]] = {}
            for wheel, path in archives.items():
                files |= _unpack(wheel, path, folder / FILES)
                if step is not None:
                    step(1)
            write_json(folder / INDEX, {"files": files})
        kept = _open(stages.find(key), name, wheels)
    if kept is None:
        raise EngineUnavailable(f"the cache {cache} does not keep what was written to it")
    return kept


def _open(folder: Path | None, name: str, wheels: tuple[Wheel, ...]) -> Environment | None:
    """Return a cached environment; None where there is none, or a file of it is not what it was."""
    if folder is None:
        return None
    try:
        value = checked.read_json(folder / INDEX, max_bytes=MAX_LISTING)
        files = {
            str(path): (str(digest), int(size)) for path, (digest, size) in value["files"].items()
        }
        for path, (digest, _) in files.items():
            if sha256_file(folder / FILES / path) != digest:
                return None
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
    return Environment(
        id=name,
        path=folder / FILES,
        files=files,
        packages={wheel.name: wheel.version for wheel in wheels},
        wheels=wheels,
    )


def _archives(
    wheels: Sequence[Wheel], target: Platform, stages: StageCache, *, offline: bool
) -> dict[Wheel, Path]:
    """Return where each wheel lies, after those that are not cached were downloaded."""
    cached = {wheel: _archive(wheel, stages) for wheel in wheels}
    absent = [wheel for wheel, path in cached.items() if path is None]
    if absent and offline:
        raise EngineUnavailable(
            f"not cached: {', '.join(wheel.file for wheel in absent)}",
            hint="Deploy once with a package index within reach; the wheels are kept then.",
        )
    if absent:
        with stages.scratch("wheels") as folder:
            download(absent, target, folder)
            for wheel in absent:
                if stages.find(_key(wheel)) is not None:
                    stages.drop(_key(wheel), "it is not the wheel that is locked")
                with stages.store(_key(wheel)) as entry:
                    (folder / wheel.file).rename(entry / wheel.file)
    return {wheel: path or stages.entry(_key(wheel)) / wheel.file for wheel, path in cached.items()}


def _key(wheel: Wheel) -> str:
    return content_key("wheel", {"sha256": wheel.sha256})


def _archive(wheel: Wheel, stages: StageCache) -> Path | None:
    """Return where a cached wheel lies; None where it does not, or is damaged."""
    entry = stages.find(_key(wheel))
    if entry is None:
        return None
    path = entry / wheel.file
    return path if path.is_file() and sha256_file(path) == wheel.sha256 else None


def _unpack(wheel: Wheel, archive: Path, folder: Path) -> dict[str, tuple[str, int]]:
    """Write what stays of a wheel; sha256 and size by path."""
    with zipfile.ZipFile(archive) as stream:
        contents = {
            place: stream.read(item)
            for item in stream.infolist()
            if not item.is_dir() and (place := _place(item.filename, wheel)) is not None
        }
    written = {}
    for path, content in sorted(slim.kept(wheel.name, contents).items()):
        file = folder / path
        file.parent.mkdir(parents=True, exist_ok=True)
        # Not one by one atomic: the folder appears at the end, and hashes are checked on opening.
        file.write_bytes(content)
        written[path] = (hashlib.sha256(content).hexdigest(), len(content))
    return written


def _place(name: str, wheel: Wheel) -> str | None:
    """Return where a file of a wheel belongs in ``site-packages``; None if elsewhere."""
    pure = PurePosixPath(name)
    if pure.is_absolute() or ".." in pure.parts or "\\" in name:
        raise EngineUnavailable(f"{wheel.file} names a path outside itself: {name!r}")
    if not pure.parts[0].endswith(".data"):
        return pure.as_posix()
    return "/".join(pure.parts[2:]) if pure.parts[1] in _SITE else None


SECONDS: Final = 1800.0
HASH_DIFFERS: Final = "DO NOT MATCH THE HASHES"


def download(wheels: Sequence[Wheel], target: Platform, folder: Path) -> None:
    """Get exactly these wheels.

    Args:
        wheels: The wheels, all for one machine.
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
    """Return the options that choose wheels for CPython of that version and these platforms.

    pip takes the tags as they are: manylinux_2_28 does not mean the older ones as well.
    """
    tag = "cp" + python.replace(".", "")
    options = ["--only-binary=:all:", "--implementation", "cp", "--python-version", python]
    for abi in (tag, "abi3", "none"):
        options += ["--abi", abi]
    for platform in sorted(platforms):
        options += ["--platform", platform]
    return options


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
