"""What stands in a model file about the model that it is: written by us, read of anybody's."""

import math
from dataclasses import dataclass
from typing import Any

from edge.errors import ConversionError
from edge.runtime.contract import Preprocessing
from edge.runtime.output import PROBABILITIES, OutputSpec
from edge.runtime.tasks.table import DecoderSpec


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelDescription:
    """What edge writes into a model file.

    Attributes:
        name: The model's name, for people.
        description: One sentence about the model, for people.
        labels: The class names; the index is the class. Empty for a model that gives an embedding.
        preprocessing: The preprocessing contract.
        mean: The model expects (pixel - mean) / std, with pixel in 0..255; one number, or one for
            each channel. Readers of TFLite ignore both where the input is uint8: there the pixel
            is the quantized input itself.
        std: See ``mean``; above 0.
        output: What the model's values mean; it is written where the best of them is not the
            answer.
        decoder: How the outputs are read; None for a classifier.
    """

    name: str
    description: str
    labels: tuple[str, ...]
    preprocessing: Preprocessing
    mean: float | tuple[float, ...] = 0.0
    std: float | tuple[float, ...] = 1.0
    output: OutputSpec = PROBABILITIES
    decoder: DecoderSpec | None = None

    @property
    def means(self) -> tuple[float, ...]:
        """One mean, or one for each channel."""
        return _numbers(self.mean)

    @property
    def stds(self) -> tuple[float, ...]:
        """One std, or one for each channel."""
        return _numbers(self.std)

    def check_scaling(self) -> None:
        """Refuse a mean and a std that are no scaling.

        Raises:
            ConversionError: One of them is not finite, or std is not above 0.
        """
        finite = all(map(math.isfinite, (*self.means, *self.stds)))
        if not finite or min(self.stds) <= 0:
            raise ConversionError(
                f"normalization has mean {self.mean} and std {self.std}; std is above 0"
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelMetadata:
    """What a model file says about itself.

    Attributes:
        name: The model's name, for people.
        description: What the file says of the model, for people.
        labels: The class names; the index is the class. Empty if the file states none.
        mean: The model expects (pixel - mean) / std, pixel in 0..255; None if the file states
            none, or not the same one for every channel.
        std: See ``mean``.
        edge_preprocessing: ``Preprocessing.to_json()``; None in a file of another writer.
        edge_preprocessing_sha256: The hash of the contract, hex; None in a TFLite file, which does
            not state it, and in a file of another writer.
        edge_output: ``OutputSpec.to_json()``; None where the best of the values is the answer,
            and in a file of another writer.
        edge_decoder: ``DecoderSpec.to_json()``; None for a classifier, and in a file of another
            writer.
        channel_mean: ``mean`` of each channel, or one for all; empty where the file states none.
        channel_std: See ``channel_mean``.
    """

    name: str
    description: str
    labels: tuple[str, ...]
    mean: float | None
    std: float | None
    edge_preprocessing: dict[str, Any] | None
    edge_preprocessing_sha256: str | None = None
    edge_output: dict[str, Any] | None = None
    edge_decoder: dict[str, Any] | None = None
    channel_mean: tuple[float, ...] = ()
    channel_std: tuple[float, ...] = ()


def check_tensors(inputs: int, outputs: int, decoder: DecoderSpec | None) -> None:
    """Refuse a model that takes more than one tensor, or a classifier that gives more than one.

    Raises:
        ConversionError: The model has too many inputs or outputs.
    """
    if decoder is not None and inputs == 1 and outputs:
        return
    if inputs != 1 or outputs != 1:
        raise ConversionError(
            f"the model has {inputs} inputs and {outputs} outputs; "
            + ("one image is expected" if decoder else "a classifier has one of each")
        )


def _numbers(value: float | tuple[float, ...]) -> tuple[float, ...]:
    return value if isinstance(value, tuple) else (value,)
