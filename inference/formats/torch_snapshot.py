"""Read what DeepLabCut 3 leaves: snapshots of a train folder with `pytorch_config.yaml`, and exported `.pt` files.

PyTorch is needed for that alone, and only with `weights_only=True`: its unpickler then makes tensors and plain values
and runs nothing else. The ResNet is timm's (`model.backbone.model_name`), with group norm, or with batch norm, which is
folded.
"""

import pickle
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from posestream.inference.errors import ModelError
from posestream.inference.formats.batch_norm import fold_batch_norm
from posestream.inference.formats.bundle import ModelBundle, ModelSpec, check_weights, expected_tensors
from posestream.inference.formats.project_files import Training, load_yaml
from posestream.inference.formats.torch_config import TORCH_CONFIG_FILE, describe_torch, read_torch_config

__all__ = ["build_torch_bundle", "find_torch_snapshot", "read_torch_export", "read_torch_snapshot"]

SAFE_SINCE = (2, 10)
"""Version of PyTorch; in earlier ones a file can get round `weights_only` (CVE-2025-32434, CVE-2026-24747)."""
INSTALL = 'pip install "posestream[torch]" (or: pip install torch)'

BATCH_NORM_EPSILON = 1e-5

Tensors = Mapping[str, NDArray[np.float32]]

DAMAGED = (
    pickle.UnpicklingError,
    ArithmeticError,
    AssertionError,
    AttributeError,
    EOFError,
    LookupError,
    MemoryError,
    OSError,
    RuntimeError,
    TypeError,
    ValueError,
)
"""What `torch.load` raises for files that are damaged, foreign, or hold more than plain values."""


def read_torch_snapshot(path: Path) -> ModelBundle:
    """Import a snapshot that lies beside its `pytorch_config.yaml`.

    Raises
    ------
    ModelError
        PyTorch is not installed, a file is absent or damaged, or the network is of a kind that this version does not
        run.
    """
    path = path.absolute()
    where = path.parent / TORCH_CONFIG_FILE
    config = read_torch_config(load_yaml(where), str(where))
    above = path.parent.parent if path.parent.name == "train" else path.parent
    training = Training.of(f"{above.parent.name}/{above.name}") or Training(folder=above.name, stem=above.name)
    spec = describe_torch(config, path, training)
    content = _load(path)
    state = content.get("model")
    if not isinstance(state, dict):
        raise ModelError(
            f"{path} is not a snapshot of DeepLabCut 3: it holds no model. Copy it from the project again."
        )
    return build_torch_bundle(spec, _tensors(state, path), str(path))


def read_torch_export(path: Path) -> ModelBundle:
    """Import a `.pt` file of DeepLabCut 3's `export_model`, which holds its own configuration.

    Raises
    ------
    ModelError
        PyTorch is not installed, the file is damaged or no export, or the network is of a kind that this version does
        not run.
    """
    path = path.absolute()
    content = _load(path)
    if not isinstance(content.get("config"), dict) or not isinstance(content.get("pose"), dict):
        raise ModelError(
            f"{path} is not a network that DeepLabCut 3 exported (it lacks config or pose). A snapshot of a train "
            f"folder needs its {TORCH_CONFIG_FILE} beside it."
        )
    config = read_torch_config(content["config"], str(path), detector=content.get("detector") is not None)
    training = Training.of(config.metadata.pose_config_path) or Training(folder=path.parent.name, stem=path.parent.name)
    spec = describe_torch(config, path, training)
    return build_torch_bundle(spec, _tensors(content["pose"], path), str(path))


def find_torch_snapshot(folder: Path) -> Path:
    """Path of the best snapshot, or else of the one with the most epochs: DeepLabCut 3 takes them in this order too."""

    def rank(path: Path) -> tuple[bool, int]:
        number = path.stem.rpartition("-")[2]
        return (path.stem.startswith("snapshot-best-"), int(number) if number.isdecimal() else -1)

    snapshots = [path for path in folder.glob("snapshot-*.pt") if "detector" not in path.stem]
    if not snapshots:
        raise ModelError(f"{folder} has no snapshot: there is no file named snapshot-N.pt. Train the network first.")
    return max(snapshots, key=rank)


def _load(path: Path) -> dict[str, Any]:
    try:
        import torch
    except ImportError as error:
        raise ModelError(
            f"{path} is a PyTorch file, and to read it PyTorch must be installed, which it is not: {INSTALL}. "
            "The bundle that `posestream model import` makes of it needs PyTorch no more."
        ) from error
    if torch.__version__ < SAFE_SINCE:
        raise ModelError(
            f"{path} is not read with PyTorch {torch.__version__}, as that can be made to execute what a hostile file "
            f'says. Update it: pip install "torch>={".".join(map(str, SAFE_SINCE))}".'
        )
    try:
        with warnings.catch_warnings():  # what PyTorch warns of ends in an error of ours, or does no harm
            warnings.simplefilter("ignore")
            content = torch.load(path, map_location="cpu", weights_only=True)
    except DAMAGED as error:
        reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
        raise ModelError(
            f"{path} cannot be read as weights of a network ({' '.join(reason.split())[:200]}). It is damaged, or "
            "holds more than weights, which is never executed. Copy it from the project again."
        ) from error
    if not isinstance(content, dict):
        raise ModelError(f"{path} is not a network of DeepLabCut 3: it holds a {type(content).__name__}.")
    return content


def build_torch_bundle(spec: ModelSpec, state: Tensors, where: str) -> ModelBundle:
    """Bring the tensors of a state dictionary into the bundle's names and layouts.

    Raises
    ------
    ModelError
        A tensor is absent, of another shape, or not finite; `where` says in the message which file that is.
    """
    weights: dict[str, NDArray[np.float32]] = {}
    for name, shape in expected_tensors(spec).items():
        layer, _, kind = name.rpartition("/")
        if kind != "kernel":
            continue
        module, norm = _modules(layer)
        # (out, in, h, w) of a convolution, and (in, out, h, w) of a transposed one, both to what a bundle holds
        expected = (shape[3], shape[2], shape[0], shape[1])
        kernel = _array(state, f"{module}.weight", expected, where).transpose(2, 3, 1, 0)
        outputs = (shape[2] if layer.endswith("_pred") else shape[3],)
        if layer.endswith("_pred"):
            weights[name] = kernel
            weights[f"{layer}/bias"] = _array(state, f"{module}.bias", outputs, where)
            continue
        gamma, beta = (_array(state, f"{norm}.{vector}", outputs, where) for vector in ("weight", "bias"))
        if spec.norm == "group":
            weights[name], weights[f"{layer}/gamma"], weights[f"{layer}/beta"] = kernel, gamma, beta
            continue
        mean, variance = (_array(state, f"{norm}.running_{vector}", outputs, where) for vector in ("mean", "var"))
        folded = fold_batch_norm(kernel, gamma, beta, mean, variance, BATCH_NORM_EPSILON)
        weights[name], weights[f"{layer}/bias"] = folded
    weights = {name: np.ascontiguousarray(array) for name, array in weights.items()}
    check_weights(spec, weights, where)
    return ModelBundle(spec, weights)


def _modules(layer: str) -> tuple[str, str]:
    """Names of a layer and of its norm in timm's ResNet and DeepLabCut's heads; a head has no norm."""
    if layer.endswith("_pred"):
        head = {"part_pred": "heatmap_head", "locref_pred": "locref_head"}[layer]
        return f"heads.bodypart.{head}.deconv_layers.0", ""
    if layer == "conv1":
        return "backbone.model.conv1", "backbone.model.bn1"
    block, unit, conv = layer.split("/")
    module = f"backbone.model.layer{block.removeprefix('block')}.{int(unit.removeprefix('unit_')) - 1}"
    if conv == "shortcut":
        return f"{module}.downsample.0", f"{module}.downsample.1"
    return f"{module}.{conv}", f"{module}.{conv.replace('conv', 'bn')}"


def _tensors(state: Mapping[str, Any], path: Path) -> Tensors:
    """Floating-point tensors of a state dictionary as arrays."""
    import torch

    try:
        return {
            str(name): tensor.detach().to(dtype=torch.float32).numpy()
            for name, tensor in state.items()
            if isinstance(tensor, torch.Tensor) and tensor.is_floating_point()
        }
    except (RuntimeError, TypeError) as error:
        raise ModelError(
            f"{path} holds tensors that cannot be read: {error}. Copy it from the project again."
        ) from error


def _array(state: Tensors, name: str, shape: tuple[int, ...], where: str) -> NDArray[np.float32]:
    if name not in state:
        raise ModelError(f"{where} lacks the weights {name}: it is not the network that its configuration tells.")
    if state[name].shape != shape:
        raise ModelError(
            f"{where}: {name} has the shape {state[name].shape}, but the configuration calls for {shape}. "
            "Are the two from the same network?"
        )
    return state[name]
