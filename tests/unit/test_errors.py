"""Errors keep their exit code on every route, and a missing package is named, never a bug."""

import errno
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from edge.cli import app as command_line
from edge.cli.terminal import INTERRUPTED
from edge.errors import (
    PACKAGES,
    DeviceError,
    EdgeError,
    InferenceError,
    OutputError,
    PackageMissing,
    cause_of,
    described,
    error_classes,
    expected,
    missing_package,
    rebuilt,
)
from edge.runtime.command_line import main as runtime
from edge.workers import WorkerLimits, answers

ROOT = Path(__file__).parents[2]
LIMITS = {
    errno.EFBIG: "ulimit -f",
    errno.EMFILE: "ulimit -n",
    errno.ENOSPC: "Free some space",
    errno.EACCES: "Choose another",
}
CLASSES = sorted(error_classes(), key=lambda kind: kind.__name__)


@pytest.mark.parametrize("kind", CLASSES, ids=lambda kind: kind.__name__)
def test_an_error_is_itself_after_its_travel(kind: type[EdgeError]) -> None:
    sent = json.loads(json.dumps(described(kind("found", hint="do"))))
    back = rebuilt(sent, unknown=InferenceError)
    assert (type(back), back.message, back.hint) == (kind, "found", "do")


@pytest.mark.parametrize("number", LIMITS, ids=errno.errorcode.get)
def test_what_the_system_refuses_is_no_bug(number: int) -> None:
    refused = expected(OSError(number, os.strerror(number), "some file"))
    assert isinstance(refused, OutputError)
    assert refused.message == f"{os.strerror(number)} (some file)"
    assert LIMITS[number] in refused.hint


def test_a_file_that_numpy_wrote_in_part_is_no_bug() -> None:
    refused = expected(OSError("9999 requested and 112 written"))
    assert refused is not None
    assert refused.exit_code == 2
    assert "not written whole" in refused.message
    assert expected(OSError("a bug without a number")) is None


def test_the_cause_has_no_number_and_no_path() -> None:
    assert cause_of(FileNotFoundError(2, "No such file or directory", "x")).endswith("directory")
    assert (cause_of(ValueError("it is wrong")), cause_of(EOFError())) == (
        "it is wrong",
        "EOFError",
    )


def test_an_unknown_error_becomes_what_the_route_says() -> None:
    assert type(rebuilt({"error": "Exception", "message": 1}, unknown=DeviceError)) is DeviceError


@pytest.mark.parametrize("kind", CLASSES, ids=lambda kind: kind.__name__)
def test_a_process_of_its_own_changes_no_exit_code(kind: type[EdgeError], tmp_path: Path) -> None:
    said = json.dumps(described(kind("found", hint="do")))
    with pytest.raises(EdgeError) as caught:
        answers(["echo", said], folder=tmp_path, environment={}, limits=WorkerLimits(seconds=20))
    assert type(caught.value) is kind


def test_the_documented_table_is_that_of_the_classes() -> None:
    text = (ROOT / "docs" / "exit-codes.md").read_text(encoding="utf-8").partition("\n## ")[0]
    rows = re.findall(r"^\| (\d+) \| [^|]+ \| ([^|]*)\|$", text, re.MULTILINE)
    stated = {name: int(code) for code, names in rows for name in re.findall(r"`(\w+)`", names)}
    assert stated == {kind.__name__: kind.exit_code for kind in CLASSES}
    assert [int(code) for code, _ in rows] == [0, 1, 2, 3, 4, INTERRUPTED]
    for page in ("README.md", "docs/deploy.md", "docs/ci.md"):
        assert "exit-codes.md" in (ROOT / page).read_text(encoding="utf-8"), page


@pytest.mark.parametrize("module", sorted(PACKAGES))
def test_a_missing_package_is_named(module: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(ImportError) as caught:
        __import__(f"{module}.anything")
    found = missing_package(caught.value)
    assert isinstance(found, PackageMissing)
    assert f"pip install {PACKAGES[module]}" in found.hint


def test_a_module_of_ours_that_is_missing_stays_a_bug() -> None:
    assert missing_package(ModuleNotFoundError("no", name="edge.nowhere")) is None
    broken = missing_package(ImportError("libGL.so.1: cannot open", name="onnxruntime.capi"))
    assert broken is not None and "libGL.so.1" in broken.message


COMMANDS = {
    ("predict", "mobilenet", "PICTURE"): "tensorflow",
    ("export", "mobilenet", "--calibration-data", "PHOTOS", "-o", "OUT"): "tensorflow",
    ("build", "PHOTOS", "-o", "OUT", "--size", "32"): "tensorflow",
    ("embed", "PHOTOS", "-o", "OUT.npz"): "tensorflow",
    ("tag", "PHOTOS"): "tensorflow",
    ("dataset", "digits", "OUT"): "scikit-learn",
}


@pytest.mark.parametrize("words", COMMANDS, ids=lambda words: words[0])
def test_commands_without_a_package(
    words: tuple[str, ...],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    from tests.color_bundles import COLORS, write_pictures

    photos = write_pictures(tmp_path / "PHOTOS", 6)
    places = {"PICTURE": photos / next(iter(COLORS)) / "000.png", "PHOTOS": photos}
    for module in ("keras", "tensorflow", "sklearn"):
        for name in [name for name in sys.modules if name.partition(".")[0] == module]:
            monkeypatch.delitem(sys.modules, name)
        monkeypatch.setitem(sys.modules, module, None)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("EDGE_CACHE", str(tmp_path / "cache"))
    with pytest.raises(SystemExit) as ended:
        command_line.main([str(places.get(word, word)) for word in words])
    said = capfd.readouterr().err
    assert ended.value.code == PackageMissing.exit_code, said
    assert f"pip install {COMMANDS[words]}" in said
    assert "bug" not in said


def test_the_runtime_without_pillow(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    program = (
        "import sys; sys.modules['PIL'] = None\n"
        "from edge.runtime.command_line import main; sys.exit(main(['predict', 'b', 'i']))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == PackageMissing.exit_code, done.stderr
    assert "pip install pillow" in done.stderr and "Traceback" not in done.stderr
    assert runtime(["info", "nowhere"]) == 2
    assert "no bundle" in capsys.readouterr().err
