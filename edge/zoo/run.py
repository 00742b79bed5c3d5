"""The whole zoo, network by network; what is finished is kept, and a later run goes on there."""

import time
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from benchmarks.environment import environment
from edge.errors import UsageError
from edge.progress import Progress
from edge.training.backbones import backbone
from edge.training.options import NONE
from edge.training.weights import is_shipped
from edge.zoo.budget import Budget
from edge.zoo.files import read_zoo, write_zoo
from edge.zoo.measure import ROWS, ZooOptions, entry
from edge.zoo.published import BATCH, published
from edge.zoo.result import ZooResults


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
            found = entry(name, own, Budget(deadline), len(missing) - position, step)
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
