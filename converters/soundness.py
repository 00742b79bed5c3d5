"""Whether int8 holds at all: a check of every int8 file on its calibration pictures.

The file is run up to its last layers (the logits of a classifier), next to the float model. Where
the error is too large a share of the signal, single blocks break the network, such as the first
SiLU of EfficientNet-B0, whose channels differ by a factor of ten. The blocks are then ranked by the
error that each makes alone, all others in floats, and the fewest of that ranking stay in floats
that bring the signal back.

Source: the signal to quantization noise ratio as a measure without labels, and the walk block by
block, are those of M. Nagel et al., "A White Paper on Neural Network Quantization", 2021, section
3.7 (the debugging workflow); Z. Dong et al., "HAWQ", ICCV 2019, rank blocks by curvature instead.

It costs a second file and ``IMAGES`` runs of it and of the float model where int8 holds; where it
breaks, a file for each block, though at most ``GROUPS``. No decision depends on time: a build can
be reproduced.
"""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

import numpy as np
from numpy.typing import NDArray

from converters.quantizable import ActivationReader, Block, Calibration
from converters.search import narrowed

LEAST_DB: Final = 16.0  # networks of 1000 classes below it change one answer in 15
AIM_DB: Final = 23.0  # of what is mended: a broken network loses 3 to 6 dB on other pictures
IMAGES: Final = 12  # the ratio of two sets of so many pictures differs by half a decibel
MENDING_IMAGES: Final = 40  # what is chosen by the ratio has to hold on other pictures
RANKING_IMAGES: Final = 4  # a block that breaks the network shows on each picture
GROUPS: Final = 100  # blocks next to one another are tried together where there are more
DIFFERING_DB: Final = 8.0  # sound networks have 19 dB and more on pictures of one class
LEAST_VARIED: Final = 0.02  # share of a vector's power; below, the pictures are all alike
MOST: Final = 0.5  # share of the blocks; with more in floats, a float file is the better one

Outputs = list[list[NDArray[np.float64]]]  # of each picture


class Triable(Protocol):
    """A calibrated model of which integer files can be made and tried."""

    calibration: Calibration

    @property
    def blocks(self) -> tuple[Block, ...]:
        """What can be left in floats, in the order of execution."""
        ...

    def trial(self, keep: Collection[str] | None) -> ActivationReader:
        """Return what runs such a file up to its last layers; the float model for None."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Soundness:
    """What the check of an int8 file found.

    Attributes:
        int8_db: The signal to noise ratio of the last layers over calibration pictures, in
            decibels, all blocks in int8.
        signal_db: The same of the file that is written.
        kept: The blocks that stay in floats; none where int8 holds.
    """

    int8_db: float
    signal_db: float
    kept: tuple[str, ...] = ()

    def notes(self, variant: str, blocks: int) -> tuple[str, ...]:
        """Return what a user should know; nothing where int8 holds.

        Args:
            variant: The name of the file.
            blocks: How many blocks the network has.
        """
        if self.int8_db >= LEAST_DB:
            return ()
        broken = (
            f"{variant}: int8 breaks this network, whose signal falls to {self.int8_db:.1f} dB on "
            "calibration pictures"
        )
        if not self.kept:
            return (f"{broken}; no part of it in floats mends that",)
        return (
            f"{broken}; {len(self.kept)} of {blocks} blocks stay in floats, "
            f"which gives {self.signal_db:.1f} dB",
        )


def soundness(model: Triable, step: Callable[[], None]) -> Soundness:
    """Check int8, and choose what stays in floats where it breaks.

    Args:
        model: A calibrated model.
        step: Is called after each file that was tried.
    """
    signal = _signal(model, IMAGES, step)
    whole = signal(())
    if whole >= LEAST_DB:
        return Soundness(int8_db=whole, signal_db=whole)
    names = [block.name for block in model.blocks]
    groups = _groups(names)
    ranking = _signal(model, RANKING_IMAGES, step)
    alone = {g[0]: ranking([name for name in names if name not in g]) for g in groups}
    ranked = sorted(groups, key=lambda group: alone[group[0]])
    heads = {group[0]: group for group in ranked[: int(MOST * len(groups))]}

    def kept(firsts: Sequence[str]) -> tuple[str, ...]:
        chosen = {name for first in firsts for name in heads[first]}
        return tuple(name for name in names if name in chosen)

    order, signal = list(heads), _signal(model, MENDING_IMAGES, step)
    tried = narrowed(order, lambda firsts: signal(kept(firsts)), lambda found: found >= AIM_DB)
    holding = [(count, found) for count, found in tried if found >= AIM_DB]
    best = max(tried, key=lambda item: item[1], default=(0, whole))
    count, found = min(holding) if holding else best
    if found <= whole:
        return Soundness(int8_db=whole, signal_db=whole)
    return Soundness(int8_db=whole, signal_db=found, kept=kept(order[:count]))


def _signal(
    model: Triable, count: int, step: Callable[[], None]
) -> Callable[[Collection[str]], float]:
    """Return what measures a file with those blocks in floats, on so many pictures."""
    images = _some(model.calibration, count)
    wanted = _outputs(model.trial(None), images)

    def measured(keep: Collection[str]) -> float:
        found = decibels(wanted, _outputs(model.trial(keep), images))
        step()
        return found

    return measured


def decibels(wanted: Outputs, found: Outputs, *, differing: bool = True) -> float:
    """Return the power of the signal over that of the error, each less its mean in an output.

    Where there are several outputs, each counts alike: it is the mean share of noise.

    Args:
        wanted: What the float model gives, by picture and output.
        found: What the other one gives.
        differing: Whether the error of a vector, such as the logits of classes, is held against
            what differs from picture to picture as well: pictures of one class would else be
            answered well by a file that does not look at them. There, ``DIFFERING_DB`` less are
            enough; where the pictures are all alike, nothing is known of that.
    """
    shares = []
    for one, other in zip(zip(*wanted, strict=True), zip(*found, strict=True), strict=True):
        values = np.stack([item.reshape(-1) - item.mean() for item in one])
        given = np.stack([item.reshape(-1) - item.mean() for item in other])
        signal, noise = (float(np.square(item).sum()) for item in (values, given - values))
        if differing and one[0].size == one[0].shape[-1]:
            varied = len(values) * float(values.var(axis=0, ddof=len(values) > 1).sum())
            enough = varied * 10 ** (DIFFERING_DB / 10)
            signal = min(signal, enough) if varied > LEAST_VARIED * signal else signal
        shares.append(noise / signal if signal else float(noise > 0))
    share = float(np.mean(shares)) if shares else 0.0
    return float(-10 * np.log10(max(share, 1e-12)))


def _some(calibration: Calibration, count: int) -> list[NDArray[np.float32]]:
    """Pictures from the whole of the calibration, which may be in the order of classes."""
    chosen = set(np.linspace(0, len(calibration) - 1, count).astype(int).tolist())
    return [image for position, image in enumerate(calibration) if position in chosen]


def _outputs(run: ActivationReader, images: Sequence[NDArray[np.float32]]) -> Outputs:
    outputs = []
    for image in images:
        _, *values = (value for _, value in run(image))
        outputs.append([np.array(value, np.float64) for value in values])
    return outputs


def _groups(names: Sequence[str]) -> list[tuple[str, ...]]:
    size = -(-len(names) // GROUPS)
    return [tuple(names[start : start + size]) for start in range(0, len(names), max(size, 1))]
