"""The newest frame is answered, the others are counted; a camera may come and go."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, cast

import pytest

from edge.errors import CameraError, ImageError, InferenceError, Overloaded
from edge.runtime.cameras.camera import CameraFault
from edge.runtime.live import pipeline as pipeline_module
from edge.runtime.live.model import LiveModel
from edge.runtime.live.pipeline import MOST_JOBS, Pipeline
from tests.unit.live.scripted import ScriptedCamera, TimedModel, until


@contextmanager
def running(
    camera: ScriptedCamera, model: TimedModel, opens: Callable[[], Any] | None = None
) -> Iterator[Pipeline]:
    pipeline = Pipeline(cast(LiveModel, model), opens or (lambda: camera), address="scripted")
    pipeline.start()
    try:
        yield pipeline
    finally:
        model.gate.set()
        camera.end()
        pipeline.close()


def test_only_the_newest_frame_is_answered_and_the_others_are_counted() -> None:
    camera, model = ScriptedCamera(), TimedModel()
    model.gate.clear()
    with running(camera, model) as pipeline:
        camera.give()
        until(lambda: model.threads)  # the first is being answered
        for _ in range(5):
            camera.give()
        camera.give(lost=3)
        until(lambda: pipeline.newest is not None and pipeline.newest.number == 7)
        model.gate.set()
        until(lambda: len(model.names) == 2)
        assert model.names == ["frame 1", "frame 7"]
        figures = pipeline.figures()
        assert (figures["frames"], figures["dropped"]) == (2, 5 + 3)
        assert len(model.threads) == 1


@pytest.mark.parametrize("seconds", [0.03, 0.15])
def test_an_answer_is_younger_than_two_inferences_and_a_frame_time(seconds: float) -> None:
    camera, model = ScriptedCamera(), TimedModel(seconds)
    period = 0.01
    with running(camera, model) as pipeline:
        end = time.monotonic() + 8 * seconds + 0.2
        while time.monotonic() < end:
            camera.give()
            if not pipeline._jobs:  # somebody else asks all the time
                threading.Thread(target=_asks, args=(pipeline,), daemon=True).start()
            time.sleep(period)
        ages = pipeline.figures()["age_ms"]
        # 50 ms for a machine whose processors are shared.
        assert ages["median"] < 1e3 * (2 * seconds + period + 0.05)
        assert pipeline.figures()["dropped"] > 0
        assert model.names.count("job") >= 3


def test_a_clock_that_jumps_changes_no_age_and_no_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    """A board without a battery learns the time from the network, long after the start."""
    clock = time.time
    camera = ScriptedCamera()
    with running(camera, TimedModel()) as pipeline:
        for jump in (0.0, 1e9, -1e9, 3600.0):
            monkeypatch.setattr(time, "time", lambda jump=jump: clock() + jump)
            monkeypatch.setattr(time, "time_ns", lambda jump=jump: int(1e9 * (clock() + jump)))
            seen = 0 if pipeline.shown is None else pipeline.shown.number
            camera.give()
            shown = pipeline.after(seen, version=-1, seconds=5)
            assert shown is not None
            assert 0 <= shown.age < 1
            began = time.monotonic()
            assert pipeline.after(shown.number, version=-1, seconds=0.05) is None
            assert 0.05 <= time.monotonic() - began < 2
            assert not pipeline.hangs
        assert pipeline.figures()["frames"] == 4


def _asks(pipeline: Pipeline) -> None:
    with suppress(Overloaded):  # at the end of the test
        pipeline.do(lambda model: model.answer(b"", name="job"))


def test_a_caller_waits_for_another_frame_than_its_own() -> None:
    camera, model = ScriptedCamera(), TimedModel()
    with running(camera, model) as pipeline:
        assert pipeline.after(0, version=-1, seconds=0.01) is None
        camera.give()
        until(lambda: pipeline.shown is not None)
        first = pipeline.after(0, version=-1, seconds=5)
        assert first is not None
        assert pipeline.after(first.number, version=pipeline.camera.version, seconds=0.05) is None
        threading.Timer(0.05, camera.give).start()
        second = pipeline.after(first.number, version=pipeline.camera.version, seconds=5)
        assert second is not None
        assert second.number == first.number + 1
        # One from before a restart, when there were more.
        old = pipeline.after(5000, version=-1, seconds=5)
        assert old is not None
        assert old.number == second.number
        assert pipeline.kept(first.number) is not None
        assert pipeline.kept(99) is None


def test_a_camera_that_went_away_is_said_and_comes_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pipeline_module, "REOPEN_SECONDS", 0.02)
    camera, model, opened = ScriptedCamera(), TimedModel(), []
    away = threading.Event()

    def opens() -> ScriptedCamera:
        opened.append(1)
        if away.is_set():
            raise CameraError("no such camera", fault=CameraFault.MISSING, hint="Plug it in.")
        return camera

    with running(camera, model, opens) as pipeline:
        camera.give()
        until(lambda: pipeline.shown is not None)
        version = pipeline.camera.version
        away.set()
        camera.fail(CameraFault.GONE, "it was unplugged")
        until(lambda: pipeline.camera.fault is CameraFault.MISSING)
        assert pipeline.camera.message == "no such camera. Plug it in."
        assert camera.closed == 1
        # Who waits is told at once, and gets no picture from before.
        assert pipeline.after(0, version=version, seconds=5) is None
        assert pipeline.after(0, version=-1, seconds=5) is None
        assert pipeline.newest is None
        away.clear()
        until(lambda: pipeline.camera.ok)
        camera.give()
        until(lambda: pipeline.shown is not None and pipeline.shown.number == 2)
        assert len(opened) >= 3


def test_a_silent_camera_stays_open() -> None:
    camera, model = ScriptedCamera(), TimedModel()
    camera.patience = 0.02
    with running(camera, model) as pipeline:
        until(lambda: pipeline.camera.message == "no picture came")
        assert pipeline.camera.fault is CameraFault.NO_PICTURE
        camera.give()
        until(lambda: pipeline.camera.ok)
        assert camera.closed == 0


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (ImageError("broken"), "the frame cannot be decoded"),
        (InferenceError("NaN"), "NaN"),
        (RuntimeError("the interpreter"), "the frame cannot be answered: the interpreter"),
    ],
)
def test_a_frame_that_cannot_be_answered_does_not_end_the_loop(error: Exception, said: str) -> None:
    camera, model = ScriptedCamera(), TimedModel()
    with running(camera, model) as pipeline:
        model.fails = error
        camera.give()
        until(lambda: pipeline.shown is not None)
        assert pipeline.shown is not None
        assert pipeline.shown.problem == said
        model.fails = None
        camera.give()
        until(lambda: pipeline.shown is not None and pipeline.shown.answered is not None)
        assert pipeline.figures()["unanswered"] == 1


def test_too_many_jobs_are_refused_and_those_that_wait_are_done() -> None:
    camera, model = ScriptedCamera(), TimedModel()
    model.gate.clear()
    done: list[str] = []

    def job() -> None:
        done.append(pipeline.do(lambda m: m.answer(b"", name="job")).stated["image"])

    with running(camera, model) as pipeline:
        threads = [threading.Thread(target=job) for _ in range(MOST_JOBS + 1)]
        threads[0].start()
        until(lambda: model.threads)  # one is at work
        for thread in threads[1:]:
            thread.start()
        until(lambda: len(pipeline._jobs) == MOST_JOBS)
        with pytest.raises(Overloaded, match="8 pictures wait"):
            pipeline.do(lambda m: None)
        model.gate.set()
        for thread in threads:
            thread.join(5)
        assert done == ["job"] * (MOST_JOBS + 1)
        with pytest.raises(ImageError, match="broken"):
            pipeline.do(_raises)
    with pytest.raises(Overloaded):
        pipeline.do(lambda m: None)


def _raises(model: LiveModel) -> None:
    raise ImageError("broken")


def test_a_model_that_hangs_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    camera, model = ScriptedCamera(), TimedModel()
    monkeypatch.setattr(pipeline_module, "JOB_SECONDS", 0.05)
    model.gate.clear()
    with running(camera, model) as pipeline:
        assert not pipeline.hangs
        camera.give()
        until(lambda: pipeline.hangs)
        model.gate.set()
        until(lambda: not pipeline.hangs)
