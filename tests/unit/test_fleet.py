"""Rollouts: who is tried when, and when it ends."""

import re
import threading
from dataclasses import replace
from pathlib import Path

import pytest

from edge.deploy.fleet import Member, Result, Settings, read_inventory, roll_out, settled
from edge.deploy.keys import PublicKey
from edge.deploy.plan import DeployOptions
from edge.deploy.ssh import Address
from edge.device.release import LiveSettings
from edge.errors import ConnectionFailed, UsageError
from edge.progress import Silent
from edge.runtime.live.settings import PASSWORD, Broker


def members(count: int) -> list[Member]:
    return [
        Member(name=f"pi-{n}", address=Address(host=f"pi-{n}"), groups=(), settings=Settings())
        for n in range(count)
    ]


class Deploy:
    """Deploys that fail where they are told to, and remember who was tried."""

    def __init__(self, failing: set[str] = frozenset()) -> None:  # type: ignore[assignment]
        self.failing = failing
        self.tried: list[str] = []
        self.at_once = 0
        self.most_at_once = 0
        self._lock = threading.Lock()
        self._turn = threading.Event()

    def __call__(self, member: Member) -> tuple[str, bool]:
        with self._lock:
            self.tried.append(member.name)
            self.at_once += 1
            self.most_at_once = max(self.most_at_once, self.at_once)
        self._turn.wait(0.01)
        with self._lock:
            self.at_once -= 1
        if member.name in self.failing:
            raise ConnectionFailed("it is off", hint="Switch it on.")
        return "1-a", member.name != "pi-1"


def results(
    deploy: Deploy, count: int, *, canary: int = 1, wave: int | None = None, max_failures: int = 0
) -> list[Result]:
    return roll_out(
        members(count),
        deploy,
        Silent(),
        parallel=3,
        canary=canary,
        wave=wave,
        max_failures=max_failures,
    )


def test_all_get_it() -> None:
    deploy = Deploy()
    found = results(deploy, 20)
    assert [item.name for item in found] == [f"pi-{n}" for n in range(20)]
    assert [item.result for item in found] == ["deployed", "unchanged", *["deployed"] * 18]
    assert 1 < deploy.most_at_once <= 3
    assert deploy.tried[0] == "pi-0"


def test_a_canary_that_fails_keeps_the_others_safe() -> None:
    deploy = Deploy({"pi-0"})
    found = results(deploy, 20)
    assert deploy.tried == ["pi-0"]
    assert [item.result for item in found] == ["failed", *["not tried"] * 19]
    assert found[0].error == "it is off (Switch it on.)"


def test_failures_up_to_the_limit_do_not_end_it() -> None:
    found = results(Deploy({"pi-3", "pi-7"}), 20, max_failures=2)
    assert [item.result for item in found].count("failed") == 2
    assert "not tried" not in [item.result for item in found]


def test_one_failure_too_many_ends_it_within_a_wave() -> None:
    deploy = Deploy({f"pi-{n}" for n in range(2, 20)})
    found = results(deploy, 20, max_failures=1)
    failed = [item.result for item in found].count("failed")
    assert 2 <= failed <= 4  # those that had begun
    assert len(deploy.tried) == failed + 2


def test_a_wave_ends_before_the_next_begins() -> None:
    deploy = Deploy({"pi-2"})
    results(deploy, 9, canary=2, wave=3)
    assert set(deploy.tried) == {f"pi-{n}" for n in range(5)} - (
        {"pi-3", "pi-4"} - set(deploy.tried)
    )
    assert not {"pi-5", "pi-6", "pi-7", "pi-8"} & set(deploy.tried)


def write(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


def test_an_inventory(tmp_path: Path) -> None:
    found = read_inventory(
        write(
            tmp_path / "fleet.toml",
            """
            [defaults]
            user = "pi"
            device = "raspberry-pi-5"
            [groups.kitchen]
            hosts = ["a", "b"]
            threads = 2
            [groups.door]
            hosts = ["b", "c"]
            [hosts.b]
            address = "10.0.0.2"
            port = 2222
            threads = 4
            [hosts.d]
            address = "root@d.local"
            """,
        )
    )
    assert [member.name for member in found] == ["a", "b", "c", "d"]
    assert [member.address.host for member in found] == [
        "pi@a",
        "pi@10.0.0.2",
        "pi@c",
        "root@d.local",
    ]
    assert found[1].address.port == 2222
    assert found[1].groups == ("kitchen", "door")
    assert [member.settings.threads for member in found] == [2, 4, None, None]
    only = read_inventory(tmp_path / "fleet.toml", group="door")
    assert [member.name for member in only] == ["b", "c"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "names no device"),
        ("[groups.a]\n", "groups.a.hosts is missing"),
        ("[groups.a]\nhosts = 1\n", "groups.a.hosts is 1, expected a list"),
        ('[groups.a]\nhosts = ["x", "x"]\n', "groups.a: hosts lists x twice"),
        ('[groups.a]\nhosts = ["x"]\n[groups.a]\nhosts = []\n', "cannot be read"),
        ('[groups.a]\nhosts = ["x"]\ntreads = 2\n', "groups.a.treads is unknown"),
        ('[groups.a]\nhosts = ["x"]\nthreads = "2"\n', 'threads is "2", expected a whole number'),
        ('[groups.a]\nhosts = ["x"]\nthreads = true\n', "threads is true, expected a whole number"),
        ('[groups.a]\nhosts = ["-oProxyCommand=x"]\n', "no address"),
        (
            '[groups.a]\nhosts = ["x"]\nport = 1\n[groups.b]\nhosts = ["x"]\nport = 2\n',
            "two values",
        ),
        ('[host.a]\naddress = "x"\n', "host is unknown"),
        ("[hosts]\na = 1\n", "hosts.a is 1, expected an object"),
        ("[hosts.a]\naddress = 1\n", "hosts.a.address is 1, expected a string"),
        ("not toml", "cannot be read"),
        ("[defaults]\nwatch = -1\n", "watch is -1, expected a number that is not negative"),
        ('[defaults]\nmax_memory = "5"\n', 'is "5", expected a number that is not negative'),
        ("[defaults]\nkeep = 1.5\n", "keep is 1.5, expected a whole number"),
        ("[defaults]\ncamera = 0\n", "camera is 0, expected a string"),
        ("[defaults]\nsmoothing = 1.5\n", "smoothing is 1.5, expected a whole number"),
    ],
)
def test_a_wrong_inventory(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        read_inventory(write(tmp_path / "fleet.toml", text))


def test_no_such_group(tmp_path: Path) -> None:
    path = write(tmp_path / "fleet.toml", '[groups.a]\nhosts = ["x"]\n')
    with pytest.raises(UsageError, match="no group 'b'; it has: a"):
        read_inventory(path, group="b")
    with pytest.raises(UsageError, match="cannot be read"):
        read_inventory(tmp_path / "none.toml")


def test_the_hint_is_an_inventory(tmp_path: Path) -> None:
    """What is copied out of the hint names two devices, one of them by its address."""
    path = tmp_path / "fleet.toml"
    path.write_text("groups = 1\n")
    with pytest.raises(UsageError) as caught:
        read_inventory(path)
    path.write_text(caught.value.hint.partition("\n")[2])
    window, door = read_inventory(path, group="shop")
    assert (window.address.host, door.address.host) == ("pi@window", "pi@192.0.2.7")


SECRET = "no5y-secret"


def common(live: LiveSettings | None = None) -> DeployOptions:
    """What the command line says of all devices."""
    return DeployOptions(
        key=PublicKey(line=""),
        watch_seconds=1,
        selftest_seconds=1,
        start_seconds=1,
        watchdog_seconds=1,
        keep=1,
        live=live,
    )


def pages(tmp_path: Path, text: str, live: LiveSettings | None) -> dict[str, LiveSettings | None]:
    found = read_inventory(write(tmp_path / "fleet.toml", text))
    return {name: own.live for name, own in settled(found, common(live)).items()}


def test_every_device_has_its_own_camera(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(PASSWORD, SECRET)
    text = """
        [defaults]
        mqtt = "mqtt://edge@home"
        [groups.shop]
        hosts = ["door", "till", "a.b"]
        rate = 5
        [hosts.door]
        camera = "rtsp://cam/live"
        size = "1280x720"
        live_port = 8090
        smoothing = 5
        [hosts.till]
        mqtt = "mqtts://other:own@home/till"
        """
    found = pages(tmp_path, text, LiveSettings(camera="csi", smoothing=3))
    home = Broker(host="home", port=1883, tls=False, user="edge", password=SECRET)
    own = Broker(host="home", port=8883, tls=True, user="other", password="own", topic="till")
    assert found == {
        "door": LiveSettings(
            camera="rtsp://cam/live",
            width=1280,
            height=720,
            rate=5.0,
            port=8090,
            smoothing=5,
            mqtt=replace(home, topic="edge/door"),
        ),
        "till": LiveSettings(camera="csi", rate=5.0, smoothing=3, mqtt=own),
        "a.b": LiveSettings(
            camera="csi", rate=5.0, smoothing=3, mqtt=replace(home, topic="edge/a_b")
        ),
    }
    assert type(found["door"].rate) is float  # as the command line has it: one id for both


def test_the_broker_of_the_command_gets_a_topic_of_each_device(tmp_path: Path) -> None:
    home = Broker(host="home", port=1883, tls=False)
    found = pages(tmp_path, '[groups.a]\nhosts = ["x", "y"]\n', LiveSettings(mqtt=home))
    assert [page and page.mqtt and page.mqtt.topic for page in found.values()] == [
        "edge/x",
        "edge/y",
    ]
    assert pages(tmp_path, '[groups.a]\nhosts = ["x"]\n', None) == {"x": None}


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ('camera = ""', "x: the address of the camera is empty"),
        ('size = "big"', "x: a side of the camera"),
        ("rate = 241", "x: the rate of the camera"),
        ("live_port = 0", "x: 0 is no port"),
        ("live_port = 65536", "x: 65536 is no port"),
        ("smoothing = 101", "x: the frames of an average"),
        (f'mqtt = "http://u:{SECRET}@h"', "x: the address of the MQTT broker"),
        (f'mqtt = "mqtt://u:{SECRET}@h/a"\n[hosts.y]\nmqtt = "mqtt://h/a"', "x and y would both"),
        (f'mqtt = ["mqtt://u:{SECRET}@h"]', "hosts.x.mqtt is "),
        (f'[groups.a]\nhosts = ["y"]\ncamera = "rtsp://u:{SECRET}@h/1"\n'
         f'[groups.b]\nhosts = ["y"]\ncamera = "rtsp://u:{SECRET}@h/2"', "two values of camera"),
    ],
)  # fmt: skip
def test_a_page_that_cannot_be_is_refused_and_no_password_repeated(
    tmp_path: Path, line: str, said: str
) -> None:
    with pytest.raises(UsageError) as caught:
        pages(tmp_path, f"[hosts.x]\n{line}\n", LiveSettings())
    assert said in caught.value.message and caught.value.hint
    assert SECRET not in caught.value.message + caught.value.hint


@pytest.mark.parametrize(
    "setting",
    [
        *('camera = "0"', "live_port = 80", 'size = "640x480"', "rate = 1", "smoothing = 2"),
        'mqtt = "mqtt://h"',
    ],
)
def test_a_setting_of_a_page_needs_one(tmp_path: Path, setting: str) -> None:
    name = setting.partition(" ")[0]
    with pytest.raises(UsageError, match=f"x: {name} has no effect without --live"):
        pages(tmp_path, f"[hosts.x]\n{setting}\n", None)


def test_the_inventory_of_the_document(tmp_path: Path) -> None:
    document = Path(__file__).parents[2] / "docs" / "deploy.md"
    (text,) = re.findall(r"```toml\n(.*?)```", document.read_text(encoding="utf-8"), re.DOTALL)
    found = pages(tmp_path, text, LiveSettings())
    assert found["pi-01"] == LiveSettings()
    assert found["pi-02"] == LiveSettings(camera="rtsp://10.0.0.40/door", rate=5.0)
