"""What a host can ask of a device: a function for each request of ``edge.device.messages``."""

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
from edge.device.messages import (
    ActivateRequest,
    BeginReply,
    BeginRequest,
    DeviceRequest,
    Done,
    EnvironmentReply,
    EnvironmentRequest,
    Health,
    InstallEnvironmentRequest,
    InstallReleaseRequest,
    LockRequest,
    LogsReply,
    LogsRequest,
    PingRequest,
    ProvisionReply,
    ProvisionRequest,
    PruneReply,
    PruneRequest,
    PutRequest,
    R,
    RollbackReply,
    RollbackRequest,
    SelftestReply,
    SelftestRequest,
    StateReply,
    StateRequest,
    SweepRequest,
    UndeployReply,
    UndeployRequest,
    Upload,
)
from edge.device.receive import MAX_LISTING, Incoming, Listing, check_folder
from edge.device.release import Release
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


class DeviceLock:
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
    """Return the owner that is written in the lock, for people."""
    try:
        entry: dict[str, Any] = checked.parse_json(content)
        ago = max(0, round(time.time() - float(entry["since"])))
        return f"{entry['owner']}, {entry['what']}, for {ago} s"
    except (ValueError, KeyError, TypeError, OverflowError):
        return "its owner is not known yet"


class Jobs:
    """The requests of one conversation.

    Args:
        stream: The bytes of a file follow its ``put`` here.
        note: Tells the host what goes on.
    """

    def __init__(self, stream: BinaryIO, note: Callable[[str], None]) -> None:
        self._stream = stream
        self._note = note
        self._lock: DeviceLock | None = None
        self._incoming: Incoming | None = None

    def do(self, request: DeviceRequest[R]) -> R:
        """Carry out one request, and return its reply.

        Raises:
            UsageError: The request needs the lock.
            EdgeError: What went wrong.
        """
        if request.locked and self._lock is None:
            raise UsageError("the device is changed under its lock only")
        reply: R = _METHODS[type(request)](self, request)
        return reply

    def lock(self, request: LockRequest) -> Done:
        """Take the device's lock, for the rest of the conversation."""
        check_place()
        self._lock = DeviceLock(request.owner, request.what)
        return Done()

    def provision(self, request: ProvisionRequest) -> ProvisionReply:
        """Set the device up: the key that it trusts, and its type."""
        closed = close_to_others()
        done = provision(request.key, request.device, again=request.again)
        if closed:
            self._note(f"took the rights of other users to {closed} files and folders away")
        lingers = service.outlive_login()
        if lingers is not None:
            done.append(lingers)
        return ProvisionReply(done=tuple(done), device=device_type())

    def state(self, request: StateRequest) -> StateReply:
        """Tell what serves, of one application or of all."""
        asked = apps() if request.app is None else [App.named(request.app)]
        return StateReply(device=device_type(), apps=tuple(trial.app_state(app) for app in asked))

    def has_environment(self, request: EnvironmentRequest) -> EnvironmentReply:
        """Tell whether an environment is here and whole; nothing is changed."""
        whole = _environment_is_whole(checked_id(request.environment))
        return EnvironmentReply(environment=whole)

    def begin(self, request: BeginRequest) -> BeginReply:
        """Begin to fill a folder: with what is here already, of this try or another release."""
        listing = Listing.of(request.files)
        if request.kind is Upload.ENVIRONMENT:
            folder = environments() / f".incoming-{checked_id(request.id)}"
            known = _folders(environments())
            left = list(environments().glob(".incoming-*"))
        elif request.kind is Upload.SCRATCH:
            folder, known, left = scratch(), [], []
        else:
            app = App.named(request.app)
            folder = app.incoming / checked_id(request.id)
            known = [path / BUNDLE for path in _folders(app.releases)]
            left = list(app.incoming.glob("*"))
        for path in left:
            if path != folder:
                make_room(path)  # a deploy was given up, and this would take the space
        folder.mkdir(parents=True, exist_ok=True)
        self._incoming = Incoming(folder, listing)
        self._incoming.take(known)
        self._incoming.check_space()
        return BeginReply(missing=self._incoming.missing())

    def sweep(self, _: SweepRequest) -> Done:
        """Take the scratch files away."""
        make_room(scratch())
        return Done()

    def ping(self, _: PingRequest) -> Done:
        """Hear that the host is still there."""
        return Done()

    def put(self, request: PutRequest) -> Done:
        """Take the bytes of one file."""
        if self._incoming is None:
            raise UsageError("a file came before its listing")
        self._incoming.put(request.path, request.offset, self._stream)
        return Done()

    def install_environment(self, request: InstallEnvironmentRequest) -> Done:
        """Give the environment its name; a listing beside it tells later whether it is whole."""
        incoming, folder = self._filled(), environments() / checked_id(request.id)
        make_room(folder)
        write_json(_listing_of(folder.name), incoming.listing.to_json())
        incoming.install(folder)
        return Done()

    def install_release(self, request: InstallReleaseRequest) -> Done:
        """Check the upload, and put it into the slot that does not serve."""
        app, release = App.named(request.app), request.release
        release.check()
        incoming = self._filled()
        if app.serving() == release.id and State.read(app).last_good == release.id:
            raise UsageError(f"release {release.id} serves; it is not written over")
        try:
            admit(app, incoming.folder, release, allow_downgrade=request.allow_downgrade)
        except EdgeError as error:
            slots.refuse(app, release.id, error.message)
            shutil.rmtree(incoming.folder)
            raise
        slots.begin(app)
        _install(app, release, incoming)
        record(app, "installed", release.id)
        return Done()

    def selftest(self, request: SelftestRequest) -> SelftestReply:
        """Run the golden self-test of an installed release; one that fails is taken away."""
        app = App.named(request.app)
        release = Release.read(app, request.release)
        try:
            return trial.selftest(app, release, request.timeout)
        except DeployFailed:
            _discard(app, release.id)
            raise

    def activate(self, request: ActivateRequest) -> Health:
        """Let a release serve and prove itself; one that fails is taken away."""
        app = App.named(request.app)
        release = Release.read(app, request.release)
        try:
            return trial.activate(app, release, request.watch, self._note)
        except DeployFailed:
            _discard(app, release.id)
            raise

    def rollback(self, request: RollbackRequest) -> RollbackReply:
        """Go back to the release that was good before, through the same proof as a new one."""
        app = _deployed(request.app)
        serving, release = app.serving(), Release.read(app, _good_before(app))
        self._note(f"self-test of {release.id}")
        trial.selftest(app, release, request.timeout)
        health = trial.activate(app, release, request.watch, self._note, anew=False)
        record(app, "rolled back", serving, request.reason)
        return RollbackReply(release=release.id, replaced=serving, health=health)

    def logs(self, request: LogsRequest) -> LogsReply:
        """Tell the last events, and the last lines of the service."""
        app, lines = _deployed(request.app), request.lines
        return LogsReply(events=tuple(events(app, lines)), service=service.said(app, lines))

    def prune(self, request: PruneRequest) -> PruneReply:
        """Take away what is not needed any more."""
        releases, unused = slots.prune(App.named(request.app), keep=request.keep)
        return PruneReply(releases=tuple(releases), environments=tuple(unused))

    def undeploy(self, request: UndeployRequest) -> UndeployReply:
        """Take the application off, but for the highest version, below which nothing comes back.

        Pictures that nobody asked to delete keep all of it there.
        """
        app = _deployed(request.app)
        kept = sorted(path.name for path in app.inbox.iterdir()) if app.inbox.is_dir() else []
        if kept and not request.delete_inbox:
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
        _, unused = slots.prune(None, keep=0)
        return UndeployReply(environments=tuple(unused))

    def _filled(self) -> Incoming:
        if self._incoming is None:
            raise UsageError("nothing was sent that could be installed")
        filled, self._incoming = self._incoming, None
        return filled


def _install(app: App, release: Release, incoming: Incoming) -> None:
    """Put an admitted upload among the releases, as a whole or not at all."""
    folder = app.releases / release.id
    staged = app.incoming / f".{release.id}"
    make_room(staged)
    staged.mkdir()
    incoming.install(staged / BUNDLE)
    write_json(staged / RELEASE_FILE, release.to_json())
    make_room(folder)
    folder.parent.mkdir(exist_ok=True)
    staged.replace(folder)
    fsync_directory(folder.parent)


def _good_before(app: App) -> str:
    """Return the id of the release to go back to.

    Raises:
        NotDeployed: There is none, or nobody knows.
    """
    state = State.read(app)
    target = state.before if app.serving() == state.last_good else state.last_good
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
    return target


def _deployed(name: object) -> App:
    """Return the application, which must be here.

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
    """Return whether every file of it is as it came.

    A power cut can leave a name without its bytes.
    """
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
    """Return the folders in it whose names are not hidden."""
    entries = sorted(place.iterdir()) if place.is_dir() else []
    return [path for path in entries if path.is_dir() and not path.name.startswith(".")]


_METHODS: Final[Mapping[type[DeviceRequest[Any]], Callable[[Jobs, Any], Any]]] = {
    LockRequest: Jobs.lock,
    PingRequest: Jobs.ping,
    ProvisionRequest: Jobs.provision,
    StateRequest: Jobs.state,
    EnvironmentRequest: Jobs.has_environment,
    BeginRequest: Jobs.begin,
    PutRequest: Jobs.put,
    SweepRequest: Jobs.sweep,
    InstallEnvironmentRequest: Jobs.install_environment,
    InstallReleaseRequest: Jobs.install_release,
    SelftestRequest: Jobs.selftest,
    ActivateRequest: Jobs.activate,
    RollbackRequest: Jobs.rollback,
    LogsRequest: Jobs.logs,
    PruneRequest: Jobs.prune,
    UndeployRequest: Jobs.undeploy,
}
