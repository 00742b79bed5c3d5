"""Start-up: ``edge --help`` against a bare ``import typer``, in turn, in fresh processes."""

import statistics
import sys

from support.processes import run

ROUNDS = 15
COMMANDS = {
    "import typer": [sys.executable, "-c", "import typer"],
    "edge --help": [sys.executable, "-m", "edge", "--help"],
    "edge build --help": [sys.executable, "-m", "edge", "build", "--help"],
}


def main() -> None:
    """Measure and print."""
    seconds: dict[str, list[float]] = {name: [] for name in COMMANDS}
    for _ in range(ROUNDS + 1):
        for name, command in COMMANDS.items():
            seconds[name].append(run(command).seconds)
    medians = {name: statistics.median(values[1:]) for name, values in seconds.items()}
    bare = medians["import typer"]
    for name, value in medians.items():
        print(f"{name:<20} median {1e3 * value:6.0f} ms   {value / bare:.2f} x import typer")


if __name__ == "__main__":
    main()
