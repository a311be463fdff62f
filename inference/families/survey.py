"""What a network holds and does, found by building it of layers that only note their sizes."""

from collections.abc import Mapping
from typing import NamedTuple

from posestream.inference.families.family import Family

__all__ = ["Survey", "survey"]


class Survey(NamedTuple):
    """What was found."""

    tensors: dict[str, tuple[int, ...]]
    """Name and shape: convolutions (h, w, in, out), transposed ones (h, w, out, in), and vectors, layer by layer."""
    multiply_adds: int
    """Of all convolutions and heads for one picture."""
    map_size: tuple[int, int]
    """Height and width of the maps, in cells."""


class _Size(NamedTuple):
    """Of what a layer gives."""

    height: int
    width: int
    channels: int


class _Noting:
    """Layers (see `Layers`) that stand for the size of what they give."""

    def __init__(self, norm: str) -> None:
        self.tensors: dict[str, tuple[int, ...]] = {}
        self.multiply_adds = 0
        self._vectors = ("gamma", "beta") if norm == "group" else ("bias",)

    def conv(
        self, net: _Size, name: str, filters: int, size: int, *, strides: int = 1, dilation: int = 1, relu: bool = True
    ) -> _Size:
        behind = _Size(-(-net.height // strides), -(-net.width // strides), filters)
        self.tensors[f"{name}/kernel"] = (size, size, net.channels, filters)
        self.tensors |= {f"{name}/{vector}": (filters,) for vector in self._vectors}
        self.multiply_adds += size * size * net.channels * filters * behind.height * behind.width
        return behind

    def deconv(self, net: _Size, name: str, filters: int, *, crop: bool, relu: bool = True) -> _Size:
        return self._spread(net, name, filters, crop, self._vectors)

    def head(self, net: _Size, name: str, filters: int, *, crop: bool) -> _Size:
        return self._spread(net, name, filters, crop, ("bias",))

    def max_pool(self, net: _Size, name: str, size: int, *, same: bool) -> _Size:
        return self.subsample(net)

    def subsample(self, net: _Size) -> _Size:
        return _Size((net.height + 1) // 2, (net.width + 1) // 2, net.channels)

    def add(self, name: str, net: _Size, other: _Size) -> _Size:
        return net

    def _spread(self, net: _Size, name: str, filters: int, crop: bool, vectors: tuple[str, ...]) -> _Size:
        """Note a transposed convolution, which spreads each cell that it reads."""
        self.tensors[f"{name}/kernel"] = (3, 3, filters, net.channels)
        self.tensors |= {f"{name}/{vector}": (filters,) for vector in vectors}
        self.multiply_adds += 9 * net.channels * filters * net.height * net.width
        more = 0 if crop else 1
        return _Size(2 * net.height + more, 2 * net.width + more, filters)


def survey(
    family: Family, net_type: str, norm: str, heads: Mapping[str, int], height: int = 64, width: int = 64
) -> Survey:
    """Survey a network.

    Parameters
    ----------
    family, net_type, norm
        The network.
    heads
        Name and channels of each: see `head_channels`.
    height, width
        Of the picture, in pixels.
    """
    layers = _Noting(norm)
    maps = family.maps(layers, _Size(height, width, family.channels), net_type, heads)
    return Survey(layers.tensors, layers.multiply_adds, (maps[0].height, maps[0].width))
