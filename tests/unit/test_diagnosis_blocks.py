"""What a block costs the answers alone, and who is blamed by it; no TensorFlow."""

import numpy as np
import pytest

from converters.quantizable import Block
from edge.cli.check.diagnosis_view import print_diagnosis
from edge.diagnosis.blame import MOST_TOGETHER, Blocks, _costs, judged
from edge.diagnosis.blocks import cut_into_blocks, said
from edge.diagnosis.file_layers import _rounded_copies, quantize
from edge.diagnosis.keras_layers import _summed_axes
from edge.diagnosis.layers import Layer, LayerTensor, Tensor, layer_of
from edge.diagnosis.probe import Channels
from edge.diagnosis.result import Attempt, Diagnosis, FileLayers, LayerError, Partitions
from edge.modelfile.delegation import InterpreterNode, delegation
from edge.runtime.output import Activation, OutputKind, OutputSpec
from edge.runtime.postprocess import dequantize
from edge.runtime.spec import QuantizationParams, TensorSpec

LAYERS = (
    Layer("pad", "ZeroPadding2D", (6, 6, 3)),
    Layer("stem", "Conv2D", (4, 4, 8)),
    Layer("stem_activation", "Activation", (4, 4, 8)),
    Layer("dw", "DepthwiseConv2D", (4, 4, 8)),
    Layer("head", "Dense", (3,)),
)


def _layer(name: str, **values) -> LayerError:
    given = {"accumulated": 0.5, "alone": 0.01, "explained": 0.01} | values
    return LayerError(layer=name, kind="Conv2D", tensor=name, step=0.1, sqnr_db=None, **given)


def _file(alone: dict[str, float | None], within=None, **layers) -> FileLayers:
    errors = [_layer(name, **layers.get(name, {})) for name in alone]
    blocks = Blocks(
        blocks=tuple(Block(name, (name,)) for name in alone),
        alone=tuple(alone.values()),
        within=within or {},
        images=2,
    )
    return judged("tflite-int8", "int8", errors, blocks=blocks)


def test_layers_are_cut_where_the_weights_are_and_what_comes_first_joins_the_first() -> None:
    found = cut_into_blocks(LAYERS, ["pad", "stem_activation", "dw", "head"])
    assert [(block.name, block.members) for block in found] == [
        ("stem", ("pad", "stem_activation")),
        ("dw", ("dw",)),
        ("head", ("head",)),
    ]


def test_attention_begins_a_block_and_is_no_part_of_the_layer_before() -> None:
    """Else the layers would say that its fault starts there, and the blocks, at the other one."""
    layers = (
        Layer("patch", "Conv2D", (8, 8, 32)),
        Layer("norm", "LayerNormalization", (64, 32)),
        Layer("attention", "MultiHeadAttention", (64, 32)),
        Layer("add", "Add", (64, 32)),
        Layer("mix", "EinsumDense", (64, 32)),
    )
    found = cut_into_blocks(layers, [layer.name for layer in layers])
    assert [(block.name, block.members) for block in found] == [
        ("patch", ("patch", "norm")),
        ("attention", ("attention", "add")),
        ("mix", ("mix",)),
    ]


def test_the_evidence_says_that_a_layer_and_its_block_are_one_place() -> None:
    stem = LayerError(
        layer="stem_activation",
        kind="Activation",
        tensor="t",
        step=0.1,
        sqnr_db=None,
        accumulated=0.5,
        alone=0.01,
        explained=0.01,
    )
    blocks = Blocks(
        blocks=(Block("stem", ("stem_activation",)),),
        alone=(2 * MOST_TOGETHER,),
        within={"stem_activation": 0.5},
        images=2,
    )
    file = judged("tflite-int8", "int8", [stem], blocks=blocks)
    assert file.start == "stem_activation"
    assert "block stem, to which stem_activation belongs, alone makes" in _costs(file, stem)[0]


def test_what_rounding_explains_of_a_matrix_is_told_by_its_equation() -> None:
    assert _summed_axes("abc,cde->abde") == (0,)  # of a query: inputs, heads, values of a head
    assert _summed_axes("abcd,cde->abe") == (0, 1)  # of the output of attention


def test_a_block_without_a_tensor_is_left_out() -> None:
    assert [block.name for block in cut_into_blocks(LAYERS, ["dw"])] == ["dw"]


def test_logits_come_back_from_probabilities() -> None:
    logits = np.array([3.0, -1.0, 0.5])
    shares = np.exp(logits) / np.exp(logits).sum()
    np.testing.assert_allclose(
        said(shares.astype(np.float32), OutputSpec()), logits - logits.mean(), atol=1e-5
    )
    single = np.float32([1 / (1 + np.exp(-2.0))])
    np.testing.assert_allclose(said(single, OutputSpec()), [2.0], atol=1e-5)
    several = OutputSpec(kind=OutputKind.MULTI_LABEL)
    np.testing.assert_allclose(said(np.float32([0.5, 0.5]), several), [0, 0], atol=1e-6)
    plain = OutputSpec(activation=Activation.SOFTMAX)
    np.testing.assert_allclose(said(np.float32([1, 3]), plain), [-1, 1])
    np.testing.assert_allclose(said(np.float32([1, 3]), None), [1, 3])
    assert np.isfinite(said(np.float32([0, 1]), OutputSpec())).all()
    small = said(np.float32([0.0, 1.0]), OutputSpec(), 1 / 512)
    np.testing.assert_allclose(small, said(np.float32([1e-9, 1.0]), OutputSpec(), 1 / 512))


def test_nobody_is_blamed_for_blocks_that_cost_little() -> None:
    file = _file({"stem": 0.05, "dw": 0.05})
    assert (file.start, file.first_divergent) == (None, None)
    assert file.together == pytest.approx(0.05 * 2**0.5)


def test_a_file_whose_blocks_cost_much_starts_at_the_costliest_layer() -> None:
    file = _file(
        {"stem": 0.1, "dw": 0.4, "head": 0.05}, within={"dw": 0.4}, stem={"accumulated": 2.0}
    )
    assert file.together is not None and file.together > MOST_TOGETHER
    assert file.first_divergent is None
    assert file.start == "dw"


def test_of_the_layers_that_diverge_the_costliest_is_the_start() -> None:
    wrong = {"alone": 0.9}
    costs = {"a": 0.01, "stem": 0.1, "b": 0.1, "c": 0.1, "dw": 0.3, "d": 0.0}
    file = _file(costs, stem=wrong, dw=wrong)
    assert (file.first_divergent, file.start) == ("stem", "dw")
    file = _file(costs | {"stem": 0.3}, stem=wrong, dw=wrong)
    assert file.start == "stem"  # of equals the first


def test_a_cheap_outlier_does_not_take_the_blame_of_a_file_that_rounding_breaks() -> None:
    costs = {"a": 0.01, "b": 0.4, "c": 0.01, "pool": 0.02, "d": 0.0}
    wrong = {"alone": 0.9, "explained": 0.02}
    assert _file(costs, within={"b": 0.4}, pool=wrong).start == "b"
    assert _file(costs | {"pool": 0.3}, within={"b": 0.4}, pool=wrong).start == "pool"
    assert _file(costs | {"b": 0.04}, within={"b": 0.04}, pool=wrong).start == "pool"


def test_a_layer_is_not_blamed_whose_block_costs_the_answers_next_to_nothing() -> None:
    wrong = {"alone": 0.112, "explained": 0.01}
    costs = {"a": 0.02, "gate": 0.016, "b": 0.02, "c": 0.02, "d": 0.02}
    file = _file(costs, gate=wrong)
    assert (file.first_divergent, file.start) == ("gate", None)
    assert _file(costs | {"gate": 0.1}, gate=wrong).start == "gate"
    assert _file(costs, gate=wrong | {"alone": 0.22}).start == "gate"  # a ruined range
    failed = {"alone": None, "explained": None, "failure": "NaN"}
    assert _file(costs, gate=failed).start == "gate"


def test_a_layer_whose_cost_is_not_finite_is_the_start() -> None:
    broken = {"alone": None, "explained": None, "failure": "NaN"}
    assert _file({"stem": 0.9, "dw": None}, dw=broken, stem={"alone": 0.9}).start == "dw"


def test_channels_that_span_few_steps_are_counted_and_constant_ones_are_not() -> None:
    channels = Channels()
    rows = np.zeros((1, 2, 2, 3), np.float32)
    rows[0, 0, 0] = [0, 1, 10]
    channels.add(rows)
    channels.add(rows / 2)
    assert (channels.count, channels.narrower(2.0), channels.narrower(20.0)) == (3, 1, 2)
    assert Channels().narrower(1.0) == 0


@pytest.mark.parametrize("dtype", ["int8", "uint8", "int16"])
def test_what_is_given_to_a_part_is_rounded_and_clipped_as_the_tensor_does(dtype: str) -> None:
    quantization = QuantizationParams(scales=(0.5,), zero_points=(3,), quantized_dimension=0)
    spec = TensorSpec(name="t", shape=(1, 3), dtype=dtype, quantization=quantization)
    stored = quantize(np.float32([[0.3, -1e6, 1e6]]), spec)
    assert stored.dtype == dtype
    ends = np.iinfo(dtype)
    expected = [0.5, 0.5 * (ends.min - 3), 0.5 * (ends.max - 3)]
    np.testing.assert_allclose(dequantize(stored, spec), [expected])
    real = TensorSpec(name="t", shape=(1, 3), dtype="float32")
    np.testing.assert_array_equal(quantize(np.float32([[0.3]]), real), np.float32([[0.3]]))


def test_a_real_tensor_that_is_only_read_by_its_rounding_is_held_as_its_copy() -> None:
    def detail(index: int, name: str, dtype: type, scales: tuple[float, ...]) -> dict:
        parameters = {"scales": scales, "zero_points": (0,) * len(scales)}
        return {
            "index": index,
            "name": name,
            "dtype": dtype,
            "shape_signature": (1, 2),
            "quantization_parameters": parameters | {"quantized_dimension": 0},
        }

    details = {
        0: detail(0, "border", np.float32, ()),
        1: detail(1, "copy", np.int8, (0.5,)),
        2: detail(2, "read twice", np.float32, ()),
        3: detail(3, "another copy", np.int8, (0.5,)),
    }
    operators = [
        {"op_name": "QUANTIZE", "inputs": [0], "outputs": [1]},
        {"op_name": "QUANTIZE", "inputs": [2], "outputs": [3]},
        {"op_name": "ADD", "inputs": [2], "outputs": [4]},
    ]
    ((real, (copy, spec)),) = _rounded_copies(operators, details).items()
    assert (real, copy, spec.name, spec.dtype) == (0, 1, "border", "int8")


def test_values_go_into_a_file_the_way_that_they_come_out() -> None:
    layer = Layer("conv", "Conv2D", (2, 3, 4))
    place = LayerTensor(layer, Tensor("t", (4, 2, 3), channels_first=True), (1, 2, 0))
    values = np.arange(24, dtype=np.float32).reshape(1, 2, 3, 4)
    stored = place.as_file(values)
    assert stored.shape == (1, 4, 2, 3)
    np.testing.assert_array_equal(place.as_keras(stored), values)


def test_a_block_of_the_converters_names_its_layer() -> None:
    names = [layer.name for layer in LAYERS]
    assert layer_of("net_1/stem_activation_1", names) == "stem_activation"
    assert layer_of("net/dw#2", names) == "dw"
    assert layer_of("net/other", names) is None


def test_an_operator_between_two_partitions_splits_and_one_at_an_end_does_not() -> None:
    def node(type_: str, inputs: tuple[int, ...], output: int) -> InterpreterNode:
        return InterpreterNode(type=type_, inputs=frozenset(inputs), outputs=(output,))

    graph = [
        node("QUANTIZE", (0,), 1),
        node("CONV", (1,), 2),
        node("SWISH", (2,), 3),
        node("CONV", (3,), 4),
        node("SOFTMAX", (4,), 5),
        node("DELEGATE", (1,), 2),
        node("DELEGATE", (3,), 4),
    ]
    found = delegation(graph)
    assert found.left == {"QUANTIZE": 1, "SWISH": 1, "SOFTMAX": 1}
    assert found.splitting == {"SWISH": 1}


def _attempt(holds: bool, option: str = "--recipe RECIPE") -> Attempt:
    return Attempt(
        instead_of="tflite-int8",
        option=option,
        description="a mixed file",
        kept=("net/dw",),
        agreement=0.99,
        before=0.5,
        error=0.1,
        error_before=0.9,
        time_ratio=1.3,
        float_ratio=0.6,
        holds=holds,
    )


@pytest.mark.parametrize("holds", [True, False])
def test_what_was_tried_is_told_and_only_what_helps_is_suggested(
    holds: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    result = Diagnosis(
        name="net",
        images=8,
        skipped={},
        reference="keras",
        rows=(),
        pairs=(),
        files=(_file({"stem": 0.1, "dw": 0.4}, within={"dw": 0.4}),),
        findings=(),
        conclusion="The quantizer is to blame.",
        partitions=(
            Partitions(
                variant="tflite-int8",
                operators=9,
                delegated=7,
                partitions=2,
                left={"HARD_SWISH": 2},
                splitting={"HARD_SWISH": 2},
                shares={"HARD_SWISH": 0.5},
            ),
        ),
        attempts=(_attempt(False), _attempt(holds)),
    )
    assert (result.suggestion is not None) is holds
    assert (result.to_json()["suggestion"] is not None) is holds
    assert result.to_json()["files"][0]["blocks"][1]["sqnr_db"] == pytest.approx(7.96, abs=0.01)
    print_diagnosis(result, all_layers=False)
    shown = " ".join(capsys.readouterr().out.split())
    assert shown.count("does not help enough") == 2 - holds
    assert ("It helps: export with --recipe RECIPE" in shown) is holds
    assert "2 parts, split by 2 x HARD_SWISH" in shown
    assert "HARD_SWISH 50 %" in shown
