"""On the device: ``python3 -m edge.runtime predict BUNDLE IMAGE...`` and ``info BUNDLE``."""

import argparse
import json
import os
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from edge.errors import EdgeError, ImageError
from edge.runtime.bundle import Bundle
from edge.runtime.classifier import Classifier
from edge.runtime.session import ENGINES


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; the exit codes are those of ``edge.errors``."""
    options = _parser().parse_args(arguments)
    try:
        code: int = options.command(options)
        return code
    except EdgeError as error:
        print(f"error: {error.message}", file=sys.stderr)
        if error.hint:
            print(f"hint: {error.hint}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python3 -m edge.runtime",
        description="Run a bundle of edge on this device.",
        epilog="Example: python3 -m edge.runtime predict BUNDLE photo.jpg --top-k 3",
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    predict = commands.add_parser("predict", help="Say what each image shows.")
    predict.add_argument("bundle", type=Path, metavar="BUNDLE")
    predict.add_argument("images", type=Path, nargs="+", metavar="IMAGE")
    predict.add_argument("--top-k", type=int, default=3, help="answers per image (3)")
    predict.add_argument("--variant", help="model file of the bundle (its default one)")
    predict.add_argument("--engine", choices=sorted(ENGINES), help="interpreter (first installed)")
    predict.add_argument(
        "--threads", type=int, default=os.cpu_count() or 1, help="CPU threads (all)"
    )
    predict.add_argument("--json", action="store_true", help="machine-readable answers")
    predict.set_defaults(command=_predict)
    info = commands.add_parser("info", help="Check a bundle and say what it holds.")
    info.add_argument("bundle", type=Path, metavar="BUNDLE")
    info.add_argument("--json", action="store_true", help="the manifest as JSON")
    info.set_defaults(command=_info)
    return parser


def _predict(options: argparse.Namespace) -> int:
    bundle = Bundle.open(options.bundle)
    classifier = Classifier.open(
        bundle, variant=options.variant, engine=options.engine, threads=options.threads
    )
    variant = bundle.manifest.variant(options.variant).name
    answers = predictions(classifier, options.images, options.top_k, variant)
    if options.json:
        print(json.dumps(answers, indent=2, ensure_ascii=False))
    else:
        print("\n".join(_line(answer) for answer in answers))
    failed = [answer for answer in answers if "error" in answer]
    for answer in failed:
        print(f"error: {answer['error']}", file=sys.stderr)
    return 2 if failed else 0


def predictions(
    classifier: Classifier, images: Sequence[Path], k: int, variant: str
) -> list[dict[str, Any]]:
    """One JSON object per image: its categories, or the error that kept it from an answer."""
    answers: list[dict[str, Any]] = []
    for image in images:
        try:
            categories = [asdict(category) for category in classifier.classify(image, k=k)]
        except ImageError as error:
            answers.append({"image": str(image), "error": error.message})
        else:
            answers.append({"image": str(image), "variant": variant, "categories": categories})
    return answers


def _line(answer: dict[str, Any]) -> str:
    if "error" in answer:
        return f"{answer['image']}: error: {answer['error']}"
    scores = (f"{item['label']} {100 * item['score']:.1f} %" for item in answer["categories"])
    return f"{answer['image']}: {', '.join(scores)}"


def _info(options: argparse.Namespace) -> int:
    bundle = Bundle.open(options.bundle)
    bundle.verify()
    if options.json:
        print(json.dumps(bundle.manifest.to_json(), indent=2, ensure_ascii=False))
        return 0
    manifest = bundle.manifest
    spec = manifest.preprocessing
    print(f"{manifest.name}: {len(manifest.labels)} classes, every sha256 as listed")
    print(f"input: RGB {spec.height} x {spec.width} (height x width), {spec.resize}")
    for variant in manifest.variants:
        mark = "*" if variant.name == manifest.default_variant else " "
        print(f"{mark} {variant.name}: {variant.size_bytes} bytes, {variant.input_dtype} in")
    return 0


if __name__ == "__main__":
    sys.exit(main())
