"""Commands that had other names in version 0.1: translated, with a notice.

``benchmark --zoo`` and ``deploy --inventory`` are commands of their own today. The words are parsed
with the options that the old command had, so that a value is never taken for an option.
"""

from collections.abc import Mapping
from typing import Any, Final

from edge.errors import UsageError
from edge.runtime.streams import say

ZOO: Final = ("--models", "--budget", "--weights", "--memory-gib")
FLEET: Final = ("--group", "--parallel", "--canary", "--wave", "--max-failures")


def current_spelling(root: Any, context: Any, words: list[str]) -> list[str]:
    """Return the command line as it is spelled today, with a notice if that is another way.

    Args:
        root: The group of all commands.
        context: The context that the words are parsed in.
        words: What follows ``edge``.

    Raises:
        UsageError: An option does not go with the others.
    """
    if words[:1] == ["benchmark"]:
        group = root.commands["benchmark"]
        if words[1:2] and words[1] in group.commands:
            return words
        given = _parsed(group.commands["run"], context, words, flag="--zoo", valued=ZOO)
        return _zoo(root, given) if given.get("--zoo") else _refuse_foreign(words, given, ZOO)
    if words[:1] == ["deploy"]:
        deploy = root.commands["deploy"]
        given = _parsed(deploy, context, words, valued=("--inventory", *FLEET))
        if "--inventory" in given:
            return _fleet(deploy, given)
        return _refuse_foreign(words, given, FLEET)
    return words


def _parsed(
    command: Any, context: Any, words: list[str], *, flag: str = "", valued: tuple[str, ...]
) -> Mapping[str, Any]:
    """Return the raw values of a command by parameter, and of its former options by option."""
    inside = type(context)(
        command, info_name=words[0], parent=context, help_option_names=["-h", "--help"]
    )
    parser = command.make_parser(inside)
    if flag:
        parser.add_option(None, [flag], dest=flag, action="store_const", const=True)
    for option in valued:
        parser.add_option(None, [option], dest=option)
    given, left, _ = parser.parse_args(args=words[1:])
    given["left"] = left or None
    return {name: value for name, value in given.items() if value is not None}


def _refuse_foreign(
    words: list[str], given: Mapping[str, Any], moved: tuple[str, ...]
) -> list[str]:
    """Refuse an option that only the other command has; return the words as they are."""
    foreign = [option for option in moved if option in given]
    if not foreign or given.get("help"):
        return words
    if moved is ZOO:
        raise UsageError(
            f"{foreign[0]} has no effect on the models that are named here",
            hint="Keras Applications are measured by edge zoo measure.",
        )
    raise UsageError(
        f"{foreign[0]} has no effect on one device",
        hint=f"edge fleet deploy BUNDLE INVENTORY {foreign[0]} {given[foreign[0]]}",
    )


def _zoo(root: Any, given: Mapping[str, Any]) -> list[str]:
    """Return the words of ``zoo measure``."""
    _say_moved("edge benchmark --zoo", "edge zoo measure")
    start = ["zoo", "measure"]
    if given.get("help"):
        return [*start, "--help"]
    if "models" in given:
        raise UsageError(
            f"the zoo builds its own models; {given['models'][0]} is not one of them",
            hint="Name networks with --models.",
        )
    options = root.commands["zoo"].commands["measure"].params
    kept = {option for parameter in options for option in parameter.opts}
    for parameter in root.commands["benchmark"].commands["run"].params:
        option = parameter.opts[0]
        if parameter.name in given and option not in kept:
            raise UsageError(
                f"{option} has no effect when the zoo is measured", hint=f"Leave out {option}."
            )
    if "threads" in given:
        from edge.cli.measure.job import counts

        given = {**given, "threads": str(max(counts(given["threads"])))}
    words = _options(root.commands["benchmark"].commands["run"], given)
    return [*start, *words, *(f"{option}={given[option]}" for option in ZOO if option in given)]


def _fleet(deploy: Any, given: Mapping[str, Any]) -> list[str]:
    """Return the words of ``fleet deploy``."""
    _say_moved("edge deploy BUNDLE --inventory FILE", "edge fleet deploy BUNDLE FILE")
    start = ["fleet", "deploy"]
    if given.get("help"):
        return [*start, "--help"]
    if "host" in given or "port" in given or "left" in given:
        raise UsageError("--inventory names the devices and their ports; leave HOST and --port out")
    if "bundle" not in given:
        raise UsageError("no bundle is named", hint="edge fleet deploy BUNDLE INVENTORY")
    if not given["--inventory"]:
        raise UsageError("--inventory is empty", hint="Name the file of the devices.")
    words = _options(deploy, given)
    words += [f"{option}={given[option]}" for option in FLEET if option in given]
    return [*start, *words, "--", given["bundle"], given["--inventory"]]


def _options(command: Any, given: Mapping[str, Any]) -> list[str]:
    """Return the options of a command as words that state them."""
    words = []
    for parameter in command.params:
        if parameter.param_type_name != "option" or parameter.name not in given:
            continue
        value, option = given[parameter.name], parameter.opts[0]
        if value is True:
            words.append(option)
        else:
            values = value if isinstance(value, list) else [value]
            words += [f"{option}={one}" for one in values]
    return words


def _say_moved(old: str, new: str) -> None:
    say(f"note: {old} is now {new}; the old spelling still works", err=True)
