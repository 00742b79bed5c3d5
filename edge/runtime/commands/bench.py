"""``python3 -m edge.runtime bench BUNDLE``."""

import argparse
import os
import time
from pathlib import Path
from typing import Any, Final

from edge.errors import ImageError
from edge.runtime.bench import bench, made_jpeg
from edge.runtime.bundle import Bundle
from edge.runtime.commands.arguments import (
    add_bundle,
    add_model,
    at_least_one,
    open_classifier,
    print_json,
)
from edge.runtime.files import readable
from edge.runtime.image import decode_image
from edge.runtime.streams import say

EXAMPLE: Final = "Example: python3 -m edge.runtime bench BUNDLE --threads 4 --runs 100"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Of this command."""
    add_bundle(parser)
    add_model(parser)
    parser.add_argument("--image", type=Path, help="picture to answer (a made JPEG of 640 x 480)")
    parser.add_argument("--runs", type=at_least_one, default=50, help="of each step (50)")
    parser.add_argument("--json", action="store_true", help="the whole result as JSON")


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
    variant, classifier = open_classifier(bundle, options)
    load = time.perf_counter() - began
    result = {
        "name": bundle.manifest.name,
        "variant": variant.name,
        "engine": classifier.session.engine,
        "threads": options.threads,
        "machine": os.uname().machine,
        "load": load,
    } | bench(classifier, content, runs=options.runs)
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
    """Milliseconds and megabytes for people."""
    say(
        f"{result['variant']} on {result['engine']}, {result['threads']} threads, "
        f"{result['machine']}"
    )
    say(
        f"load {1e3 * result['load']:.1f} ms (interpreter and model), first inference "
        f"{1e3 * result['first']:.2f} ms"
    )
    say(f"{'ms':12}{'min':>9}{'p50':>9}{'p90':>9}{'p99':>9}")
    for name, found in result["steps"].items():
        values = "".join(f"{1e3 * found[key]:9.3f}" for key in ("min", "p50", "p90", "p99"))
        say(f"{name:12}{values}")
    width, height = result["decoded"]
    now, peak = (result[f"{name}_memory_bytes"] / 1e6 for name in ("resident", "peak"))
    say(f"picture decoded to {width} x {height}; memory {now:.0f} MB, at most {peak:.0f} MB")
