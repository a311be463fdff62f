"""The layers of a network made by Keras; imported only once Keras may be."""

from typing import Any

from keras import layers

from posestream.inference.families.layers import GROUP_NORM_EPSILON, GROUPS
from posestream.inference.formats.batch_norm import EPSILON

__all__ = ["KerasLayers"]

UNDRAWN = "zeros"
"""What weights begin as: the bundle's follow at once, and drawing random ones takes half of the time or more."""


class KerasLayers:
    """Makes layers (see `Layers`) of Keras tensors (B, H, W, C).

    A layer's name is its tensors' name with dots, since Keras allows no slash.

    Parameters
    ----------
    norm
        `folded`, `group`, or `batch`: batch norm that is yet to be folded, for the trainer.
    precision
        Keras's dtype policy of all but group norms and heads.
    """

    def __init__(self, norm: str, precision: str) -> None:
        self._norm, self._precision = "" if norm == "folded" else norm, precision

    def begin(self, pixels: Any) -> Any:
        """Bring normalised pixels, float32, to the precision."""
        return layers.Activation("linear", dtype=self._precision, name="to_precision")(pixels)

    def conv(
        self, net: Any, name: str, filters: int, size: int, *, strides: int = 1, dilation: int = 1, relu: bool = True
    ) -> Any:
        """See `Layers.conv`: SAME where that pads evenly, by hand where it would depend on the picture's size."""
        if size > 1 and strides > 1:
            net = layers.ZeroPadding2D(size // 2, dtype=self._precision, name=f"{_dotted(name)}.pad")(net)
        net = layers.Conv2D(
            filters,
            size,
            strides=strides,
            padding="same" if strides == 1 else "valid",
            dilation_rate=dilation,
            **self._as_normed(name, relu),
        )(net)
        return self._normalised(net, name, relu) if self._norm else net

    def deconv(self, net: Any, name: str, filters: int, *, crop: bool, relu: bool = True) -> Any:
        """See `Layers.deconv`."""
        net = layers.Conv2DTranspose(
            filters,
            3,
            strides=2,
            padding="same" if crop else "valid",
            **self._as_normed(name, relu),
        )(net)
        return self._normalised(net, name, relu) if self._norm else net

    def head(self, net: Any, name: str, filters: int, *, crop: bool) -> Any:
        """See `Layers.head`."""
        padding = "same" if crop else "valid"
        net = layers.Activation("linear", dtype="float32", name=f"{_dotted(name)}.in")(net)
        return layers.Conv2DTranspose(
            filters, 3, strides=2, padding=padding, kernel_initializer=UNDRAWN, dtype="float32", name=_dotted(name)
        )(net)

    def max_pool(self, net: Any, name: str, size: int, *, same: bool) -> Any:
        """See `Layers.max_pool`; what it pads with, 0, is below none of what a ReLU leaves."""
        if not same:
            net = layers.ZeroPadding2D(size // 2, dtype=self._precision, name=f"{_dotted(name)}.pad")(net)
        padding = "same" if same else "valid"
        return layers.MaxPooling2D(size, 2, padding=padding, dtype=self._precision, name=_dotted(name))(net)

    def subsample(self, net: Any) -> Any:
        """See `Layers.subsample`."""
        return net[:, ::2, ::2, :]

    def add(self, name: str, net: Any, other: Any) -> Any:
        """See `Layers.add`."""
        total = layers.Add(dtype=self._precision, name=f"{_dotted(name)}.add")([net, other])
        return layers.Activation("relu", dtype=self._precision, name=f"{_dotted(name)}.relu")(total)

    def _as_normed(self, name: str, relu: bool) -> dict[str, Any]:
        """Give what a convolution is told where it may have a norm, which then brings bias and activation."""
        return {
            "activation": "relu" if relu and not self._norm else None,
            "use_bias": not self._norm,
            "kernel_initializer": UNDRAWN,
            "dtype": self._precision,
            "name": _dotted(name),
        }

    def _normalised(self, net: Any, name: str, relu: bool) -> Any:
        from posestream.inference.networks.group_norm import GroupNorm

        norm: Any
        if self._norm == "group":
            norm = GroupNorm(GROUPS, epsilon=GROUP_NORM_EPSILON, dtype="float32", name=f"{_dotted(name)}.norm")
        else:
            # its statistics follow soon, as the trainer averages them once more
            norm = layers.BatchNormalization(
                momentum=0.9, epsilon=EPSILON, dtype=self._precision, name=f"{_dotted(name)}.norm"
            )
        activation = "relu" if relu else "linear"
        return layers.Activation(activation, dtype=self._precision, name=f"{_dotted(name)}.out")(norm(net))


def _dotted(name: str) -> str:
    return name.replace("/", ".")
