"""Ask the running service: which release are you, and do you still answer?"""

import socket
from typing import Any, Final

from edge.device.layout import App
from edge.errors import DeviceError
from edge.runtime import checked

_MAX_BYTES: Final = 65_536


def ask(app: App, timeout: float) -> dict[str, Any]:
    """The service's own answer; it runs the network on a golden picture for it.

    Args:
        app: Whose service.
        timeout: Seconds.

    Raises:
        DeviceError: No service answers, or not within the time, or not in JSON.
    """
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
            client.settimeout(timeout)
            client.connect(str(app.socket))
            client.sendall(b'{"ask": "health"}\n')
            with client.makefile("rb") as stream:
                line = stream.readline(_MAX_BYTES)
        answer = checked.parse_json(line, "the answer", max_bytes=_MAX_BYTES)
    except TimeoutError:
        raise DeviceError(f"the service gave no answer within {timeout:.0f} s") from None
    except (OSError, ValueError) as error:
        raise DeviceError(f"the service does not answer: {error}") from error
    if not isinstance(answer, dict):
        raise DeviceError("the service's answer is not understood")
    return answer
