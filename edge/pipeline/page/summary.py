"""The first part of the page, what it was made of, and the table of variants."""

from collections.abc import Mapping
from typing import Any, Final

from edge.pipeline.page.element import (
    SPACE,
    UNKNOWN,
    Element,
    counted_interval,
    element,
    folded,
    percent,
    section,
    short,
    size,
    table,
    with_interval,
)
from edge.pipeline.report import ADOPTED_FILE, FailedVariant, held_out_of

MOST_SKIPPED: Final = 100  # files that are named


def summary(report: Mapping[str, Any], provenance: Mapping[str, Any]) -> Element:
    """Name, strategy and the score in a few lines."""
    reference = report["reference"]
    model = "adopted file" if _is_adopted(report) else "Keras model"
    training = report["training"] or {}
    facts = {
        "network": provenance.get("backbone") or provenance.get("model"),
        "weights": provenance.get("weights"),
        "strategy": training.get("strategy"),
        "why": training.get("reason"),
        "training": _trained(training),
        "held-out images": _held_out(reference, str(report.get("command", ""))),
        model: _of_labels(reference) or _top1(reference["top1"], reference["labelled"]),
        "default variant": _default(report),
        "output": report.get("output", {}).get("evidence"),
    }
    rows = [
        part
        for name, text in facts.items()
        if text
        for part in (element("dt", name), element("dd", str(text)))
    ]
    notes = [element("li", str(note)) for note in report.get("notes", ())]
    warned = element("div", element("h2", "Notes"), element("ul", *notes), class_="notes")
    return element(
        "header",
        element("h1", report["name"]),
        element("dl", *rows),
        warned if notes else None,
    )


def _trained(training: Mapping[str, Any]) -> str:
    if not training:
        return ""
    epochs = [f"{phase['name']} {phase['epochs']}" for phase in training["phases"]]
    passes = f"epochs: {', '.join(epochs)}; " if epochs else ""
    return f"{passes}{training['seconds']:.1f}{SPACE}s"


def _held_out(reference: Mapping[str, Any], command: str) -> str:
    images, labelled = reference["images"], reference["labelled"]
    text = str(images) if images == labelled else f"{images}, {labelled} of them labelled"
    of = held_out_of(command)
    return f"{text}: {of}" if of else text


def _top1(share: float | None, images: int) -> str:
    if share is None:
        return "no labels: it is not known how often it is right"
    return f"top-1 {percent(share)} (95 % interval {counted_interval(share, images)})"


def _of_labels(scored: Mapping[str, Any]) -> str:
    """Scores of labels that do not exclude one another; empty of any other model."""
    found = scored.get("multi_label")
    if not found:
        return ""
    return f"mAP {percent(found['mean_average_precision'])}, mean F1 {percent(found['macro_f1'])}"


def _default(report: Mapping[str, Any]) -> str:
    found = next(item for item in report["variants"] if item["name"] == report["default_variant"])
    if found.get("multi_label"):
        return f"{found['name']}: {_of_labels(found)}"
    if _is_adopted(report):
        return str(found["name"])  # whose score stands above
    if found["top1"] is None:
        return f"{found['name']}: agrees on {percent(found['agreement'])}"
    return f"{found['name']}: {_top1(found['top1'], report['reference']['labelled'])}"


def variants_section(report: Mapping[str, Any]) -> Element:
    """The files: size, score, latency."""
    rows: list[tuple[Element | str, ...]] = [
        (
            ("★ " if item["name"] == report["default_variant"] else "") + item["name"],
            size(item["size_bytes"]),
            _score(item),
            _drop(item),
            with_interval(item["agreement"], item["agreement_interval"]),
            f"{item['latency_ms']:.2f} ms",
        )
        for item in report["variants"]
    ]
    rows += [(item["name"], "failed", *[UNKNOWN] * 4) for item in report.get("failed", ())]
    failed = [element("p", FailedVariant(**item).told()) for item in report.get("failed", ())]
    text = (
        f"★ runs by default. Intervals: 95 %, Wilson, of the drop paired (Tango, bootstrap). "
        f"{_against(report)} "
        f"Latency: measured, median of one inference on the building host's CPU "
        f"({report['host']['machine']}, {report['host']['cpus']} CPUs), "
        f"{report['variants'][0]['latency']['threads']} thread."
    )
    several = report.get("output", {}).get("kind") == "multi-label"
    titles = ("variant", "size", "mAP" if several else "top-1", "drop", "agreement", "latency")
    why = report.get("default_reason")
    return section(
        "Variants",
        table(titles, rows),
        *failed,
        element("p", why) if why else None,
        element("p", text, class_="soft"),
    )


def _is_adopted(report: Mapping[str, Any]) -> bool:
    return bool(report["reference"].get("of") == ADOPTED_FILE)


def _against(report: Mapping[str, Any]) -> str:
    if _is_adopted(report):
        return "The file was adopted as it is: no model is known that it could differ from."
    return "Drop and agreement: against the Keras model."


def _score(item: Mapping[str, Any]) -> Element | str:
    found = item.get("multi_label")
    if found:
        return percent(found["mean_average_precision"])
    return with_interval(item["top1"], item["top1_interval"])


def _drop(item: Mapping[str, Any]) -> Element | str:
    """Percentage points with their interval."""
    if item["drop_points"] is None or item["drop_interval"] is None:
        return UNKNOWN
    low, high = item["drop_interval"]
    spread = element("span", f"{low:+.1f} to {high:+.1f}", class_="range")
    return element("span", f"{item['drop_points']:+.1f}{SPACE}pt", " ", spread)


def data_section(data: Mapping[str, Any]) -> Element:
    """Images by class and split, notes, and the files that were skipped."""
    notes = [element("p", str(note)) for note in data.get("notes", ())]
    skipped = data["skipped"]
    rows: list[tuple[Element | str, ...]] = [
        (str(item["path"]), str(item["reason"])) for item in skipped[:MOST_SKIPPED]
    ]
    left_out = (
        folded(f"{len(skipped)} files skipped", table(("file", "reason"), rows, text_columns=2))
        if rows
        else element("p", "No file was skipped.", class_="soft")
    )
    return section("Data", _counts(data["counts"]), *notes, left_out)


def _counts(counts: Mapping[str, Any]) -> Element:
    if not all(isinstance(value, Mapping) for value in counts.values()):
        text = ", ".join(f"{name} {value}" for name, value in counts.items())
        return element("p", f"Images: {text}.")
    splits = tuple(counts)
    labels = list(counts[splits[0]])
    sums: tuple[Element | str, ...] = (
        "all",
        *[str(sum(counts[split].values())) for split in splits],
    )
    rows: list[tuple[Element | str, ...]] = [
        (
            element("span", short(label), title=label),
            *[str(counts[split].get(label, 0)) for split in splits],
        )
        for label in labels
    ]
    if len(labels) <= 12:
        return table(("class", *splits), [*rows, sums])
    by_class = folded(f"Images of the {len(labels)} classes", table(("class", *splits), rows))
    return element("div", table(("", *splits), [sums]), by_class)


def provenance_section(report: Mapping[str, Any], provenance: Mapping[str, Any]) -> Element:
    """Hashes, options and versions: what the numbers rest on."""
    rows: list[tuple[Element | str, ...]] = [
        (name, element("span", value))
        for name, value in flattened({**provenance, "host": report["host"]})
    ]
    shown = table(("", ""), rows, text_columns=2)
    text = "edge.lock, beside this page, holds the hash of every image and file: edge reproduce."
    return section("Provenance", element("p", text, class_="soft"), folded("All values", shown))


def flattened(value: Any, name: str = "") -> list[tuple[str, str]]:
    """Nested JSON values as (dotted name, text)."""
    if isinstance(value, Mapping):
        return [
            pair
            for key, inner in value.items()
            for pair in flattened(inner, f"{name}.{key}" if name else str(key))
        ]
    if isinstance(value, list | tuple):
        return [(name, ", ".join(map(str, value)) or UNKNOWN)]
    return [(name, UNKNOWN if value is None else str(value))]
