"""``edge deploy`` and what follows, against a real sshd; systemd itself is in tests/device."""

import json
import os
import platform
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final

import numpy as np
import pytest

from tests.integration import device_bundles as bundles
from tests.integration.conftest import Edge, end, read_until
from tests.integration.environments import environments_root
from tests.integration.processes import wait_for
from tests.integration.site import Site
from tests.integration.sshd import LoopbackDevice

pytestmark = pytest.mark.slow

QUICK: Final = ("--watch", "0.5", "--start-timeout", "20", "--selftest-timeout", "20")
APP: Final = "channels"


@dataclass(frozen=True, slots=True)
class Loopback(Site):
    """A device on this machine, whose files can be looked at."""

    device: LoopbackDevice

    @property
    def root(self) -> Path:
        return self.device.home / ".local/share/edge"

    def answer(self, name: str, colour: tuple[int, int, int]) -> str:
        """The class that the service gives a picture of one colour in its inbox."""
        picture = self.root / "apps" / APP / "inbox" / name
        label: str = self.answered(picture, colour)["categories"][0]["label"]
        return label

    def answered(self, picture: Path, colour: tuple[int, int, int]) -> dict[str, Any]:
        """What the service says of a picture of one colour that is put there."""
        from PIL import Image

        Image.new("RGB", (40, 24), colour).save(picture)
        answer = picture.with_name(f"{picture.name}.json")
        last = time.monotonic() + 15
        while not answer.exists() and time.monotonic() < last:
            time.sleep(0.1)
        value: dict[str, Any] = json.loads(answer.read_text())
        return value


@pytest.fixture
def site(
    device: LoopbackDevice, make_edge: Callable[..., Edge], tmp_path: Path
) -> Iterator[Loopback]:
    """The wheels are kept between tests, as they are between deploys."""
    folder = tmp_path / "host"
    folder.mkdir()
    yield Loopback(make_edge(environments_root() / "wheels"), folder, device, QUICK)


def test_first_release_then_second_then_the_same(site: Loopback) -> None:
    first = site.deployed(site.bundle())
    state = site.state()
    assert state["release"] == first == state["last_good"]
    assert state["healthy"] and state["reason"] is None and not state["on_trial"]

    second = site.deployed(site.bundle(bundles.changed("2"), "second"))
    assert site.state()["release"] == second != first
    assert {path.name for path in (site.root / "apps" / APP / "releases").iterdir()} == {
        first,
        second,
    }

    again = site.deploy(site.bundle(bundles.changed("2"), "second"), "--json")
    assert again.returncode == 0
    assert not json.loads(again.stdout)["changed"]
    assert json.loads(again.stdout)["sent_bytes"] == 0


def modes(folder: Path) -> set[int]:
    """Of everything in a folder that is no link."""
    found = [folder, *folder.rglob("*")]
    return {path.stat().st_mode & 0o777 for path in found if not path.is_symlink()}


def test_nothing_is_for_other_users_whatever_the_umask(site: Loopback) -> None:
    """The umask of the sessions is 0; an older edge left what it gives, and it is mended."""
    site.deployed(site.bundle())
    assert site.answer("picture.png", (250, 10, 10)) == "red"
    (site.root / "apps" / APP / "inbox" / "picture.png").chmod(0o600)  # the test brought it
    assert modes(site.root) == {0o700, 0o600}
    for path in (site.root, *site.root.rglob("*")):
        if not path.is_symlink():
            path.chmod(path.stat().st_mode | 0o066)
    told = site.ask("doctor", "--json")
    assert "other users have rights to" in told.stdout
    site.deployed(site.bundle(bundles.changed("2"), "second"))
    assert modes(site.root) == {0o700, 0o600}
    site.root.parent.chmod(0o777)
    refused = site.deploy(site.bundle(bundles.changed("3"), "third"))
    assert refused.returncode in (1, 4), refused.stderr
    assert "can be written by others (mode 0777)" in refused.stderr


def test_what_the_service_answers(site: Loopback) -> None:
    """A picture in the inbox gets its answer from the deployed release."""
    site.deployed(site.bundle())
    assert site.answer("picture.png", (250, 10, 10)) == "red"


def test_a_model_that_is_no_classifier_serves_and_a_ruined_one_does_not(site: Loopback) -> None:
    good = site.deployed(site.bundle(bundles.embeds, "embeds"))
    state = site.state()
    assert state["release"] == good and state["healthy"]
    picture = site.root / "apps" / APP / "inbox" / "red.png"
    answer = site.answered(picture, (250, 10, 10))
    assert answer["task"] == "embedding"
    assert np.argmax(answer["embedding"]) == 0
    done = site.deploy(site.bundle(bundles.embeds_wrongly, "wrong"))
    assert done.returncode == 1
    assert "the cosine of the vectors" in done.stderr
    assert site.state()["release"] == good
    told = site.ask("doctor")
    assert "Traceback" not in told.stderr


def test_a_running_service_learns_a_class(site: Loopback) -> None:
    """It is taught beside it, without a restart; going back and forth forgets nothing."""
    from PIL import Image

    first = site.deployed(site.bundle())
    learner = site.deployed(site.bundle(bundles.learns, "learner"))
    white, folder = (250, 250, 250), site.root / "apps" / APP / "current/bundle"
    assert site.answer("before.png", white) != "white"
    picture = site.folder / "white.png"
    Image.new("RGB", (40, 24), white).save(picture)
    environments = list((site.root / "envs").glob("*/numpy"))
    paths = (folder.resolve() / "runtime", environments[0].parent)
    subprocess.run(
        [sys.executable, "-P", "-s", "-m", "edge.runtime", "teach", folder, "white", picture],
        env=os.environ | {"PYTHONPATH": ":".join(map(str, paths))},
        check=True,
        timeout=60,
    )
    assert site.answer("after.png", white) == "white"
    assert site.answer("red.png", (250, 10, 10)) == "red"
    for release in (first, learner):
        assert site.ask("rollback", "--watch", "1").returncode == 0
        assert site.state()["release"] == release
    assert site.answer("back.png", white) == "white"


@pytest.mark.parametrize(
    ("damage", "options", "reason"),
    [
        (bundles.wrong_answers, (), "self-test"),
        pytest.param(
            bundles.hangs_in_selftest,
            ("--selftest-timeout", "4"),
            "did not end within 4 s",
            marks=pytest.mark.long,
        ),
        (bundles.kills_its_interpreter, (), "was ended by SIGSEGV"),
        (bundles.fills_memory, (), "of memory and was killed"),
        pytest.param(bundles.crashes_at_start, (), "does not start", marks=pytest.mark.long),
        pytest.param(
            bundles.hangs_at_start,
            ("--start-timeout", "3"),
            "its service",
            marks=pytest.mark.long,
        ),
        (bundles.crashes_later, ("--watch", "8"), "stopped while it was watched"),
        pytest.param(
            bundles.changed("slow"),
            ("--max-latency", "0.001"),
            "an inference takes",
            marks=pytest.mark.long,
        ),
        (bundles.changed("large"), ("--max-memory", "1"), "MB of memory"),
    ],
    ids=[
        "wrong",
        "hangs-in-selftest",
        "segv",
        "fills-memory",
        "crashes",
        "hangs",
        "crashes-later",
        "slow",
        "memory",
    ],
)
def test_a_bad_release_leaves_the_one_before(
    site: Loopback, damage: Callable[[Path], None], options: tuple[object, ...], reason: str
) -> None:
    good = site.deployed(site.bundle())
    done = site.deploy(site.bundle(damage, "bad"), *options)
    assert done.returncode == 1, done.stderr
    assert reason in done.stderr
    assert good in done.stderr
    assert "Traceback" not in done.stderr.replace("Traceback (most recent", "", 1)
    state = site.state()
    assert state["release"] == good and state["healthy"]
    assert reason in state["reason"]
    assert reason in site.ask("logs").stdout
    left = [path.name for path in (site.root / "apps" / APP / "releases").iterdir()]
    assert left == [good]


def test_a_first_release_that_fails_is_no_fallback(site: Loopback) -> None:
    done = site.deploy(site.bundle(bundles.crashes_at_start, "bad"))
    assert done.returncode == 1
    assert "none serves" in done.stderr
    assert site.ask("status").returncode == 1
    site.deployed(site.bundle())
    assert site.state()["healthy"]


def test_rollback_goes_to_the_one_before_and_back(site: Loopback) -> None:
    refused = site.ask("rollback")
    assert refused.returncode == 4 and "no application" in refused.stderr
    codes = [site.ask(command).returncode for command in ("status", "logs", "undeploy")]
    assert codes == [1, 4, 4]  # the first is asked just that, the others need it
    first = site.deployed(site.bundle())
    refused = site.ask("rollback", "--watch", "0")
    assert refused.returncode == 4 and "no earlier release" in refused.stderr
    second = site.deployed(site.bundle(bundles.changed("2"), "second"))
    done = site.ask("rollback", "--watch", "1", "--reason", "confuses foxes")
    assert done.returncode == 0, done.stderr
    assert site.state()["release"] == first
    assert "confuses foxes" in site.ask("logs").stdout
    assert site.ask("rollback", "--watch", "0").returncode == 0
    assert site.state()["release"] == second


def test_an_older_edge_that_deploys_something_else_stops_no_service(site: Loopback) -> None:
    """It makes its own control package the current one, and takes that of ours away."""
    first = site.deployed(site.bundle())
    control = site.root / "control"
    older = control / ("0" * 16)
    shutil.copytree((control / "current").resolve(), older)
    (older / "edge" / "device" / "launch.py").write_text("raise SystemExit('what is that?')\n")
    shutil.rmtree((control / "current").resolve())
    (control / "current").unlink()
    (control / "current").symlink_to(older.name)
    site.device.reboot()
    wait_for(lambda: site.state()["healthy"], "the service did not come back")
    assert site.state()["release"] == first
    second = site.deployed(site.bundle(bundles.changed("2"), "second"))
    assert site.state()["release"] == second
    assert len(list((site.root / "apps" / APP / "control").iterdir())) == 1


def test_undeploy_leaves_nothing_but_the_key_and_the_highest_version(site: Loopback) -> None:
    site.deployed(site.bundle())
    inbox = site.root / "apps" / APP / "inbox"
    (inbox / "kept.png").write_bytes(b"no picture")
    refused = site.ask("undeploy")
    assert refused.returncode == 4 and "--delete-inbox" in refused.stderr
    assert site.state()["healthy"]
    done = site.ask("undeploy", "--delete-inbox")
    assert done.returncode == 0, done.stderr
    assert [path.name for path in (site.root / "apps" / APP).iterdir()] == ["highest-version"]
    assert not list((site.root / "envs").iterdir())
    assert "no application" in site.ask("status").stdout
    assert site.ask("doctor").returncode == 0
    older = site.bundle(bundles.changed("old"), "old")
    bundles.signed_again(older, site.key, version=1_700_000_000)
    done = site.deploy(older)
    assert done.returncode == 3 and "is older (version 1700000000)" in done.stderr, done.stderr
    assert site.deployed(site.bundle()) == site.state()["release"]


def cut(path: Path) -> None:
    path.write_text('{"last_go')


def test_what_a_damaged_state_allows_is_said_by_every_command(site: Loopback) -> None:
    """Unit tests compare doctor and refusal for every damage."""
    good = site.deployed(site.bundle())
    told = "the state is damaged: new releases are refused until a deploy with --allow-downgrade"
    for name, damage in (
        ("highest-version", cut),
        ("state.json", cut),
        ("state.json", Path.unlink),
    ):
        damage(site.root / "apps" / APP / name)
        doctor = site.ask("doctor")
        assert doctor.returncode == 1 and "a deploy would fail" in doctor.stdout, doctor.stdout
        assert "--allow-downgrade" in doctor.stdout and "ok       app" not in doctor.stdout
        assert site.state()["damage"] == told and site.state()["release"] == good
    status = site.ask("status")
    assert status.returncode == 0 and told in status.stdout, status.stdout
    back = site.ask("rollback", "--watch", "0")
    assert back.returncode == 4 and "state of channels is damaged or lost" in back.stderr
    second = site.bundle(bundles.changed("2"), "second")
    done = site.deploy(second)
    assert done.returncode == 3 and "--allow-downgrade" in done.stderr, done.stderr
    assert site.deployed(second, "--allow-downgrade") == site.state()["release"]
    assert site.state()["damage"] is None
    assert site.ask("doctor").returncode == 0


def without_signature(bundle: Path) -> None:
    (bundle / "manifest.json.sig").unlink()


def altered(bundle: Path) -> None:
    (bundle / "labels.txt").write_text("something else\n")


@pytest.mark.parametrize("change", [without_signature, altered])
def test_the_host_refuses_what_is_not_as_signed(
    site: Loopback, change: Callable[[Path], None]
) -> None:
    change(site.bundle())
    done = site.deploy(site.bundle())
    assert done.returncode == 3, done.stderr
    assert "altered since it was signed: do not deploy it" in done.stderr
    assert "edge sign" not in done.stderr
    assert not site.root.exists()


def test_the_device_refuses_another_key(site: Loopback) -> None:
    good = site.deployed(site.bundle())
    other = site.folder / "other"
    theirs = bundles.write_signed(site.folder / "theirs", other)
    done = site.edge.run(
        *("deploy", theirs, site.device.name, "--ssh-config", site.device.ssh_config),
        *("--key", other, *QUICK),
    )
    assert done.returncode == 3 and "no trusted key" in done.stderr, done.stderr
    state = site.state()
    assert state["release"] == good and state["healthy"] and "no trusted key" in state["reason"]


def test_an_older_bundle_needs_to_be_asked_for(site: Loopback) -> None:
    old = shutil.copytree(site.bundle(), site.folder / "old")
    bundles.changed("old")(old)
    bundles.signed_again(old, site.key, version=1_700_000_000)
    good = site.deployed(site.bundle())
    done = site.deploy(old)
    assert done.returncode == 3 and "--allow-downgrade" in done.stderr
    assert site.state()["release"] == good
    assert site.deployed(old, "--allow-downgrade") == site.state()["release"]


def test_a_bundle_for_another_board_is_refused(site: Loopback) -> None:
    from edge.deploy.signing import sign

    sign(site.bundle(), site.key, ["raspberry-pi-5"])
    done = site.deploy(site.bundle())
    assert done.returncode == 3 and "raspberry-pi-5" in done.stderr
    assert "generic-x86-64" in done.stderr or "generic-aarch64" in done.stderr


def test_dry_run_changes_nothing(site: Loopback) -> None:
    done = site.deploy(site.bundle(), "--dry-run")
    assert done.returncode == 0, done.stderr
    assert "nothing was changed there" in done.stdout
    assert not site.root.exists()


def test_a_cut_connection_goes_on_where_it_was(site: Loopback) -> None:
    site.device.cut_after(12_000_000, times=9)
    cut = site.deploy(site.bundle())
    assert cut.returncode == 4, cut.stderr
    assert "Traceback" not in cut.stderr
    incoming = next((site.root / "envs").glob(".incoming-*"))
    come = sum(path.stat().st_size for path in incoming.rglob("*") if path.is_file())
    assert come > 8_000_000
    site.device.cut_after(10**12, times=0)
    done = site.deploy(site.bundle(), "--json")
    assert done.returncode == 0, done.stderr
    whole = sum(
        path.stat().st_size
        for path in next(item for item in (site.root / "envs").iterdir() if item.is_dir()).rglob(
            "*"
        )
        if path.is_file() and "__pycache__" not in path.parts
    )
    assert json.loads(done.stdout)["sent_bytes"] < whole - come + 2_000_000


@pytest.mark.parametrize(
    ("stage", "ending"),
    [
        ("send the interpreter, kB", signal.SIGKILL),
        ("send the bundle, kB", signal.SIGINT),
        pytest.param("self-test there", signal.SIGKILL, marks=pytest.mark.long),
        ("switch, health check, watch", signal.SIGKILL),
        pytest.param("switch, health check, watch", signal.SIGINT, marks=pytest.mark.long),
    ],
    ids=["kill-interpreter", "ctrl-c-bundle", "kill-self-test", "kill-switch", "ctrl-c-switch"],
)
def test_a_deploy_that_ends_early(site: Loopback, stage: str, ending: signal.Signals) -> None:
    """Whenever it is killed, the old release serves, or the new one; the next deploy is clean."""
    old = site.deployed(site.bundle())
    if stage.startswith("send the interpreter"):
        shutil.rmtree(site.root / "envs")
    new = site.bundle(bundles.changed("2"), "second")
    process = site.edge.start(*site.command(new, "--watch", "2"))
    try:
        read_until(process, f"{stage} ...")
        os.killpg(process.pid, ending)
        _, said = process.communicate(timeout=60)
    finally:
        end(process)
    assert process.returncode == (130 if ending is signal.SIGINT else -signal.SIGKILL), said
    assert "Traceback" not in said
    serving = {site.state()["release"]}
    done = _patiently(partial(site.deploy, new, "--json"))
    assert done.returncode == 0, done.stderr
    release = json.loads(done.stdout)["release"]
    assert serving <= {old, release}
    state = site.state()
    assert state["release"] == release == state["last_good"] and state["healthy"]
    assert not list((site.root / "apps" / APP / "incoming").iterdir())


KILLS: Final = 40


@pytest.mark.parametrize("count", [1, pytest.param(KILLS, marks=pytest.mark.long)])
def test_deploys_that_are_killed_at_random_moments(site: Loopback, count: int) -> None:
    """SIGKILL of the host's side: the old release serves or the new one, never half of one."""
    draw = random.Random(f"kills {count}")
    bundle = [site.bundle(), site.bundle(bundles.changed("2"), "second")]
    ids = [site.deployed(item, "--allow-downgrade", "--watch", "0") for item in bundle]
    began = time.monotonic()
    site.deployed(bundle[0], "--allow-downgrade", "--watch", "0")
    whole = time.monotonic() - began
    for number in range(count):
        target = (number + 1) % 2
        before = site.state()["release"]
        process = site.edge.start(
            *site.command(bundle[target], "--allow-downgrade", "--watch", "0")
        )
        try:
            time.sleep(draw.uniform(0, whole))
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.communicate(timeout=60)
        finally:
            end(process)
        assert site.state()["release"] in (before, ids[target])
        again = (site.deploy, bundle[target], "--allow-downgrade", "--watch", "0", "--json")
        done = _patiently(partial(*again))
        assert done.returncode == 0, done.stderr
        state = site.state()
        assert state["release"] == ids[target] == state["last_good"] and state["healthy"]
        assert not list((site.root / "apps" / APP / "incoming").iterdir())


def test_a_rollback_during_a_deploy_is_told_to_wait(site: Loopback) -> None:
    """And teaching meanwhile is nobody's hindrance: see the test of a running service."""
    first = site.deployed(site.bundle())
    second = site.bundle(bundles.changed("2"), "second")
    process = site.edge.start(*site.command(second, "--watch", "5"))
    try:
        read_until(process, "switch, health check, watch ...")
        rollback = site.ask("rollback", "--watch", "0")
        process.communicate(timeout=60)
    finally:
        end(process)
    assert rollback.returncode == 4 and "another command changes this device" in rollback.stderr
    assert process.returncode == 0
    assert site.state()["release"] != first and site.state()["healthy"]


def _patiently(
    run: Callable[[], subprocess.CompletedProcess[str]],
) -> subprocess.CompletedProcess[str]:
    """Again while the device ends what the killed deploy had begun."""
    last = time.monotonic() + 60
    while True:
        done = run()
        if "another command changes this device" not in done.stderr or time.monotonic() > last:
            return done
        time.sleep(1)


def test_two_deploys_at_once(site: Loopback) -> None:
    site.deployed(site.bundle())
    second = site.bundle(bundles.changed("2"), "second")
    process = site.edge.start(*site.command(second, "--watch", "8"))
    try:
        read_until(process, "switch, health check, watch ...")
        other = site.deploy(site.bundle(bundles.changed("3"), "third"))
        process.communicate(timeout=60)
    finally:
        end(process)
    assert process.returncode == 0
    assert other.returncode == 4
    assert "another command changes this device" in other.stderr
    assert "edge deploy of channels" in other.stderr


@pytest.mark.parametrize(
    ("prepare", "said"),
    [
        (LoopbackDevice.use_wrong_key, "Permission denied"),
        (LoopbackDevice.change_host_key, "host key changed"),
        (LoopbackDevice.forget_host_key, "--accept-new-host-key"),
        (LoopbackDevice.turn_off, "Connection refused"),
    ],
    ids=["wrong-key", "changed-host-key", "unknown-host", "off"],
)
def test_no_connection(
    site: Loopback, prepare: Callable[[LoopbackDevice], None], said: str
) -> None:
    prepare(site.device)
    done = site.deploy(site.bundle())
    assert done.returncode == 4, done.stderr
    assert said in done.stderr
    assert "hint:" in done.stderr


def test_an_unknown_host_is_accepted_when_asked(site: Loopback) -> None:
    site.device.forget_host_key()
    assert "SHA256:" in site.deploy(site.bundle()).stderr
    text = site.device.ssh_config.read_text().replace("StrictHostKeyChecking yes\n", "")
    site.device.ssh_config.write_text(text)
    site.deployed(site.bundle(), "--accept-new-host-key")


def test_no_python(site: Loopback) -> None:
    site.device.remove_program("python3")
    done = site.deploy(site.bundle())
    assert done.returncode == 1
    assert "there is no python3" in done.stderr and "apt install python3" in done.stderr


def test_wrong_architecture(site: Loopback) -> None:
    other = "raspberry-pi-5" if platform.machine() == "x86_64" else "generic-x86-64"
    done = site.deploy(site.bundle(), "--device", other)
    assert done.returncode == 1
    assert "architecture" in done.stderr and "hint:" in done.stderr
    assert not site.root.exists()


def test_no_linger_and_nobody_who_may_turn_it_on(site: Loopback) -> None:
    site.device.add_program("loginctl", "exit 1")
    site.device.add_program("sudo", "exit 1")
    done = site.deploy(site.bundle())
    assert done.returncode in (1, 4)
    assert "sudo loginctl enable-linger" in done.stderr


def test_the_device_itself_refuses_altered_files(site: Loopback) -> None:
    """Somebody between host and device changes a file, and its listing too."""
    from edge.deploy.deploy import send_files
    from edge.deploy.keys import public_key
    from edge.deploy.plan import DeployOptions, checked_bundle, make_plan
    from edge.deploy.session import Conversation
    from edge.deploy.ssh import Address, Remote
    from edge.device.messages import BeginRequest, InstallReleaseRequest, Upload
    from edge.errors import BundleError
    from edge.progress import Silent
    from edge.runtime.files import sha256_file

    good = site.deployed(site.bundle())
    second = site.bundle(bundles.changed("2"), "second")
    options = DeployOptions(
        key=public_key(site.key),
        watch_seconds=1,
        selftest_seconds=20,
        start_seconds=20,
        watchdog_seconds=60,
        keep=1,
        cache=environments_root() / "wheels",
    )
    address = Address.parse(site.device.name, ssh_config=site.device.ssh_config)
    with Remote(address) as remote:
        plan = make_plan(checked_bundle(second, options.key), remote, options, Silent())
        labels = second / "labels.txt"
        labels.write_text("altered\n")
        files = {**plan.files, "labels.txt": (sha256_file(labels), labels.stat().st_size)}
        with Conversation(remote) as session:
            session.lock("test")
            listed = BeginRequest(
                kind=Upload.RELEASE, app=plan.app, id=plan.release.id, files=files
            )
            send_files(session, Silent(), "send", second, listed)
            with pytest.raises(BundleError, match="is not the file that the manifest lists"):
                session.ask(
                    InstallReleaseRequest(app=plan.app, release=plan.release, allow_downgrade=False)
                )
    state = site.state()
    assert state["release"] == good and state["healthy"]
    assert "labels.txt" in state["reason"]


def test_remote_benchmark(site: Loopback) -> None:
    """The harness here, its workers there; nothing stays there but the wheels."""
    output = site.folder / "pi.json"
    # Relative, as people write it: ssh is run in other folders than this one, too.
    config = os.path.relpath(site.device.ssh_config, site.edge.work)
    where = ("--ssh-config", config, "--quiet", "-o", output)
    short = ("--runs", "5", "--min-secs", "0.1", "--warm-up-secs", "0.1")
    done = site.edge.run("remote-benchmark", site.device.name, site.bundle(), *short, *where)
    assert done.returncode == 0, done.stderr
    results = json.loads(output.read_text())
    (row,) = results["rows"]
    assert row["status"] == "measured"
    assert "ai_edge_litert" in str(row) or "ai-edge-litert" in str(row)
    assert results["environment"]["python"]
    assert not (site.root / "scratch").exists()


def test_the_fastest_variant_is_found_there(site: Loopback) -> None:
    """All that are as accurate are timed in turn; one that does not run is left out with a word."""
    bundle = site.bundle(bundles.has_floats, "floats")
    asked = ("--variant", "fastest")
    planned = site.deploy(bundle, *asked, "--dry-run", "--json")
    assert planned.returncode == 0, planned.stderr
    plan = json.loads(planned.stdout)
    assert "would first time tflite-int8, tflite-fp32 and tflite-fp16" in plan["variant_reason"]
    assert plan["timed"] == []
    assert not site.root.exists()  # a dry run sends nothing

    done = site.deploy(bundle, *asked, "--json")
    assert done.returncode == 0, done.stderr
    assert "tflite-fp16 does not run there" in " ".join(done.stderr.split())
    outcome = json.loads(done.stdout)
    timed = {item["name"]: item for item in outcome["timed"]}
    assert set(timed) == {"tflite-int8", "tflite-fp32"}
    chosen = timed.pop(outcome["variant"])
    assert chosen["ratio"] == 1
    (other,) = timed.values()
    assert other["interval"][0] <= other["ratio"] <= other["interval"][1]
    assert other["interval"][1] >= 1 / 1.01  # it is not surely faster
    assert chosen["median_ms"] > 0 and other["median_ms"] > 0
    assert "timed in turn there" in outcome["variant_reason"]
    assert site.state()["release"] == outcome["release"]
    assert not (site.root / "scratch").exists()


def test_a_single_variant_is_not_timed(site: Loopback) -> None:
    done = site.deploy(site.bundle(), "--variant", "fastest", "--json")
    assert done.returncode == 0, done.stderr
    outcome = json.loads(done.stdout)
    assert (outcome["variant"], outcome["timed"]) == ("tflite-int8", [])
    assert "the only file that is as accurate" in outcome["variant_reason"]
