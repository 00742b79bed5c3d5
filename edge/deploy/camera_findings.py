"""Judge the cameras of a device: which are there, and whether a service may read them."""

import re
from collections.abc import Iterator
from typing import Final

from devices.profile import Profile
from edge.deploy.facts import Cameras, Facts
from edge.deploy.finding import Finding
from edge.device.release import LiveSettings
from edge.errors import CameraError
from edge.runtime.cameras.table import CSI, FILES, NETWORK, USB, kind_of

_ANOTHER: Final = "Plug it in, and see what edge doctor says; or name another one with --camera."
_NOT_IN_GROUP: Final = "the running service manager is not in the group video: no service may read"


def cameras(facts: Facts, _: Profile) -> Iterator[Finding]:
    """Judge the cameras; none is needed where pictures come as files."""
    found = facts.cameras
    if found is None:
        return
    names = [*found.libcamera, *found.video]
    more = f" and {len(names) - 4} more" if len(names) > 4 else ""
    read = ", ".join(_readable_cameras(found))
    text = (", ".join(names[:4]) + more) or "none (pictures come as files)"
    yield Finding.ok("camera", f"{text}; edge live reads {read}" if read else text)
    if (found.capture or found.forbidden or found.libcamera) and not _may_read(facts):
        yield Finding.warning("camera", _NOT_IN_GROUP, _into_group(facts))


def camera_of(facts: Facts, live: LiveSettings) -> Iterator[Finding]:
    """Judge whether the service of a live page can read its camera.

    Args:
        facts: What the device says of itself.
        live: The camera and the page that are to be deployed.
    """
    found = facts.cameras
    try:
        kind = "" if live.camera is None else kind_of(live.camera).name
    except CameraError as error:
        yield Finding.error("camera", error.message, error.hint)
        return
    if kind == NETWORK and facts.user is not None and facts.user.tools.get("ffmpeg") is None:
        yield Finding.error(
            "camera", "there is no ffmpeg, which reads network cameras", "sudo apt install ffmpeg"
        )
    if kind in (NETWORK, FILES) or found is None:
        return
    address = live.camera or ""
    path = f"/dev/video{int(address)}" if address.isdecimal() else address
    usb, csi = [*found.capture, *found.forbidden], "csi" in _readable_cameras(found)
    sensor = int(address.partition(":")[2] or 0) if kind == CSI else 0
    if kind == CSI and not (csi and sensor < len(found.libcamera)):
        yield Finding.error("camera", f"{live.camera}: {_no_csi(found)}", _ANOTHER)
    elif kind == USB and re.fullmatch(r"/dev/video[0-9]+", path) and path not in usb:
        yield Finding.error(
            "camera", f"there is no camera that edge live reads at {path}", _ANOTHER
        )
    elif not (usb or csi):
        yield Finding.error("camera", f"none is seen, and {_no_csi(found)}", _ANOTHER)
    elif not _may_read(facts):
        yield Finding.error("camera", _NOT_IN_GROUP, _into_group(facts))


def _no_csi(found: Cameras) -> str:
    if found.program is None:
        return "there is no rpicam-vid or libcamera-vid, which read cameras on a ribbon cable"
    return f"{found.program} lists no camera on a ribbon cable"


def _readable_cameras(found: Cameras) -> list[str]:
    """Return the addresses of the cameras that edge live can read, but for permissions."""
    return [*found.capture, *(["csi"] if found.program and found.libcamera else [])]


def _may_read(facts: Facts) -> bool:
    """Return whether services of the user may read cameras, as far as is known."""
    root = facts.user is not None and facts.user.root
    if facts.cameras is None or root:
        return True
    if facts.cameras.group is None:  # no manager runs: the next one has the groups that are listed
        return facts.cameras.listed or not facts.cameras.forbidden
    return facts.cameras.group


def _into_group(facts: Facts) -> str:
    """Say how the manager of the user's services gets into the group: it has those of its start."""
    user, listed = facts.user, facts.cameras is not None and facts.cameras.listed
    name = "USER" if user is None else user.name
    uid = f"$(id -u {name})" if user is None or user.uid is None else str(user.uid)
    first = "" if listed else f"sudo usermod -aG video {name}, then "
    return f"Run there: {first}sudo systemctl restart user@{uid}; or restart the device."
