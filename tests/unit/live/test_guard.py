"""Other sites get nothing, whatever a browser lets them send."""

from urllib.parse import parse_qsl, urlsplit

import pytest

from edge.errors import UsageError
from edge.runtime.live import service
from edge.runtime.live.guard import Guard, is_loopback
from edge.runtime.live.service import LiveOptions

TOKEN = "0123456789abcdefgh"


@pytest.mark.parametrize(
    ("host", "loopback"),
    [
        ("127.0.0.1:8080", True),
        ("127.0.0.1", True),
        ("127.8.9.1:1", True),
        ("localhost:9", True),
        ("LOCALHOST", True),
        ("page.localhost:8080", True),
        ("[::1]:8080", True),
        ("evil.com", False),
        ("127.0.0.1.evil.com", False),
        ("localhost.evil.com", False),
        ("evil.com:127", False),
        ("192.168.1.4:8080", False),
        ("[::2]:8080", False),
        ("[::1", False),
        ("", False),
        ("user@evil.com", False),
        ("evil.com#@127.0.0.1", False),
    ],
)
def test_loopback_names(host: str, loopback: bool) -> None:
    assert is_loopback(host) is loopback


@pytest.mark.parametrize(
    ("headers", "navigation", "reads", "status"),
    [
        ({"Host": "127.0.0.1:8080"}, False, True, None),
        ({"Host": "127.0.0.1:8080"}, False, False, None),  # a program
        ({"Host": "evil.com:8080"}, True, True, 421),  # DNS rebinding
        ({}, True, True, 421),
        ({"Host": "localhost:1", "Origin": "http://localhost:1"}, False, False, None),
        ({"Host": "localhost:1", "Origin": "http://localhost:2"}, False, False, 403),
        ({"Host": "localhost:1", "Origin": "http://evil.com"}, False, True, 403),
        ({"Host": "localhost:1", "Origin": "null"}, False, False, 403),
        ({"Host": "localhost:1", "Origin": "http://["}, False, False, 403),
        ({"Host": "localhost:1", "Sec-Fetch-Site": "cross-site"}, False, True, 403),
        ({"Host": "localhost:1", "Sec-Fetch-Site": "same-site"}, False, False, 403),
        ({"Host": "localhost:1", "Sec-Fetch-Site": "cross-site"}, True, True, None),  # a link
        ({"Host": "localhost:1", "Sec-Fetch-Site": "same-origin"}, False, False, None),
        ({"Host": "localhost:1", "Sec-Fetch-Site": "CROSS-SITE"}, False, True, 403),
        ({"Host": "localhost:1", "Sec-Fetch-Site": "unheard-of"}, False, True, 403),
        ({"Host": "localhost:1", "Sec-Fetch-Site": "none"}, True, True, None),
    ],
)
def test_without_a_token(
    headers: dict[str, str], navigation: bool, reads: bool, status: int | None
) -> None:
    refusal = Guard(None).refusal(headers, navigation=navigation, reads=reads)
    assert (None if refusal is None else refusal.status) == status


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 401),
        ({"Authorization": f"Bearer {TOKEN}"}, None),
        ({"Authorization": f"bearer  {TOKEN} "}, None),
        ({"Authorization": f"Basic {TOKEN}"}, 401),
        ({"Authorization": f"Bearer {TOKEN[:-1]}"}, 401),
        ({"Authorization": "Bearer "}, 401),
        ({"Authorization": "Bearer \u00e9"}, 401),
        ({"Cookie": f"a=b; edge-live-8080={TOKEN}"}, None),
        ({"Cookie": "edge-live-8080="}, 401),
        ({"Cookie": f"edge-live-8081={TOKEN}"}, 401),
        ({"Cookie": f"edge-live-8080={TOKEN}x"}, 401),
        ({"Cookie": "\x00;;=;edge-live-8080"}, 401),
        ({"Cookie": f"edge-live-8080={TOKEN}", "Origin": "http://evil.com"}, 403),
    ],
)
def test_with_a_token(headers: dict[str, str], status: int | None) -> None:
    guard = Guard(TOKEN)
    given = {"Host": "192.168.1.4:8080"} | headers
    refusal = guard.refusal(given, navigation=False, reads=True)
    assert (None if refusal is None else refusal.status) == status


def test_the_page_itself_shows_nothing_secret() -> None:
    guard = Guard(TOKEN)
    assert guard.refusal({"Host": "10.0.0.1"}, navigation=True, reads=True) is None
    cookie = guard.cookie("10.0.0.1:8080")
    assert cookie == f"edge-live-8080={TOKEN}; HttpOnly; SameSite=Strict; Path=/"
    assert not Guard(None).is_token("")


@pytest.mark.parametrize(
    "token", ["ab+cd/ef+gh==0123", " " * 20, "0123456789abcde\n", "é" * 16, "a;b" * 9]
)
def test_a_token_that_cannot_be_sent_is_refused(token: str) -> None:
    with pytest.raises(UsageError, match="letters, digits"):
        service._token(LiveOptions(token=token))


def test_the_printed_address_holds_the_token_as_an_address_can() -> None:
    token = "ab+cd/ef+gh0123=="  # as of openssl rand -base64
    assert service._token(LiveOptions(token=token)) == token
    address = service._address("127.0.0.1", 8080, Guard(token))
    assert dict(parse_qsl(urlsplit(address).query)) == {"token": token}
