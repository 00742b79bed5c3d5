"""Whether the benchmark harness measures what it says.

    python tests/performance/benchmark.py [MODEL] [--rounds 20] [--comparisons 0]

MODEL is a .tflite file of some milliseconds; without one, the MobileNetV2 of EDGE_TEST_DATA, or
else MobileNet is exported first (a minute or two).

1. Agreement: the medians of a benchmark's worker, of a loop by hand and of LiteRT's own benchmark
   tool, one after another in fresh processes, round by round. At most 3 % apart.
2. Overhead: what the harness adds to an inference, in microseconds. At most 20.
3. With --comparisons 40 (an hour and a half, on a machine that does nothing else): a model against
   itself, of which at most 2 of 40 may say faster or slower; and against itself with a delegate
   that sleeps for 10 % of its time, which at least 38 of 40 must call slower. Needs a C compiler.
"""

import argparse
import json
import os
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
from benchmarks.verdict import EQUIVALENT, ROUNDS, SpeedVerdict, judge
from edge.cli.terminal import report_error
from edge.errors import EdgeError
from edge.progress import Silent
from edge.runtime.bundle import Bundle

ROOT: Final = Path(__file__).parents[2]
BARE: Final = Path(__file__).with_name("support") / "bare_loop.py"
TINY: Final = ROOT / "tests" / "data" / "channels_int8.tflite"
RUNS: Final = 60  # inferences of one process
TIMEOUT: Final = 300.0  # seconds, of one process
MOST_MICROSECONDS: Final = 20
SLOWDOWN: Final = 0.1
PATH: Final = "litert-cpu"


def main() -> int:
    """Measure and print; exit code 1 if a bar is not met."""
    options = _options()
    with tempfile.TemporaryDirectory() as name:
        try:
            model = options.model or _default_model(Path(name))
            passed = [agreement(model, options.rounds), overhead()]
            if options.comparisons:
                passed += verdicts(model, options.comparisons, options.rounds)
        except EdgeError as error:
            return report_error(error)
    return 0 if all(passed) else 1


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("model", type=Path, nargs="?", help="a .tflite file")
    parser.add_argument("--rounds", type=int, default=ROUNDS, help="of each comparison")
    parser.add_argument("--comparisons", type=int, default=0, help="of each kind")
    return parser.parse_args()


def _default_model(folder: Path) -> Path:
    named = os.environ.get("EDGE_TEST_DATA")
    if named:
        return Path(named) / "models" / "mobilenet_v2_1.0_224_quant.tflite"
    bundle = exported(folder, "tflite-int8")
    return bundle / Bundle.open(bundle).manifest.variant("tflite-int8").path


def agreement(model: Path, rounds: int) -> bool:
    """Three ways to time one file, in turn; each round begins with another of them."""
    ways: dict[str, Callable[[Path], float]] = {
        "edge": _edge,
        "loop by hand": _by_hand,
        "litert-benchmark": _litert_tool,
    }
    names = list(ways)
    found: dict[str, list[float]] = {name: [] for name in names}
    for number in range(rounds):
        first = number % len(names)
        for name in names[first:] + names[:first]:
            found[name].append(ways[name](model))
    print(f"{model.name}, 1 thread, {rounds} rounds of fresh processes:")
    for name, seconds in found.items():
        print(f"  {name:18} {1e3 * median(seconds):8.3f} ms")
    passed = True
    for name in names[1:]:
        pairs = np.column_stack([found[name], found["edge"]])
        judged = judge(pairs)
        near = abs(judged.ratio - 1) <= EQUIVALENT
        surely = judged.interval.low > 1 + EQUIVALENT or judged.interval.high < 1 - EQUIVALENT
        passed = passed and near
        said = "within 3 %" if near else "BEYOND 3 %" if surely else "too noisy a machine to tell"
        print(
            f"  edge / {name}: {judged.ratio:.4f} "
            f"({judged.interval.low:.4f} to {judged.interval.high:.4f}): {said}"
        )
    return passed


def _edge(model: Path) -> float:
    path = accelerator(PATH)
    request = Request(
        task=WorkerTask.TIME,
        opener=path.open,
        probe=path.probe,
        model=model,
        protocol=Protocol(runs=RUNS, min_seconds=0.0),
    )
    return median(ask(request, TimedModel, timeout=TIMEOUT)[-1].times.steady)


def _by_hand(model: Path) -> float:
    return float(_run(sys.executable, str(BARE), str(model), "1", str(RUNS)).stdout)


def _litert_tool(model: Path) -> float:
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.json"
        _run(
            sys.executable,
            "-m",
            "ai_edge_litert.tools.benchmark_litert_model",
            f"--model={model}",
            "--num_threads=1",
            "--warmup_runs=20",
            f"--num_runs={RUNS}",
            f"--result_json={report}",
        )
        return float(json.loads(report.read_text())["latency"]["median_ms"]) / 1e3


def _run(*command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT, check=True)


def overhead(inferences: int = 2000, rounds: int = 10) -> bool:
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
    passed = max(added, added + 1e6 * median(between)) <= MOST_MICROSECONDS
    print(
        f"overhead per inference: {added:.2f} microseconds within a sample (bare "
        f"{1e6 * median(bare):.2f}), {1e6 * median(between):.2f} between two: "
        f"{'within' if passed else 'BEYOND'} {MOST_MICROSECONDS}"
    )
    return passed


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


def verdicts(model: Path, comparisons: int, rounds: int) -> list[bool]:
    """A model against itself, as it is and slowed down, in turn."""
    with tempfile.TemporaryDirectory() as folder:
        plain, slow = _plans(model, Path(folder))
        same: list[SpeedVerdict] = []
        planted: list[SpeedVerdict] = []
        for number in range(comparisons):
            for verdicts_, plan in ((same, plain), (planted, slow)):
                kind = "itself" if plan is plain else "slowed down"
                found = _judged(model, plain, plan, rounds)
                verdicts_.append(found.verdict)
                print(
                    f"{number + 1} of {comparisons}, against {kind}: {found.verdict}, "
                    f"{found.ratio:.3f} ({found.interval.low:.3f} to {found.interval.high:.3f})",
                    flush=True,
                )
    false = sum(verdict in (SpeedVerdict.FASTER, SpeedVerdict.SLOWER) for verdict in same)
    hits = planted.count(SpeedVerdict.SLOWER)
    print(f"against itself: {dict(Counter(same))}; {false} of {comparisons} false")
    print(f"slowed down by 10 %: {dict(Counter(planted))}; {hits} of {comparisons} found")
    return [false <= comparisons * 2 / 40, hits >= comparisons * 38 / 40]


def _plans(model: Path, folder: Path) -> tuple[BenchmarkPlan, BenchmarkPlan]:
    """The delegate without sleep, and with a sleep of ``SLOWDOWN`` of the model's time."""
    from tests.accelerators.sleeping_delegate import build_delegate

    library = build_delegate(folder)
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
        median(ask(request, TimedModel, timeout=TIMEOUT)[-1].times.steady) for _ in range(ROUNDS)
    ]
    microseconds = round(1e6 * SLOWDOWN * median(medians))
    print(f"the delegate sleeps for {microseconds} microseconds")
    options = {"claim": "last", "sleep_us": str(microseconds)}
    slow = replace(plain, settings=replace(plain.settings, options=options))
    return plain, slow


def _judged(model: Path, plain: BenchmarkPlan, plan: BenchmarkPlan, rounds: int) -> Any:
    measured = lone(model)
    found = against(measured, measured, plain, Silent(), rounds=rounds, candidate_plan=plan)
    return found.judgement


if __name__ == "__main__":
    sys.exit(main())
