"""Ranges, means and covariances of activations; what of them lies outside of a range."""

from collections.abc import Callable, Mapping

import numpy as np
import pytest
from numpy.typing import NDArray

from converters import observation
from converters.observation import (
    POSITIONS,
    Activations,
    Observation,
    Wanted,
    merged,
    observe,
    spread,
)
from converters.rounding import WeightedOperator, corrected, nearest
from edge.errors import ConversionError

Image = NDArray[np.float32]
CHANNELS = 5


def images(count: int, size: int = 4, seed: int = 0) -> list[Image]:
    """Arrays (1, size, size, CHANNELS); channels share a cause."""
    random = np.random.default_rng(seed)
    cause = random.normal(0, 1, (count, 1, size, size, 1))
    values = cause * [1, -1, 0.5, 2, 0] + random.normal(2, 1, (count, 1, size, size, CHANNELS))
    return list(values.astype(np.float32))


def network(image: Image) -> Activations:
    """Three activations: the input, the same with channels second, and one that is positive."""
    yield "image", image
    yield "channels second", np.moveaxis(image, -1, 1)
    yield "positive", np.abs(image) + 3


def rows(given: list[Image]) -> NDArray[np.float64]:
    return np.concatenate(given).reshape(-1, CHANNELS).astype(np.float64)


def observed(
    given: list[Image],
    wanted: Mapping[str, Wanted] | None = None,
    model: Callable[[Image], Activations] = network,
) -> Observation:
    return observe(model, given, wanted or {})


# ---- ranges


def test_ranges_span_all_images_and_zero() -> None:
    given = images(7)
    found = observed(given)
    assert found.names == ("image", "channels second", "positive")
    assert found.low.shape == found.high.shape == (7, 3)
    values = rows(given)
    assert found.ranges["image"] == (values.min(), values.max())
    assert found.ranges["positive"] == (0, pytest.approx((np.abs(values) + 3).max()))
    assert observed([-image for image in images(3)], model=only_negative).ranges["x"][1] == 0
    assert found.low[4, 0] == given[4].min()


def only_negative(image: Image) -> Activations:
    yield "x", -np.abs(image) - 1


def test_a_step_is_a_255th_of_the_range() -> None:
    found = observed(images(3))
    low, high = found.ranges["image"]
    assert found.step("image") == pytest.approx((high - low) / 255)
    dead = observed([np.zeros_like(image) for image in images(2)])
    assert dead.step("image") > 0


def test_an_empty_activation_is_left_out() -> None:
    def with_empty(image: Image) -> Activations:
        yield from network(image)
        yield "empty", image[:, :0]

    assert "empty" not in observed(images(2), model=with_empty).names


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_value_that_is_not_finite_is_named(bad: float) -> None:
    given = images(4)
    given[2][0, 1, 1, 3] = bad
    with pytest.raises(ConversionError, match=r"NaN or infinity on a calibration image.* image"):
        observed(given)

    def later(image: Image) -> Activations:
        yield "fine", np.nan_to_num(image, posinf=0, neginf=0)
        yield "broken", image

    with pytest.raises(ConversionError, match="first in broken"):
        observed(given, model=later)


# ---- moments


@pytest.mark.parametrize(("name", "axis"), [("image", -1), ("image", 3), ("channels second", 1)])
def test_means_and_covariances_are_those_of_the_channels(name: str, axis: int) -> None:
    given = images(9)
    found = observed(given, {name: Wanted(axis, covariance=True)})
    expected = rows(given)
    assert found.means[name] == pytest.approx(expected.mean(axis=0), abs=1e-5)
    # 16 positions an image: all of them count.
    assert found.covariances[name] == pytest.approx(np.cov(expected.T, bias=True), abs=1e-4)


def test_images_beyond_one_product_of_matrices_count_though_their_memory_is_used_again() -> None:
    given = images(41)
    buffer = np.empty_like(given[0])

    def reusing(image: Image) -> Activations:
        buffer[:] = image
        yield "image", buffer

    found = observed(given, {"image": Wanted(-1, covariance=True)}, model=reusing)
    expected = np.cov(rows(given).T, bias=True)
    assert len(rows(given)) > 512
    assert found.covariances["image"] == pytest.approx(expected, abs=1e-4)


def test_only_what_is_wanted_is_collected() -> None:
    found = observed(images(3), {"image": Wanted(-1, covariance=False)})
    assert set(found.means) == {"image"}
    assert found.covariances == {}


def test_of_a_large_image_some_positions_are_sampled_the_same_ones_each_time() -> None:
    given = images(12, size=24)
    assert POSITIONS < 24 * 24
    wanted = {"image": Wanted(-1, covariance=True), "channels second": Wanted(1, covariance=True)}
    first, again = observed(given, wanted), observed(given, wanted)
    assert first.means["image"] == pytest.approx(rows(given).mean(axis=0), abs=1e-5)
    assert first.covariances["image"] == pytest.approx(np.cov(rows(given).T), abs=0.6)
    assert np.array_equal(first.covariances["image"], again.covariances["image"])
    # Both formats see the same positions.
    assert first.covariances["channels second"] == pytest.approx(
        first.covariances["image"], abs=1e-4
    )


def test_a_covariance_without_room_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    one = 4 * CHANNELS * (CHANNELS + observation.ROWS)  # with the rows that wait
    monkeypatch.setattr(observation, "COVARIANCE_BYTES", one)
    wanted = {name: Wanted(axis, covariance=True) for name, axis in (("image", -1), ("second", 1))}

    def two(image: Image) -> Activations:
        yield "image", image
        yield "second", np.moveaxis(image, -1, 1)

    found = observed(images(3), wanted, two)
    assert set(found.covariances) == {"image"}
    assert set(found.means) == {"image", "second"}


def test_readers_of_one_tensor_share_what_they_want() -> None:
    pairs = [
        ("a", Wanted(-1, covariance=False)),
        ("a", Wanted(-1, covariance=True)),
        ("a", Wanted(-1, covariance=False)),
        ("b", Wanted(1, covariance=False)),
    ]
    assert merged(pairs) == {"a": Wanted(-1, covariance=True), "b": Wanted(1, covariance=False)}


# ---- what comes of it


@pytest.mark.parametrize("positions", [1, 9])
def test_only_a_pointwise_layer_is_rounded_with_the_covariance(positions: int) -> None:
    random = np.random.default_rng(3)
    kernel = random.normal(0, 1, (4, CHANNELS, positions)).astype(np.float32)
    layer = WeightedOperator(name="layer", kernel=kernel, bias=np.zeros(4, np.float32))
    found = observed(images(5), {"image": Wanted(-1, covariance=True)})
    ready = found.corrected(layer, "image")
    covariance = found.covariances["image"] if positions == 1 else None
    expected = corrected(layer, found.means["image"], found.step("image"), covariance)
    assert np.array_equal(ready.kernel, expected.kernel)
    assert np.array_equal(ready.bias, expected.bias)
    is_rounded = np.allclose(ready.kernel, nearest(ready.kernel), atol=1e-6)
    assert is_rounded == (positions == 1)


def test_the_share_of_values_outside_of_a_range() -> None:
    ramp = np.arange(100, dtype=np.float32).reshape(1, 10, 10, 1)

    def model(image: Image) -> Activations:
        yield "ramp", image
        yield "unknown", image

    found = spread(model, [ramp, ramp + 50], {"ramp": (0.0, 89.0), "never seen": (0.0, 1.0)})
    assert found.keys() == {"ramp"}
    assert (found["ramp"].outside, found["ramp"].values) == (10 + 60, 200)  # 90..99, and 90..149
    assert (found["ramp"].low, found["ramp"].high) == ((0, 50), (99, 149))
    assert spread(model, [ramp - 20], {"ramp": (0.0, 99.0)})["ramp"].share == 0.2
    assert spread(model, [], {"ramp": (0.0, 1.0)}) == {}


def test_nothing_that_was_observed_is_clipped() -> None:
    given = images(6)
    found = spread(network, given, observed(given).ranges)
    shares = {name: item.share for name, item in found.items()}
    assert shares == dict.fromkeys(("image", "channels second", "positive"), 0.0)
    larger = spread(network, [10 * image for image in given], observed(given).ranges)
    assert larger["image"].share > 0.3
