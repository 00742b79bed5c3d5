"""What a run over the zoo found, network by network, and the file that keeps it."""

import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

from benchmarks.outputs.json_file import Fields, load, read_row, row_json
from benchmarks.result import BenchmarkRow
from edge.errors import OutputError, UsageError
from edge.runtime.files import write_bytes
from edge.zoo.prepare import NetworkFacts
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
    facts: NetworkFacts | None
    mult_adds: int | None
    weights: str
    random_because: str
    rows: Mapping[str, BenchmarkRow]
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


SCHEMA_VERSION: Final = 1
KIND: Final = "zoo"
_NUMBERS: Final = re.compile(r"\[[\s\d.,e+-]+\]")


def zoo_json(results: ZooResults) -> dict[str, Any]:
    """The run as JSON values; times in milliseconds."""
    return {
        "schema_version": SCHEMA_VERSION,
        "kind": KIND,
        "started": results.started,
        "environment": dict(results.environment),
        "threads": results.threads,
        "batch": results.batch,
        "networks": [_entry_json(entry) for entry in results.entries],
    }


def _entry_json(entry: Entry) -> dict[str, Any]:
    return {
        "network": entry.network,
        "facts": asdict(entry.facts) if entry.facts else None,
        "mult_adds": entry.mult_adds,
        "weights": entry.weights,
        "random_because": entry.random_because,
        "rows": {name: row_json(row) for name, row in entry.rows.items()},
        "failures": dict(entry.failures),
        "published": asdict(entry.published) if entry.published else None,
    }


def write_zoo(path: Path, results: ZooResults) -> None:
    """Replace the file.

    Raises:
        OutputError: It cannot be written.
    """
    text = json.dumps(zoo_json(results), indent=1, ensure_ascii=False, allow_nan=False)
    text = _NUMBERS.sub(lambda found: re.sub(r"\s+", " ", found.group()), text)
    try:
        write_bytes(path, (text + "\n").encode())
    except OSError as error:
        raise OutputError(
            f"{path} cannot be written: {error.strerror}", hint="Choose another place."
        ) from error


def read_zoo(path: Path) -> ZooResults:
    """Read the file; the published values are those of this version of edge.

    Raises:
        UsageError: It cannot be read, or is no such file.
    """
    fields = load(path)
    if fields.values.get("kind") != KIND:
        raise UsageError(
            f"{path} is no results file of the zoo", hint="edge zoo measure -o FILE writes one."
        )
    if fields.whole("schema_version") != SCHEMA_VERSION:
        fields.fail("schema_version", str(SCHEMA_VERSION))
    return ZooResults(
        started=fields.text("started"),
        environment=fields.object("environment").values,
        threads=fields.whole("threads"),
        batch=fields.whole("batch"),
        entries=tuple(_entry(item) for item in fields.objects("networks")),
    )


def _entry(fields: Fields) -> Entry:
    rows = fields.object("rows")
    failures = fields.object("failures")
    facts = None
    if fields.has("facts"):
        counted = fields.object("facts")
        names = ("parameters", "depth", "size_bytes", "input_size")
        facts = NetworkFacts(**{name: counted.whole(name) for name in names})
    return Entry(
        network=fields.text("network"),
        facts=facts,
        mult_adds=fields.whole("mult_adds") if fields.has("mult_adds") else None,
        weights=fields.text("weights"),
        random_because=fields.text("random_because"),
        rows={name: read_row(rows.object(name)) for name in rows.values},
        failures={name: failures.text(name) for name in failures.values},
    )
