"""What is said of a device's cameras, and of whether its services may read them."""

import os
import struct
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from devices.profile import profile
from edge.deploy.facts import Cameras, Facts
from edge.deploy.findings import Finding, Severity, findings
from edge.device import facts as device
from edge.device.release import LiveSettings
from edge.runtime.cameras import v4l2_kernel as kernel
from edge.runtime.cameras.v4l2 import _PREFERRED
from edge.runtime.typed import typed
from tests.unit.test_findings import case

BOARD = profile("raspberry-pi-5")
NONE = Cameras(libcamera=(), video=())
USB = Cameras(libcamera=(), video=("/dev/video0 HD Webcam",), capture=("/dev/video0",), group=True)
CSI = Cameras(libcamera=("imx708",), video=(), program="/usr/bin/rpicam-vid", group=True)
GROUP = "sudo usermod -aG video pi, then sudo systemctl restart user@1000"


def device_with(cameras: Cameras | None, *, root: bool = False, **tools: str) -> Facts:
    _, facts = case("pi5-good")
    assert facts.user is not None
    known = {**facts.user.tools, **tools}
    user = replace(facts.user, name="pi", uid=1000, root=root, tools=known)
    return replace(facts, cameras=cameras, user=user)


def said(facts: Facts, camera: str | None = None, *, live: bool = True) -> list[Finding]:
    """What is said of the camera beyond that all is well."""
    settings = LiveSettings(camera=camera) if live else None
    found = findings(facts, BOARD, settings)
    return [item for item in found if item.about == "camera" and item.level is not Severity.OK]


@pytest.mark.parametrize("cameras", [NONE, USB, CSI, None])
def test_nobody_who_sends_pictures_needs_a_camera(cameras: Cameras | None) -> None:
    assert said(device_with(cameras), live=False) == []


def test_cameras_are_named() -> None:
    text = {item.about: item.found for item in findings(device_with(USB), BOARD)}["camera"]
    assert text == "/dev/video0 HD Webcam; edge live reads /dev/video0"
    text = {item.about: item.found for item in findings(device_with(CSI), BOARD)}["camera"]
    assert text == "imx708; edge live reads csi"


@pytest.mark.parametrize(
    ("cameras", "camera"),
    [
        (USB, None),
        (USB, "0"),
        (USB, "/dev/video0"),
        (USB, "/dev/v4l/by-id/usb-HD_Webcam-video-index0"),  # a link that only the device knows
        (CSI, None),
        (CSI, "csi"),
        (CSI, "csi:0"),
        (NONE, "/home/pi/pictures"),
        (replace(USB, group=None, forbidden=(), listed=False), None),
        (replace(USB, capture=(), forbidden=("/dev/video0",)), "0"),  # the manager may open it
    ],
)
def test_a_camera_that_can_be_read(cameras: Cameras, camera: str | None) -> None:
    assert said(device_with(cameras), camera) == []


@pytest.mark.parametrize(
    ("cameras", "camera", "text"),
    [
        (NONE, None, "none is seen, and there is no rpicam-vid or libcamera-vid"),
        (NONE, "0", "there is no camera that edge live reads at /dev/video0"),
        (USB, "/dev/video1", "there is no camera that edge live reads at /dev/video1"),
        (NONE, "/dev/v4l/by-id/x", "none is seen"),
        (USB, "csi", "csi: there is no rpicam-vid or libcamera-vid"),
        (CSI, "csi:1", "csi:1: /usr/bin/rpicam-vid lists no camera"),
        (replace(CSI, libcamera=()), "csi", "/usr/bin/rpicam-vid lists no camera"),
        (replace(CSI, libcamera=()), None, "/usr/bin/rpicam-vid lists no camera"),
        (NONE, "rtsp://pi:secret@cam/live", "there is no ffmpeg"),
    ],
)
def test_a_camera_that_is_not_there(cameras: Cameras, camera: str | None, text: str) -> None:
    (found,) = said(device_with(cameras), camera)
    assert found.level is Severity.ERROR and found.hint
    assert text in found.found and "secret" not in found.found


def test_a_network_camera_is_read_by_ffmpeg() -> None:
    facts = device_with(replace(NONE, group=False), ffmpeg="/usr/bin/ffmpeg")
    assert said(facts, "rtsp://cam/live") == []


def test_a_service_manager_that_is_not_in_the_group() -> None:
    outside = replace(USB, group=False)
    (warned,) = said(device_with(outside), live=False)
    assert warned.level is Severity.WARNING and GROUP in warned.hint
    for camera in (None, "0"):
        *_, refused = said(device_with(outside), camera)
        assert refused.level is Severity.ERROR and GROUP in refused.hint
        assert "group video" in refused.found
    # It is in the list of the group already: the manager began before that.
    (late,) = said(device_with(replace(outside, listed=True)), live=False)
    assert "usermod" not in late.hint and "systemctl restart user@1000" in late.hint
    assert said(device_with(outside, root=True), "0") == []
    files = said(device_with(outside), "/home/pi/pictures")
    assert [item.level for item in files] == [Severity.WARNING]


def test_no_camera_is_no_reason_to_speak_of_the_group() -> None:
    assert said(device_with(replace(NONE, group=False)), live=False) == []


def test_an_address_that_no_service_could_open() -> None:
    (found,) = said(device_with(USB, ffmpeg="/usr/bin/ffmpeg"), "http://pi:secret@cam/live")
    assert found.level is Severity.ERROR and found.hint
    assert "is no address of a camera" in found.found and "secret" not in found.found


# What the device asks of its kernel.


def capability(driver: bytes, whole: int, own: int) -> bytes:
    return struct.pack("=16s32s32sIII12x", driver, b"card", b"bus", 0, whole, own)


@pytest.mark.parametrize(
    ("driver", "whole", "own"),
    [
        (b"uvcvideo", 0x84A00001, 0x04200001),
        (b"uvcvideo", 0x84A00001, 0x04A00000),  # its second device: no pictures
        (b"vivid", 0x05200001, 0),
        (b"unicam", 0xA5A00001, 0x25200001),  # a step of a chain
        (b"bcm2835-isp", 0x84A00001, 0x04200001),
        (b"bcm2835-codec", 0x84204000, 0x04204000),
        (b"old", 0x01000001, 0),  # reads, does not stream
    ],
)
def test_a_camera_is_what_the_runtime_takes_for_one(driver: bytes, whole: int, own: int) -> None:
    answer = capability(driver, whole, own)
    assert len(answer) == device.CAPABILITY_BYTES == kernel.CAPABILITY_BYTES
    assert device.is_camera(answer) == kernel.capability(answer).is_camera


def test_the_numbers_are_those_of_the_runtime() -> None:
    assert (device.QUERYCAP, device.ENUM_FMT) == (kernel.QUERYCAP, kernel.ENUM_FMT)
    assert tuple(name.encode() for name in _PREFERRED) == device.FORMATS
    assert device.NO_CAMERAS == kernel._NO_CAMERAS


def test_devices_that_are_no_cameras(tmp_path: Path) -> None:
    file = tmp_path / "video0"
    file.write_bytes(b"")
    assert device.captures_pictures(str(file)) is False
    assert device.captures_pictures(str(tmp_path / "gone")) is False


def test_a_device_that_may_not_be_opened(monkeypatch: pytest.MonkeyPatch) -> None:
    def forbidden(*_: Any) -> int:
        raise PermissionError

    monkeypatch.setattr("os.open", forbidden)
    assert device.captures_pictures("/dev/video0") is None


def process(folder: Path, pid: int, command: str, **fields: str) -> None:
    place = folder / str(pid)
    place.mkdir()
    lines = "".join(f"{name}:\t{value}\n" for name, value in fields.items())
    (place / "status").write_text(lines)
    (place / "cmdline").write_bytes(command.replace(" ", "\0").encode() + b"\0")


def test_the_groups_are_those_of_the_running_manager(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("os.getuid", lambda: 1000)
    mine, other = "1000\t1000\t1000\t1000", "1001\t1001\t1001\t1001"
    manager = "/usr/lib/systemd/systemd --user"
    process(tmp_path, 1, "/sbin/init", Name="systemd", Uid="0\t0\t0\t0", Groups="44 ")
    process(tmp_path, 50, manager, Name="systemd", Uid=other, Groups="44 ")
    process(tmp_path, 60, "bash --user", Name="bash", Uid=mine, Groups="44 ")
    assert device.manager_groups(tmp_path) is None
    process(tmp_path, 70, manager, Name="systemd", Uid=mine, Groups="4 20 44 1000 ")
    assert device.manager_groups(tmp_path) == [4, 20, 44, 1000]
    (tmp_path / "70/status").write_text(f"Name:\tsystemd\nUid:\t{mine}\nGroups:\t\n")
    assert device.manager_groups(tmp_path) == []


def test_the_program_that_reads_a_ribbon_cable_also_lists_its_cameras(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A system may have rpicam-vid without rpicam-hello."""
    tool = tmp_path / "libcamera-vid"
    listing = "0 : imx708 [4608x2592 10-bit RGGB] (/base/soc/i2c0mux/i2c@1/imx708@1a)"
    tool.write_text(f'#!/bin/sh\n[ "$1" = --list-cameras ] && echo "{listing}"\n')
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.defpath}")
    found = typed(Cameras, device.cameras(), "cameras", exact=True)
    assert (found.program, found.libcamera) == (str(tool), ("imx708",))
    tool.unlink()
    assert device.cameras()["program"] is None
