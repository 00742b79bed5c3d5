"""Few shots: classes, episodes, intervals, baselines, options; no TensorFlow."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from edge.cli.app import app
from edge.errors import DataError, EdgeError, UsageError
from edge.fewshot.classes import find_classes, pixels, turned
from edge.fewshot.episodes import Episode, draw_episodes, mini_batches
from edge.fewshot.options import FewShotMethod, FewShotOptions, Split, parse_methods, parse_shots
from edge.fewshot.result import ClassCounts, FewShotResult, MethodAccuracy, draw, mean_accuracy
from edge.fewshot.run import BASELINES, baseline_answers
from edge.progress import Silent

PICTURES = 6


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Nine classes in three groups, each a shade of its own."""
    root = tmp_path_factory.mktemp("photos")
    for index in range(9):
        folder = root / f"group{index // 3}-class{index}"
        folder.mkdir()
        for number in range(PICTURES):
            noise = np.random.default_rng([index, number]).integers(0, 6, (12, 12))
            Image.fromarray((20 * index + noise).astype(np.uint8)).save(folder / f"{number}.png")
    return root


def options(photos: Path, tmp_path: Path, **changes: Any) -> FewShotOptions:
    given = {"ways": 2, "shots": (1, 3), "queries": 2, "episodes": 4, "size": 16, **changes}
    return FewShotOptions(photos=photos, cache=tmp_path / "cache", **given)


def test_classes_are_divided_by_seed(photos: Path, tmp_path: Path) -> None:
    found = find_classes(options(photos, tmp_path), Silent())
    assert not set(found.training) & set(found.held_out)
    assert len(found.training) == 7
    assert len(found.held_out) == 2
    assert [len(rows) for rows in found.rows(found.held_out)] == [PICTURES] * 2
    again = find_classes(options(photos, tmp_path), Silent())
    assert again == found
    others = {find_classes(options(photos, tmp_path, seed=s), Silent()).held_out for s in range(5)}
    assert len(others) > 1


def test_groups_are_held_out_whole(photos: Path, tmp_path: Path) -> None:
    found = find_classes(options(photos, tmp_path, split=Split.GROUPS), Silent())
    seen = {found.names[index].partition("-")[0] for index in found.training}
    kept = {found.names[index].partition("-")[0] for index in found.held_out}
    assert not seen & kept
    assert (len(seen), len(kept), found.groups) == (2, 1, 1)


def test_without_meta_training_every_class_is_scored(photos: Path, tmp_path: Path) -> None:
    found = find_classes(options(photos, tmp_path, methods=(FewShotMethod.KNN,)), Silent())
    assert found.training == ()
    assert len(found.held_out) == 9


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"ways": 10, "methods": (FewShotMethod.KNN,)}, "gives 9 classes; 10 ways need 10"),
        ({"ways": 3}, "2 held-out classes; 3 ways"),
        ({"shots": (5,)}, "has 6 usable pictures; 5 shots"),
        ({"split": Split.GROUPS, "ways": 4}, "3 held-out classes; 4 ways"),
    ],
)
def test_too_small_folders_are_refused(
    photos: Path, tmp_path: Path, changes: dict[str, Any], said: str
) -> None:
    with pytest.raises(DataError, match=said) as caught:
        find_classes(options(photos, tmp_path, **changes), Silent())
    assert caught.value.hint


def test_one_class_is_refused(tmp_path: Path) -> None:
    (tmp_path / "photos" / "only").mkdir(parents=True)
    Image.new("L", (8, 8)).save(tmp_path / "photos" / "only" / "1.png")
    with pytest.raises(DataError, match="'only' only"):
        find_classes(options(tmp_path / "photos", tmp_path), Silent())


def test_copies_and_broken_pictures_do_not_count(photos: Path, tmp_path: Path) -> None:
    for name in ("a", "b"):
        folder = tmp_path / "photos" / name
        folder.mkdir(parents=True)
        for number in range(4):
            content = (photos / "group0-class0" / f"{number}.png").read_bytes()
            (folder / f"{number}.png").write_bytes(content)
        (folder / "copy.png").write_bytes(content)
        (folder / "broken.png").write_bytes(content[:50])
    few = options(tmp_path / "photos", tmp_path, methods=(FewShotMethod.KNN,), shots=(2,))
    assert len(find_classes(few, Silent()).pictures) == 8
    with pytest.raises(DataError, match="has 4 usable pictures"):
        find_classes(options(tmp_path / "photos", tmp_path, methods=(FewShotMethod.KNN,)), Silent())


CLASSES = [np.arange(10 * index, 10 * index + 10) for index in range(6)]


def drawn(shots: int, **changes: Any) -> list[Episode]:
    given = {"ways": 3, "most_shots": 5, "queries": 2, "episodes": 20, "seed": 0, **changes}
    return draw_episodes(CLASSES, shots=shots, **given)


def test_episodes_show_nothing_that_they_ask_for() -> None:
    episodes = list(drawn(5))
    assert len(episodes) == 20
    for episode in episodes:
        assert episode.support.shape == (3, 5)
        assert episode.queries.shape == (3, 2)
        rows = np.concatenate([episode.support, episode.queries], axis=1)
        assert len(np.unique(rows)) == rows.size
        assert (rows // 10 == rows[:, :1] // 10).all()  # a class in each line
        assert len(np.unique(rows[:, 0] // 10)) == 3


def test_episodes_of_fewer_shots_are_part_of_those_of_more() -> None:
    for one, five in zip(drawn(1), drawn(5), strict=True):
        np.testing.assert_array_equal(one.queries, five.queries)
        np.testing.assert_array_equal(one.support, five.support[:, :1])
    assert not np.array_equal(drawn(1)[0].queries, drawn(1, seed=1)[0].queries)


def test_mini_batches_use_every_row_before_one_comes_again() -> None:
    batches = mini_batches(25, 10, 5, np.random.default_rng(0))
    assert batches.shape == (5, 10)
    flat = batches.reshape(-1)
    assert sorted(flat[:25]) == sorted(flat[25:]) == list(range(25))


def test_the_interval_is_students() -> None:
    # t of 3 degrees of freedom at 0.975 is 3.182 in any table.
    found = mean_accuracy(1, [0.4, 0.6, 0.5, 0.7])
    spread = 3.182 * math.sqrt(0.05 / 3) / 2
    assert found.mean == pytest.approx(0.55)
    assert found.high - found.mean == pytest.approx(spread, rel=1e-3)
    assert mean_accuracy(1, [1.0, 0.9]).high == 1.0


@pytest.mark.parametrize("method", BASELINES)
def test_baselines_learn_clear_classes(method: FewShotMethod) -> None:
    generator = np.random.default_rng(0)
    centres = np.repeat(generator.normal(size=(6, 16)), 10, axis=0)
    vectors = (centres + 0.1 * generator.normal(size=(60, 16))).astype(np.float32)
    for episode in drawn(1) + drawn(5):
        assert episode.accuracy(baseline_answers(method, vectors, episode)) == 1.0
    noise = generator.normal(size=(60, 16)).astype(np.float32)
    chance = [
        item.accuracy(baseline_answers(method, noise, item)) for item in drawn(1, episodes=50)
    ]
    assert np.mean(chance) == pytest.approx(1 / 3, abs=0.11)  # 4 standard errors of 300 answers


def test_turned_pictures_are_classes_of_their_own() -> None:
    table = np.arange(2 * 3 * 3, dtype=np.uint8).reshape(2, 3, 3, 1)
    tables, classes = turned(table, [np.array([0]), np.array([1])])
    assert len(classes) == 8
    np.testing.assert_array_equal(tables[classes[2][0]], np.rot90(table[0]))
    np.testing.assert_array_equal(tables[classes[7][0]], np.rot90(table[1], 3))


def test_grey_pictures_have_one_channel_and_dark_is_high(photos: Path, tmp_path: Path) -> None:
    found = find_classes(options(photos, tmp_path), Silent())
    table = pixels(found)
    assert table.shape == (9 * PICTURES, 16, 16, 1)
    assert table[0].mean() > table[-1].mean()


def test_options_are_read() -> None:
    assert parse_shots("5, 1,5") == (1, 5)
    assert parse_methods(None) == tuple(FewShotMethod)
    assert parse_methods("reptile,knn") == (FewShotMethod.KNN, FewShotMethod.REPTILE)
    for text in ("", "0,1", "one", "1;5"):
        with pytest.raises(UsageError):
            parse_shots(text)
    for text in ("", "svm", "knn,svm"):
        with pytest.raises(UsageError, match="--methods"):
            parse_methods(text)


def result(shots: tuple[int, ...] = (1, 5)) -> FewShotResult:
    rows = tuple(
        MethodAccuracy(
            method=method,
            accuracy=tuple(mean_accuracy(count, [0.5, 0.9]) for count in shots),
            seconds=1.0,
            meta_seconds=None,
        )
        for method in (FewShotMethod.KNN, FewShotMethod.REPTILE)
    )
    return FewShotResult(
        name="photos",
        ways=5,
        queries=5,
        episodes=2,
        embedding=None,
        classes=ClassCounts(all=9, training=7, held_out=2, held_out_groups=None),
        training=("a",),
        iterations=10,
        rotations=True,
        rows=rows,
        seed=0,
    )


@pytest.mark.parametrize("suffix", [".png", ".svg"])
def test_the_plot_is_written_and_equal_for_equal_results(tmp_path: Path, suffix: str) -> None:
    paths = [tmp_path / f"{number}{suffix}" for number in range(2)]
    for path in paths:
        draw(result(), path)
    assert paths[0].read_bytes() == paths[1].read_bytes()
    if suffix == ".png":
        with Image.open(paths[0]) as image:
            assert image.size == (960, 600)


@pytest.mark.parametrize(
    "words",
    [["--methods", "svm"], ["--shots", "0"], ["--plot", "a.jpg"], ["--ways", "200"]],
)
def test_the_command_refuses_bad_input(photos: Path, words: list[str]) -> None:
    found = CliRunner().invoke(app, ["fewshot", str(photos), "--quiet", *words])
    assert isinstance(found.exception, EdgeError)
    assert found.exception.hint


def test_the_command_prints_a_table(photos: Path, tmp_path: Path) -> None:
    words = ["--methods", "pixels", "--ways", "3", "--queries", "2", "--shots", "1,2", "--quiet"]
    places = ["--cache", str(tmp_path), "--plot", str(tmp_path / "plot.png")]
    found = CliRunner().invoke(app, ["fewshot", str(photos), "--episodes", "5", *words, *places])
    assert found.exit_code == 0, found.output
    assert "2-shot" in found.output
    assert (tmp_path / "plot.png").is_file()
