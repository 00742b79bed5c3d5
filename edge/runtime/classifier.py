"""Classifier = manifest + session + preprocessing + labels."""

import os
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import NDArray

from edge.errors import InferenceError, UsageError
from edge.runtime.bundle import Bundle
from edge.runtime.contract import Preprocessing
from edge.runtime.head import class_probabilities
from edge.runtime.output import PROBABILITIES, OutputSpec
from edge.runtime.postprocess import answered, dequantize, top_k
from edge.runtime.preprocess import PlacedPixels
from edge.runtime.session import Session, check_count, encode_pixels, open_session
from edge.runtime.source import ImageSource, placed_pixels
from edge.runtime.spec import Category, Variant
from edge.runtime.teach.labels import NO_CLASS

if TYPE_CHECKING:
    from edge.runtime.teach.taught import LearningHead


class Classifier:
    """Answers which class an image shows.

    Args:
        session: A model with one image input; its first output holds the probabilities, or, with
            a head, the embedding.
        labels: One per class.
        preprocessing: The contract that the model was trained under.
        head: The head of a bundle whose model answers with embeddings; it knows its labels, which
            then may become more.
        answers: What the values of the first output mean, where there is no head.
    """

    def __init__(
        self,
        session: Session,
        labels: tuple[str, ...],
        preprocessing: Preprocessing,
        head: "LearningHead | None" = None,
        answers: OutputSpec = PROBABILITIES,
    ) -> None:
        self.session = session
        self.preprocessing = preprocessing
        self.answers = answers
        self._labels = labels
        self._head = head

    @classmethod
    def open(
        cls,
        bundle: Bundle | str | os.PathLike[str],
        *,
        variant: str | None = None,
        engine: str | None = None,
        threads: int = 1,
    ) -> Self:
        """Load a variant of a bundle.

        Args:
            bundle: The bundle's folder, or a bundle that has been opened.
            variant: Name of a model file, such as ``tflite-int8``; None: the bundle's default one.
            engine: Name of an interpreter; None: the first one that is installed.
            threads: CPU threads of one inference.

        Raises:
            UsageError: There is no bundle, it is no classifier, it was taught with another variant,
                or ``threads`` is no number from 1 on.
            BundleError: The variant is missing or altered.
            EngineUnavailable: No interpreter for it is installed.
            ModelLoadError: The file does not load.
        """
        if not isinstance(bundle, Bundle):
            bundle = Bundle.open(Path(bundle))
        check_classifier(bundle)
        chosen = bundle.manifest.variant(variant)
        path = bundle.path / chosen.path
        with bundle.held(chosen.path) as held:
            session = open_session(path, engine=engine, threads=threads, held=held)
        head = _head(bundle, chosen)
        manifest = bundle.manifest
        return cls(session, manifest.labels, manifest.preprocessing, head, manifest.output)

    @property
    def labels(self) -> tuple[str, ...]:
        """The names of the classes, with those that the bundle has been taught meanwhile."""
        return self._labels if self._head is None else self._head.current().labels

    def classify(self, source: ImageSource, *, k: int = 3) -> list[Category]:
        """Return the k most probable classes of an image, best first.

        The first one is the answer. Where labels do not exclude one another, every label that
        reaches its threshold is among them, even if these are more than k. Where a bundle that
        began without a class was taught none yet, there is no answer.

        Args:
            source: The path of an image file; its bytes, or a binary stream of them; a Pillow
                image; or an array, uint8, (height, width, 3) in RGB order or (height, width) of
                grey values. A large JPEG file is decoded at a smaller size where the contract
                allows it; images and arrays are scaled from the size that they have.
            k: At most so many classes.

        Raises:
            ImageError: The image cannot be decoded.
            UsageError: The source is of another type or shape, or k is no number from 1 on.
            InferenceError: The model failed.
        """
        check_count("k", k)
        return self.categories(self.output(placed_pixels(source, self.preprocessing).pixels), k=k)

    def answer(self, image: ImageSource, *, name: str, k: int, variant: str) -> dict[str, Any]:
        """Return the JSON object that states what an image shows, by its name.

        Raises:
            ImageError: The image cannot be decoded.
            InferenceError: The model failed.
        """
        placed = placed_pixels(image, self.preprocessing)
        return self.answer_pixels(placed, name=name, k=k, variant=variant)

    def answer_pixels(
        self, placed: PlacedPixels, *, name: str, k: int, variant: str
    ) -> dict[str, Any]:
        """Do as ``answer``, with what ``preprocess.load_placed`` gives.

        Raises:
            InferenceError: The model failed.
        """
        output = self.output(placed.pixels)
        try:
            categories = self.categories(output, k=k)
        except InferenceError as error:
            raise InferenceError(
                f"{variant} on {name}: {error.message}", hint=error.hint
            ) from error
        return self.stated(categories, name=name, variant=variant)

    def stated(self, categories: list[Category], *, name: str, variant: str) -> dict[str, Any]:
        """Return the JSON object that states the best classes of an image, by its name."""
        answer: dict[str, Any] = {
            "image": name,
            "variant": variant,
            "categories": [asdict(it) for it in categories],
        }
        if self.answers.multi_label:
            thresholds = self.answers.thresholds
            answer["labels"] = [it.label for it in categories if it.score >= thresholds[it.index]]
        elif self.answers.thresholds:
            answer["threshold"] = self.answers.threshold
        return answer

    def categories(self, output: NDArray[Any], *, k: int) -> list[Category]:
        """Return the k most probable classes, best first, of the model's raw output.

        Raises:
            InferenceError: The output is not finite, or of the wrong length.
        """
        scores, labels = self.scored(dequantize(output, self.session.outputs[0]).reshape(-1))
        return top_k(scores, labels, k, self.answers)

    def probabilities(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Return the probabilities (classes,) of an image (height, width, 3), uint8 RGB."""
        return self.probabilities_of(self.values(pixels))

    def probabilities_of(self, values: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the probabilities (classes,) of the first output's real values (values,).

        Raises:
            InferenceError: The values are not finite, or of the wrong length.
        """
        return self.scored(values)[0]

    def scored(self, values: NDArray[np.float32]) -> tuple[NDArray[np.float32], tuple[str, ...]]:
        """Do as ``probabilities_of``, and return the labels too: those of the same moment.

        The bundle may be taught by somebody else meanwhile.
        """
        head = None if self._head is None else self._head.current()
        labels = self._labels if head is None else head.labels
        return class_probabilities(values[None], head, self.answers)[0], labels

    def answered(self, probabilities: NDArray[np.float32]) -> tuple[str, ...]:
        """Return the labels that probabilities (classes,) stand for: one, or each that holds.

        There is none while no class is known.
        """
        if probabilities.size == 0:
            return ()
        return answered(probabilities, self.labels, self.answers)

    def strongest(self, probabilities: NDArray[np.float32]) -> int:
        """Return the class of probabilities (classes,) that they say most clearly.

        It is the first answer.

        Raises:
            InferenceError: No class is known yet.
        """
        if probabilities.size == 0:
            raise InferenceError(f"the bundle {NO_CLASS}")
        return top_k(probabilities, self.labels, 1, self.answers)[0].index

    def values(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Return the first output (values,) as real numbers.

        They are the embedding, where there is a head.
        """
        return dequantize(self.output(pixels), self.session.outputs[0]).reshape(-1)

    def output(self, pixels: NDArray[np.uint8]) -> NDArray[Any]:
        """Return the model's raw first output."""
        spec, contract = self.session.inputs[0], self.preprocessing
        return self.session.run(encode_pixels(pixels, spec, contract.encoding))[0]


def _head(bundle: Bundle, variant: Variant) -> "LearningHead | None":
    if bundle.manifest.head is None:
        return None
    from edge.runtime.teach.taught import LearningHead  # most bundles need none of it

    return LearningHead(bundle, variant)


def check_classifier(bundle: Bundle) -> None:
    """Refuse a bundle of another task.

    Raises:
        UsageError: Its answers are no classes.
    """
    if bundle.manifest.decoder is not None:
        raise UsageError(
            f"{bundle.path} is a bundle of {bundle.manifest.task}, not a classifier",
            hint="edge predict answers with it, and programs by edge.runtime.TaskModel.",
        )
