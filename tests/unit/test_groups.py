"""Groups of pictures: no split parts them, and a folder without any is divided as ever."""

import json
import random
from collections import Counter
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
from numpy.typing import NDArray
from typer.testing import CliRunner

from edge.cli.app import app
from edge.dataset.groups import divide, read_groups
from edge.dataset.scan import Dataset, scan
from edge.dataset.tables import table_bytes
from edge.errors import DataError, UsageError
from edge.runtime.bundle import Bundle
from edge.runtime.live.statements import accuracy
from edge.runtime.spec import Variant
from edge.wording import counted

MakeFolder = Callable[..., Path]
BOTH = {"test": 0.15, "val": 0.15}


def content(name: object) -> str:
    return sha256(str(name).encode()).hexdigest()


def before_groups(label_of: dict[str, int], seed: int) -> dict[str, str]:
    """What was dealt before there were groups, as it was written then."""
    side: dict[str, str] = {}
    for label in set(label_of.values()):
        contents = {item for item, its in label_of.items() if its == label}
        ranked = sorted(contents, key=lambda item: sha256(f"{seed}:{item}".encode()).hexdigest())
        waiting = len(BOTH)
        for split, fraction in BOTH.items():
            spare = len(ranked) - waiting
            waiting -= 1
            count = min(max(1, round(fraction * len(contents))), spare)
            side.update(dict.fromkeys(ranked[:count], split))
            ranked = ranked[count:]
    return side


@pytest.mark.parametrize("seed", range(20))
def test_single_pictures_are_dealt_as_before(seed: int) -> None:
    generator = random.Random(seed)
    sizes = [generator.choice((3, 4, 5, 7, 20, 33, 100)) for _ in range(5)]
    label_of = {
        content((seed, label, n)): label for label, size in enumerate(sizes) for n in range(size)
    }
    side = divide(label_of, BOTH, seed=seed)
    assert side == (before_groups(label_of, seed), frozenset())
    alone = {item: number for number, item in enumerate(label_of)}
    assert divide(label_of, BOTH, seed=seed, group_of=alone) == side


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("mixed", [False, True])
def test_no_group_is_parted_and_classes_keep_their_shares(seed: int, mixed: bool) -> None:
    """Groups of one class, and groups that several classes share, such as people."""
    generator = random.Random(seed)
    label_of: dict[str, int] = {}
    group_of: dict[str, int] = {}
    for group in range(60):
        for number in range(generator.randint(1, 8)):
            item = content((seed, group, number))
            label_of[item] = generator.randrange(3) if mixed else group % 3
            group_of[item] = group
    side, parted = divide(label_of, BOTH, seed=seed, group_of=group_of)
    assert not parted
    where = {(group_of[item], side.get(item, "train")) for item in label_of}
    assert len(where) == 60
    counts = Counter((label, side.get(item, "train")) for item, label in label_of.items())
    totals = Counter(label_of.values())
    for label, total in totals.items():
        for split in BOTH:
            assert counts[label, split] / total == pytest.approx(0.15, abs=0.05)
    backwards = dict(reversed(label_of.items()))
    renumbered = {item: 99 - group for item, group in group_of.items()}
    assert divide(backwards, BOTH, seed=seed, group_of=renumbered) == (side, parted)
    assert divide(label_of, BOTH, seed=seed + 1, group_of=group_of)[0] != side


@pytest.mark.parametrize("sizes", [(40, 5, 5), (1, 1, 30), (9, 9, 9), (2, 30, 30, 1)])
@pytest.mark.parametrize("seed", range(4))
def test_three_groups_are_enough_and_the_largest_is_learnt(
    seed: int, sizes: tuple[int, ...]
) -> None:
    group_of = {content((g, n)): g for g, size in enumerate(sizes) for n in range(size)}
    side, parted = divide(dict.fromkeys(group_of, 0), BOTH, seed=seed, group_of=group_of)
    assert not parted
    where = {group: {side.get(item, "train")} for item, group in group_of.items()}
    assert set().union(*where.values()) == {"train", "val", "test"}
    assert sum(item not in side for item in group_of) >= max(sizes)


def test_a_class_without_enough_groups_is_parted_and_no_other_one() -> None:
    """Also where groups are enough by number, and cannot be dealt: here each group of b is one
    that a needs, and a has only three."""
    group_of = {content((g, n)): g for g in range(5) for n in range(4)}
    label_of = {item: int(group >= 3) for item, group in group_of.items()}
    side, parted = divide(label_of, BOTH, seed=0, group_of=group_of)
    assert parted == {1}
    assert len({(g, side.get(item, "")) for item, g in group_of.items() if g < 3}) == 3
    assert {side.get(item, "") for item in label_of if label_of[item] == 1} == {"", *BOTH}


# ---- the file, and the folder


def named(root: Path, rows: object) -> Path:
    path = root.parent / "groups.csv"
    path.write_bytes(table_bytes([("file", "group"), *rows]))  # type: ignore[misc]
    return path


@pytest.fixture
def photos(make_folder: MakeFolder) -> tuple[Path, Path]:
    """Two classes of twelve pictures, in groups of three; and the file that says so."""
    root = make_folder({"a": 12, "b": 12})
    rows = [(f"{it}/{n:03}.png", f"{it}{n // 3}") for it in "ab" for n in range(12)]
    return root, named(root, rows)


def places(dataset: Dataset, file: Path, root: Path) -> dict[str, set[str]]:
    """The splits in which each group lies."""
    groups, found = read_groups(file).groups, dict[str, set[str]]()
    for split, images in dataset.splits.items():
        for image in images:
            group = groups[image.path.relative_to(root).as_posix()]
            found.setdefault(group, set()).add(split)
    return found


def test_a_folder_is_divided_by_groups(photos: tuple[Path, Path]) -> None:
    root, file = photos
    dataset = scan(root, seed=0, groups=file)
    assert all(len(splits) == 1 for splits in places(dataset, file, root).values())
    assert dataset.counts()["test"] == dataset.counts()["val"] == {"a": 3, "b": 3}
    assert dataset.notes == () and dataset.division is not None
    assert dataset.division.words.startswith("divided by 8 groups of 24 pictures, so that no group")
    assert (
        "the 6 scored ones are of 2 groups" in dataset.division.words
        and not dataset.division.warning
    )
    again = scan(root, seed=0, groups=file)
    assert again.sha256 == dataset.sha256 != scan(root, seed=0).sha256
    for path in (*root.glob("*/*.png"), root / "a", root / "b"):  # names do not decide
        path.rename(path.with_name(path.name[::-1] if path.is_dir() else f"x{path.name}"))
    rows = [(name.replace("/", "/x"), group) for name, group in read_groups(file).groups.items()]
    renamed = scan(root, seed=0, groups=named(root, rows))
    assert renamed.sha256 == dataset.sha256


def test_without_groups_nothing_changes(photos: tuple[Path, Path]) -> None:
    root, _ = photos
    rows = [(f"{it}/{n:03}.png", f"{it}{n}") for it in "ab" for n in range(12)]
    alone, plain = scan(root, seed=4, groups=named(root, rows)), scan(root, seed=4)
    assert alone.splits == plain.splits and alone.sha256 == plain.sha256
    assert plain.groups is None and plain.division is None


def test_pictures_without_a_name_are_alone_and_counted(photos: tuple[Path, Path]) -> None:
    root, _ = photos
    rows = [("./a\\000.png", "x"), ("a/001.png", "x"), ("a/001.png", "x"), ("b/gone.png", "y")]
    dataset = scan(root, seed=0, groups=named(root, rows))
    division = dataset.division
    assert division is not None and (division.groups, division.unnamed) == (23, 22)
    said = " | ".join(dataset.notes)
    assert "1 name of" in said and "such as b/gone.png" in said
    assert "22 pictures that" in said and "1 line of" in said
    with pytest.raises(
        DataError, match=r"files that are not there .* 1 name matches .*b/gone\.png"
    ):
        scan(root, seed=0, groups=named(root, rows), strict=True)


def test_copies_join_their_groups(photos: tuple[Path, Path]) -> None:
    root, file = photos
    (root / "a/copy.png").write_bytes((root / "a/000.png").read_bytes())
    rows = [*read_groups(file).groups.items(), ("a/copy.png", "a3")]
    dataset = scan(root, seed=0, groups=named(root, rows))
    found = places(dataset, file.with_name("groups.csv"), root)
    assert found["a0"] == found["a3"] and len(found["a0"]) == 1
    assert any("1 groups have pictures in common" in note for note in dataset.notes)


def test_too_few_groups_are_refused_or_told(photos: tuple[Path, Path]) -> None:
    root, file = photos
    rows = [(n, "one" if n.startswith("a") else g) for n, g in read_groups(file).groups.items()]
    with pytest.raises(DataError, match="class 'a' cannot be in every split") as caught:
        scan(root, seed=0, groups=named(root, rows))
    assert "--divide-groups" in caught.value.hint
    dataset = scan(root, seed=0, groups=named(root, rows), divide_groups=True)
    assert dataset.division is not None and dataset.division.parted == ("a",)
    assert dataset.division.warning.startswith("the score is flattered: class 'a' has too few")
    assert "'a' one by one" in dataset.division.words
    plain = scan(root, seed=0)
    assert [i for i in dataset.test if i.label == 0] == [i for i in plain.test if i.label == 0]


def test_the_users_own_splits_must_not_part_a_group(make_folder: MakeFolder) -> None:
    root = make_folder({f"{split}/{it}": 6 for split in ("train", "test") for it in "ab"})
    rows = [
        (f"{split}/{it}/{n:03}.png", f"{split}{it}{n // 2}")
        for split in ("train", "test")
        for it in "ab"
        for n in range(6)
    ]
    dataset = scan(root, seed=0, groups=named(root, rows))
    assert dataset.division is not None
    assert (dataset.division.needed, dataset.division.groups) == (2, 12)
    assert all(len(splits) == 1 for splits in places(dataset, named(root, rows), root).values())
    with pytest.raises(DataError, match=r"1 group of .* lies in several splits"):
        scan(root, seed=0, groups=named(root, [("test/a/000.png", "traina0"), *rows[:12]]))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "is empty"),
        ("file;label\na/000.png;x\n", "no column 'group'"),
        ("group,file,group\nx,a/000.png,y\n", "two columns 'group'"),
        ("file,group\na/000.png\n", "line 2 of .* has 1 cells"),
        ("file,group\na/000.png,\n", "line 2 of .* names no group"),
        ("file,group\n/a/000.png,x\n", "is no path below the folder"),
        ("file,group\n../a/000.png,x\n", "is no path below the folder"),
        ("file,group\n,x\n", "is no path below the folder"),
        ("file,group\na/000.png,x\n\na/000.png,y\n", "line 4 .* 'y', line 2 into 'x'"),
        ("file,group\n000.png,x\nb/x.png,x\n", "names none of the 24 pictures .* 2 names"),
        ("file,group\n", "names none"),
        ("file,group\n\0,\0\n", "names none"),
    ],
)
def test_a_wrong_file_is_refused(text: str, said: str, photos: tuple[Path, Path]) -> None:
    root, file = photos
    file.write_text(text, encoding="utf-8")
    with pytest.raises(UsageError, match=said) as caught:
        scan(root, seed=0, groups=file)
    assert caught.value.hint or "cells" in said


def test_the_command_refuses_them_before_anything_is_trained(
    photos: tuple[Path, Path], tmp_path: Path
) -> None:
    root, file = photos
    words = ["build", str(root), "-o", str(tmp_path / "out"), "--cache", str(tmp_path / "cache")]
    without = CliRunner().invoke(app, [*words, "--divide-groups"])
    assert isinstance(without.exception, UsageError)
    assert "no effect without --groups" in without.exception.message
    file.write_text("file,group\na/000.png,x\na/000.png,y\n", encoding="utf-8")
    wrong = CliRunner().invoke(app, [*words, "--groups", str(file)])
    assert isinstance(wrong.exception, UsageError) and "line 3" in wrong.exception.message
    assert not (tmp_path / "out").exists()


def test_other_columns_and_a_mark_of_the_byte_order_do_no_harm(photos: tuple[Path, Path]) -> None:
    root, file = photos
    file.write_text("\ufeffcamera\tgroup\tfile\n1\tx\ta/000.png\n", encoding="utf-8")
    assert read_groups(file).groups == {"a/000.png": "x"}
    with pytest.raises(UsageError, match="cannot be read"):
        read_groups(root)
    file.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UsageError, match="cannot be read"):
        read_groups(file)


def test_the_page_of_a_bundle_names_the_classes_that_are_flattered() -> None:
    """The classes whose score is flattered; a report without groups is read as ever."""
    row: dict[str, Any] = {"name": "x", "top1_interval": [0.8, 1.0]}
    rows: dict[str, Any] = {"variants": [row], "reference": {"labelled": 20}, "data": {}}
    said = accuracy(*bundle_with(rows))
    assert said == {"top1": 0.9, "low": 0.8, "high": 1.0, "images": 20, "flattered": []}
    rows["data"]["groups"] = {"parted": ["cat"]}
    said = accuracy(*bundle_with(rows))
    assert said is not None and said["flattered"] == ["cat"]


def test_a_device_without_the_report_states_the_score_alone() -> None:
    """A deploy leaves the report at home; the manifest has the score."""
    said = accuracy(*bundle_with({}))
    assert said == {"top1": 0.9, "low": None, "high": None, "images": None, "flattered": []}


def bundle_with(report: dict[str, Any]) -> tuple[Bundle, Variant]:
    """As much of a bundle as is asked for its score."""
    content = json.dumps(report).encode()
    manifest = SimpleNamespace(files={"report.json": "0" * 64})
    bundle = SimpleNamespace(manifest=manifest, content=lambda *_, **__: content)
    return cast("Bundle", bundle), cast("Variant", SimpleNamespace(name="x", top1=0.9))


# ---- what it is for


def nearest_right(dataset: Dataset, vectors: dict[str, NDArray[np.float64]]) -> float:
    """The share of the test images whose nearest training image has their class."""
    known = np.stack([vectors[image.sha256] for image in dataset.train])
    right = [
        dataset.train[int(((known - vectors[image.sha256]) ** 2).sum(axis=1).argmin())].label
        == image.label
        for image in dataset.test
    ]
    return sum(right) / len(right)


def test_a_series_of_nearly_equal_pictures_flatters_only_without_groups(
    make_folder: MakeFolder,
) -> None:
    """The classes have nothing in common: only who saw a picture's series knows its class."""
    root = make_folder({"a": 60, "b": 60})
    rows = [(f"{it}/{n:03}.png", f"{it}{n // 10}") for it in "ab" for n in range(60)]
    file, generator = named(root, rows), np.random.default_rng(0)
    centres = {group: generator.normal(size=8) for _, group in rows}
    vectors = {
        sha256((root / name).read_bytes()).hexdigest(): centres[group]
        + 0.01 * generator.normal(size=8)
        for name, group in rows
    }
    plain = [nearest_right(scan(root, seed=seed), vectors) for seed in range(8)]
    honest = [nearest_right(scan(root, seed=seed, groups=file), vectors) for seed in range(8)]
    assert min(plain) == 1.0, counted(len(plain), "division")
    assert np.mean(honest) < 0.8
