"""The interface: what each address answers. The page is one of its users, programs are others."""

import hashlib
import json
import time
from base64 import b64encode
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import edge
from edge.errors import EdgeError, ImageError, InferenceError, OutputError, Overloaded, UsageError
from edge.runtime import checked
from edge.runtime.bundle import Bundle
from edge.runtime.live.hooks import Exporter, Keeper
from edge.runtime.live.pipeline import Pipeline
from edge.runtime.live.server import HttpRequest, HttpResponse, json_response
from edge.runtime.live.statements import accuracy, answer_of, board, frame_header, mask_png, metrics
from edge.runtime.spec import Variant
from edge.runtime.streams import say
from edge.runtime.tasks.model import TaskModel
from edge.runtime.teach.teacher import Learnt, Teacher

POLL_SECONDS: Final = 20.0
COMMENT_SECONDS: Final = 10.0
MAX_JSON: Final = 256 << 10  # bytes of a request
PAGE: Final = Path(__file__).with_name("page.html")
OPENAPI: Final = Path(__file__).with_name("openapi.json")
JPEG: Final = "image/jpeg"
OFFERED_NOWHERE: Final = {
    "offered": False,
    "running": False,
    "message": "",
    "bundle": None,
    "error": None,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class LiveContext:
    """All that the interface is of.

    Attributes:
        bundle: The bundle that answers.
        variant: The model file of it.
        threads: CPU threads of one inference.
        pipeline: Camera and model.
        teacher: Learns; None where the bundle cannot.
        why_not: Why it cannot; empty where it can.
        keeper: Is told of what is taught.
        exporter: Makes a bundle of it.
        release: The id of the release, where a service runs it.
        began: ``time.monotonic()`` of the start.
    """

    bundle: Bundle
    variant: Variant
    threads: int
    pipeline: Pipeline
    teacher: Teacher | None
    why_not: str
    keeper: Keeper | None
    exporter: Exporter | None
    release: str | None
    began: float


class Api:
    """Answers requests.

    Args:
        session: What they are about.
        codes: Responses by status so far, for the metrics.

    Attributes:
        page: The bytes of the page.
    """

    def __init__(self, session: LiveContext, codes: Callable[[], Mapping[int, int]]) -> None:
        self._session = session
        self._pipeline = session.pipeline
        self._codes = codes
        self.page: Final = PAGE.read_bytes()
        self._accuracy = accuracy(session.bundle, session.variant)
        self._routes: dict[tuple[str, str], Callable[[HttpRequest], HttpResponse]] = {
            ("GET", "/"): self._show_page,
            ("GET", "/frame.jpg"): self._frame,
            ("GET", "/mask.png"): self._mask,
            ("GET", "/stream.mjpg"): self._mjpeg,
            ("GET", "/v1/state"): self._state,
            ("GET", "/v1/events"): self._events,
            ("GET", "/v1/health"): self._health,
            ("GET", "/v1/metrics"): self._metrics,
            ("GET", "/v1/openapi.json"): self._openapi,
            ("GET", "/v1/thumbnail"): self._thumbnail,
            ("POST", "/v1/predict"): self._predict,
            ("POST", "/v1/teach"): self._teach,
            ("POST", "/v1/forget"): self._forget,
            ("POST", "/v1/rename"): self._rename,
            ("POST", "/v1/remove"): self._remove,
            ("POST", "/v1/undo"): self._undo,
            ("POST", "/v1/export"): self._export,
        }

    @property
    def methods(self) -> dict[str, frozenset[str]]:
        """The methods of each path."""
        paths: dict[str, frozenset[str]] = {}
        for method, path in self._routes:
            paths[path] = paths.get(path, frozenset()) | {method}
        return paths

    def answer(self, request: HttpRequest) -> HttpResponse:
        """Answer a request to a path and method that there is; whatever goes wrong is said."""
        try:
            return self._routes[request.method, request.path](request)
        except Overloaded as error:
            return _error(error, 429, Retry_After="1")
        except ImageError as error:
            return _error(error, 415)
        except UsageError as error:
            return _error(error, 507 if isinstance(error, OutputError) else 400)
        except InferenceError as error:
            return _error(error, 500)
        except EdgeError as error:
            return _error(error, 409)
        except Exception as error:  # a fault of ours ends one answer, not the service
            said = f"{request.path} failed: {type(error).__name__}: {error}"
            say(f"error: {said}", err=True)
            return _error(EdgeError(said), 500)

    # Pictures.

    def _show_page(self, request: HttpRequest) -> HttpResponse:  # noqa: ARG002
        return HttpResponse(content_type="text/html; charset=utf-8", body=self.page)

    def _frame(self, request: HttpRequest) -> HttpResponse:
        number, version = _number(request, "after", 0), _number(request, "camera", -1)
        shown = self._pipeline.after(number, version=version, seconds=POLL_SECONDS)
        headers = {"X-Edge-Frame": frame_header(shown, self._pipeline.camera)}
        if shown is None:
            return HttpResponse(status=204, headers=headers)
        return HttpResponse(content_type=JPEG, body=shown.frame.jpeg, headers=headers)

    def _mask(self, request: HttpRequest) -> HttpResponse:
        shown = self._pipeline.kept(_number(request, "number", 0))
        content = None if shown is None else mask_png(shown)
        if content is None:
            return json_response({"error": "no mask of that frame is kept", "hint": ""}, 404)
        return HttpResponse(content_type="image/png", body=content)

    def _mjpeg(self, request: HttpRequest) -> HttpResponse:  # noqa: ARG002
        kind = "multipart/x-mixed-replace; boundary=edge"
        return HttpResponse(content_type=kind, stream=self._parts())

    def _parts(self) -> Iterator[bytes]:
        """Yield pictures; the head of the next part at once, without which browsers show none."""
        head = b"--edge\r\nContent-Type: image/jpeg\r\n\r\n"
        yield head
        number = 0
        while not self._pipeline.stopped:
            shown = self._pipeline.after(number, version=-1, seconds=POLL_SECONDS)
            if shown is None:
                time.sleep(1.0)  # the camera is away: the viewer keeps the last picture
                continue
            number = shown.number
            yield shown.frame.jpeg + b"\r\n" + head

    def _thumbnail(self, request: HttpRequest) -> HttpResponse:
        teacher = self._teacher()
        content = teacher.thumbnail(request.query.get("image", ""))
        return HttpResponse(content_type=JPEG, body=content)

    # What is known.

    def _state(self, request: HttpRequest) -> HttpResponse:  # noqa: ARG002
        return json_response(self.state())

    def state(self) -> dict[str, Any]:
        """Return everything that the page shows beside the picture; docs/live.md has the fields."""
        session, live = self._session, self._pipeline.model
        manifest, model = session.bundle.manifest, live.model
        taught = None if session.teacher is None else session.teacher.state()
        counts = {} if session.teacher is None else session.teacher.taught.labels
        labels = list(model.labels)
        exporter = session.exporter
        return {
            "name": manifest.name,
            "task": str(model.task) if isinstance(model, TaskModel) else "classification",
            "bundle": str(session.bundle.path),
            "release": session.release,
            "variant": session.variant.name,
            "engine": model.session.engine,
            "threads": session.threads,
            "accuracy": self._accuracy,
            "labels": labels,
            "classes": [
                {"label": it, "built": it in manifest.labels, "taught": counts.get(it, 0)}
                for it in labels
            ],
            "multi_label": manifest.output.multi_label,
            "camera": self._pipeline.camera.to_json(),
            "rates": self._pipeline.figures(),
            "board": board(),
            "smoothing": live.smoothing,
            "teachable": session.teacher is not None,
            "why_not_teachable": session.why_not,
            "taught": taught,
            "export": OFFERED_NOWHERE if exporter is None else exporter.state,
            "server": {"edge": edge.__version__},
        }

    def _events(self, request: HttpRequest) -> HttpResponse:  # noqa: ARG002
        return HttpResponse(content_type="text/event-stream", stream=self._event_lines())

    def _event_lines(self) -> Iterator[bytes]:
        number = 0
        while not self._pipeline.stopped:
            shown = self._pipeline.after(number, version=-1, seconds=COMMENT_SECONDS)
            if shown is None:
                yield b": nothing new\n\n"
                if not self._pipeline.camera.ok:
                    time.sleep(1.0)
                continue
            number = shown.number
            value = {
                "number": number,
                "age_ms": round(1e3 * shown.age, 1),
                "answer": answer_of(shown),
            }
            yield f"data: {json.dumps(value, ensure_ascii=False)}\n\n".encode()

    def _health(self, request: HttpRequest) -> HttpResponse:  # noqa: ARG002
        value = self.health()
        return json_response(value, 200 if value["ok"] else 503)

    def health(self) -> dict[str, Any]:
        """Return whether the service does its work, and why not."""
        session, camera = self._session, self._pipeline.camera
        reason = "" if camera.ok else f"camera: {camera.message}"
        if self._pipeline.hangs:
            reason = "the model does not answer"
        return {
            "ok": not reason,
            "reason": reason or None,
            "release": session.release,
            "variant": session.variant.name,
            "engine": self._pipeline.model.model.session.engine,
            "camera": camera.to_json(),
            "uptime_s": round(time.monotonic() - session.began, 3),
        }

    def _metrics(self, request: HttpRequest) -> HttpResponse:  # noqa: ARG002
        teacher = self._session.teacher
        pictures = 0 if teacher is None else len(teacher.taught.examples)
        uptime = time.monotonic() - self._session.began
        text = metrics(self._pipeline, self._codes(), pictures, uptime)
        return HttpResponse(content_type="text/plain; version=0.0.4", body=text.encode())

    def _openapi(self, request: HttpRequest) -> HttpResponse:  # noqa: ARG002
        return HttpResponse(body=OPENAPI.read_bytes())

    # Work.

    def _predict(self, request: HttpRequest) -> HttpResponse:
        name = request.query.get("name", "picture")[:200]
        content = _picture(request)
        answered = self._pipeline.do(lambda model: model.answer(content, name=name))
        return json_response(answered.stated)

    def _teach(self, request: HttpRequest) -> HttpResponse:
        began = time.perf_counter()
        teacher = self._teacher()
        label, burst = _text(request.query, "label"), request.query.get("burst", "")[:100]
        content = self._taught_picture(request)
        vector = self._pipeline.do(lambda model: model.embedding(content))
        step = request.query.get("step", "")[:64]
        learnt = teacher.add(label, content, vector, burst, step=step)
        if learnt.learnt:
            self._keep(teacher, learnt, content, burst)
        value = {
            "label": learnt.label,
            "image": learnt.image,
            "learnt": learnt.learnt,
            "why": learnt.why,
            "seconds": round(time.perf_counter() - began, 4),
            "taught": teacher.state(),
        }
        return json_response(value)

    def _keep(self, teacher: Teacher, learnt: Learnt, content: bytes, burst: str) -> None:
        """Have the picture kept; what cannot be kept is not taught either."""
        if self._session.keeper is None:
            return
        try:
            self._session.keeper.taught(learnt.label, learnt.image, content, burst)
        except OutputError:
            teacher.remove([learnt.image], learnt.label)
            raise

    def _taught_picture(self, request: HttpRequest) -> bytes:
        source = request.query.get("from")
        if source is None:
            return _picture(request)
        if source != "camera":
            raise UsageError(
                "from can only be camera", hint="Leave it out to send a picture as the body."
            )
        frame = self._pipeline.newest
        if frame is None:
            raise UsageError(
                f"the camera gives no picture: {self._pipeline.camera.message}",
                hint="Send a picture as the body of the request.",
            )
        return frame.jpeg

    def _check_settled(self) -> None:
        """Refuse to move pictures that an export reads.

        Raises:
            EdgeError: One is running.
        """
        exporter = self._session.exporter
        if exporter is not None and exporter.state["running"]:
            raise EdgeError(
                "an export is running, and reads the pictures where they are",
                hint="Wait until it has ended; pictures may be added meanwhile.",
            )

    def _forget(self, request: HttpRequest) -> HttpResponse:
        self._check_settled()
        gone = self._teacher().forget(_text(_json(request), "label"))
        return self._changed({"forgotten": gone})

    def _rename(self, request: HttpRequest) -> HttpResponse:
        self._check_settled()
        value = _json(request)
        count = self._teacher().rename(_text(value, "label"), _text(value, "to"))
        return self._changed({"pictures": count})

    def _remove(self, request: HttpRequest) -> HttpResponse:
        self._check_settled()
        images = _json(request).get("images")
        if not isinstance(images, list) or not all(isinstance(item, str) for item in images):
            raise UsageError("images has to be a list of sha256 sums")
        return self._changed({"removed": self._teacher().remove(images)})

    def _undo(self, request: HttpRequest) -> HttpResponse:
        _json(request)
        self._check_settled()
        return self._changed({"undone": self._teacher().undo()})

    def _changed(self, value: dict[str, Any]) -> HttpResponse:
        """Tell the keeper what is taught now, and answer."""
        teacher, keeper = self._teacher(), self._session.keeper
        if keeper is not None:
            keeper.changed(teacher.taught.by_image)
        return json_response(value | {"taught": teacher.state()})

    def _export(self, request: HttpRequest) -> HttpResponse:
        if self._session.exporter is None:
            raise EdgeError(
                "this server makes no bundles",
                hint="edge live without a bundle and without --no-pictures does, where edge is "
                "installed.",
            )
        self._session.exporter.start(_text(_json(request), "name"))
        return json_response(self._session.exporter.state, 202)

    def _teacher(self) -> Teacher:
        teacher = self._session.teacher
        if teacher is None:
            raise EdgeError(self._session.why_not)
        return teacher


def _error(error: EdgeError, status: int, **headers: str) -> HttpResponse:
    return json_response({"error": error.message, "hint": error.hint}, status, **headers)


def _number(request: HttpRequest, name: str, otherwise: int) -> int:
    text = request.query.get(name, "")
    return int(text) if text.isascii() and text.isdigit() and len(text) < 16 else otherwise


def _text(value: Mapping[str, Any], name: str) -> str:
    text = value.get(name)
    if not isinstance(text, str) or not text:
        raise UsageError(f"{name} is missing, or no text")
    return text


def _picture(request: HttpRequest) -> bytes:
    if not request.body:
        raise UsageError(
            "the body of the request is empty; a picture is expected",
            hint="For example: curl --data-binary @photo.jpg http://127.0.0.1:8080/v1/predict",
        )
    return request.body


def _json(request: HttpRequest) -> dict[str, Any]:
    kind = request.headers.get("Content-Type", "").partition(";")[0].strip().lower()
    if kind != "application/json":
        raise UsageError("the body has to be JSON", hint="Send Content-Type: application/json.")
    try:
        value = checked.parse_json(request.body, "the body", max_bytes=MAX_JSON)
    except ValueError as error:
        raise UsageError(str(error)) from error
    if not isinstance(value, dict):
        raise UsageError("the body has to be a JSON object")
    return value


def security_headers(content: bytes) -> dict[str, str]:
    """Return headers that let a browser run what stands in the page, and nothing else.

    Args:
        content: The page; its one script and one style sheet are allowed by their hashes.
    """
    script, style = (_hash_of(content, tag) for tag in (b"script", b"style"))
    rules = (
        "default-src 'none'",
        f"script-src {script}",
        f"style-src {style}",
        "img-src 'self' blob: data:",
        "media-src blob:",
        "connect-src 'self'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
    )
    return {
        "Content-Security-Policy": "; ".join(rules),
        "Cross-Origin-Opener-Policy": "same-origin",
        "Cross-Origin-Resource-Policy": "same-origin",
        "X-Content-Type-Options": "nosniff",
        "Referrer-Policy": "no-referrer",
        "Permissions-Policy": "camera=(self), fullscreen=(self)",
        "Cache-Control": "no-store",
    }


def _hash_of(content: bytes, tag: bytes) -> str:
    """Return the source expression of the only element of that name."""
    before, _, after = content.partition(b"<" + tag + b">")
    inner, end, _ = after.partition(b"</" + tag + b">")
    if not before or not end:
        return "'none'"
    return f"'sha256-{b64encode(hashlib.sha256(inner).digest()).decode()}'"
