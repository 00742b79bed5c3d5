"""What ``edge tag`` writes and prints."""

from collections import Counter
from dataclasses import asdict, dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from edge.cli.output import print_json, print_table, quoted
from edge.errors import NegativeVerdict
from edge.progress import Progress
from edge.runtime.files import readable
from edge.runtime.streams import say
from edge.tagging.copies import copy_tagged
from edge.tagging.options import SidecarName
from edge.tagging.search import Groups, Hit, find
from edge.tagging.sidecars import write_sidecars
from edge.tagging.tag import TagRun
from edge.tagging.tags import Tagged, write_csv
from edge.wording import counted, percent

MOST_SHOWN = 20  # rows of the table of tags


@dataclass(frozen=True, slots=True)
class Written:
    """What was written.

    Attributes:
        lines: Sentences about it for people.
        problems: The path of each sidecar file that was left as it is, and why.
    """

    lines: tuple[str, ...] = ()
    problems: tuple[tuple[str, str], ...] = ()


def write_outputs(
    directory: Path,
    run: TagRun,
    groups: Groups,
    progress: Progress,
    *,
    csv: Path | None,
    sidecars: tuple[SidecarName, Path | None] | None,
    copies: tuple[Path, bool] | None,
) -> Written:
    """Write the table, the sidecar files and the copies that were asked for.

    Raises:
        DataError: Two pictures would share a sidecar file.
        OutputError: A file cannot be written.
    """
    lines: list[str] = []
    problems: list[tuple[str, str]] = []
    if csv is not None:
        write_csv(csv, run.pictures)
        lines.append(f"{csv}: {counted(len(run.pictures), 'picture')}")
    if sidecars is not None:
        naming, folder = sidecars
        with progress.stage("sidecar files", total=_tagged(run)) as step:
            done = write_sidecars(
                directory, run.pictures, groups, naming=naming, folder=folder, step=step
            )
        problems = [(readable(path), why) for path, why in done.problems.items()]
        lines.append(
            f"{folder or directory}: {counted(done.written, 'sidecar file')} written, "
            f"{done.unchanged} had every tag"
        )
    if copies is not None:
        target, link = copies
        with progress.stage("copies", total=len(run.pictures)) as step:
            new, old = copy_tagged(directory, run.pictures, target, link=link, step=step)
        made = counted(new, "link") if link else counted(new, "copy", "copies")
        lines.append(f"{target}: {made} made, {old} there already")
    return Written(tuple(lines), tuple(problems))


def show(
    directory: Path,
    run: TagRun,
    groups: Groups,
    query: str | None,
    written: Written,
    *,
    json: bool,
    index: Path,
) -> None:
    """Print the answers.

    Raises:
        UsageError: The query has no word to look for.
        NegativeVerdict: No picture answers the query.
    """
    found = None if query is None else find(run.pictures, query, groups)
    if json:
        print_json(_json(directory, run, query, found, written, index))
    elif found is not None:
        for item in found:
            say(f"{readable(directory / item.picture.path)}: {_tags(item.picture)}")
    else:
        _summary(directory, run, written)
    if found is not None and not found:
        raise _nothing(run, groups, str(query))


def _nothing(run: TagRun, groups: Groups, query: str) -> NegativeVerdict:
    """Return the error that no picture answers a query, with words that some pictures answer."""
    counts = Counter(tag.label for picture in run.pictures for tag in picture.tags)
    message = f"none of {counted(len(run.pictures), 'picture')} has a tag like {query!r}"
    if not counts:
        return NegativeVerdict(
            f"{message}: none has any tag",
            hint=f"The threshold is {percent(run.settings.threshold, 0)}; lower --threshold.",
        )
    words = [name for name in groups.names if counts.keys() & groups.labels(name)]
    near = get_close_matches(query.casefold(), [*map(str.casefold, counts), *words], 3)
    meant = f"Did you mean {' or '.join(near)}? " if near else ""
    common = ", ".join(label for label, _ in counts.most_common(5))
    return NegativeVerdict(message, hint=f"{meant}The most frequent tags are: {common}.")


def _summary(directory: Path, run: TagRun, written: Written) -> None:
    counts = Counter(tag.label for picture in run.pictures for tag in picture.tags)
    rows = [(label, str(count)) for label, count in counts.most_common(MOST_SHOWN)]
    by = run.settings.network or run.settings.bundle
    say(
        f"{counted(len(run.pictures), 'picture')} by {by}, {run.fresh} new: "
        f"{_tagged(run)} with a tag of at least {percent(run.settings.threshold, 0)}"
    )
    if rows:
        print_table("Most frequent tags", ("tag", "pictures"), rows)
    if len(counts) > len(rows):
        say(f"and {counted(len(counts) - len(rows), 'more tag')}")
    for line in written.lines:
        say(line)
    word = rows[0][0] if rows else "sea"
    say(f"Next: edge tag {quoted(directory)} --find {quoted(Path(word))}")


def _tags(picture: Tagged) -> str:
    return ", ".join(f"{tag.label} {percent(tag.score)}" for tag in picture.tags)


def _tagged(run: TagRun) -> int:
    return sum(bool(picture.tags) for picture in run.pictures)


def _json(
    directory: Path,
    run: TagRun,
    query: str | None,
    found: list[Hit] | None,
    written: Written,
    index: Path,
) -> dict[str, Any]:
    value: dict[str, Any] = {
        "folder": readable(directory),
        "index": readable(index),
        "settings": asdict(run.settings),
        "new": run.fresh,
        "problems": {
            readable(picture.path): picture.problem for picture in run.pictures if picture.problem
        },
        "written": list(written.lines),
        "sidecar_problems": dict(written.problems),
    }
    if found is None:
        return value | {"pictures": [_picture(item) for item in run.pictures if not item.problem]}
    answers = [
        _picture(item.picture) | {"tag": item.tag.label, "match": item.match.name.lower()}
        for item in found
    ]
    return value | {"query": query, "matches": len(answers), "found": answers}


def _picture(picture: Tagged) -> dict[str, Any]:
    return {"image": readable(picture.path), "tags": [asdict(tag) for tag in picture.tags]}
