"""``release.json``: a bundle, and how it is to run on this device."""

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any, Final, Self

from edge.device.layout import BUNDLE, RELEASE_FILE, App, checked_id, environments
from edge.errors import BundleError, DeviceError, UsageError, cause_of
from edge.runtime import checked
from edge.runtime.cameras.camera import LEAST_RATE, MOST_RATE, MOST_SIDE, shown_address
from edge.runtime.files import write_bytes
from edge.runtime.live.settings import MOST_SMOOTHING, PASSWORD, Broker
from edge.runtime.seal import PROVED
from edge.runtime.typed import Mistyped, typed

LIVE_PORT: Final = 8080  # where edge live of a host looks first
_LONGEST_ADDRESS: Final = 2000  # characters
_LATER: Final = ("smoothing", "mqtt")  # fields that the first settings of a page did not have


@dataclass(frozen=True, slots=True, kw_only=True)
class LiveSettings:
    """A camera, and the page that shows it.

    Attributes:
        camera: The address of the camera, as ``edge.runtime.cameras`` takes it; None for the first
            one that is found.
        width: Pixels, asked of the camera.
        height: Pixels, asked of the camera.
        rate: Frames a second, asked of the camera.
        port: Where the page is, on the loopback address of the device alone.
        smoothing: Frames whose probabilities are averaged; 1 for none.
        mqtt: The broker that answers are sent to, with its password; None for none.
    """

    camera: str | None = None
    width: int = 640
    height: int = 480
    rate: float = 10.0
    port: int = LIVE_PORT
    smoothing: int = 1
    mqtt: Broker | None = None

    def shown(self) -> Self:
        """Return them as they may be shown: without the passwords of the camera and the broker."""
        return replace(
            self,
            camera=None if self.camera is None else shown_address(self.camera),
            mqtt=None if self.mqtt is None else self.mqtt.shown(),
        )

    def check(self) -> None:
        """Refuse what no service could start with.

        Raises:
            BundleError: The address of the camera or of the broker, or a number, cannot be.
        """
        address = "0" if self.camera is None else self.camera
        if not 0 < len(address) <= _LONGEST_ADDRESS or not address.isprintable():
            raise BundleError("the address of the camera is empty, too long or not text")
        sides = (self.width, self.height)
        if min(sides) < 1 or max(sides) > MOST_SIDE:
            raise BundleError(f"a side of the camera is not from 1 to {MOST_SIDE} pixels")
        if not LEAST_RATE <= self.rate <= MOST_RATE:
            raise BundleError(
                f"the rate of the camera is not from {LEAST_RATE:g} to {MOST_RATE:g} a second"
            )
        if not 0 < self.port < 1 << 16:
            raise BundleError(f"{self.port} is no port for the page")
        if not 0 < self.smoothing <= MOST_SMOOTHING:
            raise BundleError(f"the frames of an average are not from 1 to {MOST_SMOOTHING}")
        if self.mqtt is not None and not _can_be_told(self.mqtt):
            raise BundleError("the address or the password of the MQTT broker cannot be used")

    def options(self) -> list[str]:
        """Return the same as the runtime's command ``live`` takes it."""
        words = ["--listen", f"127.0.0.1:{self.port}", "--size", f"{self.width}x{self.height}"]
        words += ["--rate", f"{self.rate!r}"]
        words += ["--smoothing", f"{self.smoothing}"]
        # In one word each, whatever an address begins with.
        words += [] if self.camera is None else [f"--camera={self.camera}"]
        return words if self.mqtt is None else [*words, f"--mqtt={self.mqtt.url}"]

    def environ(self) -> Mapping[str, str]:
        """Return what the command takes from its environment, since others see its options."""
        if self.mqtt is None or self.mqtt.password is None:
            return {}
        return {PASSWORD: self.mqtt.password}


def _can_be_told(broker: Broker) -> bool:
    """Return whether a service could be told of a broker: as a URL, and a password beside it."""
    password = broker.password or ""
    if broker.user is None and broker.password is not None:
        return False
    try:
        size = max(len(broker.url), len(password.encode()))
        told = Broker.parse(broker.url)
    except (UsageError, UnicodeError):
        return False
    return told == broker.shown() and size <= _LONGEST_ADDRESS and "\0" not in password


@dataclass(frozen=True, slots=True, kw_only=True)
class Release:
    """One release of an application.

    Attributes:
        id: The name of its folder, which says which bundle and which settings it is.
        name: The name of the bundle, for people.
        version: The version of the bundle: the Unix second in which it was signed.
        manifest_sha256: The sha256 (hex) of the bundle's manifest.
        variant: The model that runs.
        engine: The interpreter that runs it, a key of ``edge.runtime.session.ENGINES``.
        environment: The id of the unpacked wheels.
        threads: CPU threads of one inference.
        device: The id of the device profile.
        max_latency_ms: The bound on the median inference of the self-test; None without one.
        max_memory_mb: The bound on the resident memory of the self-test; None without one.
        start_seconds: The longest time from the start of the service to READY.
        watchdog_seconds: The time without a sign of life after which systemd restarts it.
        live: The camera and the page; None for a folder of pictures.
    """

    id: str
    name: str
    version: int
    manifest_sha256: str
    variant: str
    engine: str
    environment: str
    threads: int
    device: str
    max_latency_ms: float | None
    max_memory_mb: float | None
    start_seconds: int
    watchdog_seconds: int
    live: LiveSettings | None = None

    def to_json(self) -> dict[str, Any]:
        """Return the fields as JSON values.

        What an older edge does not know is left out where it says nothing: that edge reads the rest
        then, and the id of a release is made of these values.
        """
        value = asdict(self)
        if self.live is None:
            del value["live"]
            return value
        for item in fields(LiveSettings):
            if item.name in _LATER and getattr(self.live, item.name) == item.default:
                del value["live"][item.name]
        return value

    def shown(self) -> Self:
        """Return it as it may be shown: without the passwords of its camera and its broker."""
        return self if self.live is None else replace(self, live=self.live.shown())

    @classmethod
    def from_json(cls, value: Any) -> Self:
        """Read what ``to_json`` wrote.

        Raises:
            BundleError: A field is missing, unknown or of another type.
        """
        try:
            release = typed(cls, value, "the description of the release", exact=True)
        except Mistyped as error:
            raise BundleError(str(error)) from error
        release.check()
        return release

    def check(self) -> None:
        """Refuse what is of the right types and still no release that could run.

        Raises:
            BundleError: A number is too small.
            UsageError: An id could lead to another folder.
        """
        counts = (self.threads, self.start_seconds, self.watchdog_seconds)
        bounds = (self.max_latency_ms, self.max_memory_mb)
        if self.version < 0 or min(counts) < 1:
            raise BundleError("a number of the release's description is too small")
        if any(bound is not None and bound <= 0 for bound in bounds):
            raise BundleError("a bound of the release's description is not above 0")
        checked_id(self.id)
        checked_id(self.environment)
        if self.live is not None:
            self.live.check()

    @classmethod
    def read(cls, app: App, release: str) -> Self:
        """Read the description of an installed release.

        Raises:
            DeviceError: It is not there.
            BundleError: It cannot be read.
        """
        path = app.releases / checked_id(release) / RELEASE_FILE
        try:
            value = checked.read_json(path, "its description")
        except FileNotFoundError:
            raise DeviceError(f"release {release} is not on this device") from None
        except (OSError, ValueError) as error:
            raise BundleError(f"{path} cannot be read: {cause_of(error)}") from error
        return cls.from_json(value)

    def folder(self, app: App) -> Path:
        """Return the folder of its bundle."""
        return app.releases / self.id / BUNDLE

    def environ(self, app: App) -> dict[str, str]:
        """Return the variables by which Python finds the bundle's own runtime and its wheels.

        Once the self-test has passed, the service need not do it again in a process of its own.
        """
        paths = (self.folder(app) / "runtime", environments() / self.environment)
        variables = {"PYTHONPATH": ":".join(map(str, paths)), "PYTHONNOUSERSITE": "1"}
        try:
            proved = self._proof(app).read_text(encoding="ascii").strip()
        except (OSError, ValueError):
            return variables
        return variables | {PROVED: proved} if proved == self.manifest_sha256 else variables

    def prove(self, app: App) -> None:
        """Remember that its self-test passed here; on a full disk it is only done again."""
        with suppress(OSError):
            write_bytes(self._proof(app), f"{self.manifest_sha256}\n".encode())

    def _proof(self, app: App) -> Path:
        return app.releases / self.id / "proved"

    def model_options(self) -> list[str]:
        """Return which model runs how, as the runtime's commands take it."""
        options = ["--variant", self.variant, "--engine", self.engine]
        return [*options, "--threads", str(self.threads)]
