"""What an address can mean."""

from pathlib import Path

import pytest

from edge.errors import CameraError
from edge.runtime.cameras.table import check_address


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
