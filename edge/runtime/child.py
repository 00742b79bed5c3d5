"""A process of its own for work that may end, fill or hang it: its memory, its end, and why.

Interpreters are native code: a damaged model file ends the process that opens it by a signal,
fills its memory, or never lets it go on. What serves must not be that process. Every command
imports this before anything else (see ``edge.runtime.supervisor``), so it imports next to nothing.
"""

import os
import signal
import sys
import time
from collections import defaultdict
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Final, NoReturn

from edge.errors import EdgeError, NegativeVerdict, described, rebuilt

POLL_SECONDS: Final = 0.05
_MOST_BYTES: Final = 65_536  # an error that the child describes
_PARENT_DEATH_SIGNAL: Final = 1  # PR_SET_PDEATHSIG of prctl(2)


def in_child(
    work: Callable[[], object],
    *,
    seconds: float,
    memory_bytes: int,
    stopped: Callable[[], bool] = lambda: False,
) -> None:
    """Do the work in a fork of this process; nothing of it is left here. Linux only.

    Args:
        work: Raises EdgeError where it fails.
        seconds: After which it is killed.
        memory_bytes: Resident memory, beyond what this process has now, at which it is killed.
        stopped: Asked meanwhile; where it says yes, the child is killed and nothing is raised.

    Raises:
        EdgeError: What the work raised.
        NegativeVerdict: The child was ended by a signal, or went beyond a bound.
    """
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reader)
        _work(work, writer)
    os.close(writer)
    try:
        reason = _watch(child, seconds, resident(os.getpid()) + memory_bytes, stopped)
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        if stopped():
            return
        if reason or code < 0:
            raise NegativeVerdict(f"the interpreter {reason or ended(code)}")
        if code:
            raise _said(os.read(reader, _MOST_BYTES), code)
    finally:
        os.close(reader)


def _said(answer: bytes, code: int) -> EdgeError:
    """Return the error that the child describes."""
    from edge.runtime.checked import parse_json

    try:
        return rebuilt(parse_json(answer, "the child's answer"), unknown=NegativeVerdict)
    except (ValueError, AttributeError):
        return NegativeVerdict(f"the interpreter {ended(code)}")


def _work(work: Callable[[], object], writer: int) -> NoReturn:
    """Do the work in the child, which never comes back into the code of its parent."""
    import json

    code = 1
    try:
        signal.set_wakeup_fd(-1)
        goes_first(os.getpid())
        try:
            work()
            code = 0
        except EdgeError as error:
            os.write(writer, json.dumps(described(error)).encode()[:_MOST_BYTES])
        except Exception as error:  # the parent must hear of it, whatever it is
            wrong = NegativeVerdict(f"self-test: {type(error).__name__}: {error}"[:500])
            os.write(writer, json.dumps(described(wrong)).encode())
    finally:
        os._exit(code)


def _watch(child: int, seconds: float, most: int, stopped: Callable[[], bool]) -> str:
    """Return why the child was killed; empty where it ended by itself."""
    end = time.monotonic() + seconds
    while os.waitid(os.P_PID, child, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None:
        reason = ""
        if stopped():
            reason = "was stopped"
        elif time.monotonic() > end:
            reason = f"did not end within {seconds:.0f} s and was killed"
        elif (held := resident(child)) > most:
            reason = f"took more than {held / 1e6:.0f} MB of memory and was killed"
        if reason:
            os.kill(child, signal.SIGKILL)
            return reason
        time.sleep(POLL_SECONDS)
    return ""


def ended(code: int) -> str:
    """Return how a process ended, as the rest of a sentence.

    Args:
        code: As ``subprocess`` states it: below 0 the number of a signal.
    """
    if code >= 0:
        return f"ended with code {code}"
    try:
        return f"was ended by {signal.Signals(-code).name}"
    except ValueError:  # signals of real time have no names
        return f"was ended by signal {-code}"


def goes_first(pid: int) -> None:
    """Let the kernel end this process, before any other, where memory runs out."""
    with suppress(OSError):
        Path(f"/proc/{pid}/oom_score_adj").write_text("1000", encoding="ascii")


def tree_memory(root: int) -> int:
    """Return the bytes of memory that a process and its descendants hold.

    It is 0 without Linux's /proc.
    """
    children: dict[int, list[int]] = defaultdict(list)
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError, IndexError, ValueError):  # it ended meanwhile
            # The name, which is in parentheses, may hold anything.
            fields = (folder / "stat").read_text(encoding="utf-8").rpartition(")")[2].split()
            children[int(fields[1])].append(int(folder.name))
    total, waiting = 0, [root]
    while waiting:
        process = waiting.pop()
        total += resident(process)
        waiting += children[process]
    return total


def resident(pid: int) -> int:
    """Return the bytes of memory that a process holds; 0 where Linux's /proc does not say."""
    try:
        with open(f"/proc/{pid}/statm", "rb") as stream:  # noqa: PTH123  # ten times a second
            return int(stream.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, IndexError, ValueError):
        return 0


def die_with(parent: int) -> None:
    """Have this process killed when its parent is, as far as the system offers that."""
    if sys.platform != "linux":
        return
    import ctypes

    ctypes.CDLL(None).prctl(_PARENT_DEATH_SIGNAL, int(signal.SIGKILL))
    if os.getppid() != parent:  # it was quicker
        os._exit(1)
