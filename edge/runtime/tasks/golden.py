"""The golden self-test of a model that is no classifier: are its answers those of the host?

Two things are compared. What a user sees: objects, classes of pixels, keypoints, a vector, within
a tolerance of each task. And a sample of the raw outputs, so that a picture that shows nothing does
not let a broken network pass; of rows that are in the order of their scores, the scores alone,
since rounding makes rows change places.
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from edge.errors import BundleError
from edge.runtime import checked
from edge.runtime.bundle import Bundle
from edge.runtime.golden import (
    GOLDEN_NAME,
    MAX_ANSWERS,
    GoldenComparison,
    golden_document,
    golden_pixels,
)
from edge.runtime.placement import Placement
from edge.runtime.preprocess import PlacedPixels
from edge.runtime.spec import Variant
from edge.runtime.tasks.boxes import overlaps
from edge.runtime.tasks.model import TaskModel
from edge.runtime.tasks.results import (
    Answer,
    Detection,
    Detections,
    Embedding,
    Poses,
    Segmentation,
)
from edge.runtime.tasks.table import DecoderSpec, Task
from edge.runtime.typed import Mistyped, encoded, typed

TASK_GOLDEN_VERSION: Final = 2  # of golden.json; 1 is that of classifiers
SAMPLE: Final = 4096  # values of each output
SCORES: Final = 100  # of rows that are in the order of their scores, the highest ones
RELATIVE: Final = "relative error"  # root mean square of the difference, in standard deviations


@dataclass(frozen=True, slots=True, kw_only=True)
class Tolerances:
    """What may differ. Source of the figures: docs/tasks.md.

    Attributes:
        raw: The largest relative error of an output.
        overlap: The least IoU of an object with that of the host.
        score: The largest difference of its score.
        pixels: The least share of pixels of the same class.
        distance: The largest distance of a keypoint, as a share of the longer side of its body.
        cosine: The least cosine of two embeddings.
    """

    raw: float
    overlap: float
    score: float
    pixels: float
    distance: float
    cosine: float


# On one interpreter, answers do not depend on the number of threads (0.0 measured), and between
# x86-64 and aarch64 by single steps of rounding. With other kernels (XNNPACK off, ONNX Runtime
# without optimization) the relative error was 0.14 for an int8 YOLOX, 0.32 for an int8 MoveNet;
# a network with one layer ruined is beyond 1.
SAME: Final = Tolerances(raw=0.1, overlap=0.75, score=0.1, pixels=0.98, distance=0.05, cosine=0.99)
OTHER: Final = Tolerances(raw=0.5, overlap=0.5, score=0.3, pixels=0.9, distance=0.15, cosine=0.95)
CLEAR: Final = 0.1  # by which a score lies above its threshold that rounding does not undo
SURE: Final = 0.3  # the least score of a keypoint that is compared


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskExpected:
    """What one variant answered on the building host.

    Attributes:
        path: An .npz file in the bundle: the samples of each output, (images, values), as
            ``raw0``, ``raw1`` ...; of rows in the order of their scores, the highest scores as
            ``raw0``; and masks or vectors as ``answers``.
        answers: The answers of detectors and pose models; empty for others.
        engine: Interpreter and version that answered.
        flat: Nothing is found in any of the pictures, so that the answers prove little.
    """

    path: str
    answers: tuple[Any, ...]
    engine: str
    flat: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskGolden:
    """``golden/golden.json`` of a bundle that is no classifier.

    Attributes:
        images: PNG files in the bundle, of the size that the network takes.
        decoder: The name and all parameters of what read the outputs on the building host.
        variants: By name.
    """

    images: tuple[str, ...]
    decoder: Mapping[str, Any]
    variants: Mapping[str, TaskExpected]

    def to_json(self) -> dict[str, Any]:
        """Return the fields as JSON values."""
        return {"schema_version": TASK_GOLDEN_VERSION, **encoded(self)}


@dataclass(frozen=True, slots=True)
class AnswerDifference:
    """How an answer differs from that of the host.

    Attributes:
        differing: How many results differ.
        compared: How many there are.
        reason: Why that is too much, a clause; empty if it is not.
    """

    differing: int
    compared: int
    reason: str = ""


def sampled(output: NDArray[Any]) -> NDArray[Any]:
    """Return some values of an output (values,), spread evenly over it, the same on each device."""
    values = output.reshape(-1)
    return values[:: max(1, -(-values.size // SAMPLE))]


def on_tensor(pixels: NDArray[np.uint8]) -> PlacedPixels:
    """Return pixels whose answers are in pixels of the tensor itself."""
    height, width = pixels.shape[:2]
    place = Placement(width=width, height=height, left=0.0, top=0.0, scale_x=1.0, scale_y=1.0)
    return PlacedPixels(pixels, place)


def kept_outputs(model: TaskModel, outputs: Sequence[NDArray[Any]]) -> list[NDArray[Any]]:
    """Return what is compared of the raw outputs of a picture, of the same shapes on each device.

    Args:
        model: The model.
        outputs: What it gave, all finite where the decoder reads them.
    """
    scores = model.row_scores(outputs)
    if scores is None:
        return [sampled(output) for output in outputs]
    highest = np.zeros(SCORES, np.float32)  # how many rows there are may depend on the picture
    given = np.sort(scores)[::-1][:SCORES]
    highest[: len(given)] = given
    return [highest]


def read_by(spec: DecoderSpec) -> Mapping[str, Any]:
    """Return the name and all parameters of a decoder, as JSON values."""
    return {"name": spec.name, "parameters": encoded(spec.read_parameters())}


class TaskGoldenTest:
    """See ``SelfTest``, of any other model."""

    def __init__(self, bundle: Bundle, variant: Variant, model: TaskModel) -> None:
        """Read the files, each checked against the manifest.

        Raises:
            BundleError: The bundle has no golden self-test, or not for this variant, or a file
                of it is missing, altered or of a form that does not fit.
        """
        golden = _read(bundle)
        _check_decoder(golden, model)
        wanted = golden.variants.get(variant.name)
        if wanted is None or not golden.images:
            raise BundleError(f"the bundle has no golden self-test of {variant.name}")
        self.images = golden.images
        self.unit, self.host_engine, self.flat = RELATIVE, wanted.engine, wanted.flat
        self._model = model
        self._arrays = _arrays(bundle, wanted)
        self._answers = _answers(bundle, model, wanted, self._arrays, len(golden.images))
        self._placed = [on_tensor(golden_pixels(bundle, image)) for image in golden.images]
        engine = model.session.engine.partition(" ")[0]
        self.same_engine = engine == wanted.engine.partition(" ")[0]
        self._allowed = SAME if self.same_engine else OTHER
        self.tolerance = self._allowed.raw

    def run(self, number: int = 0) -> GoldenComparison:
        """Run one image and compare.

        Raises:
            InferenceError: The interpreter failed, or its answer is not finite.
            BundleError: The outputs are of another form than the host's.
        """
        placed = self._placed[number]
        began = time.perf_counter()
        outputs = self._model.outputs(placed)
        seconds = time.perf_counter() - began
        answer = self._model.decode(outputs, placed)
        found = difference(self._answers[number], answer, self._allowed, self._threshold)
        worst = self._raw_error(number, outputs)
        image = self.images[number]
        reason = f"{image}: {found.reason}" if found.reason else ""
        if not reason and not worst <= self.tolerance:
            what = f"the outputs are {worst:.3g} ({RELATIVE})"
            if self._model.ordered:
                what = f"the scores of the rows are up to {worst:.3g}"
            reason = f"{image}: {what} from the host's, "
            reason += f"at most {self.tolerance:g} pass"
        return GoldenComparison(
            image=image,
            worst=worst,
            differing=found.differing,
            elements=found.compared,
            expected_class=None,
            found_class=None,
            seconds=seconds,
            reason=reason,
        )

    def infer(self, number: int = 0) -> None:
        """Run one image, for its time only."""
        self._model.outputs(self._placed[number])

    @property
    def _threshold(self) -> float:
        return self._model.threshold

    def _raw_error(self, number: int, outputs: Sequence[NDArray[Any]]) -> float:
        """Return the greatest relative error of an output, or difference of a row's score."""
        errors = []
        for position, given in enumerate(kept_outputs(self._model, outputs)):
            wanted = self._arrays.get(f"raw{position}")
            if wanted is None or wanted[number].shape != given.shape:
                raise BundleError(
                    f"output {position} of the model has {given.size} sampled values, which the "
                    "golden file does not hold",
                    hint="The files are of different builds; export the bundle again.",
                )
            if self._model.ordered:
                errors.append(float(np.abs(wanted[number] - given).max()))
            else:
                errors.append(relative_error(wanted[number], given))
        return max(errors)


def relative_error(wanted: NDArray[Any], given: NDArray[Any]) -> float:
    """Return the root mean square of the difference in standard deviations of ``wanted``.

    Of values that are all alike, the unit is their size.
    """
    expected, found = wanted.astype(np.float64), given.astype(np.float64)
    if not (np.isfinite(found).all() and np.isfinite(expected).all()):
        return float("inf")
    spread = float(expected.std()) or float(np.abs(expected).max()) or 1.0
    return float(np.sqrt(np.mean((found - expected) ** 2))) / spread


def difference(
    wanted: Answer, found: Answer, allowed: Tolerances, threshold: float
) -> AnswerDifference:
    """Return how an answer differs from that of the host.

    Args:
        wanted: The host's.
        found: The one here, of the same task.
        allowed: What may differ.
        threshold: The least score of an object that a user sees.
    """
    if isinstance(wanted, Detections) and isinstance(found, Detections):
        return _objects(wanted.items, found.items, allowed, threshold + CLEAR)
    if isinstance(wanted, Poses) and isinstance(found, Poses):
        return _bodies(wanted, found, allowed, threshold + CLEAR)
    if isinstance(wanted, Segmentation) and isinstance(found, Segmentation):
        alike = int((wanted.mask == found.mask).sum())
        share = alike / wanted.mask.size
        reason = "" if share >= allowed.pixels else f"only {100 * share:.1f} % of the pixels agree"
        return AnswerDifference(wanted.mask.size - alike, wanted.mask.size, reason)
    if isinstance(wanted, Embedding) and isinstance(found, Embedding):
        lengths = float(np.linalg.norm(wanted.values) * np.linalg.norm(found.values)) or 1.0
        cosine = float(wanted.values @ found.values) / lengths
        reason = "" if cosine >= allowed.cosine else f"the cosine of the vectors is {cosine:.3f}"
        return AnswerDifference(int(bool(reason)), 1, reason)
    raise BundleError("the golden answers are of another task than the model's")


def _objects(
    wanted: Sequence[Detection], found: Sequence[Detection], allowed: Tolerances, clear: float
) -> AnswerDifference:
    """Match the clear objects of both sides, each with any object of the other side."""
    lost = _unmatched([item for item in wanted if item.score >= clear], found, allowed)
    added = _unmatched([item for item in found if item.score >= clear], wanted, allowed)
    compared = sum(item.score >= clear for item in (*wanted, *found))
    if lost:
        return AnswerDifference(len(lost) + len(added), compared, f"{_named(lost[0])} is not found")
    if added:
        reason = f"{_named(added[0])} is found, which the host did not find"
        return AnswerDifference(len(added), compared, reason)
    return AnswerDifference(0, compared)


def _named(item: Detection) -> str:
    return f"{item.label} ({item.score:.2f}) at {item.left:.0f}, {item.top:.0f}"


def _unmatched(
    clear: Sequence[Detection], others: Sequence[Detection], allowed: Tolerances
) -> list[Detection]:
    """Return the objects that no object of the other side is like."""
    if not clear or not others:
        return list(clear)
    shares = overlaps(_boxes(clear), _boxes(others))
    return [
        item
        for item, row in zip(clear, shares, strict=True)
        if not any(
            other.index == item.index
            and share >= allowed.overlap
            and abs(other.score - item.score) <= allowed.score
            for other, share in zip(others, row, strict=True)
        )
    ]


def _boxes(items: Sequence[Detection]) -> NDArray[np.float32]:
    rows = [(item.left, item.top, item.right, item.bottom) for item in items]
    return np.array(rows, np.float32)


def _bodies(wanted: Poses, found: Poses, allowed: Tolerances, clear: float) -> AnswerDifference:
    """Compare the sure keypoints of the clear bodies, each with the nearest body here."""
    bodies = [pose for pose in wanted.items if pose.score >= clear]
    differing = compared = 0
    reason = ""
    for pose in bodies:
        sure = np.array([(point.score or 1.0) >= SURE for point in pose.keypoints])
        places = np.array([(point.x, point.y) for point in pose.keypoints])
        if not sure.any():
            continue
        side = max(float(np.ptp(places[sure], axis=0).max()), 1.0)
        others = [np.array([(p.x, p.y) for p in other.keypoints]) for other in found.items]
        compared += int(sure.sum())
        if not others:
            differing += int(sure.sum())
            reason = "the body is not found"
            continue
        distances = min(
            (np.hypot(*(other - places)[sure].T) / side for other in others),
            key=lambda each: float(each.mean()),
        )
        differing += int((distances > allowed.distance).sum())
        if float(distances.mean()) > allowed.distance:
            reason = f"keypoints are {float(distances.mean()):.2f} of the body's size away"
    return AnswerDifference(differing, compared, reason)


def _read(bundle: Bundle) -> TaskGolden:
    value = golden_document(bundle)
    version = value.get("schema_version") if isinstance(value, dict) else None
    if version != TASK_GOLDEN_VERSION:
        raise BundleError(
            f"{GOLDEN_NAME} has schema_version {version!r}; this runtime reads "
            f"{TASK_GOLDEN_VERSION} of a bundle that is no classifier",
            hint="Use the runtime that the bundle carries.",
        )
    try:
        return typed(TaskGolden, value, GOLDEN_NAME)
    except Mistyped as error:
        raise BundleError(f"{GOLDEN_NAME} lacks or misspells a field: {error}") from error


def _check_decoder(golden: TaskGolden, model: TaskModel) -> None:
    """Refuse answers that were read by another decoder, or by one with other parameters.

    Raises:
        BundleError: They were: nothing of them could be compared with the answers here.
    """
    here = read_by(model.spec)
    if golden.decoder == here:
        return
    given = golden.decoder.get("parameters")
    there = {"name": golden.decoder.get("name"), **(given if isinstance(given, dict) else {})}
    now = {"name": here["name"], **here["parameters"]}
    names = [name for name in now if now[name] != there.get(name)] or ["parameters"]
    told = ", ".join(
        f"{name} is {now.get(name)!r} in place of {there.get(name)!r}" for name in names[:3]
    )
    raise BundleError(
        f"the golden answers were read by another decoder than that of the manifest: {told}"[:300],
        hint="The files are of different builds; export the bundle again.",
    )


def _arrays(bundle: Bundle, wanted: TaskExpected) -> dict[str, NDArray[Any]]:
    content = bundle.content(wanted.path, max_bytes=MAX_ANSWERS)
    try:
        arrays = checked.read_npz(content, "the golden answers", max_bytes=MAX_ANSWERS)
    except ValueError as error:
        raise BundleError(f"{wanted.path} cannot be read: {error}") from error
    for name, values in arrays.items():
        if values.dtype.kind not in "iufb" or not np.isfinite(values).all():
            raise BundleError(
                f"{name} of {wanted.path} holds what is no finite number",
                hint="Export the bundle again.",
            )
    return arrays


def _answers(
    bundle: Bundle,
    model: TaskModel,
    wanted: TaskExpected,
    arrays: Mapping[str, NDArray[Any]],
    images: int,
) -> list[Answer]:
    """Return the host's answers.

    Raises:
        BundleError: They are of another form, or not as many as the images.
    """
    kept = arrays.get("answers")
    found: list[Answer] = []
    try:
        if kept is None:
            where = "a golden answer"
            if model.task is Task.POSE:
                found = [typed(Poses, item, where) for item in wanted.answers]
            else:
                found = [typed(Detections, item, where) for item in wanted.answers]
        elif kept.ndim == 3:
            masks = kept.astype(np.uint8)
            found = [Segmentation(mask=mask, labels=bundle.manifest.labels) for mask in masks]
        elif kept.ndim == 2:
            found = [Embedding(values=values) for values in kept.astype(np.float32)]
    except Mistyped as error:
        raise BundleError(f"{GOLDEN_NAME}: {error}") from error
    if len(found) != images or any(len(rows) != images for rows in arrays.values()):
        raise BundleError(f"{wanted.path} does not hold an answer to each of {images} images")
    return found
