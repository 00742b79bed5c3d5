"""What a deploy decides: model file, names, ids."""

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from benchmarks.turns import best
from devices.profile import profile
from edge.deploy.plan import (
    LIVE_COMMAND,
    DeployOptions,
    _draft,
    app_name,
    as_accurate,
    best_variant,
    named,
)
from edge.deploy.remote_benchmark import _chosen_there, _running
from edge.device.layout import App, checked_id
from edge.device.release import LiveSettings, Release
from edge.errors import BundleError, ConnectionFailed, MeasurementError, UsageError
from edge.pipeline.bundle import copy_runtime
from edge.progress import Silent
from edge.runtime.contract import Preprocessing
from edge.runtime.spec import Manifest, SignedRelease, Variant
from edge.runtime.tasks.table import DecoderSpec
from tests.unit.device_releases import RELEASE
from tests.unit.measured_turns import turns_of

BOARD = profile("raspberry-pi-5")


def manifest(default: str, **scores: tuple[float | None, float | None]) -> Manifest:
    """Variants by name (``_`` for ``-``), each with its top-1 and its agreement."""
    return Manifest(
        name="x",
        labels=("a", "b"),
        preprocessing=Preprocessing(height=1, width=1),
        variants=tuple(
            Variant(
                name=name.replace("_", "-"),
                path=f"models/{name}",
                format="tflite",
                precision="int8",
                size_bytes=1,
                input_dtype="uint8",
                top1=top1,
                agreement=agreement,
            )
            for name, (top1, agreement) in scores.items()
        ),
        default_variant=default,
        files={},
    )


@pytest.mark.parametrize(
    ("int8", "fp16", "chosen"),
    [
        ((0.95, 0.99), (0.955, 1.0), "tflite-int8"),
        ((0.94, 0.99), (0.96, 1.0), "tflite-fp16"),  # two points lost
        ((None, 0.98), (None, 1.0), "tflite-int8"),
        ((None, 0.90), (None, 1.0), "tflite-fp16"),
    ],
)
def test_the_boards_variant_runs_where_it_is_as_accurate(
    int8: tuple[float | None, float], fp16: tuple[float | None, float], chosen: str
) -> None:
    found = manifest("tflite-fp16", tflite_fp16=fp16, tflite_int8=int8)
    assert best_variant(found, BOARD)[0] == chosen


def test_a_bundle_without_the_boards_variant_runs_its_own() -> None:
    assert best_variant(manifest("onnx-fp32", onnx_fp32=(0.9, 1.0)), BOARD)[0] == "onnx-fp32"


@pytest.mark.parametrize(
    ("default", "int8_ms", "chosen", "told"),
    [
        ("tflite-int8", 0.5, "tflite-int8", "the variant of the profile raspberry-pi-5"),
        ("tflite-fp32", 1.05, "tflite-int8", "the variant of the profile"),  # noise
        ("tflite-fp32", 2.1, "tflite-fp32", "tflite-int8 took 2.1 times as long as tflite-fp32"),
        ("onnx-fp32", 2.1, "tflite-fp16", "the fastest file for litert"),
    ],
)
def test_the_boards_variant_gives_way_where_it_is_slower_than_floats(
    default: str, int8_ms: float, chosen: str, told: str
) -> None:
    good = dict.fromkeys(("tflite_fp32", "tflite_fp16", "tflite_int8", "onnx_fp32"), (0.9, 1.0))
    found = manifest(default, **good)
    times = {"tflite-fp32": 1.0, "tflite-fp16": 0.9, "tflite-int8": int8_ms, "onnx-fp32": 0.5}
    timed = tuple(
        replace(item, latency_ms=times[item.name], format=item.name.split("-")[0])
        for item in found.variants
    )
    name, why = best_variant(replace(found, variants=timed), BOARD)
    assert name == chosen
    assert told in why


def test_what_is_as_accurate_is_timed_on_a_device() -> None:
    scores = {"tflite_fp32": (0.9, 1.0), "tflite_int8": (0.895, 0.9), "onnx_int8": (0.87, 1.0)}
    found = manifest("tflite-fp32", **scores)
    assert [item.name for item in as_accurate(found)] == ["tflite-fp32", "tflite-int8"]
    assert as_accurate(found, "litert") == as_accurate(found)
    with pytest.raises(UsageError, match="onnxruntime runs no variant that is as accurate"):
        as_accurate(found, "onnxruntime")
    unlike = manifest("tflite-int8", tflite_int8=(None, 0.5))  # the default, however it is
    assert [item.name for item in as_accurate(unlike)] == ["tflite-int8"]


@pytest.mark.parametrize(
    ("seconds", "sizes", "chosen", "told"),
    [
        ((1.0, 1.5), (4, 1), "tflite-fp32", "the fastest there of the files"),
        ((1.0, 1.005), (4, 1), "tflite-int8", "as far as that can be told, 1.00 times"),
        ((1.0, 1.005), (4, 4), "tflite-int8", "and preferred"),
        ((1.0, 0.5), (1, 4), "tflite-int8", "tflite-fp32 takes 2.00 times (95 %: 2.00 to 2.00)"),
    ],
)
def test_the_choice_by_times_of_the_device_is_that_of_a_build(
    seconds: tuple[float, float], sizes: tuple[int, int], chosen: str, told: str
) -> None:
    names = ("tflite-fp32", "tflite-int8")
    turns = turns_of(dict(zip(names, seconds, strict=True)))
    by_name = dict(zip(names, sizes, strict=True))
    assert best(by_name, turns) == chosen
    assert told in _chosen_there(chosen, turns, by_name)


def test_a_variant_that_this_edge_does_not_know_comes_last() -> None:
    names = ("tflite-int2", "tflite-fp32")
    assert best(dict.fromkeys(names, 1), turns_of(dict.fromkeys(names, 1.0))) == "tflite-fp32"


class _Told(Silent):
    def __init__(self) -> None:
        self.notes: list[str] = []

    def note(self, text: str) -> None:
        self.notes.append(text)


def test_a_variant_that_does_not_run_on_a_device_is_left_out() -> None:
    def measured(name: str) -> Any:
        if name.endswith("int8"):
            raise MeasurementError("it was killed")
        if name == "gone":
            raise ConnectionFailed("the device went")

    told = _Told()
    left = _running(("tflite-int8", "tflite-fp32"), measured, told, lambda _: None)
    assert left == ["tflite-fp32"]
    assert told.notes == ["tflite-int8 does not run there: it was killed"]
    with pytest.raises(MeasurementError):
        _running(("tflite-int8",), measured, told, lambda _: None)
    with pytest.raises(ConnectionFailed):
        _running(("gone", "tflite-fp32"), measured, told, lambda _: None)


@pytest.mark.parametrize(
    ("name", "app"),
    [
        ("dogs-vs-cats", "dogs-vs-cats"),
        ("Dogs vs. Cats!", "dogs-vs-cats"),
        ("犬", "bundle"),
        ("../../etc", "etc"),
        ("x" * 40, "x" * 32),
        ("a" * 31 + "-b", "a" * 31),
    ],
)
def test_names_of_applications(name: str, app: str) -> None:
    assert app_name(name) == app
    App.named(app)


def test_an_id_tells_every_setting() -> None:
    first = named(RELEASE).id
    assert first.startswith("7-") and checked_id(first) == first
    assert named(RELEASE).id == first
    for change in ({"threads": 2}, {"environment": "abd"}, {"max_latency_ms": 5.0}):
        assert named(replace(RELEASE, **change)).id != first


@pytest.mark.parametrize("text", ["", "a b", "../a", "A", "-a", "a" * 33, 7, None, "a\n"])
def test_names_that_could_lead_elsewhere(text: Any) -> None:
    with pytest.raises(UsageError):
        App.named(text)
    with pytest.raises(UsageError):
        checked_id(text if text != "a" * 33 else "a" * 65)


def test_the_description_of_a_release_is_checked() -> None:
    value = named(RELEASE).to_json()
    assert Release.from_json(value) == named(RELEASE)
    wrong: list[Any] = [
        {**value, "threads": 0},
        {**value, "threads": "4"},
        {**value, "max_latency_ms": -1},
        {**value, "engine": 1},
        {**value, "more": 1},
        {name: item for name, item in value.items() if name != "device"},
        [],
    ]
    for item in wrong:
        with pytest.raises(BundleError):
            Release.from_json(item)
    with pytest.raises(UsageError):
        Release.from_json({**value, "environment": "../x"})


def test_a_bundle_whose_runtime_has_no_page_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its own runtime serves there, and an earlier edge may have built it."""
    monkeypatch.setattr("edge.deploy.plan.check_board", lambda *_: None)
    known = manifest("tflite-int8", tflite_int8=(0.9, 1.0))
    signed = replace(known, release=SignedRelease(version=7, devices=()))
    options = DeployOptions(
        key=None,  # type: ignore[arg-type]
        watch_seconds=1,
        selftest_seconds=1,
        start_seconds=1,
        watchdog_seconds=1,
        keep=1,
    )
    paged = replace(options, live=LiveSettings(port=8081))
    older = SimpleNamespace(manifest=signed, digest="0" * 64)
    assert _draft(older, BOARD, options).live is None  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="no live page") as caught:
        _draft(older, BOARD, paged)  # type: ignore[arg-type]
    assert "Build or export it again" in caught.value.hint
    whole = replace(signed, files={LIVE_COMMAND: "0" * 64})
    newer = SimpleNamespace(manifest=whole, digest="0" * 64)
    assert _draft(newer, BOARD, paged).live == paged.live  # type: ignore[arg-type]
    smooth = replace(options, live=LiveSettings(smoothing=2))
    assert _draft(newer, BOARD, smooth).live == smooth.live  # type: ignore[arg-type]
    vectors = replace(whole, decoder=DecoderSpec(name="embedding", evidence="the test says so"))
    other = SimpleNamespace(manifest=vectors, digest="0" * 64)
    assert _draft(other, BOARD, paged).live == paged.live  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="--smoothing is for classifiers"):
        _draft(other, BOARD, smooth)  # type: ignore[arg-type]


def test_a_bundle_of_this_edge_has_the_page(tmp_path: Path) -> None:
    copy_runtime(tmp_path / "runtime")
    assert (tmp_path / LIVE_COMMAND).is_file()
