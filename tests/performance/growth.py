"""How a build grows with the number of pictures and of classes: seconds by stage, and memory.

    python tests/performance/growth.py [--largest]
    python tests/performance/growth.py --pictures 400 --classes 2 20

400 and 4,000 pictures of two classes are built, with --largest 40,000 too, and 4,000 (or the most
that there are below) of 20 and of 200 classes. They are made here, JPEG files of 640 x 480, each
different. The network takes 96 x 96 pixels. Each build has an empty cache, and its pictures, cache
and bundle are removed before the next one, so that the disk holds one at a time.

A stage bends where it grows faster than what it is given: more than 1.25 times as many seconds a
picture (or a class) as with fewer. What is a second or less is left out.

1. No stage bends.
2. Peak memory, summed over all processes at one moment, grows to at most 1.1 times that of the
   fewest pictures.
"""

import argparse
import json
import shutil
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

import numpy as np
from PIL import Image
from support.processes import run
from support.script import NotHere, Report, Script

SIZE: Final = 96  # of the network's input
WIDTH, HEIGHT = 640, 480
LARGEST: Final = 40_000
MOST_FOR_CLASSES: Final = 4_000  # pictures, where the classes differ
BENT: Final = 1.25  # times the seconds of one picture, or class
LEAST_SECONDS: Final = 1.0  # of a stage that may bend
MOST_MEMORY: Final = 1.1  # times that of the fewest pictures
PICTURE_BYTES: Final = 150_000  # on the disk, with what the cache and the bundle keep of it
OTHER_BYTES: Final = 1_000_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Built:
    """One build.

    Attributes:
        pictures: How many there were.
        classes: Of how many classes.
        stages: Seconds of each stage, and of the whole command as ``all``.
        peak_bytes: Most memory of all processes together at one moment.
    """

    pictures: int
    classes: int
    stages: dict[str, float]
    peak_bytes: int


def main() -> int:
    """Measure and print; see ``support.script`` for the exit codes."""
    script = Script(__doc__)
    script.amount("--pictures", [400, 4_000], [12, 16], "of two classes", nargs="+")
    script.amount("--classes", [2, 20, 200], [2], "of which the first has all pictures", nargs="+")
    script.parser.add_argument("--largest", action="store_true", help=f"{LARGEST:,} pictures too")
    return script.run(_measure)


def _measure(options: argparse.Namespace, report: Report) -> None:
    counts = sorted({*options.pictures, *([LARGEST] if options.largest else [])})
    few, *more = sorted(options.classes)
    by_pictures = [_built(count, few, report) for count in counts]
    fit = [one for one in by_pictures if one.pictures <= MOST_FOR_CLASSES]
    by_classes = fit[-1:] + [_built(fit[-1].pictures, classes, report) for classes in more if fit]
    report.figures["builds"] = [asdict(one) for one in [*by_pictures, *by_classes[1:]]]
    bent = [
        *(
            f"{said} a picture"
            for said in bends(by_pictures, [one.pictures for one in by_pictures])
        ),
        *(f"{said} a class" for said in bends(by_classes, [one.classes for one in by_classes])),
    ]
    for said in bent:
        report.say(f"bends: {said}")
    if len(by_pictures) > 1 or len(by_classes) > 1:
        report.bar("stages that bend", len(bent), at_most=0)
    if len(by_pictures) > 1:
        grown = max(one.peak_bytes for one in by_pictures) / by_pictures[0].peak_bytes
        report.bar("peak memory / that of the fewest", grown, at_most=MOST_MEMORY, unit="times")


def bends(builds: Sequence[Built], sizes: Sequence[int]) -> Iterator[str]:
    """Say which stages grow faster than what they are given, and between which sizes.

    Args:
        builds: In the order of the sizes.
        sizes: What grows from build to build.
    """
    for before, after, small, large in zip(builds, builds[1:], sizes, sizes[1:], strict=False):
        for stage, seconds in after.stages.items():
            first = before.stages.get(stage, 0.0) / small
            if seconds > LEAST_SECONDS and seconds / large > BENT * first:
                yield (
                    f"{stage} from {small:,} to {large:,}: "
                    f"{1e3 * first:.3g} to {1e3 * seconds / large:.3g} ms"
                )


def _built(pictures: int, classes: int, report: Report) -> Built:
    with tempfile.TemporaryDirectory(prefix="edge-growth-") as name:
        folder = Path(name)
        needed, free = PICTURE_BYTES * pictures + OTHER_BYTES, shutil.disk_usage(folder).free
        if free < needed:
            raise NotHere(
                f"{pictures:,} pictures take up to {needed / 1e9:.0f} GB, and {folder.parent} has "
                f"{free / 1e9:.0f} GB (TMPDIR names another folder)"
            )
        photos = folder / "photos"
        make(photos, pictures, classes)
        command = [sys.executable, "-m", "edge", "build", str(photos), "--json", "--quiet"]
        command += ["--size", str(SIZE), "--output", str(folder / "bundle")]
        if report.smoke:
            command += ["--variants", "tflite-fp32"]
        done = run(command, {"EDGE_CACHE": str(folder / "cache")})
        disk = sum(path.lstat().st_size for path in folder.rglob("*") if path.is_file())
    stages = json.loads(done.output)["stages"]
    found = Built(
        pictures=pictures,
        classes=classes,
        stages={**stages, "all": done.seconds},
        peak_bytes=done.peak_bytes,
    )
    each = ", ".join(f"{stage} {1e3 * took / pictures:.3g}" for stage, took in found.stages.items())
    report.say(
        f"{pictures:,} pictures of {classes} classes: {done.seconds:.0f} s, peak "
        f"{done.peak_bytes / 1e9:.2f} GB over all processes, disk {disk / 1e9:.2f} GB\n"
        f"  milliseconds a picture: {each}"
    )
    return found


def make(photos: Path, pictures: int, classes: int) -> None:
    """Write JPEG files in a folder for each class; every one is its class's pattern and noise."""
    generator = np.random.default_rng(0)
    patterns = generator.integers(32, 224, (classes, 12, 16, 3), np.int16)
    folders = [photos / f"{number:03}" for number in range(classes)]
    for folder in folders:
        folder.mkdir(parents=True)
    for index in range(pictures):
        label = index % classes
        noisy = patterns[label] + generator.integers(-32, 32, patterns[label].shape, np.int16)
        picture = Image.fromarray(noisy.astype(np.uint8))
        resized = picture.resize((WIDTH, HEIGHT), Image.Resampling.BICUBIC)
        resized.save(folders[label] / f"{index:05}.jpg", quality=85)


if __name__ == "__main__":
    sys.exit(main())
