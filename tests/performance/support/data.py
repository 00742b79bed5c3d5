"""The pictures that the scripts work on."""

import argparse
import shutil
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Final, TypeVar

from edge.dataset.digits import export_digits
from edge.pipeline.bundle import copy_runtime
from support.processes import run
from support.script import NotHere, Report, data_with

DOGS_VS_CATS: Final = "images/dogs-vs-cats"
TESTED: Final = 4  # of the digits, each fourth is to test on
FEW: Final = ("0", "1")  # the digits that a smoke run takes
FEW_OF_EACH: Final = 24

Found = TypeVar("Found")


def photos(folder: Path, report: Report) -> Path:
    """Cats and dogs where EDGE_TEST_DATA has them, handwritten digits otherwise; says which.

    Either has train/ and test/. A smoke run takes a few zeros and ones.
    """
    if not report.smoke:
        try:
            found = data_with(DOGS_VS_CATS) / DOGS_VS_CATS
            report.say("pictures: dogs-vs-cats, 400 to train on, 200 to test on")
            return found
        except NotHere:
            report.say("pictures: handwritten digits (set EDGE_TEST_DATA to measure on photos)")
    digits = folder / "digits"
    if not digits.exists():
        export_digits(digits / "train")
        if report.smoke:
            _keep_few(digits / "train")
        for index, picture in enumerate(sorted((digits / "train").rglob("*.png"))):
            if index % TESTED == 0:
                place = digits / "test" / picture.relative_to(digits / "train")
                place.parent.mkdir(parents=True, exist_ok=True)
                picture.rename(place)
    return digits


def rounds_on_photos(
    options: argparse.Namespace,
    report: Report,
    one: Callable[[Path, Path, str, Report], Found],
) -> list[Found]:
    """What the rounds give, each on the same pictures and in an empty folder of its own.

    Args:
        options: With ``rounds`` and ``epochs``.
        report: Of the script.
        one: Gives a round from the pictures, its folder, the number of epochs and the report.
    """
    with tempfile.TemporaryDirectory() as name:
        pictures, results = photos(Path(name), report), []
        for number in range(options.rounds):
            folder = Path(name, f"round {number}")
            folder.mkdir()
            results.append(one(pictures, folder, str(options.epochs), report))
    return results


def _keep_few(digits: Path) -> None:
    for folder in digits.iterdir():
        if folder.name not in FEW:
            shutil.rmtree(folder)
            continue
        for path in sorted(folder.iterdir())[FEW_OF_EACH:]:
            path.unlink()


def exported(folder: Path, variants: str, report: Report) -> Path:
    """A bundle of the MobileNet that edge ships, made in a minute or two; of a tiny one in smoke.

    Args:
        folder: To write into.
        variants: Names of TFLite variants with commas between them.
        report: Of the script.
    """
    bundle = folder / "bundle"
    if report.smoke:
        from tests.unit.golden_bundle import golden_bundle

        golden_bundle(bundle, tuple(variants.split(",")))
        copy_runtime(bundle / "runtime")
        return bundle
    command = [sys.executable, "-m", "edge", "export", "mobilenet", "--quiet"]
    command += ["--calibration-data", str(photos(folder, report)), "--calibration-images", "50"]
    run([*command, "--variants", variants, "--output", str(bundle)])
    return bundle
