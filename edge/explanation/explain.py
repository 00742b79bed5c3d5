"""``edge explain``: a bundle and images -> maps of what its files, and its Keras model, look at."""

import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from difflib import get_close_matches
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edge.errors import DataError, ImageError, UsageError
from edge.explanation.keras_model import KerasView
from edge.explanation.options import ExplainOptions, MaskMethod
from edge.explanation.result import Explanation, HeatMap, ImageExplanation, MapSettings, correlation
from edge.explanation.sensitivity import Masks, heat_map, positions_per_side, scores_under
from edge.progress import Progress
from edge.runtime.bundle import Bundle
from edge.runtime.classifier import Classifier
from edge.runtime.files import readable
from edge.runtime.image import READABLE
from edge.runtime.preprocess import load


def explain(options: ExplainOptions, progress: Progress) -> Explanation:
    """Make the maps of every image.

    Raises:
        UsageError: There is no bundle at the path, or no such variant, class or layer.
        DataError: None of the images can be read.
        BundleError, ModelLoadError, EngineUnavailable: A model does not load.
        InferenceError: A model fails.
    """
    bundle = Bundle.open(options.bundle)
    names = tuple(dict.fromkeys(options.variants)) or _default_variants(bundle)
    files = {name: Classifier.open(bundle, variant=name) for name in names}
    labels = files[names[0]].labels
    label = None if options.label is None else _index(labels, options.label)
    pictures, problems = _load(options.images, bundle)
    keras = KerasView.open(bundle, options, len(labels), progress)
    explainer = _Explainer(bundle, files, keras, options, progress)
    return Explanation(
        name=bundle.manifest.name,
        images=tuple(explainer.image(path, pixels, label) for path, pixels in pictures),
        filters=keras.filters,
        without_keras=keras.missing,
        without_gradcam=keras.without_gradcam,
        problems=problems,
        settings=MapSettings(
            method=str(options.method),
            masks=_masks(options, 1, 1).count,
            seed=options.seed,
            cover="the image, blurred",
            gradcam_layer=keras.gradcam_layer,
            gradcam_places=keras.gradcam_shape,
        ),
    )


@dataclass(frozen=True, slots=True)
class _Explainer:
    """Explains one image after the other.

    Attributes:
        bundle: The bundle.
        files: The loaded files to explain, by the name of their variant.
        keras: The Keras model of the bundle.
        options: The options of the run.
        progress: It is told of each inference.
    """

    bundle: Bundle
    files: Mapping[str, Classifier]
    keras: KerasView
    options: ExplainOptions
    progress: Progress

    def image(self, path: Path, pixels: NDArray[np.uint8], label: int | None) -> ImageExplanation:
        """Explain a class of an image, or its most probable class if ``label`` is None."""
        first = next(iter(self.files.values()))
        if label is None:
            label = first.strongest(first.probabilities(pixels))
        maps = [self._map(variant, path, pixels, label) for variant in self.files]
        cam = self.keras.map(pixels, label, first)
        reference = maps[0].values
        others = [replace(m, correlation=correlation(m.values, reference)) for m in maps[1:]]
        maps = [maps[0], *others]
        if cam is not None:
            maps.insert(0, replace(cam, correlation=correlation(cam.values, reference)))
        return ImageExplanation(
            image=readable(path),
            label=first.labels[label],
            pixels=pixels,
            maps=tuple(maps),
            layers=tuple(self.keras.layers(pixels)),
        )

    def _map(self, variant: str, path: Path, pixels: NDArray[np.uint8], label: int) -> HeatMap:
        """Cover parts of the image, and map how the score of one file falls."""
        classifier = self.files[variant]
        masks = _masks(self.options, pixels.shape[0], pixels.shape[1])
        started = time.monotonic()
        whole = classifier.probabilities(pixels)
        title = f"{variant}, {readable(Path(path.name))}"
        with self.progress.stage(title, total=masks.count) as step:
            scores = scores_under(
                masks,
                pixels,
                label,
                lambda: Classifier.open(self.bundle, variant=variant),
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


def _default_variants(bundle: Bundle) -> tuple[str, ...]:
    """Return the default file and its counterpart, float or int8; the float one goes first."""
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
    loaded: list[tuple[Path, NDArray[np.uint8]]] = []
    problems: dict[str, str] = {}
    for path in images:
        try:
            loaded.append((path, load(path, bundle.manifest.preprocessing)))
        except ImageError as error:
            problems[readable(path)] = error.message
    if not loaded:
        raise DataError(
            f"no image can be read: {next(iter(problems.values()))}",
            hint=f"{READABLE} are read.",
        )
    return loaded, problems


def _masks(options: ExplainOptions, height: int, width: int) -> Masks:
    windows = positions_per_side() ** 2
    return Masks(
        method=options.method,
        height=height,
        width=width,
        count=windows if options.method is MaskMethod.OCCLUSION else options.masks,
        seed=options.seed,
    )
