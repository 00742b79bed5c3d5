"""What ``make test-fast`` finds where TensorFlow lies: an error, and a line in a file.

The line names the test, since the code under test may catch the error, and since the process that
imports may be another one than that of the test.
"""

import os


def refuse(package: str) -> None:
    """Refuse the import of a package, and write down which test asked for it."""
    log = os.environ.get("EDGE_TEST_REFUSED")
    if log:
        with open(log, "a", encoding="utf-8") as stream:  # noqa: PTH123  # imports nothing
            stream.write(f"{package} in {os.environ.get('PYTEST_CURRENT_TEST', 'no test')}\n")
    raise ImportError(f"make test-fast runs without {package}: mark the test with tensorflow")
