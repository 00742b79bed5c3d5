"""The root command, and the one place where errors become messages and exit codes."""

import atexit
import os
import sys
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Annotated, Any, BinaryIO, Final

import typer

import edge
from edge.cli import help, small
from edge.cli.check import compare, diagnose, evaluate, explain, fewshot, inspect
from edge.cli.deploy import deploy, devices, fleet, release, signing
from edge.cli.help import Application, RootGroup
from edge.cli.make import build, export, reproduce
from edge.cli.measure import accelerators, benchmark, remote_benchmark, zoo
from edge.cli.terminal import INTERRUPTED, captured_native_output, report_error, report_unexpected
from edge.cli.use import embed, live, map, predict, similar, tag
from edge.errors import EdgeError, expected
from edge.runtime.streams import finish_answers, say
from edge.runtime.supervisor import supervise

app = Application(
    cls=RootGroup,
    name="edge",
    help="From a folder of photos to a verified model on an embedded device.",
    no_args_is_help=True,
    add_completion=True,
)
# Commands, and groups of commands, by panel of --help.
COMMANDS: Final[dict[str, dict[str, Callable[..., None] | Application]]] = {
    "Make": {
        "build": build.build,
        "export": export.export,
        "reproduce": reproduce.reproduce,
        "dataset": small.dataset,
    },
    "Check": {
        "evaluate": evaluate.evaluate,
        "compare": compare.compare,
        "diagnose": diagnose.diagnose,
        "inspect": inspect.inspect,
        "explain": explain.explain,
        "fewshot": fewshot.fewshot,
    },
    "Use": {
        "predict": predict.predict,
        "live": live.live,
        "tag": tag.tag,
        "embed": embed.embed,
        "similar": similar.similar,
        "analogy": similar.analogy,
        "map": map.map,
    },
    "Measure": {
        "benchmark": benchmark.app,
        "zoo": zoo.zoo,
        "accelerators": accelerators.accelerators,
    },
    "Deploy": {
        "devices": devices.devices,
        "doctor": devices.doctor,
        "keys": signing.keys,
        "sign": signing.sign,
        "verify": signing.verify,
        "deploy": deploy.deploy,
        "fleet": fleet.fleet,
        "remote-benchmark": remote_benchmark.remote_benchmark,
        "status": release.status,
        "rollback": release.rollback,
        "logs": release.logs,
        "undeploy": release.undeploy,
    },
    "More": {"cache": small.cache, "help": help.help},
}
# The panels whose commands open models that others wrote: a child of the process does the work.
SUPERVISED: Final = ("Make", "Check", "Use", "Measure")
for panel, commands in COMMANDS.items():
    for name, command in commands.items():
        if isinstance(command, Application):
            app.add_typer(command, name=name, rich_help_panel=panel)
        else:
            app.command(name, rich_help_panel=panel)(command)


def _version(value: bool) -> None:
    if value:
        say(f"edge {edge.__version__}")
        raise typer.Exit


@app.callback()
def root(
    context: typer.Context,
    version: Annotated[  # noqa: ARG001  # its callback heeds it
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    """From a folder of photos to a verified model on an embedded device."""
    if context.obj is not None and any(
        context.invoked_subcommand in COMMANDS[panel] for panel in SUPERVISED
    ):
        supervise(context.obj)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line; every expected error ends as a message and an exit code.

    Args:
        arguments: The words of the command line instead of those of the process. The process is
            then the caller's own and may have threads: it is not split in two (see
            ``supervise``).
    """
    interrupted = threading.Event()
    atexit.register(_leave_as_interrupted, interrupted)  # first registered, called last
    with captured_native_output() as log:
        supervised = log if arguments is None else None
        code = _ended(
            lambda: app(arguments, prog_name="edge", standalone_mode=False, obj=supervised), log
        )
        code = _ended(finish_answers, log) or code
    if code == INTERRUPTED:
        interrupted.set()
    sys.exit(code)


def _ended(job: Callable[[], Any], log: BinaryIO) -> int:
    """Return the exit code of a job, however it ends."""
    try:
        code = job()
        if code == INTERRUPTED:  # typer turns Ctrl-C into this and says nothing
            return report_error(KeyboardInterrupt())
        return code if isinstance(code, int) else 0
    except EdgeError as error:
        return report_error(error)
    except (KeyboardInterrupt, typer.Abort):
        return report_error(KeyboardInterrupt())
    except Exception as error:
        # What the system refuses is worded there, with the options that choose another place.
        known = None if isinstance(error, OSError) else expected(error)
        return report_error(known) if known else report_unexpected(error, log)


def _leave_as_interrupted(interrupted: threading.Event) -> None:
    """End with 130 after Ctrl-C, when threads have ended and everybody else has cleaned up.

    Where Ctrl-C hits Python code that a C extension runs (TensorFlow's do), CPython remembers an
    unhandled KeyboardInterrupt and ends the process by SIGINT instead of the code that
    ``sys.exit`` was given, once in some twenty times.
    """
    if interrupted.is_set():
        with suppress(OSError):  # a pipe whose reader has gone
            sys.stdout.flush()
        sys.stderr.flush()
        os._exit(INTERRUPTED)
