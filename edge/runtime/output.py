"""What a model's output means: the manifest's fields ``output`` and ``head``; it needs no numpy."""

from collections.abc import Mapping
from enum import StrEnum
from typing import Any, Final, Self

from edge.errors import BundleError
from edge.runtime.checked import shown
from edge.runtime.frozen import frozen_dataclass

HALF: Final = 0.5  # the threshold where nobody chose another one


class OutputKind(StrEnum):
    """Whether the answers exclude one another."""

    SINGLE_LABEL = "single-label"  # one class is the answer
    MULTI_LABEL = "multi-label"  # every label holds or does not, whatever the others do


class Activation(StrEnum):
    """The function that turns the values of a model file into probabilities."""

    NONE = "none"  # the file's values are probabilities already
    SOFTMAX = "softmax"
    SIGMOID = "sigmoid"
    SHARES = "shares"  # each value divided by the sum of those of its image
    CLIP = "clip"  # what lies outside 0..1 is 0 or 1
    HALF_TANH = "half-tanh"  # (value + 1) / 2, for values -1..1


class OutputActivation(StrEnum):
    """What a user may say of the values that a model answers with."""

    AUTO = "auto"
    SOFTMAX = "softmax"  # probabilities of classes that exclude one another
    SIGMOID = "sigmoid"  # a probability per label; of one column, that of the second class
    LOGITS = "logits"  # what a softmax, or of one column a sigmoid, is still to be applied to
    MULTI_LABEL_LOGITS = "multi-label-logits"  # what a sigmoid per label is still to be applied to


@frozen_dataclass(kw_only=True)
class OutputSpec:
    """How the values that a model file answers with become an answer.

    The manifest of an earlier edge has no such field: its files answer with the probabilities of
    classes that exclude one another, which is the default of every attribute.

    Attributes:
        kind: Whether one class is the answer, or every label above its threshold.
        activation: What the runtime applies to the values of the file. Files that edge writes
            need nothing. A single value becomes the probabilities of two classes: the value,
            after this function, is that of the second one.
        thresholds: For two classes, the probability from which on the second one is the answer,
            or nothing, which is 0.5. For labels that do not exclude one another, one for each:
            the probability from which on it holds.
        evidence: How this was found out, one sentence for people.
    """

    kind: OutputKind = OutputKind.SINGLE_LABEL
    activation: Activation = Activation.NONE
    thresholds: tuple[float, ...] = ()
    evidence: str = ""

    @property
    def multi_label(self) -> bool:
        """Whether several labels, or none, may be the answer."""
        return self.kind is OutputKind.MULTI_LABEL

    @property
    def threshold(self) -> float:
        """The probability from which on the second of two classes is the answer."""
        return self.thresholds[0] if self.thresholds and not self.multi_label else HALF

    @property
    def plain(self) -> bool:
        """Whether the best of the file's own values is the answer, as in every early bundle."""
        return not (self.multi_label or self.thresholds or self.activation is not Activation.NONE)

    def to_json(self) -> dict[str, Any]:
        """Return the fields as JSON values."""
        return {
            "kind": str(self.kind),
            "activation": str(self.activation),
            "thresholds": list(self.thresholds),
            "evidence": self.evidence,
        }

    @classmethod
    def from_json(cls, value: Any, *, labels: int) -> Self:
        """Read what ``to_json`` wrote.

        Args:
            value: JSON values.
            labels: How many the model has.

        Raises:
            BundleError: A field is missing, unknown, of another type or out of range.
        """
        wanted = {"kind", "activation", "thresholds", "evidence"}
        if not isinstance(value, Mapping) or set(value) != wanted:
            raise BundleError(f"output is {shown(value)}, expected {', '.join(sorted(wanted))}")
        for name, known in (("kind", OutputKind), ("activation", Activation)):
            if value[name] not in list(known):
                raise BundleError(
                    f"output.{name} is {shown(value[name])}; this runtime knows {', '.join(known)}",
                    hint="Use the runtime that the bundle carries.",
                )
        kind, thresholds = OutputKind(value["kind"]), value["thresholds"]
        count = {labels} if kind is OutputKind.MULTI_LABEL else ({0, 1} if labels == 2 else {0})
        fits = (
            isinstance(thresholds, list)
            and len(thresholds) in count
            and all(type(item) in (int, float) and 0 < item < 1 for item in thresholds)
        )
        if not fits:
            raise BundleError(
                f"output.thresholds is {shown(thresholds)}; a {kind} output of {labels} labels has "
                f"{' or '.join(map(str, sorted(count)))}, each above 0 and below 1"
            )
        if not isinstance(value["evidence"], str):
            raise BundleError(f"output.evidence is {shown(value['evidence'])}, expected text")
        return cls(
            kind=kind,
            activation=Activation(value["activation"]),
            thresholds=tuple(float(item) for item in thresholds),
            evidence=value["evidence"],
        )


PROBABILITIES: Final = OutputSpec()


TAUGHT_NAME: Final = "taught.npz"  # what a bundle with a head was taught; no manifest lists it


class HeadKind(StrEnum):
    """How an embedding becomes class probabilities, without any training by gradients."""

    KNN = "knn"  # the nearest pictures vote
    IMPRINTED = "imprinted"  # the class whose mean is nearest


@frozen_dataclass(kw_only=True)
class HeadSpec:
    """A head that lies beside the model files, whose output is then an embedding.

    Attributes:
        kind: Which head.
        path: The path of its .npz file in the bundle.
        scale: Factor of the cosines in the softmax.
        k: How many pictures vote, of ``knn``; None otherwise.
    """

    kind: HeadKind
    path: str
    scale: float
    k: int | None = None

    def to_json(self) -> dict[str, Any]:
        """Return the fields as JSON values."""
        return {"kind": str(self.kind), "path": self.path, "scale": self.scale, "k": self.k}

    @classmethod
    def from_json(cls, value: Any) -> Self:
        """Read what ``to_json`` wrote.

        Raises:
            BundleError: A field is missing, unknown, or of another type.
        """
        wanted = {"kind", "path", "scale", "k"}
        if not isinstance(value, Mapping) or set(value) != wanted:
            raise BundleError(f"head is {shown(value)}, expected {', '.join(sorted(wanted))}")
        known = [str(kind) for kind in HeadKind]
        if value["kind"] not in known:
            raise BundleError(
                f"head.kind is {shown(value['kind'])}; this runtime knows {' and '.join(known)}",
                hint="Use the runtime that the bundle carries.",
            )
        scale, k = value["scale"], value["k"]
        if isinstance(scale, bool) or not isinstance(scale, int | float) or not 0 < scale < 1e6:
            raise BundleError(f"head.scale is {shown(scale)}, expected a number above 0")
        if not isinstance(value["path"], str):
            raise BundleError(f"head.path is {shown(value['path'])}, expected text")
        kind = HeadKind(value["kind"])
        if (type(k) is not int or k < 1) if kind is HeadKind.KNN else k is not None:
            wanted_k = "a whole number from 1 on" if kind is HeadKind.KNN else "null"
            raise BundleError(f"head.k is {shown(k)}, expected {wanted_k}")
        return cls(kind=kind, path=value["path"], scale=float(scale), k=k)
