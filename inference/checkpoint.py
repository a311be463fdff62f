"""Read what DeepLabCut's TensorFlow code leaves in a train folder: `pose_cfg.yaml` and `snapshot-N.{index,data-...}`.

Variables have the names of tf_slim's `resnet_v1` and of DeepLabCut's heads. Batch norm, always in its inference form,
is folded into the convolution before it, in float64:

    kernel' = kernel * s,  bias' = beta - moving_mean * s,  s = gamma / sqrt(moving_variance + epsilon)
"""

import logging
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import msgspec
import numpy as np
import yaml
from numpy.typing import NDArray

from posestream.inference.bundle import (
    UNITS,
    ModelBundle,
    ModelSource,
    ModelSpec,
    NetType,
    check_weights,
    expected_tensors,
)
from posestream.inference.errors import ModelError

__all__ = ["CONFIG_FILE", "read_train_folder"]

CONFIG_FILE = "pose_cfg.yaml"

BATCH_NORM_EPSILON = 1.001e-5
"""slim asks for 1e-5; TensorFlow raises it to the least that cuDNN takes, and writes that into the graph."""

SUPPORTED = "This version runs DeepLabCut's single-animal resnet_50, resnet_101 and resnet_152 with stride 8"

MONTHS = "Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec"
MODEL_FOLDER = re.compile(
    rf"(?P<stem>(?P<task>.+?)(?P<date>(?:{MONTHS})\d{{1,2}})?)-trainset(?P<percent>\d{{1,3}})shuffle(?P<shuffle>\d+)"
)
"""Name of the folder above `train`: {Task}{date}-trainset{percent}shuffle{n}."""

READER_ERRORS = (LookupError, RuntimeError, ValueError)
"""What TensorFlow's reader raises for damaged files beside its own errors, as its C++ statuses are translated."""

_log = logging.getLogger(__name__)


class _PoseConfig(msgspec.Struct, kw_only=True):
    """The keys of `pose_cfg.yaml` that matter here, with DeepLabCut's defaults; others are left alone."""

    net_type: str
    num_joints: int
    all_joints_names: list[str]
    dataset_type: str = "imgaug"
    stride: float = 8.0
    locref_stdev: float = 7.2801
    location_refinement: bool = False
    mean_pixel: tuple[float, float, float] = (123.68, 116.779, 103.939)
    multi_stage: bool = False
    partaffinityfield_predict: bool = False


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
    config = _read_config(folder / CONFIG_FILE)
    prefix = _find_snapshot(folder, snapshot)
    spec = _describe(folder, config, prefix.name)
    variables = _read_variables(prefix, _wanted(spec))
    weights = _fold(spec, variables)
    check_weights(spec, weights, str(prefix))
    return ModelBundle(spec, weights)


def _read_config(path: Path) -> _PoseConfig:
    loaded = _load_yaml(path)
    try:
        config = msgspec.convert(loaded, _PoseConfig)
    except msgspec.ValidationError as error:
        raise ModelError(
            f"{path} is not a DeepLabCut pose_cfg.yaml: {error}. Copy it from the project again."
        ) from error
    found = ""
    if "multi-animal" in config.dataset_type or config.partaffinityfield_predict:
        found = "a multi-animal network"
    elif config.net_type not in UNITS:
        found = f"a network of type {config.net_type!r}"
    elif config.stride != 8:
        found = f"a network with stride {config.stride:g}"
    if found:
        raise ModelError(f"{path} describes {found}. {SUPPORTED}.")
    if len(config.all_joints_names) != config.num_joints:
        raise ModelError(
            f"{path} names {len(config.all_joints_names)} body parts (all_joints_names) but says num_joints: "
            f"{config.num_joints}. Correct the one that is wrong."
        )
    return config


def _load_yaml(path: Path) -> Any:
    try:
        return yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ModelError(f"{path} cannot be read: {error.strerror or error}.") from error
    except (yaml.YAMLError, UnicodeDecodeError, ValueError, RecursionError) as error:
        problem = " ".join(str(error).split())
        raise ModelError(f"{path} is not a YAML file: {problem}. Copy it from the project again.") from error


def _find_snapshot(folder: Path, name: str | None) -> Path:
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


def _describe(folder: Path, config: _PoseConfig, snapshot: str) -> ModelSpec:
    number = snapshot.rpartition("-")[2]
    above = folder.parent.name if folder.name == "train" else folder.name
    match = MODEL_FOLDER.fullmatch(above)
    network = "dlcrnetms5" if config.multi_stage else config.net_type.replace("_", "")  # as DeepLabCut names it
    stem, shuffle = (match["stem"], int(match["shuffle"])) if match else (above, 1)
    scorer = f"DLC_{network}_{stem}shuffle{shuffle}_{number}"
    round_of_learning = re.fullmatch(r"iteration-(\d+)", folder.parent.parent.name)
    source = ModelSource(
        kind="deeplabcut-tensorflow",
        folder=above,
        snapshot=snapshot,
        iterations=int(number) if number.isdecimal() else None,
        task=match["task"] if match else "",
        date=(match["date"] or "") if match else "",
        shuffle=shuffle if match else None,
        training_fraction=int(match["percent"]) / 100 if match else None,
        iteration=int(round_of_learning[1]) if round_of_learning else None,
    )
    description = {
        "name": f"{stem}-{number}",
        "net_type": config.net_type,
        "bodyparts": config.all_joints_names,
        "skeleton": _find_skeleton(folder, config.all_joints_names),
        "stride": 8,
        "locref_stdev": config.locref_stdev,
        "location_refinement": config.location_refinement,
        "mean_pixel": config.mean_pixel,
        "scorer": scorer,
        "source": msgspec.to_builtins(source),
    }
    try:
        return msgspec.convert(description, ModelSpec)
    except msgspec.ValidationError as error:
        raise ModelError(f"{folder / CONFIG_FILE} describes no model that can be run: {error}.") from error


def _find_skeleton(folder: Path, bodyparts: list[str]) -> list[tuple[str, str]]:
    """Lines between body parts from the project's `config.yaml`, where the folder still lies in its project."""
    for parent in list(folder.parents)[:4]:
        path = parent / "config.yaml"
        if not path.is_file():
            continue
        try:
            project = _load_yaml(path)
        except ModelError as error:
            _log.warning("No skeleton: %s", error)
            return []
        pairs = project.get("skeleton") if isinstance(project, dict) else None
        if not isinstance(pairs, list):
            return []
        # a new project's config.yaml joins parts that the network need not have
        return [
            (pair[0], pair[1])
            for pair in pairs
            if isinstance(pair, list) and len(pair) == 2 and all(part in bodyparts for part in pair)
        ]
    return []


def _wanted(spec: ModelSpec) -> dict[str, tuple[int, ...]]:
    """Name and shape of every variable that the checkpoint must hold."""
    wanted: dict[str, tuple[int, ...]] = {}
    for name, shape in expected_tensors(spec).items():
        layer, _, kind = name.rpartition("/")
        if kind == "bias":
            continue
        variable = _variable(spec.net_type, layer)
        wanted[f"{variable}/weights"] = shape
        if layer.endswith("_pred"):
            wanted[f"{variable}/biases"] = (shape[2],)
        else:
            for statistic in ("gamma", "beta", "moving_mean", "moving_variance"):
                wanted[f"{variable}/BatchNorm/{statistic}"] = (shape[3],)
    return wanted


def _variable(net_type: NetType, layer: str) -> str:
    """Scope of a layer in DeepLabCut's graph."""
    if layer.endswith("_pred"):
        return f"pose/{layer}/block4"
    backbone = net_type.replace("resnet_", "resnet_v1_")
    if layer == "conv1":
        return f"{backbone}/conv1"
    unit, _, conv = layer.rpartition("/")
    return f"{backbone}/{unit}/bottleneck_v1/{conv}"


def _read_variables(prefix: Path, wanted: Mapping[str, tuple[int, ...]]) -> dict[str, NDArray[np.floating]]:
    """Read the variables, after checking that all are there with the shapes they must have."""
    import tensorflow as tf

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


def _fold(spec: ModelSpec, variables: Mapping[str, NDArray[np.floating]]) -> dict[str, NDArray[np.float32]]:
    weights: dict[str, NDArray[np.float32]] = {}
    for name in expected_tensors(spec):
        layer, _, kind = name.rpartition("/")
        if kind == "bias":
            continue
        scope = _variable(spec.net_type, layer)
        kernel = variables[f"{scope}/weights"].astype(np.float64)
        if layer.endswith("_pred"):
            bias = variables[f"{scope}/biases"].astype(np.float64)
        else:
            gamma, beta, mean, variance = (
                variables[f"{scope}/BatchNorm/{statistic}"].astype(np.float64)
                for statistic in ("gamma", "beta", "moving_mean", "moving_variance")
            )
            with np.errstate(invalid="ignore"):  # a variance below zero leaves NaN, which check_weights refuses
                scale = gamma / np.sqrt(variance + BATCH_NORM_EPSILON)
            kernel = kernel * scale
            bias = beta - mean * scale
        weights[f"{layer}/kernel"] = cast("NDArray[np.float32]", kernel.astype(np.float32))
        weights[f"{layer}/bias"] = cast("NDArray[np.float32]", bias.astype(np.float32))
    return weights
