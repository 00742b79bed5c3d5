"""Where the drawn pictures of the command predict go."""

from collections.abc import Sequence
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from edge.errors import UsageError
from edge.runtime.pictures import STANDARD_INPUT, NamedPicture

if TYPE_CHECKING:
    from edge.runtime.tasks.model import TaskModel

SUFFIXES: Final = (".jpg", ".jpeg", ".png")


class Drawings:
    """Answers pictures and draws what the answers say.

    Args:
        place: A file for one picture; a folder for several, or for the pictures of a folder.
        words: The words of the command line that name pictures.
        asked: The pictures that they name.
        overwrite: Whether files may be replaced.

    Raises:
        UsageError: The file's name has another suffix, or the command reads it.
        OutputError: The place cannot be written, or holds what may not be replaced.
    """

    def __init__(
        self, place: Path, words: Sequence[str], asked: Sequence[NamedPicture], *, overwrite: bool
    ) -> None:
        from edge.runtime.place import check_folder, check_new_file

        folder = len(asked) != 1 or any(
            word != STANDARD_INPUT and Path(word).is_dir() for word in words
        )
        if folder:
            names = _names(asked)
            if place.suffix.lower() in SUFFIXES and not place.is_dir():
                raise UsageError(
                    f"--draw {place} is called like one picture, and {len(asked)} are drawn",
                    hint="Name a folder.",
                )
            check_folder(place, names, overwrite=overwrite, option="--draw")
            self._paths = {id(item): place / name for item, name in zip(asked, names, strict=True)}
        else:
            check_new_file(place, SUFFIXES, overwrite=overwrite, option="--draw")
            self._paths = {id(asked[0]): place}

    def answer(self, model: "TaskModel", picture: NamedPicture, *, variant: str) -> dict[str, Any]:
        """Return the JSON object for a picture, after the picture was drawn.

        Raises:
            ImageError: The picture cannot be decoded.
            InferenceError: The model failed.
            OutputError: The drawing cannot be written.
        """
        from edge.runtime.image import decode_image
        from edge.runtime.place import write_output, writing
        from edge.runtime.source import placed_pixels
        from edge.runtime.tasks.draw import draw

        content = picture.read()
        placed = placed_pixels(content, model.preprocessing)
        answer, stated = model.stated(placed, name=picture.name, variant=variant)
        source = content if isinstance(content, Path) else BytesIO(content)
        path = self._paths[id(picture)]
        stream = BytesIO()
        drawn = draw(decode_image(source), answer)
        if path.suffix.lower() == ".png":
            drawn.save(stream, "PNG")
        else:
            drawn.save(stream, "JPEG", quality=92)
        with writing(path.parent):
            path.parent.mkdir(exist_ok=True)
        write_output(path, stream.getvalue())
        return stated | {"drawn": str(path)}


def check_draws(model: object) -> "TaskModel":
    """Return a model whose answers can be drawn.

    Raises:
        UsageError: Its answers are classes or vectors.
    """
    from edge.runtime.tasks.model import TaskModel
    from edge.runtime.tasks.table import Task

    if isinstance(model, TaskModel) and model.task is not Task.EMBEDDING:
        return model
    what = "vectors" if isinstance(model, TaskModel) else "classes"
    raise UsageError(
        f"--draw draws boxes, masks and points; this model answers with {what}",
        hint="Leave out --draw.",
    )


def _names(asked: Sequence[NamedPicture]) -> list[str]:
    """Return a file name for each picture, which no other has, whatever a file system ignores."""
    taken: set[str] = set()
    names = []
    for number, picture in enumerate(asked):
        stem = "stdin" if picture.path is None else picture.path.stem
        name = f"{stem}.jpg"
        if name.casefold() in taken:
            name = f"{stem}-{number}.jpg"
        taken.add(name.casefold())
        names.append(name)
    return names
