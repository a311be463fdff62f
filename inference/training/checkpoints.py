"""A training's checkpoint: a file from which it goes on, and that says what training it is of."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from posestream.inference.errors import ModelError
from posestream.stream.disk.durable import replacing

__all__ = ["CHECKPOINT_FILE", "read_checkpoint", "write_checkpoint"]

CHECKPOINT_FILE = "checkpoint.safetensors"

Tensors = dict[str, NDArray[Any]]


def write_checkpoint(path: Path, tensors: Mapping[str, NDArray[Any]], step: int, identity: Mapping[str, Any]) -> None:
    """Write a checkpoint; the old one stays until the new one is complete.

    Parameters
    ----------
    path
        The file.
    tensors
        All that changes in a training.
    step
        Steps done.
    identity
        What the training must agree on that goes on from it, as JSON has it.

    Raises
    ------
    ModelError
        It cannot be written.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import save_file

    metadata = {"identity": json.dumps(identity), "step": str(step)}
    try:
        with replacing(path) as partial:
            save_file({name: np.atleast_1d(array) for name, array in tensors.items()}, partial, metadata)
    except (OSError, SafetensorError) as error:
        why = getattr(error, "strerror", None) or error
        raise ModelError(f"{path} cannot be written: {why}. What was saved before is kept.") from error


def read_checkpoint(path: Path, identity: Mapping[str, Any]) -> tuple[int, Tensors] | None:
    """Read a checkpoint; None where there is none.

    Returns
    -------
    tuple
        Steps done, and the tensors.

    Raises
    ------
    ModelError
        It is damaged, or of another training.
    """
    if not path.is_file():
        return None
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="numpy") as file:
            metadata = file.metadata() or {}
            found, step = json.loads(metadata["identity"]), int(metadata["step"])
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - no mapping
    except (SafetensorError, OSError, KeyError, ValueError) as error:
        raise ModelError(f"{path} is not a checkpoint of a training: {error}. Remove it and begin anew.") from error
    if found != identity:
        other = ", ".join(key for key in identity if found.get(key) != identity[key])
        raise ModelError(f"{path} belongs to a training that differs in: {other}. Name the same, or begin anew.")
    return step, tensors
