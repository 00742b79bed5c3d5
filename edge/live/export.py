"""Makes a bundle of what was taught: ``edge build`` on the pictures, in a process of its own.

The bundle has a score on pictures that were held out, by whole presses of the button wherever a
class has enough of them, all variants, and goes to ``edge sign`` and
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
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from edge.dataset.groups import FILE, GROUP
from edge.dataset.layout import find_layout, normal
from edge.dataset.tables import table_bytes
from edge.errors import DataError, UsageError
from edge.live.pictures import Pictures, folder_name
from edge.processes import KEPT, Flood, Lines
from edge.runtime import checked
from edge.runtime.child import die_with, ended
from edge.runtime.files import readable, write_bytes
from edge.runtime.place import writing
from edge.runtime.printable import one_line
from edge.wording import counted, joined, listed, percent, span

GROUPS_NAME: Final = "groups.csv"  # in the session's folder: what every picture was taken with
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
        self._begun: frozenset[str] = frozenset()  # the pictures that there were at the start

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
            UsageError: Another export runs, the name cannot be that of a folder or is that of a
                bundle, or pictures or classes are missing; the message says how many.
            OutputError: The folder cannot be written.
        """
        with self._lock:
            if self._closed or self._state.running:
                raise UsageError(
                    "an export is running already", hint="Wait until it has ended; then try again."
                )
            target = self._target(name)
            by_label = self._pictures.by_label
            check_enough(by_label)
            self._begun = _images(by_label)
            check_folders(self._pictures)
            write_groups(self._pictures)
            self._state = ExportState(running=True, message="edge build starts")
            started: Future[subprocess.Popen[bytes]] = Future()
            self._reader = threading.Thread(
                target=self._build, args=(name, target, started), name="export", daemon=True
            )
            self._reader.start()
            try:
                self._process = started.result()
            except BaseException:
                self._state = ExportState()
                raise

    def close(self) -> None:
        """End what is running; a bundle that is not whole is not left."""
        with self._lock:
            self._closed = True
            process, reader = self._process, self._reader
        if process is not None and process.poll() is None:
            _end(process)
        if reader is not None:
            reader.join(_GRACE_SECONDS)

    def _build(self, name: str, target: Path, started: "Future[subprocess.Popen[bytes]]") -> None:
        """Start the build, and follow it to its end.

        One thread does both: the system kills the build when the thread that started it ends, as
        it does when this process is killed.
        """
        try:
            process = self._started(name, target)
        except BaseException as error:
            started.set_exception(error)
            return
        started.set_result(process)
        self._follow(process, target)

    def _target(self, name: str) -> Path:
        if not _NAME.fullmatch(name) or name != name.strip(" .") or len(name.encode()) > 200:
            raise UsageError(
                f"{one_line(name, 80)!r} cannot be the name of a bundle",
                hint="Letters, digits, spaces, dots, - and _ are allowed; begin with a letter.",
            )
        target = self._bundles / name
        if os.path.lexists(target):
            raise UsageError(f"{readable(target)} exists", hint="Choose another name.")
        with writing(self._bundles, "See who may write to the session's folder."):
            self._bundles.mkdir(exist_ok=True)
        return target

    def _started(self, name: str, target: Path) -> "subprocess.Popen[bytes]":
        words = ["build", str(self._pictures.folder.absolute()), "--head", "imprinted"]
        words += ["--output", str(target.absolute()), "--name", name]
        words += ["--cache", str(self._cache.absolute())]
        words += ["--groups", str(_groups_path(self._pictures).absolute()), "--divide-groups"]
        parent = os.getpid()
        try:
            process = subprocess.Popen(
                [*self._command, *words],
                bufsize=0,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                start_new_session=True,  # Ctrl-C reaches this process alone, which ends it
                preexec_fn=lambda: die_with(parent),
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
        if code:
            self._say(_failed(code, said, closed=self._closed))
        else:
            since = len(_images(self._pictures.by_label) - self._begun)
            self._say(_ended_well(target, since))

    def _say(self, state: ExportState) -> None:
        with self._lock:
            self._state = state


def _images(by_label: Mapping[str, Sequence[str]]) -> frozenset[str]:
    return frozenset(image for images in by_label.values() for image in images)


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


def _groups_path(pictures: Pictures) -> Path:
    return pictures.folder.with_name(GROUPS_NAME)


def write_groups(pictures: Pictures) -> None:
    """Write which pictures were taken with one press of the button, as ``edge build`` reads it.

    Pictures of a class whose press is not known, and those that a person put there, count as one
    press together: that they are alike cannot be ruled out, and a score is not to be flattered.

    Raises:
        OutputError: The session's folder cannot be written.
    """
    presses = pictures.presses
    rows = [
        (name, f"{label}: {presses.get(path, '')}".strip())
        for classes in find_layout(pictures.folder).splits.values()
        for label, paths in classes.items()
        for path in paths
        # A name that is no text cannot be written: such a file stays unnamed.
        if (name := path.relative_to(pictures.folder).as_posix()).isprintable()
    ]
    path = _groups_path(pictures)
    with writing(path, "See who may write to the session's folder."):
        write_bytes(path, table_bytes([(FILE, GROUP), *rows]))


def _ended_well(target: Path, since: int) -> ExportState:
    """Return what to say of a bundle that was built: its score, and on how many pictures.

    Args:
        target: The bundle.
        since: The pictures that were taught since the export began.
    """
    message = "the bundle is built"
    try:
        report = checked.read_json(
            target / "report.json", "the report", max_bytes=_REPORT_BYTES, finite=False
        )
        default = report["default_variant"]
        row = next(item for item in report["variants"] if item["name"] == default)
        count = sum(report["data"]["counts"]["test"].values())
        interval = row["top1_interval"]
        message += (
            f": {percent(row['top1'])} of {counted(count, 'held-out picture')} right with "
            f"{default} (95 %: {span(interval)}){_worth(report['data'], since)}"
        )
    except (OSError, ValueError, KeyError, TypeError, StopIteration, AttributeError):
        message += "; its report cannot be read"
    return ExportState(message=message, bundle=str(target))


def _worth(data: Mapping[str, Any], since: int) -> str:
    """Return what a score is worth, by how the presses of the button were divided; clauses."""
    groups = data.get("groups")
    if groups is None:
        return ""
    parted, late = groups["parted"], groups["unnamed"]
    more = ""
    if late:
        came = "picture that came" if late == 1 else "pictures that came"
        more += (
            f"; {late} {came} after it began {_is(late)} part of it, each as if by a press of its "
            "own, which may flatter"
        )
    if (missing := since - late) > 0:
        more += f"; {counted(missing, 'picture')} that came later {_is(missing)} not part of it"
    if not parted:
        whole = "" if late else "; none of these is of a press of the button that was learnt"
        return f"{whole}{more}"
    names = listed([repr(label) for label in parted], 5)
    return (
        f"; this is flattered: {names} {'has' if len(parted) == 1 else 'have'} fewer than "
        f"{groups['needed']} presses of the button, so that pictures of one press were learnt and "
        f"others of it scored; press {groups['needed']} times or more for each class, on different "
        f"occasions, and export again{more}"
    )


def _is(count: int) -> str:
    return "is" if count == 1 else "are"


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
