"""Read what DeepLabCut's `export_model` leaves: a frozen TensorFlow graph (`snapshot-N.pb`) and its `pose_cfg.yaml`.

Freezing turned the variables into constants of the same names, so the graph of a ResNet is not run: its constants are
read and the network is built anew, as from a snapshot. The graphs of MobileNets and EfficientNets are kept and run.
Whether a graph ends in poses (`TFGPUinference: true`) or in maps makes no difference to either.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from posestream.inference.errors import ModelError
from posestream.inference.formats.bundle import ModelBundle
from posestream.inference.formats.graph_file import cut_graph, parse_graph, uses_batch_statistics
from posestream.inference.formats.pose_config import CONFIG_FILE, SUPPORTED, describe, read_config
from posestream.inference.formats.project_files import Training
from posestream.inference.formats.slim import build_bundle, wanted_variables

__all__ = ["find_graph", "read_export_folder"]

LARGEST_GRAPH_BYTES = 2**31 - 1
"""More cannot stand in one protocol buffer."""


def read_export_folder(folder: Path, graph: str | None = None, home: Path | None = None) -> ModelBundle:
    """Import an exported network.

    Parameters
    ----------
    folder
        DeepLabCut's `.../exported-models/DLC_{Task}_{net_type}_iteration-{i}_shuffle-{s}`, or a copy of it.
    graph
        Name of the `.pb` file; the one with the most iterations where not given.
    home
        Where the project's files are sought, if `folder` is but a copy.

    Returns
    -------
    ModelBundle
        With float32 weights, batch norm folded in; or a frozen graph.

    Raises
    ------
    ModelError
        Something is absent or damaged, or the network is of a kind that this version does not run.
    """
    folder = folder.absolute()
    config = read_config(folder / CONFIG_FILE)
    path = folder / graph if graph is not None else find_graph(folder)
    training = Training.of(config.init_weights or "") or Training(folder=folder.name, stem=folder.name)
    spec = describe(folder, config, path.stem, training, home)
    graph = parse_graph(_read(path), str(path))
    if spec.family != "frozen-graph":
        return build_bundle(spec, _read_constants(graph, path, wanted_variables(spec)), str(path))
    cut = cut_graph(graph, str(path), parts=len(spec.bodyparts), locref=spec.location_refinement)
    if uses_batch_statistics(parse_graph(cut, str(path))):
        spec = msgspec.structs.replace(spec, norm="batch")
    return ModelBundle(spec, {}, cut)


def find_graph(folder: Path) -> Path:
    """Path of the frozen graph with the most iterations."""
    graphs = [path for path in folder.glob("*.pb") if not path.name.startswith(".")]
    if not graphs:
        raise ModelError(
            f"{folder} has no frozen graph: there is no file named snapshot-N.pb. Export the network again."
        )

    def iterations(path: Path) -> tuple[int, str]:
        number = path.stem.rpartition("-")[2]
        return (int(number) if number.isdecimal() else -1, path.name)

    return max(graphs, key=iterations)


def _read(path: Path) -> bytes:
    try:
        if path.stat().st_size > LARGEST_GRAPH_BYTES:
            raise ModelError(f"{path} is too large for a TensorFlow graph ({path.stat().st_size:,} bytes).")
        return path.read_bytes()
    except OSError as error:
        raise ModelError(f"{path} cannot be read: {error.strerror or error}.") from error


def _read_constants(graph: Any, path: Path, wanted: Mapping[str, tuple[int, ...]]) -> dict[str, NDArray[np.floating]]:
    """Read the constants; nothing of the graph is executed."""
    from tensorflow import make_ndarray

    constants = {node.name: node.attr["value"].tensor for node in graph.node if node.op == "Const"}
    missing = [name for name in wanted if name not in constants]
    if missing:
        raise ModelError(
            f"{path} lacks {len(missing)} of {len(wanted)} constants, such as {missing[0]}: it is no frozen graph of "
            f"the network that {CONFIG_FILE} describes, or not all of it. {SUPPORTED}."
        )
    return {name: _array(path, name, constants[name], shape, make_ndarray) for name, shape in wanted.items()}


def _array(path: Path, name: str, tensor: Any, wanted: tuple[int, ...], make_ndarray: Any) -> NDArray[np.floating]:
    """Make an array of a constant, after checking its shape: a few bytes can ask for any amount of memory."""
    shape = tuple(dimension.size for dimension in tensor.tensor_shape.dim)
    if shape != wanted:
        raise ModelError(
            f"{path}: {name} has the shape {shape}, but {CONFIG_FILE} calls for {wanted}. "
            "Are the two from the same network?"
        )
    try:
        array = np.asarray(make_ndarray(tensor))
    except (TypeError, ValueError) as error:
        raise ModelError(f"{path} is damaged at {name}: {error}. Copy it again.") from error
    if array.dtype.kind != "f":
        raise ModelError(f"{path}: {name} holds {array.dtype}, not numbers of a network. Export the network again.")
    return array
