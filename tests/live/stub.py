"""A stand-in for the server of a live session: the page's tests and its makers look at it.

    python -m tests.live.stub [--port 8080] [--task teach|classification|detection|...]

Frames are pictures of a folder, or drawn ones; answers and state are canned; what the page sends is
written down. Faults are attributes: set ``fault`` and the camera is gone, fill ``refusals`` and the
next requests of a path are refused.
"""

import argparse
import base64
import hashlib
import io
import json
import re
import threading
import time
from collections import defaultdict
from dataclasses import dataclass, field
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Final
from urllib.parse import parse_qs, urlsplit

from PIL import Image, ImageDraw, ImageOps

PAGE: Final = Path(__file__).parents[2] / "edge" / "runtime" / "live" / "page.html"
SIZE: Final = (640, 480)
FAULT: Final = {"fault": "gone", "message": "/dev/video0 is gone: was its cable pulled?"}
HOSTILE: Final = "<img src=x onerror=window.hit=1><b>bold</b>"
POINTS: Final = {
    "nose": (320, 90),
    "left shoulder": (390, 170),
    "right shoulder": (250, 170),
    "left elbow": (430, 250),
    "right elbow": (210, 250),
    "left wrist": (440, 330),
    "right wrist": (200, 330),
    "left hip": (365, 310),
    "right hip": (275, 310),
    "left knee": (370, 390),
    "right knee": (270, 390),
    "left ankle": (370, 465),
    "right ankle": (270, 465),
}


@cache
def pictures(folder: Path | None, many: int = 6) -> list[bytes]:
    """Return JPEGs of 640x480: those of a folder, or drawn ones where there is none."""
    found = sorted(folder.rglob("*.jpg"))[:: max(1, 40 // many)] if folder else []
    shown = [ImageOps.fit(Image.open(path).convert("RGB"), SIZE) for path in found[:many]]
    for number in range(many - len(shown)):
        image = Image.new("RGB", SIZE, (60 + 25 * number, 110, 130))
        ImageDraw.Draw(image).ellipse((80 * number, 120, 80 * number + 240, 360), fill="orange")
        shown.append(image)
    return [jpeg(image) for image in shown]


def jpeg(image: Image.Image) -> bytes:
    """Return a picture as a JPEG."""
    stream = io.BytesIO()
    image.save(stream, "JPEG", quality=80)
    return stream.getvalue()


def mask() -> bytes:
    """Return a mask of two classes as the server makes it: RGBA, the background transparent."""
    image = Image.new("RGBA", SIZE, (0, 0, 0, 0))
    pen = ImageDraw.Draw(image)
    pen.ellipse((60, 140, 330, 470), fill=(0, 158, 115, 128))
    pen.rectangle((380, 200, 600, 470), fill=(240, 228, 66, 128))
    stream = io.BytesIO()
    image.save(stream, "PNG")
    return stream.getvalue()


def box(index: int, label: str, score: float, *place: float) -> dict[str, Any]:
    """Return an object as a detector's answer states it."""
    sides = dict(zip(("left", "top", "right", "bottom"), place, strict=True))
    return {"index": index, "label": label, "score": score, **sides, "keypoints": []}


def answer(task: str, number: int) -> dict[str, Any]:
    """Return the answer of a frame, as ``edge predict --json`` states it."""
    base: dict[str, Any] = {"image": f"frame-{number}", "variant": "tflite-int8"}
    if task in ("classification", "teach"):
        rows = [("cat", 0.927), ("dog", 0.061), (HOSTILE, 0.012)]
        if number // 40 % 2:
            rows = [("dog", 0.884), ("cat", 0.101), ("fox", 0.015)]
        return base | {
            "categories": [
                {"index": index, "label": label, "score": score}
                for index, (label, score) in enumerate(rows)
            ]
        }
    base |= {"task": task, "width": SIZE[0], "height": SIZE[1]}
    if task == "detection":
        cats = [box(16, "cat", 0.91, 60, 140, 330, 470), box(16, "cat", 0.64, 20, 5, 180, 130)]
        return base | {"detections": [*cats, box(17, "dog", 0.55, 380, 200, 630, 470)]}
    if task == "segmentation":
        shares = [("background", 0, 0.6), ("cat", 2, 0.27), ("dog", 3, 0.13)]
        segments = [
            {"index": index, "label": label, "share": share, "pixels": int(share * 307200)}
            for label, index, share in shares
        ]
        return base | {"segments": segments}
    if task == "pose":
        points = [
            {"label": label, "x": x, "y": y, "score": 0.2 if "ankle" in label else 0.8}
            for label, (x, y) in POINTS.items()
        ]
        return base | {"poses": [{"score": 0.71, "keypoints": points}]}
    return base | {"embedding": [0.125 * index for index in range(64)]}


@dataclass
class Stub:
    """What the stand-in answers, and what it was asked."""

    task: str = "classification"
    port: int = 0
    folder: Path | None = None
    fps: float = 10.0
    fault: dict[str, str] | None = None
    refusals: dict[str, list[tuple[int, dict[str, Any]]]] = field(
        default_factory=lambda: defaultdict(list)
    )
    asked: list[tuple[str, dict[str, str], bytes]] = field(default_factory=list)
    classes: dict[str, dict[str, Any]] = field(default_factory=dict)
    history: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    doubts: list[dict[str, Any]] = field(default_factory=list)
    exporting: dict[str, Any] = field(default_factory=dict)
    flattered: list[str] = field(default_factory=list)
    duplicates: bool = True  # every third picture is nearly the one before
    token: str | None = None
    most_at_once: int = 0  # requests to teach that ran at the same time

    def __post_init__(self) -> None:
        self._pictures = pictures(self.folder)
        self._began = time.monotonic()
        self._lock = threading.Lock()
        self._teaching = 0
        self._server: Server | None = None
        self.exporting = {
            "offered": self.task == "teach",
            "running": False,
            "message": "",
            "bundle": None,
            "error": None,
        }
        if self.task == "teach" and not self.classes:
            self.classes = {
                "cat": {"built": True, "taught": 0},
                "dog": {"built": True, "taught": 0},
            }

    @property
    def url(self) -> str:
        """Its address."""
        return f"http://127.0.0.1:{self.port}/"

    def start(self) -> None:
        """Serve on the port; the one of before, after ``stop``."""
        self._began = time.monotonic()
        handler = type("OfThis", (Handler,), {"stub": self})
        self._server = Server(("127.0.0.1", self.port), handler)
        self.port = self._server.server_port
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()

    def stop(self) -> None:
        """End as a device does that loses its power: connections are cut."""
        server, self._server = self._server, None
        if server is not None:
            server.shutdown()
            server.server_close()

    @property
    def running(self) -> bool:
        """Whether it serves."""
        return self._server is not None

    def newest(self) -> int:
        """Return the number of the newest frame."""
        return 1 + int((time.monotonic() - self._began) * self.fps)

    def frame(self, after: int, version: int) -> tuple[int, bytes, dict[str, Any]]:
        """Return status, picture and header of a frame with a greater number."""
        end = time.monotonic() + 20
        while time.monotonic() < end and self.running:
            camera = {"ok": self.fault is None, "version": self.version, **(self.fault or {})}
            if version != self.version and (version != -1 or self.fault):
                break
            if self.fault is None and self.newest() != after:
                number = self.newest()
                told = {"number": number, "age_ms": 71.5, "problem": "", "camera": camera}
                told["answer"] = answer(self.task, number)
                return 200, self._pictures[number // 10 % len(self._pictures)], told
            time.sleep(0.01)
        return 204, b"", {"number": 0, "answer": None, "age_ms": None, "camera": camera}

    @property
    def version(self) -> int:
        """The version of the camera's state."""
        return 0 if self.fault is None else 1

    def teach(self, label: str, burst: str) -> dict[str, Any]:
        """Learn a picture; every third one is a duplicate."""
        with self._lock:
            self._teaching += 1
            self.most_at_once = max(self.most_at_once, self._teaching)
        time.sleep(0.03)
        with self._lock:
            self._teaching -= 1
            known = self.classes.setdefault(label, {"built": False, "taught": 0})
            count = sum(path == "/v1/teach" for path, _, _ in self.asked)
            learnt = not (self.duplicates and count % 3 == 0)
            known["taught"] += learnt
            if learnt and (not self.history or self.history[-1][1]["burst"] != burst):
                self.history.append((label, {"burst": burst, "count": 0}))
            if learnt:
                self.history[-1][1]["count"] += 1
        why = "" if learnt else "near-duplicate of a picture that the class has"
        return {
            "label": label,
            "image": f"{count:064x}",
            "learnt": learnt,
            "why": why,
            "seconds": 0.03,
            "taught": self.taught(),
        }

    def undo(self) -> None:
        """Take the last press back."""
        label, press = self.history.pop()
        self.classes[label]["taught"] -= press["count"]
        if not self.classes[label]["taught"] and not self.classes[label]["built"]:
            del self.classes[label]

    def taught(self) -> dict[str, Any] | None:
        """Return what was taught, as the state has it."""
        rows = []
        for label, item in self.classes.items():
            if item["taught"]:
                many = item["taught"]
                right = many - many // 6
                worth = {"right": right, "accuracy": right / many, "low": 0.62, "high": 0.96}
                rows.append(
                    {"label": label, "pictures": many, "judged": many, "bursts": 2, **worth}
                )
        if not rows:
            return None
        pictures, right = sum(row["pictures"] for row in rows), sum(row["right"] for row in rows)
        last = self.history[-1] if self.history else None
        wrong = pictures - right
        return {
            "classes": rows,
            "right": right,
            "pictures": pictures,
            "judged": pictures,
            "accuracy": right / pictures,
            "low": 0.71,
            "high": 0.95,
            "held_out": "press",
            "note": "Each press of the button was left out in turn; pictures of other days may "
            "be harder.",
            "confusion": [{"label": "cup", "answered": "cat", "count": wrong}] * bool(wrong),
            "remove": self.doubts,
            "undo": f"teaching {last[1]['count']} pictures of {last[0]}" if last else None,
        }

    def state(self) -> dict[str, Any]:
        """Return the whole state."""
        teachable = self.task == "teach"
        task = "classification" if teachable else self.task
        fault = self.fault
        return {
            "name": "desk" if teachable else f"{task} of the hall",
            "task": task,
            "bundle": "/home/pi/edge/current",
            "release": "2026-11-28.1",
            "variant": "tflite-int8",
            "engine": "litert",
            "threads": 4,
            "accuracy": {"top1": 0.98, "low": 0.95, "high": 0.992, "images": 200}
            | {"flattered": self.flattered}
            if task == "classification"
            else None,
            "labels": list(self.classes) or ["cat", "dog"],
            "classes": [{"label": label, **item} for label, item in self.classes.items()],
            "multi_label": False,
            "camera": {
                "ok": fault is None,
                "address": "/dev/video0",
                "name": "HD Webcam C525",
                "format": "MJPG",
                "width": SIZE[0],
                "height": SIZE[1],
                "rate": 30.0,
                **(fault or {"fault": None, "message": None}),
            },
            "rates": {
                "fps": 9.8,
                "camera_fps": 30.0,
                "age_ms": {"median": 71.5, "p95": 112.0, "max": 240.1},
                "inference_ms": 38.42,
                "preprocess_ms": 6.1,
                "postprocess_ms": 0.4,
                "frames": self.newest(),
                "dropped": 2 * self.newest(),
            },
            "board": {"temperature_c": 61.4, "throttled": None},
            "smoothing": 5 if task == "classification" else 1,
            "teachable": teachable,
            "why_not_teachable": ""
            if teachable
            else "The bundle has no head that can learn; make one with edge few.",
            "taught": self.taught() if teachable else None,
            "export": self.exporting,
        }

    def do(self, path: str, query: dict[str, str], body: bytes) -> dict[str, Any]:
        """Answer a POST; what it was is in ``asked`` already."""
        if path == "/v1/teach":
            return self.teach(query["label"], query.get("burst", ""))
        if path == "/v1/predict":
            return answer(self.task, self.newest())
        if path == "/v1/undo":
            self.undo()
        said = json.loads(body)
        if path == "/v1/forget":
            self.classes[said["label"]]["taught"] = 0
            self.classes = {k: v for k, v in self.classes.items() if v["built"] or v["taught"]}
        elif path == "/v1/rename":
            self.classes = {
                said["to"] if label == said["label"] else label: item
                for label, item in self.classes.items()
            }
        elif path == "/v1/remove":
            self.doubts = [item for item in self.doubts if item["image"] not in said["images"]]
        elif path == "/v1/export":
            self.exporting |= {"bundle": f"/home/ada/{said['name']}", "message": "done"}
        return {"ok": True}


class Server(ThreadingHTTPServer):
    """Cuts its connections when it ends."""

    daemon_threads = True
    block_on_close = False

    def __init__(self, *arguments: Any) -> None:
        self.connections: set[Any] = set()
        super().__init__(*arguments)

    def process_request(self, request: Any, client_address: Any) -> None:
        self.connections.add(request)
        super().process_request(request, client_address)

    def server_close(self) -> None:
        super().server_close()
        for connection in list(self.connections):
            self.shutdown_request(connection)

    def shutdown_request(self, request: Any) -> None:
        self.connections.discard(request)
        super().shutdown_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A page that went away is none."""


class Handler(BaseHTTPRequestHandler):
    """One connection."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = 1 << 16
    stub: Stub

    def log_message(self, *_: Any) -> None:
        """Say nothing."""

    def do_GET(self) -> None:
        url = urlsplit(self.path)
        query = {key: values[0] for key, values in parse_qs(url.query).items()}
        if self._refused(url.path):
            return
        if url.path == "/" and "token" in query:
            cookie = f"edge-live={query['token']}; HttpOnly; SameSite=Strict; Path=/"
            self._answer(303, b"", "text/plain", {"Location": "/", "Set-Cookie": cookie})
        elif url.path == "/":
            page = PAGE.read_bytes()
            self._answer(
                200, page, "text/html; charset=utf-8", {"Content-Security-Policy": policy(page)}
            )
        elif url.path == "/frame.jpg":
            status, picture, told = self.stub.frame(
                int(query.get("after", 0)), int(query.get("camera", -1))
            )
            self._answer(status, picture, "image/jpeg", {"X-Edge-Frame": json.dumps(told)})
        elif url.path == "/v1/state":
            self._json(200, self.stub.state())
        elif url.path == "/mask.png":
            self._answer(200, mask(), "image/png")
        elif url.path == "/v1/thumbnail":
            self._answer(200, jpeg(Image.new("RGB", (96, 72), (180, 120, 60))), "image/jpeg")
        else:
            self._json(404, {"error": f"there is no {url.path}", "hint": ""})

    def do_POST(self) -> None:
        url = urlsplit(self.path)
        query = {key: values[0] for key, values in parse_qs(url.query).items()}
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if self._refused(url.path):
            return
        self.stub.asked.append((url.path, query, body))
        self._json(200, self.stub.do(url.path, query, body))

    def _refused(self, path: str) -> bool:
        planned = self.stub.refusals[path]
        if planned:
            self._json(*planned.pop(0))
            return True
        token = self.stub.token
        if path != "/" and token and self.headers.get("Cookie") != f"edge-live={token}":
            self._json(401, {"error": "a token is needed", "hint": ""})
            return True
        return False

    def _json(self, status: int, value: dict[str, Any]) -> None:
        headers = {"Retry-After": "1"} if status == 429 else {}
        self._answer(status, json.dumps(value).encode(), "application/json", headers)

    def _answer(
        self, status: int, body: bytes, kind: str, headers: dict[str, str] | None = None
    ) -> None:
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        if status != 204:
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
        self.send_header("Cache-Control", "no-store")
        self.end_headers()
        self.wfile.write(body)


def policy(page: bytes) -> str:
    """Return the Content-Security-Policy that lets the page's own style and script run."""
    sources = {}
    for tag in (b"style", b"script"):
        [inside] = re.findall(b"<%s>(.*?)</%s>" % (tag, tag), page, re.DOTALL)
        sources[tag] = base64.b64encode(hashlib.sha256(inside).digest()).decode()
    return (
        f"default-src 'none'; script-src 'sha256-{sources[b'script']}'; "
        f"style-src 'sha256-{sources[b'style']}'; img-src 'self' data: blob:; connect-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )


def main() -> None:
    """Serve until Ctrl-C."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, default=8080)
    parser.add_argument("--task", default="teach")
    parser.add_argument("--folder", type=Path)
    options = parser.parse_args()
    stub = Stub(task=options.task, port=options.port, folder=options.folder)
    stub.start()
    print(stub.url, flush=True)
    threading.Event().wait()


if __name__ == "__main__":
    main()
