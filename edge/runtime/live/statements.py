"""What the page and programs are told, as JSON values, Prometheus text and pictures."""

import json
import math
from collections.abc import Mapping
from io import BytesIO
from pathlib import Path
from typing import Any, Final

from PIL import Image

from edge.errors import EdgeError
from edge.runtime import checked
from edge.runtime.bundle import Bundle
from edge.runtime.live.pipeline import CameraState, Pipeline, ShownFrame
from edge.runtime.spec import Variant
from edge.runtime.tasks.draw import mask_color
from edge.runtime.tasks.results import UNSEEN, Embedding, Segmentation

ZONES: Final = Path("/sys/class/thermal")
GET_THROTTLED: Final = Path("/sys/devices/platform/soc/soc:firmware/get_throttled")
# The bits of Raspberry Pi's firmware that speak of now; bits 16 to 19 are the same since boot.
# Meaning: raspberrypi.com/documentation/computers/os.html, get_throttled.
THROTTLED: Final = ("under-voltage", "frequency capped", "throttled", "soft temperature limit")
REPORT: Final = "report.json"
MAX_REPORT: Final = 64 << 20  # bytes
MASK_ALPHA: Final = 128  # of 255


def frame_header(shown: ShownFrame | None, camera: CameraState) -> str:
    """Return the value of ``X-Edge-Frame``: the answer that belongs to a picture, in ASCII."""
    value: dict[str, Any] = {"number": 0, "answer": None, "age_ms": None, "problem": ""}
    if shown is not None:
        value = {
            "number": shown.number,
            "answer": answer_of(shown),
            "age_ms": round(1e3 * shown.age, 1),
            "problem": shown.problem,
        }
    if camera.ok:
        value["camera"] = {"ok": True, "version": camera.version}
    else:
        value["camera"] = {
            "ok": False,
            "version": camera.version,
            "fault": None if camera.fault is None else str(camera.fault),
            "message": camera.message,
        }
    return json.dumps(value, ensure_ascii=True, allow_nan=False, separators=(",", ":"))


def answer_of(shown: ShownFrame) -> dict[str, Any] | None:
    """Return the answer to a frame as JSON values that a header has room for.

    Numbers have six digits; of a vector only its length is told.
    """
    if shown.answered is None:
        return None
    stated = shown.answered.stated
    if isinstance(shown.answered.answer, Embedding):
        stated = {name: item for name, item in stated.items() if name != Embedding.KEY}
        stated["embedding_length"] = len(shown.answered.answer.values)
    short: dict[str, Any] = _short(stated)
    return short


def _short(value: Any) -> Any:
    if isinstance(value, float):
        return float(f"{value:.6g}") if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {name: _short(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_short(item) for item in value]
    return value


def mask_png(shown: ShownFrame) -> bytes | None:
    """Return the mask of a segmentation answer as a PNG to lay over the picture; None without one.

    The colours are those of ``edge predict --draw``; class 0 and what was not seen are transparent.
    """
    answer = None if shown.answered is None else shown.answered.answer
    if not isinstance(answer, Segmentation):
        return None
    picture = Image.fromarray(answer.mask, "P")
    picture.putpalette([value for index in range(256) for value in mask_color(index)])
    opacity = bytes(0 if index in (0, UNSEEN) else MASK_ALPHA for index in range(256))
    stream = BytesIO()
    picture.save(stream, "PNG", transparency=opacity, compress_level=1)
    return stream.getvalue()


def accuracy(bundle: Bundle, variant: Variant) -> dict[str, Any] | None:
    """Return the share of held-out images that a variant answered right, as the bundle states it.

    The ends of its interval and the number of images stand in the report, which a deploy does not
    bring to a device: they are None there. ``flattered`` names the classes of which pictures of
    one series were learnt and scored.
    """
    if variant.top1 is None:
        return None
    try:
        content = bundle.content(REPORT, max_bytes=MAX_REPORT)
        report = checked.parse_json(content, "the report", max_bytes=MAX_REPORT)
        row = next(item for item in report["variants"] if item["name"] == variant.name)
        low, high = row["top1_interval"]
        images = report["reference"]["labelled"]
        value = {
            "top1": variant.top1,
            "low": float(low),
            "high": float(high),
            "images": images,
            "flattered": list(report["data"].get("groups", {}).get("parted", ())),
        }
    except (EdgeError, OSError, ValueError, KeyError, TypeError, StopIteration):
        return {"top1": variant.top1, "low": None, "high": None, "images": None, "flattered": []}
    return value


def metrics(pipeline: Pipeline, codes: Mapping[int, int], taught: int, uptime: float) -> str:
    """Return the figures in Prometheus' text format, version 0.0.4."""
    figures = pipeline.figures()
    lines: list[str] = []

    def say(name: str, kind: str, meaning: str, *values: tuple[str, float | None]) -> None:
        lines.append(f"# HELP {name} {meaning}")
        lines.append(f"# TYPE {name} {kind}")
        lines.extend(f"{name}{labels} {value:.9g}" for labels, value in values if value is not None)

    say("edge_frames_total", "counter", "Frames that were answered.", ("", figures["frames"]))
    say(
        "edge_frames_dropped_total",
        "counter",
        "Frames that were let go because a newer one had come.",
        ("", figures["dropped"]),
    )
    age = figures["age_ms"] or {}
    say(
        "edge_frame_age_seconds",
        "gauge",
        "Time from the capture of a frame to its answer, over the last frames.",
        *((f'{{quantile="{q}"}}', _seconds(age.get(name))) for q, name in _QUANTILES),
    )
    for step in ("preprocess", "inference", "postprocess"):
        say(
            f"edge_{step}_seconds",
            "gauge",
            "Median time of this step over the last frames.",
            ("", _seconds(figures[f"{step}_ms"])),
        )
    say("edge_camera_up", "gauge", "Whether pictures come.", ("", float(pipeline.camera.ok)))
    say("edge_taught_pictures", "gauge", "Pictures that were taught.", ("", taught))
    say("edge_uptime_seconds", "counter", "Time since the start.", ("", uptime))
    say(
        "edge_requests_total",
        "counter",
        "Responses by HTTP status.",
        *((f'{{code="{code}"}}', float(count)) for code, count in sorted(codes.items())),
    )
    return "\n".join(lines) + "\n"


_QUANTILES: Final = (("0.5", "median"), ("0.95", "p95"), ("1", "max"))


def _seconds(milliseconds: float | None) -> float | None:
    return None if milliseconds is None else milliseconds / 1e3


def board(zones: Path = ZONES, throttled: Path = GET_THROTTLED) -> dict[str, Any]:
    """Return ``temperature_c`` of the warmest zone and ``throttled`` as text.

    Each is None where the system does not tell; the text is empty where nothing slows the board.
    """
    return {"temperature_c": _temperature(zones), "throttled": _throttled(throttled)}


def _temperature(zones: Path) -> float | None:
    warmest = None
    try:
        places = sorted(zones.glob("thermal_zone*/temp"))
    except OSError:
        return None
    for place in places:
        value = _number(place, 10)
        if value is not None and -50_000 < value < 200_000:  # thousandths of a degree
            warmest = max(value / 1000, warmest or value / 1000)
    return warmest


def _throttled(place: Path) -> str | None:
    bits = _number(place, 16)
    if bits is None:
        return None
    return ", ".join(throttles(bits))


def throttles(bits: int) -> list[str]:
    """Return what the lowest bits of the firmware's word say."""
    return [name for bit, name in enumerate(THROTTLED) if bits >> bit & 1]


def _number(place: Path, base: int) -> int | None:
    try:
        return int(place.read_text(encoding="ascii").strip(), base)
    except (OSError, ValueError):
        return None
