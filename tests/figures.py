"""How fast edge itself is, as README shows it: measured, kept, and written there.

    python -m tests.figures                 measures with all scripts that the table needs
    python -m tests.figures startup runner  measures with these, and keeps the figures of the others
    python -m tests.figures --write         measures nothing, and writes the table again

``tests/performance/figures.json`` keeps what the scripts print with ``--json``, and the machine
that they ran on. Figures of two machines are never in one table.
"""

import argparse
import datetime
import json
import os
import statistics
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from benchmarks.environment import environment
from edge.cli.terminal import report_error
from edge.errors import EdgeError, UsageError
from edge.runtime.files import write_bytes, write_json
from edge.versions import versions
from edge.wording import listed, significant

ROOT: Final = Path(__file__).parents[1]
SCRIPTS: Final = ROOT / "tests" / "performance"
KEPT: Final = SCRIPTS / "figures.json"
PAGE: Final = ROOT / "README.md"
BEGIN: Final = "<!-- Figures: `make figures` measures and writes them. -->\n"
END: Final = "<!-- End of figures -->"
HEAD: Final = "| what | edge | reference, in turn | edge / reference |\n| --- | --- | --- | --- |\n"
ENDED: Final = (0, 1)  # exit codes of a script that has measured: bars met, or one missed

Document = Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """A row of the table.

    Attributes:
        what: What is measured.
        script: The name of the script whose document has it.
        edge: Gives the values of edge, one for each round, from the document.
        reference: Gives those of the reference of the same rounds.
        reference_name: What the reference is.
        unit: The unit that they are shown in, and its factor.
        bar: The name of the bar in the document; empty without one.
    """

    what: str
    script: str
    edge: Callable[[Document], Sequence[float]]
    reference: Callable[[Document], Sequence[float]]
    reference_name: str
    unit: tuple[str, float]
    bar: str = ""


SECONDS: Final = ("s", 1.0)
MILLISECONDS: Final = ("ms", 1e3)
MEGABYTES: Final = ("MB", 1e-6)
SHARE: Final = "pre- and post-processing / inference"


def _of(*path: str) -> Callable[[Document], Sequence[float]]:
    """Return what gives the values at a path of keys; a lone number is one round."""

    def values(document: Document) -> Sequence[float]:
        found: Any = document
        for key in path:
            found = found[key]
        return found if isinstance(found, list) else [found]

    return values


def _peak(pictures: int) -> Callable[[Document], Sequence[float]]:
    """Return what gives the peak memory of the build of so many pictures and two classes."""

    def values(document: Document) -> Sequence[float]:
        return [
            build["peak_bytes"]
            for build in document["builds"]
            if (build["pictures"], build["classes"]) == (pictures, 2)
        ]

    return values


ROWS: Final = (
    Row(
        what="photos to a bundle",
        script="build",
        edge=_of("edge_seconds"),
        reference=_of("hand_seconds"),
        reference_name="the same by hand",
        unit=SECONDS,
        bar="edge / by hand",
    ),
    Row(
        what="its training",
        script="training",
        edge=_of("rounds", "edge_seconds"),
        reference=_of("rounds", "recipe_seconds"),
        reference_name="Keras `fit`, 5 epochs",
        unit=SECONDS,
        bar="edge / the recipe",
    ),
    Row(
        what="six variants of MobileNet",
        script="conversion",
        edge=_of("edge_seconds"),
        reference=_of("default_tools_seconds"),
        reference_name="default tools",
        unit=SECONDS,
        bar="edge / default tools",
    ),
    Row(
        what="peak memory of 4,000 pictures",
        script="growth",
        edge=_peak(4_000),
        reference=_peak(400),
        reference_name="400 pictures",
        unit=("GB", 1e-9),
        bar="peak memory / that of the fewest",
    ),
    Row(
        what="`edge --help`",
        script="startup",
        edge=_of("seconds", "edge --help"),
        reference=_of("seconds", "import typer"),
        reference_name="`import typer`",
        unit=MILLISECONDS,
        bar="edge --help",
    ),
    Row(
        what="runner: start to first label",
        script="runner",
        edge=_of("cold start", "edge"),
        reference=_of("cold start", "hand"),
        reference_name="Pillow and LiteRT",
        unit=MILLISECONDS,
        bar="cold start",
    ),
    Row(
        what="runner: picture to answer",
        script="runner",
        edge=_of("end to end", "edge"),
        reference=_of("end to end", "hand"),
        reference_name="the same",
        unit=MILLISECONDS,
        bar="end to end",
    ),
    Row(
        what="runner: memory",
        script="runner",
        edge=_of("resident memory", "edge"),
        reference=_of("resident memory", "hand"),
        reference_name="the same",
        unit=MEGABYTES,
        bar="resident memory",
    ),
    Row(
        what="runner: pre- and post-processing",
        script="runner",
        edge=_of(SHARE, "own"),
        reference=_of(SHARE, "inference"),
        reference_name="its inference",
        unit=MILLISECONDS,
        bar=SHARE,
    ),
)
NEEDED: Final = tuple(dict.fromkeys(row.script for row in ROWS))


def main() -> int:
    """Measure, keep, write; exit code 2 if the figures cannot be put together."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("scripts", nargs="*", metavar="SCRIPT", help=listed(NEEDED))
    parser.add_argument("--write", action="store_true", help="measure nothing")
    options = parser.parse_args()
    try:
        if not options.write:
            measure(options.scripts)
        write_bytes(PAGE, written(PAGE.read_text("utf-8"), read()).encode())
    except (EdgeError, KeyboardInterrupt) as error:
        return report_error(error)
    return 0


def read() -> dict[str, Any]:
    """Return the figures that are kept."""
    found: dict[str, Any] = json.loads(KEPT.read_text("utf-8"))
    return found


def measure(names: Sequence[str]) -> None:
    """Run scripts, and keep what each prints as soon as it has ended.

    Args:
        names: Of the scripts; all that the table needs if none is named.

    Raises:
        UsageError: The table needs no such script, or the others were measured elsewhere.
        EdgeError: A script failed.
    """
    unknown = sorted({*names} - {*NEEDED})
    if unknown:
        raise UsageError(f"the table needs no {listed(unknown)}", hint=f"Name {listed(NEEDED)}.")
    kept = {"machine": machine(), "scripts": {}}
    if names:
        before = read() if KEPT.exists() else kept
        others = sorted({*before["scripts"]} - {*names})
        if others and before["machine"] != kept["machine"]:
            raise UsageError(
                f"{listed(others)} ran on another machine, or with other versions",
                hint="Name no script, and all are measured.",
            )
        kept["scripts"] = before["scripts"]
    load = os.getloadavg()[0]  # once: the second script would find what the first one did
    for name in names or NEEDED:
        print(f"== {name}", file=sys.stderr, flush=True)
        done = subprocess.run(
            [sys.executable, SCRIPTS / f"{name}.py", "--json"], stdout=subprocess.PIPE, cwd=ROOT
        )
        if done.returncode not in ENDED:
            raise EdgeError(f"{name}.py ended with {done.returncode}")
        date = datetime.datetime.now(tz=datetime.UTC).date().isoformat()
        kept["scripts"][name] = {"date": date, "load": load, **json.loads(done.stdout)}
        write_json(KEPT, kept)


def machine() -> dict[str, Any]:
    """Return the record of this machine and of what is installed."""
    found = environment()
    return {
        "cpu": found["cpu"]["model"],
        "cpus": found["cpu"]["logical"],
        "virtual": found["virtual_machine"] is not None,
        "memory_bytes": found["memory"]["total"],
        "os": found["os"],
        "kernel": found["kernel"],
        "versions": versions(),
    }


def written(page: str, kept: Document) -> str:
    """Return a page with the table between its two marks.

    Raises:
        UsageError: The page has no such marks.
    """
    before, begun, rest = page.partition(BEGIN)
    _, ended, after = rest.partition(END)
    if not (begun and ended):
        raise UsageError("the page has no marks to write the figures between")
    return f"{before}{BEGIN}{table(kept)}{END}{after}"


def table(kept: Document) -> str:
    """Return the table in Markdown, and the machine below it."""
    rows = "".join(_line(row, kept["scripts"].get(row.script)) for row in ROWS)
    where, dates = kept["machine"], sorted({one["date"] for one in kept["scripts"].values()})
    packages = where["versions"]
    names = {"tensorflow": "TensorFlow", "ai-edge-litert": "LiteRT", "onnxruntime": "ONNX Runtime"}
    parts = [
        where["cpu"],
        f"{where['cpus']} CPUs" + (" of a virtual machine" if where["virtual"] else ""),
        f"Linux {where['kernel']}",
        f"Python {packages['python']}",
        *(f"{shown} {packages[name]}" for name, shown in names.items() if name in packages),
    ]
    load = max((one["load"] for one in kept["scripts"].values()), default=0.0)
    if load > where["cpus"]:
        parts.append(f"shared with other work (load average up to {load:.1f})")
    when = " to ".join(dates[:1] + dates[1:][-1:])
    return f"{HEAD}{rows}\nMeasured {when}: {', '.join(parts)}.\n"


def _line(row: Row, document: Document | None) -> str:
    if document is None:
        return f"| {row.what} | not measured | {row.reference_name} | |\n"
    edge, reference = row.edge(document), row.reference(document)
    own, other = (_shown(values, row.unit) for values in (edge, reference))
    ratios = [one / another for one, another in zip(edge, reference, strict=True)]
    said = [significant(statistics.median(ratios))]
    if len(ratios) > 1:
        said.append(f"({significant(min(ratios))} to {significant(max(ratios))})")
    if row.bar:
        bar = document["bars"][row.bar]
        said.append(f"bar {bar['at_most']:g}" + ("" if bar["met"] else ": **missed**"))
    return f"| {row.what} | {own} | {row.reference_name}: {other} | {' '.join(said)} |\n"


def _shown(values: Sequence[float], unit: tuple[str, float]) -> str:
    name, factor = unit
    return f"{significant(factor * statistics.median(values))} {name}"


if __name__ == "__main__":
    sys.exit(main())
