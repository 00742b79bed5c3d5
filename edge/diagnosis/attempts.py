"""What would help against an integer file that is wrong: made, run on the same images, and timed.

If a layer diverges, the file is made again as it is: rounding does not explain it, so that another
file of the kind may be sound. Then the blocks that cost the answers most are kept in floats, twice
as many each time, until nobody would be blamed for the answers. Where half of the blocks do not do,
a TFLite file with integer weights alone is tried, and one of float16.
"""

import math
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

import numpy as np
from numpy.typing import NDArray

from benchmarks.turns import BLOCK, TimedFile, in_turn
from converters.base import ConversionRequest, Precision
from converters.quantizable import Quantizable
from converters.writing import of_keras
from edge.diagnosis import blame
from edge.diagnosis.blocks import cut_into_blocks, said
from edge.diagnosis.collector import SOURCE
from edge.diagnosis.layers import Layer, layer_of
from edge.diagnosis.measured import Measured
from edge.diagnosis.result import Attempt, Culprit, Diagnosis, FileLayers, traits
from edge.diagnosis.rows import Scores, compared
from edge.errors import ConversionError, ImageError
from edge.evaluation.confidence import CONFIDENCE
from edge.evaluation.predictions import run_pixels
from edge.progress import Progress, Step
from edge.runtime.bundle import Bundle
from edge.runtime.contract import Preprocessing
from edge.runtime.output import OutputSpec
from edge.runtime.preprocess import load
from edge.runtime.session import encode_pixels
from edge.runtime.spec import Manifest, Variant
from edge.training.models import load_keras

ROUNDS: Final = 5  # two passes each
BETTER: Final = 0.5  # of the error that there was: 6 dB less, one bit
MIXED: Final = "--recipe RECIPE --variants {0}-fp32,{0}-int8,{0}-mixed"


def tried(
    bundle: Bundle,
    measured: Measured,
    result: Diagnosis,
    images: tuple[Sequence[Path], Sequence[Path]],
    progress: Progress,
) -> tuple[tuple[Attempt, ...], list[str]]:
    """Try what may help against the first file whose quantizer is to blame.

    Args:
        bundle: The bundle.
        measured: What was measured.
        result: The diagnosis so far.
        images: Those that files are tried on, and those that calibrate them.
        progress: Is shown a stage.

    Returns:
        What was tried, and what a reader should know of it.
    """
    blamed = [item.variant for item in result.findings if item.culprit is Culprit.QUANTIZER]
    file = next((item for item in result.files if item.variant in blamed and item.blocks), None)
    if file is None or measured.collector.head is not None:
        return (), []
    notes = []
    if images[0] == images[1]:
        notes.append("what was tried is calibrated on the images that it was tried on")
    with TemporaryDirectory(prefix="edge-attempts-") as folder, progress.stage("attempts") as step:
        trial = _trial(bundle, measured, file, images, Path(folder))
        try:
            return trial.attempts(step), notes
        except ConversionError as error:
            return (), [f"nothing could be tried against it: {error.message}"]


def _trial(
    bundle: Bundle,
    measured: Measured,
    file: FileLayers,
    images: tuple[Sequence[Path], Sequence[Path]],
    folder: Path,
) -> "FileTrial":
    manifest, collector = bundle.manifest, measured.collector
    probe = next(item for item in collector.probes if item.variant.name == file.variant)
    known = [item.name for item in measured.rows if item.variant == file.variant]
    tables = collector.tables()
    row = [name for name in known if name in tables][-1]  # the kernels that a user gets
    floats = [
        bundle.model(item.name)[1]
        for item in manifest.variants
        if item.precision == Precision.FP32 and item.format == probe.variant.format
    ]
    pixels, calibration = (_loaded(paths, manifest.preprocessing) for paths in images)
    return FileTrial(
        manifest=manifest,
        variant=probe.variant,
        file=file,
        layers=probe.keras.layers,
        keras_model=bundle.checked(SOURCE),
        models=(bundle.model(file.variant)[1], floats[0] if floats else None),
        pixels=pixels,
        calibration=calibration,
        reference=tables[measured.reference],
        answers=tables[row],
        step=collector.steps()[row],
        folder=folder,
    )


def _loaded(paths: Sequence[Path], contract: Preprocessing) -> NDArray[np.uint8]:
    """The pixels of those that can be read."""
    pixels = []
    for path in paths:
        with suppress(ImageError):
            pixels.append(load(path, contract))
    return np.stack(pixels)


@dataclass(frozen=True, kw_only=True)
class FileTrial:
    """The file to blame, and what others are held against.

    Attributes:
        manifest: The manifest of the bundle.
        variant: The variant to blame.
        file: Its layers and blocks.
        layers: The layers of the Keras model.
        keras_model: The path of the model.
        models: The path of the file to blame, and of the float file of its format, if there is one.
        pixels: uint8 (images, height, width, channels): the images of the diagnosis.
        calibration: The same of images that calibrate.
        reference: What the answers are held against, (images, classes).
        answers: The answers of the file to blame.
        step: The quantization step of its output; None for a real one.
        folder: A folder for files.
    """

    manifest: Manifest
    variant: Variant
    file: FileLayers
    layers: tuple[Layer, ...]
    keras_model: Path
    models: tuple[Path, Path | None]
    pixels: NDArray[np.uint8]
    calibration: NDArray[np.uint8]
    reference: Scores
    answers: Scores
    step: float | None
    folder: Path

    def attempts(self, step: Step) -> tuple[Attempt, ...]:
        """Try one file after the other until one holds; ``step`` is told of each.

        Raises:
            ConversionError: A converter refused the model.
        """
        made = []
        for option, description, kept, content in self._files():
            path = self.folder / f"attempt.{self.variant.format}"
            path.write_bytes(content)
            made.append(self._judged(path, option, description, kept))
            step(1)
            if made[-1].holds:
                break
        return tuple(made)

    def _files(self) -> Iterator[tuple[str, str, tuple[str, ...], bytes]]:
        """Option, description, blocks in floats and bytes of each file to try."""
        calibration = self.folder / "calibration.npy"
        np.save(calibration, self.calibration)
        request = ConversionRequest(
            keras_model=self.keras_model,
            format=self.variant.format,
            precisions=(Precision.MIXED,),
            output=self.folder,
            calibration=calibration,
            name=self.manifest.name,
            labels=self.manifest.labels,
            preprocessing=self.manifest.preprocessing,
        )
        module = import_module(f"converters.{self.variant.format}")
        quantizable, _ = of_keras(request, load_keras(self.keras_model), module.taken_apart)
        total = len(quantizable.blocks)
        if self.variant.precision == Precision.INT8 and self.file.first_divergent is not None:
            yield "", "the same int8 file, made again", (), quantizable.quantized()
        for kept in self._keeps(quantizable):
            described = f"a mixed file with {len(kept)} of {total} blocks in floats"
            option = MIXED.format(self.variant.format)
            yield option, described, kept, quantizable.quantized(kept)
        if self.variant.format == "tflite":
            function = module.traced(load_keras(self.keras_model))
            for precision in (Precision.DYNAMIC, Precision.FP16):
                described = f"a file of the precision {precision}"
                content = module.converted(function, precision)
                yield f"--variants tflite-{precision}", described, (), content

    def _keeps(self, quantizable: Quantizable) -> Iterator[tuple[str, ...]]:
        """The blocks to keep in floats: 1, 2, 4 and so on of those that cost most, up to half.

        As long as the others would cost more than half of what all do, a file can only seem to
        help, by chance on these images; it is not tried.
        """
        names = [block.name for block in quantizable.blocks]
        every = cut_into_blocks(self.layers, [layer.name for layer in self.layers])
        block_of = {name: block.name for block in every for name in block.members}
        ranked = sorted(
            self.file.blocks, key=lambda item: -(math.inf if item.alone is None else item.alone)
        )
        costly = [item.block for item in ranked]
        whole = self.file.together or 0.0
        mine = {name: block_of.get(layer_of(name, block_of) or "") for name in names}
        count = 1
        while 2 * count <= len(names):
            chosen = set(costly[:count])
            kept = tuple(name for name in names if mine[name] in chosen)
            rest = math.sqrt(sum((item.alone or 0.0) ** 2 for item in ranked[count:]))
            if kept and rest <= BETTER * whole:
                yield kept
            count *= 2

    def _judged(self, path: Path, option: str, description: str, kept: tuple[str, ...]) -> Attempt:
        """Run a file on the images, and time it."""
        encoding = self.manifest.preprocessing.encoding
        table = run_pixels(path, self.pixels, encoding=encoding)
        tables = {"reference": self.reference, "attempt": table, "file": self.answers}
        pair, before = (
            compared("reference", name, tables, dict.fromkeys(tables), self.manifest.output)
            for name in ("attempt", "file")
        )
        error, error_before = self._error(table), self._error(self.answers)
        time_ratio, float_ratio = self._time_ratios(path)
        return Attempt(
            instead_of=self.variant.name,
            option=option,
            description=description,
            kept=kept,
            agreement=pair.agreement,
            before=before.agreement,
            error=error,
            error_before=error_before,
            time_ratio=time_ratio,
            float_ratio=float_ratio,
            holds=not blame.too_far(pair, traits(self.variant.precision).variation)
            and error <= min(blame.MOST_TOGETHER, BETTER * error_before),
        )

    def _error(self, table: Scores) -> float:
        """The relative error of what the answers say, as far as the file's steps can tell."""
        output: OutputSpec = self.manifest.output
        floor = (self.step or 0.0) / 2
        wrong = signal = 0.0
        for answer, reference in zip(table, self.reference, strict=True):
            sound = said(reference, output, floor)
            wrong += float(np.square(said(answer, output, floor) - sound).sum())
            signal += float(np.square(sound).sum())
        return math.sqrt(wrong / signal) if signal else 0.0

    def _time_ratios(self, path: Path) -> tuple[float, float | None]:
        """The time of a file over that of the file to blame and of the float file, in turn."""
        encoding = self.manifest.preprocessing.encoding
        blamed, floats = self.models
        paths = {"attempt": path, "blamed": blamed, "floats": floats}
        files = {
            name: TimedFile(
                path=item,
                make_input=lambda spec: encode_pixels(self.pixels[0], spec, encoding),
            )
            for name, item in paths.items()
            if item is not None
        }
        turns = in_turn(files, BLOCK, ROUNDS, step=lambda _: None)
        ratios = [
            turns.judged("attempt", name, CONFIDENCE).ratio for name in files if name != "attempt"
        ]
        return ratios[0], ratios[1] if len(ratios) > 1 else None
