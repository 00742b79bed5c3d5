"""Tags, groups, the index and what is found in it; sidecars and copies that lose nothing."""

import csv
import json
import sqlite3
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from edge.cache import StageCache
from edge.cli.app import app
from edge.embedding.imagenet import distinct
from edge.errors import (
    DataError,
    EdgeError,
    InferenceError,
    NegativeVerdict,
    OutputError,
    UsageError,
)
from edge.progress import Silent
from edge.tagging.copies import copy_tagged, folder_names
from edge.tagging.index import TagIndex, default_index
from edge.tagging.options import SidecarName
from edge.tagging.search import Groups, find, parse
from edge.tagging.sidecars import EMPTY, tag_values, with_tags, write_sidecars
from edge.tagging.tag import TagOptions, kept, tag
from edge.tagging.tags import Tag, Tagged, choose
from edge.weights import imagenet_classes
from tests.color_bundles import COLORS, model, write_bundle, write_pictures

LABELS = distinct([label for _, label in imagenet_classes()])


def _tagged(name: str, *tags: tuple[str, float]) -> Tagged:
    return Tagged(path=Path(name), tags=tuple(Tag(label, score) for label, score in tags))


def test_tags_are_those_above_the_threshold_best_first() -> None:
    scores = np.array([0.15, 0.5, 0.3, 0.05], np.float32)
    chosen = choose(scores, "abcd", threshold=0.15, most=2)
    assert [item.label for item in chosen] == ["b", "c"]
    assert choose(scores, "abcd", threshold=0.6, most=2) == ()
    with pytest.raises(InferenceError, match="no probability"):
        choose(scores * 20, "abcd", threshold=0.1, most=2)


def test_every_member_of_the_built_in_groups_is_a_label() -> None:
    assert Groups.load().unknown(LABELS) == ()
    assert len(Groups.load().names) > 40


def test_a_users_group_replaces_the_built_in_one_and_groups_nest(tmp_path: Path) -> None:
    path = tmp_path / "groups.txt"
    path.write_text("Sea = pier,\n  water animal\nwater animal = gar, sea\n", encoding="utf-8")
    groups = Groups.load(path)
    assert {"pier", "gar"} <= groups.labels("sea")  # a loop ends
    assert "seashore" not in groups.labels("sea")
    assert "golden retriever" in groups.labels("animal")  # through mammal and dog
    assert groups.parent("golden retriever") == "dog"
    assert groups.parent("no such label") is None


@pytest.mark.parametrize("text", ["sea seashore", "= seashore", "sea =", "a = b\na = c"])
def test_a_line_that_is_no_group_is_named(text: str) -> None:
    with pytest.raises(UsageError, match=r"groups\.txt, line"):
        parse(text, "groups.txt")


PICTURES = (
    _tagged("belt.jpg", ("seat belt", 0.99)),
    _tagged("lion.jpg", ("sea lion", 0.9)),
    _tagged("shore.jpg", ("seashore", 0.4), ("golden retriever", 0.3)),
    _tagged("boat.jpg", ("schooner", 0.6)),
    _tagged("desk.jpg", ("desk", 0.9)),
)


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        # Group members first (the sea lion is a sea animal), then parts of words.
        ("sea", ["lion.jpg", "boat.jpg", "shore.jpg", "belt.jpg"]),
        ("SEA dog", ["shore.jpg"]),  # every word
        ("dogs", ["shore.jpg"]),  # the plural of a group
        ("retriever", ["shore.jpg"]),
        ("sea lion", ["lion.jpg"]),
        ("sk", ["desk.jpg"]),
        ("a+b", []),
    ],
)
def test_find(query: str, expected: Sequence[str]) -> None:
    found = find(PICTURES, query, Groups.load())
    assert [item.picture.path.name for item in found] == expected


def test_a_query_without_a_word_is_refused() -> None:
    with pytest.raises(UsageError, match="no word"):
        find(PICTURES, " - ", Groups.load())


OTHERS = b"""<?xpacket begin='\xef\xbb\xbf' id='W5M0MpCehiHzreSzNTczkc9d'?>
<x:xmpmeta xmlns:x='adobe:ns:meta/'><!-- darktable -->
<r:RDF xmlns:r='http://www.w3.org/1999/02/22-rdf-syntax-ns#'>
 <r:Description r:about='uuid:1' xmlns:dt='http://darktable.sf.net/' dt:history='a&#10;b > c'
   xmlns:d='http://purl.org/dc/elements/1.1/'>
  <d:subject><r:Bag><r:li>Oma &amp; Opa</r:li><r:li>desk</r:li></r:Bag></d:subject>
  <dt:unknown><r:Seq><r:li>x</r:li></r:Seq></dt:unknown>
 </r:Description>
</r:RDF></x:xmpmeta><?xpacket end='w'?>"""


def test_tags_are_added_to_what_others_wrote_and_nothing_else_changes() -> None:
    wanted = tag_values(["desk", "seashore"], Groups.load())
    content = with_tags(OTHERS, wanted)
    assert b"<r:li>Oma &amp; Opa</r:li><r:li>desk</r:li>" in content
    added = content
    for line in OTHERS.splitlines():
        head, _, rest = added.partition(line.split(b"</r:Bag>")[0].strip())
        assert head != added, line  # every line is there, in its order
        added = rest
    assert content.count(b">desk<") == 1
    assert b"<r:li>seashore</r:li>" in content
    assert b"<r:li>sea|seashore</r:li>" in content
    assert b"<r:li>sea/seashore</r:li>" in content
    assert b'rdf:about="uuid:1"' in content
    assert with_tags(content, wanted) == content  # a second run adds nothing


@pytest.mark.parametrize("inner", [b"<r:Bag/>", b"<r:Bag></r:Bag>", b'<r:Bag r:nodeID="/>"/>'])
def test_an_empty_array_is_filled(inner: bytes) -> None:
    start = OTHERS.index(b"<r:Bag>")
    end = OTHERS.index(b"</r:Bag>") + len(b"</r:Bag>")
    content = with_tags(OTHERS[:start] + inner + OTHERS[end:], {"subject": ["a<b"]})
    assert b"<r:li>a&lt;b</r:li></r:Bag></d:subject>" in content
    assert with_tags(content, {"subject": ["a<b"]}) == content


BOMB = b'<!DOCTYPE x [<!ENTITY e SYSTEM "file:///etc/passwd">]><x>&e;</x>'


@pytest.mark.parametrize(
    "content", [BOMB, b"", b"<x/>", b"\xff\xfe<\x00", OTHERS[:-60], b"\x00" * 50]
)
def test_what_is_no_xmp_is_refused(content: bytes) -> None:
    with pytest.raises(DataError, match="tags cannot be added"):
        with_tags(content, {"subject": ["a"]})


def test_odd_words_stay_xml_and_levels_stay_levels() -> None:
    values = tag_values(["a|b/c", "\x00<&>"], Groups({}))
    assert values["hierarchicalSubject"][0] == "a-b/c"
    assert values["TagsList"][0] == "a|b-c"
    again = with_tags(with_tags(EMPTY, values), values)
    assert again == with_tags(EMPTY, values)


def _sidecars(directory: Path, pictures: Sequence[Tagged], **options: Any) -> Any:
    given = {"naming": SidecarName.APPENDED, "folder": None, "step": lambda _: None} | options
    return write_sidecars(directory, pictures, Groups.load(), **given)


def test_sidecars_leave_what_they_cannot_read_and_refuse_to_share(tmp_path: Path) -> None:
    (tmp_path / "desk.jpg.xmp").write_bytes(BOMB)
    done = _sidecars(tmp_path, PICTURES)
    assert (done.written, done.unchanged) == (4, 0)
    assert list(done.problems) == [tmp_path / "desk.jpg.xmp"]
    assert (tmp_path / "desk.jpg.xmp").read_bytes() == BOMB
    assert _sidecars(tmp_path, PICTURES).unchanged == 4
    twins = [_tagged("a.jpg", ("desk", 1)), _tagged("a.png", ("desk", 1))]
    with pytest.raises(DataError, match="would share"):
        _sidecars(tmp_path, twins, naming=SidecarName.REPLACED)
    _sidecars(tmp_path, [_tagged("sub/a.jpg", ("desk", 1))], folder=tmp_path / "x")
    assert (tmp_path / "x/sub/a.jpg.xmp").is_file()


def test_folder_names_are_fit_and_differ_in_any_case_of_letters() -> None:
    names = folder_names(["Cardigan", "cardigan", "a/b", "..", "CON", "x" * 300, "a\\b"])
    assert len({name.casefold() for name in names.values()}) == 7
    assert not any(set('/\\:"') & set(name) or name.startswith(".") for name in names.values())
    assert names["CON"] == "_CON"
    assert len(names["x" * 300]) <= 120


@pytest.mark.parametrize("link", [False, True])
def test_copies_never_overwrite_and_a_second_run_makes_none(tmp_path: Path, link: bool) -> None:
    source, target = tmp_path / "photos", tmp_path / "out"
    for name in ("a/1.jpg", "b/1.jpg"):
        (source / name).parent.mkdir(parents=True)
        (source / name).write_text(name)
    (target / "desk").mkdir(parents=True)
    (target / "desk/1.jpg").write_text("mine")
    pictures = [_tagged(name, ("desk", 0.9), ("pier", 0.3)) for name in ("a/1.jpg", "b/1.jpg")]

    def run() -> tuple[int, int]:
        return copy_tagged(source, pictures, target, link=link, step=lambda _: None)

    assert run() == (4, 0)
    assert run() == (0, 4)
    assert (target / "desk/1.jpg").read_text() == "mine"
    assert (target / "desk/1 (2).jpg").read_text() == "a/1.jpg"
    assert (target / "desk/1 (3).jpg").read_text() == "b/1.jpg"
    assert (target / "desk/1 (2).jpg").samefile(source / "a/1.jpg") == link


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_bundle(tmp_path_factory.mktemp("tagger") / "b", {"onnx-fp32": model()})


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    return write_pictures(tmp_path / "photos", 2)


def test_only_new_and_changed_pictures_are_tagged_again(
    photos: Path, bundle: Path, tmp_path: Path
) -> None:
    cache = StageCache(tmp_path / "cache")

    def run(**options: Any) -> Any:
        with TagIndex(default_index(cache.root, photos)) as index:
            return tag(photos, index, TagOptions(**options), cache, Silent())

    first = run(bundle=bundle, threshold=0.5)
    assert (first.fresh, len(first.pictures)) == (8, 8)
    right = [item for item in first.pictures if item.tags[0].label == item.path.parts[0]]
    assert len(right) >= 6  # the pictures are made so that a few lie nearer another colour
    assert run().fresh == 0  # the bundle and the threshold of the last run
    (photos / "red/000.png").unlink()
    (photos / "new.png").write_bytes((photos / "blue/000.png").read_bytes())
    (photos / "bad.png").write_text("no picture")
    again = run()
    assert (again.fresh, len(again.pictures)) == (2, 9)
    assert [item.path.name for item in again.pictures if item.problem] == ["bad.png"]
    assert run(threshold=0.01).fresh == 9  # other tags, but no new scores: see test_features
    with pytest.raises(UsageError, match="--dask nowhere is not an address"):
        run(dask="nowhere")  # though there is nothing to compute
    assert run().settings.threshold == 0.01


@pytest.mark.parametrize("seed", range(12))
def test_an_index_that_was_changed_tells_nothing_wrong(
    photos: Path, bundle: Path, tmp_path: Path, seed: int
) -> None:
    """A byte flipped, or the end cut off: what does not fit is tagged again."""
    cache = StageCache(tmp_path / "cache")
    path = default_index(cache.root, photos)

    def run() -> Any:
        with TagIndex(path, own=True) as index:
            return tag(photos, index, TagOptions(bundle=bundle, threshold=0.2), cache, Silent())

    right = run().pictures
    content = bytearray(path.read_bytes())
    place = int(np.random.default_rng(seed).integers(0, len(content)))
    if seed % 3:
        content[place] ^= 1 << seed % 8
    else:
        del content[place:]
    path.write_bytes(content)
    assert run().pictures == right
    assert run().fresh == 0


def test_values_in_an_index_that_were_changed_are_not_believed(
    photos: Path, bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cache = StageCache(tmp_path / "cache")
    path = tmp_path / "mine.sqlite"
    options = TagOptions(bundle=bundle, threshold=0.2)

    def run(options: TagOptions = options) -> Any:
        with TagIndex(path) as index:
            return tag(photos, index, options, cache, Silent())

    right = run().pictures
    for change in (
        "UPDATE tags SET score = score * 0.9 WHERE label = 'red'",
        "UPDATE pictures SET problem = 'it cannot be read' WHERE size > 0",
        "DELETE FROM tags WHERE label = 'blue'",
        "UPDATE tags SET label = CAST(X'ff41' AS TEXT) WHERE label = 'red'",
    ):
        with closing(sqlite3.connect(path)) as database, database:
            database.execute(change)
        with TagIndex(path) as index:
            left = kept(photos, index).pictures
            assert index.doubted == len(right) - len(left) > 0
        assert set(left) < set(right)
        assert run().pictures == right
    with closing(sqlite3.connect(path)) as database, database:
        database.execute("UPDATE settings SET value = replace(value, '0.2', '0.9')")
    with TagIndex(path) as index:
        assert index.settings is None
    assert "options of the last run" in capsys.readouterr().err
    assert run().pictures == right


def test_an_index_without_checksums_keeps_its_options(
    photos: Path, bundle: Path, tmp_path: Path
) -> None:
    path = tmp_path / "old.sqlite"
    with closing(sqlite3.connect(path)) as database, database:
        database.executescript(
            "CREATE TABLE settings (value TEXT);"
            "CREATE TABLE pictures (path BLOB PRIMARY KEY, size INTEGER, mtime_ns INTEGER,"
            " problem TEXT) WITHOUT ROWID;"
            "CREATE TABLE tags (path BLOB, label TEXT, score REAL, PRIMARY KEY (path, label))"
            " WITHOUT ROWID; PRAGMA user_version = 1;"
        )
        settings = {"bundle": str(bundle), "variant": None, "threshold": 0.25, "max_tags": 3}
        database.execute("INSERT INTO settings VALUES (?)", (json.dumps(settings),))
    with TagIndex(path) as index:
        done = tag(photos, index, TagOptions(), StageCache(tmp_path / "cache"), Silent())
    assert (done.fresh, done.settings.threshold) == (8, 0.25)


def test_two_runs_do_not_write_one_index(photos: Path, bundle: Path, tmp_path: Path) -> None:
    path, cache = tmp_path / "index.sqlite", StageCache(tmp_path / "cache")
    options = TagOptions(bundle=bundle)
    with TagIndex(path) as index:
        tag(photos, index, options, cache, Silent())
        with TagIndex(path) as other:
            assert len(kept(photos, other).pictures) == 8  # reading waits for nobody
            with pytest.raises(OutputError, match="another run"):
                tag(photos, other, options, cache, Silent())


def test_the_command(photos: Path, bundle: Path, tmp_path: Path) -> None:
    before = {path: path.read_bytes() for path in photos.rglob("*.png")}
    common = ["tag", str(photos), "--cache", str(tmp_path / "cache"), "--json", "-q"]

    def run(*words: object) -> Any:
        done = CliRunner().invoke(app, [*common, *map(str, words)], catch_exceptions=True)
        if isinstance(done.exception, EdgeError):
            raise done.exception
        assert done.exit_code == 0, done.output
        return json.loads(done.stdout)

    with pytest.raises(UsageError, match="not been tagged"):
        run("--no-update")
    table = tmp_path / "tags.csv"
    sidecars, copies = tmp_path / "x", tmp_path / "c"
    run("--bundle", bundle, "--csv", table, "--xmp-dir", sidecars, "--copy-to", copies)
    raw = table.read_bytes()
    rows = list(csv.DictReader(raw.decode("utf-8").splitlines()))
    assert raw.startswith(b"image,tag,probability\r\n")
    assert {row["tag"] for row in rows} <= set(COLORS)
    assert len(list(sidecars.rglob("*.png.xmp"))) == 8
    assert len(list(copies.rglob("*.png"))) >= 8
    found = run("--find", "blu", "--no-update")["found"]
    assert found
    assert all(item["tag"] == "blue" and item["match"] == "part" for item in found)
    assert {path: path.read_bytes() for path in photos.rglob("*") if path.is_file()} == before
    with pytest.raises(OutputError, match="exists"):
        run("--csv", table)
    with pytest.raises(UsageError, match="lies in"):
        run("--copy-to", photos / "tags")
    with pytest.raises(UsageError, match="unknown backbone"):
        run("--backbone", "nonsense")
    with pytest.raises(UsageError, match="both name"):
        run("--backbone", "mobilenet", "--bundle", bundle)
    with pytest.raises(UsageError, match="is not an index of tags"):
        run("--index", table)


def test_a_search_that_finds_nothing_says_so(photos: Path, bundle: Path, tmp_path: Path) -> None:
    common = ["tag", str(photos), "--cache", str(tmp_path / "cache"), "--quiet"]
    runner = CliRunner()
    assert runner.invoke(app, [*common, "--bundle", str(bundle)]).exit_code == 0
    missed = runner.invoke(app, [*common, "--find", "zebra", "--json"])
    value = json.loads(missed.stdout)
    assert (value["matches"], value["found"]) == (0, [])
    assert isinstance(missed.exception, NegativeVerdict)
    assert "zebra" in missed.exception.message
    near = runner.invoke(app, [*common, "--find", "bleu"])
    assert isinstance(near.exception, NegativeVerdict)
    assert "blue" in near.exception.hint
    group = runner.invoke(app, [*common, "--find", "sea"])
    assert isinstance(group.exception, NegativeVerdict)
    assert "Did you mean" not in group.exception.hint
    hit = json.loads(runner.invoke(app, [*common, "--find", "blu", "--json"]).stdout)
    assert hit["matches"] == len(hit["found"]) > 0


def test_a_folder_that_is_none_is_said(tmp_path: Path) -> None:
    Image.new("RGB", (8, 8)).save(tmp_path / "a.png")
    for path in (tmp_path / "none", tmp_path / "a.png"):
        done = CliRunner().invoke(app, ["tag", str(path)])
        assert isinstance(done.exception, DataError)
