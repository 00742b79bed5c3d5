"""The measured zoo beside the published table: cells of text, Markdown, a picture."""

import tempfile
from collections import defaultdict
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from benchmarks.plots import style
from benchmarks.plots.pareto import pareto
from benchmarks.result import BenchmarkRow, Results, Status
from benchmarks.stats import median
from edge.errors import UsageError
from edge.figures import write_figure
from edge.markup import prose, table
from edge.wording import UNKNOWN, significant
from edge.zoo.prepare import VARIANTS
from edge.zoo.published import BATCH, CPU, GPU
from edge.zoo.results import Entry, ZooResults
from edge.zoo.run import KERAS, NETWORK

# Sizes are published as those of the weights file, which holds names and, of some networks, more
# than the weights: 0.1 to 5 % here; EfficientNetB0's is stated as 29 MB, its parameters are 20.3.
SIZE_TOLERANCE: Final = 0.10
MIB: Final = 2**20
# Mult-adds of one image as papers state them, millions, and how near a count should come: papers
# round, and leave out the fully connected layers or not.
PAPERS: Final = {
    "MobileNet": (569, "Howard et al. 2017, table 4"),
    "VGG16": (15300, "Howard et al. 2017, table 8"),
}
PAPER_TOLERANCE: Final = 0.015


@dataclass(frozen=True, slots=True)
class PublishedDifference:
    """One figure that is not as published.

    Attributes:
        network: The network.
        figure: ``parameters``, ``depth``, ``size`` or ``mult-adds``.
        counted: The figure that was counted here.
        published: The figure that is published.
        reason: Why they differ, one sentence; empty if it is not known.
    """

    network: str
    figure: str
    counted: str
    published: str
    reason: str


def differences(entry: Entry) -> tuple[PublishedDifference, ...]:
    """Return every figure of a network that differs from the published one."""
    facts, known = entry.facts, entry.published
    if facts is None or known is None:
        return ()
    figures: list[tuple[str, str, str, str]] = []
    exact, rounded = known.params, f"{known.params_m:.1f} M"
    if exact is not None and exact != facts.parameters:
        figures.append(("parameters", f"{facts.parameters:,}", f"{exact:,}", ""))
    elif exact is None and f"{facts.parameters / 1e6:.1f} M" != rounded:
        figures.append(("parameters", f"{facts.parameters / 1e6:.1f} M", rounded, ""))
    if known.depth is not None and known.depth != facts.depth:
        figures.append(("depth", str(facts.depth), str(known.depth), ""))
    size = facts.size_bytes / MIB
    if abs(size - known.size_mb) > 0.5:
        reason = "the published one is of the weights file, with what HDF5 adds to the numbers"
        if abs(size / known.size_mb - 1) > SIZE_TOLERANCE:
            reason = "more than what HDF5 adds: 4 bytes a parameter do not give the published size"
        figures.append(("size", f"{size:.1f} MiB", f"{known.size_mb:g} MiB", reason))
    if entry.network in PAPERS and entry.mult_adds is not None:
        stated, source = PAPERS[entry.network]
        counted = entry.mult_adds / 1e6
        if abs(counted / stated - 1) > PAPER_TOLERANCE:
            figures.append(("mult-adds", f"{counted:,.0f} M", f"{stated:,} M", source))
    return tuple(PublishedDifference(entry.network, *item) for item in figures)


def cells(entry: Entry) -> dict[str, str]:
    """Return one network's row by the column's title."""
    facts, known = entry.facts, entry.published
    row = {
        "network": entry.network + ("" if entry.random_because else " *"),
        "MiB": f"{facts.size_bytes / MIB:.1f}" if facts else UNKNOWN,
        "params M": f"{facts.parameters / 1e6:.1f}" if facts else UNKNOWN,
        "depth": str(facts.depth) if facts else UNKNOWN,
        "mult-adds M": f"{entry.mult_adds / 1e6:,.0f}" if entry.mult_adds else UNKNOWN,
        "top-1 pub.": f"{known.top1:.1f}" if known else UNKNOWN,
        "top-5 pub.": f"{known.top5:.1f}" if known else UNKNOWN,
        "CPU pub.": f"{known.cpu_ms:g}" if known and known.cpu_ms else UNKNOWN,
        "GPU pub.": f"{known.gpu_ms:g}" if known and known.gpu_ms else UNKNOWN,
        f"Keras b{BATCH}": _time(entry, KERAS),
    }
    return row | {name: _time(entry, name) for name in VARIANTS}


def _time(entry: Entry, variant: str) -> str:
    row = entry.rows.get(variant)
    if row is None or row.timing is None:
        return "failed"
    return significant(1e3 * median(row.timing.samples))


def markdown(results: ZooResults) -> str:
    """Return the table, what differs from the published one, and what failed."""
    rows = [cells(entry) for entry in results.entries]
    titles = rows[0] if rows else {"network": ""}
    columns = {title: "left" if title == "network" else "right" for title in titles}
    parts = [
        table(columns, [list(row.values()) for row in rows]),
        _legend(results),
        _listed("Differs from the published table", _unlike(results)),
        _listed("Has no time", _missing(results)),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _legend(results: ZooResults) -> str:
    cpu = results.environment["cpu"]["model"] or "an unnamed CPU"
    versions = results.environment["versions"]
    used = ("keras", "tensorflow", "ai-edge-litert", "onnxruntime")
    named = ", ".join(f"{name} {versions[name]}" for name in used if versions.get(name))
    return prose(
        f"Measured: {cpu}, {results.threads} threads, {results.started[:10]}; {named}. "
        f"Keras: median milliseconds of one step of batch {results.batch}. TFLite and ONNX: median "
        "milliseconds of one image. Published (pub.): Keras documentation; CPU and GPU are "
        f"milliseconds of one step of batch {BATCH} on {CPU}, and on {GPU}; top-1 and top-5 are "
        "percent. MiB, parameters, depth (layers with weights) and mult-adds (of one image) are "
        "counted here; VGG16's paper has 15,300 M mult-adds, MobileNet's 569 M.",
        longest=1000,
    ) + (
        "\n\n\\* with published weights. All others have random ones, since theirs cannot be had "
        "here: accuracy is published only, and their int8 files are for times alone."
    )


def notes(results: ZooResults) -> list[str]:
    """Return what the table leaves open, a line each."""
    lines = ["* published weights; all others random: their accuracy is published only."]
    lines += [f"differs: {line}" for line in _unlike(results)]
    return lines + [f"no time: {line}" for line in _missing(results)]


def _unlike(results: ZooResults) -> list[str]:
    """The differences, those with one reason in one line."""
    alike: dict[tuple[str, str], list[str]] = defaultdict(list)
    for entry in results.entries:
        for item in differences(entry):
            figures = f"{item.network} {item.counted} / {item.published}"
            alike[item.figure, item.reason].append(figures)
    return [
        f"{figure}, counted / published{f' ({reason})' if reason else ''}: {', '.join(figures)}"
        for (figure, reason), figures in alike.items()
    ]


def _missing(results: ZooResults) -> list[str]:
    lines = []
    for entry in results.entries:
        reasons: dict[str, str] = dict(entry.failures)
        reasons |= {
            name: f"{row.status.value}: {row.reason}"
            for name, row in entry.rows.items()
            if row.status is not Status.MEASURED
        }
        for name, reason in reasons.items():
            where = "" if name == NETWORK else f" {name}"
            lines.append(f"{entry.network}{where}: {reason}")
    return lines


def _listed(title: str, lines: list[str]) -> str:
    if not lines:
        return ""
    return "\n".join([f"{title}:", "", *(f"- {prose(line, longest=4000)}" for line in lines)])


VARIANT: Final = "tflite-fp32"  # the published accuracy is of float weights, not of an int8 file


def picture(results: ZooResults, form: str) -> bytes:
    """Draw a picture in ``png`` or ``svg``.

    Raises:
        UsageError: No network has both, a time and a published accuracy.
    """
    figure = pareto(
        _as_results(results), "Published accuracy against latency measured here", most_named=100
    )
    if figure is None:
        raise UsageError("there is nothing to plot: no network of the published table has a time")
    figure.axes[0].set_ylabel("top-1 on ImageNet as published, percent")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"zoo.{form}"
        write_figure(figure, path, dpi=style.DPI)
        return path.read_bytes()


def _as_results(results: ZooResults) -> Results:
    """The float rows, each with the name of its network and the published accuracy."""
    rows: list[BenchmarkRow] = []
    for entry in results.entries:
        if entry.published is None:
            continue
        share = entry.published.top1 / 100
        if VARIANT in entry.rows:
            row = entry.rows[VARIANT]
            model = replace(row.model, name=entry.network, bundle="", top1=share)
            rows.append(replace(row, model=model, accelerator=VARIANT))
    return Results(
        started=results.started,
        environment=results.environment,
        protocol={},
        seed=0,
        rows=tuple(rows),
    )
