"""Writes the folder of a bundle: models, labels, reports, golden answers, lock and manifest."""

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

import edge
from edge.cache import changed_in_use, sealed_sha256
from edge.dataset.pictures import Picture
from edge.evaluation.images import LOCK_NAME
from edge.pipeline.conversion import Converted
from edge.pipeline.job import ModelToBundle
from edge.pipeline.measurements import Measurements
from edge.pipeline.options import OutputOptions
from edge.pipeline.output import staged
from edge.pipeline.page.page import PAGE_NAME, write_page
from edge.pipeline.report import (
    Report,
    VariantReport,
)
from edge.pipeline.reproduce.lock import GROUPS, lock_of
from edge.pipeline.tasks.report import TaskReport, TaskVariant
from edge.pipeline.variants import RECIPE_NAME, recipe_of
from edge.runtime.bundle import LABELS_NAME, MANIFEST_NAME, labels_text
from edge.runtime.contract import Preprocessing
from edge.runtime.files import sha256_file, write_bytes, write_json
from edge.runtime.golden import ABSOLUTE, GOLDEN_NAME, STEPS, Expected, Golden, margin
from edge.runtime.head import Head, head_bytes
from edge.runtime.preprocess import load, picture_of
from edge.runtime.session import encode_pixels, open_session
from edge.runtime.spec import Manifest, Variant


def write_bundle(
    subject: ModelToBundle, report: Report, measured: Measurements, options: OutputOptions
) -> None:
    """Write the whole folder of a classifier, which takes its place when it is complete.

    Raises:
        OutputError: The disk is full or read-only, or something else lies there by now.
        ImageError: A picture that could be read before no longer can.
        InferenceError: An interpreter failed.
    """
    with staged(options.output) as folder:
        write_models(folder, subject, measured.converted)
        write_report(folder, subject, report, measured.converted, options)
        write_page(
            folder / PAGE_NAME,
            report,
            labels=subject.labels,
            pictures=subject.pictures,
            preprocessing=subject.preprocessing,
            provenance=subject.provenance,
        )
        write_golden(
            folder, measured.converted, subject.pictures, measured.reference, subject.preprocessing
        )
        if subject.head is not None:
            write_head(folder, subject.head)
        write_end(folder, subject, report, measured.converted)


def write_models(folder: Path, subject: ModelToBundle, converted: Sequence[Converted]) -> None:
    """Write the model files, what they are made of, and the labels."""
    write_files(folder, converted, subject.labels)
    if subject.source is not None:
        path, name = subject.source
        (folder / name).parent.mkdir()
        shutil.copyfile(path, folder / name)
    if subject.groups is not None:
        write_bytes(folder / GROUPS, subject.groups)


def write_files(folder: Path, converted: Sequence[Converted], labels: Sequence[str]) -> None:
    """Write the model files and the labels."""
    models = folder / "models"
    models.mkdir()
    for item in converted:
        shutil.copyfile(item.path, models / item.target.filename)
    write_bytes(folder / LABELS_NAME, labels_text(labels).encode())


def write_head(folder: Path, head: Head) -> None:
    """Write what makes probabilities of the embeddings that the model files answer with."""
    path = folder / head.spec.path
    path.parent.mkdir()
    write_bytes(path, head_bytes(head))


def write_report(
    folder: Path,
    subject: ModelToBundle,
    report: Report | TaskReport,
    converted: Sequence[Converted],
    options: OutputOptions,
) -> None:
    """Write ``report.json``, and the recipe of mixed files if there are some."""
    write_json(folder / "report.json", report.to_json())
    recipe = recipe_of(
        converted,
        model=subject.name,
        model_id=subject.model_id,
        max_drop_points=options.max_drop_points,
    )
    if recipe is not None:
        write_json(folder / RECIPE_NAME, recipe)


def write_end(
    folder: Path,
    subject: ModelToBundle,
    report: Report | TaskReport,
    converted: Sequence[Converted],
) -> None:
    """Write lock, runtime and manifest, which depend on all other files."""
    lock = lock_of(
        folder,
        command=subject.command,
        name=subject.name,
        inputs=subject.inputs,
        weights_sha256=str(subject.provenance["weights_sha256"]),
    )
    write_json(folder / LOCK_NAME, lock)
    copy_runtime(folder / "runtime")
    _write_manifest(folder, subject, report, converted)


def _write_manifest(
    folder: Path,
    subject: ModelToBundle,
    report: Report | TaskReport,
    converted: Sequence[Converted],
) -> None:
    """Write the last file, which holds the hash of every other one."""
    files = hashed_files(folder)
    sources = {f"models/{item.target.filename}": item.path for item in converted}
    if subject.source is not None:
        path, name = subject.source
        sources[name] = path
    check_copies(sources, files)
    variants: Sequence[VariantReport | TaskVariant] = report.variants
    manifest = Manifest(
        name=subject.name,
        labels=subject.labels,
        preprocessing=subject.preprocessing,
        variants=tuple(
            _variant(item, variant) for item, variant in zip(converted, variants, strict=True)
        ),
        default_variant=report.default_variant,
        files=files,
        provenance=subject.provenance,
        head=None if subject.head is None else subject.head.spec,
        output=subject.output,
        decoder=subject.decoder,
    )
    write_json(folder / MANIFEST_NAME, manifest.to_json())


def hashed_files(folder: Path) -> dict[str, str]:
    """Return the sha256 (hex) of every file of a bundle that has no manifest yet, by its path."""
    return {
        path.relative_to(folder).as_posix(): sha256_file(path)
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def check_copies(sources: Mapping[str, Path], files: Mapping[str, str]) -> None:
    """Refuse copies of the cache's files that are not what was stored there, and scored.

    Args:
        sources: What was copied, by the path of its copy in the bundle.
        files: The sha256 (hex) of each file of the bundle.

    Raises:
        OutputError: The cache changed after it was checked.
    """
    for name, source in sources.items():
        if sealed_sha256(source) not in (None, files[name]):
            raise changed_in_use(source)


def _variant(item: Converted, scored: VariantReport | TaskVariant) -> Variant:
    return Variant(
        name=scored.name,
        path=scored.path,
        format=item.target.format,
        precision=str(item.target.precision),
        size_bytes=scored.size_bytes,
        input_dtype=open_session(item.path).inputs[0].dtype,
        top1=None if isinstance(scored, TaskVariant) else scored.top1,
        agreement=scored.agreement,
        latency_ms=scored.latency_ms,
        score=scored.score if isinstance(scored, TaskVariant) else None,
    )


def copy_runtime(folder: Path) -> None:
    """Copy the on-device runtime, so that a bundle runs where edge is not installed."""
    source = Path(edge.__file__).parent
    (folder / "edge").mkdir(parents=True)
    for name in ("__init__.py", "errors.py"):
        shutil.copyfile(source / name, folder / "edge" / name)
    shutil.copytree(
        source / "runtime",
        folder / "edge" / "runtime",
        ignore=shutil.ignore_patterns("__pycache__"),
        copy_function=shutil.copyfile,
    )


IMAGES: Final = 3
WANTED_MARGIN: Final = 0.5  # between the two best probabilities

# Largest difference that passes, (same interpreter, another one). On the same one, between x86-64
# and aarch64, docs/runner.md measured: integers one step, float32 1.1e-5, int8 weights with float
# answers 0.007; a wrong kernel is 38 steps or more away. Between correct interpreters it is up to
# 20 steps of 256, or 0.15 (benchmarks.parity).
_INTEGER_STEPS: Final = (2.0, 32.0)
_FLOAT32: Final = (1e-4, 1e-3)
_FLOAT16: Final = (2e-2, 2e-2)  # Arm CPUs with half-precision arithmetic compute fp16 files in it
_INTEGER_INSIDE: Final = (0.05, 0.2)  # int8 weights, float answers: dynamic range and QDQ


def write_golden(
    folder: Path,
    converted: Sequence[Converted],
    pictures: Sequence[Picture],
    reference: NDArray[np.float32],
    preprocessing: Preprocessing,
) -> None:
    """Choose pictures, run every file on them, write all into the bundle.

    Args:
        folder: The folder of the bundle.
        converted: The files.
        pictures: The held-out images, which are readable.
        reference: (images, classes) probabilities of the Keras model for ``pictures``.
        preprocessing: The contract.

    Raises:
        ImageError: A picture that could be read before no longer can.
        InferenceError: An interpreter failed.
    """
    chosen = choose_golden(reference)
    pixels = [load(pictures[index].path, preprocessing) for index in chosen]
    write_golden_of(folder, converted, pixels, preprocessing)


def write_golden_of(
    folder: Path,
    converted: Sequence[Converted],
    pixels: Sequence[NDArray[np.uint8]],
    preprocessing: Preprocessing,
) -> None:
    """Run every file on pictures of the size that it takes, and write all into the bundle.

    Args:
        folder: The folder of the bundle.
        converted: The files.
        pixels: The pictures, each uint8 (height, width, channels).
        preprocessing: The contract.

    Raises:
        InferenceError: An interpreter failed.
    """
    (folder / "golden").mkdir()
    images = tuple(f"golden/{number}.png" for number in range(len(pixels)))
    for name, array in zip(images, pixels, strict=True):
        picture_of(array).save(folder / name, "PNG")
    variants = {
        item.target.name: _expected(folder, item, pixels, preprocessing) for item in converted
    }
    write_json(folder / GOLDEN_NAME, Golden(images=images, variants=variants).to_json())


def choose_golden(reference: NDArray[np.float32], count: int = IMAGES) -> tuple[int, ...]:
    """Choose the pictures whose answers say most: of several classes, neither sure nor in doubt.

    A sure answer (probability 1) hides a wrong logit behind the softmax; one in doubt may turn by
    rounding alone. So the margin between the two best classes is to be near ``WANTED_MARGIN``,
    rather above it than below.

    Args:
        reference: (images, classes) probabilities.
        count: The largest number of pictures.

    Returns:
        Row numbers, the best first.
    """
    above = np.array([margin(row) for row in reference]) - WANTED_MARGIN
    off = np.where(above < 0, -2 * above, above)
    ranked = np.argsort(off, kind="stable").tolist()
    first_of_class: dict[int, int] = {}
    for index in ranked:
        first_of_class.setdefault(int(reference[index].argmax()), index)
    distinct = list(first_of_class.values())
    others = [index for index in ranked if index not in set(distinct)]
    return tuple((distinct + others)[:count])


def _expected(
    folder: Path,
    item: Converted,
    pixels: Sequence[NDArray[np.uint8]],
    preprocessing: Preprocessing,
) -> Expected:
    """Run one file and keep what it answers."""
    session = open_session(item.path)
    encoding = preprocessing.encoding
    tensors = (encode_pixels(array, session.inputs[0], encoding) for array in pixels)
    answers = np.stack([session.run(tensor)[0] for tensor in tensors])
    path = f"golden/{item.target.name}.npy"
    np.save(folder / path, answers, allow_pickle=False)
    same, other = tolerances(answers, str(item.target.precision))
    return Expected(
        path=path,
        engine=session.engine,
        unit=STEPS if answers.dtype.kind in "iu" else ABSOLUTE,
        tolerance=same,
        other_engine_tolerance=other,
        flat=is_flat(answers, same),
    )


def tolerances(answers: NDArray[Any], precision: str) -> tuple[float, float]:
    """Return what passes on the same interpreter and on another, in the unit of the answers."""
    if answers.dtype.kind in "iu":
        # A step of 16 bits is 256 times finer than one of 8.
        finer = 1.0 if answers.dtype.itemsize == 1 else 256.0
        return _INTEGER_STEPS[0] * finer, _INTEGER_STEPS[1] * finer
    # Probabilities are at most 1; embeddings are not, and rounding grows with them.
    size = max(1.0, float(np.abs(answers).max(initial=0.0)))
    same, other = {"fp32": _FLOAT32, "fp16": _FLOAT16}.get(precision, _INTEGER_INSIDE)
    return same * size, other * size


def is_flat(answers: NDArray[Any], tolerance: float) -> bool:
    """Return whether a network that always gives one answer, or one to all classes, would pass.

    Args:
        answers: (images, *output).
        tolerance: The tolerance, in their unit.
    """
    values = answers.reshape(len(answers), -1).astype(np.float64)
    between_classes = float(np.ptp(values, axis=1).max())
    between_images = float(np.ptp(values, axis=0).max()) if len(values) > 1 else between_classes
    return min(between_classes, between_images) <= 2 * tolerance
