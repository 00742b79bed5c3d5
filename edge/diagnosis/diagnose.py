"""``edge diagnose``: run every file with every set of kernels, and say which tool is to blame."""

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from edge.dataset.folder import list_files
from edge.dataset.pictures import Picture
from edge.diagnosis import blame
from edge.diagnosis.keras_layers import ANSWER, KerasLayers
from edge.diagnosis.probe import FileProbe
from edge.diagnosis.result import Diagnosis, FileLayers, MatrixRow, RowDifference, traits
from edge.diagnosis.rows import KERAS, RunnableRow, Scores, failure, pairs, runners
from edge.errors import DataError, EngineUnavailable, ImageError, ModelLoadError, UsageError
from edge.evaluation.images import SEEN, Origins, counted, origins_of, said
from edge.progress import Progress, Step
from edge.runtime.bundle import Bundle
from edge.runtime.contract import Preprocessing
from edge.runtime.files import sha256_file
from edge.runtime.head import Head, class_probabilities, read_head
from edge.runtime.image import READABLE
from edge.runtime.preprocess import load
from edge.runtime.session import first_line
from edge.runtime.spec import Manifest, Variant
from edge.threads import in_threads

SOURCE: Final = "source/model.keras"
GIVEN_FILES: Final = ("source/model.tflite", "source/model.onnx")  # float files of somebody else


class Collector:
    """The rows and files of a bundle, opened, and what they answered so far.

    Attributes:
        rows: The rows in the order of the matrix, with those that are not available.
        probes: A probe of each file whose layers can be read.
        notes: One sentence for each file that could not be opened.
    """

    def __init__(self, bundle: Bundle) -> None:
        """Open everything.

        Raises:
            BundleError: A file of the bundle is altered, or a model file is missing.
            ModelLoadError: A model file does not load with the kernels that a user gets.
        """
        self.notes: list[str] = []
        self._head = read_head(bundle)
        self._runners: list[RunnableRow] = []
        rows = []
        for item in runners(bundle):
            if isinstance(item, RunnableRow):
                self._runners.append(item)
            rows.append(item.row if isinstance(item, RunnableRow) else item)
        self._keras, row = _keras(bundle)
        self.rows = (row, *rows)
        self.probes = self._probes(bundle) if self._keras else []
        names = {name for probe in self.probes for name in probe.names}
        self._activations = self._keras.activations(tuple(names)) if self._keras else None
        self._answers: dict[str, list[NDArray[np.float32]]] = {
            row.name: [] for row in self.rows if not row.problem
        }

    def _probes(self, bundle: Bundle) -> list[FileProbe]:
        assert self._keras is not None
        black = np.zeros(bundle.manifest.preprocessing.shape, np.uint8)
        probes = []
        for variant in bundle.manifest.variants:
            path = bundle.model(variant.name)[1]
            try:
                probes.append(FileProbe(variant, path, self._keras, black))
            except (EngineUnavailable, ModelLoadError) as error:
                self.notes.append(f"layers of {variant.name}: {error.message}")
        return probes

    def run(
        self, paths: Sequence[Path], preprocessing: Preprocessing, step: Step
    ) -> dict[str, str]:
        """Run every image through every row and every file.

        Args:
            paths: The images.
            preprocessing: The preprocessing contract.
            step: Is told of each finished image.

        Returns:
            Why an image could not be read, by its path.

        Raises:
            InferenceError: An interpreter failed.
        """
        skipped = {}
        with ThreadPoolExecutor(max(1, len(self._runners))) as pool:
            for path in paths:
                try:
                    self._add(load(path, preprocessing), pool)
                except ImageError as error:
                    skipped[str(path)] = error.message
                step(1)
        return skipped

    def _add(self, pixels: NDArray[np.uint8], pool: ThreadPoolExecutor) -> None:
        waiting = [(item.row.name, pool.submit(item.run, pixels)) for item in self._runners]
        if self._activations is not None:
            reference = self._activations(pixels[np.newaxis])
            self._answers[KERAS].append(reference[ANSWER].reshape(-1))
            for probe in self.probes:
                probe.add(pixels, reference)
        for name, future in waiting:
            self._answers[name].append(future.result())

    def tables(self) -> dict[str, Scores]:
        """Return the real values of each available row, (images, classes)."""
        return {
            name: _scores(np.stack(answers), self._head) for name, answers in self._answers.items()
        }

    def steps(self) -> dict[str, float | None]:
        """Return the quantization step of each available row's output; None for a real one."""
        known = self._head is None
        return {KERAS: None} | {
            item.row.name: item.step if known else None for item in self._runners
        }


def _scores(outputs: Scores, head: Head | None) -> Scores:
    """What a row's outputs say of the classes; where they are not finite, NaN says so."""
    finite = np.isfinite(outputs).all(axis=1, keepdims=True)
    if head is None:
        return outputs
    scores = class_probabilities(np.where(finite, outputs, 0.0).astype(np.float32), head)
    return np.where(finite, scores, np.float32(np.nan))


def _keras(bundle: Bundle) -> tuple[KerasLayers | None, MatrixRow]:
    """The Keras model, or None, and its row.

    Raises:
        BundleError: The file is altered.
    """
    row = MatrixRow(name=KERAS, variant=None, kernels=KERAS)
    given = _given_file(bundle.manifest)
    if given is not None:
        return None, replace(row, problem=f"the bundle was made of {given}, not of a Keras model")
    if SOURCE not in bundle.manifest.files or not (bundle.path / SOURCE).exists():
        return None, replace(row, problem=f"the bundle lacks {SOURCE}")
    path = bundle.checked(SOURCE)
    try:
        import tensorflow as tf

        model = KerasLayers(path)
    except ImportError as error:
        return None, replace(row, problem=f"TensorFlow is not installed ({first_line(error)})")
    except ModelLoadError as error:
        return None, replace(row, problem=error.message)
    return model, replace(row, engine=f"tensorflow {tf.__version__}")


def diagnose(path: Path, directory: Path, *, images: int, progress: Progress) -> Diagnosis:
    """Find where the files of a bundle depart from their source.

    Args:
        path: The folder of the bundle.
        directory: The folder of images; their classes play no part.
        images: How many images run at most, spread evenly over the sorted folder.
        progress: Is shown two stages.

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
    return _judged(bundle.manifest, collector, len(chosen) - len(skipped), skipped)


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
    if _given_file(manifest) is None:
        raise UsageError(
            f"{names} was an integer file already, and there is no float file to hold it against",
            hint="Export the float file that it was made of, and diagnose that bundle.",
        )
    raise UsageError(
        f"the bundle has no float variant to hold {names} against",
        hint="Export the float file again, with its fp32 variant too.",
    )


def _given_file(manifest: Manifest) -> str | None:
    """The float file of somebody else that the bundle was made of; None if there is none."""
    return next((name for name in GIVEN_FILES if name in manifest.files), None)


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
    spread = np.linspace(0, len(chosen) - 1, min(most, len(chosen))).round().astype(int)
    return [chosen[position].path for position in spread], notes


def _digest(path: Path) -> str:
    """The hash of a file; empty where it cannot be read, which is said when it is opened."""
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
    differences = pairs(tables, steps, manifest.output)
    files = _files(manifest.variants, collector, differences, reference)
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
        missing = "the given float file" if _given_file(manifest) else "the Keras model"
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
    if _given_file(manifest) is not None and reference in floats:
        return blame.Basis.GIVEN_FILE
    return blame.Basis.MISSING


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


def _files(
    variants: Sequence[Variant],
    collector: Collector,
    pairs: Sequence[RowDifference],
    reference: str,
) -> tuple[FileLayers, ...]:
    """The layers of each file, without those whose tensor is another one (see ``blame``)."""
    errors = {probe.variant.name: probe.errors() for probe in collector.probes}
    differences = {pair.second: pair.max_difference for pair in pairs if pair.first == reference}
    mismatched: dict[str, frozenset[str]] = {}
    for variant in variants:
        difference = differences.get(variant.name)
        sound = difference is not None and difference <= blame.FLOAT_TOLERANCE
        if variant.precision == "fp32" and variant.name in errors and sound:
            mismatched[variant.format] = blame.mismatches(errors[variant.name])
    return tuple(
        blame.judged(
            probe.variant.name,
            probe.variant.precision,
            errors[probe.variant.name],
            unmatched=probe.unmatched,
            mismatched=mismatched.get(probe.variant.format, frozenset()),
        )
        for probe in collector.probes
    )
