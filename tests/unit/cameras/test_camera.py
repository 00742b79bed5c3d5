"""Addresses, requests and what every camera is: the table, and the words that messages show."""

import subprocess
import sys
from collections.abc import Callable

import pytest

from edge.errors import CameraError, EdgeError, UsageError, described, rebuilt
from edge.runtime import Frame, open_camera
from edge.runtime.cameras import program, table, v4l2
from edge.runtime.cameras.camera import (
    CameraDescription,
    CameraFault,
    CameraRequest,
    shown_address,
    shown_text,
)
from edge.runtime.cameras.table import list_cameras
from tests.unit.conftest import corners, encoded


@pytest.mark.parametrize(
    ("address", "opener"),
    [
        ("0", "open_device"),
        ("/dev/video12", "open_device"),
        ("/dev/v4l/by-id/usb-edge_0001-video-index0", "open_device"),
        ("csi", "open_csi"),
        ("csi:1", "open_csi"),
        ("rtsp://host/a", "open_rtsp"),
        ("RTSPS://host/a", "open_rtsp"),
        ("pictures", "open_played"),
        ("./0", "open_played"),
        ("/dev/shm/pictures", "open_played"),
        ("a\nb.mjpeg", "open_played"),
        ("", None),
        ("http://host/a", None),
        ("file:///a", None),
    ],
)
def test_an_address_belongs_to_one_kind(
    address: str, opener: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    monkeypatch.setattr(
        table.AddressKind, "open", lambda kind, address, request: asked.append(kind.opener)
    )
    if opener is None:
        with pytest.raises(CameraError) as caught:
            open_camera(address)
        assert caught.value.fault == CameraFault.UNSUPPORTED
        assert all(kind.forms in caught.value.hint for kind in table.KINDS)
    else:
        open_camera(address)
        assert asked == [opener]


def test_every_kind_has_its_functions() -> None:
    for kind in table.KINDS:
        assert callable(kind._function(kind.opener))
        assert not kind.lister or callable(kind._function(kind.lister))


def test_the_table_loads_no_kind_of_camera() -> None:
    code = "import sys, edge.runtime; edge.runtime.open_camera; print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True
    )
    loaded = done.stdout.split()
    assert "edge.runtime.cameras.table" in loaded
    assert not {"edge.runtime.cameras.v4l2", "subprocess", "numpy", "PIL"} & {*loaded}


def found(*addresses: str) -> Callable[[], list[CameraDescription]]:
    return lambda: [CameraDescription(address=word, name="", format="") for word in addresses]


def test_without_an_address_the_first_camera_is_opened(monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[str] = []
    for module, name in ((v4l2, "open_device"), (program, "open_csi")):
        monkeypatch.setattr(module, name, lambda address, request: opened.append(address))
    monkeypatch.setattr(v4l2, "devices", found("/dev/v4l/by-id/x", "/dev/video2"))
    monkeypatch.setattr(program, "csi_cameras", found("csi:0"))
    open_camera()
    assert [item.address for item in list_cameras()] == [
        *("/dev/v4l/by-id/x", "/dev/video2", "csi:0")
    ]
    monkeypatch.setattr(v4l2, "devices", found())
    open_camera()
    assert opened == ["/dev/v4l/by-id/x", "csi:0"]
    monkeypatch.setattr(program, "csi_cameras", found())
    with pytest.raises(CameraError) as caught:
        open_camera()
    assert caught.value.fault == CameraFault.MISSING
    assert "/dev/video" in caught.value.message and "rpicam-vid" in caught.value.message


@pytest.mark.parametrize(
    "wrong",
    [
        {"width": 0},
        {"height": -1},
        {"width": 10**6},
        {"rate": 0.0},
        {"rate": float("nan")},
        {"rate": float("inf")},
        {"rate": 1e9},
    ],
)
def test_a_request_that_is_none(wrong: dict[str, float]) -> None:
    with pytest.raises(UsageError):
        CameraRequest(**wrong)  # type: ignore[arg-type]


def test_a_frame_is_an_image() -> None:
    image = Frame(number=1, jpeg=encoded(corners(mode="L"), "JPEG"), captured=0.0).image()
    assert (image.mode, image.size) == ("RGB", (48, 32))
    with pytest.raises(EdgeError):
        Frame(number=1, jpeg=b"\xff\xd8\xff", captured=0.0).image()


def test_a_fault_is_an_error_of_code_4() -> None:
    error = CameraError("a", fault=CameraFault.BUSY, hint="b")
    assert (error.exit_code, error.fault, error.hint) == (4, "busy", "b")
    again = rebuilt(described(error), unknown=EdgeError)
    assert isinstance(again, CameraError) and again.message == "a"


@pytest.mark.parametrize(
    ("address", "shown"),
    [
        ("csi:1", "csi:1"),
        ("rtsp://host/a/b", "rtsp://host/a/b"),
        ("rtsp://u:p@host:554/a", "rtsp://host:554/a"),
        ("rtsp://u:p@ss/w?o#rd@host/a", "rtsp://host/a"),
        ("rtsp://u:p@host", "rtsp://host"),
        ("rtsp://u:p@host?a=b", "rtsp://host"),
        ("rtsp://host/a?user=u&password=p", "rtsp://host/a"),
        ("rtsp://host/user=u_password=p", "rtsp://host/..."),
        ("rtsp://u:SEC RET@host/a", "rtsp://host/a"),
        ("rtsp:u:SECRET@host", "rtsp://host"),
        ("RTSPS:/u:SECRET@host", "RTSPS://host"),
    ],
)
def test_what_is_shown_of_an_address(address: str, shown: str) -> None:
    assert shown_address(address) == shown


def test_what_is_shown_of_what_a_program_says() -> None:
    said = "error: rtsp://u:p@host/a: 401"
    assert shown_text(said) == "error: rtsp://host/... 401"


def test_a_long_word_is_no_trap() -> None:
    """It once took the square of its length: minutes."""
    long = "x" * 1_000_000
    assert shown_text(long) == long
    assert shown_text(f"{long}://user:secret@host/a").endswith("://host/a")
