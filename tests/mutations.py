"""Plants faults of one line in a copy of the product: the tests must see every one of them.

    python -m tests.mutations [NAME ...]

A fault is found by its text, not by its place, so that code may move: the text stands exactly once
in the product, or the run says that it is gone. The working tree is not touched. Exit code 1 if a
fault is not seen, or if the tests fail without any.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[1]
PRODUCT: Final = ("edge", "converters", "benchmarks", "devices")
COPIED: Final = (*PRODUCT, "tests", "pyproject.toml", "Makefile", "README.md", "docs")


@dataclass(frozen=True, slots=True)
class Fault:
    """One line that is wrong.

    Attributes:
        name: What goes wrong.
        text: The right code, within one line.
        wrong: What takes its place.
        tests: The files below ``tests`` that must see it.
    """

    name: str
    text: str
    wrong: str
    tests: tuple[str, ...]


FAULTS: Final = (
    Fault(
        "the central crop is off by one",
        "left, top = (image.width - width) / 2, (image.height - height) / 2",
        "left, top = (image.width - width) / 2 - 1, (image.height - height) / 2",
        ("unit/test_preprocess.py",),
    ),
    Fault(
        "the letterbox is not centred",
        "top, left = (spec.height - height) // 2, (spec.width - width) // 2",
        "top, left = 0, (spec.width - width) // 2",
        ("unit/test_preprocess.py",),
    ),
    Fault(
        "the EXIF orientation is not applied",
        "    if orientation in _UPRIGHT:",
        "    if orientation in ():",
        ("unit/test_image.py",),
    ),
    Fault(
        "the zero point is added",
        "(tensor.astype(np.int32) - points)",
        "(tensor.astype(np.int32) + points)",
        ("unit/test_postprocess.py",),
    ),
    Fault(
        "a score at the threshold does not hold",
        "(scores[..., 1] >= output.threshold)",
        "(scores[..., 1] > output.threshold)",
        ("unit/test_output.py", "unit/test_postprocess.py"),
    ),
    Fault(
        "weights are cut off instead of rounded",
        "(np.rint(kernel / scale) * scale)",
        "(np.trunc(kernel / scale) * scale)",
        ("unit/test_rounding.py",),
    ),
    Fault(
        "compensated weights never rise above zero",
        "np.clip(np.rint(weights[row] / scale), -LEVELS, LEVELS) * scale",
        "np.clip(np.rint(weights[row] / scale), -LEVELS, 0) * scale",
        ("unit/test_rounding.py",),
    ),
    Fault(
        "the hash of a file is not compared",
        "if hashlib.sha256(content).hexdigest() != expected:",
        "if not hashlib.sha256(content).hexdigest():",
        ("unit/test_bundle.py", "unit/test_signature.py"),
    ),
    Fault(
        "a link may lead out of the bundle",
        "if not path.resolve().is_relative_to(self.path.resolve()):",
        "if not path.is_relative_to(self.path):",
        ("unit/test_bundle.py",),
    ),
    Fault(
        "a signature that does not hold is believed",
        "raise altered(why_not, signed=True)",
        'return ""',
        ("unit/test_signature.py",),
    ),
    Fault(
        "an older bundle replaces a newer one",
        "    if version < highest:",
        "    if version < 0:",
        ("unit/test_slots.py",),
    ),
    Fault(
        "a release stays although the machine restarted",
        "if other and trial.boot_id != boot_id():",
        "if other and not trial.boot_id:",
        ("unit/test_slots.py",),
    ),
    Fault(
        "slower is called faster",
        "return SpeedVerdict.SLOWER",
        "return SpeedVerdict.FASTER",
        ("unit/test_verdict.py",),
    ),
    Fault(
        "the ratio of times is turned round",
        "ratios = np.sort(pairs[:, 1] / pairs[:, 0])",
        "ratios = np.sort(pairs[:, 0] / pairs[:, 1])",
        ("unit/test_verdict.py",),
    ),
    Fault(
        "the median is a mean",
        "return float(np.median(samples))",
        "return float(np.mean(samples))",
        ("unit/test_stats.py",),
    ),
    Fault(
        "the exit code of a usage error",
        "    exit_code = 2",
        "    exit_code = 1",
        ("unit/test_errors.py", "unit/test_cli.py"),
    ),
    Fault(
        "an interval is too narrow",
        "(z / (2 * images)) ** 2)",
        "0 * (z / (2 * images)) ** 2)",
        ("unit/test_confidence.py",),
    ),
    Fault(
        "McNemar's test compares what was lost with itself",
        "mcnemar_p=mcnemar(lost, gained)",
        "mcnemar_p=mcnemar(lost, lost)",
        ("unit/test_comparison.py",),
    ),
    Fault(
        "the same picture is trained on and tested",
        "after = [image for image in before if image.sha256 not in taken]",
        "after = list(before)",
        ("unit/test_dataset.py",),
    ),
    Fault(
        "a damaged entry of the cache is used",
        "        if problem is None:\n            return entry",
        "        if True:\n            return entry",
        ("unit/test_cache.py",),
    ),
)


def planted(folder: Path, fault: Fault) -> Path:
    """Plant a fault in a copy of the product; return the file that holds it.

    Raises:
        LookupError: Its text does not stand exactly once in the product.
    """
    files = [path for name in PRODUCT for path in sorted((folder / name).rglob("*.py"))]
    counts = {path: path.read_text(encoding="utf-8").count(fault.text) for path in files}
    holding = [path for path, count in counts.items() if count]
    if sum(counts.values()) != 1:
        names = ", ".join(str(path.relative_to(folder)) for path in holding) or "no file"
        raise LookupError(f"{fault.name}: {fault.text!r} stands in {names}; it has to, once")
    content = holding[0].read_text(encoding="utf-8")
    holding[0].write_text(content.replace(fault.text, fault.wrong), encoding="utf-8")
    return holding[0]


def tested(folder: Path, tests: Sequence[str]) -> tuple[int, list[str]]:
    """Run tests of the copy on its product; return pytest's exit code, and which failed first."""
    command = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider"]
    done = subprocess.run(
        [*command, *(f"tests/{name}" for name in tests)],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(folder), "PYTHONDONTWRITEBYTECODE": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    if done.returncode not in (0, 1):
        print(done.stdout[-2000:])
    return done.returncode, [line for line in done.stdout.splitlines() if line.startswith("FAILED")]


def main() -> int:
    """Plant the faults that are named, or all."""
    parser = argparse.ArgumentParser(prog="python -m tests.mutations", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help="part of a fault's name")
    names = parser.parse_args().names
    faults = [item for item in FAULTS if not names or any(name in item.name for name in names)]
    missed = []
    with tempfile.TemporaryDirectory(prefix="edge-mutations-") as name:
        folder = Path(name)
        for entry in COPIED:
            source = ROOT / entry
            if source.is_dir():
                ignored = shutil.ignore_patterns("__pycache__")
                shutil.copytree(source, folder / entry, ignore=ignored)
            elif source.exists():
                shutil.copy(source, folder / entry)
        every = sorted({test for fault in faults for test in fault.tests})
        code, failed = tested(folder, every)
        if code != 0:
            print("the tests fail without any fault", *failed, sep="\n")
            return 1
        for fault in faults:
            file = planted(folder, fault)
            code, failed = tested(folder, fault.tests)
            seen = code == 1
            shutil.copy(ROOT / file.relative_to(folder), file)
            print(f"{'seen' if seen else 'NOT SEEN'}: {fault.name}", *failed, flush=True)
            if not seen:
                missed.append(fault.name)
    print(f"{len(faults) - len(missed)} of {len(faults)} faults are seen")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
