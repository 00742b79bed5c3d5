"""What reaches a terminal: no control characters of names, no chatter of libraries."""

import io
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from edge.cli.terminal import shown_progress
from edge.runtime.printable import visible
from edge.runtime.streams import say
from tests.unit.golden_bundle import golden_bundle

ROOT = Path(__file__).parents[2]
MODEL = ROOT / "tests" / "data" / "channels_int8.tflite"
STEERING = "\x1b[2J\x07\x9b31m\u202egnp\udce9"


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return golden_bundle(tmp_path_factory.mktemp("streams") / "bundle")


def python(*words: str, **variables: str) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [sys.executable, *words],
        cwd=ROOT,
        env=os.environ | variables,
        capture_output=True,
        timeout=60,
    )


def test_visible() -> None:
    assert visible("photos/Zürich 🍎\t青.jpg\n") == "photos/Zürich 🍎\t青.jpg\n"
    assert visible(STEERING) == r"\u001b[2J\u0007\u009b31m\u202egnp\udce9"
    text = json.dumps({"name": STEERING}, ensure_ascii=False)
    assert json.loads(visible(text)) == json.loads(text)


@pytest.mark.parametrize("module", ["edge", "edge.runtime"])
def test_a_name_cannot_steer_the_terminal(module: str, bundle: Path, tmp_path: Path) -> None:
    picture = tmp_path / f"{STEERING}.png"
    Image.new("RGB", (20, 20), (0, 0, 255)).save(str(picture), "PNG")
    (tmp_path / f"{STEERING}.jpg").write_bytes(b"no picture")
    for form in ((), ("--json",), ("--csv", "-")):
        result = python("-m", module, "predict", str(bundle), str(tmp_path), *form)
        assert result.returncode == 2
        for stream in (result.stdout.decode(), result.stderr.decode()):
            assert not {"\x1b", "\x07", "\x9b", "\u202e"} & {*stream}
        assert b"gnp" in result.stdout
        if form == ("--json",):
            assert len(json.loads(result.stdout)) == 2
    missing = python("-m", module, "predict", f"no{STEERING}", "a.png")
    assert missing.returncode == 2
    assert b"\x1b" not in missing.stderr


@pytest.mark.parametrize("command", ["predict", "selftest", "bench", "watch", "info"])
def test_the_device_hears_no_chatter_of_the_interpreter(
    command: str, bundle: Path, tmp_path: Path
) -> None:
    picture = tmp_path / "picture.png"
    Image.new("RGB", (20, 20)).save(picture)
    words = {
        "predict": ["predict", str(bundle), str(picture)],
        "watch": ["watch", str(tmp_path), "--bundle", str(bundle), "--once"],
        "bench": ["bench", str(bundle), "--runs", "1"],
    }.get(command, [command, str(bundle)])
    result = python("-m", "edge.runtime", *words)
    assert result.returncode == 0, result.stderr
    assert b"INFO" not in result.stderr
    assert b"XNNPACK" not in result.stderr
    if command == "predict":  # it is there, and asked for it is shown
        assert b"XNNPACK" in python("-m", "edge.runtime", *words, EDGE_DEBUG="1").stderr


def test_a_terminal_that_is_not_of_utf_8(bundle: Path, tmp_path: Path) -> None:
    picture = tmp_path / "Zürich 🍎.png"
    Image.new("RGB", (20, 20)).save(picture)
    for encoding in ("ascii", "latin-1"):
        for form in ((), ("--json",)):
            words = ["-m", "edge.runtime", "predict", str(bundle), str(picture), *form]
            result = python(*words, PYTHONIOENCODING=encoding)
            assert result.returncode == 0, result.stderr
            if form:
                (answer,) = json.loads(result.stdout.decode(encoding))
                assert answer["image"] == str(picture)
    result = python("-m", "edge", "zoo", PYTHONIOENCODING="ascii")
    assert result.returncode == 0
    assert b"-----" in result.stdout


def test_native_warnings_and_errors_are_kept() -> None:
    program = (
        "import os\n"
        "from edge.runtime.streams import without_chatter\n"
        "try:\n"
        "    with without_chatter():\n"
        "        os.write(2, b'INFO: chatter\\nERROR: kept\\nI0000 chatter\\nno end')\n"
        "        raise KeyError\n"
        "except KeyError: os.write(2, b'!after')\n"
    )
    assert python("-c", program).stderr == b"ERROR: kept\nno end!after"
    closed = "import os; os.close(2)\nfrom edge.runtime.streams import without_chatter\n"
    closed += "with without_chatter(): print('goes on')"
    assert python("-c", closed).stdout == b"goes on\n"


def test_a_users_program_can_open_a_model_in_silence() -> None:
    """LiteRT's own line comes through, as the README says, unless it is asked for silence."""
    program = (
        "import contextlib, pathlib, sys\n"
        "from edge.runtime.session import open_session\n"
        "from edge.runtime.streams import without_chatter\n"
        "quiet = without_chatter if sys.argv[1] == 'quiet' else contextlib.nullcontext\n"
        f"with quiet(): open_session(pathlib.Path({str(MODEL)!r}))\n"
        "print('after', file=sys.stderr)\n"
    )
    assert python("-c", program, "quiet").stderr == b"after\n"
    said = python("-c", program, "loud").stderr
    assert b"XNNPACK" in said and said.endswith(b"after\n")


def test_warnings_of_libraries_are_not_for_users() -> None:
    program = (
        "import sys, warnings, logging\n"
        "from edge.cli.terminal import captured_native_output\n"
        "with captured_native_output() as log:\n"
        "    warnings.warn('keras warns')\n"
        "    logging.basicConfig(format='%(levelname)s:%(name)s:%(message)s')\n"
        "    logging.getLogger('absl').warning('absl says')\n"
        "    print('edge says', file=sys.stderr)\n"
        "    log.seek(0)\n"
        "    kept = log.read()\n"
        "assert b'keras warns' in kept and b'absl says' in kept, kept\n"
    )
    result = python("-c", program)
    assert (result.returncode, result.stderr) == (0, b"edge says\n")
    assert b"keras warns" in python("-c", program, EDGE_DEBUG="1").stderr


def test_bars_take_no_markup_of_names(monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setenv("TERM", "xterm")
    bars = shown_progress()
    with bars.stage("[red]a[/] :cat:\x1b]0;t\x07", 2) as step:
        step(2)
    bars.note("[link=x]b[/] :cat:\n\x1b]52;c;x\x07")
    shown = terminal.getvalue()
    assert "[red]a[/] :cat:" in shown and r"[link=x]b[/] :cat:\n\u001b]52" in shown
    assert "\x1b]" not in shown and "\x07" not in shown


def test_quiet_hides_progress_and_information_and_no_warning(
    capsys: pytest.CaptureFixture[str],
) -> None:
    for quiet in (False, True):
        progress = shown_progress(quiet=quiet)
        with progress.stage("score", 2) as step:
            step(2)
        progress.inform("what was found")
        progress.note("the labels are not those of its outputs")
        said = capsys.readouterr().err
        assert ("score" in said, "what was found" in said) == (not quiet, not quiet)
        assert "note: the labels are not those of its outputs\n" in said


def test_a_line_is_no_command_to_githubs_runner(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    say("::error::x\n::add-mask::y")
    assert capsys.readouterr().out == "\\u003a:error::x\\n::add-mask::y\n"
    monkeypatch.delenv("GITHUB_ACTIONS")
    say("::1: serves", err=True)
    assert capsys.readouterr().err == "::1: serves\n"


def shell(line: str, *words: object) -> subprocess.CompletedProcess[bytes]:
    """A line of bash, in which ``$@`` is ``python -m`` and the words."""
    return subprocess.run(
        ["bash", "-c", line, "bash", sys.executable, "-m", *map(str, words)],
        cwd=ROOT,
        capture_output=True,
        timeout=120,
    )


@pytest.mark.parametrize("module", ["edge", "edge.runtime"])
@pytest.mark.parametrize("closed", [">&-", "<&- >&- 2>&-"])
def test_closed_streams(module: str, closed: str, bundle: Path, tmp_path: Path) -> None:
    picture = tmp_path / "picture.png"
    Image.new("RGB", (20, 20)).save(picture)
    table = tmp_path / "table.csv"
    for code, words in (
        (0, ["--help"]),
        (0, ["predict", bundle, picture]),
        (0, ["predict", bundle, picture, "--csv", table, "--overwrite"]),
        (2, ["predict", bundle, "-"]),
    ):
        line = '"$@" ' + closed + ("" if "<&-" in closed else " <&-")
        result = shell(line, module, *words)
        assert result.returncode == code, result.stderr
        assert b"bug of edge" not in result.stderr and b"Traceback" not in result.stderr
    assert table.read_text().startswith("image,")


@pytest.mark.parametrize("module", ["edge", "edge.runtime"])
def test_a_reader_that_leaves_is_no_verdict(module: str, bundle: Path, tmp_path: Path) -> None:
    picture = tmp_path / "picture.png"
    Image.new("RGB", (20, 20)).save(picture)
    left, many = '"$@" | true; exit ${PIPESTATUS[0]}', [picture] * 400
    for code, words in (
        (0, ["--help"]),
        (0, ["predict", bundle, picture]),
        (0, ["predict", bundle, *many]),
        (0, ["predict", bundle, *many, "--json"]),
        (2, ["predict", bundle, "nosuch.png", *many]),
    ):
        result = shell(left, module, *words)
        assert result.returncode == code, result.stderr
        assert b"BrokenPipe" not in result.stderr and b"bug of edge" not in result.stderr


def test_a_verdict_is_given_without_a_reader(bundle: Path, tmp_path: Path) -> None:
    altered = tmp_path / "bundle"
    shutil.copytree(bundle, altered)
    for form in ((), ("--json",)):
        words = ["edge", "verify", altered, *form]
        assert shell('"$@" | true; exit ${PIPESTATUS[0]}', *words).returncode == 0
    (altered / "labels.txt").write_text("others")
    for form in ((), ("--json",)):
        words = ["edge", "verify", altered, *form]
        assert shell('"$@" | true; exit ${PIPESTATUS[0]}', *words).returncode == 1


@pytest.mark.parametrize("module", ["edge", "edge.runtime"])
@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_a_full_disk_at_standard_output(
    module: str, unbuffered: str, bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONUNBUFFERED", unbuffered)
    picture = tmp_path / "picture.png"
    Image.new("RGB", (20, 20)).save(picture)
    one, many = [picture], [picture] * 400
    for words in (["--help"], ["predict", bundle, *one], ["predict", bundle, *many]):
        result = shell('"$@" >/dev/full', module, *words)
        assert result.returncode == 2
        told = b"error: standard output cannot be written: No space left on device"
        assert result.stderr.splitlines() == [told, b"hint: Free some space."]
