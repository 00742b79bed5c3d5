"""A classifier by hand, Pillow and LiteRT's interpreter only: what edge's runner is held against.

    python hand_loop.py MODEL LABELS COUNT FRACTION JPEG...   seconds of each answer, and memory
    python hand_loop.py MODEL LABELS 0 FRACTION JPEG          the label, as soon as it is known

It reads a file, cuts out the centre (FRACTION of the shorter side), scales it, runs the network
and prints the three best classes. Nothing of edge is imported.
"""

import sys
import time

import numpy as np
from ai_edge_litert.interpreter import Interpreter
from PIL import Image


def main() -> None:
    """Load and answer."""
    model, labels_file, count, fraction = sys.argv[1:5]
    with open(labels_file, encoding="utf-8") as stream:  # noqa: PTH123 (as one writes it by hand)
        labels = stream.read().splitlines()
    interpreter = Interpreter(model_path=model, num_threads=1)
    interpreter.allocate_tensors()
    put = interpreter.get_input_details()[0]["index"]
    height, width = interpreter.get_input_details()[0]["shape"][1:3]
    details = interpreter.get_output_details()[0]
    scale, zero = details["quantization"]

    def answer(path: str) -> list[tuple[str, float]]:
        image = Image.open(path).convert("RGB")
        side = min(image.size) * float(fraction)
        left, top = (image.width - side) / 2, (image.height - side) / 2
        small = image.resize(
            (width, height), Image.Resampling.BILINEAR, box=(left, top, left + side, top + side)
        )
        interpreter.set_tensor(put, np.asarray(small)[np.newaxis])
        interpreter.invoke()
        scores = (interpreter.get_tensor(details["index"])[0].astype(np.float32) - zero) * scale
        best = np.argsort(-scores)[:3]
        return [(labels[i], float(scores[i])) for i in best]

    paths = sys.argv[5:]
    if not int(count):
        print(answer(paths[0])[0][0])
        return
    for _ in range(10):
        answer(paths[0])
    for number in range(int(count)):
        path = paths[number % len(paths)]
        before = time.perf_counter()
        answer(path)
        print(time.perf_counter() - before)
    with open("/proc/self/status", encoding="ascii") as stream:  # noqa: PTH123
        print(next(line.split()[1] for line in stream if line.startswith("VmRSS")))


if __name__ == "__main__":
    main()
