"""A group of commands of which one needs no name: ``edge benchmark MODEL`` runs ``benchmark``."""

from difflib import get_close_matches
from pathlib import Path
from typing import Any, Final

from edge.cli.help import Group

DEFAULT: Final = "run"


class DefaultGroup(Group):
    """Passes what is no command's name on to the command ``run``."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Put the default command in front of arguments that start with no command."""
        if not args or args[0] not in self.commands:
            self._check_typing_error(ctx, args[:1])
            args = [DEFAULT, *args]
        return super().parse_args(ctx, args)

    def _check_typing_error(self, ctx: Any, first: list[str]) -> None:
        """Refuse a word that is nearly a command and leads to no file."""
        names = [name for name in self.commands if name != DEFAULT]
        for word in first:
            near = get_close_matches(word, names, 1)
            if near and not Path(word).exists():
                ctx.fail(f"No such command or file {word!r}. Did you mean {near[0]!r}?")

    def resolve_command(self, ctx: Any, args: list[str]) -> tuple[Any, Any, list[str]]:
        """The command; its usage does not show a name that nobody types."""
        name, command, rest = super().resolve_command(ctx, args)
        return ("" if name == DEFAULT else name), command, rest
