"""What ``edge benchmark`` does with its options: measure, or compare two models, and show it."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from benchmarks.against import Against, against
from benchmarks.input_shape import shown
from benchmarks.models import measured_models
from benchmarks.outputs.files import FORMS, write_results
from benchmarks.outputs.json_file import read_results, results_json
from benchmarks.plan import BenchmarkPlan
from benchmarks.result import BenchmarkRow, MeasuredModel, Results, Status
from benchmarks.run import run
from benchmarks.stats import median
from benchmarks.verdict import SpeedVerdict
from edge.cli.measure.view import print_rows
from edge.cli.output import print_folded, print_json
from edge.dataset.pictures import find_pictures
from edge.errors import EdgeError, MeasurementError, ModelLoadError, NegativeVerdict, UsageError
from edge.progress import Progress
from edge.runtime.bundle import is_bundle
from edge.runtime.files import readable, remove_own, write_json
from edge.runtime.numbers import MOST_THREADS, whole_number
from edge.runtime.place import check_new_file
from edge.runtime.printable import one_line
from edge.runtime.streams import say
from edge.wording import counted, percent

APART: Final = 0.02  # of a ratio, relative: more than that between two of them is explained
PICTURES: Final = 8  # of a folder: an inference takes as long on any picture


@dataclass(frozen=True, slots=True, kw_only=True)
class BenchmarkJob:
    """What a command that measures was told.

    Attributes:
        models: The paths of bundles and model files.
        variants: The names of variants of the bundles; empty for all.
        outputs: The files to write.
        plan: How to measure.
        progress: Receives the stages.
        json: Whether standard output gets JSON.
        overwrite: Whether outputs that exist may be replaced.
    """

    models: tuple[Path, ...]
    variants: tuple[str, ...]
    outputs: tuple[Path, ...]
    plan: BenchmarkPlan
    progress: Progress
    json: bool
    overwrite: bool = False


def names(text: str) -> tuple[str, ...]:
    """Return the words between commas.

    Raises:
        UsageError: There is no word.
    """
    found = tuple(part.strip() for part in text.split(",") if part.strip())
    if not found:
        raise UsageError("--accelerator names none", hint="Such as cpu, all, or litert-gpu.")
    return found


def counts(text: str) -> tuple[int, ...]:
    """Return the whole numbers between commas, each once.

    Raises:
        UsageError: The text is something else.
    """
    found = [whole_number(part.strip()) or 0 for part in text.split(",")]
    if not all(1 <= count <= MOST_THREADS for count in found):
        raise UsageError(
            f"--threads {text!r}: expected whole numbers from 1 to {MOST_THREADS}",
            hint="Such as --threads 1,2,4.",
        )
    return tuple(dict.fromkeys(found))


def pictures(folder: Path | None) -> tuple[Path, ...]:
    """Return some pictures of a folder; none for no folder.

    Raises:
        DataError: The folder holds no picture.
    """
    if folder is None:
        return ()
    return tuple(picture.path for picture in find_pictures(folder, ()).pictures[:PICTURES])


def measure(job: BenchmarkJob) -> None:
    """Measure every row, show and write them, and end as the rows ask for.

    After Ctrl-C the rows that are done are shown and written; the same command goes on from them.
    """
    found = measured_models(job.models, job.variants)
    journal = _journal(job.outputs)
    begun = None if journal is None or job.overwrite else _begun(journal)
    for path in job.outputs:
        check_new_file(path, tuple(FORMS), overwrite=job.overwrite or begun is not None)
    if journal is not None and journal not in job.outputs:
        check_new_file(journal, overwrite=job.overwrite or _kept(journal) is not None)
    done: list[Results] = []

    def keep(results: Results) -> None:
        done[:] = [results]
        if journal is not None:
            write_results(journal, results)

    if begun is not None:
        job.progress.inform(f"{journal} holds an interrupted run: going on from its rows")
    try:
        results = run(found, job.plan, job.progress, begun=begun, kept=keep)
    except KeyboardInterrupt:
        for partial in done:
            _show(job, partial)
            _say_what_is_kept(partial, journal)
        raise
    _show(job, results)
    if journal is not None and journal not in job.outputs:
        remove_own(journal)
    _judge(results, job.plan)


def _journal(outputs: Sequence[Path]) -> Path | None:
    """Return the file that a run is written to after each row, so that it can go on from there.

    It is the JSON output; beside other outputs, a file of its own as long as the run lasts.
    """
    if not outputs:
        return None
    stated = next((path for path in outputs if path.suffix.lower() == ".json"), None)
    return stated or outputs[0].with_name(f"{outputs[0].name}.unfinished.json")


def _begun(journal: Path) -> Results | None:
    """Return the interrupted run in a file; None if the file is anything else."""
    found = _kept(journal)
    return found if found is not None and found.missing else None


def _kept(journal: Path) -> Results | None:
    """Return the results in a file, whole or not; None if the file is anything else."""
    if not journal.is_file():
        return None
    try:
        return read_results(journal)
    except UsageError:
        return None


def _show(job: BenchmarkJob, results: Results) -> None:
    for path in job.outputs:
        write_results(path, results)
    if job.json:
        print_json(results_json(results))
        return
    print_rows(results)
    if job.outputs:
        say(f"Written: {', '.join(readable(path) for path in job.outputs)}")


def _say_what_is_kept(results: Results, journal: Path | None) -> None:
    done, total = len(results.rows), len(results.rows) + results.missing
    way = (
        "with --output FILE.json the next run could go on from them"
        if journal is None
        else "the same command goes on from them"
    )
    say(f"{done} of {total} rows are done; {way}", err=True)


def _judge(results: Results, plan: BenchmarkPlan) -> None:
    """Raise an error if a row calls for it.

    Raises:
        NegativeVerdict: An operator stayed off an accelerator, where that was forbidden.
        EdgeError: No row has a time.
    """
    if plan.settings.full_delegation:
        partial = [row for row in results.rows if row.status is not Status.UNAVAILABLE]
        for row in partial:
            if row.unit != "cpu" and not (row.coverage and row.coverage.full):
                raise NegativeVerdict(
                    f"{row.model.name} does not run wholly on {row.accelerator}",
                    hint="Its row says what stayed on the CPU, and why.",
                )
    if not any(row.status in (Status.MEASURED, Status.ESTIMATED) for row in results.rows):
        raise _nothing(results.rows)


def _nothing(rows: Sequence[BenchmarkRow]) -> EdgeError:
    """Return the error of a run that measured nothing, which is that of its first row."""
    row = rows[0]
    unloaded = row.status in (Status.UNAVAILABLE, Status.REFUSED)
    kind = UsageError if row.usage else ModelLoadError if unloaded else MeasurementError
    found = "" if len(rows) == 1 else f" (first of {len(rows)} rows without a time)"
    return kind(
        f"{row.model.name} on {row.accelerator}: {row.status.value}: {row.reason}{found}",
        hint=row.hint,
    )


def compare(job: BenchmarkJob, reference: str, max_regression: float) -> None:
    """Measure the job's model and a reference in turn, show the verdict, and end as it asks for.

    Args:
        job: Its one model is judged.
        reference: What it is compared with: a file, BUNDLE:VARIANT, or a variant of its bundle.
        max_regression: Percent that the model may surely be slower than the reference.

    Raises:
        NegativeVerdict: The model is surely slower than allowed.
    """
    for path in job.outputs:
        check_new_file(path, ".json", overwrite=job.overwrite)
    candidate = _single(measured_models(job.models, job.variants))
    baseline = _single(_reference(reference, job))
    found = against(baseline, candidate, job.plan, job.progress)
    for path in job.outputs:
        write_json(path, found.to_json())
    if job.json:
        print_json(found.to_json())
    else:
        _print(found)
    if found.judgement.interval.low > 1 + max_regression / 100:
        raise NegativeVerdict(
            f"{_shown(candidate)} is slower by more than {max_regression:g} %: it takes "
            f"{found.judgement.ratio:.3f} times as long as {_shown(baseline)}"
        )


def _print(found: Against) -> None:
    judgement = found.judgement
    baseline, candidate = ([pair[side] for pair in found.medians] for side in (0, 1))
    names = [_shown(model) for model in (found.candidate, found.baseline)]
    shapes = [" ".join(shown(spec.shape) for spec in inputs) for inputs in found.inputs[::-1]]
    middles: list[float] = []
    for name, shape, values in zip(names, shapes, (candidate, baseline), strict=True):
        middles.append(middle := median(values))
        role = (f" {shape}" if shape else "") + ("  (reference)" if values is baseline else "")
        say(f"  {1e3 * middle:8.3f} ms  {name}{role}")
    if found.baseline.sha256 == found.candidate.sha256:
        print_folded(
            "Both are the same bytes: what is found between them says how far two measurements "
            "of one model differ here."
        )
    inconclusive = judgement.verdict is SpeedVerdict.INCONCLUSIVE
    judged = "The comparison" if inconclusive else names[0]
    taker = names[0] if inconclusive else "it"
    say(
        f"{judged} is {judgement.verdict.value}: {taker} takes {judgement.ratio:.3f} times as "
        f"long as the reference {names[1]}, {percent(judgement.confidence, 0)} interval "
        f"{judgement.interval.low:.3f} to {judgement.interval.high:.3f}, of "
        f"{len(found.medians)} pairs of processes in turn ({found.path}, "
        f"{counted(found.threads, 'thread')})."
    )
    quotient = middles[0] / middles[1]
    if abs(math.log(quotient / judgement.ratio)) > APART:
        print_folded(
            "The ratio is the median over the pairs, whose two sides ran next to one another; the "
            f"times above are medians over all processes, with the quotient {quotient:.3f}: the "
            "machine's speed changed meanwhile."
        )


def _shown(model: MeasuredModel) -> str:
    return one_line(f"{model.bundle}:{model.name}" if model.bundle else model.name)


def _single(found: Sequence[MeasuredModel]) -> MeasuredModel:
    if len(found) != 1:
        raise UsageError(
            f"--against compares two models, and {len(found)} are named on one side",
            hint="Name one variant with --variant, or BUNDLE:VARIANT after --against.",
        )
    return found[0]


def _reference(text: str, job: BenchmarkJob) -> tuple[MeasuredModel, ...]:
    """Return the model that ``--against`` names."""
    if Path(text).exists():
        return measured_models((Path(text),))
    place, _, variant = text.rpartition(":")
    if place and is_bundle(Path(place)):
        return measured_models((Path(place),), (variant,))
    bundles = [path for path in job.models if is_bundle(path)]
    if bundles:
        return measured_models(bundles[:1], (text,))
    raise UsageError(f"no model {text}", hint="Name a file, BUNDLE:VARIANT, or a variant.")
