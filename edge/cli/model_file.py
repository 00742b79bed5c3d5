"""Options that say what a .tflite or .onnx file of somebody else's is."""

from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from edge.cli import options as shared
from edge.errors import UsageError
from edge.runtime.contract import ChannelOrder, Interpolation, PadPosition, Resize
from edge.runtime.output import OutputActivation
from edge.runtime.tasks.table import DECODERS, Task

if TYPE_CHECKING:
    from edge.identification.model import StatedModel

PANEL: Final = "Model file"


def _option(*names: str, **settings: Any) -> Any:
    """An option without a default of its own: the file, or its family, says what it does not."""
    return typer.Option(*names, rich_help_panel=PANEL, show_default=False, **settings)


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelFileFlags:
    """What a user says of a model file; ``spread`` makes options of the fields.

    Each has one meaning in every command. What is left out, the file itself has to tell.
    """

    task: Annotated[Task | None, _option(help="What a .tflite or .onnx file answers.")] = None
    decoder: Annotated[
        str | None,
        _option(help=f"What reads the outputs of a .tflite or .onnx file: {', '.join(DECODERS)}."),
    ] = None
    labels: Annotated[
        Path | None,
        _option(
            help="Text file with one label per line: classes, or the keypoints of a pose. Without "
            "it, a file's own labels count, or else numbers from 0."
        ),
    ] = None
    size: Annotated[
        str | None,
        _option(
            help="Height and width, in pixels, of a file that leaves them open: 96 or 96x128.",
        ),
    ] = None
    input_range: Annotated[
        str | None,
        _option(
            help="What the network in a file is fed: pixels (0..255), LOW,HIGH such as -1,1 or "
            "0,1, tf, torch or caffe (as Keras calls them), or MEAN/STD.",
        ),
    ] = None
    channel_order: Annotated[
        ChannelOrder | None, _option(help="Which colour the network in a file takes first.")
    ] = None
    resize: Annotated[
        Resize | None,
        _option(
            help="How images are brought to the model's size.  \\[default: center-crop; of a "
            ".tflite or .onnx file, its family's]"
        ),
    ] = None
    interpolation: Annotated[
        Interpolation | None,
        _option(help="Filter that resizes; bilinear-plain reads four pixels, as OpenCV does."),
    ] = None
    pad_value: Annotated[
        int | None, _option(help="Value of the bars of --resize letterbox.", min=0, max=255)
    ] = None
    pad_position: Annotated[
        PadPosition | None, _option(help="Where the image lies between these bars.")
    ] = None
    output_activation: shared.OutputActivationOption = OutputActivation.AUTO
    threshold: Annotated[
        float | None,
        _option(
            help="Lowest probability at which a classifier answers with the second of two "
            "classes, or at which one of several labels holds.  \\[default: 0.5, or chosen on "
            "images]",
            min=0.0001,
            max=0.9999,
        ),
    ] = None
    score_threshold: Annotated[
        float | None,
        _option(help="Least score of an object, a point or a face.", min=0, max=1),
    ] = None
    iou_threshold: Annotated[
        float | None,
        _option(
            help="Overlap from which on the less sure of two boxes of a class goes.", min=0, max=1
        ),
    ] = None
    max_results: Annotated[
        int | None, _option(help="Largest number of objects in an image.", min=1)
    ] = None
    anchors: Annotated[
        Path | None, _option(help="File of the anchors of a detector that leaves them out.")
    ] = None

    decoder_option: Annotated[
        list[str] | None,
        _option(
            help="What nothing in the file tells its decoder, such as coordinates=pixels; may be "
            "given several times.",
            metavar="NAME=VALUE",
        ),
    ] = None

    def given(self) -> tuple[str, ...]:
        """Return the names of the options that were given."""
        return tuple(
            f"--{item.name.replace('_', '-')}"
            for item in fields(self)
            if getattr(self, item.name) != item.default
        )

    def refuse(self, because: str, *, but: tuple[str, ...] = ()) -> None:
        """Refuse options that were given and would change nothing.

        Args:
            because: Why they have no effect, such as ``with a bundle``.
            but: The names of options that have one.

        Raises:
            UsageError: One of them was given.
        """
        for option in self.given():
            if option not in but:
                raise UsageError(f"{option} has no effect {because}", hint=f"Leave out {option}.")

    def stated(self) -> "StatedModel":
        """Return what was said.

        Raises:
            UsageError: ``--size`` is no size.
        """
        from dataclasses import asdict

        from edge.identification.model import StatedModel
        from edge.training.model_shape import parse_size

        given = asdict(self)
        given["size"] = None if self.size is None else parse_size(self.size)
        given["decoder_option"] = tuple(self.decoder_option or ())
        return StatedModel(**given)
