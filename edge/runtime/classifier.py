"""Classifier = manifest + session + preprocessing + labels."""

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Self

import numpy as np
from numpy.typing import NDArray

from edge.runtime.bundle import Bundle
from edge.runtime.files import readable
from edge.runtime.head import class_probabilities
from edge.runtime.postprocess import dequantize, top_k
from edge.runtime.preprocess import load
from edge.runtime.session import Session, encode_pixels, open_session
from edge.runtime.spec import Category, Preprocessing, Variant

if TYPE_CHECKING:
    from edge.runtime.learning_head import LearningHead


class Classifier:
    """Answers which class an image shows.

    Args:
        session: A model with one image input; its first output holds the probabilities, or, with
            a head, the embedding.
        labels: One per class.
        preprocessing: The contract that the model was trained under.
        head: Of a bundle whose model answers with embeddings; it knows its labels, which then
            may become more.
    """

    def __init__(
        self,
        session: Session,
        labels: tuple[str, ...],
        preprocessing: Preprocessing,
        head: "LearningHead | None" = None,
    ) -> None:
        self.session = session
        self.preprocessing = preprocessing
        self._labels = labels
        self._head = head

    @classmethod
    def open(
        cls,
        bundle: Bundle,
        *,
        variant: str | None = None,
        engine: str | None = None,
        threads: int = 1,
    ) -> Self:
        """Load a variant of a bundle.

        Raises:
            BundleError: The variant is missing or altered.
            EngineUnavailable: No interpreter for it is installed.
            ModelLoadError: The file does not load.
            UsageError: The bundle was taught with another variant.
        """
        found, path = bundle.model(variant)
        session = open_session(path, engine=engine, threads=threads)
        head = _head(bundle, found)
        return cls(session, bundle.manifest.labels, bundle.manifest.preprocessing, head)

    @property
    def labels(self) -> tuple[str, ...]:
        """One per class; with those that the bundle has been taught meanwhile."""
        return self._labels if self._head is None else self._head.current().labels

    def classify(self, source: Path | BinaryIO, *, k: int = 3) -> list[Category]:
        """The k most probable classes of an image file, best first.

        Raises:
            ImageError: The image cannot be decoded.
            InferenceError: The model failed.
        """
        return self.categories(self.output(load(source, self.preprocessing)), k=k)

    def answer(self, image: Path, *, k: int, variant: str) -> dict[str, Any]:
        """The JSON object that states what an image file shows.

        Raises:
            ImageError: The image cannot be decoded.
            InferenceError: The model failed.
        """
        categories = [asdict(category) for category in self.classify(image, k=k)]
        return {"image": readable(image), "variant": variant, "categories": categories}

    def categories(self, output: NDArray[Any], *, k: int) -> list[Category]:
        """The k most probable classes, best first, of the model's raw output.

        Raises:
            InferenceError: The output is not finite, or of the wrong length.
        """
        head = None if self._head is None else self._head.current()
        values = dequantize(output, self.session.outputs[0]).reshape(1, -1)
        labels = self._labels if head is None else head.labels
        return top_k(class_probabilities(values, head)[0], labels, k)

    def probabilities(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Probabilities (classes,) of one preprocessed image (height, width, 3), uint8 RGB."""
        head = None if self._head is None else self._head.current()
        found: NDArray[np.float32] = class_probabilities(self.values(pixels)[None], head)[0]
        return found

    def values(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        """The first output (values,) as real numbers: the embedding, where there is a head."""
        return dequantize(self.output(pixels), self.session.outputs[0]).reshape(-1)

    def output(self, pixels: NDArray[np.uint8]) -> NDArray[Any]:
        """The model's raw first output."""
        spec, contract = self.session.inputs[0], self.preprocessing
        return self.session.run(encode_pixels(pixels, spec, contract.value_range))[0]


def _head(bundle: Bundle, variant: Variant) -> "LearningHead | None":
    if bundle.manifest.head is None:
        return None
    from edge.runtime.learning_head import LearningHead  # most bundles need none of it

    return LearningHead(bundle, variant)
