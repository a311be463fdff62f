"""DeepLabCut's `pose_cfg.yaml`, beside a TensorFlow snapshot or an exported graph."""

from pathlib import Path
from typing import get_args

import msgspec

from posestream.inference.errors import ModelError
from posestream.inference.families import FAMILIES
from posestream.inference.formats.bundle import FrozenNetType, ModelSource, ModelSpec
from posestream.inference.formats.project_files import Training, find_skeleton, load_yaml

__all__ = ["CONFIG_FILE", "SUPPORTED", "PoseConfig", "describe", "read_config"]

CONFIG_FILE = "pose_cfg.yaml"

SUPPORTED = (
    "This version runs DeepLabCut's single-animal resnet_50, resnet_101 and resnet_152 with stride 8, and exported "
    "graphs of its mobilenet_v2 and efficientnet"
)


class PoseConfig(msgspec.Struct, kw_only=True):
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
    init_weights: str | None = None
    """In an export: the snapshot that was exported, with its path on the machine of then."""


def read_config(path: Path) -> PoseConfig:
    """Read the file and refuse what this version does not run.

    Raises
    ------
    ModelError
        The file is absent, no pose_cfg.yaml, or describes a network that is not supported.
    """
    loaded = load_yaml(path)
    try:
        config = msgspec.convert(loaded, PoseConfig)
    except msgspec.ValidationError as error:
        raise ModelError(
            f"{path} is not a DeepLabCut pose_cfg.yaml: {error}. Copy it from the project again."
        ) from error
    found = ""
    if "multi-animal" in config.dataset_type or config.partaffinityfield_predict:
        found = "a multi-animal network"
    elif config.net_type not in (*FAMILIES["slim"].strides, *get_args(FrozenNetType)):
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


def describe(
    folder: Path, config: PoseConfig, snapshot: str, training: Training | None = None, home: Path | None = None
) -> ModelSpec:
    """Specification of a snapshot.

    Parameters
    ----------
    folder
        Where `pose_cfg.yaml` lies.
    config
        Its content.
    snapshot
        Such as `snapshot-103000`.
    training
        Where the network was trained, if that is not told by the names of `folder` and those above it.
    home
        Where the project's files are sought, if not about `folder`.
    """
    number = snapshot.rpartition("-")[2]
    if training is None:
        above = folder.parent if folder.name == "train" else folder
        training = Training.of(f"{above.parent.name}/{above.name}") or Training(folder=above.name, stem=above.name)
    frozen = config.net_type not in FAMILIES["slim"].strides
    source = ModelSource(
        kind="deeplabcut-tensorflow",
        snapshot=snapshot,
        iterations=int(number) if number.isdecimal() else None,
        **training.source_fields(),
    )
    description = {
        "name": f"{training.stem}-{number}",
        "net_type": config.net_type,
        "bodyparts": config.all_joints_names,
        "skeleton": find_skeleton(home or folder, config.all_joints_names),
        "stride": 8,
        "locref_stdev": config.locref_stdev,
        "location_refinement": config.location_refinement,
        "mean_pixel": (0, 0, 0) if frozen else config.mean_pixel,  # a graph takes it away itself
        "family": "frozen-graph" if frozen else "slim",
        "scorer": f"DLC_{_network_name(config)}_{training.stem}shuffle{training.shuffle or 1}_{number}",
        "source": msgspec.to_builtins(source),
    }
    try:
        return msgspec.convert(description, ModelSpec)
    except msgspec.ValidationError as error:
        raise ModelError(f"{folder / CONFIG_FILE} describes no model that can be run: {error}.") from error


def _network_name(config: PoseConfig) -> str:
    """Name that DeepLabCut gives to a network in the names of its results."""
    if config.multi_stage:
        return "dlcrnetms5"
    if config.net_type.startswith("mobilenet"):
        return f"mobnet_{100 * float(config.net_type.rpartition('_')[2]):.0f}"
    if config.net_type.startswith("efficientnet"):
        return f"effnet_{config.net_type.rpartition('-')[2]}"
    return config.net_type.replace("_", "")
