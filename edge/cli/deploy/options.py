"""Options of the commands that talk to devices."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from edge.cli import options as shared
from edge.errors import UsageError
from edge.runtime.live.settings import MOST_SMOOTHING
from edge.runtime.numbers import MOST_THREADS

if TYPE_CHECKING:
    from edge.deploy.plan import DeployOptions
    from edge.deploy.ssh import Address
    from edge.device.release import LiveSettings

# What a deploy does unless it is told otherwise.
WATCH_SECONDS: Final = 10.0
SELFTEST_SECONDS: Final = 120.0
START_SECONDS: Final = 120
WATCHDOG_SECONDS: Final = 60
KEPT_RELEASES: Final = 1

Host = Annotated[
    str,
    typer.Argument(
        metavar="[USER@]HOST",
        help="The device, as ssh takes it: a name, an address, or an alias of your configuration.",
        show_default=False,
    ),
]
Port = Annotated[
    int | None,
    typer.Option(help="Port of ssh.  \\[default: that of your configuration]", min=1, max=65535),
]
SshConfig = Annotated[
    Path | None,
    typer.Option(
        help="Configuration file of ssh to use instead of your own.",
        show_default=False,
        metavar="FILE",
    ),
]
AcceptNewHostKey = Annotated[
    bool,
    typer.Option(
        "--accept-new-host-key",
        help="Trust a device that was never seen before. A changed key is always refused.",
    ),
]
App = Annotated[
    str | None,
    typer.Option(
        help="Name of the application on the device.  \\[default: the only one there]",
        show_default=False,
    ),
]
Watch = Annotated[
    float,
    typer.Option(
        help="Time for which the release has to be healthy before it is kept, in seconds.", min=0
    ),
]
SelftestTimeout = Annotated[
    float, typer.Option(help="Time after which a self-test counts as hanging, in seconds.", min=1)
]
Offline = Annotated[bool, typer.Option("--offline", help="Take wheels from the cache only.")]


Key = Annotated[
    Path | None,
    typer.Option(
        "--key",
        help="File of the private key.  \\[default: ~/.config/edge/keys/edge]",
        show_default=False,
    ),
]


Bundle = Annotated[Path, typer.Argument(help="A signed bundle.", show_default=False)]
Device = Annotated[
    str | None,
    typer.Option(
        help="The device's profile; edge devices lists them.  \\[default: what the device says of "
        "itself]",
        show_default=False,
    ),
]
DryRun = Annotated[
    bool,
    typer.Option("--dry-run", help="Look, decide, and say what would be done; change nothing."),
]
AppName = Annotated[
    str | None,
    typer.Option(
        "--app",
        help="Name of the application on the device.  \\[default: the bundle's]",
        show_default=False,
    ),
]
Variant = Annotated[
    str | None,
    typer.Option(
        help="Variant of the bundle that runs there; fastest times those there that are as "
        "accurate as its default, and takes the best.  \\[default: the profile's]",
        show_default=False,
    ),
]
Engine = Annotated[
    str | None,
    typer.Option(
        help="Interpreter that runs it there.  \\[default: the profile's]", show_default=False
    ),
]
Threads = Annotated[
    int | None,
    typer.Option(
        help="CPU threads of one inference.  \\[default: the profile's]",
        min=1,
        max=MOST_THREADS,
        show_default=False,
    ),
]
MaxLatency = Annotated[
    float | None,
    typer.Option(
        help="Highest median time of an inference in the self-test, in milliseconds.  "
        "\\[default: the profile's]",
        min=0.001,
        show_default=False,
    ),
]
MaxMemory = Annotated[
    float | None,
    typer.Option(
        help="Highest resident memory in the self-test, in megabytes.  \\[default: the profile's]",
        min=1,
        show_default=False,
    ),
]
StartTimeout = Annotated[
    int, typer.Option(help="Time until the service has to be ready, in seconds.", min=1)
]
Watchdog = Annotated[
    int,
    typer.Option(help="Silence after which systemd restarts the service, in seconds.", min=1),
]
Keep = Annotated[int, typer.Option(help="Number of old releases that stay on the device.", min=0)]
AllowDowngrade = Annotated[
    bool, typer.Option("--allow-downgrade", help="Let an older bundle replace a newer one.")
]
Provision = Annotated[
    bool,
    typer.Option(
        "--provision", help="Set the device up anew: the key that it trusts, and its type."
    ),
]

LIVE_PANEL: Final = "Camera and page"  # of --help
Live = Annotated[
    bool,
    typer.Option(
        "--live",
        help="Let the release watch a camera and show a page, instead of a folder of pictures.",
        rich_help_panel=LIVE_PANEL,
    ),
]
Camera = Annotated[
    str | None,
    typer.Option(
        help="Camera of the device: 0, /dev/video0, csi, rtsp://..., or a folder there.  "
        "\\[default: the first camera]",
        show_default=False,
        rich_help_panel=LIVE_PANEL,
    ),
]
LivePort = Annotated[
    int | None,
    typer.Option(
        help="Port of the page on the device, for the device itself alone.  \\[default: 8080]",
        min=1,
        max=65535,
        show_default=False,
        rich_help_panel=LIVE_PANEL,
    ),
]
CameraSize = Annotated[
    str | None,
    typer.Option(
        "--size",
        help="Size that is asked of the camera, in pixels.  \\[default: 640x480]",
        metavar="WIDTHxHEIGHT",
        show_default=False,
        rich_help_panel=LIVE_PANEL,
    ),
]
CameraRate = Annotated[
    float | None,
    typer.Option(
        "--rate",
        help="Frames a second that are asked of the camera.  \\[default: 10]",
        show_default=False,
        rich_help_panel=LIVE_PANEL,
    ),
]
Smoothing = Annotated[
    int | None,
    typer.Option(
        help="Number of frames whose probabilities are averaged; 1 for none.  \\[default: 1]",
        metavar="FRAMES",
        min=1,
        max=MOST_SMOOTHING,
        show_default=False,
        rich_help_panel=LIVE_PANEL,
    ),
]
Mqtt = Annotated[
    str | None,
    typer.Option(
        help="Let the device send answers to this broker, such as mqtt://user@host:1883 or "
        "mqtts://...; EDGE_MQTT_PASSWORD here holds the password.",
        metavar="URL",
        show_default=False,
        rich_help_panel=LIVE_PANEL,
    ),
]


@dataclass(frozen=True, slots=True, kw_only=True)
class DeployFlags:
    """The options of a deploy, to one device or to many; ``spread`` makes options of the fields."""

    device: Device = None
    ssh_config: SshConfig = None
    accept_new_host_key: AcceptNewHostKey = False
    dry_run: DryRun = False
    app: AppName = None
    variant: Variant = None
    engine: Engine = None
    threads: Threads = None
    max_latency: MaxLatency = None
    max_memory: MaxMemory = None
    watch: Watch = WATCH_SECONDS
    selftest_timeout: SelftestTimeout = SELFTEST_SECONDS
    start_timeout: StartTimeout = START_SECONDS
    watchdog: Watchdog = WATCHDOG_SECONDS
    keep: Keep = KEPT_RELEASES
    allow_downgrade: AllowDowngrade = False
    provision: Provision = False
    live: Live = False
    camera: Camera = None
    live_port: LivePort = None
    size: CameraSize = None
    rate: CameraRate = None
    smoothing: Smoothing = None
    mqtt: Mqtt = None
    key: Key = None
    offline: Offline = False
    cache: shared.Cache = None
    json: shared.Json = False
    quiet: shared.Quiet = False

    def options(self, bundle: Path) -> "DeployOptions":
        """Return what the deploy of a bundle is told.

        Raises:
            BundleError: The bundle was altered.
            UsageError: There is no such key, or an option of the camera cannot be.
        """
        from edge.deploy.keys import default_key, public_key
        from edge.deploy.plan import DeployOptions
        from edge.deploy.signing import refuse_altered

        live = self._live()
        refuse_altered(bundle)  # first: nobody needs a key for a bundle that must not be deployed
        return DeployOptions(
            key=public_key(self.key or default_key()),
            device=self.device,
            app=self.app,
            variant=self.variant,
            engine=self.engine,
            threads=self.threads,
            max_latency_ms=self.max_latency,
            max_memory_mb=self.max_memory,
            watch_seconds=self.watch,
            selftest_seconds=self.selftest_timeout,
            start_seconds=self.start_timeout,
            watchdog_seconds=self.watchdog,
            keep=self.keep,
            allow_downgrade=self.allow_downgrade,
            provision=self.provision,
            cache=shared.cache_root(self.cache),
            offline=self.offline,
            live=live,
        )

    def _live(self) -> "LiveSettings | None":
        """Return the camera and the page; None where none is asked for.

        Raises:
            UsageError: A value cannot be, or an option would have no effect.
        """
        from edge.deploy.plan import LIVE_CHOICES, chosen_live
        from edge.device.release import LiveSettings

        given = {name: getattr(self, name) for name in LIVE_CHOICES}
        given = {name: value for name, value in given.items() if value is not None}
        if self.live:
            return chosen_live(LiveSettings(), given)
        for name in given:
            raise UsageError(
                f"--{name.replace('_', '-')} has no effect without --live",
                hint="Add --live, or leave it out.",
            )
        return None


def page_of(live: "LiveSettings") -> str:
    """Say which camera the page of a release shows, where it is, and what else is done there."""
    from edge.runtime.cameras.camera import shown_address

    camera = "the first camera" if live.camera is None else f"camera {shown_address(live.camera)}"
    page = f"page of {camera} at port {live.port} of the device itself"
    if live.smoothing > 1:
        page += f", each answer the mean of {live.smoothing} frames"
    return page if live.mqtt is None else f"{page}; answers go to {live.mqtt.url}"


def address(
    host: str, port: int | None, ssh_config: Path | None, accept_new_host_key: bool
) -> "Address":
    """Return where the device is; see ``Address.parse``."""
    from edge.deploy.ssh import Address

    return Address.parse(
        host, port=port, ssh_config=ssh_config, accept_new_host_key=accept_new_host_key
    )
