"""The index of a folder: each picture's tags, in one SQLite file; safe against kill -9."""

import json
import os
import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from edge.cache import content_key
from edge.errors import OutputError, UsageError
from edge.tagging.tags import Tag, Tagged

_TABLES = """
CREATE TABLE IF NOT EXISTS settings (value TEXT);
CREATE TABLE IF NOT EXISTS pictures (path BLOB PRIMARY KEY, size INTEGER, mtime_ns INTEGER,
    problem TEXT) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS tags (path BLOB, label TEXT, score REAL, PRIMARY KEY (path, label))
    WITHOUT ROWID;
PRAGMA user_version = 1;
"""
VERSION = 1


@dataclass(frozen=True, slots=True)
class Stamp:
    """What tells that a file is the one that was tagged: bytes, and time of change (ns)."""

    size: int
    mtime_ns: int


def default_index(cache: Path, directory: Path) -> Path:
    """The index of a folder in the cache, by the folder's real path."""
    name = content_key("tags", {"folder": os.fsencode(directory.resolve()).hex()})
    return cache / "tags" / f"{name}.sqlite"


class TagIndex:
    """The tags of a folder, all by one model with one threshold.

    Args:
        path: Of the file; created when missing.

    Raises:
        UsageError: The file is something else.
        OutputError: The file cannot be opened or written.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._database = sqlite3.connect(path, timeout=60, isolation_level=None)
            self._check()
            self._database.execute("PRAGMA journal_mode=WAL")
            self._database.executescript(_TABLES)
        except sqlite3.OperationalError as error:
            raise self._unwritable(error) from error
        except sqlite3.DatabaseError as error:
            raise self._foreign() from error
        except OSError as error:
            raise self._unwritable(error) from error

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self._database.close()

    @property
    def settings(self) -> dict[str, Any] | None:
        """How the pictures in it were tagged; None for a new index."""
        row = self._database.execute("SELECT value FROM settings").fetchone()
        return None if row is None else dict(json.loads(row[0]))

    def start(self, settings: Mapping[str, Any]) -> None:
        """Forget the pictures unless they were tagged in the same way.

        Raises:
            OutputError: The file cannot be written.
        """
        if self.settings == settings:
            return
        with _Transaction(self):
            for table in ("settings", "pictures", "tags"):
                self._database.execute(f"DELETE FROM {table}")
            self._database.execute("INSERT INTO settings VALUES (?)", (json.dumps(settings),))

    def stamps(self) -> dict[Path, Stamp]:
        """Every picture in the index, by relative path."""
        rows = self._database.execute("SELECT path, size, mtime_ns FROM pictures")
        return {_path(path): Stamp(size, mtime) for path, size, mtime in rows}

    def add(self, pictures: Sequence[tuple[Tagged, Stamp]]) -> None:
        """Keep pictures and their tags, all or none; earlier tags of them go.

        Raises:
            OutputError: The disk is full, say.
        """
        with _Transaction(self):
            for picture, stamp in pictures:
                key = os.fsencode(picture.path)
                self._forget(key)
                self._database.execute(
                    "INSERT INTO pictures VALUES (?, ?, ?, ?)",
                    (key, stamp.size, stamp.mtime_ns, picture.problem),
                )
                self._database.executemany(
                    "INSERT INTO tags VALUES (?, ?, ?)",
                    [(key, tag.label, tag.score) for tag in picture.tags],
                )

    def remove(self, paths: Iterable[Path]) -> None:
        """Forget pictures that are gone."""
        with _Transaction(self):
            for path in paths:
                self._forget(os.fsencode(path))

    def pictures(self) -> list[Tagged]:
        """Every picture, sorted by path, its tags best first."""
        tags: dict[bytes, list[Tag]] = {}
        rows = self._database.execute("SELECT path, label, score FROM tags ORDER BY score DESC")
        for path, label, score in rows:
            tags.setdefault(path, []).append(Tag(label, score))
        found = self._database.execute("SELECT path, problem FROM pictures ORDER BY path")
        return [
            Tagged(path=_path(path), tags=tuple(tags.get(path, ())), problem=problem)
            for path, problem in found
        ]

    def _forget(self, key: bytes) -> None:
        self._database.execute("DELETE FROM tags WHERE path = ?", (key,))
        self._database.execute("DELETE FROM pictures WHERE path = ?", (key,))

    def _check(self) -> None:
        """Refuse a database of something else, which must not be written to."""
        version = self._database.execute("PRAGMA user_version").fetchone()[0]
        tables = self._database.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
        if version != VERSION and tables:
            raise self._foreign()

    def _foreign(self) -> UsageError:
        return UsageError(
            f"{self.path} is no index of tags", hint="Name another file with --index."
        )

    def _unwritable(self, error: Exception) -> OutputError:
        return OutputError(
            f"the index of tags {self.path} cannot be written: {error}",
            hint="Free some space, or name another place with --index or EDGE_CACHE.",
        )


class _Transaction:
    """All of the block's changes, or none."""

    def __init__(self, index: TagIndex) -> None:
        self._index = index

    def __enter__(self) -> None:
        try:
            self._index._database.execute("BEGIN IMMEDIATE")
        except sqlite3.Error as error:
            raise self._index._unwritable(error) from error

    def __exit__(self, kind: type[BaseException] | None, error: object, trace: object) -> None:
        database = self._index._database
        try:
            database.execute("ROLLBACK" if kind else "COMMIT")
        except sqlite3.Error as problem:
            raise self._index._unwritable(problem) from problem
        if isinstance(error, sqlite3.Error):
            raise self._index._unwritable(error) from error


def _path(key: bytes) -> Path:
    return Path(os.fsdecode(key))
