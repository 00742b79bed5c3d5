"""Capture, then inference, always on the newest frame: what came in between is counted, not queued.

One thread reads the camera and keeps one frame. Another one owns the model: it answers that frame,
publishes it with its answer, and between two frames does at most one job of somebody else. So the
age of an answer is at most a frame time, the job, and its own inference, whatever the load.
"""

import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeout
from dataclasses import dataclass, field, replace
from typing import Any, Final, TypeVar

import numpy as np

from edge.errors import CameraError, EdgeError, ImageError, Overloaded
from edge.runtime.cameras.camera import Camera, CameraDescription, CameraFault, Frame
from edge.runtime.live.model import LiveAnswer, LiveModel
from edge.runtime.streams import say

READ_SECONDS: Final = 2.0  # without a picture before the page is told
REOPEN_SECONDS: Final = 1.0  # between two attempts to open a camera that went away
MOST_JOBS: Final = 8  # that wait; whoever comes then is asked to come again
KEPT: Final = 4  # answers that a mask can be asked of
RECENT: Final = 600  # frames that the figures are of: a minute at 10 a second
RATE_SECONDS: Final = 5.0  # that rates are counted over
JOB_SECONDS: Final = 60.0  # for a job that was taken; beyond it somebody is told that it hangs
ResultT = TypeVar("ResultT")


@dataclass(frozen=True, slots=True, kw_only=True)
class ShownFrame:
    """A frame with its answer.

    Attributes:
        number: Counted from 1 by the pipeline; larger for a later frame.
        frame: The frame.
        answered: What it shows; None where it could not be answered.
        problem: Why not; empty where it could.
        age: Seconds from the capture to the answer.
    """

    number: int
    frame: Frame
    answered: LiveAnswer | None
    problem: str
    age: float


@dataclass(frozen=True, slots=True, kw_only=True)
class CameraState:
    """How the camera is.

    Attributes:
        ok: Whether pictures come.
        address: What was asked for.
        description: What answered; None before any did.
        fault: Why none come; None while they do.
        message: The same as a sentence with its way out; empty while they do.
        version: Counted up with every change.
    """

    ok: bool
    address: str
    description: CameraDescription | None = None
    fault: CameraFault | None = None
    message: str = ""
    version: int = 0

    def to_json(self) -> dict[str, Any]:
        """Return the fields as JSON values."""
        seen = self.description
        return {
            "ok": self.ok,
            "address": self.address if seen is None else seen.address,
            "name": None if seen is None else seen.name,
            "format": None if seen is None else seen.format,
            "width": None if seen is None else seen.width,
            "height": None if seen is None else seen.height,
            "rate": None if seen is None else seen.rate,
            "fault": None if self.fault is None else str(self.fault),
            "message": self.message,
            "version": self.version,
            "notes": [] if seen is None else list(seen.notes),
        }


@dataclass(frozen=True, slots=True)
class _Job:
    work: Callable[[LiveModel], Any]
    result: "Future[Any]"


class Pipeline:
    """The two threads.

    Args:
        model: Is used by one of the threads alone, once ``start`` was called.
        open_camera: Opens the camera, at the start and whenever it went away.
        address: What was asked for, for messages.
    """

    def __init__(
        self, model: LiveModel, open_camera: Callable[[], Camera], *, address: str
    ) -> None:
        self._model = model
        self._open = open_camera
        self._lock = threading.Lock()
        # Apart, since a frame that arrives is no news to those who wait for its answer.
        self._work = threading.Condition(self._lock)
        self._news = threading.Condition(self._lock)
        self._waiting: Frame | None = None
        self._newest: Frame | None = None
        self._jobs: deque[_Job] = deque()
        self._last: deque[ShownFrame] = deque(maxlen=KEPT)
        self._camera = CameraState(
            ok=False,
            address=address,
            fault=CameraFault.NO_PICTURE,
            message="the camera is being opened",
        )
        self._stopped = False
        self._busy_since: float | None = None
        self._figures = _Figures()
        self._threads = [
            threading.Thread(target=self._capture, name="capture", daemon=True),
            threading.Thread(target=self._infer, name="inference", daemon=True),
        ]

    def start(self) -> None:
        """Begin."""
        for thread in self._threads:
            thread.start()

    def close(self) -> None:
        """Let the camera go, and refuse further jobs."""
        with self._lock:
            self._stopped = True
            jobs, self._jobs = self._jobs, deque()
            self._work.notify_all()
            self._news.notify_all()
        for job in jobs:
            job.result.set_exception(Overloaded("the service ends"))
        for thread in self._threads:
            if thread.is_alive():
                thread.join(READ_SECONDS + 3.0)

    @property
    def model(self) -> LiveModel:
        """The model; what of it does not run it may be read from any thread."""
        return self._model

    @property
    def camera(self) -> CameraState:
        """How the camera is now."""
        return self._camera

    @property
    def shown(self) -> ShownFrame | None:
        """The newest frame that was answered; None before the first."""
        return self._last[-1] if self._last else None

    def kept(self, number: int) -> ShownFrame | None:
        """Return one of the last frames by its number; None where it is none of them."""
        with self._lock:
            return next((shown for shown in self._last if shown.number == number), None)

    @property
    def newest(self) -> Frame | None:
        """The newest frame that the camera gave; None before the first, or while none come."""
        return self._newest if self._camera.ok else None

    @property
    def stopped(self) -> bool:
        """Whether the service ends."""
        return self._stopped

    @property
    def hangs(self) -> bool:
        """Whether one inference or job has lasted longer than any should."""
        since = self._busy_since
        return since is not None and time.monotonic() - since > JOB_SECONDS

    def after(self, number: int, *, version: int, seconds: float) -> ShownFrame | None:
        """Wait for another frame than ``number``.

        Args:
            number: That of the frame which the caller has, be it one from before a restart.
            version: The version of the camera's state that the caller knows; -1 for none. Another
                one ends the wait, as does a camera that gives nothing where the caller knows none.
            seconds: The longest wait.

        Returns:
            The newest frame; None where the time is over or the camera's state is another, so that
            no picture from before a fault is taken for one of now.
        """
        with self._lock:
            end = time.monotonic() + seconds
            while not self._stopped:
                shown, camera = self.shown, self._camera
                if version != camera.version and (version != -1 or not camera.ok):
                    return None
                if camera.ok and shown is not None and shown.number != number:
                    return shown
                left = end - time.monotonic()
                if left <= 0:
                    return None
                self._news.wait(left)
        return None

    def do(self, work: Callable[[LiveModel], ResultT]) -> ResultT:
        """Have the inference thread do something with the model between two frames.

        Raises:
            Overloaded: Too many wait already, or the service ends.
            EdgeError: What the work raises.
        """
        result: Future[ResultT] = Future()
        with self._lock:
            if self._stopped or len(self._jobs) >= MOST_JOBS:
                raise Overloaded(
                    f"{len(self._jobs)} pictures wait to be answered",
                    hint="Send it again in a second.",
                )
            self._jobs.append(_Job(work, result))
            self._work.notify()
        try:
            return result.result(JOB_SECONDS)
        except FutureTimeout:
            raise Overloaded(f"the model did not answer within {JOB_SECONDS:.0f} s") from None

    def counts(self) -> tuple[int, int, int]:
        """Return how many frames were taken, let go, and taken but not answered."""
        with self._lock:
            return self._figures.frames, self._figures.dropped, self._figures.unanswered

    def figures(self) -> dict[str, Any]:
        """Return rates, ages and times of the last frames as JSON values; see docs/live.md."""
        with self._lock:
            figures = self._figures.copy()
        return figures.to_json()  # without the lock, which every frame waits for

    # The capture thread.

    def _capture(self) -> None:
        while not self._stopped:
            try:
                with self._open() as camera:
                    self._state(ok=True, description=camera.description)
                    self._read(camera)
            except CameraError as error:
                self._failed(CameraFault(error.fault), error)
            except EdgeError as error:
                self._failed(CameraFault.UNSUPPORTED, error)
            except Exception as error:  # a driver's fault must not end the page
                said = EdgeError(f"the camera failed: {error or type(error).__name__}")
                self._failed(CameraFault.GONE, said)
            with self._lock:
                self._news.wait_for(lambda: self._stopped, REOPEN_SECONDS)

    def _read(self, camera: Camera) -> None:
        """Keep the newest frame until the camera goes away."""
        while not self._stopped:
            try:
                frame = camera.read(READ_SECONDS)
            except CameraError as error:
                if error.fault != CameraFault.NO_PICTURE:
                    raise
                self._failed(CameraFault.NO_PICTURE, error)
                continue
            if not self._camera.ok:
                self._state(ok=True, description=camera.description)
            with self._lock:
                self._figures.arrived(frame.lost + (self._waiting is not None))
                self._waiting = self._newest = frame
                self._work.notify()

    def _failed(self, fault: CameraFault, error: EdgeError) -> None:
        message = f"{error.message}. {error.hint}".strip() if error.hint else error.message
        if message != self._camera.message:
            say(f"note: camera: {message}", err=True)
        self._state(ok=False, fault=fault, message=message)

    def _state(self, **fields: Any) -> None:
        """Change what is said of the camera, and wake who waits where it is news."""
        cleared = {"fault": None, "message": ""} if fields["ok"] else {}
        with self._lock:
            new = replace(self._camera, **(cleared | fields))
            if new != self._camera:
                self._camera = replace(new, version=self._camera.version + 1)
                self._news.notify_all()

    # The inference thread.

    def _infer(self) -> None:
        while True:
            with self._lock:
                while not (self._stopped or self._waiting is not None or self._jobs):
                    self._work.wait()
                if self._stopped:
                    return
                frame, self._waiting = self._waiting, None
                job = self._jobs.popleft() if self._jobs else None
                self._busy_since = time.monotonic()
            if frame is not None:
                self._answer(frame)
            if job is not None:
                self._busy_since = time.monotonic()
                _run(job, self._model)
            self._busy_since = None

    def _answer(self, frame: Frame) -> None:
        answered, problem = None, ""
        try:
            answered = self._model.answer(frame.jpeg, name=f"frame {frame.number}", smooth=True)
        except ImageError:
            problem = "the frame cannot be decoded"
        except EdgeError as error:
            problem = error.message
        except Exception as error:  # interpreters raise nearly anything
            problem = f"the frame cannot be answered: {error or type(error).__name__}"
        now = time.monotonic()
        with self._lock:
            before = self.shown
            shown = ShownFrame(
                number=1 if before is None else before.number + 1,
                frame=frame,
                answered=answered,
                problem=problem,
                age=now - frame.captured,
            )
            self._last.append(shown)
            self._figures.answered(shown, now)
            self._news.notify_all()


def _run(job: _Job, model: LiveModel) -> None:
    try:
        job.result.set_result(job.work(model))
    except BaseException as error:  # whoever waits for the result gets it
        job.result.set_exception(error)


def _recent() -> "deque[Any]":
    return deque(maxlen=RECENT)


@dataclass(slots=True, kw_only=True)
class _Figures:
    """Counts, and the last frames' times; guarded by the pipeline's lock."""

    frames: int = 0
    dropped: int = 0
    unanswered: int = 0
    arrivals: "deque[float]" = field(default_factory=_recent)
    shown: "deque[float]" = field(default_factory=_recent)
    ages: "deque[float]" = field(default_factory=_recent)
    steps: "deque[tuple[float, float, float]]" = field(default_factory=_recent)

    def copy(self) -> "_Figures":
        """Return the figures of this moment, whatever comes next."""
        return replace(
            self,
            arrivals=self.arrivals.copy(),
            shown=self.shown.copy(),
            ages=self.ages.copy(),
            steps=self.steps.copy(),
        )

    def arrived(self, dropped: int) -> None:
        self.arrivals.append(time.monotonic())
        self.dropped += dropped

    def answered(self, shown: ShownFrame, now: float) -> None:
        self.frames += 1
        self.shown.append(now)
        self.ages.append(shown.age)
        if shown.answered is None:
            self.unanswered += 1
        else:
            steps = shown.answered.steps
            self.steps.append((steps.preprocess, steps.inference, steps.postprocess))

    def to_json(self) -> dict[str, Any]:
        now = time.monotonic()
        steps = np.median(self.steps, axis=0).tolist() if self.steps else [None] * 3
        names = ("preprocess_ms", "inference_ms", "postprocess_ms")
        return {
            "fps": _rate(self.shown, now),
            "camera_fps": _rate(self.arrivals, now),
            "age_ms": _spread(self.ages),
            "frames": self.frames,
            "dropped": self.dropped,
            "unanswered": self.unanswered,
        } | {
            name: None if value is None else 1e3 * value
            for name, value in zip(names, steps, strict=True)
        }


def _rate(times: "deque[float]", now: float) -> float:
    """Return events a second in the last seconds."""
    recent = [moment for moment in times if now - moment <= RATE_SECONDS]
    if len(recent) < 2:
        return 0.0
    return (len(recent) - 1) / max(now - recent[0], 1e-3)


def _spread(ages: "deque[float]") -> dict[str, float] | None:
    if not ages:
        return None
    median, p95, most = np.percentile(np.asarray(ages), (50, 95, 100)).tolist()
    return {"median": 1e3 * median, "p95": 1e3 * p95, "max": 1e3 * most}
