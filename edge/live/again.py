"""Teaching a session's bundle its own pictures anew, where it lost what it was taught."""

import io
import secrets
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

import numpy as np

from edge.errors import DataError, EdgeError
from edge.progress import Progress
from edge.runtime.bundle import Bundle
from edge.runtime.checked import read_bytes
from edge.runtime.classifier import Classifier
from edge.runtime.files import readable
from edge.runtime.preprocess import load
from edge.runtime.streams import without_chatter
from edge.runtime.teach.lesson import LessonPicture
from edge.runtime.teach.taught import Taught, alone, nothing_taught, write_taught

_MOST_BYTES: Final = 64 << 20  # more than the page takes


def teach_again(
    bundle: Bundle, pictures: Mapping[str, Mapping[Path, str]], progress: Progress
) -> Taught:
    """Teach a bundle that was taught nothing all pictures at once, or none.

    Those of a class whose press of the button is not known are taken for one press: that flatters
    nobody.

    Args:
        bundle: A bundle of a session.
        pictures: The files of each class, with the press of each; empty if it is not known.
        progress: Is told of the stage.

    Raises:
        DataError: A file cannot be read.
        OutputError: The bundle cannot be written.
    """
    variant = bundle.manifest.variant(None)
    with without_chatter():
        classifier = Classifier.open(bundle)
    total = sum(map(len, pictures.values()))
    taught: Taught | None = None
    with progress.stage("teaching anew", total) as step:
        for label, burst, paths in _presses(pictures):
            lessons = [_lesson(classifier, path) for path in paths]
            step(len(lessons))
            vectors = np.stack([item.vector for item in lessons]).astype(np.float32)
            if taught is None:
                model = bundle.manifest.files[variant.path]
                taught = nothing_taught(variant, model, vectors.shape[1])
            taught, _ = taught.added(
                label,
                [item.image for item in lessons],
                vectors,
                burst=burst or secrets.token_hex(8),
                thumbnails=[item.thumbnail for item in lessons],
            )
    assert taught is not None  # there is a picture
    with alone(bundle):
        write_taught(bundle, taught)
    return taught


def _presses(
    pictures: Mapping[str, Mapping[Path, str]],
) -> Iterator[tuple[str, str, list[Path]]]:
    """Yield class, press and files of each press of the button."""
    for label, bursts in pictures.items():
        for burst in dict.fromkeys(bursts.values()):
            yield label, burst, [path for path, its in bursts.items() if its == burst]


def _lesson(classifier: Classifier, path: Path) -> LessonPicture:
    try:
        content = read_bytes(path, "the picture", max_bytes=_MOST_BYTES)
        vector = classifier.values(load(io.BytesIO(content), classifier.preprocessing))
        if not np.isfinite(vector).all():
            raise ValueError("the model's answer is not finite")
    except (EdgeError, OSError, ValueError) as error:
        raise DataError(
            f"{readable(path)} cannot be taught anew: {error}",
            hint="Take that file out of the folder, and start again.",
        ) from error
    return LessonPicture.of(content, vector)
