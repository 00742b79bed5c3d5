"""Pictures that end, or stop, the process that decodes them: by their size in pixels."""

from pathlib import Path
from typing import Final

from PIL import Image

from edge.runtime.inbox import PictureStamp

SIZES: Final = {"kill": 11, "segv": 12, "hang": 13, "slow": 14, "thirst": 15}

# Runs in every Python process that finds it: decoders of real pictures have done all of this.
_HOOK: Final = f"""
import ctypes, os, signal, time
from PIL import ImageFile
load = ImageFile.ImageFile.load

def poisoned(self):
    width = self.size[0] if self.size[0] == self.size[1] else 0
    if width == {SIZES["kill"]}:
        os.kill(os.getpid(), signal.SIGKILL)
    if width == {SIZES["segv"]}:
        ctypes.string_at(8)
    if width == {SIZES["hang"]}:
        time.sleep(1000)
    if width == {SIZES["slow"]} and not hasattr(self, "slept"):
        self.slept = time.sleep(2)
    if width == {SIZES["thirst"]}:
        raise MemoryError
    return load(self)

ImageFile.ImageFile.load = poisoned
"""


def hook(folder: Path) -> dict[str, str]:
    """Environment of a service for which such pictures are poison."""
    folder.mkdir()
    (folder / "sitecustomize.py").write_text(_HOOK)
    return {"PYTHONPATH": str(folder), "PYTHONDONTWRITEBYTECODE": "1"}


def poison(folder: Path, kind: str, name: str = "") -> Path:
    """A picture that arrives whole; it is grey."""
    path = folder / (name or f"{kind}.png")
    hidden = folder / f".{path.name}"
    Image.new("RGB", (SIZES[kind], SIZES[kind]), (128, 120, 120)).save(hidden, "PNG")
    return hidden.rename(path)


def stamp(path: Path) -> PictureStamp:
    """What a look of the service sees."""
    found = path.lstat()
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns
