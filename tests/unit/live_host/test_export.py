"""An export: what it is refused for, what it says, and that nothing of it stays behind."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from edge.dataset.groups import read_groups
from edge.dataset.scan import Dataset, scan
from edge.errors import DataError, UsageError
from edge.live import export
from edge.live.export import NEEDED, BundleExporter
from edge.live.pictures import Pictures
from edge.runtime.files import write_bytes
from tests.integration.processes import has_ended
from tests.unit.conftest import encoded, noise

ROOT = Path(__file__).parents[3]
BUILDER = Path(__file__).with_name("builder.py")


def teach(pictures: Pictures, counts: dict[str, int], burst: str = "") -> None:
    seed = sum(map(len, pictures.by_label.values()))
    for label, count in counts.items():
        for _ in range(count):
            content = encoded(noise(seed), "JPEG")
            pictures.add(label, sha256(content).hexdigest(), content, burst)
            seed += 1


def groups(tmp_path: Path) -> dict[str, str]:
    return dict(read_groups(tmp_path / "groups.csv").groups)


@pytest.fixture
def pictures(tmp_path: Path) -> Pictures:
    return Pictures(tmp_path / "pictures", tmp_path / "removed")


@pytest.fixture
def exporter(
    tmp_path: Path, pictures: Pictures, monkeypatch: pytest.MonkeyPatch
) -> Iterator[BundleExporter]:
    monkeypatch.setenv("BUILDER_SAYS", str(tmp_path / "said.json"))
    made = BundleExporter(
        pictures, tmp_path / "bundles", tmp_path / "cache", (sys.executable, str(BUILDER))
    )
    yield made
    made.close()


def until(exporter: BundleExporter, wanted: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
    """The state once it is as wanted."""
    end = time.monotonic() + 60
    while not wanted(state := exporter.state):
        assert time.monotonic() < end, state
        time.sleep(0.01)
    return state


def ended(exporter: BundleExporter) -> dict[str, Any]:
    return until(exporter, lambda state: not state["running"])


def said(tmp_path: Path) -> Any:
    return json.loads((tmp_path / "said.json").read_text(encoding="utf-8"))


def test_a_bundle_is_built_of_the_pictures(
    exporter: BundleExporter, pictures: Pictures, tmp_path: Path
) -> None:
    nothing = {"running": False, "message": "", "bundle": None, "error": None}
    assert exporter.state == {"offered": True} | nothing
    teach(pictures, {"cat": 3, "dog": 4})
    exporter.start("my pets")
    state = ended(exporter)
    assert state["error"] is None and state["bundle"] == str(tmp_path / "bundles" / "my pets")
    assert "75.0 % of 4 held-out pictures" in state["message"]
    assert "30.0 to 95.0 %" in state["message"]
    words = said(tmp_path)["words"]
    assert words[:4] == ["build", str(tmp_path / "pictures"), "--head", "imprinted"]
    assert words[4:] == [
        *("--output", state["bundle"]),
        *("--name", "my pets"),
        *("--cache", str(tmp_path / "cache")),
        *("--groups", str(tmp_path / "groups.csv"), "--divide-groups"),
    ]
    assert len(groups(tmp_path)) == 7
    assert said(tmp_path)["nice"] > os.nice(0)


def test_the_words_are_those_that_edge_build_takes(pictures: Pictures, tmp_path: Path) -> None:
    from typer.testing import CliRunner

    from edge.cli.app import app

    real = BundleExporter(pictures, tmp_path / "bundles", tmp_path / "cache")
    assert list(real._command) == [sys.executable, "-P", "-m", "edge"]
    (tmp_path / "pictures").mkdir()
    words = ["build", str(tmp_path / "pictures"), "--head", "imprinted", "--output"]
    words += [str(tmp_path / "bundle"), "--name", "pets", "--cache", str(tmp_path / "cache")]
    write_bytes(tmp_path / "groups.csv", b"file,group\n")
    words += ["--groups", str(tmp_path / "groups.csv"), "--divide-groups"]
    result = CliRunner().invoke(app, words)
    assert isinstance(result.exception, DataError), result.output  # the folder is empty


def test_the_press_of_every_picture_is_written(
    exporter: BundleExporter, pictures: Pictures, tmp_path: Path
) -> None:
    """A press is one of a class; pictures of no known press are one press of theirs."""
    for burst in ("1", "2", ""):
        teach(pictures, {"cat": 2, "=dog": 2}, burst)
    shutil.copyfile(tmp_path / "pictures/cat/0001.jpg", tmp_path / "pictures/cat/mine.jpg")
    shutil.copyfile(tmp_path / "pictures/cat/0001.jpg", tmp_path / "pictures/cat/0077.jpg")
    again = Pictures(tmp_path / "pictures", tmp_path / "removed")
    for label, paths in again.known.items():
        assert list(paths.values()) == ["1", "1", "2", "2", "", ""], label
    export.write_groups(again)
    assert groups(tmp_path) == {
        **{f"cat/{n:04}.jpg": f"cat: {1 + n // 3}" for n in range(1, 5)},
        **{f"=dog/{n:04}.jpg": f"=dog: {1 + n // 3}" for n in range(1, 5)},
        **{f"{label}/{n:04}.jpg": f"{label}:" for label in ("cat", "=dog") for n in (5, 6)},
        "cat/mine.jpg": "cat:",
        "cat/0077.jpg": "cat: 1",
    }
    exporter.start("pets")
    assert ended(exporter)["error"] is None


def divided(tmp_path: Path) -> Dataset:
    options = {"groups": tmp_path / "groups.csv", "divide_groups": True}
    return scan(tmp_path / "pictures", seed=0, **options)  # type: ignore[arg-type]


def test_three_presses_of_a_class_are_never_parted(pictures: Pictures, tmp_path: Path) -> None:
    """And a class with fewer is exported all the same, and said to be flattered."""
    for burst in ("1", "2", "3"):
        teach(pictures, {"cat": 4, "dog": 5}, burst)
    teach(pictures, {"fox": 3}, "1")
    teach(pictures, {"fox": 3}, "2")
    export.write_groups(pictures)
    dataset, stated = divided(tmp_path), groups(tmp_path)
    assert dataset.division is not None and dataset.division.parted == ("fox",)
    assert dataset.division.needed == 3 and dataset.division.unnamed == 0
    where: dict[str, set[str]] = {}
    for split, images in dataset.splits.items():
        for image in images:
            name = image.path.relative_to(tmp_path / "pictures").as_posix()
            where.setdefault(stated[name], set()).add(split)
    for label in ("cat", "dog"):
        splits = [where[f"{label}: {burst}"] for burst in "123"]
        assert sorted(map(list, splits)) == [["test"], ["train"], ["val"]]
    assert "'fox' has too few groups" in dataset.division.warning
    teach(pictures, {"fox": 3}, "3")
    export.write_groups(pictures)
    now = divided(tmp_path).division
    assert now is not None and (now.parted, now.warning) == ((), "")


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("whole", ("none of these is of a press of the button that was learnt",)),
        (
            "parted",
            ("flattered: 'cat' has fewer than 3 presses", "press 3 times", "2 pictures that came"),
        ),
        ("pets", ()),
    ],
)
def test_the_page_says_what_the_score_is_worth(
    name: str, said: tuple[str, ...], exporter: BundleExporter, pictures: Pictures
) -> None:
    teach(pictures, {"cat": 3, "dog": 3})
    exporter.start(name)
    message = ended(exporter)["message"]
    assert all(words in message for words in said), message
    assert ("flatter" in message) == (name == "parted")


def test_pictures_that_come_while_it_is_built_are_told(
    exporter: BundleExporter, pictures: Pictures
) -> None:
    teach(pictures, {"cat": 3, "dog": 3})
    exporter.start("slow")
    teach(pictures, {"cat": 2})
    assert "2 pictures that came later are not part of it" in ended(exporter)["message"]


@pytest.mark.skipif(sys.platform != "linux", reason="the system ends no child with its parent")
def test_no_build_outlives_a_program_that_is_killed(tmp_path: Path) -> None:
    pid = tmp_path / "pid"
    program = f"""
import sys, time
from pathlib import Path
from edge.live.export import BundleExporter
from edge.live.pictures import Pictures
from tests.unit.live_host.test_export import BUILDER, teach
pictures = Pictures(Path({str(tmp_path)!r}) / "pictures", Path({str(tmp_path)!r}) / "removed")
teach(pictures, {{"cat": 3, "dog": 3}})
folder = Path({str(tmp_path)!r})
made = BundleExporter(pictures, folder / "b", folder / "c", (sys.executable, str(BUILDER)))
made.start("waits")
Path({str(pid)!r}).write_text(str(made._process.pid))
time.sleep(60)
"""
    environ = os.environ | {"BUILDER_SAYS": str(tmp_path / "said.json")}
    running = subprocess.Popen([sys.executable, "-c", program], cwd=ROOT, env=environ)
    try:
        end = time.monotonic() + 60
        while not (pid.exists() and pid.read_text()):
            assert time.monotonic() < end
            time.sleep(0.02)
        build = int(pid.read_text())
        time.sleep(0.5)
        assert Path(f"/proc/{build}").exists()  # it runs although the call that began it is over
    finally:
        running.kill()
        running.wait()
    end = time.monotonic() + 60
    while not has_ended(build):
        assert time.monotonic() < end, "the build lives on"
        time.sleep(0.02)


def test_what_the_build_refuses_is_told(exporter: BundleExporter, pictures: Pictures) -> None:
    teach(pictures, {"cat": 3, "dog": 3})
    exporter.start("refused")
    error = ended(exporter)["error"]
    assert "code 2" in error and "the pictures cannot be used" in error and "Take others." in error
    exporter.start("again")  # the next one is not kept from it
    assert ended(exporter)["error"] is None


@pytest.mark.parametrize("name", ["crashes", "floods"])
def test_a_build_that_ends_badly_is_told(
    name: str, exporter: BundleExporter, pictures: Pictures
) -> None:
    teach(pictures, {"cat": 3, "dog": 3})
    exporter.start(name)
    state = ended(exporter)
    assert "was ended by SIG" in state["error"] and state["bundle"] is None


def test_a_report_that_cannot_be_read_takes_no_bundle_away(
    exporter: BundleExporter, pictures: Pictures
) -> None:
    teach(pictures, {"cat": 3, "dog": 3})
    exporter.start("odd")
    state = ended(exporter)
    assert state["bundle"] and "cannot be read" in state["message"]


@pytest.mark.parametrize("name", ["waits", "stubborn"])
def test_the_end_of_the_program_ends_the_build(
    name: str,
    exporter: BundleExporter,
    pictures: Pictures,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(export, "_GRACE_SECONDS", 0.2)
    teach(pictures, {"cat": 3, "dog": 3})
    exporter.start(name)
    state = until(exporter, lambda state: state["message"] == "waiting ...")
    assert state["running"] and state["bundle"] is None
    with pytest.raises(UsageError, match="running already"):
        exporter.start("another")
    began = time.monotonic()
    exporter.close()
    assert time.monotonic() - began < 5
    with pytest.raises(ProcessLookupError):
        os.kill(said(tmp_path)["pid"], 0)
    assert "was ended" in ended(exporter)["error"]
    assert list((tmp_path / "bundles").iterdir()) == []
    with pytest.raises(UsageError):
        exporter.start("another")


def test_ctrl_c_of_the_terminal_does_not_reach_the_build(
    exporter: BundleExporter, pictures: Pictures, tmp_path: Path
) -> None:
    teach(pictures, {"cat": 3, "dog": 3})
    exporter.start("waits")
    until(exporter, lambda state: state["message"] == "waiting ...")
    assert os.getpgid(said(tmp_path)["pid"]) != os.getpgid(0)
    os.kill(said(tmp_path)["pid"], signal.SIGKILL)
    assert "SIGKILL" in ended(exporter)["error"]


def test_missing_pictures_and_classes_are_counted(
    exporter: BundleExporter, pictures: Pictures
) -> None:
    with pytest.raises(UsageError, match="no class yet"):
        exporter.start("pets")
    teach(pictures, {"cat": 3})
    with pytest.raises(UsageError, match="'cat' is the only class"):
        exporter.start("pets")
    teach(pictures, {"dog": 1, "fox": 2})
    with pytest.raises(UsageError, match="'dog' has 1 and needs 2 more") as refused:
        exporter.start("pets")
    assert "'fox' has 2 and needs 1 more" in refused.value.message
    assert exporter.state["running"] is False and exporter.state["error"] is None


def test_edge_build_needs_as_many_pictures_as_is_said(pictures: Pictures, tmp_path: Path) -> None:
    teach(pictures, {"cat": NEEDED, "dog": NEEDED})
    assert len(scan(tmp_path / "pictures", seed=0).test) == 2
    teach(pictures, {"fox": NEEDED - 1})
    with pytest.raises(DataError, match="too few"):
        scan(tmp_path / "pictures", seed=0)


@pytest.mark.parametrize("label", ["a/b", ".cat", "%cat"])
def test_a_label_that_no_folder_can_have_is_to_be_renamed(
    label: str, exporter: BundleExporter, pictures: Pictures
) -> None:
    teach(pictures, {label: 3, "dog": 3})
    with pytest.raises(UsageError, match="none can be called") as refused:
        exporter.start("pets")
    assert "Rename" in refused.value.hint


@pytest.mark.parametrize("labels", [("train", "test"), ("train", "val"), ("__MACOSX", "dog")])
def test_labels_that_are_no_classes_to_edge_build_are_told(
    labels: tuple[str, str], exporter: BundleExporter, pictures: Pictures
) -> None:
    teach(pictures, dict.fromkeys(labels, 3))
    with pytest.raises(UsageError):
        exporter.start("pets")
    assert exporter.state["running"] is False


@pytest.mark.parametrize(
    "name",
    ["", " ", ".", "..", "../pets", "a/b", "/etc", "-rf", "a\nb", "x" * 101, "a ", "é" * 101],
)
def test_a_name_cannot_lead_elsewhere(
    name: str, exporter: BundleExporter, pictures: Pictures, tmp_path: Path
) -> None:
    teach(pictures, {"cat": 3, "dog": 3})
    with pytest.raises(UsageError, match="name of a bundle"):
        exporter.start(name)
    assert not (tmp_path / "said.json").exists()


def test_no_bundle_is_replaced(
    exporter: BundleExporter, pictures: Pictures, tmp_path: Path
) -> None:
    teach(pictures, {"cat": 3, "dog": 3})
    (tmp_path / "bundles" / "pets").mkdir(parents=True)
    with pytest.raises(UsageError, match="exists"):
        exporter.start("pets")


def test_a_program_that_is_not_there_is_told(pictures: Pictures, tmp_path: Path) -> None:
    teach(pictures, {"cat": 3, "dog": 3})
    exporter = BundleExporter(pictures, tmp_path / "b", tmp_path / "c", ("/nowhere/edge",))
    with pytest.raises(UsageError, match="cannot be run"):
        exporter.start("pets")
    assert exporter.state["running"] is False
    exporter.close()
