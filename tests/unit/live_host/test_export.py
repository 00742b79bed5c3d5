"""An export: what it is refused for, what it says, and that nothing of it stays behind."""

import json
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from edge.dataset.scan import scan
from edge.errors import DataError, OutputError, UsageError
from edge.live import export
from edge.live.export import NEEDED, BundleExporter
from edge.live.pictures import Pictures
from tests.unit.conftest import encoded, noise

BUILDER = Path(__file__).with_name("builder.py")


def teach(pictures: Pictures, counts: dict[str, int]) -> None:
    seed = sum(map(len, pictures.by_label.values()))
    for label, count in counts.items():
        for _ in range(count):
            content = encoded(noise(seed), "JPEG")
            pictures.add(label, sha256(content).hexdigest(), content)
            seed += 1


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
    end = time.monotonic() + 20
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
    ]
    assert said(tmp_path)["nice"] > os.nice(0)


def test_the_words_are_those_that_edge_build_takes(pictures: Pictures, tmp_path: Path) -> None:
    from typer.testing import CliRunner

    from edge.cli.app import app

    real = BundleExporter(pictures, tmp_path / "bundles", tmp_path / "cache")
    assert list(real._command) == [sys.executable, "-P", "-m", "edge"]
    (tmp_path / "pictures").mkdir()
    words = ["build", str(tmp_path / "pictures"), "--head", "imprinted", "--output"]
    words += [str(tmp_path / "bundle"), "--name", "pets", "--cache", str(tmp_path / "cache")]
    result = CliRunner().invoke(app, words)
    assert isinstance(result.exception, DataError), result.output  # the folder is empty


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
    with pytest.raises(OutputError, match="exists"):
        exporter.start("pets")


def test_a_program_that_is_not_there_is_told(pictures: Pictures, tmp_path: Path) -> None:
    teach(pictures, {"cat": 3, "dog": 3})
    exporter = BundleExporter(pictures, tmp_path / "b", tmp_path / "c", ("/nowhere/edge",))
    with pytest.raises(UsageError, match="cannot be run"):
        exporter.start("pets")
    assert exporter.state["running"] is False
    exporter.close()
