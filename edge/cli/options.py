"""Options that several commands share."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from edge.runtime.contract import ChannelOrder as Order
from edge.runtime.contract import Resize as ResizeRule
from edge.runtime.output import OutputActivation

if TYPE_CHECKING:
    from edge.training.options import BaseOptions

Output = Annotated[
    Path,
    typer.Option(
        "--output", "-o", help="Folder that the bundle is written to.", show_default=False
    ),
]
Name = Annotated[
    str | None,
    typer.Option(
        help="Name of the model.  \\[default: that of the folder or file]", show_default=False
    ),
]
Overwrite = Annotated[
    bool, typer.Option("--overwrite", help="Replace the bundle that lies at --output.")
]
Cache = Annotated[
    Path | None,
    typer.Option(
        help="Folder of the stage cache.  \\[default: $EDGE_CACHE or ~/.cache/edge]",
        show_default=False,
    ),
]
Seed = Annotated[
    int,
    typer.Option(help="Seed of the split, the head and the choice of calibration images.", min=0),
]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON document on stdout.")]
Quiet = Annotated[
    bool,
    typer.Option(
        "--quiet",
        "-q",
        help="Show no progress on stderr; notes stay that say why a result may be of the wrong "
        "thing.",
    ),
]
OutputActivationOption = Annotated[
    OutputActivation,
    typer.Option(
        "--output-activation",
        help="What the values that the model answers with are: softmax (probabilities of "
        "classes that exclude one another), sigmoid (a probability per label; one value "
        "tells two classes apart), logits (softmax is still to be applied; to one value, "
        "sigmoid), or multi-label-logits (sigmoid is still to be applied to each); auto "
        "finds it out and says how.",
    ),
]
ScoredFolder = Annotated[
    Path,
    typer.Argument(
        help="Folder with one folder of images per class, or images named by WordNet id; for "
        "a detector, a segmentation or a pose model, images with annotations.",
        show_default=False,
    ),
]
Truth = Annotated[
    Path | None,
    typer.Option(
        help="CSV file with the labels of each image, for a model whose labels do not exclude one "
        "another: file,labels with labels as cat|dog, or file and a column of 0 and 1 per label.",
        show_default=False,
    ),
]
Annotations = Annotated[
    str | None,
    typer.Option(
        help="For a bundle that is no classifier: a COCO file, a folder of annotations, or "
        "their format (coco, voc, yolo, masks).  \\[default: found below the folder]",
        show_default=False,
        metavar="FORMAT|PATH",
    ),
]
Variant = Annotated[
    str | None,
    typer.Option(
        help="Variant of the bundle.  \\[default: the one that the bundle names]",
        show_default=False,
    ),
]
Engine = Annotated[
    str | None,
    typer.Option(
        help="Interpreter that runs the model: litert, tflite-runtime, tensorflow or onnxruntime.  "
        "\\[default: the first one that is installed]",
        show_default=False,
    ),
]


def cache_root(named: Path | None) -> Path:
    """Return the stage cache to use.

    Raises:
        OutputError: The path is not a folder, or the folder is missing and cannot be made.
    """
    from edge.cache import StageCache, default_cache

    root = named or default_cache()
    if not root.is_dir():  # one that is there may hold all that is needed
        StageCache(root).check()
    return root


NETWORK: Final = "Network"  # panel of --help


def _option(*names: str, **settings: Any) -> Any:
    return typer.Option(*names, rich_help_panel=NETWORK, **settings)


Backbone = Annotated[
    str, _option(help="A network of Keras Applications, or a Keras model file to build on.")
]
Weights = Annotated[str, _option(help="imagenet, none (random), or the path of a weights file.")]
Size = Annotated[
    int | None,
    _option(
        help="Height and width of the input, in pixels.  \\[default: the network's own]",
        min=32,
        max=1024,
        show_default=False,
    ),
]
Alpha = Annotated[
    float, _option(help="Width of a MobileNet, as the share of its channels, such as 0.25.")
]
InputRange = Annotated[
    str | None,
    _option(
        help="What the network in a Keras file is fed: pixels (0..255), LOW,HIGH such as -1,1 "
        "or 0,1, tf, torch or caffe (as Keras calls them), or MEAN/STD.  \\[default: "
        "pixels, which is checked]",
        show_default=False,
    ),
]
ChannelOrder = Annotated[
    Order | None,
    _option(
        help="Which colour the network in a Keras file takes first.  \\[default: rgb; caffe "
        "takes bgr]",
        show_default=False,
    ),
]
Resize = Annotated[ResizeRule, _option(help="How images are brought to that size.")]


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkFlags:
    """The options that name a pretrained network; ``spread`` makes options of the fields."""

    backbone: Backbone = "mobilenet"
    weights: Weights = "imagenet"
    size: Size = None
    alpha: Alpha = 1.0
    resize: Resize = ResizeRule.CENTER_CROP
    input_range: InputRange = None
    channel_order: ChannelOrder = None

    def options(self, seed: int) -> "BaseOptions":
        """Return the options of the network.

        Args:
            seed: The seed of random weights.
        """
        from edge.training.options import BaseOptions

        return BaseOptions(
            backbone=self.backbone,
            weights=self.weights,
            size=self.size,
            alpha=self.alpha,
            resize=self.resize,
            input_range=self.input_range,
            channel_order=self.channel_order,
            seed=seed,
        )
