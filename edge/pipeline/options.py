"""What the jobs take: resolved values, no defaults hidden further down."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from converters.base import DEFAULT_TARGETS
from edge.errors import UsageError
from edge.identification.model import StatedModel
from edge.runtime.contract import ChannelOrder, Resize
from edge.runtime.output import OutputActivation
from edge.training.options import BaseOptions, TrainingOptions

# Unless another number is asked for.
CALIBRATION_IMAGES: Final = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class OutputOptions:
    """Where a bundle goes and what it holds.

    Attributes:
        output: The folder of the bundle.
        overwrite: Whether to replace a bundle that lies there.
        cache: The root of the stage cache.
        variants: The names of the targets to write.
        required: The variants without which no bundle is wanted, asked for by name. Another one
            that cannot be written is a row of the report.
        calibration_images: The largest number of images that calibrate the integer files.
        max_drop_points: The percentage points of top-1 that a mixed file may lose.
        recipe: The recipe file of the mixed files, instead of a search.
        default_variant: The variant that runs by default; None for the fastest of those that are
            as accurate, which is measured.
        strict: Whether to refuse a bundle with an integer file that is less accurate than the
            model, or slower than the float file of its format.
        seed: The seed of every random choice.
        name: The name of the model; None for that of the folder or file.
    """

    output: Path
    overwrite: bool
    cache: Path
    variants: tuple[str, ...] = DEFAULT_TARGETS
    required: tuple[str, ...] = ()
    calibration_images: int = CALIBRATION_IMAGES
    max_drop_points: float | None = None
    recipe: Path | None = None
    default_variant: str | None = None
    strict: bool = False
    seed: int = 0
    name: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildOptions:
    """What ``edge build`` takes.

    Attributes:
        photos: A folder with one folder per class, or train/, val/, test/ of such.
        base: The pretrained network, and how images come to it.
        training: What learns, and how.
        train_images: The most images to learn from, validation among them; None for all.
        strict: A file that cannot be decoded, or that ``groups`` names and is not there, fails the
            build.
        groups: A CSV file that says which pictures belong together, so that no split parts them;
            None where each stands alone.
        divide_groups: A class with too few groups has its pictures divided one by one, instead of
            failing the build.
        output: Where the bundle goes.
    """

    photos: Path
    output: OutputOptions
    base: BaseOptions = field(default_factory=BaseOptions)
    training: TrainingOptions = field(default_factory=TrainingOptions)
    train_images: int | None = None
    strict: bool = False
    groups: Path | None = None
    divide_groups: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportOptions:
    """What ``edge export`` takes.

    Attributes:
        model: The name of a Keras Applications network, or the path of a Keras model, or of a
            .tflite or .onnx file.
        calibration_data: A folder of images, calibration and scoring; None where nothing is
            calibrated.
        evaluation_data: A folder of images to score on; None keeps some of the calibration folder.
        weights: The same as for a build; a model file has its own.
        labels: A text file with a class name per line; None for ImageNet's, or numbers.
        resize: How images become the model's size.
        crop_fraction: The part of the shorter side that center-crop keeps.
        output_activation: What the model's values are; AUTO finds it out.
        threshold: For two classes, the probability from which on the second one is the answer; for
            several labels, that from which on each holds. None for one that pictures choose, or
            0.5.
        positive_class: For a model with one value, the class whose probability it is; None for the
            second one.
        truth: A CSV file with the labels of each picture, for a model of several labels.
        size: (height, width), pixels, of a model file that leaves them open.
        input_range: What a model file wants to be fed, as ``parse_range`` reads it; None for
            0..255, unless pictures or the network itself tell otherwise: that stops the export.
        channel_order: The order of its channels; None for that of ``input_range``, or RGB.
        model_output: The name of the output that classifies, of a model file with several.
        custom_objects: A Python file that defines a model file's own layers, and is run.
        stated: What the user says of a .tflite or .onnx file; nothing of another model, for which
            the fields above say it.
        annotations: The format of the annotations of the images to score on, or where they lie,
            for a task other than classification; None for those that are found beside the images.
        output: Where the bundle goes.
    """

    model: str
    calibration_data: Path | None
    output: OutputOptions
    evaluation_data: Path | None = None
    weights: str = "imagenet"
    labels: Path | None = None
    resize: Resize = Resize.CENTER_CROP
    crop_fraction: float = 0.875
    output_activation: OutputActivation = OutputActivation.AUTO
    threshold: float | None = None
    positive_class: str | None = None
    truth: Path | None = None
    size: tuple[int, int] | None = None
    input_range: str | None = None
    channel_order: ChannelOrder | None = None
    model_output: str | None = None
    custom_objects: Path | None = None
    stated: StatedModel = field(default_factory=StatedModel)
    annotations: str | None = None

    @property
    def images(self) -> Path:
        """The folder of images that is always there: the one to calibrate on, if there is one.

        Raises:
            UsageError: There is none.
        """
        folder = self.calibration_data or self.evaluation_data
        if folder is None:
            raise UsageError(
                "--calibration-data is missing: int8 files are calibrated on pictures",
                hint="Add --calibration-data FOLDER; a part of it is kept to score on.",
            )
        return folder
