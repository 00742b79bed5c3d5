"""Pictures in, answers out."""

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

import numpy as np
import pytest
from PIL import Image

from edge.runtime.files import sha256_file
from tests.unit.watch.service import COLORS, PATIENCE, Service, answer_of, picture


def test_once(start: Callable[..., Service], inbox: Path) -> None:
    paths = [picture(inbox, color) for color in COLORS]
    (inbox / "notes.txt").write_text("no picture")
    (inbox / ".hidden.png").write_bytes(paths[0].read_bytes())
    (inbox / "link.png").symlink_to(paths[0])
    (inbox / "folder.png").mkdir()
    code, answers, _ = start("--once", "--release", "r7").ended()
    assert code == 0
    assert [Path(answer["image"]).name for answer in answers] == [path.name for path in paths]
    for index, (path, answer) in enumerate(zip(paths, answers, strict=True)):
        assert answer["categories"][0]["index"] == index
        assert (answer["release"], answer["variant"]) == ("r7", "tflite-fp32")
        assert answer_of(path) == answer
    written = {path.name for path in inbox.iterdir() if path.suffix == ".json"}
    assert written == {f"{path.name}.json" for path in paths}


def test_a_restart_does_not_answer_twice(start: Callable[..., Service], inbox: Path) -> None:
    picture(inbox, "red")
    assert len(start("--once").ended()[1]) == 1
    picture(inbox, "blue")
    code, answers, _ = start("--once").ended()
    assert [Path(answer["image"]).name for answer in answers] == ["blue.png"]
    assert code == 0


def test_new_pictures_are_answered_as_they_come(start: Callable[..., Service], inbox: Path) -> None:
    service = start()
    for color in COLORS:
        path = picture(inbox, color)
        assert service.line()["image"] == str(path)
    assert service.ended(signal.SIGTERM)[0] == 0


def test_a_picture_that_is_still_written_waits(start: Callable[..., Service], inbox: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (300, 300, 3), np.uint8)
    whole = inbox.parent / "whole.png"
    Image.fromarray(noise).save(whole)
    content = whole.read_bytes()
    growing = inbox / "growing.png"
    service = start("--interval", "0.4")
    with growing.open("wb") as stream:
        for at in range(0, len(content), len(content) // 12):
            stream.write(content[at : at + len(content) // 12])
            stream.flush()
            time.sleep(0.1)
            assert not (inbox / "growing.png.json").exists()
    assert "error" not in service.line()
    assert service.ended(signal.SIGTERM)[0] == 0


def test_a_broken_picture_is_a_line_and_not_the_end(
    start: Callable[..., Service], inbox: Path
) -> None:
    broken = inbox / "broken.jpg"
    broken.write_bytes(b"\xff\xd8\xff and nothing more")
    service = start("--delete")
    found = service.line()
    assert "broken.jpg" in found["error"]
    assert broken.exists()  # nobody has seen what it shows
    assert answer_of(broken)["error"] == found["error"]
    assert "error" not in (picture(inbox, "green"), service.line())[1]
    picture(inbox, "blue", "broken.jpg")  # repaired: whatever the suffix says, it is a PNG
    assert service.line()["categories"][0]["index"] == 2
    assert service.ended(signal.SIGTERM)[0] == 0


def test_once_tells_that_some_failed(start: Callable[..., Service], inbox: Path) -> None:
    (inbox / "broken.png").write_bytes(b"")
    picture(inbox, "red")
    code, answers, _ = start("--once").ended()
    assert code == 2
    assert sum("error" in answer for answer in answers) == 1


def test_delete(start: Callable[..., Service], inbox: Path) -> None:
    path = picture(inbox, "red")
    code, answers, _ = start("--once", "--delete").ended()
    assert (code, len(answers)) == (0, 1)
    assert not path.exists()
    assert not list(inbox.iterdir())


def test_a_name_of_any_bytes(start: Callable[..., Service], inbox: Path) -> None:
    name = os.fsdecode(b"\xff\xfe 1.png")
    picture(inbox, "blue", name)
    code, answers, _ = start("--once").ended()
    assert code == 0
    assert answers[0]["categories"][0]["index"] == 2
    assert (inbox / f"{name}.json").is_file()


def test_what_a_killed_service_left_goes(start: Callable[..., Service], inbox: Path) -> None:
    left = inbox / ".red.png.json.999999999-0123abcd.tmp"
    left.write_text("half")
    other = inbox / ".upload.png.999999999-0123abcd.tmp"
    other.write_text("somebody else's")
    assert start("--once").ended()[0] == 0
    assert not left.exists()
    assert other.exists()


def test_two_services_do_not_share_a_folder(start: Callable[..., Service], inbox: Path) -> None:
    first = start()
    picture(inbox, "red")
    first.line()
    code, answers, err = start("--once").ended()
    assert (code, answers) == (2, [])
    assert "another process answers" in err
    assert first.ended(signal.SIGTERM)[0] == 0


@pytest.mark.parametrize("name", ["missing", "file"])
def test_no_folder(bundle: Path, tmp_path: Path, name: str) -> None:
    (tmp_path / "file").write_text("")
    code, _, err = Service(bundle, tmp_path / name).ended()
    assert code == 2
    assert "cannot be watched" in err
    assert "Traceback" not in err


def test_a_reader_that_goes_away(start: Callable[..., Service], inbox: Path) -> None:
    service = start()
    picture(inbox, "red")
    service.line()
    assert service.process.stdout is not None
    service.process.stdout.close()
    picture(inbox, "green")
    service.process.wait(timeout=PATIENCE)
    assert service.process.stderr is not None
    assert "Traceback" not in service.process.stderr.read()
    assert service.process.returncode == 0


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 0), (signal.SIGINT, 130)])
def test_signals_end_it(start: Callable[..., Service], inbox: Path, number: int, code: int) -> None:
    service = start()
    picture(inbox, "red")
    service.line()
    began = time.monotonic()
    found, _, err = service.ended(number)
    assert found == code
    assert "Traceback" not in err
    assert time.monotonic() - began < 10


def test_waiting_costs_next_to_nothing(start: Callable[..., Service], inbox: Path) -> None:
    service = start("--interval", "0.25")
    picture(inbox, "red")
    service.line()

    def ticks() -> int:
        fields = Path(f"/proc/{service.process.pid}/stat").read_text().rpartition(")")[2].split()
        return int(fields[11]) + int(fields[12])

    before = ticks()
    time.sleep(1.0)
    assert (ticks() - before) / os.sysconf("SC_CLK_TCK") < 0.1


ENDING: Final = """\
import os, signal
__version__ = "1"
class Interpreter:
    def __init__(self, **_):
        {how}
"""


@pytest.mark.parametrize(
    ("how", "said"),
    [("os.kill(os.getpid(), signal.SIGSEGV)", "SIGSEGV"), ("os.abort()", "SIGABRT")],
)
def test_a_model_that_ends_the_interpreter_does_not_end_the_service_by_a_signal(
    start: Callable[..., Service], tmp_path: Path, how: str, said: str
) -> None:
    """It is opened in a process of its own first; this one says what became of that."""
    package = tmp_path / "engines" / "tflite_runtime"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("__version__ = '1'\n")
    (package / "interpreter.py").write_text(ENDING.format(how=how))
    path = os.pathsep.join(filter(None, [str(package.parent), os.environ.get("PYTHONPATH", "")]))
    service = start("--engine", "tflite-runtime", "--once", PYTHONPATH=path)
    _, stderr = service.process.communicate(timeout=60)
    assert service.process.returncode == 1, stderr
    assert said in stderr and "Traceback" not in stderr


def test_a_model_that_passed_here_needs_no_second_process(
    start: Callable[..., Service], bundle: Path, tmp_path: Path
) -> None:
    counted = tmp_path / "forks"
    (tmp_path / "sitecustomize.py").write_text(
        "import os\nos.register_at_fork(before=lambda: open(os.environ['FORKS'], 'a').write('x'))\n"
    )
    path = os.pathsep.join(filter(None, [str(tmp_path), os.environ.get("PYTHONPATH", "")]))
    digest = sha256_file(bundle / "manifest.json")
    for proved, forks in ((digest, 0), ("0" * 64, 1)):
        counted.write_text("")
        service = start("--once", PYTHONPATH=path, FORKS=str(counted), EDGE_PROVED=proved)
        service.process.communicate(timeout=60)
        assert service.process.returncode == 0
        assert len(counted.read_text()) == forks
