"""The pictures that the scripts work on."""

import os
from pathlib import Path

from edge.dataset.digits import export_digits


def photos(folder: Path) -> Path:
    """Cats and dogs where EDGE_TEST_DATA has them, handwritten digits otherwise; says which."""
    named = os.environ.get("EDGE_TEST_DATA")
    if named and (Path(named) / "images" / "dogs-vs-cats").is_dir():
        print("pictures: dogs-vs-cats, 400 to train on, 200 to test on")
        return Path(named).resolve() / "images" / "dogs-vs-cats"
    print("pictures: handwritten digits (set EDGE_TEST_DATA to measure on photos)")
    digits = folder / "digits"
    if not digits.exists():
        export_digits(digits)
    return digits
