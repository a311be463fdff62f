"""LEAP's network, here for comparison.

Pereira et al. 2019, "Fast animal pose estimation using deep neural networks", Nature Methods 16:117. Fifteen layers
with maps as large as the picture: three convolutions, a pool, three, a pool, three, a transposed convolution, two, and
the head. It sees in grey, and its maps are Gaussians.
"""

from collections.abc import Mapping
from typing import TypeVar

from posestream.inference.families.layers import Layers

__all__ = ["Leap"]

Net = TypeVar("Net")

WIDTH = 64
EACH = 3
"""Convolutions between two pools."""


class Leap:
    """See `Family`."""

    name = "leap"
    title = "LEAP"
    strides: Mapping[str, int] = {"leap": 1}
    norms: tuple[str, ...] = ("folded",)
    channels = 1

    def maps(self, layers: Layers[Net], pixels: Net, net_type: str, heads: Mapping[str, int]) -> list[Net]:  # noqa: ARG002
        """See `Family.maps`."""
        net = pixels
        for block in (1, 2, 3):
            if block > 1:
                net = layers.max_pool(net, f"pool{block - 1}", 2, same=True)
            for number in range(1, EACH + 1):
                net = layers.conv(net, f"block{block}/conv{number}", WIDTH * 2 ** (block - 1), 3)
        net = layers.deconv(net, "block4/deconv", 2 * WIDTH, crop=True)
        for number in (1, 2):
            net = layers.conv(net, f"block4/conv{number}", 2 * WIDTH, 3)
        return [layers.head(net, name, filters, crop=True) for name, filters in heads.items()]
