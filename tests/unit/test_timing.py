import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks import timing
from benchmarks.protocol import Protocol
from benchmarks.stats import median, percentile
from benchmarks.timing import Benchmark, measure
from edge.errors import UsageError
from edge.runtime.spec import TensorSpec

SPEC = TensorSpec(name="image", shape=(1, 4, 4, 3), dtype="uint8")
LOAD = 3.0


class Machine:
    """A clock that only loading and inference move, and a model of known times.

    Args:
        seconds: Time of inference number n, from 0 on.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch, seconds: Callable[[int], float]) -> None:
        self.now = 1000.0
        self.seconds = seconds
        self.ran: list[float] = []
        self.opened: dict[str, Any] = {}
        monkeypatch.setattr(timing, "open_session", self.open)

    def open(self, path: Path, **options: Any) -> Any:
        self.now += LOAD
        self.opened = {"path": path} | options
        return self

    engine = "stub 1.0"
    inputs = (SPEC,)

    def run(self, tensor: Any) -> list[Any]:
        assert tensor.shape == (1, 4, 4, 3)
        self.ran.append(self.seconds(len(self.ran)))
        self.now += self.ran[-1]
        return []

    def clock(self) -> float:
        return self.now

    def measured(self, **protocol: Any) -> Benchmark:
        def make_input(spec: TensorSpec) -> Any:
            assert spec is SPEC
            return np.zeros(spec.shape, np.uint8)

        return measure(Path("m.tflite"), make_input, Protocol(**protocol), clock=self.clock)


def test_the_phases_are_told_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    machine = Machine(monkeypatch, lambda n: 7.0 if n == 0 else 0.03125)
    result = machine.measured(runs=10, min_seconds=0, threads=3)
    assert (result.load, result.first, result.engine) == (LOAD, 7.0, "stub 1.0")
    assert result.samples == (0.03125,) * 10
    assert machine.opened == {"path": Path("m.tflite"), "engine": None, "threads": 3}
    warm_up = len(machine.ran) - 1 - 10
    assert warm_up == -(-Protocol().warm_up_seconds // 0.03125)


def test_at_least_so_many_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    result = Machine(monkeypatch, lambda n: 0.25).measured(runs=20, min_seconds=1)
    assert len(result.samples) == 20


def test_at_least_so_long(monkeypatch: pytest.MonkeyPatch) -> None:
    result = Machine(monkeypatch, lambda n: 0.25).measured(runs=2, min_seconds=3)
    assert len(result.samples) == 12


def test_at_most_so_long(monkeypatch: pytest.MonkeyPatch) -> None:
    result = Machine(monkeypatch, lambda n: 0.25).measured(runs=1000, min_seconds=1, max_seconds=2)
    assert len(result.samples) == 8


def test_one_sample_however_slow(monkeypatch: pytest.MonkeyPatch) -> None:
    result = Machine(monkeypatch, lambda n: 60.0).measured(runs=1000, min_seconds=0, max_seconds=0)
    assert result.samples == (60.0,)


def test_every_sample_is_kept_in_order(monkeypatch: pytest.MonkeyPatch) -> None:
    """An outlier is a finding, not a mistake."""
    machine = Machine(monkeypatch, lambda n: 8.0 if n == 9 else (n + 1) / 1024)
    result = machine.measured(runs=50, min_seconds=0)
    assert 8.0 in machine.ran
    assert list(result.samples) == pytest.approx(machine.ran[-50:])
    assert result.median == median(machine.ran[-50:])


def test_json(monkeypatch: pytest.MonkeyPatch) -> None:
    result = Machine(monkeypatch, lambda n: (n % 4 + 1) / 1024).measured(runs=8, min_seconds=0)
    value = json.loads(json.dumps(result.to_json()))
    assert value["kind"] == "measured"
    assert (value["load_ms"], value["first_ms"], value["runs"]) == (3000, 1000 / 1024, 8)
    assert value["samples_ms"] == [1000 * sample for sample in result.samples]
    assert value["median_ms"] == 1000 * result.median == pytest.approx(2500 / 1024)
    assert value["p95_ms"] == pytest.approx(4000 / 1024)


@pytest.mark.parametrize(
    "values",
    [
        {"runs": 0},
        {"threads": 0},
        {"min_seconds": -1.0},
        {"min_seconds": 2.0, "max_seconds": 1.0},
        {"max_seconds": float("nan")},
    ],
)
def test_a_protocol_that_makes_no_sense(values: dict[str, Any]) -> None:
    with pytest.raises(UsageError):
        Protocol(**values)


def test_a_real_file() -> None:
    model = Path(__file__).parents[1] / "data" / "channels_int8.tflite"
    protocol = Protocol(runs=5, min_seconds=0)
    result = measure(model, lambda spec: np.zeros(spec.shape, np.uint8), protocol)
    assert len(result.samples) == 5
    assert min(*result.samples, result.load, result.first) > 0
    assert result.engine.startswith("ai-edge-litert ")


def test_percentiles_by_hand() -> None:
    samples = [5.0, 1.0, 4.0, 2.0, 3.0]
    assert median(samples) == 3
    assert median(samples[:4]) == 3
    assert [percentile(samples, p) for p in (0, 25, 100)] == [1, 2, 5]
    assert percentile(samples, 95) == pytest.approx(4.8)
