"""Judge what a device says of itself: can a bundle be deployed to it, and what is in the way?"""

from collections.abc import Iterator
from typing import Final

from devices.profile import MACHINES, Profile, profile, profiles
from edge.deploy import check_hardware, check_software
from edge.deploy.facts import Facts
from edge.deploy.finding import Finding, Level

__all__ = ["Finding", "Level", "findings", "guess_profile", "refusals"]

CHECKS: Final = (
    check_software.model,
    check_software.architecture,
    check_software.system,
    check_software.python,
    check_software.wheels,
    check_hardware.memory,
    check_hardware.disk,
    check_software.services,
    check_hardware.clock,
    check_hardware.processor,
    check_hardware.cameras,
    check_hardware.accelerators,
    check_software.installation,
)


def findings(facts: Facts, board: Profile) -> tuple[Finding, ...]:
    """Everything worth knowing; an error means that a deploy would fail.

    Args:
        facts: Of the device.
        board: That it is taken for.
    """
    found = [finding for check in CHECKS for finding in check(facts, board)]
    return (*found, *_failed_probes(facts))


def refusals(facts: Facts) -> tuple[Finding, ...]:
    """What the device itself refuses, of one application and until it is asked for: no other
    deploy would fail."""
    return tuple(check_software.states(facts))


def _failed_probes(facts: Facts) -> Iterator[Finding]:
    for name, reason in facts.errors.items():
        if "there is no" not in reason:  # said already
            yield Finding.warning(name, f"could not be looked at: {reason}", "Look by hand.")


def guess_profile(facts: Facts) -> Profile:
    """The board that a device was set up as, or most likely is: by its name and what is plugged in.

    Without a name that a profile knows, the generic one of its architecture; that of aarch64 for
    an architecture without any, where the findings say that it cannot be deployed to.
    """
    said = facts.installed.device if facts.installed else None
    if said is not None and said in (board.id for board in profiles()):
        return profile(said)
    model = (facts.machine.model if facts.machine else None) or ""
    shown = {item.name for item in facts.accelerators or ()}
    known = [board for board in profiles() if board.match and model.startswith(board.match)]
    fitting = [
        board
        for board in known
        if all(shown.intersection(item.detect) for item in board.accelerators)
    ]
    # Of boards that differ in what is plugged in, the one that has most of it.
    best = max(fitting or known, key=lambda board: len(board.accelerators), default=None)
    if best is not None:
        return best
    machine = facts.machine.name if facts.machine else ""
    return profile(
        f"generic-{machine.replace('_', '-')}" if machine in MACHINES else "generic-aarch64"
    )
