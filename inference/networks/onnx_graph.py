"""The network as one graph of ONNX that every engine reads, written straight from a bundle's weights.

It needs neither TensorFlow nor Keras. Input `frames`: uint8 (batch, height, width, C), any batch and size, C = 1
(`gray8`) or 3 (`rgb24`, `bgr24`). Output `poses`: float32 (batch, K, 3), x and y in pixels and likelihood. The operator
set is 17.
"""

from importlib.metadata import version
from typing import Any

import numpy as np
from onnx import ModelProto, TensorProto, helper

from posestream.inference.errors import ModelError
from posestream.inference.families import FAMILIES, head_channels
from posestream.inference.families.layers import LUMA
from posestream.inference.formats.bundle import ModelBundle, ModelSpec
from posestream.inference.networks.onnx_layers import OnnxLayers
from posestream.stream.wire.messages import CHANNELS, PixelFormat

__all__ = ["INPUT", "OPSET", "OUTPUT", "onnx_graph"]

OPSET = 17
"""The oldest that says all we need: what reads it has been about since 2022."""
IR_VERSION = 8
"""Of the file format, as ONNX had it with that operator set."""
INPUT, OUTPUT = "frames", "poses"


def onnx_graph(bundle: ModelBundle, pixel_format: PixelFormat = "rgb24", *, half: bool = False) -> ModelProto:
    """Write the graph of a model.

    Parameters
    ----------
    bundle
        The model.
    pixel_format
        Of the frames that it takes.
    half
        Whether the network computes in float16; pixels are normalised and heads and decoder computed in float32 also
        then.

    Raises
    ------
    ModelError
        The model is a frozen graph of TensorFlow.
    """
    spec = bundle.spec
    if bundle.graph:
        raise ModelError(
            f"{spec.name} is a {spec.net_type}, which runs as the graph that DeepLabCut exported, and only on "
            "TensorFlow: there is no ONNX graph of it."
        )
    heads = head_channels(spec.bodyparts, location_refinement=spec.location_refinement)
    layers = OnnxLayers(_apart(bundle), spec.norm, half=half)
    pixels = layers.begin(_normalised(layers, spec, pixel_format))
    maps = FAMILIES[spec.family].maps(layers, pixels, spec.net_type, heads)
    _decoded(layers, spec, maps)
    model = layers.model
    model.graph.name = "posestream"
    frames = ("batch", "height", "width", CHANNELS[pixel_format])
    model.graph.input.append(helper.make_tensor_value_info(INPUT, TensorProto.UINT8, frames))
    poses = ("batch", len(spec.bodyparts), 3)
    model.graph.output.append(helper.make_tensor_value_info(OUTPUT, TensorProto.FLOAT, poses))
    model.opset_import.append(helper.make_opsetid("", OPSET))
    model.ir_version = IR_VERSION
    model.producer_name, model.producer_version = "posestream", version("posestream")
    about = {"bodyparts": "\n".join(spec.bodyparts), "pixel_format": pixel_format, "model": spec.name}
    helper.set_model_props(model, about | {"model_sha256": bundle.digest()})
    return model


def _apart(bundle: ModelBundle) -> dict[str, Any]:
    """Give the weights with all refinements in x before all in y, so that the decoder need not part them."""
    weights = dict(bundle.weights)
    if bundle.spec.location_refinement:
        for name, axis in (("locref_pred/kernel", 2), ("locref_pred/bias", 0)):
            channels = np.arange(weights[name].shape[axis]).reshape(-1, 2).T.ravel()
            weights[name] = weights[name].take(channels, axis)
    return weights


def _normalised(layers: OnnxLayers, spec: ModelSpec, pixel_format: PixelFormat) -> str:
    """Add what makes float32 (B, C, H, W), minus the mean colour and divided by its deviation, of frames.

    C is 3 (RGB), or 1 where the network sees in grey.
    """
    node, constant = layers.node, layers.constant
    channels = FAMILIES[spec.family].channels
    pixels = node("Cast", [INPUT], "pixels/float32", to=TensorProto.FLOAT)
    pixels = node("Transpose", [pixels], "pixels/planes", perm=[0, 3, 1, 2])
    if channels == 1 and pixel_format != "gray8":
        luma = LUMA if pixel_format == "rgb24" else LUMA[::-1]
        shares = constant("pixels/luma", np.array(luma, np.float32).reshape(1, 3, 1, 1))
        pixels = node("ReduceSum", [node("Mul", [pixels, shares], "pixels/shares"), _axis(layers, 1)], "pixels/grey")
    elif pixel_format == "bgr24":
        planes = [f"pixels/{colour}" for colour in ("blue", "green", "red")]
        blue, green, red = layers.split_node("Split", [pixels], planes, "pixels/colours", axis=1)
        pixels = node("Concat", [red, green, blue], "pixels/rgb", axis=1)
    mean = constant("pixels/mean", np.array(spec.mean_pixel[:channels], np.float32).reshape(1, channels, 1, 1))
    pixels = node("Sub", [pixels, mean], "pixels/centred")  # here grey becomes three channels, where there are three
    if spec.std_pixel == (1.0, 1.0, 1.0):
        return pixels
    deviation = constant("pixels/deviation", np.array(spec.std_pixel[:channels], np.float32).reshape(1, channels, 1, 1))
    return node("Div", [pixels, deviation], "pixels/normalised")


def _axis(layers: OnnxLayers, number: int) -> str:
    return layers.constant(f"axis/{number}", np.array([number], np.int64))


def _decoded(layers: OnnxLayers, spec: ModelSpec, maps: list[str]) -> None:
    """Add the decoder: see `decoder.py`. The maps are (B, K, h, w), and (B, 2K, h, w) for the refinement."""
    node, constant = layers.node, layers.constant
    scoremap = node("Sigmoid", [maps[0]], "decoder/scoremap") if spec.apply_sigmoid else maps[0]
    flat = constant("decoder/flat", np.array([0, 0, -1], np.int64))
    scores = node("Reshape", [scoremap, flat], "decoder/scores")
    one = constant("decoder/one", np.array([1], np.int64))
    # Of equals, TopK takes the first.
    found = ["decoder/likelihood", "decoder/peak"]
    likelihood, peak = layers.split_node("TopK", [scores, one], found, "decoder/top", axis=2)
    width = node("Shape", [maps[0]], "decoder/width", start=3, end=4)
    row = node("Div", [peak, width], "decoder/row")
    column = node("Sub", [peak, node("Mul", [row, width], "decoder/passed")], "decoder/column")
    stride = constant("decoder/stride", np.array(spec.stride, np.float32))
    half = constant("decoder/half", np.array(spec.stride / 2, np.float32))
    places = []
    for axis, place in (("x", column), ("y", row)):
        cell = node("Cast", [place], f"decoder/{axis}/cell", to=TensorProto.FLOAT)
        corner = node("Mul", [cell, stride], f"decoder/{axis}/corner")
        places.append(node("Add", [corner, half], f"decoder/{axis}/middle"))
    if spec.location_refinement:
        places = _refined(layers, spec, maps[1], scores, peak, places)
    if spec.clip_scores:
        nought, full = (constant(f"decoder/{end}", np.array(end, np.float32)) for end in (0, 1))
        likelihood = node("Clip", [likelihood, nought, full], "decoder/clipped")
    node("Concat", [*places, likelihood], OUTPUT, axis=2)


def _refined(layers: OnnxLayers, spec: ModelSpec, locref: str, scores: str, peak: str, places: list[str]) -> list[str]:
    """Add each peak's refinement to its place.

    Nothing is gathered at the peak, as OpenVINO's Gather can read beside its input (see `decode_graph`): a sum over all
    cells of which one counts gives the same number.
    """
    node, constant = layers.node, layers.constant
    cells = node("Shape", [scores], "decoder/cells", start=2, end=3)
    nought, one = (constant(f"decoder/range/{number}", np.array(number, np.int64)) for number in (0, 1))
    scalar = constant("decoder/scalar", np.zeros(0, np.int64))
    count = node("Reshape", [cells, scalar], "decoder/count")
    numbers = node("Range", [nought, count, one], "decoder/numbers")
    at_peak = node("Equal", [numbers, peak], "decoder/at_peak")
    parted = layers.split_node("Split", [locref], ["decoder/locref/x", "decoder/locref/y"], "decoder/locref", axis=1)
    nothing = constant("decoder/nothing", np.array(0, np.float32))
    deviation = constant("decoder/locref/deviation", np.array(spec.locref_stdev, np.float32))
    rows = constant("decoder/flat", np.array([0, 0, -1], np.int64))
    refined = []
    for offsets, place in zip(parted, places, strict=True):
        flat = node("Reshape", [offsets, rows], f"{offsets}/flat")
        chosen = node("Where", [at_peak, flat, nothing], f"{offsets}/chosen")
        offset = node("ReduceSum", [chosen, _axis(layers, 2)], f"{offsets}/offset", keepdims=1)
        refined.append(node("Add", [place, node("Mul", [offset, deviation], f"{offsets}/px")], f"{offsets}/refined"))
    return refined
