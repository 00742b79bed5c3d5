#!/usr/bin/env python3
"""Stands in for ssh -N -L: passes bytes on between two ports of this machine, or fails as told.

FAKE_SSH is what it does: ``works``, ``refused`` (not let in), ``hangs`` (never listens), ``dies``
(ends after the first connection). FAKE_SSH_SAYS is a file for its words and its process.
"""

import json
import os
import socket
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path


def passed_on(source: socket.socket, target: socket.socket) -> None:
    """Pass bytes on until there are no more."""
    with suppress(OSError):
        while part := source.recv(65536):
            target.sendall(part)
    with suppress(OSError):
        target.shutdown(socket.SHUT_WR)


def main() -> None:
    """Play the part."""
    words, part = sys.argv[1:], os.environ["FAKE_SSH"]
    says = {"words": words, "pid": os.getpid()}
    Path(os.environ["FAKE_SSH_SAYS"]).write_text(json.dumps(says), encoding="utf-8")
    if part == "refused":
        _fail()
    if part == "hangs":
        time.sleep(60)
    _, port, _, remote = words[words.index("-L") + 1].split(":")
    time.sleep(0.1)  # to log in
    with socket.create_server(("127.0.0.1", int(port))) as server:
        while True:
            near, _ = server.accept()
            try:
                far = socket.create_connection(("127.0.0.1", int(remote)))
            except OSError:
                print("channel 2: open failed: connect failed: Connection refused", file=sys.stderr)
                near.close()
                continue
            for pair in ((near, far), (far, near)):
                threading.Thread(target=passed_on, args=pair, daemon=True).start()
            if part == "dies":
                time.sleep(0.5)
                print("client_loop: send disconnect: Broken pipe", file=sys.stderr)
                sys.exit(255)


def _fail() -> None:
    print("pi@pi: Permission denied (publickey).", file=sys.stderr)
    sys.exit(255)


if __name__ == "__main__":
    main()
