"""Puts camera, model, teacher and server together, and runs until a signal comes."""

import re
import selectors
import signal
import socket
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final
from urllib.parse import quote

from edge.errors import UsageError
from edge.runtime.bundle import Bundle
from edge.runtime.cameras.camera import CameraRequest, shown_address
from edge.runtime.cameras.table import open_camera
from edge.runtime.golden import SelfTest
from edge.runtime.health import Notifier
from edge.runtime.image_bounds import bound_as_service
from edge.runtime.live.api import Api, LiveContext, security_headers
from edge.runtime.live.guard import LEAST_TOKEN, Guard, is_loopback
from edge.runtime.live.hooks import Exporter, Keeper
from edge.runtime.live.life import TICK_SECONDS, Life, LiveHealth
from edge.runtime.live.model import LiveModel
from edge.runtime.live.pipeline import Pipeline
from edge.runtime.live.server import LiveServer, check_listens
from edge.runtime.proof import ModelChoice, open_proved
from edge.runtime.session import check_engine
from edge.runtime.signals import StopSignals
from edge.runtime.streams import say
from edge.runtime.teach.teacher import Teacher, check_learns

if TYPE_CHECKING:
    from edge.runtime.live.settings import Broker

INTERRUPTED: Final = 130
TOKEN_BYTES: Final = 16
TOKEN: Final = re.compile(r"[A-Za-z0-9._~+/-]+=*")  # RFC 6750, section 2.1
M_MMAP_THRESHOLD: Final = -3  # malloc.h
M_ARENA_MAX: Final = -8
LARGE_BYTES: Final = 1 << 20
ARENAS: Final = 2
PATIENCE: Final = 20.0  # seconds for a first answer; a release says its own


@dataclass(frozen=True, slots=True, kw_only=True)
class LiveOptions:
    """What a user chooses.

    Attributes:
        camera: Its address; None for the first that is found.
        width: Pixels, asked of the camera.
        height: Pixels, asked of the camera.
        rate: Frames a second, asked of the camera.
        listen: Host and port; port 0 for any that is free.
        token: What a request has to carry; None: none on this computer alone, else one is made.
        variant: The model file of the bundle; None for its default.
        engine: The interpreter; None for the first that is installed.
        threads: CPU threads of one inference.
        smoothing: Frames whose probabilities are averaged.
        release: The id of the release, where a service runs it.
        mqtt: The broker that answers are sent to; None for none.
        health: The Unix socket where the health is told, as of ``edge.runtime.watch``; None for
            none.
        patience: Seconds for a first answer before the health has to say why there is none.
        apart: Whether a model that is not known to have passed here is tried in a process of its
            own first; only for a process that has no threads of its own yet.
    """

    camera: str | None = None
    width: int = 640
    height: int = 480
    rate: float = 10.0
    listen: tuple[str, int] = ("127.0.0.1", 8080)
    token: str | None = None
    variant: str | None = None
    engine: str | None = None
    threads: int = 1
    smoothing: int = 1
    release: str | None = None
    mqtt: "Broker | None" = None
    health: Path | None = None
    patience: float = PATIENCE
    apart: bool = False


def serve(
    bundle: Path,
    options: LiveOptions,
    *,
    keeper: Keeper | None = None,
    exporter: Exporter | None = None,
    ready: Callable[[str], None] | None = None,
) -> int:
    """Serve until SIGTERM or Ctrl-C; 0 or 130.

    Args:
        bundle: The folder of the bundle.
        options: See there.
        keeper: Is told of what is taught.
        exporter: Makes a bundle of it.
        ready: Is called with the address of the page when it answers.

    Raises:
        NegativeVerdict: The golden self-test of the bundle failed here.
        UsageError: An option or the socket cannot be used, or the bundle is none.
        OutputError: The address cannot be listened at.
        PackageMissing: A broker is named, and the package that speaks with it is not installed.
        ModelLoadError: The model does not load.
    """
    check_start(options)
    bound_as_service()
    _give_memory_back()
    guard = Guard(_token(options))
    notifier = Notifier()
    with selectors.DefaultSelector() as selector, StopSignals(selector) as signals:
        session, test = _session(bundle, options, keeper, exporter, notifier, signals)
        if signals.received is None:
            health = LiveHealth(session, test)
            with ExitStack() as stack:
                address = _begin(session, options, guard, stack)
                life = Life(health, notifier, selector, options.health, options.patience)
                stack.callback(life.close)
                say(f"live at {address}", err=True)
                if ready is not None:
                    ready(address)
                while signals.received is None:
                    life.tick()
                notifier.stopping()
    return INTERRUPTED if signals.received == signal.SIGINT else 0


def check_start(options: LiveOptions) -> None:
    """Refuse what would end ``serve``, before anything is made or loaded for it.

    Raises:
        UsageError: The token could be guessed, or there is no such interpreter.
        OutputError: The address cannot be listened at.
        PackageMissing: A broker is named, and the package that speaks with it is not installed.
    """
    _token(options)
    check_engine(options.engine)
    if options.mqtt is not None:
        from edge.runtime.live.mqtt import client_class

        client_class()
    check_listens(options.listen)


def _begin(session: LiveContext, options: LiveOptions, guard: Guard, stack: ExitStack) -> str:
    """Start the server, the camera and the model; return the address of the page.

    Args:
        session: What is served.
        options: As of ``serve``.
        guard: Says who may ask.
        stack: What was started ends with it.
    """
    api = Api(session, lambda: server.codes)
    server = LiveServer(
        options.listen,
        api.answer,
        guard,
        methods=api.methods,
        security=security_headers(api.page),
    )
    stack.callback(server.server_close)
    if session.exporter is not None:
        stack.callback(session.exporter.close)
    if options.mqtt is not None:
        from edge.runtime.live.mqtt import Publisher

        publisher = Publisher(options.mqtt, session.bundle.manifest.name, session.pipeline)
        stack.callback(publisher.close)
        publisher.start()
    session.pipeline.start()
    stack.callback(session.pipeline.close)
    thread = threading.Thread(
        target=server.serve_forever, args=(TICK_SECONDS,), name="server", daemon=True
    )
    thread.start()
    stack.callback(server.shutdown)
    return _address(options.listen[0], server.port, guard)


def _give_memory_back() -> None:
    """Let glibc return large buffers to the system when they are freed (mallopt(3)).

    Left to itself it learns from each freed body of a request to keep more of the next ones.
    """
    import ctypes

    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):  # another C library
        return
    mallopt(M_MMAP_THRESHOLD, LARGE_BYTES)
    mallopt(M_ARENA_MAX, ARENAS)


def _token(options: LiveOptions) -> str | None:
    """Return the token that requests need; None where only this computer can ask.

    Raises:
        UsageError: It could be guessed.
    """
    if options.token is not None:
        if len(options.token) < LEAST_TOKEN or not TOKEN.fullmatch(options.token):
            raise UsageError(
                f"the token has to have at least {LEAST_TOKEN} characters: letters, digits and "
                "- . _ ~ + /, and = at the end",
                hint="python3 -c 'import secrets; print(secrets.token_urlsafe())' makes one.",
            )
        return options.token
    if is_loopback(_bracketed(options.listen[0])):
        return None
    import secrets  # 20 ms of a start that mostly needs no token

    return secrets.token_urlsafe(TOKEN_BYTES)


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def _address(host: str, port: int, guard: Guard) -> str:
    token = "" if guard.token is None else f"?token={quote(guard.token, safe='')}"
    return f"http://{_bracketed(_reached(host))}:{port}/{token}"


def _reached(host: str) -> str:
    """Return an address that others can open in place of one that stands for all of this computer.

    Connecting a socket of datagrams sends nothing; it only chooses the interface.
    """
    if host not in ("0.0.0.0", "::"):
        return host
    family, elsewhere = (
        (socket.AF_INET6, "2001:db8::1") if ":" in host else (socket.AF_INET, "192.0.2.1")
    )
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.connect((elsewhere, 9))
            return str(probe.getsockname()[0])
    except OSError:  # no network: then nobody else can come either
        return "localhost"


def _session(
    path: Path,
    options: LiveOptions,
    keeper: Keeper | None,
    exporter: Exporter | None,
    notifier: Notifier,
    signals: StopSignals,
) -> tuple[LiveContext, SelfTest]:
    """Load the model, let its golden self-test pass, and get the camera and the teacher ready."""
    notifier.status("loading the model")
    bundle = Bundle.open(path)
    proved = open_proved(
        bundle,
        ModelChoice(variant=options.variant, engine=options.engine, threads=options.threads),
        note=notifier.status,
        stopped=lambda: signals.received is not None,
        apart=options.apart,
    )
    variant = proved.variant
    try:
        check_learns(bundle)
        teacher, why_not = Teacher(bundle, variant), ""
    except UsageError as error:
        teacher, why_not = None, f"{error.message}. {error.hint}".strip()
    request = CameraRequest(width=options.width, height=options.height, rate=options.rate)
    pipeline = Pipeline(
        LiveModel(proved.model, variant=variant.name, smoothing=options.smoothing),
        lambda: open_camera(options.camera, request),
        address=shown_address(options.camera or "the first camera"),
    )
    session = LiveContext(
        bundle=bundle,
        variant=variant,
        threads=options.threads,
        pipeline=pipeline,
        teacher=teacher,
        why_not=why_not,
        keeper=keeper,
        exporter=exporter,
        release=options.release,
        began=time.monotonic(),
    )
    return session, proved.test
