"""Reads of a TFLite flatbuffer that stay bounded when the file is corrupt.

The Python accessors follow whatever offset stands in the file and check nothing. Every table,
vector and string is therefore paid for, in bytes, from a budget that follows from the size of
the file: a sound file cannot hold more of them than fit into it, so a vector of four billion
tables ends at once and not after hours.
"""

from collections.abc import Callable
from typing import Any, Final

from edge.errors import PackageMissing

IDENTIFIER: Final = b"TFL3"
_TABLE_BYTES: Final = 8  # at least: its offset in the vector and its offset to the vtable
_SHARING: Final = 4  # writers may store equal tables, vectors and strings once


def load_schema() -> Any:
    """The accessors generated from TFLite's schema.

    Raises:
        PackageMissing: Neither ai-edge-litert nor TensorFlow is installed.
    """
    try:
        from ai_edge_litert import schema_py_generated as schema
    except ImportError:
        try:
            from tensorflow.lite.python import schema_py_generated as schema
        except ImportError as error:
            raise PackageMissing(
                "TFLite files cannot be read: neither ai-edge-litert nor tensorflow is installed",
                hint="Install one: pip install ai-edge-litert",
            ) from error
    return schema


class Reads:
    """Reads that are paid for from one budget.

    Args:
        size_bytes: Of the file.
    """

    def __init__(self, size_bytes: int) -> None:
        self._left = _SHARING * size_bytes

    def spend(self, size_bytes: int) -> None:
        """Pay for that many bytes.

        Raises:
            ValueError: More was read than a sound file of this size holds.
        """
        self._left -= size_bytes
        if self._left < 0:
            raise ValueError("more tables, vectors and strings than fit into the file")

    def tables(self, length: int, get: Callable[[int], Any]) -> list[Any]:
        """All tables of a vector, by its ``Length()`` and its accessor."""
        self.spend(length * _TABLE_BYTES)
        return [get(index) for index in range(length)]

    def integers(self, view: Any) -> tuple[int, ...]:
        """A vector of integers, from an ``AsNumpy()`` accessor: 0 where the file has none."""
        if isinstance(view, int):
            return ()
        self.spend(view.nbytes)
        return tuple(view.tolist())

    def reals(self, view: Any) -> tuple[float, ...]:
        """A vector of floats, from an ``AsNumpy()`` accessor: 0 where the file has none."""
        return tuple(float(item) for item in self.integers(view))

    def text(self, raw: bytes | None) -> str:
        """A string; empty where the file has none."""
        if raw is None:
            return ""
        self.spend(len(raw))
        return raw.decode("utf-8", errors="replace")
