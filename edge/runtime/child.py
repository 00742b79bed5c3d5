"""Work in a process of its own, no longer and no larger than agreed, and why that process ended.

Interpreters are native code: a damaged model file ends the process that opens it by a signal,
fills its memory, or never lets it go on. What serves must not be that process.
"""

import os
import signal
import time
from collections import defaultdict
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Final, NoReturn

from edge.errors import EdgeError, NegativeVerdict, described, rebuilt
from edge.runtime.checked import parse_json

POLL_SECONDS: Final = 0.05
_MOST_BYTES: Final = 65_536  # of an error that the child describes


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
        reason = _watch(child, seconds, _resident(os.getpid()) + memory_bytes, stopped)
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
    """The error that the child describes."""
    try:
        return rebuilt(parse_json(answer, "the child's answer"), unknown=NegativeVerdict)
    except (ValueError, AttributeError):
        return NegativeVerdict(f"the interpreter {ended(code)}")


def _work(work: Callable[[], object], writer: int) -> NoReturn:
    """What the child does; it never comes back into the code of its parent."""
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
    """Why the child was killed; empty where it ended by itself."""
    end = time.monotonic() + seconds
    while os.waitid(os.P_PID, child, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None:
        reason = ""
        if stopped():
            reason = "was stopped"
        elif time.monotonic() > end:
            reason = f"did not end within {seconds:.0f} s and was killed"
        elif (held := _resident(child)) > most:
            reason = f"took more than {held / 1e6:.0f} MB of memory and was killed"
        if reason:
            os.kill(child, signal.SIGKILL)
            return reason
        time.sleep(POLL_SECONDS)
    return ""


def ended(code: int) -> str:
    """How a process ended, as the rest of a sentence.

    Args:
        code: As ``subprocess`` states it: below 0 the number of a signal.
    """
    if code >= 0:
        return f"ended with code {code}"
    try:
        return f"was ended by {signal.Signals(-code).name}"
    except ValueError:  # of real time, which have no names
        return f"was ended by signal {-code}"


def goes_first(pid: int) -> None:
    """Let the kernel end this process, before any other, where memory runs out."""
    with suppress(OSError):
        Path(f"/proc/{pid}/oom_score_adj").write_text("1000", encoding="ascii")


def tree_memory(root: int) -> int:
    """Bytes of memory that a process and its descendants hold; 0 without Linux's /proc."""
    children: dict[int, list[int]] = defaultdict(list)
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError, IndexError, ValueError):  # it ended meanwhile
            # The name, which is in parentheses, may hold anything.
            fields = (folder / "stat").read_text(encoding="utf-8").rpartition(")")[2].split()
            children[int(fields[1])].append(int(folder.name))
    total, waiting = 0, [root]
    while waiting:
        process = waiting.pop()
        total += _resident(process)
        waiting += children[process]
    return total


def _resident(pid: int) -> int:
    """Bytes that one process holds; 0 where it is gone."""
    try:
        pages = Path(f"/proc/{pid}/statm").read_text(encoding="ascii").split()[1]
    except (OSError, IndexError):
        return 0
    return int(pages) * os.sysconf("SC_PAGE_SIZE")
