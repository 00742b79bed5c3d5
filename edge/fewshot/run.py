"""``edge fewshot``: every method on the same episodes of the same held-out classes."""

import time
from collections.abc import Callable
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
from edge.fewshot.result import FewShotResult, MethodAccuracy, mean_accuracy
from edge.progress import Progress
from edge.runtime.head import normalised
from edge.runtime.output import HeadKind
from edge.training.head import fit_head
from edge.versions import versions

ACCURACIES: Final = "accuracies.npy"


def run(options: FewShotOptions, progress: Progress) -> FewShotResult:
    """Score every method.

    Raises:
        DataError: The folder cannot give such episodes.
        UsageError, BundleError, WeightsUnavailable: The embeddings cannot be had.
        OutputError: The cache cannot be written.
    """
    job = _FewShotRun(options, find_classes(options, progress), progress)
    if not EMBEDDED.isdisjoint(options.methods):
        progress.note(f"embeddings: {job.embeddings.name}")
    rows = tuple(job.row(method) for method in options.methods)
    classes = job.classes
    return FewShotResult(
        name=options.photos.resolve().name,
        ways=options.ways,
        queries=options.queries,
        episodes=options.episodes,
        embedding=None if EMBEDDED.isdisjoint(options.methods) else job.embeddings.name,
        classes={
            "all": len(classes.names),
            "training": len(classes.training),
            "held_out": len(classes.held_out),
            "held_out_groups": classes.groups,
        },
        training=tuple(classes.names[index] for index in classes.training),
        iterations=options.reptile.iterations if options.meta_trains else None,
        rotations=options.rotations and FewShotMethod.REPTILE in options.methods,
        rows=rows,
        seed=options.seed,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _ReadyLearner:
    """A learner, where its episodes start, and what decides its answers."""

    learner: Learner
    start: Initialisation
    key: dict[str, Any]
    seconds: float | None


class _FewShotRun:
    """One run; tables and networks come about when a method needs them."""

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

    def row(self, method: FewShotMethod) -> MethodAccuracy:
        taught = None if method in BASELINES else self._learner(method)
        found, seconds = [], 0.0
        for shots in self.options.shots:
            accuracies, spent = self._accuracies(method, taught, shots)
            found.append(mean_accuracy(shots, accuracies.tolist()))
            seconds += spent
        return MethodAccuracy(
            method=method,
            accuracy=tuple(found),
            seconds=seconds,
            meta_seconds=None if taught is None else taught.seconds,
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

    def _accuracies(
        self, method: FewShotMethod, taught: _ReadyLearner | None, shots: int
    ) -> tuple[NDArray[np.float64], float]:
        """Of each episode, and the seconds that they took now."""
        episodes = self._episodes(shots)
        title = f"{method}, {shots} shot{'s' if shots > 1 else ''}"
        if taught is None:
            vectors = self._vectors(method)
            began = time.monotonic()
            with self.progress.stage(title, len(episodes)) as step:
                found = []
                for episode in episodes:
                    answer = baseline_answers(method, vectors, episode)
                    found.append(episode.accuracy(answer))
                    step(1)
            return np.array(found), time.monotonic() - began
        drawn = {"shots": [shots, max(self.options.shots)], "episodes": len(episodes)}
        drawn |= {"ways": self.options.ways, "queries": self.options.queries}
        drawn |= {"seed": self.options.seed, "held_out": list(self.classes.held_out)}
        key = content_key("episodes", taught.key | drawn)
        kept = self.cache.find(key)
        if kept is not None:
            accuracies: NDArray[np.float64] = np.load(kept / ACCURACIES, allow_pickle=False)
            return accuracies, 0.0
        began = time.monotonic()
        with self.progress.stage(title, len(episodes)) as step:
            answers = taught.learner.answers(
                taught.start, episodes, seed=self.options.seed, step=step
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
        parts: dict[str, Any] = {
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
            key=parts | {"start": trained.key},
            seconds=trained.seconds,
        )

    def _meta_trained(
        self,
        method: FewShotMethod,
        learner: Learner,
        network: EpisodeNetwork,
        classes: list[NDArray[np.int64]],
        parts: dict[str, Any],
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
                parts=parts | {"classes": list(self.classes.training), "turned": len(classes)},
                cache=self.cache,
                step=step,
            )

    def _table(
        self, method: FewShotMethod
    ) -> tuple[EpisodeNetwork, NDArray[Any], list[NDArray[np.int64]]]:
        """Network, inputs, and rows of the classes to train on."""
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


BASELINES: Final[dict[FewShotMethod, Answer]] = {
    FewShotMethod.PIXELS: _head(HeadKind.KNN),
    FewShotMethod.KNN: _head(HeadKind.KNN),
    FewShotMethod.IMPRINTED: _head(HeadKind.IMPRINTED),
    FewShotMethod.LOGISTIC: _logistic,
}
