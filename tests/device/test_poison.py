"""Bad pictures, kill -9 and a power cut on an emulated Pi: each good picture is answered once."""

import json
import os
import tarfile
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import Any, Final

from PIL import Image

from tests.device.conftest import Emulated
from tests.integration import device_bundles as bundles
from tests.performance.support import bombs

INBOX: Final = ".local/share/edge/apps/channels/inbox"
UNIT: Final = "edge-channels.service"
PATIENCE: Final = 600.0  # seconds, until all pictures that arrived have an answer
LONG: Final = ("x" * 227 + ".png", "漢" * 76 + ".png")
BATCH: Final = 20  # pictures that are being answered when the power is cut
BEFORE: Final = 4  # of them have an answer then
# Those of shared data, or of the same kinds.
BOMBS: Final[dict[str, tuple[str, Callable[[], bytes]]]] = {
    "bomb.png": ("png_bomb_rgba.png", lambda: bombs.png(11_300, 6)),
    "scans.jpg": ("poison_scans.jpg", lambda: bombs.jpeg_scans(11_300, 15_000)),
}
PACK: Final = f"tar --directory {INBOX} --format=posix --exclude='*.png' --exclude='*.jpg' -c ."
# The service dies while it answers: its record names a picture that it has opened.
KILL: Final = f"""
pid=$(systemctl --user show -p MainPID --value {UNIT})
record=$(echo /run/user/$(id -u)/edge-watch-*)
mv new/* {INBOX}
until read -r ended < $record; [[ $ended == *:1}}* ]]; do :; done
kill -9 $pid
"""
CUT: Final = f"""
mv new/* {INBOX} && sync
while set -- {INBOX}/batch-*.json; (( $# < {BEFORE} )); do :; done
{PACK}
"""

Answers = dict[str, tuple[float, dict[str, Any]]]  # when it was written, and what it says
Expected = dict[str, int | None]  # the class of each picture; None for an error


def test_every_good_picture_is_answered_once(site: Emulated, tmp_path: Path) -> None:
    """The service loses its process three times, and the machine its power."""
    site.deployed(site.bundle(bundles.decoder_dies, "decoder-dies"))
    expected = _bad_pictures(site, tmp_path / "bad")
    expected |= _kill(site, tmp_path / "kill")
    assert set(_printed(site).values()) == {1}
    _power_cut(site, tmp_path / "cut", expected)


def _bad_pictures(site: Emulated, folder: Path) -> Expected:
    """One crash; then each bad picture has an error, and the good ones their answers."""
    pipe_and_link = f"mkfifo {INBOX}/x.jpg && ln -s ../current/bundle/golden/0.png {INBOX}/link.png"
    assert site.device.ssh(pipe_and_link).returncode == 0
    expected = _good(folder, [*LONG, "a.png", "b.png", "c.png"]) | _fatal(folder / "fatal.png")
    for name, (shared, make) in BOMBS.items():
        path = Path(os.environ.get("EDGE_TEST_DATA", ""), "faults", "hostile", shared)
        (folder / name).write_bytes(path.read_bytes() if path.is_file() else make())
        os.utime(folder / name, (2, 2))
        expected[name] = None
    site.device.send(folder, "new")
    with _timed(f"{len(expected)} pictures, of which one ends the process and two are bombs"):
        assert site.device.ssh(f"mv new/* {INBOX}").returncode == 0
        _answered(site, expected)
    assert site.healthy()["restarts"] == 1
    return expected


def _kill(site: Emulated, folder: Path) -> Expected:
    """The picture at which the service was killed is not given up."""
    expected = _good(folder, [f"kill-{number}.png" for number in range(3)])
    site.device.send(folder, "new")
    with _timed("3 pictures, and kill -9 at the first one"):
        done = site.device.ssh(KILL)
        assert done.returncode == 0, done.stderr
        _answered(site, expected)
    assert site.healthy()["restarts"] == 2
    return expected


def _power_cut(site: Emulated, folder: Path, expected: Expected) -> None:
    """What had its answer is left in peace after the boot, all others get theirs."""
    batch = _good(folder, [f"batch-{number:02}.png" for number in range(BATCH)])
    batch |= _fatal(folder / "fatal-again.png", seconds=1000)  # the last one to be tried
    site.device.send(folder, "new")
    before = _unpacked(site.device.ssh(CUT).stdout)
    site.device.power_cut()
    with _timed(f"the rest of {len(batch)} pictures after a power cut, with the boot"):
        site.device.boot()
        after = _answered(site, expected | batch)
    assert after.keys() == {f"{name}.json" for name in expected | batch}
    state = site.healthy()
    assert (state["service"], state["restarts"]) == ("active", 1)
    again = _printed(site)
    print(f"answered before the cut: {len(before)}, after it: {len(again)}")
    assert set(again.values()) == {1}
    assert len(again) > 2, "all of them had been answered before the cut"
    newest = max(before, key=lambda name: before[name][0])  # perhaps it was not on the disk yet
    for name in before.keys() - {newest}:
        assert after[name] == before[name]
        assert name.removesuffix(".json") not in again


def _good(folder: Path, names: Iterable[str]) -> Expected:
    """A new folder of pictures; the classes of their colours."""
    folder.mkdir()
    found: Expected = {}
    for number, name in enumerate(names):
        found[name] = number % len(bundles.COLOURS)
        Image.new("RGB", (48, 48), bundles.COLOURS[number % len(bundles.COLOURS)]).save(
            folder / name
        )
        os.utime(folder / name, (10 + number,) * 2)
    return found


def _fatal(path: Path, seconds: float = 1) -> Expected:
    """A picture that ends each process that decodes it; the oldest is tried first."""
    Image.new("RGB", bundles.FATAL).save(path)
    os.utime(path, (seconds, seconds))
    return {path.name: None}


def _answered(site: Emulated, expected: Expected) -> Answers:
    """All answers there, when those that are expected have come; they are right."""
    end = time.monotonic() + PATIENCE
    wanted = {f"{name}.json" for name in expected}
    while not wanted <= (found := _unpacked(site.device.ssh(PACK).stdout)).keys():
        assert time.monotonic() < end, (wanted - found.keys(), site.ask("logs").stdout)
        time.sleep(1)
    for name, index in expected.items():
        answer = found[f"{name}.json"][1]
        if index is None:
            assert answer["error"]
        else:
            assert answer["categories"][0]["index"] == index
    return found


def _unpacked(packed: bytes) -> Answers:
    with tarfile.open(fileobj=BytesIO(packed)) as tar:
        files = {Path(item.name).name: item for item in tar if item.isfile()}
        return {
            name: (item.mtime, json.load(tar.extractfile(item) or BytesIO()))
            for name, item in files.items()
            if not name.startswith(".")
        }


def _printed(site: Emulated) -> Counter[str]:
    """How often each picture was answered since the machine was booted, as the journal has it."""
    said = site.device.ssh(f"sudo journalctl _SYSTEMD_USER_UNIT={UNIT} -b -o cat --no-pager").stdout
    lines = [json.loads(line) for line in said.splitlines() if line.startswith(b"{")]
    return Counter(Path(line["image"]).name for line in lines)


@contextmanager
def _timed(what: str) -> Iterator[None]:
    """Print how long it took; ``-s`` shows it."""
    began = time.monotonic()
    yield
    print(f"\n{what}: {time.monotonic() - began:.0f} s")
