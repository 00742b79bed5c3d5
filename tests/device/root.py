"""The root file system of the emulated machine: unpacked packages, and what their scripts do.

No arm64 program runs on the host, so nothing here may: what the maintainer scripts of Debian's
packages would have done is written by hand. The user is ``pi``, as on Raspberry Pi OS.
"""

import shutil
import subprocess
from pathlib import Path
from typing import Final

HOSTNAME: Final = "raspberrypi"
USER: Final = "pi"
UID: Final = 1000

_PACKAGES: Final = (
    "base-files base-passwd bash dash coreutils util-linux mount login passwd sed grep gawk tar "
    "gzip findutils diffutils debianutils hostname procps libc-bin libstdc++6 libgcc-s1 adduser "
    "netbase systemd-sysv udev dbus libpam-systemd libpam-runtime libpam-modules openssh-server "
    "openssh-client python3 sudo rsync kmod iproute2 busybox-static"
)
_MORE: Final = {
    # Not the kernel for clouds, which is a third as large and has no module of a camera.
    "bookworm": ("linux-image-arm64",),
    # Pages of 16 KiB, as a Raspberry Pi 5 has them.
    "trixie": ("linux-image-arm64-16k", "linux-sysctl-defaults", "libnss-systemd"),
}
# name, number, number of the group
_SYSTEM_USERS: Final = (
    ("messagebus", 990, 990),
    ("sshd", 988, 65534),
    ("systemd-network", 992, 992),
    ("systemd-resolve", 993, 993),
    ("systemd-timesync", 989, 989),
)
_SYSTEM_GROUPS: Final = {
    "messagebus": 990, "systemd-journal": 991, "systemd-network": 992, "systemd-resolve": 993,
    "render": 994, "kvm": 995, "input": 996, "sgx": 997, "_ssh": 998, "systemd-timesync": 989,
}  # fmt: skip
_PAM: Final = {
    "auth": "auth [success=1 default=ignore] pam_unix.so nullok\n"
    "auth requisite pam_deny.so\nauth required pam_permit.so\n",
    "account": "account [success=1 new_authtok_reqd=done default=ignore] pam_unix.so\n"
    "account requisite pam_deny.so\naccount required pam_permit.so\n",
    "password": "password required pam_unix.so obscure yescrypt\n",
    "session": "session required pam_unix.so\nsession optional pam_systemd.so\n",
    "session-noninteractive": "session required pam_unix.so\n",
}
# Nothing that looks for a network, a screen or updates.
_MASKED: Final = (
    "apt-daily.timer apt-daily-upgrade.timer systemd-timesyncd.service systemd-firstboot.service "
    "e2scrub_all.timer e2scrub_reap.service getty@tty1.service "
    "systemd-networkd-wait-online.service sys-kernel-debug.mount sys-kernel-tracing.mount "
    "dpkg-db-backup.timer modprobe@drm.service"
)
_FILES: Final = {
    "etc/hostname": f"{HOSTNAME}\n",
    "etc/hosts": f"127.0.0.1 localhost\n127.0.1.1 {HOSTNAME}\n",
    "etc/fstab": "/dev/vda / ext4 rw,noatime 0 1\n",
    "etc/machine-id": "",
    "etc/ssh/sshd_config.d/pi.conf": "HostKey /etc/ssh/ssh_host_ed25519_key\n"
    "PasswordAuthentication no\n",
    # Services go on without a login. Debian asks polkit for that, which is not installed here.
    f"var/lib/systemd/linger/{USER}": "",
    "etc/systemd/network/10-e.network": "[Match]\nName=e*\n[Network]\nAddress=10.0.2.15/24\n",
}


def unpack(suite: str, root: Path, log: Path) -> None:
    """Fetch Debian's packages for arm64 and unpack them, from the mirror that apt uses here."""
    command = ["mmdebstrap", "--mode=root", "--skip=check/qemu", "--arch=arm64"]
    command += ["--variant=extract", "--hook-dir=/usr/share/mmdebstrap/hooks/merged-usr"]
    command += [f"--include={','.join((*_PACKAGES.split(), *_MORE[suite]))}"]
    command += [f"--dpkgopt=path-exclude=/usr/share/{name}/*" for name in ("doc", "man", "locale")]
    with log.open("wb") as stream:
        subprocess.run([*command, suite, str(root), _mirror()], stderr=stream, check=True)


def _mirror() -> str:
    command = ["apt-get", "indextargets", "--format", "$(REPO_URI)", "Created-By: Packages"]
    listed = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
    found = [line for line in listed if line.rstrip("/").endswith("/debian")]
    assert found, "apt has no Debian mirror to take packages from"
    return found[0]


def configure(root: Path) -> None:
    """What the maintainer scripts of the unpacked packages would have done."""
    _accounts(root)
    for name, text in _PAM.items():
        file = root / "etc/pam.d" / f"common-{name}"
        if not file.exists():
            file.write_text(text)
    shutil.copy(root / "usr/share/openssh/sshd_config", root / "etc/ssh/sshd_config")
    for name in ("profile", "nsswitch.conf"):
        source = root / "usr/share/base-files" / name
        if source.is_file() and not (root / "etc" / name).exists():
            shutil.copy(source, root / "etc" / name)
    helper = root / "usr/lib/dbus-1.0/dbus-daemon-launch-helper"
    if helper.exists():
        shutil.chown(helper, group=_SYSTEM_GROUPS["messagebus"])
        helper.chmod(0o4754)
    link(root / "usr/bin/awk", "gawk")
    if not (root / "bin/sh").exists():
        link(root / "bin/sh", "dash")
    units = root / "etc/systemd/system"
    for wanted in ("ssh", "systemd-networkd"):
        service = f"/lib/systemd/system/{wanted}.service"
        link(units / "multi-user.target.wants" / f"{wanted}.service", service)
    link(units / "sshd.service", "/lib/systemd/system/ssh.service")
    link(units / "default.target", "/lib/systemd/system/multi-user.target")
    for name in _MASKED.split():
        link(units / name, "/dev/null")
    _compile(root)


def _compile(root: Path) -> None:
    """Python's own modules, where this machine has that Python: else each start compiles them.

    An emulated machine takes seven seconds for ``import json`` from source. Compiled files are
    the same on every processor.
    """
    for library in sorted(root.glob("usr/lib/python3.*")):
        python = shutil.which(library.name)
        if python is not None:
            command = [python, "-m", "compileall", "-q", "-s", str(root), str(library)]
            subprocess.run(command, stdout=subprocess.DEVNULL, check=False)


def _accounts(root: Path) -> None:
    etc = root / "etc"
    master = root / "usr/share/base-passwd"
    users = (master / "passwd.master").read_text().replace("root:*:", "root:x:", 1).splitlines()
    groups = (master / "group.master").read_text().splitlines()
    users += [f"{n}:x:{u}:{g}::/:/usr/sbin/nologin" for n, u, g in _SYSTEM_USERS]
    groups += [f"{name}:x:{number}:" for name, number in _SYSTEM_GROUPS.items()]
    users.append(f"{USER}:x:{UID}:{UID}:,,,:/home/{USER}:/bin/bash")
    groups.append(f"{USER}:x:{UID}:")
    # As on Raspberry Pi OS: the user may open cameras.
    groups = [f"{line}{USER}" if line.startswith("video:") else line for line in groups]
    (etc / "passwd").write_text("\n".join(users) + "\n")
    (etc / "group").write_text("\n".join(groups) + "\n")
    for name, lines, rest in (
        ("shadow", users, "*:19000:0:99999:7:::"),
        ("gshadow", groups, "*::"),
    ):
        file = etc / name
        file.write_text("".join(f"{line.partition(':')[0]}:{rest}\n" for line in lines))
        file.chmod(0o640)
        shutil.chown(file, group=42)


def personalise(root: Path, identity: Path, host_key: Path) -> None:
    """The user ``pi`` with a key and sudo, an sshd with a known key, a network of one port."""
    for name, text in _FILES.items():
        file = root / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    home = root / "home" / USER
    keys = home / ".ssh"
    keys.mkdir(parents=True, mode=0o700)
    shutil.copy(identity.with_suffix(".pub"), keys / "authorized_keys")
    for path in (home, keys, keys / "authorized_keys"):
        shutil.chown(path, UID, UID)
    sudo = root / "etc/sudoers.d/010_pi-nopasswd"
    sudo.write_text(f"{USER} ALL=(ALL) NOPASSWD: ALL\n")
    sudo.chmod(0o440)
    for old in (root / "etc/ssh").glob("ssh_host_*"):
        old.unlink()
    place = root / "etc/ssh/ssh_host_ed25519_key"
    shutil.copy(host_key, place)
    shutil.copy(host_key.with_suffix(".pub"), place.with_suffix(".pub"))
    place.chmod(0o600)


def link(path: Path, target: str) -> None:
    """A symbolic link in the place of whatever is there."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    path.symlink_to(target)
