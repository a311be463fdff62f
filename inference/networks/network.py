"""The network: DeepLabCut's ResNet with two deconvolution heads, defined once in Keras 3 for every backend.

It is the ResNet of He et al. 2016 ("Deep residual learning for image recognition") at output stride 16, in two
families. That of DeepLabCut's TensorFlow code is slim's (tf_slim `resnet_v1`, `resnet_utils`):

- the stride of a block sits in its *last* unit; block 3 keeps its resolution and block 4 is dilated by 2 instead;
- strided convolutions pad by hand, as PyTorch does, but the max pool pads as TensorFlow's SAME does, unlike PyTorch's;
- a transposed convolution with stride 2 leaves maps of twice ceil(size / 16) cells, eight pixels apart.

That of DeepLabCut 3 is timm's (`timm.models.resnet`):

- the stride sits in the *first* unit of blocks 2 and 3; block 4 is dilated by 2 from its second unit on;
- the max pool pads by one on all sides;
- nothing is cut off the maps: they have one row and one column more.

Batch norm is folded into the convolutions; group norm (Wu & He 2018) stays and is computed in float32.

Nothing in it belongs to TensorFlow alone, so that `KERAS_BACKEND=jax` runs it and OpenVINO converts it. The networks of
DeepLabCut that are not this ResNet run as the frozen graphs that they were exported as; those do need TensorFlow.
"""

import re
from collections.abc import Sequence
from typing import Any, Literal

from posestream.inference.errors import ModelError
from posestream.inference.formats.bundle import GROUP_NORM_EPSILON, GROUPS, UNITS, ModelBundle, ModelSpec
from posestream.inference.formats.graph_file import heads, parse_graph
from posestream.inference.networks.decoder import decode_graph
from posestream.inference.quiet import import_keras
from posestream.stream.wire.messages import PixelFormat

__all__ = ["Policy", "Precision", "build_network", "decode_maps"]

Precision = Literal["float32", "bfloat16", "float16"]
UNDRAWN = "zeros"
"""What weights begin as: the bundle's follow at once, and drawing random ones takes half of the time or more."""

Policy = Precision | Literal["mixed_bfloat16"]
"""Also computing in bfloat16 with weights of float32, which training needs: its steps are too small for eight bits."""


def build_network(
    bundle: ModelBundle,
    *,
    pixel_format: PixelFormat,
    precision: Policy = "float32",
    decode: bool = True,
    height: int | None = None,
    width: int | None = None,
) -> Any:
    """Build the network with its weights.

    Parameters
    ----------
    bundle
        The model.
    pixel_format
        What the input holds; grey is repeated to three channels and BGR reversed within the graph.
    precision
        In which the ResNet computes. Mean subtraction, both heads and the decoder are always float32: the heads cost
        little, and logits of eight bits would make cells tie that are not equal.
    decode
        Whether poses or maps come out.
    height, width
        Of the frames in pixels; None leaves them open, and every frame size then runs through the same network.

    Returns
    -------
    keras.Model
        From uint8 (B, H, W, C), C being 1 or 3, to float32 (B, K, 3) of x and y in pixels and likelihood. Without
        `decode` to `[part_logits]` or `[part_logits, locref]`, float32 (B, h, w, K) and (B, h, w, 2K) with
        h = 2 * ceil(H / 16) in the slim family and one more in timm's, w likewise.

    Raises
    ------
    ModelError
        A frozen graph was asked for in another precision than float32, or on another backend than TensorFlow.
    """
    keras = import_keras()
    spec = bundle.spec
    channels = 1 if pixel_format == "gray8" else 3
    frames = keras.Input((height, width, channels), dtype="uint8", name="frames")
    pixels = _normalised(frames, pixel_format, spec.mean_pixel, spec.std_pixel)
    maps = _frozen_maps(bundle, precision, pixels) if bundle.graph else _resnet_maps(bundle, precision, pixels)
    outputs = decode_maps(spec, maps) if decode else maps
    model = keras.Model(frames, outputs, name=f"posestream_{re.sub(r'[^a-z0-9]', '_', spec.net_type)}")
    model.trainable = False
    for layer in model.layers:
        if layer.weights:
            name = layer.name.removesuffix(".norm").replace(".", "/")
            layer.set_weights([bundle.weights[f"{name}/{weight.name}"] for weight in layer.weights])
    return model


def decode_maps(spec: ModelSpec, maps: Sequence[Any]) -> Any:
    """Decode within a Keras graph what a network's heads say; see `decode_graph`.

    Parameters
    ----------
    spec
        The model.
    maps
        Keras tensors, float32: logits (B, h, w, K), and location refinement (B, h, w, 2K) where the network has it.

    Returns
    -------
    KerasTensor
        float32 (B, K, 3): x, y in pixels, likelihood.
    """
    return decode_graph(
        maps[0],
        maps[1] if spec.location_refinement else None,
        parts=len(spec.bodyparts),
        stride=float(spec.stride),
        locref_stdev=spec.locref_stdev,
        apply_sigmoid=spec.apply_sigmoid,
        clip_scores=spec.clip_scores,
    )


def _normalised(
    frames: Any,
    pixel_format: PixelFormat,
    mean_pixel: tuple[float, float, float],
    std_pixel: tuple[float, float, float],
) -> Any:
    """Float32 RGB minus the mean colour and divided by its deviation, from uint8 in any pixel format."""
    import numpy as np
    from keras import ops

    pixels = ops.cast(frames, "float32")
    if pixel_format == "gray8":
        pixels = ops.repeat(pixels, 3, axis=-1)
    elif pixel_format == "bgr24":
        pixels = ops.flip(pixels, axis=-1)
    pixels = pixels - np.asarray(mean_pixel, dtype=np.float32)
    if std_pixel == (1.0, 1.0, 1.0):
        return pixels
    return pixels / np.asarray(std_pixel, dtype=np.float32)


def _resnet_maps(bundle: ModelBundle, precision: Policy, pixels: Any) -> list[Any]:
    """Build the ResNet with its two heads."""
    from keras import layers

    features = _Resnet(bundle, precision).features(pixels)
    features = layers.Activation("linear", dtype="float32", name="features")(features)
    padding = "same" if bundle.spec.family == "slim" else "valid"
    return [
        layers.Conv2DTranspose(
            bundle.weights[f"{name}/bias"].size,
            3,
            strides=2,
            padding=padding,
            kernel_initializer=UNDRAWN,
            dtype="float32",
            name=name,
        )(features)
        for name in (["part_pred", "locref_pred"] if bundle.spec.location_refinement else ["part_pred"])
    ]


def _frozen_maps(bundle: ModelBundle, precision: Policy, pixels: Any) -> list[Any]:
    """Run a frozen graph."""
    import keras

    spec = bundle.spec
    if precision != "float32":
        raise ModelError(
            f"{spec.name} is a {spec.net_type}, which runs as the graph that DeepLabCut exported: in float32, not in "
            f"{precision}. Choose float32."
        )
    if keras.backend.backend() != "tensorflow":
        raise ModelError(f"{spec.name} is a graph of TensorFlow and cannot run on {keras.backend.backend()}.")
    from posestream.inference.networks.graph_layer import FrozenGraph

    parts = len(spec.bodyparts)
    outputs = dict(zip(heads(locref=spec.location_refinement), (parts, 2 * parts), strict=False))
    graph = parse_graph(bundle.graph, spec.name)
    return list(FrozenGraph(graph, outputs, one_at_a_time=spec.norm == "batch", name="graph")(pixels))


class _Resnet:
    """Layers of the ResNet; a layer's name is its tensors' name with dots, since Keras allows no slash."""

    def __init__(self, bundle: ModelBundle, precision: Policy) -> None:
        self._bundle = bundle
        self._precision = precision
        self._timm = bundle.spec.family == "timm"

    def features(self, pixels: Any) -> Any:
        """Activations of block 4: (B, ceil(H / 16), ceil(W / 16), 2048) from normalised float32 pixels (B, H, W, 3)."""
        from keras import layers

        policy = self._precision
        net = layers.Activation("linear", dtype=policy, name="to_precision")(pixels)
        net = self._conv(net, "conv1", strides=2, padding=3)
        if self._timm:  # what is padded with is below none of what a ReLU leaves
            net = layers.ZeroPadding2D(1, dtype=policy, name="pool1.pad")(net)
        padding = "valid" if self._timm else "same"
        net = layers.MaxPooling2D(3, strides=2, padding=padding, dtype=policy, name="pool1")(net)
        for block, units in enumerate(UNITS[self._bundle.spec.net_type], start=1):
            for unit in range(1, units + 1):
                if self._timm:
                    strides, dilation = 2 if unit == 1 and block in (2, 3) else 1, 2 if unit > 1 and block == 4 else 1
                else:
                    strides, dilation = 2 if unit == units and block <= 2 else 1, 2 if block == 4 else 1
                net = self._unit(net, f"block{block}/unit_{unit}", strides, dilation)
        return net

    def _unit(self, net: Any, name: str, strides: int, dilation: int) -> Any:
        """Bottleneck unit: relu(shortcut + conv3(conv2(conv1)))."""
        from keras import layers

        if f"{name}/shortcut/kernel" in self._bundle.weights:
            shortcut = self._conv(net, f"{name}/shortcut", strides=strides, activation=None)
        else:
            shortcut = net if strides == 1 else net[:, ::strides, ::strides, :]
        residual = self._conv(net, f"{name}/conv1")
        residual = self._conv(residual, f"{name}/conv2", strides=strides, padding=1, dilation=dilation)
        residual = self._conv(residual, f"{name}/conv3", activation=None)
        dotted = name.replace("/", ".")
        net = layers.Add(dtype=self._precision, name=f"{dotted}.add")([shortcut, residual])
        return layers.Activation("relu", dtype=self._precision, name=f"{dotted}.relu")(net)

    def _conv(
        self,
        net: Any,
        name: str,
        *,
        strides: int = 1,
        padding: int = 0,
        dilation: int = 1,
        activation: str | None = "relu",
    ) -> Any:
        """Convolution with bias or norm; SAME where that pads evenly, by hand where it would depend on the size."""
        from keras import layers

        size, _, _, filters = self._bundle.weights[f"{name}/kernel"].shape
        dotted = name.replace("/", ".")
        if padding and strides > 1:
            net = layers.ZeroPadding2D(padding, dtype=self._precision, name=f"{dotted}.pad")(net)
        grouped = self._bundle.spec.norm == "group"
        net = layers.Conv2D(
            filters,
            size,
            strides=strides,
            padding="same" if padding and strides == 1 else "valid",
            dilation_rate=dilation,
            activation=None if grouped else activation,
            use_bias=not grouped,
            kernel_initializer=UNDRAWN,
            dtype=self._precision,
            name=dotted,
        )(net)
        if not grouped:
            return net
        from posestream.inference.networks.group_norm import GroupNorm

        norm = GroupNorm(GROUPS, epsilon=GROUP_NORM_EPSILON, dtype="float32", name=f"{dotted}.norm")
        return layers.Activation(activation or "linear", dtype=self._precision, name=f"{dotted}.out")(norm(net))
