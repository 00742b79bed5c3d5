"""Commands without the start of Python: copies of a process that has imported what they import.

TensorFlow takes six seconds of a processor to import, and a build imports it three times: once for
itself and once for each converter. A test that is about what a command does, and not about its
process, starts it by ``Warm.program``, which stands for ``python``: ``-m edge`` and ``-m
converters`` run in a copy of this process, and all else runs in Python itself. The copy is a whole
process: it has the folder, environment, streams and exit code of a command of its own, and ends
when whoever started it is killed.

    python -m tests.warm SOCKET MODULE ...
"""

import array
import atexit
import gc
import importlib
import json
import os
import runpy
import selectors
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Final, NoReturn

ROOT: Final = Path(__file__).parents[1]
CLIENT: Final = Path(__file__).with_name("warm_client.py")
COPIED: Final = ("edge", "converters")  # what ``python -m`` runs in a copy
# Not onnxruntime: its import starts a thread, which a copy would wait for at its end.
LIGHT: Final = ("numpy", "PIL.Image", "edge.cli.app")
HEAVY: Final = (
    "tensorflow",
    "keras",
    "tf2onnx",
    "onnx",
    "ai_edge_litert.interpreter",
    "sklearn",
    "scipy.stats",
)
STARTED: Final = 120.0  # seconds, in which the imports are done even on a busy machine
_PROGRAM: Final = """\
#!/bin/sh
case "$1 $2" in
{copied}) exec '{python}' -IS '{client}' '{socket}' '{program}' "$@" ;;
esac
exec '{python}' "$@"
"""


@cache
def warm_python() -> Path:
    """The program of this test process's own warm process, which is started by the first call."""
    folder = Path(tempfile.mkdtemp(prefix="edge-warm-"))
    without = "without_tensorflow" in os.environ.get("PYTHONPATH", "")
    warm = Warm(folder, LIGHT if without else (*LIGHT, *HEAVY))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    atexit.register(warm.close)
    return warm.program


class Warm:
    """The process and the program that asks it for copies: ``with Warm(folder) as warm``.

    Args:
        folder: An empty folder with a short path, for the socket and the program.
        modules: What the process imports at its start.
    """

    def __init__(self, folder: Path, modules: Sequence[str]) -> None:
        self.program = folder / "python"
        address = folder / "socket"
        copied = "|".join(f"'-m {name}'" for name in COPIED)
        text = _PROGRAM.format(
            copied=copied,
            python=sys.executable,
            client=CLIENT,
            socket=address,
            program=self.program,
        )
        self.program.write_text(text, encoding="utf-8")
        self.program.chmod(0o755)
        self._errors = (folder / "errors").open("w+", encoding="utf-8")
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.warm", str(address), *modules],
            cwd=ROOT,
            # As edge sets them before it imports what reads them.
            env=os.environ | {"TF_CPP_MIN_LOG_LEVEL": "3", "OPENBLAS_NUM_THREADS": "1"},
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=self._errors,
            start_new_session=True,
        )
        last = time.monotonic() + STARTED
        while not address.exists():
            if self._process.poll() is not None or time.monotonic() > last:
                self._errors.seek(0)
                raise AssertionError(f"no warm process: {self._errors.read()[-2000:]}")
            time.sleep(0.02)

    def close(self) -> None:
        """End the process."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(timeout=30)
        self._errors.close()


def main() -> None:
    """Make copies until standard input ends."""
    address, *modules = sys.argv[1:]
    for module in modules:
        importlib.import_module(module)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    hidden = f"{address}.new"  # whoever sees the socket may connect
    listener.bind(hidden)
    listener.listen(64)
    Path(hidden).rename(address)
    gc.collect()
    gc.freeze()
    request = _served(listener)
    if request is not None:
        _become(*request)


def _served(listener: socket.socket) -> tuple[dict[str, object], list[int]] | None:
    """Answer; a copy returns its request, the process itself returns None at its end."""
    selector = selectors.DefaultSelector()
    selector.register(0, selectors.EVENT_READ)
    selector.register(listener, selectors.EVENT_READ)
    children: dict[socket.socket, int] = {}
    while True:
        for key, _ in selector.select():
            if key.fileobj == 0:
                for child in children.values():
                    _kill(child, signal.SIGKILL)
                return None
            if key.fileobj is listener:
                client, _ = listener.accept()
                asked = _request(client)
                if asked is None:
                    client.close()
                    continue
                request, streams = asked
                child = os.fork()
                if child == 0:
                    for other in (client, listener, *children):
                        other.close()
                    selector.close()
                    return request, streams
                for stream in streams:
                    os.close(stream)
                children[client] = child
                selector.register(client, selectors.EVENT_READ)
                selector.register(os.pidfd_open(child), selectors.EVENT_READ, client)
            elif key.data is not None:  # a copy has ended
                client = key.data
                child = children.pop(client)
                selector.unregister(key.fileobj)
                os.close(key.fd)
                code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
                with suppress(OSError):
                    client.sendall(f"{code}\n".encode())
                with suppress(KeyError):  # whoever asked may have gone before
                    selector.unregister(client)
                client.close()
            elif key.fileobj not in children:  # closed a moment ago, when its copy ended
                continue
            elif isinstance(key.fileobj, socket.socket):
                try:
                    numbers = key.fileobj.recv(64)
                except ConnectionResetError:  # killed, with an answer on its way
                    numbers = b""
                if not numbers:  # whoever asked was killed
                    selector.unregister(key.fileobj)
                for number in numbers or (signal.SIGKILL,):
                    _kill(children[key.fileobj], number)


def _kill(child: int, number: int) -> None:
    """As a terminal does: the copy and what it started."""
    with suppress(ProcessLookupError):
        os.killpg(child, number)
    with suppress(ProcessLookupError):  # it has no group of its own yet
        os.kill(child, number)


def _request(client: socket.socket) -> tuple[dict[str, object], list[int]] | None:
    """A line of JSON, and three open files; None of a client that was killed meanwhile."""
    content, streams = b"", array.array("i")
    while not content.endswith(b"\n"):
        part, extra, _, _ = client.recvmsg(1 << 20, socket.CMSG_SPACE(3 * streams.itemsize))
        if not part:
            return None
        content += part
        for _, _, data in extra:
            streams.frombytes(data)
    return json.loads(content), list(streams)


def _become(request: dict[str, object], streams: Sequence[int]) -> NoReturn:
    """Be the command; it ends as Python ends."""
    os.setsid()
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
        os.close(stream)
    sys.stdin = open(0, closefd=False, encoding="utf-8")  # noqa: SIM115
    sys.stdout = open(1, "w", closefd=False, encoding="utf-8")  # noqa: SIM115
    sys.stderr = open(  # noqa: SIM115
        2, "w", closefd=False, encoding="utf-8", errors="backslashreplace", buffering=1
    )
    for name in ("stdin", "stdout", "stderr"):
        setattr(sys, f"__{name}__", getattr(sys, name))
    folder, program, environment, words = (
        request[name] for name in ("folder", "program", "environment", "words")
    )
    assert isinstance(folder, str) and isinstance(program, str)
    assert isinstance(environment, dict) and isinstance(words, list)
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    sys.path[0] = folder
    sys.executable = program  # what it starts by python -m may be a copy as well
    module = words[1]
    sys.argv = [module, *words[2:]]
    runpy.run_module(module, run_name="__main__", alter_sys=True)
    sys.exit(0)


if __name__ == "__main__":
    main()
