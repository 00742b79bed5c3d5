"""Every file of a bundle, opened: its rows, its layers, and what they answer."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from edge.diagnosis.keras_layers import ANSWER, KerasLayers
from edge.diagnosis.probe import FileProbe
from edge.diagnosis.result import MatrixRow
from edge.diagnosis.rows import KERAS, RunnableRow, Scores, runners
from edge.errors import EngineUnavailable, ImageError, ModelLoadError
from edge.progress import Step
from edge.runtime.bundle import Bundle
from edge.runtime.contract import Preprocessing
from edge.runtime.head import Head, class_probabilities, read_head
from edge.runtime.preprocess import load
from edge.runtime.session import first_line
from edge.runtime.spec import Manifest

SOURCE: Final = "source/model.keras"
GIVEN_FILES: Final = ("source/model.tflite", "source/model.onnx")  # float files of somebody else


class Collector:
    """The rows and files of a bundle, opened, and what they answered so far.

    Attributes:
        rows: The rows in the order of the matrix, with those that are not available.
        probes: A probe of each file whose layers can be read.
        notes: One sentence for each file that could not be opened.
        head: What makes probabilities of the answers; None where they are probabilities.
    """

    def __init__(self, bundle: Bundle) -> None:
        """Open everything.

        Raises:
            BundleError: A file of the bundle is altered, or a model file is missing.
            ModelLoadError: A model file does not load with the kernels that a user gets.
        """
        self.notes: list[str] = []
        self.head = read_head(bundle)
        self._runners: list[RunnableRow] = []
        rows = []
        for item in runners(bundle):
            if isinstance(item, RunnableRow):
                self._runners.append(item)
            rows.append(item.row if isinstance(item, RunnableRow) else item)
        self._models, row = _keras(bundle)
        self.rows = (row, *rows)
        self.probes = self._probes(bundle) if self._models else []
        self._activations = self._walkers()
        self._answers: dict[str, list[NDArray[np.float32]]] = {
            row.name: [] for row in self.rows if not row.problem
        }

    def _walkers(self) -> list[tuple[KerasLayers, Any]]:
        """Each Keras model with what gives the layers that a file of it holds, the plain first."""
        walkers = []
        for model in self._models or ():
            names = {name for probe in self.probes if probe.keras is model for name in probe.names}
            walkers.append((model, model.activations(tuple(names))))
        return walkers

    def _probes(self, bundle: Bundle) -> list[FileProbe]:
        assert self._models is not None
        black = np.zeros(bundle.manifest.preprocessing.shape, np.uint8)
        probes = []
        for variant in bundle.manifest.variants:
            path = bundle.model(variant.name)[1]
            try:
                probes.append(FileProbe(variant, path, self._models, black))
            except (EngineUnavailable, ModelLoadError) as error:
                self.notes.append(f"layers of {variant.name}: {error.message}")
        return probes

    def run(
        self, paths: Sequence[Path], preprocessing: Preprocessing, step: Step
    ) -> dict[str, str]:
        """Run every image through every row and every file.

        Args:
            paths: The images.
            preprocessing: The preprocessing contract.
            step: Is told of each finished image.

        Returns:
            Why an image could not be read, by its path.

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
        for position, (model, activations) in enumerate(self._activations):
            reference = activations(pixels[np.newaxis])
            if position == 0:
                self._answers[KERAS].append(reference[ANSWER].reshape(-1))
            for probe in self.probes:
                if probe.keras is model:
                    probe.add(pixels, reference)
        for name, future in waiting:
            self._answers[name].append(future.result())

    def tables(self) -> dict[str, Scores]:
        """Return the real values of each available row, (images, classes)."""
        return {
            name: _scores(np.stack(answers), self.head) for name, answers in self._answers.items()
        }

    def steps(self) -> dict[str, float | None]:
        """Return the quantization step of each available row's output; None for a real one."""
        known = self.head is None
        return {KERAS: None} | {
            item.row.name: item.step if known else None for item in self._runners
        }


def _scores(outputs: Scores, head: Head | None) -> Scores:
    """What a row's outputs say of the classes; where they are not finite, NaN says so."""
    finite = np.isfinite(outputs).all(axis=1, keepdims=True)
    if head is None:
        return outputs
    scores = class_probabilities(np.where(finite, outputs, 0.0).astype(np.float32), head)
    return np.where(finite, scores, np.float32(np.nan))


def _keras(bundle: Bundle) -> tuple[tuple[KerasLayers, KerasLayers] | None, MatrixRow]:
    """The Keras model as it is and with its scaling folded, or None, and its row.

    Raises:
        BundleError: The file is altered.
    """
    row = MatrixRow(name=KERAS, variant=None, kernels=KERAS)
    given = given_file(bundle.manifest)
    if given is not None:
        return None, replace(row, problem=f"the bundle was made of {given}, not of a Keras model")
    if SOURCE not in bundle.manifest.files or not (bundle.path / SOURCE).exists():
        return None, replace(row, problem=f"the bundle lacks {SOURCE}")
    path = bundle.checked(SOURCE)
    try:
        import tensorflow as tf

        models = KerasLayers(path), KerasLayers(path, folded=True)
    except ImportError as error:
        return None, replace(row, problem=f"TensorFlow is not installed ({first_line(error)})")
    except ModelLoadError as error:
        return None, replace(row, problem=error.message)
    return models, replace(row, engine=f"tensorflow {tf.__version__}")


def given_file(manifest: Manifest) -> str | None:
    """The float file of somebody else that the bundle was made of; None if there is none."""
    return next((name for name in GIVEN_FILES if name in manifest.files), None)
