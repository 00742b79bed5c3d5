"""Runs ``python -m edge.runtime watch`` as a process of its own, and brings it pictures."""

import json
import os
import select
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from PIL import Image

ROOT: Final = Path(__file__).parents[3]
COLORS: Final = {"red": (255, 0, 0), "green": (0, 255, 0), "blue": (0, 0, 255)}
PATIENCE: Final = 30.0  # seconds; everything here takes a fraction of one


class Service:
    """``python -m edge.runtime watch`` on a folder."""

    def __init__(self, bundle: Path, folder: Path, *arguments: str, **environ: str) -> None:
        self.folder = folder
        self.process = subprocess.Popen(
            [
                *(sys.executable, "-m", "edge.runtime", "watch", str(folder)),
                *("--bundle", str(bundle), "--threads", "1", "--interval", "0.05", *arguments),
            ],
            cwd=ROOT,
            env={**os.environ, **environ},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def line(self) -> dict[str, Any]:
        """The next answer."""
        assert self.process.stdout is not None
        assert select.select([self.process.stdout], [], [], PATIENCE)[0], "no answer came"
        found: dict[str, Any] = json.loads(self.process.stdout.readline())
        return found

    def ended(self, number: int | None = None) -> tuple[int, list[dict[str, Any]], str]:
        """Exit code, answers not yet read and messages, after a signal where one is given."""
        if number is not None:
            self.process.send_signal(number)
        out, err = self.process.communicate(timeout=PATIENCE)
        return self.process.returncode, [json.loads(line) for line in out.splitlines()], err


def picture(folder: Path, color: str, name: str = "") -> Path:
    """A picture that arrives whole."""
    path = folder / (name or f"{color}.png")
    hidden = folder / f".{path.name}"
    Image.new("RGB", (20, 20), COLORS[color]).save(hidden, "PNG")
    return hidden.rename(path)


def until(true: Callable[[], object]) -> None:
    end = time.monotonic() + PATIENCE
    while not true():
        assert time.monotonic() < end
        time.sleep(0.01)


def answer_of(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((path.parent / f"{path.name}.json").read_text())
    return found
