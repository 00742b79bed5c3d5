"""The golden self-test: does this device answer what the building host answered?

A bundle carries a few preprocessed pictures and, per variant, the host's raw output for each.
Equal kernels give equal integers but for single steps of rounding (measured between x86-64 and
aarch64, ``docs/runner.md``); floats differ by the order of sums. ``edge.pipeline.bundle`` writes
the files.
"""

import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from io import BytesIO
from typing import Any, Final, Protocol, Self

import numpy as np
from numpy.typing import NDArray

from edge.errors import BundleError
from edge.runtime import checked
from edge.runtime.bundle import Bundle
from edge.runtime.head import class_probabilities, read_head
from edge.runtime.image import decode_image
from edge.runtime.postprocess import dequantize
from edge.runtime.session import Session, encode_pixels
from edge.runtime.spec import Variant

GOLDEN_NAME: Final = "golden/golden.json"
GOLDEN_SCHEMA_VERSION: Final = 1
MAX_ANSWERS: Final = 256 << 20  # bytes of one variant's answers to all pictures
MAX_PICTURE: Final = 256 << 20  # bytes; of the network's own size, not of a camera's
STEPS: Final = "quantization steps"
ABSOLUTE: Final = "absolute"
CLEAR: Final = 0.1  # margin of probabilities that rounding of an embedding does not turn over


@dataclass(frozen=True, slots=True, kw_only=True)
class Expected:
    """What one variant answered on the building host.

    Attributes:
        path: A .npy file in the bundle, (images, *shape of one output).
        engine: Interpreter and version that answered.
        unit: The unit of both tolerances: quantization steps for integers, absolute for floats.
        tolerance: Largest difference that passes on the same interpreter.
        other_engine_tolerance: The same on another one, whose kernels round otherwise.
        flat: The answers hardly differ between the images or between the classes, so that a
            network that computes nothing would pass as well.
    """

    path: str
    engine: str
    unit: str
    tolerance: float
    other_engine_tolerance: float
    flat: bool

    @classmethod
    def from_json(cls, value: Any) -> Self:
        """Read what ``asdict`` gave.

        Raises:
            BundleError: A field is of another type, or a tolerance is negative.
            TypeError: A field is missing or unknown.
        """
        expected = cls(**value)
        for name, item in asdict(expected).items():
            if name in ("tolerance", "other_engine_tolerance"):
                right = type(item) in (int, float) and item >= 0
            else:
                right = isinstance(item, bool if name == "flat" else str)
            if not right:
                raise BundleError(f"{GOLDEN_NAME} says that {name} is {item!r}")
        return expected


@dataclass(frozen=True, slots=True, kw_only=True)
class Golden:
    """``golden/golden.json``.

    Attributes:
        images: PNG files in the bundle, of the size that the network takes.
        variants: By name.
    """

    images: tuple[str, ...]
    variants: Mapping[str, Expected]

    def to_json(self) -> dict[str, Any]:
        """Return the fields as JSON values."""
        return {"schema_version": GOLDEN_SCHEMA_VERSION} | asdict(self)

    @classmethod
    def from_json(cls, value: Any) -> Self:
        """Read what ``to_json`` wrote.

        Raises:
            BundleError: It is something else, or of another schema.
        """
        try:
            version = value["schema_version"]
            if version != GOLDEN_SCHEMA_VERSION:
                raise BundleError(
                    f"{GOLDEN_NAME} has schema_version {version!r}; this runtime reads "
                    f"{GOLDEN_SCHEMA_VERSION}",
                    hint="Use the runtime that the bundle carries.",
                )
            images = value["images"]
            if not isinstance(images, list) or not all(isinstance(item, str) for item in images):
                raise TypeError("images is no list of paths")
            return cls(
                images=tuple(images),
                variants={
                    name: Expected.from_json(item) for name, item in value["variants"].items()
                },
            )
        except (KeyError, TypeError, AttributeError) as error:
            raise BundleError(f"{GOLDEN_NAME} lacks or misspells a field: {error}") from error


@dataclass(frozen=True, slots=True, kw_only=True)
class GoldenComparison:
    """One golden image, run here.

    It passes if no element differs by more than the tolerance, and the best class is the same;
    the images were chosen so that this is no matter of rounding. Where a release has no class,
    the elements of the embeddings decide alone.

    Attributes:
        image: Its path in the bundle.
        worst: Largest difference of an element, in the unit of the variant; None where the
            answer is not finite.
        differing: How many elements are not equal.
        elements: How many there are.
        expected_class: Best class on the host; None for a model that is no classifier, or that
            has no class yet.
        found_class: Best class here; likewise.
        seconds: The time of the inference.
        reason: Why it does not pass; empty if it does.
    """

    image: str
    worst: float | None
    differing: int
    elements: int
    expected_class: int | None
    found_class: int | None
    seconds: float
    reason: str


class SelfTest(Protocol):
    """The golden images of one variant, decoded and ready to be run, whatever its task.

    Attributes:
        images: Paths in the bundle.
        unit: The unit of the differences.
        tolerance: The largest one that passes, for this session's interpreter.
        same_engine: Whether that is the one that answered on the host.
        host_engine: The interpreter and version that answered on the host.
        flat: Whether the answers prove little.
    """

    images: tuple[str, ...]
    unit: str
    tolerance: float
    same_engine: bool
    host_engine: str
    flat: bool

    def run(self, number: int = 0) -> GoldenComparison:
        """Run one image and compare.

        Raises:
            InferenceError: The interpreter failed.
        """
        ...

    def infer(self, number: int = 0) -> None:
        """Run one image, for its time only."""
        ...


class GoldenTest:
    """See ``SelfTest``, of a classifier.

    Attributes:
        expected: The answers that are expected of the variant.
    """

    def __init__(self, bundle: Bundle, variant: Variant, session: Session) -> None:
        """Read the files, each checked against the manifest.

        Raises:
            BundleError: The bundle has no golden self-test, or not for this variant, or a file
                of it is missing, altered or of a shape that does not fit.
        """
        golden = Golden.from_json(golden_document(bundle))
        wanted = golden.variants.get(variant.name)
        if wanted is None or not golden.images:
            raise BundleError(f"the bundle has no golden self-test of {variant.name}")
        self.images = golden.images
        self.expected = wanted
        self.unit, self.host_engine, self.flat = wanted.unit, wanted.engine, wanted.flat
        self._session = session
        self._head = read_head(bundle)
        self._multi_label = bundle.manifest.output.multi_label
        self._answers = _answers(bundle, wanted, len(golden.images))
        contract = bundle.manifest.preprocessing
        self._tensors = [
            encode_pixels(golden_pixels(bundle, image), session.inputs[0], contract.encoding)
            for image in golden.images
        ]
        self.same_engine = session.engine.partition(" ")[0] == wanted.engine.partition(" ")[0]
        self.tolerance = wanted.tolerance if self.same_engine else wanted.other_engine_tolerance

    def run(self, number: int = 0) -> GoldenComparison:
        """Run one image and compare.

        Raises:
            InferenceError: The interpreter failed.
        """
        tensor, expected = self._tensors[number], self._answers[number]
        began = time.perf_counter()
        output = self._session.run(tensor)[0]
        seconds = time.perf_counter() - began
        return self._compare(self.images[number], expected, output, seconds)

    def infer(self, number: int = 0) -> None:
        """Run one image, for its time only."""
        self._session.run(self._tensors[number])

    def _compare(
        self, image: str, expected: NDArray[Any], output: NDArray[Any], seconds: float
    ) -> GoldenComparison:
        given = output.reshape(-1)
        wanted = expected.reshape(-1)
        if given.shape != wanted.shape or given.dtype != wanted.dtype:
            raise BundleError(
                f"the model answers with {output.dtype} {output.shape}, the golden file holds "
                f"{expected.dtype} {expected.shape}",
                hint="The files are of different builds; build or copy the bundle again.",
            )
        apart = np.abs(given.astype(np.float64) - wanted.astype(np.float64))
        finite = bool(np.isfinite(apart).all())
        worst = float(apart.max()) if finite else None
        best, here, sure = self._classes(wanted, given)
        reason = ""
        if worst is None:
            reason = f"{image}: the answer is not finite (NaN or infinity)"
        elif worst > self.tolerance or (here != best and sure):
            unit = "steps" if self.expected.unit == STEPS else "(absolute)"
            reason = f"{image}: {worst:.3g} {unit} from the host's answer, "
            reason += f"at most {self.tolerance:g} pass"
            reason += f"; class {here} in place of {best}" if here != best else ""
        return GoldenComparison(
            image=image,
            worst=worst,
            differing=int(np.count_nonzero(apart)),
            elements=int(apart.size),
            expected_class=best,
            found_class=here,
            seconds=seconds,
            reason=reason,
        )

    def _classes(
        self, wanted: NDArray[Any], given: NDArray[Any]
    ) -> tuple[int | None, int | None, bool]:
        """Return the best class on the host and here, and whether rounding cannot turn the former.

        Where labels do not exclude one another, the strongest one only says which answer is meant:
        the tolerance of every value decides. So it is of a head without a class, which has no best
        one.
        """
        if self._multi_label:
            return int(wanted.argmax()), int(given.argmax()), False
        if self._head is None:
            return int(wanted.argmax()), int(given.argmax()), margin(wanted) > self.tolerance
        if not self._head.labels:
            return None, None, False
        values = dequantize(np.stack([wanted, given]), self._session.outputs[0])
        scores = class_probabilities(np.nan_to_num(values), self._head)
        host, here = scores.argmax(axis=1).tolist()
        return host, here, margin(scores[0]) > CLEAR


def margin(scores: NDArray[Any]) -> float:
    """Return how far the best class lies above the second, in the unit of the scores (classes,)."""
    if scores.size < 2:
        return 0.0
    second, best = np.sort(scores.astype(np.float64))[-2:]
    return float(best - second)


def golden_document(bundle: Bundle) -> Any:
    """Return what ``golden.json`` of a bundle holds, as JSON values.

    Raises:
        BundleError: The bundle has none, or it cannot be read.
    """
    if GOLDEN_NAME not in bundle.manifest.files:
        raise BundleError(
            "the bundle has no golden self-test",
            hint="An earlier edge built it; build or export it again.",
        )
    try:
        return checked.parse_json(bundle.content(GOLDEN_NAME), "the self-test")
    except ValueError as error:
        raise BundleError(f"{GOLDEN_NAME} cannot be read: {error}") from error


def _answers(bundle: Bundle, expected: Expected, images: int) -> NDArray[Any]:
    content = bundle.content(expected.path, max_bytes=MAX_ANSWERS)
    try:
        answers = checked.read_npy(content, "the list of answers", max_bytes=MAX_ANSWERS)
    except ValueError as error:
        raise BundleError(f"{expected.path} cannot be read: {error}") from error
    fits = answers.ndim >= 2 and len(answers) == images and answers[0].size > 0
    if not fits or answers.dtype.kind not in "iuf":
        raise BundleError(
            f"{expected.path} holds {answers.shape} values for {images} images, of the type "
            f"{answers.dtype}"
        )
    return answers


def golden_pixels(bundle: Bundle, image: str) -> NDArray[np.uint8]:
    """Return a golden image as the network takes it, uint8 (height, width, channels).

    Raises:
        BundleError: It is missing, altered or of another size.
    """
    spec = bundle.manifest.preprocessing
    content = bundle.content(image, max_bytes=MAX_PICTURE)
    decoded = decode_image(BytesIO(content), color_order=spec.color_order)
    if decoded.size != (spec.width, spec.height):
        raise BundleError(f"{image} is {decoded.size}, expected {(spec.width, spec.height)}")
    return np.asarray(decoded).reshape(spec.shape)
