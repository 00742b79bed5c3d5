"""Ways to one reader, through the funnel where errors become messages and exit codes."""

import importlib
import json
import selectors
import socket
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any


def call() -> None:
    """``call MODULE:FUNCTION PATH``: a reader of the host alone, which a command calls later."""
    import edge.cli.app

    name, path = sys.argv[1:]
    module, _, function = name.partition(":")
    job = getattr(importlib.import_module(module), function)

    def app(*_: Any, **__: Any) -> int:
        job(Path(path))
        return 0

    edge.cli.app.app = app  # type: ignore[assignment]
    edge.cli.app.main()


def read_recipe(path: Path) -> None:
    """As ``edge export --recipe`` reads it."""
    from edge.pipeline.variants import read_recipe as read

    read(path, ("tflite", "onnx"))


def open_download(path: Path) -> None:
    """As ``edge export DOWNLOAD`` opens it."""
    from edge.cache import StageCache
    from edge.pipeline.teachable_machine import is_download
    from edge.pipeline.teachable_machine import open_download as read

    if is_download(path):
        read(path, StageCache(Path("cache")))


def read_labels(path: Path) -> None:
    """As ``edge export --labels`` reads them, of a model of three classes."""
    from edge.dataset.labels import read_labels as read

    read(path, 3)


def read_annotations(path: Path) -> None:
    """As ``edge evaluate PHOTOS --annotations`` reads them, of a picture photo.png."""
    from edge.dataset.annotations.read import read_truth
    from edge.dataset.pictures import Picture
    from edge.runtime.files import sha256_file
    from edge.runtime.tasks.table import Task

    is_mask = path.parent.name == "masks"
    folder = path.parent.parent if is_mask else path.parent
    picture = folder / "photo.png"
    pictures = [Picture(picture, sha256_file(picture))]
    task = Task.SEGMENTATION if is_mask else Task.DETECTION
    read_truth(folder, pictures, ("cat", "dog", "bird"), task=task)


def read_keras(path: Path) -> None:
    """As ``edge export FILE`` reads it."""
    from edge.training.keras_files import file_config
    from edge.training.keras_files import read_keras as read

    file_config(path)
    read(path)


def guard() -> None:
    """What the service of a device asks its state for when it starts."""
    from edge.device.layout import App
    from edge.device.release import Release
    from edge.device.slots import guard as choose
    from edge.errors import EdgeError

    app = App.named("photos")
    try:
        release = choose(app)
        if release is not None:
            Release.read(app, release)
    except EdgeError as error:
        print(f"error: {error.message}", file=sys.stderr)
        sys.exit(error.exit_code)


def ask_service() -> None:
    """What a device makes of the answer of a service: standard input is the answer."""
    import threading

    from edge.device.layout import App
    from edge.device.trial import ask
    from edge.errors import EdgeError

    app = App.named("photos")
    app.socket.unlink(missing_ok=True)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listener.bind(str(app.socket))
    listener.listen()
    content = sys.stdin.buffer.read()

    def answer() -> None:
        client, _ = listener.accept()
        with client:
            client.recv(100)
            try:
                client.sendall(content)
            except OSError:
                return

    threading.Thread(target=answer, daemon=True).start()
    try:
        print(json.dumps(ask(app, 5.0).to_json()))
    except EdgeError as error:
        print(f"error: {error.message}", file=sys.stderr)
        sys.exit(error.exit_code)


def question() -> None:
    """Ask a service something odd, then something right: the second answer must come."""
    from edge.runtime.health import HealthServer

    content = sys.stdin.buffer.read()
    with selectors.DefaultSelector() as selector:
        server = HealthServer(Path("health.sock"), selector, lambda: {"ok": True})
        _exchanged(selector, content)
        answer = _exchanged(selector, b'{"ask": "health"}\n')
        server.close()
    if json.loads(answer) != {"ok": True}:
        raise SystemExit(f"no answer any more, but {answer!r}")


def _exchanged(selector: selectors.BaseSelector, content: bytes) -> bytes:
    """Send, and run the service's loop until it has answered or sent us away."""
    client = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    client.connect("health.sock")
    client.setblocking(False)
    answer, until = b"", time.monotonic() + 10
    while time.monotonic() < until:
        try:
            content = content[client.send(content) :] if content else content
        except BlockingIOError:
            pass
        except OSError:
            content = b""  # it has sent us away, as it may where too much is asked
        if not content:
            with suppress(OSError):
                client.shutdown(socket.SHUT_WR)
        for key, _ in selector.select(0.05):
            key.data()
        try:
            part = client.recv(65536)
        except BlockingIOError:
            continue
        except OSError:
            return answer
        if not part:
            return answer
        answer += part
    raise SystemExit("the service did not answer within 10 s")
