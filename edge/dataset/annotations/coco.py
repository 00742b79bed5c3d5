"""COCO: one JSON file of images, annotations and categories."""

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from edge.dataset.annotations.stated import StatedBox, StatedPicture
from edge.errors import DataError, cause_of
from edge.runtime import checked
from edge.runtime.typed import Mistyped, typed
from edge.wording import counted

MOST_BYTES: Final = 1 << 30  # instances_train2017.json has 450 MB


@dataclass(frozen=True, slots=True, kw_only=True)
class CocoImage:
    """One entry of ``images``."""

    id: int
    file_name: str
    width: int | None = None
    height: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class CocoAnnotation:
    """One entry of ``annotations``; ``bbox`` is left, top, width and height in pixels."""

    image_id: int
    category_id: int
    id: int | None = None
    bbox: tuple[float, ...] = ()
    iscrowd: int = 0
    area: float | None = None
    keypoints: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class CocoCategory:
    """One entry of ``categories``; ``keypoints`` are the names of those of its objects."""

    id: int
    name: str
    keypoints: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class CocoFile:
    """The parts of the file that are read."""

    images: tuple[CocoImage, ...]
    annotations: tuple[CocoAnnotation, ...]
    categories: tuple[CocoCategory, ...]


def evidence(folder: Path) -> list[Path]:
    """Return the JSON files that begin like such a file."""
    found = []
    for path in sorted(folder.rglob("*.json")):
        try:
            with checked.opened(path) as stream:
                head = stream.read(1 << 20)
                tail = head
                if path.stat().st_size > len(head):
                    stream.seek(-min(1 << 20, path.stat().st_size), 2)
                    tail = stream.read()
        except (OSError, ValueError):
            continue
        if b'"annotations"' in head + tail and b'"images"' in head + tail:
            found.append(path)
    return found


def read(
    folder: Path, files: Sequence[Path], pictures: Sequence[Path], labels: Sequence[str]
) -> dict[Path, StatedPicture]:
    """See ``Format``.

    Raises:
        DataError: The file cannot be read, or there are several.
    """
    del folder, labels
    if len(files) != 1:
        named = ", ".join(str(path) for path in files[:3])
        raise DataError(
            f"there are {len(files)} COCO files: {named}", hint="Name one with --annotations FILE."
        )
    content = _content(files[0])
    _check_ids(files[0], content)
    categories = {item.id: item for item in content.categories}
    boxes: dict[int, list[StatedBox]] = defaultdict(list)
    for item in content.annotations:
        if item.category_id not in categories:
            raise DataError(
                f"{files[0]} annotates category {item.category_id}, which it does not define"
            )
        boxes[item.image_id].append(_box(files[0], item, categories[item.category_id]))
    return _of_pictures(files[0], content, boxes, pictures)


def _check_ids(file: Path, content: CocoFile) -> None:
    """Refuse a file that says two things of one id, or something of an id that it lacks.

    Raises:
        DataError: It does.
    """
    ids = {
        "images": [item.id for item in content.images],
        "categories": [item.id for item in content.categories],
        "annotations": [item.id for item in content.annotations if item.id is not None],
    }
    for name, numbers in ids.items():
        twice = [number for number, count in Counter(numbers).items() if count > 1]
        if twice:
            raise DataError(
                f"{file} has {counted(len(twice), 'id')} more than once among its {name}, such as "
                f"{twice[0]}",
                hint="Every id belongs to one entry; export the annotations again, or merge files "
                "with a tool that numbers them anew.",
            )
    strangers = {item.image_id for item in content.annotations} - set(ids["images"])
    if strangers:
        raise DataError(
            f"{file} annotates {counted(len(strangers), 'image')} that it does not list, such as "
            f"image_id {min(strangers)}"
        )


def _of_pictures(
    file: Path,
    content: CocoFile,
    boxes: dict[int, list[StatedBox]],
    pictures: Sequence[Path],
) -> dict[Path, StatedPicture]:
    by_name: dict[str, list[Path]] = defaultdict(list)
    for path in pictures:
        by_name[path.name].append(path)
    found = {}
    for image in content.images:
        name = Path(image.file_name)
        here = [
            path
            for path in by_name.get(name.name, [])
            if len(by_name[name.name]) == 1 or path.parts[-len(name.parts) :] == name.parts
        ]
        # A picture that is not here is counted by who asked.
        for path in here[:1] or [file.parent / name]:
            sized = image.width is not None and image.height is not None
            size = (int(image.width or 0), int(image.height or 0)) if sized else None
            found[path] = StatedPicture(source=file, boxes=tuple(boxes[image.id]), size=size)
    return found


def _content(path: Path) -> CocoFile:
    try:
        value: Any = checked.read_json(path, "the annotations", max_bytes=MOST_BYTES)
        return typed(CocoFile, value, path.name)
    except Mistyped as error:
        raise DataError(f"{path} is no COCO file: {error}") from error
    except (OSError, ValueError) as error:
        raise DataError(f"{path} cannot be read: {cause_of(error)}") from error


def _box(path: Path, item: CocoAnnotation, category: CocoCategory) -> StatedBox:
    if len(item.bbox) != 4:
        raise DataError(
            f"{path}: a bbox of image {item.image_id} has {len(item.bbox)} numbers",
            hint="Expected left, top, width and height in pixels.",
        )
    left, top, width, height = item.bbox
    if len(item.keypoints) % 3:
        raise DataError(f"{path}: keypoints of image {item.image_id} are no triples of x, y, v")
    triples = zip(*(iter(item.keypoints),) * 3, strict=True)
    return StatedBox(
        label=category.name,
        points=category.keypoints,
        left=left,
        top=top,
        right=left + width,
        bottom=top + height,
        ignored=item.iscrowd != 0,
        crowd=item.iscrowd != 0,
        keypoints=tuple((x, y, int(seen)) for x, y, seen in triples),
        area=item.area if item.keypoints else None,
    )
