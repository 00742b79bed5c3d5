"""Time to train: edge against five epochs of Keras ``fit``, on the same pictures, in turn.

Each round runs the recipe (``support/recipe.py``) and ``edge build`` with an empty cache, both in
fresh processes. Start-up and loading of TensorFlow count for neither; they take as long for both.
"""

import json
import statistics
import sys
import tempfile
from pathlib import Path

from support.data import photos
from support.processes import run

ROUNDS = 3
RECIPE = str(Path(__file__).parent / "support" / "recipe.py")


def main() -> None:
    """Measure and print."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        pictures = photos(folder)
        rounds = [_round(pictures, folder / str(index)) for index in range(ROUNDS)]
    for key in rounds[0]:
        values = [entry[key] for entry in rounds]
        print(f"{key:<42} median {statistics.median(values):8.3f}   {_listed(values)}")


def _round(pictures: Path, folder: Path) -> dict[str, float]:
    folder.mkdir()
    validated = json.loads(run([sys.executable, RECIPE, str(pictures), "--validate"]).output)
    plain = json.loads(run([sys.executable, RECIPE, str(pictures)]).output)
    command = [sys.executable, "-m", "edge", "build", str(pictures), "--json", "--quiet"]
    command += ["--output", str(folder / "bundle"), "--variants", "tflite-fp32"]
    report = json.loads(run(command, {"EDGE_CACHE": str(folder / "cache")}).output)
    own = report["training"]["seconds"]
    return {
        "recipe, validating each epoch: seconds": validated["fit_seconds"],
        "recipe, not validating: seconds": plain["fit_seconds"],
        "one Keras pass over the training set: s": plain["one_pass_seconds"],
        "edge training.seconds": own,
        "  of these, features": report["stages"]["features"],
        "times faster than the validating recipe": validated["fit_seconds"] / own,
        "times faster than the other": plain["fit_seconds"] / own,
        "recipe top-1": plain["top1"],
        "edge top-1": report["training"]["top1"],
    }


def _listed(values: list[float]) -> str:
    return " ".join(f"{value:.3f}" for value in values)


if __name__ == "__main__":
    main()
