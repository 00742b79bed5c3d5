"""``edge deploy``."""

from typing import TYPE_CHECKING

from edge.cli.deploy import options as hosts
from edge.cli.help import example, spread
from edge.cli.output import print_folded
from edge.runtime.streams import say

if TYPE_CHECKING:
    from edge.deploy.deploy import Outcome
    from edge.deploy.plan import DeployPlan
    from edge.device.messages import SelftestReport


@example("edge deploy bundle pi@raspberrypi.local --device raspberry-pi-5")
@spread
def deploy(
    bundle: hosts.Bundle, host: hosts.Host, *, port: hosts.Port = None, flags: hosts.DeployFlags
) -> None:
    """Bring a bundle to a device: it goes live when it has proved itself there, or not at all.

    Wheels for exactly that board are sent along, so that it needs no internet. The release runs its
    golden self-test beside the one that serves; then it is switched to, started and watched. After
    any failure the previous release serves again.
    """
    from edge.cli.output import print_json
    from edge.cli.terminal import shown_progress
    from edge.deploy.deploy import deploy as run
    from edge.deploy.plan import checked_bundle
    from edge.deploy.remote_benchmark import planned
    from edge.deploy.ssh import Remote

    options = flags.options(bundle)
    where = hosts.address(host, port, flags.ssh_config, flags.accept_new_host_key)
    progress = shown_progress(quiet=flags.quiet)
    checked = checked_bundle(bundle, options.key)
    with Remote(where) as remote:
        plan = planned(checked, remote, options, progress, dry_run=flags.dry_run)
        for finding in plan.findings:
            if finding.level != "ok":
                progress.note(f"{finding.about}: {finding.found}")
        if flags.dry_run:
            if flags.json:
                print_json({"schema_version": 1, **plan.to_json()})
            else:
                _print_plan(plan, where.host)
            return
        outcome = run(remote, plan, progress)
    if flags.json:
        print_json({"schema_version": 1, **outcome.to_json()})
        return
    if not outcome.changed:
        say(f"{where.host}: release {outcome.release} serves already, and is healthy")
    else:
        _print_outcome(outcome, plan, where.words)
    say(f"Next: edge status {where.words}")


def _print_plan(plan: "DeployPlan", host: str) -> None:
    release = plan.release
    packages = ", ".join(f"{name} {version}" for name, version in plan.environment.packages.items())
    say(f"{host}: {plan.profile.name}; nothing was changed there. A deploy would")
    say(f"  send at most {plan.bundle_bytes / 1e6:.1f} MB of the bundle, {len(plan.files)} files")
    say(f"  send at most {plan.environment_bytes / 1e6:.1f} MB of wheels: {packages}")
    say(f"  install {plan.app} {release.id}: {release.variant} with {release.engine},")
    say(f"    CPU threads: {release.threads}")
    print_folded(f"    {plan.variant_reason}")
    if release.live is not None:
        say(f"    {hosts.page_of(release.live)}")
    say("  test it: the golden pictures, and at most")
    say(f"    {release.max_latency_ms:g} ms a picture, {release.max_memory_mb:g} MB")
    say(f"  switch, start, watch for {plan.options.watch_seconds:g} s, commit")


def _print_outcome(outcome: "Outcome", plan: "DeployPlan", words: str) -> None:
    release = plan.release
    say(f"{outcome.host}: {outcome.app} {outcome.release} serves")
    say(f"  {release.variant}, {release.engine}, CPU threads: {release.threads}")
    print_folded(f"  {plan.variant_reason}")
    say(f"  as {plan.profile.id}: {plan.profile.name}")
    say(f"  sent {outcome.sent_bytes / 1e6:.1f} MB")
    if outcome.selftest is not None:
        say(f"  self-test there: {_tested(outcome.selftest.read())}")
    seconds = None if outcome.health is None else outcome.health.seconds
    if seconds is not None:
        say(f"  healthy: one inference {seconds * 1e3:.1f} ms, measured there")
    if release.live is not None:
        say(f"  {hosts.page_of(release.live)}; open it with: edge live {words}")


def _tested(report: "SelftestReport") -> str:
    """Say what the golden self-test measured on the device."""
    worst = max((image.worst for image in report.images), default=0.0)
    unit = "" if report.unit == "absolute" else f" {report.unit}"
    return (
        f"{len(report.images)} golden pictures, at most {worst:.2g}{unit} from the building "
        f"host's answers; {report.latency_seconds * 1e3:.1f} ms an inference, "
        f"{report.peak_memory_bytes / 1e6:.0f} MB"
    )
