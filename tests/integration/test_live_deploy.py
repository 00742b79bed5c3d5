"""``edge deploy --live`` against a real sshd: the page, the trial of its camera, the way back."""

import json
import socket
import urllib.request
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from edge.deploy.ssh import Address
from edge.live.tunnel import deployed_port, tunnel
from tests.integration import device_bundles as bundles
from tests.integration.test_deploy import Loopback, site  # noqa: F401  # a fixture

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
    assert device.returncode == 1 and "/dev/video77 is no camera" in device.stderr

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
