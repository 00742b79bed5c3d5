"""Something else takes a picture's name between the look and the answer."""

import os
import signal
import socket
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from edge.runtime.inbox import Inbox
from tests.unit.watch.service import Service, picture, until


def test_pipes_sockets_and_links_are_no_pictures(
    start: Callable[..., Service], inbox: Path, tmp_path: Path
) -> None:
    os.mkfifo(inbox / "pipe.png")
    (inbox / "link.png").symlink_to(picture(tmp_path, "green"))
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(inbox / "socket.png"))
        os.link(picture(tmp_path, "red", "other.png"), inbox / "hard.png")
        code, lines, _ = start("--once").ended()
    assert (code, [Path(line["image"]).name for line in lines]) == (0, ["hard.png"])


@pytest.mark.parametrize("kind", ["fifo", "link", "picture", "folder", "gone", "changed"])
def test_what_is_opened_is_what_was_seen(inbox: Path, tmp_path: Path, kind: str) -> None:
    red = picture(inbox, "red")
    box = Inbox(inbox)
    box.look()
    time.sleep(0.05)
    assert box.look() == [red]
    before = red.stat()
    if kind == "changed":
        red.write_bytes(red.read_bytes() + b"x")
    else:
        red.rename(tmp_path / "away.png")
    if kind == "fifo":
        os.mkfifo(red)
    elif kind == "link":
        red.symlink_to(tmp_path / "away.png")
    elif kind == "folder":
        red.mkdir()
    elif kind == "picture":
        other = picture(inbox, "blue", "red.png")
        os.utime(other, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert box.open(red) is None
    assert box.look() == []  # once more: what changed is not complete
    assert box.look() == ([red] if kind in ("picture", "changed") else [])
    box.close()


def test_the_stream_is_the_file_that_was_seen(inbox: Path) -> None:
    red = picture(inbox, "red")
    box = Inbox(inbox)
    box.look()
    box.look()
    stream = box.open(red)
    assert stream is not None
    with stream:
        picture(inbox, "blue", "red.png")
        assert Image.open(stream).getpixel((0, 0)) == (255, 0, 0)
        assert box.unchanged(red, stream)  # the old file: its answer is right for it
        box.remove(red)
        assert red.exists()  # the new one has not been answered
    box.close()


def test_pictures_that_are_swapped_all_the_time(
    start: Callable[..., Service], inbox: Path, tmp_path: Path
) -> None:
    """Nobody sees another file's answer, and nothing hangs."""
    secret = picture(tmp_path, "blue", "secret.png")
    service = start("--interval", "0.01")
    until(lambda: list(inbox.glob(".edge-watch")) or os.environ.get("XDG_RUNTIME_DIR"))
    end = time.monotonic() + 3
    number = 0
    while time.monotonic() < end:
        number += 1
        path = picture(inbox, "red", f"{number % 7}.png")
        time.sleep(0.02)
        trap = inbox / ".trap"
        if number % 2:
            os.mkfifo(trap)
        else:
            trap.symlink_to(secret)
        trap.rename(path)
        (inbox / f"{path.name}.json").unlink(missing_ok=True)
    picture(inbox, "green", "last.png")
    lines = [service.line()]
    while Path(lines[-1]["image"]).name != "last.png":
        lines.append(service.line())
    answered = [line["categories"][0]["index"] for line in lines if "error" not in line]
    assert answered and 2 not in answered
    code, _, err = service.ended(signal.SIGTERM)
    assert code == 0
    assert "Traceback" not in err


def test_another_folder_takes_the_name(start: Callable[..., Service], inbox: Path) -> None:
    service = start()
    picture(inbox, "red")
    service.line()
    inbox.rename(inbox.with_name("away"))
    inbox.mkdir()
    picture(inbox, "green")
    assert service.line()["categories"][0]["index"] == 1
    code, _, err = start("--once").ended()  # the new one is locked as well
    assert code == 2
    assert "another process answers" in err
    assert service.ended(signal.SIGTERM)[0] == 0


def test_a_name_comes_and_goes_between_two_readings(inbox: Path) -> None:
    """Names are read when the folder changes, and not only then; what waits is always looked at."""
    for number in range(300):
        (inbox / f"{number}.png").touch()
        (inbox / f"{number}.png.json").touch()
    box = Inbox(inbox)
    for _ in range(3):
        assert box.look() == []
        time.sleep(0.05)
    red = picture(inbox, "red")
    assert box.look() == []
    assert box.look() == [red]  # at once: nothing was written to it meanwhile
    red.write_bytes(red.read_bytes() + b"x")  # which changes nothing of the folder
    assert box.look() == []
    assert box.look() == [red]
    red.unlink()
    assert box.look() == []
    assert not box.waiting
    (inbox / "7.png.json").unlink()  # to have it answered anew
    box.look()
    assert box.look() == [inbox / "7.png"]
    box.close()
