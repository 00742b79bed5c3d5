"""From output tensors to an answer: what every decoder is, and the table of them."""

import importlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Protocol, Self

from numpy.typing import NDArray

from edge.errors import BundleError, InferenceError, UsageError
from edge.runtime.contract import Preprocessing, check_names
from edge.runtime.placement import Placement
from edge.runtime.tasks.results import Answer, Task
from edge.runtime.typed import Mistyped, encoded, typed

if TYPE_CHECKING:
    from edge.runtime.spec import TensorSpec


@dataclass(frozen=True, slots=True, kw_only=True)
class Tensors:
    """What a decoder is made for.

    Attributes:
        outputs: The outputs of the model, in the order in which a session returns them.
        preprocessing: The contract of its input.
        labels: The names of classes, or of keypoints for poses.
    """

    outputs: "tuple[TensorSpec, ...]"
    preprocessing: Preprocessing
    labels: tuple[str, ...]


class Decoder(Protocol):
    """Turns the output tensors of one model into an answer; it keeps buffers between pictures.

    A decoder's class is called with ``Tensors`` and an instance of its ``Parameters``.
    """

    def decode(self, outputs: Sequence[NDArray[Any]], placement: Placement) -> Answer:
        """Return what the picture shows.

        Args:
            outputs: What the session returned: raw, integers where the outputs are quantized.
            placement: Where the tensor lies in the picture.

        Raises:
            InferenceError: An output is not finite, or of a shape that does not fit.
        """
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class DecoderEntry:
    """One line of the table.

    Attributes:
        task: What it answers.
        place: ``module:Class`` of the decoder. The module also has the frozen dataclass
            ``Parameters``: what the class is called with, JSON values with defaults and bounds of
            their own (a UsageError names the one that does not fit).
        meaning: Which models have this layout, one sentence for people.
    """

    task: Task
    place: str
    meaning: str


# A decoder is one module here and one line in this table; the choices of --decoder, the document
# docs/tasks.md and the contract tests follow it.
DECODERS: Final[Mapping[str, DecoderEntry]] = {
    "tflite-detection": DecoderEntry(
        task=Task.DETECTION,
        place="edge.runtime.tasks.detection_postprocess:DetectionPostprocess",
        meaning="detectors that end in the operator TFLite_Detection_PostProcess",
    ),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class DecoderSpec:
    """Which decoder reads the outputs, and how: the manifest's field ``decoder``.

    Attributes:
        name: A key of ``DECODERS``.
        parameters: What differs from the defaults of its ``Parameters``, as JSON values.
        evidence: How this was found out, one sentence for people.
    """

    name: str
    parameters: Mapping[str, Any] = field(default_factory=dict)
    evidence: str = ""

    @property
    def task(self) -> Task:
        """What it answers."""
        return DECODERS[self.name].task

    def to_json(self) -> dict[str, Any]:
        """Return the fields as JSON values."""
        return {
            "name": self.name,
            "parameters": encoded(self.parameters),
            "evidence": self.evidence,
        }

    @classmethod
    def from_json(cls, value: Any) -> Self:
        """Read what ``to_json`` wrote.

        Raises:
            BundleError: A field is missing, unknown, of another type or out of range.
        """
        if not isinstance(value, Mapping):
            raise BundleError("decoder is no JSON object")
        check_names("decoder", value, ("name", "parameters", "evidence"), optional=())
        if value["name"] not in DECODERS:
            raise BundleError(
                f"decoder.name is {value['name']!r}; this runtime knows {', '.join(DECODERS)}",
                hint="Use the runtime that the bundle carries.",
            )
        if not isinstance(value["parameters"], dict) or not isinstance(value["evidence"], str):
            raise BundleError("decoder.parameters or decoder.evidence is of another type")
        spec = cls(name=value["name"], parameters=value["parameters"], evidence=value["evidence"])
        try:
            spec.read_parameters()
        except UsageError as error:
            raise BundleError(f"decoder: {error.message}") from error
        return spec

    def read_parameters(self) -> Any:
        """Return the decoder's ``Parameters``.

        Raises:
            UsageError: One is unknown, of another type or out of range.
        """
        module = _module(self.name)
        try:
            return typed(module.Parameters, dict(self.parameters), f"{self.name}", exact=True)
        except Mistyped as error:
            raise UsageError(f"the parameters of the decoder {error}") from error

    def open(self, tensors: Tensors) -> Decoder:
        """Make the decoder for a model.

        Raises:
            InferenceError: The model's outputs are not of this layout.
            UsageError: A parameter does not fit.
        """
        made: Decoder = getattr(_module(self.name), DECODERS[self.name].place.partition(":")[2])(
            tensors, self.read_parameters()
        )
        return made


def _module(name: str) -> Any:
    return importlib.import_module(DECODERS[name].place.partition(":")[0])


def misfit(name: str, tensors: Tensors, wanted: str) -> InferenceError:
    """Return the error for outputs that are not of a decoder's layout.

    Args:
        name: The decoder.
        tensors: What it was given.
        wanted: The layout, in words.
    """
    shapes = ", ".join(f"{list(item.shape)} {item.dtype}" for item in tensors.outputs)
    return InferenceError(
        f"the decoder {name} does not fit: the model's outputs are {shapes}; expected {wanted}",
        hint="Name another decoder with --decoder.",
    )
