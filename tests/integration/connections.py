"""A port on loopback that gives each connection an sshd of its own, and can cut one at any byte."""

import os
import shutil
import socket
import subprocess
import threading
from contextlib import suppress
from pathlib import Path
from typing import Final

SSHD: Final = shutil.which("sshd", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")


class Connections:
    """Takes connections and starts ``sshd -i`` for each, as systemd's ssh.socket does.

    The socket is held here from the start, so no other process can take the port in between.

    Args:
        config: Of sshd.
        log: What sshd says.
    """

    def __init__(self, config: Path, log: Path) -> None:
        self.port = 0
        self.cuts: list[int] = []
        self._command = [str(SSHD), "-i", "-f", str(config), "-E", str(log)]
        self._listener: socket.socket | None = None
        self._sessions: list[subprocess.Popen[bytes]] = []

    def open(self) -> None:
        """Listen, at the same port as before if there was one."""
        self._listener = socket.create_server(("127.0.0.1", self.port))
        self.port = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, args=(self._listener,), daemon=True).start()

    def close(self) -> None:
        """Refuse connections, and end those that are open."""
        if self._listener is not None:
            self._listener.shutdown(socket.SHUT_RDWR)
            self._listener.close()
            self._listener = None
        for process in self._sessions:
            process.kill()
            process.wait()
        self._sessions.clear()

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                client, _ = listener.accept()
            except OSError:
                return
            if self.cuts:
                ours, theirs = socket.socketpair()
                count = self.cuts.pop(0)
                self._serve(theirs)
                threading.Thread(target=relay, args=(client, ours, count), daemon=True).start()
            else:
                self._serve(client)

    def _serve(self, connection: socket.socket) -> None:
        with connection:
            self._sessions = [item for item in self._sessions if item.poll() is None]
            self._sessions.append(
                subprocess.Popen(self._command, stdin=connection, stdout=connection, cwd="/")
            )


def relay(client: socket.socket, server: socket.socket, count: int) -> None:
    """Pass bytes on until the client sent ``count``; then reset both ends."""

    def back() -> None:
        with suppress(OSError):
            while chunk := server.recv(65536):
                client.sendall(chunk)
        with suppress(OSError):
            client.shutdown(socket.SHUT_RDWR)

    threading.Thread(target=back, daemon=True).start()
    with suppress(OSError), client, server:
        while count > 0 and (chunk := client.recv(min(count, 65536))):
            server.sendall(chunk)
            count -= len(chunk)
        server.shutdown(socket.SHUT_RDWR)
