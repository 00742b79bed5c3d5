"""The root command, and the one place where errors become messages and exit codes."""

import atexit
import os
import sys
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from importlib import import_module
from typing import Annotated, Any, BinaryIO, Final

import typer

import edge
from edge.cli.help import Application, Group
from edge.cli.old_spellings import current_spelling
from edge.cli.terminal import (
    INTERRUPTED,
    captured_native_output,
    report_error,
    report_interrupt,
    report_unexpected,
)
from edge.errors import EdgeError, expected
from edge.runtime.streams import finish_answers, say
from edge.runtime.supervisor import supervise

# Commands, and groups of commands, by panel of --help: where each is defined below edge.cli, and
# what it does. Its module is imported when it is called: all of them would take twice as long as
# the rest of a start.
COMMANDS: Final[dict[str, dict[str, tuple[str, str]]]] = {
    "Make": {
        "build": (
            "make.build:build",
            "Train a classifier on a folder of photos and write a verified bundle.",
        ),
        "export": (
            "make.export:export",
            "Write a trained network, or a model file of others, as a verified bundle.",
        ),
        "reproduce": (
            "make.reproduce:reproduce",
            "Make a bundle again, from the beginning, and compare it with the first file by file.",
        ),
        "dataset": ("small:dataset", "Make image folders that need no download."),
    },
    "Check": {
        "evaluate": (
            "check.evaluate:evaluate",
            "Score the written files of a bundle on labelled images; TensorFlow is not needed.",
        ),
        "compare": (
            "check.compare:compare",
            "Judge a candidate against a baseline on the same images; exit code 1 if it is worse.",
        ),
        "diagnose": (
            "check.diagnose:diagnose",
            "Find where a written file goes wrong: converter, quantizer or kernel, and which "
            "layer.",
        ),
        "inspect": (
            "check.inspect:inspect",
            "Show inputs, outputs, quantization, operators, parameters, mult-adds and size.",
        ),
        "explain": (
            "check.explain:explain",
            "Show what a bundle's files look at in an image: the float file, and the quantized "
            "one too.",
        ),
        "fewshot": (
            "check.fewshot:fewshot",
            "Measure how well classes are told apart after a few pictures, with 95 % intervals.",
        ),
    },
    "Use": {
        "predict": (
            "use.predict:predict",
            "Say what each image shows: classes, objects, masks, points or a vector.",
        ),
        "live": (
            "use.live:live",
            "Show what a camera sees and what the model answers, on a page, and teach it classes "
            "there.",
        ),
        "tag": (
            "use.tag:tag",
            "Tag a collection of pictures with what they show, and find them by a word.",
        ),
        "embed": (
            "use.embed:embed",
            "Turn every picture of a folder into a vector of features and write them to one file.",
        ),
        "similar": (
            "use.similar:similar",
            "List the pictures most like a picture, or the words nearest to a word, by cosine.",
        ),
        "analogy": (
            "use.similar:analogy",
            "Find the word that is to C what B is to A: the nearest to b - a + c by cosine.",
        ),
        "map": (
            "use.map:map",
            "Draw a collection as a map, by PCA and t-SNE, and list its duplicates and outliers.",
        ),
    },
    "Measure": {
        "benchmark": ("measure.benchmark:app", "Time models on this machine."),
        "zoo": ("measure.zoo:zoo", "Show or measure Keras Applications."),
        "accelerators": (
            "measure.accelerators:accelerators",
            "List the processors that edge benchmark can measure here, and how to get what is "
            "missing.",
        ),
    },
    "Deploy": {
        "devices": (
            "deploy.devices:devices",
            "List the boards that edge knows, or show what it knows of one.",
        ),
        "doctor": (
            "deploy.devices:doctor",
            "Say whether bundles can be deployed to a device, and what to do about what is in the "
            "way.",
        ),
        "keys": ("deploy.signing:keys", "Keys that sign bundles."),
        "sign": (
            "deploy.signing:sign",
            "Sign a bundle: devices that know the key take it, and no older bundle after it.",
        ),
        "verify": (
            "deploy.signing:verify",
            "Check the sha256 of all files of a bundle, and its signature if there is a key.",
        ),
        "deploy": (
            "deploy.deploy:deploy",
            "Bring a bundle to a device: it goes live when it has proved itself there, or not at "
            "all.",
        ),
        "fleet": ("deploy.fleet:fleet", "Deploy to many devices."),
        "remote-benchmark": (
            "measure.remote_benchmark:remote_benchmark",
            "Time models on the CPU of a device, as edge benchmark does, over ssh.",
        ),
        "status": (
            "deploy.release:status",
            "Say which release serves on a device, whether it is healthy, and what failed last.",
        ),
        "rollback": (
            "deploy.release:rollback",
            "Go back to the release that was good before, after it has proved itself again.",
        ),
        "logs": (
            "deploy.release:logs",
            "Show what happened to the releases of a device and why, and what its service said.",
        ),
        "undeploy": (
            "deploy.release:undeploy",
            "Take an application off a device: its service, its releases and its wheels.",
        ),
    },
    "More": {
        "cache": (
            "small:cache",
            "Show where finished stages are kept and how large they are; or remove them.",
        ),
        "help": (
            "help:help",
            "Say what edge or one of its commands does; the same as COMMAND --help.",
        ),
    },
}
# What Ctrl-C leaves to go on from, by command. The others keep nothing of what they had begun, or
# say it themselves: edge benchmark knows whether its rows are in a file, and edge live ends so.
STAGES_KEPT: Final = "Run the same command again; finished stages are kept."
COMPUTED_KEPT: Final = "Run the same command again; what was computed is kept."
SENT_KEPT: Final = (
    "Run the same command again; what was sent is kept, and edge status says what serves there."
)
AFTER_INTERRUPT: Final = {
    **dict.fromkeys(("build", "export", "zoo"), STAGES_KEPT),
    **dict.fromkeys(("evaluate", "compare", "fewshot", "tag", "embed", "map"), COMPUTED_KEPT),
    **dict.fromkeys(("deploy", "fleet"), SENT_KEPT),
}
COMMAND_FIRST: Final = "edge.command_first"  # of a context: whether its words begin with a command
# The panels whose commands open models that others wrote: a child of the process does the work.
SUPERVISED: Final = ("Make", "Check", "Use", "Measure")


class LazyCommands(dict[str, object]):
    """The commands by name; one that is asked for is imported then."""

    def __init__(self) -> None:
        places = {name: place for row in COMMANDS.values() for name, (place, _) in row.items()}
        super().__init__(places)

    def __getitem__(self, name: str) -> Any:
        """Return the command."""
        found = super().__getitem__(name)
        if isinstance(found, str):
            found = self[name] = _command(name, found)
        return found

    def get(self, name: str, default: Any = None) -> Any:
        """Return the command, or the default where there is none of that name."""
        return self[name] if name in self else default  # noqa: SIM401 - that would be this again

    def items(self) -> Any:
        """Return names and commands; all are imported."""
        return {name: self[name] for name in self}.items()

    def values(self) -> Any:
        """Return the commands; all are imported."""
        return dict(self.items()).values()


def _command(name: str, place: str) -> Any:
    module, _, attribute = place.partition(":")
    found = getattr(import_module(f"edge.cli.{module}"), attribute)
    if not isinstance(found, Application):
        alone = Application()
        alone.command(name)(found)
        return typer.main.get_command(alone)
    group = typer.main.get_group(found)
    group.name = name
    return group


class RootGroup(Group):
    """The commands of ``edge``, some of which had other names before."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self.commands = LazyCommands()  # type: ignore[assignment]  # imported when asked for

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Take an old spelling for what it is called today."""
        if not ctx.resilient_parsing:
            args = current_spelling(self, ctx, args)
            ctx.meta[COMMAND_FIRST] = bool(args) and not args[0].startswith("-")
        return super().parse_args(ctx, args)

    def get_params(self, ctx: Any) -> list[Any]:
        """Return the options, which stand before the name of a command or not at all.

        Typer loads pydantic to read an option that nobody gave: half of the start of a --help.
        """
        return [] if ctx.meta.get(COMMAND_FIRST) else super().get_params(ctx)

    def summaries(self, ctx: Any) -> dict[str, list[tuple[str, str]]]:  # noqa: ARG002
        """Return what each command does in a sentence, by panel."""
        return {
            panel: [(name, summary) for name, (_, summary) in row.items()]
            for panel, row in COMMANDS.items()
        }


app = Application(
    cls=RootGroup,
    name="edge",
    help="From a folder of photos to a verified model on an embedded device.",
    no_args_is_help=True,
    add_completion=True,
)


class Start:
    """How the command line was started, and what it turned out to ask for.

    Attributes:
        log: Where native code writes its last words; None where the process is not split in two.
        command: The command; empty as long as that is not known.
    """

    __slots__ = ("command", "log")  # no dataclass, which would cost a part of every start

    def __init__(self, log: BinaryIO | None) -> None:
        self.log = log
        self.command = ""


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
    start = context.find_object(Start)
    if start is None:
        return
    start.command = context.invoked_subcommand or ""
    if start.log is not None and any(start.command in COMMANDS[panel] for panel in SUPERVISED):
        supervise(start.log)


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
        start = Start(log if arguments is None else None)
        code = _ended(
            lambda: app(arguments, prog_name="edge", standalone_mode=False, obj=start), log, start
        )
        code = _ended(finish_answers, log) or code
    if code == INTERRUPTED:
        interrupted.set()
    sys.exit(code)


def _ended(job: Callable[[], Any], log: BinaryIO, start: Start | None = None) -> int:
    """Return the exit code of a job, however it ends.

    Args:
        job: What to do.
        log: What native code wrote meanwhile.
        start: Says which command it was, as soon as that is known.
    """

    def interrupted() -> int:
        hint = AFTER_INTERRUPT.get(start.command, "") if start is not None else ""
        return report_interrupt(hint)

    try:
        code = job()
        if code == INTERRUPTED:  # typer turns Ctrl-C into this and says nothing
            return interrupted()
        return code if isinstance(code, int) else 0
    except EdgeError as error:
        return report_error(error)
    except (KeyboardInterrupt, typer.Abort):
        return interrupted()
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
