"""A process that has imported edge and makes a copy of itself for every command that it is given.

Starting Python anew takes 10 to 100 times as long as most hostile files take to be refused. What
runs in the copy is the whole command all the same: the functions that the entry points name, with
the arguments, streams, folder and environment of a command of its own.

    python -m tests.fuzz.server FOLDER MODULE ...

Requests and replies are lines of JSON; the fields of a request are those of ``Command``, the folder
of the case and its bounds. Commands can delete files, and the files that they are given here want
them to delete others: the kernel (Landlock) lets this process and all below it write and delete
nothing outside of FOLDER.
"""

import ctypes
import gc
import importlib
import json
import mmap
import os
import resource
import signal
import struct
import sys
import time
import traceback
from pathlib import Path
from typing import Any, Final, NoReturn

LOOK_SECONDS: Final = 0.002
DISK_BYTES: Final = 1 << 30  # that one file may have
# landlock(7), prctl(2): numbers of calls and flags of the kernel, the same on every machine.
CREATE_RULESET, ADD_RULE, RESTRICT_SELF, NO_NEW_PRIVILEGES = 444, 445, 446, 38
CHANGES: Final = 0b11111111110010  # write, remove, make and move files of every kind
PATH_BENEATH: Final = 1


def main() -> None:
    """Answer until standard input ends."""
    folder, *modules = sys.argv[1:]
    for module in modules:
        importlib.import_module(module)
    if not confine([folder, "/dev"]):
        print(json.dumps({"refused": "this kernel has no Landlock"}), flush=True)
        return
    gc.collect()
    gc.freeze()
    print(json.dumps({"edge": importlib.import_module("edge").__file__}), flush=True)
    for line in sys.stdin:
        print(json.dumps(_ran(json.loads(line))), flush=True)


def confine(folders: list[str]) -> bool:
    """Give up the right to change anything outside of these folders; whether the kernel can."""
    libc = ctypes.CDLL(None, use_errno=True)
    attributes = ctypes.create_string_buffer(struct.pack("<Q", CHANGES), 8)
    rules = libc.syscall(CREATE_RULESET, attributes, 8, 0)
    if rules < 0:
        return False
    for folder in folders:
        place = os.open(folder, os.O_PATH | os.O_CLOEXEC)
        beneath = ctypes.create_string_buffer(struct.pack("<Qi", CHANGES, place), 12)
        if libc.syscall(ADD_RULE, rules, PATH_BENEATH, beneath, 0):
            return False
        os.close(place)
    libc.prctl(NO_NEW_PRIVILEGES, 1, 0, 0, 0)
    confined = not libc.syscall(RESTRICT_SELF, rules, 0)
    os.close(rules)
    return confined


def _ran(job: dict[str, Any]) -> dict[str, Any]:
    """Run one job in a copy; how it ended."""
    began = time.monotonic()
    start = mmap.mmap(-1, 8)  # shared: the copy writes there what it had at its start
    child = os.fork()
    if child == 0:
        start[:] = struct.pack("<Q", _resident(os.getpid()))
        _become(job)
    killed, peak, pause = "", 0, LOOK_SECONDS
    while True:
        done, status, usage = os.wait4(child, os.WNOHANG)
        if done:
            break
        peak = max(peak, _resident(child))
        base = struct.unpack("<Q", start[:])[0] or peak
        if time.monotonic() - began > job["seconds"]:
            killed = "time"
        elif peak - base > job["kill_bytes"]:
            killed = "memory"
        if killed:
            os.killpg(child, signal.SIGKILL)
            _, status, usage = os.wait4(child, 0)
            break
        time.sleep(pause)
        pause = min(0.05, pause * 1.3)
    base = struct.unpack("<Q", start[:])[0]
    peak = max(peak, usage.ru_maxrss * 1024)
    start.close()
    return {
        "code": os.waitstatus_to_exitcode(status),
        "killed": killed,
        "seconds": time.monotonic() - began,
        "cpu_seconds": usage.ru_utime + usage.ru_stime,
        "grown_bytes": max(0, peak - base),
    }


def _resident(process: int) -> int:
    try:
        pages = Path(f"/proc/{process}/statm").read_text(encoding="ascii").split()[1]
    except (OSError, IndexError):
        return 0
    return int(pages) * resource.getpagesize()


def _become(job: dict[str, Any]) -> NoReturn:
    """Be the command, and end as it ends."""
    code = 70
    try:
        os.setsid()
        signal.signal(signal.SIGINT, signal.default_int_handler)
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        resource.setrlimit(resource.RLIMIT_FSIZE, (DISK_BYTES, DISK_BYTES))
        os.chdir(job["folder"])
        os.environ.update(job["environment"])
        for number, path in enumerate((job["stdin"] or os.devnull, "stdout", "stderr")):
            flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC if number else os.O_RDONLY
            os.dup2(os.open(path, flags, 0o600), number)
        sys.stdin = open(0, closefd=False, encoding="utf-8")  # noqa: SIM115
        sys.stdout = open(1, "w", closefd=False, encoding="utf-8", buffering=1 << 16)  # noqa: SIM115
        sys.stderr = open(2, "w", closefd=False, encoding="utf-8", buffering=1)  # noqa: SIM115
        sys.argv = job["words"]
        module, _, function = job["entry"].partition(":")
        code = getattr(importlib.import_module(module), function)() or 0
    except SystemExit as error:
        code = error.code if isinstance(error.code, int) else bool(error.code)
    except BaseException:
        traceback.print_exc()
        code = 1
    finally:
        try:
            sys.stdout.flush()
            sys.stderr.flush()
        finally:
            os._exit(int(code) & 0xFF)


if __name__ == "__main__":
    main()
