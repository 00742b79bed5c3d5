"""``report.html``: whole, self-contained, escaped, and with few or many classes."""

from collections.abc import Callable
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from edge.dataset.folder import Files
from edge.dataset.groups import Division
from edge.dataset.pictures import Picture
from edge.dataset.scan import Skipped
from edge.evaluation.chance import Level
from edge.pipeline.calibration import CalibrationAudit
from edge.pipeline.class_report import KERAS, MISTAKES, ClassReport, classes_report
from edge.pipeline.page.classes import Thumbnails
from edge.pipeline.page.curves import ticks
from edge.pipeline.page.page import page
from edge.pipeline.report import DataReport, Reference, Report, Training, VariantReport
from edge.runtime.contract import Preprocessing
from edge.runtime.intervals import wilson
from edge.training.options import Strategy
from edge.training.tuning import Phase

SPEC = Preprocessing(height=24, width=24)
EVIL = "<script>alert('&\"x')</script>"
VOID = {"meta", "img", "br", "link"}


class Reader(HTMLParser):
    """Tags, text and addresses of a page; every tag must be closed in its turn."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[str] = []
        self.words: list[str] = []
        self.addresses: list[str] = []
        self.titled = 0
        self._open: list[str] = []
        self.feed(text)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        named = dict(attrs)
        assert tag != "img" or named["alt"]
        assert tag != "svg" or named["aria-label"]
        # A cell that stands under its row's name on a narrow screen says what it is.
        self.titled += tag == "td" and "data-title" in named
        self.addresses += [value or "" for name, value in attrs if name in ("src", "href")]
        if tag not in VOID:
            self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(self.words).replace("\u00a0", " ")


def scores(count: int, classes: int, wrong: int, seed: int = 0) -> NDArray[np.float32]:
    """(count, classes) probabilities that answer row i with class i, but for the first rows."""
    table = np.random.default_rng(seed).random((count, classes)) * 0.1
    best = np.arange(count) % classes
    best[:wrong] = (best[:wrong] + 1) % classes
    table[np.arange(count), best] = 1
    return (table / table.sum(axis=1, keepdims=True)).astype(np.float32)


def phase(name: str = "head", learning_rate: float = 1e-3, **history: list[float]) -> Phase:
    return Phase(name=name, learning_rate=learning_rate, trainable=2050, epochs=2, history=history)


def training(*phases: Phase, strategy: Strategy = Strategy.FEATURES, reason: str = "") -> Training:
    return Training(
        seconds=1.0,
        features_reused=0,
        top1=0.9,
        cached=False,
        strategy=strategy,
        reason=reason,
        decision=None,
        phases=phases,
    )


VARIANT = VariantReport(
    name="tflite-int8",
    path="models/int8.tflite",
    size_bytes=3_500_000,
    top1=0.9,
    top1_interval=(0.7, 0.98),
    top5=None,
    drop_points=1.5,
    drop_interval=(-2.5, 8.5),
    agreement=0.97,
    agreement_interval=(0.8, 0.99),
    chance_agreement=0.3,
    agreement_level=Level.GOOD,
    constant=False,
    latency_ms=5.21,
    latency={"threads": 1},
    convert_seconds=1.0,
)
AUDIT = CalibrationAudit(
    images=0,
    asked=100,
    available=0,
    kept_to_score=0,
    sha256="",
    image_sha256=(),
    labelled=0,
    classes=0,
    classes_of_model=3,
    least_of_a_class=0,
    most_of_a_class=0,
    scored_images_among_them=0,
    observed={},
)


def scored(labelled: int, top1: float | None) -> Reference:
    return Reference(
        images=12,
        labelled=labelled,
        top1=top1,
        top5=None,
        top1_interval=None,
        chance=None,
        level=None,
    )


def report(classes: ClassReport, labels: list[str], **changes: Any) -> Report:
    """A report with what the page shows."""
    counts = {"train": dict.fromkeys(labels, 8), "test": dict.fromkeys(labels, 4)}
    curves = {name: [0.9, 0.5] for name in ("loss", "accuracy", "val_loss", "val_accuracy")}
    values: dict[str, Any] = {
        "data": DataReport(
            counts=counts,
            skipped=(Skipped(path=Path(f"{EVIL}.jpg"), reason="broken"),),
            notes=(),
            files=Files(images=()),
        ),
        "training": training(phase(**curves)),
        "reference": scored(12, 0.915),
        "variants": (VARIANT,),
        **changes,
    }
    return Report(
        command="build",
        name="a name",
        default_variant="tflite-int8",
        calibration=AUDIT,
        search={},
        stages={},
        host={"machine": "x86_64", "cpus": 2},
        versions={},
        classes=classes,
        **values,
    )


@pytest.mark.parametrize(("groups", "parted"), [(12, ()), (3, ()), (3, ("a",))])
def test_a_division_by_groups_is_told(groups: int, parted: tuple[str, ...]) -> None:
    """With a group for one observation: the fewer groups were scored, the wider the interval."""
    division = Division(
        groups=30,
        pictures=100,
        scored_groups=groups,
        scored_pictures=12,
        unnamed=0,
        needed=3,
        parted=parted,
    )
    plain = report(ClassReport(models={}, differences=None), ["a", "b"])
    values = replace(plain, data=replace(plain.data, division=division))
    text = rendered(values, ["a", "b"], ())
    assert "divided by 30 groups of 100 pictures" in text
    assert ("no group is in two splits" in text) == (not parted)
    assert ("&#x27;a&#x27; one by one" in text or "'a' one by one" in text) == bool(parted)
    assert ("independent" in values.held_out) == (groups < 12)
    assert "groups" not in plain.to_json()["data"]
    exact = wilson(0.75 * groups, groups, 1.959964)
    assert division.interval(0.75) == pytest.approx((exact.low, exact.high))
    assert values.to_json()["data"]["groups"]["scored_groups"] == groups


def test_a_report_says_which_scored_images_chose_the_blocks_of_a_mixed_file() -> None:
    """A file that was selected on the images that score it looks better there."""
    plain = report(ClassReport(models={}, differences=None), ["a", "b"])
    assert plain.to_json()["selection"] == ""
    mixed = replace(plain, variants=(VARIANT, replace(VARIANT, name="onnx-mixed")))
    assert mixed.selection.startswith("A recipe says what onnx-mixed keeps in floats")
    tried = {"images": 10, "ranking": [["first", 1.0]]}
    searched = replace(mixed, search={"onnx-mixed": tried})
    assert "10 of the 12 scored images chose the blocks that onnx-mixed keeps" in searched.selection
    assert searched.to_json()["selection"] == searched.selection
    assert "10 of the 12 scored images" in rendered(searched, ["a", "b"], ())
    held = replace(mixed, search={"onnx-mixed": tried | {"ranking": []}})  # int8 held the budget
    assert held.selection == ""


def rendered(values: Report, labels: list[str], pictures: tuple[Picture, ...]) -> str:
    provenance = {"backbone": "mobilenet", "weights": "none", "options": {"head": {"hidden": []}}}
    return page(values, labels, Thumbnails(pictures, SPEC), provenance)


@pytest.fixture
def pictures(make_folder: Callable[..., Path]) -> tuple[Picture, ...]:
    """Twelve pictures; row i is of class i modulo the number of classes, which is three."""
    root = make_folder({"one": 4, "two": 4, "three": 4})
    paths = sorted(root.rglob("*.png"))
    return tuple(Picture(path, str(row), row % 3) for row, path in enumerate(paths))


def test_a_page_of_three_classes(pictures: tuple[Picture, ...]) -> None:
    labels = ["one", EVIL, "three"]
    tables = {KERAS: scores(12, 3, 1), "tflite-int8": scores(12, 3, 2)}
    classes = classes_report(tables, pictures, labels)
    assert classes.models[KERAS].right == 11
    assert classes.differences is not None
    assert classes.differences.images == 1
    text = rendered(report(classes, labels), labels, pictures)
    read = Reader(text)
    assert "script" not in read.tags
    assert EVIL in read.text  # shown as what it is
    assert read.tags.count("svg") == 3  # loss, accuracy, reliability
    assert read.tags.count("img") == 3  # two mistakes, one difference
    assert read.addresses
    assert all(address.startswith("data:image/") for address in read.addresses)
    assert "http" not in text
    assert "Keras model: 11 of 12 right" in read.text
    assert "prefers-color-scheme: dark" in text
    assert read.titled > 20


def test_notes_name_folders_without_their_places(pictures: tuple[Picture, ...]) -> None:
    labels = ["one", "two", "three"]
    classes = classes_report({KERAS: scores(12, 3, 0)}, pictures, labels)
    inside = pictures[0].path.absolute().parent
    outside = inside.parent.parent
    notes = (f"1 image directly in {inside}", f"the folder {outside} is large")
    data = replace(report(classes, labels).data, notes=notes)
    text = rendered(report(classes, labels, data=data), labels, pictures)
    assert str(outside) not in text
    assert f"1 image directly in {inside.name}" in text
    assert f"the folder {outside.name} is large" in text


def test_a_thousand_classes(pictures: tuple[Picture, ...]) -> None:
    labels = [f"class {number}" for number in range(1000)]
    many = tuple(Picture(pictures[row % 12].path, str(row), row % 1000) for row in range(3000))
    tables = {KERAS: scores(3000, 1000, 300), "tflite-int8": scores(3000, 1000, 400)}
    classes = classes_report(tables, many, labels)
    assert len(classes.models[KERAS].mistakes) == MISTAKES
    text = rendered(report(classes, labels), labels, many)
    assert len(text) < 3_000_000
    read = Reader(text)
    assert "the pairs confused most" in read.text
    assert "200 of 1000 classes, lowest F1 first" in read.text


def test_phases_are_marked_and_the_reason_is_said(pictures: tuple[Picture, ...]) -> None:
    history = {"loss": [1.0, 0.5], "accuracy": [0.5, 0.8]}
    tuned = training(
        phase(**history, val_accuracy=[0.25, 0.75]),
        phase("fine-tune", 1e-5, **history),
        strategy=Strategy.FINE_TUNE,
        reason="Few images, far from ImageNet.",
    )
    classes = classes_report({KERAS: scores(12, 3, 0)}, pictures, ["a", "b", "c"])
    text = rendered(report(classes, ["a", "b", "c"], training=tuned), ["a", "b", "c"], pictures)
    read = Reader(text)
    assert "Few images, far from ImageNet." in read.text
    assert text.count('class="mark"') == 8  # a line and a name, of two phases, in two charts
    assert "1e-05" in read.text
    assert "75.0 %" in read.text  # validation accuracy of the best epoch
    assert "Every image is answered rightly." in read.text


def test_without_labels_and_without_training(pictures: tuple[Picture, ...]) -> None:
    unlabelled = tuple(Picture(item.path, item.sha256) for item in pictures)
    tables = {KERAS: scores(12, 3, 0), "tflite-int8": scores(12, 3, 2)}
    classes = classes_report(tables, unlabelled, ["a", "b", "c"])
    assert classes.models == {}
    assert classes.differences is not None
    assert classes.differences.images == 2
    values = report(
        classes,
        [],
        training=None,
        data=DataReport(
            counts={"calibration": 3, "scored": 12},
            skipped=(),
            notes=(),
            files=Files(images=()),
        ),
        reference=scored(0, None),
        variants=(replace(VARIANT, top1=None, drop_points=None),),
    )
    read = Reader(rendered(values, ["a", "b", "c"], unlabelled))
    assert "No image has a label" in read.text
    assert read.tags.count("img") == 2
    assert "svg" not in read.tags


def test_notes_and_intervals_are_shown(pictures: tuple[Picture, ...]) -> None:
    classes = classes_report({KERAS: scores(12, 3, 2)}, pictures, ["a", "b", "c"])
    values = report(classes, ["a", "b", "c"], notes=("few images", EVIL))
    read = Reader(rendered(values, ["a", "b", "c"], pictures))
    assert "few images" in read.text
    assert EVIL in read.text
    for interval in ("70.0\u201398.0", "-2.5 to +8.5", "80.0\u201399.0"):
        assert interval in read.text


def test_a_picture_that_is_gone_leaves_its_place(pictures: tuple[Picture, ...]) -> None:
    classes = classes_report({KERAS: scores(12, 3, 2)}, pictures, ["a", "b", "c"])
    pictures[0].path.unlink()
    pictures[1].path.write_bytes(b"no picture")
    text = rendered(report(classes, ["a", "b", "c"]), ["a", "b", "c"], pictures)
    assert text.count("the picture is gone") == 2


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (0, 1, [0, 0.2, 0.4, 0.6, 0.8, 1]),
        (1, 35, [10, 20, 30]),
        (1, 2, [1, 1.2, 1.4, 1.6, 1.8, 2]),
        (0, 0.013, [0, 0.005, 0.01]),
    ],
)
def test_ticks_are_round(low: float, high: float, expected: list[float]) -> None:
    assert ticks(low, high) == pytest.approx(expected)
