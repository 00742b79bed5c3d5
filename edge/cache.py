"""Results kept between runs, by the content hash of everything that they depend on.

An entry is a folder that appears under its final name only when it is whole, so a killed run
leaves either a finished stage or none. Deleting the cache loses time, never correctness.
"""

import hashlib
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from edge.errors import OutputError
from edge.runtime.files import abandoned, beside, fsync_directory
from edge.runtime.spec import canonical_json


def default_cache() -> Path:
    """``$EDGE_CACHE``, or ``edge`` below the user's cache folder (XDG base directory spec)."""
    named = os.environ.get("EDGE_CACHE")
    if named:
        return Path(named)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "edge"


def content_key(kind: str, parts: Mapping[str, Any]) -> str:
    """Name of the entry for ``parts``: sha256 (hex) of their canonical JSON."""
    return f"{kind}-{hashlib.sha256(canonical_json(dict(parts)).encode()).hexdigest()[:40]}"


class StageCache:
    """Finished stages of earlier runs, one folder each.

    Args:
        root: Created when first written to.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self._stages = root / "stages"

    def entry(self, key: str) -> Path:
        """Where the stage of that key lies, or would lie."""
        return self._stages / key

    def find(self, key: str) -> Path | None:
        """The folder of a finished stage, or None."""
        entry = self.entry(key)
        return entry if entry.is_dir() else None

    @contextmanager
    def store(self, key: str) -> Iterator[Path]:
        """An empty folder to write to, which becomes the entry when the block ends well.

        Raises:
            OutputError: The cache cannot be written.
        """
        with self.scratch(key) as temporary:
            yield temporary
            self._publish(temporary, self.entry(key))

    @contextmanager
    def scratch(self, name: str) -> Iterator[Path]:
        """An empty folder that is removed at the end, at the latest by a run after a kill.

        Raises:
            OutputError: The cache cannot be written.
        """
        temporary = beside(self.entry(name))
        try:
            temporary.mkdir(parents=True)
            for left in abandoned(self._stages):
                shutil.rmtree(left, ignore_errors=True)
        except OSError as error:
            raise OutputError(
                f"the cache {self.root} cannot be written: {error.strerror}",
                hint="Name another place with EDGE_CACHE or --cache.",
            ) from error
        try:
            yield temporary
        finally:
            shutil.rmtree(temporary, ignore_errors=True)

    def _publish(self, temporary: Path, entry: Path) -> None:
        try:
            temporary.rename(entry)
            fsync_directory(self._stages)
        except OSError:
            if not entry.is_dir():  # if it is, another run finished the same stage first
                raise

    def size_bytes(self) -> int:
        """Bytes on disk below the root."""
        return sum(path.stat().st_size for path in self.root.rglob("*") if path.is_file())

    def clear(self) -> None:
        """Remove the entries, the features and the indexes of tags.

        Only names that edge writes there are touched: a user may have
        pointed the cache at a folder with other things in it.
        """
        shutil.rmtree(self._stages, ignore_errors=True)
        for pattern in ("features.sqlite*", "tags/tags-*.sqlite*"):
            for leftover in self.root.glob(pattern):
                leftover.unlink(missing_ok=True)
