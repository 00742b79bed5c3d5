"""``edge diagnose``: run every file with every set of kernels, and say which tool is to blame."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final, TypeVar

import numpy as np

from edge.dataset.folder import list_files
from edge.dataset.pictures import Picture
from edge.diagnosis import blame
from edge.diagnosis.attempts import tried
from edge.diagnosis.collector import Collector, given_file
from edge.diagnosis.measured import Measured
from edge.diagnosis.partitions import partitions
from edge.diagnosis.result import Diagnosis, Partitions, traits
from edge.diagnosis.rows import KERAS
from edge.errors import (
    DataError,
    EngineUnavailable,
    UsageError,
)
from edge.evaluation.images import SEEN, Origins, counted, origins_of, said
from edge.progress import Progress
from edge.runtime.bundle import Bundle
from edge.runtime.files import sha256_file
from edge.runtime.image import READABLE
from edge.runtime.preprocess import load
from edge.runtime.spec import Manifest
from edge.threads import in_threads

ItemT = TypeVar("ItemT")

CALIBRATION: Final = 32  # images that calibrate what is tried
FEW: Final = 8  # images that are too few for that
BLOCK_IMAGES: Final = 4  # half a second a block of EfficientNet-B0 each; shares of errors show


def diagnose(
    path: Path,
    directory: Path,
    *,
    images: int,
    progress: Progress,
    block_images: int = BLOCK_IMAGES,
    attempts: bool = True,
) -> Diagnosis:
    """Find where the files of a bundle depart from their source.

    Args:
        path: The folder of the bundle.
        directory: The folder of images; their classes play no part.
        images: How many images run at most, spread evenly over the sorted folder.
        progress: Is shown the stages.
        block_images: On how many of them the blocks of integer files are measured at most.
        attempts: Whether files are made and tried that would help where a quantizer is to blame.

    Raises:
        UsageError: There is no bundle, or one without int8 variants, of no classifiers, or of a
            file of somebody else whose float answers are not in it.
        DataError: There are no images, or none that can be read.
        BundleError: A file of the bundle is missing or altered.
        ModelLoadError: A model file does not load.
        InferenceError: An interpreter failed.
    """
    bundle = Bundle.open(path)
    _check_task(bundle.manifest)
    _check_quantized(bundle.manifest)
    _check_float(bundle.manifest)
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
    measured = Measured(bundle.manifest, collector)
    readable = [path for path in chosen if str(path) not in skipped]
    blocks = measured.blocks(spread(readable, block_images), progress)
    result = _judged(measured, len(readable), skipped, blocks)
    result = replace(result, partitions=_partitions(bundle, readable[0]))
    if not attempts:
        return result
    used = set(chosen)
    others = [path for path in files.images if path not in used]
    calibrating = spread(others, CALIBRATION) if len(others) >= FEW else readable
    made, said = tried(bundle, measured, result, (readable, calibrating), progress)
    return replace(result, attempts=made, notes=(*result.notes, *said))


def _partitions(bundle: Bundle, image: Path) -> tuple[Partitions, ...]:
    """How XNNPACK divides each TFLite file; nothing where ai-edge-litert is missing."""
    contract = bundle.manifest.preprocessing
    pixels = load(image, contract)
    files = [item.name for item in bundle.manifest.variants if item.format == "tflite"]
    try:
        return tuple(
            partitions(name, bundle.model(name)[1], pixels, contract.encoding) for name in files
        )
    except EngineUnavailable:
        return ()


def _check_task(manifest: Manifest) -> None:
    """Refuse what is no classifier: the first output would be taken for class probabilities."""
    if manifest.decoder is not None:
        raise UsageError(
            f"edge diagnose compares scores of classes, and these models are for {manifest.task}",
            hint="edge compare tells how far the answers of two files agree, and on which images "
            "not.",
        )


def _check_quantized(manifest: Manifest) -> None:
    if not any(traits(variant.precision).is_integer for variant in manifest.variants):
        names = ", ".join(variant.name for variant in manifest.variants)
        raise UsageError(
            f"the bundle has no int8 variant to diagnose, only {names}",
            hint="Build it with tflite-int8 or onnx-int8, or score it with: edge evaluate",
        )


def _check_float(manifest: Manifest) -> None:
    """Refuse a bundle of a given file in which nothing answers in floats.

    It has no Keras model either: its integer files could only be held against one another, and a
    wrong one would pass for the reference.
    """
    is_given = "identified" in manifest.provenance
    if not is_given or any(item.precision == "fp32" for item in manifest.variants):
        return
    names = ", ".join(item.name for item in manifest.variants)
    if given_file(manifest) is None:
        raise UsageError(
            f"{names} was an integer file already, and there is no float file to hold it against",
            hint="Export the float file that it was made of, and diagnose that bundle.",
        )
    raise UsageError(
        f"the bundle has no float variant to hold {names} against",
        hint="Export the float file again, with its fp32 variant too.",
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
    return [item.path for item in spread(chosen, most)], notes


def spread(items: Sequence[ItemT], most: int) -> list[ItemT]:
    """Return at most so many of the items, evenly spread."""
    places = np.linspace(0, len(items) - 1, min(most, len(items))).round().astype(int)
    return [items[place] for place in places]


def _digest(path: Path) -> str:
    """The hash of a file; empty where it cannot be read, which is said when it is opened."""
    try:
        return sha256_file(path)
    except OSError:
        return ""


def _judged(
    measured: Measured,
    images: int,
    skipped: Mapping[str, str],
    blocks: Mapping[str, blame.Blocks],
) -> Diagnosis:
    manifest, collector, reference = measured.manifest, measured.collector, measured.reference
    rows, differences = measured.rows, measured.differences
    files = measured.files(blocks)
    findings = blame.findings(
        manifest.variants, blame.AnswerMatrix(rows, differences, files, reference)
    )
    notes = list(collector.notes)
    source = _source(manifest, reference)
    if source is blame.Basis.GIVEN_FILE:
        notes.append(
            f"{reference} is the float file that was given and is the reference; its layers are "
            "not compared"
        )
    elif source is blame.Basis.MISSING:
        missing = "the given float file" if given_file(manifest) else "the Keras model"
        notes.append(
            f"without {missing}, {reference} is the reference, and layers are not compared"
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
        pairs=differences,
        files=files,
        findings=findings,
        conclusion=blame.conclusion(findings, source=source),
        notes=tuple(notes),
    )


def _source(manifest: Manifest, reference: str) -> blame.Basis:
    """What the reference is: a float file is a given one's own bytes."""
    if reference == KERAS:
        return blame.Basis.KERAS
    floats = [item.name for item in manifest.variants if item.precision == "fp32"]
    if given_file(manifest) is not None and reference in floats:
        return blame.Basis.GIVEN_FILE
    return blame.Basis.MISSING
