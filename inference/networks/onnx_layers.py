"""The layers of a network as nodes of ONNX, written straight from the weights."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto, TensorProto, helper

from posestream.inference.families.layers import GROUP_NORM_EPSILON, GROUPS

__all__ = ["OnnxLayers"]

Array = NDArray[Any]


class OnnxLayers:
    """Makes layers (see `Layers`) of ONNX tensors (B, C, H, W), each of which is known by its name.

    Parameters
    ----------
    weights
        As a bundle has them.
    norm
        `folded` or `group`.
    half
        Whether all but norms and heads computes in float16.
    """

    def __init__(self, weights: Mapping[str, NDArray[np.float32]], norm: str, *, half: bool) -> None:
        self.model = ModelProto()
        """What the layers stand in. It is filled where it is: the weights are large, and ONNX's helpers copy them."""
        self._weights, self._grouped, self._half = weights, norm == "group", half
        self._constants: set[str] = set()

    def node(self, kind: str, inputs: list[str], name: str, **attributes: Any) -> str:
        """Add a node with one output; gives the output's name, which is the node's."""
        self.split_node(kind, inputs, [name], name, **attributes)
        return name

    def split_node(self, kind: str, inputs: list[str], outputs: list[str], name: str, **attributes: Any) -> list[str]:
        """Add a node with several outputs; gives their names."""
        self.model.graph.node.append(helper.make_node(kind, inputs, outputs, name, **attributes))
        return outputs

    def constant(self, name: str, value: Array) -> str:
        """Add a constant, float32, float16 or int64, once; gives its name."""
        if name not in self._constants:
            self._constants.add(name)
            kind = helper.np_dtype_to_tensor_dtype(value.dtype)
            data = value.astype(value.dtype.newbyteorder("<"), copy=False).tobytes()
            self.model.graph.initializer.add(name=name, data_type=kind, dims=value.shape, raw_data=data)
        return name

    def begin(self, pixels: str) -> str:
        """Bring normalised pixels, float32, to the precision."""
        return self.node("Cast", [pixels], "pixels/half", to=TensorProto.FLOAT16) if self._half else pixels

    def conv(
        self, net: str, name: str, filters: int, size: int, *, strides: int = 1, dilation: int = 1, relu: bool = True
    ) -> str:
        """See `Layers.conv`."""
        kernel = self._weights[f"{name}/kernel"].transpose(3, 2, 0, 1)
        shape = {"kernel_shape": [size] * 2, "strides": [strides] * 2, "dilations": [dilation] * 2}
        padding = [dilation * (size // 2)] * 4
        return self._convolved("Conv", net, name, kernel, relu, pads=padding, **shape)

    def deconv(self, net: str, name: str, filters: int, *, crop: bool, relu: bool = True) -> str:
        """See `Layers.deconv`."""
        return self._convolved("ConvTranspose", net, name, self._deconv_kernel(name), relu, **_spread(crop))

    def head(self, net: str, name: str, filters: int, *, crop: bool) -> str:
        """See `Layers.head`."""
        if self._half:
            net = self.node("Cast", [net], f"{name}/in", to=TensorProto.FLOAT)
        kernel = self.constant(f"{name}/kernel", self._deconv_kernel(name))
        bias = self.constant(f"{name}/bias", self._weights[f"{name}/bias"])
        return self.node("ConvTranspose", [net, kernel, bias], name, **_spread(crop))

    def max_pool(self, net: str, name: str, size: int, *, same: bool) -> str:
        """See `Layers.max_pool`."""
        padding = {"auto_pad": "SAME_UPPER"} if same else {"pads": [size // 2] * 4}
        return self.node("MaxPool", [net], name, kernel_shape=[size] * 2, strides=[2, 2], **padding)

    def subsample(self, net: str) -> str:
        """See `Layers.subsample`: a maximum of one, as slim itself does it."""
        return self.node("MaxPool", [net], f"{net}/subsampled", kernel_shape=[1, 1], strides=[2, 2])

    def add(self, name: str, net: str, other: str) -> str:
        """See `Layers.add`."""
        return self.node("Relu", [self.node("Add", [net, other], f"{name}/sum")], name)

    def _convolved(self, kind: str, net: str, name: str, kernel: Array, relu: bool, **attributes: Any) -> str:
        inputs = [net, self.constant(f"{name}/kernel", kernel.astype(np.float16) if self._half else kernel)]
        if not self._grouped:
            bias = self._weights[f"{name}/bias"]
            inputs.append(self.constant(f"{name}/bias", bias.astype(np.float16) if self._half else bias))
        last = "" if not relu and not self._grouped else "/conv"
        net = self.node(kind, inputs, name + last, **attributes)
        if self._grouped:
            net = self._normalised(net, name, last="/norm" if relu else "")
        return self.node("Relu", [net], name) if relu else net

    def _normalised(self, net: str, name: str, last: str) -> str:
        """Group norm: an instance norm of the groups, taken as channels, then scale and shift of each channel."""
        if self._half:
            net = self.node("Cast", [net], f"{name}/float32", to=TensorProto.FLOAT)
        shape = self.constant("group/shape", np.array([0, GROUPS, -1], np.int64))
        ones, zeros = (
            self.constant(f"group/{name}", np.full(GROUPS, value, np.float32))
            for name, value in (("ones", 1), ("zeros", 0))
        )
        size = self.node("Shape", [net], f"{name}/size")
        groups = self.node("Reshape", [net, shape], f"{name}/groups")
        groups = self.node(
            "InstanceNormalization",
            [groups, ones, zeros],
            f"{name}/groups/norm",
            epsilon=GROUP_NORM_EPSILON,
        )
        net = self.node("Reshape", [groups, size], f"{name}/channels")
        gamma, beta = (
            self.constant(f"{name}/{vector}", self._weights[f"{name}/{vector}"].reshape(-1, 1, 1))
            for vector in ("gamma", "beta")
        )
        net = self.node("Mul", [net, gamma], f"{name}/scaled")
        if not self._half:
            return self.node("Add", [net, beta], name + last)
        net = self.node("Add", [net, beta], f"{name}/shifted")
        return self.node("Cast", [net], name + last, to=TensorProto.FLOAT16)

    def _deconv_kernel(self, name: str) -> Array:
        return self._weights[f"{name}/kernel"].transpose(3, 2, 0, 1)


def _spread(crop: bool) -> dict[str, Any]:
    """Attributes of a transposed convolution."""
    last = 1 if crop else 0
    return {"kernel_shape": [3, 3], "strides": [2, 2], "pads": [0, 0, last, last]}
