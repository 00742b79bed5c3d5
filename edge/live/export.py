"""Makes a bundle of what was taught: ``edge build`` on the pictures, in a process of its own.

The bundle has a score on pictures that were held out, all variants, and goes to ``edge sign`` and
``edge deploy``. The process works at a low priority, so that the camera's pictures go on being
answered.
"""

import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from edge.dataset.layout import find_layout, normal
from edge.errors import DataError, OutputError, UsageError
from edge.live.pictures import Pictures, folder_name
from edge.processes import KEPT, Flood, Lines
from edge.runtime import checked
from edge.runtime.child import ended
from edge.runtime.files import readable
from edge.runtime.place import writing
from edge.runtime.printable import one_line
from edge.wording import counted, joined, percent, span

NEEDED: Final = 3  # pictures of a class: one to learn from, one to choose by, one to be scored on
CLASSES: Final = 2
_NAME: Final = re.compile(r"\w[\w .-]{0,99}")  # of a folder, from whoever may press the button
_COMMAND: Final = (sys.executable, "-P", "-m", "edge")
_NICE: Final = 10  # added to the priority's number: half of a core's time goes to others
_GRACE_SECONDS: Final = 5.0  # for the build to clean up after itself
_SHOWN: Final = 300  # characters of a line
_REPORT_BYTES: Final = 64 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportState:
    """How an export goes on.

    Attributes:
        running: Whether it runs.
        message: Its last line, or what came of it.
        bundle: What it wrote; empty while there is none.
        error: Why there is none; empty while that is not known.
    """

    running: bool = False
    message: str = ""
    bundle: str = ""
    error: str = ""


class BundleExporter:
    """Builds bundles one at a time, as ``edge.runtime.live.hooks.Exporter``.

    Args:
        pictures: What was taught.
        bundles: The folder that the bundles are written to, by their names.
        cache: The root of the stage cache, which spares the second build most of its work.
        command: The words that run edge.
    """

    def __init__(
        self, pictures: Pictures, bundles: Path, cache: Path, command: Sequence[str] = _COMMAND
    ) -> None:
        self._pictures, self._bundles, self._cache = pictures, bundles, cache
        self._command = command
        self._lock = threading.Lock()
        self._state = ExportState()
        self._process: subprocess.Popen[bytes] | None = None
        self._reader: threading.Thread | None = None
        self._closed = False

    @property
    def state(self) -> dict[str, Any]:
        """See ``Exporter``."""
        with self._lock:
            now = self._state
        return {
            "offered": True,
            "running": now.running,
            "message": now.message,
            "bundle": now.bundle or None,
            "error": now.error or None,
        }

    def start(self, name: str) -> None:
        """See ``Exporter``.

        Raises:
            UsageError: Another export runs, the name cannot be that of a folder, or pictures or
                classes are missing; the message says how many.
            OutputError: A bundle has that name, or the folder cannot be written.
        """
        with self._lock:
            if self._closed or self._state.running:
                raise UsageError(
                    "an export is running already", hint="Wait until it has ended; then try again."
                )
            target = self._target(name)
            check_enough(self._pictures.by_label)
            check_folders(self._pictures)
            self._state = ExportState(running=True, message="edge build starts")
            try:
                self._process = self._started(name, target)
            except BaseException:
                self._state = ExportState()
                raise
            self._reader = threading.Thread(
                target=self._follow, args=(self._process, target), name="export", daemon=True
            )
            self._reader.start()

    def close(self) -> None:
        """End what is running; a bundle that is not whole is not left."""
        with self._lock:
            self._closed = True
            process, reader = self._process, self._reader
        if process is not None and process.poll() is None:
            _end(process)
        if reader is not None:
            reader.join(_GRACE_SECONDS)

    def _target(self, name: str) -> Path:
        if not _NAME.fullmatch(name) or name != name.strip(" .") or len(name.encode()) > 200:
            raise UsageError(
                f"{one_line(name, 80)!r} cannot be the name of a bundle",
                hint="Letters, digits, spaces, dots, - and _ are allowed; begin with a letter.",
            )
        target = self._bundles / name
        if os.path.lexists(target):
            raise OutputError(f"{readable(target)} exists", hint="Choose another name.")
        with writing(self._bundles, "See who may write to the session's folder."):
            self._bundles.mkdir(exist_ok=True)
        return target

    def _started(self, name: str, target: Path) -> "subprocess.Popen[bytes]":
        words = ["build", str(self._pictures.folder.absolute()), "--head", "imprinted"]
        words += ["--output", str(target.absolute()), "--name", name]
        words += ["--cache", str(self._cache.absolute())]
        try:
            process = subprocess.Popen(
                [*self._command, *words],
                bufsize=0,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                start_new_session=True,  # Ctrl-C reaches this process alone, which ends it
            )
        except OSError as error:
            raise UsageError(f"edge build cannot be run: {error.strerror}") from error
        with suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, process.pid, _NICE)
        return process

    def _follow(self, process: "subprocess.Popen[bytes]", target: Path) -> None:
        """Pass on what the build says, and what came of it."""
        said: list[str] = []
        assert process.stderr is not None
        try:
            lines = Lines(process.stderr.fileno(), longest=KEPT, most=_REPORT_BYTES)
            while (line := lines.next()) is not None:
                text = one_line(line.decode(errors="replace").strip(), _SHOWN)
                said = [*said[-20:], text]
                if text and not text.startswith(("note:", "error:", "hint:")):
                    self._say(replace(self._state, message=text))
        except (Flood, OSError):
            _end(process)
        finally:
            process.stderr.close()
        code = process.wait()
        self._say(_ended_well(target) if code == 0 else _failed(code, said, closed=self._closed))

    def _say(self, state: ExportState) -> None:
        with self._lock:
            self._state = state


def check_enough(by_label: Mapping[str, Sequence[str]]) -> None:
    """Refuse what ``edge build`` would refuse, and say how many pictures are missing.

    Args:
        by_label: The sha256 of the pictures of each class.

    Raises:
        UsageError: There are fewer classes than two, or a class has too few pictures.
    """
    if len(by_label) < CLASSES:
        has = f"{next(iter(by_label))!r} is the only class" if by_label else "there is no class yet"
        raise UsageError(
            f"a bundle needs at least {CLASSES} classes with pictures; {has}",
            hint=f"Teach another class, with at least {NEEDED} pictures.",
        )
    missing = [
        f"{label!r} has {len(images)} and needs {NEEDED - len(images)} more"
        for label, images in by_label.items()
        if len(images) < NEEDED
    ]
    if missing:
        raise UsageError(
            f"every class needs at least {NEEDED} different pictures: one to learn from, one to "
            f"choose by, one to be scored on; {joined(missing)}",
            hint="Teach these classes more pictures; a score that tells something needs 20 and "
            "more of each.",
        )


def check_folders(pictures: Pictures) -> None:
    """Refuse classes whose names ``edge build`` cannot take from the folders.

    Raises:
        UsageError: A folder cannot be called as the class, or would be taken for a split, such
            as ``train``.
    """
    labels = list(pictures.by_label)
    odd = next((label for label in labels if folder_name(label) != label), None)
    if odd is not None:
        raise UsageError(
            f"edge build names classes after folders, and none can be called {odd!r}",
            hint="Rename the class: no /, no dot or % in front, at most 255 bytes.",
        )
    try:
        found = set(find_layout(pictures.folder).splits["train"])
    except DataError as error:
        raise UsageError(
            f"edge build refuses the pictures: {error.message}", hint=error.hint
        ) from error
    lost = [label for label in labels if normal(label) not in found]
    if lost:
        raise UsageError(
            f"edge build would not take the folder {lost[0]!r} for a class",
            hint="Rename the class: train, val and test, for example, are names of splits.",
        )


def _ended_well(target: Path) -> ExportState:
    """Return what to say of a bundle that was built: its score, and on how many pictures."""
    message = "the bundle is built"
    try:
        report = checked.read_json(
            target / "report.json", "the report", max_bytes=_REPORT_BYTES, finite=False
        )
        default = report["default_variant"]
        row = next(item for item in report["variants"] if item["name"] == default)
        count = sum(report["data"]["counts"]["test"].values())
        message += (
            f": {percent(row['top1'])} of {counted(count, 'held-out picture')} right with "
            f"{default} (95 %: {span(row['top1_interval'])})"
        )
    except (OSError, ValueError, KeyError, TypeError, StopIteration, AttributeError):
        message += "; its report cannot be read"
    return ExportState(message=message, bundle=str(target))


def _failed(code: int, said: Sequence[str], *, closed: bool) -> ExportState:
    if closed:
        return ExportState(message="the export was ended", error="the export was ended")
    errors = [text.removeprefix("error:").strip() for text in said if text.startswith("error:")]
    hints = [text for text in said if text.startswith("hint:")]
    why = " ".join([*errors[-1:], *hints[-1:]]) or " ".join(said[-2:]) or "it said nothing"
    error = f"edge build {ended(code)}: {why}"
    return ExportState(message="the export failed", error=error)


def _end(process: "subprocess.Popen[bytes]") -> None:
    """End the build: it passes the signal on to its own child, and is killed where it does not."""
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(_GRACE_SECONDS)
    except subprocess.TimeoutExpired:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
