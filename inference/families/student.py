"""The student: a small network that learns from a lab's large one.

A ResNet-18 (He et al. 2016) of half the width at output stride 16, that sees in grey: an eighth of the arithmetic of
DeepLabCut's ResNet-50, or an eleventh without its last unit.

Dense convolutions of 3 x 3 with 32 channels and more are what processors and int8 are good at; depthwise ones
(MobileNets) have less arithmetic and take longer.
"""

from collections.abc import Mapping
from typing import TypeVar

from posestream.inference.families.layers import Layers

__all__ = ["Student"]

Net = TypeVar("Net")

UNITS = {"student_small": (2, 2, 2, 1), "student_medium": (2, 2, 2, 2)}
"""Units of each block. The second one of block 4 has three in ten of all multiply-adds, and four in ten weights."""
WIDTH = 32
"""Channels of the first block; each further block has twice as many."""
LAST_STRIDED = 3
"""Blocks 2 and 3 halve the picture; block 4 keeps it."""


class Student:
    """See `Family`."""

    name = "student"
    title = "student"
    strides: Mapping[str, int] = dict.fromkeys(UNITS, 8)
    norms: tuple[str, ...] = ("folded",)
    channels = 1

    def maps(self, layers: Layers[Net], pixels: Net, net_type: str, heads: Mapping[str, int]) -> list[Net]:
        """See `Family.maps`."""
        net = layers.conv(pixels, "conv1", WIDTH, 7, strides=2)
        net = layers.max_pool(net, "pool1", 3, same=False)
        for block, units in enumerate(UNITS[net_type], start=1):
            for unit in range(1, units + 1):
                strides = 2 if unit == 1 and 1 < block <= LAST_STRIDED else 1
                widens = unit == 1 and block > 1
                net = _unit(layers, net, f"block{block}/unit_{unit}", WIDTH * 2 ** (block - 1), strides, widens)
        return [layers.head(net, name, filters, crop=True) for name, filters in heads.items()]


def _unit(layers: Layers[Net], net: Net, name: str, filters: int, strides: int, widens: bool) -> Net:
    """Build a basic unit: relu(shortcut + conv2(conv1))."""
    shortcut = layers.conv(net, f"{name}/shortcut", filters, 1, strides=strides, relu=False) if widens else net
    residual = layers.conv(net, f"{name}/conv1", filters, 3, strides=strides)
    residual = layers.conv(residual, f"{name}/conv2", filters, 3, relu=False)
    return layers.add(name, shortcut, residual)
