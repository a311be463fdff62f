"""ONNX Runtime, beyond what is asked of every engine in `test_engine.py`; here it runs on the processor."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from posestream.inference.engines import open_engine
from posestream.inference.engines.onnxruntime_engine import OnnxRuntimeEngine
from posestream.inference.engines.openvino_engine import OpenVinoEngine
from posestream.inference.engines.parts import run_parts
from posestream.inference.errors import ModelError
from posestream.inference.formats.bundle import ModelBundle

from ...support.networks import random_network

onnxruntime = pytest.importorskip("onnxruntime", reason="ONNX Runtime is not installed")


@pytest.mark.parametrize("net_type", ["student_small", "leap"])
def test_small_networks_are_openvinos(rng, net_type: str) -> None:
    bundle = random_network(net_type)
    frames = rng.integers(0, 256, (3, 96, 128, 1), dtype=np.uint8)
    poses = []
    for engine in (OpenVinoEngine(bundle), OnnxRuntimeEngine(bundle)):
        engine.prepare(96, 128, "gray8", [1, 3])
        poses.append(engine.run(frames))
    np.testing.assert_allclose(poses[0], poses[1], atol=1e-3)


def test_float16_stays_near(rng) -> None:
    bundle = random_network("student_small")
    frames = rng.integers(0, 256, (2, 96, 128, 1), dtype=np.uint8)
    poses = {}
    for precision in ("float32", "float16"):
        engine = open_engine(bundle, "onnxruntime", precision)
        engine.prepare(96, 128, "gray8", [2])
        assert (engine.name, engine.precision) == ("onnxruntime", precision)
        poses[precision] = engine.run(frames)
    likelihood = np.abs(poses["float16"] - poses["float32"])[..., 2]
    assert 0 < likelihood.max() < 0.02


def test_it_says_what_it_runs_on(bundle: ModelBundle) -> None:
    engine = open_engine(bundle, "onnxruntime", "float32")
    assert engine.remark == f"runs on {engine.device}"
    assert OnnxRuntimeEngine.candidates(bundle)[-1] == "float32"
    if set(onnxruntime.get_available_providers()) <= {"CPUExecutionProvider", "AzureExecutionProvider"}:
        assert engine.device == "the processor"
        assert OnnxRuntimeEngine.candidates(bundle) == ("float32",)


def test_it_needs_no_tensorflow(tmp_path: Path) -> None:
    random_network("student_small").save(tmp_path / "model")
    program = (
        "import sys\nfrom pathlib import Path\n"
        "from posestream.inference.formats.models import load_model\n"
        "from posestream.inference.engines import open_engine\n"
        "engine = open_engine(load_model(Path(sys.argv[1])), 'onnxruntime', threads=1)\n"
        "engine.prepare(48, 64, 'gray8', [1])\n"
        "assert not {'keras', 'tensorflow', 'openvino'} & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", program, str(tmp_path / "model")], check=True)


def test_what_cannot_run_says_why(bundle: ModelBundle) -> None:
    with pytest.raises(ModelError, match="engine tensorflow"):
        OnnxRuntimeEngine(replace(bundle, graph=b"graph"))
    for precision in ("bfloat16", "int8"):
        with pytest.raises(ModelError, match=f"in float32 or float16, not in {precision}"):
            open_engine(bundle, "onnxruntime", precision)


def test_parts_of_a_batch_are_of_the_sizes_that_were_compiled() -> None:
    frames = np.arange(11, dtype=np.uint8).reshape(11, 1, 1, 1)
    ran: list[int] = []

    def run(part: np.ndarray) -> np.ndarray:
        ran.append(len(part))
        return np.repeat(part.reshape(-1, 1, 1), 3, axis=2).astype(np.float32)

    poses = run_parts(frames, [2, 4], 1, run)
    assert ran == [4, 4, 2, 2]  # the last one filled up
    np.testing.assert_array_equal(poses[:, 0, 0], np.arange(11))
