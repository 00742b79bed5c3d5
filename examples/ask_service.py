"""Give a picture to a running service and print its answer, as another program on a device would.

    python -m edge.runtime watch inbox --bundle bundle &
    python examples/ask_service.py inbox photo.jpg

The service is the one that ``edge deploy`` starts. It answers picture NAME with a file NAME.json
beside it. This program needs the standard library alone.
"""

import argparse
import json
import shutil
import sys
import time
from pathlib import Path


def main() -> int:
    """Wait for the answer and print it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("inbox", type=Path)
    parser.add_argument("picture", type=Path)
    parser.add_argument("--patience", type=float, default=30.0, help="longest wait, in seconds")
    options = parser.parse_args()

    # The picture appears whole: it is copied under a hidden name, which the service leaves alone.
    name = f"{time.time_ns()}-{options.picture.name}"
    hidden = options.inbox / f".{name}"
    shutil.copyfile(options.picture, hidden)
    hidden.replace(options.inbox / name)

    answer = options.inbox / f"{name}.json"
    end = time.monotonic() + options.patience
    while not answer.exists():
        if time.monotonic() > end:
            print(
                f"no answer within {options.patience:g} s: does the service run?", file=sys.stderr
            )
            return 1
        time.sleep(0.05)
    reply = json.loads(answer.read_text(encoding="utf-8"))
    if "error" in reply:
        print(f"{options.picture}: {reply['error']}", file=sys.stderr)
        return 1
    for category in reply["categories"]:
        print(f"{category['label']}\t{category['score']:.3f}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
