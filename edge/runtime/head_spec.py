"""The manifest's field for a head that is applied to embeddings; it needs no numpy."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final, Self

from edge.errors import BundleError

TAUGHT_NAME: Final = "taught.npz"  # what a bundle with a head was taught; no manifest lists it


class HeadKind(StrEnum):
    """How an embedding becomes class probabilities, without any training by gradients."""

    KNN = "knn"  # the nearest pictures vote
    IMPRINTED = "imprinted"  # the class whose mean is nearest


@dataclass(frozen=True, slots=True, kw_only=True)
class HeadSpec:
    """A head that lies beside the model files, whose output is then an embedding.

    Attributes:
        kind: Which head.
        path: Of its .npz file in the bundle.
        scale: Factor of the cosines in the softmax.
        k: Of ``knn``: how many pictures vote; None otherwise.
    """

    kind: HeadKind
    path: str
    scale: float
    k: int | None = None

    def to_json(self) -> dict[str, Any]:
        """As JSON values."""
        return {"kind": str(self.kind), "path": self.path, "scale": self.scale, "k": self.k}

    @classmethod
    def from_json(cls, value: Any) -> Self:
        """Read what ``to_json`` wrote.

        Raises:
            BundleError: A field is missing, unknown, or of another type.
        """
        wanted = {"kind", "path", "scale", "k"}
        if not isinstance(value, Mapping) or set(value) != wanted:
            raise BundleError(f"head is {value!r}, expected {', '.join(sorted(wanted))}")
        known = [str(kind) for kind in HeadKind]
        if value["kind"] not in known:
            raise BundleError(
                f"head.kind is {value['kind']!r}; this runtime knows {' and '.join(known)}",
                hint="Use the runtime that the bundle carries.",
            )
        scale, k = value["scale"], value["k"]
        if isinstance(scale, bool) or not isinstance(scale, int | float) or not 0 < scale < 1e6:
            raise BundleError(f"head.scale is {scale!r}, expected a number above 0")
        if not isinstance(value["path"], str):
            raise BundleError(f"head.path is {value['path']!r}, expected text")
        kind = HeadKind(value["kind"])
        if (type(k) is not int or k < 1) if kind is HeadKind.KNN else k is not None:
            raise BundleError(f"head.k is {k!r}")
        return cls(kind=kind, path=value["path"], scale=float(scale), k=k)
