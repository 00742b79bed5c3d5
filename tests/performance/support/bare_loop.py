"""A loop by hand around LiteRT's interpreter, in a process of its own: seconds of each inference.

    python bare_loop.py MODEL THREADS RUNS

Prints the median in seconds. Nothing of edge is imported.
"""

import statistics
import sys
import time

import numpy as np
from ai_edge_litert.interpreter import Interpreter

WARM_UP = 20


def main() -> None:
    """Load, warm up, time."""
    model, threads, runs = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    interpreter = Interpreter(model_path=model, num_threads=threads)
    interpreter.allocate_tensors()
    (put,) = interpreter.get_input_details()
    outputs = interpreter.get_output_details()
    random = np.random.default_rng(0)
    dtype = np.dtype(put["dtype"])
    tensor = (
        random.random(put["shape"], np.float32).astype(dtype)
        if dtype.kind == "f"
        else random.integers(np.iinfo(dtype).min, np.iinfo(dtype).max, put["shape"], dtype)
    )
    samples = []
    for _ in range(WARM_UP + runs):
        before = time.perf_counter()
        interpreter.set_tensor(put["index"], tensor)
        interpreter.invoke()
        for output in outputs:
            interpreter.get_tensor(output["index"])
        samples.append(time.perf_counter() - before)
    print(statistics.median(samples[WARM_UP:]))


if __name__ == "__main__":
    main()
