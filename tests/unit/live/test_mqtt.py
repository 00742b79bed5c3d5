"""Answers reach a real broker, which may be away, refuse a password, or speak TLS."""

import json
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, cast

import pytest

from edge.errors import UsageError
from edge.runtime.live.model import LiveModel
from edge.runtime.live.mqtt import Publisher
from edge.runtime.live.pipeline import Pipeline
from edge.runtime.live.settings import PASSWORD, Broker, checked_broker, identifier
from tests.unit.live.scripted import ScriptedCamera, TimedModel

MOSQUITTO = shutil.which("mosquitto") or shutil.which("mosquitto", path="/usr/sbin")
needs_broker = pytest.mark.skipif(
    MOSQUITTO is None, reason="needs mosquitto, a package of Debian of that name"
)
SECRET = "no5y-secret"


@pytest.mark.parametrize(
    ("text", "broker"),
    [
        ("mqtt://home", Broker(host="home", port=1883, tls=False)),
        ("mqtts://home:99", Broker(host="home", port=99, tls=True)),
        (
            "mqtt://a%40b:p%2Fw@[::1]:5/my/topic/",
            Broker(host="::1", port=5, tls=False, user="a@b", password="p/w", topic="my/topic"),
        ),
    ],
)
def test_addresses(text: str, broker: Broker) -> None:
    assert checked_broker(text) == broker
    assert "p/w" not in repr(broker)
    assert checked_broker(broker.url) == broker.shown()


@pytest.mark.parametrize(
    "text",
    [
        "",
        "home",
        f"http://u:{SECRET}@home",
        f"mqtt://u:{SECRET}@",
        f"mqtt://u:{SECRET}@h:99999",
        "mqtt://h:0",
        f"mqtt://u:{SECRET}@a b",
    ],
)
def test_what_is_no_address_is_not_repeated(text: str) -> None:
    with pytest.raises(UsageError) as found:
        checked_broker(text)
    assert SECRET not in found.value.message + found.value.hint


def test_the_password_may_stand_in_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(PASSWORD, SECRET)
    assert checked_broker("mqtt://user@home").password == SECRET
    assert checked_broker("mqtt://user:other@home").password == "other"
    assert checked_broker("mqtt://home").password is None
    monkeypatch.setenv(PASSWORD, "100%41")  # it is no part of an address
    assert checked_broker("mqtt://user@home").password == "100%41"


class Labelled(TimedModel):
    """Answers with a class that the test chooses."""

    label = "cat"

    def answer(self, jpeg: bytes, *, name: str, smooth: bool = False) -> Any:
        answered = super().answer(jpeg, name=name, smooth=smooth)
        category = {"index": 0, "label": self.label, "score": 0.75}
        answered.stated["categories"].append(category)
        return answered


@contextmanager
def broker(folder: Path, port: int, *lines: str) -> Iterator[None]:
    assert MOSQUITTO is not None
    tool = shutil.which("mosquitto_passwd")
    assert tool is not None
    passwords = folder / "passwords"
    subprocess.run([tool, "-b", "-c", str(passwords), "edge", SECRET], check=True)
    passwords.chmod(0o644)
    folder.chmod(0o755)
    config = folder / "mosquitto.conf"
    rules = (f"listener {port} 127.0.0.1", "allow_anonymous false", f"password_file {passwords}")
    config.write_text("\n".join([*rules, "user root", *lines]) + "\n")
    log = (folder / "log").open("wb")
    process = subprocess.Popen([MOSQUITTO, "-c", str(config)], stdout=log, stderr=log)
    try:
        end = time.monotonic() + 60
        while True:
            try:
                socket.create_connection(("127.0.0.1", port), 1).close()
                break
            except OSError:
                assert process.poll() is None, (folder / "log").read_text()
                assert time.monotonic() < end
                time.sleep(0.02)
        yield
    finally:
        process.terminate()
        process.wait(10)
        log.close()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


Messages = list[tuple[str, str]]


@contextmanager
def heard(port: int, ca: Path | None = None) -> Iterator[Messages]:
    """Everything that a subscriber has got so far."""
    from paho.mqtt.client import Client
    from paho.mqtt.enums import CallbackAPIVersion

    messages: Messages = []
    client = Client(CallbackAPIVersion.VERSION2)
    client.username_pw_set("edge", SECRET)
    if ca is not None:
        client.tls_set(str(ca))
    client.on_connect = lambda c, *_: c.subscribe("#", qos=1)
    client.on_message = lambda _c, _d, m: messages.append((m.topic, m.payload.decode()))
    client.connect("localhost", port)
    client.loop_start()
    try:
        yield messages
    finally:
        client.disconnect()
        client.loop_stop()


def wait_for(messages: Messages, topic: str, text: str = "") -> str:
    end = time.monotonic() + 60
    while True:
        for found, payload in list(messages):
            if found == topic and text in payload:
                return payload
        assert time.monotonic() < end, messages
        time.sleep(0.01)


@contextmanager
def publishing(broker: Broker, model: Labelled) -> Iterator[tuple[ScriptedCamera, Publisher]]:
    camera = ScriptedCamera()
    pipeline = Pipeline(cast(LiveModel, model), lambda: camera, address="scripted")
    publisher = Publisher(broker, "cats & dogs", pipeline)
    pipeline.start()
    publisher.start()
    try:
        yield camera, publisher
    finally:
        publisher.close()
        camera.end()
        pipeline.close()


@needs_broker
def test_answers_discovery_and_the_last_will(tmp_path: Path) -> None:
    port, model = free_port(), Labelled()
    where = Broker(host="127.0.0.1", port=port, tls=False, user="edge", password=SECRET)
    with broker(tmp_path, port), heard(port) as messages:
        with publishing(where, model) as (camera, publisher):
            camera.give()
            own = identifier("cats & dogs")
            answers = f"homeassistant/sensor/edge_{own}/answer/config"
            cameras = f"homeassistant/binary_sensor/edge_{own}/camera/config"
            assert set(publisher.discovery()) == {answers, cameras}
            config = json.loads(wait_for(messages, answers))
            assert config["state_topic"] == "edge/cats_dogs/answer"
            answer = json.loads(wait_for(messages, "edge/cats_dogs/answer"))
            assert (answer["label"], answer["score"]) == ("cat", 0.75)
            model.label = "dog"
            camera.give()
            camera.give()
            wait_for(messages, "edge/cats_dogs/answer", '"label": "dog"')
        wait_for(messages, "edge/cats_dogs/available", "offline")


def test_two_devices_with_one_bundle_and_topics_of_their_own_are_two() -> None:
    pytest.importorskip("paho.mqtt", reason="needs paho-mqtt, of the extra mqtt")
    pipeline = Pipeline(cast(LiveModel, Labelled()), ScriptedCamera, address="scripted")
    found = [
        Publisher(checked_broker(f"mqtt://home/{topic}"), "pets", pipeline).discovery()
        for topic in ("edge/hall", "edge/door", "", "a/b", "a_b", "K%C3%BCche", "K%C3%B6che")
    ]
    assert len({topic for item in found for topic in item}) == 14
    values = [value for item in found for value in item.values()]
    assert len({value["unique_id"] for value in values}) == 14
    assert {value["device"]["name"] for value in values} == {
        "edge pets (edge/hall)",
        "edge pets (edge/door)",
        "edge pets",
        "edge pets (a/b)",
        "edge pets (a_b)",
        "edge pets (Küche)",
        "edge pets (Köche)",
    }


@needs_broker
def test_a_broker_that_started_anew_is_told_what_it_has_forgotten(tmp_path: Path) -> None:
    """The scene stands still: nothing new would be sent for hours."""
    port, model = free_port(), Labelled()
    where = Broker(host="127.0.0.1", port=port, tls=False, user="edge", password=SECRET)
    with ExitStack() as stack:
        with broker(tmp_path, port), heard(port) as messages:
            camera, _ = stack.enter_context(publishing(where, model))
            camera.give()
            wait_for(messages, "edge/cats_dogs/answer", '"label": "cat"')
        with broker(tmp_path, port), heard(port) as messages:
            wait_for(messages, "edge/cats_dogs/answer", '"label": "cat"')
            wait_for(messages, "edge/cats_dogs/camera", "ON")


@needs_broker
def test_a_broker_that_comes_later_and_a_wrong_password(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    port, model = free_port(), Labelled()
    where = Broker(host="127.0.0.1", port=port, tls=False, user="edge", password=SECRET)
    with publishing(where, model) as (camera, _):
        camera.give()
        time.sleep(0.2)
        with broker(tmp_path, port), heard(port) as messages:
            wait_for(messages, "edge/cats_dogs/answer", '"label": "cat"')
            wrong = Broker(host="127.0.0.1", port=port, tls=False, user="edge", password="wrong")
            with publishing(wrong, Labelled()):
                end = time.monotonic() + 60
                said = ""
                while "ot authorized" not in said:
                    assert time.monotonic() < end, said
                    said += capfd.readouterr().err
                    time.sleep(0.02)
                time.sleep(3)  # it is tried again, and nothing is said again
                said += capfd.readouterr().err
    assert said.count("ot authorized") == 1
    assert "cannot be reached" in said
    assert SECRET not in said


@needs_broker
@pytest.mark.skipif(shutil.which("openssl") is None, reason="needs openssl")
def test_an_encrypted_connection(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    key, certificate = tmp_path / "key.pem", tmp_path / "cert.pem"
    words = ("req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj")
    names = ("/CN=localhost", "-addext", "subjectAltName=DNS:localhost")
    files = ("-keyout", str(key), "-out", str(certificate))
    done = subprocess.run(["openssl", *words, *names, *files], capture_output=True, check=False)
    assert done.returncode == 0, done.stderr
    key.chmod(0o644)
    port, model = free_port(), Labelled()
    tls = (f"certfile {certificate}", f"keyfile {key}")
    where = Broker(host="localhost", port=port, tls=True, user="edge", password=SECRET)
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    with broker(tmp_path, port, *tls), heard(port, certificate) as messages:
        with publishing(where, model) as (camera, _):
            camera.give()
            wait_for(messages, "edge/cats_dogs/answer", '"label": "cat"')
        monkeypatch.delenv("SSL_CERT_FILE")
        with publishing(where, model):
            end, said = time.monotonic() + 60, ""
            while "certificate is not trusted" not in said:
                assert time.monotonic() < end, said
                said += capfd.readouterr().err
                time.sleep(0.02)
    assert "SSL_CERT_FILE" in said
