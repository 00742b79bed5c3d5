"""What is black and white in pictures of more than 8 bits: one rule for a whole data set."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from edge.errors import ImageError
from edge.runtime.contract import Preprocessing
from edge.runtime.image import deep_bands, has_pages
from edge.threads import in_threads
from edge.wording import counted

RULE: Final = (
    "white is the highest value of so many bits as hold all but one in ten thousand of the "
    "values, and black is 0; values that span less than a quarter of that go from black to white"
)
_OUTLIERS: Final = 1e-4  # share of the values at either end: dead pixels do not decide
_NARROW: Final = 0.25  # share of the range of the bits; values that span less are stretched
_BATCH: Final = 32  # pictures whose histograms lie in memory at once
_TIFF: Final = ".tif"  # and .tiff
_CHUNK: Final = 1 << 20  # values counted at a time; bincount needs eight bytes for each
_WORKERS: Final = 2  # pictures whose 16 bits lie in memory at once
_VALUES: Final = 1 << 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Depth:
    """The deep pictures of a data set.

    Attributes:
        images: The number of pictures with more than 8 bits a channel.
        low: The lowest stored value but for outliers.
        high: The highest stored value but for outliers.
        levels: The stored values that become 0 and 255; None if all 16 bits are used, or if one
            rule cannot serve the values.
        note: A sentence for people.
    """

    images: int
    low: float
    high: float
    levels: tuple[int, int] | None
    note: str

    @property
    def white(self) -> int:
        """The stored value that should be white."""
        return self.levels[1] if self.levels else _VALUES - 1


@dataclass(frozen=True, slots=True)
class _Values:
    """The stored values of one picture, or of several.

    Attributes:
        counts: (65536,) int64; how often each integer of 0..65535 occurs.
        low: The lowest of all other values.
        high: The highest of all other values; below ``low`` if there are none.
        images: The number of pictures.
    """

    counts: NDArray[np.int64]
    low: float
    high: float
    images: int


def find_depth(paths: Iterable[Path]) -> Depth | None:
    """Look through all pictures of a data set; return None if none is deep.

    The headers of all files are read, and the pixels of deep ones. Files that cannot be decoded
    are left out; whoever reads the pictures says so.
    """
    total = _Values(np.zeros(_VALUES, np.int64), np.inf, -np.inf, 0)
    for batch in _batches(paths):
        for values in in_threads(_values, batch, _WORKERS):
            if values is not None:
                total = _Values(
                    total.counts + values.counts,
                    min(total.low, values.low),
                    max(total.high, values.high),
                    total.images + values.images,
                )
    return _judged(total) if total.images else None


def with_levels(contract: Preprocessing, paths: Iterable[Path]) -> tuple[Preprocessing, list[str]]:
    """Give a contract the levels of the pictures that a model learns or is calibrated from.

    Returns:
        The contract, which is unchanged if no picture is deep, and notes for people.
    """
    files = list(paths)
    depth, pages = find_depth(files), page_notes(files)
    if depth is None:
        return contract, pages
    return replace(contract, levels=depth.levels), [depth.note, *pages]


def levels_notes(contract: Preprocessing, paths: Sequence[Path]) -> list[str]:
    """Return notes on pictures whose values the levels of a contract do not fit."""
    depth, pages = find_depth(paths), page_notes(paths)
    white = contract.levels[1] if contract.levels else _VALUES - 1
    if depth is None or white / 2 < depth.white < 2 * white:
        return pages
    look = "dark" if depth.white < white else "overexposed"
    return [
        *pages,
        f"{counted(depth.images, 'image')} with more than 8 bits a channel, values "
        f"{depth.low:g} to {depth.high:g}: the contract takes {white} as white, so they look "
        f"{look} to the model",
    ]


def page_notes(paths: Iterable[Path]) -> list[str]:
    """Return a note on TIFF files with several pages."""
    several = sum(in_threads(_has_pages, [path for path in paths if _TIFF in path.suffix.lower()]))
    return [f"{counted(several, 'file')} with several pages: the first is used"] if several else []


def _has_pages(path: Path) -> bool:
    try:
        return has_pages(path)
    except ImageError:
        return False


def _batches(paths: Iterable[Path]) -> Iterator[list[Path]]:
    waiting = iter(paths)
    while batch := list(islice(waiting, _BATCH)):
        yield batch


def _values(path: Path) -> _Values | None:
    """Return the values of one picture; None if it is not deep or cannot be read."""
    counts, low, high, counted_all = np.zeros(_VALUES, np.int64), np.inf, -np.inf, True
    try:
        for rows in deep_bands(path):
            colours = rows[..., :3] if rows.ndim == 3 else rows  # opacity does not count
            if colours.dtype.kind == "f":
                colours = np.nan_to_num(colours)
            low, high = min(low, float(colours.min())), max(high, float(colours.max()))
            counted_all = counted_all and colours.dtype.kind in "iu" and low >= 0 and high < _VALUES
            if counted_all:
                _count(colours, counts)
    except ImageError:
        return None
    if high < low:
        return None
    if counted_all:
        return _Values(counts, np.inf, -np.inf, 1)
    return _Values(np.zeros(_VALUES, np.int64), low, high, 1)


def _count(values: NDArray[Any], counts: NDArray[np.int64]) -> None:
    """Add how often each value occurs, chunk by chunk."""
    whole = values.ravel()
    for start in range(0, whole.size, _CHUNK):
        counts += np.bincount(whole[start : start + _CHUNK], minlength=_VALUES)


def _judged(values: _Values) -> Depth:
    """Apply the rule to the values of all pictures."""
    total = int(values.counts.sum())
    if total and values.high >= values.low:
        low, high = values.low, values.high
        return _depth(values, low, high, None, "they are of several kinds of numbers")
    if not total:
        return _of_other_numbers(values)
    sums = np.cumsum(values.counts)
    low = int(np.searchsorted(sums, total * _OUTLIERS, side="right"))
    high = int(np.searchsorted(sums, total * (1 - _OUTLIERS), side="left"))
    full = (1 << max(8, high.bit_length())) - 1
    if high == low:
        return _depth(values, low, high, None, "they do not differ")
    levels = (low, high) if high - low < _NARROW * full else (0, full)
    return _depth(values, low, high, None if levels == (0, _VALUES - 1) else levels, "")


def _of_other_numbers(values: _Values) -> Depth:
    """Apply the rule for floats, and for integers beyond 16 bits."""
    low, high = values.low, values.high
    if low >= 0 and high <= 1:
        return _depth(values, low, high, None, "")
    if low < 0 or high <= low:
        why = "negative values have no level in the contract"
        return _depth(values, low, high, None, why if low < 0 else "they do not differ")
    black = 0 if high - low >= _NARROW * high else int(np.floor(low))
    return _depth(values, low, high, (black, max(black + 1, int(np.ceil(high)))), "")


def _depth(
    values: _Values, low: float, high: float, levels: tuple[int, int] | None, doubt: str
) -> Depth:
    verb = "has" if values.images == 1 else "have"
    if doubt:
        taken = f"{doubt}, so each picture is brought to 8 bits on its own: convert them"
    elif levels:
        taken = f"{levels[0]} becomes black and {levels[1]} white in all of them; the rule: {RULE}"
    else:
        taken = "they use their whole range, of which the high 8 bits are taken"
    return Depth(
        images=values.images,
        low=low,
        high=high,
        levels=levels,
        note=f"{counted(values.images, 'picture')} {verb} more than 8 bits a channel, values "
        f"{low:g} to {high:g}: {taken}",
    )
