"""One pass over the images: every row and every layer of every file, image by image."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from edge.diagnosis.engines import KERAS, Runner, runners
from edge.diagnosis.keras_layers import ANSWER, KerasLayers
from edge.diagnosis.parity import Table
from edge.diagnosis.probe import FileProbe
from edge.diagnosis.result import Row
from edge.errors import EngineUnavailable, ImageError, ModelLoadError
from edge.progress import Step
from edge.runtime.bundle import Bundle
from edge.runtime.head import Head, class_probabilities, read_head
from edge.runtime.preprocess import load
from edge.runtime.session import first_line
from edge.runtime.spec import Preprocessing

SOURCE: Final = "source/model.keras"


class Collector:
    """The rows and files of a bundle, opened, and what they answered so far.

    Attributes:
        rows: In the order of the matrix, with those that are not available.
        probes: Of each file whose layers can be read.
        notes: What could not be opened.
    """

    def __init__(self, bundle: Bundle) -> None:
        """Open everything.

        Raises:
            BundleError: A file of the bundle is altered, or a model file is missing.
            ModelLoadError: A model file does not load with the kernels that a user gets.
        """
        self.notes: list[str] = []
        self._head = read_head(bundle)
        self._runners: list[Runner] = []
        rows = []
        for found in runners(bundle):
            if isinstance(found, Runner):
                self._runners.append(found)
            rows.append(found.row if isinstance(found, Runner) else found)
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
        """Every image through everything, the rows beside the layers.

        Args:
            paths: Images.
            preprocessing: The contract.
            step: Told of each finished image.

        Returns:
            Why an image could not be read, by path.

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

    def tables(self) -> dict[str, Table]:
        """(images, classes) real values of each available row."""
        return {
            name: _scores(np.stack(answers), self._head) for name, answers in self._answers.items()
        }

    def steps(self) -> dict[str, float | None]:
        """Quantization step of each available row's output; None for a real one."""
        known = self._head is None
        return {KERAS: None} | {
            item.row.name: item.step if known else None for item in self._runners
        }


def _scores(outputs: Table, head: Head | None) -> Table:
    """What a row's outputs say of the classes; where they are not finite, NaN says so."""
    finite = np.isfinite(outputs).all(axis=1, keepdims=True)
    if head is None:
        return outputs
    scores = class_probabilities(np.where(finite, outputs, 0.0).astype(np.float32), head)
    return np.where(finite, scores, np.float32(np.nan))


def _keras(bundle: Bundle) -> tuple[KerasLayers | None, Row]:
    """The Keras model, or None, and its row.

    Raises:
        BundleError: The file is altered.
    """
    row = Row(name=KERAS, variant=None, kernels=KERAS)
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
