"""Chooses calibration images and writes them as one array, decoded as for inference."""

import hashlib
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeVar

import numpy as np

from edge.cache import StageCache, content_key
from edge.dataset.pictures import Hashed
from edge.progress import Step
from edge.runtime.preprocess import load
from edge.runtime.spec import Preprocessing

PIXELS: Final = "pixels.npy"

ImageT = TypeVar("ImageT", bound=Hashed)


@dataclass(frozen=True, slots=True)
class Pool:
    """What calibration images are chosen from.

    Attributes:
        images: In the folder.
        kept: Those of them that are kept to score on at least.
    """

    images: int
    kept: int = 0

    @property
    def most(self) -> int:
        """Images that could calibrate."""
        return self.images - self.kept


def choose(
    images: Sequence[ImageT], classes: Sequence[int | None], count: int, seed: int
) -> tuple[ImageT, ...]:
    """At most ``count`` images, the classes in turn, in an order that seed and content decide."""
    by_class: dict[int | None, list[ImageT]] = defaultdict(list)
    ranked = sorted(
        zip(images, classes, strict=True),
        key=lambda pair: hashlib.sha256(f"{seed}:{pair[0].sha256}".encode()).digest(),
    )
    for image, label in ranked:
        by_class[label].append(image)
    queues = [
        by_class[label] for label in sorted(by_class, key=lambda label: (label is None, label))
    ]
    chosen: list[ImageT] = []
    depth = 0
    while len(chosen) < min(count, len(images)):
        chosen.extend(queue[depth] for queue in queues if depth < len(queue))
        depth += 1
    return tuple(chosen[:count])


def calibration_id(images: Sequence[Hashed], preprocessing: Preprocessing) -> str:
    """Content hash of the calibration array."""
    hashes = [image.sha256 for image in images]
    return content_key("calibration", {"images": hashes, "preprocessing": preprocessing.sha256})


def calibration_array(
    images: Sequence[Hashed], preprocessing: Preprocessing, *, cache: StageCache, step: Step
) -> Path:
    """A .npy file, uint8 (images, height, width, channels); written image by image.

    Raises:
        ImageError: An image that could be read before no longer can.
    """
    key = calibration_id(images, preprocessing)
    found = cache.find(key)
    if found is not None:
        step(len(images))
        return found / PIXELS
    shape = (len(images), *preprocessing.shape)
    with cache.store(key) as folder:
        # Written, not mapped: on a full disk a write is an error, a mapped page kills the process.
        with (folder / PIXELS).open("wb") as stream:
            header = {"descr": "|u1", "fortran_order": False, "shape": shape}
            np.lib.format.write_array_header_1_0(stream, header)
            for image in images:
                stream.write(load(image.path, preprocessing).tobytes())
                step(1)
    return cache.entry(key) / PIXELS
