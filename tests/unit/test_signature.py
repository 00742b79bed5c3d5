"""What a device refuses: bundles that are unsigned, altered, or signed by or for another."""

import errno
import hashlib
import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any, Final

import pytest

from edge.deploy.keys import PublicKey, new_key
from edge.deploy.signing import Trust, refuse_altered, sign, verify
from edge.device.admission import check_signature
from edge.errors import (
    BundleAltered,
    BundleError,
    DeviceError,
    OutputError,
    PackageMissing,
    SignatureError,
    UsageError,
)
from edge.runtime import seal
from edge.runtime.bundle import Bundle
from edge.runtime.spec import Manifest, SignedRelease
from edge.staging import locked
from tests.unit.test_bundle import MODEL, make

SOURCE: Final = "runtime/edge/errors.py"

pytestmark = pytest.mark.skipif(shutil.which("ssh-keygen") is None, reason="no ssh-keygen")


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the keys ``ours`` and ``other``."""
    folder = tmp_path_factory.mktemp("keys")
    for name in ("ours", "other"):
        new_key(folder / name)
    return folder


@pytest.fixture
def signers(keys: Path, tmp_path: Path) -> Path:
    """An allowed signers file with our key alone."""
    path = tmp_path / "signers"
    public = PublicKey.parse((keys / "ours.pub").read_text())
    path.write_text("# the keys that may release\n" + public.allowed_signer)
    return path


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    """A bundle whose runtime is one module."""
    digest = hashlib.sha256(b"").hexdigest()
    folder = make(tmp_path / "bundle", files={SOURCE: digest})
    (folder / SOURCE).parent.mkdir(parents=True)
    (folder / SOURCE).touch()
    return folder


def signature_of(content: bytes, key: Path, namespace: str) -> bytes:
    """What ssh-keygen itself signs, without our code."""
    arguments = ["ssh-keygen", "-Y", "sign", "-q", "-f", str(key), "-n", namespace]
    return subprocess.run(arguments, input=content, capture_output=True, check=True).stdout


def test_a_signed_bundle_is_taken(bundle: Path, keys: Path, signers: Path) -> None:
    release = sign(bundle, keys / "ours", ("pi-5", "pi-4", "pi-5"))
    fingerprint = check_signature(bundle, signers)
    shown = subprocess.run(
        ["ssh-keygen", "-l", "-f", str(keys / "ours.pub")], capture_output=True, text=True
    ).stdout.split()[1]
    assert fingerprint == shown
    assert fingerprint == PublicKey.parse((keys / "ours.pub").read_text()).fingerprint
    opened = Bundle.open(bundle)
    assert opened.manifest.release == release
    assert release.devices == ("pi-4", "pi-5")
    assert opened.problems() == ()


def test_an_unsigned_bundle_is_refused(bundle: Path, signers: Path) -> None:
    with pytest.raises(SignatureError, match="not signed") as caught:
        check_signature(bundle, signers)
    assert "edge sign" in caught.value.hint


def test_a_manifest_altered_after_signing_is_refused(
    bundle: Path, keys: Path, signers: Path
) -> None:
    sign(bundle, keys / "ours")
    manifest = bundle / "manifest.json"
    manifest.write_text(manifest.read_text().replace('"b"', '"c"'))
    with pytest.raises(BundleAltered, match=r"does not fit manifest\.json.*incorrect signature"):
        check_signature(bundle, signers)


def test_a_file_altered_after_signing_is_found(bundle: Path, keys: Path, signers: Path) -> None:
    sign(bundle, keys / "ours")
    (bundle / MODEL).write_bytes(b"mOdel")
    check_signature(bundle, signers)  # covers the manifest alone
    (problem,) = Bundle.open(bundle).problems()
    assert MODEL in problem and "sha256" in problem


@pytest.mark.parametrize(
    "name",
    [
        "runtime/numpy.py",
        "runtime/__pycache__/edge.pyc",  # Python would not have given it that name
        "runtime/edge/__pycache__/numpy.cpython-311.pyc",  # of no source
        "runtime/edge/errors.pyc",
        "link",
    ],
)
def test_a_file_that_the_manifest_does_not_list_is_found(
    bundle: Path, keys: Path, name: str
) -> None:
    sign(bundle, keys / "ours")
    extra = bundle / name
    extra.parent.mkdir(parents=True, exist_ok=True)
    if name == "link":
        extra.symlink_to(keys, target_is_directory=True)
    else:
        extra.write_text("print('imported')")
    (problem,) = Bundle.read(bundle).problems()
    assert problem == f"the manifest does not list {name}"
    with pytest.raises(BundleError, match=name):
        sign(bundle, keys / "ours")


def test_the_signature_of_another_key_is_refused(bundle: Path, keys: Path, signers: Path) -> None:
    sign(bundle, keys / "other")
    with pytest.raises(SignatureError, match="no trusted key signed the bundle"):
        check_signature(bundle, signers)


def test_a_signature_of_another_bundle_is_refused(
    bundle: Path, keys: Path, signers: Path, tmp_path: Path
) -> None:
    sign(bundle, keys / "ours")
    second = make(tmp_path / "second", name="second")
    shutil.copy(bundle / "manifest.json.sig", second)
    with pytest.raises(BundleAltered, match="incorrect signature"):
        check_signature(second, signers)


def test_a_signature_of_another_namespace_is_refused(
    bundle: Path, keys: Path, tmp_path: Path
) -> None:
    """What the key signed as a git commit or a file is no release."""
    content = (bundle / "manifest.json").read_bytes()
    (bundle / "manifest.json.sig").write_bytes(signature_of(content, keys / "ours", "git"))
    signers = tmp_path / "anything"
    signers.write_text("* " + PublicKey.parse((keys / "ours.pub").read_text()).line + "\n")
    with pytest.raises(BundleAltered, match="namespace"):
        check_signature(bundle, signers)


@pytest.mark.parametrize("content", [b"", b"\xff\x00", b"-----BEGIN SSH SIGNATURE-----\nAAAA\n"])
def test_a_file_that_is_no_signature_is_refused(
    bundle: Path, signers: Path, content: bytes
) -> None:
    (bundle / "manifest.json.sig").write_bytes(content)
    with pytest.raises(BundleAltered, match="the signature does not fit"):
        check_signature(bundle, signers)


def test_without_trusted_keys_nothing_is_taken(bundle: Path, keys: Path, tmp_path: Path) -> None:
    sign(bundle, keys / "ours")
    with pytest.raises(SignatureError, match="does not exist"):
        check_signature(bundle, tmp_path / "missing")
    (tmp_path / "empty").touch()
    with pytest.raises(SignatureError, match="no trusted key"):
        check_signature(bundle, tmp_path / "empty")


@pytest.mark.parametrize("principals", ["edge", "edge,other", "*", "!bob,edge*"])
def test_signers_files_that_people_write(
    bundle: Path, keys: Path, tmp_path: Path, principals: str
) -> None:
    sign(bundle, keys / "ours")
    signers = tmp_path / "signers"
    other, ours = (PublicKey.parse((keys / f"{n}.pub").read_text()) for n in ("other", "ours"))
    signers.write_text(f"someone {other.line}\n{principals} {ours.line} a comment\n")
    assert check_signature(bundle, signers) == ours.fingerprint


def test_without_ssh_keygen(
    bundle: Path, keys: Path, signers: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sign(bundle, keys / "ours")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(PackageMissing, match="ssh-keygen is not installed") as caught:
        check_signature(bundle, signers)
    assert "openssh-client" in caught.value.hint
    assert Bundle.open(bundle).signed  # who only runs it needs no ssh-keygen
    with pytest.raises(PackageMissing):
        verify(bundle, None)  # who asks is not told that all is well


def test_an_ssh_keygen_that_hangs(
    bundle: Path, keys: Path, signers: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sign(bundle, keys / "ours")
    program = tmp_path / "ssh-keygen"
    program.write_text("#!/bin/sh\nexec /bin/sleep 60\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(seal, "TIME_LIMIT", 0.2)
    with pytest.raises(DeviceError, match=r"within 0\.2 s"):
        check_signature(bundle, signers)


def test_a_key_that_cannot_sign_leaves_the_bundle_signed(
    bundle: Path, keys: Path, signers: Path, tmp_path: Path
) -> None:
    sign(bundle, keys / "ours")
    open_key = tmp_path / "open"
    shutil.copy(keys / "ours", open_key)
    shutil.copy(keys / "ours.pub", tmp_path / "open.pub")
    open_key.chmod(0o644)
    for key, reason in ((open_key, "cannot sign"), (tmp_path / "none", "no signing key")):
        with pytest.raises(UsageError, match=reason):
            sign(bundle, key)
        check_signature(bundle, signers)


@pytest.mark.parametrize("step", ["manifest.json", "manifest.json.sig"])
def test_a_cut_while_signing_leaves_no_wrong_signature(
    bundle: Path, keys: Path, signers: Path, step: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Cut at each write of the second signing: the bundle opens, and is not signed."""
    from edge.deploy import signing

    sign(bundle, keys / "ours", ("pi-5",))
    write = signing.write_bytes

    def cut(path: Path, content: bytes) -> None:
        if path.name == step:
            raise KeyboardInterrupt
        write(path, content)

    monkeypatch.setattr(signing, "write_bytes", cut)
    with pytest.raises(KeyboardInterrupt):
        sign(bundle, keys / "ours", ("pi-4",))
    assert Bundle.read(bundle).problems() == ()
    with pytest.raises(BundleAltered, match=r"has no manifest\.json\.sig"):
        check_signature(bundle, signers)
    monkeypatch.setattr(signing, "write_bytes", write)
    sign(bundle, keys / "ours", ("pi-4",))  # the same command again goes on
    check_signature(bundle, signers)


def test_two_do_not_sign_one_bundle_at_once(bundle: Path, keys: Path) -> None:
    """Their manifests and signatures would mix."""
    before = (bundle / "manifest.json").read_bytes()
    with locked(bundle):
        with pytest.raises(OutputError, match="another run"):
            sign(bundle, keys / "ours")
    assert (bundle / "manifest.json").read_bytes() == before
    sign(bundle, keys / "ours")


def test_signing_again_states_the_new_boards(bundle: Path, keys: Path, signers: Path) -> None:
    first = sign(bundle, keys / "ours", ("pi-5",))
    second = sign(bundle, keys / "ours")
    check_signature(bundle, signers)
    assert Bundle.open(bundle).manifest.release == second == SignedRelease(version=second.version)
    assert second.version >= first.version


def test_fields_that_another_version_wrote_stay(bundle: Path, keys: Path) -> None:
    manifest = bundle / "manifest.json"
    manifest.write_text(json.dumps(json.loads(manifest.read_text()) | {"later": [1, 2]}))
    sign(bundle, keys / "ours")
    assert json.loads(manifest.read_text())["later"] == [1, 2]


def alter(bundle: Path, kind: str) -> None:
    """One alteration of each kind that somebody may make to a signed bundle."""
    manifest, signature = bundle / "manifest.json", bundle / "manifest.json.sig"
    if kind == "model":
        (bundle / MODEL).write_bytes(b"mOdel")
    elif kind == "labels":
        (bundle / "labels.txt").write_text("b\na\n")
    elif kind == "lacking":
        (bundle / "labels.txt").unlink()
    elif kind == "manifest":
        manifest.write_text(manifest.read_text().replace('"b"', '"c"'))
    elif kind == "no manifest":
        manifest.write_text("{")
    elif kind == "signature":
        lines = signature.read_text().splitlines()
        lines[3] = lines[3][::-1]
        signature.write_text("\n".join(lines) + "\n")
    elif kind == "no signature":
        signature.unlink()
    elif kind == "added code":
        (bundle / "runtime").mkdir(exist_ok=True)
        (bundle / "runtime" / "numpy.py").write_text("print('imported')")
    else:
        (bundle / "more.txt").touch()


KINDS = (
    "model",
    "labels",
    "lacking",
    "manifest",
    "no manifest",
    "signature",
    "no signature",
    "added code",
    "added",
)


@pytest.mark.parametrize("kind", KINDS)
def test_what_was_altered_since_it_was_signed_is_never_to_be_signed(
    bundle: Path, keys: Path, kind: str
) -> None:
    """By whoever asks: with the key, with another key, with none, and to deploy it."""
    from edge.deploy.plan import checked_bundle
    from edge.deploy.signing import refuse_altered

    sign(bundle, keys / "ours")
    alter(bundle, kind)
    for name in ("ours", "other"):
        key = PublicKey.parse((keys / f"{name}.pub").read_text())
        assert "altered since it was signed: do not deploy it" in " ".join(
            verify(bundle, key).problems
        )
        with pytest.raises(BundleAltered, match="altered since it was signed") as caught:
            checked_bundle(bundle, key)
        assert "sign" not in caught.value.hint.lower()
    assert verify(bundle, None).altered and not verify(bundle, None).to_json()["valid"]
    with pytest.raises(BundleAltered):
        refuse_altered(bundle)
    if kind != "no signature":  # a cut while signing leaves that, and the command goes on
        with pytest.raises(BundleError) as again:
            sign(bundle, keys / "ours")
        assert "sign it" not in again.value.hint.lower()


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind not in ("model", "added")])
def test_an_altered_bundle_does_not_open(bundle: Path, keys: Path, kind: str) -> None:
    """What no command may run with; a model is hashed when it is used."""
    sign(bundle, keys / "ours")
    Bundle.open(bundle)
    alter(bundle, kind)
    if kind == "lacking":  # as on a device, which has only what it needs
        Bundle.open(bundle)
    else:
        with pytest.raises(BundleAltered, match="altered since it was signed"):
            Bundle.open(bundle)
    with pytest.raises(BundleAltered, match="altered since it was signed"):
        Bundle.open(bundle).verify()


COMPILED: Final = ("errors.cpython-311.pyc", "errors.cpython-313.opt-1.pyc", "errors.pypy39.pyc.7")


def compile_into(bundle: Path) -> list[Path]:
    """Leave what Python leaves when the bundle runs."""
    folder = bundle / "runtime" / "edge" / "__pycache__"
    folder.mkdir(parents=True, exist_ok=True)
    files = [folder / name for name in COMPILED]
    for file in files:
        file.write_bytes(b"compiled")
    return files


def test_what_the_runtime_leaves_does_not_alter_a_bundle(bundle: Path, keys: Path) -> None:
    compile_into(bundle)
    sign(bundle, keys / "ours")
    Bundle.open(bundle).model()
    Bundle.open(bundle).verify()
    assert not Bundle.open(bundle).problems()
    refuse_altered(bundle)
    sign(bundle, keys / "ours")


def test_verify_removes_what_python_would_run_in_place_of_the_sources(
    bundle: Path, keys: Path
) -> None:
    ours = PublicKey.parse((keys / "ours.pub").read_text())
    files = compile_into(bundle)
    sign(bundle, keys / "ours")
    found = verify(bundle, ours, sweep=True)
    assert (found.swept, found.problems) == (len(files), ())
    assert not any(file.exists() for file in files)
    assert verify(bundle, ours, sweep=True).swept == 0


@pytest.mark.parametrize(
    "name",
    ["errors.notes.pycharm.txt", "errors.cpython-311.pyc.txt", "errors.\n.pyc", "errors.pyc"],
)
def test_verify_removes_nothing_else(bundle: Path, keys: Path, name: str) -> None:
    """Where it finds that, all stays as it was found."""
    sign(bundle, keys / "ours")
    compiled = compile_into(bundle)
    other = compiled[0].with_name(name)
    other.write_text("precious")
    found = verify(bundle, None, sweep=True)
    assert found.swept == 0 and "does not list" in found.altered[0]
    assert all(file.exists() for file in (other, *compiled))


def test_a_signed_compiled_file_stays(tmp_path: Path, keys: Path) -> None:
    name = f"runtime/edge/__pycache__/{COMPILED[0]}"
    empty = hashlib.sha256(b"").hexdigest()
    bundle = make(tmp_path / "bundle", files={SOURCE: empty, name: empty})
    (bundle / name).parent.mkdir(parents=True)
    for listed in (SOURCE, name):
        (bundle / listed).touch()
    sign(bundle, keys / "ours")
    assert not verify(bundle, None, sweep=True).problems
    assert (bundle / name).exists()


def test_what_cannot_be_removed_does_not_alter_a_bundle(
    bundle: Path, keys: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    compile_into(bundle)
    sign(bundle, keys / "ours")

    def refused(path: Path, missing_ok: bool = False) -> None:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    monkeypatch.setattr(Path, "unlink", refused)
    found = verify(bundle, None, sweep=True)
    assert found.swept == 0 and not found.altered
    (problem,) = found.problems
    assert problem.startswith("3 files that Python compiled") and "Permission denied" in problem


@pytest.mark.parametrize("folder", ["runtime/edge/__pycache__", "runtime/numpy", "runtime", "."])
def test_a_folder_that_nobody_may_look_into_could_hold_anything(
    bundle: Path, keys: Path, monkeypatch: pytest.MonkeyPatch, folder: str
) -> None:
    """Python imports from it all the same, where it may be entered."""
    sign(bundle, keys / "ours")
    hidden = bundle / folder
    hidden.mkdir(parents=True, exist_ok=True)
    look = os.scandir

    def refused(path: Path | str) -> Any:
        if Path(path) == hidden:
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))
        return look(path)

    monkeypatch.setattr(os, "scandir", refused)
    for check in (Bundle.open, Bundle.read):
        with pytest.raises(BundleAltered, match="nobody may look into the folder"):
            check(bundle).verify()
    assert "nobody may look into" in verify(bundle, None, sweep=True).altered[0]
    with pytest.raises(BundleAltered, match="nobody may look into"):
        sign(bundle, keys / "ours")


def test_a_file_that_cannot_be_read_is_a_problem_of_its_own(
    bundle: Path, keys: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sign(bundle, keys / "ours")
    known = Path.is_file

    def refused(path: Path) -> bool:
        if path.name == "labels.txt":
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))
        return known(path)

    monkeypatch.setattr(Path, "is_file", refused)
    assert verify(bundle, None).altered == ("labels.txt cannot be read: Permission denied",)


def test_trust(bundle: Path, keys: Path) -> None:
    ours, other = (PublicKey.parse((keys / f"{n}.pub").read_text()) for n in ("ours", "other"))
    assert (verify(bundle, None).trust, verify(bundle, None).problems) == (Trust.UNSIGNED, ())
    assert verify(bundle, ours).problems and not verify(bundle, ours).altered
    sign(bundle, keys / "ours")
    assert verify(bundle, ours).trust is Trust.TRUSTED and not verify(bundle, ours).problems
    assert verify(bundle, other).trust is Trust.OTHER_KEY
    assert ours.fingerprint in verify(bundle, other).problems[0]
    unknown = verify(bundle, None)
    assert (unknown.trust, unknown.fingerprint) == (Trust.NO_KEY, ours.fingerprint)


def test_all_problems_are_told(bundle: Path, keys: Path) -> None:
    key = PublicKey.parse((keys / "ours.pub").read_text())
    (bundle / MODEL).write_bytes(b"mOdel")
    (bundle / "labels.txt").unlink()
    (bundle / "more.txt").touch()
    found = verify(bundle, key)
    assert found.fingerprint is None and found.release is None
    words = ("not signed", "labels.txt", MODEL, "more.txt", "altered since it was built")
    for word, problem in zip(words, found.problems, strict=True):
        assert word in problem
    (bundle / "manifest.json").write_text("{")
    assert len(verify(bundle, key).altered) == 1
    with pytest.raises(UsageError, match="no bundle"):
        verify(bundle / "models", key)


def test_a_key_is_never_overwritten(keys: Path, tmp_path: Path) -> None:
    private = (keys / "ours").read_bytes()
    with pytest.raises(OutputError, match="never overwritten"):
        new_key(keys / "ours")
    (tmp_path / "k.pub").touch()
    with pytest.raises(OutputError, match=r"k\.pub exists"):
        new_key(tmp_path / "k")
    assert (keys / "ours").read_bytes() == private
    assert sorted(path.name for path in tmp_path.iterdir()) == ["k.pub"]
    with pytest.raises(OutputError, match="cannot be written"):
        new_key(keys / "ours" / "below")


def test_a_private_key_is_its_owners_alone(tmp_path: Path) -> None:
    new_key(tmp_path / "new" / "folder" / "key")
    assert (tmp_path / "new" / "folder" / "key").stat().st_mode & 0o777 == 0o600
    assert (tmp_path / "new" / "folder").stat().st_mode & 0o077 == 0
    names = sorted(path.name for path in (tmp_path / "new" / "folder").iterdir())
    assert names == ["key", "key.pub"]


@pytest.mark.parametrize(
    "text",
    ["", "ssh-ed25519", "ssh-ed25519 AAAA", "ssh-ed25519 ?", "ssh-rsa AAAAB3NzaC1yc2E=", "x\ny"],
)
def test_what_is_no_key(text: str) -> None:
    with pytest.raises(UsageError, match="no public key of type ssh-ed25519"):
        PublicKey.parse(text)


@pytest.mark.parametrize(
    "release",
    [
        None,
        [],
        {"version": 1},
        {"version": 0, "devices": []},
        {"version": True, "devices": []},
        {"version": "1", "devices": []},
        {"version": 1, "devices": "pi"},
        {"version": 1, "devices": [1]},
        {"version": 1, "devices": [], "more": 1},
    ],
)
def test_a_release_that_cannot_be_read(tmp_path: Path, release: object) -> None:
    with pytest.raises(BundleError, match="release"):
        Bundle.open(make(tmp_path / "bundle", release=release))


def test_a_release_survives_the_manifest(bundle: Path) -> None:
    manifest = Bundle.open(bundle).manifest
    assert "release" not in manifest.to_json()
    value = manifest.to_json() | {"release": {"version": 7, "devices": ["pi-5"]}}
    assert Manifest.from_json(value).release == SignedRelease(version=7, devices=("pi-5",))
    assert Manifest.from_json(value).to_json() == value
