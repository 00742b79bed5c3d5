"""Time to train: edge against five epochs of Keras ``fit``, on the same pictures, in turn.

    python tests/performance/training.py [--rounds 3]

Each round runs the recipe (``support/recipe.py``) and ``edge build`` with an empty cache, both in
fresh processes. Start-up and loading of TensorFlow count for neither; they take as long for both.

1. edge takes at most as long as the recipe.
2. Its features take at most as long as one pass of Keras over the training pictures.
3. Its top-1 is at most one point below that of the recipe.
"""

import argparse
import json
import statistics
import sys
from pathlib import Path
from typing import Final

from support.data import rounds_on_photos
from support.processes import run, run_support
from support.script import Report, Script

MOST: Final = 1.0  # times as long
MOST_POINTS: Final = 1.0


def main() -> int:
    """Measure and print; see ``support.script`` for the exit codes."""
    script = Script(__doc__)
    script.amount("--rounds", 3, 1, "of the recipe and edge in turn")
    script.amount("--epochs", 5, 1, "of the recipe")
    return script.run(_measure)


def _measure(options: argparse.Namespace, report: Report) -> None:
    rounds = rounds_on_photos(options, report, _round)
    found = {key: [entry[key] for entry in rounds] for key in rounds[0]}
    for key, values in found.items():
        listed = " ".join(f"{value:.3f}" for value in values)
        report.say(f"{key:<16} median {statistics.median(values):8.3f}   {listed}")

    def ratio(of: str, to: str) -> float:
        return statistics.median(
            one / other for one, other in zip(found[of], found[to], strict=True)
        )

    report.figures["rounds"] = found
    report.bar(
        "edge / the recipe", ratio("edge_seconds", "recipe_seconds"), at_most=MOST, unit="times"
    )
    report.bar(
        "features / one pass of Keras",
        ratio("features_seconds", "one_pass_seconds"),
        at_most=MOST,
        unit="times",
    )
    lost = 100 * (statistics.mean(found["recipe_top1"]) - statistics.mean(found["edge_top1"]))
    report.bar("top-1 below the recipe's", lost, at_most=MOST_POINTS, unit="points")


def _round(pictures: Path, folder: Path, epochs: str, _: Report) -> dict[str, float]:
    by_hand = json.loads(run_support("recipe", str(pictures), epochs).output)
    command = [sys.executable, "-m", "edge", "build", str(pictures), "--json", "--quiet"]
    command += ["--output", str(folder / "bundle"), "--variants", "tflite-fp32"]
    built = json.loads(run(command, {"EDGE_CACHE": str(folder / "cache")}).output)
    return {
        "recipe_seconds": by_hand["fit_seconds"],
        "one_pass_seconds": by_hand["one_pass_seconds"],
        "edge_seconds": built["training"]["seconds"],
        "features_seconds": built["stages"]["features"],
        "recipe_top1": by_hand["top1"],
        "edge_top1": built["training"]["top1"],
    }


if __name__ == "__main__":
    sys.exit(main())
