"""Sidecar files: a picture's tags in an XMP file beside it, which photo programs read."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from edge.errors import DataError, OutputError
from edge.progress import Step
from edge.runtime import checked
from edge.runtime.files import expected, readable, write_bytes
from edge.tagging.groups import Groups
from edge.tagging.options import SidecarName
from edge.tagging.tags import Tagged
from edge.tagging.xmp import EMPTY, tag_values, with_tags

MAX_SIDECAR: Final = 16 << 20  # bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Sidecars:
    """What became of the sidecars.

    Attributes:
        written: New ones, and those that got more tags.
        unchanged: That had every tag.
        problems: Why each of the others was left as it is, by its path.
    """

    written: int
    unchanged: int
    problems: Mapping[Path, str]


def write_sidecars(
    directory: Path,
    pictures: Sequence[Tagged],
    groups: Groups,
    *,
    naming: SidecarName,
    place: Path | None,
    step: Step,
) -> Sidecars:
    """Add the tags of each picture to its sidecar; whatever else is in it stays.

    Args:
        directory: That was tagged.
        pictures: With their tags; those without one get no sidecar.
        groups: Parents of the labels.
        naming: Of the sidecars.
        place: Folder for them, with the same sub-folders; None: beside the pictures.
        step: Told of each picture.

    Raises:
        DataError: Two pictures would share a sidecar.
        OutputError: A sidecar cannot be written.
    """
    targets = _targets(place or directory, pictures, naming)
    written = 0
    problems: dict[Path, str] = {}
    for target, picture in targets.items():
        try:
            written += _add(target, [tag.label for tag in picture.tags], groups)
        except DataError as error:
            problems[target] = error.message
        step(1)
    unchanged = len(targets) - written - len(problems)
    return Sidecars(written=written, unchanged=unchanged, problems=problems)


def _targets(root: Path, pictures: Sequence[Tagged], naming: SidecarName) -> dict[Path, Tagged]:
    targets: dict[Path, Tagged] = {}
    for picture in pictures:
        if not picture.tags:
            continue
        path = root / picture.path
        if naming is SidecarName.APPENDED:
            target = path.with_name(path.name + ".xmp")
        else:
            target = path.with_suffix(".xmp")
        if target in targets:
            raise DataError(
                f"{readable(targets[target].path)} and {readable(picture.path)} would share the "
                f"sidecar {readable(Path(target.name))}",
                hint="Use --xmp-name appended, or rename one of the pictures.",
            )
        targets[target] = picture
    return targets


def _add(target: Path, labels: Sequence[str], groups: Groups) -> bool:
    """Whether the sidecar had to be written."""
    try:
        place = target.resolve()  # a link stays one
        with expected(place):  # a photo program may write it at the same time
            before = None
            if place.exists():
                before = checked.read_bytes(place, "the sidecar", max_bytes=MAX_SIDECAR)
            content = with_tags(EMPTY if before is None else before, tag_values(labels, groups))
            if content == before:
                return False
            place.parent.mkdir(parents=True, exist_ok=True)
            write_bytes(place, content)
    except checked.Malformed as error:
        raise DataError(str(error)) from error
    except OSError as error:
        raise OutputError(
            f"the sidecar {readable(target)} cannot be written: {error.strerror or error}",
            hint="Check the permissions, or write elsewhere with --xmp-dir.",
        ) from error
    return True
