"""A network that a laboratory trained, on real frames, held to what DeepLabCut 2.3.11 answered for the same pixels."""

from pathlib import Path

import av
import numpy as np
import pytest

from posestream.inference.engines import open_engine
from posestream.inference.engines.tensorflow_engine import TensorFlowEngine
from posestream.inference.formats.models import load_model
from posestream.inference.networks.decoder import decode_numpy, sigmoid
from posestream.inference.networks.network import build_network

# frame number: x, y in pixels, likelihood, at 640x480; written by benchmarks/deeplabcut_reference.py
DEEPLABCUT = {
    0: (96.6001, 130.9568, 0.9927),
    150: (577.8264, 104.6214, 0.9981),
    300: (228.5173, 80.6409, 0.4428),
    450: (257.7305, 430.3312, 0.9993),
}


@pytest.fixture(scope="module")
def model(lmtracker_folder: Path):
    return load_model(lmtracker_folder)


@pytest.fixture(scope="module")
def frames(openfield_clip: Path) -> np.ndarray:
    with av.open(str(openfield_clip)) as container:
        pictures = [frame for number, frame in enumerate(container.decode(video=0)) if number in DEEPLABCUT]
        return np.stack([picture.to_ndarray(format="rgb24") for picture in pictures])


def test_specification(model) -> None:
    assert model.spec.scorer == "DLC_resnet50_apollo_implantNov1shuffle1_1030000"
    assert model.spec.bodyparts == ("body",)
    assert model.spec.source.task == "apollo_implant"


@pytest.mark.parametrize("name", ["tensorflow", "openvino", "onnxruntime"])
def test_poses_are_those_of_deeplabcut(model, frames: np.ndarray, name: str) -> None:
    if name == "onnxruntime":
        pytest.importorskip(name, reason="ONNX Runtime is not installed")
    engine = open_engine(model, name, "float32")
    engine.prepare(480, 640, "rgb24", [4])
    poses = engine.run(frames)[:, 0]
    expected = np.array(list(DEEPLABCUT.values()))
    assert np.hypot(*(poses - expected)[:, :2].T).max() < 0.05
    assert np.abs(poses - expected)[:, 2].max() < 1e-3


def test_reduced_precision_and_the_bundle_stay_near(model, frames: np.ndarray, tmp_path: Path) -> None:
    model.save(tmp_path / "half", dtype="float16")
    engine = TensorFlowEngine(load_model(tmp_path / "half"), precision="bfloat16")
    engine.prepare(480, 640, "rgb24", [4])
    distance = np.hypot(*(engine.run(frames)[:, 0] - np.array(list(DEEPLABCUT.values())))[:, :2].T)
    assert distance.mean() < 0.5


def test_numpy_decodes_as_the_graph(model, frames: np.ndarray) -> None:
    small = np.ascontiguousarray(frames[:2, ::2, ::2])
    logits, locref = map(np.asarray, build_network(model, pixel_format="rgb24", decode=False)(small))
    poses = np.asarray(build_network(model, pixel_format="rgb24")(small))
    np.testing.assert_allclose(poses, decode_numpy(sigmoid(logits), locref), atol=1e-3)
