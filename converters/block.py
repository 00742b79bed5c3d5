"""What is quantized, or left in floats, together."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Block:
    """An operator with weights, and the operators after it up to the next such one.

    Attributes:
        name: Of the block, in its file: the Keras layer that first stands in a tensor's name.
        members: What the format's quantizer knows its operators by.
    """

    name: str
    members: tuple[str, ...]


def blocks(operators: Iterable[tuple[bool, str, tuple[str, ...]]]) -> tuple[Block, ...]:
    """Cut a graph into blocks; what stands before the first operator with weights joins it.

    Args:
        operators: In the order of execution: whether it has weights, the tensor that it writes,
            and what the quantizer knows it by.
    """
    found: list[tuple[list[str], list[str]]] = []
    waiting: list[str] = []
    for weighted, written, members in operators:
        if weighted:
            found.append(([written], [*waiting, *members]))
            waiting = []
        elif found:
            found[-1][0].append(written)
            found[-1][1].extend(members)
        else:
            waiting.extend(members)
    seen: Counter[str] = Counter()
    result = []
    for tensors, parts in found:
        name = scope(next((tensor for tensor in tensors if "/" in tensor), tensors[0]))
        seen[name] += 1
        own = name if seen[name] == 1 else f"{name}#{seen[name]}"  # attention: several in a layer
        result.append(Block(own, tuple(parts)))
    return tuple(result)


def scope(tensor: str) -> str:
    """The Keras layer that a tensor's name states.

    ``net/conv_relu/Relu6;net/conv_bn/...`` (fused operators) and ``net/conv_relu/Relu6:0`` both
    give ``net/conv_relu``.
    """
    parts = tensor.split(";", maxsplit=1)[0].split("/")
    if len(parts) > 2 and parts[-2] == "batchnorm":  # batch normalization writes in a scope below
        parts = parts[:-1]
    return "/".join(parts[:-1]) or tensor
