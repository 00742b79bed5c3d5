"""edge's runner on the same work as ``hand_loop.py``.

python runner_loop.py BUNDLE VARIANT COUNT JPEG...   seconds of each answer, and memory
"""

import sys
import time
from pathlib import Path

from edge.runtime.bundle import Bundle
from edge.runtime.classifier import Classifier
from edge.runtime.timing import resident_memory


def main() -> None:
    """Load and answer."""
    bundle, variant, count = sys.argv[1:4]
    paths = [Path(path) for path in sys.argv[4:]]
    classifier = Classifier.open(Bundle.open(Path(bundle)), variant=variant, threads=1)
    for _ in range(10):
        classifier.classify(paths[0], k=3)
    for number in range(int(count)):
        path = paths[number % len(paths)]
        before = time.perf_counter()
        classifier.classify(path, k=3)
        print(time.perf_counter() - before)
    print(resident_memory() // 1024)


if __name__ == "__main__":
    main()
