"""What all tests share."""

import os
from collections.abc import Iterator

import pytest


@pytest.fixture(autouse=True, scope="session")
def wide_terminal() -> Iterator[None]:
    """Tests read whole rows and sentences; those of tables and help make the terminal narrow."""
    before = os.environ.get("COLUMNS")
    os.environ["COLUMNS"] = "200"
    yield
    if before is None:
        del os.environ["COLUMNS"]
    else:
        os.environ["COLUMNS"] = before
