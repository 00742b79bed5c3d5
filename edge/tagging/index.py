"""The index of a folder: the tags of each picture, in one SQLite file; safe against kill -9."""

import fcntl
import hashlib
import json
import os
import sqlite3
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Self

from edge import schema
from edge.cache import content_key, is_damage, remove_database, say
from edge.errors import OutputError, UsageError, cause_of
from edge.tagging.options import TagSettings
from edge.tagging.tags import Tag, Tagged

_TABLES = """
CREATE TABLE IF NOT EXISTS settings (value TEXT);
CREATE TABLE IF NOT EXISTS pictures (path BLOB PRIMARY KEY, size INTEGER, mtime_ns INTEGER,
    problem TEXT, checksum BLOB) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS tags (path BLOB, label TEXT, score REAL, PRIMARY KEY (path, label))
    WITHOUT ROWID;
PRAGMA user_version = 2;
"""
VERSION = 2
_UNCHECKED = 1  # the version without checksums: its pictures are tagged again


@dataclass(frozen=True, slots=True)
class FileStamp:
    """Size in bytes and time of change in ns, by which a tagged file is known again."""

    size: int
    mtime_ns: int


def default_index(cache: Path, directory: Path) -> Path:
    """Return the path, in the cache, of the index of a folder, by its real path."""
    name = content_key("tags", {"folder": os.fsencode(directory.resolve()).hex()})
    return cache / "tags" / f"{name}.sqlite"


@dataclass(frozen=True, slots=True)
class _PictureRow:
    """A picture as it is kept: its tags best first, and a checksum of all of it."""

    path: bytes
    stamp: FileStamp
    problem: str
    tags: tuple[Tag, ...]

    @property
    def checksum(self) -> bytes:
        """8 bytes of BLAKE2b (RFC 7693) over all fields."""
        tags = sorted((tag.label, tag.score.hex()) for tag in self.tags)
        facts = (self.path, self.stamp.size, self.stamp.mtime_ns, self.problem, tags)
        return _checksum(repr(facts))


class TagIndex:
    """The tags of a folder, all by one model with one threshold.

    Every picture carries a checksum of itself and its tags; if it does not fit, the picture is
    tagged again.

    Args:
        path: The path of the file, which is created if it is missing.
        own: Whether it lies in the cache, so that it is made anew if SQLite finds it damaged.

    Raises:
        UsageError: The file is not an index of tags.
        OutputError: The file cannot be opened or written.
    """

    def __init__(self, path: Path, *, own: bool = False) -> None:
        self.path = path
        self._lock = -1
        self._doubted = 0
        self._read: list[_PictureRow] | None = None
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._open(own=own)
        except sqlite3.OperationalError as error:
            raise self._unwritable(error) from error
        except sqlite3.DatabaseError as error:
            raise self._foreign() from error
        except OSError as error:
            raise self._unwritable(error) from error

    def _open(self, *, own: bool) -> None:
        try:
            self._connect()
        except (sqlite3.Error, UsageError) as error:
            damaged = isinstance(error, UsageError) or is_damage(error)
            if not (own and damaged):
                raise
            say(
                f"the index {self.path.name} in the cache is damaged; all pictures are tagged again"
            )
            remove_database(self.path)
            self._connect()

    def _connect(self) -> None:
        self._database = sqlite3.connect(self.path, timeout=60, isolation_level=None)
        try:
            self._check()
            self._database.execute("PRAGMA journal_mode=WAL")
            self._database.executescript(_TABLES)
            checked = self._database.execute("PRAGMA quick_check(1)").fetchone()[0]
            if checked != "ok":
                raise self._damaged(checked)
        except BaseException:
            self._database.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        self._database.close()
        if self._lock >= 0:  # only now, since closing it drops the locks of SQLite on the file
            os.close(self._lock)
        if isinstance(error, sqlite3.Error):
            raise self._unwritable(error) from error

    def hold(self) -> None:
        """Keep other runs from changing the index as long as it is open.

        Raises:
            OutputError: Another run holds it.
        """
        self._lock = os.open(self.path, os.O_RDONLY)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise OutputError(
                f"another run writes the index of tags {self.path}",
                hint="Run the command again when that has ended, or name another --index.",
            ) from error
        except OSError:
            pass  # a file system without locks

    @property
    def doubted(self) -> int:
        """The number of pictures whose checksums do not fit."""
        return self._doubted

    @property
    def settings(self) -> TagSettings | None:
        """How the pictures in it were tagged; None for a new index, or if that is damaged."""
        row = self._database.execute("SELECT CAST(value AS BLOB) FROM settings").fetchone()
        if row is None:
            return None
        checksum, _, text = bytes(row[0] or b"").partition(b" ")
        if checksum.decode(errors="replace") != _checksum(text.decode(errors="replace")).hex():
            say(f"the options of the last run in {self.path} are damaged and are not used")
            return None
        what = f"the options of the last run in {self.path}"
        return schema.from_json(TagSettings, json.loads(text), what, extra="ignore")

    def start(self, settings: TagSettings) -> None:
        """Forget the pictures unless they were tagged in the same way.

        Raises:
            OutputError: The file cannot be written.
        """
        if self.settings == settings:
            return
        with _Transaction(self):
            for table in ("settings", "pictures", "tags"):
                self._database.execute(f"DELETE FROM {table}")
            text = json.dumps(asdict(settings))
            kept = f"{_checksum(text).hex()} {text}"
            self._database.execute("INSERT INTO settings VALUES (?)", (kept,))

    def stamps(self) -> dict[Path, FileStamp]:
        """Return the stamp of every picture in the index, by relative path."""
        return {_path(row.path): row.stamp for row in self._rows()}

    def add(self, pictures: Sequence[tuple[Tagged, FileStamp]]) -> None:
        """Keep pictures and their tags, all or none; earlier tags of them go.

        Raises:
            OutputError: The file cannot be written; the disk is full, for example.
        """
        with _Transaction(self):
            for picture, stamp in pictures:
                key = os.fsencode(picture.path)
                row = _PictureRow(key, stamp, picture.problem, picture.tags)
                self._forget(key)
                self._database.execute(
                    "INSERT INTO pictures VALUES (?, ?, ?, ?, ?)",
                    (key, stamp.size, stamp.mtime_ns, picture.problem, row.checksum),
                )
                self._database.executemany(
                    "INSERT INTO tags VALUES (?, ?, ?)",
                    [(key, tag.label, tag.score) for tag in picture.tags],
                )

    def remove(self, paths: Iterable[Path]) -> None:
        """Forget pictures that are gone."""
        paths = tuple(paths)
        if not paths:
            return
        with _Transaction(self):
            for path in paths:
                self._forget(os.fsencode(path))

    def pictures(self) -> list[Tagged]:
        """Return every picture, sorted by path, with its tags best first."""
        return [
            Tagged(path=_path(row.path), tags=row.tags, problem=row.problem) for row in self._rows()
        ]

    def _rows(self) -> list[_PictureRow]:
        """Return every picture whose checksum fits, sorted by path; kept until a change."""
        if self._read is not None:
            return self._read
        tags: dict[bytes, list[Tag]] = {}
        # Text is read as bytes, so that the checksum finds what is no longer UTF-8.
        rows = self._database.execute(
            "SELECT path, CAST(label AS BLOB), score FROM tags ORDER BY score DESC"
        )
        for path, label, score in rows:
            tags.setdefault(path, []).append(Tag(_text(label), score))
        pictures = self._database.execute(
            "SELECT path, size, mtime_ns, CAST(problem AS BLOB), checksum FROM pictures"
            " ORDER BY path"
        )
        fitting = []
        self._doubted = 0
        for path, size, mtime, problem, checksum in pictures:
            row = _PictureRow(
                path, FileStamp(size, mtime), _text(problem), tuple(tags.get(path, ()))
            )
            try:
                fits = row.checksum == checksum
            except (
                AttributeError,
                TypeError,
            ):  # a value is of another type than the one that was stored
                fits = False
            if fits:
                fitting.append(row)
            else:
                self._doubted += 1
        self._read = fitting
        return fitting

    def _forget(self, key: bytes) -> None:
        self._database.execute("DELETE FROM tags WHERE path = ?", (key,))
        self._database.execute("DELETE FROM pictures WHERE path = ?", (key,))

    def _check(self) -> None:
        """Refuse a database of something else, which must not be written to."""
        version = self._database.execute("PRAGMA user_version").fetchone()[0]
        tables = self._database.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
        if version == _UNCHECKED and tables:
            self._drop_unchecked()
        elif version != VERSION and tables:
            raise self._foreign()

    def _drop_unchecked(self) -> None:
        """Empty an index without checksums, but for the settings that its user had chosen."""
        rows = self._database.execute("SELECT value FROM settings").fetchall()
        self._database.executescript("DROP TABLE pictures; DROP TABLE tags; DELETE FROM settings;")
        for (text,) in rows[:1]:
            kept = f"{_checksum(text).hex()} {text}"
            self._database.execute("INSERT INTO settings VALUES (?)", (kept,))

    def _damaged(self, problem: str) -> UsageError:
        return UsageError(
            f"the index of tags {self.path} is damaged: {' '.join(problem.split())}",
            hint="Remove it, and run the command again: the pictures are tagged anew.",
        )

    def _foreign(self) -> UsageError:
        return UsageError(
            f"{self.path} is not an index of tags", hint="Name another file with --index."
        )

    def _unwritable(self, error: Exception) -> OutputError:
        return OutputError(
            f"the index of tags {self.path} cannot be written: {cause_of(error)}",
            hint="Free some space, or name another place with --index or EDGE_CACHE.",
        )


class _Transaction:
    """Make all changes of the block, or none."""

    def __init__(self, index: TagIndex) -> None:
        self._index = index

    def __enter__(self) -> None:
        self._index._read = None
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


def _text(value: bytes | None) -> str:
    return (value or b"").decode(errors="surrogateescape")


def _checksum(text: str) -> bytes:
    return hashlib.blake2b(text.encode(errors="surrogatepass"), digest_size=8).digest()
