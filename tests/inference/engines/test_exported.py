"""The proof of an exported file, which must be able to fail."""

from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

from posestream.inference.engines.exported import prove_export
from posestream.inference.errors import ModelError
from posestream.inference.networks.onnx_graph import onnx_graph

from ...support.networks import random_network


@pytest.fixture
def pictures(rng) -> np.ndarray:
    frames: np.ndarray = rng.integers(0, 256, (3, 64, 96, 3), dtype=np.uint8)
    return frames


@pytest.mark.parametrize("pixel_format", ["rgb24", "bgr24", "gray8"])
def test_every_runtime_here_gives_the_same_poses(tmp_path: Path, pictures, pixel_format) -> None:
    network = random_network("student_small")
    path = tmp_path / "network.onnx"
    path.write_bytes(onnx_graph(network, pixel_format).SerializeToString())
    shown: list[int] = []
    proofs = prove_export(path, network, pictures, pixel_format, show=lambda done, *_: shown.append(done))
    assert [proof.runtime for proof in proofs] == ["OpenVINO", *(["ONNX Runtime"] if find_spec("onnxruntime") else [])]
    assert all(proof.within_limits and len(proof.px) == len(proof.likelihood) == 3 for proof in proofs)
    assert shown == [1, 2, 3]


def test_another_network_is_found_out(tmp_path: Path, pictures) -> None:
    network = random_network("student_small")
    moved = {"locref_pred/bias": network.weights["locref_pred/bias"] + np.float32(0.02)}  # 0.15 px
    path = tmp_path / "network.onnx"
    path.write_bytes(onnx_graph(replace(network, weights=network.weights | moved)).SerializeToString())
    for proof in prove_export(path, network, pictures, "rgb24"):
        assert not proof.within_limits
        assert max(proof.px) == pytest.approx(0.02 * 7.2801 * np.sqrt(2), abs=0.01)
        assert max(proof.likelihood) < 1e-3


def test_a_damaged_file_is_one_sentence(tmp_path: Path, pictures) -> None:
    path = tmp_path / "network.onnx"
    path.write_bytes(b"no graph")
    with pytest.raises(ModelError, match="cannot be run by OpenVINO"):
        prove_export(path, random_network("student_small"), pictures, "rgb24")
