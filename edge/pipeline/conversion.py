"""Runs the converters side by side, one process per format, and keeps each written file."""

import json
import os
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from queue import SimpleQueue
from typing import Any, Final

from converters.base import CALIBRATED, ConversionRequest, Precision, Target
from edge.cache import StageCache, content_key, sealed_bytes
from edge.errors import ConversionError
from edge.progress import Step
from edge.runtime.files import write_json
from edge.threads import deferred_interrupt
from edge.versions import versions
from edge.workers import Message, Worker, WorkerLimits

LONGEST: Final = 64 << 20  # bytes of an answer; a search records each file that it tried
RECORD: Final = "conversion.json"
RECORD_SCHEMA_VERSION: Final = 4  # of its record; files that older ones describe are made again

Failed = Callable[[Target, ConversionError], None]
"""Told of a target that cannot be written, and why; may raise to end all work."""


@dataclass(frozen=True, slots=True)
class Converted:
    """A written model file in the cache.

    Attributes:
        target: What it is.
        path: Where it lies.
        seconds: That its conversion took, when it was made.
        notes: Of the converter.
        record: Of the converter, for the report; see ``ConversionResult``.
    """

    target: Target
    path: Path
    seconds: float
    notes: tuple[str, ...]
    record: Mapping[str, Any]


def convert_all(
    request: ConversionRequest,
    targets: Iterable[Target],
    *,
    model_id: str,
    calibration_id: str,
    held_out_id: str,
    recipes: Mapping[str, tuple[str, ...]],
    cache: StageCache,
    step: Step,
    failed: Failed | None = None,
) -> tuple[Converted, ...]:
    """Write every target that the cache does not hold yet.

    Args:
        request: The model and what to embed; format, precisions and output are filled in here.
        targets: What to write, in the order of the answer.
        model_id: Content hash of the model.
        calibration_id: Content hash of the calibration images.
        held_out_id: Content hash of the images that are held out.
        recipes: By format, the blocks that its mixed file keeps in floats; a search where a
            format is missing.
        cache: Where files are found and kept.
        step: Told of each finished file, and of each that a search tried.
        failed: Told of each target that a converter cannot write; the others are written. Without
            it, the first such target ends the work.

    Returns:
        The files, less those that ``failed`` was told of.

    Raises:
        NegativeVerdict: No mixed file holds the budget.
        UsageError: The recipe does not fit the model.
        ConversionError: A converter failed; files that others finished stay in the cache.
    """
    wanted = tuple(targets)
    images = {"calibration": calibration_id, "held_out": held_out_id}
    requests = {
        target.format: replace(request, format=target.format, recipe=recipes.get(target.format))
        for target in wanted
    }
    keys = {target: _key(requests[target.format], target, model_id, images) for target in wanted}
    missing = [target for target in wanted if cache.find(keys[target]) is None]
    step(len(wanted) - len(missing))
    lost = _run(requests, missing, keys, cache, step, failed) if missing else set()
    return tuple(
        _found(target, cache.find(keys[target])) for target in wanted if target not in lost
    )


def _key(
    request: ConversionRequest, target: Target, model_id: str, images: Mapping[str, str]
) -> str:
    mixed = target.precision is Precision.MIXED
    return content_key(
        "model",
        {
            "model": model_id,
            "target": target.name,
            "record": RECORD_SCHEMA_VERSION,
            "images": dict(images) if target.precision in CALIBRATED else None,
            "corrected": request.corrected if target.precision in CALIBRATED else None,
            "max_drop": request.max_drop_points if mixed else None,
            "recipe": request.recipe if mixed else None,
            "name": request.name,
            "labels": list(request.labels),
            **({} if request.answers.plain else {"answers": request.answers.to_json()}),
            "preprocessing": request.preprocessing.sha256,
            "versions": versions(),
        },
    )


def _found(target: Target, entry: Path | None) -> Converted:
    if entry is None:
        raise ConversionError(f"the converter ended without writing {target.name}")
    record = json.loads(sealed_bytes(entry / RECORD))
    return Converted(
        target=target,
        path=entry / target.filename,
        seconds=float(record["seconds"]),
        notes=tuple(record["notes"]),
        record=record["record"],
    )


def _run(
    requests: Mapping[str, ConversionRequest],
    missing: list[Target],
    keys: dict[Target, str],
    cache: StageCache,
    step: Step,
    failed: Failed | None,
) -> set[Target]:
    """Targets that could not be written."""
    formats = tuple(dict.fromkeys(target.format for target in missing))
    searching = any(
        target.precision is Precision.MIXED and requests[target.format].recipe is None
        for target in missing
    )
    # A search times what it tries, and uses all cores for the rest: nothing may run beside it.
    lost: set[Target] = set()
    for together in [(item,) for item in formats] if searching else [formats]:
        some = [target for target in missing if target.format in together]
        asked = [requests[item] for item in together]
        errors = _run_together(asked, some, keys, cache, step, all_or_none=failed is None)
        if failed is None:
            continue
        for format_, error in errors.items():
            left = [item for item in some if item.format == format_ and not cache.find(keys[item])]
            for target in left:
                # Which one it was a process does not always live to tell: each gets its own.
                alone = {format_: error}
                if len(left) > 1:
                    alone = _run_together([requests[format_]], [target], keys, cache, step)
                if format_ in alone:
                    failed(target, alone[format_])
                    lost.add(target)
    return lost


def _run_together(
    requests: Iterable[ConversionRequest],
    missing: list[Target],
    keys: dict[Target, str],
    cache: StageCache,
    step: Step,
    *,
    all_or_none: bool = False,
) -> dict[str, ConversionError]:
    """Why a format's converter failed, by format; the first failure is raised if all or none."""
    by_name = {target.name: target for target in missing}
    messages: SimpleQueue[Message | None] = SimpleQueue()
    with cache.scratch("convert") as folder:
        workers: dict[str, Worker] = {}
        try:
            with deferred_interrupt():
                for request in requests:
                    workers[request.format] = _start(request, missing, folder, messages)
            running = len(workers)
            while running:
                message = messages.get()
                if message is None:
                    running -= 1
                else:
                    if "variant" in message:
                        _keep(message, by_name[message["variant"]], keys, cache)
                    step(1)
            failures = {format_: worker.error() for format_, worker in workers.items()}
        finally:
            for worker in workers.values():
                worker.stop()
    for failure in failures.values():
        if failure is not None and (all_or_none or not isinstance(failure, ConversionError)):
            raise failure
    return {key: error for key, error in failures.items() if isinstance(error, ConversionError)}


def _start(
    request: ConversionRequest,
    missing: list[Target],
    folder: Path,
    messages: SimpleQueue[Message | None],
) -> Worker:
    """Start the converter of one format; its messages go to the queue, and then None."""
    format_ = request.format
    output = folder / format_
    output.mkdir()
    precisions = tuple(target.precision for target in missing if target.format == format_)
    file = folder / f"{format_}.json"
    write_json(file, replace(request, precisions=precisions, output=output).to_json())
    return Worker(
        [sys.executable, "-m", "converters", str(file)],
        name=f"{format_} converter",
        environment=_environment(folder),
        limits=WorkerLimits(message_bytes=LONGEST),
        failure=ConversionError,
        heard=messages.put,
        closed=lambda: messages.put(None),
    )


def _keep(message: Message, target: Target, keys: dict[Target, str], cache: StageCache) -> None:
    with cache.store(keys[target]) as entry:
        content = Path(message["path"]).read_bytes()
        (entry / target.filename).write_bytes(content)
        kept = {name: message[name] for name in ("seconds", "notes", "record")}
        write_json(entry / RECORD, kept)


def _environment(folder: Path) -> dict[str, str]:
    """Of a converter process."""
    return {
        **os.environ,
        "TMPDIR": str(folder),  # libraries leave files when they are ended
        # numpy's threads only stand in the way of the other converter and of TensorFlow's own:
        # four times as slow where both round weights on two cores.
        "OPENBLAS_NUM_THREADS": "1",
    }
