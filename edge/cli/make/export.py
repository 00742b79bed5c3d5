"""``edge export``."""

from pathlib import Path
from typing import Annotated

import typer

from edge.cli import options as shared
from edge.cli.help import example, spread
from edge.cli.make import options as making
from edge.runtime.contract import Resize
from edge.runtime.output import OutputActivation


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
    output: shared.Output,
    *,
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
        Path | None,
        typer.Option(
            help="Annotations of the images to score a detector, a segmentation or a pose model "
            "on: a COCO JSON file, or a folder of VOC XML, YOLO txt or mask PNG files.  "
            "\\[default: those beside the images]",
            show_default=False,
        ),
    ] = None,
    weights: Annotated[
        str, typer.Option(help="imagenet, none (random), or the path of a weights file.")
    ] = "imagenet",
    labels: Annotated[
        Path | None,
        typer.Option(
            help="Text file with one class name per line. Without it the classes of a model "
            "file are numbered from 0, the answers are numbers, and only folders named "
            "by these numbers label pictures.",
            show_default=False,
        ),
    ] = None,
    resize: Annotated[
        Resize | None,
        typer.Option(
            help="How images are brought to the model's size.  \\[default: center-crop; of a "
            ".tflite or .onnx file, its family's]",
            show_default=False,
        ),
    ] = None,
    output_activation: shared.OutputActivationOption = OutputActivation.AUTO,
    threshold: Annotated[
        float | None,
        typer.Option(
            help="Lowest probability at which the second of two classes is the answer (chosen "
            "on the calibration images if unset), or at which one of several labels "
            "holds (0.5 if unset).",
            min=0.0001,
            max=0.9999,
            show_default=False,
        ),
    ] = None,
    positive_class: Annotated[
        str | None,
        typer.Option(
            help="Class whose probability a model with one value answers with.  \\[default: "
            "the second one, as Keras numbers class folders]",
            show_default=False,
        ),
    ] = None,
    truth: shared.Truth = None,
    size: Annotated[
        str | None,
        typer.Option(
            help="Height and width, in pixels, of a Keras file that leaves them open: 96 or "
            "96x128.",
            rich_help_panel=shared.NETWORK,
            show_default=False,
        ),
    ] = None,
    input_range: shared.InputRange = None,
    channel_order: shared.ChannelOrder = None,
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
    flags: making.BundleFlags,
) -> None:
    """Write a trained network as a verified bundle, without training."""
    from edge.cli.make.view import print_report
    from edge.cli.output import print_json
    from edge.cli.terminal import shown_progress
    from edge.identification.model import StatedModel, is_model_file
    from edge.pipeline.export import export as run
    from edge.pipeline.options import ExportOptions
    from edge.pipeline.report import Report
    from edge.training.model_shape import parse_size

    stated = StatedModel(
        labels=labels,
        resize=resize,
        output_activation=output_activation,
        threshold=threshold,
        size=None if size is None else parse_size(size),
        input_range=input_range,
        channel_order=channel_order,
    )
    of_file = is_model_file(model)
    of_keras = StatedModel() if of_file else stated
    report = run(
        ExportOptions(
            model=model,
            calibration_data=calibration_data,
            evaluation_data=evaluation_data,
            stated=stated if of_file else StatedModel(),
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
        ),
        shown_progress(quiet=flags.quiet),
    )
    if flags.json:
        print_json(report.to_json())
    elif isinstance(report, Report):
        print_report(report, output)
