"""``edge fewshot``: every method on the same episodes of the same held-out classes."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from edge.cache import StageCache, content_key
from edge.fewshot.classes import Classes, PictureVectors, embeddings, find_classes, pixels, turned
from edge.fewshot.episodes import Episode, draw_episodes
from edge.fewshot.networks import Conv4, EpisodeNetwork, HeadNetwork
from edge.fewshot.options import EMBEDDED, META_TRAINED, FewShotMethod, FewShotOptions
from edge.fewshot.reptile import Initialisation, Learner, MetaTrained, meta_trained
from edge.fewshot.result import ClassCounts, FewShotResult, MethodAccuracy, mean_accuracy
from edge.progress import Progress
from edge.runtime.head import normalised
from edge.runtime.output import HeadKind
from edge.training.head import fit_head
from edge.versions import versions
from edge.wording import counted

ACCURACIES: Final = "accuracies.npy"


def score_methods(options: FewShotOptions, progress: Progress) -> FewShotResult:
    """Score every method on the same episodes.

    Raises:
        DataError: The folder cannot give such episodes.
        UsageError, BundleError, WeightsUnavailable: The embeddings cannot be computed.
        OutputError: The cache cannot be written.
    """
    run = _FewShotRun(options, find_classes(options, progress), progress)
    if not EMBEDDED.isdisjoint(options.methods):
        progress.inform(f"embeddings: {run.embeddings.name}")
    rows = tuple(run.score(method) for method in options.methods)
    classes = run.classes
    return FewShotResult(
        name=options.photos.resolve().name,
        ways=options.ways,
        queries=options.queries,
        episodes=options.episodes,
        embedding=None if EMBEDDED.isdisjoint(options.methods) else run.embeddings.name,
        classes=ClassCounts(
            all=len(classes.names),
            training=len(classes.training),
            held_out=len(classes.held_out),
            held_out_groups=classes.groups,
        ),
        training=tuple(classes.names[index] for index in classes.training),
        iterations=options.reptile.iterations if options.meta_trains else None,
        rotations=options.rotations and FewShotMethod.REPTILE in options.methods,
        rows=rows,
        seed=options.seed,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _ReadyLearner:
    """A learner that can answer episodes.

    Attributes:
        learner: The learner.
        start: The state from which its episodes start.
        key: Whatever decides its answers, for content keys.
        seconds: The time that its meta-training took; None if there is none.
    """

    learner: Learner
    start: Initialisation
    key: Mapping[str, object]
    seconds: float | None


class _FewShotRun:
    """One run, which makes tables and networks when a method needs them."""

    def __init__(self, options: FewShotOptions, classes: Classes, progress: Progress) -> None:
        self.options = options
        self.classes = classes
        self.progress = progress
        self.cache = StageCache(options.cache)
        self.held_out = classes.rows(classes.held_out)

    @cached_property
    def embeddings(self) -> PictureVectors:
        return embeddings(self.classes, self.options, self.cache, self.progress)

    @cached_property
    def pixels(self) -> NDArray[np.uint8]:
        return pixels(self.classes)

    def score(self, method: FewShotMethod) -> MethodAccuracy:
        """Score a method with each number of shots."""
        learner = None if method in BASELINES else self._learner(method)
        by_shots, seconds = [], 0.0
        for shots in self.options.shots:
            episodes = self._episodes(shots)
            title = f"{method}, {counted(shots, 'shot')}"
            if learner is None:
                accuracies, spent = self._of_baseline(method, episodes, title)
            else:
                accuracies, spent = self._of_learner(learner, episodes, shots, title)
            by_shots.append(mean_accuracy(shots, accuracies.tolist()))
            seconds += spent
        return MethodAccuracy(
            method=method,
            accuracy=tuple(by_shots),
            seconds=seconds,
            meta_seconds=None if learner is None else learner.seconds,
        )

    def _episodes(self, shots: int) -> list[Episode]:
        options = self.options
        return draw_episodes(
            self.held_out,
            ways=options.ways,
            shots=shots,
            most_shots=max(options.shots),
            queries=options.queries,
            episodes=options.episodes,
            seed=options.seed,
        )

    def _of_baseline(
        self, method: FewShotMethod, episodes: Sequence[Episode], title: str
    ) -> tuple[NDArray[np.float64], float]:
        """Return the accuracy of each episode, and the seconds that they took."""
        vectors = self._vectors(method)
        accuracies = []
        began = time.monotonic()
        with self.progress.stage(title, len(episodes)) as step:
            for episode in episodes:
                answers = baseline_answers(method, vectors, episode)
                accuracies.append(episode.accuracy(answers))
                step(1)
        return np.array(accuracies), time.monotonic() - began

    def _of_learner(
        self, ready: _ReadyLearner, episodes: Sequence[Episode], shots: int, title: str
    ) -> tuple[NDArray[np.float64], float]:
        """Return the accuracy of each episode, and the seconds that they took now."""
        drawn = {
            "shots": [shots, max(self.options.shots)],
            "episodes": len(episodes),
            "ways": self.options.ways,
            "queries": self.options.queries,
            "seed": self.options.seed,
            "held_out": list(self.classes.held_out),
        }
        key = content_key("episodes", {**ready.key, **drawn})
        kept = self.cache.find(key)
        if kept is not None:
            accuracies: NDArray[np.float64] = np.load(kept / ACCURACIES, allow_pickle=False)
            return accuracies, 0.0
        began = time.monotonic()
        with self.progress.stage(title, len(episodes)) as step:
            answers = ready.learner.answers(
                ready.start, episodes, seed=self.options.seed, step=step
            )
        pairs = zip(episodes, answers, strict=True)
        accuracies = np.array([episode.accuracy(answer) for episode, answer in pairs])
        with self.cache.store(key) as folder:
            np.save(folder / ACCURACIES, accuracies)
        return accuracies, time.monotonic() - began

    def _vectors(self, method: FewShotMethod) -> NDArray[np.float32]:
        if method is FewShotMethod.PIXELS:
            return self.pixels.reshape(len(self.pixels), -1).astype(np.float32)
        return self.embeddings.vectors

    def _learner(self, method: FewShotMethod) -> _ReadyLearner:
        options = self.options
        network, table, classes = self._table(method)
        parts = {
            "network": network.id,
            "data": self.classes.sha256,
            "table": self.embeddings.id if method is FewShotMethod.REPTILE_HEAD else "pixels",
            "ways": options.ways,
            "reptile": options.reptile.to_json(),
            "seed": options.seed,
            "versions": versions(),
        }
        learner = Learner(network, table, options.reptile)
        if method not in META_TRAINED:
            start = Initialisation.random(network, options.ways, options.seed)
            return _ReadyLearner(learner=learner, start=start, key=parts, seconds=None)
        trained = self._meta_trained(method, learner, network, classes, parts)
        return _ReadyLearner(
            learner=learner,
            start=trained.start,
            key={**parts, "start": trained.key},
            seconds=trained.seconds,
        )

    def _meta_trained(
        self,
        method: FewShotMethod,
        learner: Learner,
        network: EpisodeNetwork,
        classes: list[NDArray[np.int64]],
        parts: Mapping[str, object],
    ) -> MetaTrained:
        options = self.options
        iterations = options.reptile.iterations
        with self.progress.stage(f"{method}, meta-training", iterations) as step:
            return meta_trained(
                learner,
                network,
                classes,
                ways=options.ways,
                iterations=iterations,
                seed=options.seed,
                parts={
                    **parts,
                    "classes": list(self.classes.training),
                    "turned": len(classes),
                },
                cache=self.cache,
                step=step,
            )

    def _table(
        self, method: FewShotMethod
    ) -> tuple[EpisodeNetwork, NDArray[Any], list[NDArray[np.int64]]]:
        """Return network, inputs, and the rows of the classes to train on."""
        classes = self.classes.rows(self.classes.training)
        if method is FewShotMethod.REPTILE_HEAD:
            vectors = self.embeddings.vectors
            return HeadNetwork(vectors.shape[1]), vectors, classes
        table = self.pixels
        network = Conv4(self.options.size, table.shape[3])
        if method is FewShotMethod.REPTILE and self.options.rotations:
            table, classes = turned(table, classes)
        return network, table, classes


Answer = Callable[[NDArray[np.float32], NDArray[np.int64], NDArray[np.float32]], NDArray[np.int64]]
"""(shown vectors, their classes, vectors asked for) -> classes, int64."""


def baseline_answers(
    method: FewShotMethod, vectors: NDArray[np.float32], episode: Episode
) -> NDArray[np.int64]:
    """Answer the queries of an episode from its vectors alone: (ways x queries,).

    Args:
        method: One of ``BASELINES``.
        vectors: (pictures, features), of all pictures.
        episode: The episode, whose rows are those of ``vectors``.
    """
    shown = vectors[episode.support.reshape(-1)]
    asked = vectors[episode.queries.reshape(-1)]
    return BASELINES[method](shown, episode.support_labels, asked)


def _head(kind: HeadKind) -> Answer:
    """Return the answers of the head that ``edge build --head`` fits, on the shown pictures."""

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
    """Answer by multinomial logistic regression on vectors of length 1 (Tian et al. 2020)."""
    from sklearn.linear_model import LogisticRegression
    from threadpoolctl import threadpool_limits

    with threadpool_limits(1):  # several threads are slower on so small a problem
        model = LogisticRegression(C=1.0, max_iter=1000).fit(normalised(shown), classes)
        answers: NDArray[np.int64] = model.predict(normalised(asked))
    return answers


BASELINES: Final[dict[FewShotMethod, Answer]] = {
    FewShotMethod.PIXELS: _head(HeadKind.KNN),
    FewShotMethod.KNN: _head(HeadKind.KNN),
    FewShotMethod.IMPRINTED: _head(HeadKind.IMPRINTED),
    FewShotMethod.LOGISTIC: _logistic,
}
