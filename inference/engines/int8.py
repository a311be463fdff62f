"""The int8 graph of a model: in the folder `int8` of its bundle, made by `posestream model optimize`.

It holds OpenVINO's graph (`graph.xml`, `graph.bin`), which takes uint8 RGB frames of any size, and `int8.json`, which
says what network it is of and what it was calibrated on (schema `Int8File`).
"""

import hashlib
from pathlib import Path
from typing import Any, Literal

import msgspec

from posestream.inference.engines.openvino_graph import GRAPH_FILE, import_openvino
from posestream.inference.errors import ModelError
from posestream.inference.formats.bundle import ModelBundle
from posestream.inference.formats.bundled import is_bundled
from posestream.stream.disk.durable import making_folder

__all__ = ["Calibration", "Int8File", "read_int8", "save_int8"]

FOLDER = "int8"
DESCRIPTION = "int8.json"


class Calibration(msgspec.Struct, frozen=True, kw_only=True):
    """What a network was quantised with."""

    video: str
    """The video's file name."""
    frames: int
    width: int
    height: int
    versions: dict[str, str]
    """Of the libraries that did it."""


class Int8File(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Schema of `int8.json`."""

    format: Literal["posestream int8"]
    version: Literal[1]
    model_sha256: str
    """Digest of the model that was quantised."""
    sha256: dict[str, str]
    """Of the two files of the graph, by name."""
    calibration: Calibration


def read_int8(core: Any, bundle: ModelBundle) -> Any:
    """Give a model's int8 graph, an `openvino.Model` as `read_graph` gives.

    Raises
    ------
    ModelError
        The model was not optimised, or changed since, or the graph is damaged.
    """
    folder = (bundle.folder or Path()) / FOLDER
    if bundle.folder is None or not (folder / DESCRIPTION).exists():
        raise ModelError(f"{bundle.spec.name} has no int8 graph yet. {_how(bundle)}")
    try:
        about = msgspec.json.decode((folder / DESCRIPTION).read_bytes(), type=Int8File)
        damaged = [name for name, sha256 in about.sha256.items() if _sha256(folder / name) != sha256]
        if GRAPH_FILE not in about.sha256 or damaged:
            raise ModelError(f"{folder} is damaged. {_how(bundle)}")
        if about.model_sha256 != bundle.digest():
            raise ModelError(f"{folder} was made of another network than the one beside it. {_how(bundle)}")
        return core.read_model(folder / GRAPH_FILE)
    except (OSError, msgspec.DecodeError, RuntimeError) as error:
        raise ModelError(f"{folder} cannot be read: {error}. {_how(bundle)}") from error


def save_int8(graph: Any, bundle: ModelBundle, calibration: Calibration) -> Path:
    """Keep an int8 graph with its bundle, in the place of one that is there; gives the folder.

    Raises
    ------
    ModelError
        The bundle cannot be written to.
    """
    if bundle.folder is None:
        raise ModelError(f"{bundle.spec.name} is in no folder that an int8 graph could be kept in. Name an --output.")
    folder = bundle.folder / FOLDER
    try:
        with making_folder(folder, replace=True) as partial:
            import_openvino().serialize(graph, partial / GRAPH_FILE)
            about = Int8File(
                format="posestream int8",
                version=1,
                model_sha256=bundle.digest(),
                sha256={path.name: _sha256(path) for path in sorted(partial.iterdir())},
                calibration=calibration,
            )
            (partial / DESCRIPTION).write_bytes(msgspec.json.format(msgspec.json.encode(about)) + b"\n")
    except OSError as error:
        raise ModelError(f"{folder} cannot be written: {error.strerror or error}. Name an --output.") from error
    return folder


def _how(bundle: ModelBundle) -> str:
    where = f"{bundle.spec.name} --output FOLDER" if is_bundled(bundle.folder) else bundle.folder or "MODEL"
    return f"Make it with: posestream model optimize {where} --precision int8 --calibrate VIDEO"


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
