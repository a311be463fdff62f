"""Frozen TensorFlow graphs: what of them leads from a picture to the maps, and whether that may be run.

A graph is a program, and TensorFlow has operations that read and write files and run Python. So a graph is cut to the
two heads that DeepLabCut gives all its networks, and what is left may hold arithmetic only: every operation must be one
of `OPERATIONS`.
"""

import math
from typing import Any

import numpy as np

from posestream.inference.errors import ModelError
from posestream.inference.quiet import import_tensorflow

__all__ = ["check_graph", "cut_graph", "heads", "parse_graph", "uses_batch_statistics"]

PART_HEAD = "pose/part_pred/block4"
LOCREF_HEAD = "pose/locref_pred/block4"

OPERATIONS = frozenset(
    """
    Add AddV2 BiasAdd Cast ConcatV2 Const Conv2D Conv2DBackpropInput DepthwiseConv2dNative FusedBatchNorm
    FusedBatchNormV2 FusedBatchNormV3 Identity IdentityN Mean Mul Pack Pad Placeholder RealDiv Relu Relu6 Reshape Shape
    Sigmoid StridedSlice Sub
    """.split()  # noqa: SIM905 - thirty lines otherwise
)
"""What MobileNets and EfficientNets are made of, in the versions of TensorFlow that DeepLabCut ran on. All of it
computes numbers of numbers."""

LARGEST_CONSTANT = 2**28
"""Numbers; a few bytes can ask for any amount of memory."""


def heads(*, locref: bool) -> list[str]:
    """Names of the nodes that give the maps: logits of the parts and, with `locref`, location refinement."""
    return [f"{head}/BiasAdd" for head in ((PART_HEAD, LOCREF_HEAD) if locref else (PART_HEAD,))]


def parse_graph(content: bytes, where: str) -> Any:
    """Read a `GraphDef`; nothing of it is executed.

    Raises
    ------
    ModelError
        It is none; `where` says in the message which file that is.
    """
    import_tensorflow()
    from google.protobuf.message import DecodeError
    from tensorflow.core.framework.graph_pb2 import GraphDef

    graph = GraphDef()
    try:
        graph.ParseFromString(content)
    except DecodeError as error:
        raise ModelError(
            f"{where} is damaged, or not a TensorFlow graph. Copy it again, or export the network again."
        ) from error
    return graph


def cut_graph(graph: Any, where: str, *, parts: int, locref: bool) -> bytes:
    """Take of an exported graph what the maps need, and refuse what may not be run.

    Parameters
    ----------
    graph
        `GraphDef` of the export, in either flavour: whether it ends in maps or goes on to poses makes no difference.
    where
        File that it comes from, for messages.
    parts
        Number of body parts, K.
    locref
        Whether the network has a head for location refinement.

    Returns
    -------
    bytes
        `GraphDef` with one placeholder, float32 (B, H, W, 3), and the nodes that `heads` names.

    Raises
    ------
    ModelError
        The heads are not there, or not for K parts, or an operation is not one of `OPERATIONS`.
    """
    from tensorflow.core.framework.graph_pb2 import GraphDef

    nodes = {node.name: node for node in graph.node}
    wanted = heads(locref=locref)
    kept: set[str] = set()
    while wanted:
        name = wanted.pop()
        if name in kept:
            continue
        if name not in nodes:
            raise ModelError(f"{where} lacks the node {name}: it is no whole network that DeepLabCut exported.")
        kept.add(name)
        wanted += [source.lstrip("^").partition(":")[0] for source in nodes[name].input]
    cut = GraphDef(versions=graph.versions)
    for node in graph.node:
        if node.name in kept:
            added = cut.node.add(name=node.name, op=node.op, input=node.input)
            for key, value in node.attr.items():
                if not key.startswith("_"):  # notes of the machine that trained it, for gradients and devices
                    added.attr[key].CopyFrom(value)
    _check_operations(cut, where)
    _check_constants(cut, where, parts=parts, locref=locref)
    _check_wiring(cut, where)
    return bytes(cut.SerializeToString(deterministic=True))


def check_graph(content: bytes, where: str, *, parts: int, locref: bool, batch_statistics: bool) -> None:
    """Refuse a bundle's graph that is not what `cut_graph` makes, or not what its description says.

    Raises
    ------
    ModelError
        As `cut_graph`; or it holds more than the maps need, or normalises otherwise than the description says.
    """
    graph = parse_graph(content, where)
    if len(graph.node) != len(parse_graph(cut_graph(graph, where, parts=parts, locref=locref), where).node):
        raise ModelError(f"{where} holds more than a network's maps need. Import the model again.")
    if graph.library.function:
        raise ModelError(f"{where} defines functions of its own. Import the model again.")
    if uses_batch_statistics(graph) != batch_statistics:
        raise ModelError(f"{where} has another batch norm than its description says. Import the model again.")


def uses_batch_statistics(graph: Any) -> bool:
    """Whether batch norm takes mean and variance of the pictures being run, and not those of training.

    Then a pose depends on which other pictures are in the batch. DeepLabCut's MobileNets are so.
    """
    norms = [node for node in graph.node if node.op.startswith("FusedBatchNorm")]
    # where it does not say so, it is in training: that is the operation's own default
    return any("is_training" not in node.attr or node.attr["is_training"].b for node in norms)


def _check_operations(graph: Any, where: str) -> None:
    strange = sorted({node.op for node in graph.node} - OPERATIONS)
    if strange:
        raise ModelError(
            f"{where} uses the operation {strange[0]!r}, which no network of DeepLabCut needs. It is not run. "
            "Export the network again from where it was trained."
        )
    inputs = [node for node in graph.node if node.op == "Placeholder"]
    if len(inputs) != 1 or inputs[0].attr["dtype"].type != 1:  # DT_FLOAT
        raise ModelError(f"{where} takes {len(inputs)} inputs, not one picture in float32. Export the network again.")


def _check_constants(graph: Any, where: str, *, parts: int, locref: bool) -> None:
    """Refuse constants that are too large, damaged or not finite, and heads for another number of parts."""
    from tensorflow import make_ndarray

    sizes: dict[str, tuple[int, ...]] = {}
    for node in graph.node:
        if node.op != "Const":
            continue
        tensor = node.attr["value"].tensor
        shape = tuple(dimension.size for dimension in tensor.tensor_shape.dim)
        if any(size < 0 for size in shape) or math.prod(shape) > LARGEST_CONSTANT:
            raise ModelError(f"{where}: the constant {node.name} has the shape {shape}. Export the network again.")
        try:
            array = np.asarray(make_ndarray(tensor))
        except (TypeError, ValueError, KeyError) as error:
            raise ModelError(f"{where} is damaged at {node.name}: {error}. Copy it again.") from error
        if array.dtype.kind not in "fib" or (array.dtype.kind == "f" and not np.isfinite(array).all()):
            raise ModelError(f"{where}: {node.name} holds what are no finite numbers. Import another snapshot.")
        sizes[node.name] = shape
    for head, outputs in ((PART_HEAD, parts), (LOCREF_HEAD, 2 * parts))[: 2 if locref else 1]:
        found = sizes.get(f"{head}/biases")
        if found != (outputs,):
            raise ModelError(
                f"{where}: {head}/biases has the shape {found}, but the configuration calls for {(outputs,)}. "
                "Are the two from the same network?"
            )


def _check_wiring(graph: Any, where: str) -> None:
    """Let TensorFlow read the graph and infer its shapes, which runs nothing."""
    tf = import_tensorflow()
    try:
        with tf.Graph().as_default():
            tf.graph_util.import_graph_def(graph, name="")
    except (tf.errors.OpError, AttributeError, LookupError, TypeError, ValueError) as error:
        reason = " ".join(str(error).split())[:200]
        raise ModelError(f"{where} is damaged: TensorFlow says {reason}. Export the network again.") from error
