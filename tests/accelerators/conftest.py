"""What the tests of accelerators share: a software GPU and a test delegate, made once."""

from pathlib import Path

import pytest

from tests.accelerators import sleeping_delegate, software_gpu


@pytest.fixture(scope="session")
def gpu_variables() -> dict[str, str]:
    """Environment variables of a process that shall find the software GPU."""
    return software_gpu.software_gpu()


@pytest.fixture(scope="session")
def delegate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The library of the test delegate."""
    return sleeping_delegate.build_delegate(tmp_path_factory.mktemp("delegate"))
