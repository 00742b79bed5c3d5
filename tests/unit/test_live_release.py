"""A release that watches a camera and shows a page: its description, its start and its trial."""

import argparse
import json
from collections.abc import Callable
from dataclasses import asdict, replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edge.cli.deploy.options import DeployFlags
from edge.deploy.plan import DeployOptions, named
from edge.device import launch, service, slots, trial
from edge.device.layout import App
from edge.device.messages import AppState, Health, RollbackRequest, StateReply
from edge.device.release import LiveSettings, Release
from edge.device.service import ServiceStatus
from edge.device.state import State
from edge.errors import BundleError, DeployFailed, UsageError
from edge.runtime.cameras.camera import LEAST_RATE, MOST_RATE, MOST_SIDE
from edge.runtime.commands.live import add_arguments
from edge.runtime.contract import canonical_json
from edge.runtime.live.settings import PASSWORD, Broker
from edge.runtime.typed import typed
from tests.unit.device_releases import RELEASE
from tests.unit.test_slots import jobs_of

LIVE = replace(RELEASE, id="2-live", live=LiveSettings(camera="/dev/video0", port=8081))
OLD_ID = "7-f08ce306d2"  # which edge 0.1 gave RELEASE
OLD_LIVE_ID = "7-e2c6ce5872"  # of LIVE, before pages averaged frames or sent answers anywhere
SECRET = "no5y-%41secret"  # with what an address would read as another sign
BROKER = Broker(host="home", port=1883, tls=False, user="a@b", password=SECRET, topic="my/hall")


@pytest.fixture
def app(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> App:
    monkeypatch.setenv("HOME", str(tmp_path))
    return App.named("camera")


def put(app: App, release: Release) -> Path:
    """Install a release; return the folder of its bundle."""
    bundle = release.folder(app)
    bundle.mkdir(parents=True)
    (bundle.parent / "release.json").write_text(json.dumps(release.to_json()))
    return bundle


def test_a_release_without_a_camera_is_what_it_was(app: App) -> None:
    value = RELEASE.to_json()
    assert "live" not in value
    assert named(RELEASE).id == OLD_ID
    put(app, RELEASE)
    assert Release.read(app, RELEASE.id).live is None


def test_a_release_with_a_camera_is_read_again(app: App) -> None:
    put(app, LIVE)
    assert Release.read(app, LIVE.id) == LIVE
    ids = {named(replace(LIVE, live=settings)).id for settings in CHANGES} | {named(LIVE).id}
    assert len(ids) == len(CHANGES) + 1


def test_a_page_that_does_no_more_than_before_is_what_it_was() -> None:
    assert named(LIVE).id == OLD_LIVE_ID
    assert not LIVE.to_json()["live"].keys() & {"smoothing", "mqtt"}
    told = replace(LIVE, live=replace(LIVE.live or LiveSettings(), mqtt=BROKER))
    assert "smoothing" not in told.to_json()["live"]


def test_the_id_tells_passwords_apart_and_is_no_plain_hash_of_them() -> None:
    def of(password: str | None) -> str:
        broker = replace(BROKER, password=password)
        return named(replace(LIVE, live=LiveSettings(mqtt=broker))).id

    assert of("a") == of("a")
    assert len({of("a"), of("b"), of(None), of("")}) == 4
    plain = replace(LIVE, id="", live=LiveSettings(mqtt=replace(BROKER, password="a"))).to_json()
    assert sha256(canonical_json(plain).encode()).hexdigest()[:10] not in of("a")


def test_what_another_edge_does_not_know_is_refused_by_its_name_alone() -> None:
    value = LIVE.to_json()
    with pytest.raises(BundleError, match="fields that it should not: broker") as caught:
        Release.from_json(value | {"live": value["live"] | {"broker": SECRET}})
    assert SECRET not in caught.value.message


CHANGES = [
    None,
    LiveSettings(camera="/dev/video0"),
    LiveSettings(port=8081),
    LiveSettings(camera="/dev/video0", port=8081, rate=5.0),
    LiveSettings(camera="/dev/video0", port=8081, width=1280),
    LiveSettings(camera="/dev/video0", port=8081, height=720),
    LiveSettings(camera="/dev/video0", port=8081, smoothing=5),
    LiveSettings(camera="/dev/video0", port=8081, mqtt=BROKER),
    LiveSettings(camera="/dev/video0", port=8081, mqtt=replace(BROKER, user=None, password=None)),
    LiveSettings(mqtt=Broker(host="::1", port=9, tls=True, user="", topic="a b/ü")),
]


@pytest.mark.parametrize(
    "change",
    [
        {"camera": ""},
        {"camera": "a\nb"},
        {"camera": "x" * 3000},
        {"camera": 0},
        {"width": 0},
        {"height": MOST_SIDE + 1},
        {"width": "640"},
        {"rate": 0},
        {"rate": MOST_RATE + 1},
        {"rate": LEAST_RATE / 2},
        {"rate": float("nan")},
        {"rate": True},
        {"port": 0},
        {"port": 65536},
        {"port": 80.5},
        {"token": "secret"},
        {"smoothing": 0},
        {"smoothing": 101},
        {"smoothing": True},
        {"mqtt": "mqtt://home"},
        *(
            {"mqtt": asdict(BROKER) | change}
            for change in (
                *({"host": host} for host in ("", "a/b", "a b", "a@b", "HOME", "\ud800", "a\x1b")),
                *({"port": port} for port in (0, -1, 65536, "1883")),
                *({"topic": topic} for topic in ("a+", "#", "/a", "a/", "a\0", "x" * 3000)),
                *({"password": text} for text in ("a\0b", "\ud800", "x" * 3000, 5)),
                *({"user": text} for text in (None, "\ud800")),
                {"tls": 1},
                {"key": "value"},
            )
        ),
    ],
)
def test_settings_that_no_service_could_start_with(change: dict[str, Any]) -> None:
    value = LIVE.to_json()
    with pytest.raises(BundleError):
        Release.from_json(value | {"live": value["live"] | change})


@pytest.mark.parametrize("settings", CHANGES[1:])
def test_the_service_starts_with_what_the_release_says(
    app: App, settings: LiveSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(PASSWORD, raising=False)
    release = replace(LIVE, live=settings)
    words = launch.command(app, release)
    assert words[1:5] == ["-P", "-s", "-m", "edge.runtime"]
    parser = argparse.ArgumentParser()
    add_arguments(parser)  # as the runtime itself reads them
    assert words[5] == "live"
    options = parser.parse_args(words[6:])
    assert options.bundle == release.folder(app)
    assert options.camera == settings.camera
    assert options.size == (settings.width, settings.height)
    assert options.smoothing == settings.smoothing
    told = None if settings.mqtt is None else settings.mqtt.shown()
    assert options.mqtt == told and SECRET not in " ".join(words)
    assert (options.rate, options.listen) == (settings.rate, ("127.0.0.1", settings.port))
    assert (options.variant, options.engine) == (release.variant, release.engine)
    assert (options.threads, options.release) == (release.threads, release.id)
    assert options.health == app.socket
    assert options.patience == 20.0 < release.start_seconds
    environ = launch.environ(app, release)
    secret = None if settings.mqtt is None else settings.mqtt.password
    assert environ.pop(PASSWORD, None) == secret
    assert environ == release.environ(app)  # that of the self-test, which has no password
    monkeypatch.setenv(PASSWORD, secret or "")
    assert secret is None or parser.parse_args(words[6:]).mqtt == settings.mqtt
    hasty = launch.command(app, replace(release, start_seconds=5))
    assert parser.parse_args(hasty[6:]).patience == 2.5


def test_a_folder_is_watched_as_before(app: App) -> None:
    words = launch.command(app, RELEASE)
    assert words[5:9] == ["watch", str(app.inbox), "--bundle", str(RELEASE.folder(app))]
    assert words[-4:] == ["--release", RELEASE.id, "--health", str(app.socket)]


class Systemd:
    """The services of a device; every release says of itself what a test lets it say."""

    def __init__(self, app: App, monkeypatch: pytest.MonkeyPatch) -> None:
        self.says: dict[str, str] = {}
        for name, does in {
            "install": self.nothing,
            "restart": self.nothing,
            "stop": self.nothing,
            "status": lambda _: ServiceStatus("active", 7, 0, "success"),
            "said": lambda *_: "",
        }.items():
            monkeypatch.setattr(service, name, does)
        monkeypatch.setattr(trial, "ask", self.ask)

    def nothing(self, *_: object, **__: object) -> None: ...

    def ask(self, app: App, timeout: float) -> Health:
        release = app.serving()
        assert release is not None and timeout > 0
        reason = self.says.get(release)
        return Health(release=release, ok=reason is None, reason=reason)


@pytest.fixture
def systemd(app: App, monkeypatch: pytest.MonkeyPatch) -> Systemd:
    return Systemd(app, monkeypatch)


def test_a_camera_that_gives_nothing_ends_the_trial(app: App, systemd: Systemd) -> None:
    before = replace(RELEASE, id="1-before")
    put(app, before)
    trial.activate(app, before, 0, print)
    put(app, LIVE)
    systemd.says[LIVE.id] = "camera: /dev/video0: there is no such device"
    with pytest.raises(DeployFailed) as caught:
        trial.activate(app, LIVE, 0, print)
    assert "it says that it is not well: camera: /dev/video0" in caught.value.message
    assert "Release 1-before serves again" in caught.value.message
    assert app.serving() == "1-before" == State.read(app).last_good


def test_a_rollback_gives_back_what_was_taught(
    app: App, systemd: Systemd, monkeypatch: pytest.MonkeyPatch
) -> None:
    taught = {}
    for version, key in ((1, "1-first"), (2, "2-second")):
        release = replace(LIVE, id=key, version=version)
        path = put(app, release) / "taught.npz"
        trial.activate(app, release, 0, print)
        np.savez(path, vectors=np.full(3, version))
        taught[key] = path.read_bytes()
        slots.prune(app, keep=1)
    jobs = jobs_of(app, monkeypatch)
    for before in ("1-first", "2-second"):
        assert jobs.do(RollbackRequest(app=app.name, timeout=1, watch=0)).release == before
        slots.prune(app, keep=1)
        assert (app.current / "bundle/taught.npz").read_bytes() == taught[before]


def state_of(release: Release) -> AppState:
    return AppState(
        app="camera",
        release=release.id,
        healthy=True,
        last_good=release.id,
        on_trial=False,
        reason=None,
        failed_release=None,
        bundle=release,
        problem=None,
    )


def test_the_state_tells_the_port_and_no_password() -> None:
    camera = "rtsp://pi:secret@cam/live"
    release = replace(LIVE, live=LiveSettings(camera=camera, port=8081, mqtt=BROKER))
    assert SECRET not in repr(release)
    shown = state_of(release).to_json()
    assert SECRET not in json.dumps(shown)
    assert shown["bundle"]["live"]["mqtt"]["host"] == "home"
    assert shown["bundle"]["live"]["port"] == 8081
    assert "secret" not in json.dumps(shown) and "cam/live" in json.dumps(shown)
    assert release.to_json()["live"]["camera"] == camera  # the service needs it
    assert "live" not in state_of(RELEASE).to_json()["bundle"]
    reply = StateReply(apps=(state_of(release),))
    assert typed(StateReply, json.loads(json.dumps(asdict(reply))), "the reply") == reply


def test_status_says_how_to_open_the_page(capsys: pytest.CaptureFixture[str]) -> None:
    from edge.cli.deploy.release import _print_state

    camera = "rtsp://pi:secret@cam/live"
    settings = LiveSettings(camera=camera, port=81, smoothing=5, mqtt=BROKER)
    _print_state(state_of(replace(LIVE, live=settings)), "pi@host")
    said = capsys.readouterr().out
    assert "page of camera rtsp://cam/live at port 81" in said and "edge live pi@host" in said
    assert "mean of 5 frames" in said and "mqtt://a%40b@home:1883/my/hall" in said
    assert SECRET not in said
    _print_state(state_of(RELEASE), "pi@host")
    assert "edge live" not in capsys.readouterr().out


@pytest.fixture
def options(monkeypatch: pytest.MonkeyPatch) -> Callable[..., DeployOptions]:
    monkeypatch.setattr("edge.deploy.signing.refuse_altered", lambda _: None)
    monkeypatch.setattr("edge.deploy.keys.public_key", lambda _: None)
    return lambda **given: DeployFlags(**given).options(Path("bundle"))


@pytest.mark.parametrize(
    ("given", "option"),
    [
        ({"camera": "0"}, "--camera"),
        ({"live_port": 8080}, "--live-port"),
        ({"size": "640x480"}, "--size"),
        ({"rate": 10.0}, "--rate"),
        ({"smoothing": 1}, "--smoothing"),
        ({"mqtt": "mqtt://home"}, "--mqtt"),
    ],
)
def test_options_of_a_page_need_one(
    options: Callable[..., DeployOptions], given: dict[str, Any], option: str
) -> None:
    with pytest.raises(UsageError, match=f"{option} has no effect without --live") as caught:
        options(**given)
    assert caught.value.exit_code == 2
    assert options(live=True, **given).live is not None


def test_options_become_settings(options: Callable[..., DeployOptions]) -> None:
    assert options().live is None
    assert options(live=True).live == LiveSettings()
    chosen = options(live=True, camera="csi:1", live_port=90, size="1280X720", rate=5.0).live
    assert chosen == LiveSettings(camera="csi:1", port=90, width=1280, height=720, rate=5.0)
    assert options(live=True, smoothing=100).live == LiveSettings(smoothing=100)


def test_the_password_of_a_broker_comes_with_its_address_or_from_here(
    options: Callable[..., DeployOptions], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(PASSWORD, SECRET)
    address = "mqtt://a%40b@home/my/hall"
    assert options(live=True, mqtt=address).live == LiveSettings(mqtt=BROKER)
    other = options(live=True, mqtt=address.replace("@home", ":o%2Fther@home")).live
    assert other is not None and other.mqtt == replace(BROKER, password="o/ther")
    for wrong in (f"mqtt:/u:{SECRET}@h", f"http://u:{SECRET}@h", f"mqtt://u:{SECRET}%00@h"):
        with pytest.raises(UsageError) as caught:
            options(live=True, mqtt=wrong)
        assert SECRET not in caught.value.message + caught.value.hint


@pytest.mark.parametrize(
    "given",
    [
        *({"size": text} for text in ("big", "0x480", "640x9999", "640x480x3", "٦x٦")),
        *({"rate": value} for value in (0.0, -1.0, 1e9, float("nan"))),
        *({"camera": text} for text in ("", "a\0b", "a\nb")),
        *({"smoothing": frames} for frames in (0, 101)),
        *({"mqtt": text} for text in ("", "home", "mqtt://", "mqtt://h:0", "mqtt://h/a%23")),
    ],
)
def test_values_that_cannot_be(
    options: Callable[..., DeployOptions], given: dict[str, Any]
) -> None:
    with pytest.raises(UsageError):
        options(live=True, **given)
