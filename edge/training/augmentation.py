"""Images changed without changing what they show, by Keras layers; none of it is exported."""

from collections.abc import Callable
from typing import Any

from edge.training.options import Augmentation, TuningOptions

Change = Callable[[Any, Any], tuple[Any, Any]]


def changes(options: TuningOptions, seed: int) -> Change:
    """A function of (images, targets) that gives changed ones.

    Args:
        options: How images are changed and blended.
        seed: Of every random choice.

    Returns:
        Takes and gives float32 images (batch, height, width, 3), RGB 0..255, and float32
        targets (batch, classes), which change with images that are blended.
    """
    import keras

    layers = _single(options.augmentation, seed)
    if options.mirror is not False and layers:
        layers.insert(0, keras.layers.RandomFlip("horizontal", seed=seed))
    blends = []
    if options.mixup > 0:
        blends.append(keras.layers.MixUp(alpha=options.mixup, seed=seed))
    if options.cutmix:
        blends.append(keras.layers.CutMix(seed=seed))

    def change(images: Any, goals: Any) -> tuple[Any, Any]:
        for layer in layers:
            images = layer(images, training=True)
        for blend in blends:
            mixed = blend({"images": images, "labels": goals}, training=True)
            images, goals = mixed["images"], mixed["labels"]
        return images, goals

    return change


def _single(augmentation: Augmentation, seed: int) -> list[Any]:
    """Layers that change each image by itself."""
    import keras

    layers = keras.layers
    match augmentation:
        case Augmentation.NONE:
            return []
        case Augmentation.RANDAUGMENT:
            return [layers.RandAugment(value_range=(0, 255), factor=0.3, seed=seed)]
        case Augmentation.BASIC:
            return [
                layers.RandomRotation(0.05, fill_mode="reflect", seed=seed),
                layers.RandomZoom(0.15, fill_mode="reflect", seed=seed),
                layers.RandomTranslation(0.1, 0.1, fill_mode="reflect", seed=seed),
                layers.RandomBrightness(0.15, value_range=(0, 255), seed=seed),
                layers.RandomContrast(0.15, value_range=(0, 255), seed=seed),
            ]
