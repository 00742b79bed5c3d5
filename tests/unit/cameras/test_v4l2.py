"""A V4L2 camera on a device that a script plays: agreement, pictures, faults."""

import errno
import select
from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from edge.errors import CameraError
from edge.runtime.cameras import v4l2_kernel as kernel
from edge.runtime.cameras.camera import CameraFault, CameraRequest
from edge.runtime.cameras.v4l2 import V4l2Camera, devices
from tests.unit.cameras.scripted_device import (
    CAPTURE,
    GONE,
    IO_MC,
    META,
    STREAMING,
    Device,
    Event,
    ScriptedSystem,
)
from tests.unit.conftest import encoded

PATH = "/dev/video0"
JPEGS = [encoded(Image.new("RGB", (64, 48), (shade, 0, 0)), "JPEG") for shade in range(0, 250, 10)]


def pictures(*times: float) -> list[Event]:
    return [Event(at, JPEGS[number]) for number, at in enumerate(times)]


def opened(
    device: Device, request: CameraRequest | None = None
) -> tuple[V4l2Camera, ScriptedSystem]:
    system = ScriptedSystem({PATH: device})
    return V4l2Camera(PATH, request or CameraRequest(), system), system


def fault_of(system: ScriptedSystem, timeout: float = 1.0) -> CameraError:
    """The error of opening and reading; nothing of the device is held afterwards."""
    with pytest.raises(CameraError) as caught:
        with V4l2Camera(PATH, CameraRequest(), system) as camera:
            for _ in range(9):
                camera.read(timeout)
    assert system.closed == len(system.opened)
    assert not any(mapped.open for mapped in system.maps)
    assert PATH in caught.value.message
    return caught.value


def test_mjpg_is_preferred_and_passes_unchanged() -> None:
    device = Device(formats={"YUYV": [], "MJPG": []}, events=pictures(0.1, 0.2))
    camera, system = opened(device)
    with camera:
        frames = [camera.read(1.0), camera.read(1.0)]
        assert system.streams
    assert not system.streams and system.closed == 1
    assert not any(mapped.open for mapped in system.maps)
    assert [frame.jpeg for frame in frames] == JPEGS[:2]
    assert [(frame.number, frame.lost) for frame in frames] == [(1, 0), (2, 0)]
    assert [round(frame.captured - 1000, 3) for frame in frames] == [0.1, 0.2]
    with pytest.raises(CameraError, match="closed"):
        camera.read(1.0)


def test_what_the_driver_answers_is_stated() -> None:
    device = Device(card="C\x1b[2J920", forced=(320, 180), least_seconds=1 / 25)
    camera, system = opened(device, CameraRequest(333, 222, 30))
    assert system.asked == {kernel.S_FMT: ("MJPG", 333, 222), kernel.S_PARM: (1, 30)}
    said = camera.description
    assert (said.format, said.width, said.height, said.rate) == ("MJPG", 320, 180, 25)
    assert (said.address, said.name) == (PATH, "C\\u001b[2J920")


def test_the_address_that_is_stated_outlasts_a_replug() -> None:
    system = ScriptedSystem({PATH: Device()}, {PATH: "/dev/v4l/by-id/usb-x"})
    assert V4l2Camera(PATH, CameraRequest(), system).description.address == "/dev/v4l/by-id/usb-x"


def test_a_rate_that_is_no_whole_number_is_asked_for() -> None:
    _, system = opened(Device(), CameraRequest(rate=7.5))
    assert system.asked[kernel.S_PARM] == (2, 15)
    camera, _ = opened(Device(errors={kernel.S_PARM: [errno.ENOTTY]}))
    assert camera.description.rate == 0


@pytest.mark.parametrize(
    ("wished", "given"),
    [
        ((640, 480), (640, 480)),
        ((500, 300), (640, 480)),  # the smallest that covers it
        ((800, 100), (1280, 720)),
        ((4000, 4000), (1280, 720)),  # the largest
    ],
)
def test_a_size_that_the_camera_has_is_asked_for(
    wished: tuple[int, int], given: tuple[int, int]
) -> None:
    sizes = [(320, 240), (1280, 720), (640, 480)]
    _, system = opened(Device(formats={"MJPG": sizes}), CameraRequest(*wished))
    assert system.asked[kernel.S_FMT] == ("MJPG", *given)


def test_the_newest_picture_is_given_and_the_others_are_counted() -> None:
    camera, system = opened(Device(events=pictures(0.1, 0.2, 0.3, 0.4, 0.5)))
    assert camera.read(1.0).number == 1
    system.sleep(0.25)  # two more wait
    frame = camera.read(1.0)
    assert (frame.number, frame.lost, frame.jpeg) == (3, 1, JPEGS[2])
    assert sorted(system.free) == [0, 1, 2, 3]  # all are with the driver again
    assert (camera.read(1.0).number, camera.read(1.0).number) == (4, 5)


def test_pictures_that_filled_every_buffer_are_old_and_passed_over() -> None:
    """While the reader was away, the driver had no buffer: all that wait are of long ago."""
    camera, system = opened(Device(events=pictures(*(0.1 * n for n in range(1, 25)))))
    system.sleep(1.25)
    frame = camera.read(1.0)
    assert frame.jpeg == JPEGS[12]  # of 1.3 s, and not of 0.4 s
    assert frame.captured - 1000 == pytest.approx(1.3)
    assert (camera.read(1.0).jpeg, frame.number) == (JPEGS[13], 5)


def test_a_driver_that_does_not_count_or_stamp() -> None:
    camera, system = opened(Device(events=pictures(0.1, 0.2, 0.3), counts=False, stamps=0))
    assert camera.read(1.0).number == 1
    system.sleep(0.25)
    frame = camera.read(1.0)
    assert (frame.number, frame.lost) == (3, 1)
    assert frame.captured == system.clock


def test_pictures_that_the_driver_lost_are_counted() -> None:
    camera, system = opened(Device(events=pictures(0.1, 0.2)))
    assert camera.read(1.0).number == 1
    system.sequence += 5
    frame = camera.read(1.0)
    assert (frame.number, frame.lost) == (7, 5)


@pytest.mark.parametrize(
    "bad",
    [
        Event(0.2, JPEGS[0], damaged=True),
        Event(0.2, JPEGS[0][:-40]),  # cut on its way
        Event(0.2, b""),
        Event(0.2, b"\0" + JPEGS[0]),
    ],
)
def test_a_damaged_picture_is_passed_over(bad: Event) -> None:
    camera, _ = opened(Device(events=[Event(0.1, JPEGS[0]), bad, Event(0.3, JPEGS[2])]))
    assert camera.read(1.0).number == 1
    frame = camera.read(1.0)
    assert (frame.number, frame.lost, frame.jpeg) == (3, 1, JPEGS[2])


def test_nothing_but_damaged_pictures_is_no_picture() -> None:
    events = [Event(n / 10, JPEGS[0], damaged=True) for n in range(1, 99)]
    camera, system = opened(Device(events=events))
    with pytest.raises(CameraError) as caught:
        camera.read(1.0)
    assert caught.value.fault == CameraFault.NO_PICTURE
    assert system.clock - 1000 < 1.2


def test_a_silent_camera_may_speak_again() -> None:
    camera, system = opened(Device(events=pictures(0.1, 5.0)))
    camera.read(1.0)
    with pytest.raises(CameraError) as caught:
        camera.read(2.0)
    assert caught.value.fault == CameraFault.NO_PICTURE
    assert round(system.clock - 1000, 3) == 2.1
    assert camera.read(9.0).jpeg == JPEGS[1]


@pytest.mark.parametrize(
    ("request_code", "number", "fault"),
    [
        (kernel.S_FMT, errno.EBUSY, CameraFault.BUSY),
        (kernel.REQBUFS, errno.EBUSY, CameraFault.BUSY),
        (kernel.STREAMON, errno.ENOSPC, CameraFault.BUSY),
        (kernel.STREAMON, errno.EPIPE, CameraFault.GONE),
        (kernel.QUERYCAP, errno.ENOTTY, CameraFault.UNSUPPORTED),  # /dev/null
        (kernel.QUERYCAP, errno.ENODEV, CameraFault.GONE),
        (kernel.ENUM_FMT, errno.ENODEV, CameraFault.GONE),
        (kernel.QBUF, errno.EIO, CameraFault.GONE),
        (kernel.DQBUF, errno.EIO, CameraFault.GONE),
        (kernel.DQBUF, errno.ENODEV, CameraFault.GONE),
    ],
)
def test_what_an_error_of_a_request_means(
    request_code: int, number: int, fault: CameraFault
) -> None:
    device = Device(events=pictures(0.1), errors={request_code: [number]})
    assert fault_of(ScriptedSystem({PATH: device})).fault == fault


@pytest.mark.parametrize("flags", [select.POLLERR, GONE])
def test_an_unplugged_camera_gives_what_waits_and_is_gone(flags: int) -> None:
    events = [*pictures(0.1, 0.2), Event(0.2, poll=flags)]
    camera, _ = opened(Device(events=events))
    assert (camera.read(1.0).number, camera.read(1.0).number) == (1, 2)
    for _ in range(2):
        with pytest.raises(CameraError) as caught:
            camera.read(1.0)
        assert caught.value.fault == CameraFault.GONE


def test_access_comes_a_moment_after_the_node() -> None:
    system = ScriptedSystem({PATH: Device(events=pictures(1.0))})
    system.refusals.extend([errno.EACCES] * 5)
    with V4l2Camera(PATH, CameraRequest(), system) as camera:
        assert camera.read(2.0).number == 1
    system = ScriptedSystem({PATH: Device()})
    system.refusals.extend([errno.EACCES] * 99)
    assert fault_of(system).fault == CameraFault.FORBIDDEN
    assert 1 <= system.clock - 1000 < 1.3


def test_what_is_no_camera_of_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    assert fault_of(ScriptedSystem({})).fault == CameraFault.MISSING
    for device in (
        Device(caps=META | STREAMING),
        Device(formats={"H264": [], "pBAA": []}),
        Device(formats={}),
        Device(buffers=1),
        Device(formats={"YUYV": []}, padding=-2),
    ):
        assert fault_of(ScriptedSystem({PATH: device})).fault == CameraFault.UNSUPPORTED
    monkeypatch.setattr(kernel, "IS_64_BIT", False)
    assert "64-bit" in fault_of(ScriptedSystem({PATH: Device()})).message


def test_pixels_become_a_jpeg() -> None:
    rows = np.zeros((48, 2 * 64 + 8), np.uint8)  # 8 bytes of padding
    rows[:, 0:128:2], rows[:, 1:128:2] = 81, 128
    rows[:, 1:128:4], rows[:, 3:128:4] = 90, 240  # BT.601 of limited range: pure red
    events = [Event(0.1, rows.tobytes()), Event(0.2, rows.tobytes()[:5000])]
    device = Device(formats={"YUYV": []}, forced=(64, 48), padding=8, events=events)
    camera, _ = opened(device)
    with Image.open(BytesIO(camera.read(1.0).jpeg)) as image:
        assert image.size == (64, 48)
        assert np.abs(np.asarray(image).astype(int) - [255, 0, 0]).max() <= 4
    with pytest.raises(CameraError):  # the second one is cut
        camera.read(1.0)


def test_cameras_are_listed_by_names_that_last() -> None:
    found = {
        "/dev/video0": Device(card="First", formats={"YUYV": [], "MJPG": []}),
        "/dev/video1": Device(card="First", caps=META | STREAMING),
        "/dev/video2": Device(driver="bcm2835-isp", formats={"YUYV": []}),
        "/dev/video3": Device(driver="rp1-cfe", caps=CAPTURE | STREAMING | IO_MC),
        "/dev/video4": Device(card="Bayer alone", formats={"pBAA": []}),
        "/dev/video5": Device(errors={kernel.QUERYCAP: [errno.ENODEV]}),
        "/dev/video6": Device(card="Second", formats={"GREY": []}),
    }
    system = ScriptedSystem(found, {"/dev/video0": "/dev/v4l/by-id/usb-First-index0"})
    assert [(item.address, item.name, item.format) for item in devices(system)] == [
        ("/dev/v4l/by-id/usb-First-index0", "First", "MJPG"),
        ("/dev/video6", "Second", "GREY"),
    ]
    assert system.closed == len(system.opened) == 7
    system.refusals.extend([errno.EACCES] * 99)
    assert devices(system) == []
    assert system.clock == 1000  # nothing was waited for
