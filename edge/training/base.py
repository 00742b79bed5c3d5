"""The base: the pretrained network in front of the head, and the contract of its input."""

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from edge.dataset.pictures import Hashed
from edge.errors import UsageError
from edge.progress import Progress
from edge.runtime.contract import ColorOrder, Preprocessing
from edge.runtime.files import sha256_file
from edge.training.backbones import BACKBONES, Backbone, backbone, is_backbone
from edge.training.input_evidence import (
    InputFinding,
    application_input,
    check_input,
    find_input,
)
from edge.training.input_range import InputRange, takes_pixels, told_range
from edge.training.keras_files import check_model_path
from edge.training.model_shape import COLOR_ORDERS, image_input
from edge.training.models import check_finite, load_keras, without_head
from edge.training.options import IMAGENET, NONE, BaseOptions
from edge.training.weights import (
    WeightedModel,
    load_base,
    quiet_keras,
    weights_id,
    weights_sha256,
)


class Base:
    """A base whose numbers are loaded when they are asked for.

    Attributes:
        name: The name of the network, for people.
        id: What decides its numbers but the size of its input; known without loading them.
        preprocessing: The contract of its input.
    """

    def __init__(self, options: BaseOptions) -> None:
        """Look at the options.

        Raises:
            UsageError: Unknown network, width or file.
            ModelLoadError: A model file that cannot be a base.
        """
        self._options = options
        self._loaded: WeightedModel | None = None
        self._given: Any = None  # a model file as it was given, without its head
        self._told = told_range(options.input_range, options.channel_order)
        color_order = ColorOrder.RGB
        if not is_backbone(options.backbone):
            path = check_model_path(options.backbone)
            self._file: Path | None = path
            self.name = path.stem
            self.id, (_, height, width, channels) = self._read_file(path)
            color_order = COLOR_ORDERS[channels]
        else:
            self._file = None
            self._row = backbone(options.backbone)
            if self._told is not None:
                raise UsageError(
                    f"{options.backbone} is a network of Keras Applications, whose input range "
                    "edge knows",
                    hint="Leave out --input-range and --channel-order: they are for a Keras file.",
                )
            self.name = self._row.name
            _check_alpha(options, self._row)
            self.id = weights_id(self._row, options.weights, options.seed, options.alpha)
            height = width = options.size or self._row.size
        self.preprocessing = Preprocessing(
            height=height,
            width=width,
            resize=options.resize,
            crop_fraction=options.crop_fraction,
            color_order=color_order,
        )

    @property
    def is_random(self) -> bool:
        """Whether nothing has trained its weights."""
        return self._file is None and self._options.weights == NONE

    def find_input(self, pictures: Sequence[Hashed], progress: Progress) -> InputFinding:
        """Return how the base is fed, held against pictures where it is a model file.

        Args:
            pictures: Pictures to try it on, with their classes if known; none is scored later.
            progress: Told the evidence, and what speaks against it.

        Raises:
            UsageError: The base clearly wants other values than those that it is fed.
        """
        if self._file is None:
            return application_input(self._row)
        finding = find_input(self._given, pictures, self.preprocessing, self._told, features=True)
        progress.inform(f"{self._file.name}: {'; '.join(finding.evidence)}")
        doubts = check_input(finding, self._file.name)
        for doubt in doubts:
            progress.note(doubt)
        return replace(finding, doubts=doubts)

    def load(self) -> WeightedModel:
        """Return the model, RGB 0..255 -> (batch, features), loaded once.

        Raises:
            WeightsUnavailable: No pretrained weights.
        """
        if self._loaded is None:
            options = self._options
            self._loaded = load_base(
                self._row, self.preprocessing.height, options.weights, options.seed, options.alpha
            )
        return self._loaded

    def _read_file(self, path: Path) -> tuple[str, Any]:
        """Return identity and input shape of a model file; its open sizes become ``--size``."""
        options = self._options
        if options.weights != IMAGENET or options.alpha != 1:
            raise UsageError(
                "a model file brings its own weights and width",
                hint="Leave out --weights and --alpha.",
            )
        quiet_keras(options.seed)
        size = None if options.size is None else (options.size, options.size)
        self._given = image_input(without_head(load_keras(path)), path.name, size)
        check_finite(self._given, path.name)
        wanted = self._told or InputRange()
        model = takes_pixels(self._given, wanted)
        self._loaded = WeightedModel(model, f"file {path.name}", weights_sha256(model))
        fed = "" if wanted.is_pixels else f":{wanted.text}"
        return f"file:{sha256_file(path)}{fed}", model.inputs[0].shape


def _check_alpha(options: BaseOptions, row: Backbone) -> None:
    """Refuse a width that cannot be, or whose weights nobody has published."""
    if not 0 < options.alpha < math.inf:
        raise UsageError(
            f"--alpha {options.alpha:g} is not a width",
            hint="It is the share of the channels that each layer has: 0.25, 0.5 ...",
        )
    if options.alpha != 1 and not row.has_alpha:
        names = ", ".join(item.name for item in BACKBONES.values() if item.has_alpha)
        raise UsageError(
            f"{options.backbone} exists in one width only", hint=f"--alpha is for {names}."
        )
    if options.weights == IMAGENET and options.alpha != 1 and options.alpha not in row.alphas:
        widths = ", ".join(f"{alpha:g}" for alpha in row.alphas)
        raise UsageError(
            f"there are no published ImageNet weights of {row.keras_name} for --alpha "
            f"{options.alpha:g}; they exist for {widths}",
            hint="Take one of these widths, or --weights PATH (a weights file), or --weights none "
            "(random).",
        )
