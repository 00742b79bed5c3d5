"""Where everything lies on a device.

::

    ~/.local/share/edge/
      control/<hash>/        this package, as a host shipped it; ``control/current`` -> the newest
      envs/<hash>/           unpacked wheels, shared by releases
      scratch/               files of a benchmark that runs
      signers                public keys that bundles may be signed with (allowed_signers)
      apps/<app>/
        control/<hash>/      the same, as its service starts with it, whatever others deploy
        incoming/<id>/       an upload that is not finished
        releases/<id>/       bundle/ and release.json
        current -> releases/<id>
        state.json           last good release, trial, last failure
        highest-version      the highest ever committed; only ever raised, and left by an undeploy
        log.jsonl            what happened, and why
        inbox/               pictures to answer
"""

import os
import re
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self

from edge.errors import DeviceError, UsageError

PRIVATE: Final = 0o077  # umask of every process of ours: nothing of it is for other users
BUNDLE: Final = "bundle"
RELEASE_FILE: Final = "release.json"
ENVIRONMENT_FILE: Final = "environment.json"

_CONTROL: Final = re.compile(r"[0-9a-f]{16}", re.ASCII)
_APP: Final = re.compile(r"[a-z0-9][a-z0-9-]{0,31}", re.ASCII)
_ID: Final = re.compile(r"[a-z0-9][a-z0-9.-]{0,63}", re.ASCII)


def root() -> Path:
    """Return the folder of everything."""
    return Path.home() / ".local" / "share" / "edge"


def control() -> Path | None:
    """Return the folder of this package as a host shipped it; None where it was not shipped.

    Run from anywhere else, this code must touch nothing beside itself.
    """
    ours = Path(__file__).resolve().parents[2]
    shipped = ours.parent == (root() / "control").resolve() and _CONTROL.fullmatch(ours.name)
    return ours if shipped else None


def check_place() -> None:
    """Refuse a folder of ours that others own, or may put another one in the place of.

    Raises:
        DeviceError: What is wrong with it.
    """
    from edge.device.facts import unsafe  # not at the top: a service starts without it

    for what in unsafe(Path.home()):
        raise DeviceError(
            f"edge cannot keep its files safe here: {what}",
            hint="Let it be a folder of this user alone, with chown and chmod go-w; then deploy "
            "again.",
        )


def close_to_others() -> int:
    """Take the rights of other users to everything of ours away; how many files had some.

    The pictures are private, and who may write here decides what runs here.
    """
    from edge.device.facts import exposed

    bare = exposed(root())
    for path in bare:
        with suppress(OSError):  # it is gone, or a file of another user in a folder of ours
            descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
            try:
                os.fchmod(descriptor, os.fstat(descriptor).st_mode & 0o700)
            finally:
                os.close(descriptor)
    return len(bare)


def make_room(folder: Path) -> None:
    """Take a folder away, whole or in part there, or whatever lies in its place."""
    import shutil  # not at the top: a service starts without it

    if folder.is_dir() and not folder.is_symlink():
        shutil.rmtree(folder)
    else:
        folder.unlink(missing_ok=True)


def environments() -> Path:
    """Return the folder of the unpacked wheels."""
    return root() / "envs"


def scratch() -> Path:
    """Return the folder of a benchmark's files, which is gone after it."""
    return root() / "scratch"


def signers() -> Path:
    """Return the keys that this device trusts."""
    return root() / "signers"


def is_id(text: object) -> bool:
    """Return whether it is an id of a release or an environment."""
    return isinstance(text, str) and _ID.fullmatch(text) is not None


def checked_id(text: object) -> str:
    """Return the id of a release or an environment, as a name of a folder.

    Raises:
        UsageError: It could lead elsewhere.
    """
    if not isinstance(text, str) or not is_id(text):
        raise UsageError(f"{text!r} is no id of a release or an environment")
    return text


def runtime_folder() -> Path:
    """Return where sockets of this user lie; gone after a restart of the machine."""
    given = os.environ.get("XDG_RUNTIME_DIR")
    return Path(given) if given else Path("/run/user") / str(os.getuid())


@dataclass(frozen=True, slots=True)
class App:
    """The places of one application of a device."""

    name: str

    @classmethod
    def named(cls, name: object) -> Self:
        """Check the name.

        Raises:
            UsageError: Not lower-case letters, digits and dashes, at most 32.
        """
        if not isinstance(name, str) or not _APP.fullmatch(name):
            raise UsageError(
                f"{name!r} is no name of an application",
                hint="Lower-case letters, digits and dashes, at most 32.",
            )
        return cls(name)

    @property
    def path(self) -> Path:
        """The folder of everything that is this application's."""
        return root() / "apps" / self.name

    @property
    def control(self) -> Path:
        """This package, one folder for each version."""
        return self.path / "control"

    @property
    def incoming(self) -> Path:
        """Uploads that are not finished."""
        return self.path / "incoming"

    @property
    def releases(self) -> Path:
        """Whole releases, one folder each."""
        return self.path / "releases"

    @property
    def current(self) -> Path:
        """The link to the release that serves."""
        return self.path / "current"

    @property
    def state(self) -> Path:
        """See ``edge.device.state``."""
        return self.path / "state.json"

    @property
    def highest(self) -> Path:
        """The highest version ever committed; see ``edge.device.state``."""
        return self.path / "highest-version"

    @property
    def log(self) -> Path:
        """See ``edge.device.state``."""
        return self.path / "log.jsonl"

    @property
    def inbox(self) -> Path:
        """Pictures put here are answered."""
        return self.path / "inbox"

    @property
    def socket(self) -> Path:
        """Where the running service answers for its health."""
        return runtime_folder() / f"edge-{self.name}.sock"

    @property
    def unit(self) -> str:
        """The name of its systemd unit."""
        return f"edge-{self.name}.service"

    @property
    def deployed(self) -> bool:
        """Whether more of it is there than the version that an undeploy leaves."""
        return self.path.is_dir() and any(path != self.highest for path in self.path.iterdir())

    def serving(self) -> str | None:
        """Return the id of the release that ``current`` names and that is there."""
        try:
            name = self.current.readlink().name
            there = is_id(name) and (self.releases / name / RELEASE_FILE).is_file()
        except OSError:
            return None
        return name if there else None


def apps() -> list[App]:
    """Return every application of this device, by name."""
    folder = root() / "apps"
    if not folder.is_dir():
        return []
    named = [App(path.name) for path in sorted(folder.iterdir()) if _APP.fullmatch(path.name)]
    return [app for app in named if app.deployed]
