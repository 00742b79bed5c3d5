"""Heads without gradient steps: embeddings -> class probabilities, by cosine; numpy alone.

Imprinted: the weight of a class is the normalised mean of its normalised embeddings, and the
probabilities are softmax(scale * cosine) (Qi, Brown and Lowe 2018, arXiv:1712.07136).

k-NN: the k most similar pictures vote, each with weight exp(scale * cosine), scale = 1 / 0.07
(Wu et al. 2018, arXiv:1805.01978, section 3.4).

A new class is more rows of a table: that is how a device learns one from a few pictures.
"""

import io
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from edge.errors import BundleError, InferenceError, cause_of
from edge.runtime import checked
from edge.runtime.bundle import Bundle
from edge.runtime.frozen import frozen_dataclass
from edge.runtime.output import PROBABILITIES, Activation, HeadKind, HeadSpec, OutputSpec

MAX_HEAD: Final = 256 << 20  # bytes of examples: 52,000 pictures of 1280 features
SMALLEST_NORM: Final = 1e-12  # an embedding below it has no direction
ROWS_AT_ONCE: Final = 256  # queries whose similarities to all examples are in memory
OUTSIDE: Final = 0.02  # rounding to integers may move a probability so far out of 0..1
FAR: Final = 0.1  # from 1, that probabilities which exclude one another may sum to, and more by
HALF_STEP: Final = 0.5 / 255  # for each class, whose probability may be an integer of 8 bits
INTEGERS: Final = 256  # so many different values such an output has at most
TINY: Final = 1e-6  # added to values that are divided by their sum, which may be 0


@frozen_dataclass(kw_only=True)
class Head:
    """A head with its examples; it may have no class yet.

    Attributes:
        spec: Kind, scale, k.
        labels: Class names; the index is the class.
        vectors: (rows, features) float32: normalised embeddings, or, of an imprinted head, sums
            of such; a class may have any number of rows, but at least one.
        classes: (rows,) int64, class index of each row.
    """

    spec: HeadSpec
    labels: tuple[str, ...]
    vectors: NDArray[np.float32]
    classes: NDArray[np.int64]

    @property
    def features(self) -> int:
        """Length of an embedding."""
        return int(self.vectors.shape[1])

    def scores(self, embeddings: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the probabilities (images, classes), float32, of embeddings (images, features).

        Of a single class it is 1.0, whatever the images show.

        Raises:
            InferenceError: They are of another length, or not finite.
        """
        if embeddings.ndim != 2 or embeddings.shape[1] != self.features:
            raise InferenceError(
                f"the model gave {embeddings.shape[1:]} features, the head takes {self.features}",
                hint="Files of different builds; build or copy the bundle again.",
            )
        if not np.isfinite(embeddings).all():
            raise InferenceError("the model's answer is not finite (NaN or infinity)")
        queries = normalised(embeddings)
        if self.spec.kind is HeadKind.IMPRINTED:
            weights = normalised(class_sums(self.vectors, self.classes, len(self.labels)))
            return softmax(self.spec.scale * (queries @ weights.T))
        k = self.spec.k or 1
        parts = [
            votes(
                queries[start : start + ROWS_AT_ONCE] @ self.vectors.T,
                self.classes,
                len(self.labels),
                k=k,
                scale=self.spec.scale,
            )
            for start in range(0, len(queries), ROWS_AT_ONCE)
        ]
        return np.concatenate(parts) if parts else np.empty((0, len(self.labels)), np.float32)

    def with_examples(self, label: str, embeddings: NDArray[np.float32]) -> "Head":
        """Return the head that has seen more pictures of a class, or of a new one.

        Args:
            label: A class of the head, or a new one, which becomes the last.
            embeddings: (pictures, features), at least one.
        """
        return self.with_all([label] * len(embeddings), embeddings)

    def with_all(self, labels: Sequence[str], embeddings: NDArray[np.float32]) -> "Head":
        """Return the head that has seen more pictures.

        Of an imprinted head, the rows of a class become their sum: an answer then takes the same
        time whatever was taught.

        Args:
            labels: The class of each picture; new ones become the last, in the order of these.
            embeddings: (pictures, features).
        """
        known = tuple(dict.fromkeys((*self.labels, *labels)))
        numbers = {label: number for number, label in enumerate(known)}
        added = np.array([numbers[label] for label in labels], np.int64)
        vectors = np.concatenate([self.vectors, normalised(embeddings)])
        classes = np.concatenate([self.classes, added])
        if self.spec.kind is HeadKind.IMPRINTED:
            vectors = class_sums(vectors, classes, len(known))
            classes = np.arange(len(known), dtype=np.int64)
        return replace(self, labels=known, vectors=vectors, classes=classes)


def class_probabilities(
    outputs: NDArray[np.float32], head: Head | None, output: OutputSpec = PROBABILITIES
) -> NDArray[np.float32]:
    """Return the probabilities (images, classes), float32, of a model's outputs (images, values).

    Args:
        outputs: Real values of the first output, flattened by image.
        head: None where the model answers without an embedding.
        output: What the values mean, where there is no head.

    Raises:
        InferenceError: The values are no probabilities.
    """
    if head is not None:
        return head.scores(outputs)
    scores = activated(outputs, output)
    low, high = (float(scores.min()), float(scores.max())) if scores.size else (0.0, 0.0)
    if low < -OUTSIDE or high > 1 + OUTSIDE:
        raise InferenceError(
            f"the model answers with values from {low:.4g} to {high:.4g}; probabilities lie within "
            "0 to 1",
            hint="They look like logits: export the Keras model again, or name what they are with "
            "--output-activation.",
        )
    if not output.multi_label:
        _check_sums(scores)
    return scores


def _check_sums(scores: NDArray[np.float32]) -> None:
    sums = scores.sum(axis=-1, dtype=np.float64)
    far = np.abs(sums - 1)
    if (far > FAR).any() and (far > FAR + sum_rounding(scores)).any():
        raise InferenceError(
            f"the probabilities of the {scores.shape[-1]} classes of an image sum to "
            f"{sums.min():.4g} to {sums.max():.4g}; of classes that exclude one another they sum "
            "to 1",
            hint="Export the Keras model again; --output-activation says what its values are.",
        )


def sum_rounding(scores: NDArray[np.float32]) -> float:
    """Return how far rounding to 8 bits may move the sum of an image's scores (images, classes)."""
    # np.unique would import numpy.ma, which takes longer than an inference.
    ordered = np.sort(scores, axis=None)
    different = min(ordered.size, 1) + np.count_nonzero(ordered[1:] != ordered[:-1])
    return HALF_STEP * scores.shape[-1] if different <= INTEGERS else 0.0


def activated(outputs: NDArray[np.float32], output: OutputSpec) -> NDArray[np.float32]:
    """Return the outputs (images, values) after the function that the file lacks.

    They have the shape (images, classes).

    A single value becomes two classes, the first of which has what the second one leaves.
    """
    scores = outputs
    if output.activation is Activation.SOFTMAX:
        scores = softmax(outputs)
    elif output.activation is Activation.SIGMOID:
        scores = sigmoid(outputs)
    elif output.activation is Activation.SHARES:
        scores = outputs + TINY
        scores = scores / scores.sum(axis=-1, keepdims=True)
    elif output.activation is Activation.CLIP:
        scores = outputs.clip(0, 1)
    elif output.activation is Activation.HALF_TANH:
        scores = (outputs + 1) * np.float32(0.5)
    if output.multi_label or scores.shape[-1] != 1:
        return scores
    return np.concatenate([1 - scores, scores], axis=-1)


def normalised(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    """Scale rows to length 1, float32; a row of zeros stays one, and is similar to nothing."""
    norms = np.linalg.norm(vectors, axis=1, keepdims=True)
    rows: NDArray[np.float32] = (vectors / np.maximum(norms, SMALLEST_NORM)).astype(np.float32)
    return rows


def class_sums(
    vectors: NDArray[np.float32], classes: NDArray[np.int64], count: int
) -> NDArray[np.float32]:
    """Return the sum of the rows of each class: (count, features), float32."""
    sums = np.zeros((count, vectors.shape[1]), np.float32)
    np.add.at(sums, classes, vectors)
    return sums


def softmax(logits: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the probabilities along the last axis, float32; of no classes there are none."""
    if logits.shape[-1] == 0:
        return logits.astype(np.float32)
    shifted = np.exp(logits - logits.max(axis=-1, keepdims=True))
    shares: NDArray[np.float32] = (shifted / shifted.sum(axis=-1, keepdims=True)).astype(np.float32)
    return shares


def sigmoid(logits: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the probability of each value on its own, float32; exact far from zero as well."""
    small = np.exp(-np.abs(logits))
    values: NDArray[np.float32] = (np.where(logits >= 0, 1, small) / (1 + small)).astype(np.float32)
    return values


def votes(
    similarities: NDArray[np.float32],
    classes: NDArray[np.int64],
    count: int,
    *,
    k: int,
    scale: float,
) -> NDArray[np.float32]:
    """Return the shares (images, count), float32, of the votes of the k most similar examples.

    Args:
        similarities: (images, examples) cosines.
        classes: (examples,) class index.
        count: How many classes.
        k: Voters; all, where there are fewer examples. Of equal ones the first examples vote.
        scale: In the weight exp(scale * cosine).
    """
    nearest = _most_similar(similarities, k)
    weights = softmax(scale * np.take_along_axis(similarities, nearest, axis=1))
    shares = np.zeros((len(similarities), count), np.float32)
    rows = np.broadcast_to(np.arange(len(similarities))[:, None], nearest.shape)
    np.add.at(shares, (rows, classes[nearest]), weights)
    return shares


def _most_similar(similarities: NDArray[np.float32], k: int) -> NDArray[np.int64]:
    """Return the columns (images, k) of the most similar, best first; of equal ones the first.

    Where no equal ones compete for the last place, only the best are sorted: a tenth of the time.
    """
    if similarities.shape[1] > 2 * k:
        last = np.partition(similarities, -k, axis=1)[:, -k, None]
        best = similarities >= last
        if (best.sum(axis=1) == k).all():
            columns: NDArray[np.int64] = np.nonzero(best)[1].reshape(-1, k)
            found = np.take_along_axis(similarities, columns, axis=1)
            order = np.argsort(-found, axis=1, kind="stable")
            return np.take_along_axis(columns, order, axis=1)
    return np.argsort(-similarities, axis=1, kind="stable")[:, :k]


def head_bytes(head: Head) -> bytes:
    """Return the content of the head's file, an .npz of plain arrays."""
    return npz(vectors=head.vectors, classes=head.classes)


def npz(**arrays: NDArray[Any]) -> bytes:
    """Return the content of an .npz file; equal arrays give equal bytes."""
    stream = io.BytesIO()
    np.savez(stream, **arrays)  # type: ignore[arg-type]  # its stubs take them for allow_pickle
    return stream.getvalue()


def read_head(bundle: Bundle) -> Head | None:
    """Return the head that the manifest names, its file's hash checked; None where it names none.

    Raises:
        BundleError: The file is missing, altered, or not what the manifest says.
    """
    spec = bundle.manifest.head
    if spec is None:
        return None
    content = bundle.content(spec.path, max_bytes=MAX_HEAD)
    return load_head(content, spec, bundle.manifest.labels)


def load_head(source: Path | bytes, spec: HeadSpec, labels: tuple[str, ...]) -> Head:
    """Return the head in what ``head_bytes`` wrote.

    Raises:
        BundleError: It is something else.
    """
    try:
        arrays = checked.read_npz(
            source, "the head", names=("vectors", "classes"), max_bytes=MAX_HEAD, finite=True
        )
    except (OSError, ValueError) as error:
        raise BundleError(f"{spec.path} cannot be read: {cause_of(error)}") from error
    vectors, classes = arrays["vectors"], arrays["classes"]
    fits = (
        vectors.dtype == np.float32
        and vectors.ndim == 2
        and vectors.shape[1] > 0
        and classes.dtype == np.int64
        and classes.shape == (len(vectors),)
        and set(np.unique(classes).tolist()) == set(range(len(labels)))
    )
    if not fits:
        raise BundleError(f"{spec.path} is no head of the {len(labels)} classes of the bundle")
    return Head(spec=spec, labels=labels, vectors=vectors, classes=classes)
