"""Options that name the pretrained network, of all commands that take one."""

from typing import Annotated, Any, Final

import typer

from edge.runtime.spec import Resize as ResizeRule

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
Resize = Annotated[ResizeRule, _option(help="How images become that size.")]
