"""What a deploy will do: everything is decided and gathered before the device is changed."""

import math
import threading
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from hashlib import scrypt, sha256
from pathlib import Path
from typing import Any, Final

from devices.profile import Profile, profile
from edge.cache import default_cache
from edge.deploy.facts import Facts, gather
from edge.deploy.findings import Finding, findings, guess_profile, refusals
from edge.deploy.keys import PublicKey
from edge.deploy.signing import verify
from edge.deploy.ssh import Remote
from edge.deploy.wheelhouse import Environment, Platform, environment
from edge.deploy.wheelhouse.lock import MQTT
from edge.device.admission import check_board, shipped
from edge.device.layout import App
from edge.device.release import LiveSettings, Release
from edge.errors import BundleError, NegativeVerdict, SignatureError, UsageError
from edge.progress import Progress
from edge.runtime.bundle import Bundle
from edge.runtime.cameras.camera import read_size
from edge.runtime.contract import canonical_json
from edge.runtime.files import sha256_file
from edge.runtime.live.settings import check_smoothing, checked_broker
from edge.runtime.seal import altered
from edge.runtime.session import ENGINES
from edge.runtime.spec import Manifest, Variant


@dataclass(frozen=True, slots=True, kw_only=True)
class DeployOptions:
    """What a user can say about a deploy; None leaves it to the device's profile.

    Attributes:
        key: Public; the bundle is signed with its other half.
        watch_seconds: The time from the first healthy answer to the commit of the release.
        selftest_seconds: The time after which the self-test counts as hanging.
        start_seconds: The longest time from the service's start to its first healthy answer.
        watchdog_seconds: The time without a sign of life after which systemd restarts it.
        keep: The number of old releases that stay on the device.
        device: Id of a profile; None to go by what the device says of itself.
        app: Name of the application; None for the bundle's.
        variant: The model file of the bundle; ``FASTEST`` for the best one of those that are as
            accurate as the default one, by times that are measured there.
        engine: The interpreter.
        threads: CPU threads of one inference.
        max_latency_ms: The largest median inference of the self-test.
        max_memory_mb: The largest resident memory of the self-test.
        allow_downgrade: Whether an older bundle may replace a newer one.
        provision: Whether the device is set up anew: its key and its type.
        cache: Where wheels are kept; None for the default.
        offline: Whether nothing is fetched from a package index.
        live: The camera and the page; None for a folder of pictures.
    """

    key: PublicKey
    watch_seconds: float
    selftest_seconds: float
    start_seconds: int
    watchdog_seconds: int
    keep: int
    device: str | None = None
    app: str | None = None
    variant: str | None = None
    engine: str | None = None
    threads: int | None = None
    max_latency_ms: float | None = None
    max_memory_mb: float | None = None
    allow_downgrade: bool = False
    provision: bool = False
    cache: Path | None = None
    offline: bool = False
    live: LiveSettings | None = None


# What a user may say of a camera and its page: an option of the command, a field of an inventory.
LIVE_CHOICES: Final[tuple[str, ...]] = ("camera", "live_port", "size", "rate", "smoothing", "mqtt")
LIVE_COMMAND: Final = "runtime/edge/runtime/commands/live.py"  # of a bundle
GATHERING: Final = threading.Lock()  # a fleet needs the same wheels for most of its devices


def chosen_live(settings: LiveSettings, given: Mapping[str, Any]) -> LiveSettings:
    """Return settings of a page with what a user says of them.

    Args:
        settings: What holds where nothing is said.
        given: Values by name of ``LIVE_CHOICES``, as they are written: a size as ``640x480``, a
            broker as its address, whose password may stand in the environment.

    Raises:
        UsageError: A value cannot be.
    """
    fields = {"live_port": "port"}
    own = {fields.get(name, name): value for name, value in given.items()}
    if "size" in own:
        own["width"], own["height"] = read_size(own.pop("size")) or (0, 0)  # refused below
    if "rate" in own:
        own["rate"] = float(own["rate"])  # 5 and 5.0 are one release
    if "mqtt" in own:
        own["mqtt"] = checked_broker(own["mqtt"])
    chosen = replace(settings, **own)
    try:
        chosen.check()
    except BundleError as error:
        hint = "Such as: --live --camera 0 --size 640x480 --rate 10"
        raise UsageError(error.message, hint=hint) from error
    return chosen


FASTEST: Final = "fastest"  # in the place of a variant's name


@dataclass(frozen=True, slots=True, kw_only=True)
class TimedVariant:
    """A variant that was timed on the device before the plan was made.

    Attributes:
        name: The name of the variant.
        median_ms: The median of one inference there.
        ratio: Its time over that of the variant that is deployed, timed in turn.
        interval: The low and the high end of the ratio, 95 %.
    """

    name: str
    median_ms: float
    ratio: float
    interval: tuple[float, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class DeployPlan:
    """A deploy that can be carried out.

    Attributes:
        app: The name of the application on the device.
        bundle: The bundle, checked and signed.
        release: How it will run there.
        files: What the device needs of the bundle: sha256 and bytes, by path.
        environment: The unpacked wheels.
        facts: What the device says of itself.
        profile: The profile of the device.
        findings: What is worth knowing; what forbids the deploy is what the device itself refuses.
        options: What the user asked for.
        variant_reason: Why it is that model file, and where its speed was measured.
        timed: The variants that were timed on the device; none unless that was asked for.
    """

    app: str
    bundle: Bundle
    release: Release
    files: Mapping[str, tuple[str, int]]
    environment: Environment
    facts: Facts
    profile: Profile
    findings: tuple[Finding, ...]
    options: DeployOptions
    variant_reason: str = ""
    timed: tuple[TimedVariant, ...] = ()

    @property
    def bundle_bytes(self) -> int:
        """The size of the files that the device needs."""
        return sum(size for _, size in self.files.values())

    @property
    def environment_bytes(self) -> int:
        """The size of the unpacked wheels."""
        return sum(size for _, size in self.environment.files.values())

    def to_json(self) -> dict[str, Any]:
        """Return the plan as JSON values, for ``--dry-run --json``."""
        return {
            "app": self.app,
            "device": self.profile.id,
            "release": self.release.shown().to_json(),
            "variant_reason": self.variant_reason,
            "timed": [asdict(item) for item in self.timed],
            "files": len(self.files),
            "bundle_bytes": self.bundle_bytes,
            "environment": {
                "id": self.environment.id,
                "packages": dict(self.environment.packages),
                "bytes": self.environment_bytes,
            },
            "findings": [finding.to_json() for finding in self.findings],
        }


def checked_bundle(path: Path, key: PublicKey) -> Bundle:
    """Read a bundle that is whole and signed; what the device would refuse is refused here.

    Raises:
        UsageError: There is none, or no golden self-test in it.
        BundleAltered: It is not what was built, or what was signed.
        SignatureError: Not signed, or not with that key.
    """
    verified = verify(path, key)
    if verified.refusal is not None:
        raise verified.refusal
    bundle = Bundle.read(path)
    if bundle.digest != verified.digest:
        raise altered("the manifest changed while it was checked", signed=True)
    if "golden/golden.json" not in bundle.manifest.files:
        raise UsageError(
            f"{path} has no golden self-test: nothing shows a device that it answers rightly",
            hint="Build or export it again; finished stages are in the cache.",
        )
    return bundle


def make_plan(
    bundle: Bundle, remote: Remote, options: DeployOptions, progress: Progress
) -> DeployPlan:
    """Look at the device, decide, and gather the wheels; the device is not changed.

    Raises:
        NegativeVerdict: The device cannot take it; the message says what stands in the way.
        ReleaseRefused: The bundle was signed for other boards.
        UsageError: An option that cannot be.
    """
    with progress.stage("look at the device"):
        facts = gather(remote)
    board = profile(options.device) if options.device else guess_profile(facts)
    judged = findings(facts, board, options.live)
    wrong = [finding for finding in judged if finding.level == "error"]
    if wrong:
        raise NegativeVerdict(
            f"{remote.address.host} cannot take a deploy: "
            + "; ".join(f"{finding.about}: {finding.found}" for finding in wrong),
            hint=wrong[0].hint,
        )
    return _plan(
        bundle,
        facts,
        board,
        judged if options.allow_downgrade else (*judged, *refusals(facts)),
        options,
        _reason(bundle, board, options.variant, remote.address.host),
        progress,
    )


def with_variant(
    plan: DeployPlan,
    variant: str,
    reason: str,
    timed: tuple[TimedVariant, ...],
    progress: Progress,
) -> DeployPlan:
    """Return the plan with another model file, and the wheels that it needs.

    Args:
        plan: The plan.
        variant: The name of the model file.
        reason: Why it is that one.
        timed: What was measured for it.
        progress: Told of the wheels.
    """
    options = replace(plan.options, variant=variant)
    made = _plan(plan.bundle, plan.facts, plan.profile, plan.findings, options, reason, progress)
    return replace(made, timed=timed)


def _plan(
    bundle: Bundle,
    facts: Facts,
    board: Profile,
    found: tuple[Finding, ...],
    options: DeployOptions,
    reason: str,
    progress: Progress,
) -> DeployPlan:
    """Decide for a device that was looked at, and gather the wheels."""
    draft = _draft(bundle, board, options)
    with progress.stage("gather the wheels"), GATHERING:
        wheels = environment(
            draft.engine,
            Platform.of(facts),
            extras=() if draft.live is None or draft.live.mqtt is None else (MQTT,),
            cache=options.cache or default_cache(),
            offline=options.offline,
        )
    release = named(replace(draft, environment=wheels.id))
    return DeployPlan(
        app=App.named(options.app or app_name(bundle.manifest.name)).name,
        bundle=bundle,
        release=release,
        files=_files(bundle, release.variant),
        environment=wheels,
        facts=facts,
        profile=board,
        findings=found,
        options=options,
        variant_reason=reason,
    )


def _reason(bundle: Bundle, board: Profile, named: str | None, device: str) -> str:
    """Say why that model file is deployed; no time of another variant is known of the device."""
    if named is not None:
        return "as stated [--variant]"
    _, why = best_variant(bundle.manifest, board)
    return (
        f"{why}; times were measured where the bundle was made, and not there: --variant {FASTEST} "
        f"measures there first, edge remote-benchmark {device} {bundle.path} measures every "
        "variant, and --variant names another one"
    )


def _draft(bundle: Bundle, board: Profile, options: DeployOptions) -> Release:
    """Return the release but for its environment and its id."""
    if board.budget is None:
        raise UsageError(
            f"{board.name} runs no Python: there is nothing to deploy to",
            hint="edge devices lists the boards.",
        )
    signed = bundle.manifest.release
    if signed is None:
        raise SignatureError("the manifest states no version", hint="Sign it with: edge sign")
    check_board(signed, board.id)  # as the device will, but before anything is sent
    if options.live is not None:
        _check_live(bundle.manifest, options.live)
    chosen, _ = best_variant(bundle.manifest, board)
    variant = bundle.manifest.variant(options.variant or chosen)
    engine = options.engine or engine_of(variant.format, board)
    if ENGINES[engine].format != variant.format:
        raise UsageError(f"{engine} does not run {variant.name}: it is a .{variant.format} file")
    latency, memory = options.max_latency_ms, options.max_memory_mb
    return Release(
        id="draft",
        name=bundle.manifest.name,
        version=signed.version,
        manifest_sha256=bundle.digest,
        variant=variant.name,
        engine=engine,
        environment="draft",
        threads=options.threads or board.threads,
        device=board.id,
        max_latency_ms=board.budget.latency_seconds * 1e3 if latency is None else latency,
        max_memory_mb=board.budget.memory_bytes / 1e6 if memory is None else memory,
        start_seconds=options.start_seconds,
        watchdog_seconds=options.watchdog_seconds,
        live=options.live,
    )


def _check_live(manifest: Manifest, live: LiveSettings) -> None:
    """Refuse a page that the bundle's own runtime would not start."""
    if LIVE_COMMAND not in manifest.files:
        raise UsageError(
            "the bundle's own runtime has no live page: an earlier edge built it",
            hint="Build or export it again, and sign it; or leave out --live.",
        )
    check_smoothing(live.smoothing, classifier=manifest.decoder is None)


SLOWER: Final = 1.1  # times as long: single medians of two files differ by less from noise alone


def best_variant(manifest: Manifest, board: Profile) -> tuple[str, str]:
    """Return the variant to deploy, and why.

    It is the board's variant where the bundle has it as accurate as its own default one, and not
    slower than the float file of the same format where the bundle was made: what an interpreter
    has no fast integer kernel for is slow on every CPU. Else it is the bundle's default, or, if
    the board's interpreter does not run that, the fastest file that it runs.
    """
    default = manifest.variant()
    format_ = ENGINES[board.engine].format
    fit = [v for v in manifest.variants if v.format == format_ and _as_accurate(v, default)]
    own = next((variant for variant in fit if variant.name == board.variant), None)
    slow = "" if own is None else _slow(own, manifest)
    if own is not None and not slow:
        return own.name, f"{own.name} is the variant of the profile {board.id}"
    passed = f", since {slow}" if slow else ""
    if default.format == format_ or not fit:
        return default.name, f"{default.name} is the bundle's default{passed}"
    first = min(fit, key=lambda variant: variant.latency_ms or math.inf)
    return first.name, f"{first.name} is the fastest file for {board.engine}{passed}"


def as_accurate(manifest: Manifest, engine: str | None = None) -> tuple[Variant, ...]:
    """Return the default variant and those that are as accurate, in the order of the manifest.

    Args:
        manifest: The manifest of the bundle.
        engine: The only interpreter that there is; None for whatever a format needs.

    Raises:
        UsageError: That interpreter runs none of them.
    """
    default = manifest.variant()
    fit = tuple(
        item
        for item in manifest.variants
        if (item == default or _as_accurate(item, default))
        and engine in (None, *(name for name in ENGINES if ENGINES[name].format == item.format))
    )
    if not fit:
        raise UsageError(
            f"{engine} runs no variant that is as accurate as {default.name}",
            hint="Leave out --engine, or name a variant.",
        )
    return fit


def _slow(variant: Variant, manifest: Manifest) -> str:
    """Say that a file takes longer than the float file of its format; "" if it does not."""
    name = f"{variant.format}-fp32"
    floats = next((item for item in manifest.variants if item.name == name), None)
    if floats is None or not floats.latency_ms or not variant.latency_ms:
        return ""
    ratio = variant.latency_ms / floats.latency_ms
    return f"{variant.name} took {ratio:.1f} times as long as {name}" if ratio > SLOWER else ""


def _as_accurate(variant: Variant, default: Variant) -> bool:
    """Apply the rule that chooses the default: a point of top-1, or of the task's own metric.

    Without labels or annotations, three points of agreement.
    """
    for own, other in ((variant.top1, default.top1), (variant.score, default.score)):
        if own is not None and other is not None:
            return own >= other - 0.01
    return variant.agreement is None or variant.agreement >= 0.97


def engine_of(format_: str, board: Profile) -> str:
    """Return the interpreter of a board for a format: its own, or the first that runs it."""
    if ENGINES[board.engine].format == format_:
        return board.engine
    return next(name for name, engine in ENGINES.items() if engine.format == format_)


def named(release: Release) -> Release:
    """Give a release its id: the version, and a hash of all that makes it behave as it does."""
    settings = release.to_json() | {"id": ""}
    broker = None if release.live is None else release.live.mqtt
    if broker is not None and broker.password is not None:
        # The id is there for all to see: who guesses passwords by it needs long for each.
        salt = release.manifest_sha256.encode()
        proof = scrypt(broker.password.encode(), salt=salt, n=1 << 14, r=8, p=1)
        settings["live"]["mqtt"]["password"] = proof.hex()
    digest = sha256(canonical_json(settings).encode()).hexdigest()[:10]
    return replace(release, id=f"{release.version}-{digest}")


def app_name(name: str) -> str:
    """Return a bundle's name as the name of an application."""
    text = "".join(letter if letter.isascii() and letter.isalnum() else "-" for letter in name)
    return "-".join(part for part in text.lower().split("-") if part)[:32].rstrip("-") or "bundle"


def _files(bundle: Bundle, variant: str) -> dict[str, tuple[str, int]]:
    listed = {}
    for path in shipped(bundle.manifest, variant):
        place = bundle.path / path
        # What the manifest lists was hashed when the bundle was checked, once for a whole fleet.
        digest = bundle.manifest.files.get(path) or sha256_file(place)
        listed[path] = digest, place.stat().st_size
    return listed
