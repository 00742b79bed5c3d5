"""``warm_client.py SOCKET PROGRAM -m MODULE ...``: asks for a copy, and ends as the copy ends."""

import array
import json
import os
import signal
import socket
import sys

FORWARDED = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def main() -> None:
    """Send the request, then signals; take the exit code."""
    address, program, *words = sys.argv[1:]
    server = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    server.connect(address)
    for number in FORWARDED:
        if signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, lambda got, _: server.send(bytes([got])))
    request = {
        "folder": os.getcwd(),  # noqa: PTH109  # starts in milliseconds
        "program": program,
        "environment": dict(os.environ),
        "words": words,
    }
    content = json.dumps(request).encode() + b"\n"
    streams = array.array("i", (0, 1, 2)).tobytes()
    sent = server.sendmsg([content], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, streams)])
    server.sendall(content[sent:])
    os.closerange(0, 3)  # the copy alone holds them, so that a reader sees its end
    answer = b""
    while part := server.recv(64):
        answer += part
    code = int(answer or b"70")
    if code < 0:
        signal.signal(-code, signal.SIG_DFL)
        os.kill(os.getpid(), -code)
    os._exit(code)


main()
