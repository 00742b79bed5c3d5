"""Files measured in turn: their order, their ratios, and when the measurement ends."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks import turns
from benchmarks.protocol import Protocol
from benchmarks.timing import Benchmark
from benchmarks.turns import FEWEST_ROUNDS, TimedFile, Turns, in_turn
from benchmarks.verdict import SpeedVerdict

BLOCK = Protocol(runs=2, min_seconds=0.0)
SECONDS = {"a": 1.0, "b": 1.5, "c": 0.5}


class Machine:
    """A machine that becomes slower with every block, and a clock that only blocks move."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.ran: list[str] = []
        self.steps = 0
        self.now = 0.0
        monkeypatch.setattr(turns, "measure", self.block)

    def block(self, path: Path, *_: Any, engine: str | None) -> Benchmark:
        assert engine == "litert"
        self.ran.append(path.stem)
        seconds = SECONDS[path.stem] * (1 + 0.02 * len(self.ran))
        self.now += 2 * seconds
        return Benchmark(
            engine="litert 1.0", threads=1, load=self.now, first=9.0, samples=(seconds, seconds)
        )

    def measured(self, rounds: int, names: str = "abc", max_seconds: float = math.inf) -> Turns:
        files = {
            name: TimedFile(path=Path(f"{name}.tflite"), make_input=np.zeros, engine="litert")
            for name in names
        }
        return in_turn(
            files,
            BLOCK,
            rounds,
            step=self.step,
            max_seconds=max_seconds,
            clock=lambda: self.now,
        )

    def step(self, count: int) -> None:
        self.steps += count


def test_a_round_goes_forth_and_back(monkeypatch: pytest.MonkeyPatch) -> None:
    machine = Machine(monkeypatch)
    found = machine.measured(2, "ab")
    assert "".join(machine.ran) == "abba" * 2  # as benchmarks.verdict.ORDER
    assert found.medians.shape == (4, 2)
    assert found.names == ("a", "b")
    assert machine.steps == 2


def test_drift_moves_no_ratio(monkeypatch: pytest.MonkeyPatch) -> None:
    found = Machine(monkeypatch).measured(10)
    judged = found.judged("b", "a", 0.95)
    assert judged.ratio == pytest.approx(1.5, rel=0.02)
    assert judged.verdict is SpeedVerdict.SLOWER
    assert judged.interval.low < 1.5 < judged.interval.high
    assert found.judged("c", "b", 0.95).verdict is SpeedVerdict.FASTER
    assert found.judged("a", "a", 0.95).verdict is SpeedVerdict.SAME


def test_no_sample_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    found = Machine(monkeypatch).measured(5)
    one = found.benchmarks["c"]
    assert len(one.samples) == 5 * 2 * 2
    assert (one.engine, one.first) == ("litert 1.0", 9.0)
    assert list(one.samples[::2]) == found.medians[:, 2].tolist()


@pytest.mark.parametrize(("seconds", "rounds"), [(0.0, FEWEST_ROUNDS), (70.0, 5)])
def test_a_slow_network_gets_fewer_rounds(
    monkeypatch: pytest.MonkeyPatch, seconds: float, rounds: int
) -> None:
    machine = Machine(monkeypatch)
    found = machine.measured(20, max_seconds=seconds)
    assert len(found.medians) == 2 * rounds
    assert machine.steps == 20  # the stage is done
    found.judged("b", "a", 0.95)  # the fewest rounds have an interval


def test_of_no_file_there_is_no_time(monkeypatch: pytest.MonkeyPatch) -> None:
    assert Machine(monkeypatch).measured(2, "").names == ()
