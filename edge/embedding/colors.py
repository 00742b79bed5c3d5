"""Colours that tell classes apart on white and on black."""

import colorsys
from collections.abc import Sequence
from typing import Final

# Matplotlib's "tab10" (Tableau), readable on light and dark paper.
_TEN: Final = (
    "#1f77b4",
    "#ff7f0e",
    "#2ca02c",
    "#d62728",
    "#9467bd",
    "#8c564b",
    "#e377c2",
    "#17becf",
    "#bcbd22",
    "#7f7f7f",
)
_GREY: Final = "#8a8a8a"  # of what has no class
_GOLDEN: Final = 0.61803398875  # hues a golden section apart never come close soon


def class_colors(classes: Sequence[str]) -> list[str]:
    """A colour, ``#rrggbb``, for each class; grey for the one without a name."""
    named = [name for name in classes if name]
    if len(named) <= len(_TEN):
        colors = dict(zip(named, _TEN, strict=False))
    else:
        colors = {name: _hue(number) for number, name in enumerate(named)}
    return [colors.get(name, _GREY) for name in classes]


def _hue(number: int) -> str:
    lightness = (0.45, 0.6)[number % 2]
    rgb = colorsys.hls_to_rgb(number * _GOLDEN % 1, lightness, 0.65)
    return "#" + "".join(f"{round(255 * value):02x}" for value in rgb)
