"""Which operators of an integer file stay in floats for want of a fast integer kernel."""

from converters.kernels import Operation, better_in_floats


def operation(reads: str, writes: str, *, slow: bool = False, light: bool = False) -> Operation:
    return Operation(
        slow=slow, light=light or slow, reads=frozenset(reads), writes=frozenset(writes)
    )


def chosen(operations: list[Operation], outputs: str = "z") -> set[str]:
    """The tensors that floats write."""
    found = better_in_floats(operations, outputs)
    return {str(name) for position in found for name in operations[position].writes}


def test_a_graph_of_fast_integer_kernels_stays_as_it_is() -> None:
    layers = [operation("x", "a"), operation("a", "b", light=True), operation("b", "z")]
    assert chosen(layers) == set()


def test_a_slow_operator_between_layers_stays_in_floats_alone() -> None:
    assert chosen([operation("x", "a"), operation("a", "b", slow=True), operation("b", "z")]) == {
        "b"
    }


def test_a_slow_operator_that_writes_the_answer_stays_in_integers() -> None:
    assert chosen([operation("x", "a"), operation("a", "z", slow=True)]) == set()


def test_a_layer_normalization_stays_in_floats_as_a_whole() -> None:
    """Mean, squared difference, variance, reciprocal root, product: c and s are the slow ones."""
    operators = [
        operation("x", "a"),  # a layer
        operation("a", "m", light=True),
        operation("am", "c", slow=True),
        operation("c", "v", light=True),
        operation("v", "s", slow=True),
        operation("as", "p", light=True),
        operation("p", "b", light=True),
        operation("b", "d"),  # the next layer
        operation("ad", "z", light=True),  # a residual sum of two integer tensors
    ]
    assert chosen(operators) == {"m", "c", "v", "s", "p", "b"}


def test_what_mixes_floats_and_integers_stays_in_integers() -> None:
    """A gate: floats would have to convert the other operand for it."""
    operators = [
        operation("x", "a"),
        operation("a", "g", slow=True),
        operation("a", "b"),
        operation("bg", "p", light=True),
        operation("p", "z"),
    ]
    assert chosen(operators) == {"g"}


def test_what_integers_read_too_does_not_join_from_above() -> None:
    operators = [
        operation("x", "a"),
        operation("a", "m", light=True),
        operation("m", "g", slow=True),
        operation("mg", "z"),
    ]
    assert chosen(operators) == {"g"}
