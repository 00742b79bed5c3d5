"""What a host can ask of a device: one function per request, of JSON values."""

import fcntl
import json
import os
import shutil
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, BinaryIO, Final

from edge.device import service, slots, trial
from edge.device.admission import admit, device_type, provision
from edge.device.layout import (
    BUNDLE,
    ENVIRONMENT_FILE,
    RELEASE_FILE,
    App,
    apps,
    check_place,
    checked_id,
    close_to_others,
    environments,
    make_room,
    root,
    scratch,
)
from edge.device.receive import MAX_LISTING, Incoming, Listing, check_folder
from edge.device.release import Release
from edge.device.slots import prune
from edge.device.state import State, events, keep_highest, record
from edge.errors import (
    BundleError,
    DeployFailed,
    DeviceError,
    EdgeError,
    NotDeployed,
    UsageError,
)
from edge.runtime import checked
from edge.runtime.files import fsync_directory, write_json


class Lock:
    """Held until ``release``, or the end of the process."""

    def __init__(self, owner: str, what: str) -> None:
        """Take it.

        Args:
            owner: Who asks, ``user@host``.
            what: They do.

        Raises:
            DeviceError: Somebody else has it.
        """
        root().mkdir(parents=True, exist_ok=True)
        self._descriptor = os.open(
            root() / "lock", os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600
        )
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            said = _owner(os.pread(self._descriptor, 4096, 0))
            os.close(self._descriptor)
            raise DeviceError(
                f"another command changes this device: {said}",
                hint="Wait for it; where its host is gone, the lock is free within two minutes.",
            ) from None
        entry = {"owner": owner, "what": what, "since": time.time(), "pid": os.getpid()}
        os.ftruncate(self._descriptor, 0)
        os.pwrite(self._descriptor, json.dumps(entry).encode(), 0)

    def release(self) -> None:
        """Let others in."""
        os.ftruncate(self._descriptor, 0)
        os.close(self._descriptor)


def _owner(content: bytes) -> str:
    """The owner that is written in the lock, for people."""
    try:
        entry: dict[str, Any] = checked.parse_json(content)
        ago = max(0, round(time.time() - float(entry["since"])))
        return f"{entry['owner']}, {entry['what']}, for {ago} s"
    except (ValueError, KeyError, TypeError, OverflowError):
        return "its owner is not known yet"


Request = Mapping[str, Any]


class Jobs:
    """The requests of one conversation.

    Args:
        stream: The bytes of a file follow its ``put`` here.
        note: Tells the host what goes on.
    """

    def __init__(self, stream: BinaryIO, note: Callable[[str], None]) -> None:
        self._stream = stream
        self._note = note
        self._lock: Lock | None = None
        self._incoming: Incoming | None = None

    def do(self, name: object, request: Request) -> dict[str, Any]:
        """Carry out one request; its result.

        Raises:
            UsageError: There is no such request, or it needs the lock.
            EdgeError: What went wrong.
        """
        method = _METHODS.get(name) if isinstance(name, str) else None
        if method is None:
            raise UsageError(f"unknown request {name!r}", hint="Use the same version of edge.")
        if name not in _READING and self._lock is None:
            raise UsageError("the device is changed under its lock only")
        return method(self, request)

    def lock(self, request: Request) -> dict[str, Any]:
        """Take the device's lock, for the rest of the conversation."""
        check_place()
        self._lock = Lock(str(request["owner"]), str(request["what"]))
        return {}

    def provision(self, request: Request) -> dict[str, Any]:
        """Set the device up: the key that it trusts, and its type."""
        closed = close_to_others()
        done = provision(str(request["key"]), str(request["device"]), again=bool(request["again"]))
        if closed:
            self._note(f"took the rights of other users to {closed} files and folders away")
        done += filter(None, [service.outlive_login()])
        return {"done": done, "device": device_type()}

    def state(self, request: Request) -> dict[str, Any]:
        """What serves, of one application or of all."""
        if request.get("app") is None:
            return {"device": device_type(), "apps": [trial.state_json(app) for app in apps()]}
        return {"device": device_type(), "apps": [trial.state_json(App.named(request["app"]))]}

    def has_environment(self, request: Request) -> dict[str, Any]:
        """Whether an environment is here and whole; changes nothing."""
        return {"environment": _environment_is_whole(checked_id(request["environment"]))}

    def begin(self, request: Request) -> dict[str, Any]:
        """Begin to fill a folder: what is here already, of this try or another release."""
        listing = Listing.from_json(request["files"])
        if request["kind"] == "environment":
            folder = environments() / f".incoming-{checked_id(request['id'])}"
            known = _folders(environments())
            left = list(environments().glob(".incoming-*"))
        elif request["kind"] == "scratch":
            folder, known, left = scratch(), [], []
        else:
            app = App.named(request["app"])
            folder = app.incoming / checked_id(request["id"])
            known = [path / BUNDLE for path in _folders(app.releases)]
            left = list(app.incoming.glob("*"))
        for path in left:
            if path != folder:
                make_room(path)  # of a deploy that was given up: it would take the space
        folder.mkdir(parents=True, exist_ok=True)
        self._incoming = Incoming(folder, listing)
        self._incoming.take(known)
        self._incoming.check_space()
        return {"missing": self._incoming.missing()}

    def sweep(self, _: Request) -> dict[str, Any]:
        """Take the scratch files away."""
        make_room(scratch())
        return {}

    def ping(self, _: Request) -> dict[str, Any]:
        """The host is still there."""
        return {}

    def put(self, request: Request) -> dict[str, Any]:
        """Take the bytes of one file."""
        if self._incoming is None:
            raise UsageError("a file came before its listing")
        self._incoming.put(str(request["path"]), int(request["offset"]), self._stream)
        return {}

    def install_environment(self, request: Request) -> dict[str, Any]:
        """Give the environment its name; a listing beside it tells later whether it is whole."""
        incoming, place = self._filled(), environments() / checked_id(request["id"])
        make_room(place)
        listed = {path: [item.sha256, item.size] for path, item in incoming.listing.files.items()}
        write_json(_listing_of(place.name), listed)
        incoming.install(place)
        return {}

    def install_release(self, request: Request) -> dict[str, Any]:
        """Check the upload, and put it into the slot that does not serve."""
        app = App.named(request["app"])
        release = Release.from_json(request["release"])
        incoming = self._filled()
        place = app.releases / release.id
        if app.serving() == release.id and State.read(app).last_good == release.id:
            raise UsageError(f"release {release.id} serves; it is not written over")
        try:
            admit(app, incoming.folder, release, allow_downgrade=bool(request["allow_downgrade"]))
        except EdgeError as error:
            slots.refuse(app, release.id, error.message)
            shutil.rmtree(incoming.folder)
            raise
        slots.begin(app)
        staged = app.incoming / f".{release.id}"
        make_room(staged)
        staged.mkdir()
        incoming.install(staged / BUNDLE)
        write_json(staged / RELEASE_FILE, release.to_json())
        make_room(place)
        place.parent.mkdir(exist_ok=True)
        staged.replace(place)
        fsync_directory(place.parent)
        record(app, "installed", release.id)
        return {}

    def selftest(self, request: Request) -> dict[str, Any]:
        """Run the golden self-test of an installed release; one that fails is taken away."""
        app = App.named(request["app"])
        release = Release.read(app, request["release"])
        try:
            return trial.selftest(app, release, float(request["timeout"]))
        except DeployFailed:
            _discard(app, release.id)
            raise

    def activate(self, request: Request) -> dict[str, Any]:
        """Let a release serve and prove itself; one that fails is taken away."""
        app = App.named(request["app"])
        release = Release.read(app, request["release"])
        try:
            return trial.activate(app, release, float(request["watch"]), self._note)
        except DeployFailed:
            _discard(app, release.id)
            raise

    def rollback(self, request: Request) -> dict[str, Any]:
        """Back to the release that was good before, through the same proof as a new one."""
        app = _deployed(request["app"])
        state, serving = State.read(app), app.serving()
        target = state.before if serving == state.last_good else state.last_good
        if target is None and state.version is None:
            raise NotDeployed(
                f"the state of {app.name} is damaged or lost, so that nobody knows which release "
                "was good before; what serves goes on",
                hint="Deploy the bundle that you want, with --allow-downgrade: the state is "
                "written anew with it.",
            )
        if target is None or not slots.is_installed(app, target):
            raise NotDeployed(
                f"{app.name} has no earlier release that was good",
                hint="Deploy the bundle that you want, with --allow-downgrade.",
            )
        release = Release.read(app, target)
        self._note(f"self-test of {target}")
        trial.selftest(app, release, float(request["timeout"]))
        watch = float(request["watch"])
        health = trial.activate(app, release, watch, self._note, anew=False)
        reason = str(request.get("reason") or "asked for by hand")
        record(app, "rolled back", serving, reason)
        return {"release": target, "from": serving, "health": health}

    def logs(self, request: Request) -> dict[str, Any]:
        """The last events, and the last lines of the service."""
        app, lines = _deployed(request["app"]), int(request["lines"])
        return {"events": events(app, lines), "service": service.said(app, lines)}

    def prune(self, request: Request) -> dict[str, Any]:
        """Take away what is not needed any more."""
        return prune(App.named(request["app"]), keep=int(request["keep"]))

    def undeploy(self, request: Request) -> dict[str, Any]:
        """Take the application off, but for the highest version, below which nothing comes back.

        Pictures that nobody asked to delete keep all of it there.
        """
        app = _deployed(request["app"])
        kept = sorted(path.name for path in app.inbox.iterdir()) if app.inbox.is_dir() else []
        if kept and not request["delete_inbox"]:
            raise DeviceError(
                f"the inbox still holds {len(kept)} files, such as {kept[0]}",
                hint="Copy them, then add --delete-inbox.",
            )
        service.remove(app)
        keep_highest(app)
        for path in sorted(app.path.iterdir(), key=lambda path: path == app.state):  # it as last
            if path != app.highest:
                make_room(path)
        if not app.highest.exists():
            app.path.rmdir()
        fsync_directory(app.path.parent)
        return {"environments": prune(None, keep=0)["environments"]}

    def _filled(self) -> Incoming:
        if self._incoming is None:
            raise UsageError("nothing was sent that could be installed")
        found, self._incoming = self._incoming, None
        return found


def _deployed(name: object) -> App:
    """The application, which must be here.

    Raises:
        UsageError: That is no name of one.
        NotDeployed: It is not here.
    """
    app = App.named(name)
    if not app.deployed:
        there = ", ".join(item.name for item in apps()) or "no application of edge"
        raise NotDeployed(f"{app.name} is not on this device", hint=f"It has {there}.")
    return app


def _discard(app: App, release: str) -> None:
    """Take away a release that failed, unless it serves: first deploys have nothing else."""
    if app.serving() != release and State.read(app).last_good != release:
        make_room(app.releases / release)


def _environment_is_whole(name: str) -> bool:
    """Whether every file of it is as it came; a power cut can leave a name without its bytes."""
    place = environments() / name
    try:
        listing = Listing.from_json(checked.read_json(_listing_of(name), max_bytes=MAX_LISTING))
        check_folder(place, listing)
    except (OSError, ValueError, BundleError):
        return False
    return True


def _listing_of(environment: str) -> Path:
    return environments() / f"{environment}.{ENVIRONMENT_FILE}"


def _folders(place: Path) -> list[Path]:
    """Folders in it whose names are not hidden."""
    found = sorted(place.iterdir()) if place.is_dir() else []
    return [path for path in found if path.is_dir() and not path.name.startswith(".")]


_METHODS: Final[dict[str, Callable[[Jobs, Request], dict[str, Any]]]] = {
    "lock": Jobs.lock,
    "provision": Jobs.provision,
    "state": Jobs.state,
    "has environment": Jobs.has_environment,
    "begin": Jobs.begin,
    "ping": Jobs.ping,
    "put": Jobs.put,
    "sweep": Jobs.sweep,
    "install environment": Jobs.install_environment,
    "install release": Jobs.install_release,
    "selftest": Jobs.selftest,
    "activate": Jobs.activate,
    "rollback": Jobs.rollback,
    "logs": Jobs.logs,
    "prune": Jobs.prune,
    "undeploy": Jobs.undeploy,
}
_READING: Final = frozenset(
    {"lock", "ping", "state", "has environment", "logs"}
)  # the others need the lock
