"""Classifier = manifest + session + preprocessing + labels."""

from dataclasses import asdict
from pathlib import Path
from typing import Any, BinaryIO, Self

import numpy as np
from numpy.typing import NDArray

from edge.runtime.bundle import Bundle
from edge.runtime.files import readable
from edge.runtime.postprocess import dequantize, top_k
from edge.runtime.preprocess import load
from edge.runtime.session import Session, encode_pixels, open_session
from edge.runtime.spec import Category, Preprocessing


class Classifier:
    """Answers which class an image shows.

    Args:
        session: A model with one image input; its first output holds the probabilities.
        labels: One per class.
        preprocessing: The contract that the model was trained under.
    """

    def __init__(
        self, session: Session, labels: tuple[str, ...], preprocessing: Preprocessing
    ) -> None:
        self.session = session
        self.labels = labels
        self.preprocessing = preprocessing

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
        """
        _, path = bundle.model(variant)
        session = open_session(path, engine=engine, threads=threads)
        return cls(session, bundle.manifest.labels, bundle.manifest.preprocessing)

    def classify(self, source: Path | BinaryIO, *, k: int = 3) -> list[Category]:
        """The k most probable classes of an image file, best first.

        Raises:
            ImageError: The image cannot be decoded.
            InferenceError: The model failed.
        """
        return top_k(self.probabilities(load(source, self.preprocessing)), self.labels, k)

    def answer(self, image: Path, *, k: int, variant: str) -> dict[str, Any]:
        """The JSON object that states what an image file shows.

        Raises:
            ImageError: The image cannot be decoded.
            InferenceError: The model failed.
        """
        categories = [asdict(category) for category in self.classify(image, k=k)]
        return {"image": readable(image), "variant": variant, "categories": categories}

    def probabilities(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Probabilities (classes,) of one preprocessed image (height, width, 3), uint8 RGB."""
        tensor = encode_pixels(pixels, self.session.inputs[0])
        output = self.session.run(tensor)[0]
        return dequantize(output, self.session.outputs[0]).reshape(-1)
