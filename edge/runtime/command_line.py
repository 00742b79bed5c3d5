"""On the device: ``python3 -m edge.runtime predict|watch|live|teach|forget|selftest|bench|info``.

Only the module of the command that is named is imported: on a small device every import counts.
"""

import argparse
import gc
import importlib
import os
import sys
from collections.abc import Callable, Sequence
from typing import Any, ClassVar, Final, NoReturn

from edge.errors import EdgeError, expected
from edge.runtime.streams import finish_answers, say, visible_streams
from edge.runtime.supervisor import supervise

COMMANDS: Final = {
    "predict": "Say what each image shows.",
    "watch": "Answer every new picture in a folder, as a service or once.",
    "live": "Show a camera's pictures with their answers on a page, and learn from them.",
    "teach": "Learn a class from a few pictures (bundles with a k-NN or imprinted head).",
    "forget": "Unlearn a class that was taught.",
    "selftest": "Check that this device answers as the host that built the bundle did.",
    "bench": "Time each step from a JPEG to an answer on this device.",
    "info": "Check a bundle and say what it holds.",
}
# Whoever named the model need not know it; ``watch`` serves a release that proved itself.
SUPERVISED: Final = ("predict", "teach", "selftest", "bench")
# What these compute of an answer, beside the network, is no work for several threads.
SINGLE_THREADED: Final = ("predict", "watch", "selftest", "bench", "info", "forget")
BLAS_THREADS: Final = "OPENBLAS_NUM_THREADS"  # read once, when numpy is imported
INTERRUPTED: Final = 130


class Parser(argparse.ArgumentParser):
    """Says what is wrong as every other error is said, and what was perhaps meant."""

    known: ClassVar[set[str]] = set()  # long options; the root refuses those that are not

    def add_argument(self, *names: Any, **settings: Any) -> argparse.Action:
        """See argparse."""
        self.known.update(name for name in names if name.startswith("--"))
        return super().add_argument(*names, **settings)

    def error(self, message: str) -> NoReturn:
        """End with exit code 2."""
        say(f"error: {message}", err=True)
        say(f"hint: {_meant(message)}Add --help to see what there is.", err=True)
        sys.exit(2)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; the exit codes are those of ``edge.errors``.

    Args:
        arguments: In place of those of the process. Then the process is the caller's own, and may
            have threads: it is not split in two (see ``supervise``).
    """
    words = list(sys.argv[1:] if arguments is None else arguments)
    if words[:1] == ["help"]:
        words = [*words[1:], "--help"]
    if arguments is None and words and words[0] in SUPERVISED:
        refused = _ended(_supervised)  # before numpy is here: what waits stays small
        if refused:
            return refused
    with visible_streams():
        try:
            code = _ended(lambda: _run(words, own=arguments is None))
        except SystemExit as end:  # of argparse, which has written help or an error
            raise SystemExit(_ended(finish_answers) or end.code) from None
        return _ended(finish_answers) or code


def _supervised() -> int:
    supervise()
    return 0


def _run(words: list[str], *, own: bool) -> int:
    options = _parser(words[:1], own=own).parse_args(words)
    code: int = options.run(options)
    return code


def _ended(job: Callable[[], int]) -> int:
    """Return the exit code of a job, however it ends."""
    try:
        return job()
    except BrokenPipeError:  # nobody reads the answers of ``watch``
        return 0
    except KeyboardInterrupt:
        say("interrupted", err=True)
        return INTERRUPTED
    except Exception as error:
        known = expected(error)
        if known is None:
            raise
        return _report(known)


def _report(error: EdgeError) -> int:
    say(f"error: {error.told}", err=True)
    if error.hint:
        say(f"hint: {error.hint}", err=True)
    return error.exit_code


def _meant(message: str) -> str:
    """Return what is nearest to the choice or option that argparse refuses, as a sentence."""
    from difflib import get_close_matches

    refused, _, choices = message.partition(" (choose from ")
    words = [choice.strip("' )") for choice in choices.split(",")]
    if refused.startswith("unrecognized arguments: "):
        words = sorted(Parser.known)
    word = refused.partition(": ")[2].split(": ")[-1].split()
    near = get_close_matches(word[0].strip("'").partition("=")[0], words, 1) if word else []
    return f"Did you mean {near[0]}? " if near else ""


def _formatter(prog: str) -> argparse.HelpFormatter:
    """Format for the terminal's width; left to itself, argparse imports shutil with every start."""
    try:
        columns = int(os.environ.get("COLUMNS", "")) or os.get_terminal_size().columns
    except (ValueError, OSError):
        columns = 80
    return argparse.HelpFormatter(prog, width=max(columns, 20) - 2)


def _parser(named: Sequence[str], *, own: bool) -> Parser:
    parser = Parser(
        prog="python3 -m edge.runtime",
        description="Run a bundle of edge on this device.",
        epilog="Example: python3 -m edge.runtime predict BUNDLE photo.jpg --top-k 3",
        formatter_class=_formatter,
    )
    # With ``prog`` argparse need not format a usage line, for which it imports shutil.
    commands = parser.add_subparsers(required=True, metavar="COMMAND", prog=parser.prog)
    # A help text has all of them; making what nobody asked for takes longer than reading words.
    shown = named if set(named) <= set(COMMANDS) and named else COMMANDS
    for name in shown:
        what = COMMANDS[name]
        command = commands.add_parser(name, help=what, description=what, formatter_class=_formatter)
        if name in named:
            module = _load(name, own=own)
            command.epilog = module.EXAMPLE
            module.add_arguments(command)
            command.set_defaults(run=module.run)
    return parser


def _load(command: str, *, own: bool) -> Any:
    """Return the module of a command.

    Loading numpy makes many objects and no garbage; looking for some takes 5 % of the start. Its
    matrix products have a thread for each processor, which take a quarter of the start to come up
    and have nothing to do for one answer. Who set their number is heeded; programs that the
    command starts, and a caller whose process it is, keep theirs.
    """
    collects = gc.isenabled()
    gc.disable()
    single = own and command in SINGLE_THREADED and BLAS_THREADS not in os.environ
    try:
        if single:
            os.environ[BLAS_THREADS] = "1"
        return importlib.import_module(f"edge.runtime.commands.{command}")
    finally:
        if single:
            del os.environ[BLAS_THREADS]
        gc.freeze()  # what was loaded stays to the end, and need not be looked through
        if collects:
            gc.enable()


if __name__ == "__main__":
    sys.exit(main())
