"""An emulated Raspberry Pi to try things on, until Ctrl-C.

``python -m tests.device.run demo/pi.ssh_config`` leaves a configuration of ssh that knows it as
``pi``; what is changed on it is gone afterwards.
"""

import argparse
import signal
import sys
from pathlib import Path

from edge.runtime.files import write_bytes
from tests.device import image as images
from tests.device.machine import running


def main() -> int:
    """Build what is missing, start, wait."""
    parser = argparse.ArgumentParser(prog="python -m tests.device.run", description=__doc__)
    parser.add_argument("ssh_config", type=Path, help="file to write")
    parser.add_argument("--suite", choices=("bookworm", "trixie"), default="bookworm")
    options = parser.parse_args()
    if images.missing():
        print(f"error: {images.missing()}", file=sys.stderr)
        return 2
    print("== an emulated 64-bit Arm machine: minutes the first time, then half a minute")
    options.ssh_config.parent.mkdir(parents=True, exist_ok=True)
    try:
        with running(images.image(options.suite)) as machine:
            write_bytes(options.ssh_config, machine.ssh_config.read_bytes())
            print(f"== it runs: edge doctor pi --ssh-config {options.ssh_config}")
            print("== Ctrl-C ends it", flush=True)
            signal.pause()
    except KeyboardInterrupt:
        print("== it is gone")
    finally:
        options.ssh_config.unlink(missing_ok=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
