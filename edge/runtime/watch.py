"""The service loop: pictures that arrive in a folder get their answers."""

import errno
import json
import selectors
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Final

from edge.errors import EdgeError, OutputError
from edge.runtime.attempts import Attempts, ChildEnded, DecodingChild, key_of
from edge.runtime.files import readable
from edge.runtime.golden import SelfTest
from edge.runtime.health import HealthServer, Notifier
from edge.runtime.inbox import Inbox
from edge.runtime.signals import StopSignals
from edge.runtime.streams import reader_left, say
from edge.runtime.tasks.model import Predictor

PAUSE_AFTER_PROBLEM: Final = 5.0  # seconds: a full disk is not asked again at once
ENDS: Final = 2  # processes that a picture may end; after that it has an error for its answer
CAREFUL_SECONDS: Final = 600.0  # after such an end: all that systemd counts restarts in
EARLY: Final = 0.75  # the share of a sign of life's interval by which it may come before a picture
_FULL: Final = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.ESTALE)  # never one picture's fault


@dataclass(frozen=True, slots=True, kw_only=True)
class Loop:
    """What goes on beside the pictures.

    Attributes:
        selector: Its data are functions to call.
        signals: The signals, which are looked at between two pictures.
        notifier: Is told of life between two pictures.
        server: The server of its health; None where nobody may ask.
    """

    selector: selectors.BaseSelector
    signals: StopSignals
    notifier: Notifier
    server: HealthServer | None

    def attend(self, seconds: float, until: Callable[[], bool] = lambda: False) -> None:
        """Serve the sockets for so long, until a signal comes or something is the case."""
        end = time.monotonic() + seconds
        while self.signals.received is None and not until():
            self.notifier.alive()
            left = max(0.0, end - time.monotonic())
            for key, _ in self.selector.select(self.notifier.wait(left)):
                key.data()
            if self.server is not None:
                self.server.expire()
            if left == 0.0:
                return


class Watcher:
    """Answers pictures until it is told to stop.

    Attributes:
        answered: Pictures that got an answer.
        failed: Pictures that could not be answered.
        problem: Why the folder cannot be served at the moment; empty when it can.
    """

    def __init__(
        self,
        model: Predictor,
        inbox: Inbox,
        test: SelfTest,
        *,
        variant: str,
        release: str | None,
        k: int,
        delete: bool,
        supervised: bool,
    ) -> None:
        """Get ready.

        Args:
            model: Loaded.
            inbox: The folder.
            test: For health.
            variant: Name of the model file, for the answers.
            release: Id to tell who asks; None where there are no releases.
            k: Answers per picture.
            delete: Delete a picture that was answered, in place of writing the answer beside it.
            supervised: Whether a service manager started the process.
        """
        self._model = model
        self._inbox = inbox
        self._test = test
        self._variant = variant
        self._release = release
        self._k = k
        self._delete = delete
        self._supervised = supervised
        self._began = time.monotonic()
        self._attempts = Attempts(inbox.folder, inbox.identity)
        self._careful_until = self._began + CAREFUL_SECONDS if self._attempts else 0.0
        self.answered = 0
        self.failed = 0
        self.problem = ""

    @property
    def labels(self) -> tuple[str, ...]:
        """The names of the classes that the model knows now, or of keypoints."""
        return self._model.labels

    def close(self) -> None:
        """Answer no more pictures."""
        self._attempts.close()

    def run(self, loop: Loop, *, interval: float, once: bool) -> None:
        """Go on until a signal comes; with ``once``, until no picture waits.

        Args:
            loop: What goes on beside.
            interval: Seconds between two looks at the folder.
            once: Whether to end.

        Raises:
            OutputError: With ``once``: the folder cannot be read, or an answer not be written.
        """
        if self._careful_until:
            _tell(
                "note: an earlier process ended while it answered a picture: for ten minutes "
                "pictures are decoded in a process of their own"
            )
        while loop.signals.received is None:
            for picture in self._look():
                self._serve(picture, loop)
                loop.attend(0.0)
                # Where pictures go when they are answered, each one makes room.
                if loop.signals.received is not None or (self.problem and not self._delete):
                    break
            if once and self.problem:
                raise OutputError(self.problem)
            if once and not self._inbox.waiting:
                return
            loop.notifier.status(f"{self.answered} answered, {self.failed} failed {self.problem}")
            loop.attend(PAUSE_AFTER_PROBLEM if self.problem else interval)

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
            "engine": self._model.session.engine,
            "ok": not reason,
            "seconds": seconds,
            "answered": self.answered,
            "failed": self.failed,
            "uptime": time.monotonic() - self._began,
            "reason": reason or None,
        }

    def _look(self) -> list[Path]:
        """Return the pictures to answer; those at which a process ended come last."""
        try:
            pictures = self._inbox.look()
        except OSError as error:
            self._complain(f"the folder cannot be read: {error.strerror}")
            return []
        self.problem = ""
        if self._attempts:
            pictures.sort(key=lambda picture: self._attempts.count(self._key(picture)))
        return pictures

    def _key(self, picture: Path) -> str:
        return key_of(picture.name, self._inbox.stamp(picture))

    def _serve(self, picture: Path, loop: Loop) -> None:
        """Answer one picture; whatever is wrong with it does not end the service."""
        began = time.perf_counter()
        loop.notifier.alive(early=EARLY)
        key, name = self._key(picture), readable(picture)
        try:
            if self._attempts.count(key) >= ENDS:
                answer = _poisonous(name, "")
            else:
                opened = self._inbox.open(picture)
                if opened is None:  # it went away, or changes: the next look tells
                    return
                with opened as stream:
                    answered = self._answer(stream, key, name, loop)
                    if answered is None or not self._inbox.unchanged(picture, stream):
                        return
                    answer = answered
        except OSError as error:
            answer = {"image": name, "error": f"{name}: it cannot be read: {error.strerror}"}
        answer |= {"seconds": time.perf_counter() - began}
        if self._release is not None:
            answer |= {"release": self._release}
        self._keep(picture, key, answer)

    def _answer(self, stream: BinaryIO, key: str, name: str, loop: Loop) -> dict[str, Any] | None:
        """Return what the picture shows, or why that cannot be said.

        It is None where it is to be tried again.

        Raises:
            OSError: It cannot be read.
        """
        stated: dict[str, Any] = {"name": name, "k": self._k, "variant": self._variant}
        self._attempts.begin(key)
        try:
            if time.monotonic() < self._careful_until:
                return self._answer_apart(stream, key, stated, loop)
            answer = self._model.answer(stream, **stated)
        except OSError:
            self._attempts.forget(key)
            raise
        except EdgeError as error:
            answer = {"image": name, "error": error.message}
        except Exception as error:  # Pillow, numpy and interpreters raise nearly anything
            why = str(error) or type(error).__name__
            answer = {"image": name, "error": f"{name}: it cannot be answered: {why}"}
        self._attempts.forget(key)
        return answer

    def _answer_apart(
        self, stream: BinaryIO, key: str, stated: dict[str, Any], loop: Loop
    ) -> dict[str, Any] | None:
        """Do as ``_answer``, with a child that decodes the picture."""
        child = DecodingChild(stream, self._model.preprocessing)
        loop.selector.register(child, selectors.EVENT_READ, child.read)
        try:
            while not (child.done or child.late or loop.signals.received is not None):
                loop.attend(1.0, lambda: child.done)
        finally:
            loop.selector.unregister(child)
            ended = child.close()
        if loop.signals.received is not None and not child.done:
            self._attempts.undo(key)
            return None
        try:
            placed = child.placed(ended)
        except ChildEnded:
            self._careful_until = time.monotonic() + CAREFUL_SECONDS
            again = self._attempts.count(key) < ENDS
            _tell(f"note: {stated['name']}: {ended}{'; it is tried once more' * again}")
            return None if again else _poisonous(stated["name"], f" ({ended})")
        answer = self._model.answer_pixels(placed, **stated)
        self._attempts.forget(key)
        return answer

    def _keep(self, picture: Path, key: str, answer: dict[str, Any]) -> None:
        """Write the answer, print it, and forget the picture."""
        name = readable(picture)
        # A broken picture stays: nobody has read it, so nobody may throw it away.
        delete = self._delete and "error" not in answer
        try:
            if not delete:
                self._inbox.answer(picture, answer)
        except OSError as error:
            if self._folder_fails(error):
                self._complain(f"{name}: its answer cannot be kept: {error.strerror}")
                return
            why = f"{name}: its answer cannot be kept: {error.strerror}"
            answer = {**answer, "error": why}
            self._inbox.settle(picture)
        try:
            self._print(answer)
        except BrokenPipeError:
            raise
        except OSError as error:
            self._complain(f"{name}: its answer cannot be printed: {error.strerror}")
            if delete:
                return
        self._attempts.forget(key)
        self.failed += "error" in answer
        self.answered += "error" not in answer
        if delete:
            try:
                self._inbox.remove(picture)
            except OSError as error:
                _tell(f"error: {name}: it cannot be deleted: {error.strerror}")

    def _folder_fails(self, error: OSError) -> bool:
        """Return whether an answer could not be written for a reason that others share."""
        if error.errno in _FULL:
            return True
        try:
            self._inbox.check()
        except OSError:
            return True
        return False

    def _print(self, answer: dict[str, Any]) -> None:
        """Print a line, or none where the journal has gone and the answers lie in the folder.

        Raises:
            BrokenPipeError: Nobody reads, and that matters.
            OSError: It cannot be written.
        """
        print(json.dumps(answer, ensure_ascii=False), flush=True)
        if reader_left() and (self._delete or not self._supervised):
            raise BrokenPipeError

    def _complain(self, problem: str) -> None:
        """Complain once, not with every look."""
        if problem != self.problem:
            _tell(f"error: {problem}")
        self.problem = problem


def _poisonous(name: str, how: str) -> dict[str, Any]:
    """Return the answer to a picture at which processes ended."""
    return {
        "image": name,
        "error": f"{name}: {ENDS} processes ended while this picture was answered{how}: it is not "
        "tried again; to have it tried, delete this answer, and replace the picture or touch it",
    }


def _tell(text: str) -> None:
    """Write a line for people, who may have gone."""
    with suppress(OSError):
        say(text, err=True)
