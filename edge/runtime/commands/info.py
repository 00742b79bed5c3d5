"""``python3 -m edge.runtime info BUNDLE``."""

import argparse
from typing import Final

from edge.runtime.bundle import Bundle
from edge.runtime.commands.arguments import add_bundle, print_json

EXAMPLE: Final = "Example: python3 -m edge.runtime info BUNDLE --json"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Of this command."""
    add_bundle(parser)
    parser.add_argument("--json", action="store_true", help="the manifest as JSON")


def run(options: argparse.Namespace) -> int:
    """Check every hash and print the manifest."""
    bundle = Bundle.open(options.bundle)
    bundle.verify()
    if options.json:
        print_json(bundle.manifest.to_json())
        return 0
    manifest = bundle.manifest
    spec = manifest.preprocessing
    print(f"{manifest.name}: {len(manifest.labels)} classes, every sha256 as listed")
    print(f"input: RGB {spec.height} x {spec.width} (height x width), {spec.resize}")
    for variant in manifest.variants:
        mark = "*" if variant.name == manifest.default_variant else " "
        print(f"{mark} {variant.name}: {variant.size_bytes} bytes, {variant.input_dtype} in")
    return 0
