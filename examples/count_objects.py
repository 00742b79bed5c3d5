"""Count the objects of each class that a bundle's detector finds in pictures.

    python examples/count_objects.py bundle photos/*.jpg --least 0.5

It runs on a device too, with ``PYTHONPATH=bundle/runtime``.
"""

import argparse
import sys
from collections import Counter
from pathlib import Path

from edge.errors import EdgeError
from edge.runtime import TaskModel
from edge.runtime.tasks.results import Detections


def main() -> int:
    """Print a line for each picture: its name, and how many of what are on it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("bundle", type=Path)
    parser.add_argument("photos", type=Path, nargs="+")
    parser.add_argument("--least", type=float, default=0.25, help="lowest score, 0 to 1")
    options = parser.parse_args()

    failed = 0
    try:
        model = TaskModel.open(options.bundle, parameters={"score_threshold": options.least})
    except EdgeError as error:
        print(f"error: {error.message}\nhint: {error.hint}", file=sys.stderr)
        return 2
    for photo in options.photos:
        try:
            answer = model.predict(photo)
        except EdgeError as error:
            print(f"error: {error.message}", file=sys.stderr)
            failed = 1
            continue
        if not isinstance(answer, Detections):
            print(f"error: {options.bundle} answers {model.task}", file=sys.stderr)
            return 2
        counts = Counter(item.label for item in answer.items)
        found = ", ".join(f"{count} {label}" for label, count in counts.most_common())
        print(f"{photo}: {found or 'nothing'}")
    return failed


if __name__ == "__main__":
    sys.exit(main())
