"""The network as OpenVINO's graph: read from our graph of ONNX once per model, kept in the user's cache folder.

The graph takes uint8 RGB frames of any size and holds all from the mean subtraction to the decoder. Neither making nor
reading it needs TensorFlow. Frame sizes, batch sizes and pixel formats are fixed when it is read, so that one file
serves all of them.
"""

import contextlib
import hashlib
import logging
import os
import secrets
import shutil
import tempfile
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

from posestream.inference.errors import ModelError
from posestream.inference.formats.bundle import ModelBundle
from posestream.inference.formats.cache import cache_folder, remove_oldest
from posestream.stream.wire.messages import PixelFormat

__all__ = ["GRAPH_FILE", "fixed", "import_openvino", "read_graph", "unreported"]

GRAPH_FILE = "graph.xml"
CONVERSION = 3
"""Raised whenever the same model becomes another graph."""
MOST_GRAPHS = 10
"""About 100 MB each; the least recently used go when there are more."""

_log = logging.getLogger(__name__)


def import_openvino() -> Any:
    """Import OpenVINO.

    Raises
    ------
    ModelError
        It is not installed.
    """
    try:
        import openvino
    except ImportError as error:
        raise ModelError(
            f"OpenVINO cannot be imported: {error}. Install posestream again, or choose the engine tensorflow."
        ) from error
    return openvino


def read_graph(core: Any, bundle: ModelBundle) -> Any:
    """Give the float32 graph of a model, from the cache or converted now.

    Returns
    -------
    openvino.Model
        From uint8 RGB (B, H, W, 3) to float32 (B, K, 3), with B, H and W open.

    Raises
    ------
    ModelError
        The network cannot be converted.
    """
    folder = cache_folder("openvino") / _key(bundle)
    path = folder / GRAPH_FILE
    if path.exists():
        try:
            model = core.read_model(path)
        except RuntimeError as error:
            _log.warning("A kept graph is damaged and is made anew: %s", error)
            shutil.rmtree(folder, ignore_errors=True)
        else:
            with contextlib.suppress(OSError):
                os.utime(path)
            return model
    with _partial(folder) as partial:
        _convert(core, bundle, partial)
        with contextlib.suppress(OSError):
            partial.rename(folder)
        remove_oldest(folder.parent, GRAPH_FILE, MOST_GRAPHS)
        if path.exists():  # whether this process was the first or another one
            return core.read_model(path)
        _log.warning("The converted network is not kept: %s cannot be written.", folder)
        return core.read_model(partial / GRAPH_FILE, config={"ENABLE_MMAP": False})  # the file goes


def fixed(model: Any, batch: int, height: int, width: int, pixel_format: PixelFormat) -> Any:
    """Fix what a graph takes: uint8 (batch, height, width, 1 or 3) in a pixel format; changes the graph."""
    from openvino import opset13 as opset

    ov = import_openvino()
    rgb = model.input(0)
    if pixel_format != "rgb24":
        shape = ov.PartialShape([-1, -1, -1, 1 if pixel_format == "gray8" else 3])
        frames = opset.parameter(shape, ov.Type.u8, name="frames")
        if pixel_format == "gray8":
            turned = opset.concat([frames, frames, frames], 3)
        else:
            blue, green, red = opset.split(frames, opset.constant(3, ov.Type.i32), 3).outputs()
            turned = opset.concat([red, green, blue], 3)
        for target in rgb.get_target_inputs():
            target.replace_source_output(turned.output(0))
        model.remove_parameter(rgb.get_node())
        model.add_parameters([frames])
    model.reshape([batch, height, width, 1 if pixel_format == "gray8" else 3])
    return model


@contextlib.contextmanager
def unreported() -> Iterator[None]:
    """Keep NNCF from reporting to its makers, as it does unless it runs in a CI."""
    before = os.environ.get("CI")
    os.environ["CI"] = "true"
    try:
        yield
    finally:
        if before is None:
            del os.environ["CI"]
        else:
            os.environ["CI"] = before


def _key(bundle: ModelBundle) -> str:
    about = f"{CONVERSION} {version('openvino')} {bundle.digest()}"
    return hashlib.sha256(about.encode()).hexdigest()[:32]


@contextlib.contextmanager
def _partial(folder: Path) -> Iterator[Path]:
    """Make a folder that becomes `folder` by renaming, or one elsewhere where that cannot be written; it is removed."""
    partial = folder.parent / f".{folder.name}.{secrets.token_hex(4)}.partial"
    try:
        partial.mkdir(parents=True)
    except OSError:
        partial = Path(tempfile.mkdtemp(prefix="posestream-"))
    try:
        yield partial
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _convert(core: Any, bundle: ModelBundle, folder: Path) -> None:
    """Write the graph of a model."""
    from posestream.inference.networks.onnx_graph import onnx_graph

    try:
        model = core.read_model(onnx_graph(bundle).SerializeToString())
        import_openvino().serialize(model, folder / GRAPH_FILE)
    except (RuntimeError, OSError) as error:
        raise ModelError(f"{bundle.spec.name} cannot be converted for OpenVINO: {error}.") from error
