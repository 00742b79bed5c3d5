"""``edge deploy --live`` against a real sshd: the page, the trial of its camera, the way back."""

import json
import socket
import urllib.request
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from edge.deploy.ssh import Address
from edge.live.tunnel import deployed_port, tunnel
from edge.runtime.live.settings import PASSWORD
from tests.integration import device_bundles as bundles
from tests.integration.test_deploy import APP, QUICK, Loopback, site  # noqa: F401  # a fixture
from tests.unit.live.test_mqtt import SECRET, broker, free_port, heard, needs_broker, wait_for

pytestmark = pytest.mark.slow


@pytest.fixture
def port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """What the device's camera is played from."""
    folder = tmp_path / "pictures"
    folder.mkdir()
    Image.new("RGB", (40, 24), (250, 10, 10)).save(folder / "red.jpg")
    return folder


def told(port: int, path: str, body: bytes | None = None) -> Any:
    request = urllib.request.Request(f"http://127.0.0.1:{port}{path}", data=body)
    with urllib.request.urlopen(request, timeout=20) as reply:
        return json.load(reply)


def live(camera: Path, port: int, *more: object) -> tuple[object, ...]:
    return ("--live", "--camera", camera, "--live-port", port, "--start-timeout", "8", *more)


def test_a_page_that_serves_and_one_whose_camera_is_missing(
    site: Loopback,  # noqa: F811
    pictures: Path,
    port: int,
) -> None:
    plain = site.deployed(site.bundle())
    page = site.deployed(site.bundle(), *live(pictures, port))
    assert page != plain
    health = told(port, "/v1/health")
    assert health["ok"] and health["release"] == page and health["variant"] == "tflite-int8"
    state = site.state()
    assert state["healthy"] and state["bundle"]["live"]["port"] == port
    said = site.ask("status").stdout
    assert f"at port {port}" in said and f"edge live {site.device.name}" in said
    address = Address.parse(site.device.name, ssh_config=site.device.ssh_config)
    assert deployed_port(address) == port
    with tunnel(address, port) as opened:
        assert told(opened.port, "/v1/health")["release"] == page

    done = site.deploy(site.bundle(), *live(pictures.with_name("missing"), port))
    assert done.returncode == 1
    assert "it says that it is not well: camera: " in done.stderr and "missing" in done.stderr
    assert told(port, "/v1/health")["release"] == page  # it serves again
    assert site.state()["release"] == page and "missing" in site.state()["reason"]

    device = site.deploy(site.bundle(), "--live", "--camera", "/dev/video77")
    assert (
        device.returncode == 1 and "no camera that edge live reads at /dev/video77" in device.stderr
    )

    assert site.ask("rollback", "--watch", "1").returncode == 0
    assert site.state()["release"] == plain
    with pytest.raises(OSError, match="refused"):
        told(port, "/v1/health")


def test_what_a_page_was_taught_stays_with_its_release(
    site: Loopback,  # noqa: F811
    pictures: Path,
    port: int,
) -> None:
    bundle = site.bundle(bundles.learns, "learner")
    first = site.deployed(bundle, *live(pictures, port))
    Image.new("RGB", (40, 24), (250, 250, 250)).save(pictures / "white.jpg")
    content = (pictures / "white.jpg").read_bytes()
    told(port, "/v1/teach?label=white", content)
    assert labels(port)["white"] == 1
    second = site.deployed(bundle, *live(pictures, port, "--rate", "5"))
    assert "white" not in labels(port)
    assert site.ask("rollback", "--watch", "1").returncode == 0
    assert site.state()["release"] == first != second
    assert labels(port)["white"] == 1
    assert told(port, "/v1/predict", content)["categories"][0]["label"] == "white"


def labels(port: int) -> dict[str, int]:
    """The number of pictures that each class was taught."""
    return {item["label"]: item["taught"] for item in told(port, "/v1/state")["classes"]}


def command_lines() -> str:
    """What every process of this machine was started with, as all of its users can see it."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):
            found.append(path.read_text(errors="replace"))
    return "\n".join(found)


@needs_broker
def test_answers_go_to_a_broker_and_its_password_to_nobody_else(
    site: Loopback,  # noqa: F811
    pictures: Path,
    port: int,
    tmp_path: Path,
) -> None:
    folder, at = tmp_path / "broker", free_port()
    folder.mkdir()
    host = replace(site, edge=replace(site.edge, variables=((PASSWORD, SECRET),)))
    address = f"mqtt://edge@127.0.0.1:{at}/hall"
    words = live(pictures, port, "--smoothing", "5", "--mqtt", address)

    plain = host.deployed(host.bundle())
    assert not list(host.root.glob("envs/*/paho"))
    with broker(folder, at), heard(at) as messages:
        planned = host.deploy(host.bundle(), *words, "--dry-run", "--json")
        shown = host.deploy(host.bundle(), *words, "--dry-run")
        done = host.deploy(host.bundle(), *words, "--json")
        assert done.returncode == 0, done.stderr
        outcome = json.loads(done.stdout)
        release = outcome["release"]
        assert release == json.loads(planned.stdout)["release"]["id"] != plain
        assert "paho-mqtt" in json.loads(planned.stdout)["environment"]["packages"]
        assert outcome["sent_bytes"] < 1e6  # the interpreter is there already
        assert list(host.root.glob("envs/*/paho"))
        assert json.loads(wait_for(messages, "hall/answer"))["label"] == "red"
        assert told(port, "/v1/state")["smoothing"] == 5

        description = host.root / "apps" / APP / "releases" / release / "release.json"
        assert description.stat().st_mode & 0o777 == 0o600
        assert SECRET in description.read_text()
        assert address in command_lines() and SECRET not in command_lines()
        again = host.deploy(host.bundle(), *words)
        assert "serves already" in again.stdout
        said = [planned, shown, done, again, host.ask("status"), host.ask("status", "--json")]
        said.append(host.ask("logs", "--json"))

        wrong = replace(site, edge=replace(site.edge, variables=((PASSWORD, "wrong"),)))
        refused = wrong.deployed(wrong.bundle(), *words)  # the page serves all the same
        assert refused not in (release, plain)
        assert "ot authorized" in wrong.ask("logs").stdout
    assert all(SECRET not in item.stdout + item.stderr for item in said)
    assert all(address in item.stdout for item in (shown, said[4]))
    assert json.loads(said[5].stdout)["apps"][0]["bundle"]["live"]["mqtt"]["topic"] == "hall"


def test_frames_of_a_model_that_is_no_classifier_are_not_averaged(
    site: Loopback,  # noqa: F811
    pictures: Path,
    port: int,
) -> None:
    words = live(pictures, port, "--smoothing", "5")
    done = site.deploy(site.bundle(bundles.embeds, "embeds"), *words)
    assert done.returncode == 2 and "--smoothing is for classifiers" in done.stderr
    assert not (site.root / "apps").exists()


def test_an_inventory_names_the_camera_of_a_device(
    site: Loopback,  # noqa: F811
    pictures: Path,
    port: int,
    tmp_path: Path,
) -> None:
    inventory = tmp_path / "fleet.toml"
    inventory.write_text(
        f'[defaults]\nsize = "320x240"\n[hosts."{site.device.name}"]\ncamera = "{pictures}"\n'
        f"live_port = {port}\nsmoothing = 2\n"
    )
    words = ("fleet", "deploy", site.bundle(), inventory, "--key", site.key, *QUICK)
    words = (*words, "--ssh-config", site.device.ssh_config)
    without = site.edge.run(*words)
    assert without.returncode == 2 and "camera has no effect without --live" in without.stderr
    done = site.edge.run(*words, "--live", "--smoothing", "7", "--size", "640x480")
    assert done.returncode == 0, done.stdout + done.stderr
    served = site.state()["bundle"]["live"]
    assert (served["camera"], served["port"], served["smoothing"]) == (str(pictures), port, 2)
    assert (served["width"], served["height"]) == (320, 240)
    assert told(port, "/v1/state")["smoothing"] == 2
