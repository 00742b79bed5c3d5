"""Measures the zoo, network by network; what is finished is kept, and a later run goes on there."""

import os
import random
import sys
import tempfile
import time
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import edge
from benchmarks.accelerators.base import Settings
from benchmarks.accelerators.table import accelerator
from benchmarks.cell import Bench, measured
from benchmarks.environment import environment
from benchmarks.inputs import generated_picture
from benchmarks.plan import BenchmarkPlan, Cell
from benchmarks.protocol import Protocol
from benchmarks.result import BenchmarkRow, MeasuredModel
from benchmarks.subjects import lone
from edge import schema
from edge.errors import EdgeError, MeasurementError, OutputError, PackageMissing, UsageError
from edge.inspection.model import inspect_model
from edge.progress import Progress, Step
from edge.runtime.spec import Preprocessing
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
    """The end of a run.

    Attributes:
        deadline: On the clock that ``protocol`` is given; None for no end.
    """

    deadline: float | None

    def protocol(self, now: float, rows: int, threads: int, *, keras: bool) -> Protocol:
        """The protocol of the next row.

        Args:
            now: Seconds on the deadline's clock.
            rows: That remain, the next one included.
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
    return schema.from_json(Prepared, found[-1], f"the answer on {network}", error=MeasurementError)


def entry(network: str, options: ZooOptions, budget: TimeBudget, left: int, step: Step) -> Entry:
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
    rows: dict[str, BenchmarkRow] = {}
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


def _plan(
    variant: str, options: ZooOptions, budget: TimeBudget, remaining: int, picture: Path
) -> BenchmarkPlan:
    keras = variant == KERAS
    return BenchmarkPlan(
        settings=Settings(batch=BATCH if keras else 1),
        protocol=budget.protocol(time.monotonic(), remaining, options.threads, keras=keras),
        pictures=(picture,),
        memory=False,
        end_to_end=False,
        timeout=PREPARE_SECONDS,
        memory_bytes=options.memory_bytes,
    )


def _cell(subject: MeasuredModel, options: ZooOptions) -> Cell:
    return Cell(subject=subject, path=accelerator(PATHS[subject.format]), threads=options.threads)


def _mult_adds(found: Prepared) -> int | None:
    """Counted in a converted float graph: TensorFlow's converter or tf2onnx lost nothing of it."""
    for variant in ("tflite-fp32", "onnx-fp32"):
        if variant in found.files:
            return inspect_model(found.files[variant]).mult_adds
    return None


def networks(text: str | None) -> tuple[str, ...]:
    """Names in ``keras.applications``: those between commas, or all of the published table.

    Raises:
        UsageError: An unknown network, or none.
    """
    if text is None:
        return tuple(published())
    found = tuple(
        dict.fromkeys(backbone(part.strip()).keras_name for part in text.split(",") if part.strip())
    )
    if not found:
        raise UsageError("--models names none", hint="Such as MobileNet,MobileNetV2.")
    return found


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
        progress.note(f"{len(done)} networks are in {file} already; {len(missing)} to go")
    unreachable = ""
    for position, name in enumerate(missing):
        own = _with_weights(name, options, unreachable)
        title = f"{name} ({position + 1}/{len(missing)})"
        with progress.stage(title, 2 * len(ROWS)) as step:
            found = entry(name, own, TimeBudget(deadline), len(missing) - position, step)
        if own.weights != options.weights:
            found = replace(found, random_because=f"no download was tried: {unreachable}")
        else:
            unreachable = unreachable or found.random_because
        for variant, reason in found.failures.items():
            progress.note(f"{name} {variant}: {reason}")
        results = replace(results, entries=(*results.entries, found))
        write_zoo(file, results)
    return results


def _with_weights(network: str, options: ZooOptions, unreachable: str) -> ZooOptions:
    """The options of one network: a download that failed once is not tried for all others."""
    if unreachable and not is_shipped(backbone(network)):
        return replace(options, weights=NONE)
    return options


def _begun(options: ZooOptions, file: Path | None, record: object) -> ZooResults:
    """What the file holds, or a new run."""
    assert isinstance(record, dict)
    if file is None or not file.exists():
        return ZooResults(
            started=datetime.now(UTC).isoformat(timespec="seconds"),
            environment=record,
            threads=options.threads,
            batch=BATCH,
            entries=(),
        )
    found = read_zoo(file)
    unlike = [
        name
        for name, here in (("cpu", record["cpu"]["model"]), ("versions", record["versions"]))
        if here != (found.environment["cpu"]["model"] if name == "cpu" else found.environment[name])
    ]
    if found.threads != options.threads:
        unlike.append("threads")
    if unlike:
        raise UsageError(
            f"{file} is of a run with other {' and '.join(unlike)}",
            hint="Name another file with --output to begin anew.",
        )
    return found
