"""What a family of networks says of itself."""

from collections.abc import Mapping
from typing import Protocol, TypeVar

from posestream.inference.families.layers import Layers

__all__ = ["Family"]

Net = TypeVar("Net")


class Family(Protocol):
    """A kind of network."""

    name: str
    """In `model.json`."""
    title: str
    """For people."""
    strides: Mapping[str, int]
    """Networks of this family (`net_type`), and pixels between neighbouring cells of their maps."""
    norms: tuple[str, ...]
    """Norms that it can have: `folded` into the convolutions, `group`."""
    channels: int
    """Of the input: 3 (RGB), or 1 where the network sees in grey."""

    def maps(self, layers: Layers[Net], pixels: Net, net_type: str, heads: Mapping[str, int]) -> list[Net]:
        """Build the network.

        Parameters
        ----------
        layers
            Makes the layers.
        pixels
            Normalised pictures.
        net_type
            One of `strides`.
        heads
            Name and channels of each head: see `head_channels`.

        Returns
        -------
        list
            One map for each head, in their order.
        """
