"""What devices are sent of this package: it needs nothing else than Python itself."""

import io
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy

from benchmarks.request import copy_package
from edge.deploy.session import control


def test_every_module_that_devices_are_sent_can_be_imported(tmp_path: Path) -> None:
    content = io.BytesIO(control()[1])
    with zipfile.ZipFile(content) as archive:
        archive.extractall(tmp_path)
        names = [name.removesuffix(".py").replace("/", ".") for name in archive.namelist()]
    modules = [name.removesuffix(".__init__") for name in names]
    assert "edge.device.session" in modules
    program = f"import sys; sys.path.insert(0, {str(tmp_path)!r}); import {', '.join(modules)}"
    # -I and -S: neither this folder nor any installed package is seen.
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", program], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_every_module_that_a_worker_is_given_can_be_imported(tmp_path: Path) -> None:
    """Another environment has numpy, and neither pydantic nor the rest of the project."""
    copy_package(tmp_path)
    names = [
        path.relative_to(tmp_path).with_suffix("").as_posix().replace("/", ".")
        for path in sorted((tmp_path / "benchmarks").rglob("*.py"))
    ]
    modules = [name.removesuffix(".__init__") for name in names]
    assert "benchmarks.worker" in modules and "benchmarks.accelerators.litert_cpu" in modules
    packages = Path(numpy.__file__).parents[1]
    program = (
        f"import sys; sys.path[:0] = [{str(tmp_path)!r}, {str(packages)!r}]\n"
        f"sys.modules['pydantic'] = None\nimport {', '.join(modules)}\n"
        f"assert benchmarks.__file__.startswith({str(tmp_path)!r})"
    )
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", program], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
