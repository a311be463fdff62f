"""Read a train folder of DeepLabCut's TensorFlow code: `pose_cfg.yaml` and `snapshot-N.{index,data-...}`."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from posestream.inference.errors import ModelError
from posestream.inference.families import FAMILIES
from posestream.inference.formats.bundle import ModelBundle
from posestream.inference.formats.pose_config import CONFIG_FILE, SUPPORTED, describe, read_config
from posestream.inference.formats.slim import build_bundle, wanted_variables
from posestream.inference.quiet import import_tensorflow

__all__ = ["find_snapshot", "read_train_folder"]

READER_ERRORS = (LookupError, RuntimeError, ValueError)
"""What TensorFlow's reader raises for damaged files beside its own errors, as its C++ statuses are translated."""


def read_train_folder(folder: Path, snapshot: str | None = None) -> ModelBundle:
    """Import a snapshot of a TensorFlow train folder.

    Parameters
    ----------
    folder
        DeepLabCut's `.../dlc-models/iteration-I/{Task}{date}-trainset{P}shuffle{N}/train`, or a copy of it.
    snapshot
        Name such as `snapshot-103000`; the one with the most iterations where not given.

    Returns
    -------
    ModelBundle
        With float32 weights, batch norm folded in.

    Raises
    ------
    ModelError
        Something is absent or damaged, or the network is of a kind that this version does not run.
    """
    folder = folder.absolute()
    config = read_config(folder / CONFIG_FILE)
    if config.net_type not in FAMILIES["slim"].strides:
        raise ModelError(
            f"{folder} holds a network of type {config.net_type}, which runs as an exported graph only. Export it with "
            "DeepLabCut's export_model, and name the exported folder."
        )
    prefix = find_snapshot(folder, snapshot)
    spec = describe(folder, config, prefix.name)
    return build_bundle(spec, _read_variables(prefix, wanted_variables(spec)), str(prefix))


def find_snapshot(folder: Path, name: str | None) -> Path:
    """Path of the snapshot without suffix, as TensorFlow names a checkpoint."""
    snapshots = {path.stem: path.with_suffix("") for path in folder.glob("snapshot-*.index")}
    numbered = {stem: int(stem[9:]) for stem in snapshots if stem[9:].isdecimal()}
    if name is not None:
        if name not in snapshots:
            raise ModelError(f"{folder} has no snapshot {name!r}. There are: {', '.join(sorted(snapshots)) or 'none'}.")
        return snapshots[name]
    if not numbered:
        raise ModelError(f"{folder} has no snapshot: there is no file named snapshot-N.index. Train the network first.")
    return snapshots[max(numbered, key=lambda stem: numbered[stem])]


def _read_variables(prefix: Path, wanted: Mapping[str, tuple[int, ...]]) -> dict[str, NDArray[np.floating]]:
    """Read the variables, after checking that all are there with the shapes they must have."""
    tf = import_tensorflow()
    try:
        reader = tf.train.load_checkpoint(str(prefix))
        shapes = reader.get_variable_to_shape_map()
    except (tf.errors.OpError, *READER_ERRORS) as error:
        raise _damaged(prefix, error) from error
    missing = [name for name in wanted if name not in shapes]
    if missing:
        raise ModelError(
            f"{prefix} lacks {len(missing)} of {len(wanted)} variables, such as {missing[0]}: it is not a snapshot of "
            f"the network that {CONFIG_FILE} describes. {SUPPORTED}."
        )
    for name, shape in wanted.items():
        if tuple(shapes[name]) != shape:
            raise ModelError(
                f"{prefix}: {name} has the shape {tuple(shapes[name])}, but {CONFIG_FILE} calls for {shape}. "
                "Are the two from the same network?"
            )
    try:
        return {name: np.asarray(reader.get_tensor(name)) for name in wanted}
    except (tf.errors.OpError, *READER_ERRORS) as error:
        raise _damaged(prefix, error) from error


def _damaged(prefix: Path, error: Exception) -> ModelError:
    reason = str(getattr(error, "message", error)).splitlines()[0][:200]
    return ModelError(
        f"{prefix} is damaged or incomplete ({reason}). Copy {prefix.name}.index and {prefix.name}.data-00000-of-00001 "
        "from the project again, or name another snapshot."
    )
