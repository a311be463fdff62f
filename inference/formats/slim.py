"""Names of DeepLabCut's TensorFlow variables, and the weights of a bundle made from them.

A checkpoint and a frozen graph hold the same tensors under the same names: those of tf_slim's `resnet_v1` and of
DeepLabCut's heads. Both are read by their own module and come together here.
"""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from posestream.inference.formats.batch_norm import fold_batch_norm
from posestream.inference.formats.bundle import ModelBundle, ModelSpec, NetType, check_weights, expected_tensors

__all__ = ["build_bundle", "wanted_variables"]

BATCH_NORM_EPSILON = 1.001e-5
"""slim asks for 1e-5; TensorFlow raises it to the least that cuDNN takes, and writes that into the graph."""

STATISTICS = ("gamma", "beta", "moving_mean", "moving_variance")


def wanted_variables(spec: ModelSpec) -> dict[str, tuple[int, ...]]:
    """Name and shape of every variable that a checkpoint or a frozen graph of this model must hold."""
    wanted: dict[str, tuple[int, ...]] = {}
    for layer, shape in _kernels(spec):
        variable = _variable(spec.net_type, layer)
        wanted[f"{variable}/weights"] = shape
        if layer.endswith("_pred"):
            wanted[f"{variable}/biases"] = (shape[2],)
        else:
            for statistic in STATISTICS:
                wanted[f"{variable}/BatchNorm/{statistic}"] = (shape[3],)
    return wanted


def build_bundle(spec: ModelSpec, variables: Mapping[str, NDArray[np.floating]], where: str) -> ModelBundle:
    """Fold the variables that `wanted_variables` names into a bundle.

    Raises
    ------
    ModelError
        They hold numbers that are not finite; `where` says in the message which file that is.
    """
    weights: dict[str, NDArray[np.float32]] = {}
    for layer, _ in _kernels(spec):
        scope = _variable(spec.net_type, layer)
        kernel = variables[f"{scope}/weights"]
        if layer.endswith("_pred"):
            folded = (kernel.astype(np.float32), variables[f"{scope}/biases"].astype(np.float32))
        else:
            gamma, beta, mean, variance = (variables[f"{scope}/BatchNorm/{statistic}"] for statistic in STATISTICS)
            folded = fold_batch_norm(kernel, gamma, beta, mean, variance, BATCH_NORM_EPSILON)
        weights[f"{layer}/kernel"], weights[f"{layer}/bias"] = folded
    check_weights(spec, weights, where)
    return ModelBundle(spec, weights)


def _kernels(spec: ModelSpec) -> list[tuple[str, tuple[int, ...]]]:
    """Layers and the shapes of their kernels."""
    ending = "/kernel"
    return [
        (name.removesuffix(ending), shape) for name, shape in expected_tensors(spec).items() if name.endswith(ending)
    ]


def _variable(net_type: NetType, layer: str) -> str:
    """Scope of a layer in DeepLabCut's graph."""
    if layer.endswith("_pred"):
        return f"pose/{layer}/block4"
    backbone = net_type.replace("resnet_", "resnet_v1_")
    if layer == "conv1":
        return f"{backbone}/conv1"
    unit, _, conv = layer.rpartition("/")
    return f"{backbone}/{unit}/bottleneck_v1/{conv}"
