"""Who may ask: a page on this computer, or whoever has the token, and no other web site.

A browser lets any site send requests to 127.0.0.1, and a hostile name server can make that address
look like the site's own (DNS rebinding). So without a token only requests to a loopback name are
answered, and what a page of another origin sends is refused in any case.
"""

import hmac
import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass
from http.cookies import CookieError, SimpleCookie
from typing import Final
from urllib.parse import urlsplit

COOKIE: Final = "edge-live"
LEAST_TOKEN: Final = 16  # characters, so that nobody can try them all
_HERE: Final = ("same-origin", "none")  # none: typed by the user, or sent by a program


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a request is not answered.

    Attributes:
        status: The HTTP status.
        message: What is wrong.
        hint: The way out.
    """

    status: int
    message: str
    hint: str = ""


@dataclass(frozen=True, slots=True)
class Guard:
    """The rules of one server.

    Attributes:
        token: What a request has to carry; None where only this computer can reach the server.
    """

    token: str | None

    def refusal(
        self, headers: Mapping[str, str], *, navigation: bool, reads: bool
    ) -> Refusal | None:
        """Return why a request is refused; None where it is answered.

        Args:
            headers: Its headers by name, written as in ``Content-Type``.
            navigation: Whether it asks for the page itself, to which any site may link, and which
                shows nothing without a token.
            reads: Whether it changes nothing.
        """
        host = headers.get("Host", "")
        if self.token is None and not is_loopback(host):
            return Refusal(
                421,
                "this server answers to localhost and 127.0.0.1 alone",
                "Open it by that name, or start it with a token.",
            )
        origin = headers.get("Origin")
        if origin is not None and not _is_own(origin, host):
            return Refusal(403, "the request comes from a page of another origin")
        elsewhere = headers.get("Sec-Fetch-Site", "none").strip().lower() not in _HERE
        if elsewhere and not (navigation and reads):
            return Refusal(403, "the request comes from a page of another site")
        if self.token is not None and not navigation and not self._has_token(headers):
            return Refusal(
                401,
                "a token is needed",
                "Open the address that was printed when the server was started; programs send "
                "Authorization: Bearer TOKEN.",
            )
        return None

    def is_token(self, text: str) -> bool:
        """Return whether a text is the token, in a time that does not depend on the text."""
        return self.token is not None and hmac.compare_digest(text.encode(), self.token.encode())

    def trusts(self, headers: Mapping[str, str]) -> bool:
        """Return whether a request carries the token, or none is needed."""
        return self.token is None or self._has_token(headers)

    def cookie(self, host: str) -> str:
        """Return the header that lets a browser send the token to this host and port from now on.

        All ports of a host share their cookies, so that the port stands in the name.
        """
        return f"{_cookie_name(host)}={self.token}; HttpOnly; SameSite=Strict; Path=/"

    def _has_token(self, headers: Mapping[str, str]) -> bool:
        kind, _, told = headers.get("Authorization", "").partition(" ")
        if kind.lower() == "bearer" and self.is_token(told.strip()):
            return True
        try:
            cookies = SimpleCookie(headers.get("Cookie", ""))
        except CookieError:
            return False
        name = _cookie_name(headers.get("Host", ""))
        return name in cookies and self.is_token(cookies[name].value)


def _cookie_name(host: str) -> str:
    try:
        port = urlsplit(f"//{host}").port
    except ValueError:
        port = None
    return f"{COOKIE}-{port or 80}"


def is_loopback(host: str) -> bool:
    """Return whether a host, with or without a port, is a name of this computer."""
    try:
        name = urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return False
    if name == "localhost" or name.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False


def _is_own(origin: str, host: str) -> bool:
    """Return whether an origin is that of the page which this server serves."""
    try:
        parts = urlsplit(origin)
    except ValueError:
        return False
    return parts.scheme in ("http", "https") and parts.netloc.lower() == host.lower() != ""
