"""Answers to an MQTT broker, with Home Assistant's discovery; by paho-mqtt, where it is installed.

Topics, below ``edge/NAME`` or the path of the URL: ``answer`` (JSON, retained, when what is seen
changes, at most once a second), ``camera`` (``ON`` or ``OFF``), ``available`` (``online``, or
``offline`` by the last will).
"""

import json
import os
import re
import threading
import time
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import unquote, urlsplit

from edge.errors import PackageMissing, UsageError
from edge.runtime.live.pipeline import Pipeline, ShownFrame
from edge.runtime.live.statements import answer_of
from edge.runtime.streams import say

PASSWORD: Final = "EDGE_MQTT_PASSWORD"  # of the environment: a URL is there for all to read
DISCOVERY: Final = "homeassistant"
SCHEMES: Final = {"mqtt": 1883, "mqtts": 8883}
WAIT_SECONDS: Final = 2.0
LEAST_SECONDS: Final = 1.0  # between two answers
CONNECT_SECONDS: Final = 10
MOST_QUEUED: Final = 20  # messages that wait for a broker that is away
_NOT_IN_TOPICS: Final = re.compile(r"[^A-Za-z0-9_-]+")


@dataclass(frozen=True, slots=True, kw_only=True)
class Broker:
    """Where to, and as whom.

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


def checked_broker(text: str) -> Broker:
    """Read ``mqtt://user:password@host:port/topic``; ``mqtts`` for TLS.

    Raises:
        UsageError: It is something else. The message does not repeat it: it may hold a password.
    """
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError:
        parts, port = urlsplit(""), None
    topic = unquote(parts.path).strip("/")
    host = parts.hostname
    odd = parts.query or parts.fragment or port == 0
    if parts.scheme not in SCHEMES or not host or odd:
        raise UsageError(
            "the address of the MQTT broker cannot be used",
            hint=f"Write it as mqtt://user@host:1883/topic, or mqtts://...; {PASSWORD} of the "
            "environment holds the password.",
        )
    if any(sign in topic for sign in "+#\0"):
        raise UsageError("the topic of the MQTT broker holds one of the signs + and #")
    password = parts.password if parts.password is not None else os.environ.get(PASSWORD)
    user = None if parts.username is None else unquote(parts.username)
    return Broker(
        host=host,
        port=port or SCHEMES[parts.scheme],
        tls=parts.scheme == "mqtts",
        user=user,
        password=None if password is None or user is None else unquote(password),
        topic=topic,
    )


class Publisher:
    """Sends what the pipeline answers until it is closed; a broker that is away is tried again.

    Args:
        broker: Where to.
        name: The name of the bundle, for topics and for people.
        pipeline: What answers.

    Raises:
        PackageMissing: paho-mqtt is not installed.
    """

    def __init__(self, broker: Broker, name: str, pipeline: Pipeline) -> None:
        try:
            from paho.mqtt.client import Client
            from paho.mqtt.enums import CallbackAPIVersion
        except ImportError:
            raise PackageMissing(
                "--mqtt needs the package paho-mqtt",
                hint="pip install 'paho-mqtt>=2.1'",
            ) from None
        self._broker = broker
        self._name = name
        self._id = _NOT_IN_TOPICS.sub("_", name)[:60] or "edge"
        self._topic = broker.topic or f"edge/{self._id}"
        self._pipeline = pipeline
        self._closed = threading.Event()
        self._said = ""
        self._client = Client(CallbackAPIVersion.VERSION2)
        self._client.max_queued_messages_set(MOST_QUEUED)
        if broker.user is not None:
            self._client.username_pw_set(broker.user, broker.password)
        if broker.tls:
            self._client.tls_set()
        self._client.will_set(f"{self._topic}/available", "offline", qos=1, retain=True)
        self._client.on_connect = self._connected
        self._client.on_connect_fail = lambda *_: self._away("it cannot be reached")
        self._client.on_disconnect = self._disconnected
        self._client.reconnect_delay_set(1, 60)
        self._client.connect_timeout = CONNECT_SECONDS
        self._thread = threading.Thread(target=self._run, name="mqtt", daemon=True)

    def start(self) -> None:
        """Begin; the broker may come later."""
        self._client.connect_async(self._broker.host, self._broker.port, keepalive=30)
        self._client.loop_start()
        self._thread.start()

    def close(self) -> None:
        """Say that the service is offline, and end."""
        self._closed.set()
        if self._client.is_connected():
            told = self._client.publish(f"{self._topic}/available", "offline", qos=1, retain=True)
            told.wait_for_publish(WAIT_SECONDS)
        self._client.disconnect()
        self._client.loop_stop()
        self._thread.join(WAIT_SECONDS + LEAST_SECONDS)

    def discovery(self) -> dict[str, dict[str, Any]]:
        """Return Home Assistant's configuration by topic.

        The source is https://www.home-assistant.io/integrations/mqtt/#mqtt-discovery.
        """
        shared: dict[str, Any] = {
            "availability_topic": f"{self._topic}/available",
            "device": {
                "identifiers": [f"edge_{self._id}"],
                "name": f"edge {self._name}",
                "manufacturer": "edge",
            },
        }
        answer = {
            "name": "Answer",
            "unique_id": f"edge_{self._id}_answer",
            "state_topic": f"{self._topic}/answer",
            "value_template": "{{ value_json.label }}",
            "json_attributes_topic": f"{self._topic}/answer",
            "icon": "mdi:eye",
        }
        camera = {
            "name": "Camera",
            "unique_id": f"edge_{self._id}_camera",
            "state_topic": f"{self._topic}/camera",
            "device_class": "connectivity",
            "entity_category": "diagnostic",
        }
        base = f"{DISCOVERY}/{{}}/edge_{self._id}/{{}}/config"
        return {
            base.format("sensor", "answer"): answer | shared,
            base.format("binary_sensor", "camera"): camera | shared,
        }

    def _connected(self, client: Any, _data: Any, _flags: Any, reason: Any, *_: Any) -> None:
        if reason.is_failure:
            self._away(str(reason))
            return
        self._said = ""
        for topic, value in self.discovery().items():
            client.publish(topic, json.dumps(value), qos=1, retain=True)
        client.publish(f"{self._topic}/available", "online", qos=1, retain=True)

    def _disconnected(self, _client: Any, _data: Any, _flags: Any, reason: Any, *_: Any) -> None:
        if not self._closed.is_set():
            self._away(str(reason))

    def _away(self, why: str) -> None:
        """Say once why nothing is sent."""
        if why != self._said:
            where = f"{self._broker.host}, port {self._broker.port}"
            say(f"note: the MQTT broker at {where}: {why}; it is tried again", err=True)
        self._said = why

    def _run(self) -> None:
        number, seen, camera = 0, None, None
        while not (self._closed.is_set() or self._pipeline.stopped):
            version = self._pipeline.camera.version
            shown = self._pipeline.after(number, version=version, seconds=WAIT_SECONDS)
            up = self._pipeline.camera.ok
            if up != camera:
                camera = up
                self._publish("camera", "ON" if up else "OFF")
            if shown is None:
                self._closed.wait(0.1)
                continue
            number = shown.number
            stated = summary(shown)
            if stated is not None and stated["label"] != seen:
                seen = stated["label"]
                self._publish("answer", json.dumps(stated, ensure_ascii=False))
                self._closed.wait(LEAST_SECONDS)

    def _publish(self, topic: str, text: str) -> None:
        self._client.publish(f"{self._topic}/{topic}", text, qos=1, retain=True)


def summary(shown: ShownFrame) -> dict[str, Any] | None:
    """Return what a home wants to know of an answer: ``label``, ``score``, and the whole answer.

    The label is the best class, or the names of what was found, in order of the alphabet; a model
    without names, such as one of vectors, has none, and nothing is sent.
    """
    answer = answer_of(shown)
    if answer is None:
        return None
    time_of = {"time": time.strftime("%Y-%m-%dT%H:%M:%S%z")}
    if answer.get("categories"):
        best = answer["categories"][0]
        return {"label": best["label"], "score": best["score"], **time_of, "answer": answer}
    for key in ("detections", "segments", "poses"):
        if key in answer:
            names = sorted({item.get("label", "pose") for item in answer[key]})
            label = ", ".join(names)[:200] or "nothing"
            scores = [item["score"] for item in answer[key] if "score" in item]
            best_score = max(scores, default=None)
            return {"label": label, "score": best_score, **time_of, "answer": answer}
    return None
