import threading
import time
from typing import Any

import numpy as np
import pytest

from posestream.inference.engine import Engine
from posestream.inference.engines.onnxruntime_engine import OnnxRuntimeEngine
from posestream.inference.engines.openvino_engine import OpenVinoEngine
from posestream.inference.engines.tensorflow_engine import TensorFlowEngine
from posestream.inference.errors import ModelError
from posestream.inference.formats.bundle import ModelBundle
from posestream.inference.networks.decoder import decode_numpy, sigmoid
from posestream.inference.networks.network import build_network

from ..support.waiting import until

ENGINES: dict[str, type[Engine]] = {
    "tensorflow": TensorFlowEngine,
    "openvino": OpenVinoEngine,
    "onnxruntime": OnnxRuntimeEngine,
}


@pytest.fixture(scope="module", params=list(ENGINES))
def make(request: pytest.FixtureRequest) -> type[Engine]:
    if request.param == "onnxruntime":
        pytest.importorskip("onnxruntime", reason="ONNX Runtime is not installed")
    return ENGINES[str(request.param)]


@pytest.fixture(scope="module")
def engine(make: Any, bundle: ModelBundle) -> Engine:
    engine: Engine = make(bundle)
    engine.prepare(48, 64, "rgb24", [1, 3])
    engine.prepare(48, 64, "gray8", [2])
    return engine


def test_it_is_an_engine(make, engine: Engine) -> None:
    assert isinstance(engine, Engine)
    assert (ENGINES[engine.name], engine.precision) == (make, "float32")
    assert engine.bodyparts == ("nose", "leftear", "tailbase")


def test_poses_are_the_decoded_maps(bundle, engine: Engine, rng) -> None:
    frames = rng.integers(0, 256, (3, 48, 64, 3), dtype=np.uint8)
    logits, locref = map(np.asarray, build_network(bundle, pixel_format="rgb24", decode=False)(frames))
    poses = engine.run(frames)
    assert poses.shape == (3, 3, 3)
    assert poses.dtype == np.float32
    assert poses.flags.writeable
    assert poses.flags.owndata
    np.testing.assert_allclose(poses, decode_numpy(sigmoid(logits), locref), atol=1e-3)


def test_batches_do_not_mix_frames(engine: Engine, rng) -> None:
    frames = rng.integers(0, 256, (3, 48, 64, 3), dtype=np.uint8)
    alone = np.concatenate([engine.run(frames[i : i + 1]) for i in range(3)])
    np.testing.assert_allclose(engine.run(frames), alone, atol=1e-3)
    assert np.abs(alone[0] - alone[1]).max() > 0.1


def test_views_into_foreign_memory(engine: Engine, rng) -> None:
    memory = rng.integers(0, 256, 3 * 50 * 70 * 3, dtype=np.uint8).tobytes()
    view = np.frombuffer(memory, np.uint8).reshape(3, 50, 70, 3)[:, 1:49, 3:67]
    assert not view.flags.writeable
    assert not view.flags.c_contiguous
    np.testing.assert_array_equal(engine.run(view), engine.run(view.copy()))


def test_the_frames_are_free_after_run(engine: Engine, rng) -> None:
    frames = rng.integers(0, 256, (1, 48, 64, 3), dtype=np.uint8)
    poses = engine.run(frames)
    kept = poses.copy()
    frames[:] = 0
    other = engine.run(frames)
    np.testing.assert_array_equal(poses, kept)
    assert np.abs(other - kept).max() > 1e-3
    assert not frames.any()


def test_what_was_not_prepared_is_refused(engine: Engine) -> None:
    for shape, message in [
        ((4, 48, 64, 3), "4 frames of 64x48 pixels with 3 channels"),
        ((1, 64, 48, 3), "were not prepared"),
        ((3, 48, 64, 1), "were not prepared"),
        ((1, 48, 64, 4), "were not prepared"),
    ]:
        with pytest.raises(ModelError, match=message):
            engine.run(np.zeros(shape, np.uint8))
    with pytest.raises(ModelError, match=r"\(bgr24\) were not prepared"):
        engine.run(np.zeros((1, 48, 64, 3), np.uint8), "bgr24")
    wrong: Any
    for wrong in (np.zeros((48, 64, 3), np.uint8), np.zeros((1, 48, 64, 3), np.float32)):
        with pytest.raises(ModelError, match="must be uint8"):
            engine.run(wrong)
    arguments: Any
    for arguments in [(0, 64, "rgb24", [1]), (48, 64, "rgb24", []), (48, 64, "rgb24", [0]), (48, 64, "yuv420p", [1])]:
        with pytest.raises(ModelError):
            engine.prepare(*arguments)


def test_two_pixel_formats_of_one_shape(make, bundle, rng) -> None:
    engine = make(bundle)
    engine.prepare(32, 48, "rgb24", [1])
    engine.prepare(32, 48, "bgr24", [1])
    frames = rng.integers(0, 256, (1, 32, 48, 3), dtype=np.uint8)
    with pytest.raises(ModelError, match="Say which"):
        engine.run(frames)
    np.testing.assert_allclose(engine.run(frames, "rgb24"), engine.run(frames[..., ::-1], "bgr24"), atol=1e-3)


def test_settings_that_come_too_late_are_said(bundle, caplog: pytest.LogCaptureFixture) -> None:
    TensorFlowEngine(bundle).prepare(32, 48, "rgb24", [1])
    TensorFlowEngine(bundle, threads=7)
    assert "keeps its settings" in caplog.text


def test_other_threads_run_meanwhile(make, bundle, rng) -> None:
    engine = make(bundle)
    engine.prepare(240, 320, "gray8", [2])
    frames = rng.integers(0, 256, (2, 240, 320, 1), dtype=np.uint8)
    ticks: list[float] = []
    done = threading.Event()

    def tick() -> None:
        """Run all the time; note when, ten times a millisecond at most."""
        while not done.is_set():
            if not ticks or time.perf_counter() - ticks[-1] > 1e-4:
                ticks.append(time.perf_counter())

    def ticked() -> bool:
        """Run the engine; whether the other thread ran in the middle of that, which takes more than a millisecond."""
        start = time.perf_counter()
        engine.run(frames)
        end = time.perf_counter()
        margin = 0.2 * (end - start)
        return sum(start + margin < stamp < end - margin for stamp in ticks) >= 3

    thread = threading.Thread(target=tick)
    thread.start()
    try:
        until(ticked)  # a busy machine may give the other thread no core for a while
    finally:
        done.set()
        thread.join()
