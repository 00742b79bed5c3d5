"""Models that answer every image the same: no accuracy on any folder makes up for that."""

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from edge.comparison.metrics import AT_MOST
from edge.comparison.result import Check, Verdict
from edge.comparison.subject import Subject
from edge.runtime.head import activated
from edge.runtime.postprocess import dequantize
from edge.runtime.session import encode_pixels, open_session
from edge.runtime.spec import Preprocessing

METRIC = "constant_outputs"


def output_check(sides: Sequence[tuple[str, Subject, NDArray[np.float32]]]) -> Check:
    """Fails if a side's scores do not depend on the image; holds under every policy.

    Args:
        sides: Part in the comparison, model, and its (images, classes) scores.
    """
    problems = []
    for part, subject, scores in sides:
        if not scores.any():
            problems.append(f"every score of the {part} is 0")
        elif (scores == scores[0]).all() and _is_constant(subject, scores[0]):
            problems.append(f"the {part} gives every image the same scores")
    return Check(
        metric=METRIC,
        unit="count",
        value=len(problems),
        interval=None,
        limit=0,
        direction=AT_MOST,
        verdict=Verdict.FAIL if problems else Verdict.PASS,
        reason="; ".join(problems) or "the scores depend on the image",
    )


def _is_constant(subject: Subject, scores: NDArray[np.float32]) -> bool:
    """Whether test pictures get these scores too: a few images of one class may round alike."""
    session = open_session(subject.path, engine=subject.interpreter)
    contract = subject.preprocessing
    for pixels in _test_pictures(contract):
        output = session.run(encode_pixels(pixels, session.inputs[0], contract.value_range))[0]
        values = dequantize(output, session.outputs[0]).reshape(1, -1)
        if subject.head is not None:
            values = subject.head.scores(values)
        else:
            values = activated(values, subject.output)
        if not np.array_equal(values[0], scores):
            return False
    return True


def _test_pictures(contract: Preprocessing) -> Iterator[NDArray[np.uint8]]:
    """Plain colours, noise and its coarse version: uint8 (height, width, channels)."""
    shape = contract.shape
    for color in ((0, 0, 0), (255, 255, 255), (255, 0, 0), (0, 255, 0), (0, 0, 255)):
        # Of three values, a grey image takes the first, and one with opacity is opaque.
        values = (*color, 255)[: shape[2]]
        yield np.broadcast_to(np.array(values, np.uint8), shape).copy()
    random = np.random.default_rng(0)
    yield random.integers(0, 256, shape, np.uint8)
    coarse = random.integers(0, 256, (contract.height // 8 + 1, contract.width // 8 + 1, shape[2]))
    fine = coarse.repeat(8, axis=0).repeat(8, axis=1)[: shape[0], : shape[1]]
    yield fine.astype(np.uint8)
