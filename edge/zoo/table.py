"""The measured zoo beside the published table: cells of text, for a terminal and Markdown."""

from collections import defaultdict

from benchmarks.result import Status
from benchmarks.stats import median
from edge.markup import prose, table
from edge.wording import UNKNOWN, significant
from edge.zoo.check import MIB, differences
from edge.zoo.measure import KERAS, NETWORK
from edge.zoo.prepare import VARIANTS
from edge.zoo.published import BATCH, CPU, GPU
from edge.zoo.result import Entry, ZooResults


def cells(entry: Entry) -> dict[str, str]:
    """One network's row by the column's title."""
    facts, known = entry.facts, entry.published
    found = {
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
    return found | {name: _time(entry, name) for name in VARIANTS}


def _time(entry: Entry, variant: str) -> str:
    row = entry.rows.get(variant)
    if row is None or row.timing is None:
        return "failed"
    return significant(1e3 * median(row.timing.samples))


def markdown(results: ZooResults) -> str:
    """The table, what differs from the published one, what failed, and how it was measured."""
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
    """What the table leaves open, a line each."""
    lines = ["* published weights; all others random: their accuracy is published only."]
    lines += [f"differs: {line}" for line in _unlike(results)]
    return lines + [f"no time: {line}" for line in _missing(results)]


def _unlike(results: ZooResults) -> list[str]:
    """Differences, those with one reason in one line."""
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
    found = []
    for entry in results.entries:
        reasons: dict[str, str] = dict(entry.failures)
        reasons |= {
            name: f"{row.status.value}: {row.reason}"
            for name, row in entry.rows.items()
            if row.status is not Status.MEASURED
        }
        for name, reason in reasons.items():
            where = "" if name == NETWORK else f" {name}"
            found.append(f"{entry.network}{where}: {reason}")
    return found


def _listed(title: str, lines: list[str]) -> str:
    if not lines:
        return ""
    return "\n".join([f"{title}:", "", *(f"- {prose(line, longest=4000)}" for line in lines)])
