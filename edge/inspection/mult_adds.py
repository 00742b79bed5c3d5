"""Multiply-adds of the layers that papers count, from extents alone.

A position is one index of a tensor's batch and spatial axes; "kernel positions" is the product of
the kernel's spatial extents, such as height x width. Every result is a count of multiply-adds
(one multiplication and one addition make one), biases left out.
"""


def convolution(
    *,
    output_positions: int,
    kernel_positions: int,
    in_channels: int,
    out_channels: int,
    groups: int = 1,
) -> int:
    """Convolution of any rank; grouped when ``groups`` > 1.

    D_K * D_K * M * N * D_F * D_F for D_K x D_K kernels, M input and N output channels and a
    D_F x D_F output (Howard et al. 2017, "MobileNets", arXiv:1704.04861, section 3.1). With
    groups every output channel sees M / groups inputs (Krizhevsky et al. 2012, section 3.5).
    """
    return kernel_positions * (in_channels // groups) * out_channels * output_positions


def depthwise_convolution(
    *, output_positions: int, kernel_positions: int, out_channels: int
) -> int:
    """Depthwise convolution: one kernel per output channel.

    D_K * D_K * M * D_F * D_F (Howard et al. 2017, arXiv:1704.04861, section 3.1); with a channel
    multiplier there are ``out_channels`` = M * multiplier such kernels.
    """
    return kernel_positions * out_channels * output_positions


def transposed_convolution(
    *,
    input_positions: int,
    kernel_positions: int,
    in_channels: int,
    out_channels: int,
    groups: int = 1,
) -> int:
    """Transposed convolution: every input position is multiplied with the whole kernel.

    It swaps the forward and backward pass of a convolution (Dumoulin & Visin 2016, "A guide to
    convolution arithmetic", arXiv:1603.07285, chapter 4), so D_F is here the extent of the input.
    Products that fall on a cropped border are included.
    """
    return kernel_positions * in_channels * (out_channels // groups) * input_positions


def fully_connected(*, rows: int, in_features: int, out_features: int) -> int:
    """Fully connected layer on ``rows`` feature vectors: a matrix product with the weights."""
    return matrix_product(rows=rows, inner=in_features, columns=out_features)


def matrix_product(*, rows: int, inner: int, columns: int, batches: int = 1) -> int:
    """Product of (rows, inner) with (inner, columns), ``batches`` times.

    rows * inner * columns by the definition of the product, as in Howard et al. 2017 (section
    3.1) with D_K = D_F = 1; no fast algorithm is assumed.
    """
    return batches * rows * inner * columns


def recurrent(*, steps: int, weights: int) -> int:
    """LSTM, GRU or plain recurrent layer: every step uses every weight once.

    Per step the cost is the number of weights, 4 n_c^2 + 4 n_i n_c + n_c n_o for an LSTM with
    n_c cells, n_i inputs and n_o outputs (Sak, Senior & Beaufays 2014, arXiv:1402.1128, section
    2); the element-wise products of the gates and peepholes are left out.

    Args:
        steps: Time steps times batch.
        weights: Elements of the input, recurrent and projection matrices, all gates.
    """
    return steps * weights
