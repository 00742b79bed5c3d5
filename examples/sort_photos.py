"""Copy photos into one folder for each class, and the unsure ones into a folder of their own.

    python examples/sort_photos.py bundle photos sorted --least 0.8

It needs what a device has: Python, numpy, Pillow and one interpreter. A photo that cannot be read
is named on standard error, and the others go on.
"""

import argparse
import shutil
import sys
from pathlib import Path

from edge.errors import EdgeError
from edge.runtime import Classifier


def main() -> int:
    """Sort all photos; return 1 if some cannot be read."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("bundle", type=Path)
    parser.add_argument("photos", type=Path)
    parser.add_argument("output", type=Path)
    parser.add_argument("--least", type=float, default=0.8, help="lowest score that is believed")
    options = parser.parse_args()

    unread = 0
    try:
        classifier = Classifier.open(options.bundle)
    except EdgeError as error:
        print(f"error: {error.message}", file=sys.stderr)
        return 2
    for photo in sorted(path for path in options.photos.rglob("*") if path.is_file()):
        try:
            best = classifier.classify(photo, k=1)[0]
        except EdgeError as error:
            print(error.message, file=sys.stderr)  # it begins with the path
            unread += 1
            continue
        label = best.label if best.score >= options.least else "unsure"
        # Two photos of one name may come from two folders: the whole path makes the new name.
        name = "-".join(photo.relative_to(options.photos).parts)
        target = options.output / label.replace("/", "-") / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(photo, target)
        print(f"{photo}: {best.label} {best.score:.0%} -> {target}")
    return 1 if unread else 0


if __name__ == "__main__":
    sys.exit(main())
