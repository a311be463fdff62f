"""The ResNet of DeepLabCut 2, which is that of tf_slim (`resnet_v1`, `resnet_utils`).

- The stride of a block sits in its *last* unit; block 3 keeps its resolution and block 4 is dilated by 2 instead.
- Strided convolutions pad by hand, as PyTorch does, but the max pool pads as TensorFlow's SAME does, unlike PyTorch's.
- A transposed convolution with strides 2 leaves maps of twice ceil(size / 16) cells.
"""

from collections.abc import Mapping
from typing import TypeVar

from posestream.inference.families.layers import Layers
from posestream.inference.families.resnet import STRIDES, resnet_maps

__all__ = ["Slim"]

Net = TypeVar("Net")


class Slim:
    """See `Family`."""

    name = "slim"
    title = "ResNet of DeepLabCut 2"
    strides: Mapping[str, int] = STRIDES
    norms: tuple[str, ...] = ("folded",)
    channels = 3

    def maps(self, layers: Layers[Net], pixels: Net, net_type: str, heads: Mapping[str, int]) -> list[Net]:
        """See `Family.maps`."""
        return resnet_maps(layers, pixels, net_type, heads, same=True, steps=_steps)


def _steps(block: int, unit: int, units: int) -> tuple[int, int]:
    return 2 if unit == units and block <= 2 else 1, 2 if block == 4 else 1
