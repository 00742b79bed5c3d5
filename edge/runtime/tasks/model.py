"""TaskModel = session + preprocessing + decoder; and what opens the model of any bundle."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, Self, cast

import numpy as np
from numpy.typing import NDArray

from edge.errors import BundleError, InferenceError, UsageError
from edge.runtime.bundle import Bundle
from edge.runtime.classifier import Classifier
from edge.runtime.contract import Preprocessing
from edge.runtime.golden import GoldenTest, SelfTest
from edge.runtime.preprocess import PlacedPixels
from edge.runtime.session import Session, encode_pixels, open_session
from edge.runtime.source import ImageSource, placed_pixels
from edge.runtime.tasks.decoder import OrderedDecoder, Tensors
from edge.runtime.tasks.results import Answer
from edge.runtime.tasks.table import DECODERS, DecoderSpec, Task

if TYPE_CHECKING:
    from edge.runtime.spec import Variant


class Predictor(Protocol):
    """What every command that answers pictures needs of a model, whatever its task.

    Attributes:
        session: The loaded model.
        preprocessing: The contract of its input.
    """

    session: Session
    preprocessing: Preprocessing

    @property
    def labels(self) -> tuple[str, ...]:
        """The names of classes, or of keypoints."""
        ...

    def answer(self, image: ImageSource, *, name: str, k: int, variant: str) -> dict[str, Any]:
        """Return the JSON object that states what an image shows, by its name.

        Raises:
            ImageError: The image cannot be decoded.
            InferenceError: The model failed.
        """
        ...

    def answer_pixels(
        self, placed: PlacedPixels, *, name: str, k: int, variant: str
    ) -> dict[str, Any]:
        """Do as ``answer``, with what ``preprocess.load_placed`` gives."""
        ...


class TaskModel:
    """Answers what stands where in an image, or the class of each pixel, or a pose, or a vector.

    Args:
        session: A model with one image input.
        labels: The names of classes, or of keypoints for poses.
        preprocessing: The contract of its input.
        spec: What reads its outputs.

    Raises:
        InferenceError: The outputs are not of the decoder's layout.
    """

    def __init__(
        self,
        session: Session,
        labels: tuple[str, ...],
        preprocessing: Preprocessing,
        spec: DecoderSpec,
    ) -> None:
        self.session = session
        self.preprocessing = preprocessing
        self.spec = spec
        self._labels = labels
        tensors = Tensors(outputs=session.outputs, preprocessing=preprocessing, labels=labels)
        self._decoder = spec.open(tensors)

    @classmethod
    def open(
        cls,
        bundle: Bundle | str | os.PathLike[str],
        *,
        variant: str | None = None,
        engine: str | None = None,
        threads: int = 1,
        parameters: Mapping[str, Any] | None = None,
    ) -> Self:
        """Load a variant of a bundle; arguments and errors as of ``Classifier.open``.

        ``parameters`` of the decoder take the place of those of the bundle.

        Raises:
            UsageError: The bundle is a classifier, or its decoder has no such parameter.
            BundleError: The manifest states a decoder that does not fit its parameters or files.
        """
        if not isinstance(bundle, Bundle):
            bundle = Bundle.open(Path(bundle))
        manifest = bundle.manifest
        if manifest.decoder is None:
            raise UsageError(
                f"{bundle.path} is a classifier, whose answers are classes",
                hint="Open it with edge.runtime.Classifier.",
            )
        manifest.decoder.check()
        path = bundle.path / manifest.variant(variant).path
        with bundle.held(manifest.variant(variant).path) as held:
            session = open_session(path, engine=engine, threads=threads, held=held)
        changed = {**manifest.decoder.parameters, **(parameters or {})}
        decoder = replace(manifest.decoder, parameters=changed)
        try:
            return cls(session, manifest.labels, manifest.preprocessing, decoder)
        except InferenceError as error:  # --decoder, which its hint names, is for model files
            raise BundleError(
                f"{path} does not fit the bundle: {error.message}",
                hint="The files are of different builds, or were changed; export the bundle again.",
            ) from error

    @property
    def labels(self) -> tuple[str, ...]:
        """The names of classes, or of keypoints for poses."""
        return self._labels

    @property
    def task(self) -> Task:
        """What it answers."""
        return self.spec.task

    @property
    def ordered(self) -> bool:
        """Whether the rows of the outputs are in the order of their scores."""
        return DECODERS[self.spec.name].ordered

    @property
    def threshold(self) -> float:
        """The least score of a result; 0 where the decoder has no such bound."""
        return float(getattr(self.spec.read_parameters(), "score_threshold", 0.0))

    def predict(self, source: ImageSource) -> Answer:
        """Return what an image shows.

        Args:
            source: See ``Classifier.classify``.

        Raises:
            ImageError: The image cannot be decoded.
            UsageError: The source is of another type or shape.
            InferenceError: The model failed.
        """
        return self.predict_pixels(placed_pixels(source, self.preprocessing))

    def predict_pixels(self, placed: PlacedPixels) -> Answer:
        """Do as ``predict``, with what ``preprocess.load_placed`` gives."""
        return self.decode(self.outputs(placed), placed)

    def outputs(self, placed: PlacedPixels) -> list[NDArray[Any]]:
        """Return the model's raw outputs."""
        tensor = encode_pixels(placed.pixels, self.session.inputs[0], self.preprocessing.encoding)
        return self.session.run(tensor)

    def row_scores(self, outputs: Sequence[NDArray[Any]]) -> NDArray[np.float32] | None:
        """Return the score of each row that is in the order of its score; None without such."""
        return cast(OrderedDecoder, self._decoder).row_scores(outputs) if self.ordered else None

    def decode(self, outputs: Sequence[NDArray[Any]], placed: PlacedPixels) -> Answer:
        """Return what raw outputs of the model say of a picture.

        Raises:
            InferenceError: They are not finite, or of another shape.
        """
        return self._decoder.decode(outputs, placed.placement)

    def answer(self, image: ImageSource, *, name: str, k: int, variant: str) -> dict[str, Any]:
        """See ``Predictor``; ``k`` plays no part: the decoder bounds how many results there are."""
        placed = placed_pixels(image, self.preprocessing)
        return self.answer_pixels(placed, name=name, k=k, variant=variant)

    def answer_pixels(
        self,
        placed: PlacedPixels,
        *,
        name: str,
        k: int,  # noqa: ARG002
        variant: str,
    ) -> dict[str, Any]:
        """See ``Predictor``."""
        return self.stated(placed, name=name, variant=variant)[1]

    def stated(
        self, placed: PlacedPixels, *, name: str, variant: str
    ) -> tuple[Answer, dict[str, Any]]:
        """Return the answer, and the JSON object that states it.

        Raises:
            InferenceError: The model failed.
        """
        try:
            answer = self.predict_pixels(placed)
        except InferenceError as error:
            raise InferenceError(
                f"{variant} on {name}: {error.message}", hint=error.hint
            ) from error
        return answer, self.statement(answer, placed, name=name, variant=variant)

    def statement(
        self, answer: Answer, placed: PlacedPixels, *, name: str, variant: str
    ) -> dict[str, Any]:
        """Return the JSON object that states an answer to a picture, by its name."""
        where = placed.placement
        stated = {"image": name, "variant": variant, "task": str(self.task)}
        size = {"width": where.width, "height": where.height}
        return stated | size | answer.to_json()


def open_predictor(
    bundle: Bundle | str | os.PathLike[str],
    *,
    variant: str | None = None,
    engine: str | None = None,
    threads: int = 1,
) -> Classifier | TaskModel:
    """Load a variant of a bundle, whatever its task; see ``Classifier.open``."""
    if not isinstance(bundle, Bundle):
        bundle = Bundle.open(Path(bundle))
    kind = Classifier if bundle.manifest.decoder is None else TaskModel
    return kind.open(bundle, variant=variant, engine=engine, threads=threads)


def open_golden_test(bundle: Bundle, variant: "Variant", model: Predictor) -> SelfTest:
    """Return the golden self-test of a variant that has been opened, whatever its task.

    Raises:
        BundleError: There is none, or it cannot be used.
    """
    if isinstance(model, TaskModel):
        from edge.runtime.tasks.golden import TaskGoldenTest

        return TaskGoldenTest(bundle, variant, model)
    return GoldenTest(bundle, variant, model.session)
