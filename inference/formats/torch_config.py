"""DeepLabCut 3's `pytorch_config.yaml`, a file of its own or part of an exported `.pt`."""

import re
from pathlib import Path
from typing import Any

import msgspec

from posestream.inference.errors import ModelError
from posestream.inference.formats.bundle import ModelSource, ModelSpec
from posestream.inference.formats.project_files import Training, find_skeleton

__all__ = ["TORCH_CONFIG_FILE", "TORCH_SUPPORTED", "TorchConfig", "describe_torch", "read_torch_config"]

TORCH_CONFIG_FILE = "pytorch_config.yaml"

TORCH_SUPPORTED = "Of DeepLabCut 3's networks, this version runs the single-animal resnet_50 and resnet_101"

BACKBONES = {
    "resnet50_gn": ("resnet_50", "group"),
    "resnet50": ("resnet_50", "folded"),
    "resnet101_gn": ("resnet_101", "group"),
    "resnet101": ("resnet_101", "folded"),
}
"""timm's names, and what they mean here."""

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


class _Backbone(msgspec.Struct, kw_only=True):
    type: str = ""
    model_name: str = ""
    output_stride: int = 32


class _Predictor(msgspec.Struct, kw_only=True):
    """Defaults are those of DeepLabCut's HeatmapPredictor."""

    type: str
    apply_sigmoid: bool = True
    clip_scores: bool = False
    location_refinement: bool = True
    locref_std: float = 7.2801


class _Deconvolution(msgspec.Struct, kw_only=True):
    kernel_size: list[int]
    strides: list[int]
    final_conv: Any = None


class _Head(msgspec.Struct, kw_only=True):
    type: str
    predictor: _Predictor
    heatmap_config: _Deconvolution | None = None
    locref_config: _Deconvolution | None = None


class _Model(msgspec.Struct, kw_only=True):
    backbone: _Backbone
    heads: dict[str, _Head]
    neck: Any = None


class _Metadata(msgspec.Struct, kw_only=True):
    bodyparts: list[str]
    unique_bodyparts: list[str] | None = None
    individuals: list[str] | None = None
    pose_config_path: str = ""


class _Data(msgspec.Struct, kw_only=True):
    colormode: str = "RGB"
    inference: dict[str, Any] = {}


class TorchConfig(msgspec.Struct, kw_only=True):
    """The keys of `pytorch_config.yaml` that matter here; others are left alone."""

    net_type: str
    method: str = "bu"
    metadata: _Metadata
    model: _Model
    data: _Data


def read_torch_config(loaded: Any, where: str, *, detector: bool = False) -> TorchConfig:
    """Check a configuration and refuse what this version does not run.

    Parameters
    ----------
    loaded
        The configuration as plain values.
    where
        File that it comes from, for messages.
    detector
        Whether the weights of a detector lie with it.

    Raises
    ------
    ModelError
        It is no such configuration, or describes a network that is not supported.
    """
    name = loaded.get("net_type") if isinstance(loaded, dict) else None
    method = loaded.get("method") if isinstance(loaded, dict) else None
    if isinstance(name, str) and (detector or str(method).lower() not in ("bu", "none")):
        kind = {"td": "a top-down", "ctd": "a conditional top-down"}.get(str(method).lower(), "a")
        with_detector = " with a detector" if detector or kind != "a" else ""
        raise ModelError(f"{where} describes {kind} network{with_detector} ({name}). {TORCH_SUPPORTED}.")
    if isinstance(name, str) and name not in ("resnet_50", "resnet_101"):
        raise ModelError(f"{where} describes a network of type {name!r}. {TORCH_SUPPORTED}.")
    try:
        config = msgspec.convert(loaded, TorchConfig)
    except msgspec.ValidationError as error:
        raise ModelError(f"{where} is not DeepLabCut's {TORCH_CONFIG_FILE}: {error}. Copy it again.") from error
    if found := _unsupported(config):
        raise ModelError(f"{where} describes {found}. {TORCH_SUPPORTED}.")
    return config


def _unsupported(config: TorchConfig) -> str:
    """Name what keeps the network from being run, or nothing."""
    model, metadata, data = config.model, config.metadata, config.data
    animals = len(metadata.individuals or ["one"])
    heads = ", ".join(sorted(model.heads)) or "none"
    head = model.heads.get("bodypart")
    if animals > 1 or metadata.unique_bodyparts or head is None or len(model.heads) > 1:
        return f"a network for {animals} animals with the heads {heads} ({config.net_type})"
    parts = [head.heatmap_config, *([head.locref_config] if head.predictor.location_refinement else [])]
    untouched = ("normalize_images", "collate")
    changes = sorted(key for key, value in data.inference.items() if value and key not in untouched)
    backbone = model.backbone
    found = {
        f"a network with a {head.type} and a {head.predictor.type}": (
            head.type != "HeatmapHead" or head.predictor.type != "HeatmapPredictor"
        ),
        f"a network with the backbone {backbone.type} {backbone.model_name}": (
            backbone.type != "ResNet" or backbone.model_name not in BACKBONES or bool(model.neck)
        ),
        f"a backbone with the output stride {backbone.output_stride}": backbone.output_stride != 16,
        "a head other than one transposed convolution of 3 with stride 2": any(
            part is None or part.kernel_size != [3] or part.strides != [2] or part.final_conv for part in parts
        ),
        f"a network whose pictures are changed before they reach it ({', '.join(changes)})": bool(changes),
        "a network that is not given normalised RGB pictures": (
            data.colormode != "RGB" or data.inference.get("normalize_images") is not True
        ),
    }
    return next((what for what, applies in found.items() if applies), "")


def describe_torch(config: TorchConfig, path: Path, training: Training) -> ModelSpec:
    """Specification of the snapshot or export at `path`."""
    net_type, norm = BACKBONES[config.model.backbone.model_name]
    predictor = config.model.heads["bodypart"].predictor
    match = re.search(r"(best-)?(\d+)$", path.stem)
    uid = f"{match[1] or ''}{int(match[2])}" if match else path.stem
    shown = "".join(word.capitalize() for word in config.net_type.split("_"))  # as DeepLabCut names it
    source = ModelSource(
        kind="deeplabcut-pytorch",
        snapshot=f"snapshot-{uid}" if match else path.stem,
        epochs=int(match[2]) if match else None,
        **training.source_fields(),
    )
    description = {
        "name": f"{training.stem}-{uid}",
        "net_type": net_type,
        "bodyparts": config.metadata.bodyparts,
        "skeleton": find_skeleton(path.parent, config.metadata.bodyparts),
        "stride": 8,
        "locref_stdev": predictor.locref_std,
        "location_refinement": predictor.location_refinement,
        "mean_pixel": [255 * value for value in IMAGENET_MEAN],
        "std_pixel": [255 * value for value in IMAGENET_STD],
        "family": "timm",
        "norm": norm,
        "apply_sigmoid": predictor.apply_sigmoid,
        "clip_scores": predictor.clip_scores,
        "scorer": f"DLC_{shown}_{training.stem}shuffle{training.shuffle or 1}_snapshot_{uid}",
        "source": msgspec.to_builtins(source),
    }
    try:
        return msgspec.convert(description, ModelSpec)
    except msgspec.ValidationError as error:
        raise ModelError(f"{path} is described as no model that can be run: {error}.") from error
