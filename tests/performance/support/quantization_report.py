"""The int8 measurement on stdout: for people, as JSON, or as the tables of the docs."""

import importlib.metadata
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

from benchmarks.environment import host
from edge.cli.output import print_table
from edge.versions import versions
from edge.wording import percent
from support.quantization_error import Remaining
from support.quantization_pictures import Pictures
from support.quantization_scores import mean
from support.quantization_table import COLUMNS, Row, markdown

FORMATS: Final = {"tflite": "TFLite", "onnx": "ONNX"}
OPTIONAL: Final = ("nncf", "litert-quantizer", "tensorflow-cpu")


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """All of one run.

    Attributes:
        rows: A method each.
        missing: Why a method has no row, by format and name.
        pictures: What it was measured on.
        explained: What edge's error is made of; None if nobody asked.
    """

    rows: Sequence[Row]
    missing: Mapping[str, str]
    pictures: Pictures
    explained: Remaining | None

    def to_json(self) -> dict[str, Any]:
        """JSON values."""
        splits = self.pictures.splits
        return {
            "images": len(self.pictures.truth),
            "splits": [[len(split.calibration), len(split.scored)] for split in splits],
            "float_top1": self._float_top1(),
            "host": dict(host()),
            "versions": installed(),
            "methods": [asdict(row) for row in self.rows],
            "missing": dict(self.missing),
            "explained": None if self.explained is None else asdict(self.explained),
        }

    def show(self, *, as_markdown: bool) -> None:
        """Print it."""
        print(", ".join(f"{name} {version}" for name, version in installed().items()))
        print(
            f"{len(self.pictures.truth)} pictures, {len(self.pictures.splits)} split(s), "
            f"float model's top-1 {percent(self._float_top1())}; ± is one standard error"
        )
        for name, title in FORMATS.items():
            if as_markdown:
                print(f"\n{title}\n\n{markdown(self.rows, self.missing, name)}", end="")
                continue
            print_table(title, COLUMNS, [row.cells() for row in self.rows if row.format == name])
        for name, why in () if as_markdown else self.missing.items():
            print(f"{name}: {why}")
        for line in () if self.explained is None else self.explained.lines():
            print(line)

    def _float_top1(self) -> float:
        """Of the float model, over the same pictures as the methods'."""
        right = self.pictures.reference.argmax(axis=1) == self.pictures.truth
        splits = self.pictures.splits
        return mean([right[split.scored].astype(float) for split in splits], splits)[0]


def installed() -> dict[str, str]:
    """Versions of what makes the numbers, by package name."""
    return versions() | {name: found for name in OPTIONAL if (found := version(name))}


def version(package: str) -> str:
    """Of an installed package; empty for one that is not."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return ""
