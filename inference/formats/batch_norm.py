"""Batch norm in its inference form, folded into the convolution before it.

kernel' = kernel * s,  bias' = beta - moving_mean * s,  s = gamma / sqrt(moving_variance + epsilon)
"""

import numpy as np
from numpy.typing import NDArray

__all__ = ["fold_batch_norm"]

Array = NDArray[np.floating]


def fold_batch_norm(
    kernel: Array, gamma: Array, beta: Array, mean: Array, variance: Array, epsilon: float
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Fold one layer, in float64.

    Parameters
    ----------
    kernel
        (height, width, in, out).
    gamma, beta, mean, variance
        Each (out,).
    epsilon
        What the trained network added to the variance.

    Returns
    -------
    tuple
        Kernel and bias, float32. A variance below zero leaves NaN, which `check_weights` refuses.
    """
    with np.errstate(all="ignore"):
        scale = gamma.astype(np.float64) / np.sqrt(variance.astype(np.float64) + epsilon)
        folded = kernel.astype(np.float64) * scale
        bias = beta.astype(np.float64) - mean.astype(np.float64) * scale
        return folded.astype(np.float32), bias.astype(np.float32)
