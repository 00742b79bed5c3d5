"""The figures of the house: how many rooms there are, and how many of them one job enters.

    python -m tests.house                 counts files, lines, names and whatever stands twice
    python -m tests.house --jobs          also runs one build, one benchmark and one deploy,
                                          and counts the product files whose functions ran

A file counts as entered when a function of it was called, in the process of the command or in
any process that it started. Code that only runs while a module is imported does not count. The
jobs run on pictures that scikit-learn ships; the deploy goes to a real sshd on loopback, and what
it does on the device's side counts too.
"""

import argparse
import ast
import os
import re
import subprocess
import sys
import tempfile
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[1]
PACKAGES: Final = ("edge", "converters", "benchmarks", "devices")
SAME_LINES: Final = 6  # that stand in two places count as a duplicate
LONG_FUNCTION: Final = 40  # lines
# Every Python process of a job runs this first: it notes each product file whose code is entered.
TRACER: Final = """
import os, sys, threading
ROOT, NOTED = {root!r}, {noted!r}
NAMES = ("edge", "converters", "benchmarks", "devices")
PACKAGES = tuple(ROOT + "/" + name + "/" for name in NAMES)
seen = set()
def note(frame, event, _):
    code = frame.f_code
    path = code.co_filename
    # A module and the body of a class have no locals of their own (CO_NEWLOCALS, CO_OPTIMIZED).
    if event != "call" or path in seen or not code.co_flags & 1:
        return
    if path.startswith(PACKAGES):
        name = path[len(ROOT) + 1:]
    elif "/share/edge/" in path and "/edge/" in path.partition("/share/edge/")[2]:
        name = "edge/" + path.rpartition("/edge/")[2]  # the package as it lies on a device
    else:
        return
    seen.add(path)
    stream = os.open(NOTED, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    os.write(stream, (name + "\\n").encode())
    os.close(stream)
sys.setprofile(note)
threading.setprofile(note)
"""
# Runs in the checkout, with its own tests' device: an sshd on loopback with a home of its own.
DEPLOY: Final = """
import pathlib, subprocess, sys
sys.setprofile(None)  # this process makes the device and the bundle, which is no part of the job
from tests.integration.device_bundles import write_signed
from tests.integration.sshd import loopback_device
work, edge = pathlib.Path(sys.argv[1]), sys.argv[2:]
signed = write_signed(work / "signed", work / "key")
with loopback_device() as device:
    (site,) = device.folder.glob("lib/python3*/site-packages")
    (site / "sitecustomize.py").write_bytes((work / "first" / "sitecustomize.py").read_bytes())
    words = [*edge, "deploy", signed, device.name, "--ssh-config", device.ssh_config]
    sys.exit(subprocess.run([*words, "--key", work / "key", "--watch", "1"]).returncode)
"""


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.house", description=__doc__)
    parser.add_argument("--jobs", action="store_true", help="run a build, a benchmark, a deploy")
    parser.add_argument("--root", type=Path, default=ROOT, help="checkout to count in")
    parser.add_argument("--verbose", action="store_true", help="name what was counted")
    options = parser.parse_args()
    root = options.root.resolve()
    figures = dict(counted(root, verbose=options.verbose))
    if options.jobs:
        figures |= entered(root, verbose=options.verbose)
    for name, value in figures.items():
        print(f"{value:7,}  {name}")


def counted(root: Path, *, verbose: bool = False) -> Iterator[tuple[str, int]]:
    """Yield the figures that reading the source gives."""
    files = product_files(root)
    texts = {path: path.read_text(encoding="utf-8") for path in files}
    trees = {path: ast.parse(text) for path, text in texts.items()}
    yield "product files", len(files)
    yield "lines in them", sum(text.count("\n") for text in texts.values())
    importers = imported_by(root, trees)
    lone = [path for path in files if len(importers[path]) == 1]
    short = [path for path in lone if texts[path].count("\n") < 60]
    yield "files with one importer", len(lone)
    yield "files with one importer and under 60 lines", len(short)
    twice = class_names_twice(trees)
    yield "class names defined twice", len(twice)
    loose = "dict[str, Any]"
    yield (
        f"lines with {loose}",
        sum(loose in line for text in texts.values() for line in text.splitlines()),
    )
    fragments = [
        f"{path.relative_to(root)}:{number}"
        for path, text in texts.items()
        for number, line in enumerate(text.splitlines(), 1)
        if re.search(r'"""Of |^\s+\*{0,2}\w+: Of |# Of ', line)
    ]
    yield 'sentences that begin with "Of"', len(fragments)
    long = long_functions(trees)
    yield f"functions over {LONG_FUNCTION} lines", len(long)
    same = duplicates(texts)
    yield f"pairs of places with {SAME_LINES} or more equal lines", len(same)
    if verbose:
        shown = {
            "short files with one importer": [str(path.relative_to(root)) for path in short],
            "class names twice": [f"{name}: {' '.join(found)}" for name, found in twice.items()],
            "fragments": fragments,
            "long functions": [
                f"{path.relative_to(root)}:{line} {name} {lines}"
                for path, line, name, lines in long
            ],
            "duplicates": [
                f"{a.relative_to(root)}:{i} = {b.relative_to(root)}:{j} ({n} lines)"
                for (a, i), (b, j), n in same
            ],
        }
        for title, rows in shown.items():
            print(f"{title}:", *rows, sep="\n  ", file=sys.stderr)


def product_files(root: Path) -> list[Path]:
    """Return the Python files of the product that git knows."""
    listed = subprocess.run(
        ["git", "-C", str(root), "ls-files", *PACKAGES], capture_output=True, text=True, check=True
    )
    return [root / line for line in listed.stdout.splitlines() if line.endswith(".py")]


def imported_by(root: Path, trees: dict[Path, ast.Module]) -> dict[Path, set[Path]]:
    """Return for each file those that import it."""
    modules = {
        ".".join(path.relative_to(root).with_suffix("").parts).removesuffix(".__init__"): path
        for path in trees
    }
    importers: dict[Path, set[Path]] = defaultdict(set)
    for path, tree in trees.items():
        for node in ast.walk(tree):
            names = []
            if isinstance(node, ast.ImportFrom) and node.module:
                inner = [f"{node.module}.{alias.name}" for alias in node.names]
                names = [name if name in modules else node.module for name in inner]
            elif isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            for name in names:
                if name in modules and modules[name] != path:
                    importers[modules[name]].add(path)
    return importers


def class_names_twice(trees: dict[Path, ast.Module]) -> dict[str, list[str]]:
    """Return class names of module level that stand in several files."""
    places: dict[str, list[str]] = defaultdict(list)
    for path, tree in trees.items():
        for node in tree.body:
            if isinstance(node, ast.ClassDef):
                places[node.name].append(path.name)
    return {name: paths for name, paths in sorted(places.items()) if len(paths) > 1}


def long_functions(trees: dict[Path, ast.Module]) -> list[tuple[Path, int, str, int]]:
    """Return functions of too many lines, their docstrings and their parameters left out."""
    found = []
    for path, tree in trees.items():
        for node in ast.walk(tree):
            if not isinstance(node, ast.FunctionDef):
                continue
            body = node.body[ast.get_docstring(node) is not None :]
            lines = (body[-1].end_lineno or 0) - body[0].lineno + 1 if body else 0
            if lines > LONG_FUNCTION:
                found.append((path, node.lineno, node.name, lines))
    return found


def duplicates(texts: dict[Path, str]) -> list[tuple[tuple[Path, int], tuple[Path, int], int]]:
    """Return pairs of places where as many lines or more are equal; imports do not count."""
    places: dict[tuple[str, ...], list[tuple[Path, int]]] = defaultdict(list)
    for path, text in texts.items():
        imported = {
            number
            for node in ast.walk(ast.parse(text))
            if isinstance(node, ast.Import | ast.ImportFrom)
            for number in range(node.lineno, (node.end_lineno or node.lineno) + 1)
        }
        lines = [
            (number, line.strip())
            for number, line in enumerate(text.splitlines(), 1)
            if len(line.strip()) > 3 and number not in imported
        ]
        for start in range(len(lines) - SAME_LINES + 1):
            window = lines[start : start + SAME_LINES]
            places[tuple(line for _, line in window)].append((path, window[0][0]))
    pairs: Counter[tuple[Path, Path]] = Counter()
    first: dict[tuple[Path, Path], tuple[tuple[Path, int], tuple[Path, int]]] = {}
    for where in places.values():
        for one, other in pairwise(where):
            key = (one[0], other[0])
            pairs[key] += 1
            first.setdefault(key, (one, other))
    return [(*first[key], count + SAME_LINES - 1) for key, count in pairs.items()]


def entered(root: Path, *, verbose: bool = False) -> dict[str, int]:
    """Run one build, one benchmark and one deploy; return how many product files each enters."""
    with tempfile.TemporaryDirectory(prefix="edge-house-") as folder:
        work = Path(folder)
        edge = [sys.executable, "-m", "edge"]
        pictures, bundle = str(work / "digits"), str(work / "bundle")
        run = Runs(root, work)
        run([*edge, "dataset", "digits", pictures])
        jobs = {
            "build": [*edge, "build", pictures, "--output", bundle, "--size", "96"],
            "benchmark": [*edge, "benchmark", bundle, "--runs", "5", "--min-secs", "0.1"],
            "deploy": [sys.executable, "-c", DEPLOY, str(work), *edge],
        }
        figures = {}
        for name, words in jobs.items():
            files = run(words, trace=True)
            figures[f"product files that one {name} enters"] = len(files)
            if verbose:
                print(f"{name}:", *files, sep="\n  ", file=sys.stderr)
        return figures


class Runs:
    """Runs commands of one checkout, and notes the product files that they enter."""

    def __init__(self, root: Path, work: Path) -> None:
        self._root, self._work = root, work
        self._noted = work / "entered"
        (work / "first").mkdir()
        text = TRACER.format(root=str(root), noted=str(self._noted))
        (work / "first" / "sitecustomize.py").write_text(text)

    def __call__(self, words: Sequence[str], *, trace: bool = False) -> list[str]:
        """Run a command; return the files in the order in which they were entered."""
        self._noted.write_text("")
        first = [str(self._work / "first")] if trace else []
        variables = {
            "EDGE_CACHE": str(self._work / "cache"),
            "PYTHONPATH": os.pathsep.join([*first, str(self._root)]),
            "TF_CPP_MIN_LOG_LEVEL": "3",
        }
        done = subprocess.run(
            words,
            env=os.environ | variables,
            cwd=self._root,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise SystemExit(f"{' '.join(words)} ended with {done.returncode}:\n{done.stderr}")
        return list(dict.fromkeys(self._noted.read_text().splitlines()))


if __name__ == "__main__":
    main()
