"""``python3 -m edge.runtime watch DIR --bundle BUNDLE``."""

import argparse
import selectors
import signal
import sys
from contextlib import closing
from pathlib import Path
from typing import Final

from edge.errors import NegativeVerdict
from edge.runtime.bundle import Bundle
from edge.runtime.commands.arguments import (
    add_model,
    at_least_one,
    more_than_zero,
    open_classifier,
)
from edge.runtime.golden import GoldenTest
from edge.runtime.health import HealthServer
from edge.runtime.inbox import Inbox
from edge.runtime.notify import Notifier
from edge.runtime.signals import StopSignals
from edge.runtime.watch import Watcher

EXAMPLE: Final = "Example: python3 -m edge.runtime watch pictures --bundle BUNDLE --once"
INTERRUPTED: Final = 130


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Of this command."""
    parser.add_argument("folder", type=Path, metavar="DIR", help="where pictures arrive")
    parser.add_argument("--bundle", type=Path, required=True, help="the bundle that answers")
    add_model(parser)
    parser.add_argument("--top-k", type=at_least_one, default=3, help="answers per image (3)")
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
        help="between two looks; a picture that two looks find alike is complete (0.25)",
    )
    parser.add_argument("--release", metavar="ID", help="told to who asks for health")
    parser.add_argument("--health", type=Path, metavar="SOCKET", help="Unix socket to ask at")
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
    """Load, and let the golden self-test pass."""
    notifier.status("loading the model")
    bundle = Bundle.open(options.bundle)
    variant, classifier = open_classifier(bundle, options)
    notifier.status("golden self-test")
    test = GoldenTest(bundle, variant, classifier.session)
    for number in range(len(test.images)):
        if signals.received is not None:
            break
        reason = test.run(number).reason
        if reason:
            notifier.status(f"self-test failed: {reason}")
            raise NegativeVerdict(
                f"self-test failed: {reason}",
                hint="More is told by: python3 -m edge.runtime selftest BUNDLE",
            )
    return Watcher(
        classifier,
        inbox,
        test,
        variant=variant.name,
        release=options.release,
        k=options.top_k,
        delete=options.delete,
    )


def _serve(
    options: argparse.Namespace,
    watcher: Watcher,
    notifier: Notifier,
    selector: selectors.BaseSelector,
    signals: StopSignals,
) -> None:
    """From READY=1 to the end."""
    server = None
    if options.health is not None:
        server = HealthServer(options.health, selector, watcher.health)
    try:
        notifier.ready()
        print(f"watching {options.folder}", file=sys.stderr, flush=True)
        watcher.run(
            selector,
            signals,
            notifier,
            server=server,
            interval=options.interval,
            once=options.once,
        )
    finally:
        if server is not None:
            server.close()
