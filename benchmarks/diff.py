"""Two results files of one host: which rows became faster or slower."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from benchmarks.outputs import describe
from benchmarks.result import BenchmarkRow, Results, Stability, Status
from benchmarks.stats import median, percentile, stability
from benchmarks.verdict import CONFIDENCE, SpeedVerdict, verdict
from edge.errors import UsageError
from edge.evaluation.confidence import Interval

# What decides whether two machines are the same for a time. Versions of kernel, engines and
# Python may be what is being compared: they are told, not refused.
HOST: Final = (
    "machine",
    "board",
    "cpu.model",
    "cpu.logical",
    "cpu.physical",
    "cpu.affinity",
    "cpu.quota",
    "cpu.governors",
    "cpu.maximum_frequency_hz",
    "virtual_machine",
)
TOLD: Final = ("system", "python", "libc", "versions")


def check_hosts(old: Mapping[str, Any], new: Mapping[str, Any]) -> None:
    """Refuse records of unlike machines.

    Raises:
        UsageError: A field of ``HOST`` differs.
    """
    unlike = [
        f"{name}: {_field(old, name)!r} and {_field(new, name)!r}"
        for name in HOST
        if _field(old, name) != _field(new, name)
    ]
    if unlike:
        raise UsageError(
            f"the files are of unlike hosts ({'; '.join(unlike)})",
            hint="Measure both on one machine in the same state.",
        )


def check_row(name: str, old: BenchmarkRow, new: BenchmarkRow, *, other_models: bool) -> None:
    """Refuse rows of unlike models, unless that is asked for, or of unlike processors.

    Raises:
        UsageError: They are.
    """
    if old.model.sha256 != new.model.sha256 and not other_models:
        digests = f"{old.model.sha256[:12]} and {new.model.sha256[:12]}"
        raise UsageError(
            f"{name}: the files hold unlike models (sha256 {digests})",
            hint="Add --allow-other-models to compare two builds of a model.",
        )
    before, after = describe.input_shape(old), describe.input_shape(new)
    if before and after and before != after:
        raise UsageError(
            f"{name}: the files hold unlike input shapes, {before} and {after}",
            hint="Measure both with the same --input-shape.",
        )
    for part in ("device", "label"):
        before, after = getattr(old, part), getattr(new, part)
        if before and after and before != after:
            raise UsageError(
                f"{name}: measured on unlike processors ({part}: {before} and {after})",
                hint="Measure both on one machine in the same state.",
            )


def notes(old: Mapping[str, Any], new: Mapping[str, Any]) -> tuple[str, ...]:
    """Return what differs besides and may explain a change, one sentence each."""
    told = [
        f"{side}: {busy}"
        for side, record in (("old", old), ("new", new))
        if (busy := describe.busy(record))
    ]
    for name in TOLD:
        before, after = old.get(name), new.get(name)
        if isinstance(before, Mapping) and isinstance(after, Mapping):
            told += [
                f"{key}: {before.get(key)} and {after.get(key)}"
                for key in sorted(before.keys() | after.keys())
                if before.get(key) != after.get(key)
            ]
        elif before != after:
            told.append(f"{name}: {before} and {after}")
    return tuple(told)


def _field(record: Mapping[str, Any], name: str) -> Any:
    """A value by a dotted name; None where it is missing."""
    value: Any = record
    for part in name.split("."):
        value = value.get(part) if isinstance(value, Mapping) else None
    return value


RESAMPLES: Final = 2000
SEED: Final = 0
# Each side is one process: what another process of the same file would have given is not in its
# samples. The intervals are widened by so much on either side.
BETWEEN_PROCESSES: Final = 0.03


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One row that has a time on both sides.

    Attributes:
        name: The model, the path and the setting.
        old: The old median, seconds.
        new: The new median, seconds.
        interval: The interval of new / old; a single point for estimates, which do not scatter.
        verdict: What follows from the interval.
        regression: Whether the whole interval is beyond the allowed one.
        note: What to know about it; may be empty.
    """

    name: str
    old: float
    new: float
    interval: Interval
    verdict: SpeedVerdict
    regression: bool
    note: str = ""

    @property
    def ratio(self) -> float:
        """The new median / the old one."""
        return self.new / self.old


@dataclass(frozen=True, slots=True, kw_only=True)
class Diff:
    """How a new run compares with an old one.

    Attributes:
        changes: Rows with a time on both sides.
        lost: Rows that had a time and now have none, each with the reason.
        only_old: Rows that the new side lacks.
        only_new: Rows with a time that the old side lacks, or has no time for.
        notes: What differs besides, one sentence each.
        max_regression: How much slower a row may become, percent.
        confidence: Confidence level of all intervals, 0..1.
    """

    changes: tuple[Change, ...]
    lost: tuple[str, ...]
    only_old: tuple[str, ...]
    only_new: tuple[str, ...]
    notes: tuple[str, ...]
    max_regression: float
    confidence: float = CONFIDENCE

    @property
    def regressions(self) -> tuple[Change, ...]:
        """Return the rows that are surely slower than allowed."""
        return tuple(change for change in self.changes if change.regression)


def diff(
    old: Results, new: Results, *, max_regression: float = 5.0, other_models: bool = False
) -> Diff:
    """Compare two runs, row by row: same model, path, threads and batch.

    Args:
        old: The run to compare with.
        new: The run to judge.
        max_regression: How much slower a row may become, percent; a change within it, either way,
            counts as none.
        other_models: Whether the model files may differ under the same name.

    Raises:
        UsageError: The hosts or the models are unlike, rows cannot be told apart, or none is in
            both runs.
    """
    check_hosts(old.environment, new.environment)
    before, after = _by_name(old), _by_name(new)
    both = [name for name in before if name in after]
    if not both:
        raise UsageError(
            "the files have no row in common",
            hint="Rows match by model, path, threads and batch: measure the same ones.",
        )
    for name in both:
        check_row(name, before[name], after[name], other_models=other_models)
    timed = {name for name in both if _time(before[name]) and _time(after[name])}
    return Diff(
        changes=tuple(
            _change(name, before[name], after[name], max_regression)
            for name in both
            if name in timed
        ),
        lost=tuple(
            f"{name}: {after[name].status.value}: {describe.why(after[name])}".rstrip(": ")
            for name in both
            if _time(before[name]) and not _time(after[name])
        ),
        only_old=tuple(name for name in before if name not in after),
        only_new=tuple(
            name for name in after if _time(after[name]) and not _time(before.get(name))
        ),
        notes=(*_unfinished(old, new), *notes(old.environment, new.environment)),
        max_regression=max_regression,
    )


def _unfinished(old: Results, new: Results) -> list[str]:
    return [
        f"{side}: the run was interrupted, {results.missing} rows are missing"
        for side, results in (("old", old), ("new", new))
        if results.missing
    ]


def ratio_interval(
    old: Sequence[float], new: Sequence[float], confidence: float = CONFIDENCE
) -> Interval:
    """Return the interval of median(new) / median(old) from the samples of one process each.

    Samples that follow one another are alike, so whole blocks of them are drawn: the circular
    block bootstrap (Politis, Romano, "A circular block-resampling procedure for stationary data",
    1992) with blocks of sqrt(n) samples. It is widened by ``BETWEEN_PROCESSES``. If a side is not
    stable, its median is what the moment made of it: then the interval spans what nearly all of
    the samples would give, from p5 over p95 to p95 over p5.
    """
    random = np.random.default_rng(SEED)
    ratios = _medians(new, random) / _medians(old, random)
    tail = (1 - confidence) / 2
    low, high = np.quantile(ratios, [tail, 1 - tail]).tolist()
    if any(stability(side) is not Stability.STABLE for side in (old, new)):
        low = min(low, percentile(new, 5) / percentile(old, 95))
        high = max(high, percentile(new, 95) / percentile(old, 5))
    widening = 1 + BETWEEN_PROCESSES
    return Interval(low / widening, high * widening)


def _medians(samples: Sequence[float], random: np.random.Generator) -> Any:
    """The medians of ``RESAMPLES`` samples of the same length, drawn in blocks."""
    values = np.asarray(samples)
    count = len(values)
    length = math.ceil(math.sqrt(count))
    starts = random.integers(0, count, (RESAMPLES, -(-count // length)))
    drawn = (starts[:, :, np.newaxis] + np.arange(length)) % count
    return np.median(values[drawn.reshape(RESAMPLES, -1)[:, :count]], axis=1)


def _change(name: str, old: BenchmarkRow, new: BenchmarkRow, max_regression: float) -> Change:
    before, after = _time(old), _time(new)
    allowed = max_regression / 100
    if old.timing is not None and new.timing is not None:
        interval = ratio_interval(old.timing.samples, new.timing.samples)
        shaky = (stability(old.timing.samples), stability(new.timing.samples))
        sides = ("old", "new")
        told = [f"{s}: {f}" for s, f in zip(sides, shaky, strict=True) if f is not Stability.STABLE]
        note = ", ".join(told)
    else:
        interval, note = Interval(after / before, after / before), "estimates"
    return Change(
        name=name,
        old=before,
        new=after,
        interval=interval,
        verdict=verdict(interval, equivalent=allowed, smallest=0.0),
        regression=interval.low > 1 + allowed,
        note=note,
    )


def _time(row: BenchmarkRow | None) -> float:
    """The median or the estimate, seconds; 0 where the row has none to show."""
    if row is not None and row.status is Status.MEASURED and row.timing is not None:
        return median(row.timing.samples)
    return row.estimate or 0.0 if row is not None and row.status is Status.ESTIMATED else 0.0


def _by_name(results: Results) -> dict[str, BenchmarkRow]:
    rows: dict[str, BenchmarkRow] = {}
    for row in results.rows:
        name = f"{describe.model_name(row)}, {row.accelerator}, t{row.threads} b{row.batch}"
        if name in rows:
            raise UsageError(
                f"a file has two rows of {name}: which one is meant cannot be told",
                hint="Measure models of the same name in runs of their own.",
            )
        rows[name] = row
    return rows
