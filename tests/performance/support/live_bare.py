"""The loop by hand that ``edge live`` is measured against: capture, infer, no page.

    python live_bare.py BUNDLE CAMERA RATE SECONDS

Prints, in seconds since the process began: that of the first answer; then the processor time of
the SECONDS after it, and how many frames were answered.
"""

import sys
import time

from edge.runtime import open_camera
from edge.runtime.cameras.camera import CameraRequest
from edge.runtime.tasks.model import open_predictor


def main() -> None:
    bundle, address, rate, seconds = sys.argv[1:]
    model = open_predictor(bundle)
    frames = 0
    with open_camera(address, CameraRequest(rate=float(rate))) as camera:
        for frame in camera:
            model.answer(frame.jpeg, name="frame", k=3, variant="")
            if not frames:
                print(time.time(), flush=True)
                began, used = time.monotonic(), time.process_time()
            frames += 1
            if time.monotonic() - began > float(seconds):
                break
    print(time.process_time() - used, frames - 1)


if __name__ == "__main__":
    main()
