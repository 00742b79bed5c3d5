"""What systemd starts: choose the release, then become its runtime."""

import os
import sys
from typing import NoReturn

from edge.device.layout import PRIVATE, App
from edge.device.release import Release
from edge.device.slots import guard
from edge.errors import DeviceError, EdgeError
from edge.runtime.printable import one_line


def main(name: str) -> NoReturn:
    """Replace this process by the release's own; it ends where there is none."""
    os.umask(PRIVATE)
    try:
        app = App.named(name)
        release = guard(app)
        if release is None:
            raise DeviceError(f"{app.name} has no release to run")
        chosen = Release.read(app, release)
    except EdgeError as error:
        print(f"error: {one_line(error.message)}", file=sys.stderr)
        sys.exit(error.exit_code)
    app.inbox.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-P", "-s", "-m", "edge.runtime", "watch", str(app.inbox)]
    command += ["--bundle", str(chosen.folder(app)), *chosen.model_options()]
    command += ["--release", chosen.id, "--health", str(app.socket)]
    os.chdir(app.path)
    os.execve(sys.executable, command, {**os.environ, **chosen.environ(app)})


if __name__ == "__main__":
    main(sys.argv[1])
