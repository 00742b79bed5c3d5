"""Runs the converters side by side, one process per format, and keeps each written file."""

import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from queue import SimpleQueue
from typing import Any, Final

from converters.base import CALIBRATED, ConversionRequest, Precision, Target
from edge.cache import StageCache, content_key, sealed_bytes
from edge.errors import ConversionError, EdgeError, described, rebuilt
from edge.progress import Step
from edge.runtime import checked
from edge.runtime.files import write_json
from edge.runtime.printable import one_line
from edge.threads import deferred_interrupt
from edge.versions import versions

LONGEST: Final = 64 << 20  # bytes of an answer; a search records each file that it tried
LAST_WORDS: Final = 4096  # bytes of what a converter wrote
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
    answers: SimpleQueue[dict[str, Any] | None] = SimpleQueue()
    with cache.scratch("convert") as folder:
        workers: list[_Worker] = []
        try:
            with deferred_interrupt():  # nobody would end a process whose start it cut short
                workers.extend(_Worker(item, missing, folder, answers) for item in requests)
            running = len(workers)
            while running:
                answer = answers.get()
                if answer is None:
                    running -= 1
                else:
                    if "variant" in answer:
                        _keep(answer, by_name[answer["variant"]], keys, cache)
                    step(1)
            errors = {worker.format: worker.error() for worker in workers}
        finally:
            for worker in workers:
                worker.stop()
    found = {format_: error for format_, error in errors.items() if error is not None}
    for other in found.values():
        if all_or_none or not isinstance(other, ConversionError):
            raise other
    return {key: error for key, error in found.items() if isinstance(error, ConversionError)}


def _keep(
    answer: dict[str, Any], target: Target, keys: dict[Target, str], cache: StageCache
) -> None:
    with cache.store(keys[target]) as entry:
        content = Path(answer["path"]).read_bytes()
        (entry / target.filename).write_bytes(content)
        kept = {name: answer[name] for name in ("seconds", "notes", "record")}
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


def _parsed(line: bytes) -> dict[str, Any]:
    """What a converter answers: a written file, an error, or one more try of a search.

    Raises:
        ValueError: It is no JSON object.
    """
    answer = checked.parse_json(line, "its line", max_bytes=LONGEST, finite=False)
    if not isinstance(answer, dict):
        raise ValueError(f"its line is no object: {one_line(line.decode(errors='replace'), 200)}")
    return answer


class _Worker:
    """One converter process; its answers go to a queue, then None."""

    def __init__(
        self,
        request: ConversionRequest,
        missing: list[Target],
        folder: Path,
        answers: SimpleQueue[dict[str, Any] | None],
    ) -> None:
        self.format = format_ = request.format
        self._errors = (folder / f"{format_}.log").open("w+", encoding="utf-8", errors="replace")
        self._failure: dict[str, Any] | None = None
        output = folder / format_
        output.mkdir()
        precisions = tuple(target.precision for target in missing if target.format == format_)
        own = replace(request, precisions=precisions, output=output)
        file = folder / f"{format_}.json"
        write_json(file, own.to_json())
        self._process = subprocess.Popen(
            [sys.executable, "-m", "converters", str(file)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            env=_environment(folder),
            start_new_session=True,  # Ctrl-C reaches the parent alone, which then ends it
        )
        threading.Thread(target=self._read, args=(answers,), daemon=True).start()

    def _read(self, answers: SimpleQueue[dict[str, Any] | None]) -> None:
        assert self._process.stdout is not None
        try:
            for line in self._process.stdout:
                answer = _parsed(line)
                if "error" in answer:
                    self._failure = answer
                else:
                    answers.put(answer)
        except ValueError as error:
            words = f"the {self.format} converter said what is no answer: {error}"
            self._failure = described(ConversionError(words))
            self._process.kill()  # nobody reads what else it says
        finally:
            self._process.wait()
            answers.put(None)

    def error(self) -> EdgeError | OSError | None:
        """Why the process failed; None if it did not."""
        if self._failure is not None:
            number = self._failure.get("errno")
            if number is not None:
                return OSError(number, os.strerror(number))
            return rebuilt(self._failure, unknown=ConversionError)
        if self._process.returncode:
            # The end of it, since a converter may say anything of a model, at any length.
            end = self._errors.seek(0, os.SEEK_END)
            self._errors.seek(max(0, end - LAST_WORDS))
            lines = self._errors.read().strip().splitlines()[-3:]
            tail = " / ".join(one_line(line, LAST_WORDS // 8) for line in lines)
            return ConversionError(
                f"the {self.format} converter ended with code {self._process.returncode}: {tail}"
            )
        return None

    def stop(self) -> None:
        """End the process if it still runs."""
        if self._process.poll() is None:
            self._process.kill()
            self._process.wait()
        if self._process.stdin is not None:
            self._process.stdin.close()
        self._errors.close()
