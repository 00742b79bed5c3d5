"""Arguments that several commands share."""

import argparse
import json
import os
from pathlib import Path
from typing import Any

from edge.runtime.bundle import Bundle
from edge.runtime.classifier import Classifier
from edge.runtime.session import ENGINES
from edge.runtime.spec import Variant
from edge.runtime.streams import without_chatter


def add_bundle(parser: argparse.ArgumentParser) -> None:
    """Add the bundle, as the first argument."""
    parser.add_argument("bundle", type=Path, metavar="BUNDLE")


def add_model(parser: argparse.ArgumentParser) -> None:
    """Add the options that say which model file runs, and how."""
    parser.add_argument(
        "--variant", help="the model file of the bundle that runs (default: the bundle's own)"
    )
    parser.add_argument(
        "--engine", choices=sorted(ENGINES), help="the interpreter (default: the first installed)"
    )
    parser.add_argument(
        "--threads",
        type=at_least_one,
        default=os.cpu_count() or 1,
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


def at_least_one(text: str) -> int:
    """Read a count, for argparse."""
    try:
        value = int(text)
    except ValueError:
        value = 0
    if value < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of at least 1")
    return value


def more_than_zero(text: str) -> float:
    """Read a quantity, for argparse."""
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number above 0")
    return value


def print_json(value: Any) -> None:
    """Print one indented JSON document on stdout."""
    print(json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False))
