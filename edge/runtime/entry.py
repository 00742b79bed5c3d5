"""The first code of edge in a process of its own; it imports nothing before it heeds Ctrl-C."""

import sys

TYPE_CHECKING = False  # as in edge.runtime
if TYPE_CHECKING:
    from typing import NoReturn


def enter(module: str) -> "NoReturn":
    """Run the function ``main`` of a module, and end with the exit code that it gives.

    Half of a start is imports: Ctrl-C ends these as it ends everything else. They make many
    objects and no garbage, for which Python would look again and again.
    """
    try:
        import gc

        gc.disable()
        from importlib import import_module

        from edge.runtime.signals import repeat_lost_interrupts
        from edge.runtime.streams import open_closed_streams

        open_closed_streams()
        repeat_lost_interrupts()
        loaded = import_module(module)
        gc.enable()
        try:
            code = loaded.main()
        except SystemExit as end:  # how a command line ends as well
            if not isinstance(end.code, int):
                raise
            code = end.code
        _leave(code)
    except KeyboardInterrupt:
        from contextlib import suppress

        code = 130
        with suppress(OSError):  # nobody can be told
            print("interrupted", file=sys.stderr, flush=True)
    sys.exit(code)


def _leave(code: int) -> "NoReturn":
    """End as ``sys.exit`` does, without taking modules and objects apart one by one.

    That would take an eighth of a single prediction, and the system frees all of it at once. What
    asked to be called at the end is called. A thread that is no daemon is waited for, which
    Python itself does.
    """
    import atexit
    import os
    import threading

    if any(not other.daemon for other in threading.enumerate()[1:]):
        sys.exit(code)
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError):  # it is full, or closed: Python itself says so
            sys.exit(code)
    os._exit(code)
