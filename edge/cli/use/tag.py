"""``edge tag``."""

from pathlib import Path
from typing import Annotated

import typer

from edge.cli import options as shared
from edge.cli.help import example, refuse_unused
from edge.tagging.options import SidecarName

OUTPUTS = "Outputs"


@example("edge tag photos --find sea")
def tag(
    context: typer.Context,
    directory: Annotated[
        Path, typer.Argument(help="Folder of pictures, with its sub-folders.", show_default=False)
    ],
    bundle: Annotated[
        Path | None,
        typer.Option(help="Bundle whose classes are the tags.", show_default=False),
    ] = None,
    variant: shared.Variant = None,
    backbone: Annotated[
        str | None,
        typer.Option(
            help="Network whose ImageNet classes are the tags.  \\[default: mobilenet, or what the "
            "folder was tagged with]",
            show_default=False,
        ),
    ] = None,
    threshold: Annotated[
        float | None,
        typer.Option(
            help="Lowest probability of a tag, from 0 to 1.  \\[default: 0.2, or the last one]",
            min=0.0,
            max=1.0,
            show_default=False,
        ),
    ] = None,
    max_tags: Annotated[
        int | None,
        typer.Option(
            help="Largest number of tags of a picture.  \\[default: 3, or the last number]",
            min=1,
            show_default=False,
        ),
    ] = None,
    find: Annotated[
        str | None,
        typer.Option(
            help="Words to look for: the pictures are shown whose tags have these words, a "
            "part of a word, or a group such as sea, dog, food.",
            show_default=False,
        ),
    ] = None,
    groups: Annotated[
        Path | None,
        typer.Option(
            help="File with groups of your own, in lines such as sea = seashore, pier.",
            dir_okay=False,
        ),
    ] = None,
    no_update: Annotated[
        bool, typer.Option("--no-update", help="Use the index as it is, and look at no picture.")
    ] = False,
    csv: Annotated[
        Path | None,
        typer.Option(help="CSV file to write: image, tag, probability.", rich_help_panel=OUTPUTS),
    ] = None,
    xmp: Annotated[
        bool,
        typer.Option("--xmp", help="Add the tags to sidecar files.", rich_help_panel=OUTPUTS),
    ] = False,
    xmp_dir: Annotated[
        Path | None,
        typer.Option(
            help="Folder for the sidecar files, which implies --xmp.  \\[default: beside the "
            "pictures]",
            rich_help_panel=OUTPUTS,
        ),
    ] = None,
    xmp_name: Annotated[
        SidecarName,
        typer.Option(
            help="Name of a sidecar file: IMG.jpg.xmp (appended; darktable, digiKam) or IMG.xmp "
            "(replaced; Adobe).",
            rich_help_panel=OUTPUTS,
        ),
    ] = SidecarName.APPENDED,
    copy_to: Annotated[
        Path | None,
        typer.Option(
            help="Folder to copy the pictures into, with a folder for each tag.",
            rich_help_panel=OUTPUTS,
        ),
    ] = None,
    link: Annotated[
        bool,
        typer.Option(
            "--link",
            help="With --copy-to: make hard links instead of copies.",
            rich_help_panel=OUTPUTS,
        ),
    ] = False,
    overwrite: Annotated[
        bool,
        typer.Option("--overwrite", help="Replace the file at --csv.", rich_help_panel=OUTPUTS),
    ] = False,
    index: Annotated[
        Path | None,
        typer.Option(
            help="File of the index of tags.  \\[default: in the cache]", show_default=False
        ),
    ] = None,
    dask: Annotated[
        str | None,
        typer.Option(
            help="Dask scheduler to compute on, such as tcp://host:8786.", show_default=False
        ),
    ] = None,
    cache: shared.Cache = None,
    json: shared.Json = False,
    quiet: shared.Quiet = False,
) -> None:
    """Tag a collection of pictures with what they show, and find them by a word.

    The pictures themselves are never changed. The exit code is 1 if --find finds no picture.
    """
    from edge.cache import StageCache
    from edge.cli.terminal import shown_progress
    from edge.cli.use import view
    from edge.errors import DataError, UsageError
    from edge.runtime.place import check_folder as check_target
    from edge.runtime.place import check_new_file
    from edge.tagging.copies import check_copies
    from edge.tagging.index import TagIndex, default_index
    from edge.tagging.options import TagOptions
    from edge.tagging.search import Groups
    from edge.tagging.tag import check_folder, kept
    from edge.tagging.tag import tag as run

    check_folder(directory)
    if link and copy_to is None:
        raise UsageError("--link is for --copy-to", hint="Name a folder with --copy-to.")
    if not (xmp or xmp_dir):
        refuse_unused(context, "without --xmp or --xmp-dir", "xmp_name")
    if copy_to is not None:
        check_copies(directory, copy_to)
        check_target(copy_to, (), overwrite=True, option="--copy-to", parents=True)
    if xmp_dir is not None:
        check_target(xmp_dir, (), overwrite=True, option="--xmp-dir", parents=True)
    elif xmp:
        check_target(directory, (), overwrite=True, option="--xmp")
    if csv is not None:
        check_new_file(csv, ".csv", overwrite=overwrite, option="--csv")
    wanted = TagOptions(
        bundle=bundle,
        variant=variant,
        backbone=backbone,
        threshold=threshold,
        max_tags=max_tags,
        dask=dask,
    )
    if no_update and wanted != TagOptions():
        raise UsageError(
            "--no-update uses the index as it is: a classifier or threshold changes nothing",
            hint="Leave out one of the two.",
        )
    chosen_groups = Groups.load(groups)
    root = shared.cache_root(cache)
    progress = shown_progress(quiet=quiet)
    with TagIndex(index or default_index(root, directory), own=index is None) as held:
        done = (
            kept(directory, held)
            if no_update
            else run(directory, held, wanted, StageCache(root), progress)
        )
    for picture in done.pictures:
        if picture.problem:
            progress.note(f"skipped {picture.problem}")
    written = view.write_outputs(
        directory,
        done,
        chosen_groups,
        progress,
        csv=csv,
        sidecars=(xmp_name, xmp_dir) if xmp or xmp_dir else None,
        copies=(copy_to, link) if copy_to else None,
    )
    view.show(directory, done, chosen_groups, find, written, json=json, index=held.path)
    if written.problems:
        path, why = written.problems[0]
        raise DataError(
            f"{len(written.problems)} sidecar files were left as they are; {path}: {why}",
            hint="Move these files away, or write elsewhere with --xmp-dir.",
        )
