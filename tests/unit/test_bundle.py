import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from edge.embedding.imagenet import names_network
from edge.errors import BundleError, UsageError
from edge.runtime.bundle import Bundle, is_bundle
from edge.runtime.contract import Preprocessing
from edge.runtime.spec import Manifest, Variant

MODEL = "models/tflite-fp32.tflite"


def make(folder: Path, **changes: Any) -> Path:
    """A bundle of one model file and its labels."""
    (folder / "models").mkdir(parents=True)
    contents = {MODEL: b"model", "labels.txt": b"a\nb\n"}
    for name, content in contents.items():
        (folder / name).write_bytes(content)
    variant = Variant(
        name="tflite-fp32",
        path=changes.pop("path", MODEL),
        format="tflite",
        precision="fp32",
        size_bytes=5,
        input_dtype="float32",
    )
    files = {name: hashlib.sha256(content).hexdigest() for name, content in contents.items()}
    manifest = Manifest(
        name="test",
        labels=("a", "b"),
        preprocessing=Preprocessing(height=8, width=8),
        variants=(variant,),
        default_variant="tflite-fp32",
        files=files | changes.pop("files", {}),
    )
    (folder / "manifest.json").write_text(json.dumps(manifest.to_json() | changes))
    return folder


def test_a_whole_bundle(tmp_path: Path) -> None:
    path = make(tmp_path / "bundle")
    bundle = Bundle.open(path)
    bundle.verify()
    assert is_bundle(path)
    for name in (None, "tflite-fp32"):
        variant, file = bundle.model(name)
        assert (variant.name, file) == ("tflite-fp32", path / MODEL)


def test_labels_that_changed_places_are_found(tmp_path: Path) -> None:
    """The manifest's own file of labels, whose hash is listed, still has them in order."""
    path = make(tmp_path / "bundle", labels=["b", "a"])
    with pytest.raises(BundleError, match="do not name the same classes"):
        Bundle.open(path)
    whole = make(tmp_path / "whole")
    (whole / "labels.txt").write_text("b\na\n")
    with pytest.raises(BundleError, match=r"labels\.txt is not the file"):
        Bundle.open(whole)
    (whole / "labels.txt").unlink()  # a device has only what it needs of a bundle
    assert Bundle.open(whole).manifest.labels == ("a", "b")


def test_no_bundle(tmp_path: Path) -> None:
    found = {tmp_path: "it has no manifest", tmp_path / "missing": "there is no such folder"}
    for path, what in {**found, Path(__file__): "it is a file"}.items():
        assert not is_bundle(path)
        with pytest.raises(UsageError, match=f"no bundle at .*: {what}") as caught:
            Bundle.open(path)
        assert "edge build" in caught.value.hint
        assert ("edge export" in caught.value.hint) == path.is_file()
    with pytest.raises(UsageError, match="no such file"):
        names_network(tmp_path / "nosuch.tflite")
    model = tmp_path / "m.tflite"
    model.touch()
    with pytest.raises(UsageError, match="no bundle at") as caught:
        Bundle.open(model)
    assert "edge inspect" in caught.value.hint
    with pytest.raises(UsageError, match="no bundle at") as caught:
        names_network(model)
    for words in ("bundle or the name of a network", "edge inspect", "edge benchmark"):
        assert words in caught.value.hint


@pytest.mark.parametrize("text", ["", "{", "[]", "null", "\ufffd", '{"schema_version": 1}'])
def test_a_manifest_that_cannot_be_used(tmp_path: Path, text: str) -> None:
    (tmp_path / "manifest.json").write_text(text)
    with pytest.raises(BundleError, match=r"manifest\.json"):
        Bundle.open(tmp_path)


def test_a_manifest_that_is_no_text(tmp_path: Path) -> None:
    (tmp_path / "manifest.json").write_bytes(b"\xff\xfe\x00{")
    with pytest.raises(BundleError, match="cannot be read"):
        Bundle.open(tmp_path)


def test_an_altered_model_is_refused(tmp_path: Path) -> None:
    bundle = Bundle.open(make(tmp_path / "bundle"))
    (bundle.path / MODEL).write_bytes(b"mOdel")
    for check in (bundle.model, bundle.verify, lambda: bundle.checked(MODEL)):
        with pytest.raises(BundleError, match=f"{MODEL} is not the file") as caught:
            check()
        assert "damaged" in caught.value.hint
    assert bundle.checked("labels.txt") == bundle.path / "labels.txt"


def test_a_missing_file(tmp_path: Path) -> None:
    bundle = Bundle.open(make(tmp_path / "bundle"))
    (bundle.path / "labels.txt").unlink()
    with pytest.raises(BundleError, match=r"lacks labels\.txt"):
        bundle.verify()
    bundle.model()  # what is still whole can be used


def test_a_folder_in_place_of_a_file(tmp_path: Path) -> None:
    bundle = Bundle.open(make(tmp_path / "bundle"))
    (bundle.path / "labels.txt").unlink()
    (bundle.path / "labels.txt").mkdir()
    with pytest.raises(BundleError, match=r"lacks labels\.txt"):
        bundle.verify()


def test_a_file_that_is_not_listed(tmp_path: Path) -> None:
    path = make(tmp_path / "bundle", path="models/other.tflite")
    (path / "models/other.tflite").write_bytes(b"model")
    with pytest.raises(BundleError, match="does not list"):
        Bundle.open(path).model()


def test_no_such_variant(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no variant 'onnx-int8'"):
        Bundle.open(make(tmp_path / "bundle")).model("onnx-int8")


@pytest.mark.parametrize(
    "outside", ["../secret", "models/../../secret", "..", "{root}/secret", "..\\secret"]
)
def test_a_path_that_leads_outside(tmp_path: Path, outside: str) -> None:
    secret = tmp_path / "secret"
    secret.write_bytes(b"secret")
    outside = outside.format(root=tmp_path)
    digest = hashlib.sha256(b"secret").hexdigest()
    bundle = Bundle.open(make(tmp_path / "bundle", path=outside, files={outside: digest}))
    for check in (bundle.model, bundle.verify):
        with pytest.raises(BundleError, match="outside the bundle"):
            check()


@pytest.mark.parametrize("linked", ["models/link.tflite", "folder/secret"])
def test_a_link_that_leads_outside(tmp_path: Path, linked: str) -> None:
    """The right hash does not help: a bundle is read nowhere but inside."""
    secret = tmp_path / "secret"
    secret.write_bytes(b"secret")
    digest = hashlib.sha256(b"secret").hexdigest()
    path = make(tmp_path / "bundle", path=linked, files={linked: digest})
    if linked.startswith("folder/"):
        (path / "folder").symlink_to(tmp_path, target_is_directory=True)
    else:
        (path / linked).symlink_to(secret)
    with pytest.raises(BundleError, match="through a link"):
        Bundle.open(path).model()


def test_a_link_that_stays_inside(tmp_path: Path) -> None:
    digest = hashlib.sha256(b"model").hexdigest()
    path = make(
        tmp_path / "bundle", path="models/link.tflite", files={"models/link.tflite": digest}
    )
    (path / "models/link.tflite").symlink_to("tflite-fp32.tflite")
    assert Bundle.open(path).model()[1].read_bytes() == b"model"


def test_a_bundle_behind_a_link(tmp_path: Path) -> None:
    make(tmp_path / "bundle")
    (tmp_path / "alias").symlink_to(tmp_path / "bundle", target_is_directory=True)
    Bundle.open(tmp_path / "alias").verify()
