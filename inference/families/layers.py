"""The layers that families are made of, whoever makes them: Keras, ONNX, or somebody who only counts."""

from typing import Protocol, TypeVar

__all__ = ["GROUPS", "GROUP_NORM_EPSILON", "LUMA", "Layers"]

Net = TypeVar("Net")

GROUPS = 32
"""Of channels, in group norm."""
GROUP_NORM_EPSILON = 1e-5
"""Added to the variance by PyTorch's group norm."""

LUMA = (0.299, 0.587, 0.114)
"""Shares of red, green and blue in grey (ITU-R BT.601, as in JPEG and OpenCV), for networks that see in grey."""


class Layers(Protocol[Net]):
    """Makes layers; `Net` is what stands for the output of one.

    Names are those of a bundle's tensors without their last part, for example `block1/unit_1/conv1`.
    """

    def conv(
        self, net: Net, name: str, filters: int, size: int, *, strides: int = 1, dilation: int = 1, relu: bool = True
    ) -> Net:
        """Convolve with `size` x `size` weights, and apply the model's norm.

        `dilation * (size // 2)` zeros are added on each side, so that only strides make the picture smaller.
        """

    def deconv(self, net: Net, name: str, filters: int, *, crop: bool, relu: bool = True) -> Net:
        """Convolve transposed, 3 x 3 and with strides 2; `crop` cuts the last row and column off: 2n, else 2n + 1."""

    def head(self, net: Net, name: str, filters: int, *, crop: bool) -> Net:
        """As `deconv`, without ReLU and norm, and always in float32: logits of eight bits would make cells tie."""

    def max_pool(self, net: Net, name: str, size: int, *, same: bool) -> Net:
        """Maximum with strides 2. It pads as TensorFlow's SAME does, or `size // 2` on each side as PyTorch's does."""

    def subsample(self, net: Net) -> Net:
        """Give every second row and column, from the first on."""

    def add(self, name: str, net: Net, other: Net) -> Net:
        """Add, then ReLU."""
