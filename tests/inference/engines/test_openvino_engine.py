"""OpenVINO, held to TensorFlow in float32."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import msgspec
import numpy as np
import openvino
import pytest

from posestream.inference.engines.openvino_engine import OpenVinoEngine
from posestream.inference.engines.openvino_graph import GRAPH_FILE, fixed, read_graph
from posestream.inference.engines.tensorflow_engine import TensorFlowEngine
from posestream.inference.errors import ModelError
from posestream.inference.formats.bundle import ModelBundle
from posestream.inference.formats.cache import CACHE_VARIABLE

SHAPES = [(112, 160, "gray8"), (112, 160, "rgb24"), (115, 161, "bgr24"), (115, 161, "gray8")]
BATCHES = (1, 3)


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(autouse=True)
def own_cache(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(CACHE_VARIABLE, str(cache))


def graph_times(cache: Path) -> list[tuple[str, int]]:
    return [(str(path), path.stat().st_mtime_ns) for path in sorted(cache.rglob("*.bin"))]


@pytest.mark.parametrize(("height", "width", "pixel_format"), SHAPES)
def test_float32_is_tensorflow(bundle, rng, height, width, pixel_format) -> None:
    frames = rng.integers(0, 256, (3, height, width, 1 if pixel_format == "gray8" else 3), dtype=np.uint8)
    poses = {}
    for make in (TensorFlowEngine, OpenVinoEngine):
        engine = make(bundle)
        engine.prepare(height, width, pixel_format, BATCHES)
        poses[make] = np.concatenate([engine.run(frames, pixel_format), engine.run(frames[:1], pixel_format)])
    np.testing.assert_allclose(poses[OpenVinoEngine], poses[TensorFlowEngine], atol=1e-3)


@pytest.mark.parametrize("pixel_format", ["gray8", "rgb24", "bgr24"])
def test_nothing_is_gathered(bundle, pixel_format) -> None:
    core = openvino.Core()
    compiled = core.compile_model(fixed(read_graph(core, bundle), 2, 48, 64, pixel_format), "CPU")
    kinds = {node.get_rt_info()["layerType"].value for node in compiled.get_runtime_model().get_ordered_ops()}
    assert {"Convolution", "TopK"} < kinds
    assert not any("Gather" in kind for kind in kinds)  # see decode_graph


def test_batches_between_the_prepared_sizes(bundle, rng) -> None:
    engine = OpenVinoEngine(bundle)
    engine.prepare(48, 64, "gray8", [2, 5])
    frames = rng.integers(0, 256, (5, 48, 64, 1), dtype=np.uint8)
    whole = engine.run(frames)
    for number in (1, 2, 3, 4):
        np.testing.assert_allclose(engine.run(frames[:number]), whole[:number], atol=1e-3)


def test_what_a_socket_filled_is_lent_and_left(bundle, rng) -> None:
    engine = OpenVinoEngine(bundle)
    engine.prepare(48, 64, "gray8", [1])
    memory = rng.integers(0, 256, 48 * 64, dtype=np.uint8).tobytes()
    before = bytes(bytearray(memory))
    frame = np.frombuffer(memory, np.uint8).reshape(1, 48, 64, 1)
    np.testing.assert_array_equal(engine.run(frame), engine.run(frame.copy()))
    assert memory == before


def test_no_start_needs_tensorflow(bundle: ModelBundle, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path / "cache"))
    bundle.save(tmp_path / "model")
    program = (
        "import sys\nfrom pathlib import Path\n"
        "from posestream.inference.formats.models import load_model\n"
        "from posestream.inference.engines import open_engine\n"
        "engine = open_engine(load_model(Path(sys.argv[1])))\n"
        "engine.prepare(48, 64, 'gray8', [1])\n"
        "assert engine.name == 'openvino'\n"
        "assert not {'keras', 'tensorflow'} & set(sys.modules)\n"
        "assert (sys.argv[2] == 'first') == ('onnx' in sys.modules)\n"
    )
    kept = []
    for start in ("first", "second"):
        subprocess.run([sys.executable, "-c", program, str(tmp_path / "model"), start], check=True)
        kept.append(graph_times(tmp_path / "cache"))
    assert kept[0] == kept[1] != []


def test_a_damaged_graph_is_made_anew(bundle: ModelBundle, cache: Path) -> None:
    OpenVinoEngine(bundle).prepare(48, 64, "gray8", [1])
    for path in cache.rglob(GRAPH_FILE):
        path.write_text("<net")
    OpenVinoEngine(bundle).prepare(48, 64, "gray8", [1])
    (path,) = cache.rglob(GRAPH_FILE)
    assert path.stat().st_size > 1000


def test_without_a_place_to_keep_it(bundle: ModelBundle, tmp_path: Path, monkeypatch, caplog, rng) -> None:
    (tmp_path / "file").write_text("no folder")
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path / "file"))
    engine = OpenVinoEngine(bundle)
    engine.prepare(48, 64, "gray8", [1])
    assert "not kept" in caplog.text
    assert engine.run(rng.integers(0, 256, (1, 48, 64, 1), dtype=np.uint8)).shape == (1, 3, 3)


def test_what_cannot_run_says_why(bundle: ModelBundle) -> None:
    with pytest.raises(ModelError, match="engine tensorflow"):
        OpenVinoEngine(replace(bundle, graph=b"graph"))
    with pytest.raises(ModelError, match="group norm"):
        OpenVinoEngine(replace(bundle, spec=msgspec.structs.replace(bundle.spec, family="timm", norm="group")))
