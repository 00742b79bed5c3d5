"""A camera for an emulated machine: the kernel's own for tests, which sees what it is shown."""

import tempfile
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from tests.device import screen
from tests.device.machine import Machine

ADDRESS: Final = "/dev/video0"
SIZE: Final = (640, 480)  # the smallest signal of HDMI
_FOLDER: Final = "screen"  # in the home of the user
_FILES: Final = {
    "vivid.modprobe": "options vivid n_devs=1 node_types=0x101 num_inputs=1 input_types=3 "
    "num_outputs=1 output_types=1\n",
    "vivid.load": "vivid\n",
    # The signal of the camera cannot be set while somebody uses it: before services of users.
    "screen.service": f"""\
[Unit]
Description=What the camera looks at
After=systemd-modules-load.service
Before=systemd-user-sessions.service
[Service]
Type=notify
ExecStartPre=udevadm settle
ExecStart=python3 /home/pi/{_FOLDER}/screen.py /dev/video1 {ADDRESS} {SIZE[0]} {SIZE[1]} \
/home/pi/{_FOLDER}/pixels
[Install]
WantedBy=multi-user.target
""",
}
_INSTALL: Final = f"""\
cd {_FOLDER}
sudo install -m 644 vivid.modprobe /etc/modprobe.d/vivid.conf
sudo install -m 644 vivid.load /etc/modules-load.d/vivid.conf
sudo install -m 644 screen.service /etc/systemd/system/
sudo modprobe vivid
sudo systemctl daemon-reload
sudo systemctl enable --now screen.service
"""


def plug_in(machine: Machine, picture: Image.Image) -> None:
    """Give the machine a camera that sees this picture, also after it was switched off."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        for name, text in _FILES.items():
            (folder / name).write_text(text)
        (folder / "screen.py").write_bytes(Path(screen.__file__).read_bytes())
        (folder / "pixels").write_bytes(yuyv(picture))
        machine.send(folder, _FOLDER)
    done = machine.ssh("bash -e -s", stdin=_INSTALL.encode())
    assert done.returncode == 0, done.stderr.decode()


def show(machine: Machine, picture: Image.Image) -> None:
    """Let the camera see another picture."""
    place = f"{_FOLDER}/pixels"
    done = machine.ssh(f"cat > {place}.new && mv {place}.new {place}", stdin=yuyv(picture))
    assert done.returncode == 0, done.stderr.decode()


def yuyv(picture: Image.Image) -> bytes:
    """The pixels as cameras send them: BT.601 of limited range, colours for two pixels at a time.

    Args:
        picture: RGB, of SIZE.
    """
    assert picture.size == SIZE
    red, green, blue = np.moveaxis(np.asarray(picture, np.int32), 2, 0)
    luma = ((66 * red + 129 * green + 25 * blue + 128) >> 8) + 16
    packed = np.empty((*luma.shape, 2), np.uint8)
    packed[..., 0] = luma
    packed[:, 0::2, 1] = _halved(((-38 * red - 74 * green + 112 * blue + 128) >> 8) + 128)
    packed[:, 1::2, 1] = _halved(((112 * red - 94 * green - 18 * blue + 128) >> 8) + 128)
    return packed.tobytes()


def _halved(chroma: NDArray[np.int32]) -> NDArray[np.int32]:
    return (chroma[:, 0::2] + chroma[:, 1::2] + 1) >> 1
