"""``python3 -m edge.runtime live BUNDLE --camera C``."""

import argparse
import os
from collections.abc import Callable
from typing import Final, TypeVar

from edge.errors import UsageError
from edge.runtime.cameras.camera import LEAST_RATE, MOST_RATE, read_size
from edge.runtime.commands.arguments import (
    add_bundle,
    add_model,
    at_least_one,
    more_than_zero,
    named,
    named_path,
)
from edge.runtime.live.server import checked_address
from edge.runtime.live.service import PATIENCE, LiveOptions, serve
from edge.runtime.live.settings import MOST_SMOOTHING, PASSWORD, checked_broker

EXAMPLE: Final = "Example: python3 -m edge.runtime live BUNDLE --camera /dev/video0"
TOKEN: Final = "EDGE_LIVE_TOKEN"  # of the environment: a command line is there for all to read
ReadT = TypeVar("ReadT")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of this command."""
    add_bundle(parser)
    parser.add_argument(
        "--camera",
        type=named,
        help="a V4L2 device, csi, a folder of pictures, an .mjpeg or .y4m file, or rtsp://... "
        "(default: the first camera)",
    )
    parser.add_argument(
        "--size", type=size, default=(640, 480), metavar="WIDTHxHEIGHT", help="pixels (640x480)"
    )
    parser.add_argument(
        "--rate", type=rate, default=10.0, help="frames a second, asked of the camera (10)"
    )
    parser.add_argument(
        "--listen",
        type=checked_by(checked_address),
        default=("127.0.0.1", 8080),
        metavar="HOST:PORT",
        help="where the page is; elsewhere than on this computer it needs a token, which is "
        f"printed, or taken from {TOKEN} (127.0.0.1:8080)",
    )
    add_model(parser)
    parser.add_argument(
        "--smoothing",
        type=smoothing,
        default=1,
        metavar="FRAMES",
        help="the number of frames whose probabilities are averaged (1)",
    )
    parser.add_argument(
        "--mqtt",
        type=checked_by(checked_broker),
        metavar="URL",
        help="send answers to this broker, such as mqtt://user@host:1883 or mqtts://...; "
        f"{PASSWORD} of the environment holds the password; needs paho-mqtt",
    )
    _add_service(parser)


def _add_service(parser: argparse.ArgumentParser) -> None:
    """Add what the service of a release says."""
    parser.add_argument("--release", metavar="ID", help="the id to tell whoever asks for health")
    parser.add_argument(
        "--health", type=named_path, metavar="SOCKET", help="the Unix socket to ask for health at"
    )
    parser.add_argument(
        "--patience",
        type=more_than_zero,
        default=PATIENCE,
        metavar="SECONDS",
        help="the longest time from the start of the camera to a first answer, after which systemd "
        f"is told that the page is there all the same ({PATIENCE:g})",
    )
    parser.add_argument(
        "--json", action="store_true", help="accepted for uniformity: answers are at the page"
    )


def run(options: argparse.Namespace) -> int:
    """Serve; 0 when stopped by SIGTERM.

    Raises:
        NegativeVerdict: The golden self-test failed.
        UsageError: The bundle or the address cannot be used.
        ModelLoadError: The model does not load.
    """
    width, height = options.size
    chosen = LiveOptions(
        camera=options.camera,
        width=width,
        height=height,
        rate=options.rate,
        listen=options.listen,
        token=os.environ.get(TOKEN) or None,
        variant=options.variant,
        engine=options.engine,
        threads=options.threads,
        smoothing=options.smoothing,
        release=options.release,
        mqtt=options.mqtt,
        health=options.health,
        patience=options.patience,
        apart=True,
    )
    return serve(options.bundle, chosen)


def size(text: str) -> tuple[int, int]:
    """Read ``WIDTHxHEIGHT``, for argparse."""
    pixels = read_size(text)
    if pixels is None:
        raise argparse.ArgumentTypeError(f"{text!r} is no size such as 640x480")
    return pixels


def rate(text: str) -> float:
    """Read frames a second, for argparse."""
    value = more_than_zero(text)
    if not LEAST_RATE <= value <= MOST_RATE:
        raise argparse.ArgumentTypeError(f"{text!r} is not within {LEAST_RATE} to {MOST_RATE:.0f}")
    return value


def smoothing(text: str) -> int:
    """Read a number of frames, for argparse."""
    value = at_least_one(text)
    if value > MOST_SMOOTHING:
        raise argparse.ArgumentTypeError(f"{text!r} is more than {MOST_SMOOTHING}")
    return value


def checked_by(read: Callable[[str], ReadT]) -> Callable[[str], ReadT]:
    """Return a reader for argparse of one whose errors are ours."""

    def reader(text: str) -> ReadT:
        try:
            return read(text)
        except UsageError as error:
            raise argparse.ArgumentTypeError(f"{error.message}. {error.hint}") from error

    return reader
