"""``python3 -m edge.runtime teach BUNDLE LABEL IMAGE...``."""

import argparse
import hashlib
import time
import unicodedata
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from edge.errors import ImageError, InferenceError, UsageError
from edge.runtime.bundle import Bundle
from edge.runtime.classifier import Classifier, check_classifier
from edge.runtime.commands.arguments import (
    add_bundle,
    add_model,
    named_path,
    open_classifier,
    print_json,
)
from edge.runtime.files import open_regular, readable
from edge.runtime.preprocess import load
from edge.runtime.spec import Variant
from edge.runtime.streams import say
from edge.runtime.taught import alone, checked_label, nothing_taught, read_taught, write_taught

EXAMPLE: Final = "Example: python3 -m edge.runtime teach BUNDLE sea sea1.jpg sea2.jpg sea3.jpg"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of this command."""
    add_bundle(parser)
    parser.add_argument("label", metavar="LABEL", help="the class: a new one, or one it knows")
    parser.add_argument(
        "images", type=named_path, nargs="+", metavar="IMAGE", help="pictures of it"
    )
    add_model(parser)
    parser.add_argument("--json", action="store_true", help="print what was learnt as JSON")


def run(options: argparse.Namespace) -> int:
    """Learn all of the pictures or none.

    Raises:
        UsageError: The bundle's head is a trained one, or the label cannot be one.
        ImageError: A picture cannot be read.
        OutputError: The folder of the bundle cannot be written.
    """
    bundle = Bundle.open(options.bundle)
    check_learns(bundle)
    label = known_label(checked_label(options.label), bundle.manifest.labels)
    variant, classifier = open_classifier(bundle, options)
    began = time.perf_counter()
    hashes, vectors = _embedded(classifier, options.images)
    seconds = (time.perf_counter() - began) / len(options.images)
    fresh, total, classes = _learn(bundle, variant, label, hashes, vectors)
    result = {
        "label": label,
        "variant": variant.name,
        "pictures": len(options.images),
        "new": fresh,
        "taught": total,
        "classes": classes,
        "seconds_per_picture": seconds,
    }
    if options.json:
        print_json(result)
    else:
        _print(result)
    return 0


def check_learns(bundle: Bundle) -> None:
    """Refuse a bundle that cannot learn.

    Raises:
        UsageError: Its head was trained by gradient steps, or it is no classifier.
    """
    check_classifier(bundle)
    if bundle.manifest.head is None:
        raise UsageError(
            f"{bundle.path} has a trained head, which cannot learn classes on a device",
            hint="Build it with: edge build PHOTOS --head imprinted --output BUNDLE",
        )


def known_label(label: str, release: Sequence[str]) -> str:
    """Return the label as the release writes it, if that has the class.

    Raises:
        UsageError: It differs from a class of the release in capitals alone.
    """
    for known in release:
        composed = unicodedata.normalize("NFC", known)
        if composed == label:
            return known
        if composed.casefold() == label.casefold():
            raise UsageError(
                f"the bundle has the class {known!r}; {label!r} differs in capitals alone",
                hint=f"Teach {known!r}, or choose another label.",
            )
    return label


def _embedded(
    classifier: Classifier, images: Sequence[Path]
) -> tuple[list[str], NDArray[np.float32]]:
    """sha256 of each picture, and (pictures, features) float32."""
    hashes, vectors = [], []
    for image in images:
        try:
            with open_regular(image) as stream:
                # Twice from one descriptor: what is hashed is what is learnt.
                vector = classifier.values(load(stream, classifier.preprocessing))
                stream.seek(0)
                hashes.append(hashlib.file_digest(stream, "sha256").hexdigest())
        except (ImageError, OSError) as error:
            raise ImageError(
                f"{_why(image, error)}; nothing was learnt", hint="Leave that picture out."
            ) from error
        if not np.isfinite(vector).all():
            raise InferenceError(f"the model answers {readable(image)} with NaN")
        vectors.append(vector)
    return hashes, np.stack(vectors)


def _why(image: Path, error: ImageError | OSError) -> str:
    if isinstance(error, ImageError):
        return error.message
    return f"{readable(image)}: the file cannot be read: {error.strerror}"


def _learn(
    bundle: Bundle,
    variant: Variant,
    label: str,
    hashes: Sequence[str],
    vectors: NDArray[np.float32],
) -> tuple[int, int, int]:
    """Return the counts of new pictures, of taught pictures of the class, and of all classes."""
    model = bundle.manifest.files[variant.path]
    with alone(bundle):
        before = read_taught(bundle) or nothing_taught(variant, model, vectors.shape[1])
        before.check_model(variant, model)
        known_label(label, list(before.labels))
        taught, fresh = before.added(label, hashes, vectors)
        if fresh:
            write_taught(bundle, taught)
    classes = {*bundle.manifest.labels, *taught.labels}
    return fresh, taught.labels[label], len(classes)


def _print(result: dict[str, Any]) -> None:
    again = result["pictures"] - result["new"]
    say(
        f"{result['label']}: {result['new']} pictures learnt"
        + (f", {again} were known" if again else "")
        + f"; {result['taught']} taught in all, {1e3 * result['seconds_per_picture']:.0f} ms each "
        f"with {result['variant']}; the bundle knows {result['classes']} classes"
    )
    say("Next: python3 -m edge.runtime predict BUNDLE IMAGE", err=True)
