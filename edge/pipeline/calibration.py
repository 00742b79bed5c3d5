"""The images that calibrate, those that are held out, and the audit of both for the report.

Both are chosen by content and seed, the classes in turn, and decoded as for inference.
"""

import hashlib
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeVar

import numpy as np
from numpy.typing import NDArray

from converters.audit import HELD_OUT_IMAGES
from converters.base import HeldOut
from edge.cache import StageCache, content_key
from edge.dataset.groups import Division
from edge.dataset.pictures import Hashed, Picture
from edge.errors import DataError
from edge.pipeline.conversion import Converted
from edge.pipeline.options import CALIBRATION_IMAGES
from edge.progress import Step
from edge.runtime.contract import Preprocessing
from edge.runtime.preprocess import load

PIXELS: Final = "pixels.npy"

ImageT = TypeVar("ImageT", bound=Hashed)


@dataclass(frozen=True, slots=True)
class Pool:
    """What calibration images are chosen from.

    Attributes:
        images: The number of images in the folder.
        kept: How many of them are kept to score on at least.
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
    """Choose at most ``count`` images, the classes in turn, in an order of seed and content."""
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
    """Return the content hash of the calibration array."""
    hashes = [image.sha256 for image in images]
    return content_key("calibration", {"images": hashes, "preprocessing": preprocessing.sha256})


def calibration_array(
    images: Sequence[Hashed], preprocessing: Preprocessing, *, cache: StageCache, step: Step
) -> Path:
    """Return a .npy file, uint8 (images, height, width, channels); written image by image.

    Raises:
        ImageError: An image that could be read before no longer can.
    """
    key = calibration_id(images, preprocessing)
    entry = cache.find(key)
    if entry is not None:
        step(len(images))
        return entry / PIXELS
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


SEARCH_IMAGES: Final = 1000  # at most; the final files are scored on all of them


def chosen_pictures(pictures: Sequence[Picture], *, searched: bool, seed: int) -> Sequence[Picture]:
    """Choose some of the held-out images, the classes in turn."""
    count = SEARCH_IMAGES if searched else HELD_OUT_IMAGES
    return choose(pictures, [picture.label for picture in pictures], count, seed)


@contextmanager
def held_out(
    chosen: Sequence[Picture],
    pictures: Sequence[Picture],
    reference: NDArray[np.float32] | None,
    preprocessing: Preprocessing,
    *,
    cache: StageCache,
) -> Iterator[HeldOut]:
    """Write pixels and the float model's answers to files that last as long as the context.

    Args:
        chosen: Some of ``pictures``.
        pictures: All held-out images.
        reference: (images, classes) scores of the float model for ``pictures``; None where no
            search needs them, and where its file is run again, as for every task but
            classification.
        preprocessing: The contract.
        cache: Where pixels are kept.
    """
    pixels = calibration_array(chosen, preprocessing, cache=cache, step=lambda count: None)  # noqa: ARG005
    truth = tuple(picture.label for picture in chosen)
    if reference is None:
        yield HeldOut(pixels=pixels, reference=None, truth=truth)
        return
    rows = {picture.path: row for picture, row in zip(pictures, reference, strict=True)}
    with cache.scratch("held-out") as folder:
        np.save(folder / "reference.npy", np.stack([rows[picture.path] for picture in chosen]))
        yield HeldOut(
            pixels=pixels,
            reference=folder / "reference.npy",
            truth=truth,
        )


def check_apart(calibration: Sequence[Hashed], evaluation: Sequence[Hashed]) -> None:
    """Refuse to score a model on images that calibrated it.

    Raises:
        DataError: An image, by its content, is in both.
    """
    shared = _shared(calibration, evaluation)
    if shared:
        raise DataError(
            f"{len(shared)} of the {len(evaluation)} images to score on would calibrate the "
            f"integer files too, such as {shared[0].path}: the scores would flatter them",
            hint="Take them out of one of the two, or leave out --evaluation-data: edge then "
            "divides the images of --calibration-data itself.",
        )


def _shared(calibration: Sequence[Hashed], evaluation: Sequence[Hashed]) -> list[Hashed]:
    used = {picture.sha256 for picture in calibration}
    return [picture for picture in evaluation if picture.sha256 in used]


@dataclass(frozen=True, slots=True, kw_only=True)
class CalibrationAudit:
    """The images that calibrate, and what they did to the ranges; see ``docs/bundle.md``.

    Attributes:
        images: How many calibrate.
        asked: How many were asked for at most.
        available: How many they were chosen from.
        kept_to_score: How many of these are kept to score on at least.
        sha256: The content hash of the calibration array.
        image_sha256: The content hash of each image.
        labelled: How many of them have a label.
        classes: How many classes they show.
        classes_of_model: How many classes the model knows.
        least_of_a_class: The images of the class with the fewest.
        most_of_a_class: The images of the class with the most.
        scored_images_among_them: How many are scored as well.
        observed: What the converter of each format saw; see ``converters.audit.audit``.
    """

    images: int
    asked: int
    available: int
    kept_to_score: int
    sha256: str
    image_sha256: tuple[str, ...]
    labelled: int
    classes: int
    classes_of_model: int
    least_of_a_class: int
    most_of_a_class: int
    scored_images_among_them: int
    observed: Mapping[str, Mapping[str, Any]]


def calibration_report(
    chosen: Sequence[Picture],
    scored: Sequence[Picture],
    preprocessing: Preprocessing,
    labels: Sequence[str],
    converted: Sequence[Converted],
    *,
    asked: int,
    pool: Pool,
) -> CalibrationAudit:
    """Audit the images that calibrate.

    Args:
        chosen: Images that calibrate.
        scored: Images that are scored.
        preprocessing: The contract.
        labels: The names of the classes.
        converted: The files.
        asked: Images that were asked for at most.
        pool: What the images were chosen from.
    """
    counts = Counter(picture.label for picture in chosen if picture.label is not None)
    observed = {
        item.target.format: item.record["calibration"]
        for item in converted
        if "calibration" in item.record
    }
    return CalibrationAudit(
        images=len(chosen),
        asked=asked,
        available=pool.images,
        kept_to_score=pool.kept,
        sha256=calibration_id(chosen, preprocessing),
        image_sha256=tuple(picture.sha256 for picture in chosen),
        labelled=sum(counts.values()),
        classes=len(counts),
        classes_of_model=len(labels),
        least_of_a_class=min(counts.values(), default=0),
        most_of_a_class=max(counts.values(), default=0),
        scored_images_among_them=len(_shared(chosen, scored)),
        observed=observed,
    )


def warnings(audit: CalibrationAudit, division: Division | None = None) -> list[str]:
    """Return what a user should do something about, one sentence each.

    Args:
        audit: The audit.
        division: How groups of images were divided; None without groups.
    """
    texts = []
    widened = [format_ for format_, item in audit.observed.items() if item["stable_after"] is None]
    if widened:
        texts.append(
            f"calibration ({', '.join(widened)}): the last of the {audit.images} images still "
            f"widened ranges, and more would help; {_taken(audit)}: {_way_to_more(audit)}"
        )
    elif audit.observed and audit.images < audit.asked != CALIBRATION_IMAGES:
        texts.append(f"calibration: {_taken(audit)}")
    texts += [f"{text}{_of_groups(division)}" for text in _unlike(audit.observed)]
    least, most = audit.least_of_a_class, audit.most_of_a_class
    if most > BALANCE * max(least, 1):
        texts.append(f"calibration: {most} images of one class and {least} of another")
    return texts


def _of_groups(division: Division | None) -> str:
    """Say where the test does not hold: images of one group cannot be exchanged for others."""
    if division is None or division.scored_groups == division.scored_pictures:
        return ""
    return (
        f". The test takes images for independent, and the {division.scored_pictures} scored ones "
        f"are of {division.scored_groups} groups: it may have found that groups differ"
    )


def _taken(audit: CalibrationAudit) -> str:
    """Return what was asked for, what was taken, and why."""
    images, asked, kept = audit.images, audit.asked, audit.kept_to_score
    folder = audit.available
    if images >= asked:
        return f"{images} of {folder} images were taken, as many as --calibration-images asks for"
    if not kept:
        return f"at most {asked} were asked for, and there are {images} images to calibrate on"
    return (
        f"at most {asked} were asked for, and {images} of {folder} images were taken, since half "
        "of the folder is kept to score on unless --evaluation-data names another"
    )


def _way_to_more(audit: CalibrationAudit) -> str:
    """Return what gives more images to calibrate on than there were."""
    images, available, kept = audit.images, audit.available, audit.kept_to_score
    if images < available - kept:
        return f"give a larger --calibration-images, up to {available - kept}"
    if kept:
        return "give --evaluation-data FOLDER with other images to score on, or more pictures"
    more = " and a larger --calibration-images" if images >= audit.asked else ""
    return f"give more pictures{more}"


def _unlike(observed: Mapping[str, Any]) -> list[str]:
    """Say it once for all formats that find it, since they look at the same images."""
    formats = [format_ for format_, item in observed.items() if item["unlike"] is not None]
    if not formats:
        return []
    item = observed[formats[0]]
    unlike = item["unlike"]
    said = (
        f"in {unlike['images']} of {item['held_out']} images to score on, values of the tensor "
        f"{unlike['tensor']} leave the range of calibration (chance expects "
        f"{unlike['expected']:.1f} images), and the integer file cuts them off"
        if unlike["test"] == "ranges"
        else f"all activations together lie apart by {unlike['distance']:.2f} (0: alike, 1: "
        f"nothing in common), most in the tensor {unlike['tensor']}, and the integer file has "
        "steps of a wrong size"
    )
    return [
        f"calibration ({', '.join(formats)}): the {item['images']} calibration images do not look "
        f"like the images to score on: {said} (p {unlike['p_value']:.1g}). Calibrate on pictures "
        "as the device will see them"
    ]


BALANCE = 3  # times as many images of one class as of another
