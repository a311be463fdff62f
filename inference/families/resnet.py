"""What both of DeepLabCut's ResNets share: He et al. 2016, "Deep residual learning for image recognition".

At output stride 16, with a transposed convolution for each head, which leaves maps of eight pixels from cell to cell.
The families differ in where a block strides and dilates, in how the max pool pads, and in the last row and column of
the maps.
"""

from collections.abc import Callable, Mapping
from typing import TypeVar

from posestream.inference.families.layers import Layers

__all__ = ["STRIDES", "UNITS", "Steps", "resnet_maps"]

Net = TypeVar("Net")

UNITS: dict[str, tuple[int, int, int, int]] = {
    "resnet_50": (3, 4, 6, 3),
    "resnet_101": (3, 4, 23, 3),
    "resnet_152": (3, 8, 36, 3),
}
"""Bottleneck units in each of the four blocks."""

STRIDES = dict.fromkeys(UNITS, 8)

Steps = Callable[[int, int, int], tuple[int, int]]
"""From a block and a unit, both counted from 1, and the number of units in the block, to strides and dilation."""


def resnet_maps(
    layers: Layers[Net], pixels: Net, net_type: str, heads: Mapping[str, int], *, same: bool, steps: Steps
) -> list[Net]:
    """Build a ResNet with its heads.

    Parameters
    ----------
    layers, pixels, net_type, heads
        As in `Family.maps`.
    same
        Whether the max pool and the heads pad and crop as TensorFlow's SAME does.
    steps
        Strides and dilation of each unit.
    """
    net = layers.conv(pixels, "conv1", 64, 7, strides=2)
    net = layers.max_pool(net, "pool1", 3, same=same)
    for block, units in enumerate(UNITS[net_type], start=1):
        for unit in range(1, units + 1):
            strides, dilation = steps(block, unit, units)
            net = _unit(layers, net, f"block{block}/unit_{unit}", 32 * 2**block, unit == 1, strides, dilation)
    return [layers.head(net, name, filters, crop=same) for name, filters in heads.items()]


def _unit(layers: Layers[Net], net: Net, name: str, bottleneck: int, widens: bool, strides: int, dilation: int) -> Net:
    """Bottleneck unit: relu(shortcut + conv3(conv2(conv1)))."""
    if widens:
        shortcut = layers.conv(net, f"{name}/shortcut", 4 * bottleneck, 1, strides=strides, relu=False)
    else:
        shortcut = net if strides == 1 else layers.subsample(net)
    residual = layers.conv(net, f"{name}/conv1", bottleneck, 1)
    residual = layers.conv(residual, f"{name}/conv2", bottleneck, 3, strides=strides, dilation=dilation)
    residual = layers.conv(residual, f"{name}/conv3", 4 * bottleneck, 1, relu=False)
    return layers.add(name, shortcut, residual)
