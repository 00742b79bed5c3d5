"""``edge benchmark``."""

from pathlib import Path
from typing import Annotated

import typer

from benchmarks.protocol import TIMEOUT_SECONDS
from edge.cli import options as shared
from edge.cli.help import DEFAULT, Application, DefaultGroup, example, refuse_unused
from edge.cli.measure import options as measuring
from edge.cli.measure import results
from edge.errors import UsageError

app = Application(cls=DefaultGroup, help="Time models on this machine.")
# Parameters of a measurement that a comparison does not make.
NOT_AGAINST = (
    *("runs", "min_secs", "max_secs", "warm_up_secs", "cool_down_secs"),
    *("sustained", "profile", "require_full_delegation"),
)
DELEGATE = ("delegate", "delegate_option")


@example("edge benchmark bundle --threads 1,2 -o results.json")
def benchmark(
    context: typer.Context,
    models: Annotated[
        list[Path] | None,
        typer.Argument(
            help="Folders of bundles, or .tflite, .onnx or .keras files.", show_default=False
        ),
    ] = None,
    variant: measuring.Variants = None,
    accelerator: Annotated[
        str,
        typer.Option(
            "--accelerator",
            "-a",
            help="What to measure on, separated by commas: names that edge accelerators lists, cpu "
            "(the format's own engine), gpu, npu, or all.",
        ),
    ] = "cpu",
    threads: measuring.Threads = measuring.ALL_CPUS,
    batch: measuring.Batch = 1,
    input_shape: measuring.InputShapes = None,
    runs: measuring.Runs = measuring.STANDARD.runs,
    min_secs: measuring.MinSeconds = measuring.STANDARD.min_seconds,
    max_secs: measuring.MaxSeconds = measuring.STANDARD.max_seconds,
    warm_up_secs: measuring.WarmUpSeconds = measuring.STANDARD.warm_up_seconds,
    cool_down_secs: measuring.CoolDownSeconds = 0.0,
    images: measuring.Images = None,
    against: Annotated[
        str | None,
        typer.Option(
            metavar="REFERENCE",
            help="Model that MODELS, which must be one, is judged against: a file, "
            "BUNDLE:VARIANT, or a variant of the same bundle. Both run in turn, in fresh "
            "processes.",
            show_default=False,
        ),
    ] = None,
    max_regression: Annotated[
        float | None,
        typer.Option(
            help="With --against: the exit code is 1 if the model surely takes longer than the "
            "reference by more than this, in percent.  \\[default: 5]",
            min=0,
            show_default=False,
        ),
    ] = None,
    sustained: measuring.Sustained = 0.0,
    profile: Annotated[
        bool, typer.Option("--profile", help="Time each operator too, where the engine can.")
    ] = False,
    delegate: measuring.Delegate = None,
    delegate_option: measuring.DelegateOptions = None,
    python: measuring.Pythons = None,
    require_full_delegation: Annotated[
        bool,
        typer.Option(
            "--require-full-delegation",
            help="End with exit code 1 if an operator stays off a GPU or NPU that is measured.",
        ),
    ] = False,
    timeout_secs: measuring.Timeout = TIMEOUT_SECONDS,
    seed: measuring.Seed = 0,
    output: measuring.Outputs = None,
    overwrite: measuring.Overwrite = False,
    json: shared.Json = False,
    quiet: shared.Quiet = False,
) -> None:
    """Time models on CPU, GPUs and NPUs of this machine, each row in a process of its own.

    With --against, an inconclusive comparison ends with exit code 0: it shows no regression.

    edge accelerators lists what can be measured on, edge benchmark diff OLD NEW compares two
    results files, and edge benchmark plot RESULTS draws one. After Ctrl-C the same command with
    the same --output goes on where it ended.
    """
    from benchmarks.accelerators.base import EngineSettings
    from benchmarks.input_shape import parse_shapes
    from benchmarks.plan import BenchmarkPlan
    from benchmarks.protocol import Protocol
    from edge.cli.measure.job import BenchmarkJob, compare, counts, measure, names, pictures
    from edge.cli.terminal import shown_progress

    if against is not None:
        refuse_unused(
            context, "with --against, which times many short processes in turn", *NOT_AGAINST
        )
    plan = BenchmarkPlan(
        paths=names(accelerator),
        threads=counts(threads),
        settings=EngineSettings(
            batch=batch,
            delegate=measuring.delegate_library(delegate),
            options=measuring.delegate_options(delegate_option),
            full_delegation=require_full_delegation,
            shapes=parse_shapes(input_shape or ()),
        ),
        protocol=Protocol(
            runs=runs, min_seconds=min_secs, max_seconds=max_secs, warm_up_seconds=warm_up_secs
        ),
        pythons=measuring.pythons(python),
        pictures=pictures(images),
        profile=profile,
        sustained_seconds=60 * sustained,
        cool_down=cool_down_secs,
        seed=seed,
        timeout=timeout_secs,
    )
    _refuse_unused_delegate(context, plan.paths)
    job = BenchmarkJob(
        models=tuple(models or ()),
        variants=tuple(variant or ()),
        outputs=tuple(output or ()),
        plan=plan,
        progress=shown_progress(quiet=quiet),
        json=json,
        overwrite=overwrite,
    )
    if against is not None:
        compare(job, against, results.MAX_REGRESSION if max_regression is None else max_regression)
    elif max_regression is not None:
        raise UsageError("--max-regression has no effect without --against", hint="Add --against.")
    else:
        measure(job)


def _refuse_unused_delegate(context: typer.Context, paths: tuple[str, ...]) -> None:
    """Refuse options of a delegate or a compiler where only CPUs are measured."""
    from benchmarks.accelerators.base import Unit
    from benchmarks.accelerators.table import ACCELERATORS
    from benchmarks.plan import ALL

    units = {ACCELERATORS[name].unit if name in ACCELERATORS else name for name in paths}
    if units <= {Unit.CPU}:
        because = f"with --accelerator {','.join(paths)}: no GPU or NPU is measured"
        refuse_unused(context, because, *DELEGATE, "require_full_delegation")
    elif not units & {Unit.NPU, ALL}:
        refuse_unused(context, "where no NPU is measured", *DELEGATE)


app.command(DEFAULT, hidden=True)(benchmark)
app.command("diff")(results.diff)
app.command("plot")(results.plot)
