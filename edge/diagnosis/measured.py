"""What the rows, the layers and the blocks of a bundle's files came to on some images."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from converters.base import CALIBRATED
from edge.diagnosis import blame
from edge.diagnosis.blocks import BlockSums
from edge.diagnosis.collector import Collector
from edge.diagnosis.result import FileLayers, MatrixRow
from edge.diagnosis.rows import KERAS, Scores, failure, pairs
from edge.errors import ModelLoadError
from edge.progress import Progress
from edge.runtime.preprocess import load
from edge.runtime.spec import Manifest


class Measured:
    """What the rows and the layers of a bundle's files came to.

    Attributes:
        manifest: The manifest of the bundle.
        collector: The files.
        reference: The name of the row that the others are held against.
        rows: The rows, with what makes their answers useless.
        differences: How every two rows differ.
        errors: The errors of each file's layers.
        mismatched: The layers of files of each format whose tensor is another one (see ``blame``).
    """

    def __init__(self, manifest: Manifest, collector: Collector) -> None:
        tables = collector.tables()
        self.manifest, self.collector = manifest, collector
        self.reference = _reference(manifest, tables)
        self.rows = _with_failures(collector.rows, tables, self.reference)
        self.differences = pairs(tables, collector.steps(), manifest.output)
        self.errors = {probe.variant.name: probe.errors() for probe in collector.probes}
        self.mismatched = self._mismatched()

    def _mismatched(self) -> dict[str, frozenset[str]]:
        differences = {
            pair.second: pair.max_difference
            for pair in self.differences
            if pair.first == self.reference
        }
        found: dict[str, frozenset[str]] = {}
        for variant in self.manifest.variants:
            difference = differences.get(variant.name)
            sound = difference is not None and difference <= blame.FLOAT_TOLERANCE
            if variant.precision == "fp32" and variant.name in self.errors and sound:
                found[variant.format] = blame.mismatches(self.errors[variant.name])
        return found

    def blocks(self, paths: Sequence[Path], progress: Progress) -> dict[str, blame.Blocks]:
        """Measure what the blocks of each integer file do alone, by the name of the variant."""
        probes = [item for item in self.collector.probes if item.variant.precision in CALIBRATED]
        if not probes or not paths:
            return {}
        output = None if self.collector.head else self.manifest.output
        found = {}
        with progress.stage("blocks", len(probes) * len(paths)) as step:
            for probe in probes:
                left_out = self.mismatched.get(probe.variant.format, frozenset())
                names = [name for name in probe.names if name not in left_out]
                try:
                    sums = BlockSums(probe, names, output)
                except ModelLoadError as error:
                    self.collector.notes.append(f"blocks of {probe.variant.name}: {error.message}")
                    continue
                for path in paths:
                    sums.add(load(path, self.manifest.preprocessing))
                    step(1)
                found[probe.variant.name] = sums.result()
        return found

    def files(self, blocks: Mapping[str, blame.Blocks]) -> tuple[FileLayers, ...]:
        """Return the layers of each file, without those whose tensor is another one."""
        return tuple(
            blame.judged(
                probe.variant.name,
                probe.variant.precision,
                self.errors[probe.variant.name],
                unmatched=probe.unmatched,
                mismatched=self.mismatched.get(probe.variant.format, frozenset()),
                blocks=blocks.get(probe.variant.name),
            )
            for probe in self.collector.probes
        )


def _reference(manifest: Manifest, tables: Mapping[str, Scores]) -> str:
    """The most precise row that is available: Keras, or the first float file, or any."""
    floats = [item.name for item in manifest.variants if item.precision == "fp32"]
    return next((name for name in (KERAS, *floats) if name in tables), next(iter(tables)))


def _with_failures(
    rows: Sequence[MatrixRow], tables: Mapping[str, Scores], reference: str
) -> tuple[MatrixRow, ...]:
    return tuple(
        replace(row, failure=failure(tables[row.name], tables[reference]))
        if row.name in tables
        else row
        for row in rows
    )
