"""``edge.device.facts`` on real and on made-up machines, and its answer read on the host."""

import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from devices.profile import profile
from edge.deploy.facts import Facts, Processor, answered, gather_here, without_python
from edge.deploy.findings import installation, states
from edge.device import facts as device
from edge.device.admission import check_version
from edge.device.layout import App, check_place, close_to_others
from edge.device.state import MAX_BYTES, State
from edge.errors import DeviceError, ReleaseRefused

SCRIPT = Path(device.__file__)
DATA = Path(__file__).parents[1] / "data" / "facts"
OLD_PYTHONS = [path for path in map(shutil.which, ("python3.7", "python3.8", "python3.9")) if path]


def ask(*, home: Path, path: str = os.defpath, python: str = sys.executable) -> dict[str, Any]:
    """What the script prints when it comes on stdin, as on a device."""
    done = subprocess.run(
        [python, "-I", "-B", "-"],
        input=SCRIPT.read_bytes(),
        capture_output=True,
        env={"HOME": str(home), "PATH": path},
        timeout=120,
        check=True,
    )
    value: dict[str, Any] = json.loads(done.stdout)
    return value


def program(folder: Path, name: str, text: str) -> None:
    folder.mkdir(exist_ok=True)
    (folder / name).write_text(f"#!/bin/sh\n{text}\n")
    (folder / name).chmod(0o755)


def test_this_machine_answers(tmp_path: Path) -> None:
    found = Facts.from_json(ask(home=tmp_path))
    assert found.machine is not None and found.machine.name == os.uname().machine
    assert found.machine.bits == 64 and found.machine.cores == len(os.sched_getaffinity(0))
    assert found.python is not None and found.python.version == sys.version.split()[0]
    assert found.libraries is not None
    assert found.libraries.glibc == os.confstr("CS_GNU_LIBC_VERSION").split()[1]
    assert found.disk is not None and found.disk.path == str(tmp_path) and found.disk.writable
    assert found.disk.free_bytes == pytest.approx(shutil.disk_usage(tmp_path).free, rel=0.2)
    assert found.memory is not None
    assert 0 < found.memory.available_bytes < found.memory.total_bytes
    assert found.installed is not None and dict(found.installed.apps) == {}
    assert dict(found.errors) == {}


def test_this_machine_is_asked_without_ssh() -> None:
    found = gather_here()
    assert found.clock_skew_seconds == 0  # its clock is that of the host
    assert found.python is not None and found.python.path == sys.executable


@pytest.mark.parametrize("python", OLD_PYTHONS)
def test_an_old_python_can_say_that_it_is_old(tmp_path: Path, python: str) -> None:
    probe = [python, "-c", "import sys; print('%d.%d' % sys.version_info[:2])"]
    ran = subprocess.run(probe, capture_output=True, text=True, check=False)
    if ran.returncode:
        pytest.skip(f"{python} is here by name only")
    found = ask(home=tmp_path, python=python)
    assert found["python"]["version"].startswith(ran.stdout.strip() + ".")
    assert found["errors"] == {}


def test_it_is_written_for_python_3_7() -> None:
    import ast

    tree = ast.parse(SCRIPT.read_text(encoding="utf-8"), feature_version=(3, 7))
    imported = {
        (node.module or "") if isinstance(node, ast.ImportFrom) else node.names[0].name
        for node in ast.walk(tree)
        if isinstance(node, (ast.Import, ast.ImportFrom))
    }
    assert {name.split(".")[0] for name in imported} <= sys.stdlib_module_names
    text = SCRIPT.read_text(encoding="utf-8")
    for newer in (".removeprefix(", ".removesuffix(", ".is_relative_to(", "strict=", "def _(*, /"):
        assert newer not in text


def test_the_tools_of_a_raspberry_pi(tmp_path: Path) -> None:
    # Formats: raspberrypi.com/documentation, vcgencmd and rpicam-apps.
    tools = tmp_path / "tools"
    program(tools, "vcgencmd", '[ "$1" = get_throttled ] && echo throttled=0x50005')
    listing = (
        "Available cameras\n-----------------\n"
        "0 : imx708 [4608x2592 10-bit RGGB] (/base/soc/i2c0mux/i2c@1/imx708@1a)\n"
        "    Modes: 'SRGGB10_CSI2P' : 1536x864 [120.13 fps - (768, 432)/3072x1728 crop]\n"
        "1 : ov5647 [2592x1944 10-bit GBRG] (/base/soc/i2c0mux/i2c@0/ov5647@36)\n"
    )
    program(tools, "rpicam-hello", f"cat <<'END'\n{listing}END")
    found = ask(home=tmp_path, path=f"{tools}:{os.defpath}")
    assert found["processor"]["throttled"] == 0x50005
    assert found["cameras"]["libcamera"] == ["imx708", "ov5647"]
    assert found["user"]["tools"]["vcgencmd"] == str(tools / "vcgencmd")


@pytest.mark.parametrize("said", ["", "error=1", "throttled=", "VCHI initialization failed"])
def test_what_vcgencmd_says_elsewhere_is_no_measurement(said: str) -> None:
    assert device.throttled(said) is None


def test_a_program_that_hangs_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program(tmp_path / "tools", "vcgencmd", "exec sleep 60")
    monkeypatch.setenv("PATH", f"{tmp_path / 'tools'}:{os.defpath}")
    monkeypatch.setattr(device, "COMMAND_SECONDS", 0.2)
    monkeypatch.setattr(device, "ERRORS", {})
    began = time.monotonic()
    assert device.processor()["throttled"] is None
    assert device.ERRORS == {"vcgencmd": "no answer within 0.2 s"}
    assert time.monotonic() - began < 10


def test_a_probe_that_hangs_or_fails_leaves_the_others(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def hangs() -> None:
        time.sleep(60)

    def fails() -> None:
        raise KeyError("MemTotal")

    def works() -> dict[str, int]:
        return {"one": 1}

    monkeypatch.setattr(device, "PROBES", [hangs, fails, works])
    monkeypatch.setattr(device, "PROBE_SECONDS", 0.2)
    monkeypatch.setattr(device, "ERRORS", {})
    device.main()
    found = json.loads(capsys.readouterr().out)
    assert (found["hangs"], found["fails"], found["works"]) == (None, None, {"one": 1})
    assert found["errors"] == {
        "hangs": "Late: no answer within 0.2 s",
        "fails": "KeyError: 'MemTotal'",
    }


def an_app(home: Path, name: str = "cats") -> Path:
    app = home / ".local/share/edge/apps" / name
    (app / "releases/a1").mkdir(parents=True)
    (app / "releases/a1/release.json").write_text("{}")
    (app / "current").symlink_to("releases/a1")
    whole = State(last_good="a1", version=5).to_json()
    (app / "state.json").write_text(json.dumps(whole))
    (app / "highest-version").write_text("5\n")
    return app


def break_nothing(app: Path) -> None:
    pass


def break_link(app: Path) -> None:
    shutil.rmtree(app / "releases/a1")


def break_release(app: Path) -> None:
    (app / "releases/b2/bundle").mkdir(parents=True)


@pytest.mark.parametrize(
    ("damage", "problems"),
    [
        (break_nothing, []),
        (break_link, ["current leads to releases/a1, which is not whole"]),
        (break_release, ["release b2 is not whole"]),
    ],
)
def test_a_broken_installation_is_seen(
    tmp_path: Path, damage: Callable[[Path], None], problems: list[str]
) -> None:
    damage(an_app(tmp_path))
    found = ask(home=tmp_path)
    assert found["installed"]["apps"]["cats"]["problems"] == problems
    assert found["installed"]["apps"]["cats"]["current"] == "a1"


def left_alone(_: Path) -> None:
    pass


def cut(path: Path) -> None:
    path.write_text('{"last_go')


def emptied(path: Path) -> None:
    path.write_bytes(b"")  # what a power cut leaves on some file systems


def zeros_behind(path: Path) -> None:
    path.write_bytes(path.read_bytes() + b"\0" * 512)  # or that


def a_pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def too_long(path: Path) -> None:
    path.write_bytes(b" " * device.MOST_OF_STATE + path.read_bytes())


def a_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def of_other_types(path: Path) -> None:
    path.write_text(json.dumps({"last_good": 5}))


def undeployed(path: Path) -> None:
    for item in path.parent.iterdir():
        if item.is_dir() and not item.is_symlink():
            shutil.rmtree(item)
        elif item.name != "highest-version":
            item.unlink()


DAMAGES = [cut, emptied, zeros_behind, a_pipe, too_long, a_folder, of_other_types, Path.unlink]


@pytest.mark.parametrize("name", ["state.json", "highest-version"])
@pytest.mark.parametrize("damage", [left_alone, undeployed, *DAMAGES])
def test_the_doctor_says_no_where_the_device_refuses(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    damage: Callable[[Path], object],
    name: str,
) -> None:
    """Two looks at the same files: the probe with the host's judgement, and the refusal itself."""
    damage(an_app(tmp_path) / name)
    facts = Facts.from_json(ask(home=tmp_path))
    monkeypatch.setenv("HOME", str(tmp_path))
    try:
        check_version(App.named("cats"), 1 << 40)
        refused = False
    except ReleaseRefused:
        refused = True
    assert refused == (damage in DAMAGES and (name, damage) != ("highest-version", Path.unlink))
    found = list(states(facts))
    assert bool(found) == refused
    assert all(item.level == "error" and "--allow-downgrade" in item.hint for item in found)
    seen = installation(facts, profile("raspberry-pi-5"))
    shown = [item.level for item in seen if item.about == "app cats"]
    assert shown == ([] if refused else ["ok"])


def test_the_probe_sends_no_more_of_a_state_than_is_read() -> None:
    assert device.MOST_OF_STATE == MAX_BYTES


def test_what_a_deploy_left_is_seen(tmp_path: Path) -> None:
    app = an_app(tmp_path)
    (app / "incoming/b2").mkdir(parents=True)
    (app / ".state.json.123-0011aabb.tmp").touch()
    root = tmp_path / ".local/share/edge"
    (root / "control").mkdir()
    (root / "control/current").symlink_to("gone")
    (root / "envs/e1").mkdir(parents=True)
    found = ask(home=tmp_path)["installed"]
    assert found["apps"]["cats"]["leftovers"] == ["incoming/b2", ".state.json.123-0011aabb.tmp"]
    assert found["problems"] == ["control/current leads nowhere"]
    assert found["environments"] == ["e1"]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_home_that_cannot_be_written(tmp_path: Path) -> None:
    tmp_path.chmod(0o555)
    assert ask(home=tmp_path)["disk"]["writable"] is False


def test_a_home_that_is_not_there(tmp_path: Path) -> None:
    found = ask(home=tmp_path / "gone")
    assert found["disk"] is None
    assert "No such file" in found["errors"]["disk"]


def good(**changes: Any) -> bytes:
    value = json.loads((DATA / "pi5-good.json").read_text(encoding="utf-8"))["facts"]
    return json.dumps(value | changes).encode()


def test_what_a_login_script_prints_is_passed_over() -> None:
    found = answered(b"Welcome!\n{not json}\n" + good() + b"\n", "", 0.0, 1.0)
    assert found.machine is not None and found.machine.page_bytes == 16384


@pytest.mark.parametrize(
    ("stdout", "stderr", "said"),
    [
        (b"", "Fatal Python error: init_fs_encoding\n", "init_fs_encoding"),
        (b"Welcome!\n", "", "Welcome!"),
        (b"", "", "nothing"),
        (b'"text"', "", "which is not what was asked"),
        (good(machine={"name": "aarch64"}), "", "facts.machine lacks kernel, bits"),
        (good(errors={"a": 1}), "", "facts.errors.a says 1"),
        (good(schema_version=2), "", "schema_version 2"),
        (good(python={"version": 3, "path": "", "others": {}}), "", "facts.python.version says 3"),
        (good(memory=True), "", "facts.memory says True"),
    ],
)
def test_an_answer_that_makes_no_sense(stdout: bytes, stderr: str, said: str) -> None:
    with pytest.raises(DeviceError) as caught:
        answered(stdout, stderr, 0.0, 1.0)
    assert said in caught.value.message


@pytest.mark.parametrize(
    ("there", "skew"), [(100.0, 0.0), (101.9, 0.0), (99.0, -1.0), (110.0, 8.0), (0.0, -100.0)]
)
def test_the_time_of_the_call_is_no_skew(there: float, skew: float) -> None:
    clock = {"unix_seconds": there, "uptime_seconds": 1.0, "synchronized": None}
    found = answered(good(clock=clock), "", 100.0, 102.0)
    assert found.clock_skew_seconds == pytest.approx(skew)


def test_facts_go_to_json_and_back() -> None:
    found = answered(good(), "", 0.0, 1.0)
    assert Facts.from_json(json.loads(json.dumps(found.to_json()))) == found
    assert isinstance(found.processor, Processor)


def test_a_device_without_python() -> None:
    found = without_python("aarch64\n6.6.51\nRaspberry Pi 5 Model B Rev 1.0\0")
    assert found.machine is not None
    assert found.machine.model == "Raspberry Pi 5 Model B Rev 1.0"
    assert found.python is None and found.errors["python"] == "there is no python3"
    assert Facts.from_json(found.to_json()) == found


def test_the_data_files_can_be_read() -> None:
    names = [path.stem for path in DATA.glob("*.json")]
    assert {"pi5-good", "recorded-emulated-debian-12"} <= set(names)
    for name in names:
        text = (DATA / f"{name}.json").read_text(encoding="utf-8")
        assert json.loads(text)["note"].startswith(("Constructed: ", "Recorded: "))
        Facts.from_json(json.loads(text)["facts"])


def test_an_edge_folder_that_is_open_to_others_is_told_of_and_closed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = tmp_path / ".local/share/edge"
    picture = root / "apps/cats/inbox/a.png"
    picture.parent.mkdir(parents=True)
    for path in (root / "signers", picture):
        path.write_bytes(b"x")
        path.chmod(0o664)
    for path in (root, *root.rglob("*")):
        if path.is_dir():
            path.chmod(0o777)
    (told,) = ask(home=tmp_path)["installed"]["exposed"]
    assert "other users have rights to 6 files and folders" in told
    monkeypatch.setenv("HOME", str(tmp_path))
    assert close_to_others() == 6
    assert ask(home=tmp_path)["installed"]["exposed"] == []
    assert {path.stat().st_mode & 0o777 for path in root.rglob("*")} == {0o700, 0o600}
    check_place()


def link_in_its_place(root: Path) -> None:
    app = root / "apps/cats"
    app.rename(root / "elsewhere")
    app.symlink_to(root / "elsewhere")


def foreign(root: Path) -> None:
    if os.getuid() != 0:
        pytest.skip("only root may give a folder away")
    os.chown(root / "apps", 12345, -1)


def writable_parent(root: Path) -> None:
    root.parent.chmod(0o775)


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (link_in_its_place, "is a link"),
        (foreign, "belongs to another user (uid 12345)"),
        (writable_parent, "can be written by others (mode 0775)"),
    ],
)
def test_a_place_that_others_control_is_refused_with_the_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, spoil: Callable[[Path], None], said: str
) -> None:
    root = tmp_path / ".local/share/edge"
    (root / "apps/cats").mkdir(parents=True)
    for path in (tmp_path, root.parent.parent, root.parent):
        path.chmod(0o755)
    monkeypatch.setenv("HOME", str(tmp_path))
    check_place()
    spoil(root)
    with pytest.raises(DeviceError, match=re.escape(said)):
        check_place()
    facts = Facts.from_json(ask(home=tmp_path))
    found = installation(facts, profile("generic-x86-64"))
    (finding,) = [item for item in found if item.level == "error"]
    assert said in finding.found and "go-w" in finding.hint
