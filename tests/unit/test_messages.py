"""What a host and a device send each other, and what is refused of it."""

import io
import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from edge.device.jobs import _METHODS, Jobs
from edge.device.messages import (
    REQUESTS,
    ActivateRequest,
    AppState,
    BeginRequest,
    DeviceRequest,
    EnvironmentRequest,
    Health,
    InstallEnvironmentRequest,
    InstallReleaseRequest,
    LockRequest,
    LogsRequest,
    PingRequest,
    ProvisionRequest,
    PruneRequest,
    PutRequest,
    RollbackRequest,
    SelftestRequest,
    StateReply,
    StateRequest,
    SweepRequest,
    UndeployRequest,
    Upload,
    read_request,
)
from edge.device.release import Release
from edge.errors import BundleError, UsageError
from edge.runtime.typed import Mistyped, typed

RELEASE = Release(
    id="1-a",
    name="photos",
    version=1,
    manifest_sha256="ab",
    variant="tflite-int8",
    engine="litert",
    environment="e1",
    threads=4,
    device="raspberry-pi-5",
    max_latency_ms=12.5,
    max_memory_mb=None,
    start_seconds=1,
    watchdog_seconds=1,
)
ALL: tuple[DeviceRequest[Any], ...] = (
    LockRequest(owner="me@host", what="edge deploy"),
    PingRequest(),
    ProvisionRequest(key="ssh-ed25519 AAAA", device="raspberry-pi-5", again=False),
    StateRequest(),
    EnvironmentRequest(environment="e1"),
    BeginRequest(kind=Upload.RELEASE, files={"a/b": ("ab", 3)}, id="1-a", app="photos"),
    PutRequest(path="a/b", offset=2),
    SweepRequest(),
    InstallEnvironmentRequest(id="e1"),
    InstallReleaseRequest(app="photos", release=RELEASE, allow_downgrade=True),
    SelftestRequest(app="photos", release="1-a", timeout=1.5),
    ActivateRequest(app="photos", release="1-a", watch=2.5),
    RollbackRequest(app="photos", watch=1.0, timeout=2.0, reason="foxes"),
    LogsRequest(app="photos", lines=3),
    PruneRequest(app="photos", keep=1),
    UndeployRequest(app="photos", delete_inbox=False),
)


def test_every_request_arrives_as_it_was_sent() -> None:
    assert {request.do for request in ALL} == set(REQUESTS)
    for request in ALL:
        assert read_request(json.loads(json.dumps(request.to_json()))) == request


def test_every_request_is_carried_out_by_a_job() -> None:
    assert set(_METHODS) == set(REQUESTS.values())


def test_what_changes_the_device_needs_its_lock() -> None:
    free = {request.do for request in ALL if not request.locked}
    assert free == {"lock", "ping", "state", "has environment", "logs"}
    jobs = Jobs(io.BytesIO(), lambda text: None)
    for request in ALL:
        if request.locked:
            with pytest.raises(UsageError, match="under its lock only"):
                jobs.do(request)


def test_the_host_waits_for_what_it_asked_for() -> None:
    assert [request.waits for request in ALL if request.waits] == [1.5, 2.5, 3.0]


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ({}, "unknown request None"),
        ({"do": ["lock"]}, "unknown request"),
        ({"do": "reboot"}, "unknown request 'reboot'"),
        ({"do": "lock", "owner": "me"}, "the request 'lock' lacks what"),
        ({"do": "put", "path": "a", "offset": "1"}, "the request 'put'.offset says '1'"),
        ({"do": "put", "path": "a", "offset": True}, "offset says True"),
        ({"do": "begin", "kind": "photos", "files": {}}, "kind says 'photos'"),
        ({"do": "begin", "kind": "scratch", "files": {"a": ["ab"]}}, r"files.a says \['ab'\]"),
        ({"do": "logs", "app": None, "lines": 1}, "app says None"),
    ],
)
def test_a_request_that_is_none(value: dict[str, Any], said: str) -> None:
    with pytest.raises((UsageError, Mistyped), match=said):
        read_request(value)


def test_a_listing_that_leads_outside_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    jobs = Jobs(io.BytesIO(), lambda text: None)
    jobs.do(LockRequest(owner="me", what="test"))
    for path, size in (("../a", 1), ("/a", 1), ("a", -1)):
        with pytest.raises(BundleError):
            jobs.do(BeginRequest(kind=Upload.SCRATCH, files={path: ("ab", size)}))
    assert not (tmp_path / ".local/share/edge/scratch").exists()


def test_the_state_of_an_application_for_programs() -> None:
    state = AppState(
        app="photos",
        release=None,
        healthy=False,
        last_good=None,
        on_trial=False,
        reason=None,
        failed_release=None,
        problem="no release serves",
    )
    names = ["app", "release", "healthy", "last_good", "on_trial", "reason", "failed_release"]
    assert list(state.to_json()) == [*names, "damage", "problem"]
    sent = StateReply(device="pi", apps=(state,))
    assert typed(StateReply, json.loads(json.dumps(asdict(sent))), "the reply") == sent


def test_of_a_service_of_another_version_what_is_known_is_read() -> None:
    told = {"release": "r1", "ok": True, "seconds": 1, "waiting": 3, "answered": 2}
    assert typed(Health, told, "the answer") == Health(
        release="r1", ok=True, seconds=1.0, answered=2
    )
    with pytest.raises(Mistyped, match="should not: waiting"):
        typed(Health, told, "the answer", exact=True)
