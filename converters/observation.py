"""What the activations of a float model do over the calibration images: ranges and means.

One pass, image by image. What stays in memory does not grow with the images but for two numbers a
tensor and image. Both formats calibrate from it, and so does the calibration audit.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from converters.rounding import WeightedOperator, corrected
from edge.errors import ConversionError

STEPS: Final = 255  # steps of an 8-bit range
POSITIONS: Final = 64  # positions of an image that a covariance is estimated from
ROWS: Final = 512  # that are multiplied at once: 49 at a time take five times as long
COVARIANCE_BYTES: Final = 512 * 2**20  # of all covariances; later tensors do without one

Activations = Iterator[tuple[str, NDArray[np.float32]]]  # names and values, of one image


@dataclass(frozen=True)
class Observation:
    """Activations over some images.

    Attributes:
        names: The names of the tensors.
        low: The smallest value, float64 (images, tensors).
        high: The largest value, float64 (images, tensors).
        means: The mean over images and positions, float64 (channels,), of the tensors asked for.
        covariances: The covariance over images and some positions, float32 (channels, channels),
            of the tensors asked for.
    """

    names: tuple[str, ...]
    low: NDArray[np.float64]
    high: NDArray[np.float64]
    means: Mapping[str, NDArray[np.float64]]
    covariances: Mapping[str, NDArray[np.float32]]

    @cached_property
    def ranges(self) -> dict[str, tuple[float, float]]:
        """The smallest and largest value of each tensor over all images; zero is always within."""
        low, high = np.minimum(self.low.min(axis=0), 0), np.maximum(self.high.max(axis=0), 0)
        return {
            name: (float(a), float(b)) for name, a, b in zip(self.names, low, high, strict=True)
        }

    def step(self, name: str) -> float:
        """Return the real value of one of the 255 steps that an 8-bit tensor has."""
        low, high = self.ranges[name]
        return max(high - low, 1e-9) / STEPS

    def corrected(
        self, layer: WeightedOperator, source: str, *, paired: bool = False
    ) -> WeightedOperator:
        """Return the layer that reads the tensor ``source``, made ready to be rounded.

        Args:
            layer: In floats.
            source: The name of the tensor.
            paired: See ``rounding.corrected``.
        """
        covariance = self.covariances.get(source) if layer.is_pointwise else None
        return corrected(layer, self.means[source], self.step(source), covariance, paired=paired)


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is to be known of an activation besides its range.

    Attributes:
        channel_axis: The axis of the channels.
        covariance: Whether its channels' covariance is wanted too.
    """

    channel_axis: int
    covariance: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Spread:
    """What one activation does over images that calibrate nothing.

    Attributes:
        outside: How many values lie outside the range of the calibration images.
        values: How many values there are.
        low: The smallest value of each image.
        high: The largest value of each image.
    """

    outside: int
    values: int
    low: tuple[float, ...]
    high: tuple[float, ...]

    @property
    def share(self) -> float:
        """The share of the values that lie outside, 0..1."""
        return self.outside / self.values


def spread(
    activations: Callable[[NDArray[np.float32]], Activations],
    images: Iterable[NDArray[np.float32]],
    ranges: Mapping[str, tuple[float, float]],
) -> dict[str, Spread]:
    """Return what each activation does over the images, held against its range."""
    outside: Counter[str] = Counter()
    total: Counter[str] = Counter()
    ends: defaultdict[str, list[tuple[float, float]]] = defaultdict(list)
    for image in images:
        for name, values in activations(image):
            if name in ranges and values.size:
                low, high = ranges[name]
                least, most = float(values.min()), float(values.max())
                if not (low <= least and most <= high):
                    outside[name] += int(np.count_nonzero((values < low) | (values > high)))
                total[name] += values.size
                ends[name].append((least, most))
    return {
        name: Spread(
            outside=outside[name],
            values=total[name],
            low=tuple(low for low, _ in ends[name]),
            high=tuple(high for _, high in ends[name]),
        )
        for name in total
    }


def merged(pairs: Iterable[tuple[str, Wanted]]) -> dict[str, Wanted]:
    """Return what several readers of a tensor want together."""
    together: dict[str, Wanted] = {}
    for name, wanted in pairs:
        covariance = wanted.covariance or (name in together and together[name].covariance)
        together[name] = Wanted(wanted.channel_axis, covariance)
    return together


def observe(
    activations: Callable[[NDArray[np.float32]], Activations],
    images: Iterable[NDArray[np.float32]],
    wanted: Mapping[str, Wanted],
) -> Observation:
    """Run the model over the images.

    Args:
        activations: Gives every activation of one image, the input included.
        images: Arrays (1, height, width, 3).
        wanted: What to collect of which tensor.

    Raises:
        ConversionError: An activation is not finite.
    """
    low: list[dict[str, float]] = []
    high: list[dict[str, float]] = []
    moments: dict[str, _Moments] = {}
    for image in images:
        low.append({})
        high.append({})
        for name, values in activations(image):
            if values.size == 0:
                continue
            low[-1][name], high[-1][name] = float(values.min()), float(values.max())
            if name in wanted:
                if name not in moments:
                    moments[name] = _Moments(wanted[name], _room(moments, values, wanted[name]))
                moments[name].add(values, len(low))
    names = tuple(low[0])
    return Observation(
        names=names,
        low=_table(low, names),
        high=_table(high, names),
        means={name: moment.mean for name, moment in moments.items()},
        covariances={
            name: moment.covariance for name, moment in moments.items() if moment.has_covariance
        },
    )


def _room(moments: Mapping[str, "_Moments"], values: NDArray[np.float32], wanted: Wanted) -> bool:
    """Whether a covariance of that tensor still fits into the memory set aside for them."""
    used = sum(moment.nbytes for moment in moments.values())
    channels = int(values.shape[wanted.channel_axis])
    return used + 4 * channels * (channels + ROWS) <= COVARIANCE_BYTES


class _Moments:
    """Mean and covariance of a tensor's channels, image by image."""

    def __init__(self, wanted: Wanted, room: bool) -> None:
        self._axis = wanted.channel_axis
        self.has_covariance = wanted.covariance and room
        self._images = self._rows = 0
        self._total: Any = 0.0
        self._sampled: Any = 0.0
        self._products = np.zeros((0, 0), np.float32)
        self._waiting = np.zeros((0, 0), np.float32)  # rows that are not multiplied yet
        self._wait = 0  # how many of them there are

    def add(self, values: NDArray[np.float32], seed: int) -> None:
        """Add one image's values; ``seed`` decides which positions are sampled."""
        channels = values.shape[self._axis]
        if self._axis == values.ndim - 1 or self._axis == -1:
            rows = values.reshape(-1, channels)
            # A product of matrices is ten times as fast as a sum of columns.
            mean = np.full(len(rows), 1 / len(rows), np.float32) @ rows
        else:
            columns = np.moveaxis(values, self._axis, 0).reshape(channels, -1)
            rows, mean = columns.T, columns.mean(axis=1)
        self._total = self._total + mean.astype(np.float64)
        self._images += 1
        if self.has_covariance:
            if len(rows) > POSITIONS:
                rows = rows[np.random.default_rng(seed).choice(len(rows), POSITIONS, replace=False)]
            self._sample(rows)

    def _sample(self, rows: NDArray[np.float32]) -> None:
        """Let positions, at most ``POSITIONS``, count in the covariance."""
        channels = rows.shape[1]
        if not self._rows:
            self._products = np.zeros((channels, channels), np.float32)
            self._waiting = np.zeros((ROWS, channels), np.float32)
        if self._wait + len(rows) > ROWS:
            self._multiply()
        self._waiting[self._wait : self._wait + len(rows)] = rows
        self._wait += len(rows)
        self._rows += len(rows)

    def _multiply(self) -> None:
        waiting = self._waiting[: self._wait]
        self._products += waiting.T @ waiting
        self._sampled = self._sampled + waiting.sum(axis=0)
        self._wait = 0

    @property
    def nbytes(self) -> int:
        """The size of the covariance, and of the rows that wait for it."""
        return self._products.nbytes + self._waiting.nbytes

    @property
    def mean(self) -> NDArray[np.float64]:
        """The mean, (channels,)."""
        mean: NDArray[np.float64] = self._total / self._images
        return mean

    @property
    def covariance(self) -> NDArray[np.float32]:
        """The covariance, (channels, channels)."""
        self._multiply()
        mean = self._sampled / self._rows
        covariance = self._products / self._rows - np.outer(mean, mean)
        return covariance.astype(np.float32, copy=False)


def _table(rows: list[dict[str, float]], names: tuple[str, ...]) -> NDArray[np.float64]:
    table = np.array([[row[name] for name in names] for row in rows], np.float64)
    if not np.isfinite(table).all():
        bad = names[int(np.argwhere(~np.isfinite(table))[0][1])]
        raise ConversionError(
            f"the float model gives NaN or infinity on a calibration image, first in {bad}",
            hint="Its weights are damaged or do not belong to this network.",
        )
    return table
