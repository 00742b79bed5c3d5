"""``python3 -m edge.runtime predict BUNDLE IMAGE...``."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from edge.errors import ImageError
from edge.runtime.bundle import Bundle
from edge.runtime.classifier import Classifier
from edge.runtime.commands.arguments import (
    add_bundle,
    add_model,
    at_least_one,
    open_classifier,
    print_json,
)
from edge.runtime.files import readable

EXAMPLE: Final = "Example: python3 -m edge.runtime predict BUNDLE photo.jpg --top-k 3"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Of this command."""
    add_bundle(parser)
    parser.add_argument("images", type=Path, nargs="+", metavar="IMAGE")
    parser.add_argument("--top-k", type=at_least_one, default=3, help="answers per image (3)")
    add_model(parser)
    parser.add_argument("--json", action="store_true", help="machine-readable answers")


def run(options: argparse.Namespace) -> int:
    """Answer; 2 where an image could not be read."""
    variant, classifier = open_classifier(Bundle.open(options.bundle), options)
    return answered(classifier, options.images, options.top_k, variant.name, json=options.json)


def answered(
    classifier: Classifier, images: Sequence[Path], k: int, variant: str, *, json: bool
) -> int:
    """Print an answer for each image; 2 where one could not be read."""
    answers = predictions(classifier, images, k, variant)
    if json:
        print_json(answers)
    else:
        print("\n".join(_line(answer) for answer in answers))
    failed = [answer for answer in answers if "error" in answer]
    for answer in failed:
        print(f"error: {answer['error']}", file=sys.stderr)
    return 2 if failed else 0


def predictions(
    classifier: Classifier, images: Sequence[Path], k: int, variant: str
) -> list[dict[str, Any]]:
    """One JSON object per image: its categories, or the error that kept it from an answer."""
    answers: list[dict[str, Any]] = []
    for image in images:
        try:
            answer = classifier.answer(image, k=k, variant=variant)
        except ImageError as error:
            answer = {"image": readable(image), "error": error.message}
        answers.append(answer)
    return answers


def _line(answer: dict[str, Any]) -> str:
    if "error" in answer:
        return f"{answer['image']}: error: {answer['error']}"
    scores = (f"{item['label']} {100 * item['score']:.1f} %" for item in answer["categories"])
    return f"{answer['image']}: {', '.join(scores)}"
