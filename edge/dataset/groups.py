"""Groups of pictures that belong together, such as a series of a camera, and their division.

Pictures of one group are not independent: whoever learns one of them knows the others. So a group
lies in one split as a whole, and the score is of groups that nobody has learnt. The words are those
of scikit-learn's ``GroupShuffleSplit`` and ``StratifiedGroupKFold``.
"""

import hashlib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path, PurePosixPath
from typing import Final

from edge.dataset.tables import check_cells, file_name, name_below, read_table
from edge.errors import DataError, UsageError
from edge.runtime.intervals import CONFIDENCE, normal_quantile, wilson
from edge.wording import counted, joined, listed

FILE: Final = "file"
GROUP: Final = "group"
_MOST_BYTES: Final = 256 << 20  # a million long paths
_FORM: Final = (
    "It is a CSV file whose first line names the columns file and group; a file is a path below "
    "the folder of photos, such as cat/001.jpg."
)
_NAMED: Final = 5  # classes that a sentence names before it only counts

Unit = tuple[str, ...]
"""The sha256 of pictures that go to one split together, sorted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupsFile:
    """What a file says of groups.

    Attributes:
        path: The file.
        content: Its bytes.
        groups: The name of the group by the path of a picture below the folder of photos.
        repeated: The lines that say again what another one had said.
    """

    path: Path
    content: bytes
    groups: Mapping[str, str]
    repeated: int


def read_groups(path: Path) -> GroupsFile:
    """Read a file of groups.

    Raises:
        UsageError: The file cannot be read, lacks a column, or a line of it is wrong: other cells
            than the first line, no path below the folder, no group, or another group for a picture
            that it has named.
    """
    table = read_table(path, "the file of groups", max_bytes=_MOST_BYTES, hint=_FORM)
    (_, header), *lines = table.rows
    for column in (FILE, GROUP):
        if header.count(column) != 1:
            found = "has two columns" if column in header else "has no column"
            raise UsageError(
                f"{path} {found} {column!r}: its first line is {listed(header)!r}", hint=_FORM
            )
    at, of = header.index(FILE), header.index(GROUP)
    stated: dict[str, tuple[str, int]] = {}
    repeated = 0
    for number, row in lines:
        where = f"line {number} of {path}"
        check_cells(row, header, where)
        name, group = file_name(row[at]), row[of]
        _check_line(row[at], group, where)
        known, line = stated.setdefault(name, (group, number))
        if known != group:
            raise UsageError(
                f"{where} puts {name} into the group {group!r}, line {line} into {known!r}",
                hint="A picture is in one group: join the two groups, or mend one of the lines.",
            )
        repeated += line != number
    groups = {name: group for name, (group, _) in stated.items()}
    return GroupsFile(path=path, content=table.content, groups=groups, repeated=repeated)


def _check_line(cell: str, group: str, where: str) -> None:
    path = PurePosixPath(file_name(cell))
    if not cell or path.is_absolute() or ".." in path.parts:
        raise UsageError(f"{where} names {cell!r}, which is no path below the folder", hint=_FORM)
    if not group:
        raise UsageError(
            f"{where} names no group for {cell}",
            hint="Leave the line out: a picture without one is a group of its own.",
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Division:
    """How the groups of a data set were divided, for reports.

    Attributes:
        groups: How many there are; a picture that is in none counts as one.
        pictures: The pictures of all splits.
        scored_groups: The groups of the test split.
        scored_pictures: The pictures of the test split.
        unnamed: The pictures that the file of groups does not name.
        needed: The groups that a class needs to be in every split.
        parted: The classes that have too few: their pictures were divided one by one.
    """

    groups: int
    pictures: int
    scored_groups: int
    scored_pictures: int
    unnamed: int
    needed: int
    parted: tuple[str, ...]

    def to_json(self) -> Mapping[str, object]:
        """Return the fields as JSON values."""
        return asdict(self)

    @property
    def words(self) -> str:
        """How the pictures were divided, and what the intervals assume; a clause."""
        part = f"divided by {counted(self.groups, 'group')} of {counted(self.pictures, 'picture')}"
        part += (
            f", but the pictures of {_classes(self.parted)} one by one"
            if self.parted
            else ", so that no group is in two splits"
        )
        if not self.alike:
            return f"{part}."
        return (
            f"{part}. Pictures of one group are alike, and the {self.scored_pictures} scored ones "
            f"are of {counted(self.scored_groups, 'group')}: in the interval of top-1 a group "
            "counts as one observation; those of classes, drop and agreement take pictures for "
            "independent, and are too narrow."
        )

    @property
    def alike(self) -> bool:
        """Whether scored pictures are of one group, so that they are not independent."""
        return self.scored_groups < self.scored_pictures

    def interval(self, share: float) -> tuple[float, float]:
        """Return the ends of the interval of a share of the scored pictures, 95 %, Wilson.

        A group counts as one observation, as on the live page, since its pictures are right or
        wrong together.

        Args:
            share: 0..1.
        """
        found = wilson(share * self.scored_groups, self.scored_groups, normal_quantile(CONFIDENCE))
        return found.low, found.high

    @property
    def warning(self) -> str:
        """What the score does not prove, a sentence; empty where no group is parted."""
        if not self.parted:
            return ""
        its = "its" if len(self.parted) == 1 else "their"
        return (
            f"the score is flattered: {_classes(self.parted)} "
            f"{'has' if its == 'its' else 'have'} too few groups, so that pictures of {its} groups "
            f"were learnt and others of the same groups are scored; at least {self.needed} groups "
            "of each class, taken on different occasions, give an honest one"
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class PictureGroups:
    """Which pictures of a data set belong together.

    Attributes:
        file: What said so.
        of: The number of the group by the sha256 of a picture; a picture that the file does not
            name has a number of its own.
        unnamed: The pictures that the file does not name.
        notes: Sentences on what the file and the folder do not have in common.
        parted: The classes whose groups lie in several splits, because they are too few.
        needed: The groups that a class needs to be in every split.
    """

    file: GroupsFile
    of: Mapping[str, int]
    unnamed: int
    notes: tuple[str, ...]
    parted: tuple[str, ...] = ()
    needed: int = 1

    def division(self, images: Sequence[str], scored: Sequence[str]) -> Division:
        """Return how images were divided, by the sha256 of all of them and of the scored ones."""
        return Division(
            groups=len({self.of[content] for content in images}),
            pictures=len(images),
            scored_groups=len({self.of[content] for content in scored}),
            scored_pictures=len(scored),
            unnamed=self.unnamed,
            needed=self.needed,
            parted=self.parted,
        )


def grouped(
    file: GroupsFile,
    directory: Path,
    files: Iterable[Path],
    images: Sequence[tuple[Path, str]],
    *,
    strict: bool,
) -> PictureGroups:
    """Say which pictures belong together.

    Files with the same bytes are one picture: where they are named in two groups, these are one.

    Args:
        file: What is stated.
        directory: The folder of photos, where the paths of the file begin.
        files: The image files below it.
        images: The path and the sha256 of each that is used.
        strict: Whether to refuse names that match no image file.

    Raises:
        DataError: The file names none of the pictures, or ``strict`` holds.
    """
    found = {name: path for path in files if (name := name_below(path, directory)) in file.groups}
    lost = [name for name in file.groups if name not in found]
    if not found or (strict and lost):
        what = f"none of the {len(images)} pictures" if not found else "files that are not there"
        such = f", such as {lost[0]}" if lost else ""
        raise DataError(
            f"{file.path} names {what} in {directory}: {counted(len(lost), 'name')} "
            f"{_match(len(lost))} no picture{such}",
            hint=_FORM,
        )
    by_path = {path: file.groups[name] for name, path in found.items()}
    unnamed = sum(path not in by_path for path, _ in images)
    of, joined_groups = _numbered(images, by_path)
    notes = []
    if lost:
        notes.append(
            f"{counted(len(lost), 'name')} of {file.path} {_match(len(lost))} no picture in the "
            f"folder, such as {lost[0]}"
        )
    if unnamed:
        notes.append(
            f"{counted(unnamed, 'picture')} that {file.path} does not name "
            f"{'counts as a group of its own' if unnamed == 1 else 'count as a group each'}"
        )
    if file.repeated:
        notes.append(
            f"{counted(file.repeated, 'line')} of {file.path} repeat what another one says"
        )
    if joined_groups:
        notes.append(f"{joined_groups} groups have pictures in common with others, and join them")
    return PictureGroups(file=file, of=of, unnamed=unnamed, notes=tuple(notes))


def _match(count: int) -> str:
    return "matches" if count == 1 else "match"


def _numbered(
    images: Sequence[tuple[Path, str]], by_path: Mapping[Path, str]
) -> tuple[dict[str, int], int]:
    """Return the number of the group of each content, and how many groups joined another one."""
    leads: dict[str, str] = {}  # towards the one that stands for all that belong together

    def lead(node: str) -> str:
        while leads.setdefault(node, node) != node:
            leads[node] = node = leads[leads[node]]
        return node

    names = set()
    for path, content in images:
        own = lead(f"={content}")
        if path in by_path:
            names.add(name := f"+{by_path[path]}")
            leads[lead(name)] = own
    numbers: dict[str, int] = {}
    of = {content: numbers.setdefault(lead(f"={content}"), len(numbers)) for _, content in images}
    return of, len(names) - len({lead(name) for name in names})


def check_own_splits(
    splits: Mapping[str, Iterable[tuple[Path, str]]], groups: PictureGroups
) -> None:
    """Refuse groups that the user's own folders of splits part.

    Args:
        splits: The path and the sha256 of the pictures of each split.
        groups: Which belong together.

    Raises:
        DataError: A group lies in two splits.
    """
    first: dict[int, tuple[str, Path]] = {}
    parted: dict[int, str] = {}
    for split, images in splits.items():
        for path, content in images:
            where, other = first.setdefault(groups.of[content], (split, path))
            if where != split:
                parted.setdefault(groups.of[content], f"{other} in {where} and {path} in {split}")
    if parted:
        verb = "lies" if len(parted) == 1 else "lie"
        raise DataError(
            f"{counted(len(parted), 'group')} of {groups.file.path} {verb} in several splits of "
            f"the folder: {next(iter(parted.values()))}",
            hint="Move the pictures of a group into one split, or make no folders of splits.",
        )


def divide(
    label_of: Mapping[str, int],
    fractions: Mapping[str, float],
    *,
    seed: int,
    group_of: Mapping[str, int] | None = None,
) -> tuple[dict[str, str], frozenset[int]]:
    """Deal pictures to the splits that are to be carved, their groups as a whole.

    A group is ranked by sha256(seed, least file hash in it), a picture without one is a group.
    For each split, groups are taken in that order as long as they fit into its share of every
    class, and then those that bring it nearer to its shares. There is no random generator. A class
    that cannot be in every split so has its pictures dealt one by one.

    Args:
        label_of: The class index of each picture, by its sha256; no class has fewer pictures than
            there are splits.
        fractions: The share of the pictures of a class, 0..1, for each split to carve.
        seed: Any integer.
        group_of: The number of the group of each picture; None for no groups.

    Returns:
        The split of each picture that does not stay in train, and the classes whose groups are
        parted.
    """
    parted: set[int] = set()
    while True:
        units = _units(label_of, group_of, parted)
        side = _dealt(sorted(units, key=lambda unit: rank(seed, unit[0])), label_of, fractions)
        there = {(side.get(content, ""), label) for content, label in label_of.items()}
        lacking = [
            label
            for label in set(label_of.values())
            if any((split, label) not in there for split in ("", *fractions))
        ]
        if not lacking:
            return side, frozenset(parted)
        counts = Counter(label for unit in units for label in {label_of[item] for item in unit})
        fewest = min(counts[label] for label in lacking)
        # The others may find a place once these no longer hold the groups that they share.
        parted.update(label for label in lacking if counts[label] == fewest)


def rank(seed: int, content: str) -> str:
    """Return the sort key of a picture, as good as random: sha256 of seed and content hash."""
    return hashlib.sha256(f"{seed}:{content}".encode()).hexdigest()


def _units(
    label_of: Mapping[str, int], group_of: Mapping[str, int] | None, parted: set[int]
) -> list[Unit]:
    """Return what goes to a split as a whole: groups, and the pictures of parted classes."""
    members: dict[int | str, list[str]] = {}
    for content in sorted(label_of):
        single = group_of is None or label_of[content] in parted
        key = content if single or group_of is None else group_of[content]
        members.setdefault(key, []).append(content)
    return [tuple(contents) for contents in members.values()]


def _dealt(
    ranked: Sequence[Unit], label_of: Mapping[str, int], fractions: Mapping[str, float]
) -> dict[str, str]:
    """Return the split of each picture that is dealt; the others stay in train."""
    totals = Counter(label_of.values())
    sizes = [Counter(label_of[content] for content in unit) for unit in ranked]
    free = Counter(label for size in sizes for label in size)
    left = dict(enumerate(sizes))
    side: dict[str, str] = {}
    for done, (split, fraction) in enumerate(fractions.items()):
        wanted = {label: max(1, round(fraction * count)) for label, count in totals.items()}
        # At least one of each class is left for train and for every split still to come.
        share = _Share(wanted, free, len(fractions) - done, len(label_of))
        for number in share.filled(left):
            side.update(dict.fromkeys(ranked[number], split))
            del left[number]
    return side


class _Share:
    """A split that is filled with units.

    Args:
        wanted: The pictures of each class that it should have.
        free: The units of each class that are in no split; those that are taken are counted off.
        reserve: How many of these have to stay of each class.
        most: The pictures of all units.
    """

    def __init__(
        self, wanted: Mapping[int, int], free: Counter[int], reserve: int, most: int
    ) -> None:
        self._wanted, self._free, self._reserve = wanted, free, reserve
        self._has: Counter[int] = Counter()
        self._nothing = most + 1  # to lack a class is worse than any wrong number

    def filled(self, units: Mapping[int, Mapping[int, int]]) -> list[int]:
        """Return the numbers of the units that are taken.

        Args:
            units: The pictures of each class in each unit, by its number, in the order of ranks.
        """
        rest, taken = dict(units), []
        for number, size in units.items():
            if self._fits(size) and self._spared(size):
                self._take(size)
                taken.append(number)
                del rest[number]
        while True:
            costs = [
                (self._cost(size), number) for number, size in rest.items() if self._spared(size)
            ]
            cost, best = min(costs, default=(0, 0))
            if cost >= 0:
                return taken
            self._take(rest.pop(best))
            taken.append(best)

    def _fits(self, size: Mapping[int, int]) -> bool:
        return all(self._has[it] + count <= self._wanted[it] for it, count in size.items())

    def _spared(self, size: Mapping[int, int]) -> bool:
        return all(self._free[label] > self._reserve for label in size)

    def _take(self, size: Mapping[int, int]) -> None:
        self._has.update(size)
        self._free.subtract(dict.fromkeys(size, 1))

    def _cost(self, size: Mapping[int, int]) -> int:
        """Return how much farther from what is wanted the split would be; below 0: nearer."""
        return sum(
            self._off(label, self._has[label] + count) - self._off(label, self._has[label])
            for label, count in size.items()
        )

    def _off(self, label: int, count: int) -> int:
        return abs(count - self._wanted[label]) + (0 if count else self._nothing)


def refuse_parted(groups: PictureGroups) -> None:
    """Refuse classes whose groups cannot lie in every split as a whole.

    Raises:
        DataError: There is such a class.
    """
    if groups.parted:
        raise DataError(
            f"{_classes(groups.parted)} cannot be in every split with the groups of "
            f"{groups.file.path} as a whole: a class needs at least {groups.needed} groups, one to "
            "learn from, and one for each split that is held out",
            hint="Add pictures of other groups; or add --divide-groups, which divides the "
            "pictures of such a class one by one, and says that this flatters the score.",
        )


def _classes(names: Sequence[str]) -> str:
    most = [repr(name) for name in names[:_NAMED]]
    rest = [f"{len(names) - _NAMED} more"] if len(names) > _NAMED else []
    return f"{'class' if len(names) == 1 else 'classes'} {joined([*most, *rest])}"
