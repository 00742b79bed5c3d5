"""One pass of a model over images, whatever its task, with the answers kept by content hash."""

import io
import json
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, overload

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from edge.cache import StageCache, content_key, sealed_bytes
from edge.dataset.pictures import Hashed
from edge.errors import ImageError, InferenceError
from edge.evaluation.predictions import spread
from edge.progress import Step
from edge.runtime.contract import Preprocessing
from edge.runtime.files import sha256_file
from edge.runtime.preprocess import load_placed
from edge.runtime.session import Session, open_session
from edge.runtime.tasks.model import TaskModel
from edge.runtime.tasks.results import (
    Answer,
    Detections,
    Embedding,
    Poses,
    Segmentation,
)
from edge.runtime.tasks.table import DecoderSpec, Task
from edge.runtime.typed import encoded, typed

SCORING_THRESHOLD = 0.001  # COCO's curve needs the unsure results too
SCORING_RESULTS = 100  # an image, as COCO counts them
_NAME = "answers.zip"


def scoring(spec: DecoderSpec) -> DecoderSpec:
    """Return the decoder as mAP needs it: with unsure results, and a hundred of them at most.

    Decoders without such thresholds are used as they are.
    """
    if spec.task is not Task.DETECTION:
        return spec
    parameters = dict(spec.parameters)
    parameters |= {"score_threshold": SCORING_THRESHOLD, "max_results": SCORING_RESULTS}
    return replace(spec, parameters=parameters)


def shown_threshold(spec: DecoderSpec) -> float:
    """Return the least score of a result that a user sees; 0 where the decoder has none."""
    return float(getattr(spec.read_parameters(), "score_threshold", 0.0))


def task_answers(
    model: Path,
    pictures: Sequence[Hashed],
    preprocessing: Preprocessing,
    spec: DecoderSpec,
    labels: tuple[str, ...],
    *,
    cache: StageCache,
    engine: str | None = None,
    step: Step = lambda count: None,  # noqa: ARG005
) -> Sequence[Answer]:
    """Return a model's answer to each image.

    They are computed once per model, interpreter, decoder and images, and read from the cache
    when they are asked for, so that memory does not grow with the masks.

    Args:
        model: The file.
        pictures: The images, which can be read.
        preprocessing: The contract of its input.
        spec: What reads its outputs; ``scoring`` makes it one for mAP.
        labels: The names of classes, or of keypoints.
        cache: The cache that keeps the answers.
        engine: The interpreter; None for the first that is installed.
        step: It is told of each finished image.

    Raises:
        ModelLoadError: The model does not load.
        InferenceError: An image can no longer be read, an answer is not finite, or the file
            changed meanwhile.
    """
    digest = sha256_file(model)
    made_by = open_session(model, engine=engine).engine
    parts = {
        "model": f"{digest} {made_by}",
        "images": [picture.sha256 for picture in pictures],
        "preprocessing": preprocessing.sha256,
        "decoder": spec.to_json() | {"evidence": ""},
        "labels": list(labels),
    }
    key = content_key("task answers", parts)
    entry = cache.find(key)
    if entry is not None:
        step(len(pictures))
        return KeptAnswers(sealed_bytes(entry / _NAME), spec.task, labels)
    with cache.store(key) as folder:
        with zipfile.ZipFile(folder / _NAME, "w", zipfile.ZIP_STORED) as archive:
            answers = _answers(model, pictures, preprocessing, spec, labels, engine)
            for number, answer in enumerate(answers):
                archive.writestr(str(number), _packed(answer))
                step(1)
        if sha256_file(model) != digest:
            raise InferenceError(
                f"{model.name} changed while it was scored", hint="Run the command again."
            )
    return KeptAnswers(sealed_bytes(cache.entry(key) / _NAME), spec.task, labels)


def _answers(
    model: Path,
    pictures: Sequence[Hashed],
    preprocessing: Preprocessing,
    spec: DecoderSpec,
    labels: tuple[str, ...],
    engine: str | None,
) -> Iterator[Answer]:
    def opened(session: Session) -> TaskModel:
        return TaskModel(session, labels, preprocessing, spec)

    def work(running: TaskModel, position: int) -> Answer:
        path = pictures[position].path
        try:
            return running.predict_pixels(load_placed(path, preprocessing))
        except ImageError as error:
            raise InferenceError(f"{path} cannot be read any more: {error.message}") from error
        except InferenceError as error:
            raise InferenceError(
                f"{model.name} on {path}: {error.message}", hint=error.hint
            ) from error

    yield from spread(model, opened, work, len(pictures), engine=engine)


class KeptAnswers(Sequence[Answer]):
    """Answers in a zip archive, each read when it is asked for.

    Args:
        content: The archive.
        task: What the answers are of.
        labels: The names of classes, for masks.
    """

    def __init__(self, content: bytes, task: Task, labels: tuple[str, ...]) -> None:
        self._archive = zipfile.ZipFile(io.BytesIO(content))
        self._count = len(self._archive.namelist())
        self._task = task
        self._labels = labels

    def __len__(self) -> int:
        return self._count

    @overload
    def __getitem__(self, number: int) -> Answer: ...

    @overload
    def __getitem__(self, number: slice) -> Sequence[Answer]: ...

    def __getitem__(self, number: int | slice) -> Answer | Sequence[Answer]:
        """Return an answer, or several."""
        if isinstance(number, slice):
            return [self[position] for position in range(*number.indices(self._count))]
        if not -self._count <= number < self._count:
            raise IndexError(number)
        content = self._archive.read(str(number % self._count))
        if self._task is Task.SEGMENTATION:
            mask: NDArray[np.uint8] = np.asarray(Image.open(io.BytesIO(content)))
            return Segmentation(mask=mask, labels=self._labels)
        if self._task is Task.EMBEDDING:
            return Embedding(values=np.frombuffer(content, np.float32))
        value: Any = json.loads(content)
        if self._task is Task.DETECTION:
            return typed(Detections, value, "a kept answer")
        return typed(Poses, value, "a kept answer")


def _packed(answer: Answer) -> bytes:
    if isinstance(answer, Segmentation):
        stream = io.BytesIO()
        Image.fromarray(answer.mask).save(stream, "PNG", compress_level=1)
        return stream.getvalue()
    if isinstance(answer, Embedding):
        return answer.values.astype(np.float32).tobytes()
    return json.dumps(encoded(answer)).encode()
