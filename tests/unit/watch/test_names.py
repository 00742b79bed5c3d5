"""Names that are too long, too strange or taken: no picture keeps another from its answer."""

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from edge.runtime.files import abandoned, beside, fitting
from tests.unit.watch.service import Service, answer_of, picture, until

LONG = ["x" * 227 + ".png", "x" * 246 + ".png", "x" * 251 + ".png", "漢" * 76 + ".png"]


@pytest.mark.parametrize(
    "name", [*LONG, "漢" * 83 + ".png", "a\nb.png", "-.png", "a" * 90 + ".png"]
)
def test_any_name_gets_its_answer(start: Callable[..., Service], inbox: Path, name: str) -> None:
    long = picture(inbox, "green", "g.png").rename(inbox / name)
    os.utime(long, (1, 1))
    picture(inbox, "red")
    code, lines, err = start("--once").ended()
    assert (code, len(lines)) == (0, 2)
    assert "Traceback" not in err
    answers = [json.loads(path.read_text()) for path in inbox.glob("*.json")]
    assert sorted(answer["image"] for answer in answers) == sorted(
        [str(long), str(inbox / "red.png")]
    )
    if len(os.fsencode(name)) <= 250:
        assert answer_of(long)["image"] == str(long)
    assert start("--once").ended()[1] == []  # and it is known to be answered


def test_an_answer_that_cannot_be_kept_is_a_line_and_blocks_nobody(
    start: Callable[..., Service], inbox: Path, address: Path
) -> None:
    """Where the answer should go lies a folder; the name is no text on top of it."""
    name = os.fsdecode(b"\xff.png")
    blocked = picture(inbox, "green", "g.png").rename(inbox / name)
    os.utime(blocked, (1, 1))
    (inbox / f"{name}.json").mkdir()
    service = start("--health", str(address))
    assert "its answer cannot be kept: Is a directory" in service.line()["error"]
    picture(inbox, "red")
    assert "error" not in service.line()
    # It is mended when it changes: here the folder in its way goes.
    (inbox / f"{name}.json").rmdir()
    blocked.touch()
    assert "error" not in service.line()
    code, lines, err = service.ended(signal.SIGTERM)
    assert (code, lines) == (0, [])
    assert "Traceback" not in err


def test_a_planted_link_is_replaced_and_not_followed(
    start: Callable[..., Service], inbox: Path, tmp_path: Path
) -> None:
    """It counts as an answer, as any file of that name; an answer goes in its place."""
    victim = tmp_path / "victim"
    victim.write_text("of somebody")
    broken = inbox / "broken.png"
    broken.write_bytes(b"")
    service = start()
    service.line()
    answer = inbox / "broken.png.json"
    answer.unlink()
    answer.symlink_to(victim)
    picture(inbox, "red", "broken.png")
    service.line()
    assert not answer.is_symlink()
    assert victim.read_text() == "of somebody"
    assert service.ended(signal.SIGTERM)[0] == 0


def test_a_full_disk_with_delete_blocks_no_good_picture(
    start: Callable[..., Service], inbox: Path
) -> None:
    """The answer to a broken one finds no room; the others need none, and make some."""
    broken = inbox / "broken.png"
    broken.write_bytes(b"")
    os.utime(broken, (1, 1))
    inbox.chmod(0o777)
    good = picture(inbox, "red")
    service = start("--delete", PYTHONPATH=str(_without_room(inbox.parent)))
    assert Path(service.line()["image"]).name == "red.png"
    until(lambda: not good.exists())
    assert broken.exists()
    service.process.send_signal(signal.SIGTERM)
    assert "No space left" in service.ended()[2]


def _without_room(folder: Path) -> Path:
    """A Python in which nothing can be synced."""
    place = folder / "full"
    place.mkdir()
    (place / "sitecustomize.py").write_text(
        "import errno, os\n"
        "def full(descriptor):\n"
        "    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))\n"
        "os.fsync = full\n"
    )
    return place


def test_temporary_names_are_short_and_found_again(tmp_path: Path) -> None:
    for name in (*LONG, "short.json", os.fsdecode(b"\xff" * 200 + b".json"), "a\nb"):
        left = beside(tmp_path / name)
        assert len(os.fsencode(left.name)) < 120
        stranger = left.with_name(left.name.replace(f".{os.getpid()}-", ".999999999-"))
        stranger.touch()
        assert abandoned(tmp_path, name) == [stranger]
        assert abandoned(tmp_path) == [stranger]
        assert abandoned(tmp_path, name + "x") == []
        stranger.unlink()


def test_what_a_process_left_that_nobody_has_waited_for_is_found(tmp_path: Path) -> None:
    pid = os.fork()
    if pid == 0:
        os._exit(0)
    try:
        os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)  # it has ended, and has its number still
        left = tmp_path / beside(tmp_path / "a").name.replace(f".{os.getpid()}-", f".{pid}-")
        left.touch()
        assert abandoned(tmp_path) == [left]
    finally:
        os.waitpid(pid, 0)


def test_names_that_begin_alike_stay_apart() -> None:
    first, second = ("x" * 240 + tail + ".json" for tail in ("ab.png", "cd.png"))
    assert fitting(first, 251) == first
    assert fitting(first, 100) != fitting(second, 100)
    assert len(fitting(first, 100)) == 100
    assert fitting(first, 100).endswith(".json")


@pytest.mark.parametrize("delete", [False, True])
def test_a_journal_that_is_gone(
    start: Callable[..., Service], inbox: Path, tmp_path: Path, delete: bool
) -> None:
    """Answers that lie in the folder go on; one that is nowhere else is not lost."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(str(tmp_path / "notify"))
        service = start(*(["--delete"] * delete), NOTIFY_SOCKET=systemd.getsockname())
        picture(inbox, "red")
        service.line()
        assert service.process.stdout is not None
        assert service.process.stderr is not None
        service.process.stdout.close()
        service.process.stderr.close()
        paths = [picture(inbox, color, f"{color}2.png") for color in ("green", "blue")]
        if delete:
            service.process.wait(timeout=30)
            assert paths and all(path.exists() for path in paths)
        else:
            until(lambda: all((inbox / f"{path.name}.json").exists() for path in paths))
            service.process.send_signal(signal.SIGTERM)
            assert service.process.wait(timeout=30) == 0


def test_standard_output_that_is_closed(bundle: Path, inbox: Path) -> None:
    path = picture(inbox, "red")
    command = [sys.executable, "-m", "edge.runtime", "watch", inbox, "--bundle", bundle, "--once"]
    done = subprocess.run(
        ["sh", "-c", 'exec "$@" >&- 2>&-', "sh", *command],
        cwd=Path(__file__).parents[3],
        timeout=60,
    )
    assert done.returncode == 0
    assert "error" not in answer_of(path)
