"""``python3 -m edge.runtime watch DIR --bundle BUNDLE``."""

import argparse
import os
import selectors
import signal
from contextlib import closing
from typing import Final

from edge.errors import EdgeError, NegativeVerdict
from edge.runtime.bundle import Bundle
from edge.runtime.child import in_child
from edge.runtime.commands.arguments import (
    add_model,
    add_top_k,
    answer_count,
    more_than_zero,
    named_path,
    open_model,
)
from edge.runtime.files import readable
from edge.runtime.golden import SelfTest
from edge.runtime.health import HealthServer, Notifier
from edge.runtime.image_bounds import bound_as_service
from edge.runtime.inbox import Inbox
from edge.runtime.seal import PROVED
from edge.runtime.signals import StopSignals
from edge.runtime.streams import say
from edge.runtime.tasks.model import open_golden_test
from edge.runtime.watch import Loop, Watcher

EXAMPLE: Final = "Example: python3 -m edge.runtime watch pictures --bundle BUNDLE --once"
INTERRUPTED: Final = 130
TEST_SECONDS: Final = 120.0  # for opening the model and all golden pictures, on the slowest board
TEST_BYTES: Final = 1 << 30


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
    """Load, and let the golden self-test pass.

    A model that is not known to have passed here is first opened in a process of its own.
    """
    notifier.status("loading the model")
    bundle = Bundle.open(options.bundle)
    if os.environ.get(PROVED) != bundle.digest:
        notifier.status("self-test in a process of its own")
        try:
            _try_in_child(bundle, options, signals)
        except EdgeError as error:
            notifier.status(error.message)
            raise
    variant, model = open_model(bundle, options)
    notifier.status("golden self-test")
    test = open_golden_test(bundle, variant, model)
    reason = _tested(test, signals)
    if reason:
        notifier.status(f"self-test failed: {reason}")
        raise _failed(reason)
    return Watcher(
        model,
        inbox,
        test,
        variant=variant.name,
        release=options.release,
        k=answer_count(model, options.top_k),
        delete=options.delete,
        supervised=notifier.heard,
    )


def _try_in_child(bundle: Bundle, options: argparse.Namespace, signals: StopSignals) -> None:
    """Open the model and test it where it can end, hang or fill no process that serves."""

    def work() -> None:
        variant, model = open_model(bundle, options)
        reason = _tested(open_golden_test(bundle, variant, model), signals)
        if reason:
            raise _failed(reason)

    size = bundle.manifest.variant(options.variant).size_bytes
    machine = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    in_child(
        work,
        seconds=TEST_SECONDS,
        memory_bytes=min(TEST_BYTES + 8 * size, machine // 2),
        stopped=lambda: signals.received is not None,
    )


def _tested(test: SelfTest, signals: StopSignals) -> str:
    """Return why the golden self-test does not pass; empty where it does, or a signal came."""
    for number in range(len(test.images)):
        if signals.received is not None:
            break
        reason = test.run(number).reason
        if reason:
            return reason
    return ""


def _failed(reason: str) -> NegativeVerdict:
    return NegativeVerdict(
        f"self-test failed: {reason}",
        hint="More is told by: python3 -m edge.runtime selftest BUNDLE",
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
        watcher.run(loop, interval=options.interval, once=options.once)
    finally:
        watcher.close()
        if server is not None:
            server.close()
