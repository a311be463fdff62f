"""The network against an independent reading of the same architecture: plain TensorFlow ops, batch norm not folded."""

import os
import subprocess
import sys
from importlib.util import find_spec

import numpy as np
import pytest

from posestream.inference.networks.decoder import decode_numpy, sigmoid
from posestream.inference.networks.network import build_network

from ...support.networks import random_network

MEAN = np.array([120.0, 110.0, 100.0], np.float32)
SIZES = [(64, 96), (33, 50), (47, 48), (115, 161), (112, 160), (17, 16)]


def reference_maps(frames: np.ndarray, variables: dict[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Maps of RGB frames by raw ops, written from the published description of the graph."""
    import tensorflow as tf

    def conv(net, scope, strides=1, padding="VALID", rate=1, relu=True):
        net = tf.nn.conv2d(net, variables[f"{scope}/weights"], strides, padding, dilations=rate)
        norm = {name: variables[f"{scope}/BatchNorm/{name}"] for name in ("gamma", "beta")}
        mean, variance = (variables[f"{scope}/BatchNorm/moving_{name}"] for name in ("mean", "variance"))
        net = tf.nn.batch_normalization(net, mean, variance, norm["beta"], norm["gamma"], 1.001e-5)
        return tf.nn.relu(net) if relu else net

    net = tf.cast(frames, tf.float32) - MEAN
    net = tf.pad(net, [[0, 0], [3, 3], [3, 3], [0, 0]])
    net = conv(net, "resnet_v1_50/conv1", strides=2)
    net = tf.nn.max_pool2d(net, 3, 2, "SAME")
    plan = {1: [1, 1, 2], 2: [1, 1, 1, 2], 3: [1] * 6, 4: [1, 1, 1]}
    for block, strides in plan.items():
        for unit, stride in enumerate(strides, start=1):
            scope = f"resnet_v1_50/block{block}/unit_{unit}/bottleneck_v1"
            shortcut = tf.nn.max_pool2d(net, 1, stride, "VALID") if stride > 1 else net
            if unit == 1:
                shortcut = conv(net, f"{scope}/shortcut", relu=False)
            residual = conv(net, f"{scope}/conv1")
            if stride > 1:
                residual = tf.pad(residual, [[0, 0], [1, 1], [1, 1], [0, 0]])
                residual = conv(residual, f"{scope}/conv2", strides=stride)
            else:
                residual = conv(residual, f"{scope}/conv2", padding="SAME", rate=2 if block == 4 else 1)
            net = tf.nn.relu(shortcut + conv(residual, f"{scope}/conv3", relu=False))

    def head(name):
        kernel, bias = (variables[f"pose/{name}/block4/{kind}"] for kind in ("weights", "biases"))
        batch, height, width, _ = net.shape
        maps = tf.nn.conv2d_transpose(net, kernel, (batch, 2 * height, 2 * width, kernel.shape[2]), 2, "SAME")
        return (maps + bias).numpy()

    return head("part_pred"), head("locref_pred")


@pytest.fixture(scope="module")
def maps_network(bundle):
    return build_network(bundle, pixel_format="rgb24", decode=False)


@pytest.fixture(scope="module")
def pose_network(bundle):
    return build_network(bundle, pixel_format="rgb24")


def frames_of(rng: np.random.Generator, height: int, width: int, channels: int = 3) -> np.ndarray:
    return rng.integers(0, 256, (2, height, width, channels), dtype=np.uint8)


@pytest.mark.parametrize(("height", "width"), SIZES)
def test_maps_and_poses_are_those_of_the_reference(
    maps_network, pose_network, variables, rng, height: int, width: int
) -> None:
    frames = frames_of(rng, height, width)
    logits, locref = reference_maps(frames, variables)
    assert logits.shape == (2, 2 * -(-height // 16), 2 * -(-width // 16), 3)
    assert logits.std() > 0.1, "the random network must say something"
    ours = [np.asarray(maps) for maps in maps_network(frames)]
    for got, expected in zip(ours, (logits, locref), strict=True):
        assert got.shape == expected.shape
        np.testing.assert_allclose(got, expected, atol=1e-3 * np.abs(expected).max())
    poses = np.asarray(pose_network(frames))
    assert poses.shape == (2, 3, 3)
    assert poses.dtype == np.float32
    np.testing.assert_allclose(poses, decode_numpy(sigmoid(ours[0]), ours[1]), atol=1e-3)
    np.testing.assert_allclose(poses, decode_numpy(sigmoid(logits), locref), atol=0.05)


def test_pixel_formats_are_the_same_picture(bundle, pose_network, rng) -> None:
    bgr = build_network(bundle, pixel_format="bgr24")
    gray = build_network(bundle, pixel_format="gray8")
    frames = frames_of(rng, 48, 64)
    np.testing.assert_array_equal(bgr(frames[..., ::-1]), pose_network(frames))
    luma = frames_of(rng, 48, 64, channels=1)
    np.testing.assert_array_equal(gray(luma), pose_network(np.repeat(luma, 3, axis=-1)))


def test_reduced_precision_stays_near_and_does_not_tie(bundle, maps_network, rng) -> None:
    reduced = build_network(bundle, pixel_format="rgb24", precision="bfloat16", decode=False)
    frames = frames_of(rng, 96, 128)
    for got, expected in zip(map(np.asarray, reduced(frames)), map(np.asarray, maps_network(frames)), strict=True):
        assert got.dtype == np.float32
        assert 0 < np.abs(got - expected).mean() < 0.1 * expected.std()
        assert len(np.unique(got)) > 0.9 * got.size, "maps of eight bits would tie"


def test_it_runs_on_jax(bundle, pose_network, rng, tmp_path) -> None:
    if find_spec("jax") is None:
        pytest.skip("jax is not installed")
    frames = frames_of(rng, 33, 50)
    networks = {"bundle": pose_network}
    bundle.save(tmp_path / "bundle")
    for net_type in ("student_small", "leap"):
        small = random_network(net_type)
        small.save(tmp_path / net_type)
        networks[net_type] = build_network(small, pixel_format="rgb24")
    np.save(tmp_path / "frames.npy", frames)
    program = (
        "import sys, numpy as np; from pathlib import Path; folder = Path(sys.argv[1])\n"
        "from posestream.inference.formats.models import load_model\n"
        "from posestream.inference.networks.network import build_network\n"
        "import keras; assert keras.backend.backend() == 'jax'\n"
        "for name in sys.argv[2:]:\n"
        "    network = build_network(load_model(folder / name), pixel_format='rgb24')\n"
        "    np.save(folder / f'{name}.npy', np.asarray(network(np.load(folder / 'frames.npy'))))\n"
    )
    environment = {**os.environ, "KERAS_BACKEND": "jax", "JAX_PLATFORMS": "cpu"}
    subprocess.run([sys.executable, "-c", program, str(tmp_path), *networks], env=environment, check=True, timeout=100)
    for name, network in networks.items():
        np.testing.assert_allclose(np.load(tmp_path / f"{name}.npy"), network(frames), atol=0.01, err_msg=name)


def test_no_location_refinement_no_head(bundle, rng) -> None:
    import msgspec

    from posestream.inference.formats.bundle import ModelBundle

    spec = msgspec.structs.replace(bundle.spec, location_refinement=False)
    weights = {name: array for name, array in bundle.weights.items() if not name.startswith("locref")}
    network = build_network(ModelBundle(spec, weights), pixel_format="rgb24")
    poses = np.asarray(network(frames_of(rng, 48, 64)))
    assert (poses[..., :2] % 8 == 4).all()
