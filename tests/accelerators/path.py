"""Opens and runs a path in a Python of its own, as a worker does, and says what came out."""

import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from tests.integration.environments import bare_environ

ROOT: Final = Path(__file__).parents[2]
TIMEOUT: Final = 300  # seconds, of one model

# Standard output carries the engines' own lines as well, so that the answer has a mark.
MARK: Final = "answer: "
PROGRAM: Final = """
import dataclasses, json, sys, time
from importlib import import_module
from pathlib import Path
from benchmarks.accelerators.base import EngineSettings
from benchmarks.inputs import tensors
from edge.errors import EdgeError

place, task, model, settings = json.loads(sys.argv[1])
module, _, name = place.partition(":")
module = import_module(f"benchmarks.accelerators.{module}")
if settings.get("delegate"):
    settings["delegate"] = Path(settings["delegate"])
settings = EngineSettings(**settings)
try:
    if task == "probe":
        answer = {"device": dataclasses.asdict(getattr(module, f"probe_{name}")(settings))}
    else:
        found = getattr(module, f"open_{name}")(Path(model), settings)
        if task == "estimate":
            answer = dataclasses.asdict(found)
        else:
            feeds = tensors(found.inputs, settings.batch, None)
            seconds = []
            for _ in range(3):
                begin = time.perf_counter()
                outputs = found.run(*feeds)
                seconds.append(time.perf_counter() - begin)
            answer = {
                "device": dataclasses.asdict(found.device()),
                "coverage": dataclasses.asdict(found.coverage()),
                "outputs": [output.astype("float64").tolist() for output in outputs],
                "seconds": seconds,
                "engine": found.engine,
                "profile": [dataclasses.asdict(item) for item in found.profile(feeds, 3)],
            }
except EdgeError as error:
    answer = {"error": type(error).__name__, "message": error.message, "hint": error.hint}
print(MARK + json.dumps(answer))
""".replace("MARK", repr(MARK))


def path(
    place: str,
    model: Path | None = None,
    *,
    task: str = "run",
    python: Path | None = None,
    variables: Mapping[str, str] | None = None,
    **settings: Any,
) -> dict[str, Any]:
    """Do ``task`` with the callables of ``place`` and return the answer, or the error's parts.

    Args:
        place: ``module:suffix`` below ``benchmarks.accelerators``, as in ``table``.
        model: The file; None for a probe.
        task: ``run``, ``estimate`` or ``probe``.
        python: Of an environment; this one by default.
        variables: More of the environment.
        settings: Of ``base.EngineSettings``.
    """
    if "delegate" in settings:
        settings["delegate"] = str(settings["delegate"])
    question = json.dumps([place, task, str(model), settings])
    done = subprocess.run(
        [str(python or sys.executable), "-c", PROGRAM, question],
        capture_output=True,
        text=True,
        errors="replace",
        timeout=TIMEOUT,
        env=bare_environ(PYTHONPATH=str(ROOT), **(variables or {})),
    )
    for line in done.stdout.splitlines():
        if line.startswith(MARK):
            answer: dict[str, Any] = json.loads(line.removeprefix(MARK))
            return answer | {"stderr": done.stderr}
    raise RuntimeError(f"exit {done.returncode}\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}")
