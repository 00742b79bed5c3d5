"""``edge keys``, ``edge sign`` and ``edge verify`` as a user runs them."""

import json
import os
import pty
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from tests.color_bundles import COLORS, model, write_bundle, write_pictures
from tests.integration.conftest import TIMEOUT, Edge, contents, failed, succeeded

pytestmark = pytest.mark.skipif(shutil.which("ssh-keygen") is None, reason="no ssh-keygen")


@pytest.fixture
def signer(edge: Edge, tmp_path: Path) -> Iterator[Edge]:
    """A user with a configuration folder of their own, and no agent."""
    variables = (("XDG_CONFIG_HOME", str(tmp_path / "config")), ("SSH_AUTH_SOCK", ""))
    yield replace(edge, variables=(*edge.variables, *variables))


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    return write_bundle(tmp_path / "bundle", {"onnx-fp32": model()})


def test_from_a_key_to_a_verified_bundle(signer: Edge, bundle: Path, tmp_path: Path) -> None:
    made = signer.run("keys", "new", "--json")
    succeeded(made)
    key = json.loads(made.stdout)
    assert Path(key["path"]) == tmp_path / "config/edge/keys/edge"
    assert Path(key["path"]).stat().st_mode & 0o777 == 0o600
    assert key["fingerprint"] in signer.run("keys", "show").stdout
    private = Path(key["path"]).read_text()
    assert not any(line in made.stdout for line in private.splitlines()[1:-1])

    before = contents(bundle)
    signed = signer.run("sign", bundle, "--device", "raspberry-pi-5", "--json")
    succeeded(signed)
    release = json.loads(signed.stdout)["release"]
    assert release["devices"] == ["raspberry-pi-5"]
    assert abs(release["version"] - time.time()) < 60
    after = contents(bundle)
    changed = {name for name in after if after[name] != before.get(name)}
    assert changed == {"manifest.json", "manifest.json.sig"}

    verified = signer.run("verify", bundle, "--json")
    succeeded(verified)
    verdict = json.loads(verified.stdout)
    assert verdict["valid"] and verdict["release"] == release and verdict["files"] == 1
    assert verdict["fingerprint"] == key["fingerprint"]
    assert "signed by SHA256:" in signer.run("verify", bundle).stdout

    # A signed bundle goes on to work.
    picture = write_pictures(tmp_path / "pictures", 1) / next(iter(COLORS)) / "000.png"
    succeeded(signer.run("predict", bundle, picture))
    succeeded(signer.run("inspect", bundle))


def test_what_verify_refuses(signer: Edge, bundle: Path, tmp_path: Path) -> None:
    for name in ("ours", "other"):
        succeeded(signer.run("keys", "new", "--output", tmp_path / name))
    ours = tmp_path / "ours.pub"
    result = signer.run("verify", bundle, "--key", ours)
    failed(result, 1, "not signed", hint=False)
    assert "do not trust" in result.stdout
    succeeded(signer.run("sign", bundle, "--key", tmp_path / "other"))
    failed(signer.run("verify", bundle, "--key", ours), 1, "no trusted key", hint=False)
    succeeded(signer.run("verify", bundle, "--key", tmp_path / "other.pub"))
    (bundle / "models" / "onnx-fp32.onnx").write_bytes(b"")
    result = signer.run("verify", bundle, "--key", tmp_path / "other.pub", "--json")
    failed(result, 1, "onnx-fp32.onnx is not the file", hint=False)
    assert "altered since it was signed: do not deploy it" in result.stderr
    verdict = json.loads(result.stdout)
    assert (verdict["valid"], verdict["altered"], verdict["trust"]) == (False, True, "trusted")
    picture = write_pictures(tmp_path / "pictures", 1) / next(iter(COLORS)) / "000.png"
    for words in (
        ("deploy", bundle, "pi@nowhere.invalid"),  # without a key of one's own
        ("predict", bundle, picture),
        ("inspect", bundle),
        ("evaluate", bundle, tmp_path / "pictures"),
        ("benchmark", bundle),
    ):
        result = signer.run(*words)
        failed(result, 3, "altered since it was signed: do not deploy it")
        assert "edge sign" not in result.stderr
    failed(signer.run("sign", bundle, "--key", tmp_path / "ours"), 3, "onnx-fp32.onnx")


def test_arguments_that_cannot_be_acted_on(signer: Edge, bundle: Path, tmp_path: Path) -> None:
    failed(signer.run("sign", bundle), 2, "no signing key at", "edge keys new")
    failed(signer.run("keys", "show"), 2, "no public key at")
    failed(signer.run("verify", bundle, "--key", tmp_path / "none"), 2, "no public key at")
    hashes = signer.run("verify", bundle, "--json")  # nothing to check a signature with
    succeeded(hashes)
    assert json.loads(hashes.stdout)["trust"] == "unsigned"
    assert "not signed" in signer.run("verify", bundle).stdout
    succeeded(signer.run("keys", "new"))
    failed(signer.run("keys", "new"), 2, "never overwritten")
    failed(signer.run("sign", tmp_path / "none"), 2, "no bundle at")
    failed(signer.run("verify", tmp_path / "none"), 2, "no bundle at")
    failed(signer.run("sign", bundle, "--device", "rasberry-pi-5"), 2, "no board", "raspberry-pi-5")
    failed(signer.run("keys", "new", "--output", bundle / "manifest.json" / "k"), 2, "cannot be")
    subprocess.run(["ssh-keygen", "-q", "-t", "rsa", "-N", "", "-f", tmp_path / "rsa"], check=True)
    failed(signer.run("sign", bundle, "--key", tmp_path / "rsa"), 2, "ssh-ed25519")
    assert not (bundle / "manifest.json.sig").exists()


def test_a_passphrase_is_asked_on_the_terminal(signer: Edge, bundle: Path, tmp_path: Path) -> None:
    key = tmp_path / "key"
    made, said = on_a_terminal(signer, ["keys", "new", "--passphrase", "-o", key], "violet\n" * 2)
    assert made == 0, said
    assert "passphrase" in said and "violet" not in said
    failed(signer.run("sign", bundle, "--key", key), 2, "cannot sign", "passphrase")
    assert not (bundle / "manifest.json.sig").exists()
    wrong, said = on_a_terminal(signer, ["sign", bundle, "--key", key], "yellow\n")
    assert wrong == 2, said
    signed, said = on_a_terminal(signer, ["sign", bundle, "--key", key], "violet\n")
    assert signed == 0, said
    succeeded(signer.run("verify", bundle, "--key", f"{key}.pub"))


def on_a_terminal(edge: Edge, arguments: list[object], typed: str) -> tuple[int, str]:
    """Run a command on a terminal of its own, type there; exit code and what was shown."""
    pid, terminal = pty.fork()
    if pid == 0:
        os.chdir(edge.work)
        command = [sys.executable, "-m", "edge", *map(str, arguments)]
        os.execve(sys.executable, command, edge.environment())
    said = ""
    lines = typed.splitlines(keepends=True)
    end = time.monotonic() + TIMEOUT
    try:
        while time.monotonic() < end:
            try:
                chunk = os.read(terminal, 4096).decode()
            except OSError:  # the other end is closed
                break
            said += chunk
            if "assphrase" in chunk and lines:
                os.write(terminal, lines.pop(0).encode())
    finally:
        os.close(terminal)
    if time.monotonic() >= end:
        os.kill(pid, signal.SIGKILL)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), said
