"""Options that name the pretrained network, of all commands that take one."""

from typing import Annotated, Any, Final

import typer

from edge.runtime.spec import Resize as ResizeRule
from edge.training.backbones import ChannelOrder as Order

PANEL: Final = "Network"


def _option(*names: str, **settings: Any) -> Any:
    return typer.Option(*names, rich_help_panel=PANEL, **settings)


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
