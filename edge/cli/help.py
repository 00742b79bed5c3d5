"""What ``--help``, ``-h`` and ``edge help`` show: whole names and whole words at any width."""

import functools
import inspect
import shutil
import textwrap
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import fields, is_dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any, Final, TypeVar, get_args, get_origin

import typer
from typer.core import TyperCommand, TyperGroup

from edge.errors import UsageError
from edge.runtime.numbers import WHOLE, finite_number, whole_number

WIDEST: Final = 100  # columns: longer lines are hard to read
STACKED: Final = 64  # columns: below, an explanation stands under its name, not beside it
# Parameters that are texts since they may name a file or something else.
FILES_AS_TEXT: Final = ("baseline", "candidate", "against", "images")
NAMES: Final = 32  # columns of the names; a longer one has a line of its own

Function = TypeVar("Function", bound=Callable[..., Any])


class Command(TyperCommand):
    """A command whose help is folded by words, and whose values are checked as they are typed."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Refuse a value that is empty, or that is no number where one is expected."""
        if not ctx.resilient_parsing:
            given, _, _ = self.make_parser(ctx).parse_args(args=list(args))
            if not given.get("help"):
                check_values(self, given)
        return super().parse_args(ctx, args)

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """Write the usage, what the command does, and its parameters by panel."""
        _write_help(self, ctx, formatter)


class Group(TyperGroup):
    """A command with commands of its own."""

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """Write what a command's help has, and the commands of the group by panel."""
        _write_help(self, ctx, formatter)

    def summaries(self, ctx: Any) -> dict[str, list[tuple[str, str]]]:
        """Return what each command of the group does in a sentence, by panel."""
        found = ((name, self.get_command(ctx, name)) for name in self.list_commands(ctx))
        shown = [(name, summary(one)) for name, one in found if one is not None and not one.hidden]
        return {"Commands": shown}


def summary(command: Any) -> str:
    """Return what a command does in a sentence."""
    return " ".join((command.help or "").split("\n\n")[0].split())


def check_values(command: Any, given: Mapping[str, Any]) -> None:
    """Refuse empty values and numbers that are not finite or not in digits; remember the files.

    An empty path would be the current folder, and Python takes ``inf`` and ``1_0`` for numbers.

    Args:
        command: The command.
        given: What the parser read: texts, lists of texts and flags by parameter.

    Raises:
        UsageError: A value cannot be meant.
    """
    from edge.runtime.place import state_named

    signature = inspect.signature(command.callback).parameters
    files: dict[str, list[Path]] = {}
    for parameter in command.params:
        value = given.get(parameter.name)
        texts = [value] if isinstance(value, str) else value
        if not isinstance(texts, list | tuple):
            continue  # a flag, or nothing
        kinds = set(_kinds(signature[parameter.name].annotation))
        argument = parameter.param_type_name == "argument"
        name = (parameter.metavar or parameter.name.upper()) if argument else parameter.opts[0]
        for text in texts:
            _check(name, text, kinds)
        if Path in kinds or parameter.name in FILES_AS_TEXT:
            files[name] = [Path(text) for text in texts]
    state_named(files)


def _check(name: str, text: str, kinds: set[Any]) -> None:
    if not text:
        raise UsageError(f"{name} is empty", hint="Name something, or leave it out.")
    if float in kinds and finite_number(text) is None:
        raise UsageError(
            f"{name} {text!r} is no finite number", hint="Write digits, such as 2 or 0.5."
        )
    if int in kinds and float not in kinds and whole_number(text) is None:
        what = "too large" if WHOLE.fullmatch(text) else "no whole number"
        raise UsageError(f"{name} {text!r} is {what}", hint="Write digits, such as 2.")


def _kinds(annotation: Any) -> Iterator[Any]:
    """Return the types that an annotation is made of, such as Path and None."""
    inside = get_args(annotation)
    if get_origin(annotation) is Annotated:
        inside = inside[:1]
    if not inside:
        yield annotation
    for one in inside:
        yield from _kinds(one)


def refuse_unused(context: typer.Context, because: str, *names: str) -> None:
    """Refuse options that were given and would change nothing.

    Args:
        context: The context of the command that runs.
        because: Why they have no effect, such as ``with --against``.
        names: The command's parameters, as its function names them.

    Raises:
        UsageError: One of them was given.
    """
    for parameter in context.command.params:
        source = context.get_parameter_source(str(parameter.name))
        if parameter.name in names and source is not None and source.name == "COMMANDLINE":
            option = parameter.opts[0]
            raise UsageError(f"{option} has no effect {because}", hint=f"Leave out {option}.")


class Application(typer.Typer):
    """Commands that have this help; ``-h`` is ``--help``."""

    def __init__(self, **settings: Any) -> None:
        usual = {
            "cls": Group,
            "rich_markup_mode": None,
            "add_completion": False,
            "pretty_exceptions_enable": False,
            "context_settings": {"help_option_names": ["-h", "--help"]},
        }
        super().__init__(**(usual | settings))

    def command(self, name: str | None = None, **settings: Any) -> Callable[[Function], Function]:
        """Add a command; its help ends with what ``example`` gave it."""

        def add(function: Function) -> Function:
            usual: dict[str, Any] = {"cls": Command, "epilog": getattr(function, "epilog", None)}
            return super(Application, self).command(name, **(usual | settings))(function)

        return add


def example(line: str) -> Callable[[Function], Function]:
    """Give a command the example that its help ends with.

    Args:
        line: The command line as a user types it.
    """

    def mark(function: Function) -> Function:
        function.epilog = f"Example: {line}"  # type: ignore[attr-defined]
        return function

    return mark


def spread(function: Callable[..., None]) -> Callable[..., None]:
    """Give a command an option for each field of the dataclasses that it takes.

    Several commands share options so, and what is made of them::

        @spread
        def deploy(bundle: Bundle, *, port: Port = None, flags: DeployFlags) -> None:
    """
    shared: dict[str, type[Any]] = {
        name: parameter.annotation
        for name, parameter in inspect.signature(function).parameters.items()
        if isinstance(parameter.annotation, type) and is_dataclass(parameter.annotation)
    }
    options: list[inspect.Parameter] = []
    kind = inspect.Parameter.KEYWORD_ONLY
    for name, parameter in inspect.signature(function).parameters.items():
        if name in shared:
            options += [
                inspect.Parameter(field.name, kind, default=field.default, annotation=field.type)
                for field in fields(shared[name])
            ]
        else:
            options.append(parameter.replace(kind=kind))

    @functools.wraps(function)
    def command(**given: Any) -> None:
        for name, flags in shared.items():
            given[name] = flags(**{field.name: given.pop(field.name) for field in fields(flags)})
        function(**given)

    command.__signature__ = inspect.Signature(options)  # type: ignore[attr-defined]
    return command


@example("edge help benchmark diff")
def help(
    command: Annotated[
        list[str] | None,
        typer.Argument(help="A command, such as build or keys new.", show_default=False),
    ] = None,
) -> None:
    """Say what edge or one of its commands does; the same as COMMAND --help."""
    from edge.cli.app import app

    app([*(command or ()), "--help"], prog_name="edge", standalone_mode=False)


def _write_help(command: Any, ctx: Any, formatter: Any) -> None:
    formatter.width = min(shutil.get_terminal_size().columns, WIDEST) - 2
    command.format_usage(ctx, formatter)
    command.format_help_text(ctx, formatter)
    panels: dict[str, list[tuple[str, str]]] = {"Arguments": [], "Options": []}
    for parameter in command.get_params(ctx):
        record = parameter.get_help_record(ctx)
        if record is None:
            continue
        name, text = record
        argument = parameter.param_type_name == "argument"
        # The type of an argument is told by its text, a range by the text of any parameter.
        name = name.split(" <")[0] if argument else name.replace(" range>", ">")
        panel = getattr(parameter, "rich_help_panel", None)
        panels.setdefault(panel or ("Arguments" if argument else "Options"), []).append(
            (name, text)
        )
    _write_panels(panels, formatter)
    if isinstance(command, Group):
        _write_panels(command.summaries(ctx), formatter)
    if command.hidden and ctx.parent is not None:  # what a group does where no command is named
        _write_panels(ctx.parent.command.summaries(ctx.parent), formatter)
    command.format_epilog(ctx, formatter)


def _write_panels(panels: Mapping[str, Iterable[tuple[str, str]]], formatter: Any) -> None:
    """Write names beside their explanations, or above them; neither is cut inside a word.

    The formatter's own list of definitions breaks names of options at their hyphens.
    """
    for title, rows in panels.items():
        # Help texts escape a bracket for rich, which used to print them.
        shown = [(name, " ".join(text.replace("\\[", "[").split())) for name, text in rows]
        if not shown:
            continue
        longest = max(len(name) for name, _ in shown)
        left = min(longest, NAMES) + 4 if formatter.width >= STACKED else 6
        lines = [f"\n{title}:\n"]
        for name, text in shown:
            wrapped = _folded(text, max(formatter.width - left, 20))
            *above, last = _folded(name, formatter.width - 2)
            beside = len(last) + 4 <= left and not above
            first = wrapped.pop(0) if beside and wrapped else ""
            lines += [f"  {line}\n" for line in above]
            lines.append(f"  {last:<{left - 2}}{first}".rstrip() + "\n")
            lines += [f"{'':<{left}}{line}\n" for line in wrapped]
        formatter.write("".join(lines))


def _folded(text: str, width: int) -> list[str]:
    return textwrap.wrap(text, width, break_long_words=False, break_on_hyphens=False)


DEFAULT: Final = "run"


class DefaultGroup(Group):
    """Runs the command ``run`` with words that begin with no command of the group."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Put the default command before words that begin with no command."""
        if not args or args[0] not in self.commands:
            self._check_typing_error(ctx, args[:1])
            args = [DEFAULT, *args]
        return super().parse_args(ctx, args)

    def _check_typing_error(self, ctx: Any, first: list[str]) -> None:
        """Refuse a word that is nearly a command and is no file."""
        names = [name for name in self.commands if name != DEFAULT]
        for word in first:
            near = get_close_matches(word, names, 1)
            if near and not Path(word).exists():
                ctx.fail(f"No such command or file {word!r}. Did you mean {near[0]!r}?")

    def resolve_command(self, ctx: Any, args: list[str]) -> tuple[Any, Any, list[str]]:
        """Return the command; its usage does not show a name that nobody types."""
        name, command, rest = super().resolve_command(ctx, args)
        return ("" if name == DEFAULT else name), command, rest
