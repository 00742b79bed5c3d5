"""What a run over the zoo found, network by network."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from benchmarks.result import Row
from edge.zoo.network import Facts
from edge.zoo.published import Published, published


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One network.

    Attributes:
        network: Its name in ``keras.applications``.
        facts: Counted; None if it could not be built.
        mult_adds: Of one image, counted in the converted graph; None if that is missing.
        weights: Where they come from.
        random_because: Why they are random; empty for published weights.
        rows: By variant (``keras``, ``tflite-fp32`` ...), as ``edge benchmark`` measures them.
        failures: By variant, why there is no row; under ``network`` why there is none at all.
    """

    network: str
    facts: Facts | None
    mult_adds: int | None
    weights: str
    random_because: str
    rows: Mapping[str, Row]
    failures: Mapping[str, str] = field(default_factory=dict)

    @property
    def published(self) -> Published | None:
        """Its row in the published table; None for a network that is not in it."""
        return published().get(self.network)


@dataclass(frozen=True, slots=True, kw_only=True)
class ZooResults:
    """A run, maybe not finished.

    Attributes:
        started: UTC, ISO 8601.
        environment: Record of the machine.
        threads: CPU threads of every row.
        batch: Of the Keras rows.
        entries: In the order in which they were measured.
    """

    started: str
    environment: Mapping[str, Any]
    threads: int
    batch: int
    entries: tuple[Entry, ...]
