"""Times per operator from TensorFlow's profiler, which writes a trace of all that its threads did.

An operator's event is called ``NAME:TYPE``; those of one inference lie on the threads that ran
them.
"""

from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

from benchmarks.accelerators.base import OperatorTime

PICOSECOND: Final = 1e-12
THREADS: Final = "tf_Compute"  # of the pool that runs operators
NO_OPERATORS: Final = ("ThreadpoolListener", "ExecutorState", "Eager", "KernelAndDevice")


def profiled(tensorflow: Any, run: Callable[[], object], runs: int) -> tuple[OperatorTime, ...]:
    """Mean time of each operator, in the order in which they first began.

    Args:
        tensorflow: The module.
        run: One inference.
        runs: How many are profiled, after one to warm up.
    """
    from tensorflow.tsl.profiler.protobuf import xplane_pb2

    profiler = tensorflow.profiler.experimental
    options = profiler.ProfilerOptions(
        host_tracer_level=2, python_tracer_level=0, device_tracer_level=0
    )
    run()
    with TemporaryDirectory(prefix="edge-profile-") as folder:
        with profiler.Profile(folder, options):
            for _ in range(runs):
                run()
        space = xplane_pb2.XSpace()
        for file in Path(folder).rglob("*.xplane.pb"):
            space.MergeFromString(file.read_bytes())
    return _means(_operators(space), runs)


def _operators(space: Any) -> list[tuple[float, str, float]]:
    """Start (arbitrary unit), ``NAME:TYPE`` and seconds of each event of an operator."""
    found = []
    for plane in space.planes:
        for line in plane.lines:
            if not line.name.startswith(THREADS):
                continue
            for event in line.events:
                name = plane.event_metadata[event.metadata_id].name
                if ":" in name and not name.startswith(NO_OPERATORS):
                    start = line.timestamp_ns * 1000 + event.offset_ps
                    found.append((start, name, event.duration_ps * PICOSECOND))
    return sorted(found)


def _means(events: list[tuple[float, str, float]], runs: int) -> tuple[OperatorTime, ...]:
    total: dict[str, float] = {}
    for _, name, seconds in events:
        total[name] = total.get(name, 0.0) + seconds
    return tuple(
        OperatorTime(
            name=name.rpartition(":")[0],
            type=name.rpartition(":")[2],
            seconds=seconds / runs,
            where="CPU",
        )
        for name, seconds in total.items()
    )
