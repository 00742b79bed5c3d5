"""What systemd and a release's trial are told, with a camera that the test feeds."""

import selectors
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from edge.errors import InferenceError, Overloaded
from edge.runtime.bundle import Bundle
from edge.runtime.cameras.camera import CameraFault
from edge.runtime.golden import GoldenComparison
from edge.runtime.health import Notifier
from edge.runtime.live import life as module
from edge.runtime.live.api import LiveContext
from edge.runtime.live.life import Life, LiveHealth
from edge.runtime.live.model import LiveModel
from edge.runtime.live.pipeline import Pipeline
from edge.runtime.proof import ModelChoice, open_proved
from tests.unit.golden_bundle import golden_bundle
from tests.unit.live.scripted import ScriptedCamera
from tests.unit.live.test_api import jpeg

PATIENCE = 10.0


class Service:
    """A health with its pipeline, and a systemd that listens."""

    def __init__(self, folder: Path, bundle: Path) -> None:
        opened = Bundle.open(bundle)
        choice = ModelChoice(variant=None, engine=None, threads=1)
        proved = open_proved(
            opened, choice, note=lambda _: None, stopped=lambda: False, apart=False
        )
        self.camera = ScriptedCamera()
        self.pipeline = Pipeline(
            LiveModel(proved.model, variant=proved.variant.name),
            lambda: self.camera,
            address="scripted",
        )
        session = LiveContext(
            bundle=opened,
            variant=proved.variant,
            threads=1,
            pipeline=self.pipeline,
            teacher=None,
            why_not="",
            keeper=None,
            exporter=None,
            release="7",
            began=time.monotonic(),
        )
        self.test = proved.test
        self.health = LiveHealth(session, proved.test)
        self.listener = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.listener.bind(str(folder / "notify"))
        self.listener.setblocking(False)
        notifier = Notifier({"NOTIFY_SOCKET": str(folder / "notify")})
        self.selector = selectors.DefaultSelector()
        self.life = Life(self.health, notifier, self.selector, folder / "health", 20.0)
        self.heard: list[str] = []
        self.pipeline.start()

    def ticks_until(self, true: Callable[[], object]) -> None:
        end = time.monotonic() + PATIENCE
        while not true():
            assert time.monotonic() < end, (self.heard, self.health.trouble())
            self.life.tick()
            try:
                while True:
                    self.heard.append(self.listener.recv(4096).decode())
            except BlockingIOError:
                pass

    def close(self) -> None:
        self.camera.end()
        self.pipeline.close()
        self.life.close()
        self.selector.close()
        self.listener.close()


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return golden_bundle(tmp_path_factory.mktemp("life") / "bundle")


@pytest.fixture
def service(tmp_path: Path, bundle: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Service]:
    monkeypatch.setattr(module, "TICK_SECONDS", 0.01)
    made = Service(tmp_path, bundle)
    yield made
    made.close()


def test_ready_when_the_first_frame_was_answered(service: Service) -> None:
    service.ticks_until(lambda: len(service.heard) > 5)
    assert "READY=1" not in service.heard  # no frame came
    assert service.health.tell()["reason"].startswith(("no frame was answered yet", "camera:"))
    service.camera.give(jpeg=jpeg("red", 1))
    service.ticks_until(lambda: "READY=1" in service.heard)
    told = service.health.tell()
    assert told["ok"] and told["reason"] is None
    assert (told["answered"], told["failed"], told["release"]) == (1, 0, "7")
    assert 0 < told["seconds"] < 5
    service.ticks_until(lambda: service.heard[-1] == "STATUS=1 answered, 0 dropped")
    assert service.heard.count("READY=1") == 1


def test_a_camera_that_gives_nothing_keeps_the_page_away_for_a_time_only(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    service.camera.patience = 0.01
    service.camera.fail(CameraFault.GONE, "it was unplugged")
    service.ticks_until(lambda: "it was unplugged" in service.health.trouble())
    assert "READY=1" not in service.heard
    monkeypatch.setattr(service.life, "_patient_until", time.monotonic() + 0.05)
    service.ticks_until(lambda: "READY=1" in service.heard)
    told = service.health.tell()
    assert not told["ok"] and told["reason"] == "camera: it was unplugged"
    assert told["seconds"] is not None  # the model is well
    assert any("STATUS=0 answered" in text and "unplugged" in text for text in service.heard)


def test_frames_that_cannot_be_answered_are_no_health(service: Service) -> None:
    service.camera.give()  # no picture at all
    service.ticks_until(lambda: "decoded" in service.health.trouble())
    told = service.health.tell()
    assert not told["ok"] and (told["answered"], told["failed"]) == (0, 1)
    assert told["reason"] == "no frame was answered: the frame cannot be decoded"
    assert "READY=1" not in service.heard
    service.camera.give(jpeg=jpeg("red", 1))
    service.ticks_until(lambda: "READY=1" in service.heard)
    service.camera.give()  # a damaged one among good ones is the camera's way
    service.ticks_until(lambda: service.health.tell()["failed"] == 2)
    assert service.health.tell()["ok"]


def test_a_model_that_answers_wrongly_is_no_health(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    service.camera.give(jpeg=jpeg("red", 1))
    service.ticks_until(lambda: service.health.answered)
    right = service.test.run()
    wrong = GoldenComparison(
        image=right.image,
        worst=9.0,
        differing=3,
        elements=3,
        expected_class=0,
        found_class=1,
        seconds=0.001,
        reason="0.png: class 1 in place of 0",
    )
    monkeypatch.setattr(type(service.test), "run", lambda *_: wrong)
    assert service.health.tell()["reason"] == "0.png: class 1 in place of 0"

    def fails(*_: object) -> GoldenComparison:
        raise InferenceError("the interpreter failed")

    monkeypatch.setattr(type(service.test), "run", fails)
    told = service.health.tell()
    assert not told["ok"] and told["reason"] == "the interpreter failed"
    assert told["seconds"] is None


def test_a_busy_page_is_no_fault(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    service.camera.give(jpeg=jpeg("red", 1))
    service.ticks_until(lambda: service.health.answered)
    does, tries = service.pipeline.do, [0]

    def full_at_first(work: Callable[[LiveModel], object]) -> object:
        tries[0] += 1
        if tries[0] <= 2:
            raise Overloaded("8 pictures wait to be answered")
        return does(work)

    monkeypatch.setattr(service.pipeline, "do", full_at_first)
    assert service.health.tell()["ok"] and tries[0] == 3
    monkeypatch.setattr(module, "ROOM_SECONDS", 0.1)
    monkeypatch.setattr(service.pipeline, "do", always_full)
    told = service.health.tell()
    assert not told["ok"] and told["reason"] == "8 pictures wait to be answered"


def always_full(_: object) -> object:
    raise Overloaded("8 pictures wait to be answered")


def test_a_golden_picture_is_answered_in_the_thread_of_the_model(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, names = type(service.test).run, []

    def noted(test: object, number: int = 0) -> GoldenComparison:
        names.append(threading.current_thread().name)
        return real(test, number)  # type: ignore[arg-type]

    monkeypatch.setattr(type(service.test), "run", noted)
    service.health.tell()
    assert names == ["inference"]


def test_a_hanging_model_is_told_of_and_gives_no_sign_of_life(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    service.camera.give(jpeg=jpeg("red", 1))
    service.ticks_until(lambda: service.health.answered)
    monkeypatch.setattr(Pipeline, "hangs", property(lambda _: True))
    told = service.health.tell()
    assert not told["ok"] and told["reason"] == "the model does not answer"
    before = len(service.heard)
    for _ in range(5):
        service.life.tick()
    with pytest.raises(BlockingIOError):
        service.listener.recv(4096)
    assert len(service.heard) == before
