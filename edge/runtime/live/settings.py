"""What a live page may be told: by a command, or by a release, which is read without numpy."""

import hashlib
import os
import re
from dataclasses import dataclass, field, replace
from typing import Final, Self
from urllib.parse import quote, unquote, urlsplit

from edge.errors import UsageError

MOST_SMOOTHING: Final = 100  # frames
PASSWORD: Final = "EDGE_MQTT_PASSWORD"  # of the environment: a URL is there for all to read
SCHEMES: Final = {"mqtt": 1883, "mqtts": 8883}
_NOT_IN_TOPICS: Final = re.compile(r"[^A-Za-z0-9_-]+")


@dataclass(frozen=True, slots=True, kw_only=True)
class Broker:
    """An MQTT broker: where to, and as whom.

    Attributes:
        host: Name or address.
        port: TCP port.
        tls: Whether the connection is encrypted, with a certificate that the system trusts.
        user: None for none.
        password: None for none; it is shown nowhere.
        topic: What all topics begin with; empty for ``edge/NAME``.
    """

    host: str
    port: int
    tls: bool
    user: str | None = None
    password: str | None = field(default=None, repr=False)
    topic: str = ""

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read ``mqtt://user:password@host:port/topic``; ``mqtts`` for TLS.

        Raises:
            UsageError: It is something else. The message does not repeat it: it may hold a
                password.
        """
        try:
            parts = urlsplit(text)
            port = parts.port
        except ValueError:
            parts, port = urlsplit(""), None
        topic = unquote(parts.path).strip("/")
        host = parts.hostname
        odd = "?" in text or "#" in text or port == 0
        named = host is not None and host.isprintable() and " " not in host
        if parts.scheme not in SCHEMES or not host or not named or odd:
            raise UsageError(
                "the address of the MQTT broker cannot be used",
                hint=f"Write it as mqtt://user@host:1883/topic, or mqtts://...; {PASSWORD} of the "
                "environment holds the password.",
            )
        if any(sign in topic for sign in "+#\0"):
            raise UsageError("the topic of the MQTT broker holds one of the signs + and #")
        user, password = (
            None if part is None else unquote(part) for part in (parts.username, parts.password)
        )
        return cls(
            host=host,
            port=port or SCHEMES[parts.scheme],
            tls=parts.scheme == "mqtts",
            user=user,
            password=None if user is None else password,
            topic=topic,
        )

    @property
    def url(self) -> str:
        """Its address without the password, which ``parse`` reads again."""
        user = "" if self.user is None else f"{quote(self.user, safe='')}@"
        host = f"[{self.host}]" if ":" in self.host else self.host
        topic = f"/{quote(self.topic)}" if self.topic else ""
        return f"{'mqtts' if self.tls else 'mqtt'}://{user}{host}:{self.port}{topic}"

    def shown(self) -> Self:
        """Return it as it may be shown: without the password."""
        return replace(self, password=None)


def checked_broker(text: str) -> Broker:
    """Read the address of a broker; where it has no password, the environment may have it.

    Raises:
        UsageError: See ``Broker.parse``.
    """
    broker = Broker.parse(text)
    if broker.user is None or broker.password is not None:
        return broker
    # As it is: only in an address do percent signs have a meaning.
    return replace(broker, password=os.environ.get(PASSWORD))


def topic_part(name: str) -> str:
    """Return a name as one part of a topic."""
    return _NOT_IN_TOPICS.sub("_", name)[:60] or "edge"


def identifier(name: str) -> str:
    """Return an id of the letters that topics have; different names have different ones."""
    plain = topic_part(name)
    if plain == name:
        return plain
    return f"{plain}_{hashlib.sha256(name.encode()).hexdigest()[:8]}"


def check_smoothing(frames: int, *, classifier: bool) -> None:
    """Refuse to average the answers of different frames where these are no probabilities.

    Args:
        frames: Their number; 1 for no average.
        classifier: Whether the model says which class a picture shows.

    Raises:
        UsageError: It is none.
    """
    if frames > 1 and not classifier:
        raise UsageError(
            "--smoothing is for classifiers: places of different frames have no mean",
            hint="Leave it out.",
        )
