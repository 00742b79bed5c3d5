"""Answers to an MQTT broker, with Home Assistant's discovery; by paho-mqtt, where it is installed.

Topics, below ``edge/NAME`` or the path of the URL: ``answer`` (JSON, retained, when what is seen
changes, at most once a second), ``camera`` (``ON`` or ``OFF``), ``available`` (``online``, or
``offline`` by the last will).
"""

import json
import ssl
import sys
import threading
import time
from typing import Any, Final

from edge.errors import PackageMissing
from edge.runtime.live.pipeline import Pipeline, ShownFrame
from edge.runtime.live.settings import Broker, identifier, topic_part
from edge.runtime.live.statements import answer_of
from edge.runtime.streams import say

DISCOVERY: Final = "homeassistant"
WAIT_SECONDS: Final = 2.0
LEAST_SECONDS: Final = 1.0  # between two answers
CONNECT_SECONDS: Final = 10
MOST_QUEUED: Final = 20  # messages that a slow broker has not taken yet


def client_class() -> tuple[Any, Any]:
    """Return the class of clients, and the version of its callbacks that is written for here.

    Raises:
        PackageMissing: paho-mqtt is not installed.
    """
    try:
        from paho.mqtt.client import Client
        from paho.mqtt.enums import CallbackAPIVersion
    except ImportError:
        raise PackageMissing(
            "--mqtt needs the package paho-mqtt",
            hint="pip install 'paho-mqtt>=2.1'",
        ) from None
    return Client, CallbackAPIVersion.VERSION2


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
        client, version = client_class()
        self._broker = broker
        # Those of one bundle that send to topics of their own are devices of their own.
        self._name = f"{name} ({broker.topic})" if broker.topic else name
        self._id = identifier(broker.topic or name)
        self._topic = broker.topic or f"edge/{topic_part(name)}"
        self._pipeline = pipeline
        self._closed = threading.Event()
        self._said: set[str] = set()  # why nothing was sent, since something was
        self._last: dict[str, str] = {}  # by topic
        self._client = client(version)
        self._client.max_queued_messages_set(MOST_QUEUED)
        if broker.user is not None:
            self._client.username_pw_set(broker.user, broker.password)
        if broker.tls:
            self._client.tls_set()
        self._client.will_set(f"{self._topic}/available", "offline", qos=1, retain=True)
        self._client.on_connect = self._connected
        self._client.on_connect_fail = lambda *_: self._away(_unreached(sys.exc_info()[1]))
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
        self._said.clear()
        for topic, value in self.discovery().items():
            client.publish(topic, json.dumps(value), qos=1, retain=True)
        client.publish(f"{self._topic}/available", "online", qos=1, retain=True)
        for topic, text in list(self._last.items()):  # a broker that started anew has forgotten it
            client.publish(topic, text, qos=1, retain=True)

    def _disconnected(self, _client: Any, _data: Any, _flags: Any, reason: Any, *_: Any) -> None:
        if not self._closed.is_set():
            known = str(reason) != "Unspecified error"  # paho's word for every other end
            self._away(str(reason) if known else "the connection ended without a reason")

    def _away(self, why: str) -> None:
        """Say each reason once why nothing is sent; a refusal and its end take turns."""
        if why not in self._said:
            where = f"{self._broker.host}, port {self._broker.port}"
            say(f"note: the MQTT broker at {where}: {why}; it is tried again", err=True)
        self._said.add(why)

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
        # _connected sends the last of each topic. Nothing is sent before: a broker that refuses the
        # connection closes it with what it has not read, and its reason would be lost with that.
        self._last[f"{self._topic}/{topic}"] = text
        if self._client.is_connected():
            self._client.publish(f"{self._topic}/{topic}", text, qos=1, retain=True)


def _unreached(error: BaseException | None) -> str:
    """Say why there is no connection: paho calls this while it handles the error."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return (
            f"its certificate is not trusted ({error.verify_message}); SSL_CERT_FILE names the "
            "file of another authority, and the name in the address has to be that of the "
            "certificate"
        )
    if isinstance(error, ssl.SSLError):
        return "no encrypted connection is made there: mqtts:// wants a port that speaks TLS"
    if isinstance(error, OSError) and error.strerror:
        return f"it cannot be reached: {error.strerror}"
    return "it cannot be reached"


def summary(shown: ShownFrame) -> dict[str, Any] | None:
    """Return what a home wants to know of an answer: ``label``, ``score``, and the whole answer.

    The label is the best class, or the names of what was found, in order of the alphabet; the score
    is that of the label, and None where several were found. A model without names, such as one of
    vectors, has no label, and nothing is sent.
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
            score = max(scores, default=None) if len(names) == 1 else None
            return {"label": label, "score": score, **time_of, "answer": answer}
    return None
