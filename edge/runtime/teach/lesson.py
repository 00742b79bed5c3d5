"""Pictures that are to be learnt: their small copies, and what each one tells a class."""

import hashlib
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final, Self

import numpy as np
from numpy.typing import NDArray

from edge.errors import ImageError
from edge.runtime.head import normalised
from edge.runtime.image import decode_image
from edge.runtime.teach.taught import MOST_THUMBNAIL_BYTES, Taught

THUMBNAIL_SIDE: Final = 96  # pixels of the longer side, at most
QUALITIES: Final = (80, 60, 40, 20)  # of JPEG, until a thumbnail is small enough
NEAR: Final = 0.98  # cosine; see near_duplicate
KNOWN_PICTURE: Final = "known"
TAUGHT_ELSEWHERE: Final = "it was taught as {}; remove it there first"
NEAR_PICTURE: Final = "near-duplicate of a picture that the class has"


@dataclass(frozen=True, slots=True, kw_only=True)
class LessonPicture:
    """A picture to be learnt.

    Attributes:
        image: The sha256 (hex) of its bytes.
        vector: (features,) float32, the embedding as ``Classifier.values`` gives it.
        thumbnail: A small JPEG file of it; may be empty.
    """

    image: str
    vector: NDArray[np.float32]
    thumbnail: bytes = b""

    @classmethod
    def of(cls, content: bytes, vector: NDArray[np.float32]) -> Self:
        """Return the picture in the bytes of an image file."""
        return cls(
            image=hashlib.sha256(content).hexdigest(),
            vector=vector,
            thumbnail=thumbnail_of(io.BytesIO(content)),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Learnt:
    """What became of a picture.

    Attributes:
        label: Its class, as the bundle writes it.
        image: Its sha256, hex.
        learnt: Whether it was new.
        why: Why it was not: ``KNOWN_PICTURE``, ``NEAR_PICTURE`` or ``TAUGHT_ELSEWHERE``; else
            empty.
    """

    label: str
    image: str
    learnt: bool
    why: str = ""


def thumbnail_of(source: Path | BinaryIO) -> bytes:
    """Return a small JPEG file of an image file; nothing where that cannot be decoded.

    A JPEG is decoded at a fraction of its size.
    """
    try:
        image = decode_image(source, minimum=(THUMBNAIL_SIDE, THUMBNAIL_SIDE))
    except ImageError:
        return b""
    image.thumbnail((THUMBNAIL_SIDE, THUMBNAIL_SIDE))
    for quality in QUALITIES:
        stream = io.BytesIO()
        image.save(stream, "JPEG", quality=quality)
        if stream.tell() <= MOST_THUMBNAIL_BYTES:
            return stream.getvalue()
    return b""


def near_duplicate(taught: Taught, label: str, vector: NDArray[np.float32]) -> str | None:
    """Return the picture of a class that shows the same scene one frame later; None for none.

    The bound of the cosine, 0.98, was measured on 200 photos (dogs-vs-cats, 640 x 480) with the
    embeddings of MobileNet, 224 x 224; the share of second pictures that it takes for the first:

    ======================================  ========  ========
    the second picture                      fp32      int8
    ======================================  ========  ========
    next frame: JPEG quality 70 to 95,      98.5 %    98.5 %
    noise of 3 levels, up to 2 pixels and
    3 % of exposure apart, all at once
    noise of 5 levels                       94.5 %    94.5 %
    camera 2.5 % of the width further       6.5 %     6.0 %
    camera 5 % of the width further         1.5 %     0.5 %
    camera 10 % of the width further        0 %       0 %
    turned by 3 degrees, by 8 degrees       14.5, 0   12.5, 0
    nearer by 5 %, by 15 %                  2.0, 0    1.0, 0
    another photo (the nearest has 0.84)    0 %       0 %
    ======================================  ========  ========

    Args:
        taught: What was taught.
        label: The class.
        vector: (features,) float32 of the picture that is asked for.

    Returns:
        The sha256 (hex) of the most similar picture.
    """
    rows = [number for number, item in enumerate(taught.examples) if item.label == label]
    if not rows:
        return None
    cosines = normalised(taught.vectors[rows]) @ normalised(vector[None])[0]
    best = int(cosines.argmax())
    return taught.examples[rows[best]].image if cosines[best] >= NEAR else None


def sorted_out(
    taught: Taught, label: str, pictures: Sequence[LessonPicture], *, near: bool
) -> tuple[tuple[Learnt, ...], list[LessonPicture]]:
    """Return what becomes of each picture, and those that are to be learnt."""
    known = {item.image for item in taught.examples if item.label == label}
    elsewhere = {item.image: item.label for item in taught.examples if item.label != label}
    results, fresh = [], list[LessonPicture]()
    for picture in pictures:
        why = ""
        if picture.image in known:
            why = KNOWN_PICTURE
        elif picture.image in elsewhere:  # one picture shows one class, or both are worth nothing
            why = TAUGHT_ELSEWHERE.format(elsewhere[picture.image])
        elif not near and (
            near_duplicate(taught, label, picture.vector)
            or any(_cosine(picture.vector, item.vector) >= NEAR for item in fresh)
        ):
            why = NEAR_PICTURE
        else:
            known.add(picture.image)
            fresh.append(picture)
        results.append(Learnt(label=label, image=picture.image, learnt=not why, why=why))
    return tuple(results), fresh


def _cosine(one: NDArray[np.float32], other: NDArray[np.float32]) -> float:
    first, second = normalised(np.stack([one, other]))
    return float(first @ second)
