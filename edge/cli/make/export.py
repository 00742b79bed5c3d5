"""``edge export``."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edge.cli import options as shared
from edge.cli.help import example, spread
from edge.cli.make import options as making
from edge.cli.model_file import ModelFileFlags
from edge.errors import UsageError
from edge.runtime.contract import Resize
from edge.runtime.streams import say

if TYPE_CHECKING:
    from edge.identification.model import StatedModel


@example("edge export mobilenet --calibration-data pictures --output bundle")
@spread
def export(
    model: Annotated[
        str,
        typer.Argument(
            help="A network of Keras Applications with its 1000 classes (edge zoo lists the "
            "networks), a .keras or .h5 file of Keras 2 or 3, a SavedModel folder, a download of "
            "Teachable Machine, or a .tflite or .onnx file.",
            show_default=False,
        ),
    ],
    *,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output", "-o", help="Folder that the bundle is written to.", show_default=False
        ),
    ] = None,
    dry_run: Annotated[
        bool,
        typer.Option(
            "--dry-run",
            help="Only say what a .tflite or .onnx file is, from which evidence, and which option "
            "changes it; nothing is written.",
        ),
    ] = False,
    calibration_data: Annotated[
        Path | None,
        typer.Option(
            help="Folder of images: some calibrate int8, and the files are scored on the others. "
            "Only a model file that is quantized already can do without.",
            show_default=False,
        ),
    ] = None,
    evaluation_data: Annotated[
        Path | None,
        typer.Option(
            help="Folder of images to score the files on.  \\[default: the rest of "
            "--calibration-data]",
            show_default=False,
        ),
    ] = None,
    annotations: Annotated[
        str | None,
        typer.Option(
            help="For a task other than classification: what is annotated of the images to score "
            "on: coco, voc, yolo or masks, or the path of a file or folder.  \\[default: what "
            "lies beside the images]",
            show_default=False,
        ),
    ] = None,
    weights: Annotated[
        str, typer.Option(help="imagenet, none (random), or the path of a weights file.")
    ] = "imagenet",
    positive_class: Annotated[
        str | None,
        typer.Option(
            help="Class whose probability a model with one value answers with.  \\[default: "
            "the second one, as Keras numbers class folders]",
            show_default=False,
        ),
    ] = None,
    truth: shared.Truth = None,
    model_output: Annotated[
        str | None,
        typer.Option(
            help="Name of the output that classifies, where a Keras file has several.",
            rich_help_panel=shared.NETWORK,
            show_default=False,
        ),
    ] = None,
    custom_objects: Annotated[
        Path | None,
        typer.Option(
            help="Python file that defines the layers which a Keras file brings along. Its "
            "code is run.",
            rich_help_panel=shared.NETWORK,
            show_default=False,
        ),
    ] = None,
    model_file: ModelFileFlags,
    flags: making.BundleFlags,
) -> None:
    """Write a trained network, or a model file of others, as a verified bundle.

    Nothing is trained. A .tflite or .onnx file becomes files of its own format only.
    """
    stated = model_file.stated()
    if dry_run:
        _dry_run(model, stated, (calibration_data, evaluation_data), output, flags)
        return
    if output is None:
        raise UsageError("--output is missing", hint="Name the folder of the bundle.")
    from edge.cli.make.view import note_faults, print_export, shown_where_refused
    from edge.cli.output import print_json
    from edge.cli.terminal import shown_progress
    from edge.pipeline.export import export as run
    from edge.pipeline.options import ExportOptions

    of_keras, of_file = _divided(model, stated)
    options = ExportOptions(
        model=model,
        calibration_data=calibration_data,
        evaluation_data=evaluation_data,
        stated=of_file,
        annotations=annotations,
        weights=weights,
        labels=of_keras.labels,
        resize=of_keras.resize or Resize.CENTER_CROP,
        output_activation=of_keras.output_activation,
        threshold=of_keras.threshold,
        positive_class=positive_class,
        truth=truth,
        size=of_keras.size,
        input_range=of_keras.input_range,
        channel_order=of_keras.channel_order,
        model_output=model_output,
        custom_objects=custom_objects,
        output=flags.output_options(output),
    )
    with shown_where_refused(json=flags.json):
        report = run(options, shown_progress(quiet=flags.quiet))
    if flags.json:
        note_faults(report)
        print_json(report.to_json())
    else:
        print_export(report, output)


def _dry_run(
    model: str,
    stated: "StatedModel",
    data: tuple[Path | None, Path | None],
    output: Path | None,
    flags: making.BundleFlags,
) -> None:
    """Say what a model file is, once the folders that were named could be used.

    Args:
        model: The file.
        stated: What is said of it.
        data: The folders of ``--calibration-data`` and ``--evaluation-data``.
        output: The folder of the bundle.
        flags: Whether it may be replaced, and the form of the answer.

    Raises:
        UsageError: There is no such folder of images, or the file is no model or not clear.
        OutputError: The bundle could not be written there.
        ModelLoadError: The file cannot be used.
    """
    from edge.pipeline.output import check_output

    named = []
    for option, folder in zip(("--calibration-data", "--evaluation-data"), data, strict=True):
        if folder is None:
            continue
        named.append(option)
        if not folder.is_dir():
            raise UsageError(
                f"{option} names no folder: {folder}",
                hint=f"Name a folder of images, or leave out {option}.",
            )
    if output is not None:
        check_output(output, overwrite=flags.overwrite)
        named.append("--output")
    _say_what_it_is(model, stated, json=flags.json)
    if named:
        say(f"note: a dry run reads and writes nothing at {', '.join(named)}", err=True)


def _divided(model: str, stated: "StatedModel") -> "tuple[StatedModel, StatedModel]":
    """Return what is said of a network of Keras, and what of a model file.

    Options that a network of Keras cannot follow are left to the job, which refuses them by name.
    """
    from dataclasses import replace

    from edge.identification.model import StatedModel, is_model_file

    nothing = StatedModel()
    if is_model_file(model):
        return nothing, stated
    followed = (
        *("labels", "resize", "output_activation", "threshold", "size"),
        *("input_range", "channel_order"),
    )
    return stated, replace(stated, **{name: getattr(nothing, name) for name in followed})


def _say_what_it_is(model: str, stated: "StatedModel", *, json: bool) -> None:
    """Print what a model file is, without any images.

    Raises:
        UsageError: The file leaves something open, is no model, or is a network of Keras.
        ModelLoadError: The file cannot be used.
    """
    from edge.cli.identified import identified_json, print_identified
    from edge.cli.output import print_json
    from edge.identification.identify import identify
    from edge.identification.model import is_model_file
    from edge.pipeline.teachable_machine import is_download
    from edge.training.backbones import is_backbone
    from edge.training.keras_files import check_model_path

    if not is_model_file(model):
        if not is_backbone(model) and not is_download(Path(model)):
            check_model_path(model, folders=True)  # says what else it is
        raise UsageError(
            f"--dry-run says what a .tflite or .onnx file is; {model} is a network of Keras, which "
            "is tried on pictures",
            hint="Leave out --dry-run and name pictures with --calibration-data: the report says "
            "what was taken for granted.",
        )
    known = identify(Path(model), stated)
    if json:
        print_json(identified_json(known))
    else:
        print_identified(known)
