"""Options that several commands share."""

from pathlib import Path
from typing import Annotated, Any, Final

import typer

from edge.runtime.output import OutputActivation
from edge.runtime.spec import Resize as ResizeRule
from edge.training.backbones import ChannelOrder as Order

Output = Annotated[
    Path, typer.Option("--output", "-o", help="Folder of the bundle.", show_default=False)
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
        help="Stage cache.  \\[default: $EDGE_CACHE or ~/.cache/edge]", show_default=False
    ),
]
Seed = Annotated[int, typer.Option(help="Seed of split, head and calibration choice.", min=0)]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON document on stdout.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No progress on stderr.")]
OutputActivationOption = Annotated[
    OutputActivation,
    typer.Option(
        "--output-activation",
        help="What the model's values are: softmax (probabilities of classes that exclude one "
        "another), sigmoid (a probability per label; one value tells two classes apart), logits "
        "(softmax is still to be applied; to one value, sigmoid), or multi-label-logits (sigmoid "
        "is still to be applied to each); auto finds it out and says how.",
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
Variant = Annotated[
    str | None,
    typer.Option(help="Variant of the bundle.  \\[default: the bundle's]", show_default=False),
]
Engine = Annotated[
    str | None,
    typer.Option(
        help="litert, tflite-runtime, tensorflow or onnxruntime.  \\[default: first installed]",
        show_default=False,
    ),
]


def cache_root(named: Path | None) -> Path:
    """The stage cache to use.

    Raises:
        OutputError: It is no folder, or is not there and cannot be made.
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
    str, _option(help="Any network of Keras Applications, or a Keras model file to build on.")
]
Weights = Annotated[str, _option(help="imagenet, none (random), or the path of a weights file.")]
Size = Annotated[
    int | None,
    _option(
        help="Height and width of the input, pixels.  \\[default: the network's own]",
        min=32,
        max=1024,
        show_default=False,
    ),
]
Alpha = Annotated[
    float, _option(help="Width of a MobileNet: the share of its channels, such as 0.25.")
]
InputRange = Annotated[
    str | None,
    _option(
        help="What a Keras file wants to be fed: pixels (0..255), LOW,HIGH such as -1,1 or 0,1, "
        "tf, torch or caffe (as Keras calls them), or MEAN/STD.  \\[default: pixels, which is "
        "checked]",
        show_default=False,
    ),
]
ChannelOrder = Annotated[
    Order | None,
    _option(
        help="Which colour a Keras file takes first.  \\[default: rgb; caffe takes bgr]",
        show_default=False,
    ),
]
Resize = Annotated[ResizeRule, _option(help="How images become that size.")]
