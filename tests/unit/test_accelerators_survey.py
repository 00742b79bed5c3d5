"""``edge accelerators``: what each attempt came to, and how its options are read."""

import json
from pathlib import Path
from typing import Any

import pytest

from benchmarks import survey as module
from benchmarks.accelerators.base import Device, EngineSettings, Label
from benchmarks.accelerators.table import ACCELERATORS
from benchmarks.survey import Availability, survey
from edge.cli.measure.accelerators import _print
from edge.cli.measure.options import delegate_library, delegate_options, pythons
from edge.errors import UsageError
from edge.progress import Silent

CPU = ACCELERATORS["onnxruntime-cpu"]
MISSING = ACCELERATORS["onnxruntime-cuda"]


def script(path: Path, command: str) -> Path:
    path.write_text(f"#!/bin/sh\n{command}\n")
    path.chmod(0o755)
    return path


def test_a_crash_and_a_hang_are_findings_and_the_others_survive(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = ("onnxruntime-cpu", "onnxruntime-cuda", "openvino-cpu", "openvino-gpu")
    monkeypatch.setattr(module, "ACCELERATORS", {name: ACCELERATORS[name] for name in names})
    python = {
        "openvino-cpu": script(tmp_path / "crash", "kill -SEGV $$"),
        "openvino-gpu": script(tmp_path / "hang", "exec sleep 60"),
    }
    found = survey(EngineSettings(), python, Silent(), timeout=6)
    assert tuple(finding.accelerator.name for finding in found) == names
    cpu, cuda, crash, hang = found
    assert cpu.device is not None and cpu.device.label is Label.HARDWARE
    assert cuda.device is None and cuda.reason
    assert crash.device is None and "SIGSEGV" in crash.reason
    assert hang.device is None and "did not end within 6 s" in hang.reason


def test_the_json_form_says_everything() -> None:
    device = Device(name="SwiftShader", label=Label.SOFTWARE_GPU)
    here = Availability(accelerator=CPU, device=device).to_json()
    assert (here["available"], here["device"]) == (True, "SwiftShader")
    assert (here["label"], here["unit"], here["formats"]) == ("software-gpu", "cpu", ["onnx"])
    missing = Availability(accelerator=MISSING, reason="no driver", hint="Get one.").to_json()
    assert (missing["available"], missing["device"], missing["label"]) == (False, None, None)
    assert (missing["reason"], missing["hint"]) == ("no driver", "Get one.")
    assert missing["get"] == MISSING.get
    json.dumps([here, missing])


def test_the_text_names_what_is_missing_and_how_to_get_it(
    capsys: pytest.CaptureFixture[str],
) -> None:
    device = Device(name="Some CPU", label=Label.HARDWARE)
    _print(
        [
            Availability(accelerator=MISSING, reason="no driver"),
            Availability(accelerator=CPU, device=device),
            Availability(accelerator=ACCELERATORS["keras-gpu"], reason="no GPU", hint="Buy one."),
        ]
    )
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == [
        "onnxruntime-cpu",
        "CPU",
        "onnx",
        *["here:", "Some", "CPU", "(hardware)"],
    ]
    assert lines[2:] == [
        "onnxruntime-cuda: not available: no driver",
        f"  To get it: {MISSING.get}.",
        "keras-gpu: not available: no GPU",
        "  Buy one.",
    ]


def test_pythons_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    real = script(tmp_path / "python", "true")
    (tmp_path / "link").symlink_to(real)
    given = ["litert-gpu=python", "openvino-cpu=link"]
    assert pythons(given) == {"litert-gpu": real, "openvino-cpu": tmp_path / "link"}
    assert pythons(None) == {}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("python", "not of the form NAME=PATH"),
        ("=python", "not of the form NAME=PATH"),
        ("litert-gpu=", "not of the form NAME=PATH"),
        ("litert-tpu=python", "unknown accelerator 'litert-tpu'"),
        ("litert-gpu=nothing", "nothing is no program"),
        ("litert-gpu=plain", "plain is no program"),
    ],
)
def test_pythons_that_are_none_are_refused(
    text: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    script(tmp_path / "python", "true")
    (tmp_path / "plain").write_text("no program")
    with pytest.raises(UsageError, match=said):
        pythons([text])


def test_delegate_options_may_hold_anything_after_the_first_sign() -> None:
    assert delegate_options(["device=usb:0", "path=a=b"]) == {"device": "usb:0", "path": "a=b"}
    with pytest.raises(UsageError, match="--delegate-option 'usb' is not of the form KEY=VALUE"):
        delegate_options(["usb"])


def test_a_delegate_is_a_file_or_a_name_for_the_loader(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "lib.so").touch()
    cases: dict[str, Any] = {"lib.so": tmp_path / "lib.so", "libedgetpu.so.1": "libedgetpu.so.1"}
    for given, right in cases.items():
        assert delegate_library(Path(given)) == Path(right)
    assert delegate_library(None) is None
    with pytest.raises(UsageError, match="there is no such file"):
        delegate_library(Path("folder/lib.so"))
