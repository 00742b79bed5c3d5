"""How alike two embeddings are: the cosine of each image's vector to that of the other file."""

from collections.abc import Sequence
from typing import cast

import numpy as np
from numpy.typing import NDArray

from edge.dataset.truth import PictureTruth
from edge.errors import DataError
from edge.evaluation.tasks.metric import TaskScore, weights_of
from edge.runtime.tasks.results import Answer, Embedding


class EmbeddingMetric:
    """See ``TaskMetric``. Nothing annotates a vector: it is held against another file's."""

    name = "cosine"

    def __init__(self, labels: tuple[str, ...], threshold: float) -> None:
        del labels, threshold

    def records(
        self, truth: Sequence[PictureTruth], answers: Sequence[Answer]
    ) -> NDArray[np.float64]:
        """Return the cosine of each image, (images,); NaN where there is nothing to compare."""
        return np.array(
            [
                np.nan if item.vector is None else _cosine(item.vector, cast(Embedding, answer))
                for item, answer in zip(truth, answers, strict=True)
            ]
        )

    def score(
        self, records: NDArray[np.float64], images: NDArray[np.int64] | None = None
    ) -> TaskScore:
        """See ``TaskMetric``."""
        value = self.primary(records, weights_of(images, len(records)))
        return TaskScore(primary=value, values={self.name: value})

    def primary(self, records: NDArray[np.float64], weights: NDArray[np.int64]) -> float | None:
        """See ``TaskMetric``; a mean cosine below 0 is 0."""
        known = ~np.isnan(records)
        total = int(weights[known].sum())
        return max(0.0, float(weights[known] @ records[known]) / total) if total else None


def _cosine(wanted: NDArray[np.float32], answer: Embedding) -> float:
    if wanted.shape != answer.values.shape:
        raise DataError(f"embeddings of {wanted.size} and {answer.values.size} values differ")
    lengths = float(np.linalg.norm(wanted) * np.linalg.norm(answer.values))
    return float(wanted @ answer.values) / lengths if lengths else 0.0
