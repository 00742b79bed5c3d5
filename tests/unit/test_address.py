"""Addresses of devices, and what OpenSSH says when it fails."""

from pathlib import Path

import pytest

from edge.deploy.ssh import Address, failure
from edge.errors import UsageError


@pytest.mark.parametrize(
    "text", ["pi", "pi@raspberrypi.local", "10.0.0.7", "root@[fe80::1%eth0]", "a_b@c-d", "::1"]
)
def test_addresses(text: str) -> None:
    assert Address.parse(text).host == text


@pytest.mark.parametrize(
    "text", ["", "-oProxyCommand=sh", "a b", "a;b", "$(a)", "pi@", "@pi", "a@-b", "pi@x y", "a\nb"]
)
def test_what_could_pass_for_something_else(text: str) -> None:
    with pytest.raises(UsageError, match="no address"):
        Address.parse(text)


def test_the_options_check_the_host_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = tmp_path / "config"
    config.write_text("")
    monkeypatch.chdir(tmp_path)  # ssh is run in other folders, too
    options = Address.parse("pi", port=2222, ssh_config=Path(config.name)).options()
    assert "StrictHostKeyChecking=yes" in options and "BatchMode=yes" in options
    assert options[options.index("-p") + 1] == "2222"
    assert options[options.index("-F") + 1] == str(config)
    assert Address.parse("pi").words == "pi"
    words = Address.parse("pi", port=2222, ssh_config=Path(config.name)).words
    assert words == f"pi --port 2222 --ssh-config {config}"
    accepting = Address.parse("pi", accept_new_host_key=True).options()
    assert "StrictHostKeyChecking=accept-new" in accepting
    assert not any(option.endswith("=no") for option in accepting)
    with pytest.raises(UsageError, match="no ssh configuration"):
        Address.parse("pi", ssh_config=tmp_path / "none")


@pytest.mark.parametrize(
    ("stderr", "hint"),
    [
        ("ssh: Could not resolve hostname x: Name or service not known", "Check the name"),
        ("ssh: connect to host x port 22: Connection refused", "ssh enabled"),
        ("ssh: connect to host x port 22: No route to host", "device is on"),
        ("pi@x: Permission denied (publickey).", "ssh-copy-id"),
        ("something new", "ssh -v"),
    ],
)
def test_every_failure_has_a_way_out(stderr: str, hint: str) -> None:
    error = failure(Address(host="x"), f"Warning: Permanently added 'x' to hosts\n{stderr}\r\n")
    assert stderr in error.message
    assert hint in error.hint
