"""Where a command may write: checked before the work starts, and one wording where it fails."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from edge.errors import OutputError, UsageError
from edge.runtime.files import beside, expect, expect_inside, readable, write_bytes
from edge.runtime.printable import shell_word

# The files that the command that runs was told to read or write, by what names them.
_named: dict[str, list[Path]] = {}


def state_named(files: Mapping[str, Iterable[Path]]) -> None:
    """Remember the files of a command line, so that none that is read is an output as well."""
    _named.clear()
    _named.update({name: [path.resolve() for path in paths] for name, paths in files.items()})


def _refuse_named(path: Path, option: str) -> None:
    """Refuse an output that something else on the command line names too.

    Raises:
        UsageError: It does.
    """
    place = path.resolve()
    for name, paths in _named.items():
        if name != option and place in paths:
            raise UsageError(
                f"{option} and {name} both name {readable(path)}", hint="Name another file."
            )


def check_new_file(
    path: Path, suffixes: str | Sequence[str] = (), *, overwrite: bool, option: str = "--output"
) -> None:
    """Refuse a file that could not be written, or that lies there and may not be replaced.

    What lies there now is remembered: writing the file later replaces that alone.

    Args:
        path: The file.
        suffixes: The suffixes that its name may end in; empty for anything.
        overwrite: Whether the user allows an existing file to be replaced.
        option: The option that names the file, for the message.

    Raises:
        UsageError: The file's name has another suffix, or the command reads this file.
        OutputError: It exists, is no regular file, or cannot be written there.
    """
    shown = f"{option} {readable(path)}"
    _refuse_named(path, option)
    expect(path)  # before it is looked at: what comes in between is not taken for what was seen
    check_file(path, suffixes, option=option)
    if path.exists() and not overwrite:
        raise OutputError(
            f"{shown} exists", hint="Name another file, or replace it with --overwrite."
        )
    _try_to_write(path.absolute(), shown)


def check_file(path: Path, suffixes: str | Sequence[str] = (), *, option: str = "") -> None:
    """Refuse a path that cannot be that of a file, whoever may write there.

    Args:
        path: The file.
        suffixes: The suffixes that its name may end in; empty for anything.
        option: The option that names the file, for the message.

    Raises:
        UsageError: The file's name has another suffix.
        OutputError: Something else than a regular file lies there, or its folder is missing.
    """
    allowed = (suffixes,) if isinstance(suffixes, str) else tuple(suffixes)
    shown = f"{option} {readable(path)}".strip()
    if allowed and path.suffix.lower() not in allowed:
        if len(allowed) == 1:
            raise UsageError(f"{shown} does not end in {allowed[0]}")
        raise UsageError(
            f"{shown}: expected a name ending in {', '.join(allowed)}",
            hint="The suffix decides the form.",
        )
    if path.is_dir():
        raise OutputError(f"{shown} is a folder", hint="Name a file.")
    if path.exists() and not path.is_file():
        raise OutputError(f"{shown} is no regular file", hint="Name another file.")
    check_parent(path.parent, shown)


def check_folder(
    folder: Path,
    names: Iterable[str] | None = None,
    *,
    overwrite: bool,
    option: str = "--output",
    parents: bool = False,
) -> None:
    """Refuse a folder that could not take files, or that holds what may not be replaced.

    Args:
        folder: May be missing; its parent may not, unless ``parents``.
        names: Files that the command writes there; None where that is not known before, so that
            the folder must be empty.
        overwrite: Whether the user allows files of the same names to be replaced.
        option: What names the folder, for the message.
        parents: Whether the command makes missing parents too.

    Raises:
        UsageError: The command reads one of these files.
        OutputError: It is a file, cannot be made or written, or holds such files.
    """
    shown = readable(folder)
    if folder.exists() and not folder.is_dir():
        raise OutputError(f"{option} {shown} is no folder", hint="Name a folder.")
    place = folder.absolute()
    while parents and not place.parent.exists():
        place = place.parent
    check_parent(place.parent, f"{option} {shown}")
    if names is None:
        expect_inside(folder)
    else:
        names = tuple(names)
        for name in names:
            _refuse_named(folder / name, option)
            expect(folder / name)
    inside = [item.name for item in folder.iterdir()] if folder.is_dir() else []
    taken = sorted(inside if names is None else set(inside).intersection(names))
    if taken and not overwrite:
        what = "is not empty" if names is None else f"holds {taken[0]} already"
        raise OutputError(
            f"{option} {shown} {what}",
            hint="Add --overwrite to replace files of the same names, or choose another folder.",
        )
    _try_to_write(place / "file" if folder.is_dir() else place, f"{option} {shown}")


def check_parent(parent: Path, shown: str) -> None:
    """Refuse a place in a folder that is not there, or in a file.

    Raises:
        OutputError: It is.
    """
    if parent.is_dir():
        return
    there = next(path for path in (parent, *parent.absolute().parents) if path.exists())
    if not there.is_dir():
        raise OutputError(f"{shown}: {readable(there)} is no folder", hint="Choose another place.")
    raise OutputError(
        f"{shown}: the folder {readable(parent)} does not exist",
        hint=f"mkdir -p {shell_word(str(parent))}",
    )


def check_missing(folder: Path) -> None:
    """Refuse a folder that holds anything, or a file in its place.

    Raises:
        OutputError: The path is taken.
    """
    if not folder.exists():
        return
    if not folder.is_dir():
        raise OutputError(f"{readable(folder)} is a file", hint="Name a new folder.")
    if any(folder.iterdir()):
        raise OutputError(
            f"{readable(folder)} exists and is not empty",
            hint="Name a new folder, or empty this one.",
        )


@contextmanager
def writing(path: Path, hint: str = "Choose another place.") -> Iterator[None]:
    """Say which file or folder cannot be written, where the operating system refuses.

    Args:
        path: The file or folder that the block writes.
        hint: What the user can do about it.

    Raises:
        OutputError: The block raised an ``OSError``.
    """
    try:
        yield
    except OSError as error:
        raise OutputError(
            f"{readable(path)} cannot be written: {error.strerror or error}", hint=hint
        ) from error


def write_output(path: Path, content: str | bytes) -> None:
    """Write a file that the user named, as a whole or not at all.

    Args:
        path: The file; ``check_new_file`` has accepted it before the work began.
        content: Text is written as UTF-8; what UTF-8 cannot express becomes a question mark.

    Raises:
        OutputError: The file cannot be written.
    """
    with writing(path):
        write_bytes(path, content.encode(errors="replace") if isinstance(content, str) else content)


def _try_to_write(path: Path, shown: str) -> None:
    """Make and remove an empty file beside ``path``, as writing it later will.

    Asking for permissions is not enough: root has them all, and file systems refuse for other
    reasons, such as the length of a name.
    """
    trial = beside(path)
    try:
        trial.touch(exist_ok=False)
        trial.unlink()
    except OSError as error:
        raise OutputError(
            f"{shown} cannot be written: {error.strerror or error}", hint="Choose another place."
        ) from error
