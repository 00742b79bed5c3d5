"""A Vulkan driver that computes on the CPU: SwiftShader, as Debian packs it with Chromium."""

import fcntl
import shutil
import subprocess
from pathlib import Path
from typing import Final

import pytest

from tests.integration.environments import environments_root

# Debian's own software driver, lavapipe, lacks features that Dawn, the engines' WebGPU, needs.
PACKAGES: Final = ("libvulkan1", "chromium-common")
DRIVER: Final = "usr/lib/chromium/vk_swiftshader_icd.json"
TIMEOUT: Final = 600  # seconds, of one download


def software_gpu() -> dict[str, str]:
    """Environment variables with which a process finds SwiftShader, and no other GPU.

    It is downloaded and unpacked once, into the folder of the test environments; nothing is
    installed, so this needs no root.

    Raises:
        pytest.skip.Exception: No apt here, or it reaches no package mirror.
    """
    root = environments_root() / "software-gpu"
    root.mkdir(parents=True, exist_ok=True)
    folder, stamp = root / "files", root / "complete"
    with (root / "lock").open("w") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        if not stamp.is_file():
            shutil.rmtree(folder, ignore_errors=True)
            _unpack(root, folder)
            stamp.touch()
    libraries = [path.parent for path in folder.glob("usr/lib/*/libvulkan.so.1")]
    return {
        "VK_ICD_FILENAMES": str(folder / DRIVER),
        "VK_DRIVER_FILES": str(folder / DRIVER),
        "LD_LIBRARY_PATH": str(libraries[0]),
    }


def _unpack(downloads: Path, folder: Path) -> None:
    if not (shutil.which("apt-get") and shutil.which("dpkg")):
        pytest.skip("no apt-get here to download SwiftShader with")
    done = subprocess.run(
        ["apt-get", "download", *PACKAGES],
        cwd=downloads,
        capture_output=True,
        text=True,
        timeout=TIMEOUT,
    )
    if done.returncode != 0:
        pytest.skip(f"apt-get downloads no {' '.join(PACKAGES)}: {done.stderr.strip()[-200:]}")
    for package in downloads.glob("*.deb"):
        subprocess.run(["dpkg", "-x", package, folder], check=True, timeout=TIMEOUT)
        package.unlink()
    if not (folder / DRIVER).is_file():
        pytest.skip("this chromium-common brings no SwiftShader")
