"""``python3 -m edge.runtime forget BUNDLE LABEL``."""

import argparse
import unicodedata
from typing import Final

from edge.errors import BundleError, UsageError
from edge.runtime.bundle import Bundle
from edge.runtime.commands.arguments import add_bundle, print_json
from edge.runtime.streams import say
from edge.runtime.taught import Taught, alone, read_taught, remove_taught, write_taught

EXAMPLE: Final = "Example: python3 -m edge.runtime forget BUNDLE sea"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of this command."""
    add_bundle(parser)
    parser.add_argument("label", nargs="?", metavar="LABEL", help="the class that was taught")
    parser.add_argument("--all", action="store_true", help="forget everything that was taught")
    parser.add_argument("--json", action="store_true", help="print what was forgotten as JSON")


def run(options: argparse.Namespace) -> int:
    """Forget a class that was taught, or all of them.

    Raises:
        UsageError: Nothing of that name was taught.
        OutputError: The folder of the bundle cannot be written.
    """
    bundle = Bundle.open(options.bundle)
    if (options.label is None) == (not options.all):
        raise UsageError("name a label, or --all", hint=EXAMPLE)
    with alone(bundle):
        if options.all:
            gone = _all(bundle)
        else:
            taught = read_taught(bundle)
            label = _found(bundle, taught, options.label)
            assert taught is not None  # a label was found in it
            gone = {label: taught.labels[label]}
            write_taught(bundle, taught.without(label))
    if options.json:
        print_json({"forgotten": gone})
    else:
        lines = [f"{label}: {count} pictures forgotten" for label, count in gone.items()]
        for line in lines or ["what was taught could not be read; it is forgotten"]:
            say(line)
    return 0


def _all(bundle: Bundle) -> dict[str, int]:
    """Forget everything, also a file that cannot be read, which nothing else would take away."""
    try:
        taught = read_taught(bundle)
    except BundleError:
        taught = None
    else:
        if taught is None:
            raise UsageError(f"{bundle.path} was taught nothing")
    remove_taught(bundle)
    return {} if taught is None else taught.labels


def _found(bundle: Bundle, taught: Taught | None, text: str) -> str:
    """Return the label as it was taught."""
    wanted = unicodedata.normalize("NFC", text)
    labels = [] if taught is None else list(taught.labels)
    for label in labels:
        if unicodedata.normalize("NFC", label) == wanted:
            return label
    if any(unicodedata.normalize("NFC", label) == wanted for label in bundle.manifest.labels):
        raise UsageError(
            f"the bundle was built with the class {text!r}; only what was taught is forgotten",
            hint="Build the bundle without it.",
        )
    if not labels:
        raise UsageError(f"no class {text!r} was taught: nothing was")
    raise UsageError(f"no class {text!r} was taught", hint=f"Taught are: {', '.join(labels)}.")
