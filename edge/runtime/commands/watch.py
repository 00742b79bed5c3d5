"""``python3 -m edge.runtime watch DIR --bundle BUNDLE``."""

import argparse
import selectors
import signal
from contextlib import closing
from typing import Final

from edge.runtime.bundle import Bundle
from edge.runtime.commands.arguments import (
    add_model,
    add_top_k,
    answer_count,
    more_than_zero,
    named_path,
)
from edge.runtime.files import readable
from edge.runtime.health import HealthServer, Notifier
from edge.runtime.image_bounds import bound_as_service
from edge.runtime.inbox import Inbox
from edge.runtime.proof import ModelChoice, open_proved
from edge.runtime.signals import StopSignals
from edge.runtime.streams import say
from edge.runtime.teach.labels import NO_CLASS
from edge.runtime.watch import Loop, Watcher

EXAMPLE: Final = "Example: python3 -m edge.runtime watch pictures --bundle BUNDLE --once"
INTERRUPTED: Final = 130


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of this command."""
    parser.add_argument("folder", type=named_path, metavar="DIR", help="where pictures arrive")
    parser.add_argument("--bundle", type=named_path, required=True, help="the bundle that answers")
    add_model(parser)
    add_top_k(parser)
    parser.add_argument(
        "--delete",
        action="store_true",
        help="delete a picture that was answered (else the answer is written to NAME.json)",
    )
    parser.add_argument("--once", action="store_true", help="end when no picture waits")
    parser.add_argument(
        "--interval",
        type=more_than_zero,
        default=0.25,
        metavar="SECONDS",
        help="the time between two looks; a picture that two looks find alike is complete (0.25)",
    )
    parser.add_argument("--release", metavar="ID", help="the id to tell whoever asks for health")
    parser.add_argument(
        "--health", type=named_path, metavar="SOCKET", help="the Unix socket to ask for health at"
    )
    parser.add_argument(
        "--json", action="store_true", help="accepted for uniformity: answers are lines of JSON"
    )


def run(options: argparse.Namespace) -> int:
    """Serve; 0 when stopped by SIGTERM; with --once, 2 where a picture could not be answered.

    Raises:
        NegativeVerdict: The golden self-test failed; nothing was answered.
        UsageError: The folder or the socket cannot be used.
        ModelLoadError: The model does not load.
    """
    bound_as_service()
    notifier = Notifier()
    with selectors.DefaultSelector() as selector, StopSignals(selector) as signals:
        with closing(Inbox(options.folder)) as inbox:
            watcher = _watcher(options, inbox, notifier, signals)
            if signals.received is None:
                _serve(options, watcher, notifier, selector, signals)
        notifier.stopping()
    if signals.received is not None:
        return INTERRUPTED if signals.received == signal.SIGINT else 0
    return 2 if watcher.failed else 0


def _watcher(
    options: argparse.Namespace, inbox: Inbox, notifier: Notifier, signals: StopSignals
) -> Watcher:
    """Load, and let the golden self-test pass; see ``open_proved``."""
    notifier.status("loading the model")
    proved = open_proved(
        Bundle.open(options.bundle),
        ModelChoice(variant=options.variant, engine=options.engine, threads=options.threads),
        note=notifier.status,
        stopped=lambda: signals.received is not None,
    )
    return Watcher(
        proved.model,
        inbox,
        proved.test,
        variant=proved.variant.name,
        release=options.release,
        k=answer_count(proved.model, options.top_k),
        delete=options.delete,
        supervised=notifier.heard,
    )


def _serve(
    options: argparse.Namespace,
    watcher: Watcher,
    notifier: Notifier,
    selector: selectors.BaseSelector,
    signals: StopSignals,
) -> None:
    """Serve from READY=1 to the end."""
    server = None
    if options.health is not None:
        server = HealthServer(options.health, selector, watcher.health)
    loop = Loop(selector=selector, signals=signals, notifier=notifier, server=server)
    try:
        notifier.ready()
        say(f"watching {readable(options.folder)}", err=True)
        if not watcher.labels:
            say(f"note: the bundle {NO_CLASS}", err=True)
        watcher.run(loop, interval=options.interval, once=options.once)
    finally:
        watcher.close()
        if server is not None:
            server.close()
