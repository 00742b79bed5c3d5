"""Whether the benchmark harness measures what it says.

    python tests/performance/benchmark.py [MODEL] [--rounds 20] [--comparisons 40 --keep FILE]

MODEL is a .tflite file of some milliseconds; without one, the MobileNetV2 of EDGE_TEST_DATA, or
else MobileNet is exported first (a minute or two).

1. Agreement: the medians of a benchmark's worker, of a loop by hand and of LiteRT's own benchmark
   tool, one after another in fresh processes, there and back in each round. At most 3 % apart.
2. Overhead: what the harness adds to an inference, in microseconds. At most 20.
3. With --comparisons 40 (an hour or two, on a machine that does nothing else): a model against
   itself, of which at most 2 of 40 may say faster or slower; and against itself with a delegate
   that sleeps for 10 % of its time, which at least 38 of 40 must call slower. Needs a C compiler.
   --keep FILE has each verdict as soon as it is known; the same command goes on after those.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import numpy as np
from support.data import exported
from support.script import NotHere, Report, Script, data_with

from benchmarks.accelerators.base import EngineSettings
from benchmarks.accelerators.litert_cpu import open_litert
from benchmarks.accelerators.table import accelerator
from benchmarks.against import BLOCK, against
from benchmarks.inputs import tensors
from benchmarks.models import lone
from benchmarks.plan import BenchmarkPlan
from benchmarks.protocol import Protocol
from benchmarks.request import Request, TimedModel, WorkerTask, ask
from benchmarks.stats import median
from benchmarks.timing import timed
from benchmarks.verdict import EQUIVALENT, ROUNDS, SpeedVerdict, check_pairs, judge
from edge.errors import UsageError
from edge.progress import Silent
from edge.runtime.bundle import Bundle
from edge.runtime.files import sha256_file, write_json

ROOT: Final = Path(__file__).parents[2]
BARE: Final = Path(__file__).with_name("support") / "bare_loop.py"
TINY: Final = ROOT / "tests" / "data" / "channels_int8.tflite"
MOBILENET: Final = "models/mobilenet_v2_1.0_224_quant.tflite"
TIMEOUT: Final = 300.0  # seconds, of one process
MOST_MICROSECONDS: Final = 20
SLOWDOWN: Final = 0.1
PATH: Final = "litert-cpu"
MOST_ALARMS: Final = 2 / 40
LEAST_FOUND: Final = 38 / 40


def main() -> int:
    """Measure and print; see ``support.script`` for the exit codes."""
    script = Script(__doc__)
    script.parser.add_argument("model", type=Path, nargs="?", help="a .tflite file")
    script.parser.add_argument("--keep", type=Path, help="file of the verdicts so far")
    script.amount("--rounds", ROUNDS, 4, "of each comparison, two pairs each")
    script.amount("--comparisons", 0, 1, "of each kind")
    script.amount("--runs", 60, 2, "inferences of one process that is timed for the agreement")
    return script.run(_measure)


def _measure(options: argparse.Namespace, report: Report) -> None:
    check_pairs(2 * options.rounds)
    with tempfile.TemporaryDirectory() as name:
        model = options.model or _default_model(Path(name), report)
        agreement(model, options, report)
        overhead(report)
        if options.comparisons:
            verdicts(model, options, report)


def _default_model(folder: Path, report: Report) -> Path:
    if report.smoke:
        return TINY
    try:
        return data_with(MOBILENET) / MOBILENET
    except NotHere:
        bundle = exported(folder, "tflite-int8", report)
        return bundle / Bundle.open(bundle).manifest.variant("tflite-int8").path


def agreement(model: Path, options: argparse.Namespace, report: Report) -> None:
    """Three ways to time one file, in turn, there and back: a round has two pairs of each two."""
    ways: dict[str, Callable[[Path, int], float]] = {
        "edge": _edge,
        "loop by hand": _by_hand,
        "litert-benchmark": _litert_tool,
    }
    names = list(ways)
    found: dict[str, list[float]] = {name: [] for name in names}
    for number in range(options.rounds):
        first = number % len(names)
        order = names[first:] + names[:first]
        for name in (*order, *reversed(order)):
            found[name].append(ways[name](model, options.runs))
    report.say(f"{model.name}, 1 thread, {options.rounds} rounds of fresh processes:")
    for name, seconds in found.items():
        report.say(f"  {name:18} {1e3 * median(seconds):8.3f} ms")
    report.figures["agreement_seconds"] = found
    for name in names[1:]:
        judged = judge(np.column_stack([found[name], found["edge"]]))
        low, high = judged.interval.low, judged.interval.high
        surely = low > 1 + EQUIVALENT or high < 1 - EQUIVALENT
        apart = 100 * abs(judged.ratio - 1)
        report.bar(f"edge apart from {name}", apart, at_most=100 * EQUIVALENT, unit="%")
        report.say(
            f"  edge / {name}: {judged.ratio:.4f} ({low:.4f} to {high:.4f})"
            f"{'' if surely or apart <= 100 * EQUIVALENT else ': too noisy a machine to tell'}"
        )


def _edge(model: Path, runs: int) -> float:
    path = accelerator(PATH)
    request = Request(
        task=WorkerTask.TIME,
        opener=path.open,
        probe=path.probe,
        model=model,
        protocol=Protocol(runs=runs, min_seconds=0.0),
    )
    return median(ask(request, TimedModel, timeout=TIMEOUT)[-1].times.steady)


def _by_hand(model: Path, runs: int) -> float:
    return float(_run(sys.executable, str(BARE), str(model), "1", str(runs)).stdout)


def _litert_tool(model: Path, runs: int) -> float:
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.json"
        _run(
            sys.executable,
            "-m",
            "ai_edge_litert.tools.benchmark_litert_model",
            f"--model={model}",
            "--num_threads=1",
            "--warmup_runs=20",
            f"--num_runs={runs}",
            f"--result_json={report}",
        )
        return float(json.loads(report.read_text())["latency"]["median_ms"]) / 1e3


def _run(*command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT, check=True)


def overhead(report: Report, inferences: int = 2000, rounds: int = 10) -> None:
    """What a sample holds beyond the engine's own calls, and what passes between two samples."""
    runner = open_litert(TINY, EngineSettings())
    arrays = tensors(runner.inputs, 1, None)
    protocol = Protocol(runs=inferences, min_seconds=0.0, warm_up_seconds=0.05)
    bare: list[float] = []
    within: list[float] = []
    between: list[float] = []
    for _ in range(rounds):
        bare.append(_bare_loop(inferences))
        began = time.perf_counter()
        times = timed(lambda: runner.run(*arrays), protocol)
        elapsed = time.perf_counter() - began
        every = [times.first, *times.warm_up, *times.steady]
        within.append(median(times.steady))
        between.append((elapsed - sum(every)) / len(every))
    added = 1e6 * (median(within) - median(bare))
    report.say(
        f"{added:.2f} microseconds within a sample (bare {1e6 * median(bare):.2f}), "
        f"{1e6 * median(between):.2f} between two"
    )
    report.bar(
        "overhead of an inference",
        max(added, added + 1e6 * median(between)),
        at_most=MOST_MICROSECONDS,
        unit="microseconds",
    )


def _bare_loop(inferences: int) -> float:
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_path=str(TINY), num_threads=1)
    interpreter.allocate_tensors()
    (put,), (get,) = interpreter.get_input_details(), interpreter.get_output_details()
    tensor = np.zeros(put["shape"], put["dtype"])
    samples = []
    for _ in range(inferences):
        before = time.perf_counter()
        interpreter.set_tensor(put["index"], tensor)
        interpreter.invoke()
        interpreter.get_tensor(get["index"])
        samples.append(time.perf_counter() - before)
    return median(samples)


def verdicts(model: Path, options: argparse.Namespace, report: Report) -> None:
    """A model against itself, as it is and slowed down, in turn."""
    comparisons, began = options.comparisons, time.monotonic()
    kept = Kept(options.keep, [sha256_file(model), options.rounds])
    with tempfile.TemporaryDirectory() as folder:
        plain, slow = _plans(model, Path(folder), report)
        plans = {"itself": plain, "itself slowed down": slow}
        todo = [kind for _ in range(comparisons) for kind in plans][len(kept.verdicts) :]
        for done, kind in enumerate(todo):
            found = _judged(model, plain, plans[kind], options.rounds)
            kept.add(found.verdict)
            left = (time.monotonic() - began) / (done + 1) * (len(todo) - done - 1)
            report.say(
                f"{len(kept.verdicts)} of {2 * comparisons}, against {kind}: {found.verdict}, "
                f"{found.ratio:.3f} ({found.interval.low:.3f} to {found.interval.high:.3f}); "
                f"{left / 60:.0f} minutes left"
            )
    same, planted = (kept.verdicts[: 2 * comparisons][start::2] for start in range(2))
    report.say(f"against itself: {dict(Counter(same))}")
    report.say(f"slowed down by 10 %: {dict(Counter(planted))}")
    report.figures["verdicts"] = {"itself": same, "slowed down": planted}
    alarms = sum(verdict in (SpeedVerdict.FASTER, SpeedVerdict.SLOWER) for verdict in same)
    of = f"of {comparisons}"
    report.bar("false alarms", alarms, at_most=MOST_ALARMS * comparisons, unit=of)
    hits = planted.count(SpeedVerdict.SLOWER)
    report.bar("slowdowns found", hits, at_least=LEAST_FOUND * comparisons, unit=of)


class Kept:
    """The verdicts so far, of the two kinds in turn, also those of an earlier call.

    Args:
        path: The file that keeps them; None for none.
        about: What decides the verdicts.

    Raises:
        UsageError: The file is about something else.
    """

    def __init__(self, path: Path | None, about: list[Any]) -> None:
        self.verdicts: list[str] = []
        self._path, self._about = path, about
        if path is not None and path.exists():
            before = json.loads(path.read_text(encoding="utf-8"))
            if before["about"] != about:
                raise UsageError(f"{path} is about another model or number of rounds")
            self.verdicts = before["verdicts"]

    def add(self, verdict: SpeedVerdict) -> None:
        """Keep one more."""
        self.verdicts.append(verdict.value)
        if self._path is not None:
            write_json(self._path, {"about": self._about, "verdicts": self.verdicts})


def _plans(model: Path, folder: Path, report: Report) -> tuple[BenchmarkPlan, BenchmarkPlan]:
    """The delegate without sleep, and with a sleep of ``SLOWDOWN`` of the model's time."""
    import pytest

    from tests.accelerators.sleeping_delegate import build_delegate

    try:
        library = build_delegate(folder)
    except pytest.skip.Exception as skipped:
        raise NotHere(str(skipped)) from skipped
    plain = BenchmarkPlan(
        paths=("tflite-delegate",),
        settings=EngineSettings(delegate=library, options={"claim": "last", "sleep_us": "0"}),
    )
    path = accelerator(plain.paths[0])
    request = Request(
        task=WorkerTask.TIME,
        opener=path.open,
        probe=path.probe,
        model=model,
        settings=plain.settings,
        protocol=BLOCK,
    )
    medians = [
        median(ask(request, TimedModel, timeout=TIMEOUT)[-1].times.steady)
        for _ in range(2 if report.smoke else ROUNDS)
    ]
    microseconds = round(1e6 * SLOWDOWN * median(medians))
    report.say(f"the delegate sleeps for {microseconds} microseconds")
    options = {"claim": "last", "sleep_us": str(microseconds)}
    slow = replace(plain, settings=replace(plain.settings, options=options))
    return plain, slow


def _judged(model: Path, plain: BenchmarkPlan, plan: BenchmarkPlan, rounds: int) -> Any:
    measured = lone(model)
    found = against(measured, measured, plain, Silent(), rounds=rounds, candidate_plan=plan)
    return found.judgement


if __name__ == "__main__":
    sys.exit(main())
