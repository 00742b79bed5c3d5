"""Arguments that several commands share."""

import argparse
import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from edge.errors import UsageError
from edge.runtime.bundle import Bundle
from edge.runtime.classifier import Classifier
from edge.runtime.numbers import MOST_THREADS, finite_number, whole_number
from edge.runtime.session import ENGINES
from edge.runtime.spec import Variant
from edge.runtime.streams import without_chatter

TOP_K: Final = 3  # classes of an answer

if TYPE_CHECKING:
    from edge.runtime.tasks.model import Predictor


def add_bundle(parser: argparse.ArgumentParser) -> None:
    """Add the bundle, as the first argument."""
    parser.add_argument("bundle", type=named_path, metavar="BUNDLE")


def add_model(parser: argparse.ArgumentParser) -> None:
    """Add the options that say which model file runs, and how."""
    parser.add_argument(
        "--variant",
        type=named,
        help="the model file of the bundle that runs (default: the bundle's own)",
    )
    parser.add_argument(
        "--engine", choices=sorted(ENGINES), help="the interpreter (default: the first installed)"
    )
    parser.add_argument(
        "--threads",
        type=thread_count,
        default=min(os.cpu_count() or 1, MOST_THREADS),
        help="the number of CPU threads (default: all)",
    )


def open_classifier(bundle: Bundle, options: argparse.Namespace) -> tuple[Variant, Classifier]:
    """Return the variant that ``add_model``'s arguments name, loaded.

    Raises:
        UsageError: No such variant.
        BundleError: It is missing or altered.
        ModelLoadError: It does not load.
    """
    with without_chatter():
        classifier = Classifier.open(
            bundle, variant=options.variant, engine=options.engine, threads=options.threads
        )
    return bundle.manifest.variant(options.variant), classifier


def open_model(bundle: Bundle, options: argparse.Namespace) -> "tuple[Variant, Predictor]":
    """Do as ``open_classifier``, for a bundle of any task."""
    if bundle.manifest.decoder is None:
        return open_classifier(bundle, options)
    from edge.runtime.tasks.model import TaskModel

    with without_chatter():
        model = TaskModel.open(
            bundle, variant=options.variant, engine=options.engine, threads=options.threads
        )
    return bundle.manifest.variant(options.variant), model


def add_top_k(parser: argparse.ArgumentParser) -> None:
    """Add the option that says how many classes an answer has."""
    parser.add_argument(
        "--top-k",
        type=at_least_one,
        help=f"the number of classes that a classifier answers with ({TOP_K})",
    )


def answer_count(model: "Predictor", asked: int | None) -> int:
    """Return how many classes an answer has; ``asked`` is ``--top-k``, None where it was left out.

    Raises:
        UsageError: It was given, and the model is no classifier.
    """
    if asked is None:
        return TOP_K
    if not isinstance(model, Classifier):
        task = getattr(model, "task", "another task")
        raise UsageError(
            f"--top-k is for classifiers, and this model answers {task}",
            hint="Leave out --top-k: the decoder of the model bounds how many results there are.",
        )
    return asked


def at_least_one(text: str) -> int:
    """Read a count, for argparse."""
    value = whole_number(text)
    if value is None or value < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of at least 1")
    return value


def named(text: str) -> str:
    """Read a text that names something, for argparse."""
    if not text:
        raise argparse.ArgumentTypeError("it is empty")
    return text


def named_path(text: str) -> Path:
    """Read a path, for argparse: an empty one would be the current folder."""
    return Path(named(text))


def thread_count(text: str) -> int:
    """Read a number of threads, for argparse."""
    value = at_least_one(text)
    if value > MOST_THREADS:
        raise argparse.ArgumentTypeError(f"{text!r} is more than {MOST_THREADS}")
    return value


def more_than_zero(text: str) -> float:
    """Read a quantity, for argparse."""
    value = finite_number(text)
    if value is None or value <= 0:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number above 0")
    return value


def print_json(value: Any) -> None:
    """Print one indented JSON document on stdout."""
    print(json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False))
