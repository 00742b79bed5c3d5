"""A release as a device keeps it; what a test does not say of it, it does not read."""

from typing import Final

from edge.device.release import Release

RELEASE: Final = Release(
    id="draft",
    name="Dogs",
    version=7,
    manifest_sha256="0" * 64,
    variant="tflite-int8",
    engine="litert",
    environment="abc",
    threads=4,
    device="raspberry-pi-5",
    max_latency_ms=1000,
    max_memory_mb=None,
    start_seconds=120,
    watchdog_seconds=60,
)
