"""TFLite models on an external delegate: Coral Edge TPU, VX, Ethos-N, Hailo, any library."""

import ctypes
from pathlib import Path
from typing import Any, Final

from benchmarks.accelerators.base import Coverage, Device, EngineSettings, Label
from benchmarks.accelerators.engine import partly_refused
from benchmarks.accelerators.litert_cpu import (
    LITERT,
    TfliteRunner,
    delegated_coverage,
    import_interpreter,
)
from edge.errors import EngineUnavailable, ModelLoadError
from edge.modelfile.delegation import DELEGATE
from edge.runtime.session import first_line

REASON: Final = "The delegate does not take them; the CPU computes them."


class DelegateRunner(TfliteRunner):
    """The interpreter with the delegate first and XNNPACK for what it leaves."""

    def coverage(self) -> Coverage:
        """Return what the external delegate took; its partitions come before XNNPACK's."""
        graph = self.graph()
        partitions = [node for node in graph if node.type == DELEGATE][: self.delegated]
        operators = [node for node in graph if node.type != DELEGATE]
        return delegated_coverage([*operators, *partitions], (REASON,))


def open_delegate(model: Path, settings: EngineSettings) -> DelegateRunner:
    """Load a .tflite file with the delegate of the settings; see ``base.Opener``."""
    module, engine = import_interpreter(LITERT)
    delegate, device = _load(module, settings)
    runner = DelegateRunner(
        module, model, settings, engine=engine, device=device, delegates=[delegate]
    )
    coverage = runner.coverage()
    if not coverage.accelerated:
        raise ModelLoadError(
            f"{device.name} takes none of the {coverage.operators} operators of {model.name}",
            hint="Most delegates want an int8 model; an Edge TPU one that its compiler wrote.",
        )
    if settings.full_delegation and not coverage.full:
        raise partly_refused(model, device.name, coverage)
    return runner


def probe_delegate(settings: EngineSettings) -> Device:
    """Return the delegate's library.

    Raises:
        EngineUnavailable: No delegate is named, it does not load, or it finds no device.
    """
    module, _ = import_interpreter(LITERT)
    return _load(module, settings)[1]


def _load(module: Any, settings: EngineSettings) -> tuple[Any, Device]:
    library = settings.delegate
    if library is None:
        raise EngineUnavailable(
            "no delegate is named",
            hint="Name the vendor's library: --delegate LIB.so, for Coral libedgetpu.so.1.",
        )
    _check_library(library)
    try:
        delegate = module.load_delegate(str(library), dict(settings.options))
    except ValueError as error:
        stated = " ".join(str(error).split("\n")[1:]).strip() or "it does not say why"
        raise EngineUnavailable(
            f"the delegate {library.name} does not start: {stated}",
            hint="Check that its device is connected and that --delegate-option is right.",
        ) from error
    # The interface names no processor; the library stands for it.
    return delegate, Device(name=library.name, label=Label.HARDWARE)


def _check_library(library: Path) -> None:
    """Look before LiteRT does: its wrapper leaves half an object behind when a library fails."""
    try:
        loaded = ctypes.CDLL(str(library))
    except OSError as error:
        raise EngineUnavailable(
            f"the delegate {library} does not load: {first_line(error)}",
            hint="Check the path, and that the library is for this processor and its own "
            "libraries are installed.",
        ) from error
    if not hasattr(loaded, "tflite_plugin_create_delegate"):
        raise EngineUnavailable(
            f"{library} is no TFLite delegate: it lacks tflite_plugin_create_delegate",
            hint="Name the library that the vendor calls an external delegate.",
        )
