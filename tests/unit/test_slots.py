"""Which release serves, whatever the machine went through."""

import errno
import io
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest

from edge.device import service, slots, state, trial
from edge.device.admission import check_version
from edge.device.jobs import Jobs
from edge.device.layout import App
from edge.device.messages import (
    Health,
    LockRequest,
    RollbackRequest,
    SelftestReply,
    StateRequest,
    UndeployRequest,
)
from edge.device.release import Release
from edge.device.state import DAMAGED, State, changing, events, record
from edge.device.trial import app_state
from edge.errors import NotDeployed, ReleaseRefused
from tests.unit.device_releases import RELEASE

ROOT = Path(__file__).parents[2]
OLD, NEW = "1-old", "2-new"


@pytest.fixture
def app(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> App:
    """OLD serves and is good; NEW is installed."""
    monkeypatch.setenv("HOME", str(tmp_path))
    found = App.named("camera")
    for release in (OLD, NEW):
        (found.releases / release).mkdir(parents=True)
        (found.releases / release / "release.json").write_text("{}")
    slots.point(found, OLD)
    slots.commit(found, OLD, 1)
    return found


@pytest.fixture
def restart(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """The machine starts again."""
    boots = iter(f"boot {number}" for number in range(1, 100))
    now = [next(boots)]
    monkeypatch.setattr(slots, "boot_id", lambda: now[0])

    def again() -> None:
        now[0] = next(boots)

    return again


def test_a_release_that_proves_itself(app: App, restart: Callable[[], None]) -> None:
    slots.begin_trial(app, NEW)
    assert slots.guard(app) == NEW
    slots.commit(app, NEW, 2)
    restart()
    assert slots.guard(app) == NEW
    state = State.read(app)
    assert (state.last_good, state.before, state.version) == (NEW, OLD, 2)


def test_a_restart_during_the_trial_goes_back(app: App, restart: Callable[[], None]) -> None:
    slots.begin_trial(app, NEW)
    restart()
    assert slots.guard(app) == OLD
    state = State.read(app)
    assert state.failure is not None and "restarted" in state.failure.reason
    assert state.trial is None
    assert "restarted" in (events(app, 1)[0].reason or "")


def test_a_service_that_starts_again_and_again_goes_back(
    app: App, restart: Callable[[], None]
) -> None:
    slots.begin_trial(app, NEW)
    assert [slots.guard(app) for _ in range(slots.MAX_STARTS)] == [NEW] * slots.MAX_STARTS
    assert slots.guard(app) == OLD


def test_a_cut_before_the_switch_changes_nothing(app: App, restart: Callable[[], None]) -> None:
    slots.begin_trial(app, NEW)
    slots.point(app, OLD)  # as if the link had not reached the disk
    restart()
    assert slots.guard(app) == OLD
    assert State.read(app).failure is None


def test_a_first_release_stays_when_there_is_nothing_to_go_back_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, restart: Callable[[], None]
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    app = App.named("camera")
    (app.releases / NEW).mkdir(parents=True)
    (app.releases / NEW / "release.json").write_text("{}")
    slots.begin_trial(app, NEW)
    restart()
    assert slots.guard(app) == NEW
    assert slots.give_up(app, NEW, "it does not work") is None
    assert app.serving() is None
    assert slots.guard(app) is None


def test_a_link_to_nothing_is_mended(app: App, restart: Callable[[], None]) -> None:
    slots.point(app, "3-gone")
    assert app.serving() is None
    assert slots.guard(app) == OLD
    assert app.serving() == OLD


@pytest.mark.parametrize("text", ["", "{", "[]", '{"last_good": 1}', '{"trial": {}}'])
def test_a_broken_state_keeps_nobody_from_serving(
    app: App, restart: Callable[[], None], text: str
) -> None:
    app.state.write_text(text)
    assert State.read(app).last_good == OLD
    assert slots.guard(app) == OLD


def version_refused(app: App, version: int) -> bool:
    try:
        check_version(app, version)
    except ReleaseRefused:
        return True
    return False


def test_a_rollback_does_not_lower_the_highest_version(app: App) -> None:
    slots.commit(app, "2000-new", 2000)
    slots.commit(app, "1000-old", 1000)
    assert State.read(app).last_good == "1000-old"
    assert version_refused(app, 1500)
    assert not version_refused(app, 2000)
    value = json.loads(app.state.read_text())
    app.state.write_text(json.dumps(value | {"version": 1000}))  # the file of its own knows
    assert version_refused(app, 1500)


def test_a_device_of_an_older_edge_remembers_by_its_log(app: App) -> None:
    slots.commit(app, "2000-new", 2000)
    slots.commit(app, "1000-old", 1000)
    app.highest.unlink()  # an older edge wrote none, and lowered the state's version
    app.state.write_text(json.dumps(json.loads(app.state.read_text()) | {"version": 1000}))
    assert version_refused(app, 1500)


def test_a_log_that_cannot_be_read_keeps_nobody_from_serving(
    app: App, restart: Callable[[], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    app.highest.unlink()
    monkeypatch.setattr(state, "events", unreadable)
    assert slots.guard(app) == OLD
    assert version_refused(app, 3000)


def unreadable(*_: object) -> None:
    raise OSError(errno.EIO, os.strerror(errno.EIO))


def lost(path: Path) -> None:
    path.unlink()


def torn(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:1] + b"\0")


@pytest.mark.parametrize(("name", "damage"), [("state", lost), ("state", torn), ("highest", torn)])
def test_a_damaged_state_refuses_until_the_operator_says_so(
    app: App, restart: Callable[[], None], name: str, damage: Callable[[Path], None]
) -> None:
    slots.commit(app, OLD, 2000)
    damage(getattr(app, name))
    assert version_refused(app, 3000)
    slots.refuse(app, NEW, "the state is damaged")  # writes a state, and must not heal it
    restart()
    assert slots.guard(app) == OLD  # and what serves goes on
    assert version_refused(app, 3000)
    slots.commit(app, NEW, 3000)  # --allow-downgrade was given
    assert version_refused(app, 2999)
    assert not version_refused(app, 3000)


WRONG: list[dict[str, object]] = [
    *({"last_good": value} for value in ("x" * 70_000, "", ".", "..", "a/b", 5, True, [], {})),
    *({"before": value} for value in ("x" * 70_000, 5, ["1-old"])),
    *({"version": value} for value in (-1, 1.5, True, "5", [], 10**18, 10**30)),
    *({"trial": value} for value in (0, "", [], {}, "1-old", {"release": "1-old"})),
    *({"failure": value} for value in (False, "", [], {}, {"release": 1})),
    {"trial": {"release": "1-old", "since": "now", "boot_id": "b", "starts": 0}},
    {"trial": {"release": "1-old", "since": 1.0, "boot_id": 7, "starts": 0}},
    {"trial": {"release": "1-old", "since": 1.0, "boot_id": "b", "starts": True}},
    {"failure": {"release": "1-old", "reason": "x" * 70_000, "at": 1.0}},
    {"failure": {"release": "1-old", "reason": "zero \0", "at": 1.0}},
]
TEXTS = ['"version": 1e999', '"version": NaN', f'"version": {"9" * 5000}', '"version": "\\ud800"']


@pytest.mark.parametrize("change", [*WRONG, *TEXTS], ids=range(len(WRONG) + len(TEXTS)))
def test_a_state_of_wrong_values_is_damaged(
    app: App, restart: Callable[[], None], change: dict[str, object] | str
) -> None:
    """Never a traceback: what serves goes on, the status says it, and releases are refused."""
    whole = json.loads(app.state.read_text())
    if isinstance(change, str):
        app.state.write_text(json.dumps(whole).replace('"version": 1', change))
    else:
        app.state.write_text(json.dumps(whole | change))
    assert State.read(app) == State(last_good=OLD, version=None)
    assert version_refused(app, 1 << 50)
    assert app_state(app).damage == DAMAGED
    assert slots.guard(app) == OLD
    slots.refuse(app, NEW, "the state is damaged")
    assert app_state(app).damage == DAMAGED
    slots.begin_trial(app, NEW)
    assert slots.guard(app) == NEW
    assert slots.give_up(app, NEW, "planted") == OLD
    assert version_refused(app, 1 << 50)


def test_a_reason_of_any_length_and_characters_damages_no_state(app: App) -> None:
    reason = "it said: \0\n\ud800\U000e0001" + "\0" * 100_000
    slots.refuse(app, NEW, reason)
    slots.begin_trial(app, NEW)
    slots.give_up(app, NEW, reason)
    state = State.read(app)
    assert state.version == 1 and state.failure is not None
    assert state.failure.reason.startswith("it said: \\u0000\\n")
    assert events(app, 1)[0].reason == state.failure.reason


@pytest.mark.parametrize("name", ["x" * 300, "y" * 200, "UPPER", "\udcff", ".."])
def test_a_link_to_no_name_of_a_release_serves_nothing(
    app: App, restart: Callable[[], None], name: str
) -> None:
    app.current.unlink()
    app.current.symlink_to(f"releases/{name}")
    with suppress(OSError):
        (app.releases / name).mkdir()
        (app.releases / name / "release.json").write_text("{}")
    assert app.serving() is None
    assert app_state(app).problem == "no release serves"
    assert slots.guard(app) == OLD == app.serving()


def test_a_damaged_description_of_a_release_is_a_problem_of_one_application(app: App) -> None:
    problem = app_state(app).problem
    assert problem.startswith("the description of the release lacks id, name, ")


def jobs_of(app: App, monkeypatch: pytest.MonkeyPatch) -> Jobs:
    """Under the lock, on a device whose systemd does as it is told."""
    monkeypatch.setattr(service, "remove", lambda app: None)
    monkeypatch.setattr(trial, "selftest", lambda *_: SelftestReply(report={}))
    monkeypatch.setattr(trial, "activate", activated)
    found = Jobs(io.BytesIO(), lambda text: None)
    found.do(LockRequest(owner="test", what="test"))
    return found


def activated(
    app: App, release: Release, watch: float, note: object, *, anew: bool = True
) -> Health:
    slots.begin_trial(app, release.id)
    slots.commit(app, release.id, release.version, anew=anew)
    return Health()


def test_a_rollback_of_a_lost_state_says_so(app: App, monkeypatch: pytest.MonkeyPatch) -> None:
    slots.point(app, NEW)
    slots.commit(app, NEW, 2)
    jobs = jobs_of(app, monkeypatch)
    app.state.write_text("{")
    request = RollbackRequest(app=app.name, timeout=1, watch=0)
    with pytest.raises(NotDeployed, match="state of camera is damaged or lost") as caught:
        jobs.do(request)
    assert "--allow-downgrade" in (caught.value.hint or "")


def test_a_rollback_mends_no_damaged_highest_version(
    app: App, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It proves nothing of what ran here, and nobody said that a downgrade is meant."""
    slots.point(app, NEW)
    slots.commit(app, NEW, 2000)
    described = replace(RELEASE, id=OLD, name="camera", version=1)
    (app.releases / OLD / "release.json").write_text(json.dumps(described.to_json()))
    jobs = jobs_of(app, monkeypatch)
    torn(app.highest)
    assert jobs.do(RollbackRequest(app=app.name, timeout=1, watch=0)).release == OLD
    assert app.serving() == OLD == State.read(app).last_good
    assert version_refused(app, 1500) and version_refused(app, 3000)
    assert app_state(app).damage == DAMAGED
    slots.commit(app, NEW, 3000)  # --allow-downgrade was given
    assert app_state(app).damage is None


@pytest.mark.parametrize("older_edge", [False, True])
def test_an_undeploy_keeps_the_highest_version(
    app: App, monkeypatch: pytest.MonkeyPatch, older_edge: bool
) -> None:
    slots.commit(app, OLD, 2000)
    if older_edge:
        app.highest.unlink()  # it wrote none
    jobs = jobs_of(app, monkeypatch)
    app.inbox.mkdir()
    os.mkfifo(app.path / "pipe")
    jobs.do(UndeployRequest(app=app.name, delete_inbox=False))
    assert [path.name for path in app.path.iterdir()] == ["highest-version"]
    assert jobs.do(StateRequest()).apps == ()
    assert version_refused(app, 1999) and not version_refused(app, 2000)
    with pytest.raises(NotDeployed):
        jobs.do(UndeployRequest(app=app.name, delete_inbox=False))
    slots.begin(app)
    (app.releases / NEW).mkdir(parents=True)
    assert version_refused(app, 1999) and not version_refused(app, 2000)
    slots.commit(app, OLD, 1000)  # --allow-downgrade was given
    assert version_refused(app, 1999)


@pytest.mark.parametrize("name", ["state", "highest"])
def test_an_undeploy_makes_no_damaged_state_whole(
    app: App, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    torn(getattr(app, name))
    jobs_of(app, monkeypatch).do(UndeployRequest(app=app.name, delete_inbox=False))
    assert version_refused(app, 1 << 50)
    slots.begin(app)
    slots.commit(app, NEW, 2)  # --allow-downgrade was given
    assert not version_refused(app, 2)


def test_an_undeploy_of_what_never_proved_itself_leaves_nothing(
    app: App, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = App.named("other")
    slots.refuse(other, NEW, "planted")
    jobs_of(app, monkeypatch).do(UndeployRequest(app="other", delete_inbox=False))
    assert not other.path.exists()


def test_a_first_deploy_that_was_cut_is_no_damaged_state(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    app = App.named("camera")
    slots.begin(app)
    (app.releases / NEW).mkdir(parents=True)
    assert not version_refused(app, 1)


def test_a_commit_again_keeps_the_release_before(app: App) -> None:
    slots.commit(app, NEW, 2)
    slots.commit(app, NEW, 2)
    assert State.read(app).before == OLD


def test_the_state_survives_its_json(app: App, restart: Callable[[], None]) -> None:
    slots.begin_trial(app, NEW)
    slots.refuse(app, "3-bad", "wrong answers")
    with changing(app) as file:
        assert json.loads(app.state.read_text()) == file.state.to_json()
    assert State.read(app) == file.state
    assert file.state.failure is not None and file.state.failure.reason == "wrong answers"


def test_a_torn_line_of_the_log_is_left_out(app: App) -> None:
    record(app, "committed", OLD)
    with app.log.open("ab") as stream:
        stream.write(b'{"at": 1, "ev')
    assert [event.event for event in events(app, 5)][-1] == "committed"


class PowerCut(BaseException):
    """The machine stops before the n-th change of the disk."""


CHANGES = ("rename", "unlink", "symlink", "fsync", "mkdir")


def cut_before(monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    left = [number]

    def cutting(real: Callable[..., object]) -> Callable[..., object]:
        def change(*arguments: object, **options: object) -> object:
            left[0] -= 1
            if left[0] < 0:
                raise PowerCut
            return real(*arguments, **options)

        return change

    for name in CHANGES:
        monkeypatch.setattr(os, name, cutting(getattr(os, name)))
    monkeypatch.setattr(os, "replace", cutting(os.replace))


def whole_trial(app: App) -> None:
    slots.begin_trial(app, NEW)
    slots.guard(app)
    slots.commit(app, NEW, 2)


def failed_trial(app: App) -> None:
    slots.begin_trial(app, NEW)
    slots.guard(app)
    slots.give_up(app, NEW, "planted")


@pytest.mark.parametrize("work", [whole_trial, failed_trial])
def test_a_power_cut_before_any_change_of_the_disk(
    app: App, restart: Callable[[], None], work: Callable[[App], None]
) -> None:
    """After each of them the old or the new release serves, and the next trial is not hindered."""
    cuts = 0
    while True:
        with pytest.MonkeyPatch.context() as patch:
            cut_before(patch, cuts)
            try:
                work(app)
            except PowerCut:
                finished = False
            else:
                finished = True
        restart()
        committed = State.read(app).last_good
        assert slots.guard(app) == committed
        assert committed in (OLD, NEW)
        whole_trial(app)
        assert slots.guard(app) == NEW
        slots.point(app, OLD)
        slots.commit(app, OLD, 3)
        cuts += 1
        if finished:
            break
    assert cuts > 10


WRITES = ("write", "rename", "replace", "symlink", "mkdir", "fsync")


def full_from(monkeypatch: pytest.MonkeyPatch, number: int, *, once: bool) -> list[int]:
    """The n-th write finds the disk full, and every one after it, or no other; those left."""
    left = [number]

    def filling(real: Callable[..., object]) -> Callable[..., object]:
        def change(*arguments: object, **options: object) -> object:
            left[0] -= 1
            if left[0] == -1 or (left[0] < 0 and not once):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            return real(*arguments, **options)

        return change

    for name in WRITES:
        monkeypatch.setattr(os, name, filling(getattr(os, name)))
    return left


def refused(app: App) -> None:
    slots.refuse(app, NEW, "planted")


def first_state(app: App) -> None:
    slots.begin(app)


@pytest.mark.parametrize("once", [True, False])
@pytest.mark.parametrize("work", [whole_trial, failed_trial, refused, first_state])
def test_a_disk_that_is_full_at_any_write(
    app: App, restart: Callable[[], None], work: Callable[[App], None], once: bool
) -> None:
    """What serves goes on and can start again though nothing can be written; then all is well."""
    for writes in range(100):
        with pytest.MonkeyPatch.context() as patch:
            left = full_from(patch, writes, once=once)
            with suppress(OSError):
                work(app)
            never = left[0] >= 0
            assert slots.guard(app) in (OLD, NEW)  # the service starts again
            restart()
            committed = State.read(app).last_good
            assert committed in (OLD, NEW) and slots.guard(app) == committed
        assert State.read(app).version in (1, 2, 3)  # whole, and nothing forgotten
        assert not version_refused(app, 3)
        assert slots.guard(app) == committed
        whole_trial(app)
        assert slots.guard(app) == NEW == State.read(app).last_good
        slots.point(app, OLD)
        slots.commit(app, OLD, 3)
        if never:
            break
    assert never


@pytest.mark.parametrize("place", [".local/share/edge/control", "worktrees"])
def test_prune_takes_only_other_versions_of_what_was_shipped(tmp_path: Path, place: str) -> None:
    """It ran from a folder of work once, and took everything beside that folder away."""
    ours, other = "0" * 16, "1" * 16
    shutil.copytree(ROOT / "edge", tmp_path / place / ours / "edge")
    for name in (other, f"{other}.12", "work", "current.tar"):
        (tmp_path / place / name).mkdir()
    program = "from edge.device.slots import prune; prune(None, keep=0)"
    environ = {"HOME": str(tmp_path), "PYTHONPATH": str(tmp_path / place / ours)}
    subprocess.run([sys.executable, "-S", "-c", program], env=environ, cwd=tmp_path, check=True)
    kept = {path.name for path in (tmp_path / place).iterdir()}
    shipped = place.endswith("control")
    assert kept == {ours, "work", "current.tar"} | (set() if shipped else {other, f"{other}.12"})
