"""What systemd starts: choose the release, then become its runtime."""

import os
import sys
from typing import Final, NoReturn

from edge.device.layout import PRIVATE, App
from edge.device.release import Release
from edge.device.slots import guard
from edge.errors import DeviceError, EdgeError
from edge.runtime.printable import one_line

PATIENCE: Final = 20.0  # seconds for the first picture of a camera


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
    if chosen.live is None:
        app.inbox.mkdir(parents=True, exist_ok=True)
    os.chdir(app.path)
    os.execve(sys.executable, command(app, chosen), {**os.environ, **environ(app, chosen)})


def environ(app: App, release: Release) -> dict[str, str]:
    """Return the variables of the service; a self-test, which sends nothing, has fewer."""
    return release.environ(app) | ({} if release.live is None else dict(release.live.environ()))


def command(app: App, release: Release) -> list[str]:
    """Return the words of the release's own runtime: a page of a camera, or a folder of pictures.

    Args:
        app: Whose release.
        release: Installed.
    """
    words, bundle = [sys.executable, "-P", "-s", "-m", "edge.runtime"], str(release.folder(app))
    if release.live is None:
        words += ["watch", str(app.inbox), "--bundle", bundle]
    else:
        # In time for the health to say why no picture comes.
        patience = min(PATIENCE, release.start_seconds / 2)
        words += ["live", bundle, *release.live.options(), "--patience", f"{patience:g}"]
    words += release.model_options()
    return [*words, "--release", release.id, "--health", str(app.socket)]


if __name__ == "__main__":
    main(sys.argv[1])
