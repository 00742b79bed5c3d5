"""The machine that measurements are made on."""

import os
import platform
from collections.abc import Mapping
from typing import Any


def host() -> Mapping[str, Any]:
    """Where latencies are measured; the harness of ``edge benchmark`` records more."""
    return {
        "machine": platform.machine(),
        "system": platform.platform(),
        "cpus": os.cpu_count(),
    }
