"""The service loop: pictures that arrive in a folder get their answers."""

import json
import selectors
import time
from pathlib import Path
from typing import Any, Final

from edge.errors import EdgeError, OutputError
from edge.runtime.classifier import Classifier
from edge.runtime.files import readable
from edge.runtime.golden import GoldenTest
from edge.runtime.health import HealthServer
from edge.runtime.inbox import Inbox
from edge.runtime.notify import Notifier
from edge.runtime.signals import StopSignals
from edge.runtime.streams import say

PAUSE_AFTER_PROBLEM: Final = 5.0  # seconds: a full disk is not asked again at once


class Watcher:
    """Answers pictures until it is told to stop.

    Attributes:
        answered: Pictures that got an answer.
        failed: Pictures that could not be answered.
        problem: Why the folder cannot be served at the moment; empty when it can.
    """

    def __init__(
        self,
        classifier: Classifier,
        inbox: Inbox,
        test: GoldenTest,
        *,
        variant: str,
        release: str | None,
        k: int,
        delete: bool,
    ) -> None:
        """Get ready.

        Args:
            classifier: Loaded.
            inbox: The folder.
            test: For health.
            variant: Name of the model file, for the answers.
            release: Id to tell who asks; None where there are no releases.
            k: Answers per picture.
            delete: Delete a picture that was answered, in place of writing the answer beside it.
        """
        self._classifier = classifier
        self._inbox = inbox
        self._test = test
        self._variant = variant
        self._release = release
        self._k = k
        self._delete = delete
        self._began = time.monotonic()
        self.answered = 0
        self.failed = 0
        self.problem = ""

    def run(
        self,
        selector: selectors.BaseSelector,
        signals: StopSignals,
        notifier: Notifier,
        *,
        server: HealthServer | None,
        interval: float,
        once: bool,
    ) -> None:
        """Go on until a signal comes; with ``once``, until no picture waits.

        Args:
            selector: Its data are functions to call.
            signals: Looked at between two pictures.
            notifier: Told of life between two pictures.
            server: Of health.
            interval: Seconds between two looks at the folder.
            once: Whether to end.

        Raises:
            OutputError: With ``once``: the folder cannot be read, or an answer not be written.
        """

        def attend(seconds: float) -> None:
            """Serve the sockets for so long."""
            end = time.monotonic() + seconds
            while signals.received is None:
                notifier.alive()
                left = max(0.0, end - time.monotonic())
                for key, _ in selector.select(notifier.wait(left)):
                    key.data()
                if server is not None:
                    server.expire()
                if left == 0.0:
                    return

        while signals.received is None:
            for picture in self._look():
                self._serve(picture)
                attend(0.0)
                if signals.received is not None or self.problem:
                    break
            if once and self.problem:
                raise OutputError(self.problem)
            if once and not self._inbox.waiting:
                return
            notifier.status(f"{self.answered} answered, {self.failed} failed {self.problem}")
            attend(PAUSE_AFTER_PROBLEM if self.problem else interval)

    def health(self) -> dict[str, Any]:
        """Run a golden image now, and tell how the service is; times in seconds."""
        reason, seconds = self.problem, None
        try:
            compared = self._test.run()
            reason, seconds = reason or compared.reason, compared.seconds
        except EdgeError as error:
            reason = error.message
        return {
            "release": self._release,
            "variant": self._variant,
            "engine": self._classifier.session.engine,
            "ok": not reason,
            "seconds": seconds,
            "answered": self.answered,
            "failed": self.failed,
            "uptime": time.monotonic() - self._began,
            "reason": reason or None,
        }

    def _look(self) -> list[Path]:
        try:
            found = self._inbox.look()
        except OSError as error:
            self._complain(f"the folder cannot be read: {error.strerror}")
            return []
        self.problem = ""
        return found

    def _serve(self, picture: Path) -> None:
        """Answer one picture; whatever is wrong with it does not end the service."""
        began = time.perf_counter()
        try:
            answer = self._classifier.answer(
                picture, name=readable(picture), k=self._k, variant=self._variant
            )
        except EdgeError as error:
            if not picture.exists():  # whoever brought it took it away again
                self._inbox.forget(picture)
                return
            answer = {"image": readable(picture), "error": error.message}
        answer |= {"seconds": time.perf_counter() - began}
        if self._release is not None:
            answer |= {"release": self._release}
        failed = "error" in answer
        try:
            # A broken picture stays: nobody has read it, so nobody may throw it away.
            if not self._delete or failed:
                self._inbox.answer(picture, answer)
            print(json.dumps(answer, ensure_ascii=False), flush=True)
            self.failed += failed
            self.answered += not failed
            if self._delete and not failed:
                self._inbox.remove(picture)
        except BrokenPipeError:
            raise
        except OSError as error:
            self._complain(f"{picture.name}: its answer cannot be kept: {error.strerror}")

    def _complain(self, problem: str) -> None:
        """Once, not with every look."""
        if problem != self.problem:
            say(f"error: {problem}", err=True)
        self.problem = problem
