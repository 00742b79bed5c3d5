"""``edge live``."""

import os
import sys
import threading
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from edge.cli import options as shared
from edge.cli.deploy import options as hosts
from edge.cli.help import example, refuse_unused
from edge.errors import CameraError, ConnectionFailed, UsageError
from edge.runtime.live.settings import MOST_SMOOTHING
from edge.runtime.numbers import MOST_THREADS
from edge.runtime.streams import say

if TYPE_CHECKING:
    from edge.deploy.ssh import Address
    from edge.live.session import LiveSession
    from edge.runtime.live.service import LiveOptions
    from edge.runtime.live.settings import Broker

DEVICE: Final = "Device"  # panel of --help
FEW_THREADS: Final = 4  # more seldom make one picture faster, and the page wants some too
_DISPLAYS: Final = ("DISPLAY", "WAYLAND_DISPLAY")
_HERE: Final = (
    *("camera", "size", "rate", "listen", "output", "no_pictures", "variant", "engine"),
    *("threads", "smoothing", "mqtt", "cache"),
)
_SESSION: Final = ("output", "no_pictures", "cache")
_THERE: Final = ("live_port", "app", "port", "ssh_config", "accept_new_host_key")


@example("edge live --camera /dev/video0")
def live(
    context: typer.Context,
    what: Annotated[
        str | None,
        typer.Argument(
            help="Folder of a bundle, or a device, [USER@]HOST, whose own page is shown through "
            "ssh.  \\[default: a bundle without classes, to be taught]",
            show_default=False,
            metavar="BUNDLE|HOST",
        ),
    ] = None,
    camera: Annotated[
        str | None,
        typer.Option(
            help="A V4L2 device (0, /dev/video0), csi, a folder of pictures, an .mjpeg or .y4m "
            "file, or rtsp://...  \\[default: the first camera]",
            show_default=False,
        ),
    ] = None,
    size: Annotated[
        str,
        typer.Option(help="Size that is asked of the camera, in pixels.", metavar="WIDTHxHEIGHT"),
    ] = "640x480",
    rate: Annotated[
        float, typer.Option(help="Frames a second that are asked of the camera.")
    ] = 10.0,
    listen: Annotated[
        str,
        typer.Option(
            help="Where the page is. Elsewhere than on this computer it needs a token, which is "
            "printed, or taken from EDGE_LIVE_TOKEN.",
            metavar="ADDRESS:PORT",
        ),
    ] = "127.0.0.1:8080",
    open_page: Annotated[
        bool | None,
        typer.Option(
            "--open/--no-open",
            help="Open the page in a browser.  \\[default: where there is a display]",
            show_default=False,
        ),
    ] = None,
    output: Annotated[
        Path,
        typer.Option(
            "--output",
            "-o",
            help="Folder of the session: its bundle, the pictures that were taught, and what was "
            "built of them. The next start goes on with it.",
        ),
    ] = Path("edge-live"),
    no_pictures: Annotated[
        bool,
        typer.Option("--no-pictures", help="Keep no picture; then no bundle can be built of them."),
    ] = False,
    variant: shared.Variant = None,
    engine: shared.Engine = None,
    threads: Annotated[
        int,
        typer.Option(help="Number of CPU threads of one inference.", min=1, max=MOST_THREADS),
    ] = min(os.cpu_count() or 1, FEW_THREADS),
    smoothing: Annotated[
        int,
        typer.Option(
            help="Number of frames whose probabilities are averaged; 1 for none.",
            min=1,
            max=MOST_SMOOTHING,
        ),
    ] = 1,
    mqtt: Annotated[
        str | None,
        typer.Option(
            help="Send answers to this broker, such as mqtt://user@host:1883 or mqtts://...; "
            "EDGE_MQTT_PASSWORD holds the password. Needs the package paho-mqtt.",
            metavar="URL",
            show_default=False,
        ),
    ] = None,
    live_port: Annotated[
        int | None,
        typer.Option(
            help="Port of the page on the device.  \\[default: that of its release, or 8080]",
            min=1,
            max=65535,
            show_default=False,
            rich_help_panel=DEVICE,
        ),
    ] = None,
    app: hosts.App = None,
    port: hosts.Port = None,
    ssh_config: hosts.SshConfig = None,
    accept_new_host_key: hosts.AcceptNewHostKey = False,
    cache: shared.Cache = None,
    quiet: shared.Quiet = False,
) -> None:
    """Show what a camera sees and what the model answers, on a page, and teach it classes there.

    The page has a button that teaches the model what the camera sees. Programs use the same
    address: its description is at /v1/openapi.json. Ctrl-C ends it.
    """
    shown = wants_page(open_page)
    if what is not None and not _is_path(what):
        _refuse_unused_there(context, what)
        address = hosts.address(what, port, ssh_config, accept_new_host_key)
        raise typer.Exit(_on_device(address, live_port, app, shown=shown))
    refuse_unused(context, "without a device", *_THERE)
    chosen = replace(
        _options(camera, size, rate, listen, smoothing),
        variant=variant,
        engine=engine,
        threads=threads,
        mqtt=None if mqtt is None else _broker(mqtt),
    )
    if what is not None:
        refuse_unused(context, "with a bundle, beside which nothing is kept", *_SESSION)
        raise typer.Exit(_with_bundle(Path(what), chosen, shown=shown))
    raise typer.Exit(
        _with_session(output, cache, chosen, keeps=not no_pictures, shown=shown, quiet=quiet)
    )


def _is_path(what: str) -> bool:
    """Return whether a word is a path; any other one is the name of a device."""
    return os.path.lexists(what) or "/" in what or what in (".", "..")


def _options(
    camera: str | None, size: str, rate: float, listen: str, smoothing: int
) -> "LiveOptions":
    """Read what is asked of the camera and the server.

    Raises:
        UsageError: A value cannot be meant.
    """
    from edge.runtime.cameras.camera import LEAST_RATE, MOST_RATE, MOST_SIDE, read_size
    from edge.runtime.cameras.table import check_address
    from edge.runtime.commands.live import TOKEN
    from edge.runtime.live.server import checked_address
    from edge.runtime.live.service import LiveOptions

    pixels = read_size(size)
    if pixels is None:
        raise UsageError(
            f"--size {size!r} is no size of a picture",
            hint=f"Write it as 640x480; a side has at most {MOST_SIDE} pixels.",
        )
    if not LEAST_RATE <= rate <= MOST_RATE:
        raise UsageError(
            f"--rate {rate:g} is out of range",
            hint=f"{LEAST_RATE:g} to {MOST_RATE:g} frames a second are allowed.",
        )
    if camera is not None:
        try:
            check_address(camera)
        except CameraError as error:
            raise UsageError(f"--camera: {error.message}", hint=error.hint) from error
    return LiveOptions(
        camera=camera,
        width=pixels[0],
        height=pixels[1],
        rate=rate,
        listen=checked_address(listen),
        token=os.environ.get(TOKEN) or None,
        smoothing=smoothing,
    )


def _refuse_unused_there(context: typer.Context, what: str) -> None:
    """Refuse options of this computer with a word that is no bundle, and so a device.

    Raises:
        UsageError: One was given.
    """
    try:
        refuse_unused(context, "on a device, whose page runs there already", *_HERE)
    except UsageError as error:
        raise UsageError(
            f"there is no bundle at {what}, and {error.message}",
            hint=f"Name the folder of a bundle; if {what} is a device, {_lower(error.hint)}",
        ) from error


def _lower(text: str) -> str:
    return text[:1].lower() + text[1:]


def _with_bundle(bundle: Path, chosen: "LiveOptions", *, shown: bool) -> int:
    from edge.runtime.live.service import serve

    return serve(bundle, chosen, ready=open_browser if shown else None)


def _with_session(
    folder: Path,
    cache: Path | None,
    chosen: "LiveOptions",
    *,
    keeps: bool,
    shown: bool,
    quiet: bool,
) -> int:
    """Serve a bundle that is taught from nothing, or that an earlier start taught."""
    from edge.cache import StageCache
    from edge.cli.terminal import shown_progress
    from edge.live.export import BundleExporter
    from edge.live.session import open_session
    from edge.runtime.live.service import check_start, serve

    check_start(chosen)  # a session that cannot be served leaves no folder
    root = shared.cache_root(cache)
    progress = shown_progress(quiet=quiet)
    with open_session(folder, StageCache(root), progress, keeps=keeps) as session:
        if not quiet:
            _print_session(session)
        exporter = BundleExporter(session.pictures, session.bundles, root) if keeps else None
        return serve(
            session.bundle,
            chosen,
            keeper=session.keeper,
            exporter=exporter,
            ready=open_browser if shown else None,
        )


def _print_session(session: "LiveSession") -> None:
    from edge.runtime.files import readable
    from edge.wording import counted

    place = readable(session.folder)
    began = f"{place}: a new session"
    if session.resumed or session.taught:
        began = f"{place}: goes on, with {counted(session.taught, 'picture')} taught so far"
    kept = f"pictures are kept in {place}/{session.pictures.folder.name}"
    say(f"{began}; {kept if session.keeper else 'no picture is kept'}", err=True)


def _broker(text: str) -> "Broker":
    from edge.runtime.live.settings import checked_broker

    return checked_broker(text)


def _on_device(address: "Address", live_port: int | None, app: str | None, *, shown: bool) -> int:
    """Show the page of a device until the connection or the user ends it."""
    from edge.live.tunnel import deployed_port, tunnel

    try:
        port = live_port or deployed_port(address, app)
        with tunnel(address, port) as opened:
            say(f"live at {opened.url}, which is port {port} of {address.host}", err=True)
            if opened.guarded:
                say(
                    f"note: it wants the token that was printed there: {opened.url}?token=TOKEN",
                    err=True,
                )
            if shown:
                open_browser(opened.url)
            opened.wait()
    except ConnectionFailed as error:
        if "Could not resolve hostname" not in error.message:
            raise
        raise ConnectionFailed(
            error.message,
            hint=f"There is no bundle at {address.host} either. Check the name.",
        ) from error
    return 0


def wants_page(asked: bool | None) -> bool:
    """Return whether to open the page: as asked, or where a person sits before a display.

    Over ssh there is mostly none: the browser would open where nobody sees it, or in the terminal.

    Args:
        asked: What the user said; None for nothing.
    """
    if asked is not None:
        return asked
    shown = sys.platform == "darwin" or any(os.environ.get(name) for name in _DISPLAYS)
    return shown and sys.stderr.isatty()


def open_browser(url: str) -> None:
    """Open the page and do not wait for the browser; say so where none can be opened."""
    threading.Thread(target=_open, args=(url,), name="browser", daemon=True).start()


def _open(url: str) -> None:
    import webbrowser  # not at the top: it looks for browsers

    try:
        opened = webbrowser.open(url)
    except (OSError, webbrowser.Error):
        opened = False
    if not opened:
        say("note: no browser could be opened; open the address yourself", err=True)
