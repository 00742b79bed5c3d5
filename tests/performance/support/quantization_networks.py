"""The networks of EDGE_TEST_DATA/models/networks, each with the pictures that score it."""

import csv
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from edge.errors import DataError, UsageError
from edge.runtime.contract import Preprocessing, Resize
from edge.runtime.preprocess import load
from support.script import data_with
from support.tiny import SIDE, tiny_classifier

CALIBRATION_IMAGES: Final = 100  # the default of ``edge export``
NETWORKS: Final = "models/networks"


@dataclass(frozen=True, slots=True, kw_only=True)
class Network:
    """A Keras network with its pictures.

    Attributes:
        name: Of its file, without the suffix.
        path: The .keras file; it takes RGB 0..255.
        calibration: uint8 (images, height, width, 3).
        pixels: The pictures that are scored, likewise; none of them calibrates.
        truth: Their classes, (images,); None where the pictures have none of the network's.
    """

    name: str
    path: Path
    calibration: NDArray[np.uint8]
    pixels: NDArray[np.uint8]
    truth: NDArray[np.int64] | None


def networks(only: str, pictures: int) -> Iterator[Network]:
    """Find the networks with ``only`` in their name, with at most so many scored pictures each.

    Raises:
        NotHere: EDGE_TEST_DATA has no networks.
        UsageError: No network has such a name.
    """
    data = data_with(NETWORKS)
    chosen = [path for path in sorted((data / NETWORKS).glob("*.keras")) if only in path.stem]
    if not chosen:
        raise UsageError(f"no network of {data / NETWORKS} has {only!r} in its name")
    for path in chosen:
        yield _network(path, data, pictures)


def tiny_network(folder: Path) -> Network:
    """A network of untrained weights on noise, whose file is written into a folder."""
    path = folder / "tiny.keras"
    tiny_classifier().save(path)
    pixels = np.random.default_rng(0).integers(0, 256, (12, SIDE, SIDE, 3), np.uint8)
    return Network(name=path.stem, path=path, calibration=pixels[:6], pixels=pixels[6:], truth=None)


def _network(path: Path, data: Path, pictures: int) -> Network:
    import keras

    _, height, width, _ = keras.models.load_model(path, compile=False).input_shape
    images = data / "images"
    if height != width:
        stored = np.load(images / "text-lines.npz")
        calibration, pixels, truth = stored["cal"], stored["x"], stored["y"]
    elif height < 100:
        calibration, pixels, truth = _characters(images / "characters", height)
    else:
        calibration, pixels, truth = _imagenet(images / "imagenet-sample", height)
        if "groups" in path.stem:
            truth = _groups(data / "imagenet_groups.csv")[truth]
    spread = np.linspace(0, len(pixels) - 1, min(pictures, len(pixels))).astype(int)
    return Network(
        name=path.stem,
        path=path,
        calibration=calibration[:CALIBRATION_IMAGES],
        pixels=pixels[spread],
        truth=None if "two_classes" in path.stem else truth[spread],
    )


def _characters(folder: Path, side: int) -> tuple[Any, Any, Any]:
    classes = sorted(item.name for item in (folder / "eval").iterdir())
    loaded = {}
    for part in ("cal", "eval"):
        paths = [
            (path, number)
            for number, name in enumerate(classes)
            for path in sorted((folder / part / name).glob("*.*"))
        ]
        if part == "cal":
            chosen = np.linspace(0, len(paths) - 1, min(CALIBRATION_IMAGES, len(paths)))
            paths = [paths[int(position)] for position in chosen]
        loaded[part] = (_pixels([path for path, _ in paths], side), [label for _, label in paths])
    return loaded["cal"][0], loaded["eval"][0], np.array(loaded["eval"][1], np.int64)


def _imagenet(folder: Path, side: int) -> tuple[Any, Any, Any]:
    paths = sorted(folder.glob("*.jpg"))
    if len(paths) < 2 * CALIBRATION_IMAGES:
        raise DataError(f"{folder} has {len(paths)} pictures, of 500 that belong there")
    step = len(paths) // CALIBRATION_IMAGES
    calibrating, scored = paths[::step], [p for i, p in enumerate(paths) if i % step]
    truth = np.array([int(path.name[:4]) for path in scored], np.int64)
    return _pixels(calibrating, side), _pixels(scored, side), truth


def _groups(path: Path) -> NDArray[np.int64]:
    """The group of each class of ImageNet, groups in the order of their names."""
    with path.open() as lines:
        rows = list(csv.DictReader(lines))
    names = sorted({row["group"] for row in rows})
    found = np.zeros(len(rows), np.int64)
    for row in rows:
        found[int(row["index"])] = names.index(row["group"])
    return found


def _pixels(paths: list[Path], side: int) -> NDArray[np.uint8]:
    contract = Preprocessing(height=side, width=side, resize=Resize.CENTER_CROP)
    return np.stack([load(path, contract) for path in paths])
