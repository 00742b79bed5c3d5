"""Print what a classifier sees in front of a camera, frame by frame, until Ctrl-C.

    python examples/watch_camera.py bundle 0

The camera is a number or a path as of /dev/video0, ``csi`` on a Raspberry Pi, an ``rtsp://``
address, or a folder of pictures, which is played in a circle. It needs what a device has: Python,
numpy, Pillow and one interpreter.
"""

import argparse
import sys
import time

from edge.errors import EdgeError
from edge.runtime import Classifier, open_camera


def main() -> int:
    """Print one line for each frame; return 1 where the bundle or the camera cannot be used."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("bundle")
    parser.add_argument("camera")
    parser.add_argument("--frames", type=int, default=0, help="stop after so many; 0 for never")
    options = parser.parse_args()

    try:
        classifier = Classifier.open(options.bundle)
        with open_camera(options.camera) as camera:
            for count, frame in enumerate(camera, start=1):
                best = classifier.classify(frame.jpeg, k=1)[0]
                age = time.monotonic() - frame.captured
                print(f"{frame.number}\t{best.label}\t{best.score:.2f}\t{1000 * age:.0f} ms old")
                if count == options.frames:
                    return 0
    except EdgeError as error:
        print(f"error: {error.message}\n{error.hint}", file=sys.stderr)
    except KeyboardInterrupt:
        return 0
    return 1


if __name__ == "__main__":
    sys.exit(main())
