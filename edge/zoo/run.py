"""Measures the zoo, network by network; what is finished is kept, and a later run goes on there."""

import os
import random
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import edge
from benchmarks.accelerators.base import EngineSettings
from benchmarks.accelerators.table import accelerator
from benchmarks.cell import Bench, measured
from benchmarks.environment import environment
from benchmarks.inputs import generated_picture
from benchmarks.models import lone
from benchmarks.plan import BenchmarkPlan, Cell
from benchmarks.protocol import Protocol
from benchmarks.result import BenchmarkRow, MeasuredModel
from edge import schema
from edge.errors import EdgeError, MeasurementError, OutputError, PackageMissing, UsageError
from edge.inspection.model import inspect_model
from edge.progress import Progress, Step
from edge.runtime.contract import Preprocessing
from edge.training.backbones import backbone
from edge.training.options import NONE
from edge.training.weights import is_shipped
from edge.workers import WorkerLimits, answers
from edge.zoo.prepare import VARIANTS, Prepared
from edge.zoo.published import BATCH, published
from edge.zoo.results import Entry, ZooResults, read_zoo, write_zoo

RUNS: Final = 20  # of a row, where there is time
KERAS_RUNS: Final = 5  # steps of batch 32: each is the mean of 32 images already
MIN_SECONDS: Final = 0.5
MAX_SECONDS: Final = 10.0
KERAS_MAX_SECONDS: Final = 30.0
LEAST_SECONDS: Final = 0.5
# The first inference and loading are not in a row's seconds; half of a share is left to them.
STEADY: Final = 0.5


@dataclass(frozen=True, slots=True)
class TimeBudget:
    """The time that a run may take.

    Attributes:
        deadline: The end on the clock that ``protocol`` is given; None for no end.
    """

    deadline: float | None

    def protocol(self, now: float, rows: int, threads: int, *, keras: bool) -> Protocol:
        """Return the protocol of the next row.

        Args:
            now: Seconds on the deadline's clock.
            rows: The number of rows that remain, the next one included.
            threads: CPU threads.
            keras: Whether it is a step of a whole batch.
        """
        most = KERAS_MAX_SECONDS if keras else MAX_SECONDS
        if self.deadline is not None:
            share = STEADY * (self.deadline - now) / max(rows, 1)
            most = min(most, max(share, LEAST_SECONDS))
        return Protocol(
            runs=KERAS_RUNS if keras else RUNS,
            min_seconds=min(MIN_SECONDS, most),
            max_seconds=most,
            # A second step of EfficientNetB7 is as long as the tenth: no time for steps that
            # do not count.
            warm_up_seconds=0.0 if keras else min(0.3, most),
            threads=threads,
        )


KERAS: Final = "keras"
ROWS: Final = (KERAS, *VARIANTS)
PATHS: Final = {"keras": "keras-cpu", "tflite": "litert-cpu", "onnx": "onnxruntime-cpu"}
PREPARE_SECONDS: Final = 3600.0  # a network that takes longer hangs
NETWORK: Final = "network"


@dataclass(frozen=True, slots=True, kw_only=True)
class ZooOptions:
    """The options of a run over the zoo.

    Attributes:
        networks: Names in ``keras.applications``, in the order of the run.
        weights: ``imagenet`` or ``none``.
        cache: The folder where networks and their files are kept.
        threads: CPU threads.
        budget_seconds: The time of the whole run; None for no end.
        memory_bytes: The resident memory at which a process is killed.
        seed: The seed of the random order of a network's rows.
    """

    networks: tuple[str, ...]
    weights: str
    cache: Path
    threads: int
    budget_seconds: float | None
    memory_bytes: int
    seed: int = 0


def prepared(network: str, options: ZooOptions, step: Step) -> Prepared:
    """Make the network's files ready in a process of its own.

    Raises:
        MeasurementError: It crashed or went beyond its memory.
        OutputError: The cache cannot be written.
    """
    quiet = {"TF_CPP_MIN_LOG_LEVEL": os.environ.get("TF_CPP_MIN_LOG_LEVEL", "2")}
    messages = answers(
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
    if "facts" not in messages[-1]:
        raise MeasurementError(f"{network} was not made ready, and nothing says why")
    return schema.from_json(
        Prepared, messages[-1], f"the answer on {network}", error=MeasurementError
    )


def entry(network: str, options: ZooOptions, budget: TimeBudget, left: int, step: Step) -> Entry:
    """Measure one network; what goes wrong stands in its entry.

    Args:
        network: The name in ``keras.applications``.
        options: The options of the run.
        budget: When the run must end.
        left: The number of networks that remain, this one included.
        step: Told of each file that is ready and of each row; ``2 * len(ROWS)`` in all.

    Raises:
        OutputError: The cache cannot be written: every other network would fail too.
        PackageMissing: A package is not installed, which every other network would need too.
    """
    try:
        files = prepared(network, options, step)
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
    rows = _rows(network, files, options, budget, left, step)
    return Entry(
        network=network,
        facts=files.facts,
        mult_adds=_mult_adds(files),
        weights=files.weights,
        random_because=files.random_because,
        rows={name: rows[name] for name in ROWS if name in rows},
        failures=files.failures,
    )


def _rows(
    network: str,
    prepared: Prepared,
    options: ZooOptions,
    budget: TimeBudget,
    left: int,
    step: Step,
) -> dict[str, BenchmarkRow]:
    """The row of each file, measured in a random order."""
    files = {KERAS: prepared.keras, **prepared.files}
    rows: dict[str, BenchmarkRow] = {}
    with tempfile.TemporaryDirectory(prefix="edge-zoo-") as name:
        folder = Path(name)
        picture = generated_picture(folder)
        order = list(files.items())
        random.Random(f"{options.seed} {network}").shuffle(order)
        for position, (variant, file) in enumerate(order):
            remaining = (left - 1) * len(ROWS) + len(files) - position
            plan = _plan(variant, options, budget, remaining, picture)
            size = prepared.facts.input_size
            model = replace(
                lone(file),
                name=variant,
                bundle=network,
                preprocessing=Preprocessing(height=size, width=size),
            )
            rows[variant] = measured(_cell(model, options), Bench(plan, folder))
            step(1)
    return rows


def _plan(
    variant: str, options: ZooOptions, budget: TimeBudget, remaining: int, picture: Path
) -> BenchmarkPlan:
    keras = variant == KERAS
    return BenchmarkPlan(
        settings=EngineSettings(batch=BATCH if keras else 1),
        protocol=budget.protocol(time.monotonic(), remaining, options.threads, keras=keras),
        pictures=(picture,),
        memory=False,
        end_to_end=False,
        timeout=PREPARE_SECONDS,
        memory_bytes=options.memory_bytes,
    )


def _cell(model: MeasuredModel, options: ZooOptions) -> Cell:
    return Cell(model=model, path=accelerator(PATHS[model.format]), threads=options.threads)


def _mult_adds(prepared: Prepared) -> int | None:
    """Count in a converted float graph, of which the converters have lost nothing."""
    for variant in ("tflite-fp32", "onnx-fp32"):
        if variant in prepared.files:
            return inspect_model(prepared.files[variant]).mult_adds
    return None


def networks(text: str | None) -> tuple[str, ...]:
    """Return names in ``keras.applications``: those between commas, or the published table's.

    Raises:
        UsageError: An unknown network, or none.
    """
    if text is None:
        return tuple(published())
    named = tuple(
        dict.fromkeys(backbone(part.strip()).keras_name for part in text.split(",") if part.strip())
    )
    if not named:
        raise UsageError("--models names none", hint="Such as MobileNet,MobileNetV2.")
    return named


def run(options: ZooOptions, file: Path, progress: Progress, *, anew: bool = False) -> ZooResults:
    """Measure every network that the file does not hold yet; the file is whole after each.

    Args:
        options: What to measure.
        file: JSON; read first if it exists, to go on where a run ended.
        progress: Told of each step.
        anew: Whether to replace the file instead of going on from it.

    Raises:
        UsageError: The file is of another machine or of other settings.
        OutputError: The file or the cache cannot be written.
    """
    record = environment()
    results = _begun(options, None if anew else file, record)
    done = {item.network for item in results.entries}
    missing = [name for name in options.networks if name not in done]
    deadline = None
    if options.budget_seconds is not None:
        deadline = time.monotonic() + options.budget_seconds
    if done and missing:
        progress.inform(f"{len(done)} networks are in {file} already; {len(missing)} to go")
    unreachable = ""
    for position, name in enumerate(missing):
        own = _with_weights(name, options, unreachable)
        title = f"{name} ({position + 1}/{len(missing)})"
        with progress.stage(title, 2 * len(ROWS)) as step:
            result = entry(name, own, TimeBudget(deadline), len(missing) - position, step)
        if own.weights != options.weights:
            result = replace(result, random_because=f"no download was tried: {unreachable}")
        else:
            unreachable = unreachable or result.random_because
        for variant, reason in result.failures.items():
            progress.note(f"{name} {variant}: {reason}")
        results = replace(results, entries=(*results.entries, result))
        write_zoo(file, results)
    return results


def _with_weights(network: str, options: ZooOptions, unreachable: str) -> ZooOptions:
    """The options of one network; a download that failed once is not tried for all others."""
    if unreachable and not is_shipped(backbone(network)):
        return replace(options, weights=NONE)
    return options


def _begun(options: ZooOptions, file: Path | None, record: Mapping[str, Any]) -> ZooResults:
    """The run that the file holds, or a new one."""
    if file is None or not file.exists():
        return ZooResults(
            started=datetime.now(UTC).isoformat(timespec="seconds"),
            environment=record,
            threads=options.threads,
            batch=BATCH,
            entries=(),
        )
    kept = read_zoo(file)
    unlike = []
    if record["cpu"]["model"] != kept.environment["cpu"]["model"]:
        unlike.append("cpu")
    if record["versions"] != kept.environment["versions"]:
        unlike.append("versions")
    if kept.threads != options.threads:
        unlike.append("threads")
    if unlike:
        raise UsageError(
            f"{file} is of a run with other {' and '.join(unlike)}",
            hint="Name another file with --output to begin anew.",
        )
    return kept
