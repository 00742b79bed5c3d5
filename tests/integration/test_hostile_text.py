"""Real commands over labels and files whose names steer terminals, pages and spreadsheets."""

import csv
import json
import os
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from typing import Final
from xml.etree import ElementTree

import pytest
from PIL import Image

from edge.runtime.printable import csv_text
from tests.color_bundles import COLORS, SIDE, model, write_bundle

LABELS: Final = (
    "=cmd|' /C calc'!A0\x1b]52;c;cm0=\x07",
    "[red][/]$x^$ </script><b>\u202egnp",
    "a|b\nerror: forged \x9b2J\r\u2028",
    "猫 👩\u200d💻 :cat: é ::error::x",
)
PICTURES: Final = (
    "=1+1.png",
    "\x1b[2J\u202egnp.png",
    "[red]a|b\nerror: x.png",
    "<!-- <script>\udce9 $x^$.png",
)
# No control but line breaks (and those of rich, which are none here), no bidi, nothing unseen.
FORBIDDEN: Final = re.compile(
    "[\x00-\x09\x0b-\x1f\x7f-\x9f\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff]"
)
VOID: Final = {"meta", "img", "br", "input", "link", "hr", "wbr"}
BUNDLE: Final = "b\x1b]0;t\x07"


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle and a folder of pictures."""
    place = tmp_path_factory.mktemp("hostile")
    models = {"onnx-fp32": model(), "onnx-int8": model(scale=1 / 120)}
    write_bundle(place / BUNDLE, models, labels=LABELS)
    (place / "-p $x^$").mkdir()
    for name, color in zip(PICTURES, COLORS.values(), strict=True):
        path = place / "-p $x^$" / name
        Image.new("RGB", (SIDE, SIDE), color).save(str(path), "PNG")
    return place


def run(place: Path, *words: str, module: str = "edge", codes: tuple[int, ...] = (0,)) -> str:
    """What a command prints; nothing of it steers the terminal."""
    done = subprocess.run(
        [sys.executable, "-m", module, *words],
        cwd=place,
        env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[2]), "COLUMNS": "80"},
        capture_output=True,
        timeout=120,
    )
    assert done.returncode in codes, done.stderr
    for stream in (done.stdout, done.stderr):
        text = stream.decode()  # UTF-8, whatever stands in names
        assert not FORBIDDEN.search(text), FORBIDDEN.search(text)
        if done.returncode == 0:
            assert not re.search(r"^error:", text, re.MULTILINE), text
    return done.stdout.decode()


@pytest.mark.parametrize("module", ["edge", "edge.runtime"])
def test_predict(module: str, place: Path, tmp_path: Path) -> None:
    words = ("predict", BUNDLE, "./-p $x^$", "--top-k", "4")
    lines = run(place, *words, module=module).splitlines()
    assert len(lines) == len(PICTURES)
    assert "猫 👩\u200d💻 :cat: é" in lines[0] and "[red][/]$x^$" in lines[0]
    answers = json.loads(run(place, *words, "--json", module=module))
    assert {item["label"] for item in answers[0]["categories"]} == {*LABELS}
    names = {os.fsencode(name).decode(errors="replace") for name in PICTURES}
    assert {Path(item["image"]).name for item in answers} == names
    run(place, *words, "--csv", str(tmp_path / "a.csv"), module=module)
    with (tmp_path / "a.csv").open(encoding="utf-8", newline="") as stream:
        rows = list(csv.reader(stream))
    assert not any(re.match("[=@\t\r]", cell) for row in rows for cell in row)
    assert {csv_text(cell) for row in rows[1:] for cell in row[1:9:2]} == {*LABELS}
    assert {Path(csv_text(row[0])).name for row in rows[1:]} == names


def test_an_error_is_one_line(place: Path) -> None:
    for module in ("edge", "edge.runtime"):
        words = ("predict", "no\nerror: forged\x1b[2J", "x")
        run(place, *words, module=module, codes=(2, 3))
        run(place, "pre\x1bdict\u202e", module=module, codes=(2,))


def test_compare(place: Path, tmp_path: Path) -> None:
    files = [tmp_path / name for name in ("a.xml", "a.md", "a.sarif")]
    words = ["--baseline", "onnx-fp32", "--candidate", "onnx-int8"]
    for option, path in zip(("--junit", "--markdown", "--sarif"), files, strict=True):
        words += [option, str(path)]
    run(place, "compare", BUNDLE, "./-p $x^$", *words, codes=(0, 1))
    ElementTree.parse(files[0])
    json.loads(files[2].read_text(encoding="utf-8"))
    for path in files:
        text = path.read_text(encoding="utf-8").replace("\u2060", "")
        assert not FORBIDDEN.search(text.replace("\t", "")), path
    assert "<script" not in files[1].read_text(encoding="utf-8")
    run(place, "compare", BUNDLE, "./-p $x^$", *words[:4], "--json", codes=(0, 1))


def test_tag(place: Path, tmp_path: Path) -> None:
    table, sidecars = tmp_path / "tags.csv", tmp_path / "xmp"
    words = ["tag", "./-p $x^$", "--bundle", BUNDLE, "--cache", str(tmp_path / "cache")]
    words += ["--csv", str(table), "--xmp-dir", str(sidecars)]
    run(place, *words)
    with table.open(encoding="utf-8", newline="") as stream:
        tags = {csv_text(row[1]) for row in list(csv.reader(stream))[1:]}
    assert tags <= {*LABELS} and len(tags) >= 3
    written = [path for path in sidecars.rglob("*") if path.is_file()]
    assert len(written) == len(PICTURES)
    for path in written:
        ElementTree.fromstring(path.read_bytes())


def test_benchmark_and_its_pictures(place: Path, tmp_path: Path) -> None:
    words = ["benchmark", BUNDLE, "--runs", "2", "--min-secs", "0", "--warm-up-secs", "0"]
    for suffix in ("json", "csv", "md"):
        words += ["-o", str(tmp_path / f"r.{suffix}")]
    run(place, *words)
    json.loads((tmp_path / "r.json").read_text(encoding="utf-8"))
    with (tmp_path / "r.csv").open(encoding="utf-8", newline="") as stream:
        rows = list(csv.reader(stream))
    assert len(rows) > 1 and all(len(row) > 10 for row in rows)
    assert not FORBIDDEN.search((tmp_path / "r.md").read_text(encoding="utf-8"))
    pictures = tmp_path / "pictures"
    run(place, "benchmark", "plot", str(tmp_path / "r.json"), "-o", str(pictures))
    drawn = [*pictures.glob("*.svg")]
    assert drawn
    for path in drawn:
        ElementTree.parse(path)


class Scripts(HTMLParser):
    """Counts elements, as a browser sees them."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []

    def handle_starttag(self, tag: str, attrs: object) -> None:
        self.tags.append(tag)


def test_explain(place: Path, tmp_path: Path) -> None:
    words = ["explain", BUNDLE, *(f"-p $x^$/{name}" for name in PICTURES[:1])]
    words[2] = f"./{words[2]}"
    run(place, *words, "--files-only", "--method", "occlusion", "--output", str(tmp_path / "out"))
    (page,) = (tmp_path / "out").glob("*.html")
    text = page.read_text(encoding="utf-8")
    assert not FORBIDDEN.search(text.replace("\t", ""))
    seen = Scripts()
    seen.feed(text)
    assert not {"script", "b"} & {*seen.tags}


def test_inspect_info_and_evaluate(place: Path) -> None:
    run(place, "inspect", BUNDLE)
    run(place, "info", BUNDLE, module="edge.runtime")
    told = json.loads(run(place, "info", BUNDLE, "--json", module="edge.runtime"))
    assert tuple(told["labels"]) == LABELS
    run(place, "evaluate", BUNDLE, "./-p $x^$", codes=(0, 1, 2))
