"""Name the smallest model file of a bundle whose top-1 is surely good enough.

    python examples/smallest_file.py bundle --least 0.9

It reads report.json, which ``edge build`` and ``edge export`` write. It needs the standard library
alone.
Surely means: the low end of the 95 % interval is at least that good, not only the figure itself.
"""

import argparse
import json
import sys
from pathlib import Path


def main() -> int:
    """Print the path of the file, or say that there is none."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--least", type=float, default=0.9, help="lowest top-1, 0 to 1")
    options = parser.parse_args()

    try:
        report = json.loads((options.bundle / "report.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        print(f"error: no report.json can be read: {error}", file=sys.stderr)
        return 2
    for variant in sorted(report["variants"], key=lambda item: item["size_bytes"]):
        interval = variant["top1_interval"]  # its ends; None where no picture had a label
        if interval is not None and interval[0] >= options.least:
            print(f"{options.bundle / variant['path']}")
            print(
                f"{variant['size_bytes'] / 1e6:.2f} MB, top-1 {variant['top1']:.1%} "
                f"({interval[0]:.1%} to {interval[1]:.1%})",
                file=sys.stderr,
            )
            return 0
    print(f"no file is surely at {options.least:.0%}", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
