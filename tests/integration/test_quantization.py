"""Integer files of both formats: what they take, and what a block left in floats does."""

from collections.abc import Collection
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from converters.base import ConversionRequest, HeldOut, Precision, Target
from converters.onnx import embedded
from converters.quantizable import Calibration, Quantizable
from converters.soundness import AIM_DB
from converters.writing import FileRecord, integer_files
from edge.errors import ConversionError, NegativeVerdict, UsageError
from edge.evaluation.predictions import run_pixels
from edge.modelfile.tflite_metadata import embed
from edge.runtime.contract import Preprocessing
from edge.runtime.session import open_session
from tests.integration import planted

pytestmark = pytest.mark.slow

FORMATS = ("tflite", "onnx")


def quantizable(model: Any, calibration: Path) -> dict[str, Quantizable]:
    """Both formats' float files of a Keras model."""
    from converters import onnx, tflite
    from converters.pixel_input import pixel_model

    pixels = pixel_model(model)
    images = Calibration(calibration, pixels.zero_point)
    return {
        "tflite": tflite.taken_apart(pixels.model, images),
        "onnx": onnx.taken_apart(pixels.model, images),
    }


@dataclass(frozen=True)
class Planted:
    """A network, both formats of it, and pictures that it was not calibrated on."""

    formats: dict[str, Quantizable]
    images: planted.Images
    expected: NDArray[np.float32]
    folder: Path

    def file(self, format_: str, content: bytes) -> Path:
        path = self.folder / f"model.{format_}"
        path.write_bytes(content)
        return path

    def answers(self, format_: str, content: bytes) -> NDArray[np.float32]:
        return run_pixels(self.file(format_, content), self.images)

    def error(self, format_: str, content: bytes) -> float:
        """Root mean square over pictures and classes."""
        return float(np.sqrt(np.mean((self.answers(format_, content) - self.expected) ** 2)))

    def agreement(self, format_: str, content: bytes) -> float:
        best = self.answers(format_, content).argmax(axis=1)
        return float((best == self.expected.argmax(axis=1)).mean())

    def names(self, format_: str, *layers: str) -> tuple[str, ...]:
        """The blocks of those Keras layers: a fused activation may have given the name."""
        found = {
            layer: block.name
            for layer, block in zip(planted.LAYERS, self.formats[format_].blocks, strict=True)
        }
        assert all(layer in found[layer] for layer in planted.LAYERS)
        return tuple(found[layer] for layer in layers)


def plant(model: Any, folder: Path) -> Planted:
    np.save(folder / "calibration.npy", planted.pictures(range(24)))
    images = planted.pictures(range(100, 400))
    expected = model(images.astype(np.float32), training=False).numpy()
    return Planted(quantizable(model, folder / "calibration.npy"), images, expected, folder)


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Planted:
    return plant(planted.network(), tmp_path_factory.mktemp("sound"))


@pytest.fixture(scope="module")
def fragile(tmp_path_factory: pytest.TempPathFactory) -> Planted:
    return plant(planted.fragile(), tmp_path_factory.mktemp("fragile"))


def takes_pixels(path: Path) -> None:
    (image,) = open_session(path).inputs
    assert image.dtype == "uint8"
    if image.quantization is not None:  # ONNX states none for its inputs
        assert (image.quantization.scales, image.quantization.zero_points) == ((1.0,), (128,))


# ---- all blocks


def test_the_pictures_have_answers_of_many_kinds(sound: Planted, fragile: Planted) -> None:
    for case in (sound, fragile):
        assert len(np.unique(case.expected.argmax(axis=1))) >= 5
        assert np.median(case.expected.max(axis=1)) > 0.5


@pytest.mark.parametrize("format_", FORMATS)
def test_int8_takes_the_pixel_and_agrees(sound: Planted, format_: str) -> None:
    content = sound.formats[format_].quantized()
    takes_pixels(sound.file(format_, content))
    assert sound.agreement(format_, content) >= 0.95
    assert sound.error(format_, content) < 0.03
    assert sound.formats[format_].integer(Precision.INT8) == content


@pytest.mark.parametrize("format_", FORMATS)
def test_with_every_block_in_floats_nothing_is_lost(fragile: Planted, format_: str) -> None:
    model = fragile.formats[format_]
    content = model.quantized([block.name for block in model.blocks])
    takes_pixels(fragile.file(format_, content))
    assert fragile.agreement(format_, content) == 1.0
    assert fragile.error(format_, content) < 0.003  # padded borders, see pixel_input


def test_w8a16(sound: Planted) -> None:
    """Rounded weights are left of the error; ONNX has no such files."""
    model = sound.formats["tflite"]
    content = model.integer(Precision.W8A16)
    path = sound.file("tflite", content)
    takes_pixels(path)
    assert open_session(path).outputs[0].dtype == "float32"
    assert sound.agreement("tflite", content) >= 0.95
    assert sound.error("tflite", content) <= 1.05 * sound.error("tflite", model.quantized())
    assert quantized_kernels(path) == len(planted.LAYERS)
    with pytest.raises(ConversionError, match="not written as w8a16"):
        sound.formats["onnx"].integer(Precision.W8A16)


# ---- a block in floats


@pytest.mark.parametrize("layer", planted.LAYERS)
@pytest.mark.parametrize("format_", FORMATS)
def test_a_block_in_floats_costs_no_accuracy(sound: Planted, format_: str, layer: str) -> None:
    model, keep = sound.formats[format_], sound.names(format_, layer)
    whole, mixed = model.quantized(), model.quantized(keep)
    path = sound.file(format_, mixed)
    takes_pixels(path)
    # One block's rounding can cancel that of another by accident: 6 % over 600 pictures.
    assert sound.error(format_, mixed) <= 1.2 * sound.error(format_, whole)
    assert sound.agreement(format_, mixed) >= sound.agreement(format_, whole) - 0.015
    assert quantized_kernels(sound.file(format_, mixed)) == len(planted.LAYERS) - 1
    assert quantized_kernels(sound.file(format_, whole)) == len(planted.LAYERS)


def quantized_kernels(path: Path) -> int:
    """How many kernels the file holds in int8."""
    if path.suffix == ".onnx":
        import onnx

        constants = onnx.load(path).graph.initializer
        return sum(
            item.data_type == onnx.TensorProto.INT8 and len(item.dims) > 1 for item in constants
        )
    from tensorflow.lite.python import schema_py_generated as schema

    graph = schema.ModelT.InitFromPackedBuf(path.read_bytes(), 0).subgraphs[0]
    read = {int(item.inputs[1]) for item in graph.operators if len(item.inputs) == 3}
    return sum(graph.tensors[index].type == schema.TensorType.INT8 for index in read)


@pytest.mark.parametrize("format_", FORMATS)
def test_the_block_that_cannot_be_quantized_decides(fragile: Planted, format_: str) -> None:
    model = fragile.formats[format_]
    spoilt = fragile.error(format_, model.quantized())
    assert spoilt > 0.1
    for layer in planted.LAYERS:
        found = fragile.error(format_, model.quantized(fragile.names(format_, layer)))
        assert (found < 0.2 * spoilt) == (layer == "last"), layer


@pytest.mark.parametrize("format_", FORMATS)
def test_the_same_blocks_give_the_same_bytes(sound: Planted, format_: str) -> None:
    model = sound.formats[format_]
    first, last = sound.names(format_, "stem", "last")
    assert model.quantized((first, last)) == model.quantized([last, first])
    assert model.quantized((first,)) != model.quantized((last,))


def test_blocks_have_names_of_layers_that_differ(sound: Planted) -> None:
    for format_ in FORMATS:
        names = [block.name for block in sound.formats[format_].blocks]
        assert len(set(names)) == len(planted.LAYERS)
        assert sound.names(format_, *planted.LAYERS) == tuple(names)


@pytest.mark.parametrize("format_", FORMATS)
def test_a_network_without_weights_has_int8_files_too(format_: str, tmp_path: Path) -> None:
    import keras

    image = keras.Input((planted.SIZE, planted.SIZE, 3))
    pooled = keras.layers.GlobalAveragePooling2D()(keras.layers.Rescaling(1 / 64)(image))
    case = plant(keras.Model(image, keras.layers.Softmax()(pooled)), tmp_path)
    assert case.formats[format_].blocks == ()
    assert case.error(format_, case.formats[format_].quantized()) < 0.03


# ---- a request for a mixed file


def request(case: Planted, format_: str, **changes: Any) -> ConversionRequest:
    np.save(case.folder / "pixels.npy", case.images)
    np.save(case.folder / "reference.npy", case.expected)
    held_out = HeldOut(
        pixels=case.folder / "pixels.npy",
        reference=case.folder / "reference.npy",
        truth=(None,) * len(case.images),
    )
    plain = ConversionRequest(
        keras_model=Path("unused"),
        format=format_,
        precisions=(Precision.MIXED,),
        output=case.folder,
        calibration=None,
        name="planted",
        labels=(),
        preprocessing=Preprocessing(height=planted.SIZE, width=planted.SIZE),
        held_out=held_out,
    )
    return replace(plain, **changes)


def files(case: Planted, asked: ConversionRequest) -> list[tuple[Precision, bytes, FileRecord]]:
    embeds = {"tflite": embed, "onnx": embedded}
    model = case.formats[asked.format]
    graph: Any = model.graph()
    given = graph.content if asked.format == "tflite" else graph.proto.SerializeToString
    return list(integer_files(asked, model, lambda: None, embeds[asked.format], given))


@pytest.mark.parametrize("format_", FORMATS)
def test_a_search_keeps_the_block_that_decides(fragile: Planted, format_: str) -> None:
    asked = request(fragile, format_, max_drop_points=5.0)
    ((precision, content, record),) = files(fragile, asked)
    assert precision is Precision.MIXED
    assert (record.kept or ())[:1] == fragile.names(format_, "last")
    assert record.search is not None
    assert record.search.ranking[0][1] > 0.9  # of the error goes with it
    assert fragile.agreement(format_, content) >= 0.95
    assert record.search.candidates[0].drop_points > 5
    described = asked.described(Target(format=format_, precision=precision))
    finished = {"tflite": embed, "onnx": embedded}[format_](content, described)
    assert record.search.chosen is not None
    assert record.search.chosen.size_bytes == len(finished)  # as in the bundle
    for tried in record.search.candidates:
        low, high = tried.latency_ratio_interval
        assert 0 < low <= tried.latency_ratio <= high
    ((_, again, replayed),) = files(fragile, request(fragile, format_, recipe=record.kept))
    assert again == content
    assert (replayed.kept, replayed.search) == (record.kept, None)


@pytest.mark.parametrize("format_", FORMATS)
def test_a_budget_that_no_file_holds(format_: str, tmp_path: Path) -> None:
    hopeless = plant(planted.hopeless(), tmp_path)
    with pytest.raises(NegativeVerdict, match=f"no {format_} file .* 0 points") as caught:
        files(hopeless, request(hopeless, format_, max_drop_points=0.0))
    assert "with 4 of 5 blocks in floats" in caught.value.message
    assert caught.value.hint


def test_a_recipe_of_another_model(sound: Planted) -> None:
    asked = request(sound, "onnx", recipe=("net/elsewhere",))
    with pytest.raises(UsageError, match=r"keeps 'net/elsewhere' .* the onnx model lacks") as error:
        files(sound, asked)
    assert repr(sound.formats["onnx"].blocks[0].name) in error.value.hint


def test_a_recipe_of_another_model_is_refused_before_any_file_is_made(sound: Planted) -> None:
    known = sound.formats["onnx"].blocks[0].name
    both = (Precision.INT8, Precision.MIXED)
    asked = request(sound, "onnx", recipe=(known, known + "x", "y"), precisions=both)
    made = integer_files(asked, sound.formats["onnx"], lambda: None, embedded, bytes)
    with pytest.raises(UsageError, match="and 1 other block in floats") as error:
        next(made)
    assert f"the most alike are {known!r}" in error.value.hint


def test_a_mixed_file_of_nothing(sound: Planted) -> None:
    with pytest.raises(UsageError, match="needs a budget or a recipe"):
        files(sound, request(sound, "tflite"))


# ---- a request for an int8 file


@pytest.mark.parametrize("format_", FORMATS)
def test_int8_leaves_what_breaks_it_in_floats_by_itself(fragile: Planted, format_: str) -> None:
    asked = request(fragile, format_, precisions=(Precision.INT8,))
    ((precision, content, record),) = files(fragile, asked)
    assert precision is Precision.INT8
    assert record.kept == fragile.names(format_, "last")
    assert record.soundness is not None
    assert record.soundness.int8_db < 10 < AIM_DB <= record.soundness.signal_db
    assert fragile.agreement(format_, content) >= 0.95
    takes_pixels(fragile.file(format_, content))
    assert content == fragile.formats[format_].quantized(record.kept)


@pytest.mark.parametrize("format_", FORMATS)
def test_int8_that_holds_is_what_it_was(sound: Planted, format_: str) -> None:
    asked = request(sound, format_, precisions=(Precision.INT8,))
    ((_, content, record),) = files(sound, asked)
    assert record.kept is None
    assert record.soundness is not None
    assert record.soundness.notes("onnx-int8", 5) == ()
    assert content == sound.formats[format_].quantized()
    ((_, same, unchecked),) = files(sound, replace(asked, corrected=False))
    assert (same, unchecked.soundness) == (content, None)


def kept_by(model: Quantizable, keep: Collection[str]) -> int:
    return len(model.members(keep))


def test_unknown_names_keep_nothing(sound: Planted) -> None:
    assert kept_by(sound.formats["tflite"], ["net/elsewhere"]) == 0
    assert kept_by(sound.formats["tflite"], sound.names("tflite", "stem")) > 0
