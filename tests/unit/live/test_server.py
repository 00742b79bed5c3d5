"""The server's bounds, by real connections on loopback."""

import http.client
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from typing import Any

import pytest

from edge.errors import OutputError, UsageError
from edge.runtime.live import server as server_module
from edge.runtime.live.guard import Guard
from edge.runtime.live.server import (
    HttpRequest,
    HttpResponse,
    LiveServer,
    checked_address,
    json_response,
)

METHODS = {
    "/": frozenset({"GET"}),
    "/echo": frozenset({"GET", "POST"}),
    "/stream": frozenset({"GET"}),
}
TOKEN = "0123456789abcdefgh"


def answering(request: HttpRequest) -> HttpResponse:
    if request.path == "/stream":
        return HttpResponse(content_type="text/plain", stream=iter([b"one", b"two"]))
    return json_response({"query": dict(request.query), "bytes": len(request.body)})


@contextmanager
def serving(
    token: str | None = None, answer: Callable[[HttpRequest], HttpResponse] = answering
) -> Iterator[LiveServer]:
    server = LiveServer(
        ("127.0.0.1", 0), answer, Guard(token), methods=METHODS, security={"X-Safe": "yes"}
    )
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()


def ask(server: LiveServer, method: str, path: str, **given: Any) -> tuple[int, Any, Any]:
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=30)
    with closing(connection):
        connection.request(method, path, **given)
        response = connection.getresponse()
        return response.status, response.headers, response.read()


def raw(server: LiveServer, text: bytes) -> bytes:
    with socket.create_connection(("127.0.0.1", server.port), timeout=30) as client:
        client.sendall(text)
        parts = []
        while part := client.recv(1 << 16):
            parts.append(part)
        return b"".join(parts)


def test_requests_are_answered_on_one_connection() -> None:
    with serving() as server:
        connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=30)
        with closing(connection):
            for number in range(3):
                connection.request("GET", f"/echo?a={number}&b=%C3%A9")
                response = connection.getresponse()
                assert response.headers["X-Safe"] == "yes"
                value = json.loads(response.read())
                assert value == {"query": {"a": str(number), "b": "é"}, "bytes": 0}
            connection.request("POST", "/echo", body=b"x" * 100_000)
            assert json.loads(connection.getresponse().read())["bytes"] == 100_000
        assert server.codes[200] == 4
        assert ask(server, "HEAD", "/echo")[0::2] == (200, b"")
        assert ask(server, "GET", "/stream")[2] == b"onetwo"


@pytest.mark.parametrize(
    ("method", "path", "given", "status"),
    [
        ("GET", "/none", {}, 404),
        ("POST", "/", {"body": b""}, 405),
        ("DELETE", "/echo", {}, 501),
        ("GET", "/echo?" + "&".join("a=1" for _ in range(30)), {}, 400),
        ("GET", "/echo", {"headers": {"Host": "evil.com"}}, 421),
        ("POST", "/echo", {"body": b"", "headers": {"Origin": "http://evil.com"}}, 403),
        ("POST", "/echo", {"body": iter([b"a"])}, 411),  # chunks
    ],
)
def test_what_is_refused(method: str, path: str, given: dict[str, Any], status: int) -> None:
    with serving() as server:
        found, headers, body = ask(server, method, path, **given)
        assert found == status
        assert headers["X-Safe"] == "yes"
        assert json.loads(body)["error"]


@pytest.mark.parametrize(
    ("text", "status"),
    [
        (b"nonsense\r\n\r\n", b" 400 "),
        (b"GET /echo HTTP/1.1\r\nHost: localhost\r\nHost: evil.com\r\n\r\n", b" 400 "),
        (b"GET /" + b"a" * 70_000 + b" HTTP/1.1\r\n\r\n", b" 414 "),
        (b"GET /echo HTTP/1.1\r\n" + b"a: b\r\n" * 200 + b"\r\n", b" 431 "),
        (b"POST /echo HTTP/1.1\r\nHost: localhost\r\nContent-Length: -1\r\n\r\n", b" 411 "),
        (
            b"POST /echo HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99999999999\r\n\r\n",
            b" 413 ",
        ),
        (
            b"POST /echo HTTP/1.1\r\nHost: localhost\r\nContent-Length: "
            + b"9" * 4301
            + b"\r\n\r\n",
            b" 413 ",
        ),
        (b"GET /echo HTTP/1.1\r\nHost: localhost\r\nContent-Length: 3\r\n\r\nabc", b" 400 "),
        (b"GET /echo HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n", b" 400 "),
        (b"GET /echo HTTP/1.1\r\nHost: localhost\r\njunk\r\nOrigin: http://a\r\n\r\n", b" 400 "),
        (b"GET /echo HTTP/1.1\r\nHost: localhost\r\na b: c\r\nOrigin: http://a\r\n\r\n", b" 400 "),
        (
            b"GET /echo HTTP/1.1\r\nHost: localhost\r\nOrigin: http://localhost\r\n"
            b"Origin: http://evil.com\r\n\r\n",
            b" 400 ",
        ),
        (
            b"POST /echo HTTP/1.1\r\nHost: localhost\r\n"
            b"Content-Length: 1\r\nContent-Length: 2\r\n\r\nab",
            b" 400 ",
        ),
    ],
)
def test_broken_requests(text: bytes, status: bytes) -> None:
    with serving() as server:
        assert status in raw(server, text).split(b"\r\n")[0]
        assert ask(server, "GET", "/echo")[0] == 200


def test_a_body_that_does_not_come(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server_module, "BODY_SECONDS", 0.2)
    with serving() as server:
        head = b"POST /echo HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\n\r\nabc"
        assert b" 408 " in raw(server, head)


def test_bodies_hold_no_more_memory_than_allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server_module, "MOST_HELD", 1000)
    with serving() as server:
        head = b"POST /echo HTTP/1.1\r\nHost: localhost\r\nContent-Length: 900\r\n\r\n"
        with socket.create_connection(("127.0.0.1", server.port), timeout=30) as slow:
            slow.sendall(head + b"x" * 899)
            end = time.monotonic() + 60
            while server._held < 899:
                assert time.monotonic() < end
                time.sleep(0.005)
            status, headers, _ = ask(server, "POST", "/echo", body=b"x" * 200)
            assert (status, headers["Retry-After"]) == (429, "1")
            assert ask(server, "POST", "/echo", body=b"x" * 100)[0] == 200
            slow.sendall(b"x")
            assert b'"bytes": 900' in slow.recv(1 << 16)
        assert ask(server, "POST", "/echo", body=b"x" * 1000)[0] == 200


def test_a_program_that_asks_before_it_sends() -> None:
    with serving() as server:
        with socket.create_connection(("127.0.0.1", server.port), timeout=30) as client:
            head = b"POST /echo HTTP/1.1\r\nHost: localhost\r\nContent-Length: 3\r\n"
            client.sendall(head + b"Expect: 100-continue\r\nConnection: close\r\n\r\n")
            assert client.recv(100).startswith(b"HTTP/1.1 100 ")
            client.sendall(b"abc")
            assert b'"bytes": 3' in client.makefile("rb").read()


def test_the_token_moves_from_the_address_into_a_cookie() -> None:
    with serving(TOKEN) as server:
        assert ask(server, "GET", "/echo")[0] == 401
        assert ask(server, "GET", "/")[0] == 200
        status, headers, body = ask(server, "GET", f"/?token={TOKEN}")
        assert (status, headers["Location"], body) == (303, "/", b"")
        cookie = headers["Set-Cookie"].partition(";")[0]
        assert ask(server, "GET", "/echo", headers={"Cookie": cookie})[0] == 200
        # A wrong one leads nowhere.
        assert ask(server, "GET", "/?token=wrong")[1]["Set-Cookie"] is None


def test_connections_that_never_ask_make_room(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server_module, "MOST_CONNECTIONS", 10)
    with serving() as server:
        slow = []
        try:
            for _ in range(30):
                client = socket.create_connection(("127.0.0.1", server.port), timeout=30)
                client.sendall(b"GET /echo HTTP/1.1\r\nX-Slow: ")
                slow.append(client)
            for _ in range(5):
                assert ask(server, "GET", "/echo")[0] == 200
            assert len(server._open) <= 10
        finally:
            for client in slow:
                client.close()


@pytest.mark.parametrize("trusted", [False, True])
@pytest.mark.parametrize("streamed", [False, True])
def test_who_does_not_read_makes_room(
    monkeypatch: pytest.MonkeyPatch, *, trusted: bool, streamed: bool
) -> None:
    monkeypatch.setattr(server_module, "MOST_CONNECTIONS", 10)
    monkeypatch.setattr(server_module, "UNREAD_SECONDS", 0.2)
    parts = [b"x" * (1 << 20)] * 2

    def page(request: HttpRequest) -> HttpResponse:
        return HttpResponse(stream=iter(parts)) if streamed else HttpResponse(body=b"".join(parts))

    given = f"Authorization: Bearer {TOKEN}\r\n" if trusted else ""
    with serving(TOKEN, answer=page) as server, ExitStack() as stack:
        for _ in range(10):
            client = stack.enter_context(socket.socket())
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
            client.connect(("127.0.0.1", server.port))
            client.sendall(f"GET / HTTP/1.1\r\nHost: a\r\n{given}\r\n".encode())
        time.sleep(0.5)
        headers = {"Authorization": f"Bearer {TOKEN}"}
        for _ in range(5):
            assert ask(server, "GET", "/echo", headers=headers)[0] == 200


def test_who_reads_keeps_the_place(monkeypatch: pytest.MonkeyPatch) -> None:
    """Waiting for a frame is no fault, however long it takes."""
    monkeypatch.setattr(server_module, "MOST_CONNECTIONS", 2)
    monkeypatch.setattr(server_module, "UNREAD_SECONDS", 0.1)
    ended = threading.Event()

    def page(request: HttpRequest) -> HttpResponse:
        ended.wait(5)
        return HttpResponse(body=b"at last")

    with serving(answer=page) as server, ExitStack() as stack:
        waiting = []
        for _ in range(2):
            client = stack.enter_context(socket.create_connection(("127.0.0.1", server.port)))
            client.sendall(b"GET /echo HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n")
            waiting.append(client)
        time.sleep(0.4)
        assert ask(server, "GET", "/echo")[0] == 503
        ended.set()
        for client in waiting:
            assert b"at last" in client.makefile("rb").read()


def test_a_connection_that_does_not_ask_in_time_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server_module, "ASK_SECONDS", 0.2)
    with serving() as server:
        with socket.create_connection(("127.0.0.1", server.port), timeout=30) as client:
            client.sendall(b"GET /echo HTTP/1.1\r\n")
            began = time.monotonic()
            while client.recv(1000):
                pass
            assert time.monotonic() - began < 3


def test_a_fault_of_an_answer_ends_nothing() -> None:
    def answer(request: HttpRequest) -> HttpResponse:
        raise RuntimeError("a fault")

    with serving(answer=answer) as server:
        with pytest.raises(http.client.HTTPException):
            ask(server, "GET", "/echo")
        server.answering = answering
        assert ask(server, "GET", "/echo")[0] == 200


def test_a_port_that_is_taken() -> None:
    with serving() as server, pytest.raises(OutputError, match="cannot be listened at"):
        LiveServer(("127.0.0.1", server.port), answering, Guard(None), methods={}, security={})


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("127.0.0.1:8080", ("127.0.0.1", 8080)),
        ("[::1]:0", ("::1", 0)),
        ("raspberrypi.local:80", ("raspberrypi.local", 80)),
        ("8080", None),
        ("127.0.0.1", None),
        ("127.0.0.1:99999", None),
        ("127.0.0.1:80/x", None),
        ("a@b:80", None),
        (":80", None),
        ("", None),
    ],
)
def test_addresses(text: str, address: tuple[str, int] | None) -> None:
    if address is None:
        with pytest.raises(UsageError, match="no address to listen at"):
            checked_address(text)
    else:
        assert checked_address(text) == address
