"""A group of commands of which one needs no name: ``edge benchmark MODEL`` runs ``benchmark``."""

from typing import Any, Final

from typer.core import TyperGroup

DEFAULT: Final = "run"


class DefaultGroup(TyperGroup):
    """Passes what is no command's name on to the command ``run``."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Put the default command in front of arguments that start with no command."""
        if not args or args[0] not in self.commands:
            args = [DEFAULT, *args]
        return super().parse_args(ctx, args)

    def resolve_command(self, ctx: Any, args: list[str]) -> tuple[Any, Any, list[str]]:
        """The command; its usage does not show a name that nobody types."""
        name, command, rest = super().resolve_command(ctx, args)
        return ("" if name == DEFAULT else name), command, rest
