"""The int8 methods side by side: what each costs in answers, time to make and latency.

    EDGE_TEST_DATA=FOLDER python tests/performance/quantization.py [--folds 5] [--explain]

FOLDER holds images/imagenet-sample. The network is the MobileNet that edge ships. Without
--folds, the images that calibrate are those that ``edge export`` chooses; with --folds N, every
image i with i % 5 == fold calibrates in turn, for N folds, and the table has the means. Three rows
need packages that edge does not: ``pip install nncf litert-quantizer``.
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

from edge.cli.terminal import INTERRUPTED, captured_native_output, report_error, report_unexpected
from edge.errors import EdgeError, UsageError

if TYPE_CHECKING:
    from support.quantization_methods import Method, Source
    from support.quantization_pictures import Pictures, Split
    from support.quantization_scores import Outcome

    from edge.progress import Progress

ROUNDS = 12  # of the latency, over all folds
FOLDS = range(1, 6)

Outcomes = dict[tuple[str, str], list["Outcome"]]  # by format and name, one per split
Missing = dict[str, str]


def main() -> int:
    """Measure and print; exit codes as edge's."""
    options = _options()
    with captured_native_output() as log:
        try:
            _measure(options)
        except EdgeError as error:
            return report_error(error)
        except KeyboardInterrupt:
            print("interrupted", file=sys.stderr)
            return INTERRUPTED
        except Exception as error:
            return report_unexpected(error, log)
    return 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--folds", type=int, choices=FOLDS, default=1, help="repetitions")
    parser.add_argument(
        "--only", metavar="TEXT", default="", help="plain, and methods with TEXT in their name"
    )
    parser.add_argument("--explain", action="store_true", help="what edge's error is made of")
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="one JSON document on stdout")
    form.add_argument("--markdown", action="store_true", help="the table for docs")
    parser.add_argument("--quiet", action="store_true", help="no progress on stderr")
    return parser.parse_args()


def _measure(options: argparse.Namespace) -> None:
    from support import quantization_pictures
    from support.quantization_methods import EDGE
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
        rounds = -(-ROUNDS // len(pictures.splits))
        for fold, split in enumerate(pictures.splits):
            source = _source(loaded.model, pictures, split, folder)
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
        measured.show(json=options.json, as_markdown=options.markdown)


def _chosen(text: str) -> list["Method"]:
    """The plain methods, which the others are timed against, and those with the text."""
    from support.quantization_methods import METHODS, PLAIN

    if not any(text in method.name for method in METHODS):
        names = sorted({method.name for method in METHODS})
        raise UsageError(f"no method has {text!r} in its name", hint=f"Known: {'; '.join(names)}.")
    return [method for method in METHODS if method.name == PLAIN or text in method.name]


def _source(model: Any, pictures: "Pictures", split: "Split", folder: Path) -> "Source":
    """The float graph in every form that a method starts from."""
    import numpy as np
    import onnx
    from onnxruntime.quantization import quant_pre_process
    from support.quantization_methods import Source

    from converters.base import Precision
    from converters.onnx import exported
    from converters.pixel_input import pixel_model
    from converters.quantizable import Calibration
    from converters.tflite import converted, traced

    pixels = pixel_model(model)
    function = traced(pixels.model)
    np.save(folder / "calibration.npy", pictures.pixels[split.calibration])
    onnx.save(exported(pixels.model), folder / "traced.onnx")
    quant_pre_process(folder / "traced.onnx", folder / "float.onnx", skip_symbolic_shape=True)
    return Source(
        model=pixels.model,
        function=function,
        tflite=converted(function, Precision.FP32),
        onnx=folder / "float.onnx",
        calibration=Calibration(folder / "calibration.npy", pixels.zero_point),
        folder=folder,
    )


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
