"""``edge explain``: a bundle and images -> maps of what its files, and its Keras model, look at."""

import os
import time
from collections.abc import Sequence
from dataclasses import replace
from difflib import get_close_matches
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edge.errors import DataError, ImageError, UsageError
from edge.explanation.keras_model import KerasLooks
from edge.explanation.options import ExplainOptions, MaskMethod
from edge.explanation.result import Explanation, HeatMap, ImageExplanation, correlation
from edge.explanation.sensitivity import Masks, heat_map, positions_per_side, scores_under
from edge.progress import Progress
from edge.runtime.bundle import Bundle
from edge.runtime.classifier import Classifier
from edge.runtime.files import readable
from edge.runtime.image import READABLE
from edge.runtime.preprocess import load


def explain(options: ExplainOptions, progress: Progress) -> Explanation:
    """Draw the maps of every image.

    Raises:
        UsageError: No bundle there; no such variant, class or layer.
        DataError: No image can be read.
        BundleError, ModelLoadError, EngineUnavailable: A model does not load.
        InferenceError: A model failed.
    """
    bundle = Bundle.open(options.bundle)
    names = tuple(dict.fromkeys(options.variants)) or _default_variants(bundle)
    files = {name: Classifier.open(bundle, variant=name) for name in names}
    labels = files[names[0]].labels
    label = None if options.label is None else _index(labels, options.label)
    pictures, problems = _load(options.images, bundle)
    keras = KerasLooks.open(bundle, options, len(labels), progress)
    done: list[ImageExplanation] = []
    for path, pixels in pictures:
        first = files[names[0]]
        explained = first.strongest(first.probabilities(pixels)) if label is None else label
        maps = [
            _map_of_file(bundle, name, files[name], pixels, explained, options, progress, path)
            for name in names
        ]
        maps = [maps[0], *(replace(m, correlation=_r(m, maps[0])) for m in maps[1:])]
        cam = keras.map(pixels, explained, first)
        if cam is not None:
            maps = [replace(cam, correlation=_r(cam, maps[0])), *maps]
        done.append(
            ImageExplanation(
                image=readable(path),
                label=labels[explained],
                pixels=pixels,
                maps=tuple(maps),
                layers=tuple(keras.layers(pixels)),
            )
        )
    return Explanation(
        name=bundle.manifest.name,
        images=tuple(done),
        filters=keras.filters,
        without_keras=keras.missing,
        without_gradcam=keras.without_gradcam,
        problems=problems,
        settings={
            "method": str(options.method),
            "masks": _masks(options, 1, 1).count,
            "seed": options.seed,
            "cover": "the image, blurred",
            "gradcam_layer": keras.gradcam_layer,
            "gradcam_places": keras.gradcam_places,
        },
    )


def _default_variants(bundle: Bundle) -> tuple[str, ...]:
    """The bundle's default file and its counterpart, float or int8; the float one goes first."""
    default = bundle.manifest.variant()
    is_float = default.precision in ("fp32", "fp16")
    wanted = "int8" if is_float else "fp32"
    others = [item for item in bundle.manifest.variants if item.precision == wanted]
    others.sort(key=lambda item: item.format != default.format)
    pair = [default.name, *(item.name for item in others[:1])]
    return tuple(pair if is_float else reversed(pair))


def _index(labels: Sequence[str], label: str) -> int:
    if label in labels:
        return labels.index(label)
    near = get_close_matches(label, labels, 3, 0.4) or list(labels[:5])
    raise UsageError(
        f"the bundle has no class {label!r}",
        hint=f"Did you mean {' or '.join(near)}? Its number of classes is {len(labels)}.",
    )


def _load(
    images: Sequence[Path], bundle: Bundle
) -> tuple[list[tuple[Path, NDArray[np.uint8]]], dict[str, str]]:
    found: list[tuple[Path, NDArray[np.uint8]]] = []
    problems: dict[str, str] = {}
    for path in images:
        try:
            found.append((path, load(path, bundle.manifest.preprocessing)))
        except ImageError as error:
            problems[readable(path)] = error.message
    if not found:
        raise DataError(
            f"no image can be read: {next(iter(problems.values()))}",
            hint=f"{READABLE} are read.",
        )
    return found, problems


def _masks(options: ExplainOptions, height: int, width: int) -> Masks:
    windows = positions_per_side() ** 2
    return Masks(
        method=options.method,
        height=height,
        width=width,
        count=windows if options.method is MaskMethod.OCCLUSION else options.masks,
        seed=options.seed,
    )


def _map_of_file(
    bundle: Bundle,
    variant: str,
    classifier: Classifier,
    pixels: NDArray[np.uint8],
    label: int,
    options: ExplainOptions,
    progress: Progress,
    image: Path,
) -> HeatMap:
    masks = _masks(options, pixels.shape[0], pixels.shape[1])
    started = time.monotonic()
    whole = classifier.probabilities(pixels)
    with progress.stage(f"{variant}, {readable(Path(image.name))}", total=masks.count) as step:
        scores = scores_under(
            masks,
            pixels,
            label,
            lambda: Classifier.open(bundle, variant=variant),
            workers=os.cpu_count() or 1,
            step=step,
        )
    values, repeatability = heat_map(masks, scores, float(whole[label]))
    return HeatMap(
        source=variant,
        method=str(masks.method),
        values=values,
        score=float(whole[label]),
        answer=", ".join(classifier.answered(whole)) or "no label",
        invokes=masks.count + 1,
        seconds=time.monotonic() - started,
        repeatability=repeatability,
        flat=bool(np.ptp(values) == 0),
    )


def _r(one: HeatMap, other: HeatMap) -> float | None:
    return correlation(one.values, other.values)
