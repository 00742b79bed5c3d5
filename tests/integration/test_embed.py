"""``edge embed``, ``similar`` and ``map`` on one another's files, in this process."""

import json
import os
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from edge.cache import StageCache
from edge.cli.app import app
from edge.embedding.embed import EmbedOptions, embed
from edge.embedding.index import similar_pictures
from edge.embedding.table import read_embeddings, write_embeddings
from edge.errors import DataError, EdgeError
from edge.progress import Silent
from edge.runtime.contract import Preprocessing
from edge.runtime.files import sha256_file, write_json
from edge.runtime.spec import Manifest, Variant
from edge.training.options import BaseOptions
from tests.integration.conftest import make_photos, noisy

pytestmark = pytest.mark.slow

BASE = ("--weights", "none", "--alpha", "0.25", "--size", "32")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Pictures of two classes: 12 readable, one twice, one damaged; and a place to work in."""
    root = tmp_path_factory.mktemp("embed")
    make_photos(root / "photos", count=6)
    shutil.copy(root / "photos/cold/00.png", root / "photos/cold/copy.png")
    (root / "photos/cold/damaged.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    (root / "photos/cold/gone.png").symlink_to(root / "nowhere.png")
    before = Path.cwd()
    os.chdir(root)
    yield root
    os.chdir(before)


def edge(*arguments: str) -> Any:
    """What the command says in JSON."""
    common = ("--cache", "cache", "--json", "--quiet")
    result = CliRunner().invoke(app, [*arguments, *common], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def refused(*arguments: str) -> EdgeError:
    result = CliRunner().invoke(app, [*arguments, "--cache", "cache", "--quiet"])
    assert isinstance(result.exception, EdgeError), (result.exception, result.output)
    return result.exception


@pytest.fixture(scope="module")
def embedded(place: Path) -> Any:
    return edge("embed", "photos", "-o", "e.npz", *BASE)


def test_every_readable_picture_has_a_vector(embedded: Any) -> None:
    assert (embedded["images"], embedded["features"], embedded["reused"]) == (13, 256, 0)
    (note,) = embedded["notes"]
    assert "random" in note
    assert {Path(item["path"]).name for item in embedded["skipped"]} == {"damaged.png", "gone.png"}
    table = read_embeddings(Path("e.npz"))
    assert table.paths[0] == "cold/00.png"
    assert set(table.classes) == {"cold", "warm"}
    assert table.sha256[0] == sha256_file(Path("photos/cold/00.png"))
    assert table.header.root == str(Path("photos").absolute())


def test_the_vectors_are_what_keras_computes(embedded: Any) -> None:
    from edge.runtime.preprocess import load
    from edge.training.base import Base

    base = Base(BaseOptions(weights="none", alpha=0.25, size=32))
    table = read_embeddings(Path("e.npz"))
    pixels = load(table.file(3), base.preprocessing)[None].astype(np.float32)
    expected = base.load().model.predict(pixels, verbose=0)[0]
    assert np.abs(expected).max() > 0
    # Float kernels of two engines: relative to the largest number, as the converters' tests are.
    assert np.abs(table.vectors[3] - expected).max() < 1e-4 * np.abs(expected).max()


def test_a_second_run_computes_nothing_and_writes_the_same(embedded: Any) -> None:
    again = edge("embed", "photos", "-o", "again.npz", *BASE)
    assert again["reused"] == 13
    assert Path("again.npz").read_bytes() == Path("e.npz").read_bytes()
    assert "exists" in refused("embed", "photos", "-o", "e.npz", *BASE).message
    assert edge("embed", "photos", "-o", "again.npz", "--overwrite", *BASE)["images"] == 13


def test_similar_pictures(embedded: Any) -> None:
    found = edge("similar", "photos/cold/00.png", "e.npz", "-k", "3")
    assert found["search"] == "exact"
    assert {item["path"] for item in found["results"][:2]} == {"cold/00.png", "cold/copy.png"}
    assert found["results"][0]["cosine"] == pytest.approx(1, abs=1e-5)
    noisy(999, (38, 62, 198)).save("new.png")
    found = edge("similar", "new.png", "e.npz", "-k", "4")
    assert {item["class"] for item in found["results"]} == {"cold"}
    cosines = [item["cosine"] for item in found["results"]]
    assert cosines == sorted(cosines, reverse=True)


def test_an_embedding_file_of_another_model_is_refused(embedded: Any) -> None:
    table = read_embeddings(Path("e.npz"))
    source = {**table.header.source, "seed": 7}
    write_embeddings(replace(table, header=replace(table.header, source=source)), Path("o.npz"))
    error = refused("similar", "photos/cold/00.png", "o.npz")
    assert "the vectors are of another extractor" in error.message
    assert "edge embed" in error.hint


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("similar", "none.png", "e.npz"), "no picture at none.png"),
        (("similar", "photos/cold/damaged.png", "e.npz"), "damaged.png"),
        (("similar", "photos/cold/00.png", "none.npz"), "no embedding file at none.npz"),
        (("embed", "none", "-o", "x.npz"), "none does not exist"),
        (("embed", "photos", "-o", "x.txt"), "does not end in .npz"),
        (("embed", "photos", "-o", "none/x.npz"), "the folder none does not exist"),
        (("embed", "photos", "-o", "x.npz", "--bundle", "photos"), "no bundle at photos"),
        (("embed", "photos", "-o", "x.npz", "--bundle", "b", "--size", "64"), "has no effect"),
        (("embed", "photos", "-o", "x.npz", "--backbone", "lenet"), "lenet"),
        (("embed", "photos", "-o", "x.npz", "--dask", "here"), "--dask here is not an address"),
        (("map", "none.npz", "-o", "x.html"), "no embedding file"),
        (("map", "e.npz", "-o", "x.htm"), "does not end in .html"),
        (("map", "e.npz", "-o", "x.html", "--png", "x.svg"), "--png x.svg does not end in .png"),
    ],
)
def test_bad_input(embedded: Any, arguments: tuple[str, ...], said: str) -> None:
    assert said in refused(*arguments).message


def test_a_folder_without_a_readable_picture(place: Path) -> None:
    folder = place / "broken"
    folder.mkdir()
    (folder / "a.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    error = refused("embed", "broken", "-o", "x.npz", *BASE)
    assert "none of the 1 pictures" in error.message


def test_a_map_with_its_lists(embedded: Any) -> None:
    found = edge("map", "e.npz", "-o", "map.html", "--png", "map.png", "--near", "1")
    assert found["review"]["same"] == [["cold/00.png", "cold/copy.png"]]
    assert (found["points"], len(found["tsne_3d"]), found["thumbnails"]) == (13, 13, 13)
    assert 0 < sum(found["explained_variance"]) <= 1
    assert "cold/copy.png" in Path("map.html").read_text(encoding="utf-8")
    assert Path("map.png").read_bytes()[:4] == b"\x89PNG"
    result = CliRunner().invoke(
        app, ["map", "e.npz", "-o", "map.html", "--overwrite", "--cache", "cache", "--quiet"]
    )
    assert "1 duplicate (equal sha256)\n  cold/00.png = cold/copy.png\n" in result.stdout


def test_a_bundle_embeds_with_its_own_features(place: Path) -> None:
    import keras

    keras.utils.set_random_seed(0)
    image = keras.Input((32, 32, 3))
    features = keras.layers.GlobalAveragePooling2D()(keras.layers.Conv2D(5, 3)(image))
    model = keras.Model(image, keras.layers.Dense(2, activation="softmax")(features))
    (place / "bundle/source").mkdir(parents=True)
    model.save(place / "bundle/source/model.keras")
    digest = sha256_file(place / "bundle/source/model.keras")
    variant = Variant(
        name="tflite-fp32",
        path="models/x.tflite",
        format="tflite",
        precision="fp32",
        size_bytes=1,
        input_dtype="float32",
    )
    manifest = Manifest(
        name="own",
        labels=("cold", "warm"),
        preprocessing=Preprocessing(height=32, width=32),
        variants=(variant,),
        default_variant=variant.name,
        files={"source/model.keras": digest},
    )
    write_json(place / "bundle/manifest.json", manifest.to_json())
    found = edge("embed", "photos", "-o", "own.npz", "--bundle", "bundle")
    assert (found["name"], found["features"]) == ("own", 5)
    near = edge("similar", "photos/warm/01.png", "own.npz", "-k", "6")["results"]
    assert {item["class"] for item in near} == {"warm"}


# ---- real pictures


@pytest.mark.shared_data
def test_cats_are_like_cats_and_dogs_like_dogs(tmp_path: Path) -> None:
    data = os.environ.get("EDGE_TEST_DATA")
    if not data:
        pytest.skip("EDGE_TEST_DATA names no folder with pictures")
    for kind in ("cat", "dog"):
        (tmp_path / "photos" / kind).mkdir(parents=True)
        files = sorted((Path(data) / "images/dogs-vs-cats/test" / kind).iterdir())[:20]
        for file in files:
            (tmp_path / "photos" / kind / file.name).symlink_to(file)
    options = EmbedOptions(
        photos=tmp_path / "photos", source=BaseOptions(size=96), cache=tmp_path / "cache"
    )
    table = embed(options, Silent()).table
    assert table.vectors.shape == (40, 1024)
    hits = 0
    for row in range(40):
        found = similar_pictures(
            table, table.file(row), 2, StageCache(options.cache), Silent()
        ).neighbours
        assert found.rows[0] == row
        hits += table.classes[found.rows[1]] == table.classes[row]
    assert hits / 40 >= 0.85  # 37 of 40 were seen; chance is a half
    bare = replace(table, header=replace(table.header, extractor="features-other"))
    with pytest.raises(DataError, match="another extractor"):
        similar_pictures(bare, table.file(0), 1, StageCache(options.cache), Silent())
