"""The pictures that the scripts work on."""

import os
import subprocess
import sys
from pathlib import Path

from edge.dataset.digits import export_digits

TESTED = 4  # of the digits, each fourth is to test on


def photos(folder: Path) -> Path:
    """Cats and dogs where EDGE_TEST_DATA has them, handwritten digits otherwise; says which.

    Either has train/ and test/.
    """
    named = os.environ.get("EDGE_TEST_DATA")
    if named and (Path(named) / "images" / "dogs-vs-cats").is_dir():
        print("pictures: dogs-vs-cats, 400 to train on, 200 to test on")
        return Path(named).resolve() / "images" / "dogs-vs-cats"
    print("pictures: handwritten digits (set EDGE_TEST_DATA to measure on photos)")
    digits = folder / "digits"
    if not digits.exists():
        export_digits(digits / "train")
        for index, picture in enumerate(sorted((digits / "train").rglob("*.png"))):
            if index % TESTED == 0:
                place = digits / "test" / picture.relative_to(digits / "train")
                place.parent.mkdir(parents=True, exist_ok=True)
                picture.rename(place)
    return digits


def exported(folder: Path, variants: str) -> Path:
    """A bundle of the MobileNet that edge ships, made in a minute or two.

    Args:
        folder: To write into.
        variants: Names with commas between them.
    """
    command = [sys.executable, "-m", "edge", "export", "mobilenet", "--quiet"]
    command += ["--calibration-data", str(photos(folder)), "--calibration-images", "50"]
    command += ["--variants", variants, "--output", str(folder / "bundle")]
    subprocess.run(command, stdout=subprocess.DEVNULL, check=True)
    return folder / "bundle"
