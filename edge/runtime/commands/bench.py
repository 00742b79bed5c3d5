"""``python3 -m edge.runtime bench BUNDLE``: time each step from a JPEG's bytes to an answer."""

import argparse
import os
import time
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from edge.errors import ImageError
from edge.runtime.bundle import Bundle
from edge.runtime.classifier import Classifier
from edge.runtime.commands.arguments import (
    add_bundle,
    add_model,
    at_least_one,
    named_path,
    open_model,
    print_json,
)
from edge.runtime.files import readable
from edge.runtime.image import decode_image
from edge.runtime.preprocess import decode, preprocess
from edge.runtime.session import encode_pixels
from edge.runtime.source import placed_pixels
from edge.runtime.streams import say
from edge.runtime.tasks.model import Predictor, TaskModel
from edge.runtime.timing import peak_memory, resident_memory, summary, timed

EXAMPLE: Final = "Example: python3 -m edge.runtime bench BUNDLE --threads 4 --runs 100"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of this command."""
    add_bundle(parser)
    add_model(parser)
    parser.add_argument(
        "--image", type=named_path, help="the picture to answer (default: a made JPEG)"
    )
    parser.add_argument(
        "--runs", type=at_least_one, default=50, help="how often each step is timed (50)"
    )
    parser.add_argument("--json", action="store_true", help="print the whole result as JSON")


def run(options: argparse.Namespace) -> int:
    """Time and print.

    Raises:
        ImageError: The picture cannot be read.
        ModelLoadError: The model does not load.
        InferenceError: The model failed.
    """
    content = _content(options.image)
    bundle = Bundle.open(options.bundle)
    began = time.perf_counter()
    variant, model = open_model(bundle, options)
    load = time.perf_counter() - began
    result = {
        "name": bundle.manifest.name,
        "variant": variant.name,
        "engine": model.session.engine,
        "threads": options.threads,
        "machine": os.uname().machine,
        "load": load,
    } | bench(model, content, runs=options.runs)
    if options.json:
        print_json(result)
    else:
        _print(result)
    return 0


def _content(image: Path | None) -> bytes:
    if image is None:
        return made_jpeg()
    decode_image(image)  # by its path: what is wrong with it is to name the file
    try:
        return image.read_bytes()
    except OSError as error:
        raise ImageError(f"{readable(image)}: cannot be read: {error.strerror}") from error


def _print(result: dict[str, Any]) -> None:
    """Print milliseconds and megabytes for people."""
    say(
        f"{result['variant']} on {result['engine']}, {result['threads']} threads, "
        f"{result['machine']}"
    )
    say(
        f"load {1e3 * result['load']:.1f} ms (interpreter and model), first inference "
        f"{1e3 * result['first']:.2f} ms"
    )
    say(f"{'ms':12}{'min':>9}{'p50':>9}{'p90':>9}{'p99':>9}")
    for name, times in result["steps"].items():
        values = "".join(f"{1e3 * times[key]:9.3f}" for key in ("min", "p50", "p90", "p99"))
        say(f"{name:12}{values}")
    width, height = result["decoded"]
    now, peak = (result[f"{name}_memory_bytes"] / 1e6 for name in ("resident", "peak"))
    say(f"picture decoded to {width} x {height}; memory {now:.0f} MB, at most {peak:.0f} MB")


WIDTH, HEIGHT = 640, 480
K = 3


def made_jpeg() -> bytes:
    """Make a JPEG of 640 x 480, the same on every device: soft shapes with a little noise."""
    random = np.random.default_rng(0)
    coarse = random.integers(0, 256, (12, 16, 3), np.uint8)
    soft = Image.fromarray(coarse).resize((WIDTH, HEIGHT), Image.Resampling.BICUBIC)
    noise = random.integers(-8, 9, (HEIGHT, WIDTH, 3))
    pixels = (np.asarray(soft, np.int16) + noise).clip(0, 255).astype(np.uint8)
    stream = BytesIO()
    Image.fromarray(pixels).save(stream, "JPEG", quality=90)
    return stream.getvalue()


def bench(model: Predictor, content: bytes, *, runs: int) -> dict[str, Any]:
    """Measure the seconds of each step, and the bytes of memory.

    Args:
        model: Loaded, and not yet run.
        content: The content of an image file.
        runs: How often each step is timed, after a tenth as many to warm up.

    Returns:
        ``first`` (seconds of the first inference), ``steps`` (step -> summary in seconds),
        ``decoded`` (width, height that the file is decoded to) and memory in bytes.

    Raises:
        ImageError: The image cannot be decoded.
        InferenceError: The model failed.
    """
    spec, session = model.preprocessing, model.session
    image = decode(BytesIO(content), spec)
    tensor = encode_pixels(preprocess(image, spec), session.inputs[0], spec.encoding)
    began = time.perf_counter()
    outputs = session.run(tensor)
    first = time.perf_counter() - began
    steps: dict[str, Callable[[], object]] = {
        "decode": lambda: decode(BytesIO(content), spec),
        "preprocess": lambda: encode_pixels(
            preprocess(image, spec), session.inputs[0], spec.encoding
        ),
        "invoke": lambda: session.run(tensor),
    } | _answering(model, content, outputs)
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


def _answering(
    model: Predictor, content: bytes, outputs: list[NDArray[Any]]
) -> dict[str, Callable[[], object]]:
    """Return what the steps after the network do, and all steps together."""
    if isinstance(model, Classifier):
        return {
            "postprocess": lambda: model.categories(outputs[0], k=K),
            "end to end": lambda: model.classify(BytesIO(content), k=K),
        }
    assert isinstance(model, TaskModel)
    placed = placed_pixels(content, model.preprocessing)
    return {
        "decoder": lambda: model.decode(outputs, placed),
        "end to end": lambda: model.predict(content),
    }
