"""Hostile files of a device, and what a device and a host say to each other."""

import json
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import cache, partial
from pathlib import Path
from random import Random
from typing import Any, Final

from tests.fuzz.harness import ROOT, Command, Kind, edge
from tests.fuzz.kinds.materials import HOST, ON_DEVICE, fake_ssh, replies, signed
from tests.fuzz.mutation import mutated_bytes, mutated_json
from tests.unit.device_releases import RELEASE

ASKED: Final = (b'{"ask": "health"}\n',)
HEALTH: Final = (b'{"ok": true, "release": "r1", "answered": 3, "reason": null}\n',)


@cache
def state_reply() -> Any:
    app = {
        "app": "photos",
        "release": "r1",
        "healthy": True,
        "last_good": "r1",
        "on_trial": False,
        "reason": None,
        "failed_release": None,
        "bundle": json.loads(release_seeds()[0]),
        "service": "active",
        "restarts": 0,
        "health": {
            "ok": True,
            "reason": "",
            "release": "r1",
            "variant": "tflite-int8",
            "engine": "litert 2.1",
            "answered": 3,
            "failed": 0,
            "waiting": 0,
            "seconds": 0.01,
            "uptime_seconds": 12.5,
        },
        "problem": None,
    }
    return {"device": "raspberry-pi-5", "apps": [app]}


@cache
def reply_seeds() -> Sequence[bytes]:
    event = {"at": 1795351590.4, "event": "committed", "release": "r1", "reason": "asked for"}
    return [
        replies({"note": "looking"}, {"result": state_reply()}, {"result": {}}),
        replies({"result": state_reply()}, {"result": state_reply()}),
        replies({"result": {"events": [event], "service": "started\n"}}),
        replies(
            {"result": {}}, {"result": {"release": "r0", "replaced": "r1", "health": {"ok": True}}}
        ),
        replies({"error": {"error": "DeviceError", "message": "no space", "hint": "Free some."}}),
    ]


def mutated_reply(random: Random, seeds: Sequence[bytes]) -> bytes:
    lines = random.choice(seeds).splitlines()
    at = random.randrange(len(lines))
    lines[at] = mutated_json(random, [lines[at]])
    if random.random() < 0.1:
        lines[at] = b"x" * random.choice((1_000_000, 80_000_000))
    return b"\n".join(lines) + random.choice((b"\n", b""))


def place_reply(folder: Path, content: bytes) -> Sequence[Command]:
    environment = fake_ssh(folder, content, 0 if len(content) % 4 else 255)
    made = (
        edge("status", "device"),
        edge("status", "device", "--json"),
        edge("logs", "device"),
        edge("rollback", "device"),
        edge("undeploy", "device", "--app", "photos"),
    )
    return [Command(entry=item.entry, words=item.words, environment=environment) for item in made]


@cache
def fact_seeds() -> Sequence[bytes]:
    folder = ROOT / "tests" / "data" / "facts"
    values = [
        json.loads(path.read_text(encoding="utf-8")) for path in sorted(folder.glob("*.json"))
    ]
    return [json.dumps(value["facts"]).encode() for value in values if "facts" in value]


def place_facts(folder: Path, content: bytes) -> Sequence[Command]:
    environment = fake_ssh(folder, content, 0)
    made = (
        edge("doctor", "device"),
        edge("doctor", "device", "--json"),
        edge("deploy", signed() / "bundle", "device", "--key", signed() / "key", "--dry-run"),
    )
    return [Command(entry=item.entry, words=item.words, environment=environment) for item in made]


def device_home(folder: Path) -> tuple[Path, dict[str, str]]:
    """The home of a device with one application, two releases and a state."""
    root = folder / "home" / ".local" / "share" / "edge"
    app = root / "apps" / "photos"
    for number in (1, 2):
        place = app / "releases" / f"r{number}"
        shutil.copytree(signed() / "bundle", place / "bundle")
        (place / "release.json").write_bytes(
            release_seeds()[0].replace(b"r1", f"r{number}".encode())
        )
    (app / "current").symlink_to("releases/r1")
    (app / "state.json").write_bytes(state_seeds()[0])
    (root / "device").write_text("raspberry-pi-5\n")
    run = folder / "run"
    run.mkdir()
    return app, {"HOME": str(folder / "home"), "XDG_RUNTIME_DIR": str(run)}


@cache
def state_seeds() -> Sequence[bytes]:
    from edge.device.state import Failure, State, Trial

    whole = State(
        last_good="r1",
        before="r2",
        version=2000,
        trial=Trial(release="r1", since=1795351590.4, boot_id="ab-cd", starts=1),
        failure=Failure(release="r2", reason="did not start", at=1795351590.4),
    )
    return [json.dumps(item.to_json()).encode() for item in (whole, State(last_good="r1"))]


@cache
def release_seeds() -> Sequence[bytes]:
    return [json.dumps(replace(RELEASE, id="r1").to_json()).encode()]


@cache
def log_seeds() -> Sequence[bytes]:
    event = {"at": 1795351590.4, "event": "committed", "release": "r1", "reason": "asked for"}
    return [replies(event, event, event)]


def asked(folder: Path, requests: bytes, environment: dict[str, str]) -> Command:
    """The device's end of a conversation, with these requests."""
    (folder / "requests").write_bytes(requests)
    return Command(
        entry="edge.device.session:main",
        words=("session",),
        stdin=str(folder / "requests"),
        environment=environment,
    )


def place_on_device(name: str) -> Any:
    def place(folder: Path, content: bytes) -> Sequence[Command]:
        app, environment = device_home(folder)
        (app / name).write_bytes(content)
        lock = {"do": "lock", "owner": "me", "what": "test"}
        rollback = {"do": "rollback", "app": "photos", "timeout": 20, "watch": 0}
        asking = [
            replies({"do": "state"}, {"do": "state", "app": "photos"}),
            replies({"do": "logs", "app": "photos", "lines": 20}),
            replies(lock, {"do": "prune", "app": "photos", "keep": 1}),
            replies(lock, rollback),
        ]
        guard = Command(entry="tests.fuzz.entries:guard", words=("guard",), environment=environment)
        made = [asked(folder, requests, environment) for requests in asking]
        # One file holds the requests of whichever command is run, so each gets one of its own.
        found = []
        for number, (command, requests) in enumerate(zip(made, asking, strict=True)):
            path = folder / f"requests-{number}"
            path.write_bytes(requests)
            found.append(
                Command(
                    entry=command.entry,
                    words=command.words,
                    stdin=str(path),
                    environment=environment,
                )
            )
        return [*found, guard]

    return place


@cache
def request_seeds() -> Sequence[bytes]:
    lock = {"do": "lock", "owner": "me", "what": "deploy"}
    key = {
        "do": "provision",
        "key": 'edge namespaces="edge-manifest" ssh-ed25519 AAAA',
        "again": False,
    }
    files = {"manifest.json": ["ab" * 32, 5], "models/m.tflite": ["cd" * 32, 7]}
    begin = {"do": "begin", "kind": "release", "app": "photos", "id": "r3", "files": files}
    release = json.loads(release_seeds()[0])
    install = {
        "do": "install release",
        "app": "photos",
        "release": release,
        "allow_downgrade": False,
    }
    return [
        replies(lock, key | {"device": "raspberry-pi-5"}, {"do": "ping"}),
        replies(lock, begin, {"do": "put", "path": "manifest.json", "offset": 0}) + b"hello",
        replies(lock, begin, install),
        replies({"do": "has environment", "environment": "e1"}, {"do": "state"}),
        replies(lock, {"do": "prune", "app": "photos", "keep": 1}, {"do": "sweep"}),
    ]


def mutated_requests(random: Random, seeds: Sequence[bytes]) -> bytes:
    lines = random.choice(seeds).splitlines()
    at = random.randrange(len(lines))
    if lines[at].startswith(b"{"):
        lines[at] = mutated_json(random, [lines[at]])
    else:
        lines[at] = mutated_bytes(random, [lines[at]])
    return b"\n".join(lines) + random.choice((b"\n", b""))


def place_requests(folder: Path, content: bytes) -> Sequence[Command]:
    return (asked(folder, content, device_home(folder)[1]),)


def place_stdin(entry: str) -> Any:
    """Standard input of a function of ``entries`` is what is hostile."""

    def place(folder: Path, content: bytes) -> Sequence[Command]:
        (folder / "said").write_bytes(content)
        environment = {"XDG_RUNTIME_DIR": str(folder)}
        said = str(folder / "said")
        return (
            Command(
                entry=f"tests.fuzz.entries:{entry}",
                words=(entry,),
                stdin=said,
                environment=environment,
            ),
        )

    return place


def kinds() -> Iterator[Kind]:
    made = partial(Kind, imports=HOST)
    yield made(name="device's reply", seeds=reply_seeds, mutate=mutated_reply, place=place_reply)
    yield made(name="device's facts", seeds=fact_seeds, mutate=mutated_json, place=place_facts)
    place = place_stdin("question")
    yield made(name="health question", seeds=lambda: ASKED, mutate=mutated_json, place=place)
    made = partial(Kind, imports=ON_DEVICE, on_device=True)
    place = place_stdin("ask_service")
    yield made(name="health answer", seeds=lambda: HEALTH, mutate=mutated_json, place=place)
    place = place_on_device("state.json")
    yield made(name="state.json", seeds=state_seeds, mutate=mutated_json, place=place)
    place = place_on_device("releases/r1/release.json")
    yield made(name="release.json", seeds=release_seeds, mutate=mutated_json, place=place)
    place = place_on_device("log.jsonl")
    yield made(name="log.jsonl", seeds=log_seeds, mutate=mutated_reply, place=place)
    mutate = mutated_requests
    yield made(name="request", seeds=request_seeds, mutate=mutate, place=place_requests)
