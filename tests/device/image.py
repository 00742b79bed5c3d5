"""Builds the disk of an emulated 64-bit Arm machine with Debian, once, from apt packages only."""

import fcntl
import hashlib
import lzma
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from edge.cache import default_cache
from edge.runtime.files import beside
from tests.device import root as root_filesystem

DISK_SIZE: Final = "3G"
NEEDED: Final = {
    "mmdebstrap": "mmdebstrap",
    "qemu-system-aarch64": "qemu-system-arm",
    "qemu-img": "qemu-utils",
    "mkfs.ext4": "e2fsprogs",
    "cpio": "cpio",
    "ssh": "openssh-client",
    "apt-get": "apt",
}  # program -> package
# In the order in which they are loaded; a kernel may hold some of them itself.
_MODULES: Final = (
    "virtio virtio_ring virtio_pci_modern_dev virtio_pci_legacy_dev virtio_pci crc16 "
    "crc32c_generic crc32c-cryptoapi libcrc32c mbcache jbd2 ext4 virtio_blk failover net_failover "
    "virtio_net virtio-rng"
)
# What a test may load there, with what they need: a camera within the kernel, and the driver of
# USB cameras with a USB port that programs plug things into.
_LOADABLE: Final = ("vivid", "uvcvideo", "vhci_hcd")
_INIT: Final = """\
#!/bin/busybox sh
B=/bin/busybox
$B mount -t devtmpfs dev /dev; $B mount -t proc proc /proc; $B mount -t sysfs sys /sys
while read module; do $B insmod /modules/$module; done < /modules/order
i=0; while [ ! -b /dev/vda ] && [ $i -lt 100 ]; do $B usleep 100000; i=$((i+1)); done
$B mount -t ext4 -o rw,noatime /dev/vda /root || exec $B sh
$B mount --move /dev /root/dev; $B umount /proc /sys
exec $B switch_root /root /sbin/init
"""


@dataclass(frozen=True, slots=True)
class Image:
    """What a machine boots from; nothing in the folder is ever changed.

    Attributes:
        suite: Debian's name of the release.
        folder: Of the files.
    """

    suite: str
    folder: Path

    @property
    def kernel(self) -> Path:
        """For qemu's ``-kernel``."""
        return self.folder / "vmlinuz"

    @property
    def initrd(self) -> Path:
        """Modules of the disk and the network, and what mounts the root."""
        return self.folder / "initrd"

    @property
    def disk(self) -> Path:
        """Raw ext4 file system."""
        return self.folder / "disk.img"

    @property
    def identity(self) -> Path:
        """Private key of the user ``pi``."""
        return self.folder / "identity"

    @property
    def host_key(self) -> Path:
        """Private key of the machine's sshd."""
        return self.folder / "host_key"


def missing() -> str:
    """Why no image can be built here; empty if one can."""
    path = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"
    absent = sorted({NEEDED[name] for name in NEEDED if shutil.which(name, path=path) is None})
    if absent:
        return f"needs apt-get install {' '.join(absent)}"
    return "" if os.getuid() == 0 else "needs root: the disk holds files of many users"


def cache() -> Path:
    """Where images are kept: ``$EDGE_TEST_MACHINES``, or below edge's cache."""
    named = os.environ.get("EDGE_TEST_MACHINES")
    return Path(named) if named else default_cache() / "test-machines"


def image(suite: str) -> Image:
    """The image of a Debian release, built if this code never built it here (two minutes)."""
    sources = (Path(__file__), Path(root_filesystem.__file__))
    version = hashlib.sha256(b"".join(file.read_bytes() for file in sources)).hexdigest()[:12]
    folder = cache() / f"{suite}-{version}"
    with locked(folder.with_suffix(".lock")):
        if not folder.is_dir():
            scratch = beside(folder)
            scratch.mkdir()
            try:
                build(suite, scratch)
                scratch.rename(folder)
            finally:
                shutil.rmtree(scratch, ignore_errors=True)
    return Image(suite, folder)


def build(suite: str, folder: Path) -> None:
    """Write the files of an image."""
    made = Image(suite, folder)
    for key in (made.identity, made.host_key):
        command = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "test", "-f", str(key)]
        subprocess.run(command, check=True)
    with tempfile.TemporaryDirectory(prefix="edge-root-", dir=folder) as scratch:
        root = Path(scratch) / "root"
        root_filesystem.unpack(suite, root, folder / "mmdebstrap.log")
        shutil.copy(next((root / "boot").glob("vmlinuz-*")), made.kernel)
        _write_initrd(root, Path(scratch) / "initrd", made.initrd)
        shutil.rmtree(root / "boot", ignore_errors=True)
        _thin_out(root / "usr/lib/modules")
        root_filesystem.configure(root)
        root_filesystem.personalise(root, made.identity, made.host_key)
        command = ["mkfs.ext4", "-q", "-F", "-d", str(root), "-E", "lazy_itable_init=1"]
        path = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"
        subprocess.run(
            [*command, str(made.disk), DISK_SIZE], check=True, env={**os.environ, "PATH": path}
        )


def _write_initrd(root: Path, tree: Path, initrd: Path) -> None:
    for name in ("bin", "modules", "dev", "proc", "sys", "root"):
        (tree / name).mkdir(parents=True)
    shutil.copy(root / "usr/bin/busybox", tree / "bin/busybox")
    order = []
    for name in _MODULES.split():
        found = next((root / "usr/lib/modules").rglob(f"{name}.ko*"), None)
        if found is not None:
            (tree / "modules" / f"{name}.ko").write_bytes(_module(found))
            order.append(f"{name}.ko\n")
    (tree / "modules/order").write_text("".join(order))
    (tree / "init").write_text(_INIT)
    (tree / "init").chmod(0o755)
    names = "\n".join(str(path.relative_to(tree)) for path in sorted(tree.rglob("*")))
    with initrd.open("wb") as stream:
        command = ["cpio", "--create", "--format=newc", "--quiet"]
        subprocess.run(command, input=names.encode(), stdout=stream, cwd=tree, check=True)


def _module(file: Path) -> bytes:
    content = file.read_bytes()
    return lzma.decompress(content) if file.suffix == ".xz" else content


def _thin_out(modules: Path) -> None:
    """Leave the modules of _LOADABLE and what they need, 3 of 300 MB; the machine indexes them."""
    files = {file.name.partition(".")[0].replace("-", "_"): file for file in modules.rglob("*.ko*")}
    kept, wanted = set[str](), list(_LOADABLE)
    while wanted:
        name = wanted.pop()
        if name in files and name not in kept:  # otherwise the kernel itself holds it
            kept.add(name)
            needs = re.search(rb"\0depends=([^\0]*)\0", _module(files[name]))
            wanted += needs[1].decode().replace("-", "_").split(",") if needs else []
    assert kept.issuperset(_LOADABLE), f"the kernel lacks modules: {sorted(kept)}"
    for name in files.keys() - kept:
        files[name].unlink()
    for folder in sorted(modules.rglob("*/"), reverse=True):
        if not any(folder.iterdir()):
            folder.rmdir()


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """One process at a time; the lock ends with the process."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        yield
