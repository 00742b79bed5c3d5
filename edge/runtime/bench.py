"""Times each step from the bytes of a JPEG to an answer, in this process."""

import time
from io import BytesIO
from typing import Any

import numpy as np
from PIL import Image

from edge.runtime.classifier import Classifier
from edge.runtime.preprocess import decode, preprocess
from edge.runtime.session import encode_pixels
from edge.runtime.timing import peak_memory, resident_memory, summary, timed

WIDTH, HEIGHT = 640, 480
K = 3


def made_jpeg() -> bytes:
    """A JPEG of 640 x 480, the same on every device: soft shapes with a little noise."""
    random = np.random.default_rng(0)
    coarse = random.integers(0, 256, (12, 16, 3), np.uint8)
    soft = Image.fromarray(coarse).resize((WIDTH, HEIGHT), Image.Resampling.BICUBIC)
    noise = random.integers(-8, 9, (HEIGHT, WIDTH, 3))
    pixels = (np.asarray(soft, np.int16) + noise).clip(0, 255).astype(np.uint8)
    stream = BytesIO()
    Image.fromarray(pixels).save(stream, "JPEG", quality=90)
    return stream.getvalue()


def bench(classifier: Classifier, content: bytes, *, runs: int) -> dict[str, Any]:
    """Seconds of each step, and bytes of memory.

    Args:
        classifier: Loaded, and not yet run.
        content: Of an image file.
        runs: How often each step is timed, after a tenth as many to warm up.

    Returns:
        ``first`` (seconds of the first inference), ``steps`` (step -> summary in seconds),
        ``decoded`` (width, height that the file is decoded to) and memory in bytes.

    Raises:
        ImageError: The image cannot be decoded.
        InferenceError: The model failed.
    """
    spec, session = classifier.preprocessing, classifier.session
    image = decode(BytesIO(content), spec)
    tensor = encode_pixels(preprocess(image, spec), session.inputs[0], spec.value_range)
    began = time.perf_counter()
    output = session.run(tensor)[0]
    first = time.perf_counter() - began
    steps = {
        "decode": lambda: decode(BytesIO(content), spec),
        "preprocess": lambda: encode_pixels(
            preprocess(image, spec), session.inputs[0], spec.value_range
        ),
        "invoke": lambda: session.run(tensor),
        "postprocess": lambda: classifier.categories(output, k=K),
        "end to end": lambda: classifier.classify(BytesIO(content), k=K),
    }
    warm_up = max(1, runs // 10)
    return {
        "first": first,
        "decoded": list(image.size),
        "steps": {
            name: summary(timed(work, runs=runs, warm_up=warm_up)) for name, work in steps.items()
        },
        "resident_memory_bytes": resident_memory(),
        "peak_memory_bytes": peak_memory(),
    }
