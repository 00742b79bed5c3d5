"""The search for what has to stay in floats, on real files of a network that is planted."""

from collections.abc import Callable, Collection
from dataclasses import asdict, replace
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest

from benchmarks.protocol import Protocol
from benchmarks.turns import FEWEST_ROUNDS, TimedFile, in_turn
from converters import search as module
from converters.base import ConversionRequest, HeldOut, Precision
from converters.quantizable import Block, LayerNames, Quantizable
from converters.search import Candidate, Search, search
from edge.cli.make.view import print_searches
from edge.runtime.contract import Preprocessing
from edge.wording import counted

IMAGES = 50
MARGINS = np.arange(1, IMAGES + 1) / 51  # by which each picture is right, of 1


class Planted:
    """Files that answer (noise of the blocks not kept, margin of the picture).

    A picture's class is 1, and its second channel over 255 is its margin; a file is wrong about
    the pictures whose margin is below its noise.

    Args:
        noise: By block.
    """

    suffix = "onnx"
    layer_names = LayerNames()

    def __init__(self, noise: dict[str, float]) -> None:
        self.noise = noise
        self.blocks = tuple(Block(name, (name,)) for name in noise)
        self.written: list[frozenset[str]] = []

    def floats(self) -> bytes:
        return self.file(self.noise)

    def left(self, keep: Collection[str]) -> float:
        return sum(noise for name, noise in self.noise.items() if name not in keep)

    def quantized(self, keep: Collection[str] = ()) -> bytes:
        self.written.append(frozenset(keep))
        return self.file(keep)

    def file(self, keep: Collection[str]) -> bytes:
        import onnx
        from onnx import TensorProto, helper, numpy_helper

        weights = np.array([[0, 0], [0, 1 / 255], [0, 0]], np.float32)
        constants = [
            numpy_helper.from_array(weights, "weights"),
            numpy_helper.from_array(np.array([self.left(keep), 0], np.float32), "noise"),
            numpy_helper.from_array(np.zeros(1000 * len(keep), np.float32), "size of floats"),
        ]
        nodes = [
            helper.make_node("Cast", ["image"], ["real"], to=TensorProto.FLOAT),
            helper.make_node("ReduceMean", ["real"], ["mean"], axes=[1, 2], keepdims=0),
            helper.make_node("Gemm", ["mean", "weights", "noise"], ["scores"]),
        ]
        image = helper.make_tensor_value_info("image", TensorProto.UINT8, [1, 4, 4, 3])
        scores = helper.make_tensor_value_info("scores", TensorProto.FLOAT, [1, 2])
        graph = helper.make_graph(nodes, "planted", [image], [scores], constants)
        opset = helper.make_opsetid("", 17)
        proto = helper.make_model(graph, opset_imports=[opset], ir_version=8)
        onnx.checker.check_model(proto)
        return bytes(proto.SerializeToString())

    def drop(self, keep: Collection[str]) -> float:
        """Percentage points that the file with those blocks loses."""
        return float(100 * (self.left(keep) > MARGINS).mean())


@pytest.fixture(autouse=True)
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    block = Protocol(runs=1, min_seconds=0.0, max_seconds=1.0, warm_up_seconds=0.0)
    monkeypatch.setattr(module, "BLOCK", block)
    monkeypatch.setattr(module, "ROUNDS", FEWEST_ROUNDS)


@pytest.fixture
def held_out(tmp_path: Path) -> HeldOut:
    pixels = np.zeros((IMAGES, 4, 4, 3), np.uint8)
    pixels[..., 1] = (5 * np.arange(1, IMAGES + 1)).reshape(-1, 1, 1)
    reference = np.stack([np.zeros(IMAGES), MARGINS], axis=1).astype(np.float32)
    np.save(tmp_path / "pixels.npy", pixels)
    np.save(tmp_path / "reference.npy", reference)
    return HeldOut(
        pixels=tmp_path / "pixels.npy",
        reference=tmp_path / "reference.npy",
        truth=(1,) * IMAGES,
    )


Find = Callable[..., Search]


@pytest.fixture
def find(held_out: HeldOut, tmp_path: Path) -> Find:
    def find(model: Planted, budget: float, **changes: Any) -> Search:
        given = SimpleNamespace(
            pixels=held_out.pixels,
            reference=held_out.reference,
            truth=changes.get("truth", held_out.truth),
        )
        folder = tmp_path / "tried"
        folder.mkdir()
        told: list[int] = []
        found = search(
            cast(Quantizable, model),
            cast(HeldOut, given),
            budget,
            folder,
            lambda: told.append(1),
            model.floats,
        )
        assert len(told) == len(model.written)
        return found

    return find


NOISE = {"a": 0.017, "b": 0.3, "c": 0.05, "d": 0.15, "e": 0.016, "f": 0.02, "g": 0.1, "h": 0.018}
ORDER = ("b", "d", "g", "c", "f", "h", "a", "e")  # by how much of the error each makes


def test_int8_that_holds_the_budget_is_taken(find: Find) -> None:
    model = Planted({"a": 0.03, "b": 0.02})
    found = find(model, 4.0)
    assert (found.ranking, found.blocks, found.images) == ((), 2, IMAGES)
    (candidate,) = found.candidates
    assert found.chosen == candidate
    assert (candidate.kept, candidate.on_front) == ((), True)
    assert candidate.drop_points == pytest.approx(4.0)  # margins of 1/51 and 2/51
    assert (candidate.top1, candidate.agreement) == (0.96, 0.96)
    assert candidate.latency_ms > 0
    assert candidate.size_bytes == len(model.quantized())
    assert model.written == [frozenset(), frozenset()]  # one more just now: no ranking


@pytest.mark.parametrize(
    ("budget", "fewest"),
    [(0, 7), (2, 6), (3, 6), (4, 5), (6, 4), (12, 3), (22, 2), (36, 1), (67, 1)],
)
def test_the_fewest_blocks_of_the_ranking_that_hold(find: Find, budget: float, fewest: int) -> None:
    model = Planted(NOISE)
    assert [model.drop(ORDER[:count]) <= budget for count in (fewest - 1, fewest)] == [False, True]
    found = find(model, budget)
    assert found.chosen is not None
    assert found.chosen.kept == ORDER[:fewest]
    assert found.chosen.drop_points <= budget
    assert found.chosen in found.candidates
    assert tuple(name for name, _ in found.ranking) == ORDER
    for candidate in found.candidates:
        assert candidate.drop_points == pytest.approx(model.drop(candidate.kept))
        assert candidate.kept == ORDER[: len(candidate.kept)]
    counts = [len(candidate.kept) for candidate in found.candidates]
    assert len(counts) == len(set(counts))  # none is tried twice


def test_the_ranking_is_the_share_of_the_errors_made_alone(find: Find) -> None:
    found = find(Planted({"a": 0.1, "b": 0.3}), 1.0)
    ranking = dict(found.ranking)
    assert list(ranking) == ["b", "a"]
    assert ranking["b"] == pytest.approx(0.3**2 / (0.1**2 + 0.3**2), abs=1e-5)
    assert ranking["a"] == pytest.approx(0.1**2 / (0.1**2 + 0.3**2), abs=1e-5)


def test_a_budget_that_cannot_be_held(find: Find) -> None:
    """One block has to be quantized, or the file is no mixed one."""
    model = Planted(dict.fromkeys("abcde", 0.1))
    found = find(model, 2.0)
    assert found.chosen is None
    assert len(found.ranking) == 5
    best = min(found.candidates, key=lambda item: item.drop_points)
    assert len(best.kept) == 4  # all were tried but one
    assert best.drop_points == pytest.approx(model.drop(best.kept)) == pytest.approx(10)


def test_a_single_block_leaves_nothing_to_keep(find: Find) -> None:
    found = find(Planted({"only": 0.5}), 1.0)
    assert found.chosen is None
    assert [candidate.kept for candidate in found.candidates] == [()]


def test_without_labels_the_keras_models_answers_count(find: Find) -> None:
    model = Planted(NOISE)
    found = find(model, 12.0, truth=(None,) * IMAGES)
    assert found.chosen is not None
    assert found.chosen.top1 is None
    assert found.chosen.kept == ORDER[:3]
    assert found.chosen.drop_points == pytest.approx(model.drop(ORDER[:3]))
    assert found.chosen.agreement == pytest.approx(1 - model.drop(ORDER[:3]) / 100)


def test_labels_that_the_keras_model_misses_as_well_are_no_loss(find: Find) -> None:
    """Right by accident counts: the budget is of top-1, below that of the Keras model."""
    truth = tuple(0 if number < 10 else 1 for number in range(IMAGES))
    found = find(Planted({"a": 0.1, "b": 0.05}), 0.0, truth=truth)
    assert found.chosen is not None
    assert found.chosen.drop_points == pytest.approx(-14.0)  # seven that are class 0 in truth
    assert found.chosen.kept == ()


def test_candidates_and_the_float_file_are_timed_in_turn(
    find: Find, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All files in each pass, so that their ratios do not hang on when each was tried."""
    timed: list[dict[str, TimedFile]] = []

    def turns(files: dict[str, TimedFile], *arguments: Any, **options: Any) -> Any:
        timed.append(files)
        assert options["max_seconds"] == module.MOST_SECONDS
        found = in_turn(files, *arguments, **options)
        medians = found.medians.copy()
        medians[:, found.names.index(module.FLOAT)] = 4.0
        for position, name in enumerate(found.names):
            if name != module.FLOAT:
                medians[:, position] = 1.0 + position  # 2, 3 ... seconds
        return replace(found, medians=medians)

    monkeypatch.setattr(module, "in_turn", turns)
    found = find(Planted(NOISE), 12.0)
    ((files),) = timed
    assert len(files) == 1 + len(found.candidates)
    assert all(item.path.name == name for name, item in files.items() if name != module.FLOAT)
    ratios = [item.latency_ratio for item in found.candidates]
    assert ratios == [pytest.approx((2 + n) / 4) for n in range(len(ratios))]
    assert [item.latency_ratio_interval for item in found.candidates] == [
        (ratio, ratio) for ratio in ratios
    ]
    assert found.float_latency_ms > 0


def candidate(drop: float, latency: float, size: int) -> Candidate:
    return Candidate(
        kept=(),
        top1=None,
        drop_points=drop,
        agreement=1.0,
        size_bytes=size,
        latency_ms=1.0,
        latency_ratio=latency,
        latency_ratio_interval=(latency, latency),
    )


def test_the_front() -> None:
    given = [
        candidate(2.0, 1.0, 10),  # the fastest
        candidate(2.0, 1.1, 10),  # slower, otherwise the same
        candidate(1.0, 2.0, 20),
        candidate(1.0, 2.0, 20),  # as good: neither is better
        candidate(0.0, 3.0, 30),  # the best
        candidate(0.5, 3.0, 31),  # worse than that in all
        candidate(3.0, 9.0, 9),  # the smallest
    ]
    found = [item.on_front for item in module._with_front(given)]
    assert found == [True, False, True, True, True, False, True]


def test_the_front_of_a_search(find: Find) -> None:
    found = find(Planted(NOISE), 2.0)
    for item in found.candidates:
        beaten = any(
            other.drop_points <= item.drop_points
            and other.latency_ratio <= item.latency_ratio
            and other.size_bytes <= item.size_bytes
            and other != item
            for other in found.candidates
        )
        assert item.on_front == (not beaten)
    sizes = [item.size_bytes for item in found.candidates]
    assert found.candidates[sizes.index(min(sizes))].kept == ()
    value = asdict(found)
    assert value["chosen"] in value["candidates"]
    assert value["ranking"][0][0] == "b"


def test_a_search_is_printed_with_ratios_and_with_what_chose(
    find: Find, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    found = find(Planted(NOISE), 12.0)
    print_searches(dict.fromkeys(("tflite-mixed", "onnx-mixed"), asdict(found)), 80)
    told = capsys.readouterr().out
    assert f"searched for 12 points on {IMAGES} of the 80 scored images" in told
    chosen = found.chosen
    assert chosen is not None
    assert told.count("Block: a layer") == 1  # for both tables
    _, row = [line for line in told.splitlines() if line.lstrip().startswith("* ")]
    assert [line for line in told.splitlines() if len(line) > 80] == []
    assert f"{len(chosen.kept)} of {len(NOISE)}" in row
    assert f"{chosen.latency_ratio:.2f}" in row
    assert f"onnx-mixed keeps in floats {counted(len(chosen.kept), 'layer')}: " in told
    named = asdict(found) | {"layers": {"b": "conv_of_b"}}
    print_searches({"onnx-mixed": named}, 80)
    assert ": conv_of_b, " in capsys.readouterr().out
    assert " ms" not in told  # a time of another moment than those of the bundle's files


@pytest.mark.parametrize("recipe", [None, ("a",)])
@pytest.mark.parametrize("name", ["onnx", "tflite"])
def test_a_search_takes_the_float_file_that_was_made_before_it(
    name: str, recipe: tuple[str, ...] | None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """To export a network once more took as long as the float file itself."""
    made: list[str] = []
    converter = import_module(f"converters.{name}")

    def content(*_: object) -> Any:
        made.append(name)
        return SimpleNamespace(SerializeToString=lambda: b"floats") if name == "onnx" else b"floats"

    monkeypatch.setattr(converter, "exported" if name == "onnx" else "converted", content)
    monkeypatch.setattr(converter, "traced", lambda _: None, raising=False)
    monkeypatch.setattr(converter, "written_floats", lambda *_, **__: None)
    monkeypatch.setattr(converter, "written_integers", lambda *given: [given[-1]()])
    request = ConversionRequest(
        keras_model=tmp_path / "model.keras",
        format=name,
        precisions=(Precision.FP32, Precision.MIXED),
        output=tmp_path,
        calibration=None,
        name="model",
        labels=(),
        preprocessing=Preprocessing(height=4, width=4),
        recipe=recipe,
    )
    assert list(converter.convert(request, None, lambda: None)) == [None, b"floats"]
    # With a recipe nothing is timed, and the file is not held in memory.
    assert len(made) == (1 if recipe is None else 2)
