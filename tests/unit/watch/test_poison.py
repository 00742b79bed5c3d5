"""Pictures that end the service: known after the crash, and the good ones are answered."""

import json
import os
import shutil
import signal
import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from edge.device.service import RESTART_WINDOW_SECONDS, RESTARTS
from edge.runtime.attempts import NAME, Attempts, key_of
from edge.runtime.image import check_image
from edge.runtime.watch import CAREFUL_SECONDS
from tests.unit.watch.poison import hook, poison, stamp
from tests.unit.watch.service import COLORS, Service, answer_of, picture, until


@pytest.fixture
def poisoned(tmp_path: Path) -> dict[str, str]:
    return {**hook(tmp_path / "hook"), "XDG_RUNTIME_DIR": ""}


def served(
    start: Callable[..., Service], environ: dict[str, str], starts: int
) -> tuple[list[int], list[dict[str, Any]], str]:
    """Start as systemd does, until the service ends well; exit codes, lines and messages."""
    codes, lines, said = [], [], ""
    while not codes or codes[-1] not in (0, 2):
        assert len(codes) < starts, said
        code, found, err = start("--once", **environ).ended()
        codes.append(code)
        lines += found
        said += err
    return codes, lines, said


def identity(folder: Path) -> tuple[int, int]:
    found = folder.stat()
    return found.st_dev, found.st_ino


def old(path: Path) -> Path:
    """The oldest of all, so that it is answered first."""
    os.utime(path, (1, 1))
    return path


@pytest.mark.parametrize(("kind", "number"), [("kill", signal.SIGKILL), ("segv", signal.SIGSEGV)])
@pytest.mark.parametrize("memory", [True, False])
def test_one_crash_and_the_good_pictures_are_answered(
    start: Callable[..., Service],
    inbox: Path,
    poisoned: dict[str, str],
    tmp_path: Path,
    kind: str,
    number: int,
    memory: bool,
) -> None:
    if memory:
        (tmp_path / "run").mkdir(mode=0o700)
        poisoned["XDG_RUNTIME_DIR"] = str(tmp_path / "run")
    bad = old(poison(inbox, kind))
    good = [picture(inbox, color) for color in COLORS]
    codes, lines, said = served(start, poisoned, 2)
    assert codes == [-number, 2]
    assert [Path(line["image"]).name for line in lines] == [*(p.name for p in good), bad.name]
    assert all("error" not in line for line in lines[:-1])
    error = answer_of(bad)["error"]
    assert error == lines[-1]["error"]
    for word in ("2 processes ended", signal.Signals(number).name, "replace the picture", "touch"):
        assert word in error
    assert "for ten minutes" in said
    assert "Traceback" not in said
    # Nothing is left where there is nothing to be known.
    assert not list(inbox.glob(".*"))
    assert not list(tmp_path.glob("run/*"))


def test_any_number_of_poison_pictures_takes_one_restart(
    start: Callable[..., Service], inbox: Path, poisoned: dict[str, str]
) -> None:
    """What systemd allows is RESTARTS in a window, and the service is careful that long."""
    assert CAREFUL_SECONDS >= RESTART_WINDOW_SECONDS
    for number in range(2 * RESTARTS):
        old(poison(inbox, "kill", f"{number}.png"))
    good = picture(inbox, "red")
    codes, lines, _ = served(start, poisoned, 2)
    assert codes == [-signal.SIGKILL, 2]
    assert sum("error" in line for line in lines) == 2 * RESTARTS
    assert "error" not in answer_of(good)


@pytest.mark.parametrize("kills", [1, 2])
def test_a_good_picture_that_was_under_way_at_a_kill(
    start: Callable[..., Service], inbox: Path, poisoned: dict[str, str], kills: int
) -> None:
    """One kill -9 is nobody's fault. After two, the picture waits for somebody to touch it."""
    slow = old(poison(inbox, "slow"))
    key = key_of(slow.name, stamp(slow))
    for number in range(kills):
        service = start("--once", **poisoned)
        until(lambda n=number: f'"{key}":{n + 1}'.encode() in _record(inbox))
        service.process.kill()
        service.process.wait()
    code, lines, _ = start("--once", **poisoned).ended()
    assert len(lines) == 1
    assert (code, "error" in lines[0]) == (2, True) if kills == 2 else (0, False)
    if kills == 2:
        slow.with_name("slow.png.json").unlink()
        slow.touch()
        assert "error" not in start("--once", **poisoned).ended()[1][0]


def _record(inbox: Path) -> bytes:
    try:
        return (inbox / NAME).read_bytes()
    except OSError:
        return b""


def test_a_power_cut_is_no_crash(
    start: Callable[..., Service], inbox: Path, poisoned: dict[str, str]
) -> None:
    """The count of another boot is not believed: the picture is tried as if nothing had been."""
    slow = old(poison(inbox, "slow"))
    attempts = Attempts(inbox, identity(inbox))
    for _ in range(2):
        attempts.begin(key_of(slow.name, stamp(slow)))
    record = json.loads(_record(inbox))
    record["of"] = record["of"].replace(record["of"].split()[0], "0" * 36)
    (inbox / NAME).write_text(json.dumps(record).ljust(4096))
    code, lines, said = start("--once", **poisoned).ended()
    assert (code, "error" in lines[0]) == (0, False)
    assert "for ten minutes" not in said


def test_a_kill_leaves_the_lock_to_the_next_one(
    start: Callable[..., Service], inbox: Path, poisoned: dict[str, str]
) -> None:
    """A child that decodes ends with the service, and holds nothing of it."""
    hang = old(poison(inbox, "hang"))
    Attempts(inbox, identity(inbox)).begin("0" * 32)  # an earlier process ended
    key = key_of(hang.name, stamp(hang))
    service = start(**poisoned)
    until(lambda: f'"{key}":1'.encode() in _record(inbox))
    children = Path(f"/proc/{service.process.pid}/task/{service.process.pid}/children")
    until(lambda: children.read_text().split())
    child = int(children.read_text().split()[0])
    time.sleep(0.2)  # it has shed what it inherited
    service.process.kill()
    service.process.wait()
    picture(inbox, "red")
    service = start(**poisoned)
    assert Path(service.line()["image"]).name == "red.png"  # what is suspected comes last
    until(lambda: not Path(f"/proc/{child}").exists())
    began = time.monotonic()
    assert service.ended(signal.SIGTERM)[0] == 0  # though the child hangs
    assert time.monotonic() - began < 10
    assert not hang.with_name("hang.png.json").exists()
    assert f'"{key}":1'.encode() in _record(inbox)  # a stop is no crash


def test_memory_that_is_not_there_is_an_error_and_no_end(
    start: Callable[..., Service], inbox: Path, poisoned: dict[str, str]
) -> None:
    old(poison(inbox, "thirst"))
    picture(inbox, "red")
    code, lines, err = start("--once", **poisoned).ended()
    assert (code, ["error" in line for line in lines]) == (2, [True, False])
    assert "Traceback" not in err


def test_a_picture_of_two_seconds_does_not_starve_the_watchdog(
    start: Callable[..., Service], inbox: Path, poisoned: dict[str, str], tmp_path: Path
) -> None:
    """With 3 seconds for a sign of life, one is sent before each picture."""
    for number in range(3):
        old(poison(inbox, "slow", f"{number}.png"))
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(str(tmp_path / "notify"))
        systemd.settimeout(20)
        environ = {"NOTIFY_SOCKET": systemd.getsockname(), "WATCHDOG_USEC": "3000000"}
        service = start(**poisoned, **environ)
        while systemd.recv(4096) != b"READY=1":
            pass
        last = time.monotonic()
        while len(list(inbox.glob("*.json"))) < 3:
            if systemd.recv(4096) == b"WATCHDOG=1":
                assert time.monotonic() - last < 2.9
                last = time.monotonic()
    assert service.ended(signal.SIGTERM)[0] == 0


@pytest.mark.parametrize(
    "what", ["link", "fifo", "huge", "folder", "bytes", "deep", "many", "other"]
)
def test_a_planted_record_is_not_believed(
    start: Callable[..., Service], inbox: Path, tmp_path: Path, what: str
) -> None:
    path, elsewhere = inbox / NAME, tmp_path / "elsewhere"
    elsewhere.write_text("of somebody")
    red = picture(inbox, "red")
    if what == "link":
        path.symlink_to(elsewhere)
    elif what == "fifo":
        os.mkfifo(path)
    elif what == "huge":
        with path.open("wb") as stream:
            stream.truncate(1 << 33)
    elif what == "folder":
        path.mkdir()
    elif what == "bytes":
        path.write_bytes(os.urandom(4000))
    elif what == "deep":
        path.write_text("[" * 4000)
    elif what == "many":
        path.write_text(json.dumps({"of": "x", "ended": {str(n): "x" for n in range(300)}}))
    else:  # a true one, of another folder
        other = tmp_path / "other"
        other.mkdir()
        attempts = Attempts(other, identity(other))
        for _ in range(2):
            attempts.begin(key_of(red.name, stamp(red)))
        shutil.copy(other / NAME, path)
    code, lines, err = start("--once", XDG_RUNTIME_DIR="").ended()
    assert (code, len(lines)) == (0, 1)
    assert "error" not in lines[0]
    assert "ten minutes" not in err
    assert elsewhere.read_text() == "of somebody"


def test_a_runtime_folder_of_others_is_not_used(
    start: Callable[..., Service], inbox: Path, tmp_path: Path
) -> None:
    open_to_all = tmp_path / "open"
    open_to_all.mkdir()
    open_to_all.chmod(0o777)
    picture(inbox, "red")
    service = start(XDG_RUNTIME_DIR=str(open_to_all))
    service.line()
    assert (inbox / NAME).exists()
    assert not list(open_to_all.iterdir())
    assert service.ended(signal.SIGTERM)[0] == 0


def test_the_count_of_many_pictures_stays_one_page(inbox: Path) -> None:
    attempts = Attempts(inbox, identity(inbox))
    for number in range(1000):
        attempts.begin(f"{number:032x}")
    assert (inbox / NAME).stat().st_size == 4096
    again = Attempts(inbox, identity(inbox))
    assert again.count(f"{999:032x}") == 1
    assert again.count(f"{1:032x}") == 0


def test_a_service_takes_less_memory_than_a_build_allows(
    start: Callable[..., Service], inbox: Path
) -> None:
    """A WebP photo of 24 megapixels takes 380 MB in Pillow: a build reads it, a board may not."""
    large = inbox / "large.webp"
    Image.new("RGB", (6000, 4000), (255, 0, 0)).save(large, "WEBP", quality=1, method=0)
    check_image(large)
    picture(inbox, "red")
    code, lines, _ = start("--once").ended()
    assert code == 2
    errors = {Path(line["image"]).name: line.get("error", "") for line in lines}
    assert errors["red.png"] == ""
    assert "at most 252 MB" in errors["large.webp"]
