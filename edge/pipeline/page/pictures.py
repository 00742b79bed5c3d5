"""The pictures of the page: worst mistakes, and where two models differ."""

import base64
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from edge.dataset.pictures import Picture
from edge.errors import ImageError
from edge.pipeline.class_report import Answer, AnswerChanges, Mistake, ModelOnClasses
from edge.pipeline.page.element import Element, element, model_name, percent, section, short
from edge.runtime.files import readable
from edge.runtime.preprocess import load, picture_of
from edge.runtime.spec import Preprocessing

SIDE: Final = 160  # pixels, at most, of a thumbnail
QUALITY: Final = 80  # of its JPEG
MOST: Final = 24  # pictures of a section
CRISP: Final = 64  # pixels; smaller pictures are shown as squares, not blurred


class Thumbnails:
    """Pictures as the model sees them, small, as data URIs; each is made once.

    Args:
        pictures: Those that can be asked for.
        preprocessing: How the model sees them.
    """

    def __init__(self, pictures: Sequence[Picture], preprocessing: Preprocessing) -> None:
        self._paths = {readable(picture.path): picture.path for picture in pictures}
        self._preprocessing = preprocessing
        self._made: dict[str, Element] = {}
        inner = {path.absolute().parent for path in self._paths.values()}
        places = inner.union(*(place.parents for place in inner))
        # The longest first, and neither / nor /home.
        self._places = sorted(
            (place for place in places if len(place.parts) > 2), key=lambda place: -len(place.parts)
        )

    def named(self, text: str) -> str:
        """A sentence that names folders, without the place of the pictures on this computer."""
        for place in self._places:
            text = text.replace(readable(place), readable(Path(place.name)))
        return text

    def figure(self, path: str, *lines: Element) -> Element:
        """A picture over its lines of text."""
        name = "/".join(Path(path).parts[-2:])
        if path not in self._made:
            self._made[path] = self._image(self._paths.get(path), name)
        return element("figure", self._made[path], *lines, title=name)

    def _image(self, path: Path | None, name: str) -> Element:
        try:
            if path is None:
                raise FileNotFoundError
            image = picture_of(load(path, self._preprocessing))
        except (ImageError, OSError):
            return element("div", "the picture is gone", class_="lost")
        small = max(image.size) <= CRISP
        if image.mode == "RGBA" and not small:
            image = image.convert("RGB")  # a JPEG has no opacity
        image.thumbnail((SIDE, SIDE))
        stream = io.BytesIO()
        image.save(stream, "PNG" if small else "JPEG", quality=QUALITY)
        kind = "png" if small else "jpeg"
        content = base64.b64encode(stream.getvalue()).decode()
        return element(
            "img",
            src=f"data:image/{kind};base64,{content}",
            alt=name,
            loading="lazy",
            class_="small" if small else None,
        )


def mistakes_section(models: Mapping[str, ModelOnClasses], thumbnails: Thumbnails) -> Element:
    """The most confident wrong answers of the models, each image once."""
    by_image: dict[str, dict[str, Mistake]] = {}
    for name, model in models.items():
        for item in model.mistakes:
            by_image.setdefault(item.path, {})[name] = item
    worst = sorted(
        by_image.items(), key=lambda pair: -max(item.score for item in pair[1].values())
    )[:MOST]
    if not worst:
        return section("Worst mistakes", element("p", "Every image is answered rightly."))
    figures = [
        thumbnails.figure(
            path,
            element("b", short(next(iter(wrong.values())).truth)),
            *[_said(name, item) for name, item in wrong.items()],
        )
        for path, wrong in worst
    ]
    counts = ", ".join(
        f"{model.images - model.right} by {model_name(name)}" for name, model in models.items()
    )
    text = f"Wrong: {counts}. The surest of these answers; in bold, what the image shows."
    return section(
        "Worst mistakes",
        element("p", text, class_="soft"),
        element("div", *figures, class_="pictures"),
    )


def differences_section(differences: AnswerChanges, thumbnails: Thumbnails) -> Element:
    """Images that the default variant answers otherwise than the Keras model."""
    first, last = differences.between
    title = f"Where {model_name(last)} differs from {model_name(first)}"
    count = differences.images
    if not count:
        return section(title, element("p", "Both give every image the same best class."))
    figures = [
        thumbnails.figure(
            item.path,
            element("b", "no label" if item.truth is None else short(item.truth)),
            _said(first, item.before),
            _said(last, item.after),
        )
        for item in differences.shown
    ]
    text = f"{count} images have another best class"
    text += f"; the {len(figures)} surest are shown." if count > len(figures) else "."
    return section(
        title, element("p", text, class_="soft"), element("div", *figures, class_="pictures")
    )


def _said(name: str, item: Answer | Mistake) -> Element:
    return element("div", f"{model_name(name)}: {short(item.answer)} {percent(item.score)}")
