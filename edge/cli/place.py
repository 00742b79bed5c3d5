"""Where a command may write a file: looked at before the work starts."""

from pathlib import Path

from edge.errors import OutputError, UsageError


def check_new_file(path: Path, suffix: str, *, overwrite: bool, option: str = "--output") -> None:
    """Refuse a file that could not be written, or that lies there and may not be replaced.

    Raises:
        UsageError: Another suffix.
        OutputError: It exists, is a folder, or its folder does not exist.
    """
    if path.suffix.lower() != suffix:
        raise UsageError(f"{option} {path} does not end in {suffix}")
    if path.is_dir():
        raise OutputError(f"{option} {path} is a folder", hint="Name a file.")
    if not path.parent.is_dir():
        raise OutputError(
            f"{option} {path}: there is no folder {path.parent}", hint="Make the folder first."
        )
    if path.exists() and not overwrite:
        raise OutputError(
            f"{option} {path} exists", hint="Name another file, or replace it with --overwrite."
        )
