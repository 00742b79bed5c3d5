"""What a live service tells beside its page: systemd, and whoever asks for its health at a socket.

A release on trial is asked there: it is well when the camera gives pictures, one of them was
answered, and a golden picture gets the answer that it should.
"""

import selectors
import time
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from edge.errors import EdgeError, Overloaded
from edge.runtime.golden import GoldenComparison, SelfTest
from edge.runtime.health import HealthServer, Notifier
from edge.runtime.live.api import LiveContext
from edge.runtime.live.pipeline import Pipeline

TICK_SECONDS: Final = 0.5
ROOM_SECONDS: Final = 5.0  # for a place among the jobs; the pictures of a busy page are no fault
ROOM_TICK: Final = 0.05


class LiveHealth:
    """How the service is.

    Args:
        session: What is served.
        test: The golden self-test; its model is the pipeline's and runs in its thread alone.
    """

    def __init__(self, session: LiveContext, test: SelfTest) -> None:
        self._session = session
        self._test = test

    @property
    def pipeline(self) -> Pipeline:
        """Where frames are answered."""
        return self._session.pipeline

    @property
    def answered(self) -> int:
        """The number of frames that got an answer."""
        frames, _, unanswered = self.pipeline.counts()
        return frames - unanswered

    def trouble(self) -> str:
        """Return why no frame is answered; empty where they are."""
        camera, shown = self.pipeline.camera, self.pipeline.shown
        if not camera.ok:
            return f"camera: {camera.message}".rstrip(".")  # a clause, as every reason
        if self.answered:
            return ""
        if shown is not None and shown.problem:
            return f"no frame was answered: {shown.problem}"
        return "no frame was answered yet"

    def tell(self) -> dict[str, Any]:
        """Run a golden picture now, between two frames, and tell how the service is.

        The fields are those of ``edge.runtime.watch``; times are in seconds.
        """
        seconds: float | None = None
        if self.pipeline.hangs:
            reason = "the model does not answer"
        else:
            try:
                compared = self._golden()
                reason, seconds = compared.reason or self.trouble(), compared.seconds
            except EdgeError as error:
                reason = error.message
        session = self._session
        frames, _, unanswered = self.pipeline.counts()
        return {
            "release": session.release,
            "variant": session.variant.name,
            "engine": self.pipeline.model.model.session.engine,
            "ok": not reason,
            "seconds": seconds,
            "answered": frames - unanswered,
            "failed": unanswered,
            "uptime": time.monotonic() - session.began,
            "reason": reason or None,
        }

    def _golden(self) -> GoldenComparison:
        """Have a golden picture answered; wait for a place where many pictures are sent.

        Raises:
            EdgeError: The model failed, or does not answer.
        """
        end = time.monotonic() + ROOM_SECONDS
        while time.monotonic() < end and not self.pipeline.hangs:
            with suppress(Overloaded):
                return self.pipeline.do(lambda _: self._test.run())
            time.sleep(ROOM_TICK)
        return self.pipeline.do(lambda _: self._test.run())


class Life:
    """Tells systemd of life, and answers for the health; one of them for the loop of a service.

    Args:
        health: Is asked.
        notifier: Leads to systemd.
        selector: Its data are functions to call.
        socket: The path of the Unix socket where the health is told; None for none.
        patience: Seconds for a first answer; then systemd is told that the service is ready all the
            same: a camera that is away must not keep the page away.

    Raises:
        UsageError: The socket cannot be made.
    """

    def __init__(
        self,
        health: LiveHealth,
        notifier: Notifier,
        selector: selectors.BaseSelector,
        socket: Path | None,
        patience: float,
    ) -> None:
        self._health = health
        self._notifier = notifier
        self._selector = selector
        self._server = None if socket is None else HealthServer(socket, selector, self._tell)
        self._ready = False
        self._patient_until = time.monotonic() + patience

    def tick(self) -> None:
        """Do what is due, and wait for a moment or until a socket or a signal wants something.

        A hanging model is no life to tell systemd of.
        """
        pipeline = self._health.pipeline
        if not pipeline.hangs:
            self._notifier.alive()
            self._say()
        for key, _ in self._selector.select(self._notifier.wait(TICK_SECONDS)):
            key.data()
        if self._server is not None:
            self._server.expire()

    def close(self) -> None:
        """Answer for the health no more."""
        if self._server is not None:
            self._server.close()

    def _say(self) -> None:
        """Tell that the service is ready, once, and what it does."""
        trouble = self._health.trouble()
        if not self._ready and (not trouble or time.monotonic() >= self._patient_until):
            self._ready = True
            self._notifier.ready()
        frames, dropped, _ = self._health.pipeline.counts()
        counts = f"{frames} answered, {dropped} dropped"
        self._notifier.status(f"{counts}; {trouble}" if trouble else counts)

    def _tell(self) -> dict[str, Any]:
        self._notifier.alive(early=1.0)  # none can be sent while the model answers
        return self._health.tell()
