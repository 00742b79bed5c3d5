"""Weights and labels that the package carries, each checked against its hash before use."""

import csv
from importlib.resources import as_file, files
from pathlib import Path
from typing import Final

from edge.errors import WeightsUnavailable
from edge.runtime.files import sha256_file

MOBILENET_FILE: Final = "mobilenet_1_0_224_imagenet.weights.h5"
MOBILENET_SHA256: Final = "4f1d1877afe9e2fb3334ace425ae95151cf407d1a47f82c9f214dee516b1a006"


def mobilenet_imagenet() -> Path:
    """Return the ImageNet checkpoint of MobileNet 1.0/224, ``.weights.h5`` with its 1000-class top.

    Raises:
        WeightsUnavailable: The file is missing or altered: a broken installation.
    """
    with as_file(files(__name__) / MOBILENET_FILE) as path:
        if not path.is_file() or sha256_file(path) != MOBILENET_SHA256:
            raise WeightsUnavailable(
                f"the shipped weights {path} are missing or altered",
                hint="Install edge again, or name a file with --weights PATH.",
            )
        return path


def imagenet_classes() -> tuple[tuple[str, str], ...]:
    """Return (wnid, label) of the 1000 ILSVRC 2012 classes; the position is the class index."""
    text = (files(__name__) / "imagenet_classes.csv").read_text(encoding="utf-8")
    return tuple((row["wnid"], row["label"]) for row in csv.DictReader(text.splitlines()))
