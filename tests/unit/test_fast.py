"""``make test-fast`` starts no TensorFlow, and says which test would."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import REFUSED, ROOT, starts_tensorflow

INSTEAD = ROOT / "tests" / "without_tensorflow"


@pytest.mark.parametrize("package", ["tensorflow", "keras", "tf2onnx"])
def test_an_import_is_refused_and_written_down(package: str, tmp_path: Path) -> None:
    log = tmp_path / "log"
    program = f"try:\n    import {package}\nexcept ImportError as error:\n    print(error)"
    paths = os.pathsep.join([str(INSTEAD), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(
        [sys.executable, "-c", program],
        env=os.environ | {"PYTHONPATH": paths, REFUSED: str(log)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert f"runs without {package}" in done.stdout
    assert log.read_text().startswith(f"{package} in ")
    assert Path(__file__).name in log.read_text()  # although the code caught the error


def test_modules_that_import_tensorflow_are_seen() -> None:
    tests = ROOT / "tests"
    assert starts_tensorflow(tests / "unit" / "test_backbones.py")
    assert starts_tensorflow(tests / "integration" / "test_bias_correction.py")  # by a helper
    assert not starts_tensorflow(tests / "unit" / "test_verdict.py")
    assert not starts_tensorflow(Path(__file__))


def test_the_target_leaves_out_what_is_marked() -> None:
    done = subprocess.run(
        ["make", "-n", "-o", ".venv/.installed", "test-fast"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    assert f"PYTHONPATH={INSTEAD}" in done.stdout
    assert '-m "not tensorflow and not slow and not long' in done.stdout
