"""``edge diagnose``: run every file with every set of kernels, and say who is to blame."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from edge.dataset.folder import list_files
from edge.dataset.pictures import Picture
from edge.diagnosis import blame, divergence
from edge.diagnosis.collect import Collector
from edge.diagnosis.engines import KERAS
from edge.diagnosis.parity import Table, failure, pairs
from edge.diagnosis.precision import traits
from edge.diagnosis.result import Diagnosis, FileLayers, Pair, Row
from edge.errors import DataError, UsageError
from edge.evaluation.images import SEEN, Origins, counted, origins_of, said
from edge.progress import Progress
from edge.runtime.bundle import Bundle
from edge.runtime.files import sha256_file
from edge.runtime.image import READABLE
from edge.runtime.spec import Manifest, Variant
from edge.threads import in_threads


def diagnose(path: Path, directory: Path, *, images: int, progress: Progress) -> Diagnosis:
    """Find where the files of a bundle depart from their source.

    Args:
        path: Of the bundle.
        directory: Images; their classes play no part.
        images: At most so many, spread evenly over the sorted folder.
        progress: Shown two stages.

    Raises:
        UsageError: No bundle there, or one without int8 variants.
        DataError: No images, or none that can be read.
        BundleError: A file of the bundle is missing or altered.
        ModelLoadError: A model file does not load.
        InferenceError: An interpreter failed.
    """
    bundle = Bundle.open(path)
    _check_quantized(bundle.manifest)
    files = list_files(directory)
    chosen, notes = _chosen(files.images, images, origins_of(bundle))
    with progress.stage("models"):
        collector = Collector(bundle)
    collector.notes += notes
    for note in (*files.notes(), *collector.notes):
        progress.note(note)
    with progress.stage("images", len(chosen)) as step:
        skipped = collector.run(chosen, bundle.manifest.preprocessing, step)
    for file, why in skipped.items():
        progress.note(f"skipped {file}: {why}")
    if len(skipped) == len(chosen):
        raise DataError(
            f"none of the {len(chosen)} images chosen from {directory} can be read",
            hint=f"{READABLE} are read.",
        )
    return _judged(bundle.manifest, collector, len(chosen) - len(skipped), skipped)


def _check_quantized(manifest: Manifest) -> None:
    if not any(traits(variant.precision).is_integer for variant in manifest.variants):
        names = ", ".join(variant.name for variant in manifest.variants)
        raise UsageError(
            f"the bundle has no int8 variant to diagnose, only {names}",
            hint="Build it with tflite-int8 or onnx-int8, or score it with: edge evaluate",
        )


def _chosen(paths: Sequence[Path], most: int, record: Origins) -> tuple[list[Path], list[str]]:
    """Images to run, none that made the bundle where there are others; and what to know of them.

    An image that calibrated a file clips nothing in it, so that it cannot show what new ones do.
    """
    pictures = [
        Picture(path, digest)
        for path, digest in zip(paths, in_threads(_digest, paths), strict=True)
    ]
    kinds = record.of(pictures)
    fresh = [item for item, kind in zip(pictures, kinds, strict=True) if kind not in SEEN]
    notes = [record.gap] if not record.is_recorded else []
    if not fresh:
        notes.append(
            f"all of these images made the bundle ({said(counted(kinds))}): new ones may show more"
        )
    elif len(fresh) < len(pictures):
        notes.append(
            f"{len(pictures) - len(fresh)} images trained or calibrated the bundle and are left out"
        )
    chosen = fresh or pictures
    places = np.linspace(0, len(chosen) - 1, min(most, len(chosen))).round().astype(int)
    return [chosen[place].path for place in places], notes


def _digest(path: Path) -> str:
    """Of the file; empty where the system does not show it, which is said when it is opened."""
    try:
        return sha256_file(path)
    except OSError:
        return ""


def _judged(
    manifest: Manifest, collector: Collector, images: int, skipped: Mapping[str, str]
) -> Diagnosis:
    tables, steps = collector.tables(), collector.steps()
    reference = _reference(manifest, tables)
    rows = _with_failures(collector.rows, tables, reference)
    found = pairs(tables, steps, manifest.output)
    files = _files(manifest.variants, collector, found, reference)
    findings = blame.findings(manifest.variants, blame.Evidence(rows, found, files, reference))
    notes = list(collector.notes)
    if reference != KERAS:
        notes.append(
            f"without the Keras model, {reference} is the reference, and layers are not compared"
        )
    notes += [
        f"no layer of {file.variant} but the last can be told by its name"
        for file in files
        if len(file.layers) <= 1
    ]
    return Diagnosis(
        name=manifest.name,
        images=images,
        skipped=skipped,
        reference=reference,
        rows=rows,
        pairs=found,
        files=files,
        findings=findings,
        conclusion=blame.conclusion(findings, source_known=reference == KERAS),
        notes=tuple(notes),
    )


def _reference(manifest: Manifest, tables: Mapping[str, Table]) -> str:
    """The most precise row that is available: Keras, or the first float file, or any."""
    floats = [item.name for item in manifest.variants if item.precision == "fp32"]
    return next((name for name in (KERAS, *floats) if name in tables), next(iter(tables)))


def _with_failures(
    rows: Sequence[Row], tables: Mapping[str, Table], reference: str
) -> tuple[Row, ...]:
    return tuple(
        replace(row, failure=failure(tables[row.name], tables[reference]))
        if row.name in tables
        else row
        for row in rows
    )


def _files(
    variants: Sequence[Variant], collector: Collector, found: Sequence[Pair], reference: str
) -> tuple[FileLayers, ...]:
    """The layers of each file, without those whose tensor is another one (see ``divergence``)."""
    errors = {probe.variant.name: probe.errors() for probe in collector.probes}
    differences = {pair.second: pair.max_difference for pair in found if pair.first == reference}
    mismatched: dict[str, frozenset[str]] = {}
    for variant in variants:
        difference = differences.get(variant.name)
        sound = difference is not None and difference <= blame.FLOAT_TOLERANCE
        if variant.precision == "fp32" and variant.name in errors and sound:
            mismatched[variant.format] = divergence.mismatches(errors[variant.name])
    return tuple(
        divergence.judged(
            probe.variant.name,
            probe.variant.precision,
            errors[probe.variant.name],
            unmatched=probe.unmatched,
            mismatched=mismatched.get(probe.variant.format, frozenset()),
        )
        for probe in collector.probes
    )
