"""``edge compare``."""

from collections.abc import Callable, Mapping
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edge.cli import options as shared
from edge.cli.help import example, spread
from edge.cli.model_file import ModelFileFlags
from edge.errors import NegativeVerdict, UsageError

if TYPE_CHECKING:
    from edge.comparison.policy import Policy
    from edge.comparison.result import Comparison

SIDE = "a variant of BUNDLE, a .tflite or .onnx file, another bundle, or OTHER:VARIANT"


class Undecided(StrEnum):
    """How an inconclusive comparison counts."""

    FAIL = "fail"
    PASS = "pass"


@example(
    "edge compare bundle photos/test --baseline tflite-fp32 --candidate tflite-int8 --margin 1.0"
)
@spread
def compare(
    bundle: Annotated[
        Path,
        typer.Argument(
            help="Bundle whose labels count, and whose preprocessing is that of model files.",
            show_default=False,
        ),
    ],
    directory: shared.ScoredFolder,
    *,
    baseline: Annotated[
        str, typer.Option(help=f"Reference to be as good as: {SIDE}.", show_default=False)
    ],
    candidate: Annotated[
        str, typer.Option(help="Model to judge, named in the same ways.", show_default=False)
    ],
    margin: Annotated[
        float | None,
        typer.Option(
            help="Percentage points of top-1 accuracy that may be lost; not with --policy.  "
            "\\[default: 1.0, and 1.5 where no answer changed]",
            min=0,
            max=100,
            show_default=False,
        ),
    ] = None,
    confidence: Annotated[
        float, typer.Option(help="Confidence level of all intervals.", min=0.5, max=0.9999)
    ] = 0.95,
    policy: Annotated[
        Path | None,
        typer.Option(
            help="TOML file with the limits to keep.  \\[default: --margin, no class that is "
            "broken, and equal scores where the weights are equal]",
            show_default=False,
        ),
    ] = None,
    inconclusive: Annotated[
        Undecided,
        typer.Option(help="How to count an inconclusive check, for which the images are too few."),
    ] = Undecided.FAIL,
    junit: Annotated[
        Path | None, typer.Option(help="File to write as JUnit XML.", show_default=False)
    ] = None,
    markdown: Annotated[
        Path | None, typer.Option(help="File to write as Markdown.", show_default=False)
    ] = None,
    sarif: Annotated[
        Path | None, typer.Option(help="File to write as SARIF 2.1.0.", show_default=False)
    ] = None,
    overwrite: Annotated[
        bool,
        typer.Option("--overwrite", help="Replace the files at --junit, --markdown and --sarif."),
    ] = False,
    truth: shared.Truth = None,
    annotations: shared.Annotations = None,
    model_file: ModelFileFlags,
    engine: shared.Engine = None,
    cache: shared.Cache = None,
    json: shared.Json = False,
    quiet: shared.Quiet = False,
) -> None:
    """Judge a candidate against a baseline on the same images; exit code 1 if it is worse.

    The verdict is pass if the candidate loses at most the margin, with confidence; fail if it loses
    more, with confidence; and inconclusive if the images are too few to tell. Models that are no
    classifiers are judged by the score of their task, or without annotations by their agreement.
    """
    from edge.cli.check.view import print_comparison
    from edge.cli.output import print_json
    from edge.cli.terminal import shown_progress
    from edge.comparison.compare import CompareOptions
    from edge.comparison.compare import compare as run
    from edge.comparison.result import Verdict

    _check_reports({"--junit": junit, "--markdown": markdown, "--sarif": sarif}, overwrite)
    options = CompareOptions(
        bundle=bundle,
        directory=directory,
        baseline=baseline,
        candidate=candidate,
        policy=_policy(policy, margin),
        confidence=confidence,
        engine=engine,
        input_range=model_file.input_range,
        cache=shared.cache_root(cache),
        output_activation=model_file.output_activation,
        truth=truth,
        annotations=annotations,
        stated=model_file.stated(),
    )
    result = run(options, shown_progress(quiet=quiet))
    tolerant = inconclusive is Undecided.PASS
    _write_reports(result, junit, markdown, sarif, tolerant=tolerant)
    if json:
        print_json(result.to_json())
    else:
        print_comparison(result)
    if result.verdict is Verdict.PASS or (tolerant and result.verdict is Verdict.INCONCLUSIVE):
        return
    raise _negative(result, shown=not json)


def _policy(path: Path | None, margin: float | None) -> "Policy":
    from edge.comparison.policy import default_policy, load_policy, rule_example

    if path is None:
        return default_policy(margin)
    if margin is not None:
        raise UsageError(
            "--margin and --policy exclude one another: a policy states all its limits",
            hint=rule_example(value=margin),
        )
    return load_policy(path)


def _check_reports(places: Mapping[str, Path | None], overwrite: bool) -> None:
    """Refuse paths of reports before the work is done.

    Raises:
        UsageError: Two reports have the same path.
        OutputError: A report cannot be written, or would replace a file.
    """
    from edge.runtime.place import check_new_file

    taken: dict[Path, str] = {}
    for option, path in places.items():
        if path is None:
            continue
        check_new_file(path, overwrite=overwrite, option=option)
        first = taken.setdefault(path.resolve(), option)
        if first != option:
            raise UsageError(
                f"{first} and {option} both name {path}", hint="Give each report its own file."
            )


def _write_reports(
    result: "Comparison",
    junit: Path | None,
    markdown: Path | None,
    sarif: Path | None,
    *,
    tolerant: bool,
) -> None:
    from edge.comparison.reports import junit as junit_report
    from edge.comparison.reports import markdown as markdown_report
    from edge.comparison.reports import sarif as sarif_report

    _write(junit, lambda: junit_report.junit(result, inconclusive_passes=tolerant))
    _write(markdown, lambda: markdown_report.markdown(result))
    _write(sarif, lambda: sarif_report.sarif(result))


def _write(path: Path | None, render: Callable[[], str]) -> None:
    from edge.runtime.place import write_output

    if path is None:
        return
    write_output(path, render())


def _negative(result: "Comparison", *, shown: bool) -> NegativeVerdict:
    """Return the error of a verdict that is not pass.

    Args:
        result: The comparison.
        shown: Whether the verdict, with all reasons, is on standard output already.
    """
    from edge.cli.check.view import deciding
    from edge.comparison.result import Verdict
    from edge.wording import counted

    checks = deciding(result)
    needed = max(check.images_needed or 0 for check in checks)
    hint = f"Compare on more images: about {needed:,} more would tell." if needed else ""
    missing = not result.labelled and any(check.value is None for check in checks)
    if missing and result.task != "classification":
        hint = "Annotate the images (see --annotations), or use a policy of task_agreement."
    elif missing:
        hint = (
            "Put each image into a folder named after its class (with several labels per image, "
            "list them in a file for --truth), or use a policy of metrics that "
            "need no labels, such as agreement."
        )
    names = (
        ", ".join(check.metric for check in checks)
        if shown
        else "; ".join(f"{check.metric}: {check.reason}" for check in checks)
    )
    state = "failed" if result.verdict is Verdict.FAIL else "cannot be decided"
    total = counted(len(result.checks), "check")
    return NegativeVerdict(f"{len(checks)} of {total} {state}: {names}", hint=hint)
