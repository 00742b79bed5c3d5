"""``edge fewshot``."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from edge.cli import options as shared
from edge.cli.help import example, refuse_unused
from edge.fewshot.options import (
    BATCHED,
    EMBEDDED,
    FewShotMethod,
    FewShotOptions,
    ReptileOptions,
    Split,
    parse_methods,
    parse_shots,
)
from edge.runtime.streams import say
from edge.training.options import BaseOptions

if TYPE_CHECKING:
    from edge.fewshot.result import FewShotResult, MethodAccuracy

# Parameters that only a method that meta-trains uses, and those that only embeddings need.
META_TRAINING: Final = ("iterations", "train_classes", "split", "rotations")
NETWORK: Final = ("backbone", "weights", "size", "alpha", "input_range", "channel_order")


@example(
    "edge fewshot omniglot --ways 5 --shots 1,5 --episodes 200 --plot fewshot.png  "
    "(photos: --methods knn,imprinted,logistic needs no meta-training)"
)
def fewshot(
    context: typer.Context,
    photos: Annotated[
        Path,
        typer.Argument(help="Folder with one folder of images per class.", show_default=False),
    ],
    ways: Annotated[int, typer.Option(help="Number of classes in an episode.", min=2)] = 5,
    shots: Annotated[
        str,
        typer.Option(
            help="Number of pictures that are shown of each class; several, separated by commas."
        ),
    ] = "1,5",
    queries: Annotated[
        int, typer.Option(help="Number of pictures of each class that are asked for.", min=1)
    ] = 5,
    episodes: Annotated[
        int, typer.Option(help="Number of episodes; they are the same for all methods.", min=2)
    ] = 200,
    methods: Annotated[
        str | None,
        typer.Option(
            help=f"Methods, separated by commas: {', '.join(FewShotMethod)}.  \\[default: all]",
            show_default=False,
        ),
    ] = None,
    backbone: shared.Backbone = "mobilenet",
    weights: shared.Weights = "imagenet",
    size: shared.Size = None,
    alpha: shared.Alpha = 1.0,
    input_range: shared.InputRange = None,
    channel_order: shared.ChannelOrder = None,
    bundle: Annotated[
        Path | None,
        typer.Option(help="Bundle whose network computes the embeddings.", show_default=False),
    ] = None,
    iterations: Annotated[
        int,
        typer.Option(help="With reptile: number of meta-iterations; the paper has 100,000.", min=1),
    ] = ReptileOptions().iterations,
    train_classes: Annotated[
        float,
        typer.Option(
            help="With reptile: share of the classes that are meta-trained on.", min=0.05, max=0.95
        ),
    ] = 0.75,
    split: Annotated[
        Split,
        typer.Option(
            help="With reptile: hold out single classes, or whole groups (the name before the "
            "first -)."
        ),
    ] = Split.CLASSES,
    rotations: Annotated[
        bool,
        typer.Option(
            "--rotations/--no-rotations",
            help="With reptile: pictures turned by 90 degrees are more classes to meta-train on.",
        ),
    ] = True,
    plot: Annotated[
        Path | None,
        typer.Option(help="Picture of the accuracies to write: .png or .svg.", show_default=False),
    ] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace the picture at --plot.")
    ] = False,
    seed: shared.Seed = 0,
    cache: shared.Cache = None,
    json: shared.Json = False,
    quiet: shared.Quiet = False,
) -> None:
    """Measure how well classes are told apart after a few pictures, with 95 % intervals."""
    from edge.cli.output import print_json
    from edge.cli.terminal import shown_progress
    from edge.dataset.folder import check_outside
    from edge.fewshot.result import SUFFIXES, draw
    from edge.fewshot.run import score_methods
    from edge.runtime.place import check_new_file

    if plot is not None:
        check_new_file(plot, SUFFIXES, overwrite=overwrite, option="--plot")
        check_outside(plot, photos, option="--plot")
    options = FewShotOptions(
        photos=photos,
        cache=shared.cache_root(cache),
        base=BaseOptions(
            backbone=backbone,
            weights=weights,
            size=size,
            alpha=alpha,
            input_range=input_range,
            channel_order=channel_order,
            seed=seed,
        ),
        bundle=bundle,
        methods=parse_methods(methods),
        ways=ways,
        shots=parse_shots(shots),
        queries=queries,
        episodes=episodes,
        split=split,
        train_share=train_classes,
        rotations=rotations,
        reptile=ReptileOptions(iterations=iterations),
        seed=seed,
    )
    if not options.meta_trains:
        refuse_unused(context, "with these --methods: none of them meta-trains", *META_TRAINING)
    if EMBEDDED.isdisjoint(options.methods):
        refuse_unused(context, "with these --methods: none uses embeddings", "bundle", *NETWORK)
    if bundle is not None:
        refuse_unused(context, "with --bundle, which has its own network", *NETWORK)
    result = score_methods(options, shown_progress(quiet=quiet))
    if plot is not None:
        draw(result, plot)
    if json:
        print_json(result.to_json())
    else:
        _print(result, photos, plot)


def _print(result: "FewShotResult", photos: Path, plot: Path | None) -> None:
    from edge.cli.output import print_table, quoted

    counts = [item.shots for item in result.rows[0].accuracy]
    print_table(
        f"{result.name}: {result.ways}-way, {result.episodes} episodes of "
        f"{result.classes.held_out} classes",
        ("method", *(f"{count}-shot" for count in counts), "episode", "meta-training"),
        [_cells(row, result) for row in result.rows],
        least=("meta-training", "episode"),
    )
    say(
        f"Mean accuracy with its 95 % interval (Student's t over episodes); {result.queries} "
        "queries of each class."
    )
    if result.iterations is not None:
        turned = ", each turned four ways" if result.rotations else ""
        say(
            f"Meta-training: {result.classes.training} other classes{turned}, "
            f"{result.iterations} iterations."
        )
    if result.embedding is not None:
        say(f"Embeddings: {result.embedding}.")
    if any(row.method in BATCHED for row in result.rows):
        say("Networks see the queries of an episode as one batch (transductive).")
    if plot is not None:
        say(f"Next: look at {quoted(plot)}")
    else:
        say(f"Next: edge build {quoted(photos)} --head imprinted --output bundle")


def _cells(row: "MethodAccuracy", result: "FewShotResult") -> tuple[str, ...]:
    means = [
        f"{100 * item.mean:.1f} % ± {50 * (item.high - item.low):.1f}" for item in row.accuracy
    ]
    each = row.seconds / (result.episodes * len(row.accuracy))
    trained = "-" if row.meta_seconds is None else f"{row.meta_seconds:.0f} s"
    return (str(row.method), *means, f"{1e3 * each:.0f} ms" if each else "kept", trained)
