"""qemu's own control protocol (QMP), as much of it as a machine here needs."""

import json
import socket
import time
from pathlib import Path
from typing import Any


class Qmp:
    """A connection to a running qemu.

    Args:
        path: Its socket, which may not be there yet.
    """

    def __init__(self, path: Path) -> None:
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.settimeout(120)
        end = time.monotonic() + 20
        while True:
            try:
                self._socket.connect(str(path))
                break
            except OSError:
                if time.monotonic() > end:
                    raise
                time.sleep(0.02)
        self._stream = self._socket.makefile("rb")
        self._stream.readline()  # the greeting
        self.execute("qmp_capabilities")

    def execute(self, command: str, **arguments: Any) -> Any:
        """The answer to one command; events in between are dropped."""
        message = {"execute": command, "arguments": arguments}
        self._socket.sendall(json.dumps(message).encode() + b"\n")
        while line := self._stream.readline():
            answer = json.loads(line)
            if "error" in answer:
                raise RuntimeError(f"{command}: {answer['error']['desc']}")
            if "return" in answer:
                return answer["return"]
        raise RuntimeError(f"{command}: qemu ended")

    def close(self) -> None:
        """End the connection, not qemu."""
        self._stream.close()
        self._socket.close()
