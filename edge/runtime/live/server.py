"""The HTTP server: the standard library's, with bounds on connections, bodies and patience.

A thread serves each connection, so that a slow one costs the others nothing. Where there are too
many, the one that has kept the server waiting longest is closed in favour of a new one.
"""

import errno
import json
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from enum import Enum, auto
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Final
from urllib.parse import parse_qsl, urlsplit

from edge.errors import OutputError, UsageError
from edge.runtime.live.guard import Guard, Refusal

MOST_CONNECTIONS: Final = 400
MOST_BODY: Final = 32 << 20  # bytes
MOST_DIGITS: Final = 12  # of the length of a body
MOST_HELD: Final = 64 << 20  # bytes of all bodies that have come; a slow one holds few of them
BODY_SECONDS: Final = 20.0  # for a whole body
ASK_SECONDS: Final = 15.0  # for a whole request; a browser opens a closed connection again
SEND_SECONDS: Final = 20.0  # without a byte taken, after which a viewer has gone
LINGER_SECONDS: Final = 1.0  # for a body that was refused
STRANGER_SECONDS: Final = 3.0  # the same for who has no token
UNREAD_SECONDS: Final = 3.0  # the same where another connection wants the place
# Headers of which a second one could say something else to somebody in between.
ONCE: Final = (
    *("Authorization", "Content-Length", "Content-Type", "Expect", "Host", "Origin"),
    *("Sec-Fetch-Site", "Transfer-Encoding"),
)
STACK: Final = 512 << 10  # bytes of a thread, instead of 8 MiB
SEND_BUFFER: Final = 128 << 10  # bytes: what waits in it is old when it is seen
PAGE: Final = "/"


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpRequest:
    """A request whose bounds were checked.

    Attributes:
        method: ``GET`` or ``POST``.
        path: Without the query.
        query: The value of each name.
        headers: By name, written as in ``Content-Type``.
        body: The bytes; empty of a GET.
    """

    method: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    body: bytes = b""


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpResponse:
    """What is answered.

    Attributes:
        status: The HTTP status.
        content_type: The kind of the body.
        body: The bytes.
        headers: Others.
        stream: Instead of a body: parts that are sent as they come, until the viewer leaves.
    """

    status: int = 200
    content_type: str = "application/json; charset=utf-8"
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)
    stream: Iterator[bytes] | None = None


def json_response(value: Any, status: int = 200, **headers: str) -> HttpResponse:
    """Return a JSON document as a response."""
    text = json.dumps(value, ensure_ascii=False, allow_nan=False)
    named = {name.replace("_", "-"): text for name, text in headers.items()}
    return HttpResponse(status=status, body=text.encode(errors="replace"), headers=named)


def refused(refusal: Refusal, **headers: str) -> HttpResponse:
    """Return the response that states why a request is not answered."""
    value = {"error": refusal.message, "hint": refusal.hint}
    return json_response(value, refusal.status, **headers)


Answering = Callable[[HttpRequest], HttpResponse]


class _Phase(Enum):
    """What a connection is about."""

    WAITING = auto()  # the server waits for a request
    STRANGER = auto()  # one without a token is answered; it may never read the answer
    ANSWERED = auto()  # one that may stay is answered
    SENDING = auto()  # its answer is written, which takes as long as it does not read


class LiveServer(ThreadingHTTPServer):
    """Listens, and has each request answered by ``answering``.

    Attributes:
        codes: Responses by status, counted.
    """

    daemon_threads = True
    block_on_close = False  # a viewer that hangs must not keep the service from ending
    request_queue_size = 128
    allow_reuse_address = True

    def __init__(
        self,
        address: tuple[str, int],
        answering: Answering,
        guard: Guard,
        *,
        methods: Mapping[str, frozenset[str]],
        security: Mapping[str, str],
    ) -> None:
        """Listen.

        Args:
            address: Where; port 0 for any that is free.
            answering: Answers a request that the guard let through.
            guard: The rules.
            methods: The methods of each path; another path is not found.
            security: Headers of every response.

        Raises:
            OutputError: The address cannot be listened at.
        """
        self.answering = answering
        self.guard = guard
        self.methods = methods
        self.security = security
        self.codes: Counter[int] = Counter()
        self._held = 0
        self._lock = threading.Lock()
        self._open: dict[socket.socket, tuple[_Phase, float]] = {}  # and since when
        self.address_family = _family(address)
        try:
            super().__init__(address, _Handler)
        except OSError as error:
            raise _refused(address, error) from error

    @property
    def port(self) -> int:
        """The port that it listens at."""
        return int(self.server_address[1])

    def process_request(self, request: Any, client_address: Any) -> None:
        """Serve a connection in a thread of its own; make room for it, or say that it is full."""
        with self._lock:
            full = len(self._open) >= MOST_CONNECTIONS
            oldest = self._gives_way() if full else None
            if oldest is not None:
                _end(oldest)
                del self._open[oldest]
            admitted = not full or oldest is not None
            if admitted:
                self._open[request] = _Phase.WAITING, time.monotonic()
        if not admitted:
            _say_full(request)
            self.codes[503] += 1
            self.shutdown_request(request)
            return
        before = threading.stack_size(STACK)
        try:
            super().process_request(request, client_address)
        except RuntimeError:  # the system gives no more threads
            self.forget(request)
            self.shutdown_request(request)
        finally:
            threading.stack_size(before)

    def service_actions(self) -> None:
        """Close connections on which no request has come in time."""
        now = time.monotonic()
        with self._lock:
            for request, (phase, since) in self._open.items():
                if phase is _Phase.WAITING and now - since > ASK_SECONDS:
                    _end(request)

    def waits(self, request: socket.socket) -> None:
        """A connection has been answered, and may ask again."""
        self._enters(request, _Phase.WAITING)

    def works(self, request: socket.socket, *, trusted: bool) -> None:
        """A connection has asked; one without a token makes room where others want it."""
        self._enters(request, _Phase.ANSWERED if trusted else _Phase.STRANGER)

    def sends(self, request: socket.socket) -> None:
        """A part of an answer is ready for a connection that may stay."""
        if self._open.get(request, (_Phase.STRANGER, 0.0))[0] is not _Phase.STRANGER:
            self._enters(request, _Phase.SENDING)

    def forget(self, request: socket.socket) -> None:
        """A connection has ended."""
        with self._lock:
            self._open.pop(request, None)

    def _enters(self, request: socket.socket, phase: "_Phase") -> None:
        with self._lock:
            self._open[request] = phase, time.monotonic()

    def _gives_way(self) -> socket.socket | None:
        """Return the connection that is closed first; None where all have a right to stay."""
        now = time.monotonic()
        for phase, before in (
            (_Phase.WAITING, now),
            (_Phase.STRANGER, now),
            (_Phase.SENDING, now - UNREAD_SECONDS),
        ):
            found = {
                item: since
                for item, (its, since) in self._open.items()
                if its is phase and since <= before
            }
            if found:
                return min(found, key=found.__getitem__)
        return None

    def holds(self, change: int) -> bool:
        """Count bytes of bodies, more or less; false where there would be too many."""
        with self._lock:
            if change > 0 and self._held + change > MOST_HELD:
                return False
            self._held += change
            return True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing of clients that went away; nobody can be told of anything else here."""


def _say_full(request: socket.socket) -> None:
    text = b'{"error": "too many connections are open", "hint": "Try again in a second."}'
    head = (
        "HTTP/1.1 503 Service Unavailable\r\nRetry-After: 1\r\nConnection: close\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(text)}\r\n\r\n"
    )
    try:
        request.setblocking(False)
        request.send(head.encode() + text)
    except OSError:
        return


def _end(request: socket.socket) -> None:
    """Wake the thread that waits for the connection; it closes it."""
    try:
        request.shutdown(socket.SHUT_RDWR)
    except OSError:
        return


class _Handler(BaseHTTPRequestHandler):
    """Reads requests of a connection within the bounds, and writes responses."""

    server: LiveServer
    protocol_version = "HTTP/1.1"
    default_request_version = "HTTP/1.1"  # what is no request gets a whole response too
    server_version = "edge"
    sys_version = ""
    timeout = SEND_SECONDS
    wbufsize = 64 << 10
    disable_nagle_algorithm = True
    named: Mapping[str, str] = {}  # the headers of the request

    def setup(self) -> None:
        super().setup()
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER)

    def handle_one_request(self) -> None:
        self.server.waits(self.connection)
        try:
            super().handle_one_request()
        except OSError:  # it went away, or was closed to make room
            self.close_connection = True

    def finish(self) -> None:
        self.server.forget(self.connection)
        try:
            super().finish()
        except OSError:
            return

    def parse_request(self) -> bool:
        if not super().parse_request():
            return False
        names = [name.title() for name in self.headers]
        if any(names.count(name) > 1 for name in ONCE):
            self.send_error(400, "a header that there may be once is there twice")
            return False
        if self.headers.defects or self.headers.get_payload():  # a line without a name ends them
            self.send_error(400, "a line of the headers is none")
            return False
        self.named = {name.title(): str(value) for name, value in self.headers.items()}
        return True

    def do_GET(self) -> None:
        self._serve("GET")

    def do_HEAD(self) -> None:
        self._serve("GET")

    def do_POST(self) -> None:
        self._serve("POST")

    def log_message(self, format: str, *args: Any) -> None:
        """Log nothing: addresses may hold a token."""

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """Answer what the library refuses as everything else is answered."""
        self.close_connection = True
        said = message or explain or HTTPStatus(code).phrase
        self.command = self.command or ""
        self._send(refused(Refusal(code, said[:200])))

    def _serve(self, method: str) -> None:
        parts = urlsplit(self.path)
        try:
            pairs = parse_qsl(
                parts.query, keep_blank_values=True, max_num_fields=20, errors="strict"
            )
        except ValueError:
            return self._refuse(Refusal(400, "the query is no UTF-8, or has too many fields"))
        query = dict(pairs)
        if len(query) < len(pairs):
            return self._refuse(Refusal(400, "the query states a field twice"))
        if self._logs_in(method, parts.path, query):
            return None
        trusted = self.server.guard.trusts(self.named)
        self.server.works(self.connection, trusted=trusted)
        self.connection.settimeout(SEND_SECONDS if trusted else STRANGER_SECONDS)
        refusal = self._refusal(method, parts.path)
        if refusal is not None:
            return self._refuse(refusal)
        request = HttpRequest(method=method, path=parts.path, query=query, headers=self.named)
        if method == "GET":
            if self.named.get("Content-Length", "0") != "0" or "Transfer-Encoding" in self.named:
                return self._refuse(Refusal(400, "a GET has no body"))
            return self._send(self.server.answering(request))
        return self._serve_body(request)

    def _logs_in(self, method: str, path: str, query: Mapping[str, str]) -> bool:
        """Put a token from the address into a cookie, and lead on to the page without it."""
        guard = self.server.guard
        if method != "GET" or path != PAGE or not guard.is_token(query.get("token", "")):
            return False
        cookie = guard.cookie(self.named.get("Host", ""))
        self._send(HttpResponse(status=303, headers={"Location": PAGE, "Set-Cookie": cookie}))
        return True

    def _refusal(self, method: str, path: str) -> Refusal | None:
        refusal = self.server.guard.refusal(
            self.named, navigation=path == PAGE, reads=method == "GET"
        )
        if refusal is not None:
            return refusal
        allowed = self.server.methods.get(path)
        if allowed is None:
            return Refusal(404, f"there is nothing at {path[:100]}", "/v1/openapi.json lists all.")
        if method not in allowed:
            return Refusal(405, f"{path} takes {' and '.join(sorted(allowed))}")
        return None

    def _serve_body(self, request: HttpRequest) -> None:
        length = self.named.get("Content-Length", "0")
        if self.named.get("Transfer-Encoding") or not length.isdecimal():
            return self._refuse(Refusal(411, "the length of the body has to be stated"))
        if len(length) > MOST_DIGITS or int(length) > MOST_BODY:
            said = f"the body has {length[:MOST_DIGITS]} bytes; at most {MOST_BODY} are taken"
            return self._refuse(Refusal(413, said))
        if self.named.get("Expect", "").lower() == "100-continue":
            self.send_response_only(100)
            self.end_headers()
            self.wfile.flush()
        body, held = bytearray(), 0
        try:
            refusal = self._read_body(int(length), body)
            held = len(body)
            if refusal is not None:
                return self._refuse(refusal)
            content = bytes(body)
            body.clear()  # not twice in memory while it is answered
            return self._send(self.server.answering(replace(request, body=content)))
        finally:
            self.server.holds(-(held or len(body)))

    def handle_expect_100(self) -> bool:
        """Leave the answer to ``_serve_body``, which knows the bounds."""
        return True

    def _read_body(self, length: int, body: bytearray) -> Refusal | None:
        """Read the body into ``body``, each byte of which is counted; or return why it is left."""
        end = time.monotonic() + BODY_SECONDS
        late = Refusal(408, f"the body did not come within {BODY_SECONDS:.0f} s")
        try:
            while len(body) < length:
                left = end - time.monotonic()
                if left <= 0:
                    return late
                self.connection.settimeout(left)
                part = self.rfile.read1(min(length - len(body), 1 << 16))
                if not part:
                    return Refusal(400, "the body ended before its stated length")
                if not self.server.holds(len(part)):
                    hint = "Send it again in a second."
                    return Refusal(429, "too many bodies are being sent", hint)
                body += part
        except TimeoutError:
            return late
        finally:
            self.connection.settimeout(SEND_SECONDS)
        return None

    def _refuse(self, refusal: Refusal) -> None:
        self.close_connection = True  # a body that nobody reads may follow
        again = refusal.status == 429
        self._send(refused(refusal, Retry_After="1") if again else refused(refusal))
        self._linger()

    def _linger(self) -> None:
        """Take what is still sent for a moment, or the client would not get to read the answer."""
        end = time.monotonic() + LINGER_SECONDS
        try:
            self.connection.shutdown(socket.SHUT_WR)
            self.connection.settimeout(LINGER_SECONDS)
            while time.monotonic() < end and self.connection.recv(1 << 16):
                pass
        except OSError:
            return

    def _send(self, response: HttpResponse) -> None:
        self.server.codes[response.status] += 1
        self.send_response(response.status)
        for name, value in {**self.server.security, **response.headers}.items():
            self.send_header(name, value)
        if response.status != 204:
            self.send_header("Content-Type", response.content_type)
        if response.stream is not None:
            self.close_connection = True
        elif response.status != 204:
            self.send_header("Content-Length", str(len(response.body)))
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()
        if self.command == "HEAD":
            return
        self._write(response.body)
        for part in response.stream or ():
            self._write(part)
            self.server.works(self.connection, trusted=True)  # it waits for the next part

    def _write(self, content: bytes) -> None:
        self.server.sends(self.connection)
        self.wfile.write(content)
        self.wfile.flush()


def check_listens(address: tuple[str, int]) -> None:
    """Refuse an address that cannot be listened at now, before anything is made for a server.

    Raises:
        OutputError: It cannot be listened at.
    """
    try:
        with socket.socket(_family(address), socket.SOCK_STREAM) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, LiveServer.allow_reuse_address)
            probe.bind(address)
            probe.listen()  # where addresses are reused, it is here that one is found to be taken
    except OSError as error:
        raise _refused(address, error) from error


def _family(address: tuple[str, int]) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in address[0] else socket.AF_INET


def _refused(address: tuple[str, int], error: OSError) -> OutputError:
    """Return what the system has against listening at an address."""
    taken = error.errno in (errno.EADDRINUSE, errno.EACCES)
    return OutputError(
        f"{address[0]}, port {address[1]} cannot be listened at: {error.strerror or error}",
        hint="Another program may serve there; name another port with --listen."
        if taken
        else "Name an address of this computer with --listen, or 0.0.0.0 for all of them.",
    )


def checked_address(text: str) -> tuple[str, int]:
    """Read ``HOST:PORT``; ``[::1]:8080`` of an IPv6 address.

    Raises:
        UsageError: It is something else.
    """
    try:
        parts = urlsplit(f"//{text}")
        host, port = parts.hostname, parts.port
    except ValueError:
        host, port = None, None
    if not host or port is None or parts.path or parts.username is not None:
        raise UsageError(
            f"{text!r} is no address to listen at",
            hint="Write HOST:PORT, such as 127.0.0.1:8080, or 0.0.0.0:8080 for all of the network.",
        )
    return host, port
