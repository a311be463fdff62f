"""Batch norm in its inference form, folded into the convolution before it.

kernel' = kernel * s,  bias' = beta - moving_mean * s,  s = gamma / sqrt(moving_variance + epsilon)

A network that is trained from random weights needs the norm while it learns: it is unfolded for the training, and
folded again when it ends.
"""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

__all__ = ["EPSILON", "fold_all", "fold_batch_norm", "unfold_all"]

EPSILON = 1e-5
"""What is added to the variance where a network is trained here."""

Array = NDArray[np.floating]
Weights = dict[str, NDArray[np.float32]]


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


def unfold_all(weights: Mapping[str, NDArray[np.float32]]) -> Weights:
    """Give every convolution of a bundle a batch norm that changes nothing; heads have none.

    Parameters
    ----------
    weights
        As `expected_tensors` names them, with folded norm.

    Returns
    -------
    dict
        `gamma`, `beta`, `moving_mean` and `moving_variance` stand in the place of `bias`.
    """
    unfolded: Weights = {}
    for name, array in weights.items():
        layer, _, part = name.rpartition("/")
        if part == "kernel" or layer.endswith("_pred"):
            unfolded[name] = array
        else:
            unfolded[f"{layer}/gamma"], unfolded[f"{layer}/beta"] = np.ones_like(array), array
            unfolded[f"{layer}/moving_mean"] = np.zeros_like(array)
            unfolded[f"{layer}/moving_variance"] = np.full_like(array, 1 - EPSILON)
    return unfolded


def fold_all(weights: Mapping[str, NDArray[np.float32]]) -> Weights:
    """Do the reverse of `unfold_all`."""
    folded: Weights = {}
    for name, array in weights.items():
        layer, _, part = name.rpartition("/")
        if layer.endswith("_pred"):
            folded[name] = array
        elif part == "kernel":
            gamma, beta, mean, variance = (
                weights[f"{layer}/{each}"] for each in ("gamma", "beta", "moving_mean", "moving_variance")
            )
            folded[name], folded[f"{layer}/bias"] = fold_batch_norm(array, gamma, beta, mean, variance, EPSILON)
    return folded
