"""The network in Keras 3, from the layers that its family describes to the poses.

Batch norm is folded into the convolutions; group norm (Wu & He 2018) stays and is computed in float32.

Nothing in it belongs to TensorFlow alone, so that `KERAS_BACKEND=jax` runs it. The networks of DeepLabCut that are
none of our families run as the frozen graphs that they were exported as; those do need TensorFlow.
"""

import re
from collections.abc import Sequence
from typing import Any, Literal

from posestream.inference.errors import ModelError
from posestream.inference.families import FAMILIES, head_channels
from posestream.inference.families.layers import LUMA
from posestream.inference.formats.batch_norm import unfold_all
from posestream.inference.formats.bundle import ModelBundle, ModelSpec
from posestream.inference.formats.graph_file import heads, parse_graph
from posestream.inference.networks.decoder import decode_graph
from posestream.inference.quiet import import_keras
from posestream.stream.wire.messages import CHANNELS, PixelFormat

__all__ = ["Policy", "Precision", "build_network", "decode_maps"]

Precision = Literal["float32", "bfloat16", "float16"]
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
    batch_norm: bool = False,
) -> Any:
    """Build the network with its weights.

    Parameters
    ----------
    bundle
        The model.
    pixel_format
        What the input holds; grey is repeated to three channels and BGR reversed within the graph.
    precision
        In which the network computes. Mean subtraction, both heads and the decoder are always float32: the heads cost
        little, and logits of eight bits would make cells tie that are not equal.
    decode
        Whether poses or maps come out.
    height, width
        Of the frames in pixels; None leaves them open, and every frame size then runs through the same network.
    batch_norm
        Whether a folded batch norm is unfolded (see `unfold_all`), so that it can be trained.

    Returns
    -------
    keras.Model
        From uint8 (B, H, W, C), C being 1 or 3, to float32 (B, K, 3) of x and y in pixels and likelihood. Without
        `decode` to `[part_logits]` or `[part_logits, locref]`, float32 (B, h, w, K) and (B, h, w, 2K), with h and w as
        `map_size` says.

    Raises
    ------
    ModelError
        A frozen graph was asked for in another precision than float32, or on another backend than TensorFlow.
    """
    keras = import_keras()
    spec = bundle.spec
    frames = keras.Input((height, width, CHANNELS[pixel_format]), dtype="uint8", name="frames")
    pixels = _normalised(spec, frames, pixel_format)
    if bundle.graph:
        maps = _frozen_maps(bundle, precision, pixels)
    else:
        maps = _family_maps(bundle, precision, pixels, "batch" if batch_norm else spec.norm)
    weights = unfold_all(bundle.weights) if batch_norm else bundle.weights
    outputs = decode_maps(spec, maps) if decode else maps
    model = keras.Model(frames, outputs, name=f"posestream_{re.sub(r'[^a-z0-9]', '_', spec.net_type)}")
    model.trainable = False
    for layer in model.layers:
        if layer.weights:
            name = layer.name.removesuffix(".norm").replace(".", "/")
            layer.set_weights([weights[f"{name}/{weight.name}"] for weight in layer.weights])
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


def _normalised(spec: ModelSpec, frames: Any, pixel_format: PixelFormat) -> Any:
    """Float32 RGB or grey, minus the mean colour and divided by its deviation, from uint8 in any pixel format."""
    import numpy as np
    from keras import ops

    channels = FAMILIES[spec.family].channels if spec.family in FAMILIES else 3
    pixels = ops.cast(frames, "float32")
    if pixel_format == "bgr24":
        pixels = ops.flip(pixels, axis=-1)
    if channels == 1 and pixel_format != "gray8":
        pixels = ops.sum(pixels * np.asarray(LUMA, np.float32), axis=-1, keepdims=True)
    elif channels == 3 and pixel_format == "gray8":
        pixels = ops.repeat(pixels, 3, axis=-1)
    pixels = pixels - np.asarray(spec.mean_pixel[:channels], np.float32)
    if spec.std_pixel == (1.0, 1.0, 1.0):
        return pixels
    return pixels / np.asarray(spec.std_pixel[:channels], np.float32)


def _family_maps(bundle: ModelBundle, precision: Policy, pixels: Any, norm: str) -> list[Any]:
    """Build the network that the model's family describes."""
    from posestream.inference.networks.keras_layers import KerasLayers

    spec = bundle.spec
    layers = KerasLayers(norm, precision)
    channels = head_channels(spec.bodyparts, location_refinement=spec.location_refinement)
    return FAMILIES[spec.family].maps(layers, layers.begin(pixels), spec.net_type, channels)


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
