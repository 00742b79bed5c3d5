"""Pretrained weights: shipped, downloaded by Keras, from a user's file, or none, said aloud."""

import hashlib
import logging
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from edge.errors import UsageError, WeightsUnavailable
from edge.keras_start import start_keras
from edge.runtime.files import sha256_file
from edge.training.backbones import Backbone
from edge.training.models import check_finite, classifier_1000, pooled_base
from edge.training.options import IMAGENET, NONE
from edge.weights import mobilenet_imagenet

RANDOM: Final = f"{NONE} (random)"  # source of weights that nothing has trained

RANDOM_ID: Final = re.compile(r"[a-z0-9]+(:alpha=[0-9.e-]+)?:random:\d+")


def random_note(source: str, command: str) -> str:
    """Return a sentence where the features are those of untrained weights; else "".

    Args:
        source: Where the weights come from, as ``WeightedModel`` or ``weights_id`` names it.
        command: What is made of them, such as ``embeddings``.
    """
    if source != RANDOM and not RANDOM_ID.fullmatch(source):
        return ""
    return (
        f"the network's weights are random and stay so: {command} rest on features that nothing "
        "has learned, which is of use for tests and timings only; take --weights imagenet or a file"
    )


@dataclass(frozen=True, slots=True)
class WeightedModel:
    """A Keras model and where its numbers come from.

    Attributes:
        model: The Keras model, which takes RGB 0..255.
        source: Where they come from, such as ``imagenet (shipped with edge)``, for people.
        sha256: The hash (hex) of every array of the model, in order.
    """

    model: Any
    source: str
    sha256: str


def is_shipped(row: Backbone, alpha: float = 1.0) -> bool:
    """Return whether edge brings the network's ImageNet weights along."""
    return row.name == "mobilenet" and alpha == 1


def weights_id(row: Backbone, weights: str, seed: int, alpha: float = 1.0) -> str:
    """Return what decides the numbers without loading them: a file's hash, or their origin.

    Raises:
        UsageError: No file of that name.
    """
    name = row.name if alpha == 1 else f"{row.name}:alpha={alpha:g}"
    if weights == NONE:
        return f"{name}:random:{seed}"  # see RANDOM_ID
    if weights == IMAGENET and not is_shipped(row, alpha):
        return f"{name}:keras-applications"
    return f"{name}:{sha256_file(_file(weights)[0])}"


def load_base(
    row: Backbone, size: int, weights: str, seed: int, alpha: float = 1.0
) -> WeightedModel:
    """Return the pooled backbone without its top.

    Args:
        row: Which network.
        size: The height and width of its input, pixels.
        weights: ``imagenet``, ``none`` (random), or the path of a weights file.
        seed: The seed of random weights.
        alpha: The width of the network.

    Raises:
        UsageError: No file of that name, or the network cannot be built in that size.
        WeightsUnavailable: No network and no local copy, or a file that does not fit.
        ModelLoadError: The weights are not finite numbers.
    """
    quiet_keras(seed)
    if weights == NONE:
        random = _built(row, lambda: pooled_base(row, size, None, alpha))
        return _described(random, RANDOM)
    if weights == IMAGENET and not is_shipped(row, alpha):
        base = _downloaded(
            row,
            alpha,
            lambda source: pooled_base(row, size, source, alpha),
        )
        return _described(base, "imagenet (Keras Applications)")
    path, source = _file(weights)
    try:
        return _described(pooled_base(row, size, path, alpha), source)
    except OSError as error:  # h5py: no HDF5 file
        raise _unfit(path, row, error) from error
    except ValueError:  # Keras: the file has another number of layers, that is, a top
        return _described(_without_top(row, size, path, alpha), source)


def load_classifier(row: Backbone, weights: str, seed: int) -> WeightedModel:
    """Return the backbone with its 1000-class top; arguments and errors as ``load_base``."""
    quiet_keras(seed)
    if weights == NONE:
        return _described(classifier_1000(row, None), RANDOM)
    if weights == IMAGENET and not is_shipped(row):
        full = _downloaded(row, 1.0, lambda source: classifier_1000(row, source))
        return _described(full, "imagenet (Keras Applications)")
    path, source = _file(weights)
    try:
        return _described(classifier_1000(row, path), source)
    except (ValueError, OSError) as error:
        raise _unfit(path, row, error) from error


def quiet_keras(seed: int) -> None:
    """Keras announces downloads on stdout, which belongs to our answers; and it draws weights."""
    start_keras()
    import keras

    logging.getLogger("absl").setLevel(logging.ERROR)
    keras.config.disable_interactive_logging()
    keras.utils.set_random_seed(seed)


def _file(weights: str) -> tuple[Path, str]:
    if weights == IMAGENET:
        return mobilenet_imagenet(), "imagenet (TF-Slim MobileNet_v1_1.0_224, shipped with edge)"
    path = Path(weights)
    if not path.is_file():
        raise UsageError(
            f"there is no weights file at {weights}",
            hint="--weights takes imagenet, none, or the path of a .weights.h5 or .h5 file.",
        )
    return path, f"file {path.name}"


def _without_top(row: Backbone, size: int, path: Path, alpha: float) -> Any:
    """Return the base, from a file that also holds the 1000-class top."""
    try:
        full = classifier_1000(row, path, alpha)
    except (ValueError, OSError) as error:
        raise _unfit(path, row, error) from error
    base = pooled_base(row, size, None, alpha)
    arrays = full.get_weights()
    wanted = len(base.get_weights())
    base.set_weights(arrays[:wanted])  # the top comes last in every network of Keras Applications
    return base


def _built(row: Backbone, build: Callable[[], Any]) -> Any:
    """Return a network with random weights.

    Raises:
        UsageError: Keras does not build it so: the images are too small for it, say.
    """
    try:
        return build()
    except ValueError as error:
        reason = str(error).strip().splitlines()[0][:300]
        raise UsageError(
            f"{row.keras_name} cannot be built in this form: {reason}",
            hint="Choose another --size, or another backbone.",
        ) from error


def _downloaded(row: Backbone, alpha: float, build: Callable[[str | None], Any]) -> Any:
    """Return a network with weights that Keras downloads, or has downloaded before.

    Raises:
        UsageError: It cannot be built, with whatever weights.
        WeightsUnavailable: The download failed.
    """
    try:
        return build(IMAGENET)
    except Exception as error:  # urllib, http, ssl and Keras each raise types of their own
        _built(row, lambda: build(None))  # the cause, if it is not the download
        reason = str(error).strip().splitlines()[0][:300] if str(error).strip() else repr(error)
        width = "" if alpha == 1 else f" for --alpha {alpha:g}"
        shipped = (
            "--alpha 1" if is_shipped(row) else "the backbone mobilenet"
        )  # what edge has without a network
        raise WeightsUnavailable(
            f"the ImageNet weights of {row.keras_name}{width} are not shipped with edge, and they "
            f"could not be downloaded: {reason}",
            hint=f"Connect to the network, or use {shipped}, whose weights are shipped, --weights "
            "PATH (a weights file), or --weights none (random).",
        ) from error


def _unfit(path: Path, row: Backbone, error: Exception) -> WeightsUnavailable:
    lines = str(error).strip().splitlines()
    return WeightsUnavailable(
        f"{path} does not hold weights of {row.keras_name}: {lines[0][:300] if lines else ''}",
        hint="Give a file that save_weights() of the same network wrote, with or without its top.",
    )


def _described(model: Any, source: str) -> WeightedModel:
    check_finite(model, source)
    return WeightedModel(model, source, weights_sha256(model))


def weights_sha256(model: Any) -> str:
    """Hash (sha256, hex) names, shapes and bytes of every array of a Keras model, in order."""
    digest = hashlib.sha256()
    for variable in model.weights:
        array = variable.numpy()
        digest.update(f"{variable.path}{array.shape}{array.dtype}".encode())
        digest.update(array.tobytes())
    return digest.hexdigest()
