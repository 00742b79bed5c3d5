"""``python3 -m edge.runtime teach BUNDLE LABEL IMAGE...``."""

import argparse
import hashlib
import secrets
import time
from pathlib import Path
from typing import Any, Final

import numpy as np

from edge.errors import ImageError, InferenceError
from edge.runtime.bundle import Bundle
from edge.runtime.classifier import Classifier
from edge.runtime.commands.arguments import (
    add_bundle,
    add_model,
    named_path,
    open_classifier,
    print_json,
)
from edge.runtime.files import open_regular, readable
from edge.runtime.preprocess import load
from edge.runtime.streams import say
from edge.runtime.teach.labels import checked_label, known_label
from edge.runtime.teach.lesson import KNOWN_PICTURE, thumbnail_of
from edge.runtime.teach.teacher import LessonPicture, Teacher, check_learns

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
    known_label(checked_label(options.label), bundle.manifest.labels)
    variant, classifier = open_classifier(bundle, options)
    began = time.perf_counter()
    pictures = [_picture(classifier, image) for image in options.images]
    seconds = (time.perf_counter() - began) / len(options.images)
    teacher = Teacher(bundle, variant)
    # One call is one series: nobody knows how its pictures came, and they may be of one press.
    learnt = teacher.add_all(options.label, pictures, secrets.token_hex(8), near=True)
    taught, worth = teacher.taught.labels, teacher.assessment()
    result = {
        "label": learnt[0].label,
        "variant": variant.name,
        "pictures": len(options.images),
        "new": sum(item.learnt for item in learnt),
        "known": sum(item.why == KNOWN_PICTURE for item in learnt),
        "taught": taught.get(learnt[0].label, 0),  # somebody may forget it meanwhile
        "classes": len({*bundle.manifest.labels, *taught}),
        "seconds_per_picture": seconds,
        "assessment": worth.to_json(),
    }
    if options.json:
        print_json(result)
    else:
        _print(result)
        for image, item in zip(options.images, learnt, strict=True):
            if item.why not in ("", KNOWN_PICTURE):
                say(f"note: {readable(image)} was left out: {item.why}", err=True)
        if worth.words:
            say(worth.words)
        say("Next: python3 -m edge.runtime predict BUNDLE IMAGE", err=True)
    return 0


def _picture(classifier: Classifier, image: Path) -> LessonPicture:
    """Return a picture with its embedding."""
    try:
        with open_regular(image) as stream:
            # From one descriptor: what is hashed is what is learnt, and what is shown.
            vector = classifier.values(load(stream, classifier.preprocessing))
            stream.seek(0)
            digest = hashlib.file_digest(stream, "sha256").hexdigest()
            thumbnail = thumbnail_of(stream)
    except (ImageError, OSError) as error:
        raise ImageError(
            f"{_why(image, error)}; nothing was learnt", hint="Leave that picture out."
        ) from error
    if not np.isfinite(vector).all():
        raise InferenceError(f"the model answers {readable(image)} with NaN")
    return LessonPicture(image=digest, vector=vector, thumbnail=thumbnail)


def _why(image: Path, error: ImageError | OSError) -> str:
    if isinstance(error, ImageError):
        return error.message
    return f"{readable(image)}: the file cannot be read: {error.strerror}"


def _print(result: dict[str, Any]) -> None:
    again = result["known"]
    say(
        f"{result['label']}: {result['new']} pictures learnt"
        + (f", {again} were known" if again else "")
        + f"; {result['taught']} taught in all, {1e3 * result['seconds_per_picture']:.0f} ms each "
        f"with {result['variant']}; the bundle knows {result['classes']} classes"
    )
