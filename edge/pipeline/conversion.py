"""Runs the converters side by side, one process per format, and keeps each written file."""

import ctypes
import gc
import json
import os
import sys
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from queue import SimpleQueue
from typing import Any, Final

from converters.base import (
    CALIBRATED,
    PREPARED,
    ConversionRequest,
    ConversionResult,
    Precision,
    Target,
)
from edge.cache import StageCache, content_key, sealed_bytes
from edge.errors import ConversionError
from edge.prepared import SUPPORTED, Forked, PreparedProcess
from edge.progress import Step
from edge.runtime.files import write_json
from edge.runtime.typed import encoded, typed
from edge.threads import deferred_interrupt
from edge.versions import versions
from edge.workers import Message, Worker, WorkerLimits

LONGEST: Final = 64 << 20  # bytes of an answer; a search records each file that it tried
RECORD: Final = "conversion.json"
RECORD_SCHEMA_VERSION: Final = 9  # of the record; files that older ones describe are made again

# numpy's threads only stand in the way of the other converter and of TensorFlow's own: four times
# as slow where both round weights on two cores.
_THREADS: Final = {"OPENBLAS_NUM_THREADS": "1"}

Failed = Callable[[Target, ConversionError], None]
"""Called with a target that cannot be written, and why; may raise to end all work."""


@dataclass(frozen=True, slots=True)
class Converted:
    """A written model file in the cache.

    Attributes:
        target: The format and precision of the file.
        path: The path of the file.
        seconds: The time that its conversion took, when it was made.
        notes: What the converter says of it, for people.
        record: What the converter says of it, for the report; see ``ConversionResult``.
    """

    target: Target
    path: Path
    seconds: float
    notes: tuple[str, ...]
    record: Mapping[str, Any]


class PreparedConverters:
    """TensorFlow imported for the converters while this process does something else."""

    def __init__(self) -> None:
        self._prepared: PreparedProcess | None = None

    def begin(self) -> None:
        """Start the import, where jobs can be forked."""
        if SUPPORTED and self._prepared is None:
            with suppress(OSError):  # each converter is then a new process, which says why
                command = [sys.executable, "-m", "converters", PREPARED]
                self._prepared = PreparedProcess(command, {**os.environ, **_THREADS})

    def fork(self, arguments: Sequence[str], environment: Mapping[str, str]) -> Forked | None:
        """Return a converter at work; None where nothing is prepared."""
        if self._prepared is None:
            return None
        return self._prepared.start(arguments, environment)

    def end(self) -> None:
        """Free the memory."""
        if self._prepared is not None:
            self._prepared.close()
            self._prepared = None


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
    prepared: PreparedConverters | None = None,
) -> tuple[Converted, ...]:
    """Write every target that the cache does not hold yet.

    Args:
        request: The model and what to embed; format, precisions and output are filled in here.
        targets: What to write, in the order of the answer.
        model_id: The content hash of the model.
        calibration_id: The content hash of the calibration images.
        held_out_id: The content hash of the images that are held out.
        recipes: By format, the blocks that its mixed file keeps in floats; a search where a
            format is missing.
        cache: Where files are found and kept.
        step: Called for each finished file, and for each that a search tried.
        failed: Called for each target that a converter cannot write; the others are written.
            Without it, the first such target ends the work.
        prepared: Where the converters are forked; each is a new process without.

    Returns:
        The files, less those that ``failed`` was called for.

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
    conversion = _Conversion(
        requests=requests,
        keys=keys,
        cache=cache,
        step=step,
        prepared=prepared or PreparedConverters(),
    )
    missing = [target for target in wanted if not conversion.is_written(target)]
    step(len(wanted) - len(missing))
    lost = conversion.write(missing, failed)
    return tuple(
        _stored(target, cache.find(keys[target])) for target in wanted if target not in lost
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
            **({} if request.decoder is None else {"decoder": request.decoder.to_json()}),
            "preprocessing": request.preprocessing.sha256,
            "versions": versions(),
        },
    )


def _stored(target: Target, entry: Path | None) -> Converted:
    """Return the file of a target in the cache."""
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


@dataclass(frozen=True, slots=True)
class _Conversion:
    """The conversion of one model.

    Attributes:
        requests: What the converter of each format is asked for.
        keys: The cache's key of each target.
        cache: Where files are found and kept.
        step: Called for each finished file, and for each that a search tried.
        prepared: Where the converters are forked, if it has begun.
    """

    requests: Mapping[str, ConversionRequest]
    keys: Mapping[Target, str]
    cache: StageCache
    step: Step
    prepared: PreparedConverters

    @property
    def searches(self) -> bool:
        """Whether nobody knows how many files will be tried; int8's own check is no search."""
        mixed = (target for target in self.keys if target.precision is Precision.MIXED)
        return any(self.requests[target.format].recipe is None for target in mixed)

    def is_written(self, target: Target) -> bool:
        """Return whether the cache holds the file of a target."""
        return self.cache.find(self.keys[target]) is not None

    def write(self, missing: Sequence[Target], failed: Failed | None) -> set[Target]:
        """Write these targets; those that cannot be written."""
        formats = tuple(dict.fromkeys(target.format for target in missing))
        searching = any(
            target.precision is Precision.MIXED and self.requests[target.format].recipe is None
            for target in missing
        )
        # A search times what it tries, and uses all cores for the rest: nothing may run beside it.
        lost: set[Target] = set()
        for together in [(format_,) for format_ in formats] if searching else [formats]:
            some = [target for target in missing if target.format in together]
            errors = self._run(some)
            if errors and failed is None:
                raise next(iter(errors.values()))
            for format_, error in errors.items():
                lost |= self._without(format_, some, error, failed) if failed else set()
        return lost

    def _without(
        self, format_: str, asked: Sequence[Target], error: ConversionError, failed: Failed
    ) -> set[Target]:
        """Write what can be written of a format whose converter failed; the other targets.

        A process does not always live to say at which target it failed: each gets its own.
        """
        lost: set[Target] = set()
        left = [item for item in asked if item.format == format_ and not self.is_written(item)]
        for target in left:
            alone = self._run([target]) if len(left) > 1 else {format_: error}
            if format_ in alone:
                failed(target, alone[format_])
                lost.add(target)
        return lost

    def _run(self, missing: Sequence[Target]) -> dict[str, ConversionError]:
        """Run the converters side by side; by format, why one failed.

        Raises:
            EdgeError, OSError: A converter failed for another reason than the conversion.
        """
        by_name = {target.name: target for target in missing}
        events: SimpleQueue[_Event] = SimpleQueue()
        with self.cache.scratch("convert") as folder:
            workers: dict[str, Worker] = {}
            _give_memory_back()
            try:
                with deferred_interrupt():
                    for format_ in dict.fromkeys(target.format for target in missing):
                        workers[format_] = self._start(format_, missing, folder, events)
                running = len(workers)
                while running:
                    event = events.get()
                    if event is None:
                        running -= 1
                        continue
                    if isinstance(event, ConversionResult):
                        self._keep(event, by_name[event.variant])
                    elif not self.searches:
                        continue
                    self.step(1)
                errors = {format_: worker.error() for format_, worker in workers.items()}
            finally:
                for worker in workers.values():
                    worker.stop()
        for error in errors.values():
            if error is not None and not isinstance(error, ConversionError):
                raise error
        return {key: error for key, error in errors.items() if isinstance(error, ConversionError)}

    def _start(
        self,
        format_: str,
        missing: Sequence[Target],
        folder: Path,
        events: "SimpleQueue[_Event]",
    ) -> Worker:
        """Start the converter of one format; what it sends goes to the queue, and then None."""
        output = folder / format_
        output.mkdir()
        targets = {target.name: target for target in missing if target.format == format_}
        precisions = tuple(target.precision for target in targets.values())
        request = replace(self.requests[format_], precisions=precisions, output=output)
        file = folder / f"{format_}.json"
        write_json(file, encoded(request))
        environment = _environment(folder)
        return Worker(
            [sys.executable, "-m", "converters", str(file)],
            name=f"{format_} converter",
            environment=environment,
            limits=WorkerLimits(message_bytes=LONGEST),
            failure=ConversionError,
            heard=lambda message: events.put(_event(message, targets)),
            closed=lambda: events.put(None),
            forked=self.prepared.fork([str(file)], environment),
        )

    def _keep(self, result: ConversionResult, target: Target) -> None:
        with self.cache.store(self.keys[target]) as entry:
            (entry / target.filename).write_bytes(result.path.read_bytes())
            record = {"seconds": result.seconds, "notes": result.notes, "record": result.record}
            write_json(entry / RECORD, record)


def _give_memory_back() -> None:
    """Return what training has freed to the system (malloc_trim(3)): the converters need it."""
    gc.collect()  # Keras models refer to themselves
    try:
        trim = ctypes.CDLL(None).malloc_trim
    except (OSError, AttributeError):  # another C library
        return
    trim(0)


_Event = ConversionResult | int | None
"""What a converter sends: a written file, or a try of a search; None at its end."""


def _event(message: Message, targets: Collection[str]) -> _Event:
    """Read a message.

    Raises:
        ValueError: It is none of a converter for these targets.
    """
    if set(message) == {"progress"}:
        return 1
    result = typed(ConversionResult, message, "its message", exact=True)
    if result.variant not in targets:
        raise ValueError("a file that nobody asked for")
    return result


def _environment(folder: Path) -> dict[str, str]:
    """Return the environment variables of a converter."""
    return {
        **os.environ,
        "TMPDIR": str(folder),  # libraries leave files when they are ended
        **_THREADS,
    }
