"""Maps of a file that looks at one corner only: they must light up there, whatever the engine."""

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from edge.cli.app import app
from edge.cli.check.explain import _print_legend
from edge.errors import DataError, OutputError, UsageError
from edge.explanation.explain import explain
from edge.explanation.options import ExplainOptions
from edge.explanation.page import short_names
from edge.explanation.result import HeatMap, ImageExplanation, correlation
from edge.explanation.sensitivity import (
    MaskMethod,
    Masks,
    apply,
    background,
    heat_map,
    log_odds,
    positions_per_side,
)
from edge.progress import Silent
from edge.runtime.contract import Preprocessing
from tests.color_bundles import LABELS, model, nearest_color, write_bundle

SIDE = 32
CONTRACT = Preprocessing(height=SIDE, width=SIDE)


def _corner_model(row: int, column: int) -> bytes:
    """Answers by the colour of one quarter of the image: 0 is the upper or left half."""
    weights, bias = nearest_color(SIDE)
    seen = np.zeros((SIDE, SIDE, 1), np.float32)
    half = SIDE // 2
    seen[row * half : (row + 1) * half, column * half : (column + 1) * half] = 4
    weights = weights.reshape(SIDE, SIDE, 3, -1) * seen[..., np.newaxis]
    return model(weights=weights.reshape(SIDE * SIDE * 3, -1), bias=bias, side=SIDE)


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One file looks at the upper left quarter, the other at the lower right one."""
    folder = tmp_path_factory.mktemp("bundle") / "bundle"
    models = {"onnx-fp32": _corner_model(0, 0), "onnx-int8": _corner_model(1, 1)}
    return write_bundle(folder, models, preprocessing=CONTRACT)


@pytest.fixture(scope="module")
def picture(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Red in two opposite quarters, blue in the others, with what blurring makes grey."""
    pixels = np.full((SIDE, SIDE, 3), (95, 95, 160), np.uint8)
    half = SIDE // 2
    pixels[:half, :half] = pixels[half:, half:] = (160, 95, 95)
    path = tmp_path_factory.mktemp("picture") / "two $x$ <corners>.png"
    Image.fromarray(pixels).save(path)
    return path


def _share(values: np.ndarray[Any, Any], row: int, column: int) -> float:
    """Of what speaks for the class, the part in one quarter."""
    half = SIDE // 2
    positive = np.clip(values, 0, None)
    quarter = positive[row * half : (row + 1) * half, column * half : (column + 1) * half]
    return float(quarter.sum() / positive.sum())


@pytest.mark.parametrize("method", list(MaskMethod))
def test_each_file_lights_up_where_it_looks(
    bundle: Path, picture: Path, method: MaskMethod
) -> None:
    options = ExplainOptions(bundle=bundle, images=(picture,), method=method, masks=200)
    (found,) = explain(options, Silent()).images
    first, second = found.maps
    assert (first.source, second.source) == ("onnx-fp32", "onnx-int8")
    assert found.label == "red"
    # A quarter by chance; a window of a quarter of the side reaches over the border.
    assert _share(first.values, 0, 0) > 0.5
    assert _share(second.values, 1, 1) > 0.5
    assert second.correlation is not None
    assert second.correlation < 0  # they look at opposite corners
    assert first.values.shape == (SIDE, SIDE)


def test_random_masks_repeat_and_a_second_seed_agrees(bundle: Path, picture: Path) -> None:
    def values(seed: int) -> np.ndarray[Any, Any]:
        options = ExplainOptions(
            bundle=bundle, images=(picture,), variants=("onnx-fp32",), masks=200, seed=seed
        )
        (found,) = explain(options, Silent()).images
        assert found.maps[0].repeatability is not None
        assert found.maps[0].repeatability > 0.6
        return found.maps[0].values

    assert np.array_equal(values(0), values(0))
    agreed = correlation(values(0), values(1))
    assert agreed is not None
    assert 0.6 < agreed < 1


def test_a_model_that_looks_nowhere_gives_a_flat_map(tmp_path: Path, picture: Path) -> None:
    weights, bias = nearest_color(SIDE)
    blind = model(weights=0 * weights, bias=bias, side=SIDE)
    folder = write_bundle(tmp_path / "blind", {"onnx-fp32": blind}, preprocessing=CONTRACT)
    (found,) = explain(ExplainOptions(bundle=folder, images=(picture,)), Silent()).images
    assert [item.flat for item in found.maps] == [True]
    assert not found.maps[0].values.any()


def test_masks_are_fair_to_every_pixel() -> None:
    windows = Masks(
        method=MaskMethod.OCCLUSION, height=48, width=40, count=positions_per_side() ** 2
    )
    total = np.sum([windows.covered(number) for number in range(windows.count)], axis=0)
    assert np.ptp(total) < 0.15 * np.mean(total)  # the border is covered like the middle
    random = Masks(method=MaskMethod.RISE, height=48, width=40, count=2, seed=5)
    assert np.allclose(random.covered(0) + random.covered(1), 1, atol=1e-6)  # the complement
    assert random.covered(0).std() > 0.2


def test_what_covers_is_a_blur_and_what_is_not_covered_stays() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (40, 40, 3), np.uint8)
    cover = background(pixels)
    assert cover.std() < pixels.std() / 5
    covered = np.zeros((40, 40), np.float32)
    covered[:20] = 1
    image = apply(pixels, cover, covered)
    assert np.array_equal(image[20:], pixels[20:])
    assert np.array_equal(image[:20], np.rint(cover[:20]))


def test_the_map_is_the_mean_fall_in_log_odds() -> None:
    masks = Masks(method=MaskMethod.OCCLUSION, height=16, width=16, count=4)
    values, repeatability = heat_map(masks, np.full(4, 0.5, np.float32), 0.75)
    covered = sum((masks.covered(number) for number in range(4)), np.zeros((16, 16)))
    assert repeatability is None
    assert np.allclose(values[covered > 0.01], np.log(3), atol=1e-5)
    assert np.isfinite(log_odds(np.array([0, 1], np.float32))).all()


def test_a_map_that_few_masks_made_is_not_repeatable() -> None:
    """In one half of the masks nothing changed the score."""
    masks = Masks(method=MaskMethod.RISE, height=16, width=16, count=8)
    scores = np.full(8, 0.5, np.float32)
    flat = heat_map(masks, scores, 0.5)
    assert np.ptp(flat[0]) == 0
    assert flat[1] is None
    scores[0] = 0.25
    few = heat_map(masks, scores, 0.5)
    assert np.ptp(few[0]) > 0
    assert few[1] is not None
    assert few[1] < 0.5


def test_the_command_writes_a_page_that_needs_nothing_else(
    bundle: Path, picture: Path, tmp_path: Path
) -> None:
    output = tmp_path / "out"
    words = ["explain", str(bundle), str(picture), "-o", str(output), "--masks", "40", "--json"]
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 0, done.output
    record = json.loads(done.stdout)
    assert record["without_keras"].startswith("the bundle does not hold")
    (image,) = record["images"]
    assert [item["source"] for item in image["maps"]] == ["onnx-fp32", "onnx-int8"]
    data = np.load(output / image["data"], allow_pickle=False)
    assert {"image", "onnx-fp32", "onnx-int8"} <= set(data.files)
    assert Image.open(output / image["picture"]).width > 500
    page = (output / "index.html").read_text(encoding="utf-8")
    assert "&lt;corners&gt;" in page
    assert "<corners>" not in page
    assert "http" not in page.replace("http-equiv", "")
    assert page.count("data:image/png;base64,") == 1
    assert str(picture.parent) not in page  # names, not places of this computer
    assert re.findall(r"<img alt=\"(.+?)\"", page)
    with pytest.raises(OutputError, match="not empty"):
        CliRunner().invoke(app, words, standalone_mode=False, catch_exceptions=False)
    again = CliRunner().invoke(app, [*words, "--overwrite"])
    assert again.exit_code == 0


@pytest.mark.parametrize(
    ("paths", "expected"),
    [
        (["/a/b/c.jpg"], ["c.jpg"]),
        (["/a/b/c.jpg", "/a/d/c.jpg", "e.jpg"], ["b/c.jpg", "d/c.jpg", "e.jpg"]),
        (["/x/b/c.jpg", "/y/b/c.jpg"], ["x/b/c.jpg", "y/b/c.jpg"]),
        (["c.jpg", "a/c.jpg"], ["c.jpg", "a/c.jpg"]),
        ([], []),
    ],
)
def test_pictures_are_called_by_the_end_of_their_paths(
    paths: list[str], expected: list[str]
) -> None:
    assert [*short_names(paths).values()] == expected


@pytest.mark.parametrize(
    ("options", "error", "said"),
    [
        ({"label": "rad"}, UsageError, "no class 'rad'"),
        ({"variants": ("tflite-int8",)}, UsageError, "no variant"),
        ({"layers": ("conv1",)}, UsageError, "--layers are of the Keras model"),
        ({"images": (Path("none.png"),)}, DataError, "no image can be read"),
        ({"bundle": Path("nowhere")}, UsageError, "no bundle"),
    ],
)
def test_what_is_not_there_is_said(
    bundle: Path, picture: Path, options: dict[str, Any], error: type[Exception], said: str
) -> None:
    given = {"bundle": bundle, "images": (picture,), "masks": 2} | options
    with pytest.raises(error, match=said):
        explain(ExplainOptions(**given), Silent())


def test_a_class_can_be_chosen(bundle: Path, picture: Path) -> None:
    options = ExplainOptions(bundle=bundle, images=(picture,), label=LABELS[2], masks=100)
    (found,) = explain(options, Silent()).images
    assert found.label == "blue"
    # The corner that the file looks at is red: it speaks against blue.
    assert found.maps[0].values[: SIDE // 2, : SIDE // 2].mean() < 0
    assert found.maps[0].answer == "red"


@pytest.mark.parametrize(("r", "told"), [(-0.39, True), (0.39, False)])
def test_the_legend_names_what_r_is_taken_against(
    r: float, told: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    def found(source: str, **values: Any) -> HeatMap:
        return HeatMap(
            source=source,
            method="rise",
            values=np.zeros((2, 2), np.float32),
            score=0.9,
            answer="red",
            invokes=1,
            seconds=0.1,
            **values,
        )

    maps = (found("keras", correlation=r), found("tflite-fp16", repeatability=0.8))
    pixels = np.zeros((2, 2, 3), np.uint8)
    _print_legend([ImageExplanation(image="a.png", label="red", pixels=pixels, maps=maps)])
    shown = " ".join(capsys.readouterr().out.split())
    assert "with the map of tflite-fp16, the first file" in shown
    assert ("A negative r" in shown) is told
    assert shown.count("Repeatability: ") == 1
