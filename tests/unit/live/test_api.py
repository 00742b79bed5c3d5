"""What each address answers, on a tiny bundle that learns, with a camera that the test feeds."""

import base64
import hashlib
import json
import re
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from edge.errors import OutputError, Overloaded, UsageError
from edge.runtime.bundle import Bundle
from edge.runtime.cameras.camera import CameraFault
from edge.runtime.live import api as api_module
from edge.runtime.live.api import OPENAPI, PAGE, Api, LiveContext, security_headers
from edge.runtime.live.model import LiveModel
from edge.runtime.live.pipeline import Pipeline
from edge.runtime.live.server import HttpRequest, HttpResponse
from edge.runtime.output import HeadKind
from edge.runtime.tasks.model import open_predictor
from edge.runtime.teach.teacher import Teacher
from tests.unit.golden_bundle import golden_bundle
from tests.unit.head_bundle import COLORS, bundle_to_begin_with, head_bundle
from tests.unit.live.scripted import ScriptedCamera, until


def jpeg(color: str, seed: int) -> bytes:
    noise = np.random.default_rng(seed).integers(-30, 31, (20, 20, 3))
    stream = BytesIO()
    pixels = (np.array(COLORS[color]) + noise).clip(0, 255).astype(np.uint8)
    Image.fromarray(pixels).save(stream, "JPEG", quality=95)
    return stream.getvalue()


class Kept:
    """A keeper that notes what it is told."""

    def __init__(self) -> None:
        self.pictures: dict[str, str] = {}
        self.bursts: dict[str, str] = {}
        self.fails = False

    def taught(self, label: str, image: str, jpeg: bytes, burst: str) -> None:
        if self.fails:
            raise OutputError("the disk is full")
        assert hashlib.sha256(jpeg).hexdigest() == image
        self.pictures[image] = label
        self.bursts[image] = burst

    def changed(self, examples: dict[str, str]) -> None:
        self.pictures = dict(examples)


class Exports:
    """An exporter that notes what it is asked for."""

    def __init__(self) -> None:
        self.names: list[str] = []

    @property
    def state(self) -> dict[str, Any]:
        return {"offered": True, "running": bool(self.names)}

    def start(self, name: str) -> None:
        if self.names:
            raise UsageError("one is running")
        self.names.append(name)

    def close(self) -> None: ...


class Living:
    """An interface with what it stands on."""

    def __init__(self, folder: Path, *, learns: bool = True) -> None:
        bundle = Bundle.open(folder)
        variant = bundle.manifest.variant(None)
        self.camera, self.keeper, self.exporter = ScriptedCamera(), Kept(), Exports()
        model = LiveModel(open_predictor(bundle), variant=variant.name)
        self.pipeline = Pipeline(model, lambda: self.camera, address="scripted")
        self.session = LiveContext(
            bundle=bundle,
            variant=variant,
            threads=1,
            pipeline=self.pipeline,
            teacher=Teacher(bundle, variant) if learns else None,
            why_not="" if learns else "it has a trained head",
            keeper=self.keeper,
            exporter=self.exporter,
            release="7",
            began=time.monotonic(),
        )
        self.api = Api(self.session, lambda: {200: 3})
        self.pipeline.start()

    def close(self) -> None:
        self.camera.end()
        self.pipeline.close()

    def get(self, path: str, **query: str) -> HttpResponse:
        return self.api.answer(HttpRequest(method="GET", path=path, query=query, headers={}))

    def post(self, path: str, body: bytes = b"", **query: str) -> HttpResponse:
        given = HttpRequest(method="POST", path=path, query=query, headers={}, body=body)
        return self.api.answer(given)

    def tell(self, path: str, value: Any, kind: str = "application/json") -> HttpResponse:
        body = value if isinstance(value, bytes) else json.dumps(value).encode()
        headers = {"Content-Type": kind}
        return self.api.answer(
            HttpRequest(method="POST", path=path, query={}, headers=headers, body=body)
        )

    def teach(self, label: str, color: str, seed: int, burst: str = "") -> dict[str, Any]:
        response = self.post("/v1/teach", jpeg(color, seed), label=label, burst=burst)
        assert response.status == 200, response.body
        value: dict[str, Any] = json.loads(response.body)
        return value


@pytest.fixture(autouse=True)
def three_features_tell_little(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a real embedding pictures of one colour are further apart."""
    monkeypatch.setattr("edge.runtime.teach.lesson.NEAR", 0.999999)


@pytest.fixture
def living(tmp_path: Path) -> Iterator[Living]:
    made = Living(head_bundle(tmp_path / "bundle", HeadKind.KNN))
    yield made
    made.close()


def read(response: HttpResponse) -> Any:
    return json.loads(response.body)


def until_shown(living: Living) -> None:
    end = time.monotonic() + 60
    while living.pipeline.shown is None:
        assert time.monotonic() < end
        time.sleep(0.005)


def test_a_frame_comes_with_its_own_answer(living: Living) -> None:
    picture = jpeg("red", 1)
    living.camera.give(jpeg=picture)
    until_shown(living)
    response = living.get("/frame.jpg", after="0")
    assert response.body == picture
    told = json.loads(response.headers["X-Edge-Frame"].encode("ascii"))
    assert told["answer"]["categories"][0]["label"] == "red"
    assert told["camera"] == {"ok": True, "version": living.pipeline.camera.version}
    whole = read(living.post("/v1/predict", picture, name="a.jpg"))
    assert whole["image"] == "a.jpg"
    short, long = told["answer"]["categories"][0]["score"], whole["categories"][0]["score"]
    assert short == pytest.approx(long, rel=1e-5)


def test_a_camera_that_is_away_is_told_with_its_reason(living: Living) -> None:
    living.camera.patience = 0.01
    end = time.monotonic() + 60
    while living.pipeline.camera.message != "no picture came":
        assert time.monotonic() < end
        time.sleep(0.005)
    response = living.get("/frame.jpg", after="0")
    assert (response.status, response.body) == (204, b"")
    told = json.loads(response.headers["X-Edge-Frame"])
    assert (told["answer"], told["camera"]["fault"]) == (None, "no-picture")
    health = living.get("/v1/health")
    assert health.status == 503
    assert read(health)["reason"] == "camera: no picture came"
    taught = living.post("/v1/teach", label="x", **{"from": "camera"})
    assert taught.status == 400
    assert "no picture came" in read(taught)["error"]


def test_a_camera_that_is_pulled_out_while_it_teaches_loses_nothing(living: Living) -> None:
    def shown(seed: int) -> None:
        living.camera.give(jpeg=jpeg("blue", seed))
        seen = 0 if living.pipeline.shown is None else living.pipeline.shown.number
        assert living.pipeline.after(seen, version=-1, seconds=5) is not None

    def taught() -> HttpResponse:
        return living.post("/v1/teach", label="x", burst="one press", **{"from": "camera"})

    for seed in range(2):
        shown(seed)
        assert read(taught())["learnt"]
    living.camera.fail(CameraFault.GONE, "its cable was pulled")
    until(lambda: not living.pipeline.camera.ok)
    refused = taught()
    assert refused.status == 400
    assert "its cable was pulled" in read(refused)["error"]
    assert len(living.keeper.pictures) == read(living.get("/v1/state"))["taught"]["pictures"] == 2
    until(lambda: living.pipeline.camera.ok)  # it was plugged in again
    shown(2)
    answer = read(taught())
    assert (answer["learnt"], answer["taught"]["pictures"]) == (True, 3)
    assert answer["taught"]["classes"][0]["bursts"] == 1


def test_a_class_is_taught_judged_renamed_forgotten_and_brought_back(living: Living) -> None:
    for seed in range(4):
        value = living.teach("blue", "blue", seed, burst=str(seed // 2))
        assert (value["learnt"], value["label"]) == (True, "blue")
    assert not living.teach("blue", "blue", 0)["learnt"]
    state = read(living.get("/v1/state"))
    assert state["classes"][-1] == {"label": "blue", "built": False, "taught": 4}
    assert state["taught"]["classes"][0]["held_out"] == "press"
    assert state["taught"]["pictures"] == 4
    answer = read(living.post("/v1/predict", jpeg("blue", 99)))
    assert answer["categories"][0]["label"] == "blue"
    image = value["image"]
    assert living.keeper.pictures[image] == "blue"
    assert sorted(living.keeper.bursts.values()) == ["0", "0", "1", "1"]
    thumbnail = living.get("/v1/thumbnail", image=image)
    assert Image.open(BytesIO(thumbnail.body)).format == "JPEG"
    assert read(living.tell("/v1/rename", {"label": "blue", "to": "青"}))["pictures"] == 4
    assert living.keeper.pictures[image] == "青"
    assert read(living.tell("/v1/remove", {"images": [image]}))["removed"] == 1
    assert image not in living.keeper.pictures
    assert living.tell("/v1/undo", {}).status == 200
    assert living.keeper.pictures[image] == "青"
    assert living.tell("/v1/forget", {"label": "青"}).status == 200
    assert read(living.get("/v1/state"))["labels"] == ["red", "grün"]
    living.tell("/v1/undo", {})
    assert "青" in read(living.get("/v1/state"))["labels"]


def test_a_bundle_without_a_class_is_taught_from_nothing(tmp_path: Path) -> None:
    living = Living(bundle_to_begin_with(tmp_path / "bundle", HeadKind.IMPRINTED))
    try:
        assert read(living.post("/v1/predict", jpeg("red", 1)))["categories"] == []
        for color in ("red", "blue"):
            for seed in range(3):
                living.teach(color, color, seed)
        answer = read(living.post("/v1/predict", jpeg("blue", 9)))
        assert answer["categories"][0]["label"] == "blue"
    finally:
        living.close()


def test_a_bundle_that_cannot_learn_says_why(tmp_path: Path) -> None:
    living = Living(golden_bundle(tmp_path / "bundle"), learns=False)
    try:
        state = read(living.get("/v1/state"))
        told = (state["teachable"], state["why_not_teachable"], state["taught"])
        assert told == (False, "it has a trained head", None)
        for response in (living.post("/v1/teach", b"x", label="a"), living.tell("/v1/undo", {})):
            assert (response.status, read(response)["error"]) == (409, "it has a trained head")
    finally:
        living.close()


LONG = "x" * 10_000


@pytest.mark.parametrize(
    ("label", "status"),
    [
        ("<b onmouseover=alert(1)>&amp;</b>", 200),
        ("🐈 cat", 200),
        (LONG, 400),
        ("", 400),
        (" a", 400),
        ("a\x00b", 400),
        ("a\u202eb", 400),
        ("a\u200b", 400),
        ("\ufeff", 400),
        ("\U000e0001x", 400),
        ("\ud800", 400),
        ("RED", 400),  # differs from red in capitals alone
    ],
)
def test_labels_of_all_kinds(living: Living, label: str, status: int) -> None:
    response = living.post("/v1/teach", jpeg("blue", 1), label=label)
    assert response.status == status, response.body
    value = read(response)
    if status == 200:
        assert value["label"] == label
    else:
        assert value["error"]
        assert len(response.body) < 12_000
    assert living.get("/v1/state").status == 200


@pytest.mark.parametrize(
    ("path", "value", "kind", "said"),
    [
        ("/v1/forget", {"label": "none"}, "application/json", "none"),
        ("/v1/forget", {"label": 5}, "application/json", "label is missing, or no text"),
        ("/v1/forget", [], "application/json", "JSON object"),
        ("/v1/forget", b"{", "application/json", "no JSON"),
        ("/v1/forget", b"[" * 100_000, "application/json", "the body is nested"),
        ("/v1/forget", {"label": "a"}, "text/plain", "has to be JSON"),
        ("/v1/remove", {"images": "a"}, "application/json", "list of sha256"),
        ("/v1/undo", {}, "application/json", ""),
        ("/v1/export", {}, "application/json", "name is missing"),
    ],
)
def test_what_cannot_be_acted_on(
    living: Living, path: str, value: Any, kind: str, said: str
) -> None:
    response = living.tell(path, value, kind)
    assert response.status in (400, 409)
    assert said in read(response)["error"]


@pytest.mark.parametrize("body", [b"", b"no picture", b"\xff\xd8\xff\xd9", jpeg("red", 1)[:200]])
def test_what_is_no_picture(living: Living, body: bytes) -> None:
    for response in (living.post("/v1/predict", body), living.post("/v1/teach", body, label="a")):
        assert response.status in (400, 415)
        assert read(response)["error"]
    assert living.session.teacher is not None
    assert not living.session.teacher.taught.examples


def test_two_browsers_teach_at_once(living: Living) -> None:
    def teach(label: str, color: str) -> None:
        for seed in range(8):
            while living.post("/v1/teach", jpeg(color, seed), label=label).status == 429:
                time.sleep(0.01)

    threads = [
        threading.Thread(target=teach, args=words)
        for words in (("one", "red"), ("two", "blue"), ("three", "grün"))
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert living.session.teacher is not None
    counts = living.session.teacher.taught.labels
    assert set(counts) == {"one", "two", "three"}
    assert len(living.keeper.pictures) == sum(counts.values())


def test_a_disk_that_is_full(living: Living, monkeypatch: pytest.MonkeyPatch) -> None:
    living.teach("blue", "blue", 1)

    def full(path: Path, content: bytes) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr("edge.runtime.teach.taught.write_bytes", full)
        response = living.post("/v1/teach", jpeg("blue", 2), label="blue")
        assert response.status == 507
        assert "No space left" in read(response)["error"]
    assert read(living.get("/v1/state"))["taught"]["pictures"] == 1
    living.teach("blue", "blue", 2)


def test_a_picture_that_the_keeper_cannot_keep_is_not_taught(living: Living) -> None:
    living.keeper.fails = True
    response = living.post("/v1/teach", jpeg("blue", 1), label="blue")
    assert response.status == 507
    assert "the disk is full" in read(response)["error"]
    assert living.session.teacher is not None
    assert not living.session.teacher.taught.examples


def test_the_export_is_begun_once(living: Living) -> None:
    assert living.tell("/v1/export", {"name": "mine"}).status == 202
    assert living.tell("/v1/export", {"name": "mine"}).status == 400
    assert living.exporter.names == ["mine"]
    elsewhere = Api(replace(living.session, exporter=None), lambda: {})
    response = elsewhere.answer(
        HttpRequest(
            method="POST",
            path="/v1/export",
            query={},
            headers={"Content-Type": "application/json"},
            body=b'{"name": "a"}',
        )
    )
    assert response.status == 409


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("/v1/forget", {"label": "blue"}),
        ("/v1/rename", {"label": "blue", "to": "sky"}),
        ("/v1/remove", {"images": [hashlib.sha256(jpeg("blue", 1)).hexdigest()]}),
        ("/v1/undo", {}),
    ],
)
def test_pictures_stay_where_an_export_reads_them(
    living: Living, path: str, value: dict[str, Any]
) -> None:
    image = living.teach("blue", "blue", 1)["image"]
    living.exporter.start("pets")
    refused = living.tell(path, value)
    assert refused.status == 409
    assert "an export is running" in read(refused)["error"]
    assert living.keeper.pictures == {image: "blue"}
    living.teach("blue", "blue", 2)  # more may come
    living.exporter.names.clear()
    assert living.tell(path, value).status == 200


def test_a_source_of_pictures_that_there_is_not(living: Living) -> None:
    refused = living.post("/v1/teach", jpeg("blue", 1), label="x", **{"from": "file"})
    assert refused.status == 400 and "from can only be camera" in read(refused)["error"]


def test_too_many_pictures_are_put_off(living: Living, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(work: Any) -> None:
        raise Overloaded("8 pictures wait")

    monkeypatch.setattr(living.pipeline, "do", full)
    response = living.post("/v1/predict", jpeg("red", 1))
    assert (response.status, response.headers["Retry-After"]) == (429, "1")


def test_a_fault_of_ours_is_said(living: Living, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(api_module, "board", lambda: 1 / 0)
    response = living.get("/v1/state")
    assert response.status == 500
    assert "ZeroDivisionError" in read(response)["error"]


def test_streams(living: Living) -> None:
    living.camera.give(jpeg=jpeg("red", 1))
    until_shown(living)
    parts = living.get("/stream.mjpg").stream
    assert parts is not None
    assert next(parts).startswith(b"--edge\r\nContent-Type: image/jpeg")
    assert next(parts).startswith(jpeg("red", 1))
    events = living.get("/v1/events").stream
    assert events is not None
    assert json.loads(next(events).removeprefix(b"data: "))["number"] == 1


def test_metrics_are_prometheus_text(living: Living) -> None:
    living.camera.give(jpeg=jpeg("red", 1), lost=2)
    until_shown(living)
    response = living.get("/v1/metrics")
    lines = response.body.decode().splitlines()
    samples = [line for line in lines if not line.startswith("#")]
    for line in samples:
        assert re.fullmatch(r'[a-z0-9_]+(\{[a-z]+="[^"]*"\})? -?[0-9.e+-]+', line), line
    assert "edge_frames_total 1" in samples
    assert "edge_frames_dropped_total 2" in samples
    assert 'edge_requests_total{code="200"} 3' in samples


def test_the_description_lists_every_address(living: Living) -> None:
    described = json.loads(OPENAPI.read_text(encoding="utf-8"))["paths"]
    found = {path: {m.upper() for m in methods} for path, methods in described.items()}
    assert found == living.api.methods
    assert living.get("/v1/openapi.json").body == OPENAPI.read_bytes()


def test_only_the_page_s_own_script_may_run() -> None:
    content = PAGE.read_bytes()
    policy = security_headers(content)["Content-Security-Policy"]
    rules = dict(rule.strip().split(" ", 1) for rule in policy.split(";"))
    for tag in ("script", "style"):
        (inner,) = re.findall(rf"<{tag}>(.*?)</{tag}>", content.decode(), re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(inner.encode()).digest()).decode()
        assert rules[f"{tag}-src"] == f"'sha256-{digest}'"
    assert rules["default-src"] == "'none'"
    assert "unsafe" not in policy
    # No outside resource, and nothing that the policy would stop.
    assert not re.search(rb"(src|href|url|fetch|import)\s*[=(]\s*[\"'`]?https?:", content)
    assert not re.search(rb"\son[a-z]+=|\sstyle=", content)
