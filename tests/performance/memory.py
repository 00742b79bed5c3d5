"""Peak memory of a build, with 500 and with 10,000 images: it must not grow with their number."""

import json
import sys
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image
from support.processes import run

COUNTS = (500, 10_000)
SIZE = 96  # of the network's input; the pictures are decoded at 640 x 480 all the same


def main() -> None:
    """Measure and print."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for count in COUNTS:
            _measure(folder, count)


def _measure(folder: Path, count: int) -> None:
    photos = folder / f"photos-{count}"
    _make(photos, count)
    command = [sys.executable, "-m", "edge", "build", str(photos), "--json", "--quiet"]
    command += ["--size", str(SIZE), "--output", str(folder / f"bundle-{count}")]
    finished = run(command, {"EDGE_CACHE": str(folder / f"cache-{count}")})
    report = json.loads(finished.output)
    print(
        f"{count:>6} images: peak {finished.peak_bytes / 1e9:.2f} GB over all processes, "
        f"{finished.seconds:.0f} s, features {report['stages']['features']:.0f} s"
    )


def _make(photos: Path, count: int) -> None:
    """JPEG files of 640 x 480, every one different, in two classes."""
    generator = np.random.default_rng(0)
    for label in ("dark", "light"):
        (photos / label).mkdir(parents=True)
    for index in range(count):
        label, low = ("dark", 0) if index % 2 else ("light", 96)
        coarse = generator.integers(low, low + 160, (12, 16, 3), np.uint8)
        picture = Image.fromarray(coarse).resize((640, 480), Image.Resampling.BICUBIC)
        picture.save(photos / label / f"{index:05}.jpg", quality=85)


if __name__ == "__main__":
    main()
