"""``python3 -m edge.runtime info BUNDLE``."""

import argparse
from collections.abc import Mapping
from typing import Any, Final

from edge.runtime.bundle import Bundle
from edge.runtime.commands.arguments import add_bundle, print_json
from edge.runtime.output import HeadSpec
from edge.runtime.printable import one_line
from edge.runtime.streams import say
from edge.runtime.teach.labels import NO_CLASS

EXAMPLE: Final = "Example: python3 -m edge.runtime info BUNDLE --json"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of this command."""
    add_bundle(parser)
    parser.add_argument("--json", action="store_true", help="print the manifest as JSON")


def run(options: argparse.Namespace) -> int:
    """Check every hash and print the manifest, and what was taught.

    Raises:
        BundleError: A file is missing or altered, or what was taught cannot be read.
    """
    bundle = Bundle.open(options.bundle)
    bundle.verify()
    if bundle.manifest.decoder is not None:
        bundle.manifest.decoder.check()
    if options.json:
        manifest_json = bundle.manifest.to_json()
        print_json(
            manifest_json
            if bundle.manifest.head is None
            else manifest_json | {"taught": _taught(bundle)}
        )
        return 0
    manifest = bundle.manifest
    spec = manifest.preprocessing
    named = "keypoints" if manifest.task == "pose" else "classes"
    say(f"{manifest.name}: {len(manifest.labels)} {named}, every sha256 as listed")
    say(f"input: {spec.channels} {spec.height} x {spec.width} (height x width), {spec.resize}")
    for line in input_lines(manifest.provenance):
        say(line)
    if manifest.decoder is not None:
        say(f"task: {manifest.task}, read by the decoder {manifest.decoder.name}")
        if manifest.decoder.evidence:
            say(f"  {one_line(manifest.decoder.evidence)}")
    elif manifest.output.evidence:
        say(f"output: {manifest.output.kind}; {manifest.output.evidence}")
    for variant in manifest.variants:
        mark = "*" if variant.name == manifest.default_variant else " "
        say(f"{mark} {variant.name}: {variant.size_bytes} bytes, {variant.input_dtype} in")
    if manifest.head is not None:
        _print_head(bundle, manifest.head)
    return 0


def input_lines(provenance: Mapping[str, Any]) -> list[str]:
    """Return what the network itself is fed inside the model files, and how that is known."""
    stated = provenance.get("input")
    if not isinstance(stated, Mapping) or not isinstance(stated.get("evidence"), list):
        return []  # the bundle is of an edge that did not know
    return [
        f"the network is fed: {stated.get('range')}",
        *(f"  {text}" for text in stated["evidence"]),
    ]


def _taught(bundle: Bundle) -> dict[str, Any] | None:
    """Return what was taught as JSON values; None for nothing."""
    from edge.runtime.teach.taught import read_taught  # numpy, which no other bundle needs here

    taught = read_taught(bundle)
    return None if taught is None else {"variant": taught.variant, "pictures": taught.labels}


def _print_head(bundle: Bundle, head: HeadSpec) -> None:
    voters = "" if head.k is None else f", {head.k} pictures vote"
    say(f"head: {head.kind}{voters}; learns new classes with the command teach")
    taught = _taught(bundle)
    if taught is None and not bundle.manifest.labels:
        say(f"the bundle {NO_CLASS}")
    if taught is not None:
        counts = ", ".join(f"{label} ({count})" for label, count in taught["pictures"].items())
        say(f"taught with {taught['variant']}: {counts} pictures")
