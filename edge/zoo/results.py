"""What a run over the zoo measured, network by network, and the file that keeps it."""

import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any, ClassVar, Final, Literal

from benchmarks.outputs.json_file import MAX_RESULTS, members_of, row_json
from benchmarks.result import EnvironmentRecord, StoredRow
from edge import schema
from edge.errors import OutputError, UsageError
from edge.runtime.files import write_bytes
from edge.zoo.prepare import NetworkFacts
from edge.zoo.published import Published, published

SCHEMA_VERSION: Final = 1
_NUMBERS: Final = re.compile(r"\[[\s\d.,e+-]+\]")


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One network.

    Attributes:
        network: Its name in ``keras.applications``.
        facts: What was counted in it; None if it could not be built.
        mult_adds: Multiply-adds of one image, counted in the converted graph; None if that is
            missing.
        weights: Where the weights come from.
        random_because: Why they are random; empty for published weights.
        rows: Rows by variant (``keras``, ``tflite-fp32`` ...), as ``edge benchmark`` measures them.
        failures: By variant, why there is no row; under ``network`` why there is none at all.
    """

    network: str
    facts: NetworkFacts | None
    mult_adds: schema.Count | None
    weights: str
    random_because: str
    rows: Mapping[str, StoredRow]
    failures: Mapping[str, str] = field(default_factory=dict)

    @property
    def published(self) -> Published | None:
        """Its row in the published table; None for a network that is not in it."""
        return published().get(self.network)


def _names_machine(environment: Mapping[str, Any]) -> bool:
    cpu = environment.get("cpu")
    if not isinstance(cpu, dict) or not isinstance(cpu.get("model", 0), str | None):
        return False
    return isinstance(environment.get("versions"), dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class ZooResults:
    """A run, maybe not finished.

    Attributes:
        kind: What tells the file from the results of ``edge benchmark``.
        started: When the run began, UTC, ISO 8601.
        environment: The record of the machine.
        threads: CPU threads of every row.
        batch: The batch of the Keras rows.
        entries: The networks, in the order in which they were measured.
    """

    __pydantic_config__: ClassVar[Any] = schema.names(entries="networks")

    kind: Literal["zoo"] = "zoo"
    started: str
    environment: Annotated[
        EnvironmentRecord, schema.Expect("a record with cpu.model and versions", _names_machine)
    ]
    threads: schema.Count
    batch: schema.Count
    entries: tuple[Entry, ...]


def zoo_json(results: ZooResults) -> dict[str, Any]:
    """The run as JSON values; times in milliseconds."""
    value = schema.to_json(replace(results, entries=()))
    networks = [_entry_json(entry) for entry in results.entries]
    return {"schema_version": SCHEMA_VERSION, **value, "networks": networks}


def _entry_json(entry: Entry) -> dict[str, Any]:
    return {
        **schema.to_json(replace(entry, rows={})),
        "rows": {name: row_json(row) for name, row in entry.rows.items()},
        "published": asdict(entry.published) if entry.published else None,
    }


def write_zoo(path: Path, results: ZooResults) -> None:
    """Replace the file.

    Raises:
        OutputError: It cannot be written.
    """
    text = json.dumps(zoo_json(results), indent=1, ensure_ascii=False, allow_nan=False)
    text = _NUMBERS.sub(lambda numbers: re.sub(r"\s+", " ", numbers.group()), text)
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
    try:
        return schema.read(
            ZooResults,
            path,
            "the zoo's results file",
            version=SCHEMA_VERSION,
            extra="ignore",
            hint="edge zoo measure -o FILE writes one.",
            max_bytes=MAX_RESULTS,
        )
    except UsageError as error:
        if "rows" in members_of(path):
            raise UsageError(
                f"{path} is a results file of edge benchmark, not of edge zoo measure",
                hint=f"Draw it with: edge benchmark plot {path}",
            ) from error
        raise
