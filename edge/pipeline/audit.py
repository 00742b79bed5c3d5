"""The calibration audit of the report: what the images are; the converters add what they do."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from edge.dataset.pictures import Hashed, Picture
from edge.errors import DataError
from edge.pipeline.calibration import calibration_id
from edge.pipeline.conversion import Converted
from edge.runtime.spec import Preprocessing


def check_apart(calibration: Sequence[Hashed], evaluation: Sequence[Hashed]) -> None:
    """Refuse to score a model on images that calibrated it.

    Raises:
        DataError: An image, by its content, is in both.
    """
    shared = _shared(calibration, evaluation)
    if shared:
        raise DataError(
            f"{len(shared)} of the {len(evaluation)} images to score on would calibrate the "
            f"integer files too, such as {shared[0].path}: the scores would flatter them",
            hint="Take them out of one of the two, or leave out --evaluation-data: edge then "
            "divides the images of --calibration-data itself.",
        )


def _shared(calibration: Sequence[Hashed], evaluation: Sequence[Hashed]) -> list[Hashed]:
    used = {picture.sha256 for picture in calibration}
    return [picture for picture in evaluation if picture.sha256 in used]


def calibration_report(
    chosen: Sequence[Picture],
    scored: Sequence[Picture],
    preprocessing: Preprocessing,
    labels: Sequence[str],
    converted: Sequence[Converted],
) -> dict[str, Any]:
    """The audit as JSON values; ``docs/bundle.md`` explains it."""
    counts = Counter(picture.label for picture in chosen if picture.label is not None)
    observed = {
        item.target.format: item.record["calibration"]
        for item in converted
        if "calibration" in item.record
    }
    return {
        "images": len(chosen),
        "sha256": calibration_id(chosen, preprocessing),
        "image_sha256": [picture.sha256 for picture in chosen],
        "labelled": sum(counts.values()),
        "classes": len(counts),
        "classes_of_model": len(labels),
        "least_of_a_class": min(counts.values(), default=0),
        "most_of_a_class": max(counts.values(), default=0),
        "scored_images_among_them": len(_shared(chosen, scored)),
        "observed": observed,
    }


def warnings(report: dict[str, Any]) -> list[str]:
    """What a user should do something about, one sentence each."""
    found = []
    for format_, observed in report["observed"].items():
        if observed["stable_after"] is None:
            found.append(
                f"calibration ({format_}): the last of the {observed['images']} images still "
                "widened ranges; more would help (--calibration-images)"
            )
    found += _unlike(report["observed"])
    least, most = report["least_of_a_class"], report["most_of_a_class"]
    if most > BALANCE * max(least, 1):
        found.append(f"calibration: {most} images of one class and {least} of another")
    return found


def _unlike(observed: Mapping[str, Any]) -> list[str]:
    """Said once for all formats that find it: they look at the same images."""
    formats = [format_ for format_, item in observed.items() if item["unlike"] is not None]
    if not formats:
        return []
    item = observed[formats[0]]
    found = item["unlike"]
    return [
        f"calibration ({', '.join(formats)}): the {item['images']} calibration images do not look "
        f"like the images to score on: of {item['held_out']} of these, {found['images']} leave "
        f"the range of {found['tensor']} ({100 * found['share']:.1f} % of its values; chance "
        f"expects {found['expected']:.1f} images), or all activations together differ "
        f"(p {found['p_value']:.1g})"
    ]


BALANCE = 3  # times as many images of one class as of another
