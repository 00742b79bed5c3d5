"""External delegates, by one in C that takes what it is told to take."""

import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from benchmarks.accelerators.base import EngineSettings, Label
from benchmarks.accelerators.delegate import open_delegate, probe_delegate
from benchmarks.accelerators.litert_cpu import open_litert
from benchmarks.inputs import tensors
from edge.errors import EngineUnavailable, InferenceError, ModelLoadError

ROOT = Path(__file__).parents[2]
MODEL = ROOT / "tests/data/channels_fp32.tflite"  # MEAN, MUL, SOFTMAX
SOFTMAX = "25"


def settings(delegate: Path, full: bool = False, **options: str) -> EngineSettings:
    return EngineSettings(delegate=delegate, options=options, full_delegation=full)


def test_what_it_takes_is_covered_and_what_xnnpack_takes_is_not(delegate: Path) -> None:
    runner = open_delegate(MODEL, settings(delegate, claim=SOFTMAX))
    found = runner.coverage()
    assert (found.operators, found.accelerated, found.partitions) == (3, 1, 1)
    assert found.left == {"MEAN": 1, "MUL": 1}
    assert found.reasons == ("The delegate does not take them; the CPU computes them.",)
    # XNNPACK has a partition of its own in the same graph, which is not the delegate's.
    assert [node.type for node in runner.graph()].count("DELEGATE") == 2


def test_it_computes_what_the_cpu_computes(delegate: Path) -> None:
    reference = open_litert(MODEL, EngineSettings())
    feeds = tensors(reference.inputs, 1, None)
    for claim in ("first", "last", "all", SOFTMAX):
        (output,) = open_delegate(MODEL, settings(delegate, claim=claim)).run(*feeds)
        np.testing.assert_allclose(output, reference.run(*feeds)[0], rtol=1e-6)


def test_a_wrong_answer_is_wrong(delegate: Path) -> None:
    reference = open_litert(MODEL, EngineSettings())
    feeds = tensors(reference.inputs, 1, None)
    (output,) = open_delegate(MODEL, settings(delegate, fault="wrong")).run(*feeds)
    assert np.abs(output - reference.run(*feeds)[0]).max() > 0.05


def test_full_delegation_is_refused_unless_it_is_full(delegate: Path) -> None:
    assert open_delegate(MODEL, settings(delegate, full=True, claim="all")).coverage().full
    with pytest.raises(ModelLoadError, match=r"takes 1 of the 3 .*; the CPU keeps 1 MEAN, 1 MUL"):
        open_delegate(MODEL, settings(delegate, full=True, claim=SOFTMAX))


def test_a_delegate_that_takes_nothing_is_no_row(delegate: Path) -> None:
    with pytest.raises(ModelLoadError, match="takes none of the 3 operators"):
        open_delegate(MODEL, settings(delegate, claim="none"))


def test_it_sleeps_in_every_inference(delegate: Path) -> None:
    runner = open_delegate(MODEL, settings(delegate, sleep_us="20000"))
    feeds = tensors(runner.inputs, 1, None)
    for _ in range(3):
        begin = time.perf_counter()
        runner.run(*feeds)
        assert time.perf_counter() - begin >= 0.02


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"fault": "create"}, EngineUnavailable, "does not start: no device found"),
        ({"usb": "1"}, EngineUnavailable, "does not start: unknown option"),
        ({"fault": "prepare"}, ModelLoadError, "does not load .*: the delegate failed to prepare"),
    ],
)
def test_a_failure_to_start_is_told(
    delegate: Path, options: dict[str, str], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        open_delegate(MODEL, settings(delegate, **options))


def test_a_failure_in_an_inference_is_told(delegate: Path) -> None:
    runner = open_delegate(MODEL, settings(delegate, fault="invoke"))
    with pytest.raises(InferenceError, match="the delegate failed in an inference"):
        runner.run(*tensors(runner.inputs, 1, None))


def test_a_crash_kills_the_process(delegate: Path) -> None:
    program = (
        "import sys; from pathlib import Path\n"
        "from benchmarks.accelerators.base import EngineSettings\n"
        "from benchmarks.accelerators.delegate import open_delegate\n"
        "from benchmarks.inputs import tensors\n"
        "s = EngineSettings(delegate=Path(sys.argv[1]), options={'fault': 'crash'})\n"
        "r = open_delegate(Path(sys.argv[2]), s); r.run(*tensors(r.inputs, 1, None))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, delegate, MODEL], cwd=ROOT, capture_output=True, timeout=60
    )
    assert done.returncode == -6  # SIGABRT


def test_the_library_is_probed(delegate: Path, tmp_path: Path) -> None:
    device = probe_delegate(settings(delegate))
    assert (device.name, device.label) == ("libsleeping_delegate.so", Label.HARDWARE)
    with pytest.raises(EngineUnavailable, match="no delegate is named"):
        probe_delegate(EngineSettings())
    with pytest.raises(EngineUnavailable, match=r"does not load: .*cannot open shared object"):
        probe_delegate(settings(tmp_path / "libnone.so"))
    with pytest.raises(EngineUnavailable, match="is no TFLite delegate"):
        probe_delegate(settings(Path("libm.so.6")))
