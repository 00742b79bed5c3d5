"""Runs the converters side by side, one process per format, and keeps each written file."""

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from queue import SimpleQueue
from typing import Any, Final

from converters.base import ConversionRequest, Target
from edge.cache import StageCache, content_key
from edge.errors import ConversionError
from edge.pipeline.versions import versions
from edge.progress import Step
from edge.runtime.files import write_json

RECORD: Final = "conversion.json"


@dataclass(frozen=True, slots=True)
class Converted:
    """A written model file in the cache.

    Attributes:
        target: What it is.
        path: Where it lies.
        seconds: That its conversion took, when it was made.
        notes: Of the converter.
    """

    target: Target
    path: Path
    seconds: float
    notes: tuple[str, ...]


def convert_all(
    request: ConversionRequest,
    targets: Iterable[Target],
    *,
    model_id: str,
    calibration_id: str,
    cache: StageCache,
    step: Step,
) -> tuple[Converted, ...]:
    """Write every target that the cache does not hold yet.

    Args:
        request: The model and what to embed; format, precisions and output are filled in here.
        targets: What to write, in the order of the answer.
        model_id: Content hash of the model.
        calibration_id: Content hash of the calibration images.
        cache: Where files are found and kept.
        step: Told of each finished file.

    Raises:
        ConversionError: A converter failed; files that others finished stay in the cache.
    """
    wanted = tuple(targets)
    keys = {target: _key(request, target, model_id, calibration_id) for target in wanted}
    missing = [target for target in wanted if cache.find(keys[target]) is None]
    step(len(wanted) - len(missing))
    if missing:
        _run(request, missing, keys, cache, step)
    return tuple(_found(target, cache.find(keys[target])) for target in wanted)


def _key(request: ConversionRequest, target: Target, model_id: str, calibration_id: str) -> str:
    return content_key(
        "model",
        {
            "model": model_id,
            "target": target.name,
            "calibration": calibration_id if target.precision == "int8" else None,
            "name": request.name,
            "labels": list(request.labels),
            "preprocessing": request.preprocessing.sha256,
            "versions": versions(),
        },
    )


def _found(target: Target, entry: Path | None) -> Converted:
    if entry is None:
        raise ConversionError(f"the converter ended without writing {target.name}")
    record = json.loads((entry / RECORD).read_text(encoding="utf-8"))
    return Converted(
        target, entry / target.filename, float(record["seconds"]), tuple(record["notes"])
    )


def _run(
    request: ConversionRequest,
    missing: list[Target],
    keys: dict[Target, str],
    cache: StageCache,
    step: Step,
) -> None:
    by_name = {target.name: target for target in missing}
    answers: SimpleQueue[dict[str, Any] | None] = SimpleQueue()
    with cache.scratch("convert") as folder:
        workers = [
            _Worker(request, format_, missing, folder, answers)
            for format_ in dict.fromkeys(target.format for target in missing)
        ]
        try:
            running = len(workers)
            while running:
                answer = answers.get()
                if answer is None:
                    running -= 1
                elif "variant" in answer:
                    _keep(answer, by_name[answer["variant"]], keys, cache)
                    step(1)
            for worker in workers:
                worker.check()
        finally:
            for worker in workers:
                worker.stop()


def _keep(
    answer: dict[str, Any], target: Target, keys: dict[Target, str], cache: StageCache
) -> None:
    with cache.store(keys[target]) as entry:
        content = Path(answer["path"]).read_bytes()
        (entry / target.filename).write_bytes(content)
        write_json(entry / RECORD, {"seconds": answer["seconds"], "notes": answer["notes"]})


class _Worker:
    """One converter process; its answers go to a queue, then None."""

    def __init__(
        self,
        request: ConversionRequest,
        format_: str,
        missing: list[Target],
        folder: Path,
        answers: SimpleQueue[dict[str, Any] | None],
    ) -> None:
        self._format = format_
        self._errors = (folder / f"{format_}.log").open("w+", encoding="utf-8", errors="replace")
        self._failure: dict[str, Any] | None = None
        output = folder / format_
        output.mkdir()
        precisions = tuple(target.precision for target in missing if target.format == format_)
        own = replace(request, format=format_, precisions=precisions, output=output)
        file = folder / f"{format_}.json"
        write_json(file, own.to_json())
        self._process = subprocess.Popen(
            [sys.executable, "-m", "converters", str(file)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            env={**os.environ, "TMPDIR": str(folder)},  # libraries leave files when they are ended
            start_new_session=True,  # Ctrl-C reaches the parent alone, which then ends it
        )
        threading.Thread(target=self._read, args=(answers,), daemon=True).start()

    def _read(self, answers: SimpleQueue[dict[str, Any] | None]) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            answer = json.loads(line)
            if "error" in answer:
                self._failure = answer
            else:
                answers.put(answer)
        self._process.wait()
        answers.put(None)

    def check(self) -> None:
        """Raise ConversionError if the process failed."""
        if self._failure is not None:
            number = self._failure.get("errno")
            if number is not None:
                raise OSError(number, os.strerror(number))
            raise ConversionError(self._failure["message"])
        if self._process.returncode:
            self._errors.seek(0)
            tail = " / ".join(self._errors.read().strip().splitlines()[-3:])
            raise ConversionError(
                f"the {self._format} converter ended with code {self._process.returncode}: {tail}"
            )

    def stop(self) -> None:
        """End the process if it still runs."""
        if self._process.poll() is None:
            self._process.kill()
            self._process.wait()
        if self._process.stdin is not None:
            self._process.stdin.close()
        self._errors.close()
