"""A model is opened and tested for a service: first where it can end, hang or fill no service.

A model that is not known to have passed its golden self-test on this device is opened in a process
of its own before the service opens it.
"""

import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from edge.errors import EdgeError, NegativeVerdict
from edge.runtime.bundle import Bundle
from edge.runtime.child import in_child
from edge.runtime.classifier import Classifier
from edge.runtime.golden import SelfTest
from edge.runtime.seal import PROVED
from edge.runtime.spec import Variant
from edge.runtime.streams import without_chatter
from edge.runtime.tasks.model import TaskModel, open_golden_test, open_predictor

TEST_SECONDS: Final = 120.0  # for opening the model and all golden pictures, on the slowest board
TEST_BYTES: Final = 1 << 30


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelChoice:
    """Which model file of a bundle runs, and how.

    Attributes:
        variant: The model file; None for the bundle's default.
        engine: The interpreter; None for the first that is installed.
        threads: CPU threads of one inference.
    """

    variant: str | None
    engine: str | None
    threads: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ProvedModel:
    """A model that passed its golden self-test in this process.

    Attributes:
        variant: Its file in the bundle.
        model: Loaded.
        test: For further runs.
    """

    variant: Variant
    model: Classifier | TaskModel
    test: SelfTest


def open_proved(
    bundle: Bundle,
    choice: ModelChoice,
    *,
    note: Callable[[str], None],
    stopped: Callable[[], bool],
    apart: bool = True,
) -> ProvedModel:
    """Load a model, and let its golden self-test pass.

    Args:
        bundle: The bundle.
        choice: Which of its models.
        note: Is told what goes on, and why it failed.
        stopped: Asked meanwhile; where it says yes, the test ends early and proves nothing.
        apart: Whether a model that is not known to have passed here is tried in a process of its
            own first. Only for a process that has no threads of its own yet.

    Raises:
        NegativeVerdict: The self-test failed, or ended the process of its own.
        UsageError: No such variant.
        BundleError: It has no self-test, or a file of it is missing or altered.
        ModelLoadError: It does not load.
    """
    try:
        if apart and os.environ.get(PROVED) != bundle.digest:
            note("self-test in a process of its own")
            _try_in_child(bundle, choice, stopped)
        note("golden self-test")
        return _tested(bundle, choice, stopped)
    except EdgeError as error:
        note(error.message)
        raise


def _try_in_child(bundle: Bundle, choice: ModelChoice, stopped: Callable[[], bool]) -> None:
    size = bundle.manifest.variant(choice.variant).size_bytes
    machine = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    in_child(
        lambda: _tested(bundle, choice, stopped),
        seconds=TEST_SECONDS,
        memory_bytes=min(TEST_BYTES + 8 * size, machine // 2),
        stopped=stopped,
    )


def _tested(bundle: Bundle, choice: ModelChoice, stopped: Callable[[], bool]) -> ProvedModel:
    """Open a model and compare its answers to every golden picture, until it is told to stop."""
    variant = bundle.manifest.variant(choice.variant)
    with without_chatter():
        model = open_predictor(
            bundle, variant=choice.variant, engine=choice.engine, threads=choice.threads
        )
    test = open_golden_test(bundle, variant, model)
    for number in range(len(test.images)):
        if stopped():
            break
        reason = test.run(number).reason
        if reason:
            raise NegativeVerdict(
                f"self-test failed: {reason}",
                hint="More is told by: python3 -m edge.runtime selftest BUNDLE",
            )
    return ProvedModel(variant=variant, model=model, test=test)
