"""A target that cannot be written leaves the others: with a stand-in for the converter process."""

import json
import sys
from pathlib import Path

import pytest

from converters.base import ConversionRequest, Target, targets
from edge.cache import StageCache
from edge.errors import ConversionError, NegativeVerdict
from edge.pipeline.conversion import Converted, convert_all
from edge.runtime.contract import Preprocessing

# Writes every precision in its order, and ends at the first that it is told to fail at.
PROCESS = """#!{python}
import json, os, pathlib, signal, sys
request = json.loads(pathlib.Path(sys.argv[3]).read_text())
faults = json.loads(pathlib.Path({faults!r}).read_text())
with open({log!r}, "a") as log:
    log.write(request["format"] + " " + ",".join(request["precisions"]) + "\\n")
for precision in request["precisions"]:
    name = request["format"] + "-" + precision
    fault = faults.get(name)
    if fault == "killed":
        os.kill(os.getpid(), signal.SIGKILL)
    if fault and fault.startswith("say "):
        print(fault[4:], flush=True)
        sys.stdin.read()
    if fault:
        print(json.dumps({{"error": fault, "message": name + " is refused", "hint": "do this"}}))
        sys.exit(4)
    path = pathlib.Path(request["output"]) / (name + "." + request["format"])
    path.write_bytes(name.encode())
    answer = {{"variant": name, "path": str(path), "seconds": 1, "notes": [], "record": {{}}}}
    print(json.dumps(answer), flush=True)
"""
NAMES = ("tflite-fp32", "tflite-dynamic", "tflite-int8", "onnx-fp32", "onnx-int8")


class Job:
    """Conversions by the stand-in."""

    def __init__(
        self, folder: Path, monkeypatch: pytest.MonkeyPatch, faults: dict[str, str]
    ) -> None:
        self.folder, self.log = folder, folder / "log"
        (folder / "faults").write_text(json.dumps(faults))
        script = folder / "python"
        script.write_text(
            PROCESS.format(python=sys.executable, faults=str(folder / "faults"), log=str(self.log))
        )
        script.chmod(0o755)
        monkeypatch.setattr("edge.pipeline.conversion.sys.executable", str(script))
        self.failed: dict[str, ConversionError] = {}

    def note(self, target: Target, error: ConversionError) -> None:
        self.failed[target.name] = error

    def run(self, *, tell: bool = True) -> tuple[Converted, ...]:
        request = ConversionRequest(
            keras_model=self.folder / "model.keras",
            format="tflite",
            precisions=(),
            output=self.folder,
            calibration=None,
            name="model",
            labels=(),
            preprocessing=Preprocessing(height=8, width=8),
        )
        return convert_all(
            request,
            targets(NAMES),
            model_id="model",
            calibration_id="calibration",
            held_out_id="held out",
            recipes={},
            cache=StageCache(self.folder / "cache"),
            step=lambda count: None,
            failed=self.note if tell else None,
        )


@pytest.mark.parametrize("fault", ["ConversionError", "killed"])
@pytest.mark.parametrize("lost", [{"tflite-dynamic"}, {"onnx-int8"}, {"tflite-fp32", "onnx-fp32"}])
def test_the_others_are_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: str, lost: set[str]
) -> None:
    job = Job(tmp_path, monkeypatch, dict.fromkeys(lost, fault))
    found = job.run()
    assert [item.target.name for item in found] == [name for name in NAMES if name not in lost]
    assert [item.path.read_bytes().decode() for item in found] == [i.target.name for i in found]
    assert job.failed.keys() == lost
    if fault == "ConversionError":
        assert all(error.message == f"{name} is refused" for name, error in job.failed.items())
        assert {error.hint for error in job.failed.values()} == {"do this"}


@pytest.mark.parametrize("line", ["Loading...", "[1]", "{", '{"variant": "a", "variant": "b"}'])
def test_a_line_that_is_no_answer_fails_the_file_and_nothing_waits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, line: str
) -> None:
    job = Job(tmp_path, monkeypatch, {"tflite-int8": f"say {line}"})
    found = job.run()
    assert [item.target.name for item in found] == [name for name in NAMES if name != "tflite-int8"]
    assert "the tflite converter says what is no answer: " in job.failed["tflite-int8"].message


def test_all_may_fail(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    job = Job(tmp_path, monkeypatch, dict.fromkeys(NAMES, "ConversionError"))
    assert job.run() == ()
    assert job.failed.keys() == set(NAMES)


def test_without_anyone_to_tell_the_first_failure_ends_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = Job(tmp_path, monkeypatch, {"onnx-fp32": "ConversionError"})
    with pytest.raises(ConversionError, match="onnx-fp32 is refused"):
        job.run(tell=False)
    assert len(job.log.read_text().splitlines()) == 2  # nothing is tried again


def test_a_negative_verdict_is_no_failed_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = Job(tmp_path, monkeypatch, {"tflite-int8": "NegativeVerdict"})
    with pytest.raises(NegativeVerdict):
        job.run()
    assert job.failed == {}
