"""A folder of photos -> its splits and classes, by the names of its folders and what they hold."""

import re
import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from edge.dataset.folder import (
    PICTURE_SUFFIXES,
    Files,
    checked,
    entries,
    instead,
    suffix_hint,
    walk,
)
from edge.errors import DataError
from edge.runtime.files import readable
from edge.runtime.pictures import Entries
from edge.runtime.printable import one_line
from edge.wording import counted, listed

SPLITS: Final[tuple[str, ...]] = ("train", "val", "test")
_DEEPEST: Final = 8  # nested folders that each hold nothing but one folder
_FILLER: Final = r"(?:data|sets?|datasets?|images?|imgs?|photos?|pictures?|pics?|split|\d+)"
_SPLIT: Final = re.compile(
    rf"{_FILLER}*(?:(?P<train>train(?:ing|val)?)|(?P<val>val(?:id(?:ation)?)?|dev(?:elopment)?)"
    rf"|(?P<test>test(?:ing)?|eval(?:uation)?)){_FILLER}*"
)
_WORD: Final = re.compile(r"[A-Z]*[a-z]+|[A-Z]+|\d+|[^\W\d_a-zA-Z]+")

Classes = dict[str, tuple[Path, ...]]
"""Class name -> its image files, both in sorted order."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ClassFolders:
    """Where the folders of classes lie.

    Attributes:
        base: The folder whose sub-folders are classes or splits.
        splits: The folder of classes of each of ``train``, ``val`` and ``test`` that there is;
            empty if ``base`` holds the classes itself.
        notes: Sentences on which folder was taken as what.
    """

    base: Path
    splits: dict[str, Path]
    notes: tuple[str, ...] = ()

    @property
    def scored(self) -> Path:
        """The folder of classes to score on: that of test, or else that of val, or of train."""
        present = [self.splits[split] for split in reversed(SPLITS) if split in self.splits]
        return present[0] if present else self.base

    def class_of(self, path: Path) -> str:
        """Return the name of the class folder that an image lies in; "" if it lies in none."""
        for folder in (*self.splits.values(), self.base):
            if path.is_relative_to(folder):
                parts = path.relative_to(folder).parts
                return normal(parts[0]) if len(parts) > 1 else ""
        return ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """How a folder is organised.

    Attributes:
        splits: The classes of ``train``, and of ``val`` and ``test`` if the user has made them.
        notes: Sentences on what the folder holds, and on what is not used.
        files: Everything that lies below the folder.
    """

    splits: dict[str, Classes]
    notes: tuple[str, ...]
    files: Files


def normal(name: str) -> str:
    """Return a name in NFC, in which names are compared: a Mac writes them decomposed."""
    return unicodedata.normalize("NFC", name)


def split_named(name: str) -> tuple[str, str] | None:
    """Return the split that the name of a folder says, and what else it says; None if it has none.

    ``Training``, ``val2017``, ``test_images`` say nothing else; ``seg_train`` says ``seg`` too.
    """
    words = [word.casefold() for word in _WORD.findall(unicodedata.normalize("NFKC", name))]
    whole = _SPLIT.fullmatch("".join(words))
    if whole is not None:
        return str(whole.lastgroup), ""
    matches = [(word, _SPLIT.fullmatch(word)) for word in words]
    splits = [match.lastgroup for _, match in matches if match is not None]
    if len(splits) != 1:
        return None
    rest = [word for word, match in matches if match is None and not re.fullmatch(_FILLER, word)]
    return str(splits[0]), " ".join(rest)


def find_class_folders(directory: Path, *, needs_train: bool = True) -> ClassFolders:
    """Recognise folders of classes, and folders of splits with classes in them.

    The names of splits are those that people use (``train``, ``Training``, ``test_set``,
    ``val2017``, ``seg_test`` beside ``seg_train`` ...), in any case of letters. A folder that
    holds nothing but one folder is looked into.

    Args:
        directory: The folder.
        needs_train: Whether to refuse other splits without one to train on.

    Raises:
        DataError: The folder is missing, a file or unreadable, or can be meant in several ways.
    """
    tree = _Tree()
    base = tree.unwrapped(checked(directory))
    by_split, notes = _splits(tree, base, needs_train=needs_train)
    splits: dict[str, Path] = {}
    for split in SPLITS:
        if split in by_split:
            classes = tree.names(splits["train"]) if "train" in splits else ()
            splits[split] = tree.unwrapped(by_split[split], keep=classes)
    if base != directory:
        notes = [f"the images are taken from {readable(base.relative_to(directory))}/", *notes]
    taken = {split: readable(folder.relative_to(base)) for split, folder in splits.items()}
    if any(split != name for split, name in taken.items()):
        named = ", ".join(f"{name}/ as {split}" for split, name in taken.items())
        notes.append(f"folders taken as splits: {named}")
    return ClassFolders(base=base, splits=splits, notes=tuple(notes))


def find_any_class_folders(directory: Path) -> ClassFolders:
    """Do as ``find_class_folders``, but take a folder that can be meant in several ways as it is.

    This is for jobs that need no classes, or know them already. The doubt stands in the notes.

    Raises:
        DataError: The folder is missing, a file or unreadable.
    """
    base = checked(directory)
    try:
        return find_class_folders(directory, needs_train=False)
    except DataError as error:
        note = f"{error.message}; no folder is taken as a split"
        return ClassFolders(base=base, splits={}, notes=(note,))


def find_layout(directory: Path) -> Layout:
    """Recognise ``CLASS/...`` or ``train/CLASS/...`` with optional ``val/`` and ``test/``.

    Raises:
        DataError: See ``find_class_folders``; a class is empty, or unknown in the training split;
            or there are fewer than two classes.
    """
    folders = find_class_folders(directory)
    files = walk(directory)
    notes = [*folders.notes, *files.notes()]
    splits: dict[str, Classes] = {}
    for split, folder in (folders.splits or {"train": folders.base}).items():
        splits[split] = _classes(folder, split)
    for folder in dict.fromkeys((directory, folders.base, *folders.splits.values())):
        loose = entries(folder).images
        if loose:
            notes.append(
                f"{counted(len(loose), 'image')} directly in {readable(folder)}, without a class: "
                "not used"
            )
    if folders.splits:
        notes += _beside(folders)
    for split in folders.splits.keys() - {"train"}:
        _check_known(folders.splits[split].name, splits[split], splits["train"])
    for split in ("val", "test"):
        for label in sorted(splits["train"].keys() - splits.get(split, splits["train"]).keys()):
            name = readable(folders.splits[split].relative_to(folders.base))
            notes.append(f"class {label!r} has no images in {name}/")
    return Layout(splits=splits, notes=tuple(notes), files=files)


class _Tree:
    """Looks into each folder once."""

    def __init__(self) -> None:
        self._entries: dict[Path, Entries] = {}
        self._holds: dict[Path, bool] = {}

    def entries(self, folder: Path) -> Entries:
        """Return what lies in a folder."""
        if folder not in self._entries:
            self._entries[folder] = entries(folder)
        return self._entries[folder]

    def holds(self, folder: Path) -> bool:
        """Return whether pictures lie below a folder, including those that are not read."""
        if folder not in self._holds:
            files = walk(folder)
            self._holds[folder] = bool(files.images or PICTURE_SUFFIXES & files.others.keys())
        return self._holds[folder]

    def folders(self, folder: Path) -> list[Path]:
        """Return the sub-folders that hold pictures."""
        return [inner for inner in self.entries(folder).folders if self.holds(inner)]

    def names(self, folder: Path) -> tuple[str, ...]:
        """Return the names, in NFC, of the sub-folders that hold pictures."""
        return tuple(normal(inner.name) for inner in self.folders(folder))

    def is_plain(self, folder: Path) -> bool:
        """Return whether pictures lie directly in a folder, and no folder of pictures does."""
        return bool(self.entries(folder).images) and not self.folders(folder)

    def is_shelf(self, folder: Path) -> bool:
        """Return whether all but a few images of a folder lie in its sub-folders."""
        if not self.folders(folder):
            return False
        directly = len(self.entries(folder).images)
        return directly == 0 or 2 * directly < len(walk(folder).images)

    def unwrapped(self, folder: Path, keep: Iterable[str] = ()) -> Path:
        """Return the folder, or the only folder in it, and so on, until there are several.

        Args:
            folder: The folder to begin with.
            keep: The names of classes, at which to stop.
        """
        for _ in range(_DEEPEST):
            inner = self.folders(folder)
            if len(inner) != 1 or self.entries(folder).images or not self.is_shelf(inner[0]):
                break
            named = split_named(inner[0].name)
            if normal(inner[0].name) in keep or (named and split_named(folder.name) != named):
                break
            folder = inner[0]
        return folder


def _splits(tree: _Tree, base: Path, *, needs_train: bool) -> tuple[dict[str, Path], list[str]]:
    """Return the folder of each split, none if the folders are classes, and notes.

    A folder called ``train`` or ``test`` among classes (of vehicles, for example) is a class if it
    holds images as they do.

    Raises:
        DataError: The folders can be meant in several ways.
    """
    folders = tree.entries(base).folders
    named = _named(base, folders)
    others = [folder for folder in tree.folders(base) if folder not in named.values()]
    names = listed([folder.name for folder in named.values()])
    if not named:
        _check_classes(tree, others)
        return {}, []
    if not others and needs_train and "train" not in named:
        raise DataError(
            f"{base} has {listed(sorted(folder.name for folder in named.values()))} but no train/",
            hint="Add train/ with one folder per class, or name the class folders otherwise.",
        )
    if not others:
        return named, []
    if "train" in named and len(named) > 1 and not all(map(tree.is_plain, named.values())):
        return named, []
    shelves = [folder for folder in named.values() if tree.is_shelf(folder)]
    if shelves and not all(map(tree.is_shelf, others)):
        raise DataError(
            f"{base} holds {shelves[0].name}/ with folders of images in it, and beside it "
            f"{listed([folder.name for folder in others], 3)}: splits or classes?",
            hint="Put the classes into train/ and test/, or, if "
            f"{shelves[0].name!r} is a class, its images directly into its folder.",
        )
    _check_classes(tree, [*named.values(), *others])
    return {}, [f"{names} beside {others[0].name}: taken as classes, not as splits"]


def _named(base: Path, folders: Sequence[Path]) -> dict[str, Path]:
    """Return, for each split, the folder whose name says so.

    Raises:
        DataError: Two folders say the same.
    """
    by_rest: defaultdict[str, list[tuple[str, Path]]] = defaultdict(list)
    for folder in folders:
        said = split_named(folder.name)
        if said is not None:
            by_rest[said[1]].append((said[0], folder))
    chosen = by_rest.pop("", [])
    groups = [group for group in by_rest.values() if len({"train", *dict(group)}) == len(group) > 1]
    if len(groups) > 1:
        names = [folder.name for group in groups for _, folder in group]
        raise DataError(
            f"the names of {listed(names, 4)} in {base} say both a split and a class",
            hint="Put the classes into folders called train and test: train/cat, test/cat ...",
        )
    if groups and not chosen:
        chosen = groups[0]
    named: dict[str, Path] = {}
    for split, folder in chosen:
        if split in named:
            raise DataError(
                f"{base} has both {named[split].name}/ and {folder.name}/, which both say {split}",
                hint="Keep one of them, or rename it: train/, val/ and test/ are used.",
            )
        named[split] = folder
    return {split: named[split] for split in SPLITS if split in named}


def _check_classes(tree: _Tree, folders: Sequence[Path]) -> None:
    """Refuse folders that look like splits, since they hold folders of the same names.

    Raises:
        DataError: Two of them share most names of their sub-folders, and more than one folder
            each, such as ``images``.
    """
    shelves = [
        (folder, frozenset(name.casefold() for name in tree.names(folder)))
        for folder in folders
        if tree.is_shelf(folder)
    ]
    by_name: defaultdict[str, list[int]] = defaultdict(list)
    for index, (_, names) in enumerate(shelves):
        for name in names:
            by_name[name].append(index)
    shared: defaultdict[tuple[int, int], int] = defaultdict(int)
    for holders in by_name.values():
        for second in holders[1:2]:
            shared[holders[0], second] += 1
    for (one, two), count in shared.items():
        (first, names), (second_folder, others) = shelves[one], shelves[two]
        if max(len(names), len(others)) < 2 or 2 * count < min(len(names), len(others)):
            continue
        both = sorted(names & others)
        if all(split_named(name) for name in both):
            raise DataError(
                f"the classes {first.name}/ and {second_folder.name}/ each hold {listed(both, 3)}",
                hint="Put it the other way round: the folders of classes into train/ and test/.",
            )
        raise DataError(
            f"{first.name}/ and {second_folder.name}/ hold folders of the same names "
            f"({listed(both, 3)}): they look like splits of a data set, not like classes",
            hint="If they are splits, rename them to train/, val/ or test/, or name the one that "
            "you mean. If they are classes, put the images of each directly into its folder.",
        )


def _beside(folders: ClassFolders) -> list[str]:
    """Return notes on folders that lie beside those of the splits."""
    used = [folder.relative_to(folders.base).parts[0] for folder in folders.splits.values()]
    return [
        f"the folder {folder.name!r} beside {used[0]}/ is not used"
        for folder in entries(folders.base).folders
        if folder.name not in used
    ]


def _check_known(name: str, classes: Classes, known: Classes) -> None:
    """Refuse classes that the training split does not have."""
    unknown = sorted(classes.keys() - known.keys())
    if unknown:
        raise DataError(
            f"{name}/ has classes that train/ has not: {listed(unknown)}",
            hint="Rename these folders, or add training images for them.",
        )


def _classes(directory: Path, split: str) -> Classes:
    """List the class folders of one split, with their images."""
    inside = entries(directory)
    folders = inside.folders
    if len(folders) < 2 and (split == "train" or not folders):
        what = f"has the class folder {folders[0].name!r} only" if folders else "has no folders"
        loose = len(inside.images)
        beside = f" and {counted(loose, 'image')} directly in it" if loose else ""
        raise DataError(
            f"{directory} {what}{beside}; "
            f"{'at least two classes are' if split == 'train' else 'class folders are'} needed",
            hint="Put the images of each class in a folder of its own, named after the class"
            + ("." if split == "train" else ", or move this folder away: train/ can be divided."),
        )
    classes: Classes = {}
    for folder in folders:
        _check_label(folder)
        label = normal(folder.name)
        if label in classes:
            raise DataError(
                f"two folders of {directory} are called {label!r}, in two forms of Unicode",
                hint="Move their images into one of them.",
            )
        files = walk(folder)
        if not files.images:
            raise DataError(
                f"class {label!r} is empty: {folder} holds no image{instead(files)}",
                hint=f"Add images or delete the folder. {suffix_hint(files.others)}",
            )
        classes[label] = files.images
    return {label: classes[label] for label in sorted(classes)}


def _check_label(folder: Path) -> None:
    """Refuse names with control characters or not in Unicode, which no list of labels can hold."""
    if any(
        unicodedata.category(character) in ("Cc", "Cs", "Zl", "Zp") for character in folder.name
    ):
        raise DataError(
            f"the class folder '{one_line(folder.name)}' has a control character or a byte that is "
            "not UTF-8 in its name",
            hint="Rename the folder.",
        )
