"""On the device: ``python3 -m edge.runtime predict|watch|teach|forget|selftest|bench|info``.

Only the module of the command that is named is imported: on a small device every import counts.
"""

import argparse
import gc
import importlib
import os
import sys
from collections.abc import Sequence
from typing import Any, Final

from edge.errors import EdgeError, missing_package

COMMANDS: Final = {
    "predict": "Say what each image shows.",
    "watch": "Answer every new picture in a folder, as a service or once.",
    "teach": "Learn a class from a few pictures (bundles with a k-NN or imprinted head).",
    "forget": "Unlearn a class that was taught.",
    "selftest": "Check that this device answers as the host that built the bundle did.",
    "bench": "Time each step from a JPEG to an answer on this device.",
    "info": "Check a bundle and say what it holds.",
}
INTERRUPTED: Final = 130


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; the exit codes are those of ``edge.errors``."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    try:
        options = _parser(words[:1]).parse_args(words)
        code: int = options.run(options)
        sys.stdout.flush()
        return code
    except EdgeError as error:
        return _report(error)
    except ImportError as error:
        missing = missing_package(error)
        if missing is None:
            raise
        return _report(missing)
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        # Whoever read the answers has gone; Python would complain once more when it flushes.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0


def _report(error: EdgeError) -> int:
    print(f"error: {error.message}", file=sys.stderr)
    if error.hint:
        print(f"hint: {error.hint}", file=sys.stderr)
    return error.exit_code


def _formatter(prog: str) -> argparse.HelpFormatter:
    """Of the terminal's width; left to itself, argparse imports shutil with every start."""
    try:
        columns = int(os.environ.get("COLUMNS", "")) or os.get_terminal_size().columns
    except (ValueError, OSError):
        columns = 80
    return argparse.HelpFormatter(prog, width=max(columns, 20) - 2)


def _parser(named: Sequence[str]) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python3 -m edge.runtime",
        description="Run a bundle of edge on this device.",
        epilog="Example: python3 -m edge.runtime predict BUNDLE photo.jpg --top-k 3",
        formatter_class=_formatter,
    )
    # With ``prog`` argparse need not format a usage line, for which it imports shutil.
    commands = parser.add_subparsers(required=True, metavar="COMMAND", prog=parser.prog)
    for name, what in COMMANDS.items():
        command = commands.add_parser(name, help=what, description=what, formatter_class=_formatter)
        if name in named:
            module = _load(name)
            command.epilog = module.EXAMPLE
            module.add_arguments(command)
            command.set_defaults(run=module.run)
    return parser


def _load(command: str) -> Any:
    """The module of a command.

    Loading numpy makes many objects and no garbage; looking for some takes 5 % of the start.
    """
    collects = gc.isenabled()
    gc.disable()
    try:
        return importlib.import_module(f"edge.runtime.commands.{command}")
    finally:
        if collects:
            gc.enable()


if __name__ == "__main__":
    sys.exit(main())
