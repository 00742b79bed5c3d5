"""The page of a release on an emulated Raspberry Pi, in a browser, through ssh.

The camera is a device of the machine's own kernel that sees pictures which the test knows, so what
a browser shows can be judged by its pixels.
"""

import base64
import hashlib
import io
import json
import re
import socket
import subprocess
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import pytest
from PIL import Image

from edge.pipeline.bundle import copy_runtime
from tests.device import camera
from tests.device.conftest import COMMAND, LIMITS, Emulated
from tests.device.machine import Machine
from tests.integration import device_bundles as bundles
from tests.integration.conftest import Edge, end
from tests.integration.environments import environments_root
from tests.live.conftest import browser  # noqa: F401  # a fixture

Colour = tuple[int, int, int]
TAUGHT: Final = "grey"
# Each differs from the others by so much that it is no near-duplicate.
LESSONS: Final[tuple[Colour, ...]] = (
    *((128, 128, 128), (148, 128, 128), (128, 148, 128), (128, 128, 148)),
    (150, 150, 128),
)
RED: Final = (200, 60, 40)
GREY: Final = (160, 150, 150)
HELD_OUT: Final[dict[Colour, str]] = {
    (100, 100, 100): TAUGHT,
    GREY: TAUGHT,
    (120, 132, 120): TAUGHT,
    (90, 90, 104): TAUGHT,
    (120, 130, 134): TAUGHT,
    (180, 90, 60): "red",
    RED: "red",
    (60, 170, 90): "green",
    (40, 60, 200): "blue",
}
# Of the eight bits of a colour, on average. Less than half of it is JPEG and rounding.
FRAME_ERROR: Final = 3.0
SCREENSHOT_ERROR: Final = 6.0  # with the scaling of the browser
SECONDS: Final = 90.0  # for something to be seen: a frame takes half a second


def picture(colour: Colour) -> Image.Image:
    """A picture with that mean; no turned or mirrored one looks the same."""
    width, height = camera.SIZE
    pixels = np.full((height, width, 3), colour, np.int64)
    pixels[: height // 2] += 16
    pixels[height // 2 :] -= 16
    pixels[:, : width // 2] += 8
    pixels[:, width // 2 :] -= 8
    return Image.fromarray(pixels.astype(np.uint8))


def encoded(colour: Colour, kind: str = "PNG") -> bytes:
    stream = io.BytesIO()
    picture(colour).save(stream, kind)
    return stream.getvalue()


def error(seen: bytes, colour: Colour) -> float:
    """The mean difference of the pixels of an image file from a picture; 255 for none."""
    if not seen:
        return 255.0
    found = Image.open(io.BytesIO(seen)).convert("RGB").resize(camera.SIZE)
    wanted = np.asarray(picture(colour), np.int64)
    return float(np.abs(np.asarray(found, np.int64) - wanted).mean())


# What edge does with a camera, up to the pixels, which takes no package.
READ: Final = f"""\
import hashlib
from edge.runtime.cameras import v4l2_kernel as kernel
from edge.runtime.cameras.v4l2_node import VideoNode

node = VideoNode({camera.ADDRESS!r}, kernel.KernelCalls())
node.open()
what = node.capability()
print(what.card, what.is_camera, "YUYV" in node.formats())
given = kernel.given_format(node.ask(kernel.S_FMT, kernel.format_wish("YUYV", *{camera.SIZE})))
print(given.width, given.height, given.full_range)
maps = []
for index in range(kernel.given_buffers(node.ask(kernel.REQBUFS, kernel.buffers_wish(4)))):
    maps.append(node.map(node.ask(kernel.QUERYBUF, kernel.buffer(index))))
    node.give_back(index)
node.ask(kernel.STREAMON, kernel.stream_type())
for number in range(20):
    assert node.poll(10)
    filled = node.take()
    print(filled.damaged, hashlib.sha256(maps[filled.slot][: filled.used]).hexdigest())
    node.give_back(filled.slot)
"""


@pytest.mark.parametrize("fixture", ["machine", "trixie_machine"])
def test_a_camera_gives_bit_for_bit_what_it_is_shown(
    request: pytest.FixtureRequest, fixture: str, tmp_path: Path
) -> None:
    machine: Machine = request.getfixturevalue(fixture)
    camera.plug_in(machine, picture(RED))
    copy_runtime(tmp_path / "runtime")
    machine.send(tmp_path / "runtime", "runtime")
    for colour in (RED, (40, 60, 200)):
        camera.show(machine, picture(colour))
        time.sleep(2)  # it is looked for five times a second
        done = machine.ssh("PYTHONPATH=runtime python3 -", stdin=READ.encode())
        assert done.returncode == 0, done.stderr.decode()
        what, given, *frames = done.stdout.decode().splitlines()
        assert what == "vivid True True" and given == "640 480 False"
        wanted = hashlib.sha256(camera.yuyv(picture(colour))).hexdigest()
        assert set(frames) == {f"False {wanted}"} and len(frames) == 20


@dataclass(frozen=True, slots=True)
class Watched(Emulated):
    """A machine with a camera.

    Attributes:
        port: Of the page, there and here.
    """

    port: int = 0

    def live(self, bundle: Path) -> str:
        """Deploy with a page; the release."""
        live = ("--live", "--camera", camera.ADDRESS, "--live-port", self.port)
        return self.deployed(bundle, *live)

    def told(self, path: str, body: bytes | None = None) -> Any:
        """What the page's interface answers, through the tunnel."""
        request = urllib.request.Request(f"http://127.0.0.1:{self.port}{path}", data=body)
        with urllib.request.urlopen(request, timeout=60) as reply:
            return json.load(reply)

    def frame(self) -> tuple[bytes, dict[str, Any]]:
        """A frame, and what is told with it."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/frame.jpg", timeout=60) as reply:
            return reply.read(), json.loads(reply.headers["X-Edge-Frame"])

    def taught(self) -> dict[str, int]:
        """The number of pictures that each class was taught."""
        return {item["label"]: item["taught"] for item in self.told("/v1/state")["classes"]}

    def answer(self, colour: Colour) -> str:
        """The class of a picture that is sent there."""
        label: str = self.told("/v1/predict", encoded(colour))["categories"][0]["label"]
        return label

    @contextmanager
    def tunnel(self) -> Iterator["subprocess.Popen[str]"]:
        """``edge live HOST``."""
        where = (self.device.name, "--ssh-config", self.device.ssh_config)
        process = self.edge.start("live", *where, "--no-open")
        try:
            assert process.stderr is not None
            said = process.stderr.readline()
            assert f"live at http://127.0.0.1:{self.port}/" in said, said + process.stderr.read()
            yield process
        finally:
            end(process)


@pytest.fixture
def watched(
    browser: Any,  # noqa: F811  # first: without one nothing has to be built
    machine: Machine,
    tmp_path: Path,
) -> Watched:
    for name in ("host", "work", "temporary"):
        (tmp_path / name).mkdir()
    work, temporary = tmp_path / "work", tmp_path / "temporary"
    edge = Edge(environments_root() / "wheels", work, temporary, timeout=COMMAND)
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = int(server.getsockname()[1])
    camera.plug_in(machine, picture(RED))
    return Watched(edge, tmp_path / "host", machine, LIMITS, port=port)


def until(condition: Callable[[], bool], page: Any, told: Callable[[], object]) -> None:
    last = time.monotonic() + SECONDS
    while not condition():
        assert time.monotonic() < last, told()
        page.wait_for_timeout(300)


def sees(site: Watched, page: Any, colour: Colour, label: str) -> None:
    """The interface gives that picture with that answer, and the page shows both."""
    condition = page.locator("#condition").inner_text
    answer = page.locator("#answer-body li span").first.inner_text
    last: list[object] = []

    def right() -> bool:
        frame, told = site.frame()
        shown = error(page.locator("#frame").screenshot(), colour)
        last[:] = error(frame, colour), shown, told, condition()
        return (
            error(frame, colour) < FRAME_ERROR
            and told["answer"]["categories"][0]["label"] == label
            and shown < SCREENSHOT_ERROR
            and condition() == "Live"
            and answer() == label
        )

    until(right, page, lambda: last)


def drop_files(page: Any) -> None:
    """Drop pictures onto the page, as files."""
    page.get_by_label("Class", exact=True).fill(TAUGHT)
    contents = [base64.b64encode(encoded(colour, "JPEG")).decode() for colour in LESSONS]
    data = page.evaluate_handle(
        """contents => {
            const data = new DataTransfer();
            contents.forEach((content, number) => {
                const bytes = Uint8Array.from(atob(content), letter => letter.charCodeAt(0));
                data.items.add(new File([bytes], `${number}.jpg`, { type: 'image/jpeg' }));
            });
            return data;
        }""",
        contents,
    )
    page.dispatch_event("#drop", "drop", {"dataTransfer": data})
    text = page.locator("#upload-text")
    done = f"{TAUGHT}: {len(LESSONS)} learnt."
    until(lambda: text.inner_text() == done, page, page.locator("#teach").inner_text)


def right_answers(site: Watched) -> None:
    """Pictures that nobody taught."""
    assert {colour: site.answer(colour) for colour in HELD_OUT} == HELD_OUT


def second(bundle: Path) -> None:
    bundles.learns(bundle)
    bundles.changed("2")(bundle)


def doctor_and_status(site: Watched, release: str) -> None:
    doctor = site.ask("doctor")
    assert doctor.returncode == 0, doctor.stdout
    assert f"edge live reads {camera.ADDRESS}" in doctor.stdout
    status = site.ask("status")
    assert f"{release} is healthy" in status.stdout
    assert f"page of camera {camera.ADDRESS} at port {site.port}" in status.stdout


def taught_in_the_browser(site: Watched, page: Any) -> None:
    sees(site, page, RED, "red")
    drop_files(page)
    # Five of five, each judged without itself; the interval is Wilson's.
    wanted = r"5 of 5 answered rightly: 100\.0\s% \(56\.6 to 100\.0\)"
    shown = page.locator("#overall").inner_text
    until(lambda: re.fullmatch(wanted, shown()) is not None, page, shown)
    right_answers(site)
    camera.show(site.device, picture(GREY))
    sees(site, page, GREY, TAUGHT)


def switched_off(site: Watched, page: Any, process: "subprocess.Popen[str]") -> None:
    """The command and the page say so."""
    site.device.shut_down()
    assert process.wait(120) == 4
    condition = page.locator("#condition").inner_text
    until(lambda: "does not answer" in condition(), page, condition)


def still_there(site: Watched, page: Any) -> None:
    """The page that was open all the time shows it: nobody loaded it anew."""
    sees(site, page, GREY, TAUGHT)
    assert site.taught()[TAUGHT] == len(LESSONS)
    right_answers(site)


def another_release_and_back(site: Watched, first: str) -> None:
    newer = site.live(site.bundle(second, "second"))
    assert site.told("/v1/health")["release"] == newer != first
    assert TAUGHT not in site.taught()
    assert site.ask("rollback", "--watch", "3").returncode == 0
    assert site.state()["release"] == first


def test_a_camera_is_shown_and_taught_and_stays_so(
    watched: Watched,
    browser: Any,  # noqa: F811
) -> None:
    site = watched
    first = site.live(site.bundle(bundles.learns, "learner"))
    doctor_and_status(site, first)
    # Tall, so that nothing limits the size of the picture.
    page = browser.new_page(viewport={"width": 1280, "height": 1600})
    complaints: list[str] = []
    page.on("pageerror", lambda failure: complaints.append(str(failure)))
    with site.tunnel() as process:
        page.goto(f"http://127.0.0.1:{site.port}/", wait_until="domcontentloaded")
        taught_in_the_browser(site, page)
        switched_off(site, page, process)
    site.device.boot(set_clock=False)
    assert site.healthy()["release"] == first
    with site.tunnel():
        still_there(site, page)
        another_release_and_back(site, first)
        still_there(site, page)
    page.close()
    assert complaints == []
