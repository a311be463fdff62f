"""The ResNet of DeepLabCut 3, which is that of timm (`timm.models.resnet`).

- The stride sits in the *first* unit of blocks 2 and 3; block 4 is dilated by 2 from its second unit on.
- The max pool pads by one on all sides.
- Nothing is cut off the maps: they have one row and one column more.

Mostly it has group norm (Wu & He 2018), which depends on the picture and can't be folded into the convolutions.
"""

from collections.abc import Mapping
from typing import TypeVar

from posestream.inference.families.layers import Layers
from posestream.inference.families.resnet import STRIDES, resnet_maps

__all__ = ["Timm"]

Net = TypeVar("Net")


class Timm:
    """See `Family`."""

    name = "timm"
    title = "ResNet of DeepLabCut 3"
    strides: Mapping[str, int] = STRIDES
    norms: tuple[str, ...] = ("folded", "group")
    channels = 3

    def maps(self, layers: Layers[Net], pixels: Net, net_type: str, heads: Mapping[str, int]) -> list[Net]:
        """See `Family.maps`."""
        return resnet_maps(layers, pixels, net_type, heads, same=False, steps=_steps)


def _steps(block: int, unit: int, units: int) -> tuple[int, int]:  # noqa: ARG001 - see Steps
    return 2 if unit == 1 and block in (2, 3) else 1, 2 if unit > 1 and block == 4 else 1
