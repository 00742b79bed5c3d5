"""Stands in for ``edge build``: does what the name of the bundle says."""

import json
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any, NoReturn

GROUPS: dict[str, dict[str, Any]] = {
    "whole": {},
    "slow": {},
    "parted": {"parted": ["cat"], "unnamed": 2},
}
REPORT: dict[str, Any] = {
    "default_variant": "tflite-int8",
    "variants": [{"name": "tflite-int8", "top1": 0.75, "top1_interval": [0.3, 0.95]}],
    "data": {"counts": {"test": {"cat": 2, "dog": 2}}},
}


def told(text: str) -> None:
    """Write a line of progress."""
    print(text, file=sys.stderr, flush=True)


def main() -> None:
    """Play the part."""
    words = sys.argv[1:]
    options = dict(zip(words[2:-1:2], words[3:-1:2], strict=True))  # the last one is a flag
    name, output = options["--name"], Path(options["--output"])
    Path(os.environ["BUILDER_SAYS"]).write_text(
        json.dumps({"words": words, "pid": os.getpid(), "nice": os.nice(0)}), encoding="utf-8"
    )
    told("data ...")
    told("note: a word that is not progress")
    if name == "waits":
        told("waiting ...")
        time.sleep(60)
    if name == "slow":
        time.sleep(1)
    if name == "stubborn":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        told("waiting ...")
        time.sleep(60)
    if name == "refused":
        told("error: the pictures cannot be used")
        told("hint: Take others.")
        sys.exit(2)
    if name == "crashes":
        os.kill(os.getpid(), signal.SIGKILL)
    if name == "floods":
        _flood()
    output.mkdir()
    data = REPORT["data"]
    if name in GROUPS:
        data |= {"groups": {"needed": 3, "parted": [], "unnamed": 0} | GROUPS[name]}
    report = "{" if name == "odd" else json.dumps(REPORT)
    (output / "report.json").write_text(report, encoding="utf-8")


def _flood() -> NoReturn:
    while True:
        sys.stderr.write("x" * 65536)


if __name__ == "__main__":
    main()
