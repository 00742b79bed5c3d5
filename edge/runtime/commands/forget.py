"""``python3 -m edge.runtime forget BUNDLE LABEL``."""

import argparse
from typing import Final

from edge.errors import UsageError
from edge.runtime.bundle import Bundle
from edge.runtime.commands.arguments import add_bundle, print_json
from edge.runtime.streams import say
from edge.runtime.teach.teacher import Teacher

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
    teacher = Teacher(bundle, bundle.manifest.variant())
    gone = teacher.forget_all() if options.all else teacher.forget(options.label)
    if options.json:
        print_json({"forgotten": gone})
    else:
        lines = [f"{label}: {count} pictures forgotten" for label, count in gone.items()]
        for line in lines or ["what was taught could not be read; it is forgotten"]:
            say(line)
    return 0
