"""What a user can say about a deploy."""

from dataclasses import dataclass
from pathlib import Path

from edge.deploy.keys import PublicKey


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What a user can say about a deploy; None leaves it to the device's profile.

    Attributes:
        key: Public; the bundle is signed with its other half.
        device: Id of a profile; None to go by what the device says of itself.
        app: Name of the application; None for the bundle's.
        variant: Of the bundle.
        engine: Interpreter.
        threads: CPU threads of one inference.
        max_latency_ms: Of the self-test.
        max_memory_mb: Of the self-test.
        watch_seconds: After the first healthy answer, before the release is committed.
        selftest_seconds: After which the self-test counts as hanging.
        start_seconds: From the start of the service to its first healthy answer.
        watchdog_seconds: Without a sign of life, after which systemd restarts the service.
        keep: Old releases that stay on the device.
        allow_downgrade: An older bundle may replace a newer one.
        provision: Set the device up anew: key and type.
        cache: Where wheels are kept; None for the default.
        offline: Fetch nothing from a package index.
    """

    key: PublicKey
    device: str | None = None
    app: str | None = None
    variant: str | None = None
    engine: str | None = None
    threads: int | None = None
    max_latency_ms: float | None = None
    max_memory_mb: float | None = None
    watch_seconds: float = 10.0
    selftest_seconds: float = 120.0
    start_seconds: int = 120
    watchdog_seconds: int = 60
    keep: int = 1
    allow_downgrade: bool = False
    provision: bool = False
    cache: Path | None = None
    offline: bool = False
