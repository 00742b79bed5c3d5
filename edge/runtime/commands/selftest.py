"""``python3 -m edge.runtime selftest BUNDLE``."""

import argparse
import os
import statistics
import sys
import time
from dataclasses import asdict
from typing import Any, Final

from edge.errors import NegativeVerdict
from edge.runtime.bundle import Bundle
from edge.runtime.commands.arguments import (
    add_bundle,
    add_model,
    more_than_zero,
    open_model,
    print_json,
)
from edge.runtime.golden import STEPS, SelfTest
from edge.runtime.streams import say
from edge.runtime.tasks.model import open_golden_test
from edge.runtime.timing import peak_memory, timed

EXAMPLE: Final = "Example: python3 -m edge.runtime selftest BUNDLE --max-latency 50"
RUNS: Final = 15
MOST_SECONDS: Final = 2.0  # for all timed inferences
MB: Final = 1e6


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of this command."""
    add_bundle(parser)
    add_model(parser)
    parser.add_argument(
        "--max-latency", type=more_than_zero, metavar="MS", help="the longest median inference"
    )
    parser.add_argument(
        "--max-memory", type=more_than_zero, metavar="MB", help="the largest resident memory"
    )
    parser.add_argument("--json", action="store_true", help="print the whole report as JSON")


def run(options: argparse.Namespace) -> int:
    """Test and report.

    Raises:
        NegativeVerdict: An answer is not the host's, or a bound is not held.
    """
    report = selftest(options)
    if options.json:
        print_json(report)
    else:
        print_report(report)
    if not report["passed"]:
        raise NegativeVerdict("self-test failed: " + "; ".join(report["reasons"]))
    return 0


def selftest(options: argparse.Namespace) -> dict[str, Any]:
    """Return the report, as JSON values; seconds and bytes.

    Raises:
        BundleError: A file that this variant needs is missing or altered.
        ModelLoadError: The model does not load.
        InferenceError: The interpreter failed.
    """
    bundle = Bundle.open(options.bundle)
    began = time.perf_counter()
    variant, model = open_model(bundle, options)
    load_seconds = time.perf_counter() - began
    test = open_golden_test(bundle, variant, model)
    compared = [test.run(number) for number in range(len(test.images))]
    latency = statistics.median(_latencies(test, [item.seconds for item in compared]))
    peak = peak_memory()
    reasons = [item.reason for item in compared if item.reason]
    if reasons:
        reasons.append(_cause(test, model.session.engine))
    reasons += _over(options, latency, peak)
    return {
        "name": bundle.manifest.name,
        "variant": variant.name,
        "engine": model.session.engine,
        "expected_engine": test.host_engine,
        "same_engine": test.same_engine,
        "threads": options.threads,
        "machine": os.uname().machine,
        "python": ".".join(map(str, sys.version_info[:3])),
        "passed": not reasons,
        "reasons": reasons,
        "unit": test.unit,
        "tolerance": test.tolerance,
        "flat": test.flat,
        "classes": None if bundle.manifest.decoder else len(bundle.manifest.labels),
        "images": [asdict(item) for item in compared],
        "load_seconds": load_seconds,
        "latency_seconds": latency,
        "peak_memory_bytes": peak,
        "max_latency_seconds": options.max_latency and options.max_latency / 1e3,
        "max_memory_bytes": options.max_memory and options.max_memory * MB,
    }


def _latencies(test: SelfTest, seen: list[float]) -> list[float]:
    """Return the seconds of inferences.

    Where one takes long, these are those that were run anyway, but the first.
    """
    if len(seen) > 1 and sum(seen) > MOST_SECONDS:
        return seen[1:]
    return timed(test.infer, runs=RUNS, most_seconds=MOST_SECONDS)


def _over(options: argparse.Namespace, latency: float, peak: int) -> list[str]:
    """Return the bounds that are not held."""
    reasons = []
    if options.max_latency is not None and latency * 1e3 > options.max_latency:
        reasons.append(
            f"an inference takes {latency * 1e3:.1f} ms, at most {options.max_latency:g} ms are "
            "allowed"
        )
    if options.max_memory is not None and peak / MB > options.max_memory:
        reasons.append(
            f"it holds {peak / MB:.0f} MB of memory, at most {options.max_memory:g} MB are allowed"
        )
    return reasons


def _cause(test: SelfTest, engine: str) -> str:
    """Return what most often lies behind other answers."""
    if engine != test.host_engine:
        return f"it runs on {engine}, the host's answers are of {test.host_engine}"
    return "the interpreter may run other kernels here (XNNPACK off: is /sys mounted?)"


def print_report(report: dict[str, Any]) -> None:
    """Print what ``selftest`` returned, for people."""
    say(
        f"{report['variant']} on {report['engine']}, {report['threads']} threads, "
        f"{report['machine']}"
    )
    unit = "steps" if report["unit"] == STEPS else report["unit"]
    for item in report["images"]:
        worst = "not finite" if item["worst"] is None else f"{item['worst']:.3g} {unit}"
        of_what = "results" if item["found_class"] is None else "elements"
        said = "" if item["found_class"] is None else f"class {item['found_class']}, "
        say(
            f"{'FAIL' if item['reason'] else 'ok  '}  {item['image']}: {said}"
            f"worst difference {worst} (at most {report['tolerance']:g}), "
            f"{item['differing']} of {item['elements']} {of_what} differ"
        )
    if report.get("classes") == 0:
        say("note: the release has no class; its embeddings alone were compared")
    unclear = sum(not item["elements"] for item in report["images"])
    if unclear and not report["flat"]:
        say(
            f"note: in {unclear} of {len(report['images'])} pictures the host found nothing clear, "
            "so that no result could be compared there"
        )
    if report["flat"]:
        say("note: the network's answers are flat, so that this proves little")
    say(
        f"inference {report['latency_seconds'] * 1e3:.2f} ms, load "
        f"{report['load_seconds'] * 1e3:.0f} ms, memory {report['peak_memory_bytes'] / MB:.0f} MB"
    )
