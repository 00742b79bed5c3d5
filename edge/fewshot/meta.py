"""Meta-trained initialisations, kept by content and resumed where a run was cut off."""

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from edge.cache import StageCache, content_key
from edge.fewshot.networks import Network
from edge.fewshot.reptile import Initialisation, Learner
from edge.progress import Step
from edge.runtime.files import write_bytes, write_json
from edge.runtime.head import npz

MILESTONES: Final = 10  # kept on the way; a killed run loses at most a tenth of the work
ARRAYS: Final = "initialisation.npz"
RECORD: Final = "record.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class MetaTrained:
    """An initialisation, and how it came about.

    Attributes:
        start: Where every episode starts.
        key: Its content key.
        seconds: That the training took, over all runs that had a part in it.
    """

    start: Initialisation
    key: str
    seconds: float


def meta_trained(
    learner: Learner,
    network: Network,
    classes: Sequence[NDArray[np.int64]],
    *,
    ways: int,
    iterations: int,
    seed: int,
    parts: dict[str, Any],
    cache: StageCache,
    step: Step,
) -> MetaTrained:
    """The initialisation after ``iterations``, from the cache as far as that goes.

    Args:
        learner: Of the inputs of ``classes``.
        network: Of the learner.
        classes: Rows of the inputs of each class to train on.
        ways: Classes of a task.
        iterations: Meta-iterations.
        seed: Of weights and tasks.
        parts: Whatever decides the result.
        cache: Where milestones are kept.
        step: Told of each iteration.

    Raises:
        OutputError: The cache cannot be written.
    """
    ends = sorted({round(iterations * n / MILESTONES) for n in range(1, MILESTONES + 1)} - {0})
    keys = [content_key("reptile", parts | {"done": end}) for end in ends]
    done, start, seconds = 0, Initialisation.random(network, ways, seed), 0.0
    for end, key in zip(reversed(ends), reversed(keys), strict=True):
        found = cache.find(key)
        if found is not None:
            done = end
            start, seconds = _read(found)
            break
    step(done)
    for end, key in zip(ends, keys, strict=True):
        if end <= done:
            continue
        began = time.monotonic()
        start = learner.meta_train(
            start, classes, ways=ways, seed=seed, first=done, last=end, step=step
        )
        seconds += time.monotonic() - began
        done = end
        with cache.store(key) as folder:
            _write(folder, start, seconds)
    return MetaTrained(start=start, key=keys[-1], seconds=seconds)


def _write(folder: Path, start: Initialisation, seconds: float) -> None:
    arrays = {f"weight_{n:02}": item for n, item in enumerate(start.weights)}
    arrays |= {f"moment_{n:02}": item for n, item in enumerate(start.moments)}
    write_bytes(folder / ARRAYS, npz(**arrays))
    write_json(folder / RECORD, {"steps": start.steps, "seconds": seconds})


def _read(folder: Path) -> tuple[Initialisation, float]:
    record = json.loads((folder / RECORD).read_text(encoding="utf-8"))
    with np.load(folder / ARRAYS, allow_pickle=False) as arrays:
        weights = [arrays[name] for name in sorted(arrays) if name.startswith("weight")]
        moments = [arrays[name] for name in sorted(arrays) if name.startswith("moment")]
    return Initialisation(weights, moments, int(record["steps"])), float(record["seconds"])
