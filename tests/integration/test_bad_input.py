"""Bad input: what was found and what to do, the right exit code, and nothing left behind."""

import hashlib
import json
import os
import shutil
import socket
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import numpy as np
import pytest
from PIL import Image

from edge.runtime.bundle import Bundle
from tests.integration.conftest import (
    NAME,
    SMALL,
    TIMEOUT,
    Edge,
    SmallBundle,
    contents,
    copied_cache,
    failed,
    make_photos,
    names,
    noisy,
    succeeded,
    whole,
)
from tests.peak import with_peak
from tests.unit.conftest import encoded, huge_png

ONE: Final = ("--variants", "tflite-fp32")  # one file, where one is enough
# What Pillow, decoded pixels and the interpreter take; the picture below would take 400 MB more.
PEAK: Final = 500_000_000  # bytes

# ---- Images ------------------------------------------------------------------------------------


def spoil(photos: Path) -> set[str]:
    """Put files beside the pictures that are none, and say which."""
    jpeg = encoded(noisy(900, (40, 60, 200), 200), "JPEG", quality=95)
    for number in range(4):  # so many that training, validation or test images are among them
        half = encoded(noisy(901 + number, (40, 60, 200), 200), "PNG")
        (photos / "cold" / f"cut{number}.png").write_bytes(half[: len(half) // 2])
    (photos / "cold" / "cut.jpg").write_bytes(jpeg[: len(jpeg) // 2])
    (photos / "cold" / "header.jpg").write_bytes(jpeg[:20])
    (photos / "warm" / "empty.jpg").touch()
    (photos / "warm" / "text.jpg").write_text("no picture\n", encoding="utf-8")
    return {*(f"cut{number}.png" for number in range(4)), "cut.jpg", "header.jpg", "empty.jpg"} | {
        "text.jpg"
    }


@pytest.mark.slow
def test_broken_images_are_named_and_skipped(warm: Edge) -> None:
    photos = make_photos(warm.work / "photos")
    spoiled = spoil(photos)
    result = warm.build(photos, warm.work / NAME, *ONE)
    succeeded(result)
    for name in spoiled:
        (line,) = (line for line in result.stderr.splitlines() if f"/{name}: " in line)
        assert line.startswith("note: skipped ")
    whole(warm.work / NAME)
    report = json.loads((warm.work / NAME / "report.json").read_text(encoding="utf-8"))
    assert {Path(item["path"]).name for item in report["data"]["skipped"]} == spoiled
    counts = report["data"]["counts"].values()
    assert sum(sum(classes.values()) for classes in counts) == 24
    assert names(warm.work) == {"photos", NAME}


@pytest.mark.slow
def test_what_a_folder_holds_is_taken_for_what_it_is(warm: Edge) -> None:
    """Splits of other names, 12-bit data, files that are not read, and edge's own output."""
    colours = {"cold": 900, "warm": 3900}
    photos, numbers = warm.work / "photos", np.random.default_rng(0)
    for split, count in (("Training", 9), ("TEST_set", 4)):
        for label, brightest in colours.items():
            folder = photos / split / label
            folder.mkdir(parents=True)
            for number in range(count):
                pixels = numbers.integers(brightest // 2, brightest, (40, 40), np.uint16)
                suffix = ("png", "tif")[number % 2]
                Image.fromarray(pixels).save(folder / f"{number}.{suffix}")
    (photos / "Training" / "cold" / "phone.heic").write_bytes(b"photo")
    refused = warm.build(photos, photos / "Training" / NAME)
    failed(refused, 2, "would be read as photos")
    assert "Training" not in {path.name for path in warm.work.iterdir()}

    succeeded(warm.build(photos, warm.work / NAME, *ONE))
    report = json.loads((warm.work / NAME / "report.json").read_text(encoding="utf-8"))
    assert report["data"]["counts"]["test"] == {"cold": 4, "warm": 4}
    assert report["data"]["files"]["not_used"] == {".heic": 1}
    notes = " ".join(report["data"]["notes"])
    assert "Training/ as train" in notes
    assert "1 of 27 files is not used: 1 .heic" in notes
    page = (warm.work / NAME / "report.html").read_text(encoding="utf-8")
    assert "1 of 27 files is not used" in page
    assert Bundle.open(warm.work / NAME).manifest.preprocessing.levels == (0, 4095)

    shutil.copytree(warm.work / NAME, photos / "TEST_set" / NAME)
    scored = warm.run("evaluate", NAME, photos, "--json")
    succeeded(scored)
    found = json.loads(scored.stdout)
    assert found["labelled"] == 8
    assert [Path(path).name for path in found["files"]["outputs"]] == [NAME]


def test_strict_refuses_broken_images(warm: Edge) -> None:
    photos = make_photos(warm.work / "photos")
    (photos / "warm" / "empty.jpg").touch()
    (photos / "warm" / "text.jpg").write_text("no picture\n", encoding="utf-8")
    result = warm.build(photos, warm.work / NAME, "--strict")
    failed(result, 2, "empty.jpg", "text.jpg", "2 of 26")
    assert names(warm.work) == {"photos"}


def test_strict_refuses_images_that_only_decoding_finds_broken(warm: Edge) -> None:
    photos = make_photos(warm.work / "photos")
    content = encoded(noisy(1, (40, 60, 200), 200), "PNG")
    (photos / "cold" / "cut.png").write_bytes(content[: len(content) // 2])
    failed(warm.build(photos, warm.work / NAME, "--strict"), 2, "cut.png")
    assert names(warm.work) == {"photos"}


def test_a_huge_picture_is_skipped_without_being_decoded(warm: Edge) -> None:
    photos = make_photos(warm.work / "photos")
    (photos / "cold" / "huge.png").write_bytes(huge_png(20_000, 20_000))
    arguments = ("build", photos, "--output", warm.work / NAME, *SMALL, *ONE)
    done, peak = with_peak(
        [sys.executable, "-m", "edge", *map(str, arguments)],
        cwd=warm.work,
        env=warm.environment(),
        capture_output=True,
        timeout=TIMEOUT,
    )
    assert done.returncode == 0, done.stderr
    (line,) = (line for line in done.stderr.splitlines() if "huge.png" in line)
    assert line.startswith("note: skipped ")
    assert "20000" in line.replace(",", "").replace(" ", "")
    assert peak < PEAK
    whole(warm.work / NAME)


def test_a_class_of_broken_images_alone(edge: Edge) -> None:
    photos = make_photos(edge.work / "photos")
    for path in (photos / "warm").iterdir():
        path.write_bytes(b"")
    failed(edge.build(photos, edge.work / NAME), 2, "'warm'", "00.png")
    assert names(edge.work) == {"photos"}


# ---- Class names -------------------------------------------------------------------------------


@pytest.mark.slow
def test_unusual_class_names(edge: Edge) -> None:
    colors = {"two words": (40, 60, 200), "🌶️ chili": (200, 40, 40), "-rf": (60, 200, 60)}
    photos = make_photos(edge.work / "photos", colors)
    labels = sorted(colors)
    options = ("--weights", "imagenet", "--size", "32", "--learning-rate", "0.01")
    variants = ("tflite-fp32", "onnx-fp32")
    chosen = ("--variants", ",".join(variants))
    succeeded(edge.run("build", photos, "--output", NAME, *options, *chosen))
    bundle = whole(edge.work / NAME)
    assert list(bundle.manifest.labels) == labels
    assert (edge.work / NAME / "labels.txt").read_text(encoding="utf-8").splitlines() == labels
    for variant in variants:
        images = [photos / label / "00.png" for label in labels]
        result = edge.run("predict", NAME, *images, "--variant", variant, "--json")
        succeeded(result)
        best = [answer["categories"][0]["label"] for answer in json.loads(result.stdout)]
        assert best == labels
    # Relative paths that look like options, after the usual "--".
    inside = Edge(edge.cache, photos, edge.temporary)
    result = inside.run("predict", "--top-k", "1", "--", edge.work / NAME, "-rf/00.png")
    succeeded(result)
    assert result.stdout.startswith("-rf/00.png: -rf ")
    result = edge.run("evaluate", NAME, photos, "--json")
    succeeded(result)
    assert json.loads(result.stdout)["labelled"] == 36


# ---- Folders of photos -------------------------------------------------------------------------


def one_class(photos: Path) -> None:
    shutil.rmtree(photos / "warm")


def empty_class(photos: Path) -> None:
    (photos / "void").mkdir()


def few_images(photos: Path) -> None:
    for path in sorted((photos / "warm").iterdir())[2:]:
        path.unlink()


def no_folder(photos: Path) -> None:
    shutil.rmtree(photos)


def a_file(photos: Path) -> None:
    shutil.rmtree(photos)
    photos.write_bytes(b"PK\x03\x04")


def control_character(photos: Path) -> None:
    (photos / "warm").rename(photos / "wa\nrm")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (no_folder, ["photos", "does not exist"]),
        (a_file, ["photos", "is a file"]),
        (one_class, ["'cold'", "at least two classes"]),
        (empty_class, ["'void'", "empty"]),
        (few_images, ["'warm' has 2", "at least 3"]),
        (control_character, ["wa\\nrm", "control character"]),
    ],
)
def test_folders_that_cannot_be_used(
    edge: Edge, change: Callable[[Path], None], said: list[str]
) -> None:
    photos = make_photos(edge.work / "photos")
    change(photos)
    before = names(edge.work)
    failed(edge.build(photos, edge.work / NAME), 2, *said)
    assert names(edge.work) == before


# ---- Options -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--backbone", "mobilnet"], ["'mobilnet'", "mobilenetv2"]),
        (["--head", "12,none"], ["'12,none'", "256,128"]),
        (["--head", "0"], ["'0'", "256,128"]),
        (["--variants", "tflite-int4"], ["tflite-int4", "tflite-int8"]),
        (["--variants", ","], ["names none", "tflite-int8"]),
        (["--weights", "missing.h5"], ["missing.h5", "imagenet, none"]),
        (["--size", "8"], ["--size", "32"]),
        (["--epochs", "many"], ["--epochs", "whole number"]),
        (["--resize", "squeeze"], ["squeeze", "letterbox"]),
        (["--no-such-option"], ["--no-such-option"]),
    ],
)
def test_options_that_cannot_be_used(
    edge: Edge, small_bundle: SmallBundle, options: list[str], said: list[str]
) -> None:
    result = edge.build(small_bundle.photos, edge.work / NAME, *options)
    failed(result, 2, *said)
    assert names(edge.work) == set()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--optimizer", "adamant"], ["'adamant'", "adamw"]),
        (["--loss", "mean_regret"], ["'mean_regret'"]),
    ],
)
def test_names_that_keras_does_not_know(
    edge: Edge, small_bundle: SmallBundle, options: list[str], said: list[str]
) -> None:
    result = edge.build(small_bundle.photos, edge.work / NAME, *options)
    failed(result, 2, *said)
    assert "features ..." not in result.stderr
    assert names(edge.work) == set()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("notes.h5", b"no weights\n"),
        ("empty.weights.h5", b""),
        ("cut.weights.h5", b"\x89HDF\r\n\x1a\n" + bytes(200)),
        ("notes.txt", b"no weights\n"),
    ],
)
def test_a_weights_file_that_is_none(
    edge: Edge, small_bundle: SmallBundle, name: str, content: bytes
) -> None:
    file = edge.work / name
    file.write_bytes(content)
    result = edge.build(small_bundle.photos, edge.work / NAME, "--weights", file)
    failed(result, 3, name, "MobileNet")
    assert names(edge.work) == {name}


@pytest.fixture
def no_network(tmp_path: Path) -> Iterator[dict[str, str]]:
    """Variables under which every download is refused at once, and Keras has none kept."""
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))  # and does not listen
        proxy = f"http://127.0.0.1:{closed.getsockname()[1]}"
        proxies = dict.fromkeys(("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy"), proxy)
        home = tmp_path / "keras"
        home.mkdir()
        yield proxies | {"NO_PROXY": "", "no_proxy": "", "KERAS_HOME": str(home)}


@pytest.mark.slow
@pytest.mark.parametrize("command", ["build", "export"])
def test_imagenet_weights_without_network(
    make_edge: Callable[..., Edge],
    small_bundle: SmallBundle,
    no_network: dict[str, str],
    command: str,
) -> None:
    edge = make_edge(**no_network)
    arguments: tuple[object, ...] = (small_bundle.photos, "--backbone", "mobilenetv2")
    if command == "export":
        arguments = ("mobilenetv2", "--calibration-data", small_bundle.photos)
    result = edge.run(command, *arguments, "--weights", "imagenet", "--output", edge.work / NAME)
    failed(result, 3, "MobileNetV2", "--weights PATH", "--weights none")
    assert names(edge.work) == set()


# ---- Output places -----------------------------------------------------------------------------


def test_output_without_a_parent(edge: Edge, small_bundle: SmallBundle) -> None:
    result = edge.build(small_bundle.photos, edge.work / "not there" / NAME)
    failed(result, 2, "not there", "does not exist", "mkdir -p")
    assert names(edge.work) == set()


def test_output_in_a_file(edge: Edge, small_bundle: SmallBundle) -> None:
    (edge.work / "file").write_text("mine", encoding="utf-8")
    result = edge.build(small_bundle.photos, edge.work / "file" / NAME)
    failed(result, 2, "file")
    assert contents(edge.work) == {"file": b"mine"}


@pytest.mark.skipif(os.getuid() == 0, reason="root may write everywhere")
def test_output_in_a_folder_without_write_permission(edge: Edge, small_bundle: SmallBundle) -> None:
    folder = edge.work / "fixed"
    folder.mkdir(mode=0o555)
    failed(edge.build(small_bundle.photos, folder / NAME), 2, "fixed", "read-only")
    assert names(folder) == set()


def test_output_on_a_read_only_file_system(
    edge: Edge, small_bundle: SmallBundle, mounted: Callable[..., Path]
) -> None:
    place = mounted(None)
    failed(edge.build(small_bundle.photos, place / NAME), 2, str(place), "Read-only")
    assert names(place) == set()


@pytest.mark.parametrize("options", [(), ("--overwrite",)])
@pytest.mark.parametrize("kind", ["file", "folder", "link"])
def test_output_that_is_not_ours(
    edge: Edge, small_bundle: SmallBundle, kind: str, options: tuple[str, ...]
) -> None:
    output = edge.work / NAME
    elsewhere = edge.work / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "letter.txt").write_text("mine", encoding="utf-8")
    if kind == "file":
        output.write_text("mine", encoding="utf-8")
    elif kind == "folder":
        shutil.copytree(elsewhere, output)
    else:
        output.symlink_to(elsewhere)
    before = contents(edge.work)
    failed(edge.build(small_bundle.photos, output, *options), 2, NAME, "--output")
    assert contents(edge.work) == before
    assert output.is_symlink() == (kind == "link")
    assert names(edge.work) == {NAME, "elsewhere"}


def test_output_that_is_a_bundle_already(edge: Edge, bundle_copy: Path) -> None:
    before = contents(bundle_copy)
    photos = make_photos(edge.work / "photos")
    failed(edge.build(photos, bundle_copy), 2, "holds a bundle", "--overwrite")
    assert contents(bundle_copy) == before
    assert names(bundle_copy.parent) == {NAME}


# ---- A full disk -------------------------------------------------------------------------------


def fill(folder: Path, spare: int) -> None:
    """Leave so many bytes of a file system."""
    status = os.statvfs(folder)
    (folder / "filler").write_bytes(bytes(status.f_bavail * status.f_frsize - spare))


@pytest.mark.slow
def test_no_space_for_the_output(
    warm: Edge, small_bundle: SmallBundle, mounted: Callable[..., Path]
) -> None:
    place = mounted(6_000_000)
    failed(warm.build(small_bundle.photos, place / NAME, *ONE), 2, "space", str(place))
    assert names(place) == set()
    assert names(warm.temporary) == set()


@pytest.mark.slow
def test_no_space_beside_an_older_bundle(
    warm: Edge, small_bundle: SmallBundle, mounted: Callable[..., Path]
) -> None:
    place = mounted(80_000_000)
    shutil.copytree(small_bundle.path, place / NAME)
    before = contents(place / NAME)
    fill(place, 4_000_000)
    result = warm.build(small_bundle.photos, place / NAME, *ONE, "--overwrite")
    failed(result, 2, "space", str(place))
    assert names(place) == {NAME, "filler"}
    whole(place / NAME)
    assert contents(place / NAME) == before


# Stage -> kind of its entry, and bytes that are left for it: too few for the entry, but SQLite
# takes 32 kB while the features are read.
STAGES: Final = {
    "network": ("base", 1_000_000),
    "features": ("features", 8_000),
    "head": ("trained", 1_000_000),
    "calibration images": ("calibration", 45_000),
    "convert": ("model", 1_000_000),
}


@pytest.mark.slow
@pytest.mark.parametrize("stage", STAGES)
def test_no_space_for_the_cache(
    make_edge: Callable[..., Edge],
    small_bundle: SmallBundle,
    bundle_copy: Path,
    mounted: Callable[..., Path],
    stage: str,
) -> None:
    kind, spare = STAGES[stage]
    place = mounted(100_000_000)
    copied_cache(small_bundle.cache, place / "cache", without=[kind])
    fill(place, spare)
    before = contents(bundle_copy)
    kept = names(place / "cache" / "stages")
    edge = make_edge(place / "cache")
    variants = ("--variants", "tflite-fp16,tflite-int8")
    result = edge.build(small_bundle.photos, bundle_copy, *variants, "--overwrite")
    failed(result, 2, "--cache")
    assert any(word in result.stderr for word in ("space", "full"))
    assert f"{stage} ..." in result.stderr
    assert contents(bundle_copy) == before
    assert names(bundle_copy.parent) == {NAME}
    assert names(place / "cache" / "stages") == kept
    assert not list(edge.temporary.glob("edge-*"))


def test_no_space_for_a_new_cache(
    make_edge: Callable[..., Edge], small_bundle: SmallBundle, mounted: Callable[..., Path]
) -> None:
    place = mounted(1_000_000)
    fill(place, 0)
    edge = make_edge(place / "cache")
    failed(edge.build(small_bundle.photos, edge.work / NAME), 2, "cache", "--cache")
    assert names(edge.work) == set()


def test_a_cache_that_is_a_file(
    make_edge: Callable[..., Edge], small_bundle: SmallBundle, tmp_path: Path
) -> None:
    (tmp_path / "cache").write_text("mine", encoding="utf-8")
    edge = make_edge()
    failed(edge.build(small_bundle.photos, edge.work / NAME), 2, "cache", "--cache")
    assert names(edge.work) == set()
    assert (tmp_path / "cache").read_text(encoding="utf-8") == "mine"


def test_a_cache_on_a_read_only_file_system(
    make_edge: Callable[..., Edge], small_bundle: SmallBundle, mounted: Callable[..., Path]
) -> None:
    edge = make_edge(mounted(None) / "cache")
    failed(edge.build(small_bundle.photos, edge.work / NAME), 2, "cache", "--cache")
    assert names(edge.work) == set()


@pytest.mark.slow
def test_no_space_for_temporary_files(
    make_edge: Callable[..., Edge],
    small_bundle: SmallBundle,
    tmp_path: Path,
    mounted: Callable[..., Path],
) -> None:
    place = mounted(6_000_000)
    cache = copied_cache(small_bundle.cache, tmp_path / "cache", without=["model"])
    edge = make_edge(cache, TMPDIR=str(place))
    result = edge.build(small_bundle.photos, edge.work / NAME, *ONE)
    if result.returncode == 0:  # the large files may go elsewhere
        whole(edge.work / NAME)
    else:
        failed(result, 2, "space")
        assert names(edge.work) == set()
    assert not list(place.glob("edge-*"))


# ---- Bundles that were edited ------------------------------------------------------------------


def manifest_of(bundle: Path) -> dict[str, Any]:
    return dict(json.loads((bundle / "manifest.json").read_text(encoding="utf-8")))


def rewrite(bundle: Path, **changes: Any) -> None:
    """Change fields of the manifest."""
    value = manifest_of(bundle) | changes
    (bundle / "manifest.json").write_text(json.dumps(value), encoding="utf-8")


def edited_model(bundle: Path) -> None:
    model = bundle / "models" / "tflite-int8.tflite"
    content = bytearray(model.read_bytes())
    content[len(content) // 2] ^= 1
    model.write_bytes(content)


def missing_model(bundle: Path) -> None:
    (bundle / "models" / "tflite-int8.tflite").unlink()


def cut_manifest(bundle: Path) -> None:
    manifest = bundle / "manifest.json"
    content = manifest.read_bytes()
    manifest.write_bytes(content[: len(content) // 2])


def empty_manifest(bundle: Path) -> None:
    (bundle / "manifest.json").write_bytes(b"")


def binary_manifest(bundle: Path) -> None:
    (bundle / "manifest.json").write_bytes(b"\xff\xfe\x00")


def other_schema(bundle: Path) -> None:
    rewrite(bundle, schema_version=99)


def no_labels(bundle: Path) -> None:
    value = manifest_of(bundle)
    del value["labels"]
    (bundle / "manifest.json").write_text(json.dumps(value), encoding="utf-8")


def list_of_files(bundle: Path) -> None:
    rewrite(bundle, files=["labels.txt"])


def path_outside(bundle: Path) -> None:
    outside = bundle.parent / "x.tflite"
    shutil.move(bundle / "models" / "tflite-int8.tflite", outside)
    value = manifest_of(bundle)
    value["files"]["../x.tflite"] = value["files"].pop("models/tflite-int8.tflite")
    for variant in value["variants"]:
        if variant["name"] == "tflite-int8":
            variant["path"] = "../x.tflite"
    rewrite(bundle, **value)


def link_outside(bundle: Path) -> None:
    model = bundle / "models" / "tflite-int8.tflite"
    shutil.move(model, bundle.parent / "x.tflite")
    model.symlink_to(bundle.parent / "x.tflite")


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (edited_model, ["models/tflite-int8.tflite", "sha256"]),
        (missing_model, ["models/tflite-int8.tflite", "lacks"]),
        (cut_manifest, ["manifest.json", "cannot be read"]),
        (empty_manifest, ["manifest.json", "cannot be read"]),
        (binary_manifest, ["manifest.json", "cannot be read"]),
        (other_schema, ["manifest.json", "schema_version is 99"]),
        (no_labels, ["manifest.json", "labels"]),
        (list_of_files, ["manifest.json"]),
        (path_outside, ["../x.tflite", "outside"]),
        (link_outside, ["models/tflite-int8.tflite", "outside"]),
    ],
)
def test_damaged_bundles(
    edge: Edge,
    small_bundle: SmallBundle,
    bundle_copy: Path,
    damage: Callable[[Path], None],
    said: list[str],
) -> None:
    damage(bundle_copy)
    image = small_bundle.photos / "cold" / "00.png"
    for command in (
        ("predict", bundle_copy, image, "--variant", "tflite-int8"),
        ("inspect", bundle_copy),
        ("evaluate", bundle_copy, small_bundle.photos),
    ):
        # What to do is said where there is something to do.
        failed(edge.run(*command), 3, *said, hint=damage in (edited_model, missing_model))


# ---- predict -----------------------------------------------------------------------------------


def test_a_missing_and_a_broken_image_among_good_ones(
    edge: Edge, small_bundle: SmallBundle
) -> None:
    good = [small_bundle.photos / name / "00.png" for name in ("cold", "warm")]
    broken = edge.work / "broken.png"
    broken.write_bytes(good[0].read_bytes()[:200])
    arguments = (small_bundle.path, good[0], edge.work / "missing.jpg", broken, good[1])
    result = edge.run("predict", *arguments, "--json")
    assert result.returncode == 2
    answers = json.loads(result.stdout)
    assert ["categories" in answer for answer in answers] == [True, False, False, True]
    assert "No such file" in answers[1]["error"]
    for answer, image in zip(answers, arguments[1:], strict=True):
        assert answer["image"] == str(image)
    result = edge.run("predict", *arguments)
    assert result.returncode == 2
    lines = result.stdout.splitlines()
    assert lines[0].startswith(f"{good[0]}: ") and lines[-1].startswith(f"{good[1]}: ")
    assert "%" in lines[0] and "%" in lines[-1]
    # An exit code other than 0 is explained on stderr, since stdout may go to a file.
    assert "Traceback" not in result.stderr
    for name in ("missing.jpg", "broken.png"):
        assert name in result.stderr


def test_predict_with_a_variant_that_the_bundle_lacks(
    edge: Edge, small_bundle: SmallBundle
) -> None:
    image = small_bundle.photos / "cold" / "00.png"
    result = edge.run("predict", small_bundle.path, image, "--variant", "tflite-int4")
    failed(result, 2, "'tflite-int4'", "tflite-int8")


@pytest.mark.parametrize("engine", ["tensorrt", "onnxruntime"])
def test_predict_with_an_engine_that_does_not_fit(
    edge: Edge, small_bundle: SmallBundle, engine: str
) -> None:
    image = small_bundle.photos / "cold" / "00.png"
    options = ("--variant", "tflite-int8", "--engine", engine)
    result = edge.run("predict", small_bundle.path, image, *options)
    failed(result, 2, engine, hint=False)


def test_predict_without_a_bundle(edge: Edge, small_bundle: SmallBundle) -> None:
    image = small_bundle.photos / "cold" / "00.png"
    failed(edge.run("predict", small_bundle.photos, image), 2, "no bundle", "edge build")
    failed(edge.run("predict", edge.work / "missing", image), 2, "no such file or folder")


@pytest.mark.parametrize("variant", ["tflite-int8", "onnx-fp32"])
@pytest.mark.parametrize("part", [0.0, 0.001, 0.5, 0.95])
def test_predict_with_a_truncated_model(
    edge: Edge, small_bundle: SmallBundle, bundle_copy: Path, variant: str, part: float
) -> None:
    value = manifest_of(bundle_copy)
    (path,) = (item["path"] for item in value["variants"] if item["name"] == variant)
    content = (bundle_copy / path).read_bytes()
    cut = content[: int(part * len(content))]
    (bundle_copy / path).write_bytes(cut)
    value["files"][path] = hashlib.sha256(cut).hexdigest()
    rewrite(bundle_copy, **value)
    image = small_bundle.photos / "cold" / "00.png"
    result = edge.run("predict", bundle_copy, image, "--variant", variant)
    failed(result, 3, Path(path).name)
    failed(edge.run("inspect", bundle_copy, "--variant", variant), 3, Path(path).name, hint=False)


# ---- evaluate and inspect ----------------------------------------------------------------------


def test_features_that_nothing_has_learned_are_said(small_bundle: SmallBundle) -> None:
    report = json.loads((small_bundle.path / "report.json").read_text(encoding="utf-8"))
    assert any("weights are random" in note for note in report["notes"])


def test_pictures_of_the_build_are_scored_apart(edge: Edge, small_bundle: SmallBundle) -> None:
    result = edge.run("evaluate", small_bundle.path, small_bundle.photos, "--json")
    succeeded(result)
    value = json.loads(result.stdout)
    counts = value["origins"]
    assert value["scope"] == "unseen"
    assert value["images"] == 24 == sum(counts.values())
    assert value["scored"]["images"] == counts["held_out"] > 0
    assert counts["train"] > 0 < counts["validation"]
    report = json.loads((small_bundle.path / "report.json").read_text(encoding="utf-8"))
    assert value["scored"]["images"] == report["reference"]["images"]
    tops = {item["name"]: item["top1"] for item in value["variants"]}
    assert tops == {item["name"]: item["top1"] for item in report["variants"]}
    for item in value["variants"][0]["classes"]:
        assert item["recall_interval"][0] < item["recall_interval"][1]


def test_evaluate_without_known_classes(edge: Edge, small_bundle: SmallBundle) -> None:
    photos = make_photos(edge.work / "photos", {"sea": (0, 0, 200), "sand": (200, 200, 0)}, 1)
    failed(edge.run("evaluate", small_bundle.path, photos), 2, str(photos), "cold, warm")


def test_evaluate_on_a_folder_that_is_missing(edge: Edge, small_bundle: SmallBundle) -> None:
    failed(edge.run("evaluate", small_bundle.path, "photos"), 2, "photos", "does not exist")


def test_evaluate_a_variant_that_the_bundle_lacks(edge: Edge, small_bundle: SmallBundle) -> None:
    arguments = (small_bundle.path, small_bundle.photos, "--variant", "tflite-int4")
    failed(edge.run("evaluate", *arguments), 2, "'tflite-int4'", "tflite-int8")


@pytest.mark.parametrize("name", ["notes.txt", "notes.tflite", "notes.onnx"])
def test_inspect_a_text_file(edge: Edge, name: str) -> None:
    (edge.work / name).write_text("no model\n", encoding="utf-8")
    failed(edge.run("inspect", name), 3, name, "text")


def test_inspect_a_file_that_is_missing(edge: Edge) -> None:
    failed(edge.run("inspect", "missing.tflite"), 2, "missing.tflite", hint=False)
