"""What the stages of a build or an export hand on: the model with its images, and the time."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from edge.dataset.pictures import Picture
from edge.dataset.truth import PictureTruth
from edge.evaluation.multilabel import LabelTruth
from edge.identification.model import Fact
from edge.pipeline.calibration import CalibrationAudit, Pool, calibration_report
from edge.pipeline.conversion import Converted, PreparedConverters
from edge.pipeline.report import ADOPTED_FILE, FLOAT_FILE, KERAS_MODEL, DataReport
from edge.pipeline.reproduce.lock import SOURCE, Command, JobInputs
from edge.progress import Progress, Step
from edge.runtime.contract import Preprocessing
from edge.runtime.head import Head
from edge.runtime.output import PROBABILITIES, OutputSpec
from edge.runtime.tasks.table import DecoderSpec
from edge.training.input_evidence import InputFinding


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelToBundle:
    """What both jobs hand over to be written.

    Attributes:
        command: ``build`` or ``export``.
        name: The name of the model.
        labels: The names of the classes.
        preprocessing: The contract.
        keras_model: A .keras file, RGB 0..255 in; None where a model file was given.
        model_id: The content hash of the model.
        load_model: Gives the Keras model, for the reference answers; None likewise.
        calibrate_on: Images to choose calibration images from.
        calibration_pool: What those were taken from; None where they are all there are.
        pictures: The held-out images to score on; none of them among ``calibrate_on``.
        data: What the report says of the data.
        provenance: What the manifest says of the origin of the model.
        inputs: What the lock says of the inputs.
        float_file: The float .tflite or .onnx file that is converted in the place of a Keras
            model; None where there is one, and where a finished file is adopted.
        adopted: A finished file that is the only variant, in the place of the Keras model; None
            for a network that is converted.
        head: Where the model answers with embeddings, what makes probabilities of them.
        output: What the model answers with, where there is no head.
        truth: Which labels hold in ``pictures``, where labels do not exclude one another;
            None of any other model.
        input: How the network is fed, and how that is known, for the report.
        notes: What a user was told already, for the report.
        decoder: What reads the outputs of a model that is no classifier; None of a classifier.
        truths: The annotations of those of ``pictures`` that have some, for a model that is no
            classifier.
        facts: What was taken of a given model file, and from which evidence.
        groups: The bytes of the file of groups, which the bundle keeps; None without one.
        converters: Where the converters' processes come from.
    """

    command: Command
    name: str
    labels: tuple[str, ...]
    preprocessing: Preprocessing
    model_id: str
    calibrate_on: Sequence[Picture]
    pictures: Sequence[Picture]
    data: DataReport
    provenance: Mapping[str, Any]
    inputs: JobInputs
    keras_model: Path | None = None
    load_model: Callable[[], Any] | None = None
    float_file: Path | None = None
    calibration_pool: Pool | None = None
    adopted: Converted | None = None
    head: Head | None = None
    output: OutputSpec = PROBABILITIES
    truth: LabelTruth | None = None
    input: InputFinding | None = None
    notes: tuple[str, ...] = ()
    decoder: DecoderSpec | None = None
    truths: tuple[PictureTruth, ...] = ()
    facts: tuple[Fact, ...] = ()
    groups: bytes | None = None
    converters: PreparedConverters = field(default_factory=PreparedConverters)

    @property
    def source(self) -> tuple[Path, str] | None:
        """The file that the others are made of, and its path in a bundle; None where adopted."""
        if self.keras_model is not None:
            return self.keras_model, SOURCE
        if self.float_file is not None:
            return self.float_file, f"source/model{self.float_file.suffix.lower()}"
        return None

    @property
    def compared_with(self) -> str:
        """Whose answers the files are held against, in words."""
        if self.adopted is not None:
            return ADOPTED_FILE
        return KERAS_MODEL if self.float_file is None else FLOAT_FILE

    @property
    def pool(self) -> Pool:
        """What the images to calibrate on were taken from."""
        return self.calibration_pool or Pool(len(self.calibrate_on))

    def audit(
        self, chosen: Sequence[Picture], converted: Sequence[Converted], asked: int
    ) -> CalibrationAudit:
        """Audit the images that calibrated its files.

        Args:
            chosen: These images.
            converted: The files.
            asked: Images that were asked for at most.
        """
        return calibration_report(
            chosen,
            self.pictures,
            self.preprocessing,
            self.labels,
            converted,
            asked=asked,
            pool=self.pool,
        )


class TimedStages:
    """Progress that keeps the seconds of each stage, in order."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self.seconds: dict[str, float] = {}

    @contextmanager
    def stage(self, title: str, total: int | None = None) -> Iterator[Step]:
        """See ``Progress``."""
        started = time.monotonic()
        with self._progress.stage(title, total) as step:
            yield step
        self.seconds[title] = self.seconds.get(title, 0.0) + time.monotonic() - started

    def note(self, text: str) -> None:
        """See ``Progress``."""
        self._progress.note(text)

    def inform(self, text: str) -> None:
        """See ``Progress``."""
        self._progress.inform(text)
