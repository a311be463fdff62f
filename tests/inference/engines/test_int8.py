"""The network of a laboratory on real frames: every reduced precision, and the int8 graph beside its bundle."""

import json
import shutil
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

from posestream.inference.engines import open_engine
from posestream.inference.engines.int8 import Calibration, save_int8
from posestream.inference.engines.openvino_engine import OpenVinoEngine
from posestream.inference.engines.quantise import deviation, quantise, spread_frames
from posestream.inference.engines.tensorflow_engine import TensorFlowEngine
from posestream.inference.errors import ModelError
from posestream.inference.formats.bundle import ModelBundle
from posestream.inference.formats.models import load_model

SIZE = (320, 240)


@pytest.fixture(scope="module")
def frames(openfield_clip: Path) -> np.ndarray:
    return spread_frames(openfield_clip, 16, SIZE)


@pytest.fixture(scope="module")
def optimised(lmtracker_folder: Path, frames: np.ndarray, tmp_path_factory: pytest.TempPathFactory) -> ModelBundle:
    pytest.importorskip("nncf", reason="NNCF is not installed")
    folder = tmp_path_factory.mktemp("int8") / "bundle"
    load_model(lmtracker_folder).save(folder)
    bundle = load_model(folder)
    about = Calibration(video="clip", frames=8, width=SIZE[0], height=SIZE[1], versions={})
    save_int8(quantise(bundle, frames[::2]), bundle, about)
    return bundle


def distance(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    apart: np.ndarray = np.hypot(*np.moveaxis(one[..., :2] - other[..., :2], -1, 0))
    return apart


def test_frames_are_spread_over_the_video(frames: np.ndarray, openfield_clip: Path) -> None:
    assert frames.shape == (16, 240, 320, 3)
    assert len(np.unique(frames.reshape(16, -1), axis=0)) == 16
    (first, later) = spread_frames(openfield_clip, 2, None)
    assert first.shape == (480, 640, 3)
    assert (first != later).any()


def test_other_engines_stay_near_float32(lmtracker_folder: Path, frames: np.ndarray) -> None:
    bundle, grey = load_model(lmtracker_folder), np.ascontiguousarray(frames[:8, :, :, :1])
    reference = TensorFlowEngine(bundle)
    engines = {("openvino", precision): 0.5 for precision in OpenVinoEngine.candidates(bundle)}
    engines |= {("tensorflow", "bfloat16"): 0.5, ("openvino", "float32"): 0.05}
    if find_spec("onnxruntime"):
        engines |= {("onnxruntime", "float32"): 0.05, ("onnxruntime", "float16"): 0.5}
    reference.prepare(240, 320, "gray8", [4])
    poses = np.concatenate([reference.run(grey[first : first + 4]) for first in (0, 4)])
    for (name, precision), limit in engines.items():
        engine = open_engine(bundle, name, precision)
        engine.prepare(240, 320, "gray8", [4])
        found = np.concatenate([engine.run(grey[first : first + 4]) for first in (0, 4)])
        apart = distance(found, poses)
        assert (apart.max() if precision == "float32" else apart.mean()) < limit, (name, precision)


def test_int8_stays_near_float32_on_frames_it_has_not_seen(optimised: ModelBundle, frames: np.ndarray) -> None:
    found = deviation(optimised, frames[1::2])
    assert found.frames == 8
    assert 0 < found.median_px <= found.p95_px <= found.max_px
    assert found.mean_px < 0.5
    assert found.speed > 0


def test_int8_runs_other_sizes_and_pixels(optimised: ModelBundle, frames: np.ndarray) -> None:
    engine = open_engine(optimised, "auto", "int8")
    assert (engine.name, engine.precision) == ("openvino", "int8")
    grey = np.zeros((8, 243, 321, 1), np.uint8)
    grey[:, :240, :320] = frames[:8, :, :, :1]
    engine.prepare(243, 321, "gray8", [1, 8])
    engine.prepare(243, 321, "rgb24", [1])
    batch = engine.run(grey)
    np.testing.assert_allclose(engine.run(grey[:1]), batch[:1], atol=1e-2)
    np.testing.assert_allclose(engine.run(np.repeat(grey[:1], 3, axis=-1)), batch[:1], atol=1e-2)
    reference = OpenVinoEngine(optimised)
    reference.prepare(243, 321, "gray8", [8])
    assert distance(batch, reference.run(grey)).mean() < 1


def test_what_is_wrong_with_an_int8_graph_is_said(optimised: ModelBundle, tmp_path: Path) -> None:
    folder = tmp_path / "bundle"
    assert optimised.folder is not None
    shutil.copytree(optimised.folder, folder)
    bundle = load_model(folder)
    other = replace(bundle, weights=bundle.weights | {"conv1/bias": bundle.weights["conv1/bias"] + 1})
    with pytest.raises(ModelError, match="another network"):
        OpenVinoEngine(other, "int8")
    graph = folder / "int8" / "graph.bin"
    graph.write_bytes(graph.read_bytes()[:-1])
    with pytest.raises(ModelError, match="damaged"):
        OpenVinoEngine(bundle, "int8")
    (folder / "int8" / "int8.json").write_text(json.dumps({"format": "other"}))
    with pytest.raises(ModelError, match=f"optimize {folder} --precision int8"):
        OpenVinoEngine(bundle, "int8")
    with pytest.raises(ModelError, match="no folder"):
        save_int8(None, replace(bundle, folder=None), Calibration(video="", frames=1, width=1, height=1, versions={}))


def test_a_video_that_is_none(tmp_path: Path) -> None:
    (tmp_path / "video.mp4").write_text("none")
    with pytest.raises(ModelError, match="it is not a video"):
        spread_frames(tmp_path / "video.mp4", 2, None)
