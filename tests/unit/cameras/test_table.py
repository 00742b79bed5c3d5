"""What an address can mean."""

from pathlib import Path

import pytest

from edge.errors import CameraError
from edge.runtime.cameras.table import check_address, kind_of


@pytest.mark.parametrize(
    ("address", "fault"),
    [
        ("0", ""),
        ("/dev/video7", ""),
        ("csi", ""),
        ("rtsp://host/x", ""),
        ("", "unsupported"),
        ("http://host", "unsupported"),
    ],
)
def test_what_can_never_be_a_camera(address: str, fault: str) -> None:
    if not fault:
        check_address(address)
        return
    with pytest.raises(CameraError) as found:
        check_address(address)
    assert found.value.fault == fault


def test_files_have_to_be_there(tmp_path: Path) -> None:
    check_address(str(tmp_path))
    with pytest.raises(CameraError, match="there is no file or folder"):
        check_address(str(tmp_path / "nothing"))
    picture = tmp_path / "picture.png"
    picture.touch()
    with pytest.raises(CameraError, match="neither a folder nor") as found:
        check_address(str(picture))
    assert found.value.fault == "unsupported"
    check_address(str(picture.rename(tmp_path / "film.MJPEG")))


def test_a_path_that_cannot_be_looked_at_is_no_traceback() -> None:
    with pytest.raises(CameraError, match="File name too long") as found:
        check_address("a" * 300)
    assert found.value.fault == "unsupported"


@pytest.mark.parametrize(
    ("address", "name", "opener"),
    [
        ("0", "usb", "open_device"),
        ("12", "usb", "open_device"),
        ("/dev/video0", "usb", "open_device"),
        ("/dev/shm/x.mjpeg", "files", "open_played"),
        ("csi", "csi", "open_csi"),
        ("csi:1", "csi", "open_csi"),
        ("csi:x", "files", "open_played"),
        ("RTSP://h/p", "network", "open_rtsp"),
        ("a/b", "files", "open_played"),
    ],
)
def test_the_kind_of_an_address(address: str, name: str, opener: str) -> None:
    assert (kind_of(address).name, kind_of(address).opener) == (name, opener)
