"""``edge live``: what it makes of its words, and what it refuses before anything is started."""

import os
import signal
import socket
import subprocess
import sys
import threading
import urllib.request
import webbrowser
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from edge.cache import StageCache
from edge.cli.app import app
from edge.cli.use import live as module
from edge.cli.use.live import open_browser, wants_page
from edge.deploy.ssh import Address
from edge.errors import (
    BundleError,
    ConnectionFailed,
    EdgeError,
    OutputError,
    PackageMissing,
    UsageError,
)
from edge.live import tunnel
from edge.live.export import BundleExporter
from edge.live.session import SessionKeeper
from edge.runtime.live import service
from edge.runtime.live.server import check_listens
from edge.runtime.live.service import LiveOptions
from tests.unit.conftest import encoded, noise


@pytest.fixture(autouse=True)
def pictures_keep_their_bounds(monkeypatch: pytest.MonkeyPatch) -> None:
    """A service lowers them for its whole process, which here is that of all tests."""
    monkeypatch.setattr(service, "bound_as_service", lambda: None)


class Served:
    """Stands in for ``serve``, and keeps what it got."""

    def __init__(self) -> None:
        self.bundle = Path()
        self.options = LiveOptions()
        self.given: dict[str, Any] = {}

    def __call__(self, bundle: Path, options: LiveOptions, **given: Any) -> int:
        assert (bundle / "manifest.json").is_file()
        self.bundle, self.options, self.given = bundle, options, given
        return 0


@pytest.fixture
def served(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cache: StageCache) -> Served:
    recorder = Served()
    monkeypatch.setattr(service, "serve", recorder)
    monkeypatch.setattr(service, "check_listens", lambda _: None)  # tests share the usual port
    monkeypatch.setenv("EDGE_CACHE", str(cache.root))
    monkeypatch.delenv("EDGE_LIVE_TOKEN", raising=False)
    monkeypatch.chdir(tmp_path)
    return recorder


def told(*words: str) -> str:
    """What a command that succeeds says."""
    result = CliRunner().invoke(app, ["live", *words])
    assert result.exit_code == 0, (result.output, result.exception)
    return result.output


def refused(*words: str) -> EdgeError:
    """The error of a command that does not."""
    result = CliRunner().invoke(app, ["live", *words])
    assert isinstance(result.exception, EdgeError), result.output
    assert result.exception.hint
    return result.exception


def test_without_a_word_a_session_is_begun_and_gone_on_with(served: Served) -> None:
    assert "edge-live: a new session; pictures are kept in edge-live/pictures" in told("--no-open")
    assert served.bundle == Path("edge-live/bundle")
    assert isinstance(served.given["keeper"], SessionKeeper)
    assert isinstance(served.given["exporter"], BundleExporter)
    assert served.given["ready"] is None
    assert "edge-live: goes on, with 0 pictures taught so far" in told("--open")
    assert served.given["ready"] is open_browser


def test_without_pictures_nothing_is_kept_or_built(served: Served) -> None:
    assert "no picture is kept" in told("--no-pictures", "--output", "mine")
    assert served.bundle == Path("mine/bundle")
    assert served.given["keeper"] is None and served.given["exporter"] is None
    assert told("--quiet", "--no-pictures") == ""


def test_a_bundle_keeps_nothing_beside_it(served: Served, blank: Path) -> None:
    told(str(blank), "--no-open")
    assert served.bundle == blank
    assert served.given.keys() == {"ready"}
    assert not Path("edge-live").exists()


def test_every_option_reaches_the_server(
    served: Served, blank: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EDGE_LIVE_TOKEN", "0123456789abcdef")
    words = ["--camera", "1", "--size", "1280x720", "--rate", "2.5", "--listen", "[::1]:9090"]
    words += ["--variant", "tflite-fp32", "--engine", "litert", "--threads", "3"]
    told(str(blank), *words, "--smoothing", "7")
    assert served.options == LiveOptions(
        camera="1",
        width=1280,
        height=720,
        rate=2.5,
        listen=("::1", 9090),
        token="0123456789abcdef",
        variant="tflite-fp32",
        engine="litert",
        threads=3,
        smoothing=7,
    )


@pytest.mark.parametrize(
    "words",
    [
        *(
            ("--size", text)
            for text in ("640", "640x", "0x480", "640x-1", "9000x9", "1e3x9", "axb")
        ),
        *(("--rate", text) for text in ("0", "-1", "241", "nan", "inf")),
        *(("--listen", text) for text in ("8080", "pi", ":8080", "a:b", "host:99999", "a:1/b")),
        ("--no-pictures", "--live-port", "9090"),
        ("--port", "22"),
        ("--app", "door"),
        ("--ssh-config", "config"),
        ("--accept-new-host-key",),
        ("--camera", ""),
    ],
)
def test_what_cannot_be_meant_is_refused_before_a_session_is_begun(
    words: tuple[str, ...], served: Served, tmp_path: Path
) -> None:
    assert isinstance(refused(*words), UsageError)
    assert not (tmp_path / "edge-live").exists()


@pytest.mark.parametrize("words", [(), ("--listen", "0.0.0.0:0"), ("--engine", "litert")])
def test_a_token_that_could_be_guessed_leaves_no_session(
    words: tuple[str, ...], served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EDGE_LIVE_TOKEN", "short")
    assert "the token has to have" in refused(*words).message
    assert not Path("edge-live").exists()
    monkeypatch.setenv("EDGE_LIVE_TOKEN", "0123456789abcdef")
    told(*words, "--no-open")
    assert Path("edge-live/bundle").is_dir()


def test_a_port_that_is_taken_leaves_no_session(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service, "check_listens", check_listens)
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        error = refused("--listen", f"127.0.0.1:{port}")
        assert isinstance(error, OutputError) and f"port {port}" in error.message
        assert not Path("edge-live").exists()
    told("--listen", "127.0.0.1:0", "--no-open")
    assert Path("edge-live").is_dir()


def test_an_engine_or_a_package_that_is_missing_leaves_no_session(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    result = CliRunner().invoke(app, ["live", "--engine", "steam"])
    assert isinstance(result.exception, UsageError) and "steam" in result.exception.message
    monkeypatch.setitem(sys.modules, "paho.mqtt.client", None)
    assert isinstance(refused("--mqtt", "mqtt://broker"), PackageMissing)
    assert not Path("edge-live").exists()


@pytest.mark.parametrize("frames", ["0", "101"])
def test_a_mean_of_no_frame_or_of_too_many_is_refused(
    frames: str, served: Served, tmp_path: Path
) -> None:
    result = CliRunner().invoke(app, ["live", "--smoothing", frames])
    assert result.exit_code == 2 and "--smoothing" in result.output
    assert not (tmp_path / "edge-live").exists()


@pytest.mark.parametrize(
    "words", [("--output", "mine"), ("--no-pictures",), ("--cache", "c"), ("--live-port", "9")]
)
def test_options_of_a_session_are_refused_with_a_bundle(
    words: tuple[str, ...], served: Served, blank: Path
) -> None:
    assert words[0] in refused(str(blank), *words).message


@pytest.mark.parametrize(
    "words",
    [
        *(("--camera", "0"), ("--size", "9x9"), ("--rate", "1"), ("--listen", "localhost:1")),
        *(("--output", "mine"), ("--no-pictures",), ("--variant", "v"), ("--engine", "litert")),
        *(("--threads", "1"), ("--smoothing", "2"), ("--cache", "c")),
    ],
)
def test_options_of_this_machine_are_refused_with_a_device(words: tuple[str, ...]) -> None:
    error = refused("pi@pi", *words)
    assert words[0] in error.message and "pi@pi" in error.message


def test_a_path_is_no_device(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("empty").mkdir()
    Path("file").touch()
    for path in ("missing/bundle", "./missing", str(tmp_path / "missing"), "empty", "file"):
        assert isinstance(refused(path, "--no-open"), UsageError | BundleError), path
    assert isinstance(refused("a b"), UsageError)  # neither


def test_a_word_that_is_neither_bundle_nor_device_is_told_as_both(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / "ssh"
    program.write_text(
        "#!/bin/sh\necho 'ssh: Could not resolve hostname bundel: no' >&2\nexit 255\n"
    )
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    error = refused("bundel")
    assert "Could not resolve" in error.message and "no bundle at bundel" in error.hint
    assert error.exit_code == 4


def test_the_port_that_is_named_or_else_the_one_that_was_deployed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: list[object] = []

    def deployed(address: Address, app: str | None) -> int:
        asked.append((address.host, app))
        return 9090

    def refuses(address: Address, port: int) -> None:
        asked.append(port)
        raise ConnectionFailed("no", hint="no")

    monkeypatch.setattr(tunnel, "deployed_port", deployed)
    monkeypatch.setattr(tunnel, "tunnel", refuses)
    refused("pi@pi", "--app", "door")
    assert asked == [("pi@pi", "door"), 9090]
    refused("pi@pi", "--live-port", "8081")
    assert asked[2:] == [8081]


def test_a_foreign_folder_is_no_session(served: Served) -> None:
    Path("edge-live").mkdir()
    Path("edge-live/letter.txt").touch()
    assert isinstance(refused(), OutputError)


@pytest.mark.parametrize(
    ("asked", "variables", "terminal", "wanted"),
    [
        (None, {"DISPLAY": ":0"}, True, True),
        (None, {"WAYLAND_DISPLAY": "wayland-0"}, True, True),
        (None, {}, True, False),
        (None, {"DISPLAY": ""}, True, False),
        (None, {"DISPLAY": ":0"}, False, False),
        (True, {}, False, True),
        (False, {"DISPLAY": ":0"}, True, False),
    ],
)
def test_the_page_is_opened_where_somebody_sees_it(
    asked: bool | None,
    variables: dict[str, str],
    terminal: bool,
    wanted: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in ("DISPLAY", "WAYLAND_DISPLAY"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setattr(sys.stderr, "isatty", lambda: terminal, raising=False)
    assert wants_page(asked) is wanted


@pytest.mark.parametrize("answer", [True, False, webbrowser.Error("no browser"), OSError("no")])
def test_a_browser_never_fails_the_command(answer: object, monkeypatch: pytest.MonkeyPatch) -> None:
    words: list[str] = []
    asked, done = threading.Event(), threading.Event()

    def opened(url: str) -> bool:
        words.append(url)
        asked.set()
        if isinstance(answer, Exception):
            raise answer
        return bool(answer)

    def said(text: str, *, err: bool) -> None:
        words.append(text)
        done.set()

    monkeypatch.setattr(webbrowser, "open", opened)
    monkeypatch.setattr(module, "say", said)
    open_browser("http://127.0.0.1:1/")
    assert asked.wait(10)
    assert words[0] == "http://127.0.0.1:1/"
    if answer is not True:
        assert done.wait(10) and "no browser" in words[1]


def test_a_whole_session_from_start_to_ctrl_c(tmp_path: Path, blank: Path) -> None:
    """The real server, a folder as camera, in a process of its own."""
    frames = tmp_path / "frames"
    frames.mkdir()
    for seed in range(3):
        (frames / f"{seed}.jpg").write_bytes(encoded(noise(seed, 48, 64), "JPEG"))
    words = ["live", str(blank), "--camera", str(frames), "--listen", "127.0.0.1:0", "--no-open"]
    process = subprocess.Popen(
        [sys.executable, "-m", "edge", *words], stderr=subprocess.PIPE, text=True
    )
    assert process.stderr is not None
    try:
        line = process.stderr.readline()
        assert line.startswith("live at "), line + process.stderr.read()
        with urllib.request.urlopen(f"{line.split()[-1]}v1/state", timeout=20) as reply:
            assert b'"teachable"' in reply.read()
    finally:
        process.send_signal(signal.SIGINT)
        said = process.stderr.read()
        code = process.wait(timeout=20)
    assert code == 130
    assert "interrupted" in said and "hint" not in said  # that is how it ends: nothing to go on
