"""The int8 methods side by side: what each costs in answers, time to make and latency.

    EDGE_TEST_DATA=FOLDER python tests/performance/quantization.py [--folds 5] [--explain]
    EDGE_TEST_DATA=FOLDER python tests/performance/quantization.py --networks

FOLDER holds images/imagenet-sample. The network is the MobileNet that edge ships. Without
--folds, the images that calibrate are those that ``edge export`` chooses; with --folds N, every
image i with i % 5 == fold calibrates in turn, for N folds, and the table has the means. Three rows
need packages that edge does not: ``pip install nncf litert-quantizer``. With --networks, the plain
method and edge's meet on every network of FOLDER/models/networks; in a smoke run on a tiny one.
"""

import argparse
import contextlib
import io
import sys
import tempfile
import warnings
from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from support.script import Report, Script

from edge.cli.terminal import captured_native_output
from edge.errors import UsageError

if TYPE_CHECKING:
    from support.quantization_methods import Method, Source
    from support.quantization_pictures import Pictures, Split
    from support.quantization_scores import Outcome

    from edge.progress import Progress

FOLDS = range(1, 6)
# edge's files agree at least as often with the float model as those of the default tools. A picture
# more or less on some hundred is chance.
LEAST_POINTS = -0.5

Outcomes = dict[tuple[str, str], list["Outcome"]]  # by format and name, one per split
Missing = dict[str, str]


def main() -> int:
    """Measure and print; see ``support.script`` for the exit codes."""
    script = Script(__doc__)
    parser = script.parser
    parser.add_argument("--folds", type=int, choices=FOLDS, default=1, help="repetitions")
    parser.add_argument(
        "--only", metavar="TEXT", default="", help="plain, and methods with TEXT in their name"
    )
    parser.add_argument(
        "--networks",
        nargs="?",
        const=".",
        metavar="TEXT",
        help="the networks, all or those with TEXT in their name, instead of the methods",
    )
    parser.add_argument(
        "--pictures", type=int, default=400, help="most that are scored of a network (400)"
    )
    parser.add_argument("--explain", action="store_true", help="what edge's error is made of")
    parser.add_argument("--markdown", action="store_true", help="the table for docs")
    parser.add_argument("--quiet", action="store_true", help="no progress on stderr")
    script.amount("--rounds", 12, 4, "of the latency, over all folds")
    return script.run(_run_quietly)


def _run_quietly(options: argparse.Namespace, report: Report) -> None:
    with captured_native_output():
        if options.smoke or options.networks:
            _survey(options, report)
        else:
            _measure(options, report)


def _measure(options: argparse.Namespace, report: Report) -> None:
    import numpy as np
    from support import quantization_methods, quantization_pictures
    from support.quantization_methods import EDGE, PLAIN
    from support.quantization_report import Measured
    from support.quantization_table import row

    from edge.cli.terminal import shown_progress
    from edge.training.backbones import backbone
    from edge.training.weights import load_classifier

    progress = shown_progress(quiet=options.quiet)
    loaded = load_classifier(backbone("mobilenet"), "imagenet", 0)
    chosen = _chosen(options.only)
    outcomes: Outcomes = defaultdict(list)
    missing: Missing = {}
    with tempfile.TemporaryDirectory(prefix="edge-quantization-") as name:
        folder = Path(name)
        pictures = quantization_pictures.load(
            loaded.model, loaded.sha256, options.folds, folder, progress
        )
        rounds = -(-options.rounds // len(pictures.splits))
        for fold, split in enumerate(pictures.splits):
            np.save(folder / "calibration.npy", pictures.pixels[split.calibration])
            source = quantization_methods.source(loaded.model, folder)
            with progress.stage(f"split {fold + 1} of {len(pictures.splits)}", len(chosen)) as step:
                for method in chosen:
                    _run(method, source, pictures, split, rounds, outcomes, missing)
                    progress.note(_finished(method, outcomes, missing))
                    step(1)
        rows = [
            row(m, found, outcomes.get((m.format, EDGE), []), pictures)
            for m in chosen
            if len(found := outcomes.get((m.format, m.name), [])) == len(pictures.splits)
        ]
        explained = _explained(source, outcomes, pictures, progress) if options.explain else None
        measured = Measured(rows=rows, missing=missing, pictures=pictures, explained=explained)
        report.figures.update(measured.to_json())
        if not options.json:
            measured.show(as_markdown=options.markdown)
        for found_row in rows:
            if found_row.name == PLAIN and found_row.below_edge is not None:
                points = 100 * found_row.below_edge.value
                report.bar(
                    f"{found_row.format}: edge's agreement less the plain method's",
                    points,
                    at_least=LEAST_POINTS,
                    unit="points",
                )


def _survey(options: argparse.Namespace, report: Report) -> None:
    from support.quantization_networks import networks, tiny_network
    from support.quantization_survey import COLUMNS, surveyed

    from edge.cli.output import print_table
    from edge.cli.terminal import shown_progress

    progress = shown_progress(quiet=options.quiet)
    rows = []
    with tempfile.TemporaryDirectory() as name:
        found = (
            [tiny_network(Path(name))]
            if options.smoke
            else networks(options.networks.strip("."), options.pictures)
        )
        for network in found:
            with progress.stage(network.name, 4) as step:
                for row in surveyed(network, options.rounds // 3):
                    rows.append(row)
                    progress.note("  ".join(row.cells()))
                    step(1)
    report.figures["rows"] = [row.to_json() for row in rows]
    if options.markdown:
        lines = [COLUMNS, ("---",) * 3 + ("---:",) * (len(COLUMNS) - 3), *(r.cells() for r in rows)]
        report.say("".join(f"| {' | '.join(cells)} |\n" for cells in lines))
    elif not options.json:
        print_table("int8 on every network", COLUMNS, [row.cells() for row in rows])
    agreement = {(row.network, row.format, row.method): row.agreement for row in rows}
    for (network_name, form, method), share in agreement.items():
        if method == "edge":
            report.bar(
                f"{network_name} {form}: edge's agreement less the plain method's",
                100 * (share - agreement[network_name, form, "plain"]),
                at_least=LEAST_POINTS,
                unit="points",
            )


def _chosen(text: str) -> list["Method"]:
    """The plain methods, which the others are timed against, and those with the text."""
    from support.quantization_methods import METHODS, PLAIN

    if not any(text in method.name for method in METHODS):
        names = sorted({method.name for method in METHODS})
        raise UsageError(f"no method has {text!r} in its name", hint=f"Known: {'; '.join(names)}.")
    return [method for method in METHODS if method.name == PLAIN or text in method.name]


def _run(
    method: "Method",
    source: "Source",
    pictures: "Pictures",
    split: "Split",
    rounds: int,
    outcomes: Outcomes,
    missing: Missing,
) -> None:
    """One method in one split; a package of others that is missing or fails is noted."""
    from support.quantization_methods import PLAIN
    from support.quantization_report import version
    from support.quantization_scores import run

    key = f"{method.format}: {method.name}"
    if key in missing:
        return
    if method.package and not version(method.package):
        missing[key] = f"not installed: pip install {method.package}"
        return
    plain = source.folder / f"{PLAIN}.{method.format}"
    try:
        with contextlib.ExitStack() as quiet:  # the tools announce themselves in three ways
            quiet.enter_context(contextlib.redirect_stdout(io.StringIO()))
            quiet.enter_context(contextlib.redirect_stderr(io.StringIO()))
            quiet.enter_context(warnings.catch_warnings())
            warnings.simplefilter("ignore")
            result = run(method, source, pictures, split, plain, rounds)
    except Exception as error:
        if method.package is None:
            raise
        missing[key] = f"failed: {type(error).__name__}: {str(error).splitlines()[0][:120]}"
        return
    outcomes[method.format, method.name].append(result)


def _finished(method: "Method", outcomes: Outcomes, missing: Missing) -> str:
    """One line of progress: a run takes long, and this is what a broken one leaves."""
    key = f"{method.format}: {method.name}"
    if key in missing:
        return f"{key}: {missing[key]}"
    result = outcomes[method.format, method.name][-1]
    share = 100 * result.agreement.mean()
    return f"{key}: made in {result.seconds:.0f} s, agreement {share:.1f} %"


def _explained(
    source: "Source", outcomes: Outcomes, pictures: "Pictures", progress: "Progress"
) -> Any:
    from support.quantization_error import remaining
    from support.quantization_methods import EDGE

    found = outcomes.get(("onnx", EDGE))
    if not found:
        return None
    scored = pictures.splits[-1].scored
    return remaining(
        found[-1].path,
        source.onnx,
        pictures.pixels[scored],
        pictures.reference[scored],
        source.calibration.zero_point or 0,
        progress,
    )


if __name__ == "__main__":
    sys.exit(main())
