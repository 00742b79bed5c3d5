"""Measures one network: made ready in a process, then each of its files in one of its own."""

import os
import random
import sys
import tempfile
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import edge
from benchmarks.accelerators.base import Settings
from benchmarks.accelerators.table import accelerator
from benchmarks.cell import Bench, measured
from benchmarks.inputs import generated_picture
from benchmarks.plan import Cell, Plan
from benchmarks.result import Row, Subject
from benchmarks.subjects import lone
from edge.errors import EdgeError, MeasurementError, OutputError, PackageMissing
from edge.inspection.model import inspect_model
from edge.progress import Step
from edge.runtime.spec import Preprocessing
from edge.workers import WorkerLimits, answers
from edge.zoo.budget import Budget
from edge.zoo.prepare import VARIANTS, Prepared
from edge.zoo.published import BATCH
from edge.zoo.result import Entry

KERAS: Final = "keras"
ROWS: Final = (KERAS, *VARIANTS)
PATHS: Final = {"keras": "keras-cpu", "tflite": "litert-cpu", "onnx": "onnxruntime-cpu"}
PREPARE_SECONDS: Final = 3600.0  # a network that takes longer hangs
NETWORK: Final = "network"


@dataclass(frozen=True, slots=True, kw_only=True)
class ZooOptions:
    """A run's options.

    Attributes:
        networks: Names in ``keras.applications``, in the order of the run.
        weights: ``imagenet`` or ``none``.
        cache: Where networks and their files are kept.
        threads: CPU threads.
        budget_seconds: Of the whole run; None for no end.
        memory_bytes: At which a process is killed.
        seed: Of the random order of a network's rows.
    """

    networks: tuple[str, ...]
    weights: str
    cache: Path
    threads: int
    budget_seconds: float | None
    memory_bytes: int
    seed: int = 0


def prepared(network: str, options: ZooOptions, step: Step) -> Prepared:
    """The network's files, in a process of its own.

    Raises:
        MeasurementError: It crashed or went beyond its memory.
        OutputError: The cache cannot be written.
    """
    quiet = {"TF_CPP_MIN_LOG_LEVEL": os.environ.get("TF_CPP_MIN_LOG_LEVEL", "2")}
    found = answers(
        [
            sys.executable,
            "-m",
            "edge.zoo",
            network,
            options.weights,
            str(options.cache.absolute()),
        ],
        folder=Path(edge.__file__).parents[1],
        environment={**os.environ, **quiet},
        limits=WorkerLimits(seconds=PREPARE_SECONDS, memory_bytes=options.memory_bytes),
        heard=lambda answer: step(answer["progress"]) if "progress" in answer else None,
    )
    if "facts" not in found[-1]:
        raise MeasurementError(f"{network} was not made ready, and nothing says why")
    return Prepared.from_json(found[-1])


def entry(network: str, options: ZooOptions, budget: Budget, left: int, step: Step) -> Entry:
    """One network's entry; what goes wrong stands in it.

    Args:
        network: Name in ``keras.applications``.
        options: Of the run.
        budget: When the run must end.
        left: Networks that remain, this one included.
        step: Told of each file that is ready and of each row; ``2 * len(ROWS)`` in all.

    Raises:
        OutputError: The cache cannot be written: every other network would fail too.
        PackageMissing: So it is with a package that is not installed.
    """
    try:
        found = prepared(network, options, step)
    except (OutputError, PackageMissing):
        raise
    except EdgeError as error:
        return Entry(
            network=network,
            facts=None,
            mult_adds=None,
            weights="",
            random_because="",
            rows={},
            failures={NETWORK: error.message},
        )
    files = {KERAS: found.keras, **found.files}
    rows: dict[str, Row] = {}
    with tempfile.TemporaryDirectory(prefix="edge-zoo-") as name:
        folder = Path(name)
        picture = generated_picture(folder)
        order = list(files.items())
        random.Random(f"{options.seed} {network}").shuffle(order)
        for position, (variant, file) in enumerate(order):
            remaining = (left - 1) * len(ROWS) + len(files) - position
            plan = _plan(variant, options, budget, remaining, picture)
            size = found.facts.input_size
            subject = replace(
                lone(file),
                name=variant,
                bundle=network,
                preprocessing=Preprocessing(height=size, width=size),
            )
            rows[variant] = measured(_cell(subject, options), Bench(plan, folder))
            step(1)
    return Entry(
        network=network,
        facts=found.facts,
        mult_adds=_mult_adds(found),
        weights=found.weights,
        random_because=found.random_because,
        rows={name: rows[name] for name in ROWS if name in rows},
        failures=found.failures,
    )


def _plan(variant: str, options: ZooOptions, budget: Budget, remaining: int, picture: Path) -> Plan:
    keras = variant == KERAS
    return Plan(
        settings=Settings(batch=BATCH if keras else 1),
        protocol=budget.protocol(time.monotonic(), remaining, options.threads, keras=keras),
        pictures=(picture,),
        memory=False,
        end_to_end=False,
        timeout=PREPARE_SECONDS,
        memory_bytes=options.memory_bytes,
    )


def _cell(subject: Subject, options: ZooOptions) -> Cell:
    return Cell(subject=subject, path=accelerator(PATHS[subject.format]), threads=options.threads)


def _mult_adds(found: Prepared) -> int | None:
    """Counted in a converted float graph: TensorFlow's converter or tf2onnx lost nothing of it."""
    for variant in ("tflite-fp32", "onnx-fp32"):
        if variant in found.files:
            return inspect_model(found.files[variant]).mult_adds
    return None
