"""Which port of a device leads to its page."""

from dataclasses import replace

import pytest

from edge.deploy.ssh import Address
from edge.device.messages import AppState, StateReply
from edge.device.release import LiveSettings
from edge.errors import ConnectionFailed, DeviceError, EdgeError, UsageError
from edge.live.tunnel import PORT, deployed_port
from tests.unit.device_releases import RELEASE

ADDRESS = Address.parse("pi@pi")


def app(name: str, port: int | None) -> AppState:
    """An application with a page at a port, or with a folder of pictures."""
    live = None if port is None else LiveSettings(port=port)
    return AppState(
        app=name,
        release="1-a",
        healthy=True,
        last_good="1-a",
        on_trial=False,
        reason=None,
        failed_release=None,
        bundle=replace(RELEASE, live=live),
        problem=None,
    )


def answers(monkeypatch: pytest.MonkeyPatch, reply: tuple[AppState, ...] | EdgeError) -> None:
    def states(address: Address, name: str | None) -> StateReply:
        assert address == ADDRESS and name is None
        if isinstance(reply, EdgeError):
            raise reply
        return StateReply(apps=reply)

    monkeypatch.setattr("edge.deploy.deploy.states", states)


def test_the_port_is_that_of_the_release(monkeypatch: pytest.MonkeyPatch) -> None:
    answers(monkeypatch, (app("photos", None), app("door", 8081)))
    assert deployed_port(ADDRESS) == 8081


def test_a_page_that_was_started_by_hand_is_at_the_usual_port(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for reply in ((), (app("photos", None),), DeviceError("the device has Python 3.9")):
        answers(monkeypatch, reply)
        assert deployed_port(ADDRESS) == PORT


def test_one_of_several_has_to_be_named(monkeypatch: pytest.MonkeyPatch) -> None:
    answers(monkeypatch, (app("door", 8081), app("shop", 8082)))
    with pytest.raises(UsageError, match=r"8081 \(door\), 8082 \(shop\)"):
        deployed_port(ADDRESS)


def test_no_connection_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    answers(monkeypatch, ConnectionFailed("no route to pi"))
    with pytest.raises(ConnectionFailed):
        deployed_port(ADDRESS)
