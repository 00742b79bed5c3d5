"""What a deploy will do: everything is decided and gathered before the device is changed."""

import threading
from collections.abc import Mapping
from dataclasses import dataclass, replace
from hashlib import sha256
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
from edge.device.admission import check_board, shipped
from edge.device.layout import App
from edge.device.release import LiveSettings, Release
from edge.errors import NegativeVerdict, SignatureError, UsageError
from edge.progress import Progress
from edge.runtime.bundle import Bundle
from edge.runtime.contract import canonical_json
from edge.runtime.files import sha256_file
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
        variant: The model file of the bundle.
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


LIVE_COMMAND: Final = "runtime/edge/runtime/commands/live.py"  # of a bundle
_GATHERING: Final = threading.Lock()  # a fleet needs the same wheels for most of its devices


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
    draft = _draft(bundle, board, options)
    with progress.stage("gather the wheels"), _GATHERING:
        wheels = environment(
            draft.engine,
            Platform.of(facts),
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
        findings=judged if options.allow_downgrade else (*judged, *refusals(facts)),
        options=options,
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
    if options.live is not None and LIVE_COMMAND not in bundle.manifest.files:
        raise UsageError(
            "the bundle's own runtime has no live page: an earlier edge built it",
            hint="Build or export it again, and sign it; or leave out --live.",
        )
    variant = bundle.manifest.variant(options.variant or best_variant(bundle.manifest, board))
    engine = options.engine or _engine(variant.format, board)
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


def best_variant(manifest: Manifest, board: Profile) -> str:
    """Return the board's variant where the bundle has it as accurate as its own default one."""
    default = manifest.variant()
    for variant in manifest.variants:
        if variant.name == board.variant and _as_accurate(variant, default):
            return variant.name
    return default.name


def _as_accurate(variant: Variant, default: Variant) -> bool:
    """Apply the rule that chooses the default: a point of top-1, or of the task's own metric.

    Without labels or annotations, three points of agreement.
    """
    for own, other in ((variant.top1, default.top1), (variant.score, default.score)):
        if own is not None and other is not None:
            return own >= other - 0.01
    return variant.agreement is None or variant.agreement >= 0.97


def _engine(format_: str, board: Profile) -> str:
    if ENGINES[board.engine].format == format_:
        return board.engine
    return next(name for name, engine in ENGINES.items() if engine.format == format_)


def named(release: Release) -> Release:
    """Give a release its id: the version, and a hash of all that makes it behave as it does."""
    settings = release.to_json() | {"id": ""}
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
