"""What learns an episode from vectors alone, with no knowledge of other episodes."""

from collections.abc import Callable
from typing import Final

import numpy as np
from numpy.typing import NDArray

from edge.fewshot.episodes import Episode
from edge.fewshot.options import Method
from edge.runtime.head import normalised
from edge.runtime.output import HeadKind
from edge.training.head import fit_head

Answer = Callable[[NDArray[np.float32], NDArray[np.int64], NDArray[np.float32]], NDArray[np.int64]]
"""(shown vectors, their classes, vectors asked for) -> classes, int64."""


def answers(method: Method, vectors: NDArray[np.float32], episode: Episode) -> NDArray[np.int64]:
    """Answers (ways x queries,) to the queries of an episode.

    Args:
        method: One of ``BASELINES``.
        vectors: (pictures, features), of all pictures.
        episode: Rows of them.
    """
    shown = vectors[episode.support.reshape(-1)]
    asked = vectors[episode.queries.reshape(-1)]
    return BASELINES[method](shown, episode.support_labels, asked)


def _head(kind: HeadKind) -> Answer:
    """The head that ``edge build --head`` fits, on the shown pictures."""

    def answer(
        shown: NDArray[np.float32], classes: NDArray[np.int64], asked: NDArray[np.float32]
    ) -> NDArray[np.int64]:
        names = tuple(map(str, range(int(classes.max()) + 1)))
        scores = fit_head(kind, shown, classes, names).scores(asked)
        best: NDArray[np.int64] = scores.argmax(axis=1)
        return best

    return answer


def _logistic(
    shown: NDArray[np.float32], classes: NDArray[np.int64], asked: NDArray[np.float32]
) -> NDArray[np.int64]:
    """Multinomial logistic regression on vectors of length 1 (Tian et al. 2020, 2003.11539)."""
    from sklearn.linear_model import LogisticRegression
    from threadpoolctl import threadpool_limits

    with threadpool_limits(1):  # so small a problem is slower on several threads
        model = LogisticRegression(C=1.0, max_iter=1000).fit(normalised(shown), classes)
        found: NDArray[np.int64] = model.predict(normalised(asked))
    return found


BASELINES: Final[dict[Method, Answer]] = {
    Method.PIXELS: _head(HeadKind.KNN),
    Method.KNN: _head(HeadKind.KNN),
    Method.IMPRINTED: _head(HeadKind.IMPRINTED),
    Method.LOGISTIC: _logistic,
}
