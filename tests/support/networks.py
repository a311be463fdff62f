"""Networks of random weights, as DeepLabCut 2, DeepLabCut 3 and we write them."""

from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from posestream.inference.formats.bundle import ModelBundle, ModelSource, ModelSpec, expected_tensors

__all__ = [
    "BODYPARTS",
    "POSE_CONFIG",
    "random_bundle",
    "random_network",
    "random_torch_state",
    "random_variables",
    "small_random_bundle",
    "torch_config",
    "write_checkpoint",
    "write_frozen_graph",
]

BODYPARTS = ("snout", "leftear", "rightear", "tailbase")
"""Of `random_bundle`."""
UNITS = (3, 4, 6, 3)
POSE_CONFIG = """\
all_joints: [[0], [1], [2]]
all_joints_names: [nose, leftear, tailbase]
dataset_type: imgaug
global_scale: 0.8
location_refinement: true
locref_stdev: 7.2801
mean_pixel: [120.0, 110.0, 100.0]
net_type: resnet_50
num_joints: 3
"""


def random_variables(seed: int = 0) -> dict[str, np.ndarray]:
    """Variables of DeepLabCut's ResNet-50, random but of a size that keeps activations near 1."""
    rng = np.random.default_rng(seed)
    variables: dict[str, np.ndarray] = {}

    def conv(scope: str, size: int, inputs: int, outputs: int, gain: float, variance: float = 1.0) -> None:
        deviation = np.float32(np.sqrt(2 / (size * size * inputs)))
        kernel = rng.standard_normal((size, size, inputs, outputs), dtype=np.float32) * deviation
        variables[f"{scope}/weights"] = kernel
        norm = f"{scope}/BatchNorm"
        variables[f"{norm}/gamma"] = (gain * rng.uniform(0.7, 1.3, outputs)).astype(np.float32)
        variables[f"{norm}/beta"] = rng.normal(0, 0.2, outputs).astype(np.float32)
        variables[f"{norm}/moving_mean"] = rng.normal(0, 0.2, outputs).astype(np.float32)
        variables[f"{norm}/moving_variance"] = (variance * rng.uniform(0.5, 1.5, outputs)).astype(np.float32)

    conv("resnet_v1_50/conv1", 7, 3, 64, gain=1.0, variance=10_000)  # pixels are some hundred, all else about 1
    channels = 64
    for block, units in enumerate(UNITS, start=1):
        depth = 64 * 2 ** (block - 1)
        for unit in range(1, units + 1):
            scope = f"resnet_v1_50/block{block}/unit_{unit}/bottleneck_v1"
            if unit == 1:
                conv(f"{scope}/shortcut", 1, channels, 4 * depth, gain=0.7)
            conv(f"{scope}/conv1", 1, channels, depth, gain=1.0)
            conv(f"{scope}/conv2", 3, depth, depth, gain=1.0)
            conv(f"{scope}/conv3", 1, depth, 4 * depth, gain=0.3)
            channels = 4 * depth
    for head, outputs in (("part_pred", 3), ("locref_pred", 6)):
        kernel = rng.standard_normal((3, 3, outputs, channels), dtype=np.float32)
        variables[f"pose/{head}/block4/weights"] = kernel * np.float32(0.01)
        variables[f"pose/{head}/block4/biases"] = rng.normal(0, 0.1, outputs).astype(np.float32)
    return variables


def write_checkpoint(prefix: Path, variables: dict[str, np.ndarray]) -> None:
    """Write a checkpoint under exactly these names."""
    import tensorflow as tf

    names = list(variables)
    tf.raw_ops.SaveV2(
        prefix=str(prefix),
        tensor_names=names,
        shape_and_slices=[""] * len(names),
        tensors=[tf.constant(variables[name]) for name in names],
    )


def _spec() -> ModelSpec:
    """What `random_bundle` is."""
    return ModelSpec(
        name="random",
        net_type="resnet_50",
        bodyparts=BODYPARTS,
        skeleton=(("snout", "tailbase"),),
        scorer="DLC_resnet50_randomNov22shuffle1_1",
        source=ModelSource(kind="test"),
    )


def random_bundle() -> ModelBundle:
    """A whole ResNet-50 whose weights mean nothing."""
    spec = _spec()
    rng = np.random.default_rng(0)
    weights = {
        name: rng.standard_normal(shape, np.float32) * np.float32(0.5 / np.sqrt(max(1.0, float(np.prod(shape[:-1])))))
        for name, shape in expected_tensors(spec).items()
    }
    return ModelBundle(spec, weights)


def small_random_bundle() -> ModelBundle:
    """The small student with the body parts and the names of `random_bundle`; its weights mean nothing either."""
    large, small = _spec(), random_network("student_small")
    names = {key: getattr(large, key) for key in ("name", "scorer", "skeleton")}
    return ModelBundle(msgspec.structs.replace(small.spec, **names), small.weights)


def random_network(net_type: str) -> ModelBundle:
    """A student or LEAP's network, random but of a size that keeps activations near 1."""
    leap = net_type == "leap"
    spec = ModelSpec(
        name=net_type,
        net_type=net_type,  # type: ignore[arg-type]
        family="leap" if leap else "student",
        bodyparts=BODYPARTS,
        stride=1 if leap else 8,
        location_refinement=not leap,
        mean_pixel=(120.0, 120.0, 120.0),
        std_pixel=(60.0, 60.0, 60.0),
        scorer="random",
        source=ModelSource(kind="test"),
    )
    rng = np.random.default_rng(0)
    weights = {}
    for name, shape in expected_tensors(spec).items():
        inputs = np.prod(shape[:2]) * shape[3 if "_pred" in name else 2] if len(shape) == 4 else 100.0
        gain = 0.3 if name.endswith("conv2/kernel") and not leap else 1.4
        weights[name] = rng.standard_normal(shape, np.float32) * np.float32(gain / np.sqrt(inputs))
    return ModelBundle(spec, weights)


def random_torch_state(norm: str, seed: int = 0) -> dict[str, np.ndarray]:
    """State dictionary of DeepLabCut 3's ResNet-50 as arrays, random but of a size that keeps activations near 1."""
    rng = np.random.default_rng(seed)
    state: dict[str, np.ndarray] = {}

    def conv(module: str, norm_module: str, size: int, inputs: int, outputs: int, gain: float) -> None:
        deviation = np.float32(np.sqrt(2 / (size * size * inputs)))
        state[f"{module}.weight"] = rng.standard_normal((outputs, inputs, size, size), dtype=np.float32) * deviation
        state[f"{norm_module}.weight"] = (gain * rng.uniform(0.7, 1.3, outputs)).astype(np.float32)
        state[f"{norm_module}.bias"] = rng.normal(0, 0.2, outputs).astype(np.float32)
        if norm == "batch":
            state[f"{norm_module}.running_mean"] = rng.normal(0, 0.2, outputs).astype(np.float32)
            state[f"{norm_module}.running_var"] = rng.uniform(0.5, 1.5, outputs).astype(np.float32)

    root = "backbone.model"
    conv(f"{root}.conv1", f"{root}.bn1", 7, 3, 64, 1.0)
    channels = 64
    for layer, units in enumerate(UNITS, start=1):
        depth = 32 * 2**layer
        for unit in range(units):
            module = f"{root}.layer{layer}.{unit}"
            if unit == 0:
                conv(f"{module}.downsample.0", f"{module}.downsample.1", 1, channels, 4 * depth, 0.7)
            conv(f"{module}.conv1", f"{module}.bn1", 1, channels, depth, 1.0)
            conv(f"{module}.conv2", f"{module}.bn2", 3, depth, depth, 1.0)
            conv(f"{module}.conv3", f"{module}.bn3", 1, depth, 4 * depth, 0.3)
            channels = 4 * depth
    for head, outputs in (("heatmap_head", 3), ("locref_head", 6)):
        module = f"heads.bodypart.{head}.deconv_layers.0"
        state[f"{module}.weight"] = rng.standard_normal((channels, outputs, 3, 3), dtype=np.float32) * np.float32(0.01)
        state[f"{module}.bias"] = rng.normal(0, 0.1, outputs).astype(np.float32)
    return state


def torch_config(model_name: str = "resnet50_gn") -> dict[str, Any]:
    """What matters of a `pytorch_config.yaml`."""
    deconvolution = {"kernel_size": [3], "strides": [2]}
    return {
        "net_type": "resnet_50",
        "method": "bu",
        "metadata": {
            "bodyparts": ["nose", "leftear", "tailbase"],
            "unique_bodyparts": [],
            "individuals": ["animal"],
            "pose_config_path": "C:\\dlc-models-pytorch\\iteration-4\\openfieldOct30-trainset80shuffle5\\train\\x.yaml",
        },
        "data": {"colormode": "RGB", "inference": {"normalize_images": True, "resize": None}},
        "model": {
            "backbone": {"type": "ResNet", "model_name": model_name, "output_stride": 16},
            "heads": {
                "bodypart": {
                    "type": "HeatmapHead",
                    "predictor": {
                        "type": "HeatmapPredictor",
                        "apply_sigmoid": False,
                        "clip_scores": True,
                        "location_refinement": True,
                        "locref_std": 7.0,
                    },
                    "heatmap_config": {"channels": [2048, 3], **deconvolution},
                    "locref_config": {"channels": [2048, 6], **deconvolution},
                }
            },
        },
    }


def write_frozen_graph(path: Path, variables: dict[str, np.ndarray], *, ends_in_poses: bool) -> None:
    """Write a graph of the layout that freezing leaves: constants of the variables' names among other operations."""
    import tensorflow as tf

    graph = tf.compat.v1.GraphDef()
    graph.node.add(name="Placeholder", op="Placeholder")
    for name, array in variables.items():
        node = graph.node.add(name=name, op="Const")
        node.attr["value"].tensor.CopyFrom(tf.make_tensor_proto(array))
        graph.node.add(name=f"{name}/read", op="Identity", input=[name])
    for name in ["concat_1"] if ends_in_poses else ["Sigmoid", "pose/locref_pred/block4/BiasAdd"]:
        graph.node.add(name=name, op="NoOp")
    path.write_bytes(graph.SerializeToString())
