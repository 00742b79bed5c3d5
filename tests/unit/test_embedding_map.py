import hashlib
import json
import re
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from edge.cache import StageCache
from edge.embedding import collection_map
from edge.embedding.collection_map import CollectionMap, make_map
from edge.embedding.map_view import class_colors, draw_map, map_page
from edge.embedding.table import Embeddings, Header
from edge.errors import DataError, OutputError
from edge.progress import Silent
from edge.runtime.contract import Preprocessing

pytest.importorskip("sklearn")
pytest.importorskip("matplotlib")

COUNT = 24
HOSTILE = "a/</script><script>alert(1)<!--$x_$.png"


def collection(root: Path, count: int = COUNT) -> Embeddings:
    """Two groups of vectors; a picture of each but the last, one of them changed since."""
    random = np.random.default_rng(0)
    vectors = random.standard_normal((count, 16)) * 0.2
    vectors[:, 0] += np.where(np.arange(count) % 2, 2, -2)
    paths, digests = [], []
    for number in range(count):
        path = root / (HOSTILE if number == 5 else f"{'ab'[number % 2]}/{number:02}.png")
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (90, 60), (number, 0, 0)).save(path)
        paths.append(path.relative_to(root).as_posix())
        digests.append(hashlib.sha256(path.read_bytes()).hexdigest())
    (root / paths[-1]).unlink()
    (root / paths[2]).write_bytes(b"changed")
    header = Header(
        extractor="e",
        name="net",
        source={"kind": "bundle", "path": "b"},
        preprocessing=Preprocessing(height=32, width=32),
        root=str(root),
    )
    return Embeddings(
        header=header,
        vectors=vectors.astype(np.float32),
        paths=tuple(paths),
        sha256=tuple(digests),
        classes=tuple("" if path == HOSTILE else path[0] for path in paths),
    )


def mapped(root: Path, points: int = 100, **changed: Any) -> CollectionMap:
    return make_map(
        collection(root / "photos", **changed),
        points=points,
        threshold=0.999,
        seed=0,
        cache=StageCache(root / "cache"),
        progress=Silent(),
    )


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> CollectionMap:
    return mapped(tmp_path_factory.mktemp("map"))


def held(page: str) -> Any:
    """The data of a page, read the way that a browser does: up to the first end tag."""
    (text,) = re.findall(r'<script type="application/json" id="data">(.*?)</script', page, re.S)
    return json.loads(text)


def test_the_two_groups_lie_apart(found: CollectionMap) -> None:
    side = np.arange(COUNT) % 2
    projection = found.projection
    for places in (projection.pca, projection.pca[:, :2], projection.tsne2, projection.tsne3):
        distances = np.linalg.norm(places[:, None] - places[None], axis=2)
        np.fill_diagonal(distances, np.inf)
        assert np.mean(side[distances.argmin(axis=1)] == side) > 0.75  # chance: 0.5
    assert projection.tsne3.shape == (COUNT, 3)


def test_the_explained_variance_is_that_of_the_singular_values(tmp_path: Path) -> None:
    vectors = collection(tmp_path / "p").vectors.astype(float)
    units = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    squares = np.linalg.svd(units - units.mean(axis=0), compute_uv=False) ** 2
    expected = (squares / squares.sum())[:3]
    assert mapped(tmp_path / "q").projection.explained == pytest.approx(expected, rel=1e-4)


def test_the_projection_is_kept(
    found: CollectionMap, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = mapped(tmp_path)
    assert np.array_equal(first.projection.tsne3, found.projection.tsne3)  # every run the same
    monkeypatch.setattr("edge.embedding.collection_map._tsne", None)
    again = make_map(
        collection(tmp_path / "photos"),
        points=100,
        threshold=0.999,
        seed=0,
        cache=StageCache(tmp_path / "cache"),
        progress=Silent(),
    )
    assert np.array_equal(again.projection.tsne2, first.projection.tsne2)


def test_pictures_that_are_gone_or_changed_are_not_shown(found: CollectionMap) -> None:
    missing = [row for row, jpeg in enumerate(found.thumbnails) if jpeg is None]
    assert missing == [2, COUNT - 1]
    with Image.open(BytesIO(found.thumbnails[0] or b"")) as image:
        assert (image.format, image.size) == ("JPEG", (64, 43))


def test_a_name_cannot_leave_the_data(found: CollectionMap) -> None:
    page = map_page(found)
    assert "<script>alert" not in page
    assert page.count("</script>") == 2  # of the data and of the code
    data = held(page)
    assert data["paths"][5] == HOSTILE
    assert data["classes"] == ["", "a", "b"]
    assert data["counts"] == [1, COUNT // 2, COUNT // 2 - 1]


def test_the_page_does_not_tell_where_the_pictures_lay(found: CollectionMap) -> None:
    page = map_page(found)
    assert str(Path(found.root).parent) not in page
    assert held(page)["title"].startswith(Path(found.root).name)
    assert 'alt: ""' not in page


def test_the_page_loads_nothing(found: CollectionMap) -> None:
    page = map_page(found)
    assert "default-src 'none'" in page
    assert not re.search(r"https?://|@import|\bfetch\(|innerHTML|src=\"(?!data:)", page)
    uris = [uri for uri in held(page)["thumbnails"] if uri]
    assert len(uris) == COUNT - 2
    assert all(uri.startswith("data:image/jpeg;base64,") for uri in uris)


def test_a_sample_is_drawn_of_more(tmp_path: Path) -> None:
    found = mapped(tmp_path, points=10)
    assert (found.total, len(found.paths), len(found.projection.pca)) == (COUNT, 10, 10)
    assert "random sample of the 24" in held(map_page(found))["summary"]
    assert found.to_json()["points"] == 10


def test_the_page_stays_small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(collection_map, "MOST_THUMBNAILS", 3)
    found = mapped(tmp_path)
    assert [jpeg is not None for jpeg in found.thumbnails[:5]] == [True, True, False, False, False]


@pytest.mark.parametrize("count", [4, 5])
def test_the_fewest_points(tmp_path: Path, count: int) -> None:
    found = mapped(tmp_path, count=count)
    assert np.isfinite(found.projection.tsne3).all()
    with pytest.raises(DataError, match="holds 3 images, a map needs 4"):
        mapped(tmp_path / "fewer", count=3)


def test_equal_vectors_have_a_map(tmp_path: Path) -> None:
    from dataclasses import replace

    table = collection(tmp_path / "photos", 6)
    table = replace(table, vectors=np.ones((6, 2), np.float32))
    cache = StageCache(tmp_path / "cache")
    found = make_map(table, points=9, threshold=0.9, seed=0, cache=cache, progress=Silent())
    assert np.isfinite(found.projection.tsne2).all()
    assert found.projection.explained == (0.0, 0.0, 0.0)
    assert held(map_page(found))["explained"] == [0, 0, 0]


def test_the_picture(found: CollectionMap, tmp_path: Path) -> None:
    draw_map(found, tmp_path / "map.png")
    with Image.open(tmp_path / "map.png") as image:
        assert image.format == "PNG"
        colors = {color for _, color in image.convert("RGB").getcolors(1 << 20) or []}
    wanted = {tuple(bytes.fromhex(color[1:])) for color in class_colors(["", "a", "b"])}
    assert wanted <= colors
    with pytest.raises(OutputError, match="cannot be written"):
        draw_map(found, tmp_path / "none" / "map.png")


def test_classes_have_colours_of_their_own() -> None:
    many = [str(number) for number in range(40)]
    assert len(set(class_colors(many))) == 40
    assert class_colors(["", "a"])[0] == class_colors(["b", ""])[1] != class_colors(["a"])[0]
