"""The first code of edge in a process of its own; it imports nothing before it heeds Ctrl-C."""

import sys

TYPE_CHECKING = False  # as in edge.runtime
if TYPE_CHECKING:
    from typing import NoReturn


def enter(module: str) -> "NoReturn":
    """Run the function ``main`` of a module, and end with the exit code that it gives.

    Half of a start is imports: Ctrl-C ends these as it ends everything else.
    """
    try:
        from importlib import import_module

        from edge.runtime.signals import repeat_lost_interrupts
        from edge.runtime.streams import open_closed_streams

        open_closed_streams()
        repeat_lost_interrupts()
        code = import_module(module).main()
    except KeyboardInterrupt:
        from contextlib import suppress

        code = 130
        with suppress(OSError):  # nobody can be told
            print("interrupted", file=sys.stderr, flush=True)
    sys.exit(code)
