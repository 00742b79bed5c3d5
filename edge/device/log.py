"""``log.jsonl``: what happened to an application's releases, and why."""

import json
import os
import time
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from edge.device.layout import App
from edge.runtime import checked
from edge.runtime.files import write_bytes

KEPT: Final = 500  # lines, when the file is cut
_APPEND: Final = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
_CUT_AT_BYTES: Final = 256_000


def record(app: App, event: str, release: str | None, reason: str = "") -> None:
    """Append one event; it is on the disk when this returns, unless the disk is full.

    What happened has happened: a log that cannot be written undoes it no more.
    """
    entry = {"at": round(time.time(), 3), "event": event, "release": release, "reason": reason}
    line = json.dumps(entry, ensure_ascii=False) + "\n"
    with suppress(OSError):
        app.path.mkdir(parents=True, exist_ok=True)
        _append(app.log, line.encode(errors="replace"))
        if app.log.stat().st_size > _CUT_AT_BYTES:
            write_bytes(app.log, b"".join(app.log.read_bytes().splitlines(keepends=True)[-KEPT:]))


def _append(path: Path, line: bytes) -> None:
    """All of the line or nothing of it, but for a power cut."""
    descriptor = os.open(path, _APPEND, 0o600)
    try:
        before = os.fstat(descriptor).st_size
        if os.write(descriptor, line) != len(line):
            os.ftruncate(descriptor, before)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def events(app: App, count: int) -> list[dict[str, Any]]:
    """The last ``count`` events, oldest first; a line that a power cut tore is left out."""
    if not app.log.is_file():
        return []
    found = []
    for line in app.log.read_bytes().splitlines()[-count:]:
        try:
            entry = checked.parse_json(line)
        except ValueError:
            continue
        if isinstance(entry, dict):
            found.append(entry)
    return found
